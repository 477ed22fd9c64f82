"""Helpers for parser tests: parse bytes to the end, sort what came out, compare with pyulog."""

import io
import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from pyulog import ULog

from logbox_pipeline.formats.recognize import recognize
from logbox_pipeline.formats.stream import (
    EVENT_SCHEMA,
    PARAMETER_SCHEMA,
    About,
    Damage,
    Events,
    Limits,
    Parameters,
    Rows,
    Unreadable,
)

RECEIVED_AT = datetime(2026, 12, 1, tzinfo=UTC)
_INDEX = re.compile(r"(.*)\[(\d+)\]")


@dataclass
class Parsed:
    rows: dict[tuple[str, int], pa.Table] = field(default_factory=dict)
    batches: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    events: list[dict[str, object]] = field(default_factory=list)
    parameters: list[dict[str, object]] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)
    about: About | None = None
    unreadable: Unreadable | None = None

    @property
    def rows_total(self) -> int:
        return sum(table.num_rows for table in self.rows.values())


def parse(data: bytes, *, format_name: str | None = None, **limits: object) -> Parsed:
    """Recognize and parse `data` to the end, holding every item to the parsers' contract."""
    source = memoryview(data)
    bounds = Limits(**{"received_at": RECEIVED_AT, **limits})
    recognized = recognize(source, bounds)
    assert recognized is not None, "not recognized"
    known = recognized.format
    assert format_name in (None, known.name)
    parsed = Parsed()
    pieces = defaultdict(list)
    is_over = False
    for item in known.parse(source, bounds):
        assert not is_over, "something came after the end"
        match item:
            case Rows():
                item.batch.validate(full=True)
                assert item.batch.schema.names[:2] == ["t_boot_us", "ts"]
                assert item.batch.schema.field("t_boot_us").type == pa.int64()
                assert item.batch.schema.field("ts").type == pa.timestamp("us", tz="UTC")
                assert len(item.columns) == item.batch.num_columns - 2
                pieces[item.topic, item.instance].append(item.batch)
            case Events():
                item.batch.validate(full=True)
                assert item.batch.schema == EVENT_SCHEMA
                parsed.events += item.batch.to_pylist()
            case Parameters():
                assert item.batch.schema == PARAMETER_SCHEMA
                parsed.parameters += item.batch.to_pylist()
            case Damage():
                assert 0 <= item.start < item.end <= len(data)
                assert len(item.excerpt or "") <= 200
                assert (item.excerpt or "").isprintable()
                parsed.damages.append(item)
            case About():
                parsed.about, is_over = item, True
            case Unreadable():
                parsed.unreadable, is_over = item, True
    assert is_over, "neither About nor Unreadable"
    parsed.batches = {key: [b.num_rows for b in batches] for key, batches in pieces.items()}
    parsed.rows = {key: _whole(batches) for key, batches in pieces.items()}
    for event in parsed.events:
        assert "\0" not in f"{event['message']}{event['source']}{event['attributes']}"
    return parsed


def _whole(batches: list[pa.RecordBatch]) -> pa.Table:
    """One table; a column whose type changes between batches, as it may, becomes text."""
    tables = [pa.Table.from_batches([batch]) for batch in batches]
    types = defaultdict(set)
    for table in tables:
        for field_ in table.schema:
            types[field_.name].add(field_.type)
    changing = {name for name, seen in types.items() if len(seen) > 1}
    for number, table in enumerate(tables):
        for name in changing & set(table.column_names):
            place = table.column_names.index(name)
            table = table.set_column(place, name, table[name].cast(pa.string()))
        tables[number] = table
    return pa.concat_tables(tables, promote_options="default")


def assert_equals_pyulog(data: bytes, parsed: Parsed) -> None:
    """Every topic, column and row that pyulog reads is there, bit for bit."""
    oracle = ULog(io.BytesIO(data))
    found = {key: table.num_rows for key, table in parsed.rows.items()}
    assert found == {(d.name, d.multi_id): len(d.data["timestamp"]) for d in oracle.data_list}
    for dataset in oracle.data_list:
        table = parsed.rows[dataset.name, dataset.multi_id]
        for name, expected in dataset.data.items():
            actual = _actual(table, name)
            if actual is None:
                assert "_padding" in name
                continue
            assert actual.dtype.itemsize == expected.dtype.itemsize, name
            assert actual.tobytes() == expected.tobytes(), (dataset.name, name)
    assert len(parsed.parameters) >= len(oracle.initial_parameters) + len(oracle.changed_parameters)
    changed = [(p["t_boot_us"], p["name"]) for p in parsed.parameters if p["kind"] == "changed"]
    assert changed == [(us, name) for us, name, _ in oracle.changed_parameters]
    texts = [e for e in parsed.events if e["source"] == "ulog"]
    expected_texts = [(m.timestamp, m.log_level - 48, m.message) for m in oracle.logged_messages]
    assert [(e["t_boot_us"], e["level"], e["message"]) for e in texts] == expected_texts
    dropouts = [e["t_boot_us"] for e in parsed.events if e["source"] == "logbox.dropout"]
    assert dropouts == [d.timestamp for d in oracle.dropouts]


def _actual(table: pa.Table, name: str) -> np.ndarray | None:
    """The column that pyulog calls `name`, as numpy; text and lists by their entry."""
    if name == "timestamp":
        return table["t_boot_us"].to_numpy().astype(np.uint64)
    if name in table.column_names:
        column = table[name]
        if pa.types.is_boolean(column.type):
            return column.to_numpy().astype(np.int8)
        if not pa.types.is_string(column.type):
            return column.to_numpy()
        return np.array([ord((text or "\0")[0]) for text in column.to_pylist()], np.int8)
    match = _INDEX.fullmatch(name)
    if match is None or match[1] not in table.column_names:
        return None
    column, index = table[match[1]], int(match[2])
    if pa.types.is_list(column.type):
        return np.stack([np.asarray(v) for v in column.to_pylist()])[:, index].astype(
            column.type.value_type.to_pandas_dtype()
        )
    texts = [text.ljust(index + 1, "\0") for text in column.to_pylist()]
    return np.array([ord(text[index]) for text in texts], np.int8)
