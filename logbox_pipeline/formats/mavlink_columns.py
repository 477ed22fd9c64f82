"""MAVLink payloads to Arrow columns: raw values, the dialect's names. No frames are found here."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logbox_pipeline.formats.mavlink_crc import gathered
from logbox_pipeline.formats.mavlink_definitions import NUMPY_TYPES, Field, Message
from logbox_pipeline.formats.stream import Column, Rows
from logbox_pipeline.formats.text import c_string
from logbox_pipeline.formats.times import EARLIEST_LOG_US

_TS = pa.timestamp("us", tz="UTC")
_FLATTENED = 16
_BOOT_CLOCKS = {"time_boot_ms": 1000, "time_boot_us": 1, "time_usec": 1, "usec": 1}
"""Fields that hold the sender's boot clock, and microseconds per count. The last two hold either
that or UTC: "the receiving end can infer timestamp format by checking for the magnitude"."""


@dataclass(frozen=True)
class Payloads:
    """Frames of one message from one sender.

    rows: uint8 (n, message.length), filled with zeros where the sender cut them off.
    t_boot_us: 0 where there is none.
    """

    message: Message
    instance: int
    rows: NDArray[np.uint8]
    ts_us: NDArray[np.int64]
    t_boot_us: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


def payload_rows(
    source: NDArray[np.uint8],
    message: Message,
    start: NDArray[np.int64],
    length: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """Payloads of `message`, `length` bytes as sent, filled with zeros or cut: uint8 (n, its
    length). A newer dialect may have sent more than ours knows."""
    size = message.length
    if not len(start) or int(start[-1]) + size > len(source):
        rows = np.zeros((len(start), size), np.uint8)
        for row, at, sent_bytes in zip(rows, start.tolist(), length.tolist(), strict=True):
            sent = source[at : at + min(sent_bytes, size)]
            row[: len(sent)] = sent
        return rows
    rows = gathered(source, start, size)
    cut = np.flatnonzero(length < size)
    if len(cut):
        rows[cut] = np.where(np.arange(size) < length[cut, None], rows[cut], np.uint8(0))
    return rows


def values(rows: NDArray[np.uint8], field: Field) -> NDArray[np.generic]:
    """One field, contiguous; two-dimensional for an array of numbers; text as bytes."""
    numpy_type = NUMPY_TYPES[field.type]
    shape: tuple[int, ...] = (len(rows),)
    strides: tuple[int, ...] = (rows.shape[1],)
    if field.is_text:
        numpy_type = f"S{max(field.entries, 1)}"
    elif field.entries:
        shape += (field.entries,)
        strides += (np.dtype(numpy_type).itemsize,)
    view: NDArray[np.generic] = np.ndarray(
        shape, numpy_type, rows.data, offset=field.offset, strides=strides
    )
    return np.ascontiguousarray(view)


def boot_clock_us(message: Message, rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The sender's boot clock; 0 where there is none. What wraps is not continued."""
    field = boot_clock_field(message)
    if field is None:
        return np.zeros(len(rows), np.int64)
    raw = values(rows, field)
    count = raw.view(np.int64) if raw.dtype.itemsize == 8 else raw.astype(np.int64)
    clock: NDArray[np.int64] = count * _BOOT_CLOCKS[field.name]
    return np.where((clock < 0) | (clock >= EARLIEST_LOG_US), 0, clock)


@cache
def boot_clock_field(message: Message) -> Field | None:
    for field in message.fields:
        if field.name in _BOOT_CLOCKS and field.type in ("uint32_t", "uint64_t"):
            return field
    return None


def record_rows(payloads: Payloads) -> Rows:
    message, instance, count = payloads.message, payloads.instance, len(payloads)
    arrays = [
        pa.array(payloads.t_boot_us, mask=payloads.t_boot_us == 0),
        pa.array(payloads.ts_us.view("datetime64[us]"), type=_TS, mask=payloads.ts_us < 0),
        pa.array(np.full(count, instance >> 8, np.uint8)),
        pa.array(np.full(count, instance & 0xFF, np.uint8)),
    ]
    for field in message.fields:
        arrays += _arrays(payloads.rows, field)
    columns = columns_of(message)
    names = ["t_boot_us", "ts", *(column.source_name for column in columns)]
    batch = pa.RecordBatch.from_arrays(arrays, names=names)
    return Rows(message.name, instance, batch, columns)


@cache
def columns_of(message: Message) -> tuple[Column, ...]:
    definition = f"MAVLink {message.dialect}.xml {message.name}"
    columns = [
        Column("sysid", definition="MAVLink frame header: system id"),
        Column("compid", definition="MAVLink frame header: component id"),
    ]
    for field in message.fields:
        said = f"{definition}.{field.name}" + (f" ({field.enum})" if field.enum else "")
        columns += [Column(name, unit=field.unit, definition=said) for name in _names(field)]
    return tuple(columns)


def _names(field: Field) -> list[str]:
    if field.is_text or not 0 < field.entries <= _FLATTENED:
        return [field.name]
    return [f"{field.name}[{index}]" for index in range(field.entries)]


def _arrays(rows: NDArray[np.uint8], field: Field) -> list[pa.Array]:
    found = values(rows, field)
    if field.is_text:
        texts = {raw: c_string(raw) for raw in set(found.tolist())}
        return [pa.array([texts[raw] for raw in found.tolist()], pa.string())]
    if not field.entries:
        return [pa.array(found)]
    if field.entries <= _FLATTENED:
        return [pa.array(column) for column in np.ascontiguousarray(found.T)]
    offsets = np.arange(0, (len(rows) + 1) * field.entries, field.entries, dtype=np.int32)
    return [pa.ListArray.from_arrays(pa.array(offsets), pa.array(found.reshape(-1)))]
