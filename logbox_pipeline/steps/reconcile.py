"""Reconcile: compare landing, archive, replica, Postgres and lake, and write down each difference.

It mends nothing. A store that cannot be asked leaves its comparisons unchecked, and what was open
there as it was: "could not check" is never "is wrong", nor "is right".
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from uuid import UUID, uuid4

from logbox_pipeline.adapters import (
    catalog_drifts,
    catalog_inventory,
    catalog_reconciliations,
)
from logbox_pipeline.adapters.catalog_drifts import OpenDrift
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.adapters.turns import Turn, turn
from logbox_pipeline.core import keys
from logbox_pipeline.core.errors import LogboxError, TransientError
from logbox_pipeline.core.ports import ListedObject
from logbox_pipeline.core.reconciliation import Comparison, Drift, Place, without_echoes
from logbox_pipeline.core.retention import telemetry_window
from logbox_pipeline.steps.compare_rows import compare_lake, compare_postgres
from logbox_pipeline.steps.compare_stores import (
    MOST_DRIFTS,
    Found,
    compare_landing,
    compare_store,
    stopped_at_most,
)
from logbox_pipeline.steps.lost_catalog import lost_catalog
from logbox_pipeline.steps.scrub import scrub
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.verify_seals import seal_drifts


class Verdict(StrEnum):
    CLEAN = "clean"
    DRIFT = "drift"
    UNCHECKED = "unchecked"


@dataclass(frozen=True)
class Reconciliation:
    """What one run compared and found. `drifts` are open now: seen by it, or left as they were by
    a comparison that could not be made."""

    reconciliation_id: UUID
    is_deep: bool
    started_at: datetime
    finished_at: datetime
    verdict: Verdict
    compared: Mapping[str, int]
    unchecked: Mapping[str, str]
    new_drifts: int
    open_drifts: int
    resolved_drifts: int
    read_bytes: int
    drifts: tuple[Drift, ...]


def reconcile(
    site: Site,
    *,
    deep: bool = False,
    scrub_days: int | None = None,
    listings: Mapping[Place, Iterable[ListedObject]] | None = None,
) -> Reconciliation:
    """Compare by counts and sizes, or `deep`: also digests of rows, and a share of all bytes.

    scrub_days: everything stored is read again in so many deep runs; None: LOGBOX_SCRUB_DAYS.
    listings: taken earlier, by place.
    Raises TransientError when Postgres is away, or another reconciliation runs.
    """
    with site.connection() as connection, turn(connection, Turn.RECONCILIATION) as is_ours:
        if not is_ours:
            raise TransientError(
                "another reconciliation is running", hint="wait for it, see `logbox status`"
            )
        days = (scrub_days or site.settings.scrub_days) if deep else None
        return _reconcile(site, deep, days, listings or {})


def _reconcile(
    site: Site,
    deep: bool,
    scrub_days: int | None,
    listings: Mapping[Place, Iterable[ListedObject]],
) -> Reconciliation:
    reconciliation_id, started_at = uuid4(), site.now()
    with site.transaction() as cursor:
        catalog_reconciliations.begin(cursor, reconciliation_id, deep, started_at)
        before = catalog_drifts.open_drifts(cursor)
    run = _Run(before)
    try:
        lost = lost_catalog(site)
    except LogboxError as error:
        # Beside an empty catalog everything is a stray, unless the archive says that it is new.
        run.unchecked = dict.fromkeys(Comparison, error.message)
        return _record(site, reconciliation_id, started_at, deep, run)
    if lost is not None:
        run.found[Comparison.CATALOG] = Found(1, (lost,))
        return _record(site, reconciliation_id, started_at, deep, run)

    def bytes_of(store: S3Bucket, place: Place, which: Comparison) -> Found:
        open_before = {one.subject for one in run.open_in(which)}
        scrubbed = scrub(site, store, place, open_before, scrub_days)
        return Found(scrubbed.objects, scrubbed.drifts, scrubbed.read_bytes)

    run.make(Comparison.LANDING, lambda: compare_landing(site))
    run.make(Comparison.CATALOG, lambda: _compare_catalog(site))
    stores = [(Place.ARCHIVE, site.archive, Comparison.ARCHIVE, Comparison.ARCHIVE_BYTES)]
    if site.replica is not None:
        stores.append((Place.REPLICA, site.replica, Comparison.REPLICA, Comparison.REPLICA_BYTES))
    for place, store, by_name, by_bytes in stores:
        run.make(by_name, partial(compare_store, site, store, place, listings.get(place)))
        run.make(by_bytes, partial(bytes_of, store, place, by_bytes), needs=by_name)
    run.make(
        Comparison.POSTGRES_ROWS,
        lambda: compare_postgres(
            site,
            deep=deep,
            open_before=run.open_in(Comparison.POSTGRES_ROWS),
            since=telemetry_window(site.settings.postgres_telemetry_days, started_at.date()),
        ),
    )
    run.make(
        Comparison.LAKE_FILES,
        lambda: compare_store(site, site.lake, Place.LAKE, listings.get(Place.LAKE)),
    )
    run.make(
        Comparison.LAKE_ROWS,
        lambda: compare_lake(
            site,
            deep=deep,
            open_before=run.open_in(Comparison.LAKE_ROWS),
            listed=run.found[Comparison.LAKE_FILES].drifts,
        ),
        needs=Comparison.LAKE_FILES,
    )
    if deep and {Comparison.POSTGRES_ROWS, Comparison.LAKE_ROWS} <= run.found.keys():
        run.make(Comparison.MEASURE, lambda: Found(0, ()))
    if deep:
        run.make(Comparison.SEALS, lambda: _compare_seals(site))
    return _record(site, reconciliation_id, started_at, deep, run)


class _Run:
    """The comparisons of one run: what each found, or why it could not be made."""

    def __init__(self, open_before: Collection[OpenDrift]) -> None:
        self.open_before = open_before
        self.found: dict[Comparison, Found] = {}
        self.unchecked: dict[Comparison, str] = {}

    def make(
        self, which: Comparison, compare: Callable[[], Found], needs: Comparison | None = None
    ) -> None:
        if needs is not None and needs in self.unchecked:
            self.unchecked[which] = self.unchecked[needs]
            return
        try:
            self.found[which] = compare()
        except LogboxError as error:
            self.unchecked[which] = error.message

    def open_in(self, which: Comparison) -> list[OpenDrift]:
        return [one for one in self.open_before if one.comparison is which]

    def drifts(self) -> Iterator[Drift]:
        for found in self.found.values():
            yield from found.drifts

    def gone(self, seen: Collection[UUID]) -> list[UUID]:
        """Of those that were open, what a comparison that saw everything did not find again."""
        return [
            one.drift_id
            for one in self.open_before
            if one.drift_id not in seen
            and (found := self.found.get(one.comparison)) is not None
            and found.stopped is None
        ]


def _compare_catalog(site: Site) -> Found:
    with site.transaction() as cursor:
        compared, drifts = catalog_inventory.catalog_drifts(cursor, MOST_DRIFTS)
    return stopped_at_most(Found(compared, tuple(drifts)))


def _compare_seals(site: Site) -> Found:
    if not site.archive.list_page(keys.SEALS_PREFIX, most=1).objects:
        return Found(0, ())
    compared, drifts = seal_drifts(site, rereads_files=True)
    return Found(compared, tuple(drifts))


def _record(
    site: Site, reconciliation_id: UUID, started_at: datetime, deep: bool, run: _Run
) -> Reconciliation:
    seen = without_echoes(run.drifts())
    gone = run.gone({one.drift_id for one in seen})
    unchecked = {which.value: why for which, why in run.unchecked.items()} | {
        which.value: found.stopped for which, found in run.found.items() if found.stopped
    }
    compared = {which.value: found.compared for which, found in run.found.items()}
    read_bytes = sum(found.read_bytes for found in run.found.values())
    with site.transaction() as cursor:
        now = site.now()
        new = catalog_drifts.record_drifts(cursor, seen, now, keeps_acknowledged=True)
        catalog_drifts.resolve(cursor, gone, now)
        still_open = catalog_drifts.described(cursor)
        verdict = Verdict.CLEAN
        if still_open:
            verdict = Verdict.DRIFT
        elif unchecked:
            verdict = Verdict.UNCHECKED
        catalog_reconciliations.finish(
            cursor,
            reconciliation_id,
            verdict=verdict,
            compared=compared,
            unchecked=unchecked,
            new_drifts=new,
            open_drifts=len(still_open),
            resolved_drifts=len(gone),
            read_bytes=read_bytes,
            now=now,
        )
    return Reconciliation(
        reconciliation_id,
        deep,
        started_at,
        now,
        verdict,
        compared,
        unchecked,
        new,
        len(still_open),
        len(gone),
        read_bytes,
        tuple(still_open),
    )
