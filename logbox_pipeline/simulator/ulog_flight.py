"""The topics of the simulated PX4 flight: their fields, rates, and values over time.

The flight is that of `flight_path`, with seeded noise, so that the same seed gives the same bytes.
No file format here but the names of types.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logbox_pipeline.simulator.flight_path import FlightPlan, Motion

_CHARGED = 0.98
_NUMPY = {
    "uint8_t": "u1",
    "int8_t": "i1",
    "uint16_t": "<u2",
    "int16_t": "<i2",
    "uint32_t": "<u4",
    "int32_t": "<i4",
    "uint64_t": "<u8",
    "float": "<f4",
    "double": "<f8",
    "bool": "u1",
}


@dataclass(frozen=True)
class Topic:
    """fields: (type, entries or 0, name); `padding` bytes at the end are defined but not logged."""

    name: str
    rate_hz: float
    fields: tuple[tuple[str, int, str], ...]
    instances: int = 1
    padding: int = 0

    def formats(self) -> Iterator[tuple[str, str]]:
        """This topic's format and those it nests, as ULog writes them."""
        fields = self.fields
        if self.padding:
            fields = (*fields, ("uint8_t", self.padding, "_padding0"))
        yield self.name, _format_text(fields)
        for type_name, _, _ in self.fields:
            if type_name in _NESTED:
                yield type_name, _format_text(_NESTED[type_name])

    @property
    def dtype(self) -> np.dtype[np.void]:
        return _dtype(self.fields)

    @property
    def logged_bytes(self) -> int:
        return self.dtype.itemsize


def fill(
    topic: Topic,
    instance: int,
    times: NDArray[np.int64],
    plan: FlightPlan,
    utc_us: int,
    seed: int,
    fix_after_s: float,
) -> NDArray[np.void]:
    """The rows of one stream at `times` (boot, us); UTC at the log's start is `utc_us`."""
    noise = np.random.default_rng([seed, instance, int(times[0]), len(topic.name)])
    seconds = (times - plan.start_us) / 1e6
    flight = Motion(seconds, plan)
    known = _KNOWN.get(topic.name, {})
    rows = np.zeros(len(times), topic.dtype)
    rows["timestamp"] = times
    for type_name, entries, name in topic.fields:
        if name == "timestamp":
            continue
        if type_name in _NESTED:
            _fill_nested(rows[name], times, flight, noise)
        elif name in known:
            values = known[name](flight, noise)
            # GPS receivers speak in 1e-7 degrees and millimetres.
            scale = {"lat": 1e7, "lon": 1e7, "alt": 1e3}[name] if type_name == "int32_t" else 1.0
            rows[name] = np.multiply(values, scale) if scale != 1.0 else values
        elif name == "timestamp_sample":
            rows[name] = times - 250
        elif name == "time_utc_usec":
            jitter = noise.integers(-400, 401, len(times))
            rows[name] = np.where(seconds < fix_after_s, 0, times - plan.start_us + utc_us + jitter)
        elif name == "fix_type":
            rows[name] = np.where(seconds < fix_after_s, 1, 3)
        elif type_name == "char":
            rows[name] = [f"key{number % 5}".encode() for number in range(len(times))]
        else:
            _fill_noise(rows, type_name, entries, name, noise)
    return rows


_Values = Callable[[Motion, np.random.Generator], NDArray[Any]]
_LAT_DEG, _LON_DEG, _ALT_MSL_M = 47.3977, 8.5456, 488.0
_M_PER_DEG_LAT, _M_PER_DEG_LON = 111_320.0, 75_400.0
_CELLS, _MOTORS, _IDLE = 6, 8, 0.02
_LOITER, _MISSION, _RTL, _TAKEOFF = 4, 3, 5, 17
"""NAVIGATION_STATE_* of https://docs.px4.io/main/en/msg_docs/VehicleStatus."""


def _steady(value: float) -> _Values:
    return lambda flight, noise: np.full(flight.count, value)


def _about(value: float, spread: float) -> _Values:
    return lambda flight, noise: value + spread * noise.standard_normal(flight.count)


def _quaternion(flight: Motion, noise: np.random.Generator) -> NDArray[np.generic]:
    half = flight.angle / 2
    zero = np.zeros(flight.count)
    return np.stack([np.cos(half), zero, zero, np.sin(half)], axis=1)


def _volts(flight: Motion, noise: np.random.Generator) -> NDArray[np.float64]:
    """Falls with the charge, and sags under load."""
    return 25.0 - 4.2 * flight.used - 0.02 * flight.amps


def _cell_volts(flight: Motion, noise: np.random.Generator) -> NDArray[np.generic]:
    cells = np.zeros((flight.count, 14))
    cells[:, :_CELLS] = _volts(flight, noise)[:, None] / _CELLS
    return cells


def _thrust(flight: Motion, noise: np.random.Generator, outputs: int = 12) -> NDArray[np.float64]:
    """Share of each motor's thrust; outputs without a motor stay idle."""
    values = np.full((flight.count, outputs), _IDLE)
    pushed = 0.55 + 0.03 * noise.standard_normal((flight.count, _MOTORS))
    values[:, :_MOTORS] = np.where(flight.is_flying[:, None], pushed, _IDLE)
    return values


def _nav_state(flight: Motion, noise: np.random.Generator) -> NDArray[np.generic]:
    said = [flight.is_climbing, flight.is_descending, flight.is_flying]
    return np.select(said, [_TAKEOFF, _RTL, _MISSION], _LOITER)


_YES, _NO = _steady(1), _steady(0)
_POSITION: dict[str, _Values] = {
    "lat": lambda flight, noise: _LAT_DEG + flight.north_m / _M_PER_DEG_LAT,
    "lon": lambda flight, noise: _LON_DEG + flight.east_m / _M_PER_DEG_LON,
    "alt": lambda flight, noise: _ALT_MSL_M + flight.alt_m,
    "eph": _about(0.8, 0.02),
    "epv": _about(1.2, 0.02),
}
_KNOWN: dict[str, dict[str, _Values]] = {
    "vehicle_attitude": {
        "q": _quaternion,
        "delta_q_reset": lambda flight, noise: np.tile([1.0, 0, 0, 0], (flight.count, 1)),
        "quat_reset_counter": _NO,
    },
    "vehicle_local_position": {
        "x": lambda flight, noise: flight.north_m + 0.02 * noise.standard_normal(flight.count),
        "y": lambda flight, noise: flight.east_m + 0.02 * noise.standard_normal(flight.count),
        "z": lambda flight, noise: -flight.alt_m,
        "vx": lambda flight, noise: flight.speed_m_s * np.cos(flight.angle),
        "vy": lambda flight, noise: flight.speed_m_s * np.sin(flight.angle),
        "vz": lambda flight, noise: -flight.climb_m_s,
        "heading": lambda flight, noise: (flight.angle + np.pi) % (2 * np.pi) - np.pi,
        "eph": _about(0.3, 0.01),
        "epv": _about(0.4, 0.01),
        "xy_valid": _YES,
        "z_valid": _YES,
        "v_xy_valid": _YES,
        "v_z_valid": _YES,
    },
    "vehicle_gps_position": _POSITION
    | {
        "vel_m_s": lambda flight, noise: (
            flight.speed_m_s + np.abs(0.05 * noise.standard_normal(flight.count))
        ),
        "cog_rad": lambda flight, noise: flight.angle % (2 * np.pi),
        "satellites_used": lambda flight, noise: noise.integers(14, 19, flight.count),
    },
    "vehicle_global_position": _POSITION,
    "home_position": {
        "lat": _steady(_LAT_DEG),
        "lon": _steady(_LON_DEG),
        "alt": _steady(_ALT_MSL_M),
        "x": _NO,
        "y": _NO,
        "z": _NO,
        "yaw": _NO,
        "valid_alt": _YES,
        "valid_hpos": _YES,
        "valid_lpos": _YES,
        "manual_home": _NO,
    },
    "battery_status": {
        "voltage_v": _volts,
        "current_a": lambda flight, noise: flight.amps + 0.2 * noise.random(flight.count),
        "remaining": lambda flight, noise: _CHARGED - flight.used,
        "voltage_cell_v": _cell_volts,
        "cycle_count": _steady(37),
        "cell_count": _steady(_CELLS),
        "connected": _YES,
    },
    "vehicle_status": {
        "armed_time": lambda flight, noise: np.where(flight.is_armed, flight.plan.armed_us, 0),
        "arming_state": lambda flight, noise: np.where(flight.is_armed, 2, 1),
        "nav_state": _nav_state,
        "system_type": _steady(2),
        "vehicle_type": _YES,
        "failsafe": _NO,
    },
    "vehicle_land_detected": {
        name: (lambda flight, noise: ~flight.is_flying)
        for name in ("ground_contact", "maybe_landed", "landed")
    }
    | {"freefall": _NO, "in_ground_effect": _NO},
    "actuator_motors": {
        "control": _thrust,
    },
    "actuator_outputs": {
        "noutputs": _steady(_MOTORS),
        "output": lambda flight, noise: 1000 + 1000 * _thrust(flight, noise, 16),
    },
    "esc_status": {"esc_count": _steady(_MOTORS)},
    "sensor_accel": {
        "device_id": _steady(3_932_170),
        "x": _about(0, 0.3),
        "y": _about(0, 0.3),
        "z": _about(-9.81, 0.5),
        "temperature": lambda flight, noise: 38 + 8 * flight.used,
    },
}
"""By topic and field; what is not here is noise."""


def _fill_nested(
    rows: NDArray[np.void],
    times: NDArray[np.int64],
    flight: Motion,
    noise: np.random.Generator,
) -> None:
    """ESC reports: one per motor."""
    for motor in range(rows.shape[1]):
        one = rows[:, motor]
        one["timestamp"] = times - motor
        one["esc_rpm"] = flight.is_flying * noise.integers(5000, 5400, len(times))
        one["esc_voltage"] = 25.0 - 4.2 * flight.used
        one["esc_current"] = flight.is_flying * noise.random(len(times)) * 8
        one["esc_temperature"] = 30 + 20 * flight.used
        one["actuator_function"] = 101 + motor


def _fill_noise(
    rows: NDArray[np.void], type_name: str, entries: int, name: str, noise: np.random.Generator
) -> None:
    shape = (len(rows), entries) if entries else (len(rows),)
    if type_name in ("float", "double"):
        rows[name] = noise.standard_normal(shape)
    elif type_name == "bool":
        rows[name] = noise.integers(0, 2, shape)
    else:
        rows[name] = noise.integers(0, 100, shape)


def _format_text(fields: tuple[tuple[str, int, str], ...]) -> str:
    return "".join(
        f"{type_name}[{entries}] {name};" if entries else f"{type_name} {name};"
        for type_name, entries, name in fields
    )


def _dtype(fields: tuple[tuple[str, int, str], ...]) -> np.dtype[np.void]:
    parts: list[tuple[object, ...]] = []
    for type_name, entries, name in fields:
        if type_name == "char":
            parts.append((name, f"S{entries}"))
            continue
        kind = _dtype(_NESTED[type_name]) if type_name in _NESTED else np.dtype(_NUMPY[type_name])
        parts.append((name, kind, (entries,)) if entries else (name, kind))
    dtype: np.dtype[np.void] = np.dtype(parts)
    return dtype


_STAMP = ("uint64_t", 0, "timestamp")
_SAMPLE = ("uint64_t", 0, "timestamp_sample")

_NESTED: dict[str, tuple[tuple[str, int, str], ...]] = {
    "esc_report": (
        _STAMP,
        ("uint32_t", 0, "esc_errorcount"),
        ("int32_t", 0, "esc_rpm"),
        ("float", 0, "esc_voltage"),
        ("float", 0, "esc_current"),
        ("float", 0, "esc_temperature"),
        ("uint8_t", 0, "esc_state"),
        ("uint8_t", 0, "actuator_function"),
        ("uint8_t", 2, "_padding0"),
    )
}


def _floats(*names: str) -> tuple[tuple[str, int, str], ...]:
    return tuple(("float", 0, name) for name in names)


TOPICS = (
    Topic(
        "vehicle_attitude",
        50,
        (
            _STAMP,
            _SAMPLE,
            ("float", 4, "q"),
            ("float", 4, "delta_q_reset"),
            ("uint8_t", 0, "quat_reset_counter"),
        ),
        padding=7,
    ),
    Topic(
        "vehicle_local_position",
        20,
        (
            _STAMP,
            _SAMPLE,
            *_floats("x", "y", "z", "vx", "vy", "vz", "heading", "eph", "epv"),
            ("bool", 0, "xy_valid"),
            ("bool", 0, "z_valid"),
            ("bool", 0, "v_xy_valid"),
            ("bool", 0, "v_z_valid"),
        ),
    ),
    Topic(
        "vehicle_gps_position",
        5,
        (
            _STAMP,
            ("uint64_t", 0, "time_utc_usec"),
            ("int32_t", 0, "lat"),
            ("int32_t", 0, "lon"),
            ("int32_t", 0, "alt"),
            *_floats("eph", "epv", "vel_m_s", "cog_rad"),
            ("uint8_t", 0, "fix_type"),
            ("uint8_t", 0, "satellites_used"),
        ),
        padding=6,
    ),
    Topic(
        "vehicle_global_position",
        5,
        (_STAMP, ("double", 0, "lat"), ("double", 0, "lon"), *_floats("alt", "eph", "epv")),
        padding=4,
    ),
    Topic(
        "battery_status",
        2,
        (
            _STAMP,
            *_floats("voltage_v", "current_a", "remaining"),
            ("float", 14, "voltage_cell_v"),
            ("uint16_t", 0, "cycle_count"),
            ("uint8_t", 0, "cell_count"),
            ("bool", 0, "connected"),
        ),
    ),
    Topic(
        "vehicle_status",
        2,
        (
            _STAMP,
            ("uint64_t", 0, "armed_time"),
            ("uint8_t", 0, "arming_state"),
            ("uint8_t", 0, "nav_state"),
            ("uint8_t", 0, "system_type"),
            ("uint8_t", 0, "vehicle_type"),
            ("bool", 0, "failsafe"),
        ),
        padding=3,
    ),
    Topic(
        "vehicle_land_detected",
        2,
        (
            _STAMP,
            ("bool", 0, "freefall"),
            ("bool", 0, "ground_contact"),
            ("bool", 0, "maybe_landed"),
            ("bool", 0, "landed"),
            ("bool", 0, "in_ground_effect"),
        ),
        padding=3,
    ),
    Topic(
        "home_position",
        0.01,
        (
            _STAMP,
            ("double", 0, "lat"),
            ("double", 0, "lon"),
            *_floats("alt", "x", "y", "z", "yaw"),
            ("bool", 0, "valid_alt"),
            ("bool", 0, "valid_hpos"),
            ("bool", 0, "valid_lpos"),
            ("bool", 0, "manual_home"),
        ),
    ),
    Topic("actuator_motors", 50, (_STAMP, _SAMPLE, ("float", 12, "control"))),
    Topic("actuator_outputs", 20, (_STAMP, ("uint32_t", 0, "noutputs"), ("float", 16, "output"))),
    Topic(
        "esc_status",
        10,
        (
            _STAMP,
            ("uint16_t", 0, "counter"),
            ("uint8_t", 0, "esc_count"),
            ("uint8_t", 5, "_padding0"),
            ("esc_report", 8, "esc"),
        ),
    ),
    Topic(
        "sensor_accel",
        50,
        (_STAMP, _SAMPLE, ("uint32_t", 0, "device_id"), *_floats("x", "y", "z", "temperature")),
        instances=3,
        padding=4,
    ),
    Topic(
        "sensor_gyro_fifo",
        20,
        (_STAMP, _SAMPLE, ("float", 0, "dt"), ("uint8_t", 0, "samples"), ("int16_t", 32, "x")),
        padding=3,
    ),
    Topic("debug_key_value", 1, (_STAMP, ("float", 0, "value"), ("char", 10, "key")), padding=2),
)
NEED_GPS = frozenset(("vehicle_gps_position", "vehicle_global_position", "home_position"))
