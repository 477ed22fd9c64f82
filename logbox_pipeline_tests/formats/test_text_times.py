"""Stamps to UTC: years that nobody wrote, dates in three orders, zones, half days, leap days."""

from datetime import UTC, datetime

import pytest

from logbox_pipeline.formats.text_times import (
    Clock,
    YearScan,
    date_parts,
    epochs_us,
    settle_order,
    zone_minutes,
)
from logbox_pipeline.formats.times import instant

LATEST = datetime(2026, 11, 25, 12, tzinfo=UTC)


def years_of(dates: list[str], latest: datetime = LATEST) -> list[int | None]:
    scan = YearScan()
    scan.see(dates, ["09:00:00"] * len(dates))
    first_year, is_nearest = scan.settled(latest)
    clock = Clock(first_year=first_year)
    clock.years.is_nearest = is_nearest
    found = clock.instants(dates, ["09:00:00"] * len(dates), None, None, None)
    return [
        instant(us).year if valid else None
        for us, valid in zip(found.us.tolist(), found.valid.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("dates", "years"),
    [
        (["Nov 24", "Nov 25"], [2026, 2026]),
        (["Nov 25", "Nov 26"], [2025, 2025]),
        (["Dec 30", "Dec 31", "Jan  1", "Jan  2"], [2025, 2025, 2026, 2026]),
        (["Dec 31", "Jan  1", "Dec 31", "Jan  1"], [2025, 2026, 2025, 2026]),
        (["Jun  1", "Jan  1", "Jun  1", "Jan  1"], [2024, 2025, 2025, 2026]),
        (["Mar 10", "Mar  8", "Mar 11"], [2026, 2026, 2026]),
        (["Feb 28", "Feb 29", "Mar  1"], [2024, 2024, 2024]),
        (["Nov  3", "Feb  3"] * 40, [2025, 2026] * 40),
        (["Foo 1", "Nov 31", "Nov  3"], [None, None, 2026]),
    ],
)
def test_a_year_that_nobody_wrote_follows_from_the_upload_and_the_order(
    dates: list[str], years: list[int | None]
) -> None:
    assert years_of(dates) == years


def test_the_hour_decides_on_the_last_day() -> None:
    scan = YearScan()
    scan.see(["Nov 25"], ["12:00:01"])
    assert scan.settled(LATEST)[0] == 2025


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        (["11/24/2026"], "mdy"),
        (["24/11/2026"], "dmy"),
        (["03/04/2026", "04/04/2026", "05/04/2026"], "dmy"),
        (["03/04/2026", "03/05/2026", "03/06/2026"], "mdy"),
        (["03/04/2026"], "mdy"),
        (["03-04-2026"], "dmy"),
        (["12/10/2026", "01/11/2026"], "dmy"),
        (["17/06/09", "17/06/10"], "ymd"),
        (["26/11/23", "26/11/24"], "ymd"),
        (["11/24/26"], "mdy"),
        ([], "mdy"),
    ],
)
def test_the_order_of_a_date_is_settled_by_all_dates(texts: list[str], order: str) -> None:
    assert settle_order(texts, LATEST) == order or (texts == [] and order == "mdy")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("2026-11-24", (2026, 11, 24)),
        ("2026/11/24", (2026, 11, 24)),
        ("20261124", (2026, 11, 24)),
        ("081109", (2008, 11, 9)),
        ("24.11.2026", (2026, 11, 24)),
        ("24/Nov/2026", (2026, 11, 24)),
        ("Nov 24 2026", (2026, 11, 24)),
        ("Nov 4", (None, 11, 4)),
        ("1124", (None, 11, 24)),
        ("11-24", (None, 11, 24)),
        ("", None),
        ("1", None),
    ],
)
def test_dates_are_known_by_their_form(
    text: str, parts: tuple[int | None, int, int] | None
) -> None:
    assert date_parts(text, "mdy") == parts


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("Z", 0), ("+01:00", 60), ("-0330", -210), ("+05", 300), ("CET", 60), ("UTC+2", 120),
     ("IST", None), ("+25:00", None), ("", None), ("foo", None)],
)  # fmt: skip
def test_zones_are_known_or_not_guessed(text: str, minutes: int | None) -> None:
    assert zone_minutes(text) == minutes


def one(date: str, time: str, fraction: str = "", zone: str = "Z", half: str = "") -> object:
    found = Clock().instants([date], [time], [fraction], [zone], [half])
    return instant(int(found.us[0])) if found.valid[0] else None


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        (("2026-11-24", "09:00:00", "123456789"), utc(2026, 11, 24, 9, 0, 0, 123456)),
        (("2026-11-24", "09:00:00", "5"), utc(2026, 11, 24, 9, 0, 0, 500000)),
        (("2026-11-24", "9:05"), utc(2026, 11, 24, 9, 5)),
        (("20261124", "090510"), utc(2026, 11, 24, 9, 5, 10)),
        (("2026-11-24", "12:00:00", "", "Z", "AM"), utc(2026, 11, 24)),
        (("2026-11-24", "12:00:00", "", "Z", "p.m."), utc(2026, 11, 24, 12)),
        (("2026-11-24", "13:00:00", "", "Z", "PM"), None),
        (("2016-12-31", "23:59:60"), utc(2017, 1, 1)),
        (("2026-11-24", "24:00:00"), None),
        (("2026-02-29", "09:00:00"), None),
        (("2026-13-01", "09:00:00"), None),
        (("2026-11-24", "00:30:00", "", "+01:00"), utc(2026, 11, 23, 23, 30)),
    ],
)
def test_times_are_utc_or_unknown(stamp: tuple[str, ...], expected: datetime | None) -> None:
    assert one(*stamp) == expected


def test_epochs_are_seconds_to_nanoseconds_by_their_digits() -> None:
    numbers = ["1764000000", "1764000000123", "1764000000123456", "1764000000123456789"]
    found = epochs_us(numbers, None)
    assert found.us.tolist() == [
        1764000000000000, 1764000000123000, 1764000000123456, 1764000000123456,
    ]  # fmt: skip
    assert found.said_more.tolist() == [False, False, False, True]
