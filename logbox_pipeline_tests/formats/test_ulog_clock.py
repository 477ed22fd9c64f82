"""The boot clock of a ULog may start anew in the middle: rows stay, each part has its own UTC."""

import io
import struct
from datetime import UTC, datetime, timedelta

from logbox_pipeline.simulator.ulog_writer import write_ulog
from logbox_pipeline_tests.formats.parsing import Parsed, parse

MORNING = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
EVENING = datetime(2026, 11, 24, 19, 0, tzinfo=UTC)
HEADER_BYTES = 16


def written(start: datetime, **options: object) -> tuple[bytes, int]:
    out = io.BytesIO()
    ledger = write_ulog(out, **{"seed": 3, "duration_s": 30.0, "start": start, **options})
    return out.getvalue(), sum(ledger.rows.values())


def behind_flags(data: bytes) -> bytes:
    (size,) = struct.unpack_from("<H", data, HEADER_BYTES)
    return data[HEADER_BYTES + 3 + size :]


def days_of(parsed: Parsed, topic: str) -> list[datetime]:
    return [ts for ts in parsed.rows[topic, 0]["ts"].to_pylist() if ts is not None]


def test_a_clock_that_steps_back_begins_a_segment_with_its_own_utc() -> None:
    first, first_rows = written(MORNING)
    second, second_rows = written(EVENING)
    parsed = parse(first + behind_flags(second))
    assert parsed.rows_total == first_rows + second_rows
    assert parsed.damages == []
    times = days_of(parsed, "vehicle_attitude")
    assert all(abs(ts - MORNING) < timedelta(minutes=2) for ts in times[: len(times) // 2])
    assert all(abs(ts - EVENING) < timedelta(minutes=2) for ts in times[len(times) // 2 :])
    assert parsed.about.info["clock_segments"] == 2
    assert abs(parsed.about.recorded_from - MORNING) < timedelta(minutes=2)
    assert abs(parsed.about.recorded_to - EVENING) < timedelta(minutes=2)
    texts = [event["ts"] for event in parsed.events if event["source"] == "ulog"]
    assert texts[0] - MORNING < timedelta(minutes=2)
    assert abs(texts[-1] - EVENING) < timedelta(minutes=2)


def test_a_segment_without_a_fix_has_no_utc() -> None:
    first, _ = written(MORNING, has_gps=False)
    second, _ = written(EVENING)
    parsed = parse(first + behind_flags(second))
    stamps = parsed.rows["vehicle_attitude", 0]["ts"]
    half = len(stamps) // 2
    assert stamps.slice(0, half).null_count == half
    assert stamps.slice(half).null_count == 0


def test_one_damaged_time_is_no_restart() -> None:
    data, rows = written(MORNING)
    whole = parse(data)
    stamps = whole.rows["vehicle_attitude", 0]["t_boot_us"].to_pylist()
    for wrong in (2**40, 1):
        late = bytearray(data)
        at = late.index(struct.pack("<Q", stamps[len(stamps) // 2]))
        late[at : at + 8] = struct.pack("<Q", wrong)
        parsed = parse(bytes(late))
        assert parsed.rows_total == rows
        assert "clock_segments" not in parsed.about.info
        assert parsed.about.recorded_from == whole.about.recorded_from
