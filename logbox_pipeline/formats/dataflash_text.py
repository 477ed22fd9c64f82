"""ArduPilot's text logs: the lines `ATT, 265738465, 0.0, ...` that ground stations make of a `.bin`
and that early boards sent over their console, to the same rows as binary ones.

Two passes: definitions, boot clock, GPS and identity; then rows, window by window. Values are as
pymavlink's DFReader_text gives them: what is logged scaled is scaled in the text already, a mode
(`M`) is text, and `f` keeps the digits that are written.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from logbox_pipeline.formats.dataflash_clock import Clock, Fixes, Offsets, Segments
from logbox_pipeline.formats.dataflash_definitions import (
    BYTES,
    FMT_DEFINITION,
    HEADER_BYTES,
    LETTERS,
    Definition,
    Layout,
    Meaning,
    Slot,
    Units,
    is_believable,
    lay_out,
)
from logbox_pipeline.formats.dataflash_events import (
    EVENT_TOPICS,
    PARAMETER_TOPIC,
    Fields,
    Identity,
    Value,
)
from logbox_pipeline.formats.dataflash_out import Span, Told, about, fix_fields
from logbox_pipeline.formats.stream import Damage, Item, Limits, Rows, Unreadable
from logbox_pipeline.formats.text import clean_text, excerpt

_WINDOW = 4 * 1024 * 1024
_LONGEST_LINE = 64 * 1024
_PENDING_BYTES = 64 * 1024 * 1024
_MOST_PREAMBLE = 100
_MOST_IDENTITY_MESSAGES = 5_000
_FMT_LINE = re.compile(
    rb"(?:\A|[\r\n]|\xef\xbb\xbf)FMT, ?\d{1,3}, ?\d{1,3}, ?[A-Za-z0-9_]{1,4}, ?\w+"
)
_INT_LETTERS = frozenset("bBhHiIqQ")
_FLOAT_LETTERS = frozenset("fdgcCeEL")
_NARROW = {
    "b": pa.int8(), "B": pa.uint8(), "h": pa.int16(), "H": pa.uint16(), "i": pa.int32(),
    "I": pa.uint32(), "q": pa.int64(), "Q": pa.uint64(),
}  # fmt: skip


def is_text(head: bytes) -> bool:
    """Is there a line that defines a message, in what looks like text?"""
    # The word alone settles most heads, in a hundredth of the time.
    is_binary = b"FMT," not in head or b"\xa3\x95\x80" in head[:4096]
    return not is_binary and _FMT_LINE.search(head) is not None


def parse(source: memoryview, limits: Limits) -> Iterator[Item]:
    log = _TextLog(source, limits)
    log.survey()
    is_empty = True
    for item in log.items():
        is_empty = is_empty and isinstance(item, Damage)
        yield item
    if is_empty:
        yield Unreadable("damaged", f"no line could be read in {len(source)} bytes")
        return
    yield about(log.identity, log.clock, log.offsets, log.span)


@dataclass(frozen=True)
class _Line:
    """start, end: bytes [start, end) with its end of line. number: 1-based."""

    start: int
    end: int
    number: int
    text: str


class _Formats:
    """Layouts by name, the newest definition of each first; numbered as they come."""

    def __init__(self, most_columns: int) -> None:
        self.layouts: list[Layout] = []
        self.current: dict[str, int] = {}
        self.first: dict[str, int] = {}
        self.name_of: dict[int, str] = {}
        self._most_columns = most_columns
        self._codes: dict[Definition, int] = {}
        self.take(FMT_DEFINITION)

    def take(self, definition: Definition) -> None:
        code = self._codes.get(definition)
        if code is None:
            code = self._codes[definition] = len(self.layouts)
            self.layouts.append(lay_out(_as_text(definition), self._most_columns))
        self.current[definition.name] = code
        self.first.setdefault(definition.name, code)
        self.name_of[definition.type_number] = definition.name

    def read(self, parts: list[str]) -> Definition | None:
        """The definition that an FMT line gives; fields behind the name, unsplit columns last."""
        if len(parts) < 4:
            return None
        try:
            number, size = int(parts[0]), int(parts[1])
        except ValueError:
            return None
        columns = parts[4] if len(parts) > 4 else ""
        name, letters = parts[2].strip(), parts[3].strip()
        if name == FMT_DEFINITION.name:
            return FMT_DEFINITION
        definition = Definition(number, size, name, letters, columns.replace(", ", ","))
        return definition if is_believable(definition) else None


def _as_text(definition: Definition) -> Definition:
    """In text nothing hangs on the length, and what has an unknown letter is text."""
    letters = "".join(letter if letter in LETTERS else "Z" for letter in definition.letters)
    size_bytes = HEADER_BYTES + sum(LETTERS[letter].size for letter in letters)
    return replace(definition, letters=letters, size_bytes=size_bytes)


class _TextLog:
    def __init__(self, source: memoryview, limits: Limits) -> None:
        self.source = source
        self.limits = limits
        self.identity = Identity()
        self.segments = Segments()
        self.span = Span()
        self.units = Units()
        self.offsets = Offsets((None,), None)
        self.clock = Clock(self.offsets, self.segments, limits.received_at)
        self._formats = _Formats(limits.columns)
        self._meanings: dict[int, Meaning] = {}
        first = _FMT_LINE.search(bytes(source[: 1024 * 1024]))
        self._delimiter = ", " if first is None or b"FMT, " in first[0] else ","
        self._preamble_end = 0 if first is None else first.start()
        self._identity_messages = 0

    def survey(self) -> None:
        """First pass."""
        fixes = Fixes(self.limits.received_at)
        for lines in self._windows():
            index: list[int] = []
            clock_us: list[int] = []
            gps: list[tuple[int, int, int, int, int]] = []
            for line in lines:
                if isinstance(line, Damage):
                    continue
                if line.start < self._preamble_end:
                    self.identity.take_text(clean_text(line.text).strip())
                    continue
                code, parts = self._split(line.text)
                if code is None:
                    continue
                layout = self._formats.layouts[code]
                t_boot_us = _clock_us(layout, parts)
                if t_boot_us is not None:
                    index.append(line.start)
                    clock_us.append(t_boot_us)
                    if layout.topic == "GPS":
                        fix = _fix(layout, parts)
                        if fix:
                            gps.append((line.start, t_boot_us, *fix))
                self._define(layout, parts)
            self.segments.note(np.array(index, np.int64), np.array(clock_us, np.int64))
            if gps:
                fixes.note(*np.array(gps, np.int64).T)
        self.offsets = fixes.offsets(self.segments)
        self.clock = Clock(self.offsets, self.segments, self.limits.received_at)
        # A line before its definition is read by the first that comes.
        self._formats.current = dict(self._formats.first)

    def items(self) -> Iterator[Item]:
        """Second pass."""
        told = Told(self.identity, self.clock, self.limits.batch_rows)
        pending: dict[tuple[int, int], list[pa.RecordBatch]] = {}
        pending_bytes = rows = 0
        for lines in self._windows():
            damages: list[Damage] = []
            by_code: dict[int, list[tuple[_Line, list[str]]]] = {}
            for line in lines:
                if isinstance(line, Damage):
                    damages.append(line)
                elif line.start < self._preamble_end:
                    text = clean_text(line.text).strip()
                    if text and line.number <= _MOST_PREAMBLE:
                        yield from told.take("MSG", {"Message": text}, None, None)
                elif rows >= self.limits.rows:
                    damages.append(_damage(line, "row_limit"))
                elif line.text.strip():
                    code, parts = self._split(line.text)
                    if code is None:
                        damages.append(_damage(line, "unknown_type" if parts else "bad_line"))
                        continue
                    if len(parts) < len(self._formats.layouts[code].fields):
                        damages.append(_damage(line, "bad_line"))
                        continue
                    by_code.setdefault(code, []).append((line, parts))
                    rows += 1
                    if self._formats.layouts[code].topic == "FMT":
                        self._define(self._formats.layouts[code], parts)
            batches = []
            for code, found in by_code.items():
                read = self._convert(code, found, damages)
                batches += read
            yield from _merged(damages)
            speaking = []
            for code, instance, batch, good in batches:
                layout = self._formats.layouts[code]
                waiting = pending.setdefault((code, instance), [])
                waiting.append(batch)
                pending_bytes += batch.nbytes
                if layout.topic in EVENT_TOPICS or layout.topic == PARAMETER_TOPIC:
                    speaking += [(line, layout, parts) for line, parts in good]
                if sum(one.num_rows for one in waiting) >= self.limits.batch_rows:
                    pending_bytes -= sum(one.nbytes for one in waiting)
                    yield from self._flush(code, instance, pending.pop((code, instance)))
            for line, layout, parts in sorted(speaking, key=lambda one: one[0].start):
                t_boot_us, fields = _clock_us(layout, parts), _fields(layout, parts)
                if layout.topic == PARAMETER_TOPIC:
                    name, value, default = (
                        [_plain(fields.get(name))] for name in ("Name", "Value", "Default")
                    )
                    yield from told.take_parameters(name, value, default, [t_boot_us])
                    continue
                utc_us = self._utc_us(line.start, t_boot_us)
                yield from told.take(layout.topic, fields, t_boot_us, utc_us)
            if pending_bytes > _PENDING_BYTES:
                for (code, instance), waiting in pending.items():
                    yield from self._flush(code, instance, waiting)
                pending.clear()
                pending_bytes = 0
        for (code, instance), waiting in sorted(pending.items()):
            yield from self._flush(code, instance, waiting)
        yield from told.rest()

    def _flush(self, code: int, instance: int, batches: list[pa.RecordBatch]) -> Iterator[Rows]:
        layout = self._formats.layouts[code]
        columns = self.units.columns(layout, self._meanings.get(code))
        table = pa.Table.from_batches(batches).combine_chunks()
        for batch in table.to_batches(max_chunksize=self.limits.batch_rows):
            yield Rows(layout.topic, instance, batch, columns)

    def _split(self, text: str) -> tuple[int | None, list[str]]:
        """The layout of a line and its fields; what is too much stays in a last text, or goes."""
        name, mark, body = text.partition(self._delimiter)
        if not mark:
            name, mark, body = text.partition(",")
            if not mark:
                return None, []
        code = self._formats.current.get(name.strip())
        if code is None:
            return None, [body]
        fields = self._formats.layouts[code].fields
        parts = body.split(self._delimiter, max(0, len(fields) - 1))
        if len(parts) == len(fields) and parts:
            last = fields[-1]
            if last.is_text or last.letter == BYTES:
                parts[-1] = parts[-1].rstrip()
            else:
                parts[-1] = parts[-1].partition(self._delimiter)[0]
        elif len(parts) == len(fields) - 1 and body.endswith(self._delimiter.rstrip()):
            parts[-1] = parts[-1].removesuffix(self._delimiter.rstrip())
            parts.append("")
        return code, parts

    def _define(self, layout: Layout, parts: list[str]) -> None:
        """Take what a line says of others."""
        topic = layout.topic
        if topic == "FMT":
            definition = self._formats.read(parts)
            if definition is not None and len(self._formats.layouts) < 65_535:
                self._formats.take(definition)
            return
        if topic not in ("FMTU", "UNIT", "MULT", "MSG", "VER"):
            return
        fields = _fields(layout, parts)
        if topic in ("MSG", "VER"):
            self._identity_messages += 1
            if self._identity_messages <= _MOST_IDENTITY_MESSAGES:
                self.identity.take(topic, fields)
        elif topic == "FMTU":
            number, units, multipliers = (fields.get(n) for n in ("FmtType", "UnitIds", "MultIds"))
            name = self._formats.name_of.get(number) if isinstance(number, int) else None
            if name in self._formats.current and isinstance(units, str):
                self.units.is_known = True
                said = multipliers if isinstance(multipliers, str) else ""
                self._meanings[self._formats.current[name]] = Meaning(units, said)
        elif topic == "UNIT":
            number, label = fields.get("Id"), fields.get("Label")
            if isinstance(number, int) and isinstance(label, str):
                self.units.take_unit(number, label)
        else:
            number, factor = fields.get("Id"), fields.get("Mult")
            if isinstance(number, int) and isinstance(factor, float):
                self.units.take_multiplier(number, factor)

    def _convert(
        self, code: int, found: list[tuple[_Line, list[str]]], damages: list[Damage]
    ) -> list[tuple[int, int, pa.RecordBatch, list[tuple[_Line, list[str]]]]]:
        """Record batches of one layout in one window, by instance; lines that cannot be read
        become damage."""
        layout = self._formats.layouts[code]
        slots = ((layout.clock,) if layout.clock else ()) + layout.slots
        places = [layout.fields.index(slot) for slot in slots]
        try:
            arrays = [
                _array(slot, [parts[place] for _, parts in found])
                for slot, place in zip(slots, places, strict=True)
            ]
        except _UNREADABLE:
            good = []
            for line, parts in found:
                if all(_is_readable(s, parts[at]) for s, at in zip(slots, places, strict=True)):
                    good.append((line, parts))
                else:
                    damages.append(_damage(line, "bad_value"))
            if not good:
                return []
            found = good
            arrays = [
                _array(slot, [parts[place] for _, parts in found])
                for slot, place in zip(slots, places, strict=True)
            ]
        index = np.array([line.start for line, _ in found], np.int64)
        t_boot_us, missing = np.zeros(len(found), np.int64), np.ones(len(found), np.bool_)
        if layout.clock:
            raw = np.array([_whole(parts[places[0]]) for _, parts in found], object)
            missing = np.array([not 0 <= value * layout.clock_us < 2**63 for value in raw])
            t_boot_us = np.where(missing, 0, raw * layout.clock_us).astype(np.int64)
            arrays = arrays[1:]
        utc_us, unknown = self.clock.utc_us(index, t_boot_us, missing)
        self.span.note(t_boot_us, missing, utc_us, unknown)
        times = self.clock.columns(utc_us, t_boot_us, unknown, missing)
        names = ["t_boot_us", "ts", *(slot.name for slot in layout.slots)]
        batch = pa.RecordBatch.from_arrays([*times, *arrays], names=names)
        instance = self.units.instance_slot(layout, self._meanings.get(code))
        if instance is None or instance not in layout.slots or instance.letter == "M":
            return [(code, 0, batch, found)]
        numbers = np.maximum(
            batch.column(2 + layout.slots.index(instance)).to_numpy().astype(np.int64), 0
        )
        parts_of = []
        for number in np.unique(numbers).tolist():
            here = np.flatnonzero(numbers == number)
            lines = [found[at] for at in here.tolist()]
            parts_of.append((code, number, batch.take(pa.array(here)), lines))
        return parts_of

    def _utc_us(self, index: int, t_boot_us: int | None) -> int | None:
        if t_boot_us is None:
            return None
        utc_us, unknown = self.clock.utc_us(
            np.array([index]), np.array([t_boot_us]), np.array([False])
        )
        return None if unknown[0] else int(utc_us[0])

    def _windows(self) -> Iterator[list[_Line | Damage]]:
        """All lines, some megabytes at a time; a line too long to be one is damage."""
        pos, number, size = 0, 1, len(self.source)
        while pos < size:
            window = bytes(self.source[pos : pos + _WINDOW])
            if pos + len(window) < size:
                cut = window.rfind(b"\n") + 1
                if cut == 0:
                    end = self._line_end(pos + len(window))
                    shown = excerpt(window[:40], 40)
                    yield [Damage(pos, end, "long_line", number, shown)]
                    pos, number = end, number + 1
                    continue
                window = window[:cut]
            lines: list[_Line | Damage] = []
            for raw in window.splitlines(keepends=True) if b"\r" in window else _lines(window):
                end = pos + len(raw)
                if len(raw) > _LONGEST_LINE:
                    lines.append(Damage(pos, end, "long_line", number, excerpt(raw[:40], 40)))
                else:
                    lines.append(_Line(pos, end, number, _decoded(raw)))
                pos, number = end, number + 1
            yield lines

    def _line_end(self, pos: int) -> int:
        size = len(self.source)
        while pos < size:
            at = bytes(self.source[pos : pos + _WINDOW]).find(b"\n")
            if at >= 0:
                return pos + at + 1
            pos += _WINDOW
        return size


_UNREADABLE = (ValueError, OverflowError, pa.ArrowInvalid, pa.ArrowException)


def _lines(window: bytes) -> list[bytes]:
    lines = [line + b"\n" for line in window.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _decoded(raw: bytes) -> str:
    raw = raw.rstrip(b"\r\n").removeprefix(b"\xef\xbb\xbf")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _array(slot: Slot, texts: list[str]) -> pa.Array:
    if slot.letter in _INT_LETTERS:
        return pa.array(list(map(_whole, texts)), _NARROW[slot.letter])
    if slot.letter in _FLOAT_LETTERS:
        return pa.array(list(map(float, texts)), pa.float64())
    return pa.array([clean_text(text.split("\0", 1)[0]) for text in texts], pa.string())


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if number.is_integer():
            return int(number)
        raise


def _is_readable(slot: Slot, text: str) -> bool:
    try:
        _array(slot, [text])
    except _UNREADABLE:
        return False
    return True


def _clock_us(layout: Layout, parts: list[str]) -> int | None:
    if layout.clock is None:
        return None
    place = 0 if layout.fields[0] is layout.clock else layout.fields.index(layout.clock)
    if place >= len(parts):
        return None
    try:
        t_boot_us = _whole(parts[place]) * layout.clock_us
    except _UNREADABLE:
        return None
    return t_boot_us if 0 <= t_boot_us < 2**63 else None


def _fix(layout: Layout, parts: list[str]) -> tuple[int, int, int] | None:
    slots = fix_fields(layout)
    if slots is None or len(parts) < len(layout.fields):
        return None
    try:
        numbers = [_whole(parts[layout.fields.index(slot)]) for slot in slots]
    except _UNREADABLE:
        return None
    if not all(0 <= number < 2**40 for number in numbers):
        return None
    return numbers[0], numbers[1], numbers[2]


def _fields(layout: Layout, parts: list[str]) -> Fields:
    """The fields of one line that can be read, by name."""
    fields: Fields = {}
    for slot, text in zip(layout.fields, parts, strict=False):
        value: Value = clean_text(text.split("\0", 1)[0])
        try:
            if slot.letter in _INT_LETTERS:
                value = _whole(text)
            elif slot.letter in _FLOAT_LETTERS:
                value = float(text)
        except _UNREADABLE:
            continue
        if slot is not layout.clock:
            fields[slot.name] = value
    return fields


def _plain(value: Value | None) -> str | int | float | None:
    return value if isinstance(value, str | int | float) else None


def _damage(line: _Line, reason: str) -> Damage:
    return Damage(line.start, line.end, reason, line.number, excerpt(line.text.encode(), 80))


def _merged(damages: list[Damage]) -> Iterator[Damage]:
    """In the order of the file, neighbours of one reason as one."""
    last: Damage | None = None
    for damage in sorted(damages, key=lambda one: one.start):
        if last and last.end == damage.start and last.reason == damage.reason:
            last = replace(last, end=damage.end)
            continue
        if last:
            yield last
        last = damage
    if last:
        yield last
