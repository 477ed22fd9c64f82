"""Lake: a batch's rows as Parquet files, `planned` and put; the load makes them count.

Writing them costs one processor what taking the rows costs Postgres: both go on at a time.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pyarrow as pa

from logbox_pipeline.adapters import catalog_logs, spool
from logbox_pipeline.adapters.catalog_batches import Claim, fence
from logbox_pipeline.adapters.catalog_content import LogContent
from logbox_pipeline.adapters.catalog_logs import OwnedLog, PlannedFile
from logbox_pipeline.core import keys, tables
from logbox_pipeline.core.tables import TelemetryTable
from logbox_pipeline.steps.lake_file import WrittenFile, write_file
from logbox_pipeline.steps.parse import ParsedBatch
from logbox_pipeline.steps.rewrite import Rewritten, rewrite_files
from logbox_pipeline.steps.site import TRANSFERS, Site

_WRITERS = 2


@dataclass(frozen=True)
class WrittenBatch:
    """Parquet files in scratch: the batch's own, and those that replace others'."""

    files: tuple[WrittenFile, ...]
    rewritten: tuple[Rewritten, ...]

    @property
    def contents(self) -> tuple[LogContent, ...]:
        """What each log put into each table."""
        return tuple(content for one in self.files for content in one.contents)


@dataclass(frozen=True)
class LakeReport:
    """Files that stand in the lake: the batch's own, what each log put into those, and the files
    that replace others'."""

    files: tuple[PlannedFile, ...]
    rewritten: tuple[Rewritten, ...]
    contents: tuple[LogContent, ...]

    def lake_keys(self, batch_id: UUID) -> list[str]:
        """Files to make live."""
        again = [one.planned(batch_id) for one in self.rewritten]
        return [one.lake_key for one in (*self.files, *again) if one is not None]

    @property
    def table_rows(self) -> dict[str, int]:
        return {one.table_name: one.rows for one in self.files}

    @property
    def size_bytes(self) -> int:
        return sum(one.size_bytes for one in self.files)


def store(site: Site, held: Claim, parsed: ParsedBatch) -> LakeReport:
    """Write and put; nothing counts yet."""
    return put(site, held, write(site, site.folder(held), parsed))


def write(site: Site, folder: Path, parsed: ParsedBatch) -> WrittenBatch:
    """Write every Parquet file of the batch into `folder`."""
    by_name = sorted(parsed.tables.values(), key=lambda table: table.table_name)
    with ThreadPoolExecutor(_WRITERS) as threads:
        telemetry = threads.map(
            lambda table: write_file(
                folder,
                table.table_name,
                tables.telemetry_schema(table),
                _telemetry(parsed, table),
            ),
            by_name,
        )
        files = [*parsed.written, *(one for one in telemetry if one is not None)]
    rewritten = rewrite_files(site, folder / "rewritten", parsed.leaving)
    return WrittenBatch(tuple(files), tuple(rewritten))


def put(site: Site, held: Claim, written: WrittenBatch) -> LakeReport:
    """Write down what will be put, remove what dead attempts left, put."""
    own = [
        PlannedFile(
            keys.lake_key(one.table_name, held.received_on, held.batch_id, one.sha256),
            one.table_name,
            held.received_on,
            one.rows,
            one.size_bytes,
            one.sha256,
            (held.batch_id,),
        )
        for one in written.files
    ]
    again = [one.planned(held.batch_id) for one in written.rewritten]
    planned = [*own, *(one for one in again if one is not None)]
    paths = [
        *(one.path for one in written.files),
        *(one.file.path for one in written.rewritten if one.file is not None),
    ]
    with site.transaction() as cursor:
        fence(cursor, held)
        abandoned = catalog_logs.plan_lake_files(cursor, held, planned, site.now())
    site.reach("after_planned")
    with site.transaction() as cursor:
        # A newer attempt may have planned one of them again since.
        for lake_key in catalog_logs.lock_abandoned(cursor, abandoned):
            site.lake.delete(lake_key)

    def put_one(plan: PlannedFile, path: Path) -> None:
        site.lake.put_file(plan.lake_key, path, plan.sha256)

    with ThreadPoolExecutor(TRANSFERS) as threads:
        list(threads.map(put_one, planned, paths))
    site.reach("after_parquet_put")
    return LakeReport(tuple(own), written.rewritten, written.contents)


def _telemetry(
    parsed: ParsedBatch, table: TelemetryTable
) -> Iterator[tuple[OwnedLog, pa.RecordBatch]]:
    for one, topic in parsed.by_table[table.format, table.topic]:
        for batch in spool.telemetry_batches(one.rows, topic, table):
            yield one.log, batch
