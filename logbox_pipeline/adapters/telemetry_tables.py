"""Telemetry tables in Postgres: their names (`logbox.telemetry_columns`), columns and partitions.

Each change is a short transaction that waits at most LOCK_TIMEOUT_MS for a lock and is tried again
with jitter, so that no reader ever waits for a load. Names are decided in `core.tables`; no rows
here. Nothing of a log reaches SQL as text: names pass through `psycopg2.sql` alone.
"""

import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any, TypeVar

import psycopg2
from psycopg2 import sql
from psycopg2.extras import execute_values

from logbox_pipeline.adapters import telemetry_views
from logbox_pipeline.adapters.postgres import transaction, translation
from logbox_pipeline.core import tables
from logbox_pipeline.core.errors import PermanentError, TransientError
from logbox_pipeline.core.tables import NamedColumn, TelemetryTable, WantedTopic
from logbox_pipeline.core.views import described

SCHEMA = "telemetry"
PARTITION_SCHEMA = "telemetry_parts"
LOCK_TIMEOUT_MS = 200
STATEMENT_TIMEOUT_MS = 2_000
PATIENCE_S = 60.0
"""How long one change is tried before the batch is given back (an autovacuum may be that slow)."""
VIEW_PATIENCE_S = 1.0
"""How long a view is tried: no load fails for it. The next batch with its topic tries again."""

_ADVISORY_LOCK = 0x6C6F67626F78  # "logbox"

_BUSY = (
    psycopg2.errors.LockNotAvailable,
    psycopg2.errors.QueryCanceled,
    psycopg2.errors.DeadlockDetected,
    psycopg2.errors.SerializationFailure,
)

Made = TypeVar("Made")

_FIXED = (
    ("log_id", "uuid", True, "The log (logbox.logs)"),
    ("instance", "integer", True, "Instance number, 0 for the first"),
    ("received_on", "date", True, "Day its log arrived (UTC); the table is partitioned by month"),
    ("t_boot_us", "bigint", False, "Boot clock in microseconds; null where there is none"),
    ("ts", "timestamp with time zone", False, "Time in UTC; null where nobody knows"),
)
"""(name, type, not null, comment) of every telemetry table's first columns."""


@dataclass(frozen=True)
class EnsuredTables:
    """Where each wanted (format, topic) goes, and the names that were given for the first time."""

    tables: dict[tuple[str, str], TelemetryTable]
    new_columns: tuple[NamedColumn, ...]


def ensure_tables(
    connection: Any,
    wanted: Sequence[WantedTopic],
    *,
    received_on: date,
    now: datetime,
    postgres_topics: str = "*",
    max_tables: int = 2_000,
) -> EnsuredTables:
    """Names, tables, columns and the partition of `received_on` for every wanted topic.

    connection: in no transaction; several short ones are made. When nothing is missing, five
    queries are all. Names and their table commit together, so a death in between leaves nothing
    half done; what else is missing the next call makes. A table gets the wanted columns alone: what
    the registry names beyond them may be another client's, too wide for Postgres.
    Raises TransientError when a lock was not had in PATIENCE_S, PermanentError when a table that
    stands there has other columns than the registry says.
    """
    if not wanted:
        return EnsuredTables({}, ())
    with transaction(connection) as cursor:
        seen = _look(cursor, wanted, received_on)
    ensured: dict[tuple[str, str], TelemetryTable] = {}
    new_columns: list[NamedColumn] = []
    new_tables = 0
    for topic in wanted:
        key = (topic.format, topic.topic)
        settled = _settled(topic, seen, postgres_topics, max_tables, new_tables)
        if settled is None:
            settled, new, is_created = retried(
                connection,
                partial(
                    _settle,
                    topic=topic,
                    received_on=received_on,
                    now=now,
                    postgres_topics=postgres_topics,
                    max_tables=max_tables,
                    new_tables=new_tables,
                ),
            )
            new_columns.extend(new)
            new_tables += is_created
        if settled.lake_only_reason is None and settled.table_name not in seen.partitioned:
            retried(
                connection,
                partial(_ensure_partition, table_name=settled.table_name, received_on=received_on),
            )
        if settled.lake_only_reason is None and not _is_viewed(settled, topic, seen):
            _make_view(connection, topic)
        ensured[key] = settled
    return EnsuredTables(ensured, tuple(new_columns))


def standing_tables(
    cursor: Any,
    wanted: Sequence[WantedTopic],
    *,
    received_on: date,
    postgres_topics: str = "*",
    max_tables: int = 2_000,
) -> dict[tuple[str, str], TelemetryTable] | None:
    """Where every wanted topic goes; None when a table, a column or the partition is missing."""
    seen = _look(cursor, wanted, received_on)
    standing: dict[tuple[str, str], TelemetryTable] = {}
    for topic in wanted:
        settled = _settled(topic, seen, postgres_topics, max_tables, 0)
        if settled is None:
            return None
        if settled.lake_only_reason is None and settled.table_name not in seen.partitioned:
            return None
        standing[topic.format, topic.topic] = settled
    return standing


def make_views(connection: Any) -> int:
    """Make the views that are missing or of an older definition. Returns how many there should be.

    For after a migration, which may have had to drop them.
    """
    with transaction(connection) as cursor:
        standing = _existing(cursor)
        topics: dict[str, WantedTopic] = {}
        for row in read_registry(cursor):
            if row.table_name in standing:
                topics.setdefault(row.table_name, WantedTopic(row.format, row.topic, ()))
        seen = _look(cursor, list(topics.values()), date.min)
    for table_name, topic in topics.items():
        table = TelemetryTable(table_name, topic.format, topic.topic, ())
        if not _is_viewed(table, topic, seen):
            _make_view(connection, topic)
    return len(topics)


def partition_of(table_name: str, received_on: date) -> tuple[str, str]:
    """(schema, name) of the leaf that holds a day's rows: COPY goes there."""
    return PARTITION_SCHEMA, f"{table_name}_{received_on:%Y%m}"


def read_registry(cursor: Any) -> list[NamedColumn]:
    """Every row of `logbox.telemetry_columns`, by table and position."""
    cursor.execute(f"select {_REGISTRY} from logbox.telemetry_columns order by 1, 6")  # noqa: S608
    return [NamedColumn(*row) for row in cursor.fetchall()]


def registered(
    cursor: Any, topics: Collection[tuple[str, str]]
) -> dict[tuple[str, str], set[tuple[str, str]]]:
    """(source name, type) of the columns that have names, by (format, topic) of these topics."""
    asked = list(topics)
    cursor.execute(
        """
        select format, topic, source_name, type
        from logbox.telemetry_columns
        where (format, topic) in (select * from unnest(%s::text[], %s::text[]))
        """,
        ([log_format for log_format, _ in asked], [topic for _, topic in asked]),
    )
    found: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for log_format, topic, source_name, kind in cursor.fetchall():
        found.setdefault((log_format, topic), set()).add((source_name, kind))
    return found


def column_counts(cursor: Any, topics: Collection[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """How many columns have names, by (format, topic) of these topics; those without any are left
    out."""
    asked = list(topics)
    cursor.execute(
        """
        select format, topic, count(*)
        from logbox.telemetry_columns
        where (format, topic) in (select * from unnest(%s::text[], %s::text[]))
        group by format, topic
        """,
        ([log_format for log_format, _ in asked], [topic for _, topic in asked]),
    )
    return {(log_format, topic): count for log_format, topic, count in cursor.fetchall()}


def write_registry(cursor: Any, rows: Sequence[NamedColumn], now: datetime) -> None:
    """Insert rows that are not there yet: how rebuild restores the names."""
    if not rows:
        return
    execute_values(
        cursor,
        f"insert into logbox.telemetry_columns ({_REGISTRY}, created_at) values %s"  # noqa: S608
        " on conflict do nothing",
        [(*_row(column), now) for column in rows],
    )


_REGISTRY = (
    "table_name, column_name, format, topic, source_name, position, type, unit, scale, definition"
)


def _row(column: NamedColumn) -> tuple[Any, ...]:
    return (
        column.table_name,
        column.column_name,
        column.format,
        column.topic,
        column.source_name,
        column.position,
        column.type,
        column.unit,
        column.scale,
        column.definition,
    )


# What is there


@dataclass(frozen=True)
class _Seen:
    """registry: by (format, topic). columns: of tables that stand in Postgres, name -> type.
    existing: all of them by name. partitioned: those that have the wanted month. views: the
    comments of their views."""

    registry: dict[tuple[str, str], list[NamedColumn]]
    columns: dict[str, dict[str, str]]
    existing: frozenset[str]
    partitioned: frozenset[str]
    views: dict[str, str]


def _look(cursor: Any, wanted: Sequence[WantedTopic], received_on: date) -> _Seen:
    cursor.execute(
        f"""
        select {_REGISTRY}
        from logbox.telemetry_columns
        where (format, topic) in (select * from unnest(%s::text[], %s::text[]))
        order by table_name, position
        """,  # noqa: S608
        ([topic.format for topic in wanted], [topic.topic for topic in wanted]),
    )
    registry: dict[tuple[str, str], list[NamedColumn]] = {}
    for row in cursor.fetchall():
        column = NamedColumn(*row)
        registry.setdefault((column.format, column.topic), []).append(column)
    names = [rows[0].table_name for rows in registry.values()]
    return _Seen(
        registry,
        _columns(cursor, names),
        _existing(cursor),
        _partitioned(cursor, names, received_on),
        telemetry_views.comments(cursor, names),
    )


def _columns(cursor: Any, names: Sequence[str]) -> dict[str, dict[str, str]]:
    cursor.execute(
        """
        select c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
        from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace = %s::regnamespace
            and c.relkind = 'p'
            and c.relname = any(%s)
        order by c.relname, a.attnum
        """,
        (SCHEMA, list(names)),
    )
    columns: dict[str, dict[str, str]] = {}
    for table, column, kind in cursor.fetchall():
        columns.setdefault(table, {})[column] = kind
    return columns


def _existing(cursor: Any) -> frozenset[str]:
    cursor.execute(
        "select relname from pg_class where relnamespace = %s::regnamespace and relkind = 'p'",
        (SCHEMA,),
    )
    return frozenset(name for (name,) in cursor.fetchall())


def _partitioned(cursor: Any, names: Sequence[str], received_on: date) -> frozenset[str]:
    cursor.execute(
        """
        select parent.relname
        from pg_inherits i
        join pg_class leaf on leaf.oid = i.inhrelid
        join pg_class parent on parent.oid = i.inhparent
        where parent.relnamespace = %s::regnamespace
            and leaf.relnamespace = %s::regnamespace
            and leaf.relname = any(%s)
        """,
        (SCHEMA, PARTITION_SCHEMA, [partition_of(name, received_on)[1] for name in names]),
    )
    return frozenset(name for (name,) in cursor.fetchall())


def _settled(
    topic: WantedTopic, seen: _Seen, postgres_topics: str, max_tables: int, new_tables: int
) -> TelemetryTable | None:
    """The topic's table when registry and Postgres lack nothing of it, else None."""
    known = seen.registry.get((topic.format, topic.topic), [])
    if not known:
        return None
    table, new = tables.assign_names(topic, known, ())
    if new:
        return None
    table = _placed(table, seen, postgres_topics, max_tables, new_tables)
    if table.lake_only_reason is None:
        columns = seen.columns.get(table.table_name)
        if columns is None or _lacking(table, columns):
            return None
    return table


def _placed(
    table: TelemetryTable, seen: _Seen, postgres_topics: str, max_tables: int, new_tables: int
) -> TelemetryTable:
    reason = tables.lake_only_reason(
        table,
        seen.columns.get(table.table_name),
        postgres_topics=postgres_topics,
        existing_tables=seen.existing,
        max_tables=max_tables,
        new_tables=new_tables,
    )
    return tables.with_reason(table, reason)


def _lacking(table: TelemetryTable, columns: dict[str, str]) -> list[NamedColumn]:
    """Wanted columns that Postgres lacks. Raises PermanentError where one has another type."""
    for row in table.columns:
        found = columns.get(row.column_name, row.type)
        if found != row.type:
            raise PermanentError(
                f"column {row.column_name} of telemetry.{row.table_name}:"
                f" expected {row.type}, found {found}",
                hint="the table was changed by hand; rename that column, the next load makes it",
            )
    return [row for row in table.columns if row.column_name not in columns]


def _is_viewed(table: TelemetryTable, topic: WantedTopic, seen: _Seen) -> bool:
    columns = seen.columns.get(table.table_name)
    # Columns that this batch lacked were made since.
    if columns is None or not {one.column_name for one in table.columns} <= columns.keys():
        return False
    return seen.views.get(table.table_name) == telemetry_views.comment_of(
        topic.format, topic.topic, table.table_name, len(columns)
    )


# Making what is missing


def _settle(
    cursor: Any,
    topic: WantedTopic,
    received_on: date,
    now: datetime,
    postgres_topics: str,
    max_tables: int,
    new_tables: int,
) -> tuple[TelemetryTable, tuple[NamedColumn, ...], bool]:
    """Names and table of one topic, in one transaction, both or neither; was the table created?"""
    seen = _look(cursor, [topic], received_on)
    known = seen.registry.get((topic.format, topic.topic), [])
    taken: list[str] = []
    if not known:
        cursor.execute(
            "select distinct table_name from logbox.telemetry_columns where table_name = any(%s)",
            (tables.possible_table_names(topic.format, topic.topic),),
        )
        taken = [name for (name,) in cursor.fetchall()]
    table, new = tables.assign_names(topic, known, taken)
    write_registry(cursor, new, now)
    table = _placed(table, seen, postgres_topics, max_tables, new_tables)
    if table.lake_only_reason is not None:
        return table, new, False
    columns = seen.columns.get(table.table_name)
    if columns is None:
        _create_table(cursor, table)
    else:
        _add_columns(cursor, table, _lacking(table, columns))
    return table, new, columns is None


def _create_table(cursor: Any, table: TelemetryTable) -> None:
    named = sql.Identifier(SCHEMA, table.table_name)
    columns = [
        sql.SQL("{} {}{}").format(
            sql.Identifier(name), sql.SQL(kind), sql.SQL(" not null" if required else "")
        )
        for name, kind, required, _ in _FIXED
    ]
    columns += [_definition(row) for row in _beyond_fixed(table.columns)]
    cursor.execute(
        sql.SQL("create table {} ({}) partition by range (received_on)").format(
            named, sql.SQL(", ").join(columns)
        )
    )
    cursor.execute(sql.SQL("create index on {} (log_id, t_boot_us)").format(named))
    cursor.execute(
        sql.SQL("comment on table {} is {}").format(
            named, sql.Literal(f"Topic {table.topic} of {table.format} logs.")
        )
    )
    told = [(name, comment) for name, _, _, comment in _FIXED]
    _comment(cursor, table, told + _described(_beyond_fixed(table.columns)))


def _add_columns(cursor: Any, table: TelemetryTable, rows: Sequence[NamedColumn]) -> None:
    if not rows:
        return
    additions = [sql.SQL("add column {}").format(_definition(row)) for row in rows]
    cursor.execute(
        sql.SQL("alter table {} {}").format(
            sql.Identifier(SCHEMA, table.table_name), sql.SQL(", ").join(additions)
        )
    )
    _comment(cursor, table, _described(rows))


def _make_view(connection: Any, topic: WantedTopic) -> None:
    def change(cursor: Any) -> None:
        # As it stands under the lock: another batch may have added columns since.
        seen = _look(cursor, [topic], date.min)
        known = seen.registry[topic.format, topic.topic]
        table_name = known[0].table_name
        telemetry_views.make(cursor, table_name, known, list(seen.columns[table_name]))

    # Somebody reads it for long, or another batch is at it.
    with suppress(TransientError):
        retried(connection, change, VIEW_PATIENCE_S)


def _ensure_partition(cursor: Any, table_name: str, received_on: date) -> None:
    """A plain table like its parent, then attached: that locks out no reader of the parent."""
    if table_name in _partitioned(cursor, [table_name], received_on):
        return
    parent = sql.Identifier(SCHEMA, table_name)
    leaf = sql.Identifier(*partition_of(table_name, received_on))
    first = received_on.replace(day=1)
    following = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    cursor.execute(sql.SQL("create table {} (like {} including comments)").format(leaf, parent))
    cursor.execute(
        sql.SQL("comment on table {} is {}").format(
            leaf, sql.Literal(f"Rows of telemetry.{table_name} received in {first:%Y-%m}.")
        )
    )
    cursor.execute(
        sql.SQL("alter table {} attach partition {} for values from ({}) to ({})").format(
            parent, leaf, sql.Literal(first), sql.Literal(following)
        )
    )


def _beyond_fixed(rows: Sequence[NamedColumn]) -> list[NamedColumn]:
    """Without the clock that stands in for a topic without fields."""
    return [row for row in rows if row.column_name not in tables.FIXED_COLUMNS]


def _definition(row: NamedColumn) -> sql.Composable:
    # The type is this project's own word for an Arrow type; anything else fails here.
    tables.arrow_type(row.type)
    return sql.SQL("{} {}").format(sql.Identifier(row.column_name), sql.SQL(row.type))


def _comment(cursor: Any, table: TelemetryTable, told: Sequence[tuple[str, str]]) -> None:
    cursor.execute(
        sql.SQL("; ").join(
            sql.SQL("comment on column {} is {}").format(
                sql.Identifier(SCHEMA, table.table_name, column), sql.Literal(text)
            )
            for column, text in told
        )
    )


def _described(rows: Sequence[NamedColumn]) -> list[tuple[str, str]]:
    return [(row.column_name, described(row)) for row in rows]


# Short transactions


def retried(
    connection: Any, change: Callable[[Any], Made], patience_s: float | None = None
) -> Made:
    """Make one change in a short transaction that locks nobody out, again until it is made.

    connection: in no transaction. Raises TransientError after `patience_s` (PATIENCE_S).
    """
    patience_s = PATIENCE_S if patience_s is None else patience_s
    deadline = time.monotonic() + patience_s
    while True:
        try:
            with _translated_but_busy(), connection, connection.cursor() as cursor:
                cursor.execute(
                    "select set_config('lock_timeout', %s, true),"
                    " set_config('statement_timeout', %s, true)",
                    (str(LOCK_TIMEOUT_MS), str(STATEMENT_TIMEOUT_MS)),
                )
                cursor.execute("select pg_advisory_xact_lock(%s)", (_ADVISORY_LOCK,))
                return change(cursor)
        except _BUSY as error:
            if time.monotonic() > deadline:
                raise TransientError(
                    f"a telemetry table was locked for {patience_s:.0f} s",
                    hint="a long transaction or a vacuum holds it: see pg_stat_activity",
                ) from error
        # Jitter, so that two batches do not meet again at the same moment.
        time.sleep(random.uniform(0.02, 0.3))  # noqa: S311


@contextmanager
def _translated_but_busy() -> Iterator[None]:
    """`translated()`, but locks that are not to be had pass, to be tried again."""
    try:
        yield
    except _BUSY:
        raise
    except psycopg2.Error as error:
        raise translation(error) from error
