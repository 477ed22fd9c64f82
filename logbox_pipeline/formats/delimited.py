"""CSV and TSV of any tool to rows of one topic, or to events when the table is a log.

Dialect, names, types and times are found by content (`csv_dialect`, `csv_columns`, `csv_types`,
`csv_times`); rows go through Arrow's CSV reader block by block (`csv_rows`), and what is no row is
Damage that costs its own line only. The source's time columns stay among the columns, as written:
what they mean was concluded, not told.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from logbox_pipeline.formats.csv_columns import batch_names, columns_of, topic_of
from logbox_pipeline.formats.csv_dialect import Dialect, sniff
from logbox_pipeline.formats.csv_events import (
    Roles,
    log_events,
    log_roles,
    message_columns,
    plain_events,
    spoken_events,
)
from logbox_pipeline.formats.csv_rows import Comment, RowReader, merged
from logbox_pipeline.formats.csv_times import (
    UNKNOWN_ZONE_MS,
    TimePlan,
    boot_column,
    plan_times,
    utc_column,
)
from logbox_pipeline.formats.csv_types import infer_types, padded_columns, without_padding
from logbox_pipeline.formats.stream import (
    About,
    Column,
    Damage,
    Events,
    Item,
    Likeness,
    Limits,
    Rows,
    TimeSource,
    Unreadable,
)
from logbox_pipeline.formats.text import excerpt
from logbox_pipeline.formats.text_lines import sample_lines
from logbox_pipeline.formats.text_prefixes import is_of_containers
from logbox_pipeline.formats.times import epoch_us, instant

PARSER_VERSION = 1

_HEAD = 64 * 1024
_SAMPLE_LINES = 200
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_MOST_HELD = 10_000
_INFO_ENTRIES = 200
_INFO_CHARACTERS = 4_000
_KEY_VALUE = re.compile(r"[#%/; ]*([A-Za-z][^:=,;\t|]{0,80}?)\s*[:=,;\t|]+\s*(.+?)\s*")
_FIRMWARE = re.compile(r"(?:aircraft |vehicle |fc )?firmware(?: ?(?:version|revision))?", re.I)
_UID = re.compile(
    r"(?:aircraft|drone|vehicle|uav|flight controller|fc|device) ?(?:serial(?: number| no\.?)?|sn|"
    r"uid|uuid|id)",
    re.I,
)


def recognizes(head: memoryview, size: int) -> Likeness:
    """SURE when a delimiter cuts the lines into columns of numbers or times; MAYBE when all of
    them are words."""
    raw = bytes(head)
    dialect = _sniffed(_utf8(raw) if raw[:2] in _UTF16 else raw, len(head) == size)
    if dialect is None:
        return Likeness.NO
    if dialect.delimiter == "|" and is_of_containers(sample_lines(head, size, _SAMPLE_LINES) or []):
        return Likeness.NO
    return dialect.likeness


def parse(source: memoryview, limits: Limits) -> Iterator[Item]:
    if bytes(source[:2]) in _UTF16:
        text = _utf8(bytes(source))
        yield from _in_utf16(_items(memoryview(text), limits), text, len(source))
    else:
        yield from _items(source, limits)


@lru_cache(maxsize=2)
def _sniffed(head: bytes, is_whole: bool) -> Dialect | None:
    """Remembered: recognizing and parsing ask the same of the same bytes."""
    return sniff(head, is_whole)


def _utf8(raw: bytes) -> bytes:
    return raw.decode("utf-16", "replace").encode("utf-8", "replace")


def _in_utf16(items: Iterator[Item], text: bytes, size: int) -> Iterator[Item]:
    """The same items, with the places of damage in the UTF-16 bytes instead of in `text`."""
    at_utf8, at_utf16 = 0, 2
    for item in items:
        if not isinstance(item, Damage):
            yield item
            continue
        places = []
        for place in (item.start, item.end):
            passed = text[at_utf8:place].decode("utf-8", "replace")
            at_utf8, at_utf16 = place, at_utf16 + len(passed.encode("utf-16-le", "replace"))
            places.append(at_utf16)
        start, end = min(places[0], size - 1), min(places[1], size)
        if item.end == len(text):
            end = size
        yield Damage(start, max(end, start + 1), item.reason, item.line, item.excerpt)


def _items(source: memoryview, limits: Limits) -> Iterator[Item]:
    dialect = _sniffed(bytes(source[:_HEAD]), len(source) <= _HEAD)
    if dialect is None:
        yield Unreadable("not_csv", "no delimiter cuts the first lines into a table")
        return
    if dialect.width > limits.columns:
        detail = f"{dialect.width} columns; at most {limits.columns} are read"
        yield Unreadable("too_many_columns", detail)
        return
    held: list[Item] = []
    table = _table(source, dialect, limits)
    for item in merged(_table_items(source, table, limits)):
        if isinstance(item, Damage) and table.reader.rows == 0 and len(held) < _MOST_HELD:
            held.append(item)
            continue
        yield from held
        held.clear()
        yield item
    if table.reader.rows == 0:
        yield Unreadable("damaged", "no line could be read as a row of the table")
        return
    yield from held
    yield _about(table)


@dataclass
class _Table:
    """One CSV while it is read. `said` is what each message column said last; `padded` are
    the places of columns with blanks around their texts."""

    dialect: Dialect
    columns: tuple[Column, ...]
    topic: str
    plan: TimePlan
    reader: RowReader
    roles: Roles | None
    latest_us: int
    padded: frozenset[int]
    said: dict[int, str | None] = field(default_factory=dict)
    first_us: int | None = None
    last_us: int | None = None


def _table(source: memoryview, dialect: Dialect, limits: Limits) -> _Table:
    columns = columns_of(dialect.header, dialect.units, dialect.width)
    types = infer_types(source, dialect, dialect.data_start)
    latest_us = epoch_us(limits.received_at + timedelta(days=1))
    plan = plan_times(columns, dialect.rows, dialect.decimal_comma, latest_us)
    if dialect.is_utc and plan.error_ms == UNKNOWN_ZONE_MS:
        plan = replace(plan, error_ms=1_000)
    return _Table(
        dialect=dialect,
        columns=columns,
        topic=topic_of(columns),
        plan=plan,
        reader=RowReader(dialect, types, dialect.data_line),
        roles=log_roles(columns, types, plan),
        latest_us=latest_us,
        padded=padded_columns(dialect.rows),
    )


def _table_items(source: memoryview, table: _Table, limits: Limits) -> Iterator[Item]:
    yield from _damage_above(bytes(source[: table.dialect.data_start]))
    comments: list[Comment] = []
    for item in table.reader.read(source, table.dialect.data_start, limits):
        if isinstance(item, list):
            for low in range(0, len(item[0]), limits.batch_rows):
                part = [values.slice(low, limits.batch_rows) for values in item]
                yield from _rows(table, part)
        elif isinstance(item, Comment):
            comments.append(item)
            if len(comments) >= limits.batch_rows:
                yield _remarks(comments)
                comments.clear()
        else:
            yield item
    if comments:
        yield _remarks(comments)


def _damage_above(head: bytes) -> Iterator[Damage]:
    """Lines above the rows that are no text, so that nobody takes them for a preamble."""
    start = 0
    for number, line in enumerate(head.splitlines(keepends=True) if b"\0" in head else (), 1):
        if b"\0" in line:
            shown = excerpt(line)
            yield Damage(start, start + len(line), "zeroed", line=number, excerpt=shown)
        start += len(line)


def _rows(table: _Table, arrays: list[pa.Array]) -> Iterator[Rows | Events]:
    if table.padded:
        arrays = [
            without_padding(values) if place in table.padded else values
            for place, values in enumerate(arrays)
        ]
    if table.dialect.nulls:
        arrays = [_without(values, table.dialect.nulls) for values in arrays]
    ts = utc_column(table.plan, arrays, table.latest_us)
    t_boot_us = boot_column(table.plan, arrays)
    if ts.null_count < len(ts):
        span = pc.min_max(ts.cast(pa.int64())).as_py()
        table.first_us = min(span["min"], span["min"] if table.first_us is None else table.first_us)
        table.last_us = max(span["max"], span["max"] if table.last_us is None else table.last_us)
    if table.roles is not None:
        yield Events(log_events(table.roles, table.plan, table.columns, arrays, ts, t_boot_us))
        return
    names = batch_names(table.columns)
    yield Rows(
        table.topic,
        0,
        pa.RecordBatch.from_arrays([t_boot_us, ts, *arrays], names=names),
        table.columns,
    )
    for place in message_columns(table.columns, [values.type for values in arrays]):
        batch, table.said[place] = spoken_events(
            table.columns[place].source_name, arrays[place], ts, t_boot_us, table.said.get(place)
        )
        if batch is not None:
            yield Events(batch)


def _without(values: pa.Array, nulls: tuple[str, ...]) -> pa.Array:
    """Texts; null where one of `nulls` stands for nothing."""
    if not pa.types.is_string(values.type):
        return values
    is_null = pc.is_in(values, value_set=pa.array(nulls))
    return pc.if_else(is_null, pa.scalar(None, pa.string()), values)


def _remarks(comments: list[Comment]) -> Events:
    texts, lines = [comment.text for comment in comments], [comment.line for comment in comments]
    return Events(plain_events("comment", texts, lines))


def _about(table: _Table) -> About:
    info = _preamble_info(table.dialect.preamble)
    reader, plan = table.reader, table.plan
    names = [column.source_name for column in table.columns]
    described: dict[str, str | int | float] = {
        "delimiter": {"\t": "tab", " ": "space"}.get(
            table.dialect.delimiter, table.dialect.delimiter
        ),
        "encoding": table.dialect.encoding,
        "columns": len(names),
        "rows": reader.rows,
        "has_header": int(table.dialect.header is not None),
        "short_lines": reader.short_lines,
        "repeated_headers": reader.repeated_headers,
        "time_column": " + ".join(names[place] for place in plan.utc),
        "boot_column": "" if plan.boot is None else names[plan.boot],
    }
    said = {key: value for key, value in described.items() if value not in ("", 0)}
    is_timed = table.first_us is not None
    return About(
        time_source=TimeSource.LOG if is_timed else TimeSource.NONE,
        time_error_ms=plan.error_ms if is_timed else None,
        recorded_from=None if table.first_us is None else instant(table.first_us),
        recorded_to=None if table.last_us is None else instant(table.last_us),
        vehicle_uid=_said(info, _UID),
        firmware=_said(info, _FIRMWARE),
        info={**info, **{f"csv_{key}": value for key, value in said.items()}},
    )


def _preamble_info(lines: tuple[str, ...]) -> dict[str, str | int | float]:
    """The lines above the header: `key: value` by their key, the others as they are."""
    info: dict[str, str | int | float] = {}
    others: list[str] = []
    for line in lines:
        match = _KEY_VALUE.fullmatch(line)
        if match and match[1] not in info and len(info) < _INFO_ENTRIES:
            info[match[1]] = match[2].strip('"')[:_INFO_CHARACTERS]
        elif line.strip("#%/ "):
            others.append(line)
    if others:
        info["preamble"] = "\n".join(others)[:_INFO_CHARACTERS]
    return info


def _said(info: dict[str, str | int | float], pattern: re.Pattern[str]) -> str | None:
    found = (str(value) for key, value in info.items() if pattern.fullmatch(key))
    return next(found, None)
