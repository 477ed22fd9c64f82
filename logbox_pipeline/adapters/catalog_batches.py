"""The catalog's record of batches: forming, claiming, fencing, failing, splitting."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from logbox_pipeline.core.batching import (
    GETS_THROUGH,
    REQUESTS_BEFORE_SPLIT,
    AfterFailure,
    Candidate,
    after_failure,
    backoff,
    halves,
    is_held_up,
)
from logbox_pipeline.core.digest import batch_id as derive_batch_id
from logbox_pipeline.core.errors import FenceLost


@dataclass(frozen=True)
class Claim:
    """The right of one run to work on one attempt of a batch."""

    batch_id: UUID
    attempt: int
    received_on: date
    run_id: str


@dataclass(frozen=True)
class OpenBatch:
    """A batch that is offered or running. Times are UTC."""

    batch_id: UUID
    attempt: int
    received_on: date
    state: str
    run_id: str | None
    created_at: datetime
    not_before: datetime | None
    heartbeat_at: datetime | None
    started_at: datetime | None
    request_failures: int
    files: int

    @property
    def run_key(self) -> str:
        return f"{self.batch_id}:{self.attempt}"

    @property
    def is_apart(self) -> bool:
        """Whether it is one file whose store did not give or take it: no other waits for it. What
        was just split off has to show that first."""
        return self.files <= 1 and self.request_failures > 0 and self.attempt > 1


def insert_batches(
    cursor: Any,
    formed: Sequence[Sequence[Candidate]],
    now: datetime,
    parent_batch_id: UUID | None = None,
) -> list[UUID]:
    """Make each group of deliveries a batch. Deliveries taken meanwhile by another are left out."""
    made = []
    for number, wanted in enumerate(formed):
        group = _still_free(cursor, wanted, parent_batch_id)
        if not group:
            continue
        # A microsecond apart, so that they are offered in the order of forming: it is the fair one.
        created_at = now + timedelta(microseconds=number)
        batch_id = derive_batch_id(group[0].delivery_id, created_at)
        cursor.execute(
            """
            insert into logbox.batches
                (batch_id, received_on, files, size_bytes, created_at, parent_batch_id)
            values (%s, %s, %s, %s, %s, %s)
            """,
            (
                str(batch_id),
                group[0].received_on,
                len(group),
                sum(one.size_bytes for one in group),
                created_at,
                str(parent_batch_id) if parent_batch_id else None,
            ),
        )
        cursor.execute(
            "update logbox.deliveries set batch_id = %s where delivery_id = any(%s::uuid[])",
            (str(batch_id), [str(one.delivery_id) for one in group]),
        )
        made.append(batch_id)
    return made


def _still_free(
    cursor: Any, wanted: Sequence[Candidate], parent_batch_id: UUID | None
) -> list[Candidate]:
    """Lock the deliveries that no other batch than the parent has got since they were read."""
    cursor.execute(
        """
        select delivery_id
        from logbox.deliveries
        where delivery_id = any(%s::uuid[]) and batch_id is not distinct from %s
        order by delivery_id
        for update
        """,
        (
            [str(one.delivery_id) for one in wanted],
            str(parent_batch_id) if parent_batch_id else None,
        ),
    )
    free = {UUID(delivery_id) for (delivery_id,) in cursor.fetchall()}
    return [one for one in wanted if one.delivery_id in free]


def open_batches(cursor: Any) -> list[OpenBatch]:
    """Batches that are open or running, oldest first."""
    return unfinished_of_days(cursor, date.min, date.max)


def unfinished_of_days(cursor: Any, since: date, until: date) -> list[OpenBatch]:
    """Those of them that were received on these days, both included."""
    # `files` is what it was formed of: some may wait for their sidecars, in no batch.
    cursor.execute(
        """
        select batch_id, attempt, received_on, state, run_id, created_at,
            not_before, heartbeat_at, started_at, request_failures,
            case
                when request_failures > 0
                then (select count(*) from logbox.deliveries d where d.batch_id = b.batch_id)
                else files
            end
        from logbox.batches b
        where received_on between %s and %s and state in ('open', 'running')
        order by created_at, batch_id
        """,
        (since, until),
    )
    return [OpenBatch(UUID(row[0]), *row[1:]) for row in cursor.fetchall()]


def claim(cursor: Any, batch_id: UUID, attempt: int, run_id: str, now: datetime) -> Claim:
    """Take an attempt for a run.

    Raises FenceLost when the batch is past that attempt or another run has it.
    """
    cursor.execute(
        """
        update logbox.batches
        set state = 'running', run_id = %s, started_at = %s, heartbeat_at = %s
        where batch_id = %s and attempt = %s and state = 'open'
        returning received_on
        """,
        (run_id, now, now, str(batch_id), attempt),
    )
    row = cursor.fetchone()
    if row is None:
        cursor.execute(
            "select state, attempt, run_id from logbox.batches where batch_id = %s",
            (str(batch_id),),
        )
        found = cursor.fetchone()
        state = "unknown" if found is None else f"{found[0]}, attempt {found[1]}, run {found[2]}"
        raise FenceLost(
            f"batch {batch_id} attempt {attempt} is not to be had: it is {state}",
            hint="nothing is lost; `logbox status` shows what is open",
        )
    return Claim(batch_id, attempt, row[0], run_id)


def renew(cursor: Any, batch_id: UUID, attempt: int) -> int:
    """Open the next attempt of a batch whose current one is over. Returns its number."""
    cursor.execute(
        """
        update logbox.batches
        set state = 'open', attempt = attempt + 1, run_id = null,
            started_at = null, heartbeat_at = null, not_before = null
        where batch_id = %s and attempt = %s and state in ('open', 'running', 'failed')
        returning attempt
        """,
        (str(batch_id), attempt),
    )
    row = cursor.fetchone()
    if row is None:
        raise FenceLost(f"batch {batch_id} is past attempt {attempt}")
    return int(row[0])


def heartbeat(cursor: Any, held: Claim, now: datetime) -> bool:
    """Say that the run lives; False when it has lost the batch."""
    cursor.execute(
        """
        update logbox.batches
        set heartbeat_at = %s
        where batch_id = %s and attempt = %s and state in ('running', 'loaded')
        """,
        (now, str(held.batch_id), held.attempt),
    )
    return bool(cursor.rowcount == 1)


def fence(cursor: Any, held: Claim, *states: str) -> None:
    """Lock the batch row until the transaction ends.

    Raises FenceLost unless the attempt is still this run's.
    """
    cursor.execute(
        "select attempt, run_id, state from logbox.batches where batch_id = %s for update",
        (str(held.batch_id),),
    )
    _require_held(cursor, held, states or ("running",))


def look(cursor: Any, held: Claim) -> None:
    """As `fence`, but locks nothing: what is true now may not be when it counts."""
    cursor.execute(
        "select attempt, run_id, state from logbox.batches where batch_id = %s",
        (str(held.batch_id),),
    )
    _require_held(cursor, held, ("running",))


def _require_held(cursor: Any, held: Claim, states: Sequence[str]) -> None:
    attempt, run_id, state = cursor.fetchone()
    if (attempt, run_id) != (held.attempt, held.run_id) or state not in states:
        raise FenceLost(
            f"batch {held.batch_id}: attempt {held.attempt} of run {held.run_id} was given up; "
            f"attempt {attempt} is {state}",
            hint="nothing to do: the newer attempt does the work",
        )


def is_free(cursor: Any, batch_id: UUID) -> bool:
    """Lock the batch row unless someone has: a run that is about to commit holds it, and lives."""
    cursor.execute(
        "select from logbox.batches where batch_id = %s for update skip locked", (str(batch_id),)
    )
    return cursor.fetchone() is not None


def back_off(
    cursor: Any,
    batch_id: UUID,
    attempt: int,
    error: str,
    now: datetime,
    *,
    by_request: bool = False,
) -> datetime:
    """End an attempt that the batch is not to blame for. Returns when the next may start.

    by_request: by one that a store failed while it answered others.
    """
    cursor.execute(
        """
        update logbox.batches
        set transient_failures = transient_failures + 1,
            request_failures = request_failures + %s::int,
            last_error = %s
        where batch_id = %s and attempt = %s
        returning transient_failures, request_failures
        """,
        (by_request, error[:4_000], str(batch_id), attempt),
    )
    row = cursor.fetchone()
    if row is None:
        raise FenceLost(f"batch {batch_id} is past attempt {attempt}")
    renew(cursor, batch_id, attempt)
    failures, of_requests = row
    is_apart = by_request and len(_deliveries(cursor, batch_id)) <= 1
    not_before = now + backoff(of_requests if is_apart else failures, is_apart=is_apart)
    cursor.execute(
        "update logbox.batches set not_before = %s where batch_id = %s", (not_before, str(batch_id))
    )
    return not_before


def split_held_up(cursor: Any, batch_id: UUID, now: datetime) -> None:
    """Halve an open batch that requests for some of its files hold up again and again. The halves
    keep its counts, so that they are halved at their next failure; the last file waits alone."""
    cursor.execute(
        """
        select count(*)
        from logbox.batches
        where state in ('open', 'running') and request_failures >= %s
        """,
        (REQUESTS_BEFORE_SPLIT,),
    )
    (apart,) = cursor.fetchone()
    deliveries = _deliveries(cursor, batch_id)
    failures = request_failures(cursor, batch_id)
    is_due = is_held_up(
        files=len(deliveries),
        request_failures=failures,
        apart=apart,
        gets_through=gets_through(cursor, now),
    )
    if not is_due:
        return
    made = insert_batches(cursor, halves(deliveries), now, parent_batch_id=batch_id)
    cursor.execute(
        """
        update logbox.batches half
        set transient_failures = whole.transient_failures,
            request_failures = whole.request_failures,
            last_error = whole.last_error
        from logbox.batches whole
        where whole.batch_id = %s and half.batch_id = any(%s::uuid[])
        """,
        (str(batch_id), [str(one) for one in made]),
    )
    _end(cursor, batch_id, "split", now)


def gets_through(cursor: Any, now: datetime) -> bool:
    """Whether a log was loaded, and its batch finished, within GETS_THROUGH."""
    return _was_finished(cursor, now, least_failures=0)


def gets_through_apart(cursor: Any, now: datetime) -> bool:
    """The same of one that requests held up before."""
    return _was_finished(cursor, now, least_failures=1)


def _was_finished(cursor: Any, now: datetime, *, least_failures: int) -> bool:
    cursor.execute(
        """
        select exists (
            select
            from logbox.batches b
            join logbox.logs l using (batch_id)
            where b.state = 'finished' and b.finished_at > %s and b.request_failures >= %s
                and l.state = 'loaded'
        )
        """,
        (now - GETS_THROUGH, least_failures),
    )
    return bool(cursor.fetchone()[0])


def is_held_up_alone(cursor: Any, batch_id: UUID) -> bool:
    """Whether it is a single file that goes on being tried, and its last attempts were all ended by
    requests: more than split a batch."""
    cursor.execute(
        """
        select state = 'open' and request_failures > %s and last_error like 'RequestFailed:%%'
            and (select count(*) from logbox.deliveries d where d.batch_id = b.batch_id) <= 1
        from logbox.batches b
        where batch_id = %s
        """,
        (REQUESTS_BEFORE_SPLIT, str(batch_id)),
    )
    row = cursor.fetchone()
    return row is not None and bool(row[0])


def request_failures(cursor: Any, batch_id: UUID) -> int:
    """How many of its attempts ended by requests to stores which answered others."""
    cursor.execute(
        "select request_failures from logbox.batches where batch_id = %s", (str(batch_id),)
    )
    return int(cursor.fetchone()[0])


def count_failure(
    cursor: Any, batch_id: UUID, attempt: int, error: str, now: datetime
) -> AfterFailure:
    """End an attempt by death or a permanent error, and do what follows from it."""
    cursor.execute(
        """
        select attempt, state, failures + 1
        from logbox.batches
        where batch_id = %s
        for update
        """,
        (str(batch_id),),
    )
    current, state, failures = cursor.fetchone()
    if current != attempt or state not in ("open", "running"):
        raise FenceLost(f"batch {batch_id} is past attempt {attempt}")
    cursor.execute(
        "update logbox.batches set failures = %s, last_error = %s where batch_id = %s",
        (failures, error[:4_000], str(batch_id)),
    )
    deliveries = _deliveries(cursor, batch_id)
    then = after_failure(files=len(deliveries), failures=failures)
    if then is AfterFailure.AGAIN:
        renew(cursor, batch_id, attempt)
        return then
    if then is AfterFailure.GIVE_UP and not _has_work(cursor, batch_id):
        # Nothing here can be poison: what is left is to write the manifests and clear landing.
        back_off(cursor, batch_id, attempt, error, now)
        return AfterFailure.AGAIN
    if then is AfterFailure.SPLIT:
        insert_batches(cursor, halves(deliveries), now, parent_batch_id=batch_id)
        _end(cursor, batch_id, "split", now)
    else:
        _fail_deliveries(cursor, [one.delivery_id for one in deliveries], error)
        _end(cursor, batch_id, "failed", now)
    return then


def _end(cursor: Any, batch_id: UUID, state: str, now: datetime) -> None:
    # No later attempt of this batch will come to clear away what it had planned.
    cursor.execute(
        """
        update logbox.lake_files
        set state = 'abandoned'
        where batch_id = %s and state = 'planned'
        """,
        (str(batch_id),),
    )
    cursor.execute(
        """
        update logbox.batches
        set state = %s, attempt = attempt + 1, finished_at = %s
        where batch_id = %s
        """,
        (state, now, str(batch_id)),
    )


def _deliveries(cursor: Any, batch_id: UUID) -> list[Candidate]:
    cursor.execute(
        """
        select delivery_id, client, received_on, size_bytes, sensed_at
        from logbox.deliveries
        where batch_id = %s
        order by delivery_id
        """,
        (str(batch_id),),
    )
    return [Candidate(UUID(row[0]), *row[1:]) for row in cursor.fetchall()]


def _has_work(cursor: Any, batch_id: UUID) -> bool:
    cursor.execute(
        """
        select exists (
            select from logbox.deliveries
            where batch_id = %s and state in ('received', 'verified', 'archived')
        )
        """,
        (str(batch_id),),
    )
    return bool(cursor.fetchone()[0])


def _fail_deliveries(cursor: Any, deliveries: Sequence[UUID], error: str) -> None:
    wanted = [str(one) for one in deliveries]
    cursor.execute(
        """
        update logbox.deliveries
        set state = 'failed', reason = 'batch_failed', detail = %s
        where delivery_id = any(%s::uuid[]) and state in ('received', 'verified', 'archived')
        """,
        (error[:4_000], wanted),
    )
    cursor.execute(
        """
        update logbox.logs
        set state = 'failed', reason = 'batch_failed', detail = %s
        where delivery_id = any(%s::uuid[]) and state = 'archived' and superseded_by is null
        """,
        (error[:4_000], wanted),
    )


def working_runs(cursor: Any, finished_after: datetime) -> set[str]:
    """Ids of the runs that hold a batch, or finished one so lately that they may still report."""
    cursor.execute(
        """
        select run_id
        from logbox.batches
        where run_id is not null and state in ('running', 'loaded')
        union
        select run_id
        from logbox.batches
        where run_id is not null and state = 'finished' and finished_at > %s
        """,
        (finished_after,),
    )
    return {run_id for (run_id,) in cursor.fetchall()}


def working_attempts(cursor: Any) -> set[tuple[str, int]]:
    cursor.execute(
        "select batch_id, attempt from logbox.batches where state in ('running', 'loaded')"
    )
    return {(str(batch_id), attempt) for batch_id, attempt in cursor.fetchall()}


def mark_loaded(cursor: Any, batch_id: UUID, now: datetime) -> None:
    """Part of the load transaction."""
    cursor.execute(
        "update logbox.batches set state = 'loaded', loaded_at = %s where batch_id = %s",
        (now, str(batch_id)),
    )


def mark_finished(cursor: Any, batch_id: UUID, now: datetime) -> None:
    cursor.execute(
        """
        update logbox.batches
        set state = 'finished', finished_at = %s
        where batch_id = %s and state = 'loaded'
        """,
        (now, str(batch_id)),
    )


def unsettled(cursor: Any, heartbeat_before: datetime) -> list[Claim]:
    """Batches whose rows are committed but whose run died before it wrote the outcome."""
    cursor.execute(
        """
        select batch_id, attempt, received_on, run_id
        from logbox.batches
        where state = 'loaded' and heartbeat_at < %s
        order by loaded_at
        """,
        (heartbeat_before,),
    )
    return [Claim(UUID(row[0]), *row[1:]) for row in cursor.fetchall()]


def pause(cursor: Any, by: str, now: datetime) -> None:
    cursor.execute(
        """
        update logbox.pipeline_state
        set paused_at = coalesce(paused_at, %s), paused_by = coalesce(paused_by, %s)
        """,
        (now, by),
    )


def resume(cursor: Any) -> None:
    cursor.execute("update logbox.pipeline_state set paused_at = null, paused_by = null")


def paused(cursor: Any) -> tuple[datetime | None, str | None, datetime | None]:
    """(paused_at, paused_by, last_tick_at)."""
    cursor.execute("select paused_at, paused_by, last_tick_at from logbox.pipeline_state")
    row: tuple[datetime | None, str | None, datetime | None] = cursor.fetchone()
    return row


def tick(cursor: Any, now: datetime) -> None:
    cursor.execute("update logbox.pipeline_state set last_tick_at = %s", (now,))
