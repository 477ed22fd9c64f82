"""Ingest: one batch from claim to an empty landing. Read this to know the journey of a log."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

from logbox_pipeline.adapters import catalog_batches, catalog_deliveries, catalog_landing
from logbox_pipeline.adapters.catalog_batches import Claim, OpenBatch
from logbox_pipeline.core.batching import BatchLimits, form
from logbox_pipeline.core.errors import FenceLost, LogboxError
from logbox_pipeline.steps.archive import archive
from logbox_pipeline.steps.attempt import attempt, claim
from logbox_pipeline.steps.load import load
from logbox_pipeline.steps.parse import parse
from logbox_pipeline.steps.settle import settle
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.verify import verify

SAMPLE = 50
"""Refused files told of per step; the catalog has them all."""


@dataclass(frozen=True)
class RefusedFile:
    """One file that did not come through: shown to people, so capped and short."""

    delivery_id: UUID
    reason: str
    detail: str


@dataclass(frozen=True)
class StepReport:
    """What one step did. `asset` is the Dagster asset; counts say their unit in their name."""

    asset: str
    seconds: float
    counts: dict[str, int]
    refused: tuple[RefusedFile, ...] = ()
    tables: dict[str, int] = field(default_factory=dict)


def ingest(site: Site, held: Claim) -> Iterator[StepReport]:
    """Take a claimed batch from landing to Postgres and the lake, step by step.

    Raises TransientError (the batch is offered again later), FenceLost (another attempt has it)
    or whatever was wrong; the catalog knows by then.
    """
    with attempt(site, held):
        started = time.monotonic()
        verified = verify(site, held)
        yield StepReport(
            "verified_logs",
            time.monotonic() - started,
            {
                "verified_files": verified.verified,
                "read_bytes": verified.read_bytes,
                "quarantined_files": len(verified.refused),
                "vanished_files": len(verified.gone),
                "waiting_files": verified.waiting,
                "waited_ms": _longest_wait_ms(site, held),
            },
            tuple(
                RefusedFile(one.delivery_id, one.reason, one.detail)
                for one in verified.not_kept[:SAMPLE]
            ),
        )
        started = time.monotonic()
        archived = archive(site, held)
        yield StepReport(
            "archived_logs",
            time.monotonic() - started,
            {
                "archived_files": archived.archived,
                "stored_objects": archived.stored,
                "stored_bytes": archived.stored_bytes,
                "manifests": len(archived.manifests),
            },
        )
        started = time.monotonic()
        parsed = parse(site, held)
        yield StepReport(
            "parsed_logs",
            time.monotonic() - started,
            {
                "parsed_logs": parsed.parsed,
                "unparsed_logs": len(parsed.unparsed),
                "duplicate_files": parsed.duplicates,
                "damaged_logs": parsed.damaged,
                "rows": sum(parsed.table_rows.values()),
                "lake_bytes": parsed.lake_bytes,
            },
            tuple(
                RefusedFile(one.delivery_id, one.reason, one.detail)
                for one in parsed.unparsed[:SAMPLE]
            ),
            parsed.table_rows,
        )
        started = time.monotonic()
        loaded = load(site, held, parsed)
        settled = settle(site, held)
        yield StepReport(
            "loaded_logs",
            time.monotonic() - started,
            {
                "loaded_logs": loaded.logs,
                "rows": sum(loaded.table_rows.values()),
                "left_landing_files": settled.left_landing,
            },
            (),
            loaded.table_rows,
        )


def ingest_offered(site: Site, run_key: str, run_id: str) -> Iterator[StepReport]:
    """Do what the sensor offered: `run_key` is `<batch id>:<attempt>`."""
    batch_id, _, number = run_key.partition(":")
    yield from ingest(site, claim(site, UUID(batch_id), int(number), run_id))


def ingest_days(site: Site, since: date, until: date, run_id: str) -> Iterator[StepReport]:
    """Make sure that all that was received on these days is done; what is loaded stays as it is.

    Batches that another run works on are left to it.
    """
    with site.transaction() as cursor:
        limits = site.settings
        waiting = [
            one
            for one in catalog_landing.candidates(cursor, 100_000)
            if since <= one.received_on <= until
        ]
        formed = form(
            waiting,
            BatchLimits(limits.batch_files, limits.batch_bytes, limits.batch_wait_s),
            is_idle=True,
            now=site.now(),
        )
        catalog_batches.insert_batches(cursor, formed, site.now())
        unfinished = catalog_batches.unfinished_of_days(cursor, since, until)
    reports: list[StepReport] = []
    failure: LogboxError | None = None
    for batch in unfinished:
        try:
            reports += ingest(site, _claim_anew(site, batch, run_id))
        except FenceLost:
            continue
        except LogboxError as error:
            failure = error
    if failure is not None:
        raise failure
    yield from merge(reports)


def merge(reports: Iterable[StepReport]) -> Iterator[StepReport]:
    """One report per asset, counts added up; every asset is there even when nothing was done."""
    for asset in ("verified_logs", "archived_logs", "parsed_logs", "loaded_logs"):
        same = [one for one in reports if one.asset == asset]
        counts: Counter[str] = Counter()
        tables: Counter[str] = Counter()
        for one in same:
            counts.update(one.counts)
            tables.update(one.tables)
        yield StepReport(
            asset,
            sum((one.seconds for one in same), 0.0),
            dict(counts),
            tuple(refused for one in same for refused in one.refused)[:SAMPLE],
            dict(tables),
        )


def _claim_anew(site: Site, batch: OpenBatch, run_id: str) -> Claim:
    """An attempt of our own for a batch that no living run works on."""
    with site.transaction() as cursor:
        is_alive = (
            batch.state == "running"
            and batch.heartbeat_at is not None
            and ((site.now() - batch.heartbeat_at).total_seconds() < site.settings.run_dead_after_s)
        )
        if is_alive:
            raise FenceLost(f"batch {batch.batch_id} is being worked on by run {batch.run_id}")
        number = catalog_batches.renew(cursor, batch.batch_id, batch.attempt)
        return catalog_batches.claim(cursor, batch.batch_id, number, run_id, site.now())


def _longest_wait_ms(site: Site, held: Claim) -> int:
    """How long the batch's first arrival had stood in landing when its run began."""
    with site.transaction() as cursor:
        deliveries = catalog_deliveries.of_batch(cursor, held.batch_id)
    if not deliveries:
        return 0
    waited = site.now() - min(one.received_at for one in deliveries)
    return int(waited.total_seconds() * 1000)
