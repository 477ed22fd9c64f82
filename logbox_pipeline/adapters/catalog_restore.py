"""Make the catalog's rows again from what the archive was told, in an empty database.

Works in a schema of its own, `logbox_rebuild`, which remembers what is done: what dies in the
middle goes on where it was. Rows come back as they were told, times and ids and all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from psycopg2 import sql
from psycopg2.extras import execute_values

from logbox_pipeline.core import keys
from logbox_pipeline.core.errors import TransientError
from logbox_pipeline.core.told import Line, Subject

_PROGRESS = """
    create schema logbox_rebuild;
    create table logbox_rebuild.scope (
        since date, days date[], client text, restored_at timestamptz, whole_at timestamptz
    );
    create table logbox_rebuild.told (
        kind text, id text, told_at timestamptz not null, client text, row jsonb,
        primary key (kind, id)
    );
    create table logbox_rebuild.files (
        archive_key text primary key, sha256 text not null, size_bytes bigint not null,
        put_at timestamptz not null
    );
    create table logbox_rebuild.findings (
        kind text, subject text, what text not null, primary key (kind, subject)
    );
    create table logbox_rebuild.units (
        unit integer primary key, received_on date not null, log_ids uuid[] not null,
        size_bytes bigint not null, done_at timestamptz, rows bigint, different integer
    );
    grant usage on schema logbox_rebuild to logbox_writer;
    grant select, insert, update, delete on all tables in schema logbox_rebuild to logbox_writer;
"""

_PEOPLES = frozenset(("clients", "client_keys", "analysts"))


@dataclass(frozen=True)
class Scope:
    """What to make again: everything, or what was received since a day or on some days, of one
    client or all."""

    since: date | None = None
    days: tuple[date, ...] | None = None
    client: str | None = None


@dataclass(frozen=True)
class Unit:
    """Logs of one day whose rows are made in one transaction. Sizes in bytes."""

    unit: int
    received_on: date
    log_ids: tuple[UUID, ...]
    size_bytes: int


@dataclass(frozen=True)
class Progress:
    """How far a rebuild has come. `different`: logs whose rows are not those once loaded."""

    units: int
    done: int
    logs: int
    size_bytes: int
    done_bytes: int
    rows: int
    different: int


class Finding(StrEnum):
    """What is not as it was: logs or files of which no copy is right, files that are not theirs."""

    LOST_LOG = "lost_log"
    LOST_FILE = "lost_file"
    ODD_FILE = "odd_file"


def is_begun(cursor: Any) -> bool:
    cursor.execute("select to_regclass('logbox_rebuild.scope') is not null")
    return bool(cursor.fetchone()[0])


def is_empty(cursor: Any) -> bool:
    """Whether nothing has ever arrived in this database."""
    cursor.execute(
        """
        select not exists (select from logbox.deliveries)
            and not exists (select from logbox.logs)
            and not exists (select from logbox.objects)
        """
    )
    return bool(cursor.fetchone()[0])


def is_unused(cursor: Any) -> bool:
    """Whether a database is as setup leaves it: migrated, nothing has arrived, no table of others.

    Nothing is lost with such a one.
    """
    cursor.execute(
        """
        select to_regclass('logbox.deliveries') is not null
            and not exists (
                select
                from pg_class c
                join pg_namespace n on n.oid = c.relnamespace
                where c.relkind in ('r', 'p', 'm', 'f')
                    and n.nspname not in (
                        'logbox', 'telemetry', 'analytics', 'pg_catalog', 'information_schema'
                    )
                    and n.nspname !~ '^pg_(toast|temp)'
                    and (n.nspname, c.relname) <> ('public', 'schema_migrations')
            )
        """
    )
    return bool(cursor.fetchone()[0]) and is_empty(cursor)


def begin(cursor: Any, scope: Scope) -> None:
    """The cursor is the owner's."""
    cursor.execute(_PROGRESS)
    cursor.execute(
        "insert into logbox_rebuild.scope (since, days, client) values (%s, %s::date[], %s)",
        (scope.since, None if scope.days is None else list(scope.days), scope.client),
    )


def scope_of(cursor: Any) -> tuple[Scope, bool]:
    """What the rebuild that was begun is about, and whether its rows are restored."""
    cursor.execute("select since, days, client, restored_at from logbox_rebuild.scope")
    since, days, client, restored_at = cursor.fetchone()
    return Scope(since, None if days is None else tuple(days), client), restored_at is not None


def is_whole(cursor: Any) -> bool:
    """Whether nothing is left to do of what was begun."""
    cursor.execute("select whole_at is not null from logbox_rebuild.scope")
    return bool(cursor.fetchone()[0])


def mark_whole(cursor: Any, now: datetime) -> None:
    cursor.execute("update logbox_rebuild.scope set whole_at = %s", (now,))


def end(cursor: Any) -> None:
    """Forget what was done. The cursor is the owner's."""
    cursor.execute("drop schema if exists logbox_rebuild cascade")


def note(cursor: Any, kind: Finding, subject: str, what: str) -> None:
    """Of one subject the first counts."""
    cursor.execute(
        "insert into logbox_rebuild.findings values (%s, %s, %s) on conflict do nothing",
        (kind, subject, what),
    )


def findings(cursor: Any, kind: Finding) -> dict[str, str]:
    """What was noted, by subject: a log_id or an archive key."""
    cursor.execute(
        "select subject, what from logbox_rebuild.findings where kind = %s order by subject",
        (kind,),
    )
    return dict(cursor.fetchall())


def untold_objects(cursor: Any, archive_keys: Sequence[str]) -> list[str]:
    """Those of these keys that are of no object the archive was told of."""
    objects = {key: keys.parse_archive_key(key) for key in archive_keys}
    cursor.execute(
        """
        select row->>'archive_key'
        from logbox_rebuild.told
        where kind = %s and id = any(%s) and row <> 'null'
        """,
        (str(Subject.OBJECT), [f"{one[0]}/{one[1]}" for one in objects.values() if one]),
    )
    told = {key for (key,) in cursor.fetchall()}
    return [key for key in archive_keys if key not in told]


def files_read(cursor: Any) -> set[str]:
    cursor.execute("select archive_key from logbox_rebuild.files")
    return {key for (key,) in cursor.fetchall()}


def stage(
    cursor: Any,
    archive_key: str,
    sha256: str,
    size_bytes: int,
    put_at: datetime,
    lines: Sequence[Line],
) -> None:
    """Take in one file; of each row the last that was told is kept."""
    newest = {(one.kind, one.id): one for one in sorted(lines, key=lambda one: one.told_at)}
    if newest:
        execute_values(
            cursor,
            """
            insert into logbox_rebuild.told as t (kind, id, told_at, client, row)
            values %s
            on conflict (kind, id) do update
            set told_at = excluded.told_at, client = excluded.client, row = excluded.row
            where t.told_at <= excluded.told_at
            """,
            [
                (one.kind, one.id, one.told_at, one.client, one.text)
                for _, one in sorted(newest.items())
            ],
            template="(%s, %s, %s, %s, %s::jsonb)",
            page_size=1_000,
        )
    cursor.execute(
        "insert into logbox_rebuild.files values (%s, %s, %s, %s)",
        (archive_key, sha256, size_bytes, put_at),
    )


def restore(cursor: Any, *, unit_bytes: int, unit_logs: int, now: datetime) -> None:
    """Make every row of the catalog that was told and is in scope; plan what is to be loaded.

    One transaction, in which the archive owes itself nothing.
    """
    cursor.execute("select set_config('logbox.is_restoring', 'on', true)")
    cursor.execute("analyze logbox_rebuild.told")
    _choose(cursor)
    _leave_orphans(cursor)
    _restore_batches(cursor, now)
    for table, subject, chosen in (
        ("clients", Subject.CLIENT, "true"),
        ("client_keys", Subject.CLIENT_KEY, "true"),
        ("analysts", Subject.ANALYST, "true"),
        ("deliveries", Subject.DELIVERY, "t.id in (select id from chosen_deliveries)"),
        ("objects", Subject.OBJECT, "t.id in (select id from chosen_objects)"),
        ("logs", Subject.LOG, "t.id in (select id from chosen_logs)"),
        ("lake_files", Subject.LAKE_FILE, "t.id in (select id from chosen_files)"),
    ):
        if subject is Subject.CLIENT_KEY:
            _restore_unknown_clients(cursor)
        _restore_rows(cursor, table, subject, chosen)
    _restore_nested(cursor)
    _free_what_was_at_work(cursor)
    _plan_units(cursor, unit_bytes, unit_logs)
    cursor.execute("update logbox_rebuild.scope set restored_at = %s", (now,))


def _choose(cursor: Any) -> None:
    """Which deliveries, logs, objects and files are in scope, and what these point at."""
    cursor.execute(
        """
        create temporary table chosen_logs on commit drop as
        with recursive chosen (id) as (
            select t.id
            from logbox_rebuild.told t, logbox_rebuild.scope s
            where t.kind = 'log'
                and t.row <> 'null'
                and (s.since is null or (t.row->>'received_on')::date >= s.since)
                and (s.days is null or (t.row->>'received_on')::date = any(s.days))
                and (s.client is null or t.client = s.client)
            union
            select t.row->>'superseded_by'
            from chosen
            join logbox_rebuild.told t on t.kind = 'log' and t.id = chosen.id
            where t.row->>'superseded_by' is not null
        )
        select id from chosen;
        create temporary table chosen_deliveries on commit drop as
        select t.id
        from logbox_rebuild.told t, logbox_rebuild.scope s
        where t.kind = 'delivery'
            and t.row <> 'null'
            and (
                s.since is null
                or ((t.row->>'received_at')::timestamptz at time zone 'UTC')::date >= s.since
            )
            and (
                s.days is null
                or ((t.row->>'received_at')::timestamptz at time zone 'UTC')::date = any(s.days)
            )
            and (s.client is null or t.client = s.client)
        union
        select l.row->>'delivery_id'
        from chosen_logs c
        join logbox_rebuild.told l on l.kind = 'log' and l.id = c.id;
        create temporary table chosen_objects on commit drop as
        select distinct t.client || '/' || (t.row->>'sha256') as id
        from chosen_deliveries c
        join logbox_rebuild.told t on t.kind = 'delivery' and t.id = c.id
        where t.row->>'sha256' is not null;
        create temporary table chosen_files on commit drop as
        select t.id
        from logbox_rebuild.told t, logbox_rebuild.scope s
        where t.kind = 'lake_file'
            and t.row <> 'null'
            and (s.since is null or (t.row->>'received_on')::date >= s.since)
            and (s.days is null or (t.row->>'received_on')::date = any(s.days))
            and (
                s.client is null
                or exists (
                    select
                    from chosen_logs c
                    join logbox_rebuild.told l on l.kind = 'log' and l.id = c.id
                    where t.row->'batch_ids' ? (l.row->>'batch_id')
                )
            );
        analyze chosen_logs;
        analyze chosen_deliveries;
        analyze chosen_objects;
        analyze chosen_files;
        """
    )


def _leave_orphans(cursor: Any) -> None:
    """A log whose delivery no file tells of any more, or that gave way to such a one."""
    gone = 1
    while gone:
        cursor.execute(
            """
            with orphans as (
                delete from chosen_logs c
                using logbox_rebuild.told l
                where l.kind = 'log'
                    and l.id = c.id
                    and (
                        not exists (
                            select
                            from logbox_rebuild.told d
                            where d.kind = 'delivery'
                                and d.id = l.row->>'delivery_id'
                                and d.row <> 'null'
                        )
                        or l.row->>'superseded_by' not in (select id from chosen_logs)
                    )
                returning c.id
            )
            insert into logbox_rebuild.findings
            select %s, id, 'its delivery, or the log it gave way to, is in no manifest that is left'
            from orphans
            on conflict do nothing
            """,
            (Finding.LOST_LOG,),
        )
        gone = cursor.rowcount


def _restore_batches(cursor: Any, now: datetime) -> None:
    """Of batches only what others point at comes back."""
    cursor.execute(
        """
        insert into logbox.batches
            (batch_id, received_on, state, files, size_bytes, created_at, finished_at)
        select batch_id, min(received_on), 'finished', greatest(count(*), 1),
            coalesce(sum(size_bytes), 0), min(at), %s
        from (
            select (t.row->>'batch_id')::uuid as batch_id,
                ((t.row->>'received_at')::timestamptz at time zone 'UTC')::date as received_on,
                (t.row->>'size_bytes')::bigint as size_bytes,
                (t.row->>'sensed_at')::timestamptz as at
            from chosen_deliveries c
            join logbox_rebuild.told t on t.kind = 'delivery' and t.id = c.id
            union all
            select (t.row->>'batch_id')::uuid, (t.row->>'received_on')::date, null,
                (t.row->>'loaded_at')::timestamptz
            from chosen_logs c
            join logbox_rebuild.told t on t.kind = 'log' and t.id = c.id
            union all
            select (t.row->>'batch_id')::uuid, (t.row->>'received_on')::date, null,
                (t.row->>'planned_at')::timestamptz
            from chosen_files c
            join logbox_rebuild.told t on t.kind = 'lake_file' and t.id = c.id
        ) as named
        where batch_id is not null
        group by batch_id
        """,
        (now,),
    )


def _restore_unknown_clients(cursor: Any) -> None:
    """A client whose own row was never told is known by its logs."""
    cursor.execute(
        """
        insert into logbox.clients (client, created_at)
        select t.client, min((t.row->>'sensed_at')::timestamptz)
        from chosen_deliveries c
        join logbox_rebuild.told t on t.kind = 'delivery' and t.id = c.id
        where t.client <> 'unknown-client'
        group by t.client
        on conflict do nothing
        """
    )


def _restore_rows(cursor: Any, table: str, subject: Subject, chosen: str) -> None:
    cursor.execute(
        """
        select attname
        from pg_attribute
        where attrelid = %s::regclass and attnum > 0 and not attisdropped and attgenerated = ''
        order by attnum
        """,
        (f"logbox.{table}",),
    )
    columns = [sql.Identifier(name) for (name,) in cursor.fetchall()]
    cursor.execute(
        sql.SQL(
            """
            insert into logbox.{table} ({columns})
            select {values}
            from logbox_rebuild.told t
            cross join lateral jsonb_populate_record(null::logbox.{table}, t.row) as r
            where t.kind = %s and t.row <> 'null' and {chosen}
            {unless_made}
            """
        ).format(
            table=sql.Identifier(table),
            columns=sql.SQL(", ").join(columns),
            values=sql.SQL(", ").join(sql.SQL("r.{}").format(one) for one in columns),
            chosen=sql.SQL(chosen),
            # A person may have made these in the new database already.
            unless_made=sql.SQL("on conflict do nothing" if table in _PEOPLES else ""),
        ),
        (str(subject),),
    )


def _restore_nested(cursor: Any) -> None:
    """What is told inside another row, and what follows from rows."""
    cursor.execute(
        """
        insert into logbox.object_logs (client, sha256, member, log_id, reason, detail)
        select o.client, o.sha256, m.member, m.log_id, m.reason, m.detail
        from logbox.objects o
        join logbox_rebuild.told t on t.kind = 'object' and t.id = o.client || '/' || o.sha256
        cross join lateral jsonb_to_recordset(t.row->'members')
            as m (member text, log_id uuid, reason text, detail text)
        where m.log_id is null or exists (select from logbox.logs l where l.log_id = m.log_id);

        insert into logbox.telemetry_columns
        select c.*
        from logbox_rebuild.told t
        cross join lateral jsonb_populate_recordset(
            null::logbox.telemetry_columns, t.row->'columns'
        ) as c
        where t.kind = 'telemetry_table' and t.row <> 'null';

        insert into logbox.vehicles (client, vehicle, first_seen_at, last_seen_at)
        select client, vehicle, min(received_at), max(received_at)
        from logbox.deliveries
        where vehicle is not null
        group by client, vehicle;
        """
    )


def _free_what_was_at_work(cursor: Any) -> None:
    """What no batch had finished is batched again; what was only read stands in landing still."""
    cursor.execute(
        """
        update logbox.deliveries d
        set batch_id = null
        where d.state = 'archived'
            and not exists (
                select
                from logbox.logs l
                where l.delivery_id = d.delivery_id
                    and (l.state <> 'archived' or l.superseded_by is not null)
            );
        update logbox.deliveries
        set state = 'received', batch_id = null
        where state in ('received', 'verified');
        update logbox.deliveries
        set batch_id = null
        where state = 'waiting';
        """
    )


def _plan_units(cursor: Any, unit_bytes: int, unit_logs: int) -> None:
    cursor.execute(
        """
        select l.log_id, l.received_on, l.size_bytes
        from logbox.logs l, logbox_rebuild.scope s
        where l.state = 'loaded'
            and (s.since is null or l.received_on >= s.since)
            and (s.days is null or l.received_on = any(s.days))
            and (s.client is null or l.client = s.client)
        order by l.received_on, l.batch_id, l.delivery_id, l.log_id
        """
    )
    units: list[tuple[date, list[str], int]] = []
    for log_id, received_on, size_bytes in cursor.fetchall():
        is_full = not units or (
            units[-1][0] != received_on
            or units[-1][2] + size_bytes > unit_bytes
            or len(units[-1][1]) >= unit_logs
        )
        if is_full:
            units.append((received_on, [], 0))
        _, logs, held = units[-1]
        units[-1] = received_on, [*logs, log_id], held + size_bytes
    execute_values(
        cursor,
        "insert into logbox_rebuild.units (unit, received_on, log_ids, size_bytes) values %s",
        [(number, *unit) for number, unit in enumerate(units, 1)],
        template="(%s, %s, %s::uuid[], %s)",
        page_size=100,
    )


def restore_manifests(cursor: Any) -> None:
    """The files that were read, as `logbox.manifests` knows them."""
    cursor.execute(
        """
        insert into logbox.manifests (
            archive_key, client, batch_id, kind, sha256, size_bytes, planned_at, written_at
        )
        select f.archive_key,
            case
                when f.archive_key like 'archive/manifests/%' then split_part(f.archive_key, '/', 3)
            end,
            (
                select b.batch_id
                from logbox.batches b
                where b.batch_id::text = left(split_part(f.archive_key, '/', 5), 36)
            ),
            case
                when f.archive_key like 'archive/journal/%' then 'journal'
                when f.archive_key like 'archive/seals/%' then 'seal'
                when f.archive_key ~ '-intake(-[0-9]+)?\\.jsonl$' then 'intake'
                else 'outcome'
            end,
            f.sha256, f.size_bytes, f.put_at, f.put_at
        from logbox_rebuild.files f
        on conflict do nothing
        """
    )


def next_unit(cursor: Any) -> Unit | None:
    cursor.execute(
        """
        select unit, received_on, log_ids::text[], size_bytes
        from logbox_rebuild.units
        where done_at is null
        order by unit
        limit 1
        """
    )
    row = cursor.fetchone()
    return None if row is None else Unit(row[0], row[1], tuple(map(UUID, row[2])), row[3])


def finish_unit(cursor: Any, unit: Unit, rows: int, different: int, now: datetime) -> None:
    cursor.execute(
        """
        update logbox_rebuild.units
        set done_at = %s, rows = %s, different = %s
        where unit = %s and done_at is null
        """,
        (now, rows, different, unit.unit),
    )
    if cursor.rowcount != 1:
        raise TransientError(f"unit {unit.unit} of the rebuild was done by another process")


def progress(cursor: Any) -> Progress:
    cursor.execute(
        """
        select count(*), count(done_at), coalesce(sum(cardinality(log_ids)), 0),
            coalesce(sum(size_bytes), 0),
            coalesce(sum(size_bytes) filter (where done_at is not null), 0),
            coalesce(sum(rows), 0), coalesce(sum(different), 0)
        from logbox_rebuild.units
        """
    )
    return Progress(*(int(value) for value in cursor.fetchone()))


def told_tables(cursor: Any, log_ids: Sequence[UUID]) -> dict[tuple[UUID, str], tuple[int, str]]:
    """(rows, content digest) by (log, table), as they were when the logs were loaded."""
    cursor.execute(
        """
        select t.id, e.key, (e.value->>0)::bigint, e.value->>1
        from logbox_rebuild.told t
        cross join lateral jsonb_each(t.row->'tables') as e
        where t.kind = 'log' and t.id = any(%s)
        """,
        ([str(one) for one in log_ids],),
    )
    return {(UUID(id_), table): (rows, digest) for id_, table, rows, digest in cursor.fetchall()}
