"""The catalog's record of what the archive has not been told yet, and the rows as they are told.

A row is told whole, as Postgres writes it in JSON, so that `catalog_restore` can make it again.
Of several tellings of one row the last in `told_at` counts, which is the database's clock.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg2.extras import execute_values

from logbox_pipeline.core.told import Subject

_ROWS: dict[Subject, str] = {
    Subject.CLIENT: """
        select r.client as id, null as client, to_jsonb(r)::text as line
        from logbox.clients r
        where r.client = any(%(ids)s)
    """,
    Subject.CLIENT_KEY: """
        select r.access_key_id as id, null as client, to_jsonb(r)::text as line
        from logbox.client_keys r
        where r.access_key_id = any(%(ids)s)
    """,
    Subject.ANALYST: """
        select r.analyst as id, null as client, to_jsonb(r)::text as line
        from logbox.analysts r
        where r.analyst = any(%(ids)s)
    """,
    Subject.TELEMETRY_TABLE: """
        select r.table_name as id, null as client,
            jsonb_build_object('columns', jsonb_agg(to_jsonb(r) order by r.position))::text as line
        from logbox.telemetry_columns r
        where r.table_name = any(%(ids)s)
        group by r.table_name
    """,
    Subject.OBJECT: """
        select r.client || '/' || r.sha256 as id, r.client,
            (to_jsonb(r) || jsonb_build_object('members', coalesce((
                select jsonb_agg(to_jsonb(m) - 'client' - 'sha256' order by m.member)
                from logbox.object_logs m
                where (m.client, m.sha256) = (r.client, r.sha256)
            ), '[]')))::text as line
        from logbox.objects r
        where (r.client, r.sha256::text) in (
            select split_part(id, '/', 1), split_part(id, '/', 2) from unnest(%(ids)s::text[]) as id
        )
    """,
    Subject.DELIVERY: """
        select r.delivery_id::text as id, r.client, (to_jsonb(r) - 'received_on')::text as line
        from logbox.deliveries r
        where r.delivery_id = any(%(ids)s::uuid[])
    """,
    Subject.LOG: """
        select r.log_id::text as id, r.client,
            (to_jsonb(r) || jsonb_build_object('tables', coalesce((
                select jsonb_object_agg(t.table_name, jsonb_build_array(t.rows, t.content_digest))
                from logbox.log_tables t
                where t.log_id = r.log_id
            ), '{}')))::text as line
        from logbox.logs r
        where r.log_id = any(%(ids)s::uuid[])
    """,
    Subject.LAKE_FILE: """
        select r.lake_key as id, null as client, to_jsonb(r)::text as line
        from logbox.lake_files r
        where r.lake_key = any(%(ids)s)
    """,
}
"""A delivery's received_on follows from its received_at."""

_AT_WORK = 120
"""What is on its way stands in landing, and its batch tells of it: it has so many times longer."""


@dataclass(frozen=True)
class Owed:
    """A row the archive is to be told of, as it was changed the `revision`th time. `is_gone`:
    Logbox deleted it."""

    subject: Subject
    id: str
    revision: int
    is_gone: bool


@dataclass(frozen=True)
class ToldRow:
    """One line for the archive; `client` None: of nobody in particular. `row` is JSON; None: it is
    gone."""

    subject: Subject
    id: str
    client: str | None
    told_at: datetime
    row: str | None


def owed(cursor: Any, most: int, now: datetime, settled: timedelta) -> list[Owed]:
    """Changes that are `settled` long, oldest first, at most so many."""
    cursor.execute(
        """
        select o.subject, o.id, o.revision, o.is_gone
        from logbox.outbox o
        left join logbox.deliveries d
            on d.delivery_id = case when o.subject = 'delivery' then o.id::uuid end
        where o.subject <> 'receipt'
            and o.changed_at <= %s
            and (coalesce(d.state, '') not in ('received', 'verified') or o.changed_at <= %s)
        order by o.changed_at
        limit %s
        """,
        (now - settled, now - _AT_WORK * settled, most),
    )
    return _owed(cursor)


def owed_of_batch(cursor: Any, batch_id: UUID) -> list[Owed]:
    """What a batch changed: its deliveries, their objects and logs, what gave way to these, its
    files, and names that were given meanwhile, by whichever batch."""
    cursor.execute(
        """
        with own as (
            select delivery_id, client, sha256 from logbox.deliveries where batch_id = %(batch)s
        ),
        logs as (
            select l.log_id from logbox.logs l join own using (delivery_id)
            union
            select log_id from logbox.logs where batch_id = %(batch)s
        ),
        wanted (subject, id) as (
            select 'delivery', delivery_id::text from own
            union select 'object', client || '/' || sha256 from own where sha256 is not null
            union select 'log', log_id::text from logs
            union
            select 'log', l.log_id::text
            from logbox.logs l join logs on l.superseded_by = logs.log_id
            union select 'lake_file', lake_key from logbox.lake_files where batch_id = %(batch)s
            union select subject, id from logbox.outbox where subject = 'telemetry_table'
        )
        select o.subject, o.id, o.revision, o.is_gone
        from logbox.outbox o
        join wanted using (subject, id)
        order by o.subject, o.id
        """,
        {"batch": str(batch_id)},
    )
    return _owed(cursor)


def _owed(cursor: Any) -> list[Owed]:
    return [Owed(Subject(subject), *rest) for subject, *rest in cursor.fetchall()]


def owes(cursor: Any, places: Collection[tuple[Subject, str]]) -> bool:
    """Whether the archive is still to be told of one of these rows."""
    cursor.execute(
        """
        select exists (
            select
            from logbox.outbox
            join unnest(%s::text[], %s::text[]) as w (subject, id) using (subject, id)
        )
        """,
        ([str(subject) for subject, _ in places], [id_ for _, id_ in places]),
    )
    return bool(cursor.fetchone()[0])


def rows(cursor: Any, wanted: Sequence[Owed]) -> list[ToldRow]:
    """The rows as they are now, in the order of `Subject` and then of their ids.

    One that is not there, and that Logbox did not delete, is left out: what was told of it stands.
    """
    cursor.execute("select clock_timestamp()")
    (told_at,) = cursor.fetchone()
    told = []
    for subject in Subject:
        is_gone = {one.id: one.is_gone for one in wanted if one.subject is subject}
        if not is_gone:
            continue
        cursor.execute(_ROWS[subject], {"ids": list(is_gone)})
        found = {row[0]: row[1:] for row in cursor.fetchall()}
        told += [
            ToldRow(subject, id_, *_of(found.get(id_), told_at))
            for id_ in sorted(is_gone)
            if id_ in found or is_gone[id_]
        ]
    return told


def _of(
    found: tuple[str | None, str] | None, told_at: datetime
) -> tuple[str | None, datetime, str | None]:
    client, row = (None, None) if found is None else found
    return client, told_at, row


def tick_off(cursor: Any, told: Sequence[Owed]) -> None:
    """The archive has these; what has changed again since stays owed."""
    execute_values(
        cursor,
        """
        delete from logbox.outbox
        where ctid in (
            select o.ctid
            from logbox.outbox o
            join (values %s) as v (subject, id, revision)
                on (o.subject, o.id, o.revision) = (v.subject, v.id, v.revision)
            for update of o skip locked
        )
        """,
        [(str(one.subject), one.id, one.revision) for one in told],
        page_size=5_000,
    )
