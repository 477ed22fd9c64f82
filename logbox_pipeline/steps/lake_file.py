"""One Parquet file of a batch: rows of many logs, each with its log, client and vehicle."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pyarrow as pa

from logbox_pipeline.adapters.catalog_content import LogContent
from logbox_pipeline.adapters.catalog_logs import OwnedLog
from logbox_pipeline.adapters.parquet import write_table_file
from logbox_pipeline.core import tables
from logbox_pipeline.core.content import Content, ContentByLog
from logbox_pipeline.core.errors import PermanentError
from logbox_pipeline.core.tables import LogKey

_ROWS_AT_ONCE = 8_192
_BYTES_AT_ONCE = 16 * 1024**2


@dataclass(frozen=True)
class WrittenFile:
    """A file in scratch that is not in the lake yet, and what each of its logs put into it."""

    path: Path
    table_name: str
    rows: int
    size_bytes: int
    sha256: str
    contents: tuple[LogContent, ...]


def write_file(
    folder: Path,
    table_name: str,
    columns: pa.Schema,
    rows: Iterable[tuple[OwnedLog, pa.RecordBatch]],
    known: Callable[[], Mapping[UUID, Content]] | None = None,
) -> WrittenFile | None:
    """Write a table's rows, in their order, and digest them; None when there are none.

    known: what each log's rows were digested to before, asked for when all are written.
    Raises PermanentError when that is not of as many rows.
    """
    schema = tables.lake_schema(columns)
    digests = ContentByLog(table_name)

    def lake_rows() -> Iterator[pa.RecordBatch]:
        keyed = (
            tables.lake_rows(batch, LogKey(log.log_id, log.client, log.vehicle), schema)
            for log, batch in rows
        )
        for batch in _together(keyed):
            if known is None:
                digests.add(batch)
            yield batch

    file = write_table_file(folder / f"{table_name}.parquet", schema, lake_rows())
    if file.rows == 0:
        return None
    contents = tuple(
        LogContent(log_id, table_name, found.rows, found.digest)
        for log_id, found in (digests.contents if known is None else known()).items()
    )
    if sum(one.rows for one in contents) != file.rows:
        raise PermanentError(
            f"table {table_name}: {file.rows} rows written, "
            f"{sum(one.rows for one in contents)} digested",
            hint="this is a bug in Logbox: keep the batch and report it",
        )
    return WrittenFile(file.path, table_name, file.rows, file.size_bytes, file.sha256, contents)


def _together(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in fewer batches: a call costs more than the hundred rows of a small log."""
    held: list[pa.RecordBatch] = []
    rows = size_bytes = 0
    for batch in batches:
        rows, size_bytes = rows + batch.num_rows, size_bytes + batch.nbytes
        if held and (rows > _ROWS_AT_ONCE or size_bytes > _BYTES_AT_ONCE):
            yield _one(held)
            held, rows, size_bytes = [], batch.num_rows, batch.nbytes
        held.append(batch)
    if held:
        yield _one(held)


def _one(held: list[pa.RecordBatch]) -> pa.RecordBatch:
    return held[0] if len(held) == 1 else pa.concat_batches(held)
