"""Columns, types and names of every table that rows of logs go to. No I/O.

A column's type is named once, as Postgres spells it (`pg_catalog.format_type`); the same type has
one Arrow type, so that the lake and Postgres hold the same values. What a parser yields is brought
into these *storage types* by `stored`; names are given once by `assign_names` and kept.
"""

import fnmatch
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from logbox_pipeline.core.errors import PermanentError

TIMESTAMP = pa.timestamp("us", tz="UTC")
UINT64 = "numeric(20,0)"

_TYPES: dict[str, tuple[pa.DataType, str]] = {
    "smallint": (pa.int16(), "i16"),
    "integer": (pa.int32(), "i32"),
    "bigint": (pa.int64(), "i64"),
    UINT64: (pa.decimal128(20, 0), "u64"),
    "real": (pa.float32(), "f32"),
    "double precision": (pa.float64(), "f64"),
    "boolean": (pa.bool_(), "bool"),
    "text": (pa.string(), "text"),
    "bytea": (pa.binary(), "bytes"),
    "date": (pa.date32(), "date"),
    "timestamp with time zone": (TIMESTAMP, "ts"),
}
"""Postgres type -> (Arrow storage type, the suffix of a column that another type came before)."""

_STORED_AS: dict[pa.DataType, str] = {
    pa.int8(): "smallint",
    pa.uint8(): "smallint",
    pa.int16(): "smallint",
    pa.uint16(): "integer",
    pa.int32(): "integer",
    pa.uint32(): "bigint",
    pa.int64(): "bigint",
    pa.uint64(): "bigint",
    pa.float16(): "real",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.bool_(): "boolean",
    pa.string(): "text",
    pa.large_string(): "text",
    pa.string_view(): "text",
    pa.binary(): "bytea",
    pa.large_binary(): "bytea",
    pa.date32(): "date",
}
"""Arrow source type -> Postgres type. Of uint64, what fits goes to `bigint`, value by value; the
rest goes to a second column of type numeric(20,0), so that a column's type never depends on which
values came first."""

_UNCHANGED = {
    arrow.id: kind
    for kind, (arrow, _) in _TYPES.items()
    if kind in ("smallint", "integer", "bigint", "real", "double precision", "boolean")
}
_WIDENED: dict[int, tuple[str, type[np.generic]]] = {
    pa.int8().id: ("smallint", np.int16),
    pa.uint8().id: ("smallint", np.int16),
    pa.uint16().id: ("integer", np.int32),
    pa.uint32().id: ("bigint", np.int64),
}
"""Most columns of most logs, found without a general rule: it would cost more than they hold."""

_LISTED = frozenset(_TYPES) - {"timestamp with time zone", "date", "bytea"}

MAX_SOURCE_NAME_BYTES = 1_000
"""Of a topic's or a field's own name: an index of Postgres takes 2,700 bytes, and a small log with
nested types can give thousands of fields names of 60 KB each."""

MAX_NAME_BYTES = 63
MAX_TABLE_NAME_BYTES = MAX_NAME_BYTES - len("_202611")
"""A partition's name is its table's with a month behind it."""

MAX_POSTGRES_COLUMNS = 500
MAX_POSTGRES_ROW_BYTES = 8_000
"""A row must fit into one 8 KiB page; what TOAST moves out still leaves 18 bytes behind."""

NEW_TABLES_SHARE = 4
"""One batch creates a quarter of LOGBOX_MAX_TELEMETRY_TABLES at most: one log with thousands of
topics must leave room for the ordinary logs of everybody else."""

FIXED_COLUMNS = ("log_id", "instance", "t_boot_us", "ts", "received_on", "client", "vehicle")
VIEW_COLUMNS = ("flight_id", "takeoff_at", "landed_at", "flight_s")
"""What the view of a telemetry table adds to these."""
_TAKEN_COLUMNS = (
    frozenset(FIXED_COLUMNS)
    | frozenset(VIEW_COLUMNS)
    | {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"}
)
_TAKEN_TABLES = frozenset(
    ("log_events", "log_parameters", "log_topics", "log_track", "flight_track")
)

EVENTS = "log_events"
PARAMETERS = "log_parameters"
TRACK = "log_track"
CATALOG_TABLES = frozenset((EVENTS, PARAMETERS, TRACK))
"""Tables of rows of logs that stand in schema `logbox`; all others are telemetry."""

EVENT_COLUMNS = pa.schema(
    [
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("ts", TIMESTAMP),
        pa.field("t_boot_us", pa.int64(), metadata={"unit": "us"}),
        pa.field("level", pa.int16()),
        pa.field("source", pa.string()),
        pa.field("message", pa.string()),
        pa.field("attributes", pa.string(), metadata={"postgres_type": "jsonb"}),
    ]
)
"""`log_events` without its log; `attributes` is JSON text, `jsonb` in Postgres."""

PARAMETER_COLUMNS = pa.schema(
    [
        pa.field("seq", pa.int32(), nullable=False),
        pa.field("t_boot_us", pa.int64(), metadata={"unit": "us"}),
        pa.field("name", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("value_type", pa.string(), nullable=False),
    ]
)
"""`log_parameters` without its log."""

_TELEMETRY_FIXED = (
    pa.field("instance", pa.int32(), nullable=False),
    pa.field("t_boot_us", pa.int64(), metadata={"unit": "us"}),
    pa.field("ts", TIMESTAMP),
)


@dataclass(frozen=True)
class StoredColumn:
    """A column as the source names it, in a storage type. Its key is (source_name, type)."""

    source_name: str
    type: str
    unit: str | None = None
    scale: float | None = None
    definition: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.source_name, self.type


@dataclass(frozen=True)
class WantedTopic:
    """A topic some logs have, and all columns they have of it, in the order first seen."""

    format: str
    topic: str
    columns: tuple[StoredColumn, ...]


@dataclass(frozen=True)
class NamedColumn:
    """One row of `logbox.telemetry_columns`, but for its time."""

    table_name: str
    column_name: str
    format: str
    topic: str
    source_name: str
    position: int
    type: str
    unit: str | None = None
    scale: float | None = None
    definition: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.source_name, self.type


@dataclass(frozen=True)
class TelemetryTable:
    """Where a topic's rows go. `columns` are the wanted ones, in the order of the table."""

    table_name: str
    format: str
    topic: str
    columns: tuple[NamedColumn, ...]
    lake_only_reason: str | None = None


@dataclass(frozen=True)
class LogKey:
    """What every row says of its log."""

    log_id: UUID
    client: str
    vehicle: str | None


# Types


def arrow_type(postgres_type: str) -> pa.DataType:
    """The Arrow storage type of a Postgres type: `real[]` -> list<float>."""
    if postgres_type.endswith("[]"):
        return pa.list_(_TYPES[postgres_type[:-2]][0])
    return _TYPES[postgres_type][0]


def type_suffix(postgres_type: str) -> str:
    if postgres_type.endswith("[]"):
        return f"{_TYPES[postgres_type[:-2]][1]}_list"
    return _TYPES[postgres_type][1]


def storage_type(source: pa.DataType) -> str:
    """The Postgres type for a parser's Arrow type.

    Raises PermanentError for a type no parser may yield (a struct, a map, nanoseconds).
    """
    if pa.types.is_dictionary(source):
        return storage_type(source.value_type)
    if _is_list(source):
        element = storage_type(source.value_type)
        if element in _LISTED:
            return f"{element}[]"
    elif pa.types.is_timestamp(source) and source.unit != "ns":
        return "timestamp with time zone"
    elif source in _STORED_AS:
        return _STORED_AS[source]
    raise PermanentError(
        f"no storage type for Arrow type {source}", hint="a parser yields it: report the log"
    )


def stored(source_name: str, values: pa.Array) -> Iterator[tuple[str, str, pa.Array]]:
    """`values` in storage types: (source_name, Postgres type, array), one or two of them.

    The second holds the uint64 values that no bigint can hold. Nothing comes of a column without
    type. Text loses NUL and invalid UTF-8 to U+FFFD; times outside years 1-9999 become null.
    """
    if plain := _UNCHANGED.get(values.type.id):
        yield source_name, plain, values
        return
    if (widened := _WIDENED.get(values.type.id)) and not values.null_count:
        yield source_name, widened[0], pa.array(values.to_numpy().astype(widened[1]))
        return
    if pa.types.is_null(values.type):
        return
    kind = storage_type(values.type)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if values.type == pa.uint64():
        yield from _uint64(source_name, values)
    elif _is_list(values.type) and values.type.value_type == pa.uint64():
        yield from _uint64_list(source_name, values)
    elif kind == "text":
        yield source_name, kind, clean_texts(values.cast(pa.string()))
    elif kind == "timestamp with time zone":
        yield source_name, kind, clean_times(values)
    elif kind == "text[]":
        yield source_name, kind, _clean_list(values)
    else:
        target = arrow_type(kind)
        yield source_name, kind, values if values.type == target else values.cast(target)


def _is_list(source: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(source)
        or pa.types.is_large_list(source)
        or pa.types.is_fixed_size_list(source)
    )


_LARGEST_BIGINT = pa.scalar(2**63 - 1, pa.uint64())


def _uint64(source_name: str, values: pa.Array) -> Iterator[tuple[str, str, pa.Array]]:
    if not values.null_count and (not len(values) or values.to_numpy().max() < 2**63):
        # The same bytes; what Arrow's max and cast cost is more than a small batch.
        yield source_name, "bigint", values.view(pa.int64())
        return
    largest = pc.max(values)
    if not largest.is_valid or largest.as_py() < 2**63:
        yield source_name, "bigint", values.cast(pa.int64())
        return
    fits = pc.less_equal(values, _LARGEST_BIGINT)
    nothing = pa.scalar(None, pa.uint64())
    yield source_name, "bigint", pc.if_else(fits, values, nothing).cast(pa.int64())
    yield source_name, UINT64, pc.if_else(fits, nothing, values).cast(arrow_type(UINT64))


def _uint64_list(source_name: str, values: pa.Array) -> Iterator[tuple[str, str, pa.Array]]:
    large = np.array(
        [row is not None and any(v is not None and v >= 2**63 for v in row) for row in _py(values)]
        if (pc.max(values.flatten()).as_py() or 0) >= 2**63
        else np.zeros(len(values), bool)
    )
    nothing = pa.scalar(None, pa.list_(pa.uint64()))
    plain = values.cast(pa.list_(pa.uint64()))
    if not large.any():
        yield source_name, "bigint[]", plain.cast(pa.list_(pa.int64()))
        return
    mask = pa.array(large)
    yield (
        source_name,
        "bigint[]",
        pc.if_else(mask, nothing, plain).cast(pa.list_(pa.int64())),
    )
    yield (
        source_name,
        f"{UINT64}[]",
        pc.if_else(mask, plain, nothing).cast(pa.list_(pa.decimal128(20, 0))),
    )


def _py(values: pa.Array) -> list[Any]:
    return list(values.to_pylist())


# Values that a store would refuse


def clean_text(text: str) -> str:
    """`text` without NUL and lone surrogates, which Postgres refuses."""
    if not text.isascii():
        text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return text.replace("\0", "\ufffd")


def clean_name(text: str) -> str:
    """The same for the name of a topic or a field; one that is too long keeps its beginning, and a
    digest that tells it from others."""
    text = clean_text(text)
    if 4 * len(text) <= MAX_SOURCE_NAME_BYTES:
        return text
    raw = text.encode()
    if len(raw) <= MAX_SOURCE_NAME_BYTES:
        return text
    digest = hashlib.sha256(raw).hexdigest()[:32]
    return raw[: MAX_SOURCE_NAME_BYTES - 33].decode("utf-8", "ignore") + "~" + digest


def clean_texts(values: pa.StringArray) -> pa.StringArray:
    """The same for a column; costs one pass over its bytes when there is nothing to do."""
    if _is_clean(values):
        return values
    return pa.array(
        [
            None if raw is None else raw.decode("utf-8", "replace").replace("\0", "\ufffd")
            for raw in _py(values.cast(pa.binary()))
        ],
        pa.string(),
    )


def _is_clean(values: pa.StringArray) -> bool:
    if len(values) == 0 or values.null_count == len(values):
        return True
    _, offsets, data = values.buffers()
    ends = np.frombuffer(offsets, np.int32, len(values) + 1, values.offset * 4)
    if data is None or ends[0] == ends[-1]:
        return True
    text = memoryview(data)[int(ends[0]) : int(ends[-1])]
    if not np.frombuffer(text, np.uint8).all():
        return False
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _clean_list(values: pa.Array) -> pa.ListArray:
    plain = values.cast(pa.list_(pa.string()))
    if _is_clean(plain.flatten()):
        return plain
    rows = [None if row is None else [v and clean_text(v) for v in row] for row in _py(plain)]
    return pa.array(rows, pa.list_(pa.string()))


_FIRST_US = -62_135_596_800_000_000  # 0001-01-01T00:00:00Z
_LAST_US = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z


def clean_times(values: pa.Array) -> pa.TimestampArray:
    """Times outside years 1-9999 become null: what every store and Python can hold."""
    if values.type.unit == "us":
        raw = values.view(pa.int64())
    else:
        per_unit = {"s": 1_000_000, "ms": 1_000}[values.type.unit]
        raw = values.cast(pa.int64())
        inside = pc.and_(
            pc.greater_equal(raw, _FIRST_US // per_unit), pc.less_equal(raw, _LAST_US // per_unit)
        )
        raw = pc.multiply(pc.if_else(inside, raw, pa.scalar(None, pa.int64())), per_unit)
    if raw.null_count == len(raw):
        return raw.view(TIMESTAMP)
    if raw.null_count:
        span = pc.min_max(raw)
        first, last = span["min"].as_py(), span["max"].as_py()
    else:
        # Arrow's compute functions cost more than the few values of most batches.
        times = raw.to_numpy()
        first, last = times.min(), times.max()
    if first is not None and (first < _FIRST_US or last > _LAST_US):
        inside = pc.and_(pc.greater_equal(raw, _FIRST_US), pc.less_equal(raw, _LAST_US))
        raw = pc.if_else(inside, raw, pa.scalar(None, pa.int64()))
    return raw.view(TIMESTAMP)


_SUSPECT_JSON = r"\\u(?:0000|[dD][89a-fA-F])|[eE][-+]?[0-9]{5}|[0-9]{1000}"
_LONGEST_JSON = 4 * 1024 * 1024
"""Bytes. jsonb holds fewer than 2^25 elements and 256 MiB, and takes 32 bytes of memory and more to
read an element that is two bytes of text."""

_MAX_EXPONENT = 16_000
"""jsonb numbers are numeric: 131,072 digits before the point, 16,383 after it."""


def clean_json(values: pa.StringArray) -> pa.StringArray:
    """JSON texts without what jsonb refuses: NUL and lone surrogates become U+FFFD, a number
    that no numeric holds becomes a string of its digits, and what is no JSON, or too long to be
    taken apart, a JSON string."""
    values = clean_texts(values)
    suspect = pc.or_(
        pc.match_substring_regex(values, _SUSPECT_JSON),
        pc.greater(pc.binary_length(values), _LONGEST_JSON),
    )
    if not pc.any(suspect).as_py():
        return values
    texts = _py(values)
    for place in np.flatnonzero(suspect.fill_null(False).to_numpy(zero_copy_only=False)):
        texts[place] = _clean_json(texts[place])
    return pa.array(texts, pa.string())


def _clean_json(text: str) -> str:
    if len(text.encode()) > _LONGEST_JSON:
        return json.dumps(text, ensure_ascii=False)
    try:
        value = json.loads(text, parse_float=_Number, parse_int=_Number)
    except (ValueError, RecursionError):
        return json.dumps(clean_text(text), ensure_ascii=False)
    return _dump(value)


class _Number(str):
    """A number as it is written, so that no digit is lost."""


def _dump(value: object) -> str:
    if isinstance(value, _Number):
        return value if _fits_numeric(value) else json.dumps(str(value))
    if isinstance(value, str):
        return json.dumps(clean_text(value), ensure_ascii=False)
    if isinstance(value, dict):
        members = (f"{_dump(str(name))}:{_dump(member)}" for name, member in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_dump(element) for element in value) + "]"
    return json.dumps(value) if not isinstance(value, float) else json.dumps(str(value))


def _fits_numeric(number: str) -> bool:
    digits, _, exponent = number.lower().partition("e")
    return len(digits) < 16_000 and (not exponent or abs(int(exponent)) + len(digits) < 16_000)


# Names


def wanted_topics(
    found: Iterable[tuple[str, str, Sequence[StoredColumn]]],
) -> list[WantedTopic]:
    """One WantedTopic for each (format, topic) over many logs; columns in the order first seen."""
    merged: dict[tuple[str, str], dict[tuple[str, str], StoredColumn]] = {}
    for log_format, topic, columns in found:
        known = merged.setdefault((log_format, topic), {})
        for column in columns:
            known.setdefault(column.key, column)
    return [
        WantedTopic(log_format, topic, tuple(columns.values()))
        for (log_format, topic), columns in merged.items()
    ]


def assign_names(
    wanted: WantedTopic, known: Sequence[NamedColumn], taken_tables: Collection[str]
) -> tuple[TelemetryTable, tuple[NamedColumn, ...]]:
    """Names for a topic's table and columns: those it has, and new ones for what is new.

    known: the topic's rows of the registry; taken_tables: every table name in the registry.
    Returns the wanted columns under their names, and the rows the registry lacks. Names once given
    never change; a type that differs from a column's becomes a column of its own.
    """
    table_name = (
        known[0].table_name if known else table_name_of(wanted.format, wanted.topic, taken_tables)
    )
    rows = {row.key: row for row in known}
    taken = {row.column_name for row in known} | _TAKEN_COLUMNS
    sources = {row.source_name for row in known}
    position = max((row.position for row in known), default=0)
    new = []
    for column in wanted.columns or (() if known else (_CLOCK,)):
        if column.key in rows:
            continue
        if column is _CLOCK:
            name = "t_boot_us"
        else:
            name = column_name_of(column, taken, another_type=column.source_name in sources)
        position += 1
        row = NamedColumn(
            table_name,
            name,
            wanted.format,
            wanted.topic,
            column.source_name,
            position,
            column.type,
            column.unit,
            column.scale,
            column.definition,
        )
        rows[column.key] = row
        taken.add(name)
        sources.add(column.source_name)
        new.append(row)
    named = sorted((rows[column.key] for column in wanted.columns), key=lambda row: row.position)
    return TelemetryTable(table_name, wanted.format, wanted.topic, tuple(named)), tuple(new)


_CLOCK = StoredColumn("", "bigint", "us")
"""Stands in the registry for a topic without fields, so that its table keeps its name."""


def table_name_of(log_format: str, topic: str, taken: Collection[str]) -> str:
    """`taken`: those of `possible_table_names` that other topics have, or all that they have."""
    names = possible_table_names(log_format, topic)
    return _free(names, f"{log_format} {topic}", {*taken, *_TAKEN_TABLES})


def possible_table_names(log_format: str, topic: str) -> list[str]:
    """The names that a topic's table may get, the best first: whoever looks which are taken need
    not read the whole registry, which one client could make very long."""
    plain = _plain(f"{log_format}_{topic}")
    return list(_names(plain, f"{log_format}\0{topic}", MAX_TABLE_NAME_BYTES))


def column_name_of(column: StoredColumn, taken: Collection[str], *, another_type: bool) -> str:
    """`another_type`: the same field came with another type before (or is a uint64 too large)."""
    plain = _plain(column.source_name)
    suffix = f"_{type_suffix(column.type)}" if another_type else ""
    named = plain[: MAX_NAME_BYTES - len(suffix)] + suffix if suffix else plain
    names = _names(named, f"{column.source_name}\0{suffix}", MAX_NAME_BYTES)
    return _free(names, column.source_name, taken)


def _plain(name: str) -> str:
    plain = re.sub(r"[^a-z0-9_]+", "_", name.lower())
    plain = plain.rstrip("_") if not name.endswith("_") else plain
    if not plain.strip("_"):
        return "field"
    return f"_{plain}" if plain[0].isdigit() else plain


def _names(plain: str, source: str, longest: int) -> Iterator[str]:
    """`plain` unless it is too long, then its beginning and a digest of the source's name."""
    if len(plain) <= longest:
        yield plain
    digest = hashlib.sha256(source.encode()).hexdigest()
    for digits in range(8, 33):
        yield f"{plain[: longest - digits - 1]}_{digest[:digits]}"


def _free(names: Iterable[str], source: str, taken: Collection[str]) -> str:
    for name in names:
        if name not in taken:
            return name
    raise PermanentError(f"no free name for {source!r}")


# What goes to Postgres


def lake_only_reason(
    table: TelemetryTable,
    standing: Mapping[str, str] | None,
    *,
    postgres_topics: str,
    existing_tables: Collection[str],
    max_tables: int,
    new_tables: int = 0,
) -> str | None:
    """Why a topic's rows stay out of Postgres; None when they go there.

    standing: name -> type of the columns its table in Postgres has, None without one: the wanted
    columns must fit beside these, whatever else the registry has named. postgres_topics:
    comma-separated globs over topics or table names. existing_tables: telemetry tables that stand
    in Postgres. new_tables: those that this batch has created.
    """
    globs = [glob.strip().lower() for glob in postgres_topics.split(",") if glob.strip()]
    names = (table.topic.lower(), table.table_name)
    if not any(fnmatch.fnmatchcase(name, glob) for name in names for glob in globs):
        return "not among LOGBOX_POSTGRES_TOPICS"
    wanted = {column.column_name: column.type for column in table.columns}
    has = {} if standing is None else standing
    # A table that has them all takes them, however full it is.
    if not wanted.keys() <= has.keys():
        types = [kind for name, kind in {**has, **wanted}.items() if name not in FIXED_COLUMNS]
        if len(types) > MAX_POSTGRES_COLUMNS:
            return f"over {MAX_POSTGRES_COLUMNS} columns"
        if _row_bytes(types) > MAX_POSTGRES_ROW_BYTES:
            return "rows too wide for a Postgres page"
    if table.table_name in existing_tables:
        return None
    if len(existing_tables) >= max_tables:
        return f"over {max_tables} telemetry tables (LOGBOX_MAX_TELEMETRY_TABLES)"
    most = max(1, max_tables // NEW_TABLES_SHARE)
    if new_tables >= most:
        return f"over {most} new telemetry tables in one batch (LOGBOX_MAX_TELEMETRY_TABLES)"
    return None


def _row_bytes(types: Sequence[str]) -> int:
    """Upper bound of a row whose long values were all moved out by TOAST."""
    wide = sum(kind.endswith("[]") or kind in ("text", "bytea", UINT64) for kind in types)
    return 24 + len(types) // 8 + 48 + 8 * (len(types) - wide) + 24 * wide


def with_reason(table: TelemetryTable, reason: str | None) -> TelemetryTable:
    return replace(table, lake_only_reason=reason)


# Rows in the shape of each side


def telemetry_schema(table: TelemetryTable) -> pa.Schema:
    """instance, t_boot_us, ts, then the wanted columns under their names."""
    return pa.schema([*_TELEMETRY_FIXED, *(_field(column) for column in table.columns)])


def _field(column: NamedColumn) -> pa.Field:
    said = {
        "source_name": column.source_name,
        "unit": column.unit,
        "scale": None if column.scale is None else repr(column.scale),
        "definition": column.definition,
    }
    metadata = {name: text for name, text in said.items() if text is not None}
    return pa.field(column.column_name, arrow_type(column.type), metadata=metadata)


def telemetry_rows(
    batch: pa.RecordBatch, instance: int, keys: Sequence[tuple[str, str]], table: TelemetryTable
) -> pa.RecordBatch:
    """A stored batch (t_boot_us, ts, one column per key) as rows of `telemetry_schema(table)`;
    columns this batch lacks are null."""
    rows = batch.num_rows
    found: Mapping[tuple[str, str], pa.Array] = dict(zip(keys, batch.columns[2:], strict=True))
    arrays = [pa.repeat(pa.scalar(instance, pa.int32()), rows), batch.column(0), batch.column(1)]
    for column in table.columns:
        values = found.get(column.key)
        arrays.append(pa.nulls(rows, arrow_type(column.type)) if values is None else values)
    return pa.record_batch(arrays, schema=telemetry_schema(table))


def lake_schema(rows: pa.Schema) -> pa.Schema:
    """`rows` behind log_id, client, vehicle; received_on is in the path of the file."""
    return pa.schema(
        [
            pa.field("log_id", pa.uuid(), nullable=False),
            pa.field("client", pa.string(), nullable=False),
            pa.field("vehicle", pa.string()),
            *rows,
        ]
    )


def lake_rows(batch: pa.RecordBatch, log: LogKey, schema: pa.Schema) -> pa.RecordBatch:
    """`batch` as rows of `schema`, made by `lake_schema`."""
    rows = batch.num_rows
    log_id = pa.ExtensionArray.from_storage(
        pa.uuid(), pa.repeat(pa.scalar(log.log_id.bytes, pa.binary(16)), rows)
    )
    client = pa.repeat(pa.scalar(log.client, pa.string()), rows)
    vehicle = pa.repeat(pa.scalar(log.vehicle, pa.string()), rows)
    return pa.record_batch([log_id, client, vehicle, *batch.columns], schema=schema)


def postgres_schema(rows: pa.Schema, *, has_received_on: bool) -> pa.Schema:
    """`rows` behind log_id (16 bytes) and, for partitioned tables, received_on."""
    first = [pa.field("log_id", pa.binary(16), nullable=False)]
    if has_received_on:
        first.append(pa.field("received_on", pa.date32(), nullable=False))
    return pa.schema([*first, *rows])


def postgres_rows(
    batch: pa.RecordBatch, log_id: UUID, received_on_days: int | None, schema: pa.Schema
) -> pa.RecordBatch:
    """`batch` as rows of `schema`, made by `postgres_schema`. received_on_days: since 1970."""
    rows = batch.num_rows
    first = [pa.repeat(pa.scalar(log_id.bytes, pa.binary(16)), rows)]
    if received_on_days is not None:
        first.append(pa.repeat(pa.scalar(received_on_days, pa.int32()), rows).cast(pa.date32()))
    return pa.record_batch([*first, *batch.columns], schema=schema)
