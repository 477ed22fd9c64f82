"""Load: one transaction that makes a batch's rows, states and Parquet files count, or nothing."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa

from logbox_pipeline.adapters import (
    catalog_batches,
    catalog_content,
    catalog_growth,
    catalog_logs,
    spool,
    telemetry_tables,
)
from logbox_pipeline.adapters.catalog_batches import Claim, fence, look
from logbox_pipeline.adapters.catalog_flights import record_flights
from logbox_pipeline.adapters.catalog_logs import LogResult
from logbox_pipeline.adapters.catalog_topics import TopicResult, fields_id
from logbox_pipeline.adapters.copy import copy_batches
from logbox_pipeline.core import tables
from logbox_pipeline.core.errors import PermanentError
from logbox_pipeline.core.flights import FoundFlight
from logbox_pipeline.core.tables import EVENTS, PARAMETERS, TRACK, TelemetryTable
from logbox_pipeline.core.track import TRACK_COLUMNS
from logbox_pipeline.steps import lake
from logbox_pipeline.steps.lake import LakeReport
from logbox_pipeline.steps.parse import ParsedBatch, ReadLog
from logbox_pipeline.steps.parse_worker import ParsedLog
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.supersede import take_over

_EPOCH = date(1970, 1, 1)

LONGEST_LOAD_S = 1_800
"""A batch of 256 MB loads in seconds; PostgreSQL 17 and newer end what takes longer than this."""

LONGEST_WAIT_S = 120
"""For rows that another attempt has put and not committed, or a vehicle that another load holds:
then this attempt is over, and the batch is offered again."""

Batches = Callable[[ReadLog, ParsedLog], Iterator[pa.RecordBatch]]


@dataclass(frozen=True)
class LoadReport:
    """Rows by table, as Postgres counted them, and what stands in the lake beside them."""

    logs: int
    table_rows: dict[str, int]
    lake: LakeReport


def load(site: Site, held: Claim, parsed: ParsedBatch) -> LoadReport:
    """COPY every row, put the Parquet files meanwhile, and commit all with the states it means.

    Raises FenceLost when another attempt has the batch, PermanentError when Postgres and Parquet
    would not agree; nothing is changed then.
    """
    with ThreadPoolExecutor(1) as beside, site.transaction() as cursor:
        look(cursor, held)
        _bound(cursor)
        catalog_growth.require_loaded(cursor, parsed.replacing)
        catalog_growth.delete_rows(cursor, list(parsed.replacing))
        storing = beside.submit(lake.store, site, held, parsed)
        table_rows = copy_rows(cursor, held.received_on, parsed)
        stored = storing.result()
        _require_agreement(parsed, stored, table_rows)
        fence(cursor, held)
        now = site.now()
        gone = take_over(cursor, parsed.growth, parsed.loading, now)
        catalog_growth.replace_files(cursor, [one.old.lake_key for one in stored.rewritten], now)
        results = [_result(one) for one in parsed.read]
        catalog_logs.record_results(cursor, held.batch_id, results, topics_of(parsed), now)
        catalog_content.record(cursor, parsed.loading, stored.contents)
        catalog_batches.mark_loaded(cursor, held.batch_id, now)
        catalog_logs.make_live(cursor, held, stored.lake_keys(held.batch_id), now)
        # Last of all: whoever loads flights of the same vehicles waits from here to the commit.
        record_flights(cursor, flights_of(parsed), [one.log_id for one in results], gone)
        site.reach("before_commit")
    site.reach("after_commit")
    rows = {name: count for name, count in table_rows.items() if count}
    return LoadReport(parsed.parsed, rows, stored)


def copy_rows(
    cursor: Any, received_on: date, parsed: ParsedBatch, *, since: date | None = None
) -> dict[str, int]:
    """Rows by table, as Postgres counted them. No row of the catalog is locked meanwhile.

    since: the first day whose telemetry Postgres is to hold (`core.retention`), for logs that are
    loaded again; None: it holds every day.
    """
    table_rows: dict[str, int] = {}
    for name, columns, read in (
        (EVENTS, tables.EVENT_COLUMNS, _events),
        (PARAMETERS, tables.PARAMETER_COLUMNS, _parameters),
        (TRACK, TRACK_COLUMNS, _track),
    ):
        table_rows[name] = _copy_logbox(cursor, parsed, name, columns, read)
    if since is not None and received_on < since:
        return table_rows
    for table in parsed.tables.values():
        if table.lake_only_reason is None:
            table_rows[table.table_name] = _copy_telemetry(cursor, received_on, parsed, table)
    return table_rows


def _bound(cursor: Any) -> None:
    """A process that sleeps in here would keep its batch from any other attempt for ever; one that
    waits for such a process, or for the lake, is not to be ended by the server's own limits."""
    cursor.execute(
        """
        select set_config('transaction_timeout', %s, true)
        where current_setting('server_version_num')::int >= 170000
        """,
        (f"{LONGEST_LOAD_S}s",),
    )
    cursor.execute(
        """
        select set_config('lock_timeout', %s, true),
            set_config('idle_in_transaction_session_timeout', %s, true)
        """,
        (f"{LONGEST_WAIT_S}s", f"{LONGEST_LOAD_S}s"),
    )


def _events(one: ReadLog, result: ParsedLog) -> Iterator[pa.RecordBatch]:
    return spool.event_batches(one.folder, result.spooled)


def _parameters(one: ReadLog, result: ParsedLog) -> Iterator[pa.RecordBatch]:
    return spool.parameter_batches(one.folder, result.spooled)


def _track(_: ReadLog, result: ParsedLog) -> Iterator[pa.RecordBatch]:
    return iter(()) if result.track is None else iter(result.track.track.to_batches())


def _copy_logbox(
    cursor: Any, parsed: ParsedBatch, table: str, columns: pa.Schema, read: Batches
) -> int:
    schema = tables.postgres_schema(columns, has_received_on=False)
    rows = (
        tables.postgres_rows(batch, one.log.log_id, None, schema)
        for one in parsed.read
        if isinstance(one.result, ParsedLog)
        for batch in read(one, one.result)
    )
    return copy_batches(cursor, ("logbox", table), schema, rows)


def _copy_telemetry(
    cursor: Any, received_on: date, parsed: ParsedBatch, table: TelemetryTable
) -> int:
    schema = tables.postgres_schema(tables.telemetry_schema(table), has_received_on=True)
    day = (received_on - _EPOCH).days

    def rows() -> Iterator[pa.RecordBatch]:
        for one, topic in parsed.by_table[table.format, table.topic]:
            for batch in spool.telemetry_batches(one.folder, topic, table):
                yield tables.postgres_rows(batch, one.log.log_id, day, schema)

    leaf = telemetry_tables.partition_of(table.table_name, received_on)
    return copy_batches(cursor, leaf, schema, rows())


def _require_agreement(parsed: ParsedBatch, stored: LakeReport, table_rows: dict[str, int]) -> None:
    in_lake_only = {
        table.table_name for table in parsed.tables.values() if table.lake_only_reason is not None
    }
    for name in sorted((stored.table_rows.keys() | table_rows.keys()) - in_lake_only):
        in_parquet, in_postgres = stored.table_rows.get(name, 0), table_rows.get(name, 0)
        if in_parquet != in_postgres:
            raise PermanentError(
                f"table {name}: {in_parquet} rows in Parquet, {in_postgres} in Postgres",
                hint="this is a bug in Logbox: keep the batch and report it",
            )


def _result(one: ReadLog) -> LogResult:
    if not isinstance(one.result, ParsedLog):
        return LogResult(
            one.log.log_id,
            "unparsed",
            one.result.reason,
            one.result.detail,
            one.result.format,
            one.result.parser_version,
        )
    spooled = one.result.spooled
    about = spooled.about
    track = one.result.track
    return LogResult(
        one.log.log_id,
        "loaded",
        format=one.result.format,
        parser_version=one.result.parser_version,
        vehicle_uid=about.vehicle_uid,
        firmware=about.firmware,
        hardware=about.hardware,
        autopilot=track.autopilot if track else None,
        airframe=track.airframe if track else None,
        time_source=about.time_source,
        time_error_ms=about.time_error_ms,
        recorded_from=about.recorded_from,
        recorded_to=about.recorded_to,
        telemetry_rows=spooled.telemetry_rows,
        events=spooled.events,
        parameters=spooled.parameters,
        track_rows=track.track.num_rows if track else 0,
        damaged_bytes=spooled.damaged_bytes,
        is_damaged=spooled.damaged_ranges > 0,
        info={**about.info, "recognized_by": one.result.recognized_by, **_track_error(one.result)},
    )


def _track_error(result: ParsedLog) -> dict[str, str]:
    return {} if result.track_error is None else {"track_error": result.track_error}


def topics_of(parsed: ParsedBatch) -> list[TopicResult]:
    """What `log_topics` says of each log."""
    return [topic for one in parsed.read for topic in _topics(one, parsed)]


def flights_of(parsed: ParsedBatch) -> list[FoundFlight]:
    """What each log saw of its vehicle's flights."""
    return [flight for one in parsed.read for flight in _flights(one)]


def _topics(one: ReadLog, parsed: ParsedBatch) -> Iterator[TopicResult]:
    if not isinstance(one.result, ParsedLog):
        return
    for topic in one.result.spooled.topics:
        table = parsed.tables[one.result.format, topic.topic]
        named = {column.key: column.column_name for column in table.columns}
        names = [named[column.key] for column in topic.columns]
        same_fields = fields_id(names)
        for instance in topic.instances:
            said = {name: instance.fields.of(place) for place, name in enumerate(names)}
            yield TopicResult(
                one.log.log_id,
                topic.topic,
                instance.instance,
                instance.rows,
                instance.first_t_boot_us,
                instance.last_t_boot_us,
                instance.first_ts_us,
                instance.last_ts_us,
                instance.rate_hz,
                table.table_name,
                table.lake_only_reason,
                json.dumps(said, separators=(",", ":"), allow_nan=False),
                same_fields,
            )


def _flights(one: ReadLog) -> Iterator[FoundFlight]:
    if not isinstance(one.result, ParsedLog) or one.result.track is None:
        return
    about, track = one.result.spooled.about, one.result.track
    for flight in track.flights:
        yield FoundFlight(
            log_id=one.log.log_id,
            flight=flight,
            client=one.log.client,
            vehicle=one.log.vehicle,
            received_at=one.log.received_at,
            time_source=about.time_source,
            time_error_ms=about.time_error_ms,
            firmware=about.firmware,
            autopilot=track.autopilot,
            airframe=track.airframe,
            format=one.result.format,
        )
