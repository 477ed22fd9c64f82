"""Growing logs: which log takes the place of which, when a drone uploads one as it grows. No I/O.

A log that begins with a whole other log of the same client and vehicle supersedes it: both stay
archived, only the longer has rows. Candidates are found by `Beginning`s, which are cheap and may
err; what proves one is that the digest of the longer's first bytes is the shorter's digest.
"""

import hashlib
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

HEAD_BYTES = 64
MARKS_AT = tuple(1024 * 16**step for step in range(6))
"""1 KiB to 1 GiB: logs that begin alike for long part by one of them."""

_MARK_BYTES = 256

_Log = TypeVar("_Log", bound=Hashable)


@dataclass(frozen=True)
class Beginning:
    """`head`: the first HEAD_BYTES. `marks`: 8-byte digests of the 256 bytes before each size of
    MARKS_AT the log reaches. A log that begins with another has its head and marks too."""

    head: bytes
    marks: tuple[int, ...]


def beginning(size_bytes: int, read: Callable[[int, int], bytes]) -> Beginning:
    """`read(start, length)` gives bytes of the log: at most seven small reads."""
    return Beginning(
        read(0, min(size_bytes, HEAD_BYTES)),
        tuple(
            int.from_bytes(
                hashlib.sha256(read(at - _MARK_BYTES, _MARK_BYTES)).digest()[:8],
                "big",
                signed=True,
            )
            for at in MARKS_AT
            if at <= size_bytes
        ),
    )


def outgrown(logs: Mapping[_Log, tuple[Hashable, int, Beginning]]) -> set[_Log]:
    """Those that begin like a longer log of the same owner. Logs are (owner, size in bytes,
    beginning); who shares a head of under HEAD_BYTES is not looked for."""
    longest: dict[tuple[Hashable, bytes, tuple[int, ...]], int] = {}
    for owner, size_bytes, begins in logs.values():
        for marks in range(len(begins.marks) + 1):
            key = owner, begins.head, begins.marks[:marks]
            longest[key] = max(size_bytes, longest.get(key, 0))
    return {
        log
        for log, (owner, size_bytes, begins) in logs.items()
        if longest[owner, begins.head, begins.marks] > size_bytes
    }


def prefix_digests(chunks: Iterable[bytes], sizes_bytes: Collection[int]) -> dict[int, str]:
    """SHA-256 of the first so many bytes, for each size that is reached, in one pass."""
    digest, seen = hashlib.sha256(), 0
    wanted = sorted(set(sizes_bytes))
    found: dict[int, str] = {}
    for chunk in chunks:
        view = memoryview(chunk)
        while wanted and seen + len(view) >= wanted[0]:
            part = view[: wanted[0] - seen]
            digest.update(part)
            seen += len(part)
            view = view[len(part) :]
            found[wanted.pop(0)] = digest.hexdigest()
        if not wanted:
            break
        digest.update(view)
        seen += len(view)
    return found


@dataclass(frozen=True)
class Pair:
    """Two logs of which the longer may begin with the whole shorter, and where they stand."""

    shorter_id: UUID
    shorter_sha256: str
    shorter_bytes: int
    shorter_state: str
    shorter_batch_id: UUID | None
    longer_id: UUID
    longer_bytes: int
    longer_state: str

    @property
    def ids(self) -> tuple[UUID, UUID]:
        return self.shorter_id, self.longer_id


@dataclass(frozen=True)
class Superseded:
    """A log that gives way. `batch_id`: who loaded its rows; None when it has none."""

    log_id: UUID
    by: UUID
    batch_id: UUID | None


def superseded(
    pairs: Iterable[Pair], proven: Collection[tuple[UUID, UUID]], loading: Collection[UUID]
) -> Mapping[UUID, Superseded]:
    """What gives way once the logs `loading` are loaded: each log to the longest that has rows."""
    found: dict[UUID, Superseded] = {}
    for pair in sorted(pairs, key=lambda one: (one.longer_bytes, one.longer_id)):
        if pair.ids in proven and (pair.longer_id in loading or pair.longer_state == "loaded"):
            rows_in = pair.shorter_batch_id if pair.shorter_state == "loaded" else None
            found[pair.shorter_id] = Superseded(pair.shorter_id, pair.longer_id, rows_in)
    return found
