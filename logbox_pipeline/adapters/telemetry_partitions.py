"""Old monthly partitions of the telemetry tables: which there are, what they hold, their end.

Made by `telemetry_tables` when a batch needs them.
"""

import re
from dataclasses import dataclass
from datetime import date
from typing import Any

from psycopg2 import sql

from logbox_pipeline.adapters.telemetry_tables import (
    PARTITION_SCHEMA,
    SCHEMA,
    partition_of,
    retried,
)

_MONTH = re.compile(r"_(\d{4})(\d{2})$")


@dataclass(frozen=True)
class Partition:
    """The rows of one table that were received in `month`, which is its first day."""

    table_name: str
    month: date
    size_bytes: int

    @property
    def following(self) -> date:
        """First day of the month after."""
        return date(self.month.year + self.month.month // 12, self.month.month % 12 + 1, 1)


def partitions_before(cursor: Any, first_day: date) -> list[Partition]:
    """Partitions that lie wholly before `first_day`, oldest first."""
    cursor.execute(
        """
        select parent.relname, leaf.relname, pg_total_relation_size(leaf.oid)
        from pg_inherits i
        join pg_class leaf on leaf.oid = i.inhrelid
        join pg_class parent on parent.oid = i.inhparent
        where parent.relnamespace = %s::regnamespace
            and parent.relkind = 'p'
            and leaf.relnamespace = %s::regnamespace
            and leaf.relkind = 'r'
        """,
        (SCHEMA, PARTITION_SCHEMA),
    )
    found = []
    for table_name, leaf, size_bytes in cursor.fetchall():
        named = _MONTH.search(leaf)
        if named:
            found.append(Partition(table_name, date(int(named[1]), int(named[2]), 1), size_bytes))
    return sorted(
        (one for one in found if one.following <= first_day),
        key=lambda one: (one.month, one.table_name),
    )


def rows_by_day(cursor: Any, partition: Partition) -> dict[date, int]:
    """Counted, not read from the catalog."""
    cursor.execute(
        sql.SQL("select received_on, count(*) from {} group by received_on").format(
            sql.Identifier(*partition_of(partition.table_name, partition.month))
        )
    )
    return dict(cursor.fetchall())


def drop_partition(connection: Any, partition: Partition) -> None:
    """Its rows leave Postgres; the table and its view stay.

    Raises TransientError when somebody reads the table for too long.
    """
    retried(
        connection,
        lambda cursor: cursor.execute(
            sql.SQL("drop table if exists {}").format(
                sql.Identifier(*partition_of(partition.table_name, partition.month))
            )
        ),
    )
