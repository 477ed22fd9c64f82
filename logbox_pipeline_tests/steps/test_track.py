"""A log's bytes to its flights, through the spool: the simulator's logs, and real ones by eye."""

from datetime import UTC, datetime, timedelta
from io import BytesIO
from math import pi
from pathlib import Path

import pytest

from logbox_pipeline.adapters.spool import Spool
from logbox_pipeline.core.flights import LogTrack
from logbox_pipeline.core.track import TRACK_COLUMNS
from logbox_pipeline.formats.recognize import recognize
from logbox_pipeline.formats.stream import Limits
from logbox_pipeline.simulator.dji_app_writer import write_dji_app
from logbox_pipeline.simulator.tlog_writer import write_tlog
from logbox_pipeline.simulator.ulog_writer import write_ulog
from logbox_pipeline.steps.track import FORMATS, track_of

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
RECEIVED_AT = datetime(2026, 12, 1, tzinfo=UTC)

real_logs = pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/samples is not here")


def flown(data: bytes, rows: Path, batch_rows: int = 65_536) -> LogTrack | None:
    limits = Limits(received_at=RECEIVED_AT, batch_rows=batch_rows)
    source = memoryview(data)
    recognized = recognize(source, limits)
    assert recognized is not None
    with Spool(rows) as spool:
        for item in recognized.format.parse(source, limits):
            spool.write(item)
        spooled = spool.close()
    found = track_of(rows, recognized.format.name, spooled, spooled.about)
    if found is not None:
        found.track.validate(full=True)
        assert found.track.schema == TRACK_COLUMNS
    return found


def simulated(path: Path, duration_s: float, *, has_gps: bool = True) -> bytes:
    with path.open("wb") as out:
        write_ulog(out, seed=7, duration_s=duration_s, has_gps=has_gps)
    return path.read_bytes()


def test_a_simulated_flight_is_found_where_it_was_flown(tmp_path: Path) -> None:
    found = flown(simulated(tmp_path / "a.ulg", 300), tmp_path / "spool")
    assert found is not None
    assert (found.autopilot, found.track.num_rows) == ("PX4", 301)
    (flight,) = found.flights
    # Up after 5 % of the time, down before 95 %, round twice: simulator/flight_path.py.
    assert flight.first_second == pytest.approx(15, abs=3)
    assert flight.last_second == pytest.approx(285, abs=3)
    assert flight.max_alt_m == pytest.approx(50, abs=0.5)
    assert flight.distance_m == pytest.approx(2 * 2 * pi * 80, rel=0.02)
    assert flight.max_speed_m_s == pytest.approx(4.6, abs=0.3)
    assert flight.battery_used_pct == pytest.approx(27, abs=1)
    assert flight.end_state == "landed"
    assert flight.takeoff_at is not None
    start = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
    assert abs(flight.takeoff_at - start - timedelta(seconds=15)) < timedelta(seconds=3)


def test_where_batches_end_changes_nothing(tmp_path: Path) -> None:
    data = simulated(tmp_path / "a.ulg", 60)
    whole, small = flown(data, tmp_path / "one"), flown(data, tmp_path / "two", batch_rows=50)
    assert whole is not None
    assert small is not None
    assert whole.track.equals(small.track)
    assert whole.flights == small.flights


def test_without_gps_a_flight_has_no_utc(tmp_path: Path) -> None:
    found = flown(simulated(tmp_path / "a.ulg", 60, has_gps=False), tmp_path / "spool")
    assert found is not None
    (flight,) = found.flights
    assert (flight.takeoff_at, flight.landed_at) == (None, None)
    assert flight.takeoff_t_boot_us is not None


def test_a_log_cut_in_the_air_ends_in_the_air(tmp_path: Path) -> None:
    data = simulated(tmp_path / "a.ulg", 120)
    found = flown(data[: len(data) // 2], tmp_path / "spool")
    assert found is not None
    assert [flight.end_state for flight in found.flights] == ["log_ended"]


def test_other_formats_have_no_track(tmp_path: Path) -> None:
    lines = b'{"ts": "2026-11-24T09:00:00Z", "level": "info", "message": "hi"}\n' * 9
    assert flown(lines, tmp_path / "spool") is None
    assert "jsonl" not in FORMATS


@pytest.mark.parametrize(
    ("autopilot", "name", "mode"),
    [("ardupilot", "ArduPilot", "AUTO"), ("px4", "PX4", "AUTO_MISSION")],
)
def test_a_simulated_telemetry_log(autopilot: str, name: str, mode: str, tmp_path: Path) -> None:
    out = BytesIO()
    write_tlog(out, seed=3, duration_s=200, autopilot=autopilot)
    found = flown(out.getvalue(), tmp_path / "spool")
    assert found is not None
    assert (found.autopilot, found.airframe) == (name, "quadrotor")
    assert found.track["mode"][100].as_py() == mode
    (flight,) = found.flights
    # Armed from 35 % to 95 % of the time, up to 25 m: simulator/tlog_writer.py.
    assert (flight.first_second, flight.last_second) == (70, 189)
    assert flight.max_alt_m == pytest.approx(25)
    assert flight.end_state == "landed"


def test_a_telemetry_log_without_receive_times_is_told_by_the_boot_clock(tmp_path: Path) -> None:
    out = BytesIO()
    write_tlog(out, seed=3, duration_s=200, has_times=False)
    found = flown(out.getvalue(), tmp_path / "spool")
    assert found is not None
    (flight,) = found.flights
    assert flight.takeoff_at is None
    assert flight.max_alt_m == pytest.approx(25)


def test_a_simulated_flight_of_the_dji_app(tmp_path: Path) -> None:
    out = BytesIO()
    write_dji_app(out, seed=3, duration_s=200)
    found = flown(out.getvalue(), tmp_path / "spool")
    assert found is not None
    (flight,) = found.flights
    assert flight.duration_s == pytest.approx(199, abs=2)
    assert flight.max_alt_m == pytest.approx(30.48, abs=0.1)
    assert flight.distance_m == pytest.approx(111, abs=2)


@real_logs
@pytest.mark.parametrize(
    ("name", "autopilot", "airframe", "flights"),
    [
        ("ulog/sample.ulg", "PX4", "quadrotor", []),
        ("ulog/sample_log_small.ulg", "PX4", "vtol", []),
        ("ulog/sample_appended_multiple.ulg", "PX4", "quadrotor", []),
        ("ulog/sample_logging_tagged_and_default_params.ulg", "PX4", "quadrotor", []),
        ("ulog/sample_px4_events.ulg", "PX4", "quadrotor", [(17, 27, "landed")]),
        ("ulog/test_ulog.ulg", "PX4", "plane", []),
        ("dataflash/adgfuzz_00000001.BIN", "ArduPilot", "quadrotor", []),
        ("dataflash/ardusub_small.BIN", "ArduPilot", "submarine", [(0, 8, "disarmed")]),
        ("dataflash_text/ardusub_small.log", "ArduPilot", "submarine", [(0, 8, "disarmed")]),
        ("tlog/ardusub_small.tlog", "ArduPilot", "submarine", [(206, 221, "disarmed")]),
        ("tlog/ardusub_pymavlink_bug.tlog", "ArduPilot", "submarine", []),
        ("dji_app_tsv/ipad-ios11-phantom4.log", "DJI", "quadrotor", [(2, 233, "log_ended")]),
        ("dji_app_tsv/iphone-ios11-inspire.log", "DJI", "quadrotor", [(3, 158, "landed")]),
    ],
)
def test_flights_of_real_logs(
    name: str,
    autopilot: str,
    airframe: str,
    flights: list[tuple[int, int, str]],
    tmp_path: Path,
) -> None:
    found = flown((SAMPLES / name).read_bytes(), tmp_path / "spool")
    assert found is not None
    assert (found.autopilot, found.airframe) == (autopilot, airframe)
    seen = [(f.first_second, f.last_second, f.end_state.value) for f in found.flights]
    assert seen == flights
