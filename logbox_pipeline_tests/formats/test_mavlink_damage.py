"""Telemetry logs with damage: what is whole is read, what is not is said, nothing raises."""

import io
import random
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logbox_pipeline.formats import mavlink
from logbox_pipeline.formats.mavlink_crc import checksum
from logbox_pipeline.formats.mavlink_definitions import definitions
from logbox_pipeline.formats.stream import About, Damage, Limits, Rows, Unreadable
from logbox_pipeline.simulator.tlog_writer import pack_payload, write_tlog
from logbox_pipeline_tests.formats.mavlink_oracle import assert_holds_pymavlink
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT, Parsed, parse
from logbox_pipeline_tests.formats.test_mavlink import START_US, beat, framed, recorded


def _written(**options: object) -> bytes:
    out = io.BytesIO()
    write_tlog(out, seed=7, **{"duration_s": 20.0, **options})
    return out.getvalue()


FLIGHT = _written()
WHOLE = parse(FLIGHT)
SHORT = {
    "second protocol": _written(duration_s=3.0),
    "first protocol": _written(duration_s=3.0, protocol=1),
    "signed": _written(duration_s=3.0, is_signed=True),
    "raw": _written(duration_s=3.0, has_times=False),
}
SHORTEST_RECORD = 8 + 12 + 1


def lost(data: bytes) -> int:
    return WHOLE.rows_total - parse(data).rows_total


def damaged_bytes(parsed: Parsed) -> int:
    return sum(damage.end - damage.start for damage in parsed.damages)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.77, 0.999])
def test_a_log_cut_anywhere_keeps_what_stands_before(part: float) -> None:
    for cut in range(int(len(FLIGHT) * part), int(len(FLIGHT) * part) + 100, 9):
        parsed = parse(FLIGHT[:cut])
        assert parsed.rows_total >= WHOLE.rows_total * part * 0.95 - 3
        assert all(d.reason == "truncated" and d.end == cut for d in parsed.damages)
        assert damaged_bytes(parsed) < 8 + 280


@pytest.mark.parametrize("size", [1, 16, 512, 4096])
@pytest.mark.parametrize("part", [0.3, 0.61, 0.9])
def test_a_zeroed_block_costs_only_itself(size: int, part: float) -> None:
    at = int(len(FLIGHT) * part)
    data = FLIGHT[:at] + bytes(size) + FLIGHT[at + size :]
    assert lost(data) <= size / SHORTEST_RECORD + 2
    assert damaged_bytes(parse(data)) <= size + 300


def test_a_zeroed_block_is_called_so() -> None:
    data = FLIGHT[:9_000] + bytes(2_000) + FLIGHT[11_000:]
    assert "zeroed" in [damage.reason for damage in parse(data).damages]


@pytest.mark.parametrize("size", [1, 7, 8, 9, 100, 5000])
def test_foreign_bytes_in_the_middle_cost_only_themselves(size: int) -> None:
    noise = random.Random(size).randbytes(size)
    at = len(FLIGHT) // 2
    data = FLIGHT[:at] + noise + FLIGHT[at:]
    assert lost(data) <= 1
    parsed = parse(data)
    assert parsed.damages
    assert damaged_bytes(parsed) <= size + 300


@pytest.mark.parametrize("size", [1, 8, 50, 1000])
def test_missing_bytes_cost_only_their_messages(size: int) -> None:
    at = len(FLIGHT) // 2
    assert lost(FLIGHT[:at] + FLIGHT[at + size :]) <= size / SHORTEST_RECORD + 2


def test_padding_at_the_end_is_one_damage_and_costs_nothing() -> None:
    parsed = parse(FLIGHT + b"\xff" * 10_000)
    assert parsed.rows_total == WHOLE.rows_total
    assert [(d.start, d.end, d.reason) for d in parsed.damages] == [
        (len(FLIGHT), len(FLIGHT) + 10_000, "padding")
    ]


def test_a_flipped_bit_costs_its_frame_and_is_a_bad_crc() -> None:
    frames = [beat(number) for number in range(5)]
    size = 8 + len(frames[0])
    data = bytearray(recorded(*frames))
    data[2 * size + 8 + 12] ^= 4
    parsed = parse(bytes(data))
    assert parsed.rows["HEARTBEAT", 257].num_rows == 4
    assert [(d.start, d.end, d.reason) for d in parsed.damages] == [(2 * size, 3 * size, "bad_crc")]
    assert parsed.about.info["bad_crc"] == 1
    assert parsed.about.info["frames_lost"] == 1


def test_a_wrong_length_does_not_swallow_what_follows() -> None:
    frames = [beat(number) for number in range(8)]
    size = 8 + len(frames[0])
    for length in (0, 3, 200, 255):
        data = bytearray(recorded(*frames))
        data[2 * size + 9] = length
        parsed = parse(bytes(data))
        assert parsed.rows["HEARTBEAT", 257].num_rows == 7
        assert [(d.start, d.end) for d in parsed.damages] == [(2 * size, 3 * size)]


def test_a_frame_cut_short_does_not_hide_the_whole_one_behind_it() -> None:
    data = recorded(beat(0), beat(1)) + recorded(beat(2))[:15] + recorded(beat(3), beat(4))
    assert parse(data).rows["HEARTBEAT", 257].num_rows == 4


def test_a_lost_time_is_null_and_its_frame_is_kept() -> None:
    data = recorded(beat(0), beat(1)) + beat(2) + recorded(beat(3), beat(4))
    parsed = parse(data)
    times = parsed.rows["HEARTBEAT", 257]["ts"].to_pylist()
    assert [ts is None for ts in times] == [False, False, True, False, False]
    assert parsed.damages == []


def test_an_unknown_message_is_counted_when_a_frame_follows_it() -> None:
    unknown = b"\xfd\x04\0\0\x01\x01\x01\x48\xee\0abcdCC"
    data = recorded(beat(0), unknown, unknown, beat(2))
    parsed = parse(data)
    assert parsed.damages == []
    assert parsed.about.info["unknown_messages"] == '{"61000": 2}'
    torn = parse(recorded(beat(0), unknown) + b"nothing like a frame")
    assert torn.about.info["unknown_messages"] == "{}"
    assert damaged_bytes(torn) == 8 + len(unknown) + 20


def test_a_payload_shortened_after_its_checksum_is_restored() -> None:
    """As QGroundControl did with frames whose sender had sent all zeros."""
    message = definitions().by_name["DISTANCE_SENSOR"]
    sent = pack_payload(message, {"time_boot_ms": 5_000, "current_distance": 77})
    head = struct.pack("<7B", 0xFD, len(sent), 0, 0, 9, 1, 1) + message.id.to_bytes(3, "little")
    crc = struct.pack("<H", checksum(head[1:] + sent, message.crc_extra))
    kept = sent.rstrip(b"\0")
    shortened = head[:1] + bytes([len(kept)]) + head[2:] + kept + crc
    parsed = parse(recorded(beat(0), shortened, shortened, beat(1)))
    assert parsed.damages == []
    assert parsed.rows["DISTANCE_SENSOR", 257]["current_distance"].to_pylist() == [77, 77]
    assert parsed.about.info["frames_restored"] == 2
    broken = bytearray(shortened)
    broken[12] ^= 1
    assert "DISTANCE_SENSOR" not in {
        topic for topic, _ in parse(recorded(beat(0), bytes(broken), beat(1))).rows
    }


def test_a_frame_inside_a_payload_is_no_row() -> None:
    inner = beat(7)
    outer = framed("FILE_TRANSFER_PROTOCOL", 1, payload=bytes(3) + inner + b"\1")
    parsed = parse(recorded(beat(0), outer, beat(2)))
    assert parsed.rows["HEARTBEAT", 257].num_rows == 2
    assert parsed.rows["FILE_TRANSFER_PROTOCOL", 257].num_rows == 1


def test_noise_gives_no_frames() -> None:
    noise = random.Random(5).randbytes(1_000_000)
    items = list(mavlink.parse(memoryview(noise), Limits(received_at=RECEIVED_AT)))
    assert isinstance(items[-1], Unreadable)
    assert len(items) == 1
    parsed = parse(FLIGHT + noise)
    assert parsed.rows_total == WHOLE.rows_total


def test_a_flight_of_another_day_appended_keeps_its_times() -> None:
    late = [recorded(beat(n), at_us=START_US + 3 * 86_400_000_000 + n) for n in range(3)]
    parsed = parse(recorded(beat(0), beat(1)) + b"".join(late))
    assert parsed.rows["HEARTBEAT", 257]["ts"].null_count == 0
    assert (parsed.about.recorded_to - parsed.about.recorded_from).days == 3


@pytest.mark.parametrize("seed", range(4))
def test_damage_costs_no_row_that_pymavlink_finds(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(SHORT["second protocol"])
    for _ in range(3):
        data[chance.randrange(40, len(data))] ^= 1 << chance.randrange(8)
    cut = chance.randrange(len(data) // 2, len(data))
    broken = bytes(data[:cut]) + bytes(data[cut + 60 :])
    assert_holds_pymavlink(broken, parse(broken))


def test_bytes_that_all_look_like_frames_cost_no_more_than_time() -> None:
    """Headers of 255 bytes, one every 10 bytes: each must be tried."""
    hostile = bytes([0xFD, 255, 0, 0, 0, 1, 1, 0, 0, 0]) * 20_000
    started = time.process_time()
    items = list(mavlink.parse(memoryview(hostile), Limits(received_at=RECEIVED_AT)))
    assert isinstance(items[-1], Unreadable)
    assert time.process_time() - started < 5


def _hold_contract(data: bytes) -> None:
    last_end = 0
    items = list(mavlink.parse(memoryview(data), Limits(received_at=RECEIVED_AT)))
    assert isinstance(items[-1], About | Unreadable)
    for item in items[:-1]:
        assert not isinstance(item, About | Unreadable)
        if isinstance(item, Rows):
            item.batch.validate(full=True)
        if isinstance(item, Damage):
            assert last_end <= item.start < item.end <= len(data)
            last_end = item.end
    mavlink.recognizes(memoryview(data)[:65_536], len(data))


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(sorted(SHORT)),
    edits=st.lists(
        st.tuples(
            st.sampled_from(("flip", "zero", "delete", "insert", "repeat", "cut")),
            st.floats(0, 1),
            st.integers(1, 400),
            st.binary(max_size=30),
        ),
        max_size=6,
    ),
)
def test_no_damage_raises(kind: str, edits: list[tuple[str, float, int, bytes]]) -> None:
    data = bytearray(SHORT[kind])
    for edit, part, size, noise in edits:
        at = int(part * len(data))
        match edit:
            case "flip" if at < len(data):
                data[at] ^= 1 << size % 8
            case "zero":
                data[at : at + size] = bytes(size)
            case "delete":
                del data[at : at + size]
            case "insert":
                data[at:at] = noise
            case "repeat":
                data[at:at] = data[at : at + size]
            case "cut":
                del data[max(at, 1) :]
    _hold_contract(bytes(data))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_end_well(noise: bytes, has_frame: bool) -> None:
    _hold_contract(recorded(beat()) * has_frame + noise.replace(b"\x80", b"\xfd\x09\0\0"))
