"""ArduPilot's onboard logs as a track: which message and field feeds which column. Pure.

Definitions: the `@LoggerMessage` comments of https://github.com/ArduPilot/ardupilot, rendered at
https://ardupilot.org/copter/docs/logmessages.html; names that are gone, from Log.pde, defines.h and
the LogStructure of Copter-3.x. Numbers as pymavlink gives them, so in the message's own unit.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from logbox_pipeline.formats.ardupilot_modes import mode_name
from logbox_pipeline.formats.stream import About
from logbox_pipeline.formats.track_mapping import (
    Mapped,
    Need,
    TrackFormat,
    Values,
    Vehicle,
    as_numbers,
    named,
    position,
    told,
)
from logbox_pipeline.formats.track_vehicles import flies

_MESSAGES = "https://ardupilot.org/copter/docs/logmessages.html#"
_PLANE = "https://ardupilot.org/plane/docs/logmessages.html#"
_ARDUPILOT = "https://github.com/ArduPilot/ardupilot/blob/"
_COPTER_3_2 = _ARDUPILOT + "021485fffcfce9ec2f1684a7eb6e02a5cacab1c3/ArduCopter/Log.pde"
_COMMON_3_4 = (
    _ARDUPILOT + "00b66ddc07c9c2a28684db22298887f041b8c6a8/libraries/DataFlash/LogStructure.h"
)
_COMMON_3_2 = _ARDUPILOT + "ArduCopter-3.2.1/libraries/DataFlash/DataFlash.h"
_COMMON_3_3 = _ARDUPILOT + "Copter-3.3/libraries/DataFlash/DataFlash.h"
_COPTER_3_1 = _ARDUPILOT + "ArduCopter-3.1.5/ArduCopter/Log.pde"
_EVENTS_3_2 = _ARDUPILOT + "ArduCopter-3.2.1/ArduCopter/defines.h"
_EVENTS = "https://github.com/ArduPilot/ardupilot/blob/master/libraries/AP_Logger/AP_Logger.h"

_HAS_FIX = (Need("Status", least=3),)
_IS_POWERED = (Need("Volt", least=1),)


_MOST_VOLTS = 100.0
"""No drone that runs ArduPilot has more; hundredths of any battery that flies are more."""


def _old_volts(volts: Values) -> Values:
    numbers = as_numbers(volts)
    return np.where(numbers > _MOST_VOLTS, numbers * 0.01, numbers)


def _old_amps(volts: Values, amps: Values) -> Values:
    numbers = as_numbers(amps)
    return np.where(as_numbers(volts) > _MOST_VOLTS, numbers * 0.01, numbers)


def _frame_class(name: Values, value: Values) -> Values:
    return np.where(name == "FRAME_CLASS", as_numbers(value), np.nan)


_ARMED_EVENTS, _NOT_LANDED_EVENTS, _AUTO_ARMED_EVENTS = (
    {10: 1, 11: 0},
    {16: 1, 28: 1, 18: 0},
    {15: 1, 18: 0, 11: 0},
)

MAPPING = (
    *position("POS", "Lat", "Lng", 1.0, _MESSAGES + "pos"),
    *position("GPS", "Lat", "Lng", 1.0, _MESSAGES + "gps", _HAS_FIX),
    *position("GPS2", "Lat", "Lng", 1.0, _COMMON_3_4, _HAS_FIX),
    *position("AHR2", "Lat", "Lng", 1.0, _MESSAGES + "ahr2"),
    Mapped("alt_m", "POS", "RelHomeAlt", 1.0, _MESSAGES + "pos"),
    Mapped("alt_m", "POS", "RelAlt", 1.0, _COMMON_3_4),
    Mapped("alt_m", "GPS", "RelAlt", 1.0, _COMMON_3_2, needs=_HAS_FIX),
    Mapped("alt_m", "GPS", "RAlt", 1.0, _COMMON_3_3, needs=_HAS_FIX),
    Mapped("alt_m", "CTUN", "Alt", 1.0, _MESSAGES + "ctun"),
    Mapped("alt_m", "CTUN", "BAlt", 1.0, _MESSAGES + "ctun"),
    Mapped("alt_m", "CTUN", "BarAlt", 1.0, _COPTER_3_2),
    Mapped("alt_m", "BARO", "Alt", 1.0, _MESSAGES + "baro"),
    Mapped("alt_msl_m", "POS", "Alt", 1.0, _MESSAGES + "pos"),
    Mapped("alt_msl_m", "GPS", "Alt", 1.0, _MESSAGES + "gps", needs=_HAS_FIX),
    Mapped("alt_msl_m", "AHR2", "Alt", 1.0, _MESSAGES + "ahr2",
           "where AHR2 has a position", needs=(Need("Lat", unlike=0),)),
    Mapped("speed_m_s", "GPS", "Spd", 1.0, _MESSAGES + "gps", needs=_HAS_FIX),
    Mapped("climb_m_s", "XKF1", "VD", -1.0, _MESSAGES + "xkf1"),
    Mapped("climb_m_s", "NKF1", "VD", -1.0, _MESSAGES + "nkf1"),
    Mapped("climb_m_s", "EKF1", "VD", -1.0, _COMMON_3_4),
    Mapped("climb_m_s", "CTUN", "CRt", 0.01, _MESSAGES + "ctun"),
    Mapped("climb_m_s", "CTUN", "CRate", 0.01, _COPTER_3_1),
    Mapped("climb_m_s", "GPS", "VZ", -1.0, _MESSAGES + "gps", needs=_HAS_FIX),
    Mapped("climb_m_s", "BARO", "CRt", 1.0, _MESSAGES + "baro"),
    Mapped("heading_deg", "ATT", "Yaw", 1.0, _MESSAGES + "att"),
    Mapped("heading_deg", "AHR2", "Yaw", 1.0, _MESSAGES + "ahr2"),
    Mapped("roll_deg", "ATT", "Roll", 1.0, _MESSAGES + "att"),
    Mapped("roll_deg", "AHR2", "Roll", 1.0, _MESSAGES + "ahr2"),
    Mapped("pitch_deg", "ATT", "Pitch", 1.0, _MESSAGES + "att"),
    Mapped("pitch_deg", "AHR2", "Pitch", 1.0, _MESSAGES + "ahr2"),
    Mapped("yaw_deg", "ATT", "Yaw", 1.0, _MESSAGES + "att"),
    Mapped("yaw_deg", "AHR2", "Yaw", 1.0, _MESSAGES + "ahr2"),
    Mapped("battery_v", "BAT", "Volt", 1.0, _MESSAGES + "bat", needs=_IS_POWERED),
    Mapped("battery_v", "CURR", "Volt", None, _COPTER_3_2,
           "over 100: hundredths", _old_volts, _IS_POWERED),
    Mapped("battery_a", "BAT", "Curr", 1.0, _MESSAGES + "bat", needs=_IS_POWERED),
    Mapped("battery_a", "CURR", "Volt, Curr", None, _COPTER_3_2,
           "hundredths where Volt is over 100", _old_amps, _IS_POWERED),
    Mapped("battery_pct", "BAT", "RemPct", 1.0, _MESSAGES + "bat",
           needs=(*_IS_POWERED, Need("RemPct", 0, 100))),
    Mapped("satellites", "GPS", "NSats", 1.0, _MESSAGES + "gps"),
    Mapped("mode", "MODE", "ModeNum", None, _MESSAGES + "mode", "number of the vehicle's mode"),
    Mapped("mode", "MODE", "Mode", None, _MESSAGES + "mode", "number, in text logs also the name"),
    Mapped("is_armed", "ARM", "ArmState", 1.0, _MESSAGES + "arm", tells_before=True),
    Mapped("is_armed", "STAT", "Armed", 1.0, _PLANE + "stat"),
    Mapped("is_armed", "EV", "Id", None, _EVENTS, "10 armed, 11 disarmed",
           told(_ARMED_EVENTS), tells_before=True),
    Mapped("is_airborne", "STAT", "isFlying", 1.0, _PLANE + "stat"),
    Mapped("is_airborne", "EV", "Id", None, _EVENTS_3_2, "16, 28 airborne, 18 landed",
           told(_NOT_LANDED_EVENTS), tells_before=True, must_show=1),
    Mapped("is_airborne", "EV", "Id", None, _EVENTS_3_2,
           "15 (throttle raised) airborne, 11, 18 landed; where a log has neither 16 nor 28",
           told(_AUTO_ARMED_EVENTS), tells_before=True, must_show=1),
    Mapped("frame_class", "PARM", "Name, Value", None,
           "https://ardupilot.org/copter/docs/parameters.html#frame-class",
           "the value of FRAME_CLASS", _frame_class),
)  # fmt: skip

_FRAMES = {
    1: "quadrotor", 2: "hexarotor", 3: "octorotor", 4: "octorotor", 5: "hexarotor",
    6: "helicopter", 7: "tricopter", 8: "coaxial", 9: "coaxial", 10: "bicopter", 11: "helicopter",
    12: "dodecarotor", 13: "helicopter", 14: "decarotor",
}  # fmt: skip
_ROVER_FRAMES = {1: "rover", 2: "boat", 3: "rover"}
_AIRFRAMES = {
    "copter": "multirotor", "plane": "plane", "rover": "rover", "sub": "submarine",
    "tracker": "antenna_tracker", "blimp": "airship",
}  # fmt: skip


def _vehicle(about: About | None, commonest: Mapping[str, Any]) -> Vehicle:
    kind = _kind(about)
    frame = int(commonest["frame_class"] or 0)
    airframe = _AIRFRAMES.get(kind or "")
    if kind == "copter":
        airframe = _FRAMES.get(frame, airframe)
    elif kind == "rover":
        airframe = _ROVER_FRAMES.get(frame, airframe)
    return Vehicle("ArduPilot", airframe, kind, flies(airframe))


def _kind(about: About | None) -> str | None:
    if about is None:
        return None
    said = f"{about.info.get('vehicle', '')} {about.firmware or ''}".lower()
    return next((kind for kind in _AIRFRAMES if kind in said), None)


def _mode_name(vehicle: Vehicle, code: Any) -> str | None:
    number = _number(code)
    if number is None:
        return str(code)
    return named(mode_name(vehicle.kind or "", number), number)


def _number(code: Any) -> int | None:
    try:
        return int(float(code))
    except ValueError:
        return None


TRACK = TrackFormat("dataflash", MAPPING, "t_boot_us", _vehicle, _mode_name)
