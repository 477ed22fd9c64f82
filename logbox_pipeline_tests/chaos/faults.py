"""The faults that a storm is made of: what each does to the ground. When they strike is storm.py's.

A fault is asked to strike again and again until it says that it has: some wait for a victim, some
for a request or a place in the code that meets what was armed.
"""

import os
import random
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP

import psycopg2

from logbox_pipeline.local.processes import command_of
from logbox_pipeline_tests.chaos.deadlock import deadlock
from logbox_pipeline_tests.chaos.ground import ROOT, Ground, kill
from logbox_pipeline_tests.chaos.postgres_proxy import PostgresFault, PostgresProxy
from logbox_pipeline_tests.chaos.s3_proxy import S3Fault, S3Proxy

STOPPED_S = 80.0
"""A run that sleeps for longer than LOGBOX_RUN_DEAD_AFTER_S is taken for dead, and wakes."""

REFUSED_S, STALLED_S, FULL_S = 10.0, 15.0, 20.0

OF_OTHER_COMMANDS = ("rebuild.py", "compact.py", "reparse.py", "remake.py")
"""Steps that no run of a storm takes; night.py kills compaction and rebuild."""


@dataclass(frozen=True)
class Fault:
    """`ends_attempt`: an attempt of a batch dies of it. Logbox cannot tell that from a file that
    kills whoever reads it, so nobody may do it twice to a batch of a single file."""

    kind: str
    strike: Callable[[], bool]
    ends_attempt: bool = False
    withdraw: Callable[[], object] = lambda: None
    """Called when it has waited for too long, or the storm is over."""


def all_faults(ground: Ground, chance: random.Random) -> list[Fault]:
    """One of every kind. What this machine does not allow is left out; see `not_possible`."""
    return [
        *_kills(ground, chance),
        *(_at_failpoint(ground, name, None) for name in failpoints()),
        *(_at_failpoint(ground, name, chance) for name in failpoints()),
        *_s3(ground),
        *_postgres(ground),
        *_disks(ground),
    ]


def not_possible(ground: Ground) -> list[str]:
    """Kinds that are left out, and why."""
    if ground.mounted:
        return []
    return ["full disks of Postgres and of the work folder: no right to mount a small one"]


def failpoints() -> list[str]:
    """Every named failpoint that an ingesting or replicating run comes to."""
    folder = ROOT / "logbox_pipeline" / "steps"
    return sorted(
        name
        for path in folder.glob("*.py")
        if path.name not in OF_OTHER_COMMANDS
        for name in re.findall(r'site\.reach\("(\w+)"\)', path.read_text(encoding="utf-8"))
    )


def _kills(ground: Ground, chance: random.Random) -> list[Fault]:
    def one_of(pids: Callable[[], Sequence[int]]) -> Callable[[], bool]:
        def strike() -> bool:
            found = pids()
            return bool(found) and kill(chance.choice(found))

        return strike

    def process(name: str) -> Callable[[], Sequence[int]]:
        return lambda: [pid for pid in [ground.pids()[name]] if pid is not None]

    def backends() -> Sequence[int]:
        with suppress(psycopg2.Error):
            query = "select pid from pg_stat_activity where usename = 'logbox_writer'"
            return [pid for (pid,) in ground.rows(query)]
        return []

    def stop_a_run() -> bool:
        found = ground.runs()
        if not found:
            return False
        pid = chance.choice(found)
        stopped = kill(pid, SIGSTOP)
        _later(STOPPED_S, lambda: kill(pid, SIGCONT))
        return stopped

    def cut_the_power() -> bool:
        pids = [*ground.parsers(), *ground.runs(), *filter(None, ground.pids().values())]
        ground.kill_up()
        for pid in pids:
            kill(pid, SIGKILL)
        ground.start_up()
        return True

    return [
        Fault("kill -9 of a run", one_of(ground.runs), True),
        Fault("kill -9 of a parser", one_of(ground.parsers)),
        Fault("kill -9 of the code server", one_of(process("code")), True),
        Fault("kill -9 of the daemon", one_of(process("daemon"))),
        Fault("kill -9 of the webserver", one_of(process("webserver"))),
        Fault("kill -9 of Postgres", one_of(process("Postgres"))),
        Fault("kill -9 of a session of Postgres", one_of(backends)),
        Fault("kill -9 of S3", one_of(process("S3"))),
        Fault("kill -9 of the replica", one_of(process("replica"))),
        Fault("kill -9 of everything", cut_the_power, True),
        Fault("a run sleeps beyond its heartbeat, and wakes", stop_a_run, True),
    ]


class _AtFailpoint:
    """A run that comes there dies; with `chance` not the run, but one of what it works with."""

    def __init__(self, ground: Ground, name: str, chance: random.Random | None) -> None:
        self._ground, self._chance = ground, chance
        self._file = ground.failpoints / name
        self._victim: int | None = None

    def __call__(self) -> bool:
        if self._victim is None:
            self._arm()
            return False
        if not self._file.exists():
            self.withdraw()
            return True
        if self._victim and not command_of(self._victim):
            # Another fault was faster.
            self.withdraw()
        return False

    def withdraw(self) -> None:
        if self._victim is not None:
            self._file.unlink(missing_ok=True)
            self._ground.armed.discard(self._file)
        self._victim = None

    def _arm(self) -> None:
        victims = [0]
        if self._chance is not None:
            pids = self._ground.pids().values()
            victims = [*filter(None, pids), *self._ground.parsers()]
        if not victims or self._file in self._ground.armed:
            return
        victim = (self._chance or random).choice(victims)
        ready = self._file.with_name(f"{self._file.name}.new")
        ready.write_text(str(victim or ""))
        ready.rename(self._file)
        self._ground.armed.add(self._file)
        self._victim = victim


def _at_failpoint(ground: Ground, name: str, chance: random.Random | None) -> Fault:
    whose = "of what a run works with" if chance else "of a run"
    strike = _AtFailpoint(ground, name, chance)
    return Fault(f"kill -9 {whose} {name}", strike, True, strike.withdraw)


TIMES = {
    S3Fault.ERROR_500: 12,
    S3Fault.SLOW_DOWN: 40,
    S3Fault.STUCK: 1,
    S3Fault.HANG: 2,
    S3Fault.STALE_LISTING: 4,
    S3Fault.SHORT_PAGE: 6,
    S3Fault.REPEATED_PAGE: 2,
    S3Fault.REORDERED: 4,
    S3Fault.OMITTED: 4,
}
"""How many requests meet a fault each time it strikes."""

_TIMES = 5
"""Where nothing is said: one more than a call of ours tries (adapters/s3.py)."""


def _s3(ground: Ground) -> list[Fault]:
    of_replica = (
        S3Fault.ERROR_500,
        S3Fault.SLOW_DOWN,
        S3Fault.HANG,
        S3Fault.CUT_REQUEST,
        S3Fault.LOST_ANSWER,
        S3Fault.FLIPPED_REQUEST,
    )
    return [
        *(
            Fault(f"S3 {fault}", _Armed(ground.s3, fault, TIMES.get(fault, _TIMES)))
            for fault in S3Fault
        ),
        *(
            Fault(f"the replica {fault}", _Armed(ground.replica, fault, TIMES.get(fault, _TIMES)))
            for fault in of_replica
        ),
    ]


class _Armed:
    """Arms a proxy, and has struck once the first request met it."""

    def __init__(self, proxy: S3Proxy | PostgresProxy, fault: S3Fault | PostgresFault, times: int):
        self._proxy, self._fault, self._times = proxy, fault, times
        self._before: int | None = None

    def __call__(self) -> bool:
        struck = self._proxy.struck[self._fault]  # type: ignore[index]
        if self._before is None:
            self._before = struck
            self._proxy.arm(self._fault, self._times)  # type: ignore[arg-type]
        return struck > self._before


def _postgres(ground: Ground) -> list[Fault]:
    served = ground.postgres.served

    def refuse() -> bool:
        served.refuse()
        _later(REFUSED_S, served.accept)
        return True

    def drop_all() -> bool:
        served.drop_all()
        return True

    def stall() -> bool:
        ground.postgres.stall()
        _later(STALLED_S, ground.postgres.flow)
        return True

    return [
        Fault("Postgres refuses connections", refuse),
        Fault("Postgres drops every connection", drop_all),
        Fault("Postgres stalls", stall),
        *(Fault(f"Postgres {fault}", _Armed(ground.postgres, fault, 2)) for fault in PostgresFault),
        Fault("a deadlock", _Deadlock(ground)),
    ]


class _Deadlock:
    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._trying: threading.Thread | None = None
        self._is_made = False

    def __call__(self) -> bool:
        if not self._is_made and (self._trying is None or not self._trying.is_alive()):
            self._trying = threading.Thread(target=self._try, daemon=True)
            self._trying.start()
        return self._is_made

    def _try(self) -> None:
        with suppress(psycopg2.Error):
            self._is_made = deadlock(self._ground.superuser)


def _disks(ground: Ground) -> list[Fault]:
    if not ground.mounted:
        return []

    def fill(place: Path) -> Callable[[], bool]:
        def strike() -> bool:
            ballast = place / "ballast"
            _fill(ballast)
            _later(FULL_S, lambda: ballast.unlink(missing_ok=True))
            return True

        return strike

    return [
        Fault("Postgres's disk is full", fill(ground.home / "postgres")),
        Fault("the work folder's disk is full", fill(ground.work)),
    ]


def _fill(ballast: Path) -> None:
    """Leave not a byte on the disk of this file."""
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(ballast.parent).free)
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def _later(seconds: float, act: Callable[[], object]) -> None:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()
