"""Wiring only: every Dagster definition, for workspace.yaml and `dg`."""

import dagster as dg

from logbox_pipeline.defs.assets import ingest_batch, received_logs
from logbox_pipeline.defs.checks import catalog_checks, row_count_check
from logbox_pipeline.defs.jobs import checks_job, ingest_job, purge_event_log
from logbox_pipeline.defs.resources import SiteResource
from logbox_pipeline.defs.schedules import checks_schedule, purge_schedule
from logbox_pipeline.defs.sensors import alert_on_failure, landing_sensor


def build_defs(site: SiteResource) -> dg.Definitions:
    """All definitions around one site."""
    return dg.Definitions(
        assets=[received_logs, ingest_batch],
        asset_checks=[catalog_checks, row_count_check],
        jobs=[ingest_job, checks_job, purge_event_log],
        schedules=[checks_schedule, purge_schedule],
        sensors=[landing_sensor, alert_on_failure],
        resources={"site": site},
        executor=dg.in_process_executor,
    )


defs = build_defs(SiteResource())
