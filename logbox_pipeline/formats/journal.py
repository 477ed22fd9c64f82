"""The systemd journal's export format to events: `journalctl -o export`. What the fields mean is in
`json_fields`, as for `journalctl -o json`; the journal's binary files are not read.

https://systemd.io/JOURNAL_EXPORT_FORMATS: `NAME=value` lines; a value with newlines as its name
alone, eight bytes of length (little-endian) and the bytes; a blank line between entries.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from logbox_pipeline.formats.json_rows import RowReader
from logbox_pipeline.formats.jsonl import finished
from logbox_pipeline.formats.stream import Damage, Events, Item, Likeness, Limits
from logbox_pipeline.formats.text import decode_text, excerpt

PARSER_VERSION = 1

_WINDOW = 1024 * 1024
_BLOCK_BYTES = 512 * 1024
_JUDGED_LINES = 100
_NAME = re.compile(rb"[A-Z_][A-Z0-9_]{0,63}")
_FIELD = re.compile(rb"[A-Z_][A-Z0-9_]{0,63}(?:=|\r?$)")
_STAMPS = (b"__CURSOR=", b"__REALTIME_TIMESTAMP=")


def recognizes(head: memoryview, size: int) -> Likeness:
    """SURE when an entry's own fields stand at the beginning of lines, most of which are fields."""
    lines = [line for line in bytes(head).split(b"\n")[:_JUDGED_LINES] if line.strip()]
    fields = sum(_FIELD.match(line) is not None for line in lines)
    is_stamped = any(line.startswith(_STAMPS) for line in lines)
    return Likeness.SURE if is_stamped and fields * 2 > len(lines) else Likeness.NO


def parse(source: memoryview, limits: Limits) -> Iterator[Item]:
    reader = RowReader(limits)
    yield from finished(_items(source, limits, reader), reader, limits, "entries")


@dataclass
class _Entry:
    """Fields by name, and what was no field: [start, end) in the buffer; `end` of all of it."""

    fields: dict[str, str | list[str]] = field(default_factory=dict)
    bad: list[tuple[int, int]] = field(default_factory=list)
    end: int = 0

    def add(self, name: bytes, value: bytes) -> None:
        """A field may stand in an entry more than once."""
        key, text = name.decode(), decode_text(value)
        known = self.fields.get(key)
        if known is None:
            self.fields[key] = text
        else:
            self.fields[key] = [*(known if isinstance(known, list) else [known]), text]


def _items(source: memoryview, limits: Limits, reader: RowReader) -> Iterator[Item]:
    pos, window = 0, _WINDOW
    while pos < len(source):
        if reader.rows >= limits.rows:
            yield Damage(pos, len(source), "row_limit")
            return
        buffer = bytes(source[pos : pos + window])
        is_last = pos + window >= len(source)
        read = 0
        records: list[bytes] = []
        while read < len(buffer) and len(records) < limits.rows - reader.rows:
            entry = _entry(buffer, read, is_last, limits.record_bytes)
            if entry is None:
                break
            for start, end in entry.bad:
                yield _damage(buffer, start, end, pos)
            if entry.fields:
                records.append(msgspec.json.encode(entry.fields))
            read = entry.end
        if records:
            yield from _read(records, reader)
        if read == 0 and window >= limits.record_bytes:
            read = buffer.rfind(b"\n") + 1 or len(buffer)
            yield Damage(pos, pos + read, "too_long", excerpt=excerpt(buffer[:800]))
        window = _WINDOW if read else window * 4
        pos += read


def _entry(buffer: bytes, pos: int, is_last: bool, longest: int) -> _Entry | None:
    """The entry that begins at `pos`; None when the buffer, which is not the last one, cuts it.
    longest: bytes that a value may have."""
    entry = _Entry()
    while pos < len(buffer):
        newline = buffer.find(b"\n", pos)
        if newline < 0 and not is_last:
            return None
        newline = newline if newline >= 0 else len(buffer)
        line = buffer[pos:newline].rstrip(b"\r")
        name, equals, value = line.partition(b"=")
        end = newline + 1
        is_field = _NAME.fullmatch(name) is not None
        if is_field and not equals:
            size = int.from_bytes(buffer[end : end + 8], "little")
            value, end = buffer[end + 8 : end + 8 + size], end + 8 + size + 1
            if end > len(buffer) and not is_last and size <= longest:
                return None
            is_field = buffer[end - 1 : end] == b"\n"
        if not line:
            if entry.fields:
                break
        elif is_field and name == b"__CURSOR" and entry.fields:
            entry.end = pos  # the blank line before it is lost
            return entry
        elif is_field:
            entry.add(name, value)
        else:
            end = newline + 1
            entry.bad.append((pos, min(end, len(buffer))))
            if not entry.fields:
                break
        pos = end
    else:
        if entry.fields and not is_last:
            return None
    entry.end = min(end, len(buffer))
    return entry


def _damage(buffer: bytes, start: int, end: int, pos: int) -> Damage:
    raw = buffer[start:end]
    reason = "zeroed" if raw.count(0) * 2 > len(raw) else "bad_line"
    return Damage(pos + start, pos + end, reason, excerpt=excerpt(raw[:800].rstrip(b"\n")))


def _read(records: list[bytes], reader: RowReader) -> Iterator[Item]:
    """Their events, in blocks that are not too large for a scan."""
    low = size = 0
    for high, record in enumerate(records, 1):
        size += len(record)
        if size < _BLOCK_BYTES and high < len(records):
            continue
        events = reader.read(b"\n".join([*records[low:high], b""])).events
        reader.units += high - low
        if events is not None:
            yield Events(events)
        low, size = high, 0
