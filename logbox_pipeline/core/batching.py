"""Decide which deliveries form which batch, and what a failed one becomes. No I/O."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from heapq import heappop, heappush
from uuid import UUID

FAILURES_BEFORE_SPLIT = 2
REQUESTS_BEFORE_SPLIT = 4
"""Attempts that end by requests to stores which answer others."""

MOST_APART = 128
"""Batches that such requests have set apart while nothing else gets through. With more of them it
is no single file's trouble, and smaller batches would help nobody."""

MOST_APART_AMONG_OTHERS = 1_000
"""While others get through. Each is a run of its own."""

GETS_THROUGH = timedelta(minutes=5)
"""A batch was loaded within that: the stores take what others bring."""

_BACKOFF_FIRST_S = 5
_BACKOFF_MOST_S = 300
_BACKOFF_APART_S = 1_800
"""A try at one file may hold a run for minutes, when its store hangs."""


@dataclass(frozen=True)
class Candidate:
    """A delivery that no batch has yet."""

    delivery_id: UUID
    client: str
    received_on: date
    size_bytes: int
    sensed_at: datetime


@dataclass(frozen=True)
class BatchLimits:
    files: int
    size_bytes: int
    wait_s: float


def form(
    candidates: Iterable[Candidate], limits: BatchLimits, *, is_idle: bool, now: datetime
) -> list[list[Candidate]]:
    """Batches of one day each, every client taking turns, each client's oldest first.

    The order is that of the turns too: what is left of one client's burst of yesterday stands
    behind another's only file of today. A batch that is not full is formed only when nothing runs
    or its oldest file has waited `limits.wait_s`; what is left over stays a candidate.
    """
    by_day: dict[date, list[Candidate]] = defaultdict(list)
    had: dict[UUID, float] = {}
    for candidate, had_before in _take_turns(candidates, limits):
        by_day[candidate.received_on].append(candidate)
        had[candidate.delivery_id] = had_before
    patience = timedelta(seconds=limits.wait_s)
    formed: list[list[Candidate]] = []
    for day in sorted(by_day):
        batches = list(_fill(by_day[day], limits))
        rest = batches[-1]
        is_full = len(rest) == limits.files
        has_waited = now - min(candidate.sensed_at for candidate in rest) >= patience
        formed += batches if is_full or is_idle or has_waited else batches[:-1]
    # Stable: of those whose turn is the same, the older day's goes first.
    return sorted(formed, key=lambda batch: min(had[one.delivery_id] for one in batch))


def _take_turns(
    candidates: Iterable[Candidate], limits: BatchLimits
) -> Iterator[tuple[Candidate, float]]:
    """(candidate, what its client has had before it). The turn is whoever's has had least, in
    batches' worth of files and bytes: neither many files nor large ones keep others waiting."""
    queues: dict[str, deque[Candidate]] = defaultdict(deque)
    for candidate in sorted(
        candidates, key=lambda one: (one.received_on, one.sensed_at, one.delivery_id)
    ):
        queues[candidate.client].append(candidate)
    turns = [(0.0, client) for client in sorted(queues)]
    while turns:
        had, client = heappop(turns)
        one = queues[client].popleft()
        yield one, had
        if queues[client]:
            worth = 1 / limits.files + one.size_bytes / limits.size_bytes
            heappush(turns, (had + worth, client))


def _fill(candidates: Iterable[Candidate], limits: BatchLimits) -> Iterator[list[Candidate]]:
    batch: list[Candidate] = []
    size_bytes = 0
    for candidate in candidates:
        is_over = size_bytes + candidate.size_bytes > limits.size_bytes
        if batch and (is_over or len(batch) == limits.files):
            yield batch
            batch, size_bytes = [], 0
        batch.append(candidate)
        size_bytes += candidate.size_bytes
    yield batch


class AfterFailure(StrEnum):
    """What becomes of a batch whose attempt ended badly."""

    AGAIN = "again"
    SPLIT = "split"
    GIVE_UP = "give_up"


def after_failure(*, files: int, failures: int) -> AfterFailure:
    """`failures` counts deaths and permanent errors, this one included."""
    if failures < FAILURES_BEFORE_SPLIT:
        return AfterFailure.AGAIN
    return AfterFailure.SPLIT if files > 1 else AfterFailure.GIVE_UP


def is_held_up(*, files: int, request_failures: int, apart: int, gets_through: bool) -> bool:
    """Whether one file may keep the others from being done: its store answers for them alone.

    apart: open batches that had as many failures, this one included. gets_through: whether a batch
    was loaded within GETS_THROUGH.
    """
    is_few = apart < most_apart(gets_through=gets_through)
    return files > 1 and request_failures >= REQUESTS_BEFORE_SPLIT and is_few


def most_apart(*, gets_through: bool) -> int:
    """How many batches that requests hold up may stand beside those that count."""
    return MOST_APART_AMONG_OTHERS if gets_through else MOST_APART


def halves(deliveries: Sequence[Candidate]) -> tuple[list[Candidate], list[Candidate]]:
    """Two parts of at least one delivery each; needs two or more."""
    middle = len(deliveries) // 2
    return list(deliveries[:middle]), list(deliveries[middle:])


def backoff(failures: int, *, is_apart: bool = False) -> timedelta:
    """How long to leave a batch alone after its nth transient failure: 5 s doubling to 300 s.

    is_apart: it is one file, after its nth failed request; doubling to half an hour.
    """
    most_s = _BACKOFF_APART_S if is_apart else _BACKOFF_MOST_S
    return timedelta(seconds=min(most_s, _BACKOFF_FIRST_S * 2 ** (failures - 1)))


class RunState(StrEnum):
    """What Dagster says of the run that was asked to do an attempt."""

    NONE = "none"
    QUEUED = "queued"
    STARTED = "started"
    ENDED = "ended"


@dataclass(frozen=True)
class RunSeen:
    """What Dagster says of a run; `since` is when it entered that state (UTC)."""

    state: RunState
    since: datetime | None = None


def is_dead(
    run: RunSeen, *, heartbeat_at: datetime | None, dead_after: timedelta, now: datetime
) -> bool:
    """Whether the current attempt of a batch will never finish.

    A queued run is never dead. A started one is when its last sign of life is too old; an ended
    one is at once, since it did not finish the batch. `heartbeat_at` is None before the claim.
    """
    if run.state is RunState.QUEUED:
        return False
    if run.state is RunState.ENDED:
        return True
    last_sign = heartbeat_at or run.since
    return last_sign is not None and now - last_sign > dead_after
