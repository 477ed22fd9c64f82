"""ArduPilot's logs, binary and text, old and new: pymavlink's values, and what they tell."""

import io
import json
import struct
from datetime import timedelta

import pytest
from pymavlink import mavutil

from logbox_pipeline.formats.ardupilot_modes import MODES, mode_name
from logbox_pipeline.formats.dataflash_names import ARMING_METHODS, error_code_name
from logbox_pipeline.formats.recognize import recognize
from logbox_pipeline.formats.stream import Limits, Rows
from logbox_pipeline.simulator.dataflash_writer import DataflashLedger, write_dataflash
from logbox_pipeline_tests.formats.dataflash_oracle import assert_equals_pymavlink
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT, Parsed, parse

KINDS = [
    {},
    {"is_text": True},
    {"is_old": True},
    {"is_old": True, "is_text": True},
    {"has_gps": False},
]


def flight(seed: int = 1, **how: bool) -> tuple[bytes, DataflashLedger]:
    out = io.BytesIO()
    ledger = write_dataflash(out, seed=seed, duration_s=12, **how)
    return out.getvalue(), ledger


def fmt(number: int, size: int, name: str, letters: str, columns: str) -> bytes:
    body = struct.pack(
        "<BB4s16s64s", number, size, name.encode(), letters.encode(), columns.encode()
    )
    return b"\xa3\x95\x80" + body


def message(number: int, code: str, *values: object) -> bytes:
    return struct.pack("<BBB" + code, 0xA3, 0x95, number, *values)


FMT = fmt(128, 89, "FMT", "BBnNZ", "Type,Length,Name,Format,Columns")
TINY = fmt(10, 13, "TNY", "QH", "TimeUS,V")


def tiny(us: int, value: int = 0) -> bytes:
    return message(10, "QH", us, value)


@pytest.mark.parametrize("how", KINDS, ids=str)
def test_values_are_those_of_pymavlink(how: dict[str, bool]) -> None:
    data, ledger = flight(3, **how)
    parsed = parse(data, format_name="dataflash")
    assert_equals_pymavlink(data, parsed, is_text=how.get("is_text", False))
    assert {key: table.num_rows for key, table in parsed.rows.items()} == ledger.rows
    assert parsed.damages == []


@pytest.mark.parametrize("how", KINDS, ids=str)
def test_a_log_tells_what_was_written(how: dict[str, bool]) -> None:
    data, ledger = flight(4, **how)
    parsed = parse(data)
    assert tuple((e["source"], e["message"]) for e in parsed.events) == ledger.events
    found = tuple((p["name"], p["kind"], p["value"]) for p in parsed.parameters)
    assert found == ledger.parameters
    about = parsed.about
    assert about.vehicle_uid == ledger.vehicle_uid
    assert (about.firmware, about.hardware) == (ledger.firmware, ledger.hardware)
    assert about.info["vehicle"] == "copter"
    assert about.info["frame"] == "QUAD/X"
    assert about.time_source == ("gps" if ledger.first else "none")
    if ledger.first:
        assert abs(about.recorded_from - ledger.first) < timedelta(milliseconds=50)
        assert abs(about.recorded_to - ledger.last) < timedelta(milliseconds=50)
        assert about.time_error_ms <= 1


@pytest.mark.parametrize("batch_rows", [1, 7, 500])
def test_small_batches_hold_the_same_rows(batch_rows: int) -> None:
    data, _ = flight()
    whole, pieces = parse(data), parse(data, batch_rows=batch_rows)
    assert pieces.rows == whole.rows
    assert pieces.events == whole.events
    assert all(max(sizes) <= batch_rows for sizes in pieces.batches.values())


def test_units_are_those_that_fmtu_names() -> None:
    data, _ = flight()
    items = recognize(memoryview(data), Limits(RECEIVED_AT)).format.parse(
        memoryview(data), Limits(RECEIVED_AT)
    )
    columns = {
        (item.topic, column.source_name): column
        for item in items
        if isinstance(item, Rows)
        for column in item.columns
    }
    assert columns["GPS", "GMS"].unit == "ms"
    assert columns["GPS", "Lat"].unit == "deglatitude"
    assert columns["GPS", "Lat"].scale == 1e-7
    assert columns["BAT", "Volt"].unit == "V"
    assert columns["BAT", "CurrTot"].unit == "mA.s"
    assert columns["BAT", "Curr"].scale is None
    assert columns["MSG", "Message"].unit is None
    assert "FMTU" in columns["GPS", "GMS"].definition


def test_source_widths_are_kept() -> None:
    data, _ = flight()
    types = {name: str(kind) for name, kind in _types(parse(data), "ALLA").items()}
    assert types == {
        "b": "int8", "B": "uint8", "h": "int16", "H": "uint16", "i": "int32", "I": "uint32",
        "f": "float", "d": "double", "g": "float", "q": "int64", "M": "int8",
    }  # fmt: skip
    scaled = _types(parse(data), "ALLB")
    assert {str(scaled[name]) for name in "cCeEL"} == {"double"}
    assert {str(scaled[name]) for name in "nNZ"} == {"string"}


def _types(parsed: Parsed, topic: str) -> dict[str, object]:
    schema = parsed.rows[topic, 0].schema
    return {field.name: field.type for field in schema if field.name not in ("t_boot_us", "ts")}


def test_a_mode_has_its_vehicles_name_and_its_raw_fields() -> None:
    event = next(e for e in parse(flight()[0]).events if e["source"] == "logbox.mode")
    assert event["message"] == "STABILIZE (RC_COMMAND)"
    assert json.loads(event["attributes"]) == {"Mode": 0, "ModeNum": 0, "Rsn": 1}


def test_modes_are_those_of_pymavlink() -> None:
    theirs = {
        "copter": mavutil.mode_mapping_acm,
        "plane": mavutil.mode_mapping_apm,
        "rover": mavutil.mode_mapping_rover,
        "sub": mavutil.mode_mapping_sub,
        "tracker": mavutil.mode_mapping_tracker,
        "blimp": mavutil.mode_mapping_blimp,
    }
    for vehicle, modes in theirs.items():
        assert modes.items() <= MODES[vehicle].items()
    assert mode_name("copter", 12) is None
    assert mode_name("balloon", 1) is None


@pytest.mark.parametrize(
    ("subsystem", "code", "name"),
    [
        (16, 2, "BAD_VARIANCE"),
        (9, 4, "POLYGON_BREACHED"),
        (9, 9, "ALTITUDE_AND_MIN_ALTITUDE_BREACHED"),
        (19, 1, "OCCURRED"),
        (20, 4, "MOVE_PERPENDICULAR"),
        (3, 1, "FAILED_TO_INITIALISE"),
        (30, 1, "INTERNAL_ERRORS_DETECTED"),
        (10, 1, None),
        (9, 0, "RESOLVED"),
        (9, 16, None),
    ],
)
def test_error_codes_mean_what_their_subsystem_says(
    subsystem: int, code: int, name: str | None
) -> None:
    assert error_code_name(subsystem, code) == name


def test_arming_methods_are_those_of_ardupilot() -> None:
    assert [ARMING_METHODS[n] for n in (1, 17, 35, 38, 100)] == [
        "MAVLINK", "DISARMDELAY", "DDS", "TOYMODE", "UNKNOWN",
    ]  # fmt: skip


def test_a_clock_that_steps_back_starts_a_segment_without_invented_utc() -> None:
    first, _ = flight(1)
    second, _ = flight(2, has_gps=False)
    second_start = first.index(FMT)
    parsed = parse(first + second[second_start:])
    times = parsed.rows["ATT", 0]["ts"].to_pylist()
    assert times[0] is not None
    assert times[-1] is None
    assert parsed.rows["ATT", 0].num_rows == 2 * parse(first).rows["ATT", 0].num_rows


def test_each_segment_has_an_offset_of_its_own() -> None:
    first = flight(1)[0]
    parsed = parse(first + first)
    times = parsed.rows["ATT", 0]["ts"].to_pylist()
    assert times[: len(times) // 2] == times[len(times) // 2 :]


def test_one_wild_clock_is_no_step() -> None:
    good = [tiny(us * 1000, us) for us in range(100)]
    data = FMT + TINY + b"".join([*good[:50], tiny(10**14), *good[50:]])
    assert "clock_segments" not in parse(data).about.info


def test_fixes_from_the_future_are_refused() -> None:
    out = io.BytesIO()
    write_dataflash(out, seed=1, duration_s=12, start=RECEIVED_AT + timedelta(days=3))
    assert parse(out.getvalue()).about.time_source == "none"


def test_a_definition_that_changes_its_length_holds_from_there_on() -> None:
    other = fmt(10, 11, "TNZ", "Q", "TimeUS")
    data = FMT + TINY + tiny(1, 7) * 3 + other + message(10, "Q", 2) * 4
    parsed = parse(data)
    assert parsed.rows["TNY", 0].num_rows == 3
    assert parsed.rows["TNZ", 0].num_rows == 4
    assert parsed.damages == []


def test_the_same_definition_again_changes_nothing() -> None:
    parsed = parse(FMT + TINY + tiny(1) + TINY + tiny(2))
    assert parsed.rows["TNY", 0]["t_boot_us"].to_pylist() == [1, 2]
    assert parsed.rows["FMT", 0].num_rows == 3


def test_a_garbled_definition_does_not_redefine() -> None:
    parsed = parse(FMT + TINY + tiny(1) + fmt(10, 99, "TNY", "QH", "TimeUS,V") + tiny(2) * 3)
    assert parsed.rows["TNY", 0].num_rows == 4


def test_messages_that_nobody_defined_are_damage() -> None:
    parsed = parse(FMT + TINY + tiny(1) * 2 + message(77, "QH", 1, 2) + tiny(2) * 2)
    assert parsed.rows["TNY", 0].num_rows == 4
    (damage,) = parsed.damages
    assert (damage.end - damage.start, damage.reason) == (13, "unknown_type")


def test_repeated_and_missing_names_lose_no_field() -> None:
    data = FMT + fmt(10, 14, "TNY", "QBBB", "TimeUS,V,V") + message(10, "QBBB", 1, 2, 3, 4)
    table = parse(data).rows["TNY", 0]
    assert table.column_names == ["t_boot_us", "ts", "V", "V#2", "field_4"]
    assert [table[name][0].as_py() for name in table.column_names[2:]] == [2, 3, 4]


def test_a_letter_that_nobody_knows_keeps_its_bytes() -> None:
    data = FMT + fmt(10, 16, "TNY", "QHx", "TimeUS,V,X") + message(10, "QH3s", 1, 2, b"abc")
    table = parse(data).rows["TNY", 0]
    assert table["V"].to_pylist() == [2]
    assert table["unread"].to_pylist() == [[97, 98, 99]]


def test_instances_come_from_names_where_no_fmtu_tells() -> None:
    data = FMT + fmt(20, 13, "BARO", "QBB", "TimeUS,I,V")
    data += b"".join(message(20, "QBB", n, n % 2, n) for n in range(6))
    assert {key: t.num_rows for key, t in parse(data).rows.items() if key[0] == "BARO"} == {
        ("BARO", 0): 3,
        ("BARO", 1): 3,
    }


def test_old_console_logs_open_with_plain_lines() -> None:
    text = b"\r\n3\r\n\r\nArduCopter V3.1.5 (3c57e771)\r\nFree RAM: 968\r\nAPM 2\r\n"
    text += b"FMT, 128, 89, FMT, BBnNZ, Type,Length,Name,Format\r\n"
    text += b"FMT, 1, 19, ATT, IccC, TimeMS,Roll,Pitch,Yaw\r\nATT, 1500, 1.25, -2.5, 90.00\r\n"
    parsed = parse(text, format_name="dataflash")
    assert parsed.about.firmware == "ArduCopter V3.1.5 (3c57e771)"
    assert parsed.rows["ATT", 0]["t_boot_us"].to_pylist() == [1_500_000]
    assert parsed.rows["ATT", 0]["Pitch"].to_pylist() == [-2.5]
    assert parsed.damages == []


def test_bad_lines_are_named_and_the_rest_is_read() -> None:
    lines = flight(1, is_text=True)[0].splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if line.startswith(b"ATT"))
    lines[at] = b"ATT, 12, x, 1, 1, 1, 1, 1, 1, 1\r\n"
    lines.insert(at + 2, b"%%% noise\r\n")
    parsed = parse(b"".join(lines))
    assert [(d.reason, d.line) for d in parsed.damages] == [
        ("bad_value", at + 1),
        ("bad_line", at + 3),
    ]


def test_a_log_without_definitions_is_known_but_unreadable() -> None:
    parsed = parse(tiny(1) * 100, format_name="dataflash")
    assert parsed.unreadable.reason == "no_definitions"


def test_the_same_seed_writes_the_same_bytes_of_about_the_wanted_size() -> None:
    first, again = io.BytesIO(), io.BytesIO()
    write_dataflash(first, seed=5, size_bytes=400_000)
    write_dataflash(again, seed=5, size_bytes=400_000)
    assert first.getvalue() == again.getvalue()
    assert 0.85 < len(first.getvalue()) / 400_000 < 1.15
