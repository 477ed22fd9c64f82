"""Parse: find the logs, decide who owns each, turn owned logs into rows of named tables.

The rows stand in scratch when this ends; nothing counts yet.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Protocol
from uuid import UUID

import pyarrow as pa

from logbox_pipeline.adapters import (
    catalog_deliveries,
    catalog_logs,
    postgres,
    spool,
    telemetry_tables,
)
from logbox_pipeline.adapters.catalog_batches import Claim, fence
from logbox_pipeline.adapters.catalog_logs import OwnedLog, RefusedMember
from logbox_pipeline.adapters.spool import SpooledTopic
from logbox_pipeline.core import tables
from logbox_pipeline.core.content import Content
from logbox_pipeline.core.digest import log_id
from logbox_pipeline.core.growth import outgrown
from logbox_pipeline.core.tables import EVENTS, PARAMETERS, TRACK, TelemetryTable, WantedTopic
from logbox_pipeline.core.track import TRACK_COLUMNS
from logbox_pipeline.steps.lake_file import WrittenFile, write_file
from logbox_pipeline.steps.new_names import NewNames
from logbox_pipeline.steps.parse_pool import EarlyParsing, Job, parse_all, parsing_early
from logbox_pipeline.steps.parse_worker import ParsedLog, UnparsedLog
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.supersede import Growth, find_growth
from logbox_pipeline.steps.unwrap import FoundLog, beginning_of, is_wrapper, unwrap
from logbox_pipeline.steps.verify import scratch_file


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
    """An owned log and what parsing gave; its rows stand in the file `rows`."""

    log: OwnedLog
    rows: Path
    result: ParsedLog | UnparsedLog


@dataclass(frozen=True)
class ParsedBatch:
    """What lake and load need: logs in log_id order, tables by (format, topic), and the Parquet
    files of events, parameters and tracks, which were written while others were parsed.

    replacing: logs that are loaded already and the batches that did it: their rows go first.
    """

    read: tuple[ReadLog, ...]
    tables: dict[tuple[str, str], TelemetryTable]
    written: tuple[WrittenFile, ...]
    growth: Growth = field(default_factory=Growth)
    duplicates: int = 0
    refused: tuple[RefusedMember, ...] = ()
    replacing: Mapping[UUID, UUID] = field(default_factory=dict)

    @cached_property
    def by_table(self) -> dict[tuple[str, str], list[tuple[ReadLog, SpooledTopic]]]:
        """Whose rows go to each table (format, topic), in log_id order."""
        found: dict[tuple[str, str], list[tuple[ReadLog, SpooledTopic]]] = defaultdict(list)
        for one in self.read:
            if isinstance(one.result, ParsedLog):
                for topic in one.result.spooled.topics:
                    found[one.result.format, topic.topic].append((one, topic))
        return found

    @property
    def in_lake_only(self) -> set[str]:
        """Tables whose rows Postgres does not take."""
        return {
            table.table_name for table in self.tables.values() if table.lake_only_reason is not None
        }

    @property
    def leaving(self) -> dict[UUID, UUID]:
        """Logs whose rows go when this is loaded, and the batches that had loaded them."""
        gone = self.growth.superseded(self.loading).values()
        superseded = {one.log_id: one.batch_id for one in gone if one.batch_id is not None}
        return {**superseded, **self.replacing}

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


EARLY_BYTES = 4_000_000
"""200 logs of 1 MB took 4.9 s to archive beside parsing, 1.9 and 2.3 s alone (single runs). Where
store and scratch share a disk, its syncs seem to wait for the rows that parsers write meanwhile."""


class Ahead(Protocol):
    """Who makes use of logs while others are parsed (`head_start`)."""

    def take(self, one: ReadLog) -> None: ...

    def give_way(self) -> None: ...


@contextmanager
def begin_parsing(site: Site, held: Claim) -> Iterator[EarlyParsing | None]:
    """Parse what was verified, new and large while the block archives it.

    Nobody owns it yet, and its rows count for nothing before `parse` asks for them. Wrappers wait
    for `parse`, and so does what begins like a longer log of its vehicle.
    """
    with site.transaction() as cursor:
        fence(cursor, held)
        new = catalog_deliveries.not_archived(cursor, held.batch_id)
    folder = site.folder(held)
    large = [one for one in new if one.size_bytes >= EARLY_BYTES]
    paths = [(one, scratch_file(folder, one.delivery_id)) for one in large]
    jobs = {
        Job(
            path,
            _rows(folder, path, log_id(one.client, one.sha256 or "")),
            one.received_at,
            one.size_bytes,
        ): (one.client, one.vehicle)
        for one, path in paths
        if not is_wrapper(path)
    }
    growing = outgrown(
        {
            job: (owner, job.size_bytes, beginning_of(job.path, job.size_bytes))
            for job, owner in jobs.items()
        }
    )
    wanted = [job for job in jobs if job not in growing]
    with parsing_early(site.settings, wanted) as early:
        yield early


def parse(
    site: Site, held: Claim, ahead: Ahead | None = None, early: EarlyParsing | None = None
) -> ParsedBatch:
    """Own, parse and name the logs of a batch whose bytes are archived."""
    folder = site.folder(held)
    owned, duplicates, refused = _take_ownership(site, held, folder)
    site.reach("after_ownership")
    growth = find_growth(site, folder, {one.log.log_id: one.path for one in owned})
    parsed = parse_logs(site, folder, held.received_on, owned, growth, ahead, early)
    return replace(parsed, duplicates=duplicates, refused=refused)


def parse_logs(
    site: Site,
    folder: Path,
    received_on: date,
    logs: list[FoundLog],
    growth: Growth | None = None,
    ahead: Ahead | None = None,
    early: EarlyParsing | None = None,
) -> ParsedBatch:
    """Parse and name logs of one day, whoever owns them. Their rows stand in `folder`."""
    growth = growth or Growth()
    read: list[ReadLog] = []
    reading = _handed_on(_read(site, folder, logs, growth, read, early), ahead)
    written = _written(folder, reading, read)
    site.reach("after_parse")
    named = _name_tables(site, received_on, read, ahead)
    site.reach("after_tables")
    return ParsedBatch(tuple(read), named, written, growth)


def only(folder: Path, parsed: ParsedBatch, wanted: Collection[UUID]) -> ParsedBatch:
    """Some of the logs that were parsed; the others' rows go no further."""
    read = tuple(one for one in parsed.read if one.log.log_id in wanted)
    return replace(parsed, read=read, written=_written(folder, read, read))


def _handed_on(reading: Iterator[ReadLog], ahead: Ahead | None) -> Iterator[ReadLog]:
    for one in reading:
        if ahead is not None:
            ahead.take(one)
        yield one


def _written(
    folder: Path, reading: Iterable[ReadLog], read: Sequence[ReadLog]
) -> tuple[WrittenFile, ...]:
    """Files of what every log has. `reading` fills `read` as it goes."""
    written = (
        write_file(
            folder, EVENTS, tables.EVENT_COLUMNS, _events(reading), lambda: _events_contents(read)
        ),
        write_file(folder, PARAMETERS, tables.PARAMETER_COLUMNS, _parameters(read)),
        write_file(folder, TRACK, TRACK_COLUMNS, _tracks(read)),
    )
    return tuple(one for one in written if one is not None)


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
    site: Site,
    folder: Path,
    owned: list[FoundLog],
    growth: Growth,
    read: list[ReadLog],
    early: EarlyParsing | None,
) -> Iterator[ReadLog]:
    """Parse in log_id order; each log is added to `read` and handed on while others are parsed.

    What another log of the batch supersedes is not read, unless that one cannot be read itself.
    """
    names = NewNames(site)
    left = owned
    loading = {one.log.log_id for one in owned if one.unread is None}
    while True:
        gone = growth.superseded(loading)
        now = [one for one in left if one.log.log_id not in gone]
        if not now:
            return
        yield from _read_some(site, folder, now, read, names, early)
        left = [one for one in left if one.log.log_id in gone]
        loading = _parsed(read)


def _read_some(
    site: Site,
    folder: Path,
    some: list[FoundLog],
    read: list[ReadLog],
    names: NewNames,
    early: EarlyParsing | None,
) -> Iterator[ReadLog]:
    jobs = [
        Job(
            one.path,
            _rows(folder, one.path, one.log.log_id),
            one.log.received_at,
            one.log.size_bytes,
            one.lost,
        )
        for one in some
        if one.unread is None
    ]
    results = parse_all(site.settings, jobs, early)
    for found in some:
        result = found.unread or names.judge(found.log.client, next(results))
        one = ReadLog(found.log, _rows(folder, found.path, found.log.log_id), result)
        read.append(one)
        yield one


def _rows(folder: Path, path: Path, log: UUID) -> Path:
    """Of one reading of one log: of two deliveries of it one may be begun, and the other owned."""
    return folder / f"{path.stem}-{log}.arrow"


def _parsed(read: Iterable[ReadLog]) -> set[UUID]:
    return {one.log.log_id for one in read if isinstance(one.result, ParsedLog)}


def _events_contents(read: Iterable[ReadLog]) -> dict[UUID, Content]:
    return {
        one.log.log_id: one.result.spooled.events_content
        for one in read
        if isinstance(one.result, ParsedLog) and one.result.spooled.events
    }


def _events(read: Iterable[ReadLog]) -> Iterator[tuple[OwnedLog, pa.RecordBatch]]:
    for one in read:
        if isinstance(one.result, ParsedLog):
            for batch in spool.event_batches(one.rows, one.result.spooled):
                yield one.log, batch


def _parameters(read: Iterable[ReadLog]) -> Iterator[tuple[OwnedLog, pa.RecordBatch]]:
    for one in read:
        if isinstance(one.result, ParsedLog):
            for batch in spool.parameter_batches(one.rows, one.result.spooled):
                yield one.log, batch


def _tracks(read: Iterable[ReadLog]) -> Iterator[tuple[OwnedLog, pa.RecordBatch]]:
    for one in read:
        if isinstance(one.result, ParsedLog) and one.result.track is not None:
            for batch in one.result.track.track.to_batches():
                yield one.log, batch


def topics_wanted(read: Iterable[ReadLog]) -> list[WantedTopic]:
    """The topics of some logs, each with every column one of them has."""
    return tables.wanted_topics(
        (one.result.format, topic.topic, topic.columns)
        for one in read
        if isinstance(one.result, ParsedLog)
        for topic in one.result.spooled.topics
    )


def _name_tables(
    site: Site, received_on: date, read: list[ReadLog], ahead: Ahead | None
) -> dict[tuple[str, str], TelemetryTable]:
    wanted = topics_wanted(read)
    settings = site.settings
    with site.connection() as connection:
        if ahead is not None:
            with postgres.transaction(connection) as cursor:
                standing = telemetry_tables.standing_tables(
                    cursor,
                    wanted,
                    received_on=received_on,
                    postgres_topics=settings.postgres_topics,
                    max_tables=settings.max_telemetry_tables,
                )
            if standing is None:
                # Its own locks would keep us from changing the tables it fills.
                ahead.give_way()
        ensured = telemetry_tables.ensure_tables(
            connection,
            wanted,
            received_on=received_on,
            now=site.now(),
            postgres_topics=settings.postgres_topics,
            max_tables=settings.max_telemetry_tables,
        )
    return ensured.tables
