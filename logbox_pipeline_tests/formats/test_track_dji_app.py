"""DroneDeploy's rows of a DJI flight as a track: feet, miles, and zeros that mean nothing yet."""

from typing import Any

import pytest

from logbox_pipeline.formats.dji_app_track import TRACK
from logbox_pipeline_tests.formats.topics import column, rows, track_of

ROW = {
    "Aircraft System State Last Updated (ms)": 40,
    "Aircraft Battery Last Updated (ms)": 40,
    "Aircraft Latitude (Degrees)": 37.7718,
    "Aircraft Longitude (Degrees)": -122.4074,
    "Aircraft Speed (mph)": 10.0,
    "Aircraft Barometric Altitude (ft)": 100.0,
    "Aircraft Heading (Degrees)": -90.0,
    "Aircraft Vel - Z (mph)": -10.0,
    "Aircraft Pitch (Degrees)": -5.0,
    "Aircraft Roll (Degrees)": 3.0,
    "Aircraft Satellites": 16,
    "Aircraft Motors On": 1,
    "Aircraft Flying": 1,
    "Aircraft Flight Mode": "F-GPS",
    "Aircraft Battery Power (%)": 97,
    "Aircraft Battery Current (mA)": -844,
    "Aircraft Battery Voltage (mV)": 25_228,
}
SECONDS = [0.1 * tenth for tenth in range(100)]


def test_units_become_metric() -> None:
    found = track_of(TRACK, {"flight": rows(SECONDS, **ROW)})
    last = {k: round(v, 4) if isinstance(v, float) else v
            for k, v in found.track.to_pylist()[-1].items()}  # fmt: skip
    expected = {
        "lat_deg": 37.7718, "lon_deg": -122.4074, "alt_m": 30.48, "alt_msl_m": None,
        "speed_m_s": 4.4704, "climb_m_s": 4.4704, "heading_deg": 270.0, "yaw_deg": -90.0,
        "roll_deg": 3.0, "pitch_deg": -5.0, "battery_v": 25.228, "battery_a": 0.844,
        "battery_pct": 97.0, "satellites": 16, "mode": "F-GPS", "is_armed": True,
        "is_airborne": True,
    }  # fmt: skip
    assert {name: last[name] for name in expected} == expected
    assert (found.autopilot, found.airframe) == ("DJI", "quadrotor")


@pytest.mark.parametrize("silent", ["No Data", None])
def test_a_group_that_was_not_heard_yet_is_unknown(silent: Any) -> None:
    heard = [silent] * 50 + (["40"] if silent else [40]) * 50
    fields = ROW | {"Aircraft Battery Last Updated (ms)": heard,
                    "Aircraft Battery Power (%)": [0] * 50 + [97] * 50}  # fmt: skip
    found = track_of(TRACK, {"flight": rows(SECONDS, **fields)})
    assert column(found, "battery_pct") == [None] * 5 + [97.0] * 5
    assert column(found, "alt_m") == [30.48] * 10


def test_flying_says_when_the_flight_is() -> None:
    flying = [0] * 20 + [1] * 60 + [0] * 20
    found = track_of(TRACK, {"flight": rows(SECONDS, **(ROW | {"Aircraft Flying": flying}))})
    assert [(f.first_second, f.last_second, f.end_state) for f in found.flights] == [
        (2, 7, "landed")
    ]
