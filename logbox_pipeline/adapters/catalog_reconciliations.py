"""The catalog's record of reconciliations and of what the scrub has read."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg2.extras import execute_values

from logbox_pipeline.core.reconciliation import ExpectedObject, Place


def begin(cursor: Any, reconciliation_id: UUID, is_deep: bool, now: datetime) -> None:
    cursor.execute(
        """
        insert into logbox.reconciliations (reconciliation_id, is_deep, started_at)
        values (%s, %s, %s)
        """,
        (str(reconciliation_id), is_deep, now),
    )


def finish(
    cursor: Any,
    reconciliation_id: UUID,
    *,
    verdict: str,
    compared: Mapping[str, int],
    unchecked: Mapping[str, str],
    new_drifts: int,
    open_drifts: int,
    resolved_drifts: int,
    read_bytes: int,
    now: datetime,
) -> None:
    cursor.execute(
        """
        update logbox.reconciliations
        set verdict = %s, compared = %s, unchecked = %s, new_drifts = %s, open_drifts = %s,
            resolved_drifts = %s, read_bytes = %s, finished_at = %s
        where reconciliation_id = %s
        """,
        (
            verdict, json.dumps(compared), json.dumps(unchecked), new_drifts, open_drifts,
            resolved_drifts, read_bytes, now, str(reconciliation_id),
        ),
    )  # fmt: skip


@dataclass(frozen=True)
class LastChecked:
    """When the last runs ended that could look at everything: any, and a deep one. Until there is
    one, when the first batch was formed; None while nothing has come."""

    any_at: datetime | None
    deep_at: datetime | None


def last_checked(cursor: Any) -> LastChecked:
    cursor.execute(
        """
        select coalesce(max(r.finished_at), min(b.created_at)),
            coalesce(max(r.finished_at) filter (where r.is_deep), min(b.created_at))
        from (select min(created_at) as created_at from logbox.batches) as b
        left join logbox.reconciliations r on r.verdict is not null and r.unchecked = '{}'
        """
    )
    return LastChecked(*cursor.fetchone())


# The scrub

_STORED = {
    Place.ARCHIVE: """
        select archive_key, size_bytes, sha256::text, client
        from logbox.objects
        where archived_at is not null
        union all
        select archive_key, size_bytes, sha256::text, client
        from logbox.manifests
        where written_at is not null
    """,
    Place.REPLICA: """
        select archive_key, size_bytes, sha256::text, client
        from logbox.objects
        where replicated_at is not null
        union all
        select archive_key, size_bytes, sha256::text, client
        from logbox.manifests
        where replicated_at is not null
    """,
}


def least_recently_checked(
    cursor: Any, place: Place, first: Collection[str], days: int | None
) -> list[ExpectedObject]:
    """Objects to read again: those in `first`, and a day's share of all, longest unread first.

    days: in which everything is to be read once; None: only `first`. The object that crosses the
    share is read too, so that the largest gets its turn.
    """
    cursor.execute(
        f"""
        with stored as materialized ({_STORED[place]}), queue as (
            select s.*, s.archive_key = any(%(first)s) as is_first,
                sum(s.size_bytes) over (
                    order by c.checked_at nulls first, s.archive_key
                    rows unbounded preceding
                ) - s.size_bytes as before
            from stored s
            left join logbox.scrubs c on (c.place, c.archive_key) = (%(place)s, s.archive_key)
        ), total as (
            select coalesce(sum(size_bytes), 0)::bigint as size_bytes from stored
        )
        select archive_key, q.size_bytes, sha256, client
        from queue q, total t
        where is_first or (%(days)s::int is not null and before < t.size_bytes::numeric / %(days)s)
            or (%(days)s::int = 1)
        order by is_first desc, before, archive_key
        """,  # noqa: S608
        {"first": list(first), "place": place, "days": days},
    )
    return [
        ExpectedObject(key, True, size_bytes, sha256, client)
        for key, size_bytes, sha256, client in cursor.fetchall()
    ]


def mark_checked(cursor: Any, place: Place, archive_keys: Sequence[str], now: datetime) -> None:
    """They were read whole and were what they should be."""
    if archive_keys:
        execute_values(
            cursor,
            """
            insert into logbox.scrubs (place, archive_key, checked_at)
            values %s
            on conflict (place, archive_key) do update
            set checked_at = excluded.checked_at
            """,
            [(place, key, now) for key in sorted(archive_keys)],
            page_size=2_000,
        )
