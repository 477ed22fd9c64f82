"""ArduPilot's flight modes: vehicle kind and mode number to name. Static tables, nothing else.

From pymavlink's `mavutil.mode_mapping_*` (a test keeps them equal) and, where those lack a mode,
the `Mode::Number` enums of https://github.com/ArduPilot/ardupilot (ArduCopter/mode.h,
ArduPlane/mode.h, Rover/mode.h, ArduSub/mode.h, AntennaTracker/mode.h, Blimp/mode.h).
"""

_COPTER = {
    0: "STABILIZE", 1: "ACRO", 2: "ALT_HOLD", 3: "AUTO", 4: "GUIDED", 5: "LOITER", 6: "RTL",
    7: "CIRCLE", 8: "POSITION", 9: "LAND", 10: "OF_LOITER", 11: "DRIFT", 13: "SPORT", 14: "FLIP",
    15: "AUTOTUNE", 16: "POSHOLD", 17: "BRAKE", 18: "THROW", 19: "AVOID_ADSB", 20: "GUIDED_NOGPS",
    21: "SMART_RTL", 22: "FLOWHOLD", 23: "FOLLOW", 24: "ZIGZAG", 25: "SYSTEMID", 26: "AUTOROTATE",
    27: "AUTO_RTL", 28: "TURTLE", 29: "RATE_ACRO",
}  # fmt: skip
_PLANE = {
    0: "MANUAL", 1: "CIRCLE", 2: "STABILIZE", 3: "TRAINING", 4: "ACRO", 5: "FBWA", 6: "FBWB",
    7: "CRUISE", 8: "AUTOTUNE", 10: "AUTO", 11: "RTL", 12: "LOITER", 13: "TAKEOFF",
    14: "AVOID_ADSB", 15: "GUIDED", 16: "INITIALISING", 17: "QSTABILIZE", 18: "QHOVER",
    19: "QLOITER", 20: "QLAND", 21: "QRTL", 22: "QAUTOTUNE", 23: "QACRO", 24: "THERMAL",
    25: "LOITERALTQLAND", 26: "AUTOLAND",
}  # fmt: skip
_ROVER = {
    0: "MANUAL", 1: "ACRO", 2: "LEARNING", 3: "STEERING", 4: "HOLD", 5: "LOITER", 6: "FOLLOW",
    7: "SIMPLE", 8: "DOCK", 9: "CIRCLE", 10: "AUTO", 11: "RTL", 12: "SMART_RTL", 15: "GUIDED",
    16: "INITIALISING",
}  # fmt: skip
_SUB = {
    0: "STABILIZE", 1: "ACRO", 2: "ALT_HOLD", 3: "AUTO", 4: "GUIDED", 7: "CIRCLE", 9: "SURFACE",
    16: "POSHOLD", 19: "MANUAL", 20: "MOTOR_DETECT", 21: "SURFTRAK",
}  # fmt: skip
_TRACKER = {0: "MANUAL", 1: "STOP", 2: "SCAN", 3: "SERVO_TEST", 4: "GUIDED", 10: "AUTO",
            16: "INITIALISING"}  # fmt: skip
_BLIMP = {0: "LAND", 1: "MANUAL", 2: "VELOCITY", 3: "LOITER", 4: "RTL", 5: "AUTO", 6: "HOLD"}

MODES = {
    "copter": _COPTER,
    "plane": _PLANE,
    "rover": _ROVER,
    "sub": _SUB,
    "tracker": _TRACKER,
    "blimp": _BLIMP,
}


def mode_name(vehicle: str, number: int) -> str | None:
    """`LOITER` for ("copter", 5); None for a vehicle kind or a number that nobody has named."""
    return MODES.get(vehicle, {}).get(number)
