"""ULog messages to Arrow columns: packed bytes to a record batch, texts and parameters to rows.

Every function here gets positions that `ulog_scan` found; nothing here decides what is damaged.
"""

import json
import struct
from collections.abc import Iterator
from heapq import merge
from itertools import islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logbox_pipeline.formats.px4_events import Definitions
from logbox_pipeline.formats.stream import EVENT_SCHEMA, PARAMETER_SCHEMA, Events, Parameters
from logbox_pipeline.formats.text import c_string, clean_text, decode_text
from logbox_pipeline.formats.ulog_clock import Clock
from logbox_pipeline.formats.ulog_definitions import Layout, Slot, parse_keyed


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


Special = tuple[int, int | None, Clock]
"""Position of a text, dropout or parameter message, and the boot clock when it was written."""

Event = tuple[object, ...]
"""The columns of EVENT_SCHEMA."""


def events(
    source: memoryview,
    specials: Iterator[Special],
    px4_events: Iterator[tuple[int, Event]],
    batch_rows: int,
) -> Iterator[Events]:
    """Logged texts (`L`, `C`), dropouts (`O`) and what `px4_event_rows` gave, as they stand."""
    texts = (
        (pos, _event(source, pos, at_us, clock))
        for pos, at_us, clock in specials
        if source[pos + 2] in b"LCO"
    )
    rows = (row for _, row in merge(texts, px4_events, key=lambda found: found[0]))
    while batch := list(islice(rows, batch_rows)):
        columns = [
            pa.array(list(values), field.type)
            for values, field in zip(zip(*batch, strict=True), EVENT_SCHEMA, strict=True)
        ]
        yield Events(pa.RecordBatch.from_arrays(columns, schema=EVENT_SCHEMA))


def px4_event_rows(
    rows: NDArray[np.void],
    positions: NDArray[np.int64],
    layout: Layout,
    definitions: Definitions | None,
    clock: Clock,
) -> Iterator[tuple[int, Event]]:
    """Messages of PX4's `event` topic with their position in the file; nothing when the topic has
    not the fields it should.

    `log_levels` holds the level for the log in its upper four bits, the one for the ground station
    in the lower ones; 8 and more mean that nobody shall be bothered:
    https://github.com/PX4/PX4-Autopilot/blob/main/msg/versioned/Event.msg
    """
    slots = {slot.name: slot for slot in layout.slots}
    if "id" not in slots or "log_levels" not in slots or "arguments" not in slots:
        return
    ids = slot_values(rows, slots["id"])
    levels = slot_values(rows, slots["log_levels"])
    arguments = slot_values(rows, slots["arguments"])
    stamps, missing = clock_values(rows, layout)
    if ids.dtype.kind != "u" or levels.dtype != np.uint8 or arguments.dtype != np.uint8:
        return
    for number, position in enumerate(positions.tolist()):
        event_id = int(ids[number])
        text = definitions.text(event_id, arguments[number].tobytes()) if definitions else None
        level = int(levels[number]) >> 4
        at_us = None if missing[number] else int(stamps[number])
        attributes: dict[str, int | str] = {"id": event_id}
        if text is None:
            attributes["arguments"] = arguments[number].tobytes().hex()
        else:
            attributes |= {"name": f"{text.namespace}::{text.name}", "group": text.group}
        if level > 7:
            attributes["log_level"] = level
        yield (
            position,
            (
                clock.utc_us(at_us),
                at_us,
                level if level <= 7 else None,
                "px4_event",
                clean_text(text.message) if text else f"unknown event {event_id}",
                json.dumps(attributes, ensure_ascii=False),
            ),
        )


def _event(source: memoryview, pos: int, at_us: int | None, clock: Clock) -> Event:
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
    rows = (row for pos, at_us, _ in specials for row in _parameter(source, pos, at_us, data_from))
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
