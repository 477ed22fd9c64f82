"""PX4's flight modes and vehicle types by number. Static tables, nothing else.

NAVIGATION_STATE_* of VehicleStatus.msg, https://docs.px4.io/main/en/msg_docs/VehicleStatus (v1.14
on) and https://github.com/PX4/PX4-Autopilot/blob/v1.8.2/msg/vehicle_status.msg (before). The
modes of a HEARTBEAT (main and sub mode) have the same names: `mavlink_modes`.
"""

NAV_STATES = {
    0: "MANUAL",
    1: "ALTCTL",
    2: "POSCTL",
    3: "AUTO_MISSION",
    4: "AUTO_LOITER",
    5: "AUTO_RTL",
    6: "POSITION_SLOW",
    7: "GUIDED_COURSE",
    8: "ALTITUDE_CRUISE",
    9: "AUTO_LANDGPSFAIL",
    10: "ACRO",
    12: "DESCEND",
    13: "TERMINATION",
    14: "OFFBOARD",
    15: "STAB",
    16: "RATTITUDE",
    17: "AUTO_TAKEOFF",
    18: "AUTO_LAND",
    19: "AUTO_FOLLOW_TARGET",
    20: "AUTO_PRECLAND",
    21: "ORBIT",
    22: "AUTO_VTOL_TAKEOFF",
} | {22 + number: f"EXTERNAL{number}" for number in range(1, 9)}

_BEFORE = {
    6: (0x010F, "AUTO_RCRECOVER"),
    7: (0x0112, "AUTO_RTGS"),
    8: (0x0111, "AUTO_LANDENGFAIL"),
}
"""Numbers that new modes were given: since which release (major, minor: a byte each), and what they
meant before. 6: https://docs.px4.io/v1.15/en/flight_modes_mc/position_slow
8: https://github.com/PX4/PX4-Autopilot/releases/tag/v1.17.0
7: VehicleStatus.msg of v1.18."""


def nav_state_name(number: int, release: int | None = None) -> str | None:
    """`POSCTL` for 2; None where nobody has named it.

    release: `ver_sw_release` of the log (major, minor, patch, type: a byte each); unknown is new.
    """
    renamed_in, old_name = _BEFORE.get(number, (0, ""))
    if release is not None and release >> 16 < renamed_in:
        return old_name
    return NAV_STATES.get(number)
