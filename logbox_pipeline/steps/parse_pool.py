"""Unwrap and parse many files in pools of worker processes; one that kills its worker costs only
itself."""

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import ensure_running
from multiprocessing.popen_forkserver import Popen
from pathlib import Path
from tempfile import gettempdir
from threading import Lock, RLock
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from logbox_pipeline.core.errors import TransientError
from logbox_pipeline.formats.wrappers import Lost
from logbox_pipeline.settings import Settings
from logbox_pipeline.steps import parse_worker, unwrap_worker
from logbox_pipeline.steps.budget import Budget, prepare_worker
from logbox_pipeline.steps.parse_worker import ParsedLog, UnparsedLog, parse_log
from logbox_pipeline.steps.unwrap_worker import (
    RefusedInner,
    UnwrapLimits,
    Unwrapped,
    unwrap_within,
)

_BYTES_PER_CPU_S = 2 * 1024**2
"""A file may take a CPU second per 2 MiB, some thirty times what parsers need."""

_MEMORY_PER_BYTE = 4
_WALL_PER_CPU = 10
"""Wall-clock limit over CPU limit: for parsers that sleep or wait, on a busy machine."""


@dataclass(frozen=True)
class Job:
    """One log to parse: `path` is read, the file `rows` takes its rows; `lost` are ranges of the
    wrapper it came out of."""

    path: Path
    rows: Path
    received_at: datetime
    size_bytes: int
    lost: tuple[Lost, ...] = ()


@dataclass(frozen=True)
class UnwrapJob:
    """One object to unwrap: `path` is read, `folder` takes the files of its logs."""

    path: Path
    sha256: str
    folder: Path
    size_bytes: int


_EARLY_PER_WORKER = 4
"""Jobs under way at a time of those that nobody has asked for."""

Result = ParsedLog | UnparsedLog
_Result = TypeVar("_Result")


class EarlyParsing:
    """Logs that are parsed before anybody is sure to ask for them, a few at a time.

    Once `parse_all` has begun, no more is handed over; what was, is parsed whether anybody asks
    for it or not.
    """

    def __init__(self, settings: Settings, pool: ProcessPool, jobs: Sequence[Job]) -> None:
        self.pool = pool
        self._schedule = _parsing(settings)
        self._lock = RLock()
        self._waiting = deque(jobs)
        self._futures: dict[Job, ProcessFuture[Result] | None] = {}
        for _ in range(_EARLY_PER_WORKER * settings.parse_workers):
            self._hand_over()

    def end(self) -> None:
        """Begin no more."""
        with self._lock:
            self._waiting.clear()

    def take(self, job: Job) -> ProcessFuture[Result] | None:
        """What was begun of a job; None when it was not, or its pool broke."""
        with self._lock:
            return self._futures.pop(job, None)

    @property
    def has_unasked(self) -> bool:
        """Whether a worker may still be at something that nobody took."""
        return not all(future is None or future.done() for future in self._futures.values())

    def _hand_over(self, _done: object = None) -> None:
        with self._lock:
            if not self._waiting:
                return
            job = self._waiting.popleft()
            future = self._futures[job] = _scheduled(self.pool, job, self._schedule)
        if future is not None:
            future.add_done_callback(self._hand_over)


@contextmanager
def parsing_early(settings: Settings, jobs: Sequence[Job]) -> Iterator[EarlyParsing | None]:
    """Parse `jobs` while the block does something else; `parse_all` takes those that are asked for.

    What nobody asked for until the block ends is stopped with its pool. None for no jobs.
    """
    if not jobs:
        yield None
        return
    pool: Any
    with _pool(settings.parse_workers) as pool:
        early = EarlyParsing(settings, pool, jobs)
        try:
            yield early
        finally:
            early.end()
        if early.has_unasked:
            pool.stop()


def parse_all(
    settings: Settings, jobs: Sequence[Job], early: EarlyParsing | None = None
) -> Iterator[Result]:
    """Results in the order of `jobs`, each as soon as it and those before it are there."""
    schedule = _parsing(settings)
    if early is None:
        pool = _pool(min(settings.parse_workers, len(jobs)))
        return _in_order(pool, jobs, schedule, UnparsedLog, len(jobs))
    early.end()

    def begun_or_new(pool: ProcessPool, job: Job) -> ProcessFuture[Result]:
        return early.take(job) or schedule(pool, job)

    return _in_order(nullcontext(early.pool), jobs, begun_or_new, UnparsedLog, len(jobs))


def _parsing(settings: Settings) -> Callable[[ProcessPool, Job], ProcessFuture[Result]]:
    def schedule(pool: ProcessPool, job: Job) -> ProcessFuture[Result]:
        budget = _budget(settings, job.size_bytes)
        return pool.schedule(
            parse_log,
            args=(job.path, job.rows, job.received_at, budget, job.lost),
            timeout=budget.cpu_s * _WALL_PER_CPU,
        )

    return schedule


def unwrap_all(settings: Settings, jobs: Sequence[UnwrapJob]) -> Iterator[Unwrapped]:
    """As `parse_all`; who stops early has only a few objects more unwrapped than were taken."""
    limits = UnwrapLimits(
        settings.max_unwrapped_bytes,
        settings.max_unwrapped_total_bytes,
        settings.max_unwrapped_ratio,
        settings.max_members,
    )

    def schedule(pool: ProcessPool, job: UnwrapJob) -> ProcessFuture[Unwrapped]:
        budget = _budget(settings, job.size_bytes)
        return pool.schedule(
            unwrap_within,
            args=(job.path, job.sha256, job.folder, limits, budget),
            timeout=budget.cpu_s * _WALL_PER_CPU,
        )

    def nothing(reason: str, detail: str) -> Unwrapped:
        why = reason.replace("parser", "unwrap"), detail.replace("parser", "unwrapping")
        return Unwrapped(None, (), (RefusedInner("", *why),))

    pool = _pool(min(settings.parse_workers, len(jobs)))
    return _in_order(pool, jobs, schedule, nothing, 2 * settings.parse_workers)


def _in_order(
    opening: AbstractContextManager[ProcessPool],
    jobs: Sequence[Any],
    schedule: Callable[[ProcessPool, Any], ProcessFuture[_Result]],
    give_up: Callable[[str, str], _Result],
    most_ahead: int,
) -> Iterator[_Result]:
    """`give_up` makes the result of a file that hung or killed its worker twice."""
    if not jobs:
        return
    with opening as pool:
        ahead: deque[tuple[Any, ProcessFuture[_Result] | None]] = deque()
        waiting = iter(jobs)
        while True:
            for job in waiting:
                ahead.append((job, _scheduled(pool, job, schedule)))
                if len(ahead) >= most_ahead:
                    break
            if not ahead:
                return
            job, future = ahead.popleft()
            result = None if future is None else _result(future, give_up)
            yield _alone(job, schedule, give_up) if result is None else result


def _scheduled(
    pool: ProcessPool,
    job: Any,
    schedule: Callable[[ProcessPool, Any], ProcessFuture[_Result]],
) -> ProcessFuture[_Result] | None:
    """None: the pool takes nothing any more, since a worker of it died while it had no file."""
    try:
        return schedule(pool, job)
    except RuntimeError:
        if pool.active:
            raise
        return None


def _alone(
    job: Any,
    schedule: Callable[[ProcessPool, Any], ProcessFuture[_Result]],
    give_up: Callable[[str, str], _Result],
) -> _Result:
    """Once more, with no neighbour that could be to blame."""
    with _pool(1) as pool:
        result = _result(schedule(pool, job), give_up)
    return result or give_up(
        "parser_failed", "the parser's process died twice on this file, the second time alone"
    )


def _result(
    future: ProcessFuture[_Result], give_up: Callable[[str, str], _Result]
) -> _Result | None:
    """None: the worker died."""
    try:
        result: _Result = future.result()
    except FutureTimeout:
        return give_up("parser_timeout", "the parser did not end in time")
    except (ProcessExpired, BrokenProcessPool):
        return None
    return result


def _budget(settings: Settings, size_bytes: int) -> Budget:
    return Budget(
        settings.parse_cpu_s + size_bytes // _BYTES_PER_CPU_S,
        settings.parse_memory_bytes + _MEMORY_PER_BYTE * size_bytes,
    )


def make_ready() -> None:
    """Start the server that workers are forked from, while there is other work to do.

    It imports what parsers need once, which costs half a second; a fork of it costs milliseconds,
    and has none of the threads, connections and modules of whoever asks.
    Raises TransientError when it cannot be started: full disk, no processes left.
    """
    _WORKERS.set_forkserver_preload([parse_worker.__name__, unwrap_worker.__name__])
    try:
        ensure_running()
    except OSError as error:
        # Its socket stands in the folder for temporary files, whose name the kernel limits.
        raise TransientError(
            f"cannot start the parsers' server in {gettempdir()}: {error}",
            hint="free space there, or set TMPDIR to a folder with a name of at most 70 bytes",
        ) from error


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPool]:
    """Who leaves early waits for nobody: what is under way is stopped."""
    make_ready()
    pool: Any = ProcessPool(workers, initializer=prepare_worker, context=_WORKERS)
    try:
        yield pool
        pool.close()
    except BaseException:
        pool.stop()
        raise
    finally:
        pool.join()


class _BarePopen(Popen):
    """Starts a worker without importing the parent's main module: that would be Dagster."""

    _main = Lock()

    def _launch(self, process_obj: Any) -> None:
        main = sys.modules["__main__"]
        with self._main:
            kept = {name: getattr(main, name, None) for name in ("__spec__", "__file__")}
            main.__spec__ = main.__file__ = None
            try:
                super()._launch(process_obj)  # type: ignore[misc]  # typeshed leaves it out
            finally:
                for name, value in kept.items():
                    setattr(main, name, value)


class _BareProcess(ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Popen:  # noqa: N802 - multiprocessing's own name
        return _BarePopen(process_obj)


class _BareForkServer(ForkServerContext):
    Process = _BareProcess


_WORKERS = _BareForkServer()
