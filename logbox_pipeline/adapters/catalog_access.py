"""The access log in Postgres: its rows, how far each of its files was read, whose key is whose."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from logbox_pipeline.adapters.copy import copy_batches
from logbox_pipeline.core.access import Access, Actor
from logbox_pipeline.core.tables import TIMESTAMP

Row = dict[str, Any]

_SCHEMA = pa.schema(
    [
        ("at", TIMESTAMP),
        ("key_id", pa.string()),
        ("principal", pa.string()),
        ("is_authenticated", pa.bool_()),
        ("service", pa.string()),
        ("operation", pa.string()),
        ("is_part", pa.bool_()),
        ("bucket", pa.string()),
        ("object_key", pa.string()),
        ("version_id", pa.string()),
        ("status", pa.int16()),
        ("error", pa.string()),
        ("bytes_in", pa.int64()),
        ("bytes_out", pa.int64()),
        ("duration_ms", pa.float32()),
        ("address", pa.string()),
        ("request_id", pa.string()),
        ("actor", pa.string()),
        ("client", pa.string()),
        ("vehicle", pa.string()),
        ("analyst", pa.string()),
        ("is_refused", pa.bool_()),
        ("source_id", pa.int32()),
    ]
)
assert tuple(_SCHEMA.names[: len(Access._fields)]) == Access._fields


@dataclass(frozen=True)
class Who:
    """Whose key or IAM user it is."""

    actor: Actor
    client: str | None = None
    vehicle: str | None = None
    analyst: str | None = None


@dataclass(frozen=True)
class Source:
    """A file that rows come from, as far as it was read before."""

    source_id: int
    position: int


@dataclass(frozen=True)
class Reading:
    """What one transaction read of a source: up to which byte, and what it could not read."""

    position: int
    lines: int
    unread_lines: int
    last_unread: str | None


def known_sources(cursor: Any, identities: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Identity -> (name, bytes read) of those of these sources that were seen before."""
    cursor.execute(
        "select identity, name, position from logbox.access_log_sources where identity = any(%s)",
        (list(identities),),
    )
    return {identity: (name, position) for identity, name, position in cursor.fetchall()}


def hold_source(
    cursor: Any, *, store: str, identity: str, name: str, modified_at: datetime, now: datetime
) -> Source:
    """A source and its position, which nobody else can move before this transaction ends."""
    cursor.execute(
        """
        insert into logbox.access_log_sources (store, identity, name, modified_at, loaded_at)
        values (%s, %s, %s, %s, %s)
        on conflict (identity) do update
        set name = excluded.name,
            modified_at = greatest(access_log_sources.modified_at, excluded.modified_at)
        returning source_id, position
        """,
        (store, identity, name, modified_at, now),
    )
    return Source(*cursor.fetchone())


def insert_accesses(
    cursor: Any, accesses: Sequence[tuple[Access, Who, bool]], source_id: int
) -> None:
    """COPY (access, who asked, whether it was refused) of one source."""
    if not accesses:
        return
    rows = [
        (*one, who.actor.value, who.client, who.vehicle, who.analyst, is_refused, source_id)
        for one, who, is_refused in accesses
    ]
    arrays = [
        pa.array(values, field.type)
        for values, field in zip(zip(*rows, strict=True), _SCHEMA, strict=True)
    ]
    batch = pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)
    copy_batches(cursor, ("logbox", "access_log"), _SCHEMA, [batch])


def move_position(cursor: Any, source_id: int, read: Reading, now: datetime) -> None:
    """In the transaction that holds the source and loads its rows."""
    cursor.execute(
        """
        update logbox.access_log_sources
        set position = %(position)s, lines = lines + %(lines)s,
            unread_lines = unread_lines + %(unread_lines)s,
            last_unread = coalesce(%(last_unread)s, last_unread),
            last_unread_at = case
                when %(unread_lines)s > 0 then %(now)s else last_unread_at
            end,
            loaded_at = %(now)s
        where source_id = %(source_id)s
        """,
        {**read.__dict__, "now": now, "source_id": source_id},
    )


def newest_object(cursor: Any, prefix: str) -> datetime | None:
    """When the newest object that was read below this URL was written."""
    cursor.execute(
        """
        select max(modified_at)
        from logbox.access_log_sources
        where store = 'aws' and starts_with(identity, %s)
        """,
        (prefix,),
    )
    found: datetime | None = cursor.fetchone()[0]
    return found


def people(cursor: Any) -> tuple[dict[str, Who], dict[str, Who], list[str]]:
    """Who holds which key id and which IAM user, revoked ones too, and the analysts' names."""
    cursor.execute("select access_key_id, iam_user, client, vehicle from logbox.client_keys")
    by_key, by_user = {}, {}
    for key_id, user, client, vehicle in cursor.fetchall():
        by_key[key_id] = by_user[user] = Who(Actor.CLIENT, client, vehicle)
    cursor.execute("select analyst, access_key_id from logbox.analysts")
    analysts = cursor.fetchall()
    for analyst, key_id in analysts:
        if key_id is not None:
            by_key[key_id] = Who(Actor.ANALYST, analyst=analyst)
    return by_key, by_user, [analyst for analyst, _ in analysts]


def drop_rows(cursor: Any, before: date, most: int) -> int:
    """Delete up to `most` rows of days before this one; returns how many there were."""
    cursor.execute(
        """
        delete from logbox.access_log
        where ctid = any(array(
            select ctid from logbox.access_log where day_on < %s limit %s
        ))
        """,
        (before, most),
    )
    return int(cursor.rowcount)


def old_sources(cursor: Any, before: datetime) -> list[tuple[int, str, str, int]]:
    """(source_id, store, name, position) of those not written to since `before`."""
    cursor.execute(
        """
        select source_id, store, name, position
        from logbox.access_log_sources
        where modified_at < %s
        order by source_id
        """,
        (before,),
    )
    return list(cursor.fetchall())


def forget_sources(cursor: Any, source_ids: Sequence[int]) -> None:
    cursor.execute(
        "delete from logbox.access_log_sources where source_id = any(%s)", (list(source_ids),)
    )


def refused(cursor: Any, since: datetime) -> list[Row]:
    """Refused requests since then, by who, what and why; the most frequent first.

    A drone whose clock was off, and who came through later, took its time from the refusal.
    """
    return _rows(
        cursor,
        """
        select coalesce(r.client, r.analyst, r.actor) as who, r.actor, r.key_id,
            r.is_authenticated, r.operation, r.status, r.error, count(*) as requests,
            min(r.at) as first_seen_at, max(r.at) as last_seen_at, max(r.address) as address,
            count(distinct r.address) as addresses,
            (array_agg(coalesce(r.bucket, '') || '/' || coalesce(r.object_key, '')
                order by r.at desc))[1] as last_object
        from logbox.access_log r
        where r.is_refused and not r.is_part and r.at >= %s
        group by r.client, r.analyst, r.actor, r.key_id, r.is_authenticated, r.operation,
            r.status, r.error
        having r.error is distinct from 'RequestTimeTooSkewed' or not exists (
            select
            from logbox.access_log ok
            where ok.day_on >= (max(r.at) at time zone 'UTC')::date
                and ok.at > max(r.at)
                and ok.key_id = r.key_id
                and ok.is_authenticated
                and ok.status < 400
        )
        order by requests desc, who, operation, last_seen_at
        """,
        (since,),
    )


def unread(cursor: Any, since: datetime) -> list[Row]:
    """Files with lines that could not be read, found since then."""
    return _rows(
        cursor,
        """
        select name, unread_lines, last_unread, last_unread_at
        from logbox.access_log_sources
        where last_unread_at >= %s
        order by last_unread_at desc
        """,
        (since,),
    )


def uploads(cursor: Any, delivery_ids: Sequence[str]) -> list[Row]:
    """The request that wrote each of these deliveries, where a log tells of it."""
    return _rows(
        cursor,
        """
        select d.delivery_id as asked_delivery_id, a.at, a.operation, a.actor, a.client, a.analyst,
            a.key_id, a.address
        from logbox.deliveries d
        cross join lateral (
            select *
            from logbox.access_log
            where object_key = d.landing_key
                and bucket = d.bucket
                and operation in ('PutObject', 'CompleteMultipartUpload', 'CopyObject')
                and status < 400
                -- A store's own time of an object is cut to the second.
                and at between d.received_at - interval '1 day' and d.received_at + interval '2 s'
            order by at desc
            limit 1
        ) a
        where d.delivery_id = any(%s::uuid[])
        """,
        (list(delivery_ids),),
    )


def summary(cursor: Any, *, since: datetime, client: str | None, is_refused: bool) -> list[Row]:
    """Requests since then, by who, key, operation, status and error."""
    return _rows(
        cursor,
        """
        select coalesce(client, analyst, actor) as who, actor, vehicle, key_id, is_authenticated,
            operation, status, error, count(*) filter (where not is_part) as requests,
            count(distinct (bucket, object_key)) filter (where object_key is not null) as objects,
            coalesce(sum(bytes_in), 0)::bigint as bytes_in,
            coalesce(sum(bytes_out), 0)::bigint as bytes_out,
            min(at) as first_seen_at, max(at) as last_seen_at, max(address) as address
        from logbox.access_log
        where at >= %(since)s
            and day_on >= (%(since)s::timestamptz at time zone 'UTC')::date
            and (%(client)s::text is null or client = %(client)s)
            and (not %(is_refused)s or is_refused)
        group by client, analyst, actor, vehicle, key_id, is_authenticated, operation, status,
            error
        order by who, requests desc, operation, status
        """,
        {"since": since, "client": client, "is_refused": is_refused},
    )


def last_loaded_at(cursor: Any) -> datetime | None:
    """When anything was last loaded; None: no log was ever found."""
    cursor.execute("select max(loaded_at) from logbox.access_log_sources")
    found: datetime | None = cursor.fetchone()[0]
    return found


def _rows(cursor: Any, query: str, parameters: Any) -> list[Row]:
    cursor.execute(query, parameters)
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
