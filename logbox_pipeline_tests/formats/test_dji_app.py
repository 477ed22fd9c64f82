"""The DroneDeploy app's flight logs: preamble, rows, what the app said; whole and damaged."""

import io
import random
from collections.abc import Iterable
from datetime import timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logbox_pipeline.formats.dji_app import parse as parse_dji_app
from logbox_pipeline.formats.stream import About, Damage, Limits, TimeSource, Unreadable
from logbox_pipeline.simulator.dji_app_writer import DjiAppLedger, write_dji_app
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT, Parsed, parse

FLIGHT = ("flight", 0)


def written(**how: object) -> tuple[bytes, DjiAppLedger]:
    out = io.BytesIO()
    ledger = write_dji_app(out, **{"seed": 1, "duration_s": 30, **how})  # type: ignore[arg-type]
    return out.getvalue(), ledger


def flight(data: bytes) -> Parsed:
    return parse(data, format_name="dji_app")


def from_source(parsed: Parsed, source: str) -> list[object]:
    return [event["message"] for event in parsed.events if event["source"] == source]


def joined(lines: Iterable[bytes]) -> bytes:
    return b"\n".join(lines)


def test_what_the_app_wrote_comes_out() -> None:
    data, ledger = written()
    parsed = flight(data)
    table = parsed.rows[FLIGHT]
    assert table.num_rows == ledger.rows
    assert tuple(table.column_names[2:]) == ledger.columns
    assert sum(table["Aircraft Barometric Altitude (ft)"].to_pylist()) == ledger.alt_sum_ft
    assert table["t_boot_us"][-1].as_py() == ledger.last_t_boot_us
    assert from_source(parsed, "app") == [*ledger.messages, "Flight Recorder Session End"]
    assert from_source(parsed, "logbox.mode") == list(ledger.modes)
    assert from_source(parsed, "logbox.arm") == ["armed"]
    assert parsed.damages == []


def test_the_preamble_says_who_flew() -> None:
    data, ledger = written()
    about = flight(data).about
    assert (about.vehicle_uid, about.firmware, about.hardware) == (
        ledger.vehicle_uid,
        ledger.firmware,
        ledger.model,
    )
    assert about.info["aircraft_model"] == ledger.model
    assert about.info["device_operating_system"] == "iOS 11.2.6"
    assert about.info["session_end_elapsed_time_sec"] == f"{ledger.last_t_boot_us / 1e6:.3f}"


def test_time_is_the_tablets_in_whole_seconds() -> None:
    data, ledger = written()
    about = flight(data).about
    assert (about.time_source, about.time_error_ms) == (TimeSource.GCS, 1_000)
    assert (about.recorded_from, about.recorded_to) == (ledger.first, ledger.last)
    unzoned = flight(data.replace(b"Date/Time (UTC)", b"Date/Time")).about
    assert unzoned.time_error_ms == 14 * 3_600_000


def test_a_time_after_the_upload_is_none() -> None:
    data, _ = written(start=RECEIVED_AT + timedelta(days=2))
    parsed = flight(data)
    assert parsed.rows[FLIGHT]["ts"].null_count == parsed.rows_total
    assert parsed.about.time_source is TimeSource.NONE


def test_a_column_has_its_type_whatever_a_flight_put_into_it() -> None:
    table = flight(written()[0]).rows[FLIGHT]
    kinds = {name: table.schema.field(name).type for name in table.column_names}
    assert kinds["Aircraft Vel - Z (mph)"] == pa.float64()
    assert kinds["Aircraft Satellites"] == pa.int64()
    assert kinds["Aircraft Battery Voltage (mV)"] == pa.int64()
    assert kinds["Aircraft Flight Mode"] == pa.string()
    assert kinds["RC Signal 1"] == pa.int64()


def test_no_data_is_null_and_not_zero() -> None:
    updated = flight(written()[0]).rows[FLIGHT]["Aircraft Battery Last Updated (ms)"]
    assert updated.to_pylist()[:3] == [None] * 3
    assert updated.null_count == 3


def test_units_stand_in_the_columns() -> None:
    source = memoryview(written()[0])
    rows = next(iter(parse_dji_app(source, Limits(received_at=RECEIVED_AT))))
    units = {column.source_name: column.unit for column in rows.columns}
    assert units["Aircraft Speed (mph)"] == "mph"
    assert units["Aircraft Battery Cell 1 Voltage"] == "mV"
    assert units["Date/Time (UTC)"] is None


def test_a_row_from_before_the_battery_is_heard_is_put_right() -> None:
    data, ledger = written(cells=6, is_first_row_short=True)
    table = flight(data).rows[FLIGHT]
    assert table.num_rows == ledger.rows
    first = table.slice(0, 1).to_pylist()[0]
    assert first["Aircraft Battery Cell 4 Voltage"] is not None
    assert first["Aircraft Battery Cell 5 Voltage"] is None
    assert first["Aircraft Flight Mode"] == "TakeOff"
    assert sum(table["Aircraft Barometric Altitude (ft)"].to_pylist()) == ledger.alt_sum_ft


# Damage


def test_a_log_cut_in_a_row_gives_all_rows_before() -> None:
    data, _ = written()
    lines = data.split(b"\n")
    whole = joined(lines[:100]) + b"\n"
    parsed = flight(whole + lines[100][:40])
    assert parsed.rows_total == 100 - 18
    (damage,) = parsed.damages
    assert (damage.reason, damage.start, damage.end) == ("truncated", len(whole), len(whole) + 40)


@pytest.mark.parametrize("garbage", [b"\0" * 700, bytes(range(256)) * 4, b"\xff" * 900])
def test_bytes_over_rows_cost_the_rows_they_touch(garbage: bytes) -> None:
    data, ledger = written()
    at = 20_000
    parsed = flight(data[:at] + garbage + data[at + len(garbage) :])
    lost = ledger.rows - parsed.rows_total
    assert 1 <= lost <= 2 + len(garbage) // 200
    assert parsed.damages[0].start <= at
    assert parsed.damages[-1].end >= at + len(garbage) - 256


def test_a_lost_preamble_and_padding_at_the_end_cost_no_row() -> None:
    data, ledger = written()
    header = data.index(b"Date/Time (UTC)\tElapsed")
    parsed = flight(bytes(header - 1) + data[header - 1 :] + b"\xff" * 4_096)
    assert parsed.rows_total == ledger.rows
    assert [damage.reason for damage in parsed.damages] == ["zeroed", "bad_line"]


def test_windows_line_ends_and_a_mark_change_nothing() -> None:
    data, ledger = written()
    parsed = flight(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"))
    assert parsed.rows_total == ledger.rows
    assert parsed.about.info["dronedeploy"] == "2.75.0"
    assert parsed.damages == []


def test_a_preamble_alone_is_a_log_without_rows() -> None:
    parsed = flight(b"#DroneDeploy\t2.75.0\n#Flight Recorder\nSession ID\t7\n")
    assert parsed.about.info["session_id"] == "7"
    assert parsed.rows_total == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_mutated_logs_keep_the_contract(seed: int) -> None:
    chance = random.Random(seed)
    data, _ = written(seed=seed % 99, duration_s=2)
    for _ in range(chance.randrange(1, 5)):
        at, length = chance.randrange(len(data)), chance.choice((1, 30, 900))
        garbage = chance.choice((chance.randbytes(length), bytes(length), b"\t", b"\n", b""))
        data = data[:at] + garbage + data[at + chance.choice((0, length)) :]
        data = data or b"x"
    items = list(parse_dji_app(memoryview(data), Limits(received_at=RECEIVED_AT, batch_rows=7)))
    assert isinstance(items[-1], About | Unreadable)
    end = 0
    for item in items:
        if isinstance(item, Damage):
            assert end <= item.start < item.end <= len(data)
            end = item.end
