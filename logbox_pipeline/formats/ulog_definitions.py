"""What a ULog's definitions say: formats, the layout of a data message, keyed values.

Pure text and sizes; nothing here walks a file. The format: https://docs.px4.io/main/en/dev_log/ulog_file_format
"""

import re
import struct
from dataclasses import dataclass

from logbox_pipeline.formats.stream import Column
from logbox_pipeline.formats.text import decode_text

FLATTENED_UP_TO = 16
"""Arrays up to this many entries become one column per entry, longer ones one list column."""

BASIC_TYPES = {
    "int8_t": ("<i1", 1),
    "uint8_t": ("<u1", 1),
    "int16_t": ("<i2", 2),
    "uint16_t": ("<u2", 2),
    "int32_t": ("<i4", 4),
    "uint32_t": ("<u4", 4),
    "int64_t": ("<i8", 8),
    "uint64_t": ("<u8", 8),
    "float": ("<f4", 4),
    "double": ("<f8", 8),
    "bool": ("?", 1),
    "char": ("S1", 1),
}
"""ULog type -> numpy type (little endian) and size in bytes."""

_SCALARS = {
    "int8_t": "<b",
    "uint8_t": "<B",
    "int16_t": "<h",
    "uint16_t": "<H",
    "int32_t": "<i",
    "uint32_t": "<I",
    "int64_t": "<q",
    "uint64_t": "<Q",
    "float": "<f",
    "double": "<d",
    "bool": "<?",
}
_NAME = re.compile(r"[A-Za-z0-9_./-]+")
_FIELD = re.compile(r"([A-Za-z_][A-Za-z0-9_./-]*)(?:\[(\d{1,5})\])? ([^\s;\0]+)")
_KEY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\[(\d{1,5})\])? ([^\0-\x20]+)")
_LARGEST_DATA = 65_533
_DEEPEST = 32


@dataclass(frozen=True)
class Field:
    """One field of a format as written; `entries` is 0 for a scalar."""

    type_name: str
    entries: int
    name: str


@dataclass(frozen=True)
class Slot:
    """One column inside a data message: where it starts and how to read it.

    `entries` is 1 for a scalar, more for a list column or the bytes of a char array.
    """

    name: str
    offset: int
    numpy_type: str
    entries: int = 1
    is_text: bool = False


@dataclass(frozen=True)
class Layout:
    """A data message after its msg_id. Sizes in bytes; trailing padding may be left out."""

    topic: str
    size_min: int
    size_max: int
    slots: tuple[Slot, ...]
    timestamp: Slot | None
    columns_left_out: int

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(Column(source_name=slot.name) for slot in self.slots)


Formats = dict[str, tuple[Field, ...]]


def parse_format(payload: bytes) -> tuple[str, tuple[Field, ...]] | None:
    """`name:type field;type[n] field;` -> name and fields, or None when it is not that."""
    name, colon, body = payload.rstrip(b"\0").decode("utf-8", "replace").partition(":")
    if not colon or not _NAME.fullmatch(name):
        return None
    fields = []
    for text in body.split(";"):
        if not text.strip():
            continue
        match = _FIELD.fullmatch(text.strip())
        if match is None or (match[2] is not None and int(match[2]) == 0):
            return None
        fields.append(Field(match[1], int(match[2] or 0), match[3]))
    return name, tuple(fields)


def parse_layout(topic: str, formats: Formats, most_columns: int) -> Layout | None:
    """Flatten a topic's format, nested types included; None when it cannot be laid out
    (a type that is missing, refers to itself, or is larger than a message can be)."""
    size_max = _size(topic, formats, {}, 0)
    if size_max is None or not 0 < size_max <= _LARGEST_DATA:
        return None
    fields = formats[topic]
    kept = len(fields)
    while kept and fields[kept - 1].name.startswith("_padding"):
        kept -= 1
    slots: list[Slot] = []
    size_min = _flatten(fields[:kept], formats, "", 0, slots)
    if size_min == 0:
        return None
    timestamp = next((s for s in slots if s.name == "timestamp" and _is_clock(s)), None)
    named = _unique([s for s in slots if s is not timestamp])
    return Layout(
        topic=topic,
        size_min=size_min,
        size_max=size_max,
        slots=tuple(named[:most_columns]),
        timestamp=timestamp,
        columns_left_out=max(0, len(named) - most_columns),
    )


def _is_clock(slot: Slot) -> bool:
    return slot.entries == 1 and slot.numpy_type[1:2] in ("u", "i")


def _size(type_name: str, formats: Formats, known: dict[str, int | None], depth: int) -> int | None:
    if type_name in BASIC_TYPES:
        return BASIC_TYPES[type_name][1]
    if type_name in known:
        return known[type_name]
    if type_name not in formats or depth > _DEEPEST:
        return None
    known[type_name] = None  # a type inside itself has no size
    total = 0
    for field in formats[type_name]:
        size = _size(field.type_name, formats, known, depth + 1)
        # A nested type without bytes could be repeated without end.
        if not size:
            return None
        total += size * (field.entries or 1)
        if total > _LARGEST_DATA:
            return None
    known[type_name] = total
    return total


def _flatten(
    fields: tuple[Field, ...], formats: Formats, prefix: str, offset: int, slots: list[Slot]
) -> int:
    """Append the slots of `fields`; return the offset behind them."""
    for field in fields:
        name = prefix + field.name
        hidden = field.name.startswith("_padding")
        if field.type_name not in BASIC_TYPES:
            for entry in range(field.entries or 1):
                inner = f"{name}[{entry}]." if field.entries else f"{name}."
                offset = _flatten(formats[field.type_name], formats, inner, offset, slots)
            continue
        numpy_type, size = BASIC_TYPES[field.type_name]
        entries = field.entries or 1
        if hidden:
            pass
        elif field.type_name == "char":
            slots.append(Slot(name, offset, f"S{entries}", entries, is_text=True))
        elif field.entries == 0:
            slots.append(Slot(name, offset, numpy_type))
        elif entries <= FLATTENED_UP_TO:
            for entry in range(entries):
                slots.append(Slot(f"{name}[{entry}]", offset + entry * size, numpy_type))
        else:
            slots.append(Slot(name, offset, numpy_type, entries))
        offset += size * entries
    return offset


def _unique(slots: list[Slot]) -> list[Slot]:
    """Give repeated names, and names that Logbox's own columns have, a `#2`, `#3`..."""
    seen = {"t_boot_us": 1, "ts": 1}
    result = []
    for slot in slots:
        count = seen[slot.name] = seen.get(slot.name, 0) + 1
        if count > 1:
            name = f"{slot.name}#{count}"
            slot = Slot(name, slot.offset, slot.numpy_type, slot.entries, slot.is_text)
        result.append(slot)
    return result


Value = str | int | float | bytes


@dataclass(frozen=True)
class Keyed:
    """The `type key` and value of an information or parameter message."""

    type_name: str
    key: str
    value: Value


def parse_keyed(payload: bytes) -> Keyed | None:
    """`<length><type key><value>` -> Keyed, or None when it is not that.

    A char array is text, any other array stays bytes.
    """
    if not payload or len(payload) < 1 + payload[0]:
        return None
    match = _KEY.fullmatch(payload[1 : 1 + payload[0]].decode("utf-8", "replace"))
    if match is None:
        return None
    type_name, key, raw = match[1], match[3], payload[1 + payload[0] :]
    if type_name == "char":
        return Keyed(f"char[{len(raw)}]", key, decode_text(raw.rstrip(b"\0")))
    if match[2] is not None:
        return Keyed(f"{type_name}[{match[2]}]", key, raw)
    if type_name not in _SCALARS:
        return Keyed(type_name, key, raw)
    code = _SCALARS[type_name]
    if len(raw) != struct.calcsize(code):
        return None
    return Keyed(type_name, key, struct.unpack(code, raw)[0])


def release_name(number: int) -> str:
    """`ver_sw_release` (major, minor, patch, type; one byte each) -> `v1.14.0-rc1`."""
    major, minor, patch, kind = (number >> shift & 0xFF for shift in (24, 16, 8, 0))
    if kind == 255:
        suffix = ""
    elif kind >= 192:
        suffix = f"-rc{kind - 192}"
    elif kind >= 128:
        suffix = f"-beta{kind - 128}"
    elif kind >= 64:
        suffix = f"-alpha{kind - 64}"
    else:
        suffix = "-dev"
    return f"v{major}.{minor}.{patch}{suffix}"
