"""COPY rows of parsed logs into Postgres, in whoever's transaction it is. Decides nothing."""

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pyarrow as pa

from logbox_pipeline.adapters import spool, telemetry_tables
from logbox_pipeline.adapters.copy import copy_batches
from logbox_pipeline.core import tables
from logbox_pipeline.core.tables import EVENTS, PARAMETERS, TRACK, TelemetryTable
from logbox_pipeline.core.track import TRACK_COLUMNS
from logbox_pipeline.steps.parse import ParsedBatch, ReadLog
from logbox_pipeline.steps.parse_worker import ParsedLog

_EPOCH = date(1970, 1, 1)

LONGEST_LOAD_S = 1_800
"""A batch of 256 MB loads in seconds; PostgreSQL 17 and newer end what takes longer than this."""

LONGEST_WAIT_S = 120
"""For rows that another attempt has put and not committed, or a vehicle that another load holds:
then this attempt is over, and the batch is offered again."""

Batches = Callable[[ReadLog, ParsedLog], Iterator[pa.RecordBatch]]


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


def bound(cursor: Any, *, longest_idle_s: int = LONGEST_LOAD_S) -> None:
    """A process that sleeps in here would keep its batch from any other attempt for ever; one that
    waits for such a process, or for the lake, is not to be ended by the server's own limits."""
    cursor.execute(
        """
        select set_config('transaction_timeout', %s, true)
        where current_setting('server_version_num')::int >= 170000
            and current_setting('transaction_timeout') <> %s
        """,
        (f"{LONGEST_LOAD_S}s", f"{LONGEST_LOAD_S // 60}min"),
    )
    cursor.execute(
        """
        select set_config('lock_timeout', %s, true),
            set_config('idle_in_transaction_session_timeout', %s, true)
        """,
        (f"{LONGEST_WAIT_S}s", f"{longest_idle_s}s"),
    )


def _events(one: ReadLog, result: ParsedLog) -> Iterator[pa.RecordBatch]:
    return spool.event_batches(one.rows, result.spooled)


def _parameters(one: ReadLog, result: ParsedLog) -> Iterator[pa.RecordBatch]:
    return spool.parameter_batches(one.rows, result.spooled)


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
            for batch in spool.telemetry_batches(one.rows, topic, table):
                yield tables.postgres_rows(batch, one.log.log_id, day, schema)

    leaf = telemetry_tables.partition_of(table.table_name, received_on)
    return copy_batches(cursor, leaf, schema, rows())
