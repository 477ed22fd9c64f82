"""Measure reconciliation: by count over a catalog of many logs, and the scrub beside bare reads.

The archive's listing is a recorded one: what the store takes to list is measured apart.
"""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from logbox_pipeline.adapters.parquet import write_table_file
from logbox_pipeline.benchmark.made_catalog import CLIENT, FIRST_AT, FIRST_BATCH
from logbox_pipeline.benchmark.own_memory import peak_bytes, reset_peak
from logbox_pipeline.core import keys, tables
from logbox_pipeline.core.ports import ListedObject
from logbox_pipeline.core.reconciliation import Place
from logbox_pipeline.core.tables import EVENTS, LogKey
from logbox_pipeline.steps.reconcile import reconcile
from logbox_pipeline.steps.scrub import scrub
from logbox_pipeline.steps.site import TRANSFERS, Site


@dataclass(frozen=True)
class CountedTimes:
    """One reconciliation by count. `peak_bytes`: most memory this process had during it."""

    logs: int
    compared: int
    drifts: int
    unchecked: int
    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class ScrubTimes:
    """Bytes per second of reading everything again, and of plain GET and SHA-256 of the same: one
    of each in every turn."""

    read_bytes: int
    scrub_bytes_per_s: tuple[float, ...]
    bare_bytes_per_s: tuple[float, ...]

    @property
    def shares(self) -> list[float]:
        turns = zip(self.scrub_bytes_per_s, self.bare_bytes_per_s, strict=True)
        return [scrubbed / bare for scrubbed, bare in turns]


def measure_counted(site: Site, folder: Path, logs: int) -> CountedTimes:
    """Compare by count a made catalog of one day and no files, which gets its rows' file here."""
    _put_rows(site, folder, logs)
    listing = folder / "listing.txt"
    _record_listing(site, listing)
    reset_peak()
    # No second copy of a million objects that are not there either.
    alone = replace(site, replica=None)
    found = reconcile(alone, listings={Place.ARCHIVE: _recorded(listing)})
    return CountedTimes(
        logs,
        sum(found.compared.values()),
        len(found.drifts),
        len(found.unchecked),
        (found.finished_at - found.started_at).total_seconds(),
        peak_bytes(),
    )


def measure_scrub(site: Site, turns: int) -> ScrubTimes:
    """Read the whole archive of a site both ways, in turns."""
    with site.transaction() as cursor:
        cursor.execute("select archive_key from logbox.objects where archived_at is not null")
        wanted = [key for (key,) in cursor.fetchall()]
        cursor.execute("select archive_key from logbox.manifests where written_at is not null")
        wanted += [key for (key,) in cursor.fetchall()]
    scrubbed, bare = [], []
    read_bytes = 0
    for _ in range(turns):
        began = time.perf_counter()
        read_bytes = scrub(site, site.archive, Place.ARCHIVE, (), 1).read_bytes
        scrubbed.append(time.perf_counter() - began)
        began = time.perf_counter()
        with ThreadPoolExecutor(TRANSFERS) as threads:
            list(threads.map(lambda key: _digest(site, key), wanted))
        bare.append(time.perf_counter() - began)
    return ScrubTimes(
        read_bytes,
        tuple(read_bytes / seconds for seconds in scrubbed),
        tuple(read_bytes / seconds for seconds in bare),
    )


def _digest(site: Site, key: str) -> str:
    answer = site.archive.client.get_object(Bucket=site.archive.bucket, Key=key)
    return hashlib.sha256(answer["Body"].read()).hexdigest()


def _put_rows(site: Site, folder: Path, logs: int) -> None:
    """A live Parquet file with as many rows: their count is all that is compared."""
    schema = tables.lake_schema(tables.EVENT_COLUMNS)
    names = tables.EVENT_COLUMNS.names

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, logs, 100_000):
            rows = min(100_000, logs - start)
            columns = [
                pa.array([0] * rows, pa.int64())
                if name == "seq"
                else pa.nulls(rows, tables.EVENT_COLUMNS.field(name).type)
                for name in names
            ]
            batch = pa.record_batch(columns, schema=tables.EVENT_COLUMNS)
            yield tables.lake_rows(batch, LogKey(FIRST_BATCH, CLIENT, None), schema)

    file = write_table_file(folder / "rows.parquet", schema, batches())
    lake_key = keys.lake_key(EVENTS, FIRST_AT.date(), FIRST_BATCH, file.sha256)
    site.lake.put_file(lake_key, file.path, file.sha256)
    with site.transaction() as cursor:
        cursor.execute("select set_config('logbox.is_restoring', 'on', true)")
        cursor.execute(
            """
            insert into logbox.lake_files (
                lake_key, table_name, received_on, batch_id, attempt, state, rows, size_bytes,
                sha256, planned_at, live_at, batch_ids
            )
            values (%s, %s, %s, %s, 1, 'live', %s, %s, %s, %s, %s, %s::uuid[])
            """,
            (
                lake_key, EVENTS, FIRST_AT.date(), str(FIRST_BATCH), file.rows, file.size_bytes,
                file.sha256, FIRST_AT, FIRST_AT, [str(FIRST_BATCH)],
            ),
        )  # fmt: skip


def _record_listing(site: Site, to: Path) -> None:
    with site.connection() as connection, connection, connection.cursor("listing") as cursor:
        cursor.execute(
            'select archive_key, size_bytes from logbox.objects order by archive_key collate "C"'
        )
        with to.open("w") as file:
            file.writelines(f"{key}\t{size_bytes}\n" for key, size_bytes in cursor)


def _recorded(listing: Path) -> Iterator[ListedObject]:
    with listing.open() as file:
        for line in file:
            key, _, size_bytes = line.partition("\t")
            yield ListedObject(key, "", int(size_bytes), FIRST_AT)
