"""Wiring only: every Dagster definition, for workspace.yaml and `dg`."""

import dagster as dg

from logbox_pipeline.defs import assets, checks, jobs, schedules, sensors
from logbox_pipeline.defs.resources import SiteResource


def build_defs(site: SiteResource) -> dg.Definitions:
    """All definitions around one site."""
    return dg.Definitions(
        assets=[
            assets.received_logs,
            assets.ingest_batch,
            assets.replicated_logs,
            assets.access_log,
            assets.reconciliation,
            assets.recovery_drill,
        ],
        asset_checks=[
            checks.catalog_checks,
            checks.row_count_check,
            checks.refused_requests_check,
            checks.drill_check,
        ],
        jobs=[
            jobs.ingest_job,
            jobs.replicate_job,
            jobs.checks_job,
            jobs.audit_job,
            jobs.reconcile_job,
            jobs.reconcile_deep_job,
            jobs.repair_job,
            jobs.drill_job,
            jobs.seal_job,
            jobs.compact_job,
            jobs.retain_job,
            jobs.purge_event_log,
        ],
        schedules=[
            schedules.checks_schedule,
            schedules.audit_schedule,
            schedules.reconcile_schedule,
            schedules.reconcile_deep_schedule,
            schedules.drill_schedule,
            schedules.seal_schedule,
            schedules.compact_schedule,
            schedules.retain_schedule,
            schedules.purge_schedule,
        ],
        sensors=[sensors.landing_sensor, sensors.replication_sensor, sensors.alert_on_failure],
        resources={"site": site},
        executor=dg.in_process_executor,
    )


defs = build_defs(SiteResource())
