"""What a MAV_TYPE and a MAV_AUTOPILOT are called in `flights`. Static tables, nothing else.

https://mavlink.io/en/messages/minimal.html#MAV_TYPE and #MAV_AUTOPILOT.
"""

AIRFRAMES = {
    1: "plane", 2: "quadrotor", 3: "coaxial", 4: "helicopter", 5: "antenna_tracker", 7: "airship",
    8: "balloon", 9: "rocket", 10: "rover", 11: "boat", 12: "submarine", 13: "hexarotor",
    14: "octorotor", 15: "tricopter", 16: "flapping_wing", 17: "kite", 19: "vtol", 20: "vtol",
    21: "vtol", 22: "vtol", 23: "vtol", 24: "vtol", 25: "vtol", 28: "parafoil",
    29: "dodecarotor", 35: "decarotor", 43: "multirotor", 46: "quadruped",
}  # fmt: skip

AUTOPILOTS = {
    0: "generic", 2: "SLUGS", 3: "ArduPilot", 4: "OpenPilot", 9: "Paparazzi", 10: "UDB",
    11: "FlexiPilot", 12: "PX4", 13: "SMACCMPilot", 14: "AutoQuad", 15: "Armazila", 16: "Aerob",
    17: "ASLUAV", 18: "SmartAP", 19: "AirRails", 20: "ReflexOS",
}  # fmt: skip

_ON_GROUND_OR_IN_WATER = frozenset(("rover", "boat", "submarine", "antenna_tracker", "quadruped"))


def airframe_of(mav_type: float | None) -> str | None:
    return None if mav_type is None else AIRFRAMES.get(int(mav_type))


def autopilot_of(mav_autopilot: float | None) -> str | None:
    return None if mav_autopilot is None else AUTOPILOTS.get(int(mav_autopilot))


def flies(airframe: str | None) -> bool:
    """False for what makes no flight, but drives or dives; unknown flies."""
    return airframe not in _ON_GROUND_OR_IN_WATER
