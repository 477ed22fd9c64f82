"""Assets: the journey of one batch, one asset per step. Bodies call steps and report.

No `from __future__ import annotations` here: Dagster reads the annotations.
"""

from collections.abc import Iterator

import dagster as dg

from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.defs.partitions import received_on
from logbox_pipeline.defs.report import report
from logbox_pipeline.defs.resources import SiteResource
from logbox_pipeline.steps.ingest import ingest_day, ingest_offered

BATCH_TAG = "logbox/batch_id"
RUN_KEY_TAG = "dagster/run_key"
OWNERS = ["team:logbox"]


def _spec(key: str, after: str, kinds: set[str], description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        deps=[after],
        description=description,
        group_name="ingest",
        owners=OWNERS,
        kinds=kinds,
        partitions_def=received_on,
    )


received_logs = dg.AssetSpec(
    "received_logs",
    description=(
        "Objects that drones uploaded to `landing/<client>/...`. Written by the drones, seen by "
        "`landing_sensor`; each becomes one row of `logbox.deliveries`."
    ),
    group_name="ingest",
    owners=OWNERS,
    kinds={"s3"},
    partitions_def=received_on,
)

SPECS = [
    _spec(
        "verified_logs",
        "received_logs",
        {"s3", "postgres"},
        "Every object is read once and its SHA-256 compared with the one its drone declared. "
        "Bytes that cannot be trusted are copied to `quarantine/` with a reason; nothing is lost.",
    ),
    _spec(
        "archived_logs",
        "verified_logs",
        {"s3"},
        "The original bytes, once each, at `archive/<client>/<aa>/<sha256>`, proven by the "
        "store's own checksum; then the intake manifest. Only after this may landing be cleared.",
    ),
    _spec(
        "parsed_logs",
        "archived_logs",
        {"python", "arrow", "parquet"},
        "Logs turned into tables by their content's format, as Parquet below `lake/<table>/`. "
        "What no parser reads is kept and listed as `unparsed`.",
    ),
    _spec(
        "loaded_logs",
        "parsed_logs",
        {"postgres"},
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
        steps = ingest_offered(opened, context.run.tags[RUN_KEY_TAG], context.run_id)
    else:
        day = context.partition_time_window.start.date()
        steps = ingest_day(opened, day, context.run_id)
    try:
        for step in steps:
            yield report(step)
    except LogboxError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
