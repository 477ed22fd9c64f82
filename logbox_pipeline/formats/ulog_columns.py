"""ULog messages to Arrow columns: packed bytes to a record batch, texts and parameters to rows.

Every function here gets positions that `ulog_scan` found; nothing here decides what is damaged.
"""

import struct
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logbox_pipeline.formats.stream import EVENT_SCHEMA, PARAMETER_SCHEMA, Events, Parameters
from logbox_pipeline.formats.text import c_string, decode_text
from logbox_pipeline.formats.times import EARLIEST_LOG_US, epoch_us
from logbox_pipeline.formats.ulog_definitions import Layout, Slot, parse_keyed

LARGEST_CLOCK_US = 2**53
"""A boot clock beyond this (the year 2255, for clocks that count from 1970) is damage."""

_TS = pa.timestamp("us", tz="UTC")


class Clock:
    """Boot time to UTC. `offset_us` is UTC minus boot time, None where nobody knows."""

    def __init__(self, offset_us: int | None, received_at: datetime) -> None:
        self.offset_us = offset_us
        self.latest_us = epoch_us(received_at + timedelta(days=1))

    def utc_us(self, t_boot_us: int | None) -> int | None:
        if self.offset_us is None or t_boot_us is None:
            return None
        utc_us = t_boot_us + self.offset_us
        return utc_us if EARLIEST_LOG_US <= utc_us <= self.latest_us else None

    def utc_column(self, t_boot_us: NDArray[np.int64], missing: NDArray[np.bool_]) -> pa.Array:
        if self.offset_us is None:
            return pa.nulls(len(t_boot_us), _TS)
        sane = np.clip(t_boot_us, -LARGEST_CLOCK_US, LARGEST_CLOCK_US)
        utc_us = sane + self.offset_us
        wrong = missing | (utc_us < EARLIEST_LOG_US) | (utc_us > self.latest_us)
        return pa.array(utc_us.view("datetime64[us]"), type=_TS, mask=wrong)


def gather(source: NDArray[np.uint8], positions: NDArray[np.int64], size: int) -> NDArray[np.void]:
    """Copy the `size` bytes behind the header and msg_id of each message into one packed array."""
    packed: NDArray[np.void] = np.ndarray(
        (len(source) - size + 1,), dtype=f"V{size}", buffer=source.data, strides=(1,)
    )
    return packed[positions + 5]


def slot_values(rows: NDArray[np.void], slot: Slot) -> NDArray[np.generic]:
    """One column of packed rows, contiguous; two-dimensional for a list."""
    shape: tuple[int, ...] = (len(rows),)
    strides: tuple[int, ...] = (rows.itemsize,)
    if slot.entries > 1 and not slot.is_text:
        shape += (slot.entries,)
        strides += (np.dtype(slot.numpy_type).itemsize,)
    numpy_type = "<u1" if slot.numpy_type == "?" else slot.numpy_type
    view: NDArray[np.generic] = np.ndarray(
        shape, dtype=numpy_type, buffer=rows.data, offset=slot.offset, strides=strides
    )
    return np.ascontiguousarray(view)


def clock_values(
    rows: NDArray[np.void], layout: Layout
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The boot clock of packed rows, and where there is none."""
    if layout.timestamp is None:
        return np.zeros(len(rows), np.int64), np.ones(len(rows), np.bool_)
    raw = slot_values(rows, layout.timestamp)
    if layout.timestamp.numpy_type == "<u8":
        signed = raw.view(np.int64)
        return signed, signed < 0
    return raw.astype(np.int64), np.zeros(len(rows), np.bool_)


def record_batch(rows: NDArray[np.void], layout: Layout, clock: Clock) -> pa.RecordBatch:
    t_boot_us, missing = clock_values(rows, layout)
    arrays = [pa.array(t_boot_us, mask=missing), clock.utc_column(t_boot_us, missing)]
    arrays += [_column(rows, slot) for slot in layout.slots]
    names = ["t_boot_us", "ts", *(slot.name for slot in layout.slots)]
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _column(rows: NDArray[np.void], slot: Slot) -> pa.Array:
    values = slot_values(rows, slot)
    if slot.is_text:
        texts = {raw: c_string(raw) for raw in set(values.tolist())}
        return pa.array([texts[raw] for raw in values.tolist()], pa.string())
    if slot.numpy_type == "?":
        values = values != 0
    if slot.entries == 1:
        return pa.array(values)
    offsets = np.arange(0, (len(rows) + 1) * slot.entries, slot.entries, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1)))


Special = tuple[int, int | None]
"""Position of a text, dropout or parameter message, and the boot clock when it was written."""


def events(
    source: memoryview, specials: Iterator[Special], clock: Clock, batch_rows: int
) -> Iterator[Events]:
    """Logged texts (`L`, `C`) and dropouts (`O`)."""
    rows = (
        _event(source, pos, at_us, clock) for pos, at_us in specials if source[pos + 2] in b"LCO"
    )
    while batch := list(islice(rows, batch_rows)):
        columns = [
            pa.array(list(values), field.type)
            for values, field in zip(zip(*batch, strict=True), EVENT_SCHEMA, strict=True)
        ]
        yield Events(pa.RecordBatch.from_arrays(columns, schema=EVENT_SCHEMA))


def _event(source: memoryview, pos: int, at_us: int | None, clock: Clock) -> tuple[object, ...]:
    size, kind = struct.unpack_from("<HB", source, pos)
    payload = bytes(source[pos + 3 : pos + 3 + size])
    if kind == ord("O"):
        (duration_ms,) = struct.unpack("<H", payload)
        message = f"logger dropout of {duration_ms} ms"
        attributes = f'{{"duration_ms":{duration_ms}}}'
        return clock.utc_us(at_us), at_us, 4, "logbox.dropout", message, attributes
    level: int | None = payload[0] - ord("0")
    notes = []
    if kind == ord("C"):
        tag, t_boot_us = struct.unpack_from("<HQ", payload, 1)
        source_name, text = f"tag_{tag}", payload[11:]
        notes.append(f'"tag":{tag}')
    else:
        (t_boot_us,) = struct.unpack_from("<Q", payload, 1)
        source_name, text = "ulog", payload[9:]
    if level not in range(8):
        notes.append(f'"level":{payload[0]}')
        level = None
    if t_boot_us >= 2**63:
        notes.append(f'"t_boot_us":{t_boot_us}')
        t_boot_us = None
    message = decode_text(text.rstrip(b"\0"))
    attributes_or_none = "{" + ",".join(notes) + "}" if notes else None
    return clock.utc_us(t_boot_us), t_boot_us, level, source_name, message, attributes_or_none


def parameters(
    source: memoryview, specials: Iterator[Special], data_from: int, batch_rows: int
) -> Iterator[Parameters]:
    """Parameters (`P`): initial before `data_from`, changed behind it; and defaults (`Q`)."""
    rows = (row for pos, at_us in specials for row in _parameter(source, pos, at_us, data_from))
    while batch := list(islice(rows, batch_rows)):
        columns = [
            pa.array(list(values), field.type)
            for values, field in zip(zip(*batch, strict=True), PARAMETER_SCHEMA, strict=True)
        ]
        yield Parameters(pa.RecordBatch.from_arrays(columns, schema=PARAMETER_SCHEMA))


def _parameter(
    source: memoryview, pos: int, at_us: int | None, data_from: int
) -> Iterator[tuple[object, ...]]:
    size, kind = struct.unpack_from("<HB", source, pos)
    if kind not in b"PQ":
        return
    is_default = kind == ord("Q")
    keyed = parse_keyed(bytes(source[pos + 3 + is_default : pos + 3 + size]))
    if keyed is None:
        return
    number = float(keyed.value) if isinstance(keyed.value, int | float) else None
    value_type = keyed.type_name.removesuffix("_t")
    if not is_default:
        changed = pos > data_from
        kind_name = "changed" if changed else "initial"
        yield keyed.key, kind_name, at_us if changed else None, number, value_type
        return
    for bit, kind_name in ((1, "default_system"), (2, "default_airframe")):
        if source[pos + 3] & bit:
            yield keyed.key, kind_name, None, number, value_type
