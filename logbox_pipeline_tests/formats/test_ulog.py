"""ULogs of our own making, whole: what comes out is what went in, and what pyulog reads."""

import io
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from logbox_pipeline.formats.stream import TimeSource
from logbox_pipeline.simulator.ulog_writer import UlogLedger, write_ulog
from logbox_pipeline_tests.formats.parsing import Parsed, assert_equals_pyulog, parse

START = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


def written(**options: object) -> tuple[bytes, UlogLedger]:
    out = io.BytesIO()
    ledger = write_ulog(out, **{"seed": 1, "duration_s": 45.0, "start": START, **options})
    return out.getvalue(), ledger


@pytest.fixture(scope="module")
def flight() -> tuple[bytes, UlogLedger, Parsed]:
    data, ledger = written()
    return data, ledger, parse(data, format_name="ulog")


def test_every_row_of_every_topic_comes_out(flight: tuple[bytes, UlogLedger, Parsed]) -> None:
    _, ledger, parsed = flight
    assert {key: table.num_rows for key, table in parsed.rows.items()} == dict(ledger.rows)
    assert parsed.damages == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_columns_are_byte_identical_to_pyulog(seed: int) -> None:
    data, _ = written(seed=seed)
    assert_equals_pyulog(data, parse(data))


def test_small_batches_hold_the_same_rows(flight: tuple[bytes, UlogLedger, Parsed]) -> None:
    data, _, parsed = flight
    small = parse(data, batch_rows=100)
    assert max(max(sizes) for sizes in small.batches.values()) <= 100
    assert {k: t.combine_chunks() for k, t in small.rows.items()} == {
        k: t.combine_chunks() for k, t in parsed.rows.items()
    }


def test_gps_gives_utc(flight: tuple[bytes, UlogLedger, Parsed]) -> None:
    _, ledger, parsed = flight
    assert parsed.about is not None
    assert parsed.about.time_source == TimeSource.GPS
    assert parsed.about.time_error_ms == 1
    assert abs(parsed.about.recorded_from - ledger.first) < timedelta(milliseconds=1)
    assert abs(parsed.about.recorded_to - ledger.last) < timedelta(milliseconds=1)
    table = parsed.rows["vehicle_attitude", 0]
    offsets = {
        round(ts.timestamp() * 1e6) - us
        for ts, us in zip(table["ts"].to_pylist(), table["t_boot_us"].to_pylist(), strict=True)
    }
    assert len(offsets) == 1


def test_without_gps_utc_is_null_and_not_invented() -> None:
    data, _ = written(has_gps=False)
    parsed = parse(data)
    assert parsed.about.time_source == TimeSource.NONE
    assert parsed.about.recorded_from is None
    assert all(table["ts"].null_count == table.num_rows for table in parsed.rows.values())
    assert all(event["ts"] is None for event in parsed.events)


def test_fixes_after_the_upload_are_refused() -> None:
    data, _ = written()
    parsed = parse(data, received_at=START - timedelta(days=2))
    assert parsed.about.time_source == TimeSource.NONE


def test_rows_before_the_headers_start_are_kept(flight: tuple[bytes, UlogLedger, Parsed]) -> None:
    _, ledger, parsed = flight
    table = parsed.rows["vehicle_status", 0]
    assert table["t_boot_us"][0].as_py() < ledger.start_us
    assert table["ts"][0].as_py() is not None


def test_texts_become_events_with_level_and_tag(flight: tuple[bytes, UlogLedger, Parsed]) -> None:
    _, ledger, parsed = flight
    texts = [e for e in parsed.events if e["source"] not in ("logbox.dropout", "px4_event")]
    found = [(e["t_boot_us"], e["level"], e["message"]) for e in texts]
    assert found == sorted(ledger.messages, key=lambda message: message[0])
    assert [e["source"] for e in texts if e["level"] == 7] == ["tag_7"]


def test_px4_events_become_sentences(flight: tuple[bytes, UlogLedger, Parsed]) -> None:
    _, ledger, parsed = flight
    said = [e for e in parsed.events if e["source"] == "px4_event"]
    assert tuple((e["t_boot_us"], e["level"], e["message"]) for e in said) == ledger.events
    assert len(said) == 4


def test_dropouts_become_warnings(flight: tuple[bytes, UlogLedger, Parsed]) -> None:
    _, ledger, parsed = flight
    dropouts = [e for e in parsed.events if e["source"] == "logbox.dropout"]
    assert [(e["level"], e["attributes"]) for e in dropouts] == [
        (4, f'{{"duration_ms":{ms}}}') for ms in ledger.dropouts_ms
    ]


def test_parameters_are_initial_default_and_changed(
    flight: tuple[bytes, UlogLedger, Parsed],
) -> None:
    _, ledger, parsed = flight
    found = tuple((p["name"], p["kind"], p["value"]) for p in parsed.parameters)
    assert found == ledger.parameters
    assert all((p["t_boot_us"] is not None) == (p["kind"] == "changed") for p in parsed.parameters)
    assert {p["value_type"] for p in parsed.parameters} == {"int32", "float"}


def test_the_log_names_vehicle_firmware_and_hardware(
    flight: tuple[bytes, UlogLedger, Parsed],
) -> None:
    _, ledger, parsed = flight
    about = parsed.about
    assert (about.vehicle_uid, about.firmware, about.hardware) == (
        ledger.vehicle_uid,
        ledger.firmware,
        ledger.hardware,
    )
    assert about.info["boot_console_output"] == "HW arch: PX4_FMU_V6C\nBoot OK\nsecond boot"


def test_arrays_nesting_and_text_have_their_columns(
    flight: tuple[bytes, UlogLedger, Parsed],
) -> None:
    parsed = flight[2]
    motors = parsed.rows["actuator_outputs", 0]
    assert [n for n in motors.column_names if n.startswith("output")] == [
        f"output[{i}]" for i in range(16)
    ]
    esc = parsed.rows["esc_status", 0]
    assert esc.schema.field("esc[7].esc_rpm").type == pa.int32()
    assert not any("_padding" in name for name in esc.column_names)
    fifo = parsed.rows["sensor_gyro_fifo", 0]
    assert fifo.schema.field("x").type == pa.list_(pa.int16())
    assert len(fifo["x"][0].as_py()) == 32
    debug = parsed.rows["debug_key_value", 0]
    assert debug["key"].to_pylist()[:3] == ["key0", "key1", "key2"]
    assert parsed.rows["vehicle_status", 0].schema.field("armed_time").type == pa.uint64()


def test_a_header_alone_is_an_empty_log() -> None:
    data, _ = written()
    parsed = parse(data[:16])
    assert parsed.about is not None
    assert parsed.rows == {}


def test_an_unknown_incompatible_flag_is_refused() -> None:
    data, _ = written()
    parsed = parse(data[:16] + data[16:27] + b"\x02" + data[28:])
    assert parsed.unreadable.reason == "incompatible"


def test_a_log_over_the_row_limit_stops_and_says_where() -> None:
    data, _ = written()
    parsed = parse(data, rows=1000)
    # The limit is looked at between windows.
    assert 1000 <= parsed.rows_total < 5000
    assert parsed.damages[-1].reason == "row_limit"
    assert parsed.damages[-1].end == len(data)
    assert parsed.about is not None
