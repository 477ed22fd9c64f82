"""One Parquet file of a batch: rows of many logs, each with its log, client and vehicle."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pyarrow as pa

from logbox_pipeline.adapters.catalog_content import LogContent
from logbox_pipeline.adapters.catalog_logs import OwnedLog
from logbox_pipeline.adapters.parquet import write_table_file
from logbox_pipeline.core import tables
from logbox_pipeline.core.content import ContentDigest
from logbox_pipeline.core.tables import LogKey


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
) -> WrittenFile | None:
    """Write a table's rows, in their order, and digest them; None when there are none."""
    schema = tables.lake_schema(columns)
    digests: dict[UUID, ContentDigest] = {}

    def lake_rows() -> Iterator[pa.RecordBatch]:
        for log, batch in rows:
            digests.setdefault(log.log_id, ContentDigest(table_name)).add(batch)
            yield tables.lake_rows(batch, LogKey(log.log_id, log.client, log.vehicle), schema)

    file = write_table_file(folder / f"{table_name}.parquet", schema, lake_rows())
    if file.rows == 0:
        return None
    contents = tuple(
        LogContent(log_id, table_name, found.rows, found.digest)
        for log_id, found in ((log_id, one.content) for log_id, one in digests.items())
        if found.rows
    )
    return WrittenFile(file.path, table_name, file.rows, file.size_bytes, file.sha256, contents)
