"""The catalog's record of the replica: what it is not known to have, and since when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

BEGINNING = ("-infinity", "")
"""The place before the oldest file; `owed` goes on behind (since, archive_key)."""

LOOK_AGAIN = timedelta(hours=1)
"""How long a file with a drift is left alone: its bytes may be 4 GiB, and repair is a person's."""


@dataclass(frozen=True)
class Owed:
    """A file of the archive that the replica is not known to have. `kind`: object, or that of its
    manifest; `client` None: the journal's; `version_id` None: what stands there now; `since`: when
    the archive had it, or when the replica was first seen without it; `is_lost`: that it was
    proven there once says nothing any more."""

    kind: str
    client: str | None
    archive_key: str
    version_id: str | None
    sha256: str
    size_bytes: int
    since: datetime
    is_lost: bool


# What the replica was proven to have, and was seen without, or with other bytes, since then.
_LOST = """
    select distinct on (f.archive_key)
        f.kind, f.client, f.archive_key, f.version_id, f.sha256, f.size_bytes, f.written_at,
        greatest(d.first_seen_at, f.replicated_at) as since
    from logbox.drifts d
    join (
        select 'object' as kind, client, archive_key, version_id, sha256, size_bytes,
            archived_at as written_at, replicated_at
        from logbox.objects
        union all
        select kind, client, archive_key, null::text, sha256, size_bytes, written_at, replicated_at
        from logbox.manifests
    ) as f on f.archive_key = d.subject
    where d.resolved_at is null and d.place = 'replica' and d.kind in ('missing', 'mismatch')
        and f.written_at is not null
        and d.last_seen_at > f.replicated_at
    order by f.archive_key, d.first_seen_at
"""


@dataclass(frozen=True)
class Lag:
    """What the replica is behind; `oldest_at` None when it is behind by nothing."""

    files: int
    size_bytes: int
    oldest_at: datetime | None

    def seconds(self, now: datetime) -> int:
        """Age of the oldest file that the replica lacks; 0 when it lacks none."""
        return 0 if self.oldest_at is None else max(0, int((now - self.oldest_at).total_seconds()))


def owed(
    cursor: Any, places: Sequence[str], now: datetime, most: int, after: tuple[Any, str] = BEGINNING
) -> list[Owed]:
    """The oldest files that may be copied now. Those with an open drift in one of `places` that
    was seen within LOOK_AGAIN are passed over."""
    cursor.execute(
        f"""
        with recently as (
            select subject, last_seen_at
            from logbox.drifts
            where resolved_at is null and place = any(%(places)s)
                and kind in ('missing', 'mismatch', 'unreadable')
                and last_seen_at > %(again)s
        )
        (
            select 'object', client, archive_key, version_id, sha256, size_bytes,
                archived_at as since, false
            from logbox.objects o
            where archived_at is not null and replicated_at is null
                and (archived_at, archive_key) > (%(since)s, %(key)s)
                -- A drift from before is not of the version that was proven since.
                and not exists (
                    select from recently
                    where subject = o.archive_key and last_seen_at >= o.archived_at
                )
            order by archived_at, archive_key
            limit %(most)s
        )
        union all
        (
            select kind, client, archive_key, null, sha256, size_bytes, written_at as since, false
            from logbox.manifests m
            where written_at is not null and replicated_at is null
                and (written_at, archive_key) > (%(since)s, %(key)s)
                and not exists (
                    select from recently
                    where subject = m.archive_key and last_seen_at >= m.written_at
                )
            order by written_at, archive_key
            limit %(most)s
        )
        union all
        (
            select kind, client, archive_key, version_id, sha256, size_bytes, since, true
            from ({_LOST}) as lost
            where (since, archive_key) > (%(since)s, %(key)s)
                and not exists (
                    select from recently
                    where subject = lost.archive_key and last_seen_at >= lost.written_at
                )
            order by since, archive_key
            limit %(most)s
        )
        order by since, archive_key
        limit %(most)s
        """,  # noqa: S608 - a query of ours
        {
            "places": list(places),
            "again": now - LOOK_AGAIN,
            "since": after[0],
            "key": after[1],
            "most": most,
        },
    )
    return [Owed(*row) for row in cursor.fetchall()]


def lag(cursor: Any) -> Lag:
    """Everything that is archived and not known to be in the replica, drifts and all."""
    cursor.execute(
        f"""
        select count(*), coalesce(sum(size_bytes), 0)::bigint, min(since)
        from (
            select size_bytes, archived_at as since
            from logbox.objects
            where archived_at is not null and replicated_at is null
            union all
            select size_bytes, written_at
            from logbox.manifests
            where written_at is not null and replicated_at is null
            union all
            select size_bytes, since
            from ({_LOST}) as lost
        ) as lacking
        """  # noqa: S608 - a query of ours
    )
    return Lag(*cursor.fetchone())


def record_replicated(cursor: Any, proven: Sequence[Owed], now: datetime) -> None:
    """Say that the replica has these bytes. What was archived anew meanwhile stays owed."""
    for table, files in (
        ("objects", [one for one in proven if one.kind == "object"]),
        ("manifests", [one for one in proven if one.kind != "object"]),
    ):
        if files:
            cursor.execute(
                f"""
                update logbox.{table} as t
                set replicated_at = %(now)s
                from unnest(%(keys)s::text[], %(digests)s::text[]) as p (archive_key, sha256)
                where t.archive_key = p.archive_key and t.sha256 = p.sha256
                """,  # noqa: S608 - one of two names of ours
                {
                    "now": now,
                    "keys": [one.archive_key for one in files],
                    "digests": [one.sha256 for one in files],
                },
            )
