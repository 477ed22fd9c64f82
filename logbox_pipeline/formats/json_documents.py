"""JSON that is not one object a line: pretty-printed or concatenated objects, arrays of them, or
one object around an array of them. One row per record, as in JSON Lines.

`json_spans` finds the documents, `json_rows` reads them. JSON Lines are `jsonl`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from logbox_pipeline.formats.json_fields import SEVERAL_NAMES
from logbox_pipeline.formats.json_rows import RowReader
from logbox_pipeline.formats.json_spans import Span, array_within, probe, spans
from logbox_pipeline.formats.jsonl import finished
from logbox_pipeline.formats.stream import Damage, Events, Item, Likeness, Limits
from logbox_pipeline.formats.text import excerpt

PARSER_VERSION = 1

_BLOCK_BYTES = 512 * 1024
_BLOCK_DOCUMENTS = 8_192
_NEWLINES = bytes.maketrans(b"\r\n", b"  ")
_BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?[\0 \t\r\n\x1e]*")
_ARRAY = re.compile(rb'\[[ \t\r\n]*\{[ \t\r\n]*["}]')
_PRETTY = re.compile(rb'(?m)^[ \t]*\{[ \t]*\r?\n[ \t]*"(?:[^"\\\n]|\\.)*"[ \t]*:')
_PRETTY_ARRAY = re.compile(rb"(?m)^\[[ \t]*\r?\n[ \t]*\{")
_OPEN_AT_END = re.compile(rb"[\[{][ \t]*\r?\n")
"""What both of them need, found ten times as fast."""


def recognizes(head: memoryview, size: int) -> Likeness:
    """SURE when it begins with an array of objects, an object over several lines, two on one
    line, one around an array of them, or RFC 7464's record separator; MAYBE when an object over
    several lines stands further on."""
    begin = _BEGINNING.match(head)
    start = begin.end() if begin else 0
    if _ARRAY.match(head, start) or _PRETTY.match(head, start):
        return Likeness.SURE
    if start < len(head) and head[start] == ord("{"):
        kind, end = probe(head, start)
        if kind == "whole":
            line = bytes(head[start:end])
            is_pretty = b"\n" in line.rstrip()
            is_joined = end < len(head) and head[end] == ord("{") and not line.endswith(b"\n")
            if is_pretty or is_joined:
                return Likeness.SURE
        if bytes(head[start - 1 : start]) == b"\x1e" and kind == "whole":
            return Likeness.SURE
        if (kind == "whole" and end >= size) or b"\n" not in bytes(head[start:]):
            wrapped = array_within(head, start)
            is_otel = wrapped is not None and wrapped[0] in SEVERAL_NAMES
            if wrapped is not None and not is_otel and _is_entered(head, start, size):
                return Likeness.SURE
    further = _OPEN_AT_END.search(head) and (_PRETTY.search(head) or _PRETTY_ARRAY.search(head))
    return Likeness.MAYBE if further else Likeness.NO


def _is_entered(head: memoryview, start: int, size: int) -> bool:
    """Would the object at `start` be taken apart?"""
    first = next(spans(head[start:], size), None)
    return first is not None and (first.text is not None or first.start > 0)


def parse(source: memoryview, limits: Limits) -> Iterator[Item]:
    reader = RowReader(limits)
    yield from finished(_items(source, limits, reader), reader, limits, "documents")


def _items(source: memoryview, limits: Limits, reader: RowReader) -> Iterator[Item]:
    pending = _Pending()
    for span in _merged(spans(source, limits.record_bytes)):
        if span.reason is not None:
            pending.lost.append(_damage(source, span, span.reason))
        elif reader.rows + len(pending.documents) >= limits.rows:
            yield from _read(source, pending, reader)
            yield Damage(span.start, len(source), "row_limit")
            return
        else:
            text = span.text if span.text is not None else bytes(source[span.start : span.end])
            pending.documents.append(span)
            pending.texts.append(_on_one_line(text))
            pending.size_bytes += len(text)
        count = len(pending.documents) + len(pending.lost)
        if pending.size_bytes >= _BLOCK_BYTES or count >= _BLOCK_DOCUMENTS:
            yield from _read(source, pending, reader)
            pending = _Pending()
    yield from _read(source, pending, reader)


@dataclass
class _Pending:
    """What waits to be read at once, and what was lost between it."""

    documents: list[Span] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    lost: list[Damage] = field(default_factory=list)
    size_bytes: int = 0


def _merged(found: Iterator[Span]) -> Iterator[Span]:
    """The same, with lost ranges that only punctuation parts in one."""
    lost: Span | None = None
    for span in found:
        if lost and span.reason == lost.reason:
            lost = Span(lost.start, span.end, lost.reason)
            continue
        if lost:
            yield lost
        lost = span if span.reason else None
        if not lost:
            yield span
    if lost:
        yield lost


def _on_one_line(text: bytes) -> bytes:
    if b"\n" not in text and b"\r" not in text:
        return text
    try:
        return msgspec.json.format(text, indent=-1)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text.translate(_NEWLINES)


def _read(source: memoryview, pending: _Pending, reader: RowReader) -> Iterator[Item]:
    events = None
    if pending.documents:
        result = reader.read(b"\n".join([*pending.texts, b""]))
        reader.units += len(pending.documents)
        events = result.events
        for bad in result.bad:
            reason = "bad_document" if bad.reason == "bad_line" else bad.reason
            pending.lost.append(_damage(source, pending.documents[bad.index], reason))
    yield from sorted(pending.lost, key=lambda damage: damage.start)
    if events is not None:
        yield Events(events)


def _damage(source: memoryview, span: Span, reason: str) -> Damage:
    shown = excerpt(bytes(source[span.start : min(span.end, span.start + 800)]))
    return Damage(span.start, span.end, reason, excerpt=shown)
