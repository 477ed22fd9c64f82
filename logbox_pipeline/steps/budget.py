"""What one file may use of a worker process: CPU time and memory, kept by the kernel.

Imported by bare interpreters, so nothing heavy: no pyarrow, no boto3, no Dagster.
"""

import ctypes
import errno
import os
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

_STATM = Path("/proc/self/statm")
_PR_SET_PDEATHSIG = 1
"""<linux/prctl.h>"""

MACHINE_FAULTS = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE,
}  # fmt: skip
"""What an OSError says when scratch is full or broken: no file's fault."""


@dataclass(frozen=True)
class Budget:
    """What one file may use: CPU seconds, and bytes of memory beyond what the worker has."""

    cpu_s: int
    memory_bytes: int


class OutOfTime(BaseException):
    """Not an Exception, so that no parser can swallow it."""


def prepare_worker() -> None:
    """Once per worker process: leave interrupts to the parent, and end when it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class limited:  # noqa: N801 - reads as a word: with limited(budget)
    """CPU time by signal (OutOfTime), memory by the kernel (MemoryError); both end with the
    block."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._hard = resource.getrlimit(resource.RLIMIT_DATA)[1]

    def __enter__(self) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = int(used.ru_utime + used.ru_stime) + self._budget.cpu_s + 1
        signal.signal(signal.SIGXCPU, _out_of_time)
        # The hard limit stays: who lowers it may not raise it again for the next file.
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        with _STATM.open("rb", buffering=0) as file:
            pages = int(file.read().split()[5])
        mapped = pages * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_DATA, (mapped + self._budget.memory_bytes, self._hard))

    def __exit__(self, *_: object) -> None:
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))
        resource.setrlimit(resource.RLIMIT_DATA, (self._hard, self._hard))


def _out_of_time(_number: int, _frame: FrameType | None) -> None:
    raise OutOfTime
