"""The catalog's record of seals: the head of each chain, and what waits to be sealed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2.extras import execute_values

from logbox_pipeline.core.digest import sha256_hex
from logbox_pipeline.core.keys import JOURNAL_CLIENT, signature_key


@dataclass(frozen=True)
class Head:
    """The newest seal of a chain."""

    number: int
    sha256: str


@dataclass(frozen=True)
class PutSeal:
    """A seal as it stands in the archive. `files` are those it lists; `put_at` is the store's own
    time, so that a rebuild comes to the same row."""

    archive_key: str
    client: str
    number: int
    sha256: str
    previous: str | None
    size_bytes: int
    signature: bytes
    files: Collection[str]
    key_id: str
    put_at: datetime


def unsealed_chains(cursor: Any) -> list[str]:
    """Clients with manifests that no seal lists, and JOURNAL_CLIENT for the journal's entries."""
    cursor.execute(
        """
        select distinct coalesce(client, %s)
        from logbox.manifests
        where sealed_by is null and kind <> 'seal' and written_at is not null
        order by 1
        """,
        (JOURNAL_CLIENT,),
    )
    return [client for (client,) in cursor.fetchall()]


def lock_chain(cursor: Any, client: str) -> None:
    """One at a time adds to a chain, until the transaction ends."""
    cursor.execute(
        "select pg_advisory_xact_lock(hashtextextended('logbox.seals:' || %s, 0))", (client,)
    )


def head(cursor: Any, client: str) -> Head | None:
    cursor.execute(
        """
        select number, sha256
        from logbox.seals
        where client = %s
        order by number desc
        limit 1
        """,
        (client,),
    )
    row = cursor.fetchone()
    return None if row is None else Head(*row)


def unsealed(cursor: Any, client: str, most: int) -> dict[str, str]:
    """Digests by archive key of manifests that no seal lists, the first in key order."""
    cursor.execute(
        """
        select archive_key, sha256
        from logbox.manifests
        where client is not distinct from %s
            and sealed_by is null and kind <> 'seal' and written_at is not null
        order by archive_key
        limit %s
        """,
        (_owner(client), most),
    )
    return dict(cursor.fetchall())


def digests(cursor: Any, archive_keys: Sequence[str]) -> dict[str, str]:
    """What the catalog knows of these manifests, sealed or not."""
    cursor.execute(
        "select archive_key, sha256 from logbox.manifests where archive_key = any(%s)",
        (list(archive_keys),),
    )
    return dict(cursor.fetchall())


def record_seal(cursor: Any, seal: PutSeal) -> None:
    """A seal stands in the archive: it is the head from here on, and its files are sealed.

    Its signature is a file of its own in `logbox.manifests`, as the list is.
    """
    signature = signature_key(seal.archive_key), sha256_hex(seal.signature), len(seal.signature)
    execute_values(
        cursor,
        """
        insert into logbox.manifests as m
            (archive_key, client, kind, sha256, size_bytes, planned_at, written_at)
        values %s
        on conflict (archive_key) do update
        set sha256 = excluded.sha256, size_bytes = excluded.size_bytes,
            written_at = excluded.written_at, replicated_at = null
        """,
        [
            (key, _owner(seal.client), "seal", sha256, size_bytes, seal.put_at, seal.put_at)
            for key, sha256, size_bytes in (
                (seal.archive_key, seal.sha256, seal.size_bytes),
                signature,
            )
        ],
    )
    cursor.execute(
        """
        insert into logbox.seals
            (archive_key, client, number, sha256, previous_sha256, files, sealed_at, key_id)
        values (%s, %s, %s, %s, %s, %s, %s, %s)
        """,
        (
            seal.archive_key,
            seal.client,
            seal.number,
            seal.sha256,
            seal.previous,
            len(seal.files),
            seal.put_at,
            seal.key_id,
        ),
    )
    cursor.execute(
        """
        update logbox.manifests
        set sealed_by = %s
        where archive_key = any(%s) and kind <> 'seal'
        """,
        (seal.archive_key, list(seal.files)),
    )


def _owner(client: str) -> str | None:
    """Whose a manifest is in the catalog: nobody's, when it is the journal's."""
    return None if client == JOURNAL_CLIENT else client
