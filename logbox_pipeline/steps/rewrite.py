"""Rewrite: Parquet files of the lake without the rows of some logs, in scratch."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from logbox_pipeline.adapters import catalog_growth
from logbox_pipeline.adapters.catalog_growth import HoldingFile
from logbox_pipeline.adapters.catalog_logs import PlannedFile
from logbox_pipeline.adapters.parquet import LakeFile, write_table_file
from logbox_pipeline.core import keys
from logbox_pipeline.core.errors import PermanentError
from logbox_pipeline.steps.site import Site

_BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Rewritten:
    """A live file from which rows of some logs go; `file` None: all of its rows do."""

    old: HoldingFile
    file: LakeFile | None

    def planned(self, batch_id: UUID) -> PlannedFile | None:
        """What batch `batch_id` puts in its place."""
        if self.file is None:
            return None
        return PlannedFile(
            keys.lake_key(self.old.table_name, self.old.received_on, batch_id, self.file.sha256),
            self.old.table_name,
            self.old.received_on,
            self.file.rows,
            self.file.size_bytes,
            self.file.sha256,
            self.old.batch_ids,
        )


def rewrite_files(site: Site, folder: Path, gone: Mapping[UUID, UUID]) -> list[Rewritten]:
    """Write the live files that hold rows of the logs `gone` again, without those rows.

    gone: log_id -> batch that loaded it.
    """
    if not gone:
        return []
    with site.transaction() as cursor:
        holding = catalog_growth.files_holding(cursor, gone)
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, old in enumerate(holding):
        if old.is_only_theirs:
            found.append(Rewritten(old, None))
            continue
        path = folder / f"{number}.old.parquet"
        download = site.lake.download(old.lake_key, path)
        if download is None or download.sha256 != old.sha256:
            raise PermanentError(
                f"s3://{site.lake.bucket}/{old.lake_key}: expected {old.sha256}, found "
                f"{'nothing' if download is None else download.sha256}",
                hint="this is drift in the lake; see `logbox status`",
            )
        rewritten = _without(path, folder / f"{number}.parquet", gone)
        path.unlink()
        if rewritten is not None:
            found.append(Rewritten(old, rewritten if rewritten.rows else None))
    return found


def _without(path: Path, to: Path, gone: Collection[UUID]) -> LakeFile | None:
    """The file without the rows of `gone`; None when it has none of them."""
    leaving = pa.array([one.bytes for one in gone], pa.binary(16))
    with pq.ParquetFile(path) as old:
        before = old.metadata.num_rows
        schema = old.schema_arrow

        def rows() -> Iterator[pa.RecordBatch]:
            for batch in old.iter_batches(_BATCH_ROWS):
                log_ids = batch.column("log_id")
                stored = log_ids.storage if isinstance(log_ids, pa.ExtensionArray) else log_ids
                kept = batch.filter(pc.invert(pc.is_in(stored, value_set=leaving)))
                if kept.num_rows:
                    yield kept

        written = write_table_file(to, schema, rows())
    return None if written.rows == before else written
