"""Run one embedded stack for a whole test run, in a process of its own.

    python -m logbox_pipeline_tests.stack_keeper HOME PYTEST_PID

The first test that needs the stack starts this; every pytest-xdist worker uses it. It ends, and
removes HOME, on SIGTERM or when the pytest that it serves is gone, however that ended.
"""

import json
import os
import shutil
import signal
import sys
import threading
from contextlib import closing
from pathlib import Path

import psycopg2

from logbox_pipeline.local.processes import write_private
from logbox_pipeline.local.stack import EmbeddedStack


def main() -> None:
    home, pytest_pid = Path(sys.argv[1]), int(sys.argv[2])
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    stack = EmbeddedStack(home / "stack")
    try:
        with stack:
            stop_waiting_for_the_disk(stack)
            write_private(home / "ready.json", json.dumps(stack.environment()))
            while not ended.wait(0.5) and is_alive(pytest_pid):
                pass
    except Exception as error:
        write_private(home / "failed.txt", str(error))
        ended.wait(20)
        raise
    finally:
        shutil.rmtree(home, ignore_errors=True)


def stop_waiting_for_the_disk(stack: EmbeddedStack) -> None:
    """Tests kill processes, never the machine: what the kernel has is safe. Each test makes a
    database and drops it, which is mostly waiting otherwise; nothing lives to be vacuumed."""
    with closing(psycopg2.connect(stack.environment()["LOGBOX_ADMIN_DATABASE_URL"])) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for setting in ("fsync", "synchronous_commit", "full_page_writes", "autovacuum"):
                cursor.execute(f"alter system set {setting} = off")
            cursor.execute("select pg_reload_conf()")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
