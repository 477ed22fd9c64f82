"""Rows go through one spool to Postgres and to Parquet, and are the same rows on both sides."""

import math
import struct
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from logbox_pipeline.adapters.copy import copy_batches
from logbox_pipeline.adapters.parquet import write_table_file
from logbox_pipeline.adapters.postgres import connect, transaction
from logbox_pipeline.core import tables
from logbox_pipeline.core.errors import PermanentError, StoreRefused
from logbox_pipeline.core.tables import LogKey, StoredColumn, WantedTopic

DAY = date(2026, 11, 24)
LOG = LogKey(UUID("00000000-0000-5000-8000-00000000abcd"), "acme", "d1")

EXTREMES: dict[str, pa.Array] = {
    "i8": pa.array([-128, 127, None], pa.int8()),
    "u8": pa.array([0, 255, None], pa.uint8()),
    "i16": pa.array([-(2**15), 2**15 - 1, None], pa.int16()),
    "u16": pa.array([0, 2**16 - 1, None], pa.uint16()),
    "i32": pa.array([-(2**31), 2**31 - 1, None], pa.int32()),
    "u32": pa.array([0, 2**32 - 1, None], pa.uint32()),
    "i64": pa.array([-(2**63), 2**63 - 1, None], pa.int64()),
    "u64": pa.array([2**63, 2**64 - 1, 7], pa.uint64()),
    "f32": pa.array([float("nan"), -0.0, float("-inf")], pa.float32()),
    "f64": pa.array([5e-324, 1.7976931348623157e308, float("inf")], pa.float64()),
    "f64_nan": pa.array([float("nan"), -0.0, None], pa.float64()),
    "flag": pa.array([True, False, None]),
    "text": pa.array(["", "ü😀 \\N\t\n", None]),
    "nul": pa.array(["a\0b", None, "\0"]),
    "bytes": pa.array([b"", b"\0\xff", None], pa.binary()),
    "day": pa.array([date(1, 1, 1), date(9999, 12, 31), None]),
    "at": pa.array(
        [datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC), None], tables.TIMESTAMP
    ),
    "far": pa.array([-(2**63), 2**63 - 1, 0], tables.TIMESTAMP),
    "reals": pa.array([[1.5, None, float("nan")], [], None], pa.list_(pa.float32())),
    "counts": pa.array([[2**16 - 1] * 40, None, [0]], pa.list_(pa.uint16())),
    "huge": pa.array([[2**64 - 1, 0], [1], None], pa.list_(pa.uint64())),
    "words": pa.array([["", None, "\0"], [], None], pa.list_(pa.string())),
    "flags": pa.array([[True, None], [], None], pa.list_(pa.bool_())),
    "unseen": pa.nulls(3, pa.int16()),
}


@pytest.fixture
def connection(database: str) -> Iterator[Any]:
    opened = connect(database)
    yield opened
    opened.close()


def stored_rows(columns: dict[str, pa.Array]) -> pa.RecordBatch:
    """`columns` as topic rows, with boot clock 0, 1, 2...; one more column that this log lacks."""
    stored = [each for name, values in columns.items() for each in tables.stored(name, values)]
    found = [StoredColumn(name, kind) for name, kind, _ in stored]
    table, _ = tables.assign_names(
        WantedTopic("ulog", "t", (*found, StoredColumn("absent", "real[]"))), (), ()
    )
    size = len(stored[0][2])
    clock = [pa.array(range(size), pa.int64()), pa.nulls(size, tables.TIMESTAMP)]
    batch = pa.record_batch(
        clock + [values for _, _, values in stored],
        names=[str(place) for place in range(len(stored) + 2)],
    )
    return tables.telemetry_rows(batch, 3, [column.key for column in found], table)


POSTGRES_TYPES = {
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.binary(16): "uuid",
    **{tables.arrow_type(kind): kind for kind in (*tables._TYPES, "bigint[]", "real[]", "text[]")},
    **{tables.arrow_type(f"{kind}[]"): f"{kind}[]" for kind in tables._LISTED},
}


def create(cursor: Any, name: str, schema: pa.Schema) -> None:
    columns = (f'"{field.name}" {POSTGRES_TYPES[field.type]}' for field in schema)
    cursor.execute(f"create table {name} ({', '.join(columns)}, beyond text)")


def load(connection: Any, ddl: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    with transaction(connection) as cursor:
        cursor.execute(ddl)
        copy_batches(cursor, ("public", "t"), schema, batches)


def comparable(value: object) -> object:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("d", value)
    if isinstance(value, list):
        return [comparable(each) for each in value]
    if isinstance(value, memoryview):
        return bytes(value)
    return value


def test_every_value_is_the_same_in_postgres_and_parquet(connection: Any, tmp_path: Path) -> None:
    rows = stored_rows(EXTREMES)
    schema = tables.postgres_schema(rows.schema, has_received_on=True)
    days = (DAY - date(1970, 1, 1)).days
    with transaction(connection) as cursor:
        create(cursor, "t", schema)
        sent = copy_batches(
            cursor, ("public", "t"), schema, [tables.postgres_rows(rows, LOG.log_id, days, schema)]
        )
        cursor.execute("select * from t order by t_boot_us")
        names = [column.name for column in cursor.description]
        in_postgres = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    lake_schema = tables.lake_schema(rows.schema)
    file = write_table_file(
        tmp_path / "t.parquet", lake_schema, [tables.lake_rows(rows, LOG, lake_schema)]
    )
    in_lake = pq.read_table(file.path).to_pylist()

    assert sent == file.rows == len(in_postgres) == len(in_lake) == 3
    for mine, theirs in zip(in_postgres, in_lake, strict=True):
        assert UUID(mine.pop("log_id")) == theirs.pop("log_id") == LOG.log_id
        assert (theirs.pop("client"), theirs.pop("vehicle")) == ("acme", "d1")
        assert (mine.pop("received_on"), mine.pop("beyond")) == (DAY, None)
        assert {name: comparable(value) for name, value in mine.items()} == {
            name: comparable(value) for name, value in theirs.items()
        }
    assert [row["u64_u64"] for row in in_postgres] == [2**63, 2**64 - 1, None]
    assert in_postgres[0]["f32"] != in_postgres[0]["f32"]
    assert [row["absent"] for row in in_postgres] == [None] * 3
    assert [row["far"] for row in in_postgres] == [None, None, datetime(1970, 1, 1, tzinfo=UTC)]


def test_events_arrive_with_jsonb(connection: Any) -> None:
    attributes = tables.clean_json(
        pa.array(['{"a": "\\u0000", "b": 1e999999}', None, '{"é": [1.50, "\\ud83d\\ude00"]}'])
    )
    at = datetime(2026, 11, 24, 1, 2, 3, 456789, tzinfo=UTC)
    batch = pa.record_batch(
        [
            pa.array([0, 1, 2], pa.int64()),
            pa.array([at, None, at + timedelta(microseconds=1)], tables.TIMESTAMP),
            pa.array([None, -5, 2**62], pa.int64()),
            pa.array([None, 0, 7], pa.int16()),
            pa.array(["a", None, ""]),
            pa.array(["", None, "m"]),
            attributes,
        ],
        schema=tables.EVENT_COLUMNS,
    )
    schema = tables.postgres_schema(tables.EVENT_COLUMNS, has_received_on=False)
    with transaction(connection) as cursor:
        cursor.execute(
            """
            create table log_events (log_id uuid, seq bigint, ts timestamptz, t_boot_us bigint,
                level smallint, source text, message text, attributes jsonb)
            """
        )
        sent = copy_batches(
            cursor,
            ("public", "log_events"),
            schema,
            [tables.postgres_rows(batch, LOG.log_id, None, schema)],
        )
        cursor.execute("select * from log_events order by seq")
        found = cursor.fetchall()
    assert sent == 3
    assert found == [
        (str(LOG.log_id), 0, at, None, None, "a", "", {"a": "\ufffd", "b": "1e999999"}),
        (str(LOG.log_id), 1, None, -5, 0, None, None, None),
        (str(LOG.log_id), 2, at + timedelta(microseconds=1), 2**62, 7, "", "m", {"é": [1.5, "😀"]}),
    ]


def test_many_batches_arrive_once_each(connection: Any) -> None:
    schema = pa.schema([pa.field("log_id", pa.binary(16)), pa.field("x", pa.int64())])
    log_id = uuid4()
    batches = [
        pa.record_batch(
            [pa.repeat(pa.scalar(log_id.bytes, pa.binary(16)), size), pa.array(range(size))],
            schema=schema,
        )
        for size in (0, 1, 40_000, 0, 16_384)
    ]
    with transaction(connection) as cursor:
        cursor.execute("create table t (log_id uuid, x bigint)")
        assert copy_batches(cursor, ("public", "t"), schema, batches) == 56_385
        cursor.execute("select count(*), sum(x), min(log_id::text) from t")
        assert cursor.fetchone() == (
            56_385, 40_000 * 39_999 // 2 + 16_384 * 16_383 // 2, str(log_id),
        )  # fmt: skip
        assert copy_batches(cursor, ("public", "t"), schema, []) == 0


def test_rows_a_trigger_swallows_are_noticed(connection: Any) -> None:
    schema = pa.schema([pa.field("x", pa.int64())])
    with transaction(connection) as cursor:
        cursor.execute(
            """
            create table t (x bigint);
            create function swallow() returns trigger language plpgsql as 'begin return null; end';
            create trigger swallow before insert on t for each row execute function swallow()
            """
        )
        with pytest.raises(PermanentError, match="2 rows sent, 0 counted"):
            copy_batches(
                cursor,
                ("public", "t"),
                schema,
                [pa.record_batch([pa.array([1, 2])], schema=schema)],
            )


def test_an_error_while_reading_rows_is_its_own(connection: Any) -> None:
    schema = pa.schema([pa.field("x", pa.int64())])

    def torn() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch([pa.array([1])], schema=schema)
        raise FileNotFoundError("the spool is gone")

    with pytest.raises(FileNotFoundError):
        load(connection, "create table t (x bigint)", schema, torn())
    with transaction(connection) as cursor:
        cursor.execute("select to_regclass('t')")
        assert cursor.fetchone() == (None,)


def test_names_of_a_log_are_never_sql(connection: Any) -> None:
    name = 'x" int); drop table t; --'
    schema = pa.schema([pa.field(name, pa.int64())])
    batch = pa.record_batch([pa.array([1])], schema=schema)
    with pytest.raises(StoreRefused, match="does not exist"):
        load(connection, "create table t (x bigint)", schema, [batch])


def test_a_row_that_breaks_a_rule_is_permanent(connection: Any) -> None:
    schema = pa.schema([pa.field("x", pa.int16())])
    batch = pa.record_batch([pa.array([9], pa.int16())], schema=schema)
    with pytest.raises(PermanentError, match="violates") as caught:
        load(connection, "create table t (x smallint check (x < 8))", schema, [batch])
    assert isinstance(caught.value.__cause__, psycopg2.errors.CheckViolation)
