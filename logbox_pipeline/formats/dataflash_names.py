"""What ArduPilot's numbers mean: events, errors, mode reasons, arming methods, boards. Tables only.

Sources in https://github.com/ArduPilot/ardupilot: LogEvent, LogErrorSubsystem and LogErrorCode of
libraries/AP_Logger/AP_Logger.h, ModeReason of libraries/AP_Vehicle/ModeReason.h, AP_Arming::Method
of libraries/AP_Arming/AP_Arming.h, HAL_BOARD_* of libraries/AP_HAL/AP_HAL_Boards.h, APM_BUILD_* of
libraries/AP_Vehicle/AP_Vehicle_Type.h; names that are gone from there, from Copter-3.x's
ArduCopter/defines.h. A fence's code is the bits of what was breached (AC_Fence.h, fence.cpp), that
of FAILSAFE_ADSB the MAV_COLLISION_ACTION taken (AP_Avoidance's handle_avoidance).
"""

EVENTS = {
    7: "AP_STATE", 8: "SYSTEM_TIME_SET", 9: "INIT_SIMPLE_BEARING", 10: "ARMED", 11: "DISARMED",
    15: "AUTO_ARMED", 16: "TAKEOFF", 17: "LAND_COMPLETE_MAYBE", 18: "LAND_COMPLETE",
    19: "LOST_GPS", 21: "FLIP_START", 22: "FLIP_END", 25: "SET_HOME", 26: "SET_SIMPLE_ON",
    27: "SET_SIMPLE_OFF", 28: "NOT_LANDED", 29: "SET_SUPERSIMPLE_ON", 30: "AUTOTUNE_INITIALISED",
    31: "AUTOTUNE_OFF", 32: "AUTOTUNE_RESTART", 33: "AUTOTUNE_SUCCESS", 34: "AUTOTUNE_FAILED",
    35: "AUTOTUNE_REACHED_LIMIT", 36: "AUTOTUNE_PILOT_TESTING", 37: "AUTOTUNE_SAVEDGAINS",
    38: "SAVE_TRIM", 39: "SAVEWP_ADD_WP", 40: "SAVEWP_CLEAR_MISSION_RTL", 41: "FENCE_ENABLE",
    42: "FENCE_DISABLE", 43: "ACRO_TRAINER_OFF", 44: "ACRO_TRAINER_LEVELING",
    45: "ACRO_TRAINER_LIMITED", 46: "GRIPPER_GRAB", 47: "GRIPPER_RELEASE", 48: "EPM_NEUTRAL",
    49: "PARACHUTE_DISABLED", 50: "PARACHUTE_ENABLED", 51: "PARACHUTE_RELEASED",
    52: "LANDING_GEAR_DEPLOYED", 53: "LANDING_GEAR_RETRACTED",
    54: "MOTORS_EMERGENCY_STOPPED", 55: "MOTORS_EMERGENCY_STOP_CLEARED",
    56: "MOTORS_INTERLOCK_DISABLED", 57: "MOTORS_INTERLOCK_ENABLED", 58: "ROTOR_RUNUP_COMPLETE",
    59: "ROTOR_SPEED_BELOW_CRITICAL", 60: "EKF_ALT_RESET", 61: "LAND_CANCELLED_BY_PILOT",
    62: "EKF_YAW_RESET", 63: "AVOIDANCE_ADSB_ENABLE", 64: "AVOIDANCE_ADSB_DISABLE",
    65: "AVOIDANCE_PROXIMITY_ENABLE", 66: "AVOIDANCE_PROXIMITY_DISABLE",
    67: "GPS_PRIMARY_CHANGED", 68: "WINCH_RELAXED", 69: "WINCH_LENGTH_CONTROL",
    70: "WINCH_RATE_CONTROL", 71: "ZIGZAG_STORE_A", 72: "ZIGZAG_STORE_B", 73: "LAND_REPO_ACTIVE",
    74: "STANDBY_ENABLE", 75: "STANDBY_DISABLE", 76: "FENCE_ALT_MAX_ENABLE",
    77: "FENCE_ALT_MAX_DISABLE", 78: "FENCE_CIRCLE_ENABLE", 79: "FENCE_CIRCLE_DISABLE",
    80: "FENCE_ALT_MIN_ENABLE", 81: "FENCE_ALT_MIN_DISABLE", 82: "FENCE_POLYGON_ENABLE",
    83: "FENCE_POLYGON_DISABLE", 85: "EK3_SOURCES_SET_TO_PRIMARY",
    86: "EK3_SOURCES_SET_TO_SECONDARY", 87: "EK3_SOURCES_SET_TO_TERTIARY",
    90: "AIRSPEED_PRIMARY_CHANGED", 163: "SURFACED", 164: "NOT_SURFACED", 165: "BOTTOMED",
    166: "NOT_BOTTOMED",
}  # fmt: skip

ERROR_SUBSYSTEMS = {
    1: "MAIN", 2: "RADIO", 3: "COMPASS", 4: "OPTFLOW", 5: "FAILSAFE_RADIO", 6: "FAILSAFE_BATT",
    7: "FAILSAFE_GPS", 8: "FAILSAFE_GCS", 9: "FAILSAFE_FENCE", 10: "FLIGHT_MODE", 11: "GPS",
    12: "CRASH_CHECK", 13: "FLIP", 14: "AUTOTUNE", 15: "PARACHUTES", 16: "EKFCHECK",
    17: "FAILSAFE_EKFINAV", 18: "BARO", 19: "CPU", 20: "FAILSAFE_ADSB", 21: "TERRAIN",
    22: "NAVIGATION", 23: "FAILSAFE_TERRAIN", 24: "EKF_PRIMARY", 25: "THRUST_LOSS_CHECK",
    26: "FAILSAFE_SENSORS", 27: "FAILSAFE_LEAK", 28: "PILOT_INPUT", 29: "FAILSAFE_VIBE",
    30: "INTERNAL_ERROR", 31: "FAILSAFE_DEADRECKON",
}  # fmt: skip

_ERROR_CODES = {
    (1, 1): "INS_DELAY",
    (2, 2): "LATE_FRAME",
    (3, 2): "FAILED_TO_READ",
    (11, 2): "GLITCH",
    (12, 1): "CRASH",
    (12, 2): "LOSS_OF_CONTROL",
    (13, 2): "ABANDONED",
    (14, 2): "BAD_GAINS",
    (15, 2): "TOO_LOW",
    (15, 3): "LANDED",
    (16, 2): "BAD_VARIANCE",
    (18, 2): "GLITCH",
    (18, 3): "BAD_DEPTH",
    (19, 1): "OCCURRED",
    (20, 1): "REPORT",
    (20, 2): "ASCEND_OR_DESCEND",
    (20, 3): "MOVE_HORIZONTALLY",
    (20, 4): "MOVE_PERPENDICULAR",
    (20, 5): "RTL",
    (20, 6): "HOVER",
    (21, 2): "MISSING_DATA",
    (22, 2): "FAILED_TO_SET_DESTINATION",
    (22, 3): "RESTARTED_RTL",
    (22, 4): "FAILED_CIRCLE_INIT",
    (22, 5): "DEST_OUTSIDE_FENCE",
    (22, 6): "RTL_MISSING_RNGFND",
    (25, 1): "OCCURRED",
    (28, 1): "OCCURRED",
    (30, 1): "INTERNAL_ERRORS_DETECTED",
}
_FENCE = 9
_FENCES = {1: "ALTITUDE", 2: "CIRCLE", 4: "POLYGON", 8: "MIN_ALTITUDE"}
_GENERAL_CODES = {0: "RESOLVED", 1: "FAILED_TO_INITIALISE", 4: "UNHEALTHY"}
_WITHOUT_NAMED_CODES = (10, 24)
"""FLIGHT_MODE's code is the mode that was refused, EKF_PRIMARY's the new core."""

MODE_REASONS = dict(
    enumerate(
        [
            "UNKNOWN",
            "RC_COMMAND",
            "GCS_COMMAND",
            "RADIO_FAILSAFE",
            "BATTERY_FAILSAFE",
            "GCS_FAILSAFE",
            "EKF_FAILSAFE",
            "GPS_GLITCH",
            "MISSION_END",
            "THROTTLE_LAND_ESCAPE",
            "FENCE_BREACHED",
            "TERRAIN_FAILSAFE",
            "BRAKE_TIMEOUT",
            "FLIP_COMPLETE",
            "AVOIDANCE",
            "AVOIDANCE_RECOVERY",
            "THROW_COMPLETE",
            "TERMINATE",
            "TOY_MODE",
            "CRASH_FAILSAFE",
            "SOARING_FBW_B_WITH_MOTOR_RUNNING",
            "SOARING_THERMAL_DETECTED",
            "SOARING_THERMAL_ESTIMATE_DETERIORATED",
            "VTOL_FAILED_TRANSITION",
            "VTOL_FAILED_TAKEOFF",
            "FAILSAFE",
            "INITIALISED",
            "SURFACE_COMPLETE",
            "BAD_DEPTH",
            "LEAK_FAILSAFE",
            "SERVOTEST",
            "STARTUP",
            "SCRIPTING",
            "UNAVAILABLE",
            "AUTOROTATION_START",
            "AUTOROTATION_BAILOUT",
            "SOARING_ALT_TOO_HIGH",
            "SOARING_ALT_TOO_LOW",
            "SOARING_DRIFT_EXCEEDED",
            "RTL_COMPLETE_SWITCHING_TO_VTOL_LAND_RTL",
            "RTL_COMPLETE_SWITCHING_TO_FIXEDWING_AUTOLAND",
            "MISSION_CMD",
            "FRSKY_COMMAND",
            "FENCE_RETURN_PREVIOUS_MODE",
            "QRTL_INSTEAD_OF_RTL",
            "AUTO_RTL_EXIT",
            "LOITER_ALT_REACHED_QLAND",
            "LOITER_ALT_IN_VTOL",
            "RADIO_FAILSAFE_RECOVERY",
            "QLAND_INSTEAD_OF_RTL",
            "DEADRECKON_FAILSAFE",
            "MODE_TAKEOFF_FAILSAFE",
            "DDS_COMMAND",
            "AUX_FUNCTION",
            "FIXED_WING_AUTOLAND",
            "FENCE_REENABLE",
        ]
    )
)

ARMING_METHODS = dict(
    enumerate(
        [
            "RUDDER",
            "MAVLINK",
            "AUXSWITCH",
            "MOTORTEST",
            "SCRIPTING",
            "TERMINATION",
            "CPUFAILSAFE",
            "BATTERYFAILSAFE",
            "SOLOPAUSEWHENLANDED",
            "AFS",
            "ADSBCOLLISIONACTION",
            "PARACHUTE_RELEASE",
            "CRASH",
            "LANDED",
            "MISSIONEXIT",
            "FENCEBREACH",
            "RADIOFAILSAFE",
            "DISARMDELAY",
            "GCSFAILSAFE",
            "TERRRAINFAILSAFE",
            "FAILSAFE_ACTION_TERMINATE",
            "TERRAINFAILSAFE",
            "MOTORDETECTDONE",
            "BADFLOWOFCONTROL",
            "EKFFAILSAFE",
            "GCS_FAILSAFE_SURFACEFAILED",
            "GCS_FAILSAFE_HOLDFAILED",
            "TAKEOFFTIMEOUT",
            "AUTOLANDED",
            "PILOT_INPUT_FAILSAFE",
            "TOYMODELANDTHROTTLE",
            "TOYMODELANDFORCE",
            "LANDING",
            "DEADRECKON_FAILSAFE",
            "BLACKBOX",
            "DDS",
            "AUTO_ARM_ONCE",
            "TURTLE_MODE",
            "TOYMODE",
        ]
    )
) | {100: "UNKNOWN"}

BOARDS = {3: "SITL", 5: "PX4", 7: "Linux", 8: "VRBRAIN", 10: "ChibiOS", 12: "ESP32", 13: "QURT"}
"""VER.BT."""

VEHICLE_OF_BUILD = {
    1: "rover", 2: "copter", 3: "plane", 4: "tracker", 7: "sub", 12: "blimp", 13: "copter",
}  # fmt: skip
"""VER.BU, as pymavlink maps it; 13 is a helicopter."""


def error_code_name(subsystem: int, code: int) -> str | None:
    """`BAD_VARIANCE` for (16, 2); None where ArduPilot names none."""
    if (subsystem, code) in _ERROR_CODES:
        return _ERROR_CODES[subsystem, code]
    if subsystem in _WITHOUT_NAMED_CODES:
        return None
    if subsystem == _FENCE and 0 < code < 16:
        return "_AND_".join(name for bit, name in _FENCES.items() if code & bit) + "_BREACHED"
    if code == 1 and ERROR_SUBSYSTEMS.get(subsystem, "").startswith("FAILSAFE"):
        return "OCCURRED"
    return _GENERAL_CODES.get(code)
