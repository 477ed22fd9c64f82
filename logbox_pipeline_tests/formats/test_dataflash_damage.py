"""Damaged DataFlash logs: every row outside the damage comes out, and the lost bytes are named."""

import io
import random
import struct

import pytest

from logbox_pipeline.simulator.dataflash_writer import write_dataflash
from logbox_pipeline_tests.formats.dataflash_oracle import counts, messages, rows_by_topic
from logbox_pipeline_tests.formats.parsing import parse

_OUT = io.BytesIO()
write_dataflash(_OUT, seed=7, duration_s=10)
FLIGHT = _OUT.getvalue()
WHOLE = parse(FLIGHT)
SHORTEST = 12


def lost(data: bytes) -> int:
    return WHOLE.rows_total - parse(data).rows_total


def damaged_bytes(data: bytes) -> int:
    return sum(d.end - d.start for d in parse(data).damages)


@pytest.mark.parametrize("part", [0.1, 0.33, 0.6, 0.999])
def test_a_log_cut_anywhere_keeps_what_stands_before(part: float) -> None:
    for cut in range(int(len(FLIGHT) * part), int(len(FLIGHT) * part) + 70, 7):
        parsed = parse(FLIGHT[:cut])
        assert parsed.rows_total >= sum(counts(messages(FLIGHT[:cut], is_text=False)).values())
        assert [d.reason for d in parsed.damages] in ([], ["truncated"])
        assert all(d.end == cut for d in parsed.damages)


@pytest.mark.parametrize("size", [1, 100, 777, 5000])
@pytest.mark.parametrize("part", [0.3, 0.61, 0.9])
def test_garbage_costs_at_most_the_message_it_stands_in(size: int, part: float) -> None:
    noise = random.Random(size).randbytes(size)
    at = int(len(FLIGHT) * part)
    data = FLIGHT[:at] + noise + FLIGHT[at:]
    assert lost(data) <= 2
    assert parse(data).damages
    assert damaged_bytes(data) <= size + 300


@pytest.mark.parametrize("size", [16, 512, 4096, 30_000])
def test_a_zeroed_block_costs_only_itself(size: int) -> None:
    at = len(FLIGHT) // 2
    data = FLIGHT[:at] + bytes(size) + FLIGHT[at + size :]
    assert lost(data) <= size / SHORTEST + 2
    assert damaged_bytes(data) <= size + 300


@pytest.mark.parametrize("size", [1, 13, 1000, 9000])
def test_a_missing_block_gives_no_row_of_mixed_messages(size: int) -> None:
    at = len(FLIGHT) // 2 + 5
    data = FLIGHT[:at] + FLIGHT[at + size :]
    assert lost(data) <= size / SHORTEST + 2
    assert parse(data).damages


@pytest.mark.parametrize("seed", range(12))
def test_at_least_as_many_rows_as_pymavlink_after_any_damage(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(FLIGHT)
    for _ in range(4):
        at, size = chance.randrange(20_000, len(data)), chance.randrange(1, 3000)
        match chance.randrange(3):
            case 0:
                data[at : at + size] = bytes(len(data[at : at + size]))
            case 1:
                data[at:at] = chance.randbytes(size)
            case 2:
                del data[at : at + size]
    expected = counts(messages(bytes(data), is_text=False))
    assert sum(rows_by_topic(parse(bytes(data))).values()) >= sum(expected.values())


def test_erased_flash_behind_the_log_is_padding() -> None:
    parsed = parse(FLIGHT + b"\xff" * 5000)
    assert parsed.rows_total == WHOLE.rows_total
    (damage,) = parsed.damages
    assert (damage.start, damage.end, damage.reason) == (len(FLIGHT), len(FLIGHT) + 5000, "padding")


def test_a_damaged_head_does_not_cost_the_log() -> None:
    parsed = parse(bytes(50) + FLIGHT)
    assert parsed.rows_total == WHOLE.rows_total
    assert parsed.damages[0].end == 50


def test_bytes_that_look_like_a_header_inside_a_message_are_values() -> None:
    head = struct.pack("<BBB4s16s64s", 0x80, 10, 15, b"TNY", b"QI", b"TimeUS,V")
    tiny = struct.pack("<BBBQI", 0xA3, 0x95, 10, 5, 0x0A95A3)
    parsed = parse(b"\xa3\x95" + head + tiny * 20)
    assert parsed.rows["TNY", 0]["V"].to_pylist() == [0x0A95A3] * 20
    assert parsed.damages == []


def test_row_limit_names_what_was_left_out() -> None:
    parsed = parse(FLIGHT, rows=100)
    assert parsed.rows_total == 100
    assert parsed.damages[-1].reason == "row_limit"
    assert parsed.damages[-1].end == len(FLIGHT)
