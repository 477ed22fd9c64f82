"""ULogs with damage: what is whole is read, what is not is said, nothing raises or hangs."""

import io
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logbox_pipeline.simulator.ulog_writer import write_ulog
from logbox_pipeline_tests.formats.parsing import parse


def _written(duration_s: float) -> bytes:
    out = io.BytesIO()
    write_ulog(out, seed=7, duration_s=duration_s)
    return out.getvalue()


FLIGHT = _written(30.0)
SHORT = _written(1.0)
WHOLE = parse(FLIGHT)


def lost(parsed_bytes: bytes) -> int:
    return WHOLE.rows_total - parse(parsed_bytes).rows_total


@pytest.mark.parametrize("part", [0.2, 0.5, 0.77, 0.999])
def test_a_log_cut_anywhere_keeps_what_stands_before(part: float) -> None:
    for cut in range(int(len(FLIGHT) * part), int(len(FLIGHT) * part) + 70, 7):
        parsed = parse(FLIGHT[:cut])
        assert parsed.rows_total >= WHOLE.rows_total * (part - 0.05)
        assert all(d.reason == "truncated" and d.end == cut for d in parsed.damages)


def test_the_bytes_after_the_last_whole_message_are_named() -> None:
    parsed = parse(FLIGHT[:-3])
    (damage,) = parsed.damages
    assert (damage.reason, damage.end) == ("truncated", len(FLIGHT) - 3)
    assert parsed.rows_total == WHOLE.rows_total - 1


def test_a_log_cut_in_its_definitions_still_names_its_vehicle_if_it_can() -> None:
    parsed = parse(FLIGHT[: FLIGHT.index(b"sys_uuid") + 60])
    assert parsed.about.vehicle_uid == WHOLE.about.vehicle_uid
    assert parsed.rows == {}


@pytest.mark.parametrize("size", [1, 16, 512, 4096, 100_000])
@pytest.mark.parametrize("part", [0.3, 0.61, 0.9])
def test_a_zeroed_block_costs_only_itself(size: int, part: float) -> None:
    at = int(len(FLIGHT) * part)
    data = FLIGHT[:at] + bytes(size) + FLIGHT[at + size :]
    parsed = parse(data)
    # The shortest message is 30 bytes.
    assert lost(data) <= size / 30 + 3
    assert sum(d.end - d.start for d in parsed.damages) <= size + 800


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_foreign_bytes_in_the_middle_cost_only_themselves(size: int) -> None:
    noise = random.Random(size).randbytes(size)
    at = len(FLIGHT) // 2
    data = FLIGHT[:at] + noise + FLIGHT[at:]
    assert lost(data) <= 3
    assert parse(data).damages


def test_missing_bytes_in_the_middle_cost_only_their_messages() -> None:
    at = len(FLIGHT) // 2
    assert lost(FLIGHT[:at] + FLIGHT[at + 1000 :]) <= 1000 / 30 + 3


def test_a_wrong_length_does_not_swallow_the_rest() -> None:
    at = FLIGHT.index(b"\x08\x00S\x2f\x73\x13\x20", len(FLIGHT) // 2) + 11
    data = FLIGHT[:at] + struct.pack("<H", 65_000) + FLIGHT[at + 2 :]
    assert lost(data) <= 2
    assert parse(data).damages


def test_a_log_without_its_formats_is_damaged_but_keeps_its_texts() -> None:
    end = FLIGHT.index(b"char[3] sys_name") - 4
    parsed = parse(FLIGHT[:16] + FLIGHT[end:])
    assert parsed.rows == {}
    # PX4's events are rows of a topic.
    texts = [event for event in WHOLE.events if event["source"] != "px4_event"]
    assert len(parsed.events) == len(texts)
    assert {d.reason for d in parsed.damages} >= {"unknown_format"}


def test_nothing_but_noise_behind_the_magic_is_unreadable() -> None:
    parsed = parse(FLIGHT[:16] + b"\xee" * 5000)
    assert parsed.unreadable.reason == "damaged"
    assert parsed.damages == []


def test_a_format_that_holds_itself_is_refused() -> None:
    data = FLIGHT[:16] + _message("F", b"a:uint64_t timestamp;a[2] a;") + _message("A", b"\0\0\0a")
    parsed = parse(data + _message("D", b"\0\0" + bytes(16)))
    assert "unknown_format" in {d.reason for d in parsed.damages}


def test_formats_that_multiply_without_end_are_refused() -> None:
    levels = [_message("F", f"t{n}:t{n + 1}[65535] x;".encode()) for n in range(20)]
    levels.append(_message("F", b"t20:uint8_t x;"))
    parsed = parse(FLIGHT[:16] + b"".join(levels) + _message("A", b"\0\0\0t0"))
    assert "unknown_format" in {d.reason for d in parsed.damages}


def test_too_many_columns_are_cut_and_said() -> None:
    fields = "uint64_t timestamp;" + "".join(f"uint8_t f{n};" for n in range(300))
    data = FLIGHT[:16] + _message("F", b"wide:" + fields.encode()) + _message("A", b"\0\0\0wide")
    data += _message("D", b"\0\0" + struct.pack("<Q", 5_000_000) + bytes(300))
    parsed = parse(data, columns=100)
    assert parsed.rows["wide", 0].num_columns == 102
    assert "too_many_columns" in {d.reason for d in parsed.damages}


def test_repeated_and_reserved_field_names_stay_apart() -> None:
    text = b"odd:uint64_t timestamp;float ts;float x;float x;"
    data = FLIGHT[:16] + _message("F", text) + _message("A", b"\0\0\0odd")
    data += _message("D", b"\0\0" + struct.pack("<Qfff", 5_000_000, 1, 2, 3))
    table = parse(data).rows["odd", 0]
    assert table.column_names == ["t_boot_us", "ts", "ts#2", "x", "x#2"]


def test_a_clock_beyond_int64_is_null() -> None:
    data = FLIGHT[:16] + _message("F", b"t:uint64_t timestamp;") + _message("A", b"\0\0\0t")
    data += _message("D", b"\0\0" + b"\xff" * 8) + _message("D", b"\0\0" + struct.pack("<Q", 77))
    assert parse(data).rows["t", 0]["t_boot_us"].to_pylist() == [None, 77]


def test_a_clock_that_steps_back_loses_no_row() -> None:
    data = FLIGHT[:16] + _message("F", b"t:uint64_t timestamp;") + _message("A", b"\0\0\0t")
    times = [5_000_000, 6_000_000, 1_000_000, 2_000_000]
    data += b"".join(_message("D", b"\0\0" + struct.pack("<Q", us)) for us in times)
    assert parse(data).rows["t", 0]["t_boot_us"].to_pylist() == times


def test_nul_and_wrong_utf8_in_a_text_are_replaced() -> None:
    text = b"3" + struct.pack("<Q", 5) + b"bad \xff and \0 inside"
    (event,) = parse(FLIGHT[:16] + _message("L", text)).events
    assert event["message"] == "bad \ufffd and \ufffd inside"


def test_text_after_appended_offset_is_read() -> None:
    # The offsets say where a crash dump was appended: the message before it may be cut.
    head = FLIGHT[:16] + _message("B", bytes(8) + b"\x01" + bytes(7) + struct.pack("<3Q", 80, 0, 0))
    cut = _message("L", b"6" + struct.pack("<Q", 5) + b"never whole, it was cut off")[
        : 80 - len(head)
    ]
    dump = _message("L", b"2" + struct.pack("<Q", 9) + b"hard fault")
    parsed = parse(head + cut + dump)
    assert [event["message"] for event in parsed.events] == ["hard fault"]
    assert [(d.reason, d.end) for d in parsed.damages] == [("truncated", 80)]


def _message(kind: str, payload: bytes) -> bytes:
    return struct.pack("<HB", len(payload), ord(kind)) + payload


@settings(max_examples=200, deadline=2000)
@given(
    st.lists(
        st.tuples(st.integers(0, len(SHORT) - 1), st.binary(min_size=1, max_size=40)),
        min_size=1,
        max_size=8,
    ),
    st.integers(16, len(SHORT)),
)
def test_mutated_bytes_never_raise(edits: list[tuple[int, bytes]], cut: int) -> None:
    data = bytearray(SHORT[:cut])
    for at, piece in edits:
        data[at : at + len(piece)] = piece
    if bytes(data[:7]) == SHORT[:7]:
        parse(bytes(data))


@settings(max_examples=200, deadline=2000)
@given(st.binary(max_size=3000))
def test_any_bytes_behind_the_magic_never_raise(tail: bytes) -> None:
    parse(SHORT[:16] + tail)


def test_an_offset_of_appended_data_that_cannot_be_costs_nothing() -> None:
    flags = struct.pack("<HB", 40, ord("B")) + bytes(8) + b"\x01" + bytes(7)
    # Within the flags' own definitions, in the middle of the file, and behind its end.
    for offset in (20, len(SHORT) // 2 + 1, 10**15):
        at = SHORT.index(b"\x28\x00B") if b"\x28\x00B" in SHORT[:80] else 16
        behind = at + 43 if SHORT[at + 2 : at + 3] == b"B" else at
        data = SHORT[:16] + flags + struct.pack("<3Q", offset, 0, 0) + SHORT[behind:]
        assert parse(data).rows_total == parse(SHORT).rows_total


def test_columns_of_all_topics_together_are_limited() -> None:
    parsed = parse(SHORT, all_columns=20)
    assert parsed.rows_total == parse(SHORT).rows_total
    assert sum(table.num_columns - 2 for table in parsed.rows.values()) < 80
    assert {damage.reason for damage in parsed.damages} == {"too_many_columns"}
