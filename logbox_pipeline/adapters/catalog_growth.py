"""The catalog's record of growing logs: which begin alike, which gave way, and their files."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from psycopg2 import sql

from logbox_pipeline.core.errors import TransientError
from logbox_pipeline.core.growth import HEAD_BYTES, MARKS_AT, Pair, Superseded

_FOUND = """
    select s.log_id, s.content_sha256, s.size_bytes, s.state, s.batch_id, l.log_id, l.size_bytes,
        l.state
"""
_ALIKE = """
    where s.superseded_by is null and l.superseded_by is null
        and l.client = s.client and coalesce(l.vehicle, '') = coalesce(s.vehicle, '')
        and l.vehicle is not distinct from s.vehicle
        and l.size_bytes > s.size_bytes
"""
# Each asks one of the two indexes on beginnings for what can be a partner, and for little else.
_PAIRS = (
    # The longer ones have the same head, and marks that begin with the shorter's: in the order of
    # arrays they follow it, up to what would follow them all.
    f"""
    {_FOUND}
    from logbox.logs s
    join logbox.logs l on l.head = s.head
        and l.marks >= s.marks
        and l.marks <= s.marks || array_fill({2**63 - 1}::bigint, array[{len(MARKS_AT) + 1}])
    {_ALIKE}
        and s.size_bytes >= {HEAD_BYTES}
        and s.log_id = any(%(mine)s::uuid[])
    """,
    # The shorter ones have as many of the longer's marks as they reach.
    f"""
    {_FOUND}
    from logbox.logs l
    cross join unnest(array{list(range(len(MARKS_AT) + 1))}) as reached
    join logbox.logs s on s.head = l.head and s.marks = l.marks[1:reached]
    {_ALIKE}
        and s.size_bytes >= {HEAD_BYTES}
        and reached <= cardinality(l.marks)
        and l.log_id = any(%(mine)s::uuid[])
    """,
    # Shorter than a head is rare.
    f"""
    {_FOUND}
    from logbox.logs s
    join logbox.logs l on l.head >= s.head
        and l.head <= s.head || decode(repeat('ff', {HEAD_BYTES}), 'hex')
        and substring(l.head from 1 for octet_length(s.head)) = s.head
    {_ALIKE}
        and s.size_bytes > 0 and s.size_bytes < {HEAD_BYTES}
        and s.log_id = any(%(mine)s::uuid[])
    """,
    f"""
    {_FOUND}
    from logbox.logs l
    join logbox.logs s on substring(l.head from 1 for octet_length(s.head)) = s.head
    {_ALIKE}
        and s.size_bytes > 0 and s.size_bytes < {HEAD_BYTES}
        and l.log_id = any(%(mine)s::uuid[])
    """,
)


def pairs(cursor: Any, mine: Collection[UUID]) -> list[Pair]:
    """Logs of which one may begin with the other, one of them in `mine`; none has given way."""
    if not mine:
        return []
    cursor.execute("union".join(_PAIRS), {"mine": [str(one) for one in mine]})
    return [
        Pair(
            shorter_id=UUID(shorter_id),
            shorter_sha256=sha256,
            shorter_bytes=shorter_bytes,
            shorter_state=shorter_state,
            shorter_batch_id=None if batch_id is None else UUID(batch_id),
            longer_id=UUID(longer_id),
            longer_bytes=longer_bytes,
            longer_state=longer_state,
        )
        for (
            shorter_id, sha256, shorter_bytes, shorter_state, batch_id, longer_id, longer_bytes,
            longer_state,
        ) in cursor.fetchall()
    ]  # fmt: skip


def lock_vehicles(cursor: Any, logs: Collection[UUID]) -> None:
    """One load at a time decides what grows among the logs of a vehicle. Call it last: others wait
    from here to the commit."""
    cursor.execute(
        """
        select pg_advisory_xact_lock(name)
        from (
            select distinct
                hashtextextended('growth:' || client || '/' || coalesce(vehicle, ''), 0) as name
            from logbox.logs
            where log_id = any(%s::uuid[])
            order by 1
        ) as ordered
        """,
        ([str(one) for one in logs],),
    )


def gave_way(cursor: Any, logs: Collection[UUID]) -> int:
    """How many of these have been superseded by now."""
    cursor.execute(
        """
        select count(*)
        from logbox.logs
        where log_id = any(%s::uuid[]) and superseded_by is not null
        """,
        ([str(one) for one in logs],),
    )
    return int(cursor.fetchone()[0])


def supersede(cursor: Any, gone: Collection[Superseded], now: datetime) -> None:
    """Part of the load transaction: take the logs' rows away and say in favour of which log.

    Their flights are `catalog_flights`'s.
    """
    delete_rows(cursor, [one.log_id for one in gone if one.batch_id is not None])
    for one in sorted(gone, key=lambda each: each.log_id):
        cursor.execute(
            """
            update logbox.logs
            set state = 'archived', superseded_by = %s, superseded_at = %s, reason = null,
                detail = null, telemetry_rows = null, events = null, parameters = null,
                track_rows = null, is_damaged = false, damaged_bytes = 0, loaded_at = null,
                batch_id = null
            where log_id = %s
            """,
            (str(one.by), now, str(one.log_id)),
        )


def require_loaded(cursor: Any, logs: Mapping[UUID, UUID]) -> None:
    """Lock logs (log_id -> the batch that loaded it).

    Raises TransientError when another load has changed one meanwhile.
    """
    if not logs:
        return
    cursor.execute(
        """
        select l.log_id
        from logbox.logs l
        join unnest(%s::uuid[], %s::uuid[]) as v (log_id, batch_id) using (log_id, batch_id)
        where l.state = 'loaded'
        order by l.log_id
        for update of l
        """,
        ([str(one) for one in logs], [str(one) for one in logs.values()]),
    )
    if cursor.rowcount != len(logs):
        raise TransientError(
            f"{len(logs) - cursor.rowcount} of {len(logs)} logs were loaded again by another batch "
            "meanwhile"
        )


def delete_rows(cursor: Any, log_ids: Collection[UUID]) -> None:
    """Every row these logs brought, in every table; what the catalog says of them stays, and their
    flights are `catalog_flights`'s."""
    if not log_ids:
        return
    logs = [str(one) for one in log_ids]
    _delete_telemetry(cursor, logs)
    for table in _tables_of_logs(cursor):
        cursor.execute(
            sql.SQL("delete from {} where log_id = any(%s::uuid[])").format(
                sql.Identifier("logbox", table)
            ),
            (logs,),
        )


def _delete_telemetry(cursor: Any, logs: list[str]) -> None:
    cursor.execute(
        """
        select t.table_name, array_agg(distinct l.received_on)
        from (
            select log_id, table_name from logbox.log_topics
            union
            select log_id, table_name from logbox.log_tables
        ) as t
        join logbox.logs l using (log_id)
        join pg_class c on c.relname = t.table_name and c.relkind = 'p'
        where log_id = any(%s::uuid[]) and c.relnamespace = 'telemetry'::regnamespace
        group by t.table_name
        order by t.table_name
        """,
        (logs,),
    )
    for table, days in cursor.fetchall():
        cursor.execute(
            sql.SQL(
                "delete from {} where log_id = any(%s::uuid[]) and received_on = any(%s::date[])"
            ).format(sql.Identifier("telemetry", table)),
            (logs, days),
        )


def _tables_of_logs(cursor: Any) -> list[str]:
    """Tables with rows of logs, whichever there are by now; flights keep their own, and drift that
    was seen stays written down."""
    cursor.execute(
        """
        select c.relname
        from pg_attribute a
        join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p')
        where c.relnamespace = 'logbox'::regnamespace
            and a.attname = 'log_id'
            and not a.attisdropped
            and c.relname not in ('logs', 'object_logs', 'flight_logs', 'drifts')
        order by 1
        """
    )
    return [name for (name,) in cursor.fetchall()]


@dataclass(frozen=True)
class HoldingFile:
    """A live Parquet file with rows of logs that go. `is_only_theirs`: and of no other log."""

    lake_key: str
    table_name: str
    received_on: date
    sha256: str
    batch_ids: tuple[UUID, ...]
    is_only_theirs: bool


def files_holding(cursor: Any, gone: Mapping[UUID, UUID]) -> list[HoldingFile]:
    """Live Parquet files of the batches that loaded these logs. gone: log_id -> batch_id."""
    logs = [str(one) for one in gone]
    batches = sorted({str(one) for one in gone.values()})
    cursor.execute(
        """
        select f.lake_key, f.table_name, f.received_on, f.sha256, f.batch_ids::text[],
            not exists (
                select
                from logbox.logs l
                where l.batch_id = any(f.batch_ids) and l.log_id <> all(%s::uuid[])
            )
        from logbox.lake_files f
        where f.state = 'live' and f.batch_ids && %s::uuid[]
        order by f.lake_key
        """,
        (logs, batches),
    )
    return [
        HoldingFile(key, table, day, sha256, tuple(UUID(one) for one in batch_ids), is_only_theirs)
        for key, table, day, sha256, batch_ids, is_only_theirs in cursor.fetchall()
    ]


def replace_files(cursor: Any, lake_keys: Sequence[str], now: datetime) -> None:
    """Part of the load transaction: from here on these files do not count.

    Raises TransientError when another batch has replaced one of them meanwhile.
    """
    # In one order, so that two batches never wait for each other in a ring.
    cursor.execute(
        "select from logbox.lake_files where lake_key = any(%s) order by lake_key for update",
        (list(lake_keys),),
    )
    cursor.execute(
        """
        update logbox.lake_files
        set state = 'replaced', replaced_at = %s
        where lake_key = any(%s) and state = 'live'
        """,
        (now, list(lake_keys)),
    )
    if cursor.rowcount != len(lake_keys):
        raise TransientError(
            f"{len(lake_keys) - cursor.rowcount} of {len(lake_keys)} lake files to replace were "
            "replaced by another batch meanwhile"
        )


def replaced_files(
    cursor: Any, most: int, replaced_before: datetime, compacted_before: datetime
) -> list[str]:
    """Keys of files whose grace is over, locked until they are forgotten.

    compacted_before: for those that compaction replaced, whose rows stand in another file as they
    are.
    """
    cursor.execute(
        """
        select lake_key
        from logbox.lake_files f
        where state = 'replaced'
            and (
                replaced_at < %s
                or (
                    replaced_at < %s
                    and exists (
                        select
                        from logbox.lake_files c
                        where c.table_name = f.table_name
                            and c.received_on = f.received_on
                            and c.attempt = 0
                            and c.live_at = f.replaced_at
                            and c.batch_ids @> f.batch_ids
                    )
                )
            )
        order by replaced_at
        limit %s
        for update skip locked
        """,
        (replaced_before, compacted_before, most),
    )
    return [key for (key,) in cursor.fetchall()]


def forget_replaced(cursor: Any, lake_keys: Sequence[str]) -> None:
    cursor.execute(
        "delete from logbox.lake_files where lake_key = any(%s) and state = 'replaced'",
        (list(lake_keys),),
    )
