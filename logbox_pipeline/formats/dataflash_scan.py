"""Find every message of a binary DataFlash log: a walk over its headers, with resync after damage.

A message is `A3 95`, its type, and as many bytes as the type's FMT says. Headers are found many at
once and then linked: each must stand where the one before it ends. What is found is kept compact
(two bytes per message), so that later passes need not walk again. No values are read here but
those of FMT, FMTU, UNIT and MULT.
"""

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from logbox_pipeline.formats.dataflash_definitions import (
    FMT_DEFINITION,
    FMT_TYPE,
    HEADER_BYTES,
    Definition,
    Layout,
    Meaning,
    Slot,
    Units,
    is_exact,
    lay_out,
    read_definition,
)
from logbox_pipeline.formats.runs import Block, positions
from logbox_pipeline.formats.stream import Damage, Limits
from logbox_pipeline.formats.text import c_string, excerpt

_FIRST, _SECOND = 0xA3, 0x95
_SMALLEST_WINDOW = 1_024
_LARGEST_WINDOW = 4 * 1024 * 1024
_MOST_CODES = 65_535
_DEFINING = ("FMTU", "UNIT", "MULT")
_CLOCK_NEIGHBOURHOOD_US = 3_600_000_000
_LINKS_TO_BELIEVE = 3


class _After(Enum):
    """What stands behind a chain of messages: not looked at yet, nothing known, or its last
    message is not whole."""

    OPEN = auto()
    STRANGE = auto()
    CUT = auto()


class Scan:
    """One log, walked once by `walk()`, which yields the damage as it meets it.

    layouts: every definition that was used, numbered by `codes`, one code per message in the order
    of the file. run_start, run_index: position in the file of the first message of each unbroken
    run, and its index in `codes`. meanings: FMTU by layout number.
    """

    def __init__(self, source: memoryview, limits: Limits) -> None:
        self.source = source
        self.limits = limits
        self.layouts: list[Layout] = []
        self.meanings: dict[int, Meaning] = {}
        self.units = Units()
        self.codes = array("H")
        self.run_start = array("q")
        self.run_index = array("q")
        self._bytes = np.frombuffer(source, np.uint8)
        self._definitions: dict[Definition, int] = {}
        self._length = np.zeros(256, np.int64)
        self._code = np.zeros(256, np.uint16)
        self._defining = np.zeros(256, np.bool_)
        self._next = -1
        self._clocked: tuple[int, int] | None = None
        self._use(FMT_DEFINITION)

    def walk(self) -> Iterator[Damage]:
        last: Damage | None = None
        for damage in self._damages():
            if last and last.end == damage.start and last.reason == damage.reason:
                last = replace(last, end=damage.end)
                continue
            if last:
                yield last
            last = damage
        if last:
            yield last

    def _damages(self) -> Iterator[Damage]:
        pos, end = 0, len(self.source)
        width = _SMALLEST_WINDOW
        while pos < end:
            rows_left = self.limits.rows - len(self.codes)
            if rows_left <= 0:
                yield Damage(pos, end, "row_limit")
                return
            stop, after = self._follow(pos, min(width, rows_left * 255), rows_left)
            width = max(_SMALLEST_WINDOW, min(_LARGEST_WINDOW, 2 * (stop - pos)))
            pos = stop
            # A type defined a moment ago is known now.
            if after is _After.OPEN or (after is _After.STRANGE and self._is_header(pos)):
                continue
            if pos >= end:
                continue
            reason = self._what_is_wrong(pos)
            found = self._resync(pos + 1)
            if found == end and reason == "no_header" and self._is_padding(pos, end):
                reason = "padding"
            elif self._is_zeroed(pos, found):
                reason = "zeroed"
            shown = excerpt(bytes(self.source[pos : min(found, pos + 40)]), 40)
            yield Damage(pos, found, reason, excerpt=None if reason == "zeroed" else shown)
            pos = found

    def _what_is_wrong(self, pos: int) -> str:
        head = bytes(self.source[pos : pos + HEADER_BYTES])
        if len(head) < HEADER_BYTES:
            return "truncated"
        if head[0] != _FIRST or head[1] != _SECOND:
            return "no_header"
        if not self._length[head[2]]:
            return "unknown_type"
        return "truncated" if pos + self._length[head[2]] > len(self.source) else "cut_short"

    def _follow(self, pos: int, width: int, most: int) -> tuple[int, _After]:
        """Take the messages that stand one behind the other from `pos` on, about `width` bytes.

        Return where the next one should start, and what stands there.
        """
        size = len(self.source)
        window = self._bytes[pos : min(pos + width + 2, size)]
        first = np.flatnonzero(window[:-2] == _FIRST)
        hits = first[window[first + 1] == _SECOND]
        kinds = window[hits + 2]
        lengths = self._length[kinds]
        known = lengths > 0
        hits, kinds, lengths = hits[known], kinds[known], lengths[known]
        if not len(hits) or hits[0] != 0:
            return pos, _After.STRANGE
        following = hits + lengths
        pieces, last = _linked(hits, following)
        stop = int(following[last])
        is_seen = stop < len(window) - 2 or pos + stop >= size - 2
        after = _After.STRANGE if is_seen else _After.OPEN
        if pos + stop > size or (is_seen and self._is_cut_short(pos, hits, last, stop)):
            pieces[-1] = (pieces[-1][0], pieces[-1][1] - 1)
            stop, after = int(hits[last]), _After.CUT
        chain = (
            np.arange(*pieces[0])
            if len(pieces) == 1
            else np.concatenate([np.arange(*piece) for piece in pieces])
        )
        if len(chain) > most:
            chain = chain[:most]
            stop, after = int(following[chain[-1]]), _After.OPEN
        if not len(chain):
            return pos + stop, after
        return self._take(pos, hits[chain], kinds[chain], following[chain], stop, after)

    def _take(
        self,
        pos: int,
        starts: NDArray[np.int64],
        kinds: NDArray[np.uint8],
        ends: NDArray[np.int64],
        stop: int,
        after: _After,
    ) -> tuple[int, _After]:
        codes = self._code[kinds]
        for index in np.flatnonzero(self._defining[kinds]).tolist():
            at = pos + int(starts[index])
            if self._define(at, int(kinds[index]), int(codes[index])):
                # Another length from here on: what was linked behind it must be linked anew.
                codes, starts, kinds = codes[: index + 1], starts[: index + 1], kinds[: index + 1]
                stop, after = int(ends[index]), _After.OPEN
                break
        if pos != self._next:
            self.run_start.append(pos)
            self.run_index.append(len(self.codes))
        self._next = pos + stop
        self.codes.frombytes(codes.tobytes())
        self._remember_clock(pos, starts, kinds)
        return pos + stop, after

    def _remember_clock(
        self, pos: int, starts: NDArray[np.int64], kinds: NDArray[np.uint8]
    ) -> None:
        """Where a boot clock was read last, to know one again after damage."""
        for index in range(len(starts) - 1, max(-1, len(starts) - 20), -1):
            clock = self.layouts[int(self._code[kinds[index]])].clock
            if clock and clock.letter == "Q":
                self._clocked = (pos + int(starts[index]), clock.offset)
                return

    def _is_cut_short(self, pos: int, hits: NDArray[np.int64], last: int, stop: int) -> bool:
        """Does the last message, behind which none stands, hold the start of others that go on
        behind its end? Then its own bytes are missing."""
        inner = self._bytes[pos + int(hits[last]) + 1 : pos + stop]
        for at in np.flatnonzero(inner == _FIRST).tolist():
            start = pos + int(hits[last]) + 1 + at
            at_next = start
            for _ in range(_LINKS_TO_BELIEVE):
                if not self._is_header(at_next):
                    break
                at_next += int(self._length[self.source[at_next + 2]])
            else:
                if at_next > pos + stop:
                    return True
        return False

    def _is_header(self, pos: int) -> bool:
        """A whole message of a known type, by its header alone."""
        source = self.source
        return (
            pos + HEADER_BYTES <= len(source)
            and source[pos] == _FIRST
            and source[pos + 1] == _SECOND
            and 0 < int(self._length[source[pos + 2]]) <= len(source) - pos
        )

    def _resync(self, pos: int) -> int:
        """The next position from `pos` on where a message surely starts, or the end."""
        width = 4_096
        size = len(self.source)
        while size - pos >= HEADER_BYTES:
            stop = min(pos + width, size - 2)
            head = self._bytes[pos : stop + 2]
            first = np.flatnonzero(head[:-2] == _FIRST)
            hits = first[head[first + 1] == _SECOND]
            hits = hits[self._length[head[hits + 2]] > 0]
            starts: list[int] = (hits + pos).tolist()
            for start in starts:
                if self._is_believable(start):
                    return start
            pos = stop
            width = min(width * 4, 1024 * 1024)
        return size

    def _is_believable(self, pos: int) -> bool:
        """Is it followed by another header or the end, or does it tell a time that fits?"""
        if not self._is_header(pos):
            return False
        kind = self.source[pos + 2]
        stop = pos + int(self._length[kind])
        if stop == len(self.source) or bytes(self.source[stop : stop + 2]) == b"\xa3\x95":
            return True
        if kind == FMT_TYPE:
            definition = read_definition(bytes(self.source[pos:stop]))
            return definition is not None and is_exact(definition)
        clock = self.layouts[int(self._code[kind])].clock
        if clock is None or clock.letter != "Q" or self._clocked is None:
            return False
        at, offset = self._clocked
        passed_us = self._uint64(pos + clock.offset) - self._uint64(at + offset)
        return abs(passed_us) < _CLOCK_NEIGHBOURHOOD_US

    def _uint64(self, pos: int) -> int:
        return int(struct.unpack_from("<Q", self.source, pos)[0])

    def _define(self, pos: int, kind: int, code: int) -> bool:
        """Take a defining message; True when a known type has another length now."""
        layout = self.layouts[code]
        message = bytes(self.source[pos : pos + layout.size_bytes])
        if kind == FMT_TYPE:
            definition = read_definition(message)
            return definition is not None and self._use(definition)
        if layout.topic == "FMTU":
            self._take_meaning(layout, message)
        elif layout.topic == "UNIT":
            number, label = _whole(layout.field("Id"), message), layout.field("Label")
            if number is not None and label is not None and label.is_text:
                self.units.take_unit(number, _text(label, message))
        elif layout.topic == "MULT":
            number, factor = _whole(layout.field("Id"), message), layout.field("Mult")
            if number is not None and factor is not None and factor.letter == "d":
                value = struct.unpack_from("<d", message, factor.offset)[0]
                self.units.take_multiplier(number, value)
        return False

    def _take_meaning(self, layout: Layout, message: bytes) -> None:
        number = _whole(layout.field("FmtType"), message)
        units, multipliers = layout.field("UnitIds"), layout.field("MultIds")
        if number is None or units is None or not units.is_text:
            return
        self.units.is_known = True
        if self._length[number & 0xFF]:
            self.meanings[int(self._code[number & 0xFF])] = Meaning(
                _text(units, message),
                _text(multipliers, message) if multipliers and multipliers.is_text else "",
            )

    def _use(self, definition: Definition) -> bool:
        """Let a type mean this from here on; True when it meant messages of another length."""
        number = definition.type_number
        before = int(self._length[number])
        if before and definition.size_bytes != before and not is_exact(definition):
            return False
        code = self._definitions.get(definition)
        if code is None:
            if len(self.layouts) >= _MOST_CODES:
                return False
            code = len(self.layouts)
            self.layouts.append(lay_out(definition, self.limits.columns))
            self._definitions[definition] = code
        is_other = before > 0 and int(self._code[number]) != code
        if is_other and int(self._code[number]) in self.meanings:
            # As pymavlink has it: units stay with the type until FMTU says otherwise.
            self.meanings.setdefault(code, self.meanings[int(self._code[number])])
        self._code[number] = code
        self._length[number] = definition.size_bytes
        self._defining[number] = number == FMT_TYPE or definition.name in _DEFINING
        return is_other

    def _is_zeroed(self, start: int, end: int) -> bool:
        """Mostly zeros: a block that was never written, and the rest of the message after it."""
        size = min(end - start, 1024 * 1024)
        return size >= 64 and int(np.count_nonzero(self._bytes[start : start + size])) < size / 4

    def _is_padding(self, start: int, end: int) -> bool:
        """Erased flash, or the rest of a page, up to the end of the file."""
        tail = self._bytes[start : min(end, start + 1024 * 1024)]
        return bool((tail == tail[0]).all()) and int(tail[0]) in (0, 0xFF)


def _linked(
    hits: NDArray[np.int64], following: NDArray[np.int64]
) -> tuple[list[tuple[int, int]], int]:
    """Which hits stand one behind the other, from the first on: [low, high) ranges of indices, and
    the last index. Hits in between are bytes of a message that look like a header."""
    breaks = np.flatnonzero(hits[1:] != following[:-1]).tolist()
    breaks.append(len(hits) - 1)
    pieces: list[tuple[int, int]] = []
    index = place = 0
    while True:
        place = bisect_left(breaks, index, place)
        last = breaks[place]
        pieces.append((index, last + 1))
        target = following[last]
        index = last + 1
        while index < len(hits) and hits[index] < target:
            index += 1
        if index >= len(hits) or hits[index] != target:
            return pieces, last


def _whole(slot: Slot | None, message: bytes) -> int | None:
    """A whole number of one byte: what identifies types, units and multipliers."""
    if slot is None or slot.letter not in "bBM":
        return None
    return message[slot.offset]


def _text(slot: Slot, message: bytes) -> str:
    return c_string(message[slot.offset : slot.offset + int(slot.numpy_type[1:])])


def blocks(scan: Scan, per_block: int) -> Iterator[Block]:
    """Codes and file positions of all messages, block by block."""
    sizes = [layout.size_bytes for layout in scan.layouts]
    return positions(scan.codes, sizes, scan.run_start, scan.run_index, per_block)
