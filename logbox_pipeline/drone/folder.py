"""What stands in a folder that may be a log. Reads names and sizes, never bytes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Callable

try:
    import fcntl
except ImportError:  # Windows: no leases there, so size and time alone decide.
    fcntl = None  # type: ignore[assignment]

UNFINISHED = ("*.part", "*.partial", "*.tmp", "*.crdownload", "*.swp", "*~")
"""Names that programs give to files that they have not finished."""


@dataclass(frozen=True)
class Found:
    """A regular file: its path below the folder, with `/`, as bytes of the file system."""

    path: bytes
    size_bytes: int
    modified_ns: int


def scan(
    folder: Path,
    ignore: Sequence[str],
    skip: Path,
    on_trouble: Callable[[str], None],
) -> Iterator[Found]:
    """Every file below `folder`, one after the other, so that memory does not grow with them.

    Hidden ones, what `ignore` matches (a name, or a path below `folder`) and the folder `skip` are
    left out; links are not followed. A folder that cannot be read is told and passed over.
    """
    patterns = [*UNFINISHED, *ignore]
    root = os.fsencode(folder.absolute())
    skipped = os.fsencode(skip.absolute())
    pending = [b""]
    while pending:
        below = pending.pop()
        place = root + b"/" + below if below else root
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    name = os.fsdecode(entry.name)
                    path = below + b"/" + entry.name if below else entry.name
                    whole = os.fsdecode(path)
                    if name.startswith(".") or any(
                        fnmatchcase(name, pattern) or fnmatchcase(whole, pattern)
                        for pattern in patterns
                    ):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if entry.path != skipped:
                            pending.append(path)
                    elif entry.is_file(follow_symlinks=False):
                        try:
                            status = entry.stat(follow_symlinks=False)
                        except FileNotFoundError:
                            continue
                        yield Found(path, status.st_size, status.st_mtime_ns)
        except OSError as wrong:
            on_trouble(f"cannot look into {os.fsdecode(place)}: {wrong.strerror or wrong}")


def is_being_written(path: Path) -> bool:
    """Whether some process has the file open for writing; False where that cannot be told.

    Linux gives a read lease on a file of one's own only while nobody writes it: one system call,
    where searching /proc takes thousands. A writer that comes meanwhile is not held up, but makes
    the kernel send SIGIO, which ends a process that does not ignore it.
    """
    if fcntl is None or not hasattr(fcntl, "F_SETLEASE"):
        return False
    if signal.getsignal(signal.SIGIO) == signal.SIG_DFL:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
