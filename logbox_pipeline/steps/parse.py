"""Parse: find the logs, decide who owns each, turn owned logs into tables, put those into the lake.

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
from logbox_pipeline.adapters.catalog_logs import OwnedLog, PlannedFile, RefusedMember
from logbox_pipeline.adapters.journal import journal_in
from logbox_pipeline.adapters.parquet import write_table_file
from logbox_pipeline.core import keys, tables
from logbox_pipeline.core.tables import EVENTS, PARAMETERS, TRACK, LogKey, TelemetryTable
from logbox_pipeline.core.track import TRACK_COLUMNS
from logbox_pipeline.steps.parse_pool import Job, parse_all
from logbox_pipeline.steps.parse_worker import ParsedLog, UnparsedLog
from logbox_pipeline.steps.site import TRANSFERS, Site
from logbox_pipeline.steps.supersede import Growth, Rewritten, find_growth, rewrite_files
from logbox_pipeline.steps.unwrap import FoundLog, unwrap

_WRITERS = 2


@dataclass(frozen=True)
class Unparsed:
    """A log kept in the archive that no parser could read."""

    log_id: UUID
    delivery_id: UUID
    reason: str
    detail: str
    member: str = ""


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
    refused: tuple[RefusedMember, ...]
    growth: Growth
    rewritten: tuple[Rewritten, ...]

    def lake_keys(self, batch_id: UUID) -> list[str]:
        """Files to make live: the batch's own, and those that replace others'."""
        again = [one.planned(batch_id) for one in self.rewritten]
        return [one.lake_key for one in (*self.files, *again) if one is not None]

    @property
    def loading(self) -> set[UUID]:
        """The logs that the load will bring the rows of."""
        return _parsed(self.read)

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
            Unparsed(
                one.log.log_id,
                one.log.delivery_id,
                one.result.reason,
                one.result.detail,
                one.log.member,
            )
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
    folder = site.folder(held)
    owned, duplicates, refused = _take_ownership(site, held, folder)
    site.reach("after_ownership")
    growth = find_growth(site, folder, {one.log.log_id: one.path for one in owned})
    read: list[ReadLog] = []
    reading = _read(site, folder, owned, growth, read)
    written = [_write(folder, EVENTS, tables.EVENT_COLUMNS, _events(reading))]
    written.append(_write(folder, PARAMETERS, tables.PARAMETER_COLUMNS, _parameters(read)))
    written.append(_write(folder, TRACK, TRACK_COLUMNS, _tracks(read)))
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
    rewritten = rewrite_files(site, folder / "rewritten", growth.superseded(_parsed(read)))
    files = _put(site, held, [one for one in written if one is not None], rewritten)
    return ParsedBatch(
        tuple(read), named, tuple(files), duplicates, refused, growth, tuple(rewritten)
    )


def _take_ownership(
    site: Site, held: Claim, folder: Path
) -> tuple[list[FoundLog], int, tuple[RefusedMember, ...]]:
    """(logs to parse, deliveries that are duplicates, members nobody could read)."""
    with site.transaction() as cursor:
        fence(cursor, held)
        archived = catalog_deliveries.of_batch(cursor, held.batch_id, "archived")
    found = unwrap(site, folder, archived)
    site.reach("after_unwrap")
    with site.transaction() as cursor:
        fence(cursor, held)
        owned, duplicates = catalog_logs.take_ownership(
            cursor, [one.log for one in found.logs], found.refused
        )
        catalog_logs.put_off(cursor, found.put_off)
    place = {(one.log.delivery_id, one.log.member): one for one in found.logs}
    return [place[one.delivery_id, one.member] for one in owned], len(duplicates), found.refused


def _read(
    site: Site, folder: Path, owned: list[FoundLog], growth: Growth, read: list[ReadLog]
) -> Iterator[ReadLog]:
    """Parse in log_id order; each log is added to `read` and handed on while others are parsed.

    What another log of the batch supersedes is not read, unless that one cannot be read itself.
    """
    left = owned
    loading = {one.log.log_id for one in owned if one.unread is None}
    while True:
        gone = growth.superseded(loading)
        now = [one for one in left if one.log.log_id not in gone]
        if not now:
            return
        yield from _read_some(site, folder, now, read)
        left = [one for one in left if one.log.log_id in gone]
        loading = _parsed(read)


def _read_some(
    site: Site, folder: Path, some: list[FoundLog], read: list[ReadLog]
) -> Iterator[ReadLog]:
    jobs = [
        Job(
            one.path,
            folder / str(one.log.log_id),
            one.log.received_at,
            one.log.size_bytes,
            one.lost,
        )
        for one in some
        if one.unread is None
    ]
    results = parse_all(site.settings, jobs)
    for found in some:
        result = found.unread or next(results)
        one = ReadLog(found.log, folder / str(found.log.log_id), result)
        read.append(one)
        yield one


def _parsed(read: Iterable[ReadLog]) -> set[UUID]:
    return {one.log.log_id for one in read if isinstance(one.result, ParsedLog)}


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


def _tracks(read: Iterable[ReadLog]) -> Rows:
    for one in read:
        if isinstance(one.result, ParsedLog) and one.result.track is not None:
            for batch in one.result.track.track.to_batches():
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


def _put(
    site: Site, held: Claim, written: list[_Written], rewritten: list[Rewritten]
) -> list[PlannedFile]:
    """Write down what will be put, remove what dead attempts left, put. Returns the batch's own
    files; those that replace others' are in `rewritten`."""
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
        for one in written
    ]
    again = [one.planned(held.batch_id) for one in rewritten]
    planned = [*own, *(one for one in again if one is not None)]
    paths = [
        *(one.path for one in written),
        *(one.file.path for one in rewritten if one.file is not None),
    ]
    with site.transaction() as cursor:
        fence(cursor, held)
        abandoned = catalog_logs.plan_lake_files(cursor, held, planned, site.now())
    site.reach("after_planned")
    with site.transaction() as cursor:
        # A newer attempt may have planned one of them again since.
        for lake_key in catalog_logs.lock_abandoned(cursor, abandoned):
            site.lake.delete(lake_key)

    def put(plan: PlannedFile, path: Path) -> None:
        site.lake.put_file(plan.lake_key, path, plan.sha256)

    with ThreadPoolExecutor(TRANSFERS) as threads:
        list(threads.map(put, planned, paths))
    site.reach("after_parquet_put")
    return own
