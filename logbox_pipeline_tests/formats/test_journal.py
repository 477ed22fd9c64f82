"""The journal as `journalctl -o export` writes it: one event an entry, binary fields too."""

import json
from datetime import UTC, datetime

import pytest

from logbox_pipeline_tests.formats.parsing import Parsed, parse

FIRST = (
    b"__CURSOR=s=1;i=1\n__REALTIME_TIMESTAMP=1795510800123000\n__MONOTONIC_TIMESTAMP=27200938\n"
    b"PRIORITY=3\n_HOSTNAME=drone-7\nSYSLOG_IDENTIFIER=nav\nMESSAGE=lost = all\n"
)
SECOND = b"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1795510801000000\nMESSAGE=on\n"


def journal(data: bytes, **limits: object) -> Parsed:
    return parse(data, format_name="journal", **limits)


def binary(message: bytes) -> bytes:
    return b"MESSAGE\n" + len(message).to_bytes(8, "little") + message + b"\n"


def messages(parsed: Parsed) -> list[object]:
    return [event["message"] for event in parsed.events]


def test_an_entry_is_an_event_and_what_is_left_its_attributes() -> None:
    parsed = journal(FIRST + b"\n" + SECOND + b"\n")
    first, second = parsed.events
    assert first["ts"] == datetime(2026, 11, 24, 9, 0, 0, 123000, UTC)
    assert (first["t_boot_us"], first["level"], first["source"]) == (27_200_938, 3, "nav")
    assert first["message"] == "lost = all"
    assert json.loads(str(first["attributes"])) == {
        "__CURSOR": "s=1;i=1",
        "_HOSTNAME": "drone-7",
    }
    assert (second["level"], second["source"], second["message"]) == (None, None, "on")
    assert parsed.damages == []
    assert parsed.about.info == {"entries": 2, "bad_entries": 0}


def test_a_binary_field_holds_newlines_and_blank_lines() -> None:
    text = b"one\n\n__CURSOR=two\n"
    parsed = journal(SECOND.replace(b"MESSAGE=on\n", binary(text)) + b"\n" + SECOND)
    assert messages(parsed) == [text.decode(), "on"]


def test_a_field_may_stand_more_than_once() -> None:
    (event,) = journal(SECOND + b"TAG=a\nTAG=b\n").events
    assert json.loads(str(event["attributes"]))["TAG"] == ["a", "b"]


@pytest.mark.parametrize(
    "garbage", [b"no field here\n", bytes(100) + b"\n", b"MESSAGE\n\xff\xff\xff\xffabcdef\n"]
)
def test_garbage_costs_only_itself(garbage: bytes) -> None:
    parsed = journal(FIRST + b"\n" + garbage + b"\n" + SECOND + b"\n")
    assert messages(parsed) == ["lost = all", "on"]
    assert sum(damage.end - damage.start for damage in parsed.damages) == len(garbage)


def test_a_lost_blank_line_joins_no_entries() -> None:
    assert messages(journal(FIRST + SECOND)) == ["lost = all", "on"]


def test_entries_are_read_across_windows() -> None:
    large = SECOND.replace(b"MESSAGE=on\n", binary(b"x\n" * 1_500_000))
    parsed = journal((FIRST + b"\n") * 9_000 + large + b"\n" + SECOND)
    assert len(parsed.events) == 9_002
    assert len(str(parsed.events[-2]["message"])) == 3_000_000
    assert parsed.damages == []


def test_an_entry_that_is_too_long_is_lost_alone() -> None:
    large = SECOND.replace(b"on\n", b"x" * 6_000_000 + b"\n")
    parsed = journal(FIRST + b"\n" + large + b"\n" + SECOND, record_bytes=2_000_000)
    assert messages(parsed)[:: len(parsed.events) - 1] == ["lost = all", "on"]
    assert any(damage.reason == "too_long" for damage in parsed.damages)
