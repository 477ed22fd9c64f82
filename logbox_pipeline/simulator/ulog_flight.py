"""The topics of the simulated PX4 flight: their fields, rates, and values over time.

Takeoff, a circle, landing: smooth functions of time with seeded noise, so that a plot looks like a
flight and the same seed gives the same bytes. No file format here but the names of types.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    start_us: int,
    utc_us: int,
    duration_s: float,
    seed: int,
    fix_after_s: float,
) -> NDArray[np.void]:
    """The rows of one stream at `times` (boot, us); UTC at the log's start is `utc_us`."""
    noise = np.random.default_rng([seed, instance, int(times[0]), len(topic.name)])
    seconds = (times - start_us) / 1e6
    flight = _Flight(seconds, duration_s)
    rows = np.zeros(len(times), topic.dtype)
    rows["timestamp"] = times
    for type_name, entries, name in topic.fields:
        if name == "timestamp":
            continue
        if type_name in _NESTED:
            _fill_nested(rows[name], times, flight, noise)
        elif name in _KNOWN:
            values = _KNOWN[name](flight, noise)
            # GPS receivers speak in 1e-7 degrees and millimetres.
            scale = {"lat": 1e7, "lon": 1e7, "alt": 1e3}[name] if type_name == "int32_t" else 1.0
            rows[name] = np.multiply(values, scale) if scale != 1.0 else values
        elif name == "timestamp_sample":
            rows[name] = times - 250
        elif name == "time_utc_usec":
            jitter = noise.integers(-400, 401, len(times))
            rows[name] = np.where(seconds < fix_after_s, 0, times - start_us + utc_us + jitter)
        elif name == "fix_type":
            rows[name] = np.where(seconds < fix_after_s, 1, 3)
        elif type_name == "char":
            rows[name] = [f"key{number % 5}".encode() for number in range(len(times))]
        else:
            _fill_noise(rows, type_name, entries, name, noise)
    return rows


class _Flight:
    """Where the drone is at each moment: up in the first tenth, down in the last."""

    def __init__(self, seconds: NDArray[np.float64], duration_s: float) -> None:
        part = np.clip(seconds / duration_s, 0, 1)
        self.count = len(seconds)
        self.alt_m = 50 * np.clip(np.minimum((part - 0.05) * 10, (0.95 - part) * 10), 0, 1)
        self.is_flying = (part > 0.05) & (part < 0.95)
        self.angle = seconds / 30 * self.is_flying
        self.used = part


def _quaternion(flight: _Flight, noise: np.random.Generator) -> NDArray[np.generic]:
    half = flight.angle / 2
    zero = np.zeros(flight.count)
    return np.stack([np.cos(half), zero, zero, np.sin(half)], axis=1)


_Values = Callable[[_Flight, np.random.Generator], NDArray[np.generic]]
_LAT_DEG, _LON_DEG = 47.3977, 8.5456
_RADIUS_M = 80.0
_KNOWN: dict[str, _Values] = {
    "q": _quaternion,
    "z": lambda flight, noise: -flight.alt_m,
    "lat": lambda flight, noise: _LAT_DEG + np.sin(flight.angle) * _RADIUS_M / 111_320,
    "lon": lambda flight, noise: _LON_DEG + np.cos(flight.angle) * _RADIUS_M / 75_400,
    "alt": lambda flight, noise: 488 + flight.alt_m,
    "heading": lambda flight, noise: (flight.angle + np.pi) % (2 * np.pi) - np.pi,
    "vel_m_s": lambda flight, noise: flight.is_flying * (2.7 + 0.1 * noise.random(flight.count)),
    "voltage_v": lambda flight, noise: 25.2 - 4 * flight.used,
    "current_a": lambda flight, noise: flight.is_flying * (18 + noise.random(flight.count)),
    "remaining": lambda flight, noise: 1 - 0.7 * flight.used,
    "satellites_used": lambda flight, noise: noise.integers(14, 19, flight.count),
    "arming_state": lambda flight, noise: np.where(flight.is_flying, 2, 1),
    "nav_state": lambda flight, noise: np.where(flight.is_flying, 3, 4),
    "cell_count": lambda flight, noise: np.full(flight.count, 6),
    "esc_count": lambda flight, noise: np.full(flight.count, 8),
}


def _fill_nested(
    rows: NDArray[np.void],
    times: NDArray[np.int64],
    flight: _Flight,
    noise: np.random.Generator,
) -> None:
    """ESC reports: one per motor."""
    for motor in range(rows.shape[1]):
        one = rows[:, motor]
        one["timestamp"] = times - motor
        one["esc_rpm"] = flight.is_flying * noise.integers(5000, 5400, len(times))
        one["esc_voltage"] = 25.2 - 4 * flight.used
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
        ),
        padding=2,
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
            ("bool", 0, "failsafe"),
        ),
        padding=5,
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
