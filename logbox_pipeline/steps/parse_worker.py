"""Parse one log inside a worker process, under limits. What is wrong with a log is an answer here.

Imported by a bare interpreter: keep Dagster and boto3 out, each would cost every worker seconds.
"""

import errno
import mmap
import os
import resource
import signal
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType

from logbox_pipeline.adapters.spool import Spool, Spooled
from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.formats.recognize import HEAD_BYTES, recognize
from logbox_pipeline.formats.stream import Limits

MACHINE_FAULTS = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE,
}  # fmt: skip
"""What an OSError says when scratch is full or broken: no file's fault."""


@dataclass(frozen=True)
class Budget:
    """What one file may use: CPU seconds, and bytes of memory beyond what the worker has."""

    cpu_s: int
    memory_bytes: int


@dataclass(frozen=True)
class ParsedLog:
    """Rows that stand in the spool."""

    format: str
    parser_version: int
    spooled: Spooled


@dataclass(frozen=True)
class UnparsedLog:
    """Authentic bytes that gave no rows, and why."""

    reason: str
    detail: str
    format: str | None = None
    parser_version: int | None = None


class _OutOfTime(BaseException):
    """Not an Exception, so that no parser can swallow it."""


def prepare_worker() -> None:
    """Once per worker process: leave interrupts to the parent, which ends us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def parse_log(
    path: Path, folder: Path, received_at: datetime, budget: Budget
) -> ParsedLog | UnparsedLog:
    """Recognize a log by its content and spool its rows into `folder`."""
    try:
        with _limited(budget):
            return _parse(path, folder, received_at)
    except _OutOfTime:
        return UnparsedLog(
            "parser_timeout", f"took more than {budget.cpu_s} s of CPU time (LOGBOX_PARSE_CPU_S)"
        )
    except MemoryError:
        return UnparsedLog(
            "parser_failed",
            f"needs more than {budget.memory_bytes // 2**20} MiB (LOGBOX_PARSE_MEMORY_BYTES)",
        )
    except LogboxError:
        raise
    except Exception as error:
        # A parser's bug costs its own file only; the machine's faults are not its bugs.
        if isinstance(error, OSError) and error.errno in MACHINE_FAULTS:
            raise
        return UnparsedLog("parser_failed", f"{type(error).__name__}: {error}"[:1_000])


def _parse(path: Path, folder: Path, received_at: datetime) -> ParsedLog | UnparsedLog:
    size = path.stat().st_size
    if size == 0:
        return UnparsedLog("unknown_format", "the log has no bytes")
    with path.open("rb") as file:
        # Never closed by hand: a parser's arrays may still look at it; the last of them closes it.
        source = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    known = recognize(source[:HEAD_BYTES], size)
    if known is None:
        start = bytes(source[:16]).hex(" ")
        return UnparsedLog("unknown_format", f"no parser knows these bytes: {start} ...")
    with Spool(folder) as spool:
        for item in known.parse(source, Limits(received_at=received_at)):
            spool.write(item)
        spooled = spool.close()
    if spooled.unreadable is not None:
        return UnparsedLog(
            spooled.unreadable.reason,
            spooled.unreadable.detail,
            known.name,
            known.parser_version,
        )
    return ParsedLog(known.name, known.parser_version, spooled)


class _limited:  # noqa: N801 - reads as a word: with limited(budget)
    """CPU time by signal, memory by the kernel; both end with the block."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._hard = resource.getrlimit(resource.RLIMIT_DATA)[1]

    def __enter__(self) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = int(used.ru_utime + used.ru_stime) + self._budget.cpu_s + 1
        signal.signal(signal.SIGXCPU, _out_of_time)
        # The hard limit stays: who lowers it may not raise it again for the next file.
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        mapped = pages * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_DATA, (mapped + self._budget.memory_bytes, self._hard))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (self._hard, self._hard))


def _out_of_time(_number: int, _frame: FrameType | None) -> None:
    raise _OutOfTime
