"""Find every message of a ULog: one walk over its headers, with resync after damage.

What is found is kept compact (two bytes per data message), so that a second pass can turn it into
columns without walking again. No values are read here but definitions and information.
"""

import re
import struct
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from logbox_pipeline.formats.runs import Block, positions
from logbox_pipeline.formats.stream import Damage, Limits
from logbox_pipeline.formats.text import excerpt
from logbox_pipeline.formats.ulog_definitions import (
    Formats,
    Keyed,
    Layout,
    parse_format,
    parse_keyed,
    parse_layout,
)

MAGIC = b"ULog\x01\x12\x35"
HEADER_BYTES = 16
SYNC_MESSAGE = b"\x08\x00S\x2f\x73\x13\x20\x25\x0c\xbb\x12"

_WINDOW = 4 * 1024 * 1024
_SMALLEST_WINDOW = 2 * 65_541
_SMALLEST_MESSAGE = 13
_MOST_CODES = 65_535
_BYTES_PER_DAMAGE = 64
_DAMAGE_ALWAYS_LISTED = 100_000
_LARGEST_EVENT_DEFINITIONS = 1024 * 1024
_HEADER = struct.Struct("<HB")
_ADDED = re.compile(rb"[A-Za-z0-9_./-]+\0*")
_KNOWN = frozenset(b"BFIMPQARDLCSO")
_LONGEST_TO_RESYNC = 8_191
"""A message of another kind than data is believed after damage only up to this length: in plain
text two letters read as a length are always more."""


@dataclass(frozen=True)
class Stream:
    """The data messages of one topic and instance; `group` numbers them."""

    topic: str
    instance: int
    layout: Layout
    group: int


@dataclass(frozen=True)
class Information:
    """An `I` message, or one part of an `M` message (`multiple`)."""

    keyed: Keyed
    multiple: bool
    continued: bool


class Scan:
    """One ULog, walked once by `walk()`, which yields the damage as it meets it.

    codes: which stream each data message belongs to, in file order (an index into `code_group` and
    `code_step`; code 0 is a sync message). run_start, run_index: position in the file of the first
    message of each unbroken run of data messages, and its index in `codes`.
    special, special_index: position of each text, dropout and parameter message, and how many data
    messages stand before it. event_definitions: PX4's `metadata_events`, compressed.
    """

    def __init__(self, source: memoryview, limits: Limits) -> None:
        self.source = source
        self.limits = limits
        self.version = source[7]
        self.start_us: int = struct.unpack_from("<Q", source, 8)[0]
        self.streams: list[Stream] = []
        self.code_group = [-1]
        self.code_step = [len(SYNC_MESSAGE)]
        self._columns = 0
        self.codes = array("H")
        self.run_start = array("q")
        self.run_index = array("q")
        self.special = array("q")
        self.special_index = array("q")
        self.information: list[Information] = []
        self.event_definitions = bytearray()
        self.data_from: int | None = None
        self.unknown_flags: str | None = None
        self.messages = 0
        self._appended: list[int] = []
        self._formats: Formats = {}
        self._layouts: dict[str, Layout | None] = {}
        self._subscribed: dict[int, Stream | None] = {}
        self._known: dict[bytes, tuple[int, int]] = {SYNC_MESSAGE[:5]: (0, len(SYNC_MESSAGE))}
        self._longest_step = 64
        self._shortest = np.full(65_536, 65_535, np.uint16)
        self._longest = np.zeros(65_536, np.uint16)
        self._next = -1
        self._end = len(source)
        self._groups: dict[tuple[str, int, int], Stream] = {}
        self._information_bytes = 0
        self._bytes = np.frombuffer(source, np.uint8)
        self._take_by_kind: dict[int, Callable[[int, int], str | None]] = {
            ord("D"): self._take_data,
            ord("A"): self._take_added,
            ord("F"): self._take_format,
            ord("I"): self._take_information,
            ord("M"): self._take_information_multiple,
            ord("P"): self._take_parameter,
            ord("Q"): self._take_default,
            ord("L"): self._take_text,
            ord("C"): self._take_tagged,
            ord("O"): self._take_dropout,
            ord("S"): self._take_sync,
            ord("R"): self._take_removed,
            ord("B"): self._take_flags,
        }

    def walk(self) -> Iterator[Damage]:
        last: Damage | None = None
        damages = 0
        # More than this is no log with holes, and each costs far more time than a message.
        most = max(_DAMAGE_ALWAYS_LISTED, len(self.source) // _BYTES_PER_DAMAGE)
        for damage in self._damages():
            if last and last.end == damage.start and last.reason == damage.reason:
                last = replace(last, end=damage.end)
                continue
            if last:
                yield last
            last = damage
            damages += 1
            if damages == most:
                last = replace(damage, end=len(self.source), reason="too_damaged")
                break
        if last:
            yield last

    def _damages(self) -> Iterator[Damage]:
        pos = HEADER_BYTES
        for end in self._section_ends():
            yield from self._walk_section(pos, end)
            if self._full():
                return
            pos = end

    def _section_ends(self) -> Iterator[int]:
        """Where each section ends: appended data starts a new one, the last message may be cut."""
        size = len(self.source)
        first = self._read_flags()
        if first and self.unknown_flags is None:
            last = HEADER_BYTES
            for offset in self._appended:
                if last < offset < size and self._has_messages(offset):
                    yield offset
                    last = offset
        yield size

    def _has_messages(self, pos: int) -> bool:
        """Whether two messages may stand here, one behind the other: an offset can be wrong."""
        for _ in range(2):
            if len(self.source) - pos < 3:
                return True
            size, kind = self._header(pos)
            if kind not in _KNOWN or size == 0:
                return False
            pos += 3 + size
        return True

    def _read_flags(self) -> bool:
        if len(self.source) < HEADER_BYTES + 3 + 40:
            return False
        size, kind = _HEADER.unpack_from(self.source, HEADER_BYTES)
        if kind != ord("B") or not 40 <= size <= 4096:
            return False
        incompatible = bytes(self.source[HEADER_BYTES + 11 : HEADER_BYTES + 19])
        if incompatible[0] & ~1 or any(incompatible[1:]):
            self.unknown_flags = incompatible.hex()
        elif incompatible[0] & 1:
            offsets = struct.unpack_from("<3Q", self.source, HEADER_BYTES + 19)
            self._appended = [offset for offset in offsets if offset]
        return True

    def _full(self) -> bool:
        return len(self.codes) + len(self.special) >= self.limits.rows

    def _width(self) -> int:
        """Bytes to walk at once: no more than the rows that may still come, but some messages."""
        rows_left = self.limits.rows - len(self.codes) - len(self.special)
        return max(_SMALLEST_WINDOW, min(_WINDOW, rows_left * _SMALLEST_MESSAGE))

    def _walk_section(self, pos: int, end: int) -> Iterator[Damage]:
        base, window = pos, b""
        self._end = end
        while pos < end:
            if self._full():
                yield Damage(pos, len(self.source), "row_limit")
                return
            if pos + self._longest_step > base + len(window) and base + len(window) < end:
                base, window = pos, bytes(self.source[pos : min(pos + self._width(), end)])
            before = len(self.codes)
            last = len(window) - self._longest_step
            start = pos
            pos = base + _walk_known(window, pos - base, last, self._known, self.codes.append)
            self._note_run(start, before, pos)
            if pos >= end or (pos > base + last and base + len(window) < end):
                continue
            reason, stop = self._take(pos, end)
            if reason is None:
                self.messages += 1
                pos = stop
                continue
            found = stop if self._is_sane(stop, end) else self._resync(pos + 1, end)
            if found == end and reason != "truncated" and stop != end:
                reason = "no_sync"
            if self._is_zeroed(pos, found):
                reason = "zeroed"
            shown = None if reason == "zeroed" else excerpt(bytes(self.source[pos : pos + 40]), 40)
            yield Damage(pos, found, reason, excerpt=shown)
            pos = found

    def _note_run(self, start: int, index: int, stop: int) -> None:
        """Remember that the messages from `index` on stand from `start` to `stop` without a gap."""
        if len(self.codes) == index:
            return
        if start != self._next:
            self.run_start.append(start)
            self.run_index.append(index)
        self._next = stop

    def _take(self, pos: int, end: int) -> tuple[str | None, int]:
        """Read the message at `pos`: None, or why it cannot be; and where it says that it ends
        (-1 when that cannot be followed)."""
        if end - pos < 3:
            return "truncated", end
        size, kind = self._header(pos)
        stop = pos + 3 + size
        if stop > end:
            reachable = self._resync(pos + 1, end) < end
            return ("bad_length", -1) if reachable else ("truncated", end)
        if kind not in _KNOWN:
            return "unknown_type", stop if size and kind > 32 else -1
        reason = self._take_by_kind[kind](pos, stop)
        return reason, stop

    def _take_data(self, pos: int, stop: int) -> str | None:
        if stop - pos < 5:
            return "bad_length"
        msg_id = self.source[pos + 3] | self.source[pos + 4] << 8
        stream = self._subscribed.get(msg_id)
        if stream is None:
            return "unknown_format" if msg_id in self._subscribed else "unknown_id"
        if not stream.layout.size_min <= stop - pos - 5 <= stream.layout.size_max:
            return "bad_length"
        key = bytes(self.source[pos : pos + 5])
        if key not in self._known:
            if len(self.code_group) >= _MOST_CODES:
                return "too_many"
            self._known[key] = (len(self.code_group), stop - pos)
            self.code_group.append(stream.group)
            self.code_step.append(stop - pos)
            self._longest_step = max(self._longest_step, stop - pos)
        self.codes.append(self._known[key][0])
        self._note_run(pos, len(self.codes) - 1, stop)
        return None

    def _take_added(self, pos: int, stop: int) -> str | None:
        name = bytes(self.source[pos + 6 : stop])
        if stop - pos < 7 or not _ADDED.fullmatch(name):
            return "bad_subscription"
        self._note_data(pos)
        instance = self.source[pos + 3]
        msg_id = self.source[pos + 4] | self.source[pos + 5] << 8
        topic = name.rstrip(b"\0").decode()
        if topic not in self._layouts:
            room = max(1, self.limits.all_columns - self._columns)
            layout = parse_layout(topic, self._formats, min(self.limits.columns, room))
            self._layouts[topic] = layout
            self._columns += len(layout.columns) if layout else 0
        layout = self._layouts[topic]
        old = self._subscribed.get(msg_id)
        if old and layout and (old.topic, old.instance, old.layout) == (topic, instance, layout):
            return None
        for key in [
            k for k in self._known if k[2:5] == b"D" + bytes(self.source[pos + 4 : pos + 6])
        ]:
            del self._known[key]
        if layout is None:
            self._subscribed[msg_id] = None
            # Its messages can still be stepped over.
            self._shortest[msg_id], self._longest[msg_id] = 10, _LONGEST_TO_RESYNC
            return "unknown_format"
        self._subscribed[msg_id] = self._stream(topic, instance, layout)
        self._shortest[msg_id] = layout.size_min + 2
        self._longest[msg_id] = layout.size_max + 2
        return "too_many_columns" if layout.columns_left_out else None

    def _stream(self, topic: str, instance: int, layout: Layout) -> Stream:
        key = (topic, instance, id(layout))
        if key not in self._groups:
            self._groups[key] = Stream(topic, instance, layout, len(self.streams))
            self.streams.append(self._groups[key])
        return self._groups[key]

    def _take_format(self, pos: int, stop: int) -> str | None:
        parsed = parse_format(bytes(self.source[pos + 3 : stop]))
        if parsed is None:
            return "bad_format"
        name, fields = parsed
        if self._formats.get(name) != fields:
            self._formats[name] = fields
            self._layouts.clear()
        return None

    def _take_information(self, pos: int, stop: int) -> str | None:
        return self._keep_information(pos + 3, stop)

    def _take_information_multiple(self, pos: int, stop: int) -> str | None:
        if stop - pos < 5 or self.source[pos + 3] > 1:
            return "bad_information"
        return self._keep_information(
            pos + 4, stop, multiple=True, continued=self.source[pos + 3] == 1
        )

    def _keep_information(
        self, start: int, stop: int, *, multiple: bool = False, continued: bool = False
    ) -> str | None:
        keyed = parse_keyed(bytes(self.source[start:stop]))
        if keyed is None:
            return "bad_information"
        if keyed.key == "metadata_events" and isinstance(keyed.value, bytes):
            if not continued:
                self.event_definitions.clear()
            if len(self.event_definitions) + len(keyed.value) <= _LARGEST_EVENT_DEFINITIONS:
                self.event_definitions += keyed.value
            return None
        # More than this nobody reads, and a hostile log may hold nothing else.
        if isinstance(keyed.value, bytes) and len(keyed.value) > 256:
            return None
        if self._information_bytes + (stop - start) <= 1024 * 1024:
            self._information_bytes += stop - start
            self.information.append(Information(keyed, multiple, continued))
        return None

    def _take_parameter(self, pos: int, stop: int) -> str | None:
        if parse_keyed(bytes(self.source[pos + 3 : stop])) is None:
            return "bad_parameter"
        return self._keep_special(pos)

    def _take_default(self, pos: int, stop: int) -> str | None:
        if parse_keyed(bytes(self.source[pos + 4 : stop])) is None:
            return "bad_parameter"
        return self._keep_special(pos)

    def _take_text(self, pos: int, stop: int) -> str | None:
        return self._keep_text(pos, pos + 12, stop)

    def _take_tagged(self, pos: int, stop: int) -> str | None:
        return self._keep_text(pos, pos + 14, stop)

    def _keep_text(self, pos: int, start: int, stop: int) -> str | None:
        if start > stop:
            return "bad_length"
        text = bytes(self.source[start:stop]).rstrip(b"\0")
        # A wrong length makes a text swallow what follows it.
        if b"\0" in text and not self._is_sane(stop, self._end):
            return "bad_length"
        self._note_data(pos)
        return self._keep_special(pos)

    def _take_dropout(self, pos: int, stop: int) -> str | None:
        if stop - pos != 5:
            return "bad_length"
        return self._keep_special(pos)

    def _take_sync(self, pos: int, stop: int) -> str | None:
        return None if bytes(self.source[pos:stop]) == SYNC_MESSAGE else "bad_sync"

    def _take_removed(self, pos: int, stop: int) -> str | None:
        return None if stop - pos == 5 else "bad_length"

    def _take_flags(self, pos: int, stop: int) -> str | None:
        return None if pos == HEADER_BYTES and stop - pos >= 43 else "bad_flags"

    def _keep_special(self, pos: int) -> str | None:
        self.special.append(pos)
        self.special_index.append(len(self.codes))
        return None

    def _note_data(self, pos: int) -> None:
        """The definitions end with the first subscription or text."""
        if self.data_from is None:
            self.data_from = pos

    def _header(self, pos: int) -> tuple[int, int]:
        size, kind = _HEADER.unpack_from(self.source, pos)
        return int(size), int(kind)

    def _is_sane(self, pos: int, end: int) -> bool:
        """Could a message start at `pos`, by its header alone?"""
        if pos < 0 or pos > end:
            return False
        if end - pos < 5:
            return True
        size, kind = self._header(pos)
        if kind == ord("D"):
            msg_id = self.source[pos + 3] | self.source[pos + 4] << 8
            return int(self._shortest[msg_id]) <= size <= int(self._longest[msg_id])
        if kind == ord("S"):
            return bytes(self.source[pos : pos + 11]) == SYNC_MESSAGE
        return kind in _KNOWN and 0 < size <= _LONGEST_TO_RESYNC and pos + 3 + size <= end

    def _resync(self, pos: int, end: int) -> int:
        """The next position from `pos` on where a message surely starts, or `end`."""
        width = 4_096
        while end - pos >= 5:
            stop = min(pos + width, end - 4)
            found = self._resync_within(pos, stop, end)
            if found is not None:
                return found
            pos = stop
            width = min(width * 4, 1024 * 1024)
        return end

    def _resync_within(self, pos: int, stop: int, end: int) -> int | None:
        """The same, for a message that starts in [pos, stop); `stop` <= `end` - 4."""
        head = self._bytes[pos : stop + 4]
        kind = head[2:-2]
        candidates = np.flatnonzero(_STARTS[kind])
        size = head[candidates].astype(np.int64) | head[candidates + 1].astype(np.int64) << 8
        is_data = kind[candidates] == ord("D")
        msg_id = head[candidates + 3].astype(np.int64) | head[candidates + 4].astype(np.int64) << 8
        data = is_data & (self._shortest[msg_id] <= size) & (size <= self._longest[msg_id])
        other = ~is_data & (size > 0) & (size <= _LONGEST_TO_RESYNC)
        fits = candidates + size + (pos + 3) <= end
        for index in np.flatnonzero((data | other) & fits):
            start = pos + int(candidates[index])
            if data[index] or self._is_believable(start, start + 3 + int(size[index]), end):
                return start
        return None

    def _is_believable(self, pos: int, stop: int, end: int) -> bool:
        """Does a message of another kind than data hold what it must, and another follow it?"""
        kind = self.source[pos + 2]
        payload = bytes(self.source[pos + 3 : stop])
        if kind == ord("S"):
            return bytes(self.source[pos:stop]) == SYNC_MESSAGE
        if kind == ord("F"):
            return parse_format(payload) is not None
        if kind == ord("A"):
            name = payload[3:].rstrip(b"\0").decode("latin-1")
            return name in self._formats
        if kind in b"IP":
            return parse_keyed(payload) is not None
        if kind in b"MQ":
            return parse_keyed(payload[1:]) is not None
        if kind in b"LC":
            text = payload[9 if kind == ord("L") else 11 :]
            printable = b"\0" not in text.rstrip(b"\0")
            leveled = len(text) > 0 and payload[0] in b"01234567"
            return leveled and printable and self._is_sane(stop, end)
        return kind == ord("O") and len(payload) == 2 and stop < end and self._is_sane(stop, end)

    def _is_zeroed(self, start: int, end: int) -> bool:
        """Mostly zeros: a block that was never written, and the rest of the message after it."""
        size = min(end - start, 1024 * 1024)
        return size >= 64 and int(np.count_nonzero(self._bytes[start : start + size])) < size / 4


_STARTS = np.zeros(256, np.bool_)
_STARTS[list(b"DSFAIPMQLCO")] = True


def _walk_known(
    window: bytes,
    pos: int,
    last: int,
    known: dict[bytes, tuple[int, int]],
    append: Callable[[int], None],
) -> int:
    """Step over messages whose size, type and msg_id were seen before. The hot loop: one slice,
    one look-up per message. Return where it met another one, or passed `last`."""
    try:
        while pos <= last:
            code, step = known[window[pos : pos + 5]]
            append(code)
            pos += step
    except KeyError:
        pass
    return pos


def blocks(scan: Scan, per_block: int) -> Iterator[Block]:
    """Codes and file positions of all data messages, block by block."""
    return positions(scan.codes, scan.code_step, scan.run_start, scan.run_index, per_block)


def by_stream(scan: Scan, codes: NDArray[np.uint16]) -> Iterator[tuple[Stream, NDArray[np.int64]]]:
    """Each stream that has messages in a block, and where in it they stand, in order."""
    # Two bytes, because numpy sorts those by radix; sync messages, -1, come last.
    group = np.array(scan.code_group, np.int64).astype(np.uint16)[codes]
    order = np.argsort(group, kind="stable")
    numbers, starts = np.unique(group[order], return_index=True)
    for number, where in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
        if number < len(scan.streams):
            yield scan.streams[number], where
