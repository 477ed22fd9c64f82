"""logfmt as loggers write it: quotes, escapes, bare keys, repeated keys, lines that are none."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from logbox_pipeline.formats.stream import TimeSource
from logbox_pipeline_tests.formats.parsing import parse

GOOD = b"time=2026-11-24T09:00:00Z level=info msg=fine\n"


def one(line: str) -> dict[str, Any]:
    """The row of `line`, between good ones that must not suffer."""
    parsed = parse(GOOD * 3 + line.encode() + b"\n" + GOOD * 3, format_name="logfmt")
    assert [event["message"] for event in parsed.events[:3] + parsed.events[4:]] == ["fine"] * 6
    assert parsed.damages == []
    event = parsed.events[3]
    event["attributes"] = json.loads(str(event["attributes"] or "{}"))
    return event


def test_known_keys_become_columns_and_the_rest_typed_attributes() -> None:
    event = one(
        'ts=2026-11-24T10:00:00.123+01:00 lvl=warn logger=nav msg="low \\"battery\\"" n=42 f=-1.50 '
        "ok=true no=false nil=null zero=007 big=12345678901234567890 empty= debug"
    )
    assert event["ts"] == datetime(2026, 11, 24, 9, 0, 0, 123000, tzinfo=UTC)
    assert (event["level"], event["source"]) == (4, "nav")
    assert event["message"] == 'low "battery"'
    assert event["attributes"] == {
        "n": 42, "f": -1.5, "ok": True, "no": False, "nil": None, "zero": "007",
        "big": "12345678901234567890", "empty": "", "debug": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r'"a\nb\tc"', "a\nb\tc"),
        (r'"a\\b\/c"', "a\\b/c"),
        (r'"\u00e9\x41\a\v"', "éA\a\v"),
        (r'"\U0001f681 \101"', "\U0001f681 A"),
        (r'"\ud800"', "\ufffd"),
        (r'"\q \x1"', r"\q \x1"),
        ('"tab\there"', "tab\there"),
        ('"a=b c=d"', "a=b c=d"),
        ('""', ""),
        ("a=b", "a=b"),
        ("C:\\x", "C:\\x"),
        ('half"quote', 'half"quote'),
        ('"never closed', "never closed"),
        ("[1,2]", "[1,2]"),
        ("höhe", "höhe"),
    ],
)
def test_a_value_means_what_go_wrote(written: str, meant: str) -> None:
    assert one(f"level=info a=1 value={written}")["attributes"]["value"] == meant


def test_a_repeated_key_loses_nothing() -> None:
    event = one("level=info a=1 a=2 a=3")
    assert event["attributes"] == {"a": 1, "a#2": 2, "a#3": 3}


def test_lines_below_that_say_no_key_continue_the_message() -> None:
    data = GOOD + b"goroutine 1 [running]:\n\tmain.go:12 +0x1\n\n" + GOOD * 5
    parsed = parse(data, format_name="logfmt")
    assert parsed.events[0]["message"] == "fine\ngoroutine 1 [running]:\n\tmain.go:12 +0x1"
    assert len(parsed.events) == 6


def test_a_line_above_the_first_key_is_a_row_without_a_time() -> None:
    parsed = parse(b"starting up\n" + GOOD * 5, format_name="logfmt")
    assert (parsed.events[0]["message"], parsed.events[0]["ts"]) == ("starting up", None)


def test_a_stamp_or_level_in_front_is_known_without_a_key() -> None:
    event = one('2026-11-24T09:00:05Z msg="x y" n=1 level=error')
    assert (event["ts"], event["level"]) == (datetime(2026, 11, 24, 9, 0, 5, tzinfo=UTC), 3)
    assert one("WARN n=1 msg=x")["level"] == 4
    assert one("at=error n=1 msg=x")["level"] == 3
    assert one("level=info caller=main.go:12 msg=x")["source"] == "main.go:12"


def test_a_time_without_a_zone_is_said_to_be_assumed() -> None:
    parsed = parse(b'time="2026-11-24 09:00:00" level=info msg=x\n' * 3, format_name="logfmt")
    assert parsed.about.time_error_ms == 50_400_000
    assert parsed.about.info["zone_assumed"] == "UTC"
    assert parsed.about.time_source == TimeSource.LOG


def test_invalid_utf8_is_flagged() -> None:
    parsed = parse(GOOD + b"level=info msg=h\xf6he\n" + GOOD, format_name="logfmt")
    assert parsed.events[1]["message"] == "h\ufffdhe"
    assert json.loads(str(parsed.events[1]["attributes"])) == {"logbox_invalid_utf8": True}


def test_a_hole_costs_nothing_around_it() -> None:
    parsed = parse(GOOD * 2 + bytes(500) + GOOD * 2, format_name="logfmt")
    assert len(parsed.events) == 4
    assert [d.end - d.start for d in parsed.damages] == [500]


def test_a_line_that_is_too_long_is_lost_alone_and_said() -> None:
    long = b"level=info msg=" + b"x" * 1_100_000 + b"\n"
    parsed = parse(GOOD * 9 + long + GOOD, format_name="logfmt")
    assert len(parsed.events) == 10
    assert [(d.end - d.start, d.reason) for d in parsed.damages] == [(len(long), "too_long")]


def test_the_row_limit_is_a_damage() -> None:
    parsed = parse(GOOD * 20_000, format_name="logfmt", rows=100)
    assert [damage.reason for damage in parsed.damages] == ["row_limit"]
