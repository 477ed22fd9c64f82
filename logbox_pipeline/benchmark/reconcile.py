"""Measure reconciliation: by count over a catalog of many logs, and the scrub beside bare reads.

The archive's listing is a recorded one: what the store takes to list is measured apart.
"""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import pyarrow as pa

from logbox_pipeline.adapters.parquet import write_table_file
from logbox_pipeline.core import keys, tables
from logbox_pipeline.core.ports import ListedObject
from logbox_pipeline.core.reconciliation import Place
from logbox_pipeline.core.tables import EVENTS, LogKey
from logbox_pipeline.steps.reconcile import reconcile
from logbox_pipeline.steps.scrub import scrub
from logbox_pipeline.steps.site import TRANSFERS, Site

CLIENT = "bench"
_BATCH = UUID("6f1d1c86-6a53-5c0f-9d5e-2d2f4b0a6bbe")
_AT = datetime(2026, 1, 1, tzinfo=UTC)
_OBJECT_BYTES = 20_000
_TURNS = 3


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
    """Bytes per second of reading everything again, and of plain GET and SHA-256 of the same."""

    read_bytes: int
    scrub_bytes_per_s: float
    bare_bytes_per_s: float

    @property
    def share(self) -> float:
        return self.scrub_bytes_per_s / self.bare_bytes_per_s


def measure_counted(site: Site, folder: Path, logs: int) -> CountedTimes:
    """Fill the site's empty catalog with `logs` loaded logs of one row, and compare by count."""
    _fill(site, logs)
    _put_rows(site, folder, logs)
    listing = folder / "listing.txt"
    _record_listing(site, listing)
    _reset_peak()
    # No second copy of a million objects that are not there either.
    alone = replace(site, replica=None)
    found = reconcile(alone, listings={Place.ARCHIVE: _recorded(listing)})
    return CountedTimes(
        logs,
        sum(found.compared.values()),
        len(found.drifts),
        len(found.unchecked),
        (found.finished_at - found.started_at).total_seconds(),
        _peak_bytes(),
    )


def measure_scrub(site: Site) -> ScrubTimes:
    """Read the whole archive of a site both ways, in turns."""
    with site.transaction() as cursor:
        cursor.execute("select archive_key from logbox.objects where archived_at is not null")
        wanted = [key for (key,) in cursor.fetchall()]
        cursor.execute("select archive_key from logbox.manifests where written_at is not null")
        wanted += [key for (key,) in cursor.fetchall()]
    scrubbed, bare = [], []
    read_bytes = 0
    for _ in range(_TURNS):
        began = time.perf_counter()
        read_bytes = scrub(site, site.archive, Place.ARCHIVE, (), 1).read_bytes
        scrubbed.append(time.perf_counter() - began)
        began = time.perf_counter()
        with ThreadPoolExecutor(TRANSFERS) as threads:
            list(threads.map(lambda key: _digest(site, key), wanted))
        bare.append(time.perf_counter() - began)
    return ScrubTimes(read_bytes, read_bytes / median(scrubbed), read_bytes / median(bare))


def _digest(site: Site, key: str) -> str:
    answer = site.archive.client.get_object(Bucket=site.archive.bucket, Key=key)
    return hashlib.sha256(answer["Body"].read()).hexdigest()


def _fill(site: Site, logs: int) -> None:
    with site.transaction() as cursor:
        # A made-up catalog is not to be told to the archive.
        cursor.execute("select set_config('logbox.is_restoring', 'on', true)")
        given: dict[str, Any] = {
            "client": CLIENT, "batch": str(_BATCH), "at": _AT, "size": _OBJECT_BYTES, "logs": logs,
        }  # fmt: skip
        for statement in _FILL:
            cursor.execute(statement, given)
    with site.connection() as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("analyze")


_FILL = (
    "insert into logbox.clients values (%(client)s, %(at)s, null) on conflict do nothing",
    """
    insert into logbox.batches
        (batch_id, received_on, state, files, size_bytes, created_at, loaded_at, finished_at)
    values (%(batch)s, (%(at)s::timestamptz at time zone 'UTC')::date, 'finished', %(logs)s, 0,
        %(at)s, %(at)s, %(at)s)
    """,
    """
    create temporary table made on commit drop as
    select md5('log' || n)::uuid as log_id, md5('delivery' || n)::uuid as delivery_id,
        encode(sha256(('log' || n)::bytea), 'hex') as sha256, n
    from generate_series(1, %(logs)s) as n
    """,
    """
    insert into logbox.objects (client, sha256, archive_key, size_bytes, archived_at)
    select %(client)s, sha256,
        'archive/' || %(client)s || '/' || left(sha256, 2) || '/' || sha256 || '.jsonl', %(size)s,
        %(at)s
    from made
    """,
    """
    insert into logbox.deliveries (
        delivery_id, bucket, landing_key, etag, received_at, client, name, size_bytes, sensed_at,
        state, batch_id, sha256, archived_at, left_landing_at
    )
    select delivery_id, 'bench', 'landing/' || %(client)s || '/' || n, '', %(at)s, %(client)s,
        n::text, %(size)s, %(at)s, 'archived', %(batch)s, sha256, %(at)s, %(at)s
    from made
    """,
    """
    insert into logbox.logs (
        log_id, client, content_sha256, delivery_id, received_at, received_on, size_bytes, state,
        format, parser_version, telemetry_rows, events, parameters, track_rows, loaded_at, batch_id,
        head, marks
    )
    select log_id, %(client)s, sha256, delivery_id, %(at)s,
        (%(at)s::timestamptz at time zone 'UTC')::date, %(size)s, 'loaded', 'jsonl', 1, 0, 1, 0, 0,
        %(at)s, %(batch)s, '', '{}'
    from made
    """,
    """
    insert into logbox.object_logs (client, sha256, log_id)
    select %(client)s, sha256, log_id from made
    """,
    """
    insert into logbox.log_tables (log_id, table_name, rows, content_digest)
    select log_id, 'log_events', 1, repeat('0', 32) from made
    """,
    """
    insert into logbox.log_events (log_id, seq, message)
    select log_id, 0, 'one row' from made
    """,
)


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
            yield tables.lake_rows(batch, LogKey(_BATCH, CLIENT, None), schema)

    file = write_table_file(folder / "rows.parquet", schema, batches())
    lake_key = keys.lake_key(EVENTS, _AT.date(), _BATCH, file.sha256)
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
                lake_key, EVENTS, _AT.date(), str(_BATCH), file.rows, file.size_bytes, file.sha256,
                _AT, _AT, [str(_BATCH)],
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
            yield ListedObject(key, "", int(size_bytes), _AT)


def _reset_peak() -> None:
    # Linux: the peak is counted anew from here.
    Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    )
    return int(line.split()[1]) * 1024
