"""Judge the catalog as a whole: what is open, late, stale or adrift, and what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from logbox_pipeline.adapters import catalog_access, catalog_replica, catalog_status
from logbox_pipeline.adapters.catalog_reconciliations import LastChecked, last_checked
from logbox_pipeline.adapters.catalog_replica import Lag
from logbox_pipeline.core.errors import listed
from logbox_pipeline.steps.site import Site

COUNTED_WITHIN = timedelta(hours=2)
DIGESTED_WITHIN = timedelta(days=2)
"""Twice the time between two scheduled reconciliations."""


@dataclass(frozen=True)
class Judgement:
    """One check's verdict: a sentence for people, rows that show it, the next command."""

    asset: str
    check: str
    passed: bool
    sentence: str
    count: int
    rows: list[dict[str, Any]]
    next_command: str
    is_error: bool = False


def judge(site: Site) -> Iterator[Judgement]:
    """All sticky checks, from the catalog alone."""
    now, settings = site.now(), site.settings
    with site.transaction() as cursor:
        refusals = catalog_status.open_refusals(cursor)
        stale = catalog_status.stale(cursor, now, settings.stale_after_s)
        drifts = catalog_status.open_drifts(cursor)
        checked = last_checked(cursor)
        late = catalog_status.late(cursor, now, settings.freshness_promise_s)
        lag = catalog_replica.lag(cursor) if site.replica else None
    files = sum(row["files"] for row in refusals)
    yield Judgement(
        "verified_logs",
        "no_open_refusals",
        not refusals,
        f"{files} refused or unread file(s) wait for a person" if refusals else "None is open.",
        files,
        refusals,
        "logbox quarantine list",
    )
    files = sum(row["files"] for row in stale)
    yield Judgement(
        "archived_logs",
        "landing_is_clear",
        not stale,
        f"{files} object(s) stand in landing for over {settings.stale_after_s} s"
        if stale
        else "Landing is clear.",
        files,
        stale,
        "logbox status",
    )
    yield Judgement(
        "reconciliation",
        "no_open_drift",
        not drifts,
        f"{len(drifts)} drift(s) are open" if drifts else "No drift is open.",
        len(drifts),
        drifts[:100],
        "logbox repair --dry-run",
        is_error=True,
    )
    overdue = overdue_reconciliations(checked, now)
    yield Judgement(
        "reconciliation",
        "reconciliation_is_recent",
        not overdue,
        "; ".join(overdue) if overdue else "Everything was compared lately.",
        len(overdue),
        [],
        "logbox reconcile",
        is_error=True,
    )
    files = sum(row["files"] for row in late)
    yield Judgement(
        "loaded_logs",
        "freshness_promise",
        not late,
        f"{files} log(s) are later than {settings.freshness_promise_s} s" if late else "In time.",
        files,
        late,
        "logbox status",
    )
    yield _of_replica(site, lag)


def _of_replica(site: Site, lag: Lag | None) -> Judgement:
    settings = site.settings
    if lag is None:
        # Whoever said off has decided; whoever said nothing may not know.
        is_decided = settings.replication == "off"
        sentence = "There is no replica: the archive is the only copy"
        return Judgement(
            "replicated_logs",
            "replica_is_caught_up",
            is_decided,
            f"{sentence}, as LOGBOX_REPLICATION=off says." if is_decided else f"{sentence}.",
            0,
            []
            if is_decided
            else [{"set": "LOGBOX_REPLICA_S3_ENDPOINT, or LOGBOX_REPLICATION=off"}],
            "logbox setup",
        )
    lag_s = lag.seconds(site.now())
    is_late = lag_s > settings.replica_lag_s
    return Judgement(
        "replicated_logs",
        "replica_is_caught_up",
        not is_late,
        f"{lag.files} file(s) of the archive are not in the replica, the oldest for {lag_s} s"
        if lag.files
        else "The replica has everything.",
        lag.files,
        [
            {
                "files": lag.files,
                "size_bytes": lag.size_bytes,
                "oldest_archived_at": lag.oldest_at,
                "lag_s": lag_s,
            }
        ]
        if lag.files
        else [],
        "logbox status",
    )


def judge_requests(site: Site) -> Judgement:
    """Requests that the stores refused, by who asked, for as long as LOGBOX_REFUSED_REQUESTS_H."""
    hours = site.settings.refused_requests_h
    since = site.now() - timedelta(hours=hours)
    with site.transaction() as cursor:
        refused = catalog_access.refused(cursor, since)
        unread = catalog_access.unread(cursor, since)
    requests = sum(row["requests"] for row in refused)
    said = []
    if refused:
        who = listed({row["who"] for row in refused}, most=5)
        said.append(f"{requests} request(s) were refused in the last {hours} h: {who}")
    if unread:
        said.append(
            f"{len(unread)} file(s) of the access log have lines that could not be read: "
            + "; ".join(f"{row['name']} {row['last_unread']}"[:300] for row in unread[:3])
        )
    return Judgement(
        "received_logs",
        "no_refused_requests",
        not said,
        "; ".join(said) or f"None was refused in the last {hours} h.",
        requests,
        refused[:100],
        f"logbox access --refused --since {hours}h",
    )


def overdue_reconciliations(checked: LastChecked, now: datetime) -> list[str]:
    """Sentences about comparisons that have not been made in full for too long."""
    return [
        f"{what} not compared in full since {at:%Y-%m-%d %H:%M} UTC"
        for what, at, within in (
            ("counts were", checked.any_at, COUNTED_WITHIN),
            ("digests were", checked.deep_at, DIGESTED_WITHIN),
        )
        if at is not None and now - at > within
    ]
