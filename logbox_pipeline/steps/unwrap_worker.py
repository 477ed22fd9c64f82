"""Unwrap one object inside a worker process: every log in it into a scratch file of its own.

Counts while it writes, so that a bomb is stopped and its file removed before a disk feels it.
What is wrong with an object is an answer here. Imported by a bare interpreter: nothing heavy.
"""

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from logbox_pipeline.adapters.mapped import kept_small, map_file
from logbox_pipeline.core.errors import LogboxError, TransientError
from logbox_pipeline.formats.wrappers import (
    Lost,
    Refusal,
    StreamItem,
    Wrapper,
    unwrapped,
    wrapper_of,
)
from logbox_pipeline.formats.zip_archive import Member, member_stream, zip_members
from logbox_pipeline.steps.budget import MACHINE_FAULTS, Budget, OutOfTime, limited

MAX_DEPTH = 2
"""Wrappers inside each other that are opened; a third is left as it is."""

ALWAYS_ALLOWED_BYTES = 256 * 1024**2
"""What any wrapper may hold whatever its ratio: a log of nothing but zeros is no bomb yet."""


@dataclass(frozen=True)
class UnwrapLimits:
    """log_bytes: largest single log. total_bytes: most bytes of one object in scratch at a time.
    ratio: most bytes out of one byte in, past ALWAYS_ALLOWED_BYTES. members: of one archive."""

    log_bytes: int
    total_bytes: int
    ratio: int
    members: int


@dataclass(frozen=True)
class InnerLog:
    """A log found in an object. `member` is its name in there, empty when there is none;
    `lost` are ranges of its wrapper's bytes."""

    member: str
    path: Path
    sha256: str
    size_bytes: int
    lost: tuple[Lost, ...] = ()


@dataclass(frozen=True)
class RefusedInner:
    """A member that was not read; `member` empty: the object itself."""

    member: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Unwrapped:
    """What an object holds. No logs: nothing in it could be read, `refused` says why."""

    wrapper: Wrapper | None
    logs: tuple[InnerLog, ...]
    refused: tuple[RefusedInner, ...]

    @property
    def size_bytes(self) -> int:
        return sum(log.size_bytes for log in self.logs)


def unwrap_object(
    path: Path,
    sha256: str,
    folder: Path,
    limits: UnwrapLimits,
    only: str | None = None,
) -> Unwrapped:
    """Open an object's wrappers down to MAX_DEPTH; the logs' files go into `folder`.

    `sha256` is the object's. `only`: the one member to write, for who wants a single log back.
    """
    folder.mkdir(parents=True)
    return _Unwrapping(folder, limits, path.stat().st_size, only).of(path, sha256)


def unwrap_within(
    path: Path, sha256: str, folder: Path, limits: UnwrapLimits, budget: Budget
) -> Unwrapped:
    """`unwrap_object` under limits of time and memory, for a worker process.

    Raises TransientError when scratch is full or gone.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with limited(budget):
            return unwrap_object(path, sha256, folder, limits)
    except OutOfTime:
        return _nothing(
            folder,
            "unwrap_timeout",
            f"took more than {budget.cpu_s} s of CPU time (LOGBOX_PARSE_CPU_S)",
        )
    except MemoryError:
        return _nothing(
            folder,
            "unwrap_failed",
            f"needs more than {budget.memory_bytes // 2**20} MiB (LOGBOX_PARSE_MEMORY_BYTES)",
        )
    except LogboxError:
        raise
    except Exception as error:
        # A bug of ours costs its own file only; the machine's faults are not its bugs.
        if isinstance(error, OSError) and error.errno in MACHINE_FAULTS:
            raise TransientError(
                f"cannot write scratch below {folder}: {error.strerror}",
                hint="free space in LOGBOX_WORK_DIR",
            ) from error
        return _nothing(folder, "unwrap_failed", f"{type(error).__name__}: {error}"[:1_000])


def _nothing(folder: Path, reason: str, detail: str) -> Unwrapped:
    shutil.rmtree(folder, ignore_errors=True)
    return Unwrapped(None, (), (RefusedInner("", reason, detail),))


@dataclass(frozen=True)
class _File:
    """A file that was written out of a wrapper."""

    path: Path
    sha256: str
    size_bytes: int
    lost: tuple[Lost, ...]


class _Unwrapping:
    """One object on its way through its wrappers."""

    def __init__(
        self, folder: Path, limits: UnwrapLimits, object_bytes: int, only: str | None
    ) -> None:
        self._folder = folder
        self._limits = limits
        self._object_bytes = object_bytes
        self._only = only
        self._held_bytes = 0
        self._numbers = count()
        self._logs: list[InnerLog] = []
        self._refused: list[RefusedInner] = []

    def of(self, path: Path, sha256: str) -> Unwrapped:
        with _mapped(path) as source:
            wrapper = wrapper_of(source)
            if wrapper is None:
                self._logs.append(InnerLog("", path, sha256, self._object_bytes))
            else:
                self._open(source, wrapper, "", (), depth=1)
        return Unwrapped(wrapper, tuple(self._logs), tuple(self._refused))

    def _open(
        self,
        source: memoryview,
        wrapper: Wrapper,
        member: str,
        lost: tuple[Lost, ...],
        *,
        depth: int,
    ) -> None:
        if wrapper is not Wrapper.ZIP:
            self._take(self._write(unwrapped(source, wrapper), len(source)), member, lost, depth)
            return
        found = zip_members(source, self._limits.members)
        if not found:
            self._refuse(member, Refusal("empty_archive", "an archive with no log in it"))
        for one in found:
            name = f"{member}/{one.name}" if member else one.name
            if self._only is not None and not f"{self._only}/".startswith(f"{name}/"):
                continue
            if isinstance(one, Member):
                # Its own checksum tells whether what was lost outside had to do with it.
                self._take(self._write_member(source, one), name, (), depth)
            else:
                self._refuse(name, Refusal(one.reason, one.detail))

    def _take(
        self, written: _File | Refusal, member: str, lost: tuple[Lost, ...], depth: int
    ) -> None:
        """Keep what came out of a wrapper as a log, or open it when it is a wrapper again."""
        if isinstance(written, Refusal):
            self._refuse(member, written)
            return
        lost = (*lost, *written.lost)
        with _mapped(written.path) as source:
            wrapper = wrapper_of(source)
            if wrapper is None and len(self._logs) >= self._limits.members:
                self._refuse(
                    member, Refusal("too_many", f"more than {len(self._logs)} logs in one")
                )
            elif wrapper is None:
                self._logs.append(
                    InnerLog(member, written.path, written.sha256, written.size_bytes, lost)
                )
                return
            elif depth == MAX_DEPTH:
                self._refuse(
                    member,
                    Refusal(
                        "too_deep", f"{wrapper} inside {MAX_DEPTH} other wrappers is not opened"
                    ),
                )
            elif len(self._refused) >= self._limits.members:
                # A small archive of archives could name a million members and hold no log.
                self._refuse(
                    member, Refusal("too_many", f"{len(self._refused)} in one cannot be read")
                )
            else:
                self._open(source, wrapper, member, lost, depth=depth + 1)
        written.path.unlink()
        self._held_bytes -= written.size_bytes

    def _refuse(self, member: str, refusal: Refusal) -> None:
        self._refused.append(RefusedInner(member, refusal.reason, refusal.detail))

    def _write_member(self, source: memoryview, one: Member) -> _File | Refusal:
        stored_bytes = one.stop - one.start
        refusal = self._exceeded(one.size_bytes or 0, stored_bytes)
        return refusal or self._write(member_stream(source, one), stored_bytes)

    def _write(self, items: Iterable[StreamItem], stored_bytes: int) -> _File | Refusal:
        """Write and hash a stream in one pass; a file that must not be is gone again."""
        path = self._folder / f"{next(self._numbers)}.log"
        digest = hashlib.sha256()
        size_bytes = 0
        lost: list[Lost] = []
        refusal: Refusal | None = None
        with path.open("wb") as file:
            for item in items:
                if isinstance(item, bytes):
                    size_bytes += len(item)
                    refusal = self._exceeded(size_bytes, stored_bytes)
                    if refusal is None:
                        digest.update(item)
                        file.write(item)
                elif isinstance(item, Lost):
                    lost.append(item)
                else:
                    refusal = item
                if refusal is not None:
                    break
        if refusal is None and size_bytes == 0 and lost:
            refusal = Refusal("broken_wrapper", f"nothing in it can be read: {lost[0].reason}")
        if refusal is not None:
            path.unlink()
            return refusal
        self._held_bytes += size_bytes
        return _File(path, digest.hexdigest(), size_bytes, tuple(lost))

    def _exceeded(self, size_bytes: int, stored_bytes: int) -> Refusal | None:
        """Why so many bytes out of so many are too many; None when they are not."""
        limits = self._limits
        for held_bytes, from_bytes in ((0, stored_bytes), (self._held_bytes, self._object_bytes)):
            allowed = max(ALWAYS_ALLOWED_BYTES, limits.ratio * from_bytes)
            if held_bytes + size_bytes > allowed:
                return Refusal(
                    "bomb",
                    f"{from_bytes} bytes unwrap to more than {allowed} "
                    "(LOGBOX_MAX_UNWRAPPED_RATIO)",
                )
        if size_bytes > limits.log_bytes:
            return Refusal(
                "too_large",
                f"more than {limits.log_bytes} bytes unwrapped (LOGBOX_MAX_UNWRAPPED_BYTES)",
            )
        if self._held_bytes + size_bytes > limits.total_bytes:
            return Refusal(
                "too_large",
                f"the object unwraps to more than {limits.total_bytes} bytes in all "
                "(LOGBOX_MAX_UNWRAPPED_TOTAL_BYTES)",
            )
        return None


@contextmanager
def _mapped(path: Path) -> Iterator[memoryview]:
    if path.stat().st_size == 0:
        yield memoryview(b"")
        return
    mapped = map_file(path)
    with kept_small(mapped):
        yield memoryview(mapped)
