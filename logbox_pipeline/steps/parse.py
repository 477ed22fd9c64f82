"""Parse: decide who owns each log, turn owned logs into tables, put them into the lake.

Nothing counts yet when this ends: the Parquet files are `planned` until the load commits.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

import pyarrow as pa

from logbox_pipeline.adapters import catalog_deliveries, catalog_logs, spool, telemetry_tables
from logbox_pipeline.adapters.catalog_batches import Claim, fence
from logbox_pipeline.adapters.catalog_deliveries import Delivery
from logbox_pipeline.adapters.catalog_logs import OwnedLog, PlannedFile
from logbox_pipeline.adapters.journal import journal_in
from logbox_pipeline.adapters.parquet import write_table_file
from logbox_pipeline.core import keys, tables
from logbox_pipeline.core.digest import log_id
from logbox_pipeline.core.tables import EVENTS, PARAMETERS, LogKey, TelemetryTable
from logbox_pipeline.steps.parse_pool import Job, parse_all
from logbox_pipeline.steps.parse_worker import ParsedLog, UnparsedLog
from logbox_pipeline.steps.site import TRANSFERS, Site
from logbox_pipeline.steps.verify import scratch_file

_WRITERS = 2


@dataclass(frozen=True)
class Unparsed:
    """A log kept in the archive that no parser could read."""

    log_id: UUID
    delivery_id: UUID
    reason: str
    detail: str


@dataclass(frozen=True)
class ReadLog:
    """An owned log and what parsing gave; its rows stand in `folder`."""

    log: OwnedLog
    folder: Path
    result: ParsedLog | UnparsedLog


@dataclass(frozen=True)
class ParsedBatch:
    """What the load needs: logs in log_id order, tables by (format, topic), files to make live."""

    read: tuple[ReadLog, ...]
    tables: dict[tuple[str, str], TelemetryTable]
    files: tuple[PlannedFile, ...]
    duplicates: int

    @property
    def parsed(self) -> int:
        return sum(isinstance(one.result, ParsedLog) for one in self.read)

    @property
    def damaged(self) -> int:
        return sum(
            isinstance(one.result, ParsedLog) and one.result.spooled.damaged_ranges > 0
            for one in self.read
        )

    @property
    def unparsed(self) -> tuple[Unparsed, ...]:
        return tuple(
            Unparsed(one.log.log_id, one.log.delivery_id, one.result.reason, one.result.detail)
            for one in self.read
            if isinstance(one.result, UnparsedLog)
        )

    @property
    def table_rows(self) -> dict[str, int]:
        return {one.table_name: one.rows for one in self.files}

    @property
    def lake_bytes(self) -> int:
        return sum(one.size_bytes for one in self.files)


def parse(site: Site, held: Claim) -> ParsedBatch:
    """Own, parse, name and put the logs of a batch whose bytes are archived."""
    owned, duplicates = _take_ownership(site, held)
    site.reach("after_ownership")
    folder = site.folder(held)
    read: list[ReadLog] = []
    written = [
        _write(folder, EVENTS, tables.EVENT_COLUMNS, _events(_read(site, folder, owned, read)))
    ]
    written.append(_write(folder, PARAMETERS, tables.PARAMETER_COLUMNS, _parameters(read)))
    site.reach("after_parse")
    named = _name_tables(site, held, read)
    site.reach("after_tables")
    with ThreadPoolExecutor(_WRITERS) as threads:
        written += threads.map(
            lambda table: _write(
                folder, table.table_name, tables.telemetry_schema(table), _telemetry(read, table)
            ),
            sorted(named.values(), key=lambda table: table.table_name),
        )
    files = _put(site, held, [one for one in written if one is not None])
    return ParsedBatch(tuple(read), named, tuple(files), duplicates)


def _take_ownership(site: Site, held: Claim) -> tuple[list[OwnedLog], int]:
    with site.transaction() as cursor:
        fence(cursor, held)
        archived = catalog_deliveries.of_batch(cursor, held.batch_id, "archived")
        owned, duplicates = catalog_logs.take_ownership(cursor, [_log(one) for one in archived])
    return owned, len(duplicates)


def _log(delivery: Delivery) -> OwnedLog:
    assert delivery.sha256 is not None
    return OwnedLog(
        log_id(delivery.client, delivery.sha256),
        delivery.delivery_id,
        delivery.client,
        delivery.vehicle,
        delivery.sha256,
        delivery.received_at,
        delivery.size_bytes,
    )


def _read(
    site: Site, folder: Path, owned: list[OwnedLog], read: list[ReadLog]
) -> Iterator[ReadLog]:
    """Parse in log_id order; each log is added to `read` and handed on while others are parsed."""
    jobs = [
        Job(
            scratch_file(folder, log.delivery_id),
            folder / str(log.log_id),
            log.received_at,
            log.size_bytes,
        )
        for log in owned
    ]
    for log, job, result in zip(owned, jobs, parse_all(site.settings, jobs), strict=True):
        one = ReadLog(log, job.folder, result)
        read.append(one)
        yield one


Rows = Iterator[tuple[OwnedLog, pa.RecordBatch]]


def _events(read: Iterable[ReadLog]) -> Rows:
    for one in read:
        if isinstance(one.result, ParsedLog):
            for batch in spool.event_batches(one.folder, one.result.spooled):
                yield one.log, batch


def _parameters(read: Iterable[ReadLog]) -> Rows:
    for one in read:
        if isinstance(one.result, ParsedLog):
            for batch in spool.parameter_batches(one.folder, one.result.spooled):
                yield one.log, batch


def _telemetry(read: Iterable[ReadLog], table: TelemetryTable) -> Rows:
    for one in read:
        if isinstance(one.result, ParsedLog) and one.result.format == table.format:
            for topic in one.result.spooled.topics:
                if topic.topic == table.topic:
                    for batch in spool.telemetry_batches(one.folder, topic, table):
                        yield one.log, batch


def _name_tables(
    site: Site, held: Claim, read: list[ReadLog]
) -> dict[tuple[str, str], TelemetryTable]:
    wanted = tables.wanted_topics(
        (one.result.format, topic.topic, topic.columns)
        for one in read
        if isinstance(one.result, ParsedLog)
        for topic in one.result.spooled.topics
    )
    now = site.now()
    with site.connection() as connection:
        ensured = telemetry_tables.ensure_tables(
            connection,
            wanted,
            received_on=held.received_on,
            now=now,
            postgres_topics=site.settings.postgres_topics,
            max_tables=site.settings.max_telemetry_tables,
        )
    if ensured.new_columns:
        journal_in(site.archive)(
            {
                "kind": "telemetry_columns",
                "at": now.isoformat(),
                "columns": [asdict(column) for column in ensured.new_columns],
            }
        )
    return ensured.tables


@dataclass(frozen=True)
class _Written:
    path: Path
    table_name: str
    rows: int
    size_bytes: int
    sha256: str


def _write(folder: Path, table_name: str, columns: pa.Schema, rows: Rows) -> _Written | None:
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
    return _Written(file.path, table_name, file.rows, file.size_bytes, file.sha256)


def _put(site: Site, held: Claim, written: list[_Written]) -> list[PlannedFile]:
    """Write down what will be put, remove what dead attempts left, put."""
    planned = [
        PlannedFile(
            keys.lake_key(one.table_name, held.received_on, held.batch_id, one.sha256),
            one.table_name,
            held.received_on,
            one.rows,
            one.size_bytes,
            one.sha256,
        )
        for one in written
    ]
    with site.transaction() as cursor:
        fence(cursor, held)
        abandoned = catalog_logs.plan_lake_files(cursor, held, planned, site.now())
    site.reach("after_planned")
    with site.transaction() as cursor:
        # A newer attempt may have planned one of them again since.
        for lake_key in catalog_logs.lock_abandoned(cursor, abandoned):
            site.lake.delete(lake_key)

    def put(plan: PlannedFile, one: _Written) -> None:
        site.lake.put_file(plan.lake_key, one.path, one.sha256)

    with ThreadPoolExecutor(TRANSFERS) as threads:
        list(threads.map(put, planned, written))
    site.reach("after_parquet_put")
    return planned
