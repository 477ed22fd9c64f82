"""A CSV's texts as events: every row of a table that is a log, and the messages in a table of
measurements. No lines and no types here.

A table with a message column beside a time or a level, that has no more columns of numbers than of
words, is a log: its rows belong among the messages of all other logs, where people look for them,
and as telemetry its columns would be of no use. Any other table is telemetry.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from logbox_pipeline.formats.csv_times import UNKNOWN_ZONE_MS, TimePlan
from logbox_pipeline.formats.csv_types import Types
from logbox_pipeline.formats.json_fields import LevelScale, level_of
from logbox_pipeline.formats.stream import EVENT_SCHEMA, Column
from logbox_pipeline.formats.text import clean_text

_MESSAGE = re.compile(
    r"message|msg|text|log|description|event|info|note|notes|remark|statustext|messages?|"
    r"app ?(tip|warning|message)s?|.*\b(tip|warning|message)s?",
    re.I,
)
_PLAIN_MESSAGE = re.compile(r"message|msg|text|log|description|event|messages", re.I)
_LEVEL = re.compile(r"level|lvl|severity|loglevel|log[ _.]level|levelname|priority", re.I)
_SOURCE = re.compile(r"logger|source|component|module|subsystem|node|service|app|tag|name", re.I)


@dataclass(frozen=True)
class Roles:
    """Places of a log's columns; None where it has none."""

    message: int
    level: int | None
    source: int | None


def log_roles(columns: Sequence[Column], types: Types, plan: TimePlan) -> Roles | None:
    """The roles of the columns when the table is a log; None when it is one of measurements."""
    texts = [place for place, kind in enumerate(types) if kind == pa.string()]
    times = {*plan.utc, plan.boot}
    message = _named(columns, [place for place in texts if place not in times], _PLAIN_MESSAGE)
    level = _named(columns, range(len(columns)), _LEVEL)
    if message is None or (level is None and times == {None}):
        return None
    numbers = [
        place
        for place, kind in enumerate(types)
        if kind not in (None, pa.string()) and place not in times and place != level
    ]
    if len(numbers) > len(set(texts) - times):
        return None
    source = _named(columns, [place for place in texts if place not in (message, level)], _SOURCE)
    return Roles(message, level, source)


def message_columns(columns: Sequence[Column], types: Types) -> list[int]:
    """Text columns of a table of measurements in which the vehicle or its app speaks."""
    return [
        place
        for place, kind in enumerate(types)
        if kind == pa.string() and _MESSAGE.fullmatch(_bare(columns[place].source_name))
    ]


def log_events(
    roles: Roles,
    plan: TimePlan,
    columns: Sequence[Column],
    arrays: Sequence[pa.Array],
    ts: pa.Array,
    t_boot_us: pa.Array,
) -> pa.RecordBatch:
    """`EVENT_SCHEMA`: one row per row; whatever a column does not say in full is an attribute."""
    rows = len(ts)
    levels: list[int | None] = [None] * rows
    said_fully = np.zeros(rows, bool)
    if roles.level is not None:
        for row, value in enumerate(arrays[roles.level].to_pylist()):
            levels[row], said_fully[row] = level_of(value, LevelScale.PINO)
    hidden = {roles.message, roles.source}
    partial = {roles.level: said_fully} if roles.level is not None else {}
    if plan.error_ms != UNKNOWN_ZONE_MS and len(plan.utc) == 1:
        partial[plan.utc[0]] = ts.is_valid().to_numpy(zero_copy_only=False)
    attributes: list[dict[str, object]] = [{} for _ in range(rows)]
    for place, values in enumerate(arrays):
        if place in hidden:
            continue
        name, told = columns[place].source_name, partial.get(place)
        for row, value in enumerate(values.to_pylist()):
            if value is not None and not (told is not None and told[row]):
                attributes[row][name] = _json_value(value)
    texts = [msgspec.json.encode(each).decode() if each else None for each in attributes]
    return pa.record_batch(
        [
            ts,
            t_boot_us,
            pa.array(levels, pa.int16()),
            pa.nulls(rows, pa.string()) if roles.source is None else arrays[roles.source],
            arrays[roles.message].cast(pa.string()),
            pa.array(texts, pa.string()),
        ],
        schema=EVENT_SCHEMA,
    )


def spoken_events(
    name: str, texts: pa.Array, ts: pa.Array, t_boot_us: pa.Array, before: str | None
) -> tuple[pa.RecordBatch | None, str | None]:
    """What a message column says, each text once while it stands; and what it said last.

    before: what it said in the row before these. Source is the column's name.
    """
    if texts.null_count == len(texts):
        return None, None if len(texts) else before
    earlier = pa.concat_arrays([pa.array([before], pa.string()), texts.slice(0, len(texts) - 1)])
    is_new = pc.and_(texts.is_valid(), pc.invert(pc.fill_null(pc.equal(texts, earlier), False)))
    said = pc.filter(texts, is_new)
    rows = len(said)
    batch = pa.record_batch(
        [
            pc.filter(ts, is_new),
            pc.filter(t_boot_us, is_new),
            pa.nulls(rows, pa.int16()),
            pa.array([name] * rows, pa.string()),
            said,
            pa.nulls(rows, pa.string()),
        ],
        schema=EVENT_SCHEMA,
    )
    return (batch if rows else None), texts[len(texts) - 1].as_py()


def plain_events(source: str, texts: Sequence[str], lines: Sequence[int]) -> pa.RecordBatch:
    """Texts that have no time: remarks between the rows, with the line they stand on."""
    rows = len(texts)
    return pa.record_batch(
        [
            pa.nulls(rows, EVENT_SCHEMA.field("ts").type),
            pa.nulls(rows, pa.int64()),
            pa.nulls(rows, pa.int16()),
            pa.array([source] * rows, pa.string()),
            pa.array([clean_text(text) for text in texts], pa.string()),
            pa.array([f'{{"line":{line}}}' for line in lines], pa.string()),
        ],
        schema=EVENT_SCHEMA,
    )


def _named(
    columns: Sequence[Column], places: Sequence[int], pattern: re.Pattern[str]
) -> int | None:
    return next((p for p in places if pattern.fullmatch(_bare(columns[p].source_name))), None)


def _bare(name: str) -> str:
    return name.strip().rsplit(".", 1)[-1]


def _json_value(value: object) -> object:
    """JSON knows no NaN and no infinity."""
    is_odd = isinstance(value, float) and not np.isfinite(value)
    return str(value) if is_odd else value
