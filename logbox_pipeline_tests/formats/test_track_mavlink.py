"""MAVLink messages as a track: of the vehicle, not of who else talks on the link."""

from typing import Any

import pyarrow as pa
import pytest

from logbox_pipeline.formats.mavlink_track import TRACK, main_vehicle
from logbox_pipeline_tests.formats.topics import HandTopics, column, rows, track_of

SECONDS = [float(second) for second in range(20)]
VEHICLE, CAMERA, STATION, OTHER = 1 * 256 + 1, 1 * 256 + 100, 255 * 256 + 190, 2 * 256 + 1
LAMP = 1 * 256 + 25


def beats(times: list[float] | None = None, **fields: Any) -> pa.Table:
    known = {"type": 2, "autopilot": 3, "base_mode": 209, "custom_mode": 5, "system_status": 4}
    return rows(SECONDS if times is None else times, **(known | fields))


POSITION = rows(
    SECONDS, lat=473_977_000, lon=85_456_000, alt=538_000, relative_alt=50_000, vx=300, vy=400,
    vz=-150, hdg=35_900,
)  # fmt: skip


def test_a_vehicle_in_flight() -> None:
    topics = {
        "HEARTBEAT": {VEHICLE: beats()},
        "GLOBAL_POSITION_INT": {VEHICLE: POSITION},
        "GPS_RAW_INT": {VEHICLE: rows(SECONDS, fix_type=3, lat=1, lon=1, alt=1,
                                      satellites_visible=14)},
        "ATTITUDE": {VEHICLE: rows(SECONDS, roll=0.1, pitch=-0.2, yaw=-0.0174533)},
        "SYS_STATUS": {VEHICLE: rows(SECONDS, voltage_battery=12_600, current_battery=1_530,
                                     battery_remaining=80)},
    }  # fmt: skip
    found = track_of(TRACK, topics)
    last = {k: round(v, 3) if isinstance(v, float) else v
            for k, v in found.track.to_pylist()[-1].items()}  # fmt: skip
    expected = {
        "lat_deg": 47.398, "lon_deg": 8.546, "alt_m": 50.0, "alt_msl_m": 538.0, "speed_m_s": 5.0,
        "climb_m_s": 1.5, "heading_deg": 359.0, "roll_deg": 5.73, "pitch_deg": -11.459,
        "yaw_deg": -1.0, "battery_v": 12.6, "battery_a": 15.3, "battery_pct": 80.0,
        "satellites": 14, "mode": "LOITER", "is_armed": True, "is_airborne": True,
    }  # fmt: skip
    assert {name: last[name] for name in expected} == expected
    assert (found.autopilot, found.airframe) == ("ArduPilot", "quadrotor")


def test_what_nobody_measured_is_unknown() -> None:
    unknown = rows(SECONDS, voltage_battery=65_535, current_battery=-1, battery_remaining=-1)
    position = rows(SECONDS, lat=0, lon=0, alt=0, relative_alt=0, vx=0, vy=0, vz=0, hdg=65_535)
    topics = {
        "HEARTBEAT": {VEHICLE: beats()},
        "SYS_STATUS": {VEHICLE: unknown},
        "GLOBAL_POSITION_INT": {VEHICLE: position},
        "GPS_RAW_INT": {VEHICLE: rows(SECONDS, fix_type=0, lat=0, lon=0, satellites_visible=255)},
    }
    found = track_of(TRACK, topics)
    for name in ("battery_v", "battery_a", "battery_pct", "lat_deg", "heading_deg", "satellites"):
        assert column(found, name) == [None] * 20, name


def test_the_pack_is_the_sum_of_its_cells() -> None:
    cells = {f"voltages[{n}]": 4_000 if n < 3 else 65_535 for n in range(10)}
    battery = rows(SECONDS, id=0, current_battery=100, battery_remaining=50, **cells)
    other = rows(SECONDS, id=1, current_battery=900, battery_remaining=9, **cells)
    both = pa.concat_tables([battery, other]).sort_by("t_boot_us")
    topics = {"HEARTBEAT": {VEHICLE: beats()}, "BATTERY_STATUS": {VEHICLE: both}}
    found = track_of(TRACK, topics)
    assert column(found, "battery_v") == [12.0] * 20
    assert column(found, "battery_a") == [1.0] * 20


def test_stations_cameras_and_other_vehicles_do_not_count() -> None:
    topics = {
        "HEARTBEAT": {
            VEHICLE: beats(),
            CAMERA: beats(SECONDS * 3, type=30, autopilot=8, base_mode=0),
            LAMP: beats(SECONDS * 3, type=44),
            STATION: beats(SECONDS * 3, type=6, autopilot=8, base_mode=192),
            OTHER: beats(SECONDS[:5], base_mode=81),
        },
        "GLOBAL_POSITION_INT": {OTHER: POSITION},
    }
    assert main_vehicle(HandTopics(topics, 10)) == frozenset((VEHICLE,))
    found = track_of(TRACK, topics)
    assert column(found, "is_armed") == [True] * 20
    assert column(found, "lat_deg") == [None] * 20


def test_without_a_heartbeat_the_position_says_who_flies() -> None:
    found = track_of(TRACK, {"GLOBAL_POSITION_INT": {VEHICLE: POSITION}})
    assert column(found, "alt_m") == [50.0] * 20
    assert found.autopilot is None


@pytest.mark.parametrize(
    ("custom_mode", "name"),
    [
        (1 << 16, "MANUAL"),
        (4 << 16 | 4 << 24, "AUTO_MISSION"),
        (3 << 16, "POSCTL"),
        (4 << 16 | 19 << 24, "GUIDED_COURSE"),
    ],
)
def test_px4_modes_are_named_as_in_its_logs(custom_mode: int, name: str) -> None:
    found = track_of(TRACK, {"HEARTBEAT": {VEHICLE: beats(autopilot=12, custom_mode=custom_mode)}})
    assert (found.autopilot, column(found, "mode")[0]) == ("PX4", name)


def test_px4_active_is_not_airborne_but_its_landed_state_is() -> None:
    topics: dict[str, Any] = {"HEARTBEAT": {VEHICLE: beats(autopilot=12)}}
    assert column(track_of(TRACK, topics), "is_airborne") == [None] * 20
    landed = [1] * 5 + [3] * 2 + [2] * 8 + [4] * 2 + [1] * 3
    topics["EXTENDED_SYS_STATE"] = {VEHICLE: rows(SECONDS, landed_state=landed)}
    found = track_of(TRACK, topics)
    assert column(found, "is_airborne") == [False] * 5 + [True] * 12 + [False] * 3
    assert [(f.first_second, f.last_second) for f in found.flights] == [(5, 16)]


def test_an_undefined_landed_state_leaves_it_to_the_heartbeat() -> None:
    topics = {
        "HEARTBEAT": {VEHICLE: beats(system_status=[3] * 4 + [4] * 12 + [3] * 4)},
        "EXTENDED_SYS_STATE": {VEHICLE: rows(SECONDS, landed_state=0)},
    }
    found = track_of(TRACK, topics)
    assert [(f.first_second, f.last_second) for f in found.flights] == [(4, 15)]


def test_a_restarted_vehicle_makes_no_second_timeline() -> None:
    boot = [(100 + s) * 10**6 for s in range(10)] + [s * 10**6 for s in range(10)]
    restarted = beats().set_column(0, "t_boot_us", pa.array(boot, pa.int64()))
    found = track_of(TRACK, {"HEARTBEAT": {VEHICLE: restarted}})
    assert column(found, "second") == list(range(20))
    assert [(f.first_second, f.last_second, f.end_state) for f in found.flights] == [
        (0, 9, "rebooted"), (10, 19, "log_ended"),
    ]  # fmt: skip
