"""Files mapped into memory that do not count as ours: pages that were read are let go again.

The kernel keeps them in its cache and gives them back at once when they are looked at again, so
a process that reads a large file stays small and no slower. Imported by bare interpreters.
"""

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HELD_BYTES = 64 * 1024**2
"""Most that is read before it is let go."""

_LOOK_S = 0.01


def map_file(path: Path) -> mmap.mmap:
    """The whole file, to read; mapped as long as something looks at it. Raises OSError, and
    ValueError for an empty file."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def let_go(mapped: mmap.mmap) -> None:
    """Whatever looks at the pages still may: they come back."""
    mapped.madvise(mmap.MADV_DONTNEED)


@contextmanager
def kept_small(mapped: mmap.mmap) -> Iterator[None]:
    """Let go of what this block reads, however it reads: a parser walks a log more than once."""
    if len(mapped) <= HELD_BYTES:
        yield
        return
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            let_go(mapped)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        let_go(mapped)
