"""The catalog's record of what each log put into each table: rows and their content digest."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg2.extras import execute_values


@dataclass(frozen=True)
class LogContent:
    """One log's rows in one table, as they were parsed. `digest`: see `core.content`."""

    log_id: UUID
    table_name: str
    rows: int
    digest: str


def record(cursor: Any, loaded: Collection[UUID], contents: Sequence[LogContent]) -> None:
    """Part of the load transaction: what these logs put where, instead of what they had put.

    loaded: all logs of the load; one without a line in `contents` has no rows at all.
    """
    cursor.execute(
        "delete from logbox.log_tables where log_id = any(%s::uuid[])",
        ([str(one) for one in loaded],),
    )
    if contents:
        execute_values(
            cursor,
            "insert into logbox.log_tables (log_id, table_name, rows, content_digest) values %s",
            [(str(one.log_id), one.table_name, one.rows, one.digest) for one in contents],
            template="(%s::uuid, %s, %s, %s)",
            page_size=2_000,
        )


def of_logs(cursor: Any, log_ids: Collection[UUID]) -> list[LogContent]:
    """By log and table."""
    cursor.execute(
        """
        select log_id, table_name, rows, content_digest
        from logbox.log_tables
        where log_id = any(%s::uuid[])
        order by log_id, table_name
        """,
        ([str(one) for one in log_ids],),
    )
    return [LogContent(UUID(row[0]), *row[1:]) for row in cursor.fetchall()]
