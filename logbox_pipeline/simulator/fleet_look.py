"""What came of the fleet's uploads, as it stands in every store. Judged elsewhere.

Reads the catalog, Postgres, landing, quarantine, archive, replica and lake, and changes none.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq
from psycopg2 import sql

from logbox_pipeline.adapters.catalog_agreement import live_files
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core import keys
from logbox_pipeline.core.tables import EVENTS, PARAMETERS, TRACK
from logbox_pipeline.simulator.fleet_logs import REFUSED, SUPERSEDED
from logbox_pipeline.steps.site import Site

Rows = Mapping[tuple[str, str], int]
"""Rows by (log_id, table)."""


@dataclass(frozen=True)
class Log:
    """What the catalog says of a log in an object, or of a member that was refused (no log_id).

    state: the catalog's, or SUPERSEDED. seconds: from received to loaded.
    """

    member: str
    log_id: str | None
    state: str
    format: str | None = None
    reason: str | None = None
    detail: str | None = None
    rows: int | None = None
    damaged_bytes: int = 0
    seconds: float | None = None


@dataclass(frozen=True)
class Delivery:
    """What the catalog says became of one object; `repeats` is the log_id of a duplicate."""

    landing_key: str
    state: str
    reason: str | None
    repeats: str | None
    size_bytes: int
    logs: tuple[Log, ...] = ()


@dataclass(frozen=True)
class Flight:
    """A row of logbox.flights, and all logs that saw it."""

    vehicle: str | None
    takeoff_at: datetime | None
    duration_s: float
    distance_m: float | None
    max_alt_m: float | None
    battery_used_pct: float | None
    end_state: str
    autopilot: str | None
    log_ids: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Found:
    """What stands where. archived, replicated, quarantined: digests of the bytes read back, by
    landing key."""

    deliveries: Mapping[str, Delivery]
    postgres: Rows
    parquet: Rows
    archived: Mapping[str, str]
    replicated: Mapping[str, str]
    quarantined: Mapping[str, str]
    in_landing: Sequence[str]
    stray_files: Sequence[str]
    busy_s: float
    flights: Sequence[Flight] = ()


def look(site: Site, clients: list[str], folder: Path) -> Found:
    """Read back all that these clients' uploads became; `folder` takes the downloads."""
    with site.transaction() as cursor:
        deliveries = _deliveries(cursor, clients)
        flights = _flights(cursor, clients)
        log_ids = _log_ids(cursor, clients)
        batches = _batches(cursor, clients)
        batch_ids = [batch_id for batch_id, _, _ in batches]
        live = live_files(cursor, batch_ids, None)
        leaving = _leaving_files(cursor, batch_ids)
        postgres = _postgres_rows(cursor, log_ids)
        archived = _places(cursor, clients, "o.archive_key")
        quarantined = _places(cursor, clients, "d.quarantine_key")
    tables = {one.lake_key: one.table_name for one in live}
    standing = {
        one.key
        for one in site.lake.list_all("lake/")
        if any(batch_id in one.key for batch_id in batch_ids) and one.key not in leaving
    }
    files = {key: table for key, table in tables.items() if key in standing}
    return Found(
        deliveries=deliveries,
        postgres=postgres,
        parquet=_parquet_rows(site, files, set(log_ids), folder),
        archived=_digests(site.archive, archived, folder),
        replicated=_digests(site.replica, archived, folder) if site.replica else {},
        quarantined=_digests(site.landing, quarantined, folder),
        in_landing=[
            one.key
            for client in clients
            for one in site.landing.list_all(keys.landing_prefix(client))
        ],
        stray_files=sorted(standing ^ set(tables)),
        busy_s=busy_seconds([(begin, end) for _, begin, end in batches]),
        flights=flights,
    )


def _deliveries(cursor: Any, clients: list[str]) -> dict[str, Delivery]:
    cursor.execute(
        """
        select d.landing_key, o.member, l.log_id::text,
            case when l.log_id is null then %(refused)s
                when l.superseded_by is not null then %(superseded)s
                else l.state end,
            l.format, coalesce(o.reason, l.reason), coalesce(o.detail, l.detail), l.telemetry_rows,
            coalesce(l.damaged_bytes, 0),
            extract(epoch from l.loaded_at - l.received_at)::float
        from logbox.deliveries d
        join logbox.object_logs o using (client, sha256)
        left join logbox.logs l on l.log_id = o.log_id
        where d.client = any(%(clients)s) and d.state = 'archived'
        order by d.landing_key, o.member
        """,
        {"clients": clients, "superseded": SUPERSEDED, "refused": REFUSED},
    )
    logs: dict[str, list[Log]] = {}
    for landing_key, *values in cursor.fetchall():
        logs.setdefault(landing_key, []).append(Log(*values))
    cursor.execute(
        """
        select landing_key, state, reason, duplicate_of::text, size_bytes
        from logbox.deliveries
        where client = any(%s)
        order by landing_key
        """,
        (clients,),
    )
    return {
        landing_key: Delivery(
            landing_key, state, reason, repeats, size_bytes, tuple(logs.get(landing_key, ()))
        )
        for landing_key, state, reason, repeats, size_bytes in cursor.fetchall()
    }


def _flights(cursor: Any, clients: list[str]) -> list[Flight]:
    cursor.execute(
        """
        select f.vehicle, f.takeoff_at, f.duration_s, f.distance_m, f.max_alt_m,
            f.battery_used_pct, f.end_state, f.autopilot, array_agg(s.log_id::text)
        from logbox.flights f
        join logbox.flight_logs s using (flight_id)
        where f.client = any(%s)
        group by f.flight_id
        order by f.client, f.vehicle, f.started_before
        """,
        (clients,),
    )
    return [replace(Flight(*row), log_ids=frozenset(ids)) for *row, ids in cursor.fetchall()]


def _leaving_files(cursor: Any, batch_ids: list[str]) -> set[str]:
    """Replaced by others, and still there for those who are reading them."""
    cursor.execute(
        """
        select lake_key
        from logbox.lake_files
        where state = 'replaced' and batch_ids && %s::uuid[]
        """,
        (batch_ids,),
    )
    return {lake_key for (lake_key,) in cursor.fetchall()}


def _log_ids(cursor: Any, clients: list[str]) -> list[str]:
    cursor.execute("select log_id::text from logbox.logs where client = any(%s)", (clients,))
    return [log_id for (log_id,) in cursor.fetchall()]


def _batches(cursor: Any, clients: list[str]) -> list[tuple[str, datetime, datetime]]:
    """(batch_id, when its run began, when it was done)."""
    cursor.execute(
        """
        select b.batch_id::text, b.started_at, b.finished_at
        from logbox.batches b
        where b.started_at is not null and b.finished_at is not null
            and exists (
                select
                from logbox.deliveries d
                where d.batch_id = b.batch_id and d.client = any(%s)
            )
        """,
        (clients,),
    )
    return list(cursor.fetchall())


def _places(cursor: Any, clients: list[str], column: str) -> dict[str, str]:
    """Where the bytes of each delivery stand, by landing key."""
    cursor.execute(
        sql.SQL(
            """
            select d.landing_key, {place}
            from logbox.deliveries d
            left join logbox.objects o on (o.client, o.sha256) = (d.client, d.sha256)
            where d.client = any(%s) and {place} is not null
            """
        ).format(place=sql.SQL(column)),
        (clients,),
    )
    return dict(cursor.fetchall())


def _postgres_rows(cursor: Any, log_ids: list[str]) -> Rows:
    """Counted, in every table there is."""
    cursor.execute(
        """
        select relname
        from pg_class
        where relnamespace = 'telemetry'::regnamespace and relkind = 'p'
        """
    )
    tables = [("telemetry", name) for (name,) in cursor.fetchall()]
    rows: dict[tuple[str, str], int] = {}
    for schema, table in [("logbox", EVENTS), ("logbox", PARAMETERS), ("logbox", TRACK), *tables]:
        cursor.execute(
            sql.SQL(
                """
                select log_id::text, count(*)
                from {}
                where log_id = any(%s::uuid[])
                group by log_id
                """
            ).format(sql.Identifier(schema, table)),
            (log_ids,),
        )
        rows |= {(log_id, table): count for log_id, count in cursor.fetchall()}
    return rows


def _parquet_rows(site: Site, files: Mapping[str, str], log_ids: set[str], folder: Path) -> Rows:
    """Counted in the files themselves, every column of them decoded."""
    rows: Counter[tuple[str, str]] = Counter()
    for lake_key, table in files.items():
        path = folder / "lake.parquet"
        if site.lake.download(lake_key, path) is None:
            continue
        column = pq.ParquetFile(path).read().column("log_id")
        for log_id, count in Counter(column.to_pylist()).items():
            text = str(log_id if isinstance(log_id, UUID) else UUID(bytes=log_id))
            if text in log_ids:
                rows[text, table] += count
    return dict(rows)


def _digests(bucket: S3Bucket, places: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Of the bytes as they are now, read back from the store."""
    digests = {}
    for landing_key, place in places.items():
        download = bucket.download(place, folder / "object")
        digests[landing_key] = "missing" if download is None else download.sha256
    return digests


def busy_seconds(spans: Sequence[tuple[datetime, datetime]]) -> float:
    """Seconds in which at least one run was at work."""
    busy, until = 0.0, datetime.min.replace(tzinfo=UTC)
    for begin, end in sorted(spans):
        busy += max(0.0, (end - max(begin, until)).total_seconds())
        until = max(until, end)
    return busy
