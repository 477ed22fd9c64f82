"""Ingest: one batch from claim to an empty landing. Read this to know the journey of a log."""

from collections.abc import Iterator
from datetime import date
from uuid import UUID

from logbox_pipeline.adapters import catalog_batches, catalog_deliveries, catalog_landing
from logbox_pipeline.adapters.catalog_batches import Claim, OpenBatch
from logbox_pipeline.core.batching import BatchLimits, form
from logbox_pipeline.core.errors import FenceLost, LogboxError
from logbox_pipeline.steps import report
from logbox_pipeline.steps.archive import archive
from logbox_pipeline.steps.attempt import attempt, claim
from logbox_pipeline.steps.head_start import head_start
from logbox_pipeline.steps.load import load
from logbox_pipeline.steps.parse import begin_parsing, parse
from logbox_pipeline.steps.parse_pool import make_ready
from logbox_pipeline.steps.report import StepReport
from logbox_pipeline.steps.settle import settle
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.verify import verify


def ingest(site: Site, held: Claim) -> Iterator[StepReport]:
    """Take a claimed batch from landing to Postgres and the lake, step by step.

    Raises TransientError (the batch is offered again later), FenceLost (another attempt has it)
    or whatever was wrong; the catalog knows by then.
    """
    with attempt(site, held):
        with site.transaction() as cursor:
            deliveries = catalog_deliveries.of_batch(cursor, held.batch_id)
        make_ready()
        started_at, watch = site.now(), report.Stopwatch()
        verified = verify(site, held)
        yield report.verified(verified, deliveries, started_at, watch.lap())
        with head_start(site, held) as ahead:
            with begin_parsing(site, held) as early:
                parsing = report.Stopwatch()
                archived = archive(site, held)
                yield report.archived(archived, watch.lap())
                parsed = parse(site, held, ahead, early)
            parsing_s = parsing.lap()
            watch.lap()
            loaded = load(site, held, parsed, ahead)
        yield report.parsed(parsed, loaded.lake, deliveries, parsing_s)
        settled = settle(site, held)
        yield report.loaded(loaded, settled, watch.lap())


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
    yield from report.merge(reports)


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
