"""One Parquet file of a batch: rows of many logs, each with its log, client and vehicle."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from logbox_pipeline.adapters.catalog_logs import OwnedLog
from logbox_pipeline.adapters.parquet import write_table_file
from logbox_pipeline.core import tables
from logbox_pipeline.core.tables import LogKey


@dataclass(frozen=True)
class WrittenFile:
    """A file in scratch that is not in the lake yet."""

    path: Path
    table_name: str
    rows: int
    size_bytes: int
    sha256: str


def write_file(
    folder: Path,
    table_name: str,
    columns: pa.Schema,
    rows: Iterable[tuple[OwnedLog, pa.RecordBatch]],
) -> WrittenFile | None:
    """Write a table's rows, in their order; None when there are none."""
    schema = tables.lake_schema(columns)
    file = write_table_file(
        folder / f"{table_name}.parquet",
        schema,
        (
            tables.lake_rows(batch, LogKey(log.log_id, log.client, log.vehicle), schema)
            for log, batch in rows
        ),
    )
    if file.rows == 0:
        return None
    return WrittenFile(file.path, table_name, file.rows, file.size_bytes, file.sha256)
