"""Write real ULog bytes of a plausible flight, and say exactly what must come out. No parsing.

The format: https://docs.px4.io/main/en/dev_log/ulog_file_format. All follows from the seed.
"""

import hashlib
import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from logbox_pipeline.simulator import ulog_events
from logbox_pipeline.simulator.flight_path import FlightPlan
from logbox_pipeline.simulator.ulog_flight import NEED_GPS, TOPICS, Topic, fill

_SLICE_S = 20
_SYNC = b"\x2f\x73\x13\x20\x25\x0c\xbb\x12"
_FIX_AFTER_S = 4.0
_MIN_GPS_S = 5.0
_BEFORE_US = 88_000
_EVENT_DEFINITIONS_PIECE = 200


@dataclass(frozen=True)
class UlogLedger:
    """What must come out of a written file.

    rows: by (topic, instance). messages: (t_boot_us, level, text) in file order, `tags` the tag of
    each, None for plain ones. events: the same of the `event` topic, as its definitions say it.
    parameters: (name, kind, value). `first` and `last` are UTC, None without GPS. flight: the one
    flight in it.
    """

    rows: Mapping[tuple[str, int], int]
    messages: tuple[tuple[int, int, str], ...]
    tags: tuple[int | None, ...]
    events: tuple[tuple[int, int, str], ...]
    dropouts_ms: tuple[int, ...]
    parameters: tuple[tuple[str, str, float], ...]
    vehicle_uid: str
    firmware: str
    hardware: str
    flight: FlightPlan
    start_us: int
    last_us: int
    first: datetime | None
    last: datetime | None
    size_bytes: int = field(compare=False, default=0)

    @property
    def rows_total(self) -> int:
        return sum(self.rows.values())


def write_ulog(
    out: BinaryIO,
    *,
    seed: int,
    duration_s: float = 60.0,
    size_bytes: int | None = None,
    start: datetime = datetime(2026, 11, 24, 9, 0, tzinfo=UTC),
    vehicle_uid: str | None = None,
    has_gps: bool = True,
    has_events: bool = True,
) -> UlogLedger:
    """Write one flight of `duration_s`, or of about `size_bytes`; logging began at `start`.

    has_events: with PX4's `event` topic and its definitions.
    """
    chance = random.Random(seed)
    if size_bytes is not None:
        duration_s = max(1.0, (size_bytes - 8_000) / _bytes_per_s(has_gps))
    uid = vehicle_uid or f"000600000000{chance.getrandbits(96):024x}"
    start_us = 20_000_000 + chance.randrange(1_000_000)
    plan = FlightPlan(duration_s, start_us)
    is_timed = has_gps and duration_s > _MIN_GPS_S
    fix_after_s = min(_FIX_AFTER_S, 0.04 * duration_s) if is_timed else _FIX_AFTER_S
    topics = [topic for topic in TOPICS if has_gps or topic.name not in NEED_GPS]
    messages, tags = _messages(chance, start_us, duration_s)
    dropouts = _dropouts(chance, start_us, duration_s)
    parameters = _parameters(chance)
    changed = _changed(start_us, duration_s)
    size = out.write(_definitions(topics, start_us, uid, parameters, has_events))
    subscribed = [(topic, instance) for topic in topics for instance in range(topic.instances)]
    size += out.write(
        b"".join(
            _message("A", struct.pack("<BH", instance, msg_id) + topic.name.encode())
            for msg_id, (topic, instance) in enumerate(subscribed)
        )
    )
    told = ulog_events.event_rows(plan) if has_events else []
    event_id = struct.pack("<H", len(subscribed))
    if told:
        size += out.write(_message("A", b"\0" + event_id + b"event"))
    extras = sorted(
        [
            *((us, _message("D", event_id + row)) for us, row in told),
            *(
                (us, _text(us, level, text, tag))
                for (us, level, text), tag in _tagged(messages, tags)
            ),
            *((us, _message("O", struct.pack("<H", ms))) for us, ms in dropouts),
            *((us, _keyed("P", "float", name, struct.pack("<f", v))) for us, name, v in changed),
        ],
        key=lambda extra: extra[0],
    )
    rows: dict[tuple[str, int], int] = {("event", 0): len(told)} if told else {}
    last_us = start_us
    utc_us = (start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    for low in np.arange(0.0, duration_s, _SLICE_S):
        high = min(low + _SLICE_S, duration_s)
        packed: list[tuple[NDArray[np.int64], NDArray[np.void]]] = []
        for msg_id, (topic, instance) in enumerate(subscribed):
            times = _times(topic, instance, start_us, float(low), float(high))
            if not len(times):
                continue
            values = fill(topic, instance, times, plan, utc_us, seed, fix_after_s)
            packed.append((times, _data(topic, msg_id, values)))
            key = (topic.name, instance)
            rows[key] = rows.get(key, 0) + len(times)
            last_us = max(last_us, int(times[-1]))
        until = start_us + int(high * 1e6)
        due = [extra for extra in extras if extra[0] < until or high >= duration_s]
        extras = extras[len(due) :]
        size += out.write(_interleaved(packed, due))
    defaults = [
        ("MPC_XY_VEL_MAX", "default_system", 12.0),
        ("RTL_RETURN_ALT", "default_airframe", 60.0),
    ]
    return UlogLedger(
        rows=rows,
        messages=messages,
        tags=tags,
        events=ulog_events.events_said(plan) if has_events else (),
        dropouts_ms=tuple(ms for _, ms in dropouts),
        parameters=(
            *((name, "initial", value) for name, _, value in parameters),
            *defaults,
            *((name, "changed", value) for _, name, value in changed),
        ),
        vehicle_uid=uid,
        firmware="v1.14.3 1dacb4cdef2d7145754fc788fa8dc482eed74b40",
        hardware="PX4_FMU_V6C",
        flight=plan,
        start_us=start_us,
        last_us=last_us,
        first=start if is_timed else None,
        last=start + timedelta(microseconds=last_us - start_us) if is_timed else None,
        size_bytes=size,
    )


def _tagged(
    messages: tuple[tuple[int, int, str], ...], tags: tuple[int | None, ...]
) -> list[tuple[tuple[int, int, str], int | None]]:
    return list(zip(messages, tags, strict=True))


def _message(kind: str, payload: bytes) -> bytes:
    return struct.pack("<HB", len(payload), ord(kind)) + payload


def _keyed(kind: str, type_name: str, key: str, value: bytes, before: bytes = b"") -> bytes:
    name = f"{type_name} {key}".encode()
    return _message(kind, before + bytes([len(name)]) + name + value)


def _string(key: str, text: str) -> bytes:
    return _keyed("I", f"char[{len(text)}]", key, text.encode())


def _text(us: int, level: int, text: str, tag: int | None) -> bytes:
    head = struct.pack("<B", ord("0") + level)
    if tag is None:
        return _message("L", head + struct.pack("<Q", us) + text.encode())
    return _message("C", head + struct.pack("<HQ", tag, us) + text.encode())


def _definitions(
    topics: list[Topic],
    start_us: int,
    uid: str,
    parameters: list[tuple[str, str, float]],
    has_events: bool,
) -> bytes:
    parts = [b"ULog\x01\x12\x35\x01" + struct.pack("<Q", start_us)]
    # Compatible flag 0: there are default parameters.
    parts.append(_message("B", bytes([1]) + bytes(39)))
    formats = {name: text for topic in topics for name, text in topic.formats()}
    parts += [_message("F", f"{name}:{text}".encode()) for name, text in formats.items()]
    if has_events:
        parts.append(_message("F", ulog_events.FORMAT.encode()))
    parts += [
        _string("sys_name", "PX4"),
        _string("ver_hw", "PX4_FMU_V6C"),
        _string("ver_sw", "1dacb4cdef2d7145754fc788fa8dc482eed74b40"),
        _keyed("I", "uint32_t", "ver_sw_release", struct.pack("<I", 0x010E03FF)),
        _string("sys_uuid", uid),
        _keyed("I", "int32_t", "time_ref_utc", struct.pack("<i", 0)),
    ]
    for number, line in enumerate(("HW arch: PX4_FMU_V6C", "\nBoot OK", "second boot")):
        value, continued = line.encode(), bytes([number == 1])
        parts.append(_keyed("M", f"char[{len(value)}]", "boot_console_output", value, continued))
    if has_events:
        parts += _event_definitions()
    for name, type_name, setting in parameters:
        is_whole = type_name == "int32_t"
        raw = struct.pack("<i", int(setting)) if is_whole else struct.pack("<f", setting)
        parts.append(_keyed("P", type_name, name, raw))
    parts.append(_keyed("Q", "float", "MPC_XY_VEL_MAX", struct.pack("<f", 12.0), b"\x01"))
    parts.append(_keyed("Q", "float", "RTL_RETURN_ALT", struct.pack("<f", 60.0), b"\x02"))
    return b"".join(parts)


def _event_definitions() -> list[bytes]:
    defined = ulog_events.definitions()
    parts = [_string("metadata_events_sha256", hashlib.sha256(defined).hexdigest())]
    for at in range(0, len(defined), _EVENT_DEFINITIONS_PIECE):
        piece = defined[at : at + _EVENT_DEFINITIONS_PIECE]
        kind = f"uint8_t[{len(piece)}]"
        parts.append(_keyed("M", kind, "metadata_events", piece, bytes([at > 0])))
    return parts


def _parameters(chance: random.Random) -> list[tuple[str, str, float]]:
    rows = [
        ("SYS_AUTOSTART", "int32_t", 4001.0),
        ("MPC_XY_VEL_MAX", "float", 10.0),
        ("RTL_RETURN_ALT", "float", 30.0),
        ("BAT1_N_CELLS", "int32_t", 6.0),
    ]
    for number in range(60):
        if number % 2:
            rows.append((f"CAL_ACC{number}_ID", "int32_t", float(chance.randrange(-9999, 9999))))
        else:
            rows.append((f"MC_GAIN_{number}", "float", chance.randrange(1024) / 1024))
    return rows


def _changed(start_us: int, duration_s: float) -> list[tuple[int, str, float]]:
    at = [int(start_us + duration_s * part * 1e6) for part in (0.3, 0.6)]
    return [(at[0], "MPC_XY_VEL_MAX", 8.5), (at[1], "RTL_RETURN_ALT", 45.0)]


def _dropouts(chance: random.Random, start_us: int, duration_s: float) -> list[tuple[int, int]]:
    return [(int(start_us + duration_s * 0.5e6), chance.randrange(5, 200))]


def _messages(
    chance: random.Random, start_us: int, duration_s: float
) -> tuple[tuple[tuple[int, int, str], ...], tuple[int | None, ...]]:
    story: list[tuple[float, int, str, int | None]] = [
        (0.01, 6, "[logger] Start file log", None),
        (0.03, 6, "[commander] Armed by RC", None),
        (0.05, 6, "[commander] Takeoff detected", None),
        (0.20, 5, "[navigator] Mission item 1 reached", 3),
        (0.35, 4, "[health] High vibration: 42 m/s²", None),
        (0.45, 7, "[camera] trigger", 7),
        (0.55, 3, "[gps] jamming indicator above limit", None),
        (0.70, 2, "[battery] Low battery, return advised", None),
        (0.95, 6, "[commander] Landing detected", None),
    ]
    for number in range(int(duration_s // 10)):
        part = (number + chance.random()) * 10 / max(duration_s, 10)
        story.append((min(part, 0.99), 6, f"[mission] photo {number}", None))
    story.sort(key=lambda entry: entry[0])
    at = [(int(start_us + part * duration_s * 1e6), level, text) for part, level, text, _ in story]
    return tuple(at), tuple(tag for *_, tag in story)


def _times(
    topic: Topic, instance: int, start_us: int, low_s: float, high_s: float
) -> NDArray[np.int64]:
    """Boot times in [low, high) of one stream; slow ones were published once before the start."""
    period_us = round(1e6 / topic.rate_hz)
    phase_us = (hash_of(topic.name) + instance * 137) % period_us
    low_us, high_us = round(low_s * 1e6), round(high_s * 1e6)
    first = -(-(low_us - phase_us) // period_us)
    last = -(-(high_us - phase_us) // period_us)
    times = np.arange(first, last, dtype=np.int64) * period_us + phase_us + start_us
    if low_s == 0 and topic.rate_hz <= 2:
        times = np.concatenate(([start_us - _BEFORE_US], times))
    return times


def hash_of(text: str) -> int:
    """Small, and the same in every process."""
    return sum(ord(letter) * (place + 7) ** 2 for place, letter in enumerate(text))


def _data(topic: Topic, msg_id: int, values: NDArray[np.void]) -> NDArray[np.void]:
    """Put header and msg_id before each row."""
    size = topic.logged_bytes
    head = np.frombuffer(struct.pack("<HBH", size + 2, ord("D"), msg_id), np.uint8)
    rows = np.empty((len(values), 5 + size), np.uint8)
    rows[:, :5] = head
    rows[:, 5:] = values.view(np.uint8).reshape(len(values), -1)[:, :size]
    return rows.view(f"V{5 + size}")[:, 0]


def _interleaved(
    packed: list[tuple[NDArray[np.int64], NDArray[np.void]]], extras: list[tuple[int, bytes]]
) -> bytes:
    """All messages of one slice, by time, with a sync message now and then."""
    extras = list(extras)
    if packed:
        low, high = (min(t[0] for t, _ in packed), max(t[-1] for t, _ in packed))
        extras += [(int(us), _message("S", _SYNC)) for us in range(low, high, 500_000)]
    times = np.concatenate([*(t for t, _ in packed), [us for us, _ in extras]])
    sizes = np.concatenate(
        [*(np.full(len(t), rows.itemsize) for t, rows in packed), [len(raw) for _, raw in extras]]
    ).astype(np.int64)
    order = np.argsort(times, kind="stable")
    offsets = np.empty(len(times), np.int64)
    ends = np.cumsum(sizes[order])
    offsets[order] = ends - sizes[order]
    out = bytearray(int(ends[-1]) if len(ends) else 0)
    done = 0
    for times_here, rows in packed:
        view: NDArray[np.void] = np.ndarray(
            (len(out) - rows.itemsize + 1,), rows.dtype, buffer=out, strides=(1,)
        )
        view[offsets[done : done + len(times_here)]] = rows
        done += len(times_here)
    for offset, (_, raw) in zip(offsets[done:].tolist(), extras, strict=True):
        out[offset : offset + len(raw)] = raw
    return bytes(out)


def _bytes_per_s(has_gps: bool) -> float:
    topics = [topic for topic in TOPICS if has_gps or topic.name not in NEED_GPS]
    return 22 + sum(t.rate_hz * t.instances * (5 + t.logged_bytes) for t in topics)
