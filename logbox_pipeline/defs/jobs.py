"""Jobs: ingest a batch, look at the checks, purge Dagster's old events."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from logbox_pipeline.defs.assets import SPECS
from logbox_pipeline.defs.checks import catalog_checks, row_count_check
from logbox_pipeline.settings import load_settings

PURGE_AT_ONCE = 1_000

ingest_job = dg.define_asset_job(
    "ingest",
    selection=dg.AssetSelection.assets(*(spec.key for spec in SPECS)),
    executor_def=dg.in_process_executor,
    description="One batch of one day: verify, archive, parse, load.",
)

checks_job = dg.define_asset_job(
    "checks",
    selection=dg.AssetSelection.checks(catalog_checks, row_count_check),
    executor_def=dg.in_process_executor,
    description="Look at the catalog: refusals, stale objects, freshness, drift, row counts.",
)


@dg.op
def purge_runs(context: dg.OpExecutionContext) -> None:
    """Delete finished runs and their events that are older than LOGBOX_EVENT_LOG_DAYS."""
    before = datetime.now(UTC) - timedelta(days=load_settings().event_log_days)
    ended = [
        dg.DagsterRunStatus.SUCCESS,
        dg.DagsterRunStatus.FAILURE,
        dg.DagsterRunStatus.CANCELED,
    ]
    old = context.instance.get_runs(
        dg.RunsFilter(statuses=ended, created_before=before), limit=PURGE_AT_ONCE
    )
    for run in old:
        context.instance.delete_run(run.run_id)
    context.add_output_metadata({"purged_runs": len(old)})


@dg.job(
    executor_def=dg.in_process_executor,
    description="Dagster keeps every event for ever; the catalog is the record that counts.",
)
def purge_event_log() -> None:
    purge_runs()
