"""Jobs: ingest, replicate, look, compare, repair, rehearse, seal, care for the lake, purge."""

import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.defs.assets import (
    DEEP_TAG,
    SPECS,
    access_log,
    reconciliation,
    recovery_drill,
    replicated_logs,
)
from logbox_pipeline.defs.checks import (
    catalog_checks,
    drill_check,
    refused_requests_check,
    row_count_check,
)
from logbox_pipeline.defs.report import repairs_table
from logbox_pipeline.defs.resources import SiteResource
from logbox_pipeline.settings import load_settings
from logbox_pipeline.steps.compact import compact
from logbox_pipeline.steps.repair import repair
from logbox_pipeline.steps.retain import retain
from logbox_pipeline.steps.seal import seal_all

PURGE_AT_ONCE = 1_000
PURGE_S = 3_600.0

ingest_job = dg.define_asset_job(
    "ingest",
    selection=dg.AssetSelection.assets(*(spec.key for spec in SPECS)),
    executor_def=dg.in_process_executor,
    description="One batch of one day: verify, archive, parse, load.",
)

replicate_job = dg.define_asset_job(
    "replicate",
    selection=dg.AssetSelection.assets(replicated_logs),
    executor_def=dg.in_process_executor,
    description="Bring the replica up to date with the archive.",
)

reconcile_job = dg.define_asset_job(
    "reconcile",
    selection=dg.AssetSelection.assets(reconciliation),
    executor_def=dg.in_process_executor,
    description="Compare every store with every other, by names, sizes and counts.",
)

reconcile_deep_job = dg.define_asset_job(
    "reconcile_deep",
    selection=dg.AssetSelection.assets(reconciliation),
    executor_def=dg.in_process_executor,
    tags={DEEP_TAG: "true"},
    description="The same by digest of every row; and the scrub: a share of all stored bytes.",
)

drill_job = dg.define_asset_job(
    "drill",
    selection=dg.AssetSelection.assets(recovery_drill) | dg.AssetSelection.checks(drill_check),
    executor_def=dg.in_process_executor,
    description="Rebuild some days into a scratch database, compare, drop it.",
)

checks_job = dg.define_asset_job(
    "checks",
    selection=dg.AssetSelection.checks(catalog_checks, row_count_check, drill_check),
    executor_def=dg.in_process_executor,
    description="Look at the catalog: refusals, stale objects, freshness, drift, row counts.",
)

audit_job = dg.define_asset_job(
    "audit",
    selection=dg.AssetSelection.assets(access_log)
    | dg.AssetSelection.checks(refused_requests_check),
    executor_def=dg.in_process_executor,
    description="Load what is new in the stores' access logs, and look for refused requests.",
)


class RepairConfig(dg.Config):
    """Which drifts to mend, all open ones when empty; nothing is changed unless `confirm` is
    true."""

    drifts: list[str] = Field(
        [], description="Ids, see `logbox drift list`; all open ones if empty."
    )
    confirm: bool = Field(False, description="Without it, the run only says what it would do.")


@dg.op
def mend_drifts(context: dg.OpExecutionContext, config: RepairConfig, site: SiteResource) -> None:
    """Mend drifts from a side that is proven by digest, or say what would be done."""
    try:
        done = repair(
            site.open(),
            config.drifts,
            dry_run=not config.confirm,
            by=f"Dagster run {context.run_id}",
        )
    except LogboxError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    context.add_output_metadata(
        {
            "drifts": len(done),
            "done": sum(one.state == "done" for one in done),
            "is_dry_run": not config.confirm,
            "repairs": repairs_table(done),
        }
    )
    if left := [one for one in done if one.state in ("refused", "failed")]:
        raise dg.Failure(
            description=f"{len(left)} of {len(done)} drift(s) could not be mended: "
            f"{left[0].drift.subject}: {left[0].detail}",
            metadata={"repairs": repairs_table(done)},
            allow_retries=False,
        )


@dg.job(
    name="repair",
    executor_def=dg.in_process_executor,
    description="Mend open drifts. Launch it with `confirm: true`; without, it only says what it "
    "would do.",
)
def repair_job() -> None:
    mend_drifts()


@dg.op
def seal_manifests(context: dg.OpExecutionContext, site: SiteResource) -> None:
    """Add a signed list of what was written since the last one to each client's chain."""
    try:
        made = seal_all(site.open())
    except LogboxError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    context.add_output_metadata(
        {
            "seals": len(made),
            "sealed_files": sum(one.files for one in made),
            "heads": dg.MetadataValue.table(
                [dg.TableRecord(asdict(one)) for one in made],
                schema=dg.TableSchema(
                    [
                        dg.TableColumn("client", "string"),
                        dg.TableColumn("number", "int"),
                        dg.TableColumn("sha256", "string"),
                        dg.TableColumn("files", "int"),
                    ]
                ),
            ),
        }
    )


@dg.job(
    name="seal",
    executor_def=dg.in_process_executor,
    description="Signed lists of the manifests, chained: `logbox verify-seals` checks them.",
)
def seal_job() -> None:
    seal_manifests()


@dg.op
def purge_runs(context: dg.OpExecutionContext) -> None:
    """Delete finished runs and their events that are older than LOGBOX_EVENT_LOG_DAYS."""
    before = datetime.now(UTC) - timedelta(days=load_settings().event_log_days)
    context.add_output_metadata({"purged_runs": purge(context.instance, before)})


def purge(instance: dg.DagsterInstance, before: datetime) -> int:
    """Delete all ended runs from before then, for at most PURGE_S; how many went. A busy site has
    thousands a day: what is left over each night would grow for ever."""
    ended = [
        dg.DagsterRunStatus.SUCCESS,
        dg.DagsterRunStatus.FAILURE,
        dg.DagsterRunStatus.CANCELED,
    ]
    deadline = time.monotonic() + PURGE_S
    purged = 0
    while time.monotonic() < deadline:
        old = instance.get_runs(
            dg.RunsFilter(statuses=ended, created_before=before), limit=PURGE_AT_ONCE
        )
        for run in old:
            instance.delete_run(run.run_id)
        purged += len(old)
        if not old:
            break
    return purged


@dg.job(
    executor_def=dg.in_process_executor,
    description="Dagster keeps every event for ever; the catalog is the record that counts.",
)
def purge_event_log() -> None:
    purge_runs()


@dg.op
def merge_lake_files(context: dg.OpExecutionContext, site: SiteResource) -> None:
    """Merge the small Parquet files of days that are over."""
    try:
        report = compact(site.open())
    except LogboxError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    for one in report.left:
        context.log.warning(f"left: {one.table_name} of {one.received_on}: {one.why}")
    context.add_output_metadata(report.counts)


@dg.job(
    name="compact",
    executor_def=dg.in_process_executor,
    description="Parquet files of closed days become files of about LOGBOX_LAKE_FILE_BYTES.",
)
def compact_job() -> None:
    merge_lake_files()


@dg.op
def drop_old_telemetry(context: dg.OpExecutionContext, site: SiteResource) -> None:
    """Drop months of telemetry that LOGBOX_POSTGRES_TELEMETRY_DAYS does not ask for."""
    try:
        report = retain(site.open())
    except LogboxError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    for one in report.kept:
        partition = one.partition
        context.log.warning(f"kept: {partition.table_name} of {partition.month:%Y-%m}: {one.why}")
    context.add_output_metadata(report.counts)


@dg.job(
    name="retain",
    executor_def=dg.in_process_executor,
    description="What is older than LOGBOX_POSTGRES_TELEMETRY_DAYS leaves Postgres, not the lake.",
)
def retain_job() -> None:
    drop_old_telemetry()
