"""Judge the catalog as a whole: what is open, late, stale or adrift, and what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from logbox_pipeline.adapters import catalog_status
from logbox_pipeline.steps.site import Site


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
        late = catalog_status.late(cursor, now, settings.freshness_promise_s)
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
        "archived_logs",
        "no_open_drift",
        not drifts,
        f"{len(drifts)} drift(s) are open" if drifts else "No drift is open.",
        len(drifts),
        drifts[:100],
        "logbox drift list",
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
