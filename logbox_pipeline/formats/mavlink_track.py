"""Telemetry logs (tlog) as a track: which MAVLink message and field feeds which column. Pure.

Definitions: https://mavlink.io/en/messages/common.html and those it includes. Only what the
vehicle's own autopilot says: the system and component whose HEARTBEATs are no ground station's,
gimbal's or camera's, of several vehicles the one with most of them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logbox_pipeline.formats.mavlink_modes import (
    AUTOPILOT_INVALID,
    NO_VEHICLES,
    flight_mode,
    vehicle_kind,
)
from logbox_pipeline.formats.stream import About
from logbox_pipeline.formats.track_mapping import (
    Mapped,
    Need,
    Topics,
    TrackFormat,
    Values,
    Vehicle,
    as_numbers,
    has_bit,
    length,
    position,
    told,
)
from logbox_pipeline.formats.track_vehicles import airframe_of, autopilot_of, flies

_COMMON = "https://mavlink.io/en/messages/common.html#"
_POSITION = "https://mavlink.io/en/messages/standard.html#GLOBAL_POSITION_INT"
_HEARTBEAT = "https://mavlink.io/en/messages/minimal.html#HEARTBEAT"
_ARDUPILOT = "https://github.com/ArduPilot/ardupilot/blob/master/ArduCopter/GCS_Mavlink.cpp"

_HAS_FIX = (Need("fix_type", least=3),)
_FIRST_BATTERY = (Need("id", 0, 0),)
_IS_ARDUPILOT = (Need("autopilot", 3, 3),)
_DEG = 180 / np.pi


def _centi_length(x: Values, y: Values) -> Values:
    return length(x, y) * 0.01


def _pack_volts(*cells: Values) -> Values:
    """Cells in mV; 65535 is no cell, and a pack's whole voltage may stand in the first."""
    volts = np.stack([as_numbers(cell) for cell in cells])
    known = np.where((volts > 0) & (volts < 65_535), volts, 0).sum(axis=0)
    return np.where(known > 0, known * 1e-3, np.nan)


def _modes(autopilot: Values, kind: Values, base: Values, custom: Values) -> Values:
    said = np.nan_to_num(np.stack([autopilot, kind, base, custom], axis=1)).astype(np.int64)
    distinct, place = np.unique(said, axis=0, return_inverse=True)
    names = [flight_mode(*(int(number) for number in row)) for row in distinct]
    return np.array(names, object)[place.ravel()]


_CELLS = ", ".join(f"voltages[{cell}]" for cell in range(10))

MAPPING = (
    *position("GLOBAL_POSITION_INT", "lat", "lon", 1e-7, _POSITION),
    *position("GPS_RAW_INT", "lat", "lon", 1e-7, _COMMON + "GPS_RAW_INT", _HAS_FIX),
    Mapped("alt_m", "GLOBAL_POSITION_INT", "relative_alt", 1e-3, _POSITION),
    Mapped("alt_m", "LOCAL_POSITION_NED", "z", -1.0, _COMMON + "LOCAL_POSITION_NED",
           "above the origin of the local frame"),
    Mapped("alt_msl_m", "GLOBAL_POSITION_INT", "alt", 1e-3, _POSITION),
    Mapped("alt_msl_m", "GPS_RAW_INT", "alt", 1e-3, _COMMON + "GPS_RAW_INT", needs=_HAS_FIX),
    Mapped("alt_msl_m", "VFR_HUD", "alt", 1.0, _COMMON + "VFR_HUD"),
    Mapped("speed_m_s", "VFR_HUD", "groundspeed", 1.0, _COMMON + "VFR_HUD"),
    Mapped("speed_m_s", "GLOBAL_POSITION_INT", "vx, vy", None, _POSITION,
           "0.01 x length of (vx, vy)", _centi_length),
    Mapped("speed_m_s", "GPS_RAW_INT", "vel", 0.01, _COMMON + "GPS_RAW_INT",
           unknown=(65_535.0,), needs=_HAS_FIX),
    Mapped("climb_m_s", "VFR_HUD", "climb", 1.0, _COMMON + "VFR_HUD"),
    Mapped("climb_m_s", "GLOBAL_POSITION_INT", "vz", -0.01, _POSITION),
    Mapped("heading_deg", "GLOBAL_POSITION_INT", "hdg", 0.01, _POSITION,
           unknown=(65_535.0,)),
    Mapped("heading_deg", "VFR_HUD", "heading", 1.0, _COMMON + "VFR_HUD"),
    Mapped("heading_deg", "ATTITUDE", "yaw", _DEG, _COMMON + "ATTITUDE"),
    Mapped("roll_deg", "ATTITUDE", "roll", _DEG, _COMMON + "ATTITUDE"),
    Mapped("pitch_deg", "ATTITUDE", "pitch", _DEG, _COMMON + "ATTITUDE"),
    Mapped("yaw_deg", "ATTITUDE", "yaw", _DEG, _COMMON + "ATTITUDE"),
    Mapped("battery_v", "SYS_STATUS", "voltage_battery", 1e-3, _COMMON + "SYS_STATUS",
           unknown=(0.0, 65_535.0)),
    Mapped("battery_v", "BATTERY_STATUS", _CELLS, None, _COMMON + "BATTERY_STATUS",
           "0.001 x sum of cells below 65535", _pack_volts, _FIRST_BATTERY),
    Mapped("battery_a", "SYS_STATUS", "current_battery", 0.01, _COMMON + "SYS_STATUS",
           unknown=(-1.0,)),
    Mapped("battery_a", "BATTERY_STATUS", "current_battery", 0.01, _COMMON + "BATTERY_STATUS",
           unknown=(-1.0,), needs=_FIRST_BATTERY),
    Mapped("battery_pct", "SYS_STATUS", "battery_remaining", 1.0, _COMMON + "SYS_STATUS",
           needs=(Need("battery_remaining", 0, 100),)),
    Mapped("battery_pct", "BATTERY_STATUS", "battery_remaining", 1.0, _COMMON + "BATTERY_STATUS",
           needs=(*_FIRST_BATTERY, Need("battery_remaining", 0, 100))),
    Mapped("satellites", "GPS_RAW_INT", "satellites_visible", 1.0, _COMMON + "GPS_RAW_INT",
           unknown=(255.0,)),
    Mapped("mode", "HEARTBEAT", "autopilot, type, base_mode, custom_mode", None, _HEARTBEAT,
           "name of the mode for this autopilot and vehicle", _modes),
    Mapped("is_armed", "HEARTBEAT", "base_mode", None, _HEARTBEAT,
           "bit 128, MAV_MODE_FLAG_SAFETY_ARMED", has_bit(128)),
    Mapped("is_airborne", "EXTENDED_SYS_STATE", "landed_state", None,
           _COMMON + "EXTENDED_SYS_STATE", "1 landed; 2, 3, 4 airborne",
           told({1: 0, 2: 1, 3: 1, 4: 1}), holds_s=10),
    Mapped("is_airborne", "HEARTBEAT", "system_status", None, _ARDUPILOT,
           "ArduPilot only: 3 (standby) landed, 4 (active) airborne",
           told({3: 0, 4: 1}), _IS_ARDUPILOT),
    Mapped("mav_type", "HEARTBEAT", "type", 1.0, _HEARTBEAT),
    Mapped("mav_autopilot", "HEARTBEAT", "autopilot", 1.0, _HEARTBEAT),
)  # fmt: skip


def main_vehicle(topics: Topics) -> frozenset[int] | None:
    """The instance (sysid * 256 + compid) of the autopilot that is heard most."""
    heard = {instance: _heard(topics, instance) for instance in topics.instances("HEARTBEAT")}
    best = max(heard, key=lambda instance: (heard[instance], -instance), default=None)
    if best is not None and heard[best] > 0:
        return frozenset((best,))
    # No heartbeat survived: whoever tells attitude or position is the vehicle.
    for topic in ("GLOBAL_POSITION_INT", "ATTITUDE", "SYS_STATUS"):
        if topics.instances(topic):
            return frozenset(topics.instances(topic)[:1])
    return frozenset()


def _heard(topics: Topics, instance: int) -> int:
    """How many heartbeats of a flight controller came from here."""
    heard = 0
    for batch in topics.read("HEARTBEAT", instance, ("type", "autopilot")):
        kinds: NDArray[np.int64] = batch.column("type").to_numpy(zero_copy_only=False)
        autopilots: NDArray[np.int64] = batch.column("autopilot").to_numpy(zero_copy_only=False)
        is_vehicle = (autopilots != AUTOPILOT_INVALID) & ~np.isin(kinds, sorted(NO_VEHICLES))
        heard += int(is_vehicle.sum())
    return heard


def _vehicle(about: About | None, commonest: Mapping[str, Any]) -> Vehicle:
    airframe = airframe_of(commonest["mav_type"])
    kind = None if commonest["mav_type"] is None else vehicle_kind(int(commonest["mav_type"]))
    return Vehicle(autopilot_of(commonest["mav_autopilot"]), airframe, kind, flies(airframe))


def _mode_name(vehicle: Vehicle, code: Any) -> str | None:
    return str(code)


TRACK = TrackFormat("mavlink", MAPPING, "ts", _vehicle, _mode_name, main_vehicle)
