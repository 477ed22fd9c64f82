"""Assets: the journey of one batch, one asset per step. Bodies call steps and report.

No `from __future__ import annotations` here: Dagster reads the annotations.
"""

from collections.abc import Iterator

import dagster as dg

from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.defs.columns import columns_of, event_columns
from logbox_pipeline.defs.partitions import days_of, received_on
from logbox_pipeline.defs.report import materialization, sentence
from logbox_pipeline.defs.resources import SiteResource
from logbox_pipeline.steps.ingest import ingest_days, ingest_offered

BATCH_TAG = "logbox/batch_id"
RUN_KEY_TAG = "dagster/run_key"
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
