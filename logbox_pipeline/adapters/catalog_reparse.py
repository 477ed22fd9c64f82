"""The catalog's record of logs that are to be parsed again."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from logbox_pipeline.adapters.catalog_batches import Claim
from logbox_pipeline.core.digest import batch_id as derive_batch_id


@dataclass(frozen=True)
class Chosen:
    """Which loaded logs; what is None does not narrow."""

    day: date | None = None
    client: str | None = None
    format: str | None = None
    log_id: UUID | None = None

    @property
    def is_everything(self) -> bool:
        return self == Chosen()


@dataclass(frozen=True)
class Loaded:
    """A loaded log. Size in bytes."""

    log_id: UUID
    batch_id: UUID
    received_on: date
    size_bytes: int


def loaded(cursor: Any, chosen: Chosen) -> list[Loaded]:
    """Those that are loaded, day by day, logs of one object beside each other."""
    cursor.execute(
        """
        select log_id, batch_id, received_on, size_bytes
        from logbox.logs
        where state = 'loaded'
            and (%(day)s::date is null or received_on = %(day)s)
            and (%(client)s::text is null or client = %(client)s)
            and (%(format)s::text is null or format = %(format)s)
            and (%(log_id)s::uuid is null or log_id = %(log_id)s)
        order by received_on, delivery_id, log_id
        """,
        {
            "day": chosen.day,
            "client": chosen.client,
            "format": chosen.format,
            "log_id": None if chosen.log_id is None else str(chosen.log_id),
        },
    )
    return [Loaded(UUID(row[0]), UUID(row[1]), row[2], row[3]) for row in cursor.fetchall()]


def begin_batch(cursor: Any, logs: list[Loaded], run_id: str, now: datetime) -> Claim:
    """A batch without deliveries, at work already: its load is fenced as any other's."""
    batch_id = derive_batch_id(logs[0].log_id, now)
    cursor.execute(
        """
        insert into logbox.batches (
            batch_id, received_on, state, files, size_bytes, created_at, run_id, started_at,
            heartbeat_at
        )
        values (%s, %s, 'running', %s, %s, %s, %s, %s, %s)
        """,
        (
            str(batch_id),
            logs[0].received_on,
            len(logs),
            sum(one.size_bytes for one in logs),
            now,
            run_id,
            now,
            now,
        ),
    )
    return Claim(batch_id, 1, logs[0].received_on, run_id)


def files_of(cursor: Any, batch_id: UUID, table_name: str) -> list[tuple[str, str]]:
    """(key, digest) of live files with rows of a batch's logs in a table."""
    cursor.execute(
        """
        select lake_key, sha256
        from logbox.lake_files
        where state = 'live' and batch_ids @> array[%s::uuid] and table_name = %s
        order by lake_key
        """,
        (str(batch_id), table_name),
    )
    return list(cursor.fetchall())


def raise_version(cursor: Any, versions: dict[UUID, int]) -> None:
    """Logs that a newer parser reads as the older one did."""
    for log_id, version in sorted(versions.items()):
        cursor.execute(
            """
            update logbox.logs
            set parser_version = %s
            where log_id = %s and parser_version is distinct from %s
            """,
            (version, str(log_id), version),
        )
