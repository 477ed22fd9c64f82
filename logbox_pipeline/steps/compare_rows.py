"""Compare the rows of each log, in Postgres and in the lake, with what was parsed.

By count, or deep by content digest. What was open before is always looked at deep, since a count
cannot say that it is mended.
"""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from logbox_pipeline.adapters import catalog_inventory, copy_out, postgres
from logbox_pipeline.adapters.catalog_drifts import OpenDrift
from logbox_pipeline.adapters.catalog_inventory import LakeRows, RowTable
from logbox_pipeline.adapters.copy_out import CopyOut
from logbox_pipeline.core.content import Content, ContentByLog
from logbox_pipeline.core.errors import TransientError
from logbox_pipeline.core.reconciliation import (
    Drift,
    DriftKind,
    Place,
    compare_contents,
    gone_or_unreadable,
    judge_bytes,
    judge_rows,
)
from logbox_pipeline.settings import required
from logbox_pipeline.steps.compare_stores import MOST_DRIFTS, Found, stopped_at_most
from logbox_pipeline.steps.scratch import scratch_folder
from logbox_pipeline.steps.site import TRANSFERS, Site

RANGE_ROWS = 4_000_000
RANGE_LOGS = 50_000
"""Of a table that are digested in one snapshot: a loader that must change the table waits for it
no longer than that takes."""

_FOOTER_BYTES = 64 * 1024
_BATCH_ROWS = 65_536
_TRIES = 3


# Postgres


def compare_postgres(
    site: Site, *, deep: bool, open_before: Collection[OpenDrift], since: date | None
) -> Found:
    """Rows of each log in each table of Postgres. since: day from which telemetry is kept there.

    Raises TransientError or StoreRefused.
    """
    url = required(site.settings.database_url, "LOGBOX_DATABASE_URL")
    with site.connection() as connection, copy_out.copy_out(url) as source:
        with postgres.transaction(connection) as cursor:
            tables = catalog_inventory.row_tables(cursor)
        side = _Postgres(connection, source, since)
        compared, read_bytes = 0, 0
        drifts: list[Drift] = []
        for table in tables:
            again = {
                one.log_id
                for one in open_before
                if one.table_name == table.table_name and one.log_id is not None
            }
            found = side.digests(table) if deep else side.counts(table, again)
            compared, read_bytes = compared + found.compared, read_bytes + found.read_bytes
            drifts += found.drifts
            if len(drifts) >= MOST_DRIFTS:
                break
        with postgres.transaction(connection) as cursor:
            drifts = _with_clients(cursor, drifts[:MOST_DRIFTS])
    return stopped_at_most(Found(compared, tuple(drifts), read_bytes))


@dataclass(frozen=True)
class _Postgres:
    """Two connections: for queries, and for rows as Arrow. `since`: the window of telemetry."""

    connection: Any
    source: CopyOut
    since: date | None

    def counts(self, table: RowTable, again: Collection[UUID]) -> Found:
        """Counted in Postgres itself, and the logs in `again` digested."""
        if not table.stands:
            return _no_table(table)
        with postgres.transaction(self.connection) as cursor:
            compared, differing = catalog_inventory.differing_counts(
                cursor, table, self.since, MOST_DRIFTS
            )
        drifts = [judge_rows(Place.POSTGRES, table.table_name, *one) for one in differing]
        read_bytes = 0
        left = sorted(set(again) - {log_id for log_id, _, _ in differing})
        if left:
            condition = f"log_id in ({', '.join(copy_out.literal(one) for one in left)})"
            digested = self._digest(table, condition)
            drifts += digested.drifts
            read_bytes = digested.read_bytes
        return Found(compared, tuple(drifts), read_bytes)

    def digests(self, table: RowTable) -> Found:
        if not table.stands:
            return _no_table(table)
        with postgres.transaction(self.connection):
            ranges = list(
                catalog_inventory.log_ranges(
                    self.connection, table.table_name, RANGE_ROWS, RANGE_LOGS
                )
            )
        compared, read_bytes = 0, 0
        drifts: list[Drift] = []
        for condition in ranges:
            found = self._digest(table, condition)
            compared, read_bytes = compared + found.compared, read_bytes + found.read_bytes
            drifts += found.drifts
            if len(drifts) >= MOST_DRIFTS:
                break
        return Found(compared, tuple(drifts), read_bytes)

    def _digest(self, table: RowTable, condition: str) -> Found:
        """What was parsed and what stands, in one snapshot: a load that commits meanwhile is seen
        on both sides or on none."""
        queries = catalog_inventory.rows_queries(self.connection, table, self.since)
        measured, rows = (query.replace("{range}", condition) for query in queries)
        expected: dict[UUID, Content] = {}
        content, read_bytes = ContentByLog(table.table_name), 0
        with self.source.snapshot():
            for batch in self.source.rows(measured):
                for row in batch.to_pylist():
                    expected[row["log_id"]] = Content(row["rows"], row["content_digest"])
            for batch in self.source.rows(rows):
                content.add(batch)
                read_bytes += batch.nbytes
        drifts = compare_contents(Place.POSTGRES, table.table_name, expected, content.contents)
        return Found(len(expected), tuple(drifts), read_bytes)


def _no_table(table: RowTable) -> Found:
    drift = Drift(
        DriftKind.MISSING, Place.POSTGRES, table.table_name, f"table {'.'.join(table.place)}",
        "no such table", table_name=table.table_name,
    )  # fmt: skip
    return Found(0, (drift,))


def _with_clients(cursor: Any, drifts: Sequence[Drift]) -> list[Drift]:
    clients = catalog_inventory.clients_of(
        cursor, {one.log_id for one in drifts if one.log_id is not None}
    )
    return [
        one if one.log_id is None else replace(one, client=clients.get(one.log_id))
        for one in drifts
    ]


# The lake


def compare_lake(
    site: Site, *, deep: bool, open_before: Collection[OpenDrift], listed: Collection[Drift]
) -> Found:
    """Rows of each log in the live Parquet files.

    listed: what comparing the listing has found: it explains the rows that are then missing.
    Raises TransientError or StoreRefused.
    """
    bad_files = {one.subject for one in listed}
    if not deep:
        return _lake_counts(site, open_before, bad_files)
    with site.transaction() as cursor:
        days = catalog_inventory.parsed_days(cursor)
    compared, read_bytes = 0, 0
    drifts: list[Drift] = []
    for table_name, day in days:
        found = _lake_day(site, table_name, day, bad_files)
        compared, read_bytes = compared + found.compared, read_bytes + found.read_bytes
        drifts += found.drifts
        if len(drifts) >= MOST_DRIFTS:
            break
    with site.transaction() as cursor:
        drifts = _with_clients(cursor, drifts[:MOST_DRIFTS])
    return stopped_at_most(Found(compared, tuple(drifts), read_bytes))


def _lake_counts(site: Site, open_before: Collection[OpenDrift], bad_files: set[str]) -> Found:
    with site.transaction() as cursor:
        files = catalog_inventory.live_files(cursor)
        differing = catalog_inventory.differing_days(cursor, MOST_DRIFTS)
    good = [one for one in files if one.lake_key not in bad_files]
    with ThreadPoolExecutor(TRANSFERS) as threads:
        footers = list(threads.map(lambda one: parquet_rows(site, one.lake_key), good))
    suspects = [(one, rows) for one, rows in zip(good, footers, strict=True) if rows != one.rows]
    drifts = _still_live(site, suspects)
    explained = {_day_of(key) for key in bad_files}
    drifts += [
        Drift(
            DriftKind.MISMATCH, Place.LAKE, f"{table_name}/received_on={day}",
            f"{parsed or 0} rows, as parsed", f"{found or 0} rows in live files",
            table_name=table_name,
        )
        for table_name, day, parsed, found in differing
        if (table_name, str(day)) not in explained
    ]  # fmt: skip
    read_bytes = 0
    for table_name, day in _days_again(site, open_before):
        found_on = _lake_day(site, table_name, day, bad_files)
        read_bytes += found_on.read_bytes
        drifts += found_on.drifts
    with site.transaction() as cursor:
        drifts = _with_clients(cursor, drifts)
    return stopped_at_most(Found(len(good), tuple(drifts), read_bytes))


def _days_again(site: Site, open_before: Collection[OpenDrift]) -> list[tuple[str, date]]:
    """What was found by digest cannot be seen to be mended by counting."""
    if not open_before:
        return []
    with site.transaction() as cursor:
        days = catalog_inventory.parsed_days(cursor)
        of_logs = catalog_inventory.days_of(
            cursor, {one.log_id for one in open_before if one.log_id is not None}
        )
    again = {
        _day_of(one.subject)
        if one.log_id is None
        else (one.table_name or "", str(of_logs.get(one.log_id)))
        for one in open_before
    }
    return [(table_name, day) for table_name, day in days if (table_name, str(day)) in again]


def _day_of(subject: str) -> tuple[str, str]:
    """(table, day) of a lake key, or of a drift's `<table>/received_on=<day>`."""
    table_name, _, rest = subject.removeprefix("lake/").partition("/received_on=")
    return table_name, rest.partition("/")[0]


def _still_live(site: Site, suspects: Sequence[tuple[LakeRows, int | None]]) -> list[Drift]:
    if not suspects:
        return []
    with site.transaction() as cursor:
        wanted = catalog_inventory.expected_at(
            cursor, Place.LAKE, [one.lake_key for one, _ in suspects]
        )
    return [
        gone_or_unreadable(
            Place.LAKE, one.expected, DriftKind.MISMATCH,
            "no readable Parquet footer"
            if rows is None
            else f"{rows} rows in its footer instead of {one.rows}",
        )
        for one, rows in suspects
        if one.lake_key in wanted and wanted[one.lake_key].must_stand
    ]  # fmt: skip


@dataclass(frozen=True)
class _Day:
    """What the catalog says of a table on a day, in one snapshot."""

    files: tuple[LakeRows, ...]
    parsed: dict[UUID, Content]


def _lake_day(site: Site, table_name: str, day: date, bad_files: set[str]) -> Found:
    """Deep: each file's digest, then the digests of the logs in all of them."""
    for _ in range(_TRIES):
        before = _look(site, table_name, day)
        drifts, found, read_bytes = _read_day(site, table_name, before, bad_files)
        is_explained = any(_day_of(key) == (table_name, str(day)) for key in bad_files)
        if not drifts and not is_explained:
            drifts = compare_contents(Place.LAKE, table_name, before.parsed, found)
        if not drifts or _look(site, table_name, day) == before:
            return Found(len(before.parsed), tuple(drifts), read_bytes)
    raise TransientError(
        f"lake files of {table_name} of {day} were replaced {_TRIES} times while they were read"
    )


def _look(site: Site, table_name: str, day: date) -> _Day:
    with site.transaction() as cursor:
        cursor.execute("set transaction isolation level repeatable read, read only")
        return _Day(
            tuple(catalog_inventory.live_files_of(cursor, table_name, day)),
            {
                log_id: Content(rows, digest)
                for log_id, rows, digest in catalog_inventory.parsed_on(cursor, table_name, day)
            },
        )


def _read_day(
    site: Site, table_name: str, day: _Day, bad_files: set[str]
) -> tuple[list[Drift], dict[UUID, Content], int]:
    """(files that are not what was written, contents by log, bytes read)."""
    content, drifts, read_bytes = ContentByLog(table_name), [], 0
    with scratch_folder(site, "reconcile") as folder:
        for one in day.files:
            if one.lake_key in bad_files:
                continue
            path = folder / "file.parquet"
            download = site.lake.download(one.lake_key, path)
            if download is None:
                drifts.append(
                    gone_or_unreadable(Place.LAKE, one.expected, DriftKind.MISSING, "nothing")
                )
                continue
            read_bytes += download.size_bytes
            drift = judge_bytes(Place.LAKE, one.expected, download.size_bytes, download.sha256)
            if drift is not None:
                drifts.append(drift)
                continue
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(_BATCH_ROWS):
                    content.add(batch)
    return drifts, content.contents, read_bytes


def parquet_rows(site: Site, lake_key: str) -> int | None:
    """Rows a Parquet file says it has, read from its footer; None when it is missing or broken."""
    size = _FOOTER_BYTES
    end = site.lake.read_end(lake_key, size)
    if end is None or end[-4:] != b"PAR1":
        return None
    needed = int.from_bytes(end[-8:-4], "little") + 8
    if needed > len(end):
        end = site.lake.read_end(lake_key, needed)
    if end is None:
        return None
    try:
        return int(pq.read_metadata(pa.BufferReader(end)).num_rows)
    except (pa.ArrowInvalid, OSError):
        return None
