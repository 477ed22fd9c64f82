"""Status: the pipeline at one glance, from the catalog and the disk. Read-only; needs no daemon."""

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from logbox_pipeline.adapters import catalog_batches, catalog_replica, catalog_status
from logbox_pipeline.adapters.catalog_reconciliations import LastChecked, last_checked
from logbox_pipeline.adapters.catalog_replica import Lag
from logbox_pipeline.steps.judge import overdue_reconciliations
from logbox_pipeline.steps.site import Site

SENSOR_OVERDUE = timedelta(minutes=2)
"""Twelve ticks of the landing sensor: past it nobody looks at landing."""

MOST_BATCHES = 100

Row = dict[str, Any]


@dataclass(frozen=True)
class Sensor:
    last_tick_at: datetime | None
    is_overdue: bool


@dataclass(frozen=True)
class Freshness:
    """The oldest delivery still on its way against what is promised, in seconds."""

    promise_s: int
    oldest_received_at: datetime | None
    age_s: int | None
    is_broken: bool
    late: list[Row]


@dataclass(frozen=True)
class Storage:
    """Bytes held and growth. `days_left` None: unknown disk, or nothing grows."""

    archive_bytes: int
    lake_bytes: int
    postgres_bytes: int
    archive_bytes_per_day: int
    disk_free_bytes: int | None
    days_left: float | None


@dataclass(frozen=True)
class Replica:
    """What the replica lacks. `replication`: copy, external, or off: the archive is the only copy,
    and all else is None."""

    replication: str
    bucket: str | None = None
    files: int | None = None
    size_bytes: int | None = None
    oldest_archived_at: datetime | None = None
    lag_s: int | None = None
    promise_s: int | None = None
    is_late: bool = False


@dataclass(frozen=True)
class Status:
    """Everything `logbox status` shows; its fields are the keys of `--json`.

    `overdue` says in sentences what makes `--strict` fail.
    """

    at: datetime
    overdue: list[str]
    paused_at: datetime | None
    paused_by: str | None
    sensor: Sensor
    backlog: Row
    freshness: Freshness
    states: list[Row]
    refused: list[Row]
    stale: list[Row]
    drifts: list[Row]
    batches: list[Row]
    storage: Storage
    replica: Replica
    clients: list[Row]


def status(site: Site, *, disk: Path | None = None) -> Status:
    """Look at everything once. `disk`: a folder on the disk that holds all data, when one does."""
    now, settings = site.now(), site.settings
    with site.transaction() as cursor:
        paused_at, paused_by, last_tick_at = catalog_batches.paused(cursor)
        unfinished = catalog_status.unfinished(cursor)
        late = catalog_status.late(cursor, now, settings.freshness_promise_s)
        backlog = catalog_status.backlog(cursor)
        states = catalog_status.states(cursor)
        refused = catalog_status.open_refusals(cursor)
        stale = catalog_status.stale(cursor, now, settings.stale_after_s)
        drifts = catalog_status.open_drifts(cursor)
        checked = last_checked(cursor)
        batches = catalog_status.batches(cursor, MOST_BATCHES)
        clients = catalog_status.clients(cursor)
        grown = catalog_status.growth(cursor, now)
        lag = catalog_replica.lag(cursor) if site.replica else None
    is_overdue = last_tick_at is None or now - last_tick_at > SENSOR_OVERDUE
    sensor = Sensor(last_tick_at, is_overdue and paused_at is None)
    freshness = _freshness(
        unfinished["oldest_received_at"], late, settings.freshness_promise_s, now
    )
    replica = _replica(site, lag, now)
    for client in clients:
        client["is_silent"] = _is_silent(client, timedelta(seconds=settings.silent_after_s), now)
    return Status(
        at=now,
        overdue=_overdue(sensor, freshness, replica, checked, clients, now),
        paused_at=paused_at,
        paused_by=paused_by,
        sensor=sensor,
        backlog={**backlog, **unfinished},
        freshness=freshness,
        states=states,
        refused=refused,
        stale=stale,
        drifts=drifts,
        batches=batches,
        storage=_storage(grown, shutil.disk_usage(disk).free if disk else None),
        replica=replica,
        clients=clients,
    )


def _freshness(
    oldest: datetime | None, late: list[Row], promise_s: int, now: datetime
) -> Freshness:
    age_s = None if oldest is None else max(0, int((now - oldest).total_seconds()))
    return Freshness(promise_s, oldest, age_s, bool(late), late)


def _is_silent(client: Row, silent_after: timedelta, now: datetime) -> bool:
    last_heard_at = client["last_received_at"] or client["created_at"]
    return client["revoked_at"] is None and now - last_heard_at > silent_after


def _replica(site: Site, lag: Lag | None, now: datetime) -> Replica:
    settings = site.settings
    if site.replica is None or lag is None:
        return Replica("off")
    lag_s = lag.seconds(now)
    return Replica(
        settings.replicates_by,
        site.replica.bucket,
        lag.files,
        lag.size_bytes,
        lag.oldest_at,
        lag_s,
        settings.replica_lag_s,
        lag_s > settings.replica_lag_s,
    )


def _overdue(
    sensor: Sensor,
    freshness: Freshness,
    replica: Replica,
    checked: LastChecked,
    clients: list[Row],
    now: datetime,
) -> list[str]:
    found = [f"{late}; next: `logbox reconcile`" for late in overdue_reconciliations(checked, now)]
    if sensor.is_overdue:
        last = (
            "never looked at landing"
            if sensor.last_tick_at is None
            else f"not looked at landing for {int((now - sensor.last_tick_at).total_seconds())} s"
        )
        found.append(
            f"the landing sensor has {last}, expected every {SENSOR_OVERDUE.seconds} s or sooner; "
            "next: see that Dagster's daemon runs (`logbox up`)"
        )
    if freshness.is_broken:
        files = sum(row["files"] for row in freshness.late)
        found.append(
            f"{files} log(s) are later than the {freshness.promise_s} s of "
            f"LOGBOX_FRESHNESS_PROMISE_S, the oldest {freshness.age_s} s; "
            "next: see the batches' last_error"
        )
    if replica.is_late:
        found.append(
            f"{replica.files} file(s) of the archive are not in the replica, the oldest for "
            f"{replica.lag_s} s, expected within the {replica.promise_s} s of "
            "LOGBOX_REPLICA_LAG_S; next: see the ticks of replication_sensor, and "
            "`logbox drift list`"
        )
    for client in clients:
        if client["is_silent"]:
            heard = client["last_received_at"]
            found.append(
                f"client {client['client']} is silent: "
                + ("nothing ever came" if heard is None else f"last log {heard:%Y-%m-%d %H:%M} UTC")
                + f"; next: look at its drones, or `logbox client revoke {client['client']}`"
            )
    return found


def _storage(grown: Row, disk_free_bytes: int | None) -> Storage:
    """Lake and Postgres are taken to grow in the proportion they have to the archive now."""
    archive_bytes, per_day = grown["archive_bytes"], grown["archive_bytes_per_day"]
    days_left = None
    if disk_free_bytes is not None and archive_bytes and per_day:
        held = archive_bytes + grown["lake_bytes"] + grown["postgres_bytes"]
        days_left = round(disk_free_bytes / (per_day * held / archive_bytes), 1)
    return Storage(
        archive_bytes,
        grown["lake_bytes"],
        grown["postgres_bytes"],
        per_day,
        disk_free_bytes,
        days_left,
    )
