"""Two databases side by side: rows of each table, counted and digested by Postgres itself.

For a drill: what is compared is what some logs and deliveries left, and not what belongs to the
store as a whole, or is still changing: files of the lake are compacted and replaced meanwhile.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from psycopg2 import sql

_NOT_A_LOGS = frozenset(("drifts", "repairs"))
_OF_MANY_LOGS = frozenset(("logbox.flights",))
_OF_DAYS = {
    # What had not left landing by then may have changed since.
    "deliveries": "t.received_on = any(%(days)s) and t.left_landing_at < %(before)s",
    "objects": """
        t.archived_at < %(before)s and (t.client, t.sha256) in (
            select d.client, d.sha256 from logbox.deliveries d where d.received_on = any(%(days)s)
        )
    """,
    "flights": """
        t.flight_id in (
            select m.flight_id
            from logbox.flight_logs m
            group by m.flight_id
            having bool_and(m.log_id = any(%(logs)s::uuid[]))
        )
    """,
    "telemetry_columns": "t.created_at < %(before)s",
}
_STILL_CHANGING = ["replicated_at"]


@dataclass(frozen=True)
class Sample:
    """What is compared: the loaded logs of some days, as they were at a time."""

    days: tuple[date, ...]
    log_ids: tuple[UUID, ...]
    size_bytes: int


@dataclass(frozen=True)
class Side:
    """Sums of one database: (rows, two sums over the rows' digests) by table, and by log where a
    row is a log's, else by None."""

    sums: dict[str, dict[UUID | None, tuple[int, int, int]]]

    def of(self, table: str, without: Collection[UUID]) -> tuple[int, int, int]:
        """A table's own, without the rows of some logs."""
        chosen = [one for log, one in self.sums.get(table, {}).items() if log not in without]
        rows, low, high = (sum(part) for part in zip(*chosen, strict=True)) if chosen else (0, 0, 0)
        return rows, low, high


def differing(live: Side, rebuilt: Side, without: Collection[UUID]) -> list[str]:
    """Tables that are not the same, in words; `without`: logs that are not looked at, nor then what
    several logs make together."""
    found = []
    for table in sorted(live.sums.keys() | rebuilt.sums.keys()):
        if without and table in _OF_MANY_LOGS:
            continue
        one, other = live.of(table, without), rebuilt.of(table, without)
        if one != other:
            said = f"{table}: {one[0]} rows live, {other[0]} rebuilt"
            found.append(said if one[0] != other[0] else f"{said}, not equal")
    return found


def loaded_days(cursor: Any) -> list[tuple[date, int]]:
    """(day, bytes of its loaded logs), oldest first."""
    cursor.execute(
        """
        select received_on, sum(size_bytes)::bigint
        from logbox.logs
        where state = 'loaded'
        group by received_on
        order by received_on
        """
    )
    return list(cursor.fetchall())


def sample(cursor: Any, days: Sequence[date]) -> Sample:
    cursor.execute(
        """
        select log_id, size_bytes
        from logbox.logs
        where state = 'loaded' and received_on = any(%s)
        order by log_id
        """,
        (list(days),),
    )
    found = cursor.fetchall()
    return Sample(
        tuple(days), tuple(UUID(log_id) for log_id, _ in found), sum(size for _, size in found)
    )


def look(cursor: Any) -> None:
    """All that this transaction reads is of one moment. Call it first."""
    cursor.execute("set transaction isolation level repeatable read, read only")


def is_told(cursor: Any, days: Sequence[date]) -> bool:
    """Whether the archive knows every log and delivery of these days as it is now."""
    cursor.execute(
        """
        select not exists (
            select
            from logbox.outbox o
            join logbox.logs l on l.log_id::text = o.id
            where o.subject = 'log' and l.received_on = any(%(days)s)
        ) and not exists (
            select
            from logbox.outbox o
            join logbox.deliveries d on d.delivery_id::text = o.id
            where o.subject = 'delivery' and d.received_on = any(%(days)s)
        )
        """,
        {"days": list(days)},
    )
    return bool(cursor.fetchone()[0])


def loads(cursor: Any, of: Sample) -> dict[UUID, tuple[Any, ...]]:
    """What changes about a log whenever it is loaded again."""
    cursor.execute(
        """
        select log_id, state, batch_id, loaded_at, parser_version, superseded_by
        from logbox.logs
        where log_id = any(%s::uuid[])
        """,
        ([str(one) for one in of.log_ids],),
    )
    return {UUID(log_id): tuple(said) for log_id, *said in cursor.fetchall()}


def digests(cursor: Any, of: Sample, before: datetime, since: date | None) -> Side:
    """Columns without a value do not count. since: the first day whose telemetry Postgres is to
    hold; what stands from before it is not looked at."""
    values = {
        "days": list(of.days),
        "logs": [str(one) for one in of.log_ids],
        "before": before,
        "changing": _STILL_CHANGING,
        "held": [day for day in of.days if since is None or day >= since],
    }
    found = {}
    for schema, table, has_log in _tables(cursor):
        if has_log:
            chosen = "t.log_id = any(%(logs)s::uuid[])"
        elif table in _OF_DAYS:
            chosen = _OF_DAYS[table]
        else:
            continue
        if schema == "telemetry":
            chosen += " and t.received_on = any(%(held)s::date[])"
        # t.* and not t: a log may well have a field of that name.
        cursor.execute(
            sql.SQL(
                """
                select log_id, count(*), sum(('x' || left(h, 15))::bit(60)::bigint),
                    sum(('x' || substr(h, 16, 15))::bit(60)::bigint)
                from (
                    select {log} as log_id,
                        md5((jsonb_strip_nulls(to_jsonb(t.*)) - %(changing)s::text[])::text) as h
                    from {table} t
                    where {chosen}
                ) as hashed
                group by log_id
                """
            ).format(
                log=sql.SQL("t.log_id" if has_log else "null::uuid"),
                table=sql.Identifier(schema, table),
                chosen=sql.SQL(chosen),
            ),
            values,
        )
        found[f"{schema}.{table}"] = {
            None if log_id is None else UUID(log_id): (rows, int(low), int(high))
            for log_id, rows, low, high in cursor.fetchall()
        }
    return Side(found)


def _tables(cursor: Any) -> list[tuple[str, str, bool]]:
    cursor.execute(
        """
        select n.nspname, c.relname, exists (
            select
            from pg_attribute a
            where a.attrelid = c.oid and a.attname = 'log_id' and not a.attisdropped
        )
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in ('logbox', 'telemetry')
            and c.relkind in ('r', 'p')
            and not c.relispartition
        order by 1, 2
        """
    )
    return [row for row in cursor.fetchall() if row[1] not in _NOT_A_LOGS]
