"""Telemetry logs of our own making, whole: what comes out is what went in, and pymavlink's."""

import io
import json
import math
import random
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from logbox_pipeline.formats import mavlink
from logbox_pipeline.formats.mavlink_crc import checksum, checksums
from logbox_pipeline.formats.mavlink_definitions import (
    NUMPY_TYPES,
    RESOURCE,
    Message,
    definitions,
)
from logbox_pipeline.formats.mavlink_modes import flight_mode
from logbox_pipeline.formats.stream import Likeness, TimeSource
from logbox_pipeline.simulator.tlog_writer import TlogLedger, pack_payload, write_tlog
from logbox_pipeline_tests.formats.make_mavlink_messages import resource
from logbox_pipeline_tests.formats.mavlink_oracle import assert_equals_pymavlink
from logbox_pipeline_tests.formats.parsing import Parsed, parse

START = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
KINDS: dict[str, dict[str, Any]] = {
    "ardupilot": {},
    "px4": {"autopilot": "px4"},
    "first protocol": {"protocol": 1},
    "signed": {"is_signed": True},
    "raw": {"has_times": False},
}


def written(**options: Any) -> tuple[bytes, TlogLedger]:
    out = io.BytesIO()
    ledger = write_tlog(out, **{"seed": 1, "duration_s": 40.0, "start": START, **options})
    return out.getvalue(), ledger


def framed(
    name: str, seq: int = 0, *, payload: bytes | None = None, version: int = 2, **values: Any
) -> bytes:
    """One frame from 1/1, whole."""
    message = definitions().by_name[name]
    body = pack_payload(message, values) if payload is None else payload
    if version == 1:
        body = body[: message.base_length]
        head = struct.pack("<6B", 0xFE, len(body), seq & 0xFF, 1, 1, message.id)
    else:
        body = body.rstrip(b"\0") or body[:1]
        head = struct.pack("<7B", 0xFD, len(body), 0, 0, seq & 0xFF, 1, 1)
        head += message.id.to_bytes(3, "little")
    raw = head + body
    return raw + struct.pack("<H", checksum(raw[1:], message.crc_extra))


def recorded(*frames: bytes, at_us: int = START_US, step_us: int = 100_000) -> bytes:
    return b"".join(
        struct.pack(">Q", at_us + number * step_us) + frame for number, frame in enumerate(frames)
    )


def beat(seq: int = 0, **values: Any) -> bytes:
    return framed("HEARTBEAT", seq, **{"type": 2, "autopilot": 3, "mavlink_version": 3, **values})


def events_of(parsed: Parsed, source: str) -> list[tuple[Any, Any]]:
    return [(e["level"], e["message"]) for e in parsed.events if e["source"] == source]


def rows_of(parsed: Parsed) -> dict[tuple[str, int], str]:
    """As text, for which NaN equals NaN."""
    return {key: str(table.to_pylist()) for key, table in parsed.rows.items()}


@pytest.fixture(scope="module", params=list(KINDS))
def flight(request: pytest.FixtureRequest) -> tuple[bytes, TlogLedger, Parsed, bool]:
    data, ledger = written(**KINDS[request.param])
    return data, ledger, parse(data, format_name="mavlink"), request.param != "raw"


def test_every_row_comes_out_and_every_byte_is_read(
    flight: tuple[bytes, TlogLedger, Parsed, bool],
) -> None:
    _, ledger, parsed, _ = flight
    assert {key: table.num_rows for key, table in parsed.rows.items()} == dict(ledger.rows)
    assert parsed.damages == []
    info = parsed.about.info
    assert json.loads(str(info["unknown_messages"])) == {
        str(number): frames for number, frames in ledger.unknown.items()
    }
    known = ledger.frames_v1 + ledger.frames_v2 - sum(ledger.unknown.values())
    assert info["frames_v1"] + info["frames_v2"] == known
    assert info["frames_lost"] == info["bad_crc"] == info["restarts"] == 0
    assert (info["frames_signed"] > 0) == (ledger.frames_signed > 0)


def test_every_field_equals_pymavlinks(flight: tuple[bytes, TlogLedger, Parsed, bool]) -> None:
    data, _, parsed, has_times = flight
    assert_equals_pymavlink(data, parsed, has_times=has_times)


def test_the_log_names_its_vehicle_and_its_time(
    flight: tuple[bytes, TlogLedger, Parsed, bool],
) -> None:
    _, ledger, parsed, has_times = flight
    about = parsed.about
    assert (about.vehicle_uid, about.firmware) == (ledger.vehicle_uid, ledger.firmware)
    assert about.time_source == (TimeSource.GCS if has_times else TimeSource.NONE)
    assert (about.recorded_from, about.recorded_to) == (ledger.first, ledger.last)
    systems = json.loads(str(about.info["systems"]))
    assert [(one["sysid"], one["compid"]) for one in systems] == [
        (1, 1),
        (1, 100),
        (51, 68),
        (255, 190),
    ]
    assert systems[0]["type"] == "MAV_TYPE_QUADROTOR"


def test_events_and_parameters_are_what_was_said(
    flight: tuple[bytes, TlogLedger, Parsed, bool],
) -> None:
    _, ledger, parsed, _ = flight
    assert events_of(parsed, "mavlink.1/1") == list(ledger.texts)
    assert events_of(parsed, "logbox.mode") == [(5, mode) for mode in ledger.modes]
    assert events_of(parsed, "logbox.arm") == [(5, "armed"), (5, "disarmed")]
    assert events_of(parsed, "logbox.command") == [
        (4, "MAV_CMD_SET_MESSAGE_INTERVAL: MAV_RESULT_DENIED")
    ]
    assert [m for _, m in events_of(parsed, "logbox.landed")][:3] == [
        "MAV_LANDED_STATE_ON_GROUND",
        "MAV_LANDED_STATE_TAKEOFF",
        "MAV_LANDED_STATE_IN_AIR",
    ]
    found = tuple((p["name"], p["kind"], p["value"]) for p in parsed.parameters)
    assert found == ledger.parameters
    assert {p["value_type"] for p in parsed.parameters} == {"int32", "int16", "float"}
    for event in parsed.events:
        assert json.loads(str(event["attributes"]))["sysid"] == 1
        assert event["t_boot_us"] is not None or event["message"] == ledger.modes[0]


def test_small_batches_hold_the_same_rows() -> None:
    data, _ = written()
    whole, small = parse(data), parse(data, batch_rows=50)
    assert max(max(sizes) for sizes in small.batches.values()) <= 50
    assert small.events == whole.events
    assert small.parameters == whole.parameters
    assert rows_of(small) == rows_of(whole)


def test_small_windows_find_the_same_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = written(is_signed=True)
    whole = parse(data)
    monkeypatch.setattr("logbox_pipeline.formats.mavlink_scan._WINDOW", 777)
    cut = parse(data)
    assert (cut.events, cut.parameters, cut.damages) == (whole.events, whole.parameters, [])
    assert rows_of(cut) == rows_of(whole)
    assert cut.about == whole.about


def test_all_rows_end_at_the_limit() -> None:
    data, _ = written()
    parsed = parse(data, rows=100)
    assert parsed.rows_total == 100
    (damage,) = parsed.damages
    assert (damage.reason, damage.end) == ("row_limit", len(data))


def _some_value(chance: random.Random, kind: str) -> Any:
    if kind in ("float", "double"):
        return chance.choice([chance.uniform(-1e6, 1e6), 0.0, -0.0, math.nan, math.inf])
    bits = np.iinfo(np.dtype(NUMPY_TYPES[kind]))
    return chance.choice([chance.randint(int(bits.min), int(bits.max)), 0, int(bits.max)])


def _some_payload(chance: random.Random, message: Message) -> bytes:
    values: dict[str, Any] = {}
    for field in message.fields:
        count = max(field.entries, 1)
        if field.is_text:
            letters = "abc\0öXYZ" if chance.random() < 0.3 else "abcXYZ"
            values[field.name] = "".join(chance.choices(letters, k=count)).encode()[:count]
        elif field.entries:
            values[field.name] = [_some_value(chance, field.type) for _ in range(count)]
        else:
            values[field.name] = _some_value(chance, field.type)
    return pack_payload(message, values)


@pytest.mark.parametrize("version", [1, 2])
def test_every_message_of_the_dialect_equals_pymavlinks(version: int) -> None:
    from pymavlink.dialects.v20 import all as dialect

    chance = random.Random(version)
    frames = [
        framed(message.name, place, payload=_some_payload(chance, message), version=version)
        for place, message in enumerate(definitions().messages * 3)
        if message.id in dialect.mavlink_map and (version == 2 or message.id < 256)
    ]
    data = recorded(*frames)
    parsed = parse(data)
    assert parsed.damages == []
    assert_equals_pymavlink(data, parsed)


def test_the_messages_are_pymavlinks() -> None:
    assert RESOURCE.read_text() == resource()


def test_lengths_and_checksums_are_pymavlinks() -> None:
    from pymavlink.dialects.v20 import all as dialect

    for number, theirs in dialect.mavlink_map.items():
        ours = definitions().known(number)
        assert ours is not None
        assert (ours.name, ours.crc_extra) == (theirs.msgname, theirs.crc_extra)
        assert ours.length == theirs.unpacker.size
        assert [field.name for field in ours.fields] == theirs.fieldnames


def test_checksums_equal_pymavlinks_one_by_one() -> None:
    from pymavlink.dialects.v20.all import x25crc

    noise = np.random.default_rng(1).integers(0, 256, 4_000).astype(np.uint8)
    start = np.arange(0, 3_000, 11)
    length = 5 + start % 270
    extra = (start % 256).astype(np.uint8)
    expected = [
        x25crc(noise[at : at + size].tobytes() + bytes([one])).crc
        for at, size, one in zip(start, length, extra, strict=True)
    ]
    assert checksums(noise, start, length, extra).tolist() == expected
    assert checksum(noise[:50].tobytes(), 7) == x25crc(noise[:50].tobytes() + b"\7").crc


def test_columns_have_types_units_and_definitions() -> None:
    data, _ = written()
    batch = next(
        item
        for item in mavlink.parse(memoryview(data), _limits())
        if getattr(item, "topic", "") == "GLOBAL_POSITION_INT"
    )
    columns = {column.source_name: column for column in batch.columns}
    assert list(columns)[:3] == ["sysid", "compid", "time_boot_ms"]
    assert (columns["lat"].unit, columns["hdg"].unit) == ("degE7", "cdeg")
    assert columns["lat"].definition == "MAVLink standard.xml GLOBAL_POSITION_INT.lat"
    parsed = parse(data)
    battery = parsed.rows["BATTERY_STATUS", 257].schema
    assert battery.field("voltages[9]").type == pa.uint16()
    obstacle = parsed.rows["OBSTACLE_DISTANCE", 257].schema
    assert obstacle.field("distances").type == pa.list_(pa.uint16())


def _limits() -> Any:
    from logbox_pipeline.formats.stream import Limits

    return Limits(received_at=datetime(2026, 12, 1, tzinfo=UTC))


def test_times_before_2015_or_after_the_upload_are_null() -> None:
    beats = [beat(number) for number in range(4)]
    data = recorded(*beats[:2]) + recorded(beats[2], at_us=0) + recorded(beats[3], at_us=2**62)
    parsed = parse(data, format_name="mavlink")
    times = parsed.rows["HEARTBEAT", 257]["ts"].to_pylist()
    assert times == [START, START + timedelta(seconds=0.1), None, None]
    assert parsed.about.info["frames_without_time"] == 2
    late = parse(recorded(*beats), received_at=START - timedelta(days=2))
    assert late.about.time_source == TimeSource.NONE


def test_a_log_older_than_2015_is_read_without_its_times() -> None:
    data, ledger = written(protocol=1, start=datetime(2013, 5, 1, tzinfo=UTC))
    assert mavlink.recognizes(memoryview(data)[:65_536], len(data)) is Likeness.SURE
    parsed = parse(data, format_name="mavlink")
    assert parsed.rows_total == ledger.rows_total
    assert parsed.damages == []
    assert parsed.about.time_source == TimeSource.NONE


def test_a_gimbal_that_names_an_autopilot_is_no_vehicle() -> None:
    data = recorded(beat(0, type=26, custom_mode=9), beat(1, type=26, base_mode=128), beat(2))
    assert [m for _, m in events_of(parse(data), "logbox.mode")] == ["PREFLIGHT"]


def test_a_single_time_that_leaps_is_null() -> None:
    far = START_US - 400 * 86_400_000_000
    frames = [recorded(beat(n), at_us=far if n == 5 else START_US + n) for n in range(10)]
    parsed = parse(b"".join(frames))
    times = parsed.rows["HEARTBEAT", 257]["ts"].to_pylist()
    assert [place for place, ts in enumerate(times) if ts is None] == [5]
    assert parsed.about.recorded_from == START


def test_the_boot_clock_is_in_microseconds_and_null_for_zero() -> None:
    data = recorded(
        framed("ATTITUDE", 0, time_boot_ms=0, roll=1.0),
        framed("ATTITUDE", 1, time_boot_ms=1_500),
        framed("GPS_RAW_INT", 2, time_usec=2_000_000),
        framed("GPS_RAW_INT", 3, time_usec=START_US),
    )
    rows = parse(data).rows
    assert rows["ATTITUDE", 257]["t_boot_us"].to_pylist() == [None, 1_500_000]
    assert rows["GPS_RAW_INT", 257]["t_boot_us"].to_pylist() == [2_000_000, None]


def test_a_clock_of_32_bits_goes_on_after_71_minutes() -> None:
    after_us = 2**32 + 5_000_000
    data = recorded(
        framed("ATTITUDE", 0, time_boot_ms=after_us // 1000),
        framed("SERVO_OUTPUT_RAW", 1, time_usec=after_us & 0xFFFF_FFFF, servo1_raw=1),
        framed("ATTITUDE", 2, time_boot_ms=after_us // 1000),
    )
    assert parse(data).rows["SERVO_OUTPUT_RAW", 257]["t_boot_us"].to_pylist() == [after_us]


def test_a_boot_clock_that_steps_back_is_a_restart() -> None:
    clocks = [100_000, 101_000, 500, 1_500]
    data = recorded(*(framed("ATTITUDE", n, time_boot_ms=ms) for n, ms in enumerate(clocks)))
    parsed = parse(data)
    assert events_of(parsed, "logbox.restart") == [
        (5, "the boot clock stepped back from 101.0 s to 0.5 s")
    ]
    assert parsed.about.info["restarts"] == 1


def test_a_frame_that_comes_late_is_no_restart() -> None:
    clocks = [100_000, 98_000, 100_100]
    data = recorded(*(framed("ATTITUDE", n, time_boot_ms=ms) for n, ms in enumerate(clocks)))
    assert parse(data).about.info["restarts"] == 0


def test_chunks_in_any_order_and_twice_make_one_text() -> None:
    raw = b"x" * 50 + b"y" * 50 + b"end"
    chunks = [
        framed("STATUSTEXT", n, severity=3, text=raw[n * 50 : n * 50 + 50], id=9, chunk_seq=n)
        for n in range(3)
    ]
    for order in ([0, 1, 2], [2, 0, 1], [0, 0, 1, 1, 2]):
        parsed = parse(recorded(*(chunks[place] for place in order)))
        assert events_of(parsed, "mavlink.1/1") == [(3, raw.decode())]


def test_a_missing_chunk_is_marked() -> None:
    def chunk(place: int) -> bytes:
        text = b"%d" % place * 50 if place < 2 else b"end"
        return framed("STATUSTEXT", place, severity=3, text=text, id=9, chunk_seq=place)

    for places, expected in (
        ((0, 2), "0" * 50 + "[missing]end"),
        ((0, 1), "0" * 50 + "1" * 50 + "[missing]"),
        ((2,), "[missing]end"),
    ):
        parsed = parse(recorded(*(chunk(place) for place in places), beat(5), beat(6)))
        assert events_of(parsed, "mavlink.1/1") == [(3, expected)]


def test_the_same_id_again_is_another_text() -> None:
    texts = [
        framed("STATUSTEXT", n, severity=3, text=text, id=9, chunk_seq=0)
        for n, text in enumerate((b"a" * 50, b"b" * 50, b"short"))
    ]
    parsed = parse(recorded(*texts))
    assert [message for _, message in events_of(parsed, "mavlink.1/1")] == [
        "a" * 50 + "[missing]",
        "b" * 50 + "[missing]",
        "short",
    ]


def test_a_critical_state_and_its_end_are_events() -> None:
    states = [3, 5, 5, 6, 4]
    data = recorded(*(beat(n, system_status=state) for n, state in enumerate(states)))
    assert events_of(parse(data), "logbox.state") == [
        (2, "MAV_STATE_CRITICAL"),
        (0, "MAV_STATE_EMERGENCY"),
        (5, "MAV_STATE_ACTIVE"),
    ]


def test_parameters_of_other_components_keep_their_owner() -> None:
    def packed(seq: int, value: float) -> bytes:
        return framed("PARAM_VALUE", seq, param_id=b"GAIN", param_type=9, param_value=value)

    gimbal = bytearray(packed(2, 2.0))
    gimbal[6] = 154
    extra = definitions().by_name["PARAM_VALUE"].crc_extra
    gimbal[-2:] = struct.pack("<H", checksum(bytes(gimbal[1:-2]), extra))
    parsed = parse(recorded(beat(), packed(1, 1.5), bytes(gimbal), packed(3, 1.5)))
    assert [(p["name"], p["kind"], p["value"]) for p in parsed.parameters] == [
        ("GAIN", "initial", 1.5),
        ("1/154:GAIN", "initial", 2.0),
    ]


@pytest.mark.parametrize(
    ("autopilot", "raw", "value"),
    [(3, struct.pack("<f", 7), 7.0), (12, struct.pack("<i", -7), -7.0), (0, b"\7\0\0\0", 7.0)],
)
def test_integers_are_unpacked_as_their_autopilot_packs_them(
    autopilot: int, raw: bytes, value: float
) -> None:
    payload = raw + bytes(4) + b"COUNT".ljust(16, b"\0") + b"\6"
    data = recorded(beat(autopilot=autopilot), framed("PARAM_VALUE", 1, payload=payload))
    assert [p["value"] for p in parse(data).parameters] == [value]


@pytest.mark.parametrize(
    ("autopilot", "kind", "base_mode", "custom_mode", "name"),
    [
        (3, 2, 1, 5, "LOITER"),
        (3, 1, 1, 5, "FBWA"),
        (3, 12, 1, 19, "MANUAL"),
        (3, 2, 1, 4_000, "mode 4000"),
        (12, 2, 1, 4 << 16 | 5 << 24, "AUTO_RTL"),
        (12, 2, 1, 3 << 16, "POSCTL"),
        (12, 2, 1, 99 << 16, "mode 6488064"),
        (0, 2, 64, 0, "MANUAL"),
    ],
)
def test_modes_have_names(
    autopilot: int, kind: int, base_mode: int, custom_mode: int, name: str
) -> None:
    assert flight_mode(autopilot, kind, base_mode, custom_mode) == name


def test_a_newer_dialects_longer_payload_is_cut() -> None:
    message = definitions().by_name["VFR_HUD"]
    payload = pack_payload(message, {"alt": 5.0}) + b"\1\2\3"
    data = recorded(framed("VFR_HUD", payload=payload), beat(1), beat(2))
    parsed = parse(data)
    assert parsed.rows["VFR_HUD", 257]["alt"].to_pylist() == [5.0]
    assert parsed.damages == []


def test_our_own_logs_are_recognized_surely() -> None:
    for options in KINDS.values():
        data, _ = written(**options)
        assert mavlink.recognizes(memoryview(data)[:65_536], len(data)) is Likeness.SURE


def test_few_frames_may_be_a_log_and_other_bytes_are_none() -> None:
    single = recorded(beat())
    assert mavlink.recognizes(memoryview(single), len(single)) is Likeness.MAYBE
    noise = random.Random(4)
    for data in (b"", b"\xfe", b"\xfd" * 65_536, b"\xfe\x09" * 9_000, noise.randbytes(65_536)):
        assert mavlink.recognizes(memoryview(data), len(data)) is Likeness.NO
    inside_another = b"".join(noise.randbytes(400) + beat(n) for n in range(60))
    assert mavlink.recognizes(memoryview(inside_another), 10**6) is Likeness.NO
