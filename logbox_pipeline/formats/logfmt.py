"""logfmt, as Go's loggers, Heroku and systemd-style tools write it: key=value to events.

Each line becomes the JSON object that it means, and `jsonl` makes rows of it: which keys are time,
level, source and message is decided there for both. https://brandur.org/logfmt,
https://pkg.go.dev/github.com/kr/logfmt (the grammar). No columns here.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache

from logbox_pipeline.formats import jsonl
from logbox_pipeline.formats.json_fields import (
    LEVEL_NAMES,
    MESSAGE_NAMES,
    SOURCE_NAMES,
    TIME_NAMES,
    LevelScale,
    level_of,
    time_us,
)
from logbox_pipeline.formats.stream import (
    About,
    Damage,
    Events,
    Item,
    Likeness,
    Limits,
    TimeSource,
    Unreadable,
)
from logbox_pipeline.formats.text_lines import blocks, sample_lines
from logbox_pipeline.formats.text_times import UNKNOWN_ZONE_MS

PARSER_VERSION = 1

_PAIR = re.compile(
    r"(?P<key>[^\s=\"]++)(?:(?P<equals>=)"
    r"(?:(?P<quoted>\"[^\"\\]*+(?:\\.[^\"\\]*+)*+\")(?=\s|$)|(?P<bare>[^\s\"][^\s]*+|(?=\s|$))"
    r"|(?P<rest>\".*+)))?",
    re.ASCII,
)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,30})?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_PLAIN_KEY = re.compile(r"[\w.@/:-]+")
_NEEDS_ESCAPE = re.compile(r"[\"\\\0-\x1f]")
_JSON_ESCAPES = re.compile(r'(?:[^\\\0-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+')
_GO_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL
)
_ONE_LETTER = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_CONSTANTS = {"true": "true", "false": "false", "null": "null"}
_MOST_MORE_LINES = 2_000
_MOST_MORE_BYTES = 256 * 1024
_MOST_HELD = 10_000
_SAMPLE_LINES = 200
_LEAST_ENTRIES = 500
_LONGEST_LINE = 1024 * 1024
"""Bytes; what becomes of a longer one may be too long for `json_values`."""

Record = dict[str, str]
"""Members of a line; values are JSON text."""


def recognizes(head: memoryview, size: int) -> Likeness:
    """SURE when most lines are key=value and little else, MAYBE when most have two at least."""
    lines = sample_lines(head, size, _SAMPLE_LINES)
    lines = [line for line in lines or [] if line[0] not in " \t"]
    if not lines or lines[0][0] in "{[<":
        return Likeness.NO
    strict = loose = 0
    for line in lines:
        found = _PAIR.findall(line[:10_000])
        pairs = sum(bool(pair[1]) for pair in found)
        if pairs < 2 or (not found[0][0][0].isalpha() and found[0][0][0] not in "@_"):
            continue
        loose += pairs * 2 >= len(found)
        strict += bool(found[0][1]) and pairs * 5 >= len(found) * 4
    if strict >= 0.7 * len(lines):
        return Likeness.SURE
    return Likeness.MAYBE if loose >= 0.6 * len(lines) else Likeness.NO


def parse(source: memoryview, limits: Limits) -> Iterator[Item]:
    rows = lines = damages = 0
    first: datetime | None = None
    last: datetime | None = None
    held: list[Damage] = []
    has_unzoned = False
    for piece in _pieces(source, limits):
        if isinstance(piece, Damage):
            damages += 1
            if rows == 0 and len(held) < _MOST_HELD:
                held.append(piece)
            else:
                yield piece
            continue
        yield from held
        held.clear()
        if rows >= limits.rows:
            yield Damage(piece.start, len(source), "row_limit", line=lines + 1)
            break
        lines += piece.lines
        has_unzoned |= piece.has_unzoned
        for item in jsonl.parse(memoryview(piece.text.encode("utf-8", "replace")), limits):
            if isinstance(item, Events):
                rows += item.batch.num_rows
                yield item
            elif isinstance(item, About):
                begins = [t for t in (first, item.recorded_from) if t is not None]
                ends = [t for t in (last, item.recorded_to) if t is not None]
                first, last = min(begins, default=None), max(ends, default=None)
    if rows == 0 and damages:
        yield Unreadable("damaged", f"none of {lines} lines is logfmt")
        return
    yield from held
    info: dict[str, str | int | float] = {"lines": lines, "entries": rows}
    if has_unzoned:
        info["zone_assumed"] = "UTC"
    yield About(
        time_source=TimeSource.NONE if first is None else TimeSource.LOG,
        time_error_ms=UNKNOWN_ZONE_MS if has_unzoned else None,
        recorded_from=first,
        recorded_to=last,
        info=info,
    )


@dataclass(frozen=True)
class _Piece:
    """Entries as JSON lines; `lines` of the file from `start` on gave them."""

    text: str
    start: int
    lines: int
    has_unzoned: bool


@dataclass
class _Entry:
    """A line that was read, and those below it that say no key."""

    record: Record
    more: list[str] = field(default_factory=list)
    more_bytes: int = 0

    def takes(self, line: str) -> bool:
        """Append a line, unless there are too many already."""
        self.more_bytes += len(line) + 1
        if self.more_bytes > _MOST_MORE_BYTES or len(self.more) >= _MOST_MORE_LINES:
            return False
        self.more.append(line)
        return True

    def json(self) -> str:
        if self.more:
            name = next((name for name in MESSAGE_NAMES if name in self.record), "message")
            said = json.loads(self.record.get(name, '""'))
            lines = [said if isinstance(said, str) else self.record[name], *self.more]
            self.record[name] = json.dumps("\n".join(lines).strip(), ensure_ascii=False)
        members = [f"{_key_text(key)}:{value}" for key, value in self.record.items()]
        return "{" + ",".join(members) + "}\n"


def _pieces(source: memoryview, limits: Limits) -> Iterator[_Piece | Damage]:
    above: _Entry | None = None
    start = lines = 0
    texts: list[str] = []
    has_unzoned = False
    bounds = replace(limits, record_bytes=min(limits.record_bytes, _LONGEST_LINE))
    for block in blocks(source, bounds):
        if isinstance(block, Damage):
            yield block
            continue
        lines += block.lines
        for index, line in enumerate(block.text[:-1].split("\n")):
            record = None if line[:1] in ("", " ", "\t") else _record(line)
            if record is None:
                if above is not None and above.takes(line):
                    continue
                if not line.strip():
                    continue
                record = {"message": json.dumps(line, ensure_ascii=False)}
            if index in block.not_utf8:
                record["logbox_invalid_utf8"] = "true"
            if above is not None:
                texts.append(above.json())
            above = _Entry(record)
            has_unzoned = has_unzoned or _is_unzoned(record)
        if len(texts) >= _LEAST_ENTRIES:
            yield _Piece("".join(texts), start, lines, has_unzoned)
            texts, start, lines, has_unzoned = [], block.end, 0, False
    if above is not None:
        texts.append(above.json())
    if lines or texts:
        yield _Piece("".join(texts), start, lines, has_unzoned)


def _record(line: str) -> Record | None:
    """The members of a line; None when it is no logfmt: as many bare words as pairs or more."""
    record: Record = {}
    repeats: dict[str, int] = {}
    bare: list[str] = []
    pairs = 0
    for key, equals, quoted, plain, rest in _PAIR.findall(line):
        if not equals:
            bare.append(key)
            value = "true"
        else:
            pairs += 1
            value = _bare_value(plain) if not quoted and not rest else _quoted_value(quoted, rest)
        if key in record:
            repeats[key] = repeats.get(key, 1) + 1
            key = f"{key}#{repeats[key]}"
        record[key] = value
    if not pairs or len(bare) > pairs:
        return None
    return _with_known_names(record, bare)


def _bare_value(text: str) -> str:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[:1] in "-0123456789" and _NUMBER.fullmatch(text):
        return text
    if _NEEDS_ESCAPE.search(text):
        return json.dumps(text, ensure_ascii=False)
    return f'"{text}"'


def _quoted_value(quoted: str, rest: str) -> str:
    """A quoted value as JSON text; `rest` is one whose closing quote is missing."""
    if rest:
        return json.dumps(rest[1:], ensure_ascii=False)
    inner = quoted[1:-1]
    if not _NEEDS_ESCAPE.search(inner) or _JSON_ESCAPES.fullmatch(inner):
        return quoted
    return json.dumps(_GO_ESCAPE.sub(_unescaped, inner), ensure_ascii=False)


def _unescaped(match: re.Match[str]) -> str:
    """What a Go string escape stands for (strconv.Quote); any other backslash stays."""
    digits = match[1] or match[2] or match[3]
    if digits or match[4]:
        number = int(digits, 16) if digits else int(match[4], 8)
        is_letter = number < 0x110000 and not 0xD800 <= number < 0xE000
        return chr(number) if is_letter else match[0]
    if match[5] in _ONE_LETTER:
        return _ONE_LETTER[match[5]]
    return match[5] if match[5] in "\"\\'" else match[0]


def _with_known_names(record: Record, bare: list[str]) -> Record:
    """The same members, where a known role hides under another name or in front without one."""
    if bare and next(iter(record)) == bare[0]:
        word = bare[0]
        if not _has(record, TIME_NAMES) and time_us(word)[0] is not None:
            del record[word]
            record = {"time": json.dumps(word)} | record
        elif not _has(record, LEVEL_NAMES) and word.isupper() and _is_level(word):
            del record[word]
            record = {"level": json.dumps(word)} | record
    at = record.get("at")
    if at is not None and at[0] == '"':
        if not _has(record, LEVEL_NAMES) and _is_level(at[1:-1]):
            record = {"level" if key == "at" else key: value for key, value in record.items()}
        elif not _has(record, TIME_NAMES) and time_us(at[1:-1])[0] is not None:
            record = {"time" if key == "at" else key: value for key, value in record.items()}
    if "caller" in record and not _has(record, SOURCE_NAMES):
        record = {"source" if key == "caller" else key: value for key, value in record.items()}
    return record


def _has(record: Record, names: tuple[str, ...]) -> bool:
    return not record.keys().isdisjoint(names)


def _is_level(word: str) -> bool:
    return len(word) > 1 and level_of(word, LevelScale.SYSLOG)[0] is not None


def _is_unzoned(record: Record) -> bool:
    name = next((name for name in TIME_NAMES if name in record), None)
    if name is None or record[name][0] != '"' or record[name].endswith('Z"'):
        return False
    us, has_zone = time_us(record[name][1:-1])
    return us is not None and not has_zone


@lru_cache(4_096)
def _key_text(key: str) -> str:
    return f'"{key}"' if _PLAIN_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)
