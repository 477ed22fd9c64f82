"""Parse many logs in a pool of spawned workers; a file that kills its worker costs only itself."""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.popen_spawn_posix import Popen
from pathlib import Path
from threading import Lock
from typing import Any

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from logbox_pipeline.settings import Settings
from logbox_pipeline.steps.parse_worker import (
    Budget,
    ParsedLog,
    UnparsedLog,
    parse_log,
    prepare_worker,
)

_BYTES_PER_CPU_S = 2 * 1024**2
"""A file may take a CPU second per 2 MiB, some thirty times what parsers need."""

_MEMORY_PER_BYTE = 4
_WALL_PER_CPU = 10
"""Wall-clock limit over CPU limit: for parsers that sleep or wait, on a busy machine."""


@dataclass(frozen=True)
class Job:
    """One log to parse: `path` is read, `folder` takes its rows."""

    path: Path
    folder: Path
    received_at: datetime
    size_bytes: int


def parse_all(settings: Settings, jobs: Sequence[Job]) -> Iterator[ParsedLog | UnparsedLog]:
    """Results in the order of `jobs`, each as soon as it and those before it are there."""
    if not jobs:
        return
    workers = min(settings.parse_workers, len(jobs))
    with _pool(workers) as pool:
        futures = [_schedule(pool, settings, job) for job in jobs]
        for job, future in zip(jobs, futures, strict=True):
            result = _result(future)
            yield _alone(settings, job) if result is None else result


def _alone(settings: Settings, job: Job) -> ParsedLog | UnparsedLog:
    """Once more, with no neighbour that could be to blame."""
    with _pool(1) as pool:
        result = _result(_schedule(pool, settings, job))
    return result or UnparsedLog(
        "parser_failed", "the parser's process died twice on this file, the second time alone"
    )


def _result(future: ProcessFuture[ParsedLog | UnparsedLog]) -> ParsedLog | UnparsedLog | None:
    """None: the worker died."""
    try:
        result: ParsedLog | UnparsedLog = future.result()
    except FutureTimeout:
        return UnparsedLog("parser_timeout", "the parser did not end in time")
    except ProcessExpired:
        return None
    return result


def _schedule(
    pool: ProcessPool, settings: Settings, job: Job
) -> ProcessFuture[ParsedLog | UnparsedLog]:
    budget = Budget(
        settings.parse_cpu_s + job.size_bytes // _BYTES_PER_CPU_S,
        settings.parse_memory_bytes + _MEMORY_PER_BYTE * job.size_bytes,
    )
    return pool.schedule(
        parse_log,
        args=(job.path, job.folder, job.received_at, budget),
        timeout=budget.cpu_s * _WALL_PER_CPU,
    )


def _pool(workers: int) -> ProcessPool:
    return ProcessPool(workers, initializer=prepare_worker, context=_BareSpawn())


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


class _BareProcess(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Popen:  # noqa: N802 - multiprocessing's own name
        return _BarePopen(process_obj)


class _BareSpawn(SpawnContext):
    Process = _BareProcess
