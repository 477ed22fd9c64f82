"""Schedules: when the jobs that nothing triggers run."""

import dagster as dg

from logbox_pipeline.defs.jobs import checks_job, purge_event_log

checks_schedule = dg.ScheduleDefinition(
    job=checks_job,
    cron_schedule="*/15 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Checks stay true when nothing arrives.",
)

purge_schedule = dg.ScheduleDefinition(
    job=purge_event_log,
    cron_schedule="17 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Deletes finished runs older than LOGBOX_EVENT_LOG_DAYS.",
)
