"""Write real DataFlash logs of a plausible flight, and say exactly what must come out. No parsing.

Binary as ArduPilot writes it, or the same messages as text, as Mission Planner turns them into.
The format: https://github.com/ArduPilot/ardupilot/blob/master/libraries/AP_Logger/README.md.
All follows from the seed.
"""

import random
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from logbox_pipeline.simulator.dataflash_flight import (
    DEFINING,
    FLYING,
    MULTIPLIERS,
    OLD_FLYING,
    SCALES,
    TELLING,
    UNITS,
    Message,
    fill,
)

_SLICE_S = 20
_FIX_AFTER_S = 3.0
_PARAMETERS = 80


@dataclass(frozen=True)
class DataflashLedger:
    """What must come out of a written file.

    rows: by (topic, instance). events: (source, message) in file order. parameters: (name, kind,
    value). `first` and `last` are UTC, None without GPS.
    """

    rows: Mapping[tuple[str, int], int]
    events: tuple[tuple[str, str], ...]
    parameters: tuple[tuple[str, str, float], ...]
    vehicle_uid: str
    firmware: str
    hardware: str
    start_us: int
    last_us: int
    first: datetime | None
    last: datetime | None
    size_bytes: int = field(compare=False, default=0)

    @property
    def rows_total(self) -> int:
        return sum(self.rows.values())


def write_dataflash(
    out: BinaryIO,
    *,
    seed: int,
    duration_s: float = 60.0,
    size_bytes: int | None = None,
    start: datetime = datetime(2026, 11, 24, 9, 0, tzinfo=UTC),
    vehicle_uid: str | None = None,
    has_gps: bool = True,
    is_text: bool = False,
    is_old: bool = False,
) -> DataflashLedger:
    """Write one flight of `duration_s`, or of about `size_bytes`; logging began at `start`.

    is_text: lines instead of binary messages. is_old: as in 2014, in milliseconds, without FMTU.
    """
    chance = random.Random(seed)
    uid = vehicle_uid or f"{chance.getrandbits(96):024x}"
    flying = [m for m in (OLD_FLYING if is_old else FLYING) if has_gps or m.name != "GPS"]
    if size_bytes is not None:
        per_s = sum(m.rate_hz * m.instances * m.size_bytes for m in flying)
        duration_s = max(1.0, (size_bytes - 15_000) / (per_s * (2.4 if is_text else 1.0)))
    start_us = 20_000_000 + chance.randrange(1_000) * 1_000
    encode = _text_message if is_text else _binary_message
    rows: dict[tuple[str, int], int] = {}
    told = [_old(m) for m in TELLING if m.name != "VER"] if is_old else list(TELLING)
    by_name = {m.name: m for m in (*DEFINING, *told, *flying)}
    opening = list(_opening(list(by_name.values()), start_us, is_old))
    parameters = _parameters(chance)
    opening += [("PARM", (start_us, name, value, value)) for name, value in parameters]
    story = _story(start_us, duration_s, uid, is_old)
    size = out.write(
        b"".join(encode(by_name[name], _kept(by_name[name], values)) for name, values in opening)
    )
    for name, _ in opening:
        rows[name, 0] = rows.get((name, 0), 0) + 1
    last_us = start_us
    utc_us = (start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    waiting = sorted(story, key=lambda entry: entry[0])
    for low in np.arange(0.0, duration_s, _SLICE_S):
        high = min(low + _SLICE_S, duration_s)
        parts: list[tuple[NDArray[np.int64], list[bytes]]] = []
        for message in flying:
            for instance in range(message.instances):
                times = _times(message, instance, start_us, float(low), float(high))
                if not len(times):
                    continue
                values = fill(
                    message, instance, times, start_us, utc_us, duration_s, seed, _FIX_AFTER_S
                )
                parts.append((times, _encoded(message, values, is_text)))
                key = (message.name, instance)
                rows[key] = rows.get(key, 0) + len(times)
                last_us = max(last_us, int(times[-1]))
        until = start_us + int(high * 1e6)
        due = [entry for entry in waiting if entry[0] < until or high >= duration_s]
        waiting = waiting[len(due) :]
        for us, name, told_values in due:
            raw = encode(by_name[name], _kept(by_name[name], told_values))
            parts.append((np.array([us]), [raw]))
            rows[name, 0] = rows.get((name, 0), 0) + 1
            last_us = max(last_us, us)
        size += out.write(_interleaved(parts))
    is_timed = has_gps and duration_s > _FIX_AFTER_S + 1
    texts = sorted(story, key=lambda entry: entry[0])
    return DataflashLedger(
        rows=rows,
        events=tuple(said for _, name, values in texts if (said := _said(name, values, is_old))),
        parameters=(
            *(
                row
                for name, value in parameters
                for row in (
                    [(name, "initial", value)]
                    + ([] if is_old else [(name, "default_system", value)])
                )
            ),
            ("WPNAV_SPEED", "changed", 750.0),
        ),
        vehicle_uid=uid,
        firmware=_firmware(is_old),
        hardware="PX4v2" if is_old else "CubeOrange",
        start_us=start_us,
        last_us=last_us,
        first=start if is_timed else None,
        last=start + timedelta(microseconds=last_us - start_us) if is_timed else None,
        size_bytes=size,
    )


def _firmware(is_old: bool) -> str:
    return "ArduCopter V3.2.1 (36b405fb)" if is_old else "ArduCopter V4.5.7 (2a3dc4b7)"


def _old(message: Message) -> Message:
    """The message as it was before there were microseconds; most had no time at all."""
    fields = list(zip(message.fields, message.letters, strict=True))
    kept = [(n, c) for n, c in fields if n not in ("TimeUS", "Default", "Rsn")]
    return Message(
        message.number, message.name, "".join(c for _, c in kept), ",".join(n for n, _ in kept)
    )


def _kept(message: Message, values: tuple[object, ...]) -> tuple[object, ...]:
    """Values are given as today's firmware logs them; older messages lack the first and last."""
    if "TimeUS" in message.fields or message.name in ("FMT", "FILE"):
        return values
    return values[1 : 1 + len(message.fields)]


def _opening(
    messages: list[Message], start_us: int, is_old: bool
) -> Iterable[tuple[str, tuple[object, ...]]]:
    shown = [m for m in messages if not (is_old and m.name in ("UNIT", "FMTU", "MULT"))]
    for m in shown:
        yield "FMT", (m.number, m.size_bytes, m.name, m.letters, m.columns)
    if is_old:
        return
    for letter, label in UNITS.items():
        yield "UNIT", (start_us, ord(letter), label)
    for letter, factor in MULTIPLIERS.items():
        yield "MULT", (start_us, ord(letter), factor)
    for m in shown:
        yield "FMTU", (start_us, m.number, m.units, m.multipliers)


def _parameters(chance: random.Random) -> list[tuple[str, float]]:
    rows = [("SYSID_THISMAV", 1.0), ("WPNAV_SPEED", 500.0), ("BATT_CAPACITY", 5200.0)]
    rows += [(f"SERVO{n}_TRIM", float(chance.randrange(1000, 2000))) for n in range(_PARAMETERS)]
    return rows


def _story(
    start_us: int, duration_s: float, uid: str, is_old: bool
) -> list[tuple[int, str, tuple[object, ...]]]:
    words = " ".join(uid[at : at + 8].upper() for at in (0, 8, 16))
    board = "PX4v2" if is_old else "CubeOrange"
    told: list[tuple[float, str, tuple[object, ...]]] = [
        (0.001, "MSG", (_firmware(is_old),)),
        (0.002, "MSG", ("ChibiOS: 17a50e3a",)),
        (0.003, "MSG", (f"{board} {words}",)),
        (0.004, "MSG", ("Frame: QUAD/X",)),
        (0.01, "MODE", (0, 0, 1)),
        (0.05, "ARM", (1, 65535, 0, 0)),
        (0.051, "EV", (10,)),
        (0.10, "MODE", (3, 3, 2)),
        (0.20, "PARM", ("WPNAV_SPEED", 750.0, 500.0)),
        (0.30, "MSG", ("Mission: 2 WP, größe",)),
        (0.50, "ERR", (16, 2)),
        (0.51, "ERR", (16, 0)),
        (0.70, "ERR", (6, 1)),
        (0.71, "MODE", (6, 6, 4)),
        (0.95, "EV", (11,)),
        (0.951, "ARM", (0, 65535, 0, 13)),
    ]
    if not is_old:
        version = (10, 65535, 4, 5, 7, 255, 0x2A3DC4B7, _firmware(False), 140, 2, 2)
        told.append((0.0005, "VER", version))
    at = [(start_us + int(part * duration_s * 1e6), name, v) for part, name, v in told]
    entries = [(us, name, (us, *values)) for us, name, values in at]
    for number, piece in enumerate((b"# hwdef\0\x01\xff", b"end")):
        us = start_us + int(duration_s * 1e6 * 0.02) + number
        entries.append((us, "FILE", ("hwdef.dat", number * 64, len(piece), piece)))
    return entries


_SAID: dict[tuple[object, ...], str] = {
    ("MODE", 0): "STABILIZE (RC_COMMAND)",
    ("MODE", 3): "AUTO (GCS_COMMAND)",
    ("MODE", 6): "RTL (BATTERY_FAILSAFE)",
    ("EV", 10): "ARMED",
    ("EV", 11): "DISARMED",
    ("ARM", 1): "armed (RUDDER)",
    ("ARM", 0): "disarmed (LANDED)",
    ("ERR", 16, 2): "EKFCHECK: BAD_VARIANCE",
    ("ERR", 16, 0): "EKFCHECK: RESOLVED",
    ("ERR", 6, 1): "FAILSAFE_BATT: OCCURRED",
}
_SOURCES = {"MODE": "logbox.mode", "EV": "logbox.event", "ARM": "logbox.arm", "ERR": "logbox.error"}


def _said(name: str, values: tuple[object, ...], is_old: bool) -> tuple[str, str] | None:
    if name == "MSG":
        return "dataflash", str(values[1])
    if name == "VER":
        return "logbox.version", _firmware(is_old)
    if name not in _SOURCES:
        return None
    message = _SAID[name, *values[1 : 3 if name == "ERR" else 2]]
    return _SOURCES[name], message.partition(" (")[0] if is_old and name == "MODE" else message


def _binary_message(message: Message, values: tuple[object, ...]) -> bytes:
    row = np.zeros(1, message.dtype)
    for name, value in zip(message.fields, values, strict=True):
        row[name] = value.encode() if isinstance(value, str) else value
    return struct.pack("<BBB", 0xA3, 0x95, message.number) + row.tobytes()


def _text_message(message: Message, values: tuple[object, ...]) -> bytes:
    shown = [v.hex() if isinstance(v, bytes) else str(v) for v in values]
    return f"{message.name}, {', '.join(shown)}\r\n".encode()


def _encoded(message: Message, values: NDArray[np.void], is_text: bool) -> list[bytes]:
    if not is_text:
        head = struct.pack("<BBB", 0xA3, 0x95, message.number)
        raw, size = values.tobytes(), values.itemsize
        return [head + raw[at : at + size] for at in range(0, len(raw), size)]
    columns = []
    for name, letter in zip(message.fields, message.letters, strict=True):
        column = values[name]
        if letter in SCALES:
            columns.append([repr(v) for v in (column / SCALES[letter]).tolist()])
        elif letter in "nNZ":
            columns.append([v.decode() for v in column.tolist()])
        elif letter == "a":
            columns.append([" ".join(map(str, v)) for v in column.tolist()])
        else:
            columns.append([repr(v) for v in column.tolist()])
    return [
        f"{message.name}, {', '.join(parts)}\r\n".encode() for parts in zip(*columns, strict=True)
    ]


def _times(
    message: Message, instance: int, start_us: int, low_s: float, high_s: float
) -> NDArray[np.int64]:
    """Boot times in [low, high) of one stream, whole milliseconds."""
    period_us = round(1e3 / message.rate_hz) * 1000
    phase_us = (message.number * 7 + instance * 3) % (period_us // 1000) * 1000
    first = -(-(round(low_s * 1e6) - phase_us) // period_us)
    last = -(-(round(high_s * 1e6) - phase_us) // period_us)
    return np.arange(first, last, dtype=np.int64) * period_us + phase_us + start_us


def _interleaved(parts: list[tuple[NDArray[np.int64], list[bytes]]]) -> bytes:
    times = np.concatenate([times for times, _ in parts])
    raws = [raw for _, raws in parts for raw in raws]
    return b"".join(raws[at] for at in np.argsort(times, kind="stable").tolist())
