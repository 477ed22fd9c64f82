"""What the catalog knows of one log: found by key, name, digest, id or day. Read-only."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from logbox_pipeline.core import keys
from logbox_pipeline.core.keys import LANDING_PREFIX

Row = dict[str, Any]


@dataclass(frozen=True)
class Archived:
    """Where the archive holds a log's bytes; `name` is what the drone called it. `sha256` is the
    object's digest; the log is its `member` and has `content_sha256`, the same unless wrapped."""

    log_id: UUID
    client: str
    sha256: str
    member: str
    content_sha256: str
    archive_key: str
    version_id: str | None
    archived_at: datetime | None
    name: str


def of_key(cursor: Any, bucket: str, key: str, client: str | None) -> list[UUID]:
    """Deliveries of a landing key, whole or from the client or vehicle down; of an archive or
    quarantine key."""
    cursor.execute("select client from logbox.clients")
    above = ["", LANDING_PREFIX, *(f"{LANDING_PREFIX}{name}/" for (name,) in cursor.fetchall())]
    cursor.execute(
        """
        select delivery_id
        from logbox.deliveries
        where bucket = %(bucket)s and landing_key = any(%(landing_keys)s)
            and (%(client)s::text is null or client = %(client)s)
        union
        select d.delivery_id
        from logbox.objects o
        join logbox.deliveries d on (d.client, d.sha256) = (o.client, o.sha256::text)
        where o.archive_key = %(key)s and (%(client)s::text is null or d.client = %(client)s)
        union
        select delivery_id
        from logbox.deliveries
        where delivery_id = %(quarantined)s::uuid and quarantine_key = %(key)s
            and (%(client)s::text is null or client = %(client)s)
        """,
        {
            "bucket": bucket,
            "landing_keys": [keys.to_text(prefix + key) for prefix in above],
            "key": keys.to_text(key),
            "quarantined": _quarantined(key),
            "client": client,
        },
    )
    return _ids(cursor)


def of_name(cursor: Any, name: str, client: str | None) -> list[UUID]:
    """Deliveries of that name, and those with a member of that name or path."""
    cursor.execute(
        """
        select delivery_id
        from logbox.deliveries
        where name = %(name)s and (%(client)s::text is null or client = %(client)s)
        union
        select d.delivery_id
        from logbox.object_logs o
        join logbox.deliveries d on (d.client, d.sha256) = (o.client, o.sha256::text)
        where o.member <> ''
            and regexp_replace(o.member, '^.*/', '') = %(last)s
            and (o.member = %(name)s or o.member like %(below)s)
            and (%(client)s::text is null or d.client = %(client)s)
        """,
        {
            "name": keys.to_text(name),
            "last": keys.to_text(name).rpartition("/")[2],
            "below": "%/" + re.sub(r"([\\%_])", r"\\\1", keys.to_text(name)),
            "client": client,
        },
    )
    return _ids(cursor)


def of_digest(cursor: Any, prefix: str, client: str | None) -> list[UUID]:
    """Deliveries whose bytes, declared digest or innermost log have a digest that begins so."""
    cursor.execute(
        """
        select delivery_id
        from logbox.deliveries
        where (
                (sha256 >= %(low)s and sha256 < %(high)s)
                or (declared_sha256 >= %(low)s and declared_sha256 < %(high)s)
            )
            and (%(client)s::text is null or client = %(client)s)
        union
        select d.delivery_id
        from logbox.logs l
        join logbox.object_logs using (log_id)
        join logbox.deliveries d on (d.client, d.sha256) = (object_logs.client, object_logs.sha256)
        where l.content_sha256 >= %(low)s and l.content_sha256 < %(high)s
            and (%(client)s::text is null or l.client = %(client)s)
        """,
        # "g" follows every hex digit.
        {"low": prefix, "high": prefix + "g", "client": client},
    )
    return _ids(cursor)


def of_id(cursor: Any, wanted: UUID, client: str | None) -> list[UUID]:
    """Deliveries of a log, its duplicates too; or the one delivery of that id."""
    cursor.execute(
        """
        select d.delivery_id
        from logbox.logs l
        join logbox.object_logs using (log_id)
        join logbox.deliveries d on (d.client, d.sha256) = (object_logs.client, object_logs.sha256)
        where l.log_id = %(id)s::uuid and (%(client)s::text is null or d.client = %(client)s)
        union
        select delivery_id
        from logbox.deliveries
        where delivery_id = %(id)s::uuid and (%(client)s::text is null or client = %(client)s)
        """,
        {"id": str(wanted), "client": client},
    )
    return _ids(cursor)


def of_day(cursor: Any, vehicle: str, day: date, client: str | None) -> list[UUID]:
    """Deliveries of a vehicle that arrived on a day (UTC) or recorded something on it."""
    cursor.execute(
        """
        select d.delivery_id
        from logbox.deliveries d
        left join logbox.logs l on l.delivery_id = d.delivery_id
        where d.vehicle = %(vehicle)s
            and (
                d.received_on = %(day)s
                or (
                    l.recorded_from < (%(day)s + 1)::timestamp at time zone 'UTC'
                    and l.recorded_to >= %(day)s::timestamp at time zone 'UTC'
                )
            )
            and (%(client)s::text is null or d.client = %(client)s)
        """,
        {"vehicle": vehicle, "day": day, "client": client},
    )
    return _ids(cursor)


def deliveries(cursor: Any, wanted: Sequence[UUID], most: int) -> list[Row]:
    """All that is known of each, newest first, at most `most`."""
    return _rows(
        cursor,
        """
        select d.*, b.state as batch_state, b.attempt, b.not_before, b.last_error,
            b.loaded_at as batch_loaded_at, b.finished_at as batch_finished_at,
            o.archive_key, o.version_id as archive_version_id, o.replicated_at
        from logbox.deliveries d
        left join logbox.batches b using (batch_id)
        left join logbox.objects o on (o.client, o.sha256::text) = (d.client, d.sha256::text)
        where d.delivery_id = any(%s::uuid[])
        order by d.received_at desc, d.delivery_id
        limit %s
        """,
        ([str(one) for one in wanted], most),
    )


def logs(cursor: Any, wanted: Sequence[str]) -> list[Row]:
    """The logs that these deliveries own or repeat; `tables` is rows by table, `members` their
    names in the delivery's object."""
    return _rows(
        cursor,
        """
        select d.delivery_id as asked_delivery_id, l.log_id, l.state, l.reason, l.detail, l.format,
            l.parser_version, l.content_sha256, l.time_source, l.recorded_from, l.recorded_to,
            l.is_damaged, l.damaged_bytes, l.loaded_at, l.superseded_by, l.superseded_at,
            owner.landing_key as first_landing_key,
            l.delivery_id = d.delivery_id as is_owned,
            array(
                select o.member
                from logbox.object_logs o
                where (o.client, o.sha256::text, o.log_id) = (d.client, d.sha256::text, l.log_id)
                    and o.member <> ''
                order by o.member
            ) as members,
            coalesce(
                (
                    select jsonb_object_agg(counted.table_name, counted.rows)
                    from (
                        select table_name, sum(rows)::bigint as rows
                        from logbox.log_topics t
                        where t.log_id = l.log_id
                        group by table_name
                        union all
                        select 'log_events', l.events where l.events > 0
                        union all
                        select 'log_parameters', l.parameters where l.parameters > 0
                    ) as counted
                ),
                '{}'
            ) as tables
        from logbox.deliveries d
        join logbox.logs l on l.delivery_id = d.delivery_id or l.log_id = d.duplicate_of
            or l.log_id in (
                select o.log_id
                from logbox.object_logs o
                where (o.client, o.sha256::text) = (d.client, d.sha256::text)
                    and d.state in ('archived', 'duplicate')
            )
        join logbox.deliveries owner on owner.delivery_id = l.delivery_id
        where d.delivery_id = any(%s::uuid[])
        order by members, l.log_id
        """,
        (list(wanted),),
    )


def refused_members(cursor: Any, wanted: Sequence[str]) -> list[Row]:
    """Members of these deliveries' archives that were not read, and why."""
    return _rows(
        cursor,
        """
        select d.delivery_id as asked_delivery_id, o.member, o.reason, o.detail
        from logbox.deliveries d
        join logbox.object_logs o on (o.client, o.sha256::text) = (d.client, d.sha256::text)
        where d.delivery_id = any(%s::uuid[])
            and d.state in ('archived', 'duplicate')
            and o.log_id is null
        order by o.member
        """,
        (list(wanted),),
    )


def last_heard(cursor: Any, vehicles: Sequence[str], client: str | None, most: int) -> list[Row]:
    """When these vehicles were last heard of; without any, those of the client."""
    return _rows(
        cursor,
        """
        select client, vehicle, last_seen_at
        from logbox.vehicles
        where (%(vehicles)s::text[] <> '{}' or %(client)s::text is not null)
            and (%(vehicles)s::text[] = '{}' or vehicle = any(%(vehicles)s::text[]))
            and (%(client)s::text is null or client = %(client)s)
        order by last_seen_at desc, client, vehicle
        limit %(most)s
        """,
        {"vehicles": list(vehicles), "client": client, "most": most},
    )


def archived(cursor: Any, log_id: UUID) -> list[Archived]:
    """The objects that hold a log, oldest proof first."""
    cursor.execute(
        """
        select l.log_id, o.client, o.sha256, object_logs.member, l.content_sha256, o.archive_key,
            o.version_id, o.archived_at, d.name
        from logbox.logs l
        join logbox.object_logs using (log_id)
        join logbox.objects o on (o.client, o.sha256) = (object_logs.client, object_logs.sha256)
        join logbox.deliveries d on d.delivery_id = l.delivery_id
        where l.log_id = %s
        order by o.archived_at nulls last, o.archive_key, object_logs.member
        """,
        (str(log_id),),
    )
    return [Archived(UUID(row[0]), *row[1:]) for row in cursor.fetchall()]


def _quarantined(key: str) -> str | None:
    """The delivery id that stands in a quarantine key (`core.keys.quarantine_key`)."""
    parts = key.split("/", 4)
    try:
        return str(UUID(parts[3])) if parts[0] == "quarantine" else None
    except (IndexError, ValueError):
        return None


def _ids(cursor: Any) -> list[UUID]:
    return sorted({UUID(row[0]) for row in cursor.fetchall()})


def _rows(cursor: Any, query: str, parameters: Any) -> list[Row]:
    cursor.execute(query, parameters)
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
