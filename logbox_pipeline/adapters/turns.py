"""Work that only one process at a time does in a database."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Any

from logbox_pipeline.adapters import postgres
from logbox_pipeline.core.errors import LogboxError


class Turn(StrEnum):
    """What this is about."""

    COMPACTION = "compaction"
    DRILL = "drill"
    REBUILD = "rebuild"
    RECONCILIATION = "reconciliation"
    REPLICATION = "replication"


_KEY = "hashtextextended('logbox.' || %s, 0)"


@contextmanager
def turn(connection: Any, what: str) -> Iterator[bool]:
    """Whether nobody else does `what`; if so, nobody else does until the block ends.

    It is given back by name: of a connection that is only closed the server frees the locks some
    moments later, and who asks in between is refused. Those of a dead process it frees too.
    """
    with postgres.transaction(connection) as cursor:
        cursor.execute(f"select pg_try_advisory_lock({_KEY})", (what,))
        is_ours = bool(cursor.fetchone()[0])
    try:
        yield is_ours
    finally:
        if is_ours:
            # A connection that was lost meanwhile has lost the turn too.
            with suppress(LogboxError), postgres.transaction(connection) as cursor:
                cursor.execute(f"select pg_advisory_unlock({_KEY})", (what,))


def is_taken(cursor: Any, what: str) -> bool:
    """Whether some session does it. A hint: a dropped connection frees the lock."""
    cursor.execute(
        f"""
        select exists (
            select from pg_locks
            where locktype = 'advisory' and granted and objsubid = 1
                and (classid::bigint << 32) | objid::bigint = {_KEY}
                and database = (select oid from pg_database where datname = current_database())
        )
        """,  # noqa: S608 - a constant of ours
        (what,),
    )
    return bool(cursor.fetchone()[0])


def keep_free(cursor: Any, what: str) -> bool:
    """Whether nobody does it; if so, nobody begins before this transaction ends."""
    cursor.execute(f"select pg_try_advisory_xact_lock({_KEY})", (what,))
    return bool(cursor.fetchone()[0])
