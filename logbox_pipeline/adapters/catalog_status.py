"""What the catalog says of the whole: for checks, `logbox status` and `logbox trace`. Read-only."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

Row = dict[str, Any]


def _rows(cursor: Any, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
    cursor.execute(query, parameters)
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def open_refusals(cursor: Any) -> list[Row]:
    """Refused and failed deliveries nobody has released or acknowledged, by client and reason."""
    return _rows(
        cursor,
        """
        select client, state, reason, count(*) as files,
            min(coalesce(quarantined_at, sensed_at)) as first_seen_at,
            max(coalesce(quarantined_at, sensed_at)) as last_seen_at
        from logbox.deliveries
        where state in ('quarantined', 'failed', 'vanished') and acknowledged_at is null
        group by client, state, reason
        union all
        select l.client, l.state, l.reason, count(*), min(l.received_at), max(l.received_at)
        from logbox.logs l
        join logbox.deliveries d using (delivery_id)
        where l.state in ('unparsed', 'failed') and d.acknowledged_at is null
            and d.state <> 'failed'
        group by l.client, l.state, l.reason
        order by client, state, reason
        """,
    )


def late(cursor: Any, now: datetime, promise_s: int) -> list[Row]:
    """Deliveries older than the promise that are not done, by client."""
    return _rows(
        cursor,
        """
        select d.client, count(distinct d.delivery_id) as files,
            min(d.received_at) as oldest_received_at
        from logbox.deliveries d
        left join logbox.logs l on l.delivery_id = d.delivery_id
        where d.received_at < %s
            and (
                d.state in ('received', 'verified')
                or (d.state = 'waiting' and d.reason = 'unread')
                or (
                    d.state = 'archived'
                    and coalesce(l.state, 'archived') in ('archived', 'parsed')
                    and l.superseded_by is null
                )
            )
        group by d.client
        order by d.client
        """,
        (now - timedelta(seconds=promise_s),),
    )


def stale(cursor: Any, now: datetime, stale_after_s: int) -> list[Row]:
    """Deliveries still standing in landing long after they came, by client and state."""
    return _rows(
        cursor,
        """
        select client, state, count(*) as files, min(received_at) as oldest_received_at
        from logbox.deliveries
        where left_landing_at is null and received_at < %s and acknowledged_at is null
        group by client, state
        order by client, state
        """,
        (now - timedelta(seconds=stale_after_s),),
    )


def open_drifts(cursor: Any) -> list[Row]:
    return _rows(
        cursor,
        """
        select drift_id, kind, place, subject, expected, found, first_seen_at, last_seen_at
        from logbox.drifts
        where resolved_at is null and acknowledged_at is null
        order by first_seen_at
        limit 1000
        """,
    )


def states(cursor: Any) -> list[Row]:
    """Deliveries by state, with the state of the log each became; an archive whose logs differ in
    state counts once for each."""
    return _rows(
        cursor,
        """
        select state, log_state, reason, count(*) as files, sum(size_bytes)::bigint as size_bytes
        from (
            select distinct d.delivery_id, d.size_bytes, d.state,
                case when l.superseded_by is null then l.state else 'superseded' end as log_state,
                coalesce(d.reason, l.reason) as reason
            from logbox.deliveries d
            left join logbox.logs l on l.delivery_id = d.delivery_id
        ) as told
        group by 1, 2, 3
        order by 1, 2, 3
        """,
    )


def backlog(cursor: Any) -> Row:
    return _rows(
        cursor,
        """
        select count(*) filter (where state in ('received', 'verified')) as files,
            coalesce(sum(size_bytes) filter (where state in ('received', 'verified')), 0)::bigint
                as size_bytes,
            min(received_at) filter (where state in ('received', 'verified')) as oldest_received_at,
            count(*) filter (where state = 'waiting' and reason is null) as waiting,
            count(*) filter (where state = 'waiting' and reason = 'unread') as unread,
            (select count(*) from logbox.batches where state = 'open') as open_batches,
            (select count(*) from logbox.batches where state = 'running') as running_batches
        from logbox.deliveries
        where state in ('received', 'verified', 'waiting')
        """,
    )[0]


def unfinished(cursor: Any) -> Row:
    """Deliveries on their way: how many, how large, and when the oldest arrived."""
    return _rows(
        cursor,
        """
        select count(*) as files, coalesce(sum(d.size_bytes), 0)::bigint as size_bytes,
            min(d.received_at) as oldest_received_at
        from logbox.deliveries d
        where d.state in ('received', 'verified')
            or (d.state = 'waiting' and d.reason = 'unread')
            or (
                d.state = 'archived'
                and coalesce(
                    (
                        select bool_or(
                            l.state in ('archived', 'parsed') and l.superseded_by is null
                        )
                        from logbox.logs l
                        where l.delivery_id = d.delivery_id
                    ),
                    true
                )
            )
        """,
    )[0]


def batches(cursor: Any, most: int) -> list[Row]:
    """Batches at work or waiting to be, oldest first."""
    return _rows(
        cursor,
        """
        select batch_id, state, attempt,
            case
                when request_failures > 0
                then (select count(*) from logbox.deliveries d where d.batch_id = b.batch_id)
                else files
            end as files,
            size_bytes, received_on, created_at, not_before,
            run_id, heartbeat_at, failures, transient_failures, request_failures, last_error
        from logbox.batches b
        where state in ('open', 'running', 'loaded')
        order by created_at, batch_id
        limit %s
        """,
        (most,),
    )


def clients(cursor: Any) -> list[Row]:
    """Every client: when it was last heard of, and how fast its logs went through."""
    return _rows(
        cursor,
        """
        select c.client, c.created_at, c.revoked_at,
            count(distinct d.delivery_id) as deliveries,
            max(d.received_at) as last_received_at, max(l.loaded_at) as last_loaded_at
        from logbox.clients c
        left join logbox.deliveries d using (client)
        left join logbox.logs l using (delivery_id)
        group by c.client
        order by c.client
        """,
    )


def growth(cursor: Any, now: datetime) -> Row:
    """Bytes held, and archived bytes added per day over the last week, or since the first log."""
    return _rows(
        cursor,
        """
        select
            (select coalesce(sum(size_bytes), 0)::bigint from logbox.objects
                where archived_at is not null) as archive_bytes,
            (select coalesce(sum(size_bytes), 0)::bigint from logbox.lake_files
                where state = 'live') as lake_bytes,
            pg_database_size(current_database()) as postgres_bytes,
            (
                select coalesce(
                    sum(size_bytes) / greatest(
                        extract(epoch from %(now)s - greatest(
                            %(week_ago)s, (select min(archived_at) from logbox.objects)
                        )) / 86400,
                        1
                    ),
                    0
                )::bigint
                from logbox.objects
                where archived_at > %(week_ago)s
            ) as archive_bytes_per_day
        """,
        {"now": now, "week_ago": now - timedelta(days=7)},
    )[0]
