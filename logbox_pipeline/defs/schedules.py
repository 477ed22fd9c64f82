"""Schedules: when the jobs that nothing triggers run."""

import dagster as dg

from logbox_pipeline.defs.jobs import (
    audit_job,
    checks_job,
    compact_job,
    drill_job,
    purge_event_log,
    reconcile_deep_job,
    reconcile_job,
    retain_job,
    seal_job,
)

checks_schedule = dg.ScheduleDefinition(
    job=checks_job,
    cron_schedule="*/15 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Checks stay true when nothing arrives.",
)

audit_schedule = dg.ScheduleDefinition(
    job=audit_job,
    cron_schedule="*/5 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Requests to the stores are in Postgres within minutes.",
)

reconcile_schedule = dg.ScheduleDefinition(
    job=reconcile_job,
    cron_schedule="23 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Names drift within the hour.",
)

reconcile_deep_schedule = dg.ScheduleDefinition(
    job=reconcile_deep_job,
    cron_schedule="41 1 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Digests of rows, and the scrub: all bytes within LOGBOX_SCRUB_DAYS.",
)

drill_schedule = dg.ScheduleDefinition(
    job=drill_job,
    cron_schedule="11 6 * * 0",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="A rebuild that is rehearsed every week is one that works.",
)

seal_schedule = dg.ScheduleDefinition(
    job=seal_job,
    cron_schedule="7 0 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Seals what was written since the day before.",
)

purge_schedule = dg.ScheduleDefinition(
    job=purge_event_log,
    cron_schedule="17 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Deletes finished runs older than LOGBOX_EVENT_LOG_DAYS.",
)

compact_schedule = dg.ScheduleDefinition(
    job=compact_job,
    cron_schedule="41 2 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Merges the Parquet files of days that are over.",
)

retain_schedule = dg.ScheduleDefinition(
    job=retain_job,
    cron_schedule="29 4 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Drops telemetry older than LOGBOX_POSTGRES_TELEMETRY_DAYS from Postgres.",
)
