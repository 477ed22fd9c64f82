"""DataFlash messages to Arrow columns: packed bytes to a record batch. No clock, no walking here.

Values are those of pymavlink's DFReader: scaled integers divided, not multiplied, because 1e7 is
exact and 1e-7 is not; other types keep their own width, half floats become floats.
"""

import struct

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logbox_pipeline.formats.dataflash_definitions import BYTES, Layout, Slot
from logbox_pipeline.formats.dataflash_events import Fields

_STRUCT_CODES = {
    "a": "<32h", "b": "<b", "B": "<B", "h": "<h", "H": "<H", "i": "<i", "I": "<I", "f": "<f",
    "d": "<d", "g": "<e", "c": "<h", "C": "<H", "e": "<i", "E": "<I", "L": "<i", "M": "<b",
    "q": "<q", "Q": "<Q",
}  # fmt: skip


def gather(source: NDArray[np.uint8], positions: NDArray[np.int64], size: int) -> NDArray[np.void]:
    """Copy the `size` bytes of each message, with its header, into one packed array."""
    packed: NDArray[np.void] = np.ndarray(
        (len(source) - size + 1,), dtype=f"V{size}", buffer=source.data, strides=(1,)
    )
    return packed[positions]


def slot_values(rows: NDArray[np.void], slot: Slot) -> NDArray[np.generic]:
    """One field of packed rows as logged, contiguous; two-dimensional for a list."""
    shape: tuple[int, ...] = (len(rows),)
    strides: tuple[int, ...] = (rows.itemsize,)
    if slot.entries > 1 or slot.letter == BYTES:
        shape += (slot.entries,)
        strides += (np.dtype(slot.numpy_type).itemsize,)
    view: NDArray[np.generic] = np.ndarray(
        shape, dtype=slot.numpy_type, buffer=rows.data, offset=slot.offset, strides=strides
    )
    return np.ascontiguousarray(view)


def record_batch(
    rows: NDArray[np.void], layout: Layout, t_boot_us: pa.Array, ts: pa.Array
) -> pa.RecordBatch:
    arrays = [t_boot_us, ts, *(_column(rows, slot) for slot in layout.slots)]
    names = ["t_boot_us", "ts", *(slot.name for slot in layout.slots)]
    return pa.RecordBatch.from_arrays(arrays, names=names)


def arrow_type(slot: Slot) -> pa.DataType:
    if slot.is_text:
        return pa.string()
    if slot.divisor is not None:
        return pa.float64()
    numpy_type = "<f4" if slot.numpy_type == "<f2" else slot.numpy_type
    kind = pa.from_numpy_dtype(np.dtype(numpy_type))
    return pa.list_(kind) if slot.entries > 1 or slot.letter == BYTES else kind


def _column(rows: NDArray[np.void], slot: Slot) -> pa.Array:
    values = slot_values(rows, slot)
    if slot.is_text:
        return text_column(values)
    if slot.divisor is not None:
        return pa.array(values.astype(np.float64) / slot.divisor)
    if values.ndim == 2:
        offsets = np.arange(0, values.size + 1, slot.entries, dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1)))
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    return pa.array(values)


def text_column(values: NDArray[np.generic]) -> pa.Array:
    """Fixed char arrays to text up to the first NUL."""
    raws = values.tolist()
    texts = {raw: terminated(raw) for raw in set(raws)}
    if len(texts) * 4 < len(raws):
        codes = {raw: code for code, raw in enumerate(texts)}
        indices = pa.array([codes[raw] for raw in raws], pa.int32())
        return pa.array(texts.values(), pa.string()).take(indices)
    return pa.array([texts[raw] for raw in raws], pa.string())


def terminated(raw: bytes) -> str:
    """Text before the first NUL; western letters where it is not UTF-8, as pymavlink has it."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text.split("\0", 1)[0]


def plain_values(rows: NDArray[np.void], slot: Slot) -> list[str | int | float | None]:
    """One scalar field of packed rows as Python values; bytes and lists are None."""
    if slot.entries > 1 or slot.letter == BYTES:
        return [None] * len(rows)
    values = slot_values(rows, slot)
    if slot.is_text:
        return [terminated(raw) for raw in values.tolist()]
    found = values.astype(np.float64) / slot.divisor if slot.divisor is not None else values
    plain: list[str | int | float | None] = found.tolist()
    return plain


def read_fields(layout: Layout, message: bytes) -> Fields:
    """One binary message's fields by name, its clock left out."""
    fields: Fields = {}
    for slot in layout.slots:
        if slot.letter == BYTES:
            fields[slot.name] = message[slot.offset : slot.offset + slot.entries]
        elif slot.is_text:
            fields[slot.name] = terminated(
                message[slot.offset : slot.offset + int(slot.numpy_type[1:])]
            )
        else:
            values = struct.unpack_from(_STRUCT_CODES[slot.letter], message, slot.offset)
            value = values[0]
            if slot.entries > 1:
                fields[slot.name] = list(values)
            else:
                fields[slot.name] = value if slot.divisor is None else value / slot.divisor
    return fields
