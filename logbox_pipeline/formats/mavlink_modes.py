"""A heartbeat's flight mode as a word. Static tables, nothing else.

ArduPilot: `ardupilot_modes`, by the vehicle that the MAV_TYPE means. PX4: main and sub mode in the
upper bytes of custom_mode (https://github.com/PX4/PX4-Autopilot, commander/px4_custom_mode.h),
under the names that PX4's own logs use (`NAVIGATION_STATE_*` of VehicleStatus.msg), so that a ULog
and a telemetry log of one flight say the same.
"""

from logbox_pipeline.formats.ardupilot_modes import mode_name

AUTOPILOT_ARDUPILOT = 3
AUTOPILOT_INVALID = 8
"""MAV_AUTOPILOT_INVALID: no flight controller; ground stations, gimbals, cameras."""
AUTOPILOT_PX4 = 12
NO_VEHICLES = frozenset((6, 18, 26, 27, 30, 31, 32, 33, 34, 36, 37, 38, 39, 40, 41, 42, 44, 48))
"""MAV_TYPEs of ground stations, gimbals, cameras and other parts; some name an autopilot too."""

_HAS_CUSTOM_MODE = 1
_VEHICLES = {
    "plane": (1, 16, 19, 20, 21, 22, 23, 24, 25, 28),
    "copter": (2, 3, 4, 13, 14, 15, 29, 35),
    "tracker": (5,),
    "blimp": (7,),
    "rover": (10, 11),
    "sub": (12,),
}
_VEHICLE_OF_TYPE = {kind: vehicle for vehicle, kinds in _VEHICLES.items() for kind in kinds}
_PX4_MAIN = {
    1: "MANUAL",
    2: "ALTCTL",
    3: "POSCTL",
    4: "AUTO",
    5: "ACRO",
    6: "OFFBOARD",
    7: "STAB",
    8: "RATTITUDE",
    9: "SIMPLE",
    10: "TERMINATION",
    11: "ALTITUDE_CRUISE",
}
_PX4_SUB = {
    (3, 1): "ORBIT",
    (3, 2): "POSITION_SLOW",
    (4, 1): "AUTO_READY",
    (4, 2): "AUTO_TAKEOFF",
    (4, 3): "AUTO_LOITER",
    (4, 4): "AUTO_MISSION",
    (4, 5): "AUTO_RTL",
    (4, 6): "AUTO_LAND",
    (4, 7): "AUTO_RTGS",
    (4, 8): "AUTO_FOLLOW_TARGET",
    (4, 9): "AUTO_PRECLAND",
    (4, 10): "AUTO_VTOL_TAKEOFF",
    (4, 19): "GUIDED_COURSE",
} | {(4, 10 + number): f"EXTERNAL{number}" for number in range(1, 9)}
_BASE_MODES = ((4, "AUTO"), (8, "GUIDED"), (16, "STABILIZE"), (64, "MANUAL"))


def vehicle_kind(mav_type: int) -> str | None:
    """`copter`, `plane`, `rover`, `sub`, `tracker` or `blimp`: ArduPilot's firmware for it."""
    return _VEHICLE_OF_TYPE.get(mav_type)


def flight_mode(autopilot: int, mav_type: int, base_mode: int, custom_mode: int) -> str:
    """`LOITER`; `mode 42` for a number that nobody has named."""
    if not base_mode & _HAS_CUSTOM_MODE:
        return next((name for bit, name in _BASE_MODES if base_mode & bit), "PREFLIGHT")
    name = None
    if autopilot == AUTOPILOT_ARDUPILOT:
        name = mode_name(_VEHICLE_OF_TYPE.get(mav_type, ""), custom_mode)
    elif autopilot == AUTOPILOT_PX4:
        main, sub = custom_mode >> 16 & 0xFF, custom_mode >> 24
        name = _PX4_SUB.get((main, sub)) or _PX4_MAIN.get(main)
    return name or f"mode {custom_mode}"
