"""What the catalog says should agree: recent batches, their live Parquet files. Read-only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class LiveFile:
    """`batch_id`: whose logs' rows are in it, whoever wrote it."""

    lake_key: str
    table_name: str
    batch_id: str


def recent_batches(cursor: Any, since: datetime, most: int) -> list[str]:
    cursor.execute(
        """
        select batch_id
        from logbox.batches
        where state in ('loaded', 'finished') and loaded_at > %s
        order by loaded_at desc
        limit %s
        """,
        (since, most),
    )
    return [str(batch_id) for (batch_id,) in cursor.fetchall()]


def live_files(cursor: Any, batches: Sequence[str]) -> list[LiveFile]:
    cursor.execute(
        """
        select lake_key, table_name, batch_ids[1]
        from logbox.lake_files
        where state = 'live' and batch_ids && %s::uuid[]
        order by lake_key
        """,
        (list(batches),),
    )
    return [LiveFile(row[0], row[1], str(row[2])) for row in cursor.fetchall()]


def lake_only_tables(cursor: Any, batches: Sequence[str]) -> set[tuple[str, str]]:
    """(batch, table) whose rows are meant to be in the lake alone."""
    cursor.execute(
        """
        select distinct l.batch_id, t.table_name
        from logbox.log_topics t
        join logbox.logs l using (log_id)
        where t.lake_only_reason is not null and l.batch_id = any(%s::uuid[])
        """,
        (list(batches),),
    )
    return {(str(batch), table) for batch, table in cursor.fetchall()}
