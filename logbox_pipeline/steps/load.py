"""Load: one transaction that makes a batch's rows, states and Parquet files count, or nothing."""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from logbox_pipeline.adapters import (
    catalog_batches,
    catalog_content,
    catalog_growth,
    catalog_logs,
    postgres,
)
from logbox_pipeline.adapters.catalog_batches import Claim, fence, look
from logbox_pipeline.adapters.catalog_flights import record_flights
from logbox_pipeline.adapters.catalog_logs import LogResult
from logbox_pipeline.adapters.catalog_topics import TopicResult, fields_id
from logbox_pipeline.core.errors import PermanentError
from logbox_pipeline.core.flights import FoundFlight
from logbox_pipeline.steps import lake
from logbox_pipeline.steps.copy_rows import bound, copy_rows
from logbox_pipeline.steps.head_start import HeadStart
from logbox_pipeline.steps.lake import LakeReport
from logbox_pipeline.steps.parse import ParsedBatch, ReadLog
from logbox_pipeline.steps.parse_worker import ParsedLog
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.supersede import take_over


@dataclass(frozen=True)
class LoadReport:
    """Rows by table, as Postgres counted them, and what stands in the lake beside them."""

    logs: int
    table_rows: dict[str, int]
    lake: LakeReport


def load(
    site: Site, held: Claim, parsed: ParsedBatch, head_start: HeadStart | None = None
) -> LoadReport:
    """COPY every row, put the Parquet files meanwhile, and commit all with the states it means.

    What `head_start` copied already counts with the rest.
    Raises FenceLost when another attempt has the batch, PermanentError when Postgres and Parquet
    would not agree; nothing is changed then.
    """
    with (
        ThreadPoolExecutor(1) as beside,
        _rows_there(site, held, parsed, head_start, beside) as (
            cursor,
            table_rows,
            storing,
        ),
    ):
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


@contextmanager
def _rows_there(
    site: Site,
    held: Claim,
    parsed: ParsedBatch,
    head_start: HeadStart | None,
    beside: ThreadPoolExecutor,
) -> Iterator[tuple[Any, dict[str, int], Future[LakeReport]]]:
    """A transaction in which all rows of the batch stand, their number by table, and what puts
    the Parquet files meanwhile."""
    if head_start is not None:
        storing = beside.submit(lake.store, site, held, parsed)
        begun = head_start.begun(parsed)
        if begun is not None:
            with postgres.transaction(begun.connection) as cursor:
                yield cursor, begun.table_rows, storing
            return
    with site.transaction() as cursor:
        look(cursor, held)
        bound(cursor)
        catalog_growth.require_loaded(cursor, parsed.replacing)
        catalog_growth.delete_rows(cursor, list(parsed.replacing))
        if head_start is None:
            storing = beside.submit(lake.store, site, held, parsed)
        yield cursor, copy_rows(cursor, held.received_on, parsed), storing


def _require_agreement(parsed: ParsedBatch, stored: LakeReport, table_rows: dict[str, int]) -> None:
    for name in sorted(stored.table_rows.keys() | table_rows.keys()):
        in_parquet, in_postgres = stored.table_rows.get(name, 0), table_rows.get(name, 0)
        if name in parsed.in_lake_only:
            in_parquet = 0
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
