"""Make Postgres end a load by a deadlock: a session of ours and the load's wait for each other."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import psycopg2

HELD, WANTED = "logbox.logs", "logbox.log_events"
"""A load writes the second first and the first later (steps/load.py)."""

_WAITING = """
select l.pid
from pg_locks l
join pg_stat_activity a using (pid)
where l.relation = %s::regclass and not l.granted and a.usename = 'logbox_writer'
    and exists (
        select from pg_locks h
        where h.pid = l.pid and h.relation = %s::regclass and h.granted
            and h.mode = 'RowExclusiveLock'
    )
"""
_DEADLOCKS = "select sum(deadlocks) from pg_stat_database"


def deadlock(session: Callable[[], AbstractContextManager[Any]], *, patience_s: float = 20) -> bool:
    """Whether Postgres has found one. `session` must be a superuser's: ours is to wait longer
    before it looks for deadlocks than the load's, so that the load's is the one that is ended.
    """
    with session() as ours, session() as looking:
        looking.execute(_DEADLOCKS)
        before = looking.fetchone()[0]
        ours.execute("set deadlock_timeout = '30s'")
        ours.execute("begin")
        # What writes to it waits; a load does so with rows in the other already written.
        ours.execute(f"lock table {HELD} in share mode")
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            looking.execute(_WAITING, (HELD, WANTED))
            if looking.fetchone():
                break
            # A waiting session looks for a deadlock once, a second after it began to wait.
            time.sleep(0.05)
        else:
            return False
        try:
            ours.execute(f"lock table {WANTED} in access exclusive mode")
        except psycopg2.errors.DeadlockDetected:
            return True
        ours.execute("rollback")
        time.sleep(1.5)
        looking.execute(_DEADLOCKS)
        return bool(looking.fetchone()[0] > before)
