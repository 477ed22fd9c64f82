"""The content digest: what leaves it alone, and that anything else changes it."""

import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logbox_pipeline.core.content import Content, ContentByLog, content_of
from logbox_pipeline.core.tables import TIMESTAMP, UINT64, arrow_type

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
_TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
_FLOATS = st.floats(allow_nan=False)
_VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float32(): st.floats(allow_nan=False, width=32),
    pa.float64(): _FLOATS,
    pa.bool_(): st.booleans(),
    pa.string(): _TEXT,
    pa.binary(): st.binary(max_size=20),
    TIMESTAMP: _TIMES,
    arrow_type(UINT64): st.integers(2**63, 2**64 - 1).map(Decimal),
    pa.list_(pa.float32()): st.lists(st.none() | st.floats(allow_nan=False, width=32), max_size=4),
}


@st.composite
def _tables(draw: st.DrawFn) -> tuple[list[tuple[str, pa.DataType]], list[list[Any]]]:
    """(columns, rows) with nulls; at least one row and one column."""
    types = draw(st.lists(st.sampled_from(list(_VALUES)), min_size=1, max_size=5))
    columns = [(f"c{place}", kind) for place, kind in enumerate(types)]
    row = st.tuples(*(st.none() | _VALUES[kind] for kind in types)).map(list)
    return columns, draw(st.lists(row, min_size=1, max_size=8))


def batch_of(columns: list[tuple[str, pa.DataType]], rows: list[list[Any]]) -> pa.RecordBatch:
    return pa.record_batch(
        [pa.array([row[place] for row in rows], kind) for place, (_, kind) in enumerate(columns)],
        names=[name for name, _ in columns],
    )


def digest_of(columns: list[tuple[str, pa.DataType]], rows: list[list[Any]]) -> Content:
    return content_of("t", [batch_of(columns, rows)])


@given(_tables(), st.randoms(use_true_random=False))
def test_order_of_rows_and_columns_batches_and_new_columns_do_not_count(
    table: tuple[list[tuple[str, pa.DataType]], list[list[Any]]], chance: random.Random
) -> None:
    columns, rows = table
    expected = digest_of(columns, rows)
    shuffled = chance.sample(rows, len(rows))
    order = chance.sample(range(len(columns)), len(columns))
    moved = [columns[place] for place in order]
    added = [*moved, ("added_later", pa.float32())]
    again = batch_of(added, [[*(row[place] for place in order), None] for row in shuffled])
    cut = chance.randrange(len(rows) + 1)
    assert content_of("t", [again.slice(0, cut), again.slice(cut)]) == expected
    assert expected.rows == len(rows)


@given(_tables(), st.data())
def test_any_changed_removed_or_repeated_row_counts(
    table: tuple[list[tuple[str, pa.DataType]], list[list[Any]]], data: st.DataObject
) -> None:
    columns, rows = table
    before = digest_of(columns, rows).digest
    row = data.draw(st.integers(0, len(rows) - 1))
    place = data.draw(st.integers(0, len(columns) - 1))
    kind = columns[place][1]
    value = data.draw(st.none() | _VALUES[kind])
    if pa.scalar(value, kind) != pa.scalar(rows[row][place], kind):
        changed = [list(one) for one in rows]
        changed[row][place] = value
        assert digest_of(columns, changed).digest != before
    assert digest_of(columns, rows[:row] + rows[row + 1 :]).digest != before
    assert digest_of(columns, [*rows, rows[row]]).digest != before
    assert digest_of(columns, [*rows, rows[row], rows[row]]).digest != before


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1))
def test_value_in_another_column_or_row_counts(first: int, second: int) -> None:
    columns = [("a", pa.int32()), ("b", pa.int32())]
    assert digest_of(columns, [[first, None]]) != digest_of(columns, [[None, first]])
    if first != second:
        assert digest_of(columns, [[first, second]]) != digest_of(columns, [[second, first]])
        crossed = [[first, second], [second, first]]
        assert digest_of(columns, [[first, first], [second, second]]) != digest_of(columns, crossed)


def test_floats_count_by_their_bits() -> None:
    columns = [("x", pa.float64())]
    plain, negative = digest_of(columns, [[0.0]]), digest_of(columns, [[-0.0]])
    assert plain != negative
    quiet, other = (
        pa.record_batch([pa.array(np.array([bits], "u8").view("f8"))], names=["x"])
        for bits in (0x7FF8000000000000, 0x7FF8000000000001)
    )
    assert content_of("t", [quiet]) == content_of("t", [quiet])
    assert content_of("t", [quiet]) != content_of("t", [other])


def test_empty_list_empty_text_and_null_are_three_things() -> None:
    columns = [("a", pa.list_(pa.float32())), ("b", pa.string())]
    found = {
        digest_of(columns, [row]).digest
        for row in ([[], None], [None, ""], [None, None], [[], ""], [[None], None], [[0.0], None])
    }
    assert len(found) == 6


def test_no_rows_are_zero() -> None:
    assert content_of("t", []) == Content(0, "0" * 32)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 15, 16, 17, 1023, 1024, 1025, 5000])
def test_each_byte_of_a_text_counts_wherever_it_stands(size: int) -> None:
    columns = [("a", pa.binary())]
    text = bytes(range(256)) * 20
    before = digest_of(columns, [[b"x"], [text[:size]], [b"y"]])
    for place in {0, size // 2, size - 1} if size else ():
        changed = bytearray(text[:size])
        changed[place] ^= 1
        assert digest_of(columns, [[b"x"], [bytes(changed)], [b"y"]]) != before
    assert digest_of(columns, [[b"x"], [text[: size + 1]], [b"y"]]) != before


def test_text_digest_does_not_know_its_neighbours() -> None:
    columns = [("a", pa.string())]
    rows = [[f"message number {number}" * (number % 5)] for number in range(50)]
    whole = batch_of(columns, rows)
    apart = content_of("t", [whole.slice(place, 1) for place in range(50)])
    assert content_of("t", [whole]) == apart


# JSON


def event_digest(text: str) -> Content:
    return content_of("log_events", [pa.record_batch([pa.array([text])], names=["attributes"])])


@pytest.mark.parametrize(
    ("parquet", "postgres"),
    [
        ('{"b":1,"a":2}', '{"a": 2, "b": 1}'),
        ('{"a":1,"a":2}', '{"a": 2}'),
        ('{"a":1e3}', '{"a": 1000}'),
        ('{"a":1.5E-3}', '{"a": 0.0015}'),
        ('{"a":-0.0}', '{"a": 0.0}'),
        ('{"a":1.50}', '{"a": 1.50}'),
        ('{"a":9.007199254740993e15}', '{"a": 9007199254740993}'),
        ('{"a":9007199254740993.0}', '{"a": 9007199254740993.0}'),
        ('{"a":1e300}', '{"a": 1' + "0" * 300 + "}"),
        ('{"a":1e400}', '{"a": 1' + "0" * 400 + "}"),
        ('{"a":"\\u00e9\\/"}', '{"a": "é/"}'),
        ('[1,2,{"z":[],"y":null}]', '[1, 2, {"y": null, "z": []}]'),
    ],
)
def test_json_counts_by_its_value_as_jsonb_keeps_it(parquet: str, postgres: str) -> None:
    assert event_digest(parquet) == event_digest(postgres)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1}', '{"a":2}'),
        ('{"a":1}', '{"a":"1"}'),
        ('{"a":null}', "{}"),
        ("[1,2]", "[2,1]"),
        ('{"a":9007199254740993}', '{"a":9007199254740992}'),
        ('{"a":1e400}', '{"a":null}'),
        ('{"a":0.1}', '{"a":0.2}'),
        ("null", "false"),
    ],
)
def test_json_of_another_value_counts(one: str, other: str) -> None:
    assert event_digest(one) != event_digest(other)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | _FLOATS.filter(np.isfinite) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(_JSON)
@settings(max_examples=200)
def test_json_written_another_way_is_the_same(value: Any) -> None:
    odd = json.dumps(value, indent=2, sort_keys=True)
    assert event_digest(json.dumps(value, separators=(",", ":"), ensure_ascii=False)) == (
        event_digest(odd)
    )


def test_attributes_of_another_table_are_plain_text() -> None:
    one, other = (
        content_of("ulog_x", [pa.record_batch([pa.array([text])], names=["attributes"])])
        for text in ('{"a":1}', '{"a": 1}')
    )
    assert one != other


# Many logs at a time


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 5)), min_size=1, max_size=40))
def test_rows_of_many_logs_give_what_each_gives_alone(rows: list[tuple[int, int]]) -> None:
    ids = [UUID(int=number << 100 | 7) for number in range(4)]
    columns = [("x", pa.int64())]
    together = ContentByLog("t")
    for chunk in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
        together.add(
            pa.record_batch(
                [
                    pa.array([ids[log].bytes for log, _ in chunk], pa.uuid()),
                    pa.array(["acme"] * len(chunk)),
                    pa.array([x for _, x in chunk], pa.int64()),
                ],
                names=["log_id", "client", "x"],
            )
        )
    alone = {
        ids[log]: digest_of(columns, [[x] for which, x in rows if which == log])
        for log in {log for log, _ in rows}
    }
    assert together.contents == alone


def test_many_rows_in_one_batch_are_the_same_as_in_many() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    batch = pa.record_batch(
        [
            pa.array(np.arange(50_000, dtype=np.float32)),
            pa.array([start + timedelta(seconds=row) for row in range(50_000)], TIMESTAMP),
        ],
        names=["x", "ts"],
    )
    pieces = [batch.slice(at, 777) for at in range(0, 50_000, 777)]
    assert content_of("t", [batch]) == content_of("t", pieces)
