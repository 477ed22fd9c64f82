import hashlib
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from logbox_pipeline.adapters import parquet
from logbox_pipeline.adapters.parquet import LakeFile, write_table_file
from logbox_pipeline.core import tables
from logbox_pipeline.core.tables import LogKey, StoredColumn, WantedTopic

FIRST = LogKey(UUID(int=1), "acme", "d1")
SECOND = LogKey(UUID(int=2), "acme", None)


def lake_batches(
    log: LogKey, columns: dict[str, pa.Array], instance: int = 0
) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    """One batch of topic `att` in the lake's shape, boot clock 0, 1, 2..."""
    stored = [each for name, values in columns.items() for each in tables.stored(name, values)]
    wanted = WantedTopic(
        "ulog", "att", tuple(StoredColumn(name, kind, unit="m") for name, kind, _ in stored)
    )
    table, _ = tables.assign_names(wanted, (), ())
    size = len(stored[0][2])
    batch = pa.record_batch(
        [pa.array(range(size), pa.int64()), pa.nulls(size, tables.TIMESTAMP)]
        + [values for _, _, values in stored],
        names=[str(place) for place in range(len(stored) + 2)],
    )
    rows = tables.telemetry_rows(batch, instance, [column.key for column in wanted.columns], table)
    schema = tables.lake_schema(rows.schema)
    return schema, [tables.lake_rows(rows, log, schema)]


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Two files of one table; the second has another column more."""
    folder = tmp_path / "lake" / "ulog_att"
    schema, batches = lake_batches(FIRST, {"x": pa.array([1.5, float("nan")], pa.float32())})
    write_table_file(folder / "received_on=2026-11-24" / "a.parquet", schema, batches)
    schema, batches = lake_batches(
        SECOND,
        {
            "x": pa.array([-0.0, None], pa.float32()),
            "y": pa.array([2**64 - 1, 1], pa.uint64()),
            "l": pa.array([[1.0], []], pa.list_(pa.float32())),
        },
    )
    write_table_file(folder / "received_on=2026-11-25" / "b.parquet", schema, batches)
    return folder


def test_duckdb_reads_files_of_different_columns(lake: Path) -> None:
    found = duckdb.sql(
        f"from read_parquet('{lake}/**/*.parquet', union_by_name=true) order by log_id, t_boot_us"
    )
    types = dict(zip(found.columns, map(str, found.types), strict=True))
    assert types["log_id"] == "UUID"
    assert types["received_on"] == "DATE"
    assert types["y_u64"] == "DECIMAL(20,0)"
    rows = found.fetchall()
    assert [row[0] for row in rows] == [UUID(int=1)] * 2 + [UUID(int=2)] * 2
    assert [row[found.columns.index("y_u64")] for row in rows] == [None, None, 2**64 - 1, None]
    assert [row[found.columns.index("y")] for row in rows] == [None, None, None, 1]
    assert [str(row[found.columns.index("received_on")]) for row in rows[1:3]] == [
        "2026-11-24", "2026-11-25",
    ]  # fmt: skip


def test_pandas_and_polars_read_them_too(lake: Path) -> None:
    one = pd.read_parquet(lake / "received_on=2026-11-25")
    assert one["client"].tolist() == ["acme", "acme"]
    assert one["vehicle"].isna().all()
    assert np.signbit(one["x"][0])
    wide = pd.read_parquet(lake, schema=pq.read_schema(lake / "received_on=2026-11-25/b.parquet"))
    assert len(wide) == 4
    found = pl.scan_parquet(lake / "**/*.parquet", missing_columns="insert", extra_columns="ignore")
    assert found.collect().height == 4
    assert pl.scan_parquet(lake / "*5/*.parquet").collect()["y"].to_list() == [None, 1]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    schema, [batch] = lake_batches(FIRST, {"x": pa.array(np.random.default_rng(1).random(5_000))})
    parts = [batch.slice(0, 1_000), batch.slice(1_000, 0), batch.slice(1_000)]
    whole = write_table_file(tmp_path / "a", schema, [batch])
    again = write_table_file(tmp_path / "b", schema, parts)
    assert whole.sha256 == again.sha256 == hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()
    assert (whole.rows, whole.size_bytes) == (5_000, (tmp_path / "a").stat().st_size)


def test_row_groups_fill_across_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 1_000)
    schema, [batch] = lake_batches(FIRST, {"x": pa.array(range(2_500))})
    parts = [batch.slice(start, 300) for start in range(0, 2_500, 300)]
    write_table_file(tmp_path / "a", schema, parts)
    file = pq.ParquetFile(tmp_path / "a")
    sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert sizes == [1_000, 1_000, 500]
    assert file.read()["x"].to_pylist() == list(range(2_500))


def test_wide_rows_make_smaller_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 100_000)
    schema, [batch] = lake_batches(FIRST, {"x": pa.array(range(5_000))})
    parts = [batch.slice(start, 500) for start in range(0, 5_000, 500)]
    write_table_file(tmp_path / "a", schema, parts)
    assert pq.ParquetFile(tmp_path / "a").num_row_groups > 1


def test_floats_are_split_and_the_log_is_a_uuid(tmp_path: Path) -> None:
    schema, batches = lake_batches(
        FIRST, {"x": pa.array([0.5] * 100), "l": pa.array([[0.5]] * 100, pa.list_(pa.float32()))}
    )
    write_table_file(tmp_path / "a", schema, batches)
    file = pq.ParquetFile(tmp_path / "a")
    assert "UUID" in str(file.schema.column(0).logical_type)
    chunks = {
        chunk.path_in_schema: chunk
        for chunk in map(file.metadata.row_group(0).column, range(file.metadata.num_columns))
    }
    assert "BYTE_STREAM_SPLIT" in chunks["x"].encodings
    assert "BYTE_STREAM_SPLIT" in chunks["l.list.element"].encodings
    assert chunks["x"].compression == "ZSTD"
    assert file.schema_arrow.field("x").metadata[b"unit"] == b"m"


def test_no_rows_make_a_file_with_columns(tmp_path: Path) -> None:
    schema, _ = lake_batches(FIRST, {"x": pa.array([1])})
    assert write_table_file(tmp_path / "a", schema, []).rows == 0
    assert pq.read_schema(tmp_path / "a").names == schema.names


def test_a_failed_write_leaves_no_file(tmp_path: Path) -> None:
    schema, [batch] = lake_batches(FIRST, {"x": pa.array([1])})

    def torn() -> Iterator[pa.RecordBatch]:
        yield batch
        raise ValueError("torn")

    with pytest.raises(ValueError, match="torn"):
        write_table_file(tmp_path / "a", schema, torn())
    assert list(tmp_path.iterdir()) == []


def test_a_written_file_says_what_it_is(tmp_path: Path) -> None:
    schema, batches = lake_batches(FIRST, {"x": pa.array([1])})
    file = write_table_file(tmp_path / "deep" / "a", schema, batches)
    assert isinstance(file, LakeFile)
    assert pq.read_table(file.path).num_rows == file.rows == 1
