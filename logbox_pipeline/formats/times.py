"""Instants as whole microseconds since 1970, and the earliest one a log may claim.

No clock is read here.
"""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def epoch_us(instant: datetime) -> int:
    """An aware instant as microseconds since 1970, exactly."""
    since = instant - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def instant(us: int) -> datetime:
    """The other way; `us` must lie in the years 1 to 9999."""
    return _EPOCH + timedelta(microseconds=us)


EARLIEST_FIX_US = epoch_us(datetime(2015, 1, 1, tzinfo=UTC))
"""A GPS fix before this is a receiver that does not know the time yet."""

EARLIEST_LOG_US = epoch_us(datetime(1990, 1, 1, tzinfo=UTC))
"""A row's time before this is a clock that was never set."""
