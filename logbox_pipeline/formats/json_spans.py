"""Where the documents of a JSON text stand, whatever stands between them. No rows here.

A document is an object that is a record: pretty-printed, concatenated, or an element of an array.
Arrays are not held: brackets and commas between documents are passed over, so that an array of any
length, or one cut short, gives its elements. An object that only wraps an array of records
(`{"logs": [...]}`) is entered, and what else it says becomes a document of its own.

Every byte is passed over by msgspec a few times at most, so that no input takes longer than a
small multiple of its size.
"""

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import msgspec

from logbox_pipeline.formats.json_fields import SEVERAL_NAMES
from logbox_pipeline.formats.json_values import Record, bracket_end, careful_record

LIST_NAMES = frozenset(
    (
        *("logs", "log", "records", "Records", "events", "Events", "entries", "Entries"),
        *("messages", "items", "data", "results", "rows", "log_entries", "value", "hits"),
        *("lines", "resourceLogs", "logEvents"),
    )
)
"""Members that hold the records of an object that is none itself."""

_RECORD_NAMES = frozenset(
    ("msg", "message", "MESSAGE", "short_message", "textPayload", "level", "severity", "lvl")
)
"""An object with one of these is a record."""

_KNOWS_SEVERAL = frozenset(SEVERAL_NAMES)
"""`json_several` takes these apart, as long as their object is whole."""

_MOST_RETRIES = 16
_MOST_MEMBERS = 1_000
_LONGEST_KEY = 4_096
_LONGEST_INDENT = 256
_LONGEST_WITH_CARE = 4 * 1024 * 1024
_LONG_RUN = 16
_LARGE_ARRAY = 64 * 1024
_SURROGATE_BYTES = 12
_SPACE = re.compile(rb"[ \t\r\n\x1e]*")
"""With the record separator of RFC 7464."""
_STRING = re.compile(rb'"(?:[^"\\\n]|\\.){0,%d}"' % _LONGEST_KEY)
_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")
_NULS = re.compile(rb"\0+")
_PADDING = re.compile(rb"\xff{16,}")
_ANY_OBJECT = re.compile(rb'\{[ \t\r\n]*["}]')
_NESTED_AFTER = re.compile(rb'[ \t\r\n]*(?:\}|,[ \t\r\n]*")')
_JOINED_AFTER = re.compile(rb"[ \t\r\n]*(?:\{|\Z)")
_BEFORE_VALUE = (b":", b",", b"[")
_ODD = re.compile(rb"NaN|-?Infinity|-Inf|[\x00-\x1f]")
_POSITION = re.compile(r"\(byte (\d+)\)$")
_RECORDS = msgspec.json.Decoder(Record)
_ANYTHING = msgspec.json.Decoder(msgspec.Raw)
_OPEN_BRACE, _CLOSE_BRACE, _OPEN, _CLOSE, _COMMA, _QUOTE = b'{}[],"'


@dataclass(frozen=True)
class Span:
    """Bytes [start, end): a document, or, with a reason, none. `text` is the document where it
    does not stand there in one piece."""

    start: int
    end: int
    reason: str | None = None
    text: bytes | None = None


def spans(source: memoryview, record_bytes: int, *, enters: bool = True) -> Iterator[Span]:
    """Documents and lost ranges, ascending; what is in neither is punctuation. `enters`: are
    objects that wrap an array of records taken apart?"""
    return _Finder(source, record_bytes, enters).spans()


def probe(source: memoryview, start: int) -> tuple[str, int]:
    """What a value that begins at `start` comes to: `whole` and where it ends (or space behind it
    does), `truncated` at the end of the source, `malformed` and where, `odd` (so, but it may be
    read with care), or `deep`."""
    try:
        _ANYTHING.decode(source[start:])
    except msgspec.DecodeError as error:
        text = str(error)
        found = _POSITION.search(text)
        if found is None:
            # A lone surrogate makes msgspec miss the bytes of its other half.
            tail = bytes(source[max(start, len(source) - _SURROGATE_BYTES) :]).lower()
            return "odd" if b"\\ud" in tail else "truncated", len(source)
        at = start + int(found[1])
        if "surrogate" in text:
            return "odd", at
        return ("whole", at - 1) if "trailing" in text else ("malformed", min(at, len(source)))
    except RecursionError:
        return "deep", start
    return "whole", len(source)


def array_within(source: memoryview, start: int) -> tuple[str, int, set[str]] | None:
    """Name and place of the first array of objects among the members of the object at `start`,
    and the names before it."""
    pos = start + 1
    before: set[str] = set()
    for _ in range(_MOST_MEMBERS):
        member = _member(source, pos)
        if member is None:
            return None
        name, value = member
        if _begins_objects(source, value):
            return name, value, before
        before.add(name)
        kind, pos = probe(source, value)
        if kind != "whole" or pos >= len(source) or source[pos] != _COMMA:
            return None
        pos += 1
    return None


def _member(source: memoryview, pos: int) -> tuple[str, int] | None:
    """The name that stands at `pos`, and where its value begins."""
    key = _STRING.match(source, _skip(source, pos))
    colon = _COLON.match(source, key.end()) if key else None
    if key is None or colon is None or colon.end() >= len(source):
        return None
    return bytes(source[key.start() + 1 : key.end() - 1]).decode("utf-8", "replace"), colon.end()


def _begins_objects(source: memoryview, pos: int) -> bool:
    if pos >= len(source) or source[pos] != _OPEN:
        return False
    first = _skip(source, pos + 1)
    return first < len(source) and source[first] == _OPEN_BRACE


def _skip(source: memoryview, pos: int) -> int:
    found = _SPACE.match(source, pos)
    return found.end() if found else pos


class _Finder:
    """arrays: open brackets, each with whether it stands in a wrapper that goes on behind it.
    rest: what the open wrapper says beside its array. indent: what stands between the line's
    beginning and the last document, None when that was no space. search_bytes: how much may still
    be searched in vain for closing brackets."""

    def __init__(self, source: memoryview, record_bytes: int, enters: bool) -> None:
        self.source = source
        self.enters = enters
        self.record_bytes = record_bytes
        self.arrays: list[bool] = []
        self.rest: list[bytes] = []
        self.rest_start = 0
        self.indent: bytes | None = None
        self.search_bytes = 2 * len(source) + _LONGEST_WITH_CARE

    def spans(self) -> Iterator[Span]:
        source, size = self.source, len(self.source)
        begin = pos = 3 if bytes(source[:3]) == b"\xef\xbb\xbf" else 0
        while True:
            pos = _skip(source, pos)
            if pos >= size:
                return
            letter = source[pos]
            lost = _NULS.match(source, pos) or _PADDING.match(source, pos)
            if lost:
                yield Span(pos, lost.end(), "zeroed" if letter == 0 else "padding")
                pos = lost.end()
            elif letter == _COMMA and self.arrays:
                pos += 1
            elif letter == _CLOSE and self.arrays:
                pos += 1
                if self.arrays.pop():
                    pos = yield from self._wrapper(pos)
            elif letter == _OPEN and self._is_of_objects(pos):
                self.arrays.append(False)
                pos += 1
            elif letter == _OPEN_BRACE:
                pos = yield from self._object(pos, is_first=pos == _skip(source, begin))
            else:
                pos = yield from self._no_object(pos)

    def _is_of_objects(self, pos: int) -> bool:
        after = _skip(self.source, pos + 1)
        return after < len(self.source) and self.source[after] in (_OPEN_BRACE, _OPEN, _CLOSE)

    def _no_object(self, pos: int) -> Generator[Span, None, int]:
        kind, end = probe(self.source, pos)
        if kind == "whole":
            yield Span(pos, self._trimmed(pos, end), "not_an_object")
            return end
        return (yield from self._resynchronized(pos, pos + 1, "bad_document"))

    def _object(self, pos: int, is_first: bool) -> Generator[Span, None, int]:
        kind, end = probe(self.source, pos)
        if kind != "deep" and self._is_wrapper(pos, end, kind == "whole", is_first):
            return (yield from self._wrapper(pos + 1))
        if self._is_odd(kind, end):
            closing = self._closing(pos, _LONGEST_WITH_CARE)
            if closing and careful_record(bytes(self.source[pos:closing]), 64) != "bad_line":
                kind, end = "whole", closing
        if kind == "whole":
            if end - pos > self.record_bytes:
                yield Span(pos, end, "too_long")
            else:
                self._learn(pos)
                yield Span(pos, self._trimmed(pos, end))
            return end
        if kind == "deep":
            return (yield from self._too_deep(pos))
        if end >= len(self.source):
            return (yield from self._resynchronized(pos, end, "truncated"))
        is_zeroed = end < len(self.source) and self.source[end] == 0
        reason = "zeroed" if is_zeroed else "bad_document"
        return (yield from self._resynchronized(pos, end, reason))

    def _is_odd(self, kind: str, failed: int) -> bool:
        """May the object that failed there be read with care?"""
        is_odd = kind == "malformed" and _ODD.match(self.source, failed) is not None
        return is_odd or kind == "odd"

    def _trimmed(self, start: int, end: int) -> int:
        while end > start and self.source[end - 1] in b" \t\r\n":
            end -= 1
        return end

    def _learn(self, pos: int) -> None:
        """How documents stand on their lines, to find them again behind damage."""
        before = bytes(self.source[max(0, pos - _LONGEST_INDENT) : pos])
        indent = before[len(before.rstrip(b" \t")) :]
        is_line = len(indent) == pos or before[: len(before) - len(indent)].endswith(b"\n")
        self.indent = indent if is_line else None

    def _is_wrapper(self, pos: int, end: int, is_whole: bool, is_first: bool) -> bool:
        """Does the object at `pos` only hold records? Where it is cut, by what can be seen."""
        found = array_within(self.source, pos) if self.enters else None
        if found is None or found[1] >= end or found[2] & _RECORD_NAMES:
            return False
        name, array, _ = found
        if not is_whole:
            return name in LIST_NAMES or (is_first and end - array > _LARGE_ARRAY)
        if name in _KNOWS_SEVERAL and end - pos <= self.record_bytes:
            return False
        try:
            names = _RECORDS.decode(self.source[pos:end]).keys()
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        if names & _RECORD_NAMES:
            return False
        if name in LIST_NAMES:
            return True
        # Under another name: when there is little else in the log.
        is_alone = is_first and end >= len(self.source)
        return is_alone and probe(self.source, array)[1] - array > (end - pos) // 2

    def _wrapper(self, pos: int) -> Generator[Span, None, int]:
        """Through a wrapper's members, up to its array or its end."""
        source = self.source
        start = pos
        while True:
            pos = _skip(source, pos)
            if pos < len(source) and source[pos] == _COMMA:
                pos += 1
                continue
            member = _member(source, pos)
            if member is None:
                yield from self._said(start, pos)
                is_closed = pos < len(source) and source[pos] == _CLOSE_BRACE
                return pos + is_closed
            if _begins_objects(source, member[1]):
                yield from self._said(start, pos)
                self.arrays.append(True)
                return member[1] + 1
            kind, end = probe(source, member[1])
            if kind != "whole" or end >= len(source):
                yield from self._said(start, pos)
                lost = "truncated" if kind == "truncated" else "bad_document"
                return (yield from self._resynchronized(pos, max(end, pos + 1), lost))
            if end - pos > self.record_bytes:
                yield from self._said(start, pos)
                yield Span(pos, end, "too_long")
                start = end
            else:
                self.rest.append(bytes(source[pos : self._trimmed(pos, end)]))
            pos = end

    def _said(self, start: int, end: int) -> Iterator[Span]:
        if self.rest:
            yield Span(start, end, text=b"{" + b",".join(self.rest) + b"}")
            self.rest = []

    def _too_deep(self, pos: int) -> Generator[Span, None, int]:
        end = self._closing(pos, len(self.source))
        if end is None:
            line = next(self._line_starts(pos + 1), None)
            end = len(self.source) if line is None else line
        yield Span(pos, end, "too_deep")
        return end

    def _closing(self, pos: int, most_bytes: int) -> int | None:
        """Behind the bracket that closes the one at `pos`, if it is found within the budget."""
        most_bytes = min(most_bytes, self.search_bytes)
        end = bracket_end(self.source, pos, most_bytes)
        if end is None:
            self.search_bytes -= min(most_bytes, len(self.source) - pos)
        return end

    def _resynchronized(self, start: int, failed: int, reason: str) -> Generator[Span, None, int]:
        """Past what is no document: to the next one. `failed`: up to there it might have been."""
        end = self._next_document(start, failed)
        if end >= len(self.source) or reason != "truncated":
            yield Span(start, end, reason)
        else:
            yield Span(start, end, "bad_document")
        return end

    def _next_document(self, start: int, failed: int) -> int:
        source, size = self.source, len(self.source)
        # Inside, only where documents stood so far: else every inner object would be one.
        for number, line in enumerate(self._line_starts(start + 1)):
            if line >= failed or number == _MOST_RETRIES:
                break
            if probe(source, line)[0] == "whole":
                return line
        # Or where one begins behind what is cut off, and another or nothing follows.
        inner = _ANY_OBJECT.finditer(source, start + 1, failed)
        for candidate, _ in zip(inner, range(_MOST_RETRIES), strict=False):
            at = candidate.start()
            if bytes(source[max(start, at - _LONG_RUN) : at]).rstrip().endswith(_BEFORE_VALUE):
                continue
            kind, end = probe(source, at)
            if kind == "whole" and _JOINED_AFTER.match(source, end):
                return at
        pos = max(failed, start + 1)
        while pos < size:
            found = _ANY_OBJECT.search(source, pos)
            nothing = _NULS.search(source, pos, found.start() if found else size)
            if nothing and nothing.end() - nothing.start() > _LONG_RUN:
                return nothing.start()
            if not found:
                return size
            at = found.start()
            kind, end = probe(source, at)
            if self._is_line_start(at) and kind != "deep":
                return at
            if self._is_odd(kind, end):
                end = self._closing(at, _LONGEST_WITH_CARE) or end
                kind = "whole" if source[end - 1] == _CLOSE_BRACE else kind
            if kind == "whole" and not _NESTED_AFTER.match(source, end):
                return at
            if kind == "truncated":
                lines = self._line_starts(at + 1)
                tried = (n for n, _ in zip(lines, range(_MOST_RETRIES), strict=False))
                return next((n for n in tried if probe(source, n)[0] == "whole"), size)
            pos = max(end, at + 1)
        return size

    def _line_starts(self, pos: int) -> Iterator[int]:
        """Objects that stand on their lines as the last document did."""
        if self.indent is not None:
            pattern = re.compile(rb"\n" + re.escape(self.indent) + rb"(?=\{)")
            for found in pattern.finditer(self.source, max(0, pos - 1 - len(self.indent))):
                if found.end() >= pos:
                    yield found.end()

    def _is_line_start(self, at: int) -> bool:
        if self.indent is None:
            return False
        before = bytes(self.source[max(0, at - len(self.indent) - 1) : at])
        return before == b"\n" + self.indent
