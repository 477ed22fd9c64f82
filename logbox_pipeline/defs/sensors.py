"""Sensors: one looks at landing, one at the replica, one tells people of failed runs. Bodies call
steps."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from logbox_pipeline.adapters.catalog_batches import OpenBatch, working_runs
from logbox_pipeline.core.batching import RunSeen, RunState
from logbox_pipeline.core.errors import LogboxError, TransientError
from logbox_pipeline.defs.assets import BATCH_TAG, RUN_KEY_TAG
from logbox_pipeline.defs.jobs import ingest_job, replicate_job
from logbox_pipeline.defs.partitions import partition_of
from logbox_pipeline.defs.resources import SiteResource
from logbox_pipeline.settings import load_settings
from logbox_pipeline.steps.alert import alert_of_failure
from logbox_pipeline.steps.replicate import due, is_replicating
from logbox_pipeline.steps.sense import Tick, sense
from logbox_pipeline.steps.site import Site

REPLICATION_REST_S = 300
"""After a run that failed, and in external mode, where a run only looks again."""

_ENDED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
_STARTED = {dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING}


@dg.sensor(
    job=ingest_job,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Lists landing, records what is new, forms batches and asks for one run each.",
)
def landing_sensor(context: dg.SensorEvaluationContext, site: SiteResource) -> dg.SensorResult:
    opened = site.open()
    try:
        tick = look(context.instance, opened, hint=json.loads(context.cursor or "{}"))
    except LogboxError as error:
        # One sentence in the UI instead of a traceback; the next tick tries again.
        raise dg.Failure(description=str(error)) from None
    if tick.trouble:
        context.log.warning(tick.trouble)
    return dg.SensorResult(
        run_requests=[request_of(batch) for batch in tick.offered],
        asset_events=[
            dg.AssetMaterialization(
                "received_logs",
                description="seen in landing",
                partition=partition_of(day),
                metadata={
                    "dagster/row_count": arrived.files,
                    "received_files": arrived.files,
                    "received_bytes": arrived.size_bytes,
                },
            )
            for day, arrived in sorted(tick.arrived.items())
        ],
        skip_reason=_skip_reason(tick) if not tick.offered else None,
        cursor=json.dumps(tick.hint),
    )


def look(instance: dg.DagsterInstance, site: Site, *, hint: Mapping[str, str]) -> Tick:
    """One tick: free the slots of dead runs, then sense, told by Dagster which runs live."""
    _fail_dead_runs(instance, site)
    return sense(site, hint=hint, run_states=lambda batches: _run_states(instance, batches))


def request_of(batch: OpenBatch) -> dg.RunRequest:
    """What asks for the run of one attempt of a batch."""
    return dg.RunRequest(
        run_key=batch.run_key,
        partition_key=partition_of(batch.received_on),
        tags={BATCH_TAG: str(batch.batch_id)},
    )


def _skip_reason(tick: Tick) -> str:
    if tick.paused_by:
        return f"Paused by {tick.paused_by}; `logbox resume` goes on. {tick.new} new."
    trouble = f" {tick.trouble}" if tick.trouble else ""
    return f"{tick.listed} objects in landing, {tick.new} new, nothing to offer.{trouble}"


def _run_states(instance: dg.DagsterInstance, batches: list[OpenBatch]) -> dict[str, RunSeen]:
    records = instance.get_run_records(
        dg.RunsFilter(tags={RUN_KEY_TAG: [batch.run_key for batch in batches]}), ascending=True
    )
    seen = {}
    for record in records:
        run = record.dagster_run
        since = datetime.fromtimestamp(record.start_time, UTC) if record.start_time else None
        state = (
            RunState.ENDED
            if run.status in _ENDED
            else RunState.STARTED
            if run.status in _STARTED
            else RunState.QUEUED
        )
        seen[run.tags[RUN_KEY_TAG]] = RunSeen(state, since)
    return seen


def _fail_dead_runs(instance: dg.DagsterInstance, site: Site) -> None:
    """Free the slots of runs whose process is gone: Dagster would wait for them for ever.

    Judged by the catalog alone, so that it does not matter when or how a run was given up.
    """
    before = site.now() - timedelta(seconds=site.settings.run_dead_after_s)
    with site.transaction() as cursor:
        working = working_runs(cursor, finished_after=before)
    for record in instance.get_run_records(
        dg.RunsFilter(job_name=ingest_job.name, statuses=list(_STARTED))
    ):
        run, started = record.dagster_run, record.start_time
        is_given_up = BATCH_TAG in run.tags and run.run_id not in working
        if is_given_up and started is not None and started < before.timestamp():
            instance.report_run_failed(
                run, "Logbox: this run shows no sign of life; its batch goes on without it."
            )


@dg.sensor(
    job=replicate_job,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for one run at a time while the replica lacks anything of the archive.",
)
def replication_sensor(
    context: dg.SensorEvaluationContext, site: SiteResource
) -> dg.SensorResult | dg.SkipReason:
    opened = site.open()
    try:
        if why_not := _why_no_replication(context.instance, opened):
            return dg.SkipReason(why_not)
        found = due(opened)
    except TransientError as away:
        # Skipped, not failed: it is caught up later, and the check on its lag tells when that is
        # too late.
        return dg.SkipReason(str(away))
    except LogboxError as error:
        raise dg.Failure(description=str(error)) from None
    if found.why_not:
        return dg.SkipReason(found.why_not)
    tags = {"logbox/owed_files": str(found.lag.files), "logbox/lag_s": str(found.lag_s)}
    return dg.SensorResult(run_requests=[dg.RunRequest(tags=tags)])


def _why_no_replication(instance: dg.DagsterInstance, site: Site) -> str | None:
    """A run is at work, or the last one's end tells to wait; None when neither."""
    records = instance.get_run_records(dg.RunsFilter(job_name=replicate_job.name), limit=1)
    if not records:
        return None
    run, started, ended = records[0].dagster_run, records[0].start_time, records[0].end_time
    now = site.now().timestamp()
    if run.status not in _ENDED:
        is_old = started is not None and now - started > site.settings.run_dead_after_s
        if run.status in _STARTED and is_old and not is_replicating(site):
            # Its process is gone; Dagster would wait for it for ever.
            instance.report_run_failed(run, "Logbox: this run shows no sign of life.")
        return f"Run {run.run_id} is at work."
    rests = run.status is not dg.DagsterRunStatus.SUCCESS or (
        site.settings.replicates_by == "external"
    )
    if rests and ended is not None and now - ended < REPLICATION_REST_S:
        return (
            f"The last run ended {run.status.value} {now - ended:.0f} s ago; the next is due "
            f"{REPLICATION_REST_S} s after it."
        )
    return None


@dg.run_failure_sensor(
    name="alert_on_failure",
    monitor_all_code_locations=False,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Posts each failed run to LOGBOX_ALERT_WEBHOOK_URL: batch, files, error, command.",
)
def alert_on_failure(context: dg.RunFailureSensorContext) -> None:
    if load_settings().alert_webhook_url:
        alert_of_failure(
            SiteResource().open(),
            job=context.dagster_run.job_name,
            run_id=context.dagster_run.run_id,
            batch_id=context.dagster_run.tags.get(BATCH_TAG),
            error=context.failure_event.message or "no message",
        )
