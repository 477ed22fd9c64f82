"""Assets: the journey of one batch, one asset per step. Bodies call steps and report.

No `from __future__ import annotations` here: Dagster reads the annotations.
"""

from collections.abc import Iterator

import dagster as dg

from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.defs.columns import columns_of, event_columns
from logbox_pipeline.defs.partitions import days_of, received_on
from logbox_pipeline.defs.report import drilled, materialization, reconciled, sentence
from logbox_pipeline.defs.resources import SiteResource
from logbox_pipeline.steps.access_log import load_access_log
from logbox_pipeline.steps.drill import drill
from logbox_pipeline.steps.ingest import ingest_days, ingest_offered
from logbox_pipeline.steps.reconcile import reconcile
from logbox_pipeline.steps.replicate import replicate

BATCH_TAG = "logbox/batch_id"
RUN_KEY_TAG = "dagster/run_key"
DEEP_TAG = "logbox/deep"
"""A reconciliation that digests rows and reads bytes again, beside counting."""

OWNERS = ["team:logbox"]


def _spec(
    key: str, after: str | None, kinds: set[str], columns: dg.TableSchema, description: str
) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        deps=[after] if after else [],
        description=description,
        group_name="ingest",
        owners=OWNERS,
        kinds=kinds,
        partitions_def=received_on,
        metadata={"dagster/column_schema": columns},
    )


received_logs = _spec(
    "received_logs",
    None,
    {"s3"},
    columns_of("deliveries"),
    "Objects that drones uploaded to `landing/<client>/...`. Written by the drones, seen by "
    "`landing_sensor`; each becomes one row of `logbox.deliveries`.",
)

SPECS = [
    _spec(
        "verified_logs",
        "received_logs",
        {"s3", "postgres"},
        columns_of("deliveries"),
        "Every object is read once and its SHA-256 compared with the one its drone declared. "
        "Bytes that cannot be trusted are copied to `quarantine/` with a reason; nothing is lost.",
    ),
    _spec(
        "archived_logs",
        "verified_logs",
        {"s3"},
        columns_of("objects"),
        "The original bytes, once each, at `archive/<client>/<aa>/<sha256>`, proven by the "
        "store's own checksum; then the intake manifest. Only after this may landing be cleared.",
    ),
    _spec(
        "parsed_logs",
        "archived_logs",
        {"python", "arrow", "parquet"},
        event_columns(),
        "Logs turned into tables by their content's format, as Parquet below `lake/<table>/`. "
        "What no parser reads is kept and listed as `unparsed`.",
    ),
    _spec(
        "loaded_logs",
        "parsed_logs",
        {"postgres"},
        columns_of("log_events"),
        "The same rows in Postgres (`logbox.log_events`, `telemetry.*`), committed in one "
        "transaction with the states and the Parquet files they agree with.",
    ),
]


@dg.multi_asset(specs=SPECS, can_subset=False, name="ingest_batch")
def ingest_batch(
    context: dg.AssetExecutionContext, site: SiteResource
) -> Iterator[dg.MaterializeResult[None]]:
    """One batch when the sensor asked for it; the whole unfinished day when a person did."""
    opened = site.open()
    if context.run.tags.get(BATCH_TAG):
        steps = ingest_offered(opened, context.run.tags[RUN_KEY_TAG], context.run.run_id)
    else:
        since, until = days_of(context.partition_time_window.start.date())
        steps = ingest_days(opened, since, until, context.run.run_id)
    try:
        for step in steps:
            context.log.info(sentence(step))
            yield materialization(step)
    except LogboxError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


@dg.asset(
    deps=["archived_logs"],
    description="The same bytes in another region, under another key: every file of the archive, "
    "copied (or with LOGBOX_REPLICATION=external only looked for), and proven there by digest. "
    "Nothing waits for it.",
    group_name="ingest",
    owners=OWNERS,
    kinds={"s3"},
    metadata={"dagster/column_schema": columns_of("objects")},
)
def replicated_logs(
    context: dg.AssetExecutionContext, site: SiteResource
) -> dg.MaterializeResult[None]:
    """Whatever is owed, whichever day it came: no partition."""
    try:
        done = replicate(site.open())
    except LogboxError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    context.log.info(
        f"{done.copied} copied, {done.there} were there, {done.adrift} adrift, "
        f"{done.lag.files} owed, the oldest for {done.lag_s} s"
    )
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": done.copied + done.there,
            "copied_files": done.copied,
            "copied_bytes": done.copied_bytes,
            "proven_files": done.there,
            "drifts": done.adrift,
            "awaited_files": done.waiting,
            "owed_files": done.lag.files,
            "owed_bytes": done.lag.size_bytes,
            "lag_s": done.lag_s,
        }
    )


@dg.asset(
    key="access_log",
    group_name="audit",
    owners=OWNERS,
    kinds={"s3", "postgres"},
    metadata={"dagster/column_schema": columns_of("access_log")},
    description="Every request to the stores, from their own access logs, each line once: who, by "
    "which key, what, which object, how it was answered, from where. `analytics.access_by_day` "
    "adds up who did what.",
)
def access_log(context: dg.AssetExecutionContext, site: SiteResource) -> dg.MaterializeResult[None]:
    """What was written to the logs since the last time; bounded, so that a backlog takes turns."""
    try:
        done = load_access_log(site.open())
    except LogboxError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    if done.is_behind:
        context.log.warning("the access log is longer than one run takes; the next goes on")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": done.lines,
            "unread_lines": done.unread_lines,
            "dropped_rows": done.dropped,
            "seconds": round(done.seconds, 3),
        }
    )


@dg.asset(
    deps=["loaded_logs", "replicated_logs"],
    group_name="integrity",
    owners=OWNERS,
    kinds={"s3", "postgres", "parquet"},
    metadata={"dagster/column_schema": columns_of("drifts")},
    description="Landing, archive, replica, Postgres and lake compared with each other: by count "
    "every hour, by digest every night. Each difference is a row of `logbox.drifts`; `logbox "
    "repair` mends what is asked of it.",
)
def reconciliation(
    context: dg.AssetExecutionContext, site: SiteResource
) -> dg.MaterializeResult[None]:
    """What one comparison of everything found."""
    try:
        found = reconcile(site.open(), deep=context.run.tags.get(DEEP_TAG) == "true")
    except LogboxError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    for which, why in found.unchecked.items():
        context.log.warning(f"could not check {which}: {why}")
    return reconciled(found)


@dg.asset(
    deps=["archived_logs", "loaded_logs"],
    group_name="integrity",
    owners=OWNERS,
    kinds={"s3", "postgres"},
    metadata={"dagster/column_schema": columns_of("drills")},
    description="Some days rebuilt from the archive into a scratch database, compared with the "
    "live one row for row, and dropped: how fast recovery is, and that it works.",
)
def recovery_drill(
    context: dg.AssetExecutionContext, site: SiteResource
) -> dg.MaterializeResult[None]:
    """One rehearsal; what it found is a verdict, and its check's to judge."""
    try:
        done = drill(site.open())
    except LogboxError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    if done.detail:
        context.log.warning(done.detail)
    return drilled(done)
