"""Which days of telemetry Postgres holds; the lake holds all of them. No I/O."""

from datetime import date, timedelta


def telemetry_window(days: int, today: date) -> date | None:
    """The first day (UTC) whose telemetry Postgres is to hold; None: it holds every day.

    days: LOGBOX_POSTGRES_TELEMETRY_DAYS, 0 for ever. Partitions go by month of `received_on`, and
    only whole ones are dropped, so it is the first of a month. Rows from before it may still stand
    until the schedule has run: they are neither promised nor wrong.
    """
    if days == 0:
        return None
    return (today - timedelta(days=days)).replace(day=1)
