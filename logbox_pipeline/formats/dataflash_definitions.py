"""What a DataFlash log's definitions say: FMT layouts, FMTU units, the letters of field types.

Pure text and sizes; nothing here walks a file. Letters and header:
https://github.com/ArduPilot/ardupilot/blob/master/libraries/AP_Logger/README.md and LogStructure.h;
values, units and multipliers as pymavlink's DFReader gives them.
"""

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache

from logbox_pipeline.formats.stream import Column
from logbox_pipeline.formats.text import clean_text, decode_text

HEADER = b"\xa3\x95"
HEADER_BYTES = 3
FMT_TYPE = 0x80
FMT_BYTES = 89

BYTES = "raw"
"""The pseudo letter of bytes that stay bytes: FILE's contents, and what no letter explains."""


@dataclass(frozen=True)
class Letter:
    """A field type. `scale` is what the logged integer was divided by before it was logged."""

    numpy_type: str
    size: int
    scale: float | None = None
    is_text: bool = False
    entries: int = 1


LETTERS = {
    "a": Letter("<i2", 64, entries=32),
    "b": Letter("<i1", 1),
    "B": Letter("<u1", 1),
    "h": Letter("<i2", 2),
    "H": Letter("<u2", 2),
    "i": Letter("<i4", 4),
    "I": Letter("<u4", 4),
    "f": Letter("<f4", 4),
    "d": Letter("<f8", 8),
    "g": Letter("<f2", 2),
    "n": Letter("S4", 4, is_text=True),
    "N": Letter("S16", 16, is_text=True),
    "Z": Letter("S64", 64, is_text=True),
    "c": Letter("<i2", 2, 0.01),
    "C": Letter("<u2", 2, 0.01),
    "e": Letter("<i4", 4, 0.01),
    "E": Letter("<u4", 4, 0.01),
    "L": Letter("<i4", 4, 1.0e-7),
    "M": Letter("<i1", 1),
    "q": Letter("<i8", 8),
    "Q": Letter("<u8", 8),
}

_PREFIX_OF_MULTIPLIER = {
    0.0: "",
    1.0: "",
    1e-1: "d",
    1e-2: "c",
    1e-3: "m",
    1e-6: "µ",
    1e-9: "n",
}
_INSTANCE_UNIT = "#"
_INSTANCE_LETTERS = "bBhHM"
_INSTANCE_FIELDS = ("I", "Instance", "Inst", "C")
_TOPICS_OF_INSTANCES = frozenset(
    [
        "GPS",
        "GPA",
        "UBX1",
        "UBX2",
        "BARO",
        "BARD",
        "ARSP",
        "BAT",
        "BCL",
        "MAG",
        "IMU",
        "ACC",
        "GYR",
        "VIBE",
        "ESC",
        "RFND",
        "CAM",
        "TRIG",
        "MNT",
        "NKF0",
        "NKF1",
        "NKF2",
        "NKF3",
        "NKF4",
        "NKF5",
        "NKQ",
        "NKT",
        "XKF0",
        "XKF1",
        "XKF2",
        "XKF3",
        "XKF4",
        "XKF5",
        "XKFD",
        "XKFM",
        "XKFS",
        "XKQ",
        "XKT",
        "XKTV",
        "XKV1",
        "XKV2",
        "XKY0",
        "XKY1",
        "RPM",
    ]
)
_NAME = re.compile(r"[A-Za-z0-9_]{1,4}")
_OWN_NAMES = ("t_boot_us", "ts")
_OTHERS_CLOCK = ("ACC", "GYR")
_FMT_COLUMNS = "Type,Length,Name,Format,Columns"


@dataclass(frozen=True)
class Slot:
    """One field of a message: its letter, and in binary logs where it starts behind the header."""

    name: str
    letter: str
    offset: int
    numpy_type: str
    divisor: float | None = None
    is_text: bool = False
    entries: int = 1


@dataclass(frozen=True)
class Layout:
    """One message type as an FMT defines it.

    size_bytes: the whole message with its header. clock: the field that becomes t_boot_us, and its
    microseconds per unit; it is not in `slots`.
    """

    type_number: int
    topic: str
    size_bytes: int
    slots: tuple[Slot, ...]
    clock: Slot | None
    clock_us: int
    fields: tuple[Slot, ...]
    places: dict[str, int] = field(compare=False)

    def field(self, name: str) -> Slot | None:
        place = self.places.get(name)
        return None if place is None else self.fields[place]


@dataclass(frozen=True)
class Definition:
    """What an FMT message says, as it stands there."""

    type_number: int
    size_bytes: int
    name: str
    letters: str
    columns: str


FMT_DEFINITION = Definition(FMT_TYPE, FMT_BYTES, "FMT", "BBnNZ", _FMT_COLUMNS)


def read_definition(message: bytes) -> Definition | None:
    """A binary FMT message of 89 bytes, or None when it cannot be one."""
    columns = _terminated(message[25:89])
    letters = _terminated(message[9:25])
    definition = Definition(message[3], message[4], _terminated(message[5:9]), letters, columns)
    return definition if is_believable(definition) else None


def is_believable(definition: Definition) -> bool:
    """Could a logger have written this? A garbled one must not redefine what is known."""
    return (
        HEADER_BYTES <= definition.size_bytes <= 255
        and 0 <= definition.type_number <= 255
        and _NAME.fullmatch(definition.name) is not None
        and definition.letters.isprintable()
        and definition.columns.isprintable()
        and (definition.type_number != FMT_TYPE or definition.size_bytes == FMT_BYTES)
    )


def is_exact(definition: Definition) -> bool:
    """Do the letters fill the length?"""
    if any(letter not in LETTERS for letter in definition.letters):
        return False
    return HEADER_BYTES + sum(LETTERS[c].size for c in definition.letters) == definition.size_bytes


@lru_cache(maxsize=8_192)
def lay_out(definition: Definition, most_columns: int) -> Layout:
    """Fields and their places. Bytes that no letter explains become one last field `unread`;
    fields that the length leaves no room for are left out."""
    names = [name.strip() for name in definition.columns.split(",")] if definition.columns else []
    if definition.type_number == FMT_TYPE and len(names) < len(definition.letters):
        names = _FMT_COLUMNS.split(",")
    fields: list[Slot] = []
    offset = HEADER_BYTES
    for number, letter in enumerate(definition.letters):
        kind = LETTERS.get(letter)
        if kind is None or offset + kind.size > definition.size_bytes:
            break
        name = names[number] if number < len(names) and names[number] else f"field_{number + 1}"
        if definition.name == "FILE" and name == "Data" and kind.is_text:
            fields.append(Slot(name, BYTES, offset, "<u1", entries=kind.size))
        else:
            divisor = None if kind.scale is None else 1 / kind.scale
            fields.append(
                Slot(name, letter, offset, kind.numpy_type, divisor, kind.is_text, kind.entries)
            )
        offset += kind.size
    if offset < definition.size_bytes:
        rest = definition.size_bytes - offset
        fields.append(Slot("unread", BYTES, offset, "<u1", entries=rest))
    named = _unique(fields)
    clock, clock_us = _clock(definition.name, named)
    slots = tuple(slot for slot in named if slot is not clock)
    return Layout(
        definition.type_number,
        definition.name,
        definition.size_bytes,
        slots[:most_columns],
        clock,
        clock_us,
        named,
        {slot.name: place for place, slot in enumerate(named)},
    )


def _terminated(raw: bytes) -> str:
    return decode_text(raw.split(b"\0", 1)[0])


def _unique(fields: list[Slot]) -> tuple[Slot, ...]:
    """Give repeated names, and names that Logbox's own columns have, a `#2`, `#3`..."""
    seen = dict.fromkeys(_OWN_NAMES, 1)
    taken = {slot.name for slot in fields}
    result = []
    for slot in fields:
        count = seen.get(slot.name, 0) + 1
        while count > 1 and f"{slot.name}#{count}" in taken:
            count += 1
        seen[slot.name] = count
        result.append(slot if count == 1 else replace(slot, name=f"{slot.name}#{count}"))
    return tuple(result)


def _clock(topic: str, fields: tuple[Slot, ...]) -> tuple[Slot | None, int]:
    """The boot clock. TimeMS counts only as the first field; of ACC and GYR it is another's clock
    (pymavlink, DFReaderClock_usec); in an old GPS message it is the GPS's own, and T is ours."""
    by_name = {slot.name: slot for slot in fields}
    if topic.startswith("GPS") and "Week" in by_name and "TimeMS" in by_name:
        boot_ms = by_name.get("T")
        return (boot_ms, 1000) if boot_ms and boot_ms.letter in "Ii" else (None, 1000)
    first = fields[0] if fields else None
    if first and first.name == "TimeUS" and first.letter in "QqIi":
        return first, 1
    if first and first.name == "TimeMS" and first.letter in "QqIi":
        return (None, 1000) if topic.startswith(_OTHERS_CLOCK) else (first, 1000)
    anywhere = by_name.get("TimeUS")
    return (anywhere, 1) if anywhere and anywhere.letter == "Q" else (None, 1)


@dataclass(frozen=True)
class Meaning:
    """What FMTU says of a layout: one character per field, for its unit and its multiplier."""

    unit_ids: str
    multiplier_ids: str


class Units:
    """UNIT and MULT of a log, and from them the columns of a layout."""

    def __init__(self) -> None:
        self.labels: dict[str, str] = {}
        self.multipliers: dict[str, float] = {}
        self.is_known = False

    def take_unit(self, number: int, label: str) -> None:
        self.labels[chr(number & 0xFF)] = clean_text(label)

    def take_multiplier(self, number: int, multiplier: float) -> None:
        # Logged as a double that was a float before: 7 digits are what it holds.
        self.multipliers[chr(number & 0xFF)] = float(f"{multiplier:.7g}")

    def columns(self, layout: Layout, meaning: Meaning | None) -> tuple[Column, ...]:
        return tuple(self._column(layout, slot, meaning) for slot in layout.slots)

    def instance_slot(self, layout: Layout, meaning: Meaning | None) -> Slot | None:
        """The field that numbers the sensor: unit `#` in FMTU; in logs without, by its name."""
        if meaning is not None:
            index = meaning.unit_ids.find(_INSTANCE_UNIT)
            slot = layout.fields[index] if 0 <= index < len(layout.fields) else None
        elif self.is_known or layout.topic not in _TOPICS_OF_INSTANCES:
            slot = None
        else:
            named = {s.name: s for s in layout.fields[:2]}
            slot = next((named[name] for name in _INSTANCE_FIELDS if name in named), None)
        return slot if slot and slot.letter in _INSTANCE_LETTERS else None

    def _column(self, layout: Layout, slot: Slot, meaning: Meaning | None) -> Column:
        scale = LETTERS[slot.letter].scale if slot.letter in LETTERS else None
        definition = f"FMT {layout.topic} {slot.letter}"
        place = layout.places[slot.name]
        if meaning is None or place >= len(meaning.unit_ids):
            return Column(slot.name, None, scale, definition)
        unit_id = meaning.unit_ids[place]
        unit = self.labels.get(unit_id, "")
        definition += f", FMTU {unit_id}"
        if unit and scale is None and place < len(meaning.multiplier_ids):
            multiplier_id = meaning.multiplier_ids[place]
            definition += multiplier_id
            multiplier = self.multipliers.get(multiplier_id)
            if multiplier is not None:
                prefix = _PREFIX_OF_MULTIPLIER.get(multiplier)
                unit = f"{multiplier:.4g} {unit}" if prefix is None else prefix + unit
        is_unit = unit not in ("", "UNKNOWN")
        return Column(slot.name, unit if is_unit else None, scale, clean_text(definition))
