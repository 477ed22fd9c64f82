"""Merging: every row, in order of log_id, whatever order the files have, in bounded memory."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from logbox_pipeline.adapters import parquet_merge
from logbox_pipeline.adapters.parquet import write_table_file
from logbox_pipeline.adapters.parquet_merge import merge_files
from logbox_pipeline.core import tables
from logbox_pipeline.core.tables import LogKey

SCHEMA = tables.lake_schema(tables.EVENT_COLUMNS)


def log_rows(log: int, count: int) -> pa.RecordBatch:
    """Events of one log, `seq` 0, 1, 2..."""
    columns = {
        "seq": pa.array(range(count), pa.int64()),
        "message": pa.array([f"{log} {seq}" for seq in range(count)]),
    }
    batch = pa.record_batch(
        [columns.get(field.name, pa.nulls(count, field.type)) for field in tables.EVENT_COLUMNS],
        schema=tables.EVENT_COLUMNS,
    )
    return tables.lake_rows(batch, LogKey(UUID(int=log), "acme", None), SCHEMA)


def write(path: Path, logs: list[tuple[int, int]]) -> Path:
    return write_table_file(path, SCHEMA, (log_rows(*one) for one in logs)).path


def merged(tmp_path: Path, paths: list[Path]) -> list[tuple[int, int]]:
    """(log, seq) of every row of the merged file; what was seen is what was written."""
    seen: list[pa.RecordBatch] = []
    file = merge_files(paths, tmp_path / "merged", tmp_path, seen.append)
    table = pq.read_table(file.path, partitioning=None)
    assert table.num_rows == file.rows == sum(batch.num_rows for batch in seen)
    texts = [text.split() for text in table["message"].to_pylist()]
    found = [(int(log), int(seq)) for log, seq in texts]
    assert [log.int for log in table["log_id"].to_pylist()] == [log for log, _ in found]
    return found


@pytest.mark.parametrize("held", [1, 2_000, 10**9])
def test_rows_come_in_order_of_log_and_as_they_stood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr(parquet_merge, "HELD_BYTES", held)
    draw = random.Random(held)
    logs = [(log, draw.randint(1, 40)) for log in draw.sample(range(1, 500), 60)]
    paths = [
        # The last file has logs that were read late: not all of it is in order.
        write(tmp_path / f"{n}", logs[n::4] if n == 3 else sorted(logs[n::4]))
        for n in range(4)
    ]
    expected = [(log, seq) for log, count in sorted(logs) for seq in range(count)]
    assert merged(tmp_path, paths) == expected


def test_a_log_in_two_files_keeps_all_its_rows(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a", [(1, 2), (2, 1)]), write(tmp_path / "b", [(1, 1), (3, 1)])]
    assert merged(tmp_path, paths) == [(1, 0), (1, 1), (1, 0), (2, 0), (3, 0)]


def test_a_file_without_rows_adds_none(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a", []), write(tmp_path / "b", [(1, 1)])]
    assert merged(tmp_path, paths) == [(1, 0)]


def test_memory_does_not_grow_with_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow's own count of what it holds, at its highest while rows are handed to the writer."""
    schema = tables.lake_schema(pa.schema([(f"c{n}", pa.float64()) for n in range(30)]))
    draw = np.random.default_rng(1)

    def rows(log: int) -> pa.RecordBatch:
        columns = [pa.array(draw.random(20_000)) for _ in range(30)]
        batch = pa.record_batch(columns, names=[f"c{n}" for n in range(30)])
        return tables.lake_rows(batch, LogKey(UUID(int=log), "acme", None), schema)

    paths = []
    for number in range(6):
        made = (rows(number + 6 * log) for log in range(3))
        paths.append(write_table_file(tmp_path / f"{number}", schema, made).path)
    whole = 6 * 3 * 20_000 * 30 * 8
    monkeypatch.setattr(parquet_merge, "HELD_BYTES", 2 * 1024**2)
    monkeypatch.setattr("logbox_pipeline.adapters.parquet.ROW_GROUP_BYTES", 4 * 1024**2)
    before = pa.total_allocated_bytes()
    most = 0
    runs = parquet_merge._runs

    def measured(*arguments: Any) -> Iterator[tuple[bytes, pa.RecordBatch]]:
        nonlocal most
        for run in runs(*arguments):
            most = max(most, pa.total_allocated_bytes() - before)
            yield run

    monkeypatch.setattr(parquet_merge, "_runs", measured)
    file = merge_files(paths, tmp_path / "merged", tmp_path, lambda _: None)
    assert file.rows == 6 * 3 * 20_000
    assert most < whole / 4
