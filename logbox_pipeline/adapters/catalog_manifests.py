"""The catalog's record of the files by which the archive tells of itself."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg2.extras import execute_values

from logbox_pipeline.core.errors import TransientError


@dataclass(frozen=True)
class ManifestRow:
    """A file as the catalog knows it. `client` None: the journal's."""

    archive_key: str
    kind: str
    client: str | None
    batch_id: UUID | None
    sha256: str
    size_bytes: int


def plan(cursor: Any, files: Sequence[ManifestRow], now: datetime) -> None:
    """Write down what is about to be put. A key is planned once: names are never used again."""
    execute_values(
        cursor,
        """
        insert into logbox.manifests
            (archive_key, kind, client, batch_id, sha256, size_bytes, planned_at)
        values %s
        """,
        [(*_values(one), now) for one in files],
    )


def mark_written(cursor: Any, files: Sequence[ManifestRow], now: datetime) -> None:
    """The store has them, also those that were put so late that `forget` had given them up.

    Raises TransientError when the catalog knows other bytes by one of the names.
    """
    marked = execute_values(
        cursor,
        """
        insert into logbox.manifests as m
            (archive_key, kind, client, batch_id, sha256, size_bytes, planned_at, written_at)
        values %s
        on conflict (archive_key) do update
        set written_at = coalesce(m.written_at, excluded.written_at)
        where m.sha256 = excluded.sha256
        returning archive_key
        """,
        [(*_values(one), now, now) for one in files],
        fetch=True,
    )
    others = {one.archive_key: one.sha256 for one in files}
    for (archive_key,) in marked:
        del others[archive_key]
    for archive_key, sha256 in sorted(others.items()):
        raise TransientError(
            f"{archive_key} was put as {sha256}, and the catalog knows other bytes by that name",
            hint="nothing to do: what it tells is told again in another file",
        )


def mark_found(cursor: Any, archive_key: str, written_at: datetime) -> None:
    """It stands in the archive as planned, though nobody said so."""
    cursor.execute(
        """
        update logbox.manifests
        set written_at = %s
        where archive_key = %s and written_at is null
        """,
        (written_at, archive_key),
    )


def of_batch(cursor: Any, batch_id: UUID) -> frozenset[str]:
    """Keys that manifests of a batch have, or were to have."""
    cursor.execute("select archive_key from logbox.manifests where batch_id = %s", (str(batch_id),))
    return frozenset(key for (key,) in cursor.fetchall())


def planned(cursor: Any, planned_before: datetime) -> list[tuple[str, str, str | None]]:
    """(key, digest, client) of files of which nobody said that they were put."""
    cursor.execute(
        """
        select archive_key, sha256, client
        from logbox.manifests
        where written_at is null and planned_at < %s
        order by planned_at
        limit 100
        """,
        (planned_before,),
    )
    return list(cursor.fetchall())


@dataclass(frozen=True)
class TellingFile:
    """A manifest or journal entry. `is_written` False: it may not have been put."""

    archive_key: str
    sha256: str
    planned_at: datetime
    is_written: bool


def telling(
    cursor: Any, clients: Collection[str] | None, since: datetime | None
) -> list[TellingFile]:
    """Manifests of these clients, None: of all, and the journal, as far as planned `since` then."""
    cursor.execute(
        """
        select archive_key, sha256, planned_at, written_at is not null
        from logbox.manifests
        where kind <> 'seal'
            and (%(clients)s::text[] is null or client is null or client = any(%(clients)s))
            and (%(since)s::timestamptz is null or planned_at >= %(since)s)
        """,
        {"clients": None if clients is None else list(clients), "since": since},
    )
    return [TellingFile(*row) for row in cursor.fetchall()]


def forget(cursor: Any, archive_key: str) -> bool:
    """Give up a file that is not there as planned; False when it was marked meanwhile."""
    cursor.execute(
        "delete from logbox.manifests where archive_key = %s and written_at is null",
        (archive_key,),
    )
    return bool(cursor.rowcount == 1)


def _values(file: ManifestRow) -> tuple[Any, ...]:
    batch_id = file.batch_id and str(file.batch_id)
    return file.archive_key, file.kind, file.client, batch_id, file.sha256, file.size_bytes
