"""Drill: rebuild some days into a scratch database, compare it with the live one, drop it.

A rebuild that was never tried is a hope; this says how fast it is, and how long all would take.
"""

import random
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from logbox_pipeline.adapters import catalog_compare, catalog_drills, databases
from logbox_pipeline.adapters.catalog_compare import Sample, Side, differing
from logbox_pipeline.adapters.catalog_drills import Drill
from logbox_pipeline.adapters.catalog_restore import Scope
from logbox_pipeline.adapters.databases import database_of
from logbox_pipeline.adapters.turns import Turn, turn
from logbox_pipeline.core.errors import LogboxError, TransientError, UsageError
from logbox_pipeline.core.retention import telemetry_window
from logbox_pipeline.settings import required
from logbox_pipeline.steps.judge import Judgement
from logbox_pipeline.steps.manifest import tell
from logbox_pipeline.steps.rebuild import RebuildReport, make_target, rebuild
from logbox_pipeline.steps.site import Site

OVERDUE = timedelta(days=8)
"""A drill is held weekly."""

_SCRATCH = "_drill_"
_SCRATCH_DIGITS = 12
_TRIES = 5
_DEAD = timedelta(hours=12)
_NEVER = "No drill was ever held: nobody knows that a rebuild works."


@dataclass(frozen=True)
class _Live:
    """The live database at one moment, of which the archive has been told. `since`: the first day
    of which it holds telemetry."""

    sample: Sample
    side: Side
    loads: dict[UUID, tuple[Any, ...]]
    at: datetime
    since: date | None


@dataclass(frozen=True)
class _Outcome:
    verdict: str
    sample: Sample
    report: RebuildReport
    seconds: float
    detail: str | None


def drill(site: Site, *, days: int | None = None) -> Drill:
    """Hold one. `days`: how many to sample, LOGBOX_DRILL_DAYS when None.

    What failed is a verdict too. Raises UsageError when nothing is loaded yet, TransientError when
    another drill is at work.
    """
    with _turn(site):
        return _drill(site, days or site.settings.drill_days)


def _drill(site: Site, most_days: int) -> Drill:
    drill_id = uuid4()
    with site.transaction() as cursor:
        held = catalog_compare.loaded_days(cursor)
        chosen = _choose(held, most_days, site.now().date())
        catalog_drills.begin(cursor, drill_id, chosen, site.now())
        (begun,) = catalog_drills.newest(cursor)
    everything = sum(size for _, size in held)
    try:
        done = _finished(begun, everything, _hold(site, chosen), site)
    except LogboxError as error:
        done = Drill(
            drill_id, begun.started_at, site.now(), "failed", tuple(chosen), None, None, None, None,
            None, None, str(error),
        )  # fmt: skip
    with site.transaction() as cursor:
        catalog_drills.finish(cursor, done)
    return done


def judge_drill(site: Site) -> Judgement:
    """Red when the last drill failed, found a difference, died, or is overdue."""
    with site.transaction() as cursor:
        held = catalog_drills.newest(cursor, 2)
        loaded = catalog_compare.loaded_days(cursor)
    last = next((one for one in held if one.verdict or site.now() - one.started_at > _DEAD), None)
    today = site.now().date()
    if last is None:
        # The first weekly one is still to come.
        said = None if not loaded or today - loaded[0][0] <= OVERDUE else _NEVER
        good = "No drill was held yet; the first is due within a week."
    else:
        said, good = _wrong(last, site), _speed(last)
    return Judgement(
        "recovery_drill",
        "recovery_is_rehearsed",
        said is None,
        said or good,
        0 if said is None else 1,
        [],
        "logbox drill",
        is_error=True,
    )


def _speed(last: Drill) -> str:
    return (
        f"Rebuilt {last.logs} log(s) of {len(last.days)} day(s) at "
        f"{(last.bytes_per_s or 0) / 1e6:.1f} MB/s, equal to the row; everything would take "
        f"{timedelta(seconds=round(last.projected_s or 0))}."
    )


def _wrong(last: Drill, site: Site) -> str | None:
    age = site.now() - last.started_at
    if last.verdict != "equal":
        return f"The drill of {last.started_at:%Y-%m-%d %H:%M} UTC {_ending(last)}"
    if age > OVERDUE:
        return f"The last drill was held {age.days} days ago; one is due every week."
    return None


def _ending(last: Drill) -> str:
    if last.verdict is None:
        return "died."
    return f"{'failed' if last.verdict == 'failed' else 'found a difference'}: {last.detail}"


def _choose(held: Sequence[tuple[date, int]], most: int, today: date) -> list[date]:
    """Closed days by chance; the open one only while there is no other."""
    if not held:
        raise UsageError("nothing is loaded yet", hint="a drill needs logs to rebuild")
    closed = [day for day, _ in held if day < today] or [day for day, _ in held]
    return sorted(random.sample(closed, min(most, len(closed))))


@contextmanager
def _turn(site: Site) -> Iterator[None]:
    """Alone at it: what an unfinished drill left is a dead one's then."""
    with site.connection() as connection, turn(connection, Turn.DRILL) as is_ours:
        if not is_ours:
            raise TransientError(
                "another drill is at work", hint="wait for it: the newest row of logbox.drills"
            )
        yield


def _hold(site: Site, days: Sequence[date]) -> _Outcome:
    live = _look(site, days)
    with _scratch_database(site) as name:
        target = make_target(site, name)
        started = time.monotonic()
        report = rebuild(target, Scope(days=live.sample.days))
        seconds = time.monotonic() - started
        with target.transaction() as cursor:
            rebuilt = catalog_compare.digests(cursor, live.sample, live.at, live.since)
    with site.transaction() as cursor:
        now = catalog_compare.loads(cursor, live.sample)
    # Loaded again meanwhile, or about to be told: of two moments, so there is nothing to compare.
    moved = {log for log in live.sample.log_ids if now.get(log) != live.loads.get(log)}
    lost = sorted((report.lost | report.lost_files).items())
    found = [
        *(f"lost {name}: {why}" for name, why in lost),
        *differing(live.side, rebuilt, moved),
    ]
    verdict = "different" if found else "equal"
    return _Outcome(verdict, live.sample, report, seconds, "; ".join(found)[:4_000])


def _look(site: Site, days: Sequence[date]) -> _Live:
    """One moment of the live database. What is compared afterwards is that, so that compaction,
    retention and reparsing may go on."""
    for tries_left in range(_TRIES - 1, -1, -1):
        while tell(site, settled=timedelta(0)):
            pass
        with site.transaction() as cursor:
            catalog_compare.look(cursor)
            # Between telling and looking something may have changed.
            if tries_left and not catalog_compare.is_told(cursor, days):
                continue
            at = site.now()
            since = telemetry_window(site.settings.postgres_telemetry_days, at.date())
            sample = catalog_compare.sample(cursor, days)
            loads = catalog_compare.loads(cursor, sample)
            side = catalog_compare.digests(cursor, sample, at, since)
            return _Live(sample, side, loads, at, since)
    raise AssertionError("the last try looks in any case")


@contextmanager
def _scratch_database(site: Site) -> Iterator[str]:
    """The name of a database that is dropped at the end; those of dead drills are dropped first."""
    admin_url = required(site.settings.admin_database_url, "LOGBOX_ADMIN_DATABASE_URL")
    live = database_of(required(site.settings.database_url, "LOGBOX_DATABASE_URL"))
    number = uuid4().hex[:_SCRATCH_DIGITS]
    # A name of Postgres has 63 bytes at most.
    base = live[: 63 - len(_SCRATCH) - _SCRATCH_DIGITS] + _SCRATCH
    name = f"{base}{number}"
    with databases.administrator(admin_url) as cursor:
        pattern = f"{re.escape(base)}[0-9a-f]{{{_SCRATCH_DIGITS}}}"
        for dead in databases.unused(cursor, pattern):
            databases.drop(cursor, dead)
    try:
        yield name
    finally:
        with databases.administrator(admin_url) as cursor:
            databases.drop(cursor, name)


def _finished(begun: Drill, everything_bytes: int, outcome: _Outcome, site: Site) -> Drill:
    sample = outcome.sample
    rate = sample.size_bytes / outcome.seconds
    return Drill(
        begun.drill_id, begun.started_at, site.now(), outcome.verdict, sample.days,
        len(sample.log_ids), sample.size_bytes, outcome.report.progress.rows, outcome.seconds, rate,
        everything_bytes / rate if rate else None, outcome.detail or None,
    )  # fmt: skip
