"""A view in schema `analytics` for each table in `telemetry`: with client, vehicle and flight, one
column per field. What its columns are is decided in `core.views`; when it is made, in
`telemetry_tables`. Nothing of a log reaches SQL as text.
"""

from collections.abc import Sequence
from typing import Any

import psycopg2
from psycopg2 import sql

from logbox_pipeline.core.tables import NamedColumn
from logbox_pipeline.core.views import ViewColumn, view_columns

SCHEMA = "analytics"
_TABLES = "telemetry"
_VERSION = 1
"""Of the definition below: views of an older one are made again."""

_FIRST = (
    ("log_id", "t.log_id", "The log (logbox.logs)"),
    ("client", "l.client", "Whose log"),
    ("vehicle", "l.vehicle", "The drone"),
    ("flight_id", "m.flight_id", "The flight this row was in (logbox.flights); null on the ground"),
    ("takeoff_at", "f.takeoff_at", "Takeoff of that flight (UTC)"),
    ("landed_at", "f.landed_at", "End of that flight (UTC)"),
    (
        "flight_s",
        "case m.timed_by"
        " when 'utc' then extract(epoch from t.ts - m.takeoff_at)::double precision"
        " when 'boot_clock' then (t.t_boot_us - m.takeoff_t_boot_us) / 1e6::double precision end",
        "Seconds since takeoff, by the clock of this log",
    ),
    ("instance", "t.instance", "Instance number, 0 for the first"),
    ("received_on", "t.received_on", "Day its log arrived (UTC); bound it: partitions go by month"),
    ("t_boot_us", "t.t_boot_us", "Boot clock in microseconds; null where there is none"),
    ("ts", "t.ts", "Time in UTC; null where nobody knows"),
)

# Flights of one log that one clock tells apart: no row has two of them (see `timed_by`).
_JOINS = """
    left join logbox.logs l on l.log_id = t.log_id
    left join logbox.flight_logs m
        on m.log_id = t.log_id
        and (
            (m.timed_by = 'utc' and t.ts between m.takeoff_at and m.landed_at)
            or (
                m.timed_by = 'boot_clock'
                and t.t_boot_us between m.takeoff_t_boot_us and m.landed_t_boot_us
            )
        )
    left join logbox.flights f on f.flight_id = m.flight_id
"""


def comment_of(log_format: str, topic: str, table_name: str, columns: int) -> str:
    """The view's comment; it changes with all that changes the view (columns are only added)."""
    return (
        f"Topic {topic} of {log_format} logs, with client, vehicle and flight, one column per"
        f" field. From {columns} columns of {_TABLES}.{table_name}; definition {_VERSION}."
    )


def comments(cursor: Any, names: Sequence[str]) -> dict[str, str]:
    """The comments of those of these views that stand there."""
    cursor.execute(
        """
        select relname, coalesce(obj_description(oid, 'pg_class'), '')
        from pg_class
        where relnamespace = to_regnamespace(%s) and relkind = 'v' and relname = any(%s)
        """,
        (SCHEMA, list(names)),
    )
    return dict(cursor.fetchall())


def make(cursor: Any, table_name: str, known: Sequence[NamedColumn], standing: list[str]) -> None:
    """Make the view anew; `known` and `standing` as in `core.views.view_columns`.

    A column more leaves the view in its place. Another type of a column replaces it, unless another
    view was built on it: then it stays as it is.
    """
    columns = view_columns(known, standing)
    view = sql.Identifier(SCHEMA, table_name)
    query = _query(table_name, columns)
    cursor.execute("savepoint before_view")
    try:
        cursor.execute(sql.SQL("create or replace view {} as {}").format(view, query))
    except psycopg2.errors.InvalidTableDefinition:
        cursor.execute("rollback to savepoint before_view")
        try:
            cursor.execute(sql.SQL("drop view {}").format(view))
        except psycopg2.errors.DependentObjectsStillExist:
            cursor.execute("rollback to savepoint before_view")
            return
        cursor.execute(sql.SQL("create view {} as {}").format(view, query))
    said = comment_of(known[0].format, known[0].topic, table_name, len(standing))
    cursor.execute(sql.SQL("; ").join(_comments(table_name, columns, said)))


def _query(table_name: str, columns: Sequence[ViewColumn]) -> sql.Composable:
    shown = [
        sql.SQL("{} as {}").format(sql.SQL(expression), sql.Identifier(name))
        for name, expression, _ in _FIRST
    ]
    shown += [sql.SQL("{} as {}").format(_value(one), sql.Identifier(one.name)) for one in columns]
    return sql.SQL("select {} from {} t {}").format(
        sql.SQL(", ").join(shown), sql.Identifier(_TABLES, table_name), sql.SQL(_JOINS)
    )


def _value(column: ViewColumn) -> sql.Composable:
    parts = [_cast(one, column.type) for one in column.variants]
    return (
        parts[0] if len(parts) == 1 else sql.SQL("coalesce({})").format(sql.SQL(", ").join(parts))
    )


def _cast(row: NamedColumn, wanted: str) -> sql.Composable:
    name = sql.Identifier("t", row.column_name)
    if row.type == wanted:
        return name
    if row.type == "date" and wanted != "text":
        return sql.SQL("({}::timestamp at time zone 'UTC')").format(name)
    if row.type in ("boolean", "boolean[]") and not wanted.startswith("text"):
        # Postgres has no way from boolean to other numbers than integer.
        integer = row.type.replace("boolean", "integer")
        return sql.SQL("{}::{}::{}").format(name, sql.SQL(integer), sql.SQL(wanted))
    return sql.SQL("{}::{}").format(name, sql.SQL(wanted))


def _comments(table_name: str, columns: Sequence[ViewColumn], said: str) -> list[sql.Composable]:
    made = [
        sql.SQL("comment on view {} is {}").format(
            sql.Identifier(SCHEMA, table_name), sql.Literal(said)
        )
    ]
    told = [(name, comment) for name, _, comment in _FIRST]
    told += [(one.name, one.comment) for one in columns]
    made += [
        sql.SQL("comment on column {} is {}").format(
            sql.Identifier(SCHEMA, table_name, name), sql.Literal(comment)
        )
        for name, comment in told
    ]
    return made
