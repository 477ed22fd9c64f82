"""PX4 topics as a track, in the names of every age."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from logbox_pipeline.formats.px4_modes import nav_state_name
from logbox_pipeline.formats.stream import About, TimeSource
from logbox_pipeline.formats.ulog_track import TRACK
from logbox_pipeline_tests.formats.topics import column, rows, track_of

SECONDS = [float(second) for second in range(12)]


def f4(*values: float) -> pa.Array:
    return pa.array(values, pa.float32())


def about(**info: Any) -> About:
    return About(TimeSource.GPS, info=info)


def status(**fields: Any) -> pa.Table:
    known = {"arming_state": 2, "nav_state": 3, "system_type": 2}
    return rows(SECONDS, **(known | fields))


@pytest.mark.parametrize(
    ("topic", "fields"),
    [
        ("vehicle_global_position", {"lat": 47.5, "lon": 8.5, "alt": 500.0}),
        ("vehicle_global_position", {"lat": 47.5, "lon": 8.5, "alt": 500.0, "lat_lon_valid": True}),
        ("vehicle_gps_position",
         {"lat": 475_000_000, "lon": 85_000_000, "alt": 500_000, "fix_type": 3}),
        ("vehicle_gps_position",
         {"latitude_deg": 47.5, "longitude_deg": 8.5, "altitude_msl_m": 500.0, "fix_type": 4}),
        ("sensor_gps", {"lat": 475_000_000, "lon": 85_000_000, "alt": 500_000, "fix_type": 3}),
        ("vehicle_local_position",
         {"ref_lat": 47.5, "ref_lon": 8.5, "x": 0.0, "y": 0.0, "ref_alt": 480.0, "z": -20.0,
          "xy_global": True, "z_global": True, "xy_valid": True, "z_valid": True}),
    ],
)  # fmt: skip
def test_position_in_every_age(topic: str, fields: dict[str, Any]) -> None:
    found = track_of(TRACK, {topic: rows(SECONDS, **fields)})
    assert column(found, "lat_deg") == [47.5] * 12
    assert column(found, "lon_deg") == [8.5] * 12
    assert column(found, "alt_msl_m") == [500.0] * 12


@pytest.mark.parametrize("wrong", [{"fix_type": 1}, {"lat": 0, "lon": 0}, {"lat": 2_000_000_000}])
def test_no_fix_is_no_position(wrong: dict[str, int]) -> None:
    good = {"lat": 475_000_000, "lon": 85_000_000, "alt": 1, "fix_type": 3, "satellites_used": 9}
    found = track_of(TRACK, {"vehicle_gps_position": rows(SECONDS, **(good | wrong))})
    assert column(found, "lat_deg") == [None] * 12
    assert column(found, "lon_deg") == [None] * 12
    assert column(found, "satellites") == [9] * 12


def test_a_local_position_moves_north_and_east() -> None:
    local = rows([0.0], ref_lat=47.0, ref_lon=8.0, x=1_000.0, y=1_000.0, xy_global=True)
    found = track_of(TRACK, {"vehicle_local_position": local})
    assert column(found, "lat_deg") == [pytest.approx(47.0 + 0.008993, abs=1e-5)]
    assert column(found, "lon_deg") == [pytest.approx(8.0 + 0.013187, abs=1e-5)]


def test_altitude_is_above_home_else_above_the_local_origin() -> None:
    topics = {
        "vehicle_global_position": rows(SECONDS, lat=47.0, lon=8.0, alt=510.0),
        "vehicle_local_position": rows(SECONDS, z=-12.0),
        "home_position": rows([3.0], alt=490.0, valid_alt=True),
    }
    assert column(track_of(TRACK, topics), "alt_m") == [20.0] * 12
    unset = topics | {"home_position": rows([3.0], alt=0.0, valid_alt=False)}
    assert column(track_of(TRACK, unset), "alt_m") == [12.0] * 12


@pytest.mark.parametrize(
    ("angles_deg"), [(0.0, 0.0, 0.0), (10.0, -20.0, 30.0), (-170.0, 45.0, -120.0)]
)
def test_quaternions_become_euler_angles(angles_deg: tuple[float, float, float]) -> None:
    roll, pitch, yaw = (np.radians(angle) / 2 for angle in angles_deg)
    cr, sr, cp, sp, cy, sy = (f(a) for a in (roll, pitch, yaw) for f in (np.cos, np.sin))
    q = {
        "q[0]": cr * cp * cy + sr * sp * sy, "q[1]": sr * cp * cy - cr * sp * sy,
        "q[2]": cr * sp * cy + sr * cp * sy, "q[3]": cr * cp * sy - sr * sp * cy,
    }  # fmt: skip
    found = track_of(
        TRACK, {"vehicle_attitude": rows([0.0], **{k: float(v) for k, v in q.items()})}
    )
    assert column(found, "roll_deg") == [pytest.approx(angles_deg[0], abs=1e-3)]
    assert column(found, "pitch_deg") == [pytest.approx(angles_deg[1], abs=1e-3)]
    assert column(found, "yaw_deg") == [pytest.approx(angles_deg[2], abs=1e-3)]
    assert column(found, "heading_deg") == [pytest.approx(angles_deg[2] % 360, abs=1e-3)]


def test_an_old_attitude_without_a_quaternion_tells_its_angles() -> None:
    none = {f"q[{part}]": 0.0 for part in range(4)}
    attitude = rows(SECONDS, q_valid=False, roll=0.5, pitch=0.25, yaw=1.0, **none)
    found = track_of(TRACK, {"vehicle_attitude": attitude})
    assert column(found, "roll_deg")[0] == pytest.approx(28.648, abs=1e-3)
    assert column(found, "pitch_deg")[0] == pytest.approx(14.324, abs=1e-3)
    assert column(found, "yaw_deg")[0] == pytest.approx(57.296, abs=1e-3)


def test_battery_of_the_first_that_is_connected() -> None:
    dead = rows(SECONDS, voltage_v=0.0, current_a=-1.0, remaining=-1.0, connected=False)
    good = rows(SECONDS, voltage_v=16.2, current_a=-1.0, remaining=0.85, connected=True)
    found = track_of(TRACK, {"battery_status": {0: dead, 1: good}})
    assert column(found, "battery_v") == [pytest.approx(16.2, abs=1e-4)] * 12
    assert column(found, "battery_a") == [None] * 12
    assert column(found, "battery_pct") == [pytest.approx(85.0, abs=1e-3)] * 12


def test_states_modes_and_a_flight() -> None:
    landed = rows([0.0, 3.0, 9.0], landed=[True, False, True])
    found = track_of(TRACK, {"vehicle_status": status(), "vehicle_land_detected": landed})
    assert column(found, "is_armed") == [True] * 12
    assert column(found, "is_airborne") == [False] * 3 + [True] * 6 + [False] * 3
    assert column(found, "mode") == ["AUTO_MISSION"] * 12
    assert (found.autopilot, found.airframe) == ("PX4", "quadrotor")
    assert [(f.first_second, f.last_second) for f in found.flights] == [(3, 8)]


def test_armed_is_known_without_vehicle_status() -> None:
    found = track_of(TRACK, {"actuator_armed": rows([0.0, 5.0], armed=[True, False])})
    assert column(found, "is_armed") == [True] * 1 + [False]


def test_a_rover_drives_while_it_is_armed() -> None:
    found = track_of(TRACK, {"vehicle_status": status(system_type=10)})
    assert found.airframe == "rover"
    assert len(found.flights) == 1


def test_numbers_of_modes_changed_with_the_releases() -> None:
    old = track_of(TRACK, {"vehicle_status": status(nav_state=6)}, about(ver_sw_release=0x010B02FF))
    new = track_of(TRACK, {"vehicle_status": status(nav_state=6)}, about(ver_sw_release=0x011000FF))
    assert column(old, "mode")[0] == "AUTO_RCRECOVER"
    assert column(new, "mode")[0] == "POSITION_SLOW"
    assert [nav_state_name(n, 0x010E0000) for n in (6, 8)] == ["AUTO_RCRECOVER", "AUTO_LANDENGFAIL"]
    assert [nav_state_name(8, release << 16) for release in (0x0110, 0x0111)] == [
        "AUTO_LANDENGFAIL",
        "ALTITUDE_CRUISE",
    ]
    assert [nav_state_name(7, release << 16) for release in (0x0108, 0x0112)] == [
        "AUTO_RTGS",
        "GUIDED_COURSE",
    ]
    assert nav_state_name(8) == "ALTITUDE_CRUISE"
    assert nav_state_name(30) == "EXTERNAL8"
    assert nav_state_name(99) is None
    unnamed = track_of(TRACK, {"vehicle_status": status(nav_state=99)})
    assert column(unnamed, "mode")[0] == "CUSTOM_99"
