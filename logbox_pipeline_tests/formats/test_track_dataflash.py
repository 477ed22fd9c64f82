"""ArduPilot's messages as a track, of copters, planes, rovers and submarines, old and new."""

from typing import Any

import pyarrow as pa
import pytest

from logbox_pipeline.formats.dataflash_track import TRACK
from logbox_pipeline.formats.stream import About, TimeSource
from logbox_pipeline_tests.formats.topics import column, rows, track_of

SECONDS = [float(second) for second in range(20)]
COPTER = About(TimeSource.GPS, firmware="ArduCopter V4.5.1 (aaaa)", info={"vehicle": "copter"})


def about(firmware: str) -> About:
    return About(TimeSource.GPS, firmware=firmware)


def events(*told: tuple[float, int]) -> pa.Table:
    return rows([time for time, _ in told], Id=[number for _, number in told])


ATT = rows(SECONDS, Roll=1.0, Pitch=-2.0, Yaw=350.0)


def test_position_attitude_and_battery() -> None:
    topics = {
        "POS": rows(SECONDS, Lat=-35.36, Lng=149.16, Alt=600.0, RelHomeAlt=16.0),
        "GPS": rows(SECONDS, Status=3, Lat=-35.3, Lng=149.1, Alt=601.0, Spd=7.0, NSats=11, VZ=-1.5),
        "ATT": ATT,
        "BAT": rows(SECONDS, Volt=12.5, Curr=20.0, RemPct=77),
        "MODE": rows([0.0, 10.0], Mode=[5, 6], ModeNum=[5, 6]),
    }
    found = track_of(TRACK, topics, COPTER)
    last = found.track.to_pylist()[-1]
    expected = {
        "lat_deg": -35.36, "lon_deg": 149.16, "alt_m": 16.0, "alt_msl_m": 600.0, "speed_m_s": 7.0,
        "climb_m_s": 1.5, "heading_deg": 350.0, "roll_deg": 1.0, "pitch_deg": -2.0,
        "yaw_deg": -10.0, "battery_v": 12.5, "battery_a": 20.0, "battery_pct": 77.0,
        "satellites": 11, "mode": "RTL", "is_armed": None, "is_airborne": None,
    }  # fmt: skip
    assert {name: last[name] for name in expected} == expected
    assert (found.autopilot, found.airframe) == ("ArduPilot", "multirotor")


def test_a_gps_without_fix_is_no_position() -> None:
    gps = rows(SECONDS, Status=[1] * 10 + [3] * 10, Lat=47.0, Lng=8.0, Alt=5.0, Spd=0.0, NSats=3)
    found = track_of(TRACK, {"GPS": gps})
    assert column(found, "lat_deg") == [None] * 10 + [47.0] * 10
    assert column(found, "satellites") == [3] * 20


@pytest.mark.parametrize(
    ("volt", "curr", "expected"),
    [(1_110, 2_050, (11.1, 20.5)), (11.1, 20.5, (11.1, 20.5)), (0, 0, (None, None))],
)
def test_old_current_messages_speak_in_hundredths(
    volt: float, curr: float, expected: tuple[float | None, ...]
) -> None:
    found = track_of(TRACK, {"CURR": rows([0.0], Volt=volt, Curr=curr), "ATT": ATT})
    first = found.track.slice(0, 1).to_pylist()[0]
    assert first["battery_v"] == (expected[0] and pytest.approx(expected[0]))
    assert first["battery_a"] == (expected[1] and pytest.approx(expected[1]))


@pytest.mark.parametrize("name", ["RelAlt", "RAlt"])
def test_old_gps_messages_tell_the_height_above_home(name: str) -> None:
    gps = rows(SECONDS, Status=3, Lat=47.0, Lng=8.0, Alt=500.0, **{name: 20.0})
    found = track_of(TRACK, {"GPS": gps})
    assert column(found, "alt_m") == [20.0] * 20
    assert column(found, "alt_msl_m") == [500.0] * 20


def test_a_percentage_of_255_is_none() -> None:
    found = track_of(TRACK, {"BAT": rows(SECONDS, Volt=12.5, Curr=0.0, RemPct=255)})
    assert column(found, "battery_pct") == [None] * 20


def test_a_copter_of_today() -> None:
    topics = {
        "ATT": ATT,
        "ARM": rows([2.0, 15.0], ArmState=[1, 0]),
        "EV": events((2.0, 10), (3.0, 15), (4.0, 28), (12.0, 18), (15.0, 11)),
    }
    found = track_of(TRACK, topics, COPTER)
    assert column(found, "is_armed") == [False] * 2 + [True] * 13 + [False] * 5
    assert column(found, "is_airborne") == [False] * 4 + [True] * 8 + [False] * 8
    assert [(f.first_second, f.last_second, f.end_state) for f in found.flights] == [
        (4, 11, "landed")
    ]


def test_an_old_copter_without_arm_messages() -> None:
    told = events((2.0, 10), (4.0, 15), (12.0, 18), (15.0, 11))
    found = track_of(TRACK, {"ATT": ATT, "EV": told}, COPTER)
    assert column(found, "is_armed") == [False] * 2 + [True] * 13 + [False] * 5
    assert [(f.first_second, f.last_second) for f in found.flights] == [(4, 11)]


def test_a_log_that_begins_in_the_air() -> None:
    found = track_of(TRACK, {"ATT": ATT, "EV": events((10.0, 18), (12.0, 11))}, COPTER)
    assert column(found, "is_armed") == [True] * 12 + [False] * 8
    # One landing alone says nothing of how takeoffs are told here: seen by arming.
    assert column(found, "is_airborne") == [None] * 20
    both = events((5.0, 18), (8.0, 28), (15.0, 18))
    found = track_of(TRACK, {"ATT": ATT, "EV": both}, COPTER)
    assert [(f.first_second, f.last_second) for f in found.flights] == [(0, 4), (8, 14)]


def test_a_plane_says_itself_whether_it_flies() -> None:
    stat = rows([0.0, 5.0, 16.0], isFlying=[0, 1, 0], Armed=[1, 1, 1])
    found = track_of(TRACK, {"ATT": ATT, "STAT": stat}, about("ArduPlane V4.4.0 (bbbb)"))
    assert found.airframe == "plane"
    assert [(f.first_second, f.last_second) for f in found.flights] == [(5, 15)]


def test_a_submarine_dives_while_it_is_armed() -> None:
    topics = {"ATT": ATT, "ARM": rows([9.0], ArmState=[0]), "MODE": rows([0.0], ModeNum=[19])}
    found = track_of(TRACK, topics, about("ArduSub V4.1.0 (cccc)"))
    assert column(found, "mode") == ["MANUAL"] * 20
    assert [(f.first_second, f.last_second, f.end_state) for f in found.flights] == [
        (0, 8, "disarmed")
    ]


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        ({"ModeNum": [5]}, "LOITER"),
        ({"Mode": [5]}, "LOITER"),
        ({"Mode": ["5"]}, "LOITER"),
        ({"Mode": ["Stabilize"]}, "Stabilize"),
        ({"Mode": ["Stabilize"], "ModeNum": [0]}, "STABILIZE"),
        ({"ModeNum": [77]}, "CUSTOM_77"),
    ],
)
def test_modes_by_number_and_by_name(modes: dict[str, list[Any]], expected: str) -> None:
    found = track_of(TRACK, {"ATT": ATT, "MODE": rows([0.0], **modes)}, COPTER)
    assert column(found, "mode") == [expected] * 20


@pytest.mark.parametrize(
    ("firmware", "frame", "airframe"),
    [("ArduCopter", 1, "quadrotor"), ("ArduCopter", 2, "hexarotor"), ("ArduRover", 2, "boat"),
     ("ArduPlane", 1, "plane"), ("ArduCopter", 99, "multirotor"), ("Blimp", 0, "airship")],
)  # fmt: skip
def test_the_frame_class_says_the_airframe(firmware: str, frame: int, airframe: str) -> None:
    parm = rows([0.0, 0.0], Name=["OTHER", "FRAME_CLASS"], Value=[5.0, float(frame)])
    found = track_of(TRACK, {"ATT": ATT, "PARM": parm}, about(f"{firmware} V4.5 (dddd)"))
    assert found.airframe == airframe


def test_a_log_of_nobody_knows_what_is_still_a_track() -> None:
    found = track_of(TRACK, {"ATT": ATT, "MODE": rows([0.0], ModeNum=[3])})
    assert (found.airframe, column(found, "mode")[0]) == (None, "CUSTOM_3")
