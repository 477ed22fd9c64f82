"""DJI flights as the DroneDeploy app records them, as a track. Pure.

Definitions: the header of the file itself (units stand in it) and the reader its maker published,
https://github.com/dronedeploy/flight-log-parser. A group of columns whose "Last Updated (ms)" has
no number (`No Data`) was not heard yet: its zeros count for nothing. A discharge is a negative
current (the reader's `testlog` of a flying Phantom 4), and velocity is north, east, down, as in
DJI's Mobile SDK
(https://developer.dji.com/api-reference/ios-api/Components/FlightController/DJIFlightController_DJIFlightControllerCurrentState.html).
"""

from collections.abc import Mapping
from typing import Any

from logbox_pipeline.formats.stream import About
from logbox_pipeline.formats.track_mapping import Mapped, Need, TrackFormat, Vehicle, position

_PARSER = "https://github.com/dronedeploy/flight-log-parser"
_TOPIC = "flight"
_FEET, _MILES_PER_HOUR = 0.3048, 0.44704
"""Exact: https://www.nist.gov/pml/special-publication-811 appendix B."""

_IS_HEARD = (Need("Aircraft System State Last Updated (ms)", least=0),)
_IS_POWERED = (
    Need("Aircraft Battery Last Updated (ms)", least=0),
    Need("Aircraft Battery Voltage (mV)", least=1),
)


def _aircraft(column: str, field: str, scale: float) -> Mapped:
    return Mapped(column, _TOPIC, f"Aircraft {field}", scale, _PARSER, needs=_IS_HEARD)


def _battery(column: str, field: str, scale: float) -> Mapped:
    return Mapped(column, _TOPIC, f"Aircraft Battery {field}", scale, _PARSER, needs=_IS_POWERED)


MAPPING = (
    *position(
        _TOPIC, "Aircraft Latitude (Degrees)", "Aircraft Longitude (Degrees)", 1.0, _PARSER,
        _IS_HEARD,
    ),
    _aircraft("alt_m", "Barometric Altitude (ft)", _FEET),
    _aircraft("speed_m_s", "Speed (mph)", _MILES_PER_HOUR),
    _aircraft("climb_m_s", "Vel - Z (mph)", -_MILES_PER_HOUR),
    _aircraft("heading_deg", "Heading (Degrees)", 1.0),
    _aircraft("roll_deg", "Roll (Degrees)", 1.0),
    _aircraft("pitch_deg", "Pitch (Degrees)", 1.0),
    _aircraft("yaw_deg", "Heading (Degrees)", 1.0),
    _battery("battery_v", "Voltage (mV)", 1e-3),
    _battery("battery_a", "Current (mA)", -1e-3),
    _battery("battery_pct", "Power (%)", 1.0),
    _aircraft("satellites", "Satellites", 1.0),
    Mapped("mode", _TOPIC, "Aircraft Flight Mode", None, _PARSER, "as the app names it",
           needs=_IS_HEARD),
    _aircraft("is_armed", "Motors On", 1.0),
    _aircraft("is_airborne", "Flying", 1.0),
)  # fmt: skip


def _vehicle(about: About | None, commonest: Mapping[str, Any]) -> Vehicle:
    # The app flies DJI's camera drones; all of them have four rotors (the Matrice 600 has six).
    model = str(about.info.get("aircraft_model", "")) if about else ""
    airframe = "hexarotor" if "600" in model else "quadrotor"
    return Vehicle("DJI", airframe)


def _mode_name(vehicle: Vehicle, code: Any) -> str | None:
    return str(code)


TRACK = TrackFormat("dji_app", MAPPING, "t_boot_us", _vehicle, _mode_name)
