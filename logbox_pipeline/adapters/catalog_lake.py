"""The catalog's record of the lake as readers and compaction see it: live files, merging.

What batches plan and make live is `catalog_logs`'s; what growing logs replace `catalog_growth`'s.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from logbox_pipeline.adapters.catalog_logs import PlannedFile, insert_planned
from logbox_pipeline.adapters.turns import Turn, keep_free
from logbox_pipeline.core.batching import REQUESTS_BEFORE_SPLIT
from logbox_pipeline.core.errors import TransientError

COMPACTION_ATTEMPT = 0
"""`lake_files.attempt` of a compacted file. No run of its batch_id has it, so none takes it for a
dead attempt's."""


@dataclass(frozen=True)
class LakeFileRow:
    """A live Parquet file. `batch_ids`: of whose logs it holds rows."""

    lake_key: str
    table_name: str
    received_on: date
    rows: int
    size_bytes: int
    sha256: str
    batch_ids: tuple[UUID, ...]


_COLUMNS = "lake_key, table_name, received_on, rows, size_bytes, sha256::text, batch_ids::text[]"


def live_files(
    cursor: Any, tables: Collection[str] | None = None, day: date | None = None
) -> list[LakeFileRow]:
    """What a reader is to read, by table, day and key; of all tables where none is named."""
    cursor.execute(
        f"""
        select {_COLUMNS}
        from logbox.lake_files
        where state = 'live'
            and (%(tables)s::text[] is null or table_name = any(%(tables)s))
            and (%(day)s::date is null or received_on = %(day)s)
        order by table_name, received_on, lake_key
        """,  # noqa: S608
        {"tables": None if tables is None else list(tables), "day": day},
    )
    return [_row(row) for row in cursor.fetchall()]


def known_tables(cursor: Any) -> list[str]:
    """Tables that have a live file."""
    cursor.execute(
        "select distinct table_name from logbox.lake_files where state = 'live' order by 1"
    )
    return [name for (name,) in cursor.fetchall()]


def small_files(
    cursor: Any,
    *,
    today: date,
    below_bytes: int,
    leave: Collection[str] = (),
    day: date | None = None,
) -> list[LakeFileRow]:
    """Live files below that size of closed days, where a table has more than one in a day; by day,
    table and age.

    A day is closed when it is before `today` (UTC) and each of its batches is done with, but for
    those that a store holds up. leave: keys that do not count.
    """
    cursor.execute(
        f"""
        with small as (
            select *, count(*) over (partition by received_on, table_name) as beside
            from logbox.lake_files f
            where state = 'live'
                and size_bytes < %(below)s
                and lake_key <> all(%(leave)s)
                and received_on < %(today)s
                and (%(day)s::date is null or received_on = %(day)s)
                and not exists (
                    select
                    from logbox.batches b
                    where b.received_on = f.received_on
                        and (
                            b.state = 'loaded'
                            or (b.state in ('open', 'running') and b.request_failures < %(held_up)s)
                        )
                )
        )
        select {_COLUMNS}
        from small
        where beside > 1
        order by received_on, table_name, live_at, lake_key
        """,  # noqa: S608
        {
            "below": below_bytes,
            "leave": list(leave),
            "today": today,
            "day": day,
            "held_up": REQUESTS_BEFORE_SPLIT,
        },
    )
    return [_row(row) for row in cursor.fetchall()]


def newest_batch(cursor: Any, batch_ids: Collection[UUID]) -> UUID:
    """The one of these that was loaded last."""
    cursor.execute(
        """
        select batch_id
        from logbox.batches
        where batch_id = any(%s::uuid[])
        order by loaded_at desc nulls last, batch_id
        limit 1
        """,
        ([str(one) for one in batch_ids],),
    )
    return UUID(cursor.fetchone()[0])


def lock_live(cursor: Any, lake_key: str) -> None:
    """Keep a file from being replaced until the transaction ends.

    Raises TransientError when it counts no more.
    """
    cursor.execute(
        "select from logbox.lake_files where lake_key = %s and state = 'live' for update",
        (lake_key,),
    )
    if cursor.fetchone() is None:
        raise TransientError(f"{lake_key} was replaced by another batch meanwhile")


def plan_compacted(cursor: Any, batch_id: UUID, file: PlannedFile, now: datetime) -> None:
    """Write down what compaction will put."""
    insert_planned(cursor, batch_id, COMPACTION_ATTEMPT, [file], now)


def swap(cursor: Any, old_keys: Sequence[str], new_key: str, now: datetime) -> bool:
    """From here on the new file counts instead of the old ones.

    False, and nothing is changed, when an old one counts no more or the new one was given up.
    """
    # In one order, as everyone who replaces files does, so that nobody waits in a ring.
    cursor.execute(
        """
        select lake_key, state
        from logbox.lake_files
        where lake_key = any(%s)
        order by lake_key
        for update
        """,
        ([*old_keys, new_key],),
    )
    if dict(cursor.fetchall()) != {**dict.fromkeys(old_keys, "live"), new_key: "planned"}:
        return False
    cursor.execute(
        """
        update logbox.lake_files
        set state = 'replaced', replaced_at = %s
        where lake_key = any(%s)
        """,
        (now, list(old_keys)),
    )
    # The same time on both: that is how the sweep knows what compaction replaced.
    cursor.execute(
        "update logbox.lake_files set state = 'live', live_at = %s where lake_key = %s",
        (now, new_key),
    )
    return True


def abandon_compactions(cursor: Any, lake_key: str | None = None) -> int:
    """Give up what compaction planned and did not make live: that file, or every one."""
    cursor.execute(
        """
        update logbox.lake_files
        set state = 'abandoned'
        where state = 'planned' and attempt = %(attempt)s
            and (%(key)s::text is null or lake_key = %(key)s)
        """,
        {"attempt": COMPACTION_ATTEMPT, "key": lake_key},
    )
    return int(cursor.rowcount)


def abandon_dead_compactions(cursor: Any) -> int:
    """The same, unless one is at work: nobody has the turn when it is to be had."""
    cursor.execute(
        """
        select exists (select from logbox.lake_files where state = 'planned' and attempt = %s)
        """,
        (COMPACTION_ATTEMPT,),
    )
    if not cursor.fetchone()[0]:
        return 0
    return abandon_compactions(cursor) if keep_free(cursor, Turn.COMPACTION) else 0


def _row(row: tuple[Any, ...]) -> LakeFileRow:
    key, table, day, rows, size_bytes, sha256, batch_ids = row
    return LakeFileRow(
        key, table, day, rows, size_bytes, sha256, tuple(UUID(one) for one in batch_ids)
    )
