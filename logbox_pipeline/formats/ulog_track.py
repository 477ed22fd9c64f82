"""PX4 logs as a track: which uORB field feeds which column, in the names of 2016 to v1.18. Pure.

Fields were renamed over the years (lat -> latitude_deg, yaw -> heading); each name has its line,
the newer first. Definitions: https://docs.px4.io/main/en/msg_docs and, for what is gone,
https://github.com/PX4/PX4-Autopilot/tree/v1.8.2/msg.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logbox_pipeline.formats.px4_modes import nav_state_name
from logbox_pipeline.formats.stream import About
from logbox_pipeline.formats.track_mapping import (
    Mapped,
    Need,
    TrackFormat,
    Values,
    Vehicle,
    equals,
    length,
    named,
    position,
)
from logbox_pipeline.formats.track_vehicles import airframe_of, flies

_DOCS = "https://docs.px4.io/main/en/msg_docs/"
_OLD = "https://github.com/PX4/PX4-Autopilot/blob/v1.8.2/msg/"
_STATUS, _ARMED = _DOCS + "VehicleStatus", _DOCS + "ActuatorArmed"
_LANDED = _DOCS + "VehicleLandDetected"
_GLOBAL, _LOCAL = _DOCS + "VehicleGlobalPosition", _DOCS + "VehicleLocalPosition"
_ATTITUDE, _GPS = _DOCS + "VehicleAttitude", _DOCS + "SensorGps"
_BATTERY, _HOME = _DOCS + "BatteryStatus", _DOCS + "HomePosition"
_OLD_GPS = _OLD + "vehicle_gps_position.msg"
_OLD_ATTITUDE = "https://github.com/PX4/PX4-Autopilot/blob/v1.4.1/msg/vehicle_attitude.msg"

_Floats = NDArray[np.float64]

_HAS_FIX = (Need("fix_type", least=3, most=8),)
_HAS_LAT_LON = (Need("lat_lon_valid", least=1),)
_HAS_ALT = (Need("alt_valid", least=1),)
_HAS_XY, _HAS_VXY = (Need("xy_valid", least=1),), (Need("v_xy_valid", least=1),)
_HAS_Z, _HAS_VZ = (Need("z_valid", least=1),), (Need("v_z_valid", least=1),)
_IS_GLOBAL = (Need("xy_global", least=1), *_HAS_XY)
_IS_MSL = (Need("z_global", least=1), *_HAS_Z)
_HAS_Q = (Need("q_valid", least=1),)
_IS_CONNECTED = (Need("connected", least=1), Need("voltage_v", least=1))

_EARTH_RADIUS_M = 6_371_000.0
"""CONSTANTS_RADIUS_OF_EARTH of PX4's src/lib/geo/geo.h."""


def _lat_of_local(ref_lat: Values, x: Values) -> Values:
    return ref_lat + np.degrees(x / _EARTH_RADIUS_M)


def _lon_of_local(ref_lat: Values, ref_lon: Values, y: Values) -> Values:
    return ref_lon + np.degrees(y / (_EARTH_RADIUS_M * np.cos(np.radians(ref_lat))))


def _roll_deg(w: Values, x: Values, y: Values, z: Values) -> Values:
    degrees: Values = np.degrees(np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)))
    return degrees


def _pitch_deg(w: Values, x: Values, y: Values, z: Values) -> Values:
    degrees: Values = np.degrees(np.arcsin(np.clip(2 * (w * y - z * x), -1, 1)))
    return degrees


def _yaw_deg(w: Values, x: Values, y: Values, z: Values) -> Values:
    degrees: Values = np.degrees(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))
    return degrees


_Q = "q[0], q[1], q[2], q[3]"
_EULER = "of the quaternion (w, x, y, z), body FRD to NED, "
_RAD = 180 / np.pi

MAPPING = (
    *position("vehicle_global_position", "lat", "lon", 1.0, _GLOBAL, _HAS_LAT_LON),
    *position("vehicle_gps_position", "latitude_deg", "longitude_deg", 1.0, _GPS, _HAS_FIX),
    *position("vehicle_gps_position", "lat", "lon", 1e-7, _OLD_GPS, _HAS_FIX),
    *position("sensor_gps", "latitude_deg", "longitude_deg", 1.0, _GPS, _HAS_FIX),
    *position("sensor_gps", "lat", "lon", 1e-7, _OLD_GPS, _HAS_FIX),
    Mapped("lat_deg", "vehicle_local_position", "ref_lat, x", None, _LOCAL,
           "ref_lat plus x metres north", _lat_of_local, _IS_GLOBAL),
    Mapped("lon_deg", "vehicle_local_position", "ref_lat, ref_lon, y", None, _LOCAL,
           "ref_lon plus y metres east at ref_lat", _lon_of_local, _IS_GLOBAL),
    Mapped("home_alt_m", "home_position", "alt", 1.0, _HOME,
           "alt_m = alt_msl_m - this", needs=(Need("valid_alt", least=1),)),
    Mapped("alt_m", "vehicle_local_position", "z", -1.0, _LOCAL,
           "above the origin of the local frame, where home is not known", needs=_HAS_Z),
    Mapped("alt_msl_m", "vehicle_global_position", "alt", 1.0, _GLOBAL, needs=_HAS_ALT),
    Mapped("alt_msl_m", "vehicle_local_position", "ref_alt, z", None, _LOCAL,
           "ref_alt - z", np.subtract, _IS_MSL),
    Mapped("alt_msl_m", "vehicle_gps_position", "altitude_msl_m", 1.0, _GPS, needs=_HAS_FIX),
    Mapped("alt_msl_m", "vehicle_gps_position", "alt", 1e-3, _OLD_GPS, needs=_HAS_FIX),
    Mapped("alt_msl_m", "sensor_gps", "altitude_msl_m", 1.0, _GPS, needs=_HAS_FIX),
    Mapped("alt_msl_m", "sensor_gps", "alt", 1e-3, _OLD_GPS, needs=_HAS_FIX),
    Mapped("speed_m_s", "vehicle_local_position", "vx, vy", None, _LOCAL,
           "length of (vx, vy)", length, _HAS_VXY),
    Mapped("speed_m_s", "vehicle_global_position", "vel_n, vel_e", None,
           _OLD + "vehicle_global_position.msg", "length of (vel_n, vel_e)", length),
    Mapped("speed_m_s", "vehicle_gps_position", "vel_m_s", 1.0, _GPS, needs=_HAS_FIX),
    Mapped("speed_m_s", "sensor_gps", "vel_m_s", 1.0, _GPS, needs=_HAS_FIX),
    Mapped("climb_m_s", "vehicle_local_position", "vz", -1.0, _LOCAL, needs=_HAS_VZ),
    Mapped("climb_m_s", "vehicle_global_position", "vel_d", -1.0,
           _OLD + "vehicle_global_position.msg"),
    Mapped("climb_m_s", "vehicle_gps_position", "vel_d_m_s", -1.0, _GPS, needs=_HAS_FIX),
    Mapped("heading_deg", "vehicle_attitude", _Q, None, _ATTITUDE, _EULER + "yaw", _yaw_deg,
           _HAS_Q),
    Mapped("heading_deg", "vehicle_local_position", "heading", _RAD, _LOCAL),
    Mapped("heading_deg", "vehicle_local_position", "yaw", _RAD,
           _OLD + "vehicle_local_position.msg"),
    Mapped("roll_deg", "vehicle_attitude", _Q, None, _ATTITUDE, _EULER + "roll", _roll_deg,
           _HAS_Q),
    Mapped("roll_deg", "vehicle_attitude", "roll", _RAD, _OLD_ATTITUDE),
    Mapped("pitch_deg", "vehicle_attitude", _Q, None, _ATTITUDE, _EULER + "pitch", _pitch_deg,
           _HAS_Q),
    Mapped("pitch_deg", "vehicle_attitude", "pitch", _RAD, _OLD_ATTITUDE),
    Mapped("yaw_deg", "vehicle_attitude", _Q, None, _ATTITUDE, _EULER + "yaw", _yaw_deg,
           _HAS_Q),
    Mapped("yaw_deg", "vehicle_attitude", "yaw", _RAD, _OLD_ATTITUDE),
    Mapped("battery_v", "battery_status", "voltage_v", 1.0, _BATTERY, needs=_IS_CONNECTED),
    Mapped("battery_v", "battery_status", "voltage_filtered_v", 1.0,
           _OLD + "battery_status.msg", needs=_IS_CONNECTED),
    Mapped("battery_a", "battery_status", "current_a", 1.0, _BATTERY, unknown=(-1.0,),
           needs=_IS_CONNECTED),
    Mapped("battery_pct", "battery_status", "remaining", 100.0, _BATTERY, unknown=(-1.0,),
           needs=(*_IS_CONNECTED, Need("remaining", 0, 1.5))),
    Mapped("satellites", "vehicle_gps_position", "satellites_used", 1.0, _GPS),
    Mapped("satellites", "sensor_gps", "satellites_used", 1.0, _GPS),
    Mapped("mode", "vehicle_status", "nav_state", None, _STATUS, "NAVIGATION_STATE_* by name"),
    Mapped("is_armed", "vehicle_status", "arming_state", None, _STATUS,
           "2 is armed", equals(2)),
    Mapped("is_armed", "actuator_armed", "armed", 1.0, _ARMED),
    Mapped("is_airborne", "vehicle_land_detected", "landed", None, _LANDED,
           "0 is airborne", equals(0)),
    Mapped("mav_type", "vehicle_status", "system_type", 1.0, _STATUS, "the vehicle's MAV_TYPE"),
)  # fmt: skip


def _vehicle(about: About | None, commonest: Mapping[str, Any]) -> Vehicle:
    airframe = airframe_of(commonest["mav_type"])
    release = about.info.get("ver_sw_release") if about else None
    kind = str(release) if isinstance(release, int) else None
    return Vehicle("PX4", airframe, kind, flies(airframe))


def _mode_name(vehicle: Vehicle, code: Any) -> str | None:
    release = int(vehicle.kind) if vehicle.kind else None
    return named(nav_state_name(int(code), release), code)


TRACK = TrackFormat("ulog", MAPPING, "t_boot_us", _vehicle, _mode_name)
