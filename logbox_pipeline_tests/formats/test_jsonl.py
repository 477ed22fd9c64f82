"""JSON Lines as they come: every ugly line is a row or a Damage, and never the end of the file."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logbox_pipeline.formats.jsonl import parse as parse_jsonl
from logbox_pipeline.formats.stream import Damage, Limits, TimeSource
from logbox_pipeline.simulator.jsonl_writer import write_jsonl
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT, Parsed, parse

GOOD = b'{"ts":"2026-11-24T09:00:00.5Z","level":"info","msg":"fine"}\n'


def one(line: bytes) -> dict[str, Any]:
    """The row of `line`, between two good ones that must not suffer."""
    parsed = parse(GOOD + line + b"\n" + GOOD, format_name="jsonl")
    assert [event["message"] for event in parsed.events][:: len(parsed.events) - 1] == ["fine"] * 2
    assert parsed.damages == []
    (event,) = parsed.events[1:-1]
    # RFC 8259 text: no NaN, no Infinity.
    event["attributes"] = json.loads(
        str(event["attributes"] or "{}"), parse_constant=pytest.fail, parse_float=str
    )
    return event


def bad(line: bytes, **limits: object) -> Damage:
    """The damage that `line` is, between two good ones that must not suffer."""
    parsed = parse(GOOD + line + b"\n" + GOOD, **limits)
    assert [event["message"] for event in parsed.events] == ["fine"] * 2
    (damage,) = parsed.damages
    assert (damage.line, damage.start, damage.end) == (2, len(GOOD), len(GOOD) + len(line) + 1)
    return damage


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


# What a line becomes


def test_known_members_become_columns_and_the_rest_attributes() -> None:
    event = one(
        b'{"ts":"2026-11-24T09:00:00.123456Z","level":"warn","logger":"nav","msg":"hi",'
        b'"alt_m":1.50,"big":12345678901234567890123,"deep":{"a":[1,null,true]}}'
    )
    assert event == {
        "ts": utc(2026, 11, 24, 9, 0, 0, 123456),
        "t_boot_us": None,
        "level": 4,
        "source": "nav",
        "message": "hi",
        "attributes": {
            "alt_m": "1.50",
            "big": 12345678901234567890123,
            "deep": {"a": [1, None, True]},
        },
    }


@pytest.mark.parametrize(
    ("line", "level", "source", "message"),
    [
        (b'{"time":1764000000123,"level":30,"pid":1,"hostname":"h","msg":"pino"}', 6, None, "pino"),
        (b'{"name":"app","time":"2026-11-24T09:00:00Z","level":50,"msg":"b","v":0}', 3, "app", "b"),
        (b'{"@timestamp":"2026-11-24T09:00:00Z","log.level":"error","message":"ecs"}', 3, None,
         "ecs"),
        (b'{"__REALTIME_TIMESTAMP":"1764000000000000","PRIORITY":"5","MESSAGE":"j",'
         b'"SYSLOG_IDENTIFIER":"sshd"}', 5, "sshd", "j"),
        (b'{"level":"info","ts":1764000000.25,"logger":"http","msg":"caddy"}', 6, "http", "caddy"),
        (b'{"asctime":"2026-11-24 09:00:00,123","levelname":"CRITICAL","name":"py","message":"p"}',
         2, "py", "p"),
        (b'{"levelno":30,"created":1764000000.5,"name":"py","message":"w"}', 4, "py", "w"),
        (b'{"timeUnixNano":"1764000000000000000","severityNumber":17,'
         b'"body":{"stringValue":"otel"}}', 3, None, "otel"),
        (b'{"event":"structlog","level":"debug","timestamp":"2026-11-24T09:00:00Z"}', 7, None,
         "structlog"),
    ],
)  # fmt: skip
def test_the_usual_loggers_are_understood(
    line: bytes, level: int, source: str | None, message: str
) -> None:
    event = one(line)
    assert (event["level"], event["source"], event["message"]) == (level, source, message)
    assert event["ts"].year in (2025, 2026)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'"2026-11-24T09:00:00Z"', utc(2026, 11, 24, 9)),
        (b'"2026-11-24T11:30:00.25+02:30"', utc(2026, 11, 24, 9, 0, 0, 250000)),
        (b'"2026-11-24 09:00:00.123456789Z"', utc(2026, 11, 24, 9, 0, 0, 123456)),
        (b"1764000000", utc(2025, 11, 24, 16)),
        (b"1764000000.5", utc(2025, 11, 24, 16, 0, 0, 500000)),
        (b'"1764000000.123456"', utc(2025, 11, 24, 16, 0, 0, 123456)),
        (b"1764000000123", utc(2025, 11, 24, 16, 0, 0, 123000)),
        (b"1764000000123456", utc(2025, 11, 24, 16, 0, 0, 123456)),
        (b"1764000000123456789", utc(2025, 11, 24, 16, 0, 0, 123456)),
        (b'"1764000000123456789"', utc(2025, 11, 24, 16, 0, 0, 123456)),
    ],
)
def test_times_are_known_by_their_form(value: bytes, expected: datetime) -> None:
    event = one(b'{"ts":' + value + b"}")
    assert event["ts"] == expected
    assert event["attributes"] == {}


@pytest.mark.parametrize(
    "value",
    [b'"soon"', b"12.5", b'"1989-12-31T00:00:00Z"', b'"2027-01-01T00:00:00Z"', b"true", b"null",
     b"[1]", b"99999999999999999999999", b'"0001-01-01T00:00:00+14:00"', b'"2026-11-24"', b'""'],
)  # fmt: skip
def test_a_time_that_cannot_be_is_null_and_keeps_its_value(value: bytes) -> None:
    event = one(b'{"ts":' + value + b',"msg":"x"}')
    assert event["ts"] is None
    assert event["attributes"]["ts"] == json.loads(value, parse_float=str)


def test_a_time_without_zone_is_taken_as_utc_and_keeps_its_text() -> None:
    event = one(b'{"ts":"2026-11-24T09:00:00"}')
    assert event["ts"] == utc(2026, 11, 24, 9)
    assert event["attributes"] == {"ts": "2026-11-24T09:00:00"}


def test_boot_time_is_its_own_column() -> None:
    assert one(b'{"uptime_us":77,"msg":"x"}')["t_boot_us"] == 77
    assert one(b'{"t_boot_us":"78","msg":"x"}')["t_boot_us"] == 78
    event = one(b'{"t_boot_us":-5,"msg":"x"}')
    assert (event["t_boot_us"], event["attributes"]) == (None, {"t_boot_us": -5})


@pytest.mark.parametrize("value", [b'"STATS"', b"true", b"99", b"{}", b"null"])
def test_a_level_nobody_knows_is_null_and_keeps_its_value(value: bytes) -> None:
    event = one(b'{"level":' + value + b',"msg":"x"}')
    assert event["level"] is None
    assert event["attributes"] == {"level": json.loads(value)}


def test_a_level_that_says_more_than_its_column_is_kept_too() -> None:
    event = one(b'{"level":"TRACE","msg":"x"}')
    assert (event["level"], event["attributes"]) == (7, {"level": "TRACE"})


def test_a_message_that_is_no_text_stays_an_attribute() -> None:
    event = one(b'{"msg":{"a":1}}')
    assert (event["message"], event["attributes"]) == (None, {"msg": {"a": 1}})


def test_an_empty_object_is_a_row() -> None:
    assert one(b"{}")["attributes"] == {}


# Ugly lines that still are rows


def test_nul_in_text_becomes_the_replacement_character_everywhere() -> None:
    event = one(b'{"msg":"a\\u0000b","k\\u0000":"\\u0000","n":{"\\u0000":["\\u0000"]}}')
    assert event["message"] == "a\ufffdb"
    assert event["attributes"] == {"k\ufffd": "\ufffd", "n": {"\ufffd": ["\ufffd"]}}


def test_a_nul_byte_in_a_text_is_replaced() -> None:
    assert one(b'{"msg":"a\0b"}')["message"] == "a\ufffdb"


def test_a_line_behind_zeros_is_a_row() -> None:
    parsed = parse(b'{"msg":"before"}\n' + bytes(100) + b'{"msg":"after power loss"}\n')
    assert [event["message"] for event in parsed.events] == ["before", "after power loss"]
    assert [damage.reason for damage in parsed.damages] == ["zeroed"]


@pytest.mark.parametrize("text", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e999999"])
def test_a_number_that_json_or_float64_cannot_hold_becomes_text(text: bytes) -> None:
    assert one(b'{"x":' + text + b',"y":[' + text + b"]}")["attributes"] == {
        "x": text.decode(),
        "y": [text.decode()],
    }


def test_a_whole_number_of_ten_thousand_digits_becomes_text() -> None:
    digits = "7" * 10_000
    assert one(b'{"x":' + digits.encode() + b"}")["attributes"] == {"x": digits}


def test_surrogate_pairs_are_kept_and_lone_ones_replaced() -> None:
    event = one(b'{"msg":"\\ud83d\\ude00 \\ud83d!","x":"\\uDE00"}')
    assert event["message"] == "\U0001f600 \ufffd!"
    assert event["attributes"] == {"x": "\ufffd"}


def test_wrong_utf8_is_replaced_and_noted() -> None:
    event = one(b'{"msg":"caf\xe9","k":"\xff"}')
    assert event["message"] == "caf\ufffd"
    assert event["attributes"] == {"k": "\ufffd", "logbox_invalid_utf8": True}


def test_right_utf8_is_kept() -> None:
    assert one('{"msg":"grün 飛行","ü":"é"}'.encode())["attributes"] == {"ü": "é"}


def test_control_characters_inside_a_text_are_kept() -> None:
    assert one(b'{"msg":"a\tb"}')["message"] == "a\tb"


def test_escapes_are_decoded() -> None:
    assert one(b'{"msg":"\\"q\\" \\\\ \\n \\u00e9"}')["message"] == '"q" \\ \n é'


def test_the_last_of_repeated_members_wins() -> None:
    assert one(b'{"a":1,"a":2}')["attributes"] == {"a": 2}


def test_five_thousand_members_are_one_row() -> None:
    members = {f"key_{n}": n for n in range(5000)}
    assert one(json.dumps(members).encode())["attributes"] == members


def test_brackets_in_text_are_not_depth() -> None:
    assert one(b'{"msg":"' + b"[" * 500 + b'"}')["message"] == "[" * 500


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n", b" \n\t\n"])
def test_line_ends_of_every_kind(end: bytes) -> None:
    parsed = parse(end.join([GOOD.strip()] * 5) + end)
    assert [event["message"] for event in parsed.events] == ["fine"] * 5
    assert parsed.damages == []


def test_a_byte_order_mark_is_skipped() -> None:
    assert len(parse(b"\xef\xbb\xbf" + GOOD).events) == 1


def test_the_last_line_needs_no_newline() -> None:
    assert len(parse(GOOD + GOOD.strip()).events) == 2


# Lines that are no rows


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"oops":', "bad_line"),
        (b"\xff\xfe}", "bad_line"),
        (b"plain text", "bad_line"),
        (b"\xff" * 100, "padding"),
        (b'{"a":[{"b":1}],"c":[{"d":2}', "bad_line"),
        (b'{"a":"x" "b":{"c":1}}', "bad_line"),
        (b"null", "not_an_object"),
        (b"[1,2]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"\0" * 4096, "zeroed"),
        (b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "too_deep"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "too_deep"),
        (b"[" * 200_000, "too_deep"),
    ],
)
def test_a_bad_line_is_damage_with_its_reason(line: bytes, reason: str) -> None:
    assert bad(line).reason == reason


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        (b'{"msg":"in"}{"msg":"in"}', []),
        (b'{"msg":"in"} x{"msg":"in"}', [(13, 14)]),
        (b'{"ts":"2026-11{"msg":"in"}{"msg":"in"}', [(0, 14)]),
        (b'\x00\x00noise \xff{"msg":"in","x":NaN}{"msg":"in"}\xff\xff', [(0, 9), (41, 43)]),
    ],
)
def test_objects_beside_garbage_on_a_line_come_out(line: bytes, lost: list[Any]) -> None:
    parsed = parse(GOOD + line + b"\n" + GOOD)
    assert [event["message"] for event in parsed.events] == ["fine", "in", "in", "fine"]
    at = len(GOOD)
    assert [(d.start - at, d.end - at) for d in parsed.damages] == lost


def test_a_newline_in_a_name_is_two_bad_lines() -> None:
    parsed = parse(GOOD + b'{"a\nb":1}\n' + GOOD)
    assert [d.line for d in parsed.damages] == [2, 3]
    assert [event["message"] for event in parsed.events] == ["fine"] * 2


def test_an_object_over_two_lines_is_two_bad_lines() -> None:
    parsed = parse(GOOD + b'{"a":\n1}\n' + GOOD)
    assert [d.line for d in parsed.damages] == [2, 3]


def test_nesting_up_to_the_limit_is_a_row() -> None:
    line = b'{"a":' + b"[" * 63 + b"]" * 63 + b"}"
    assert one(line)["attributes"]
    assert bad(b'{"a":' + b"[" * 64 + b"]" * 64 + b"}").reason == "too_deep"


def test_a_last_line_cut_short_is_truncated() -> None:
    parsed = parse(GOOD + b'{"ts":"2026-11')
    (damage,) = parsed.damages
    assert (damage.reason, damage.line) == ("truncated", 2)
    assert (damage.start, damage.end) == (len(GOOD), len(GOOD) + 14)


def test_a_line_over_the_limit_is_damage() -> None:
    line = b'{"a":"' + b"x" * 5_000_000 + b'"}'
    assert bad(line, record_bytes=1_000_000).reason == "too_long"
    assert len(str(one(line)["attributes"])) > 5_000_000


def test_a_line_of_200_megabytes_does_not_grow_memory() -> None:
    import tracemalloc

    data = GOOD + b'{"a":"' + b"x" * 200_000_000 + b'"}\n' + GOOD
    tracemalloc.start()
    items = list(parse_jsonl(memoryview(data), Limits(received_at=RECEIVED_AT)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [item.reason for item in items if isinstance(item, Damage)] == ["too_long"]
    assert peak < 40_000_000


def test_a_file_without_one_object_is_unreadable() -> None:
    items = list(parse_jsonl(memoryview(b"{nothing\n{here\n"), Limits(received_at=RECEIVED_AT)))
    assert [type(item).__name__ for item in items] == ["Unreadable"]


def test_a_log_over_the_row_limit_stops_and_says_where() -> None:
    parsed = parse(GOOD * 100_000, rows=10)
    assert parsed.damages[-1].reason == "row_limit"


# Whole files


def test_the_log_says_when_it_was() -> None:
    about = parse(GOOD).about
    assert about.time_source == TimeSource.LOG
    assert about.recorded_from == about.recorded_to == utc(2026, 11, 24, 9, 0, 0, 500000)


def test_a_written_log_comes_out_as_its_ledger_says() -> None:
    out = io.BytesIO()
    ledger = write_jsonl(out, seed=3, lines=20_000, bad_lines=40)
    parsed = parse(out.getvalue())
    assert len(parsed.events) == ledger.events
    assert tuple(damage.line for damage in parsed.damages) == ledger.bad_lines
    levels = [event["level"] for event in parsed.events]
    assert {level: levels.count(level) for level in set(levels)} == dict(ledger.events_by_level)
    assert (parsed.about.recorded_from, parsed.about.recorded_to) == (ledger.first, ledger.last)
    assert all(event["source"] and event["message"] for event in parsed.events)


def test_a_bad_line_changes_no_other_row() -> None:
    out = io.BytesIO()
    write_jsonl(out, seed=4, lines=3000)
    whole = parse(out.getvalue())
    lines = out.getvalue().splitlines(keepends=True)
    mixed = parse(b"".join([*lines[:1500], b"{bad\n", b'{"x":NaN}\n', *lines[1500:]]))
    assert mixed.events[:1500] + mixed.events[1501:] == whole.events


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=200, deadline=2000)
@given(st.lists(st.dictionaries(st.text(min_size=1), _values, max_size=6), min_size=1, max_size=5))
def test_any_objects_are_one_row_each(objects: list[dict[str, Any]]) -> None:
    data = b"".join(json.dumps(entry).encode() + b"\n" for entry in objects)
    parsed = parse(GOOD + data)
    assert len(parsed.events) == len(objects) + 1
    assert parsed.damages == []


@settings(max_examples=300, deadline=2000)
@given(
    st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=12)), max_size=10),
    st.integers(0, 3),
)
def test_mutated_bytes_never_raise(edits: list[tuple[int, bytes]], seed: int) -> None:
    out = io.BytesIO()
    write_jsonl(out, seed=seed, lines=8)
    data = bytearray(out.getvalue())
    for at, piece in edits:
        data[at : at + len(piece)] = piece
    parsed = _parsed(bytes(data))
    covered = len(parsed.events) + len(parsed.damages)
    if parsed.about is not None:
        assert covered >= 20 + sum(bool(line.strip()) for line in bytes(data).split(b"\n"))
    for event in parsed.events:
        json.loads(str(event["attributes"] or "{}"), parse_constant=pytest.fail)


def _parsed(data: bytes) -> Parsed:
    """Past recognition: straight into the parser."""
    return parse(GOOD * 20 + data)


@pytest.mark.parametrize("size", [8, 64, 4_200])
def test_a_run_of_zeros_beside_whole_lines_is_damage(size: int) -> None:
    lines = [b'{"msg":"%d"}\n' % number for number in range(50)]
    data = b"".join(lines[:20]) + bytes(size) + b"".join(lines[20:])
    parsed = parse(data, format_name="jsonl")
    assert len(parsed.events) == 50
    (damage,) = parsed.damages
    at = len(b"".join(lines[:20]))
    assert (damage.start, damage.end, damage.reason) == (at, at + size, "zeroed")
    assert damage.line == 21
