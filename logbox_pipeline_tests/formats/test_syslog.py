"""Syslog in its dialects: with PRI, year and tag or without, with structured data."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from logbox_pipeline.formats.stream import Limits, Unreadable
from logbox_pipeline.formats.syslog import parse as parse_syslog
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT, parse


def row(line: str, *, fill: int = 0) -> dict[str, Any]:
    filler = "Nov 24 09:00:00 host app[1]: fine\n" * fill
    parsed = parse((line + "\n" + filler).encode(), format_name="syslog")
    assert len(parsed.events) == 1 + fill
    assert parsed.damages == []
    event = parsed.events[0]
    event["attributes"] = json.loads(str(event["attributes"] or "{}"))
    return event


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def test_every_part_of_an_rfc5424_line_is_kept() -> None:
    event = row(
        '<165>1 2026-11-24T09:00:00.003456-03:30 host.example evntslog 42 ID47 [ex@32473 iut="3" '
        'a="q\\"b\\\\s\\]" a="2"][other@1] \ufeffAn event\u2026'
    )
    assert event["ts"] == utc(2026, 11, 24, 12, 30, 0, 3456)
    assert (event["level"], event["source"], event["message"]) == (5, "evntslog", "An event…")
    assert event["attributes"] == {
        "facility": "local4",
        "host": "host.example",
        "pid": 42,
        "msgid": "ID47",
        "zone": "-03:30",
        "structured_data": {"ex@32473": {"iut": "3", "a": ['q"b\\s]', "2"]}, "other@1": {}},
    }


def test_nil_values_are_nothing() -> None:
    event = row("<34>1 - - - - - -")
    assert (event["ts"], event["level"], event["source"], event["message"]) == (None, 2, None, "")
    assert event["attributes"] == {"facility": "auth"}


@pytest.mark.parametrize(
    ("line", "ts", "level", "source", "message", "attributes"),
    [
        ("<13>Nov  4 09:00:00 host app[12]: hi", utc(2026, 11, 4, 9), 5, "app", "hi",
         {"facility": "user", "host": "host", "pid": 12}),
        ("Nov 4 09:00:00 host app: hi", utc(2026, 11, 4, 9), None, "app", "hi", {"host": "host"}),
        ("Nov 24 2025 09:00:00 host app: hi", utc(2025, 11, 24, 9), None, "app", "hi",
         {"host": "host"}),
        ("Nov 24 09:00:00.250 host app: hi", utc(2026, 11, 24, 9, 0, 0, 250000), None, "app", "hi",
         {"host": "host"}),
        ("Nov 24 09:00:00 ::1 daemon.err crond[7]: hi", utc(2026, 11, 24, 9), 3, "crond", "hi",
         {"host": "::1", "pid": 7, "facility": "daemon"}),
        ("<189>45: *Nov 24 09:00:00.123 CET: %SYS-5-CONFIG_I: by console",
         utc(2026, 11, 24, 8, 0, 0, 123000), 5, "%SYS-5-CONFIG_I", "by console",
         {"facility": "local7", "sequence": 45, "zone": "CET"}),
        ("2026-11-24T09:00:00.123456+01:00 host app[12]: hi",
         utc(2026, 11, 24, 8, 0, 0, 123456), None, "app", "hi",
         {"host": "host", "pid": 12, "zone": "+01:00"}),
        ("<30>2026-11-24T09:00:00Z host sshd(pam)[3]: a: b", utc(2026, 11, 24, 9), 6, "sshd(pam)",
         "a: b", {"facility": "daemon", "host": "host", "pid": 3}),
        ("Nov 24 09:00:00 dropbear[7]: hi", utc(2026, 11, 24, 9), None, "dropbear", "hi",
         {"pid": 7}),
        ("<13>Nov 24 09:00:00 host no tag at all", utc(2026, 11, 24, 9), 5, None, "no tag at all",
         {"facility": "user", "host": "host"}),
    ],
)  # fmt: skip
def test_each_dialect_is_read(
    line: str,
    ts: datetime,
    level: int | None,
    source: str | None,
    message: str,
    attributes: dict[str, Any],
) -> None:
    event = row(line)
    assert (event["ts"], event["level"], event["source"]) == (ts, level, source)
    assert (event["message"], event["attributes"]) == (message, attributes)


def test_the_kernels_clock_is_the_boot_clock() -> None:
    event = row("Nov 24 09:00:00 host kernel: [12345.678901] usb 1-1: reset")
    assert (event["t_boot_us"], event["message"]) == (12_345_678_901, "usb 1-1: reset")
    assert event["source"] == "kernel"


def test_a_repeated_message_keeps_its_host() -> None:
    event = row("Nov 24 09:00:00 host last message repeated 3 times", fill=5)
    assert event["attributes"] == {"host": "host"}
    assert event["message"] == "last message repeated 3 times"


def test_a_day_that_is_none_has_no_time_but_keeps_its_text() -> None:
    event = row("Feb 30 09:00:00 host app: hi", fill=5)
    assert event["ts"] is None
    assert event["attributes"]["time"] == "Feb 30 09:00:00"


def test_the_year_rolls_over_backwards_from_the_upload() -> None:
    days = ["Nov 30", "Dec 31", "Jan  1", "Dec 31", "Jan  1", "Nov 24"]
    data = "".join(f"{day} 09:00:00 host app: hi\n" for day in days).encode()
    years = [event["ts"].year for event in parse(data, format_name="syslog").events]  # type: ignore[attr-defined]
    assert years == [2025, 2025, 2026, 2025, 2026, 2026]
    about = parse(data, format_name="syslog").about
    assert (about.info["year_assumed"], about.info["zone_assumed"]) == ("2025-2026", "UTC")
    assert about.time_error_ms > 366 * 86_400_000


def test_a_year_that_is_written_is_not_assumed() -> None:
    about = parse(b"<13>Nov 24 2026 09:00:00 host app: x\n" * 3, format_name="syslog").about
    assert "year_assumed" not in about.info
    assert about.time_error_ms == 14 * 3_600_000


def test_lines_without_a_stamp_continue_the_one_above() -> None:
    line = "Nov 24 09:00:00 host app[1]: one\n"
    parsed = parse(f"{line}\tat foo\nCaused by: x\n\n{line * 5}".encode(), format_name="syslog")
    assert parsed.events[0]["message"] == "one\n\tat foo\nCaused by: x"
    assert len(parsed.events) == 6


def test_only_holes_are_unreadable() -> None:
    (item,) = parse_syslog(memoryview(bytes(5_000)), Limits(received_at=RECEIVED_AT))
    assert isinstance(item, Unreadable)
