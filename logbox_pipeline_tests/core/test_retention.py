from datetime import date, timedelta

import hypothesis.strategies as st
from hypothesis import given

from logbox_pipeline.core.retention import telemetry_window


def test_zero_days_is_for_ever() -> None:
    assert telemetry_window(0, date(2026, 11, 29)) is None


def test_whole_months_stay_as_long_as_one_day_of_them_is_asked_for() -> None:
    assert telemetry_window(30, date(2026, 11, 29)) == date(2026, 10, 1)
    assert telemetry_window(28, date(2026, 11, 29)) == date(2026, 11, 1)
    assert telemetry_window(1, date(2027, 1, 1)) == date(2026, 12, 1)


@given(st.integers(1, 5_000), st.dates(date(2026, 1, 1), date(2100, 1, 1)))
def test_every_day_asked_for_is_held_and_less_than_a_month_more(days: int, today: date) -> None:
    first_day = telemetry_window(days, today)
    assert first_day is not None
    asked = today - timedelta(days=days)
    assert first_day.day == 1
    assert asked - timedelta(days=31) < first_day <= asked
