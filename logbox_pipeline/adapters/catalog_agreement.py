"""What the catalog says should agree: recent batches, their live Parquet files. Read-only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from logbox_pipeline.core.tables import CATALOG_TABLES


@dataclass(frozen=True)
class LiveFile:
    """`batch_ids`: whose logs' rows are in it, whoever wrote it; several after compaction."""

    lake_key: str
    table_name: str
    batch_ids: tuple[str, ...]


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


def live_files(cursor: Any, batches: Sequence[str], first_day: date | None) -> list[LiveFile]:
    """first_day: since when Postgres holds telemetry; None: every day."""
    cursor.execute(
        """
        select lake_key, table_name, batch_ids::text[]
        from logbox.lake_files
        where state = 'live' and batch_ids && %s::uuid[]
            and (table_name = any(%s) or received_on >= coalesce(%s::date, '-infinity'))
        order by lake_key
        """,
        (list(batches), sorted(CATALOG_TABLES), first_day),
    )
    return [LiveFile(key, table, tuple(of)) for key, table, of in cursor.fetchall()]


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
