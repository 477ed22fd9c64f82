"""The generator writes real ULogs: pyulog, our oracle, reads what the ledger says."""

import io

import numpy as np
import pytest
from pyulog import ULog
from pyulog.px4_events import PX4Events

from logbox_pipeline.simulator.ulog_writer import UlogLedger, write_ulog


def written(**options: object) -> tuple[bytes, UlogLedger]:
    out = io.BytesIO()
    ledger = write_ulog(out, **{"seed": 5, "duration_s": 30.0, **options})
    return out.getvalue(), ledger


def test_pyulog_reads_what_the_ledger_says() -> None:
    data, ledger = written()
    log = ULog(io.BytesIO(data))
    assert {(d.name, d.multi_id): len(d.data["timestamp"]) for d in log.data_list} == dict(
        ledger.rows
    )
    plain = [(m.timestamp, m.log_level - 48, m.message) for m in log.logged_messages]
    told = zip(ledger.messages, ledger.tags, strict=True)
    assert plain == [message for message, tag in told if tag is None]
    assert [d.duration for d in log.dropouts] == list(ledger.dropouts_ms)
    initial = {name: value for name, kind, value in ledger.parameters if kind == "initial"}
    assert log.initial_parameters == initial
    assert (log.start_timestamp, log.last_timestamp) == (ledger.start_us, ledger.last_us)
    assert log.msg_info_dict["sys_uuid"] == ledger.vehicle_uid
    assert not log.file_corruption


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert written() == written()
    assert written()[0] != written(seed=6)[0]


@pytest.mark.parametrize("size", [200_000, 3_000_000])
def test_a_size_can_be_asked_for(size: int) -> None:
    data, ledger = written(size_bytes=size)
    assert len(data) == ledger.size_bytes
    assert abs(len(data) - size) < size * 0.05


def test_the_flight_arms_takes_off_lands_and_disarms() -> None:
    log = ULog(io.BytesIO(written()[0]))
    armed = log.get_dataset("vehicle_status").data["arming_state"]
    assert (armed[0], max(armed), armed[-1]) == (1, 2, 1)
    landed = log.get_dataset("vehicle_land_detected").data["landed"]
    assert (landed[0], min(landed), landed[-1]) == (1, 0, 1)
    assert 2 * sum(1 - landed) == pytest.approx(2 * sum(armed == 2), abs=4)
    charge = log.get_dataset("battery_status").data["remaining"]
    assert (np.diff(charge) <= 0).all()
    assert charge[-1] < charge[0]


@pytest.mark.parametrize("duration_s", [20.0, 60.0, 400.0])
def test_velocities_are_those_of_the_path(duration_s: float) -> None:
    data, ledger = written(duration_s=duration_s)
    position = ULog(io.BytesIO(data)).get_dataset("vehicle_local_position").data
    seconds = position["timestamp"] / 1e6
    for place, velocity, noise_m in (("x", "vx", 0.2), ("y", "vy", 0.2), ("z", "vz", 0.05)):
        way = np.concatenate(
            ([0], np.cumsum((position[velocity][1:] + position[velocity][:-1]) / 2)[:])
        )
        moved = way * np.median(np.diff(seconds)) + position[place][0]
        assert np.abs(moved - position[place]).max() < noise_m
    speed = np.hypot(position["vx"], position["vy"])
    assert speed.max() < 8
    assert speed.sum() * np.median(np.diff(seconds)) == pytest.approx(
        ledger.flight.distance_m, rel=0.02
    )
    assert -position["z"].min() == pytest.approx(ledger.flight.max_alt_m, rel=0.01)
    assert (position["xy_valid"] == 1).all()


def test_a_log_without_gps_has_no_utc() -> None:
    _, ledger = written(has_gps=False)
    assert ledger.first is None
    assert not {"vehicle_gps_position", "vehicle_global_position"} & {t for t, _ in ledger.rows}


def test_pyulog_knows_the_events_by_the_definitions_in_the_log() -> None:
    data, ledger = written()
    reference = PX4Events()
    reference.set_default_json_definitions_cb(lambda _: None)
    said = [(int(us), text) for us, _, text in reference.get_logged_events(ULog(io.BytesIO(data)))]
    assert said == [(us, text) for us, _, text in ledger.events]
    assert [text for _, text in said][:2] == ["Armed by RC stick gesture", "Takeoff detected"]
    assert ("event", 0) not in written(has_events=False)[1].rows
