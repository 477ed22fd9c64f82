"""What MAVLink's messages look like: ids, lengths, CRC_EXTRA, fields, units, names of enums.

Read from `mavlink_messages.json`, which `logbox_pipeline_tests/formats/make_mavlink_messages.py`
makes from pymavlink's dialects (https://mavlink.io/en/messages/). Read once, when the first log
needs it. No frames here.
"""

import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RESOURCE = Path(__file__).with_name("mavlink_messages.json")

NUMPY_TYPES = {
    "char": "S1",
    "uint8_t": "<u1",
    "int8_t": "<i1",
    "uint16_t": "<u2",
    "int16_t": "<i2",
    "uint32_t": "<u4",
    "int32_t": "<i4",
    "uint64_t": "<u8",
    "int64_t": "<i8",
    "float": "<f4",
    "double": "<f8",
}


@dataclass(frozen=True)
class Field:
    """A field at `offset` bytes of the zero-filled payload. `entries` is 0 for a scalar."""

    name: str
    type: str
    entries: int
    offset: int
    unit: str | None
    enum: str | None

    @property
    def is_text(self) -> bool:
        return self.type == "char"


@dataclass(frozen=True)
class Message:
    """base_length: payload bytes without extensions, `length` with them."""

    id: int
    name: str
    dialect: str
    crc_extra: int
    base_length: int
    length: int
    raw_fields: tuple[tuple[str | int, ...], ...]

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """In the order of the dialect, as pymavlink lists them."""
        return tuple(_field(raw) for raw in self.raw_fields)

    def field(self, name: str) -> Field | None:
        return next((field for field in self.fields if field.name == name), None)

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """What older dialects thought the payload's length is: it grows extension by extension."""
        ends = {
            field.offset + max(field.entries, 1) * np.dtype(NUMPY_TYPES[field.type]).itemsize
            for field in self.fields
        }
        return tuple(sorted({end for end in ends if end > self.base_length} | {self.base_length}))


@dataclass(frozen=True)
class Definitions:
    """All messages; arrays are indexed by message id, ids beyond them are unknown.

    place: index into `messages`, -1 for an unknown id.
    """

    messages: tuple[Message, ...]
    enums: dict[str, dict[int, str]]
    place: NDArray[np.int16]
    crc_extra: NDArray[np.uint8]
    base_length: NDArray[np.int16]
    length: NDArray[np.int16]

    @cached_property
    def by_name(self) -> dict[str, Message]:
        return {message.name: message for message in self.messages}

    def known(self, message_id: int) -> Message | None:
        place = int(self.place[message_id]) if message_id < len(self.place) else -1
        return self.messages[place] if place >= 0 else None

    def enum_name(self, enum: str, value: int) -> str:
        """`MAV_STATE_CRITICAL`; the number itself where the dialect has no name for it."""
        return self.enums[enum].get(value, str(value))


@cache
def definitions() -> Definitions:
    """Some 5 ms, once."""
    read = json.loads(RESOURCE.read_text(encoding="utf-8"))
    messages = tuple(
        Message(int(number), name, dialect, crc_extra, base_length, length, tuple(map(tuple, raw)))
        for number, (name, dialect, crc_extra, base_length, length, raw) in read["messages"].items()
    )
    size = max(message.id for message in messages) + 1
    place = np.full(size, -1, np.int16)
    crc_extra = np.zeros(size, np.uint8)
    base_length = np.zeros(size, np.int16)
    length = np.zeros(size, np.int16)
    for index, message in enumerate(messages):
        place[message.id] = index
        crc_extra[message.id] = message.crc_extra
        base_length[message.id] = message.base_length
        length[message.id] = message.length
    enums = {
        enum: {int(value): name for value, name in names.items()}
        for enum, names in read["enums"].items()
    }
    return Definitions(messages, enums, place, crc_extra, base_length, length)


def _field(raw: tuple[str | int, ...]) -> Field:
    """Trailing zeros and empty texts are left out of the file."""
    name, kind, entries, offset, unit, enum = (*raw, *(0, 0, "", "")[len(raw) - 2 :])
    return Field(
        str(name),
        str(kind),
        int(entries),
        int(offset),
        str(unit) or None,
        str(enum) or None,
    )
