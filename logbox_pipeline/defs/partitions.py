"""The one partition: the day (UTC) a log was received."""

from datetime import date

import dagster as dg

FIRST_DAY = date(2026, 1, 1)
"""Logbox's first year. What an existing bucket holds from before belongs to this day's partition:
a longer row of empty partitions would tell nobody anything."""

# Today included, since logs are ingested as they arrive.
received_on = dg.DailyPartitionsDefinition(
    start_date=FIRST_DAY.isoformat(), timezone="UTC", end_offset=1
)


def partition_of(day: date) -> str:
    """The partition a day's logs belong to."""
    return max(day, FIRST_DAY).isoformat()


def days_of(partition: date) -> tuple[date, date]:
    """First and last day of a partition."""
    return (date.min if partition == FIRST_DAY else partition), partition
