"""Which deliveries travel together, and what a failed batch becomes."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logbox_pipeline.core.batching import (
    AfterFailure,
    BatchLimits,
    Candidate,
    RunSeen,
    RunState,
    after_failure,
    backoff,
    form,
    halves,
    is_dead,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
TODAY = NOW.date()
LIMITS = BatchLimits(files=500, size_bytes=1_000, wait_s=5)


def candidate(
    number: int, client: str = "acme", day: date = TODAY, size_bytes: int = 1, waited_s: float = 0
) -> Candidate:
    sensed_at = NOW - timedelta(seconds=waited_s)
    return Candidate(UUID(int=number), client, day, size_bytes, sensed_at)


def test_nothing_makes_no_batch() -> None:
    assert form([], LIMITS, is_idle=True, now=NOW) == []


def test_single_file_goes_at_once_when_nothing_runs() -> None:
    assert form([candidate(1)], LIMITS, is_idle=True, now=NOW) == [[candidate(1)]]


def test_part_full_batch_waits_while_others_run() -> None:
    assert form([candidate(1, waited_s=4.9)], LIMITS, is_idle=False, now=NOW) == []
    assert form([candidate(1, waited_s=5)], LIMITS, is_idle=False, now=NOW) != []


def test_full_batch_waits_for_nothing() -> None:
    many = [candidate(number) for number in range(1_200)]
    formed = form(many, LIMITS, is_idle=False, now=NOW)
    assert [len(batch) for batch in formed] == [500, 500]


def test_bytes_fill_a_batch_too() -> None:
    formed = form([candidate(n, size_bytes=400) for n in range(5)], LIMITS, is_idle=True, now=NOW)
    assert [len(batch) for batch in formed] == [2, 2, 1]


def test_file_larger_than_a_batch_travels_alone() -> None:
    huge = candidate(1, size_bytes=5_000)
    assert form([candidate(0), huge, candidate(2)], LIMITS, is_idle=True, now=NOW) == [
        [candidate(0)],
        [huge],
        [candidate(2)],
    ]


def test_batch_holds_one_day_and_the_oldest_day_goes_first() -> None:
    yesterday = TODAY - timedelta(days=1)
    formed = form([candidate(1), candidate(2, day=yesterday)], LIMITS, is_idle=True, now=NOW)
    assert [batch[0].received_on for batch in formed] == [yesterday, TODAY]


def test_burst_of_one_client_does_not_delay_another() -> None:
    burst = [candidate(number, "acme", waited_s=60) for number in range(1_000)]
    formed = form([*burst, candidate(5_000, "beta")], LIMITS, is_idle=True, now=NOW)
    assert "beta" in {one.client for one in formed[0][:2]}


def test_burst_of_yesterday_does_not_delay_another_clients_file_of_today() -> None:
    yesterday = TODAY - timedelta(days=1)
    burst = [candidate(number, "acme", yesterday, waited_s=60) for number in range(5_000)]
    formed = form([*burst, candidate(9_000, "beta")], LIMITS, is_idle=True, now=NOW)
    assert [one.client for one in formed[1]] == ["beta"]
    assert [batch[0].received_on for batch in formed[2:]] == [yesterday] * 9


def test_large_files_of_one_client_do_not_scatter_the_small_ones_of_another() -> None:
    large = [candidate(number, "acme", size_bytes=16_000) for number in range(20)]
    small = [candidate(100 + number, "beta", size_bytes=10) for number in range(100)]
    formed = form([*large, *small], LIMITS, is_idle=True, now=NOW)
    assert {one.client for one in formed[0]} == {"acme"}
    assert [one.client for one in formed[1]] == ["beta"] * 100


@given(
    st.lists(
        st.builds(
            Candidate,
            st.uuids(),
            st.sampled_from(["acme", "beta", "gamma"]),
            st.sampled_from([TODAY, TODAY - timedelta(days=1)]),
            st.integers(0, 1_500),
            st.just(NOW),
        ),
        unique_by=lambda one: one.delivery_id,
        max_size=60,
    )
)
def test_every_file_is_in_exactly_one_batch_and_no_batch_is_over_its_limits(
    waiting: list[Candidate],
) -> None:
    formed = form(waiting, BatchLimits(7, 1_000, 5), is_idle=True, now=NOW)
    together = [one for batch in formed for one in batch]
    assert sorted(together, key=lambda one: one.delivery_id) == sorted(
        waiting, key=lambda one: one.delivery_id
    )
    for batch in formed:
        assert len({one.received_on for one in batch}) == 1
        assert 1 <= len(batch) <= 7
        assert len(batch) == 1 or sum(one.size_bytes for one in batch) <= 1_000


def test_first_failure_is_forgiven_second_splits_a_single_file_is_given_up() -> None:
    assert after_failure(files=10, failures=1) is AfterFailure.AGAIN
    assert after_failure(files=10, failures=2) is AfterFailure.SPLIT
    assert after_failure(files=1, failures=1) is AfterFailure.AGAIN
    assert after_failure(files=1, failures=2) is AfterFailure.GIVE_UP


@pytest.mark.parametrize("files", [2, 3, 10])
def test_halves_lose_nothing_and_are_never_empty(files: int) -> None:
    whole = [candidate(number) for number in range(files)]
    first, second = halves(whole)
    assert first
    assert second
    assert first + second == whole


def test_backoff_doubles_up_to_five_minutes() -> None:
    assert [backoff(n).total_seconds() for n in (1, 2, 3, 7, 50)] == [5, 10, 20, 300, 300]


def test_a_file_whose_requests_hang_is_tried_every_half_hour() -> None:
    waits_s = [backoff(n, is_apart=True).total_seconds() for n in (4, 7, 9, 10, 5_000)]
    assert waits_s == [40, 320, 1280, 1800, 1800]


@pytest.mark.parametrize(
    ("run", "heartbeat_s", "dead"),
    [
        (RunSeen(RunState.QUEUED, NOW - timedelta(days=1)), None, False),
        (RunSeen(RunState.QUEUED), 3_600, False),
        (RunSeen(RunState.ENDED), 1, True),
        (RunSeen(RunState.ENDED), None, True),
        (RunSeen(RunState.STARTED, NOW - timedelta(seconds=61)), None, True),
        (RunSeen(RunState.STARTED, NOW - timedelta(seconds=59)), None, False),
        (RunSeen(RunState.STARTED, NOW - timedelta(hours=1)), 59, False),
        (RunSeen(RunState.STARTED, NOW - timedelta(hours=1)), 61, True),
        (RunSeen(RunState.NONE), None, False),
        (RunSeen(RunState.NONE), 61, True),
        (RunSeen(RunState.NONE), 59, False),
    ],
)
def test_run_is_dead_when_it_started_and_shows_no_life(
    run: RunSeen, heartbeat_s: float | None, dead: bool
) -> None:
    heartbeat_at = None if heartbeat_s is None else NOW - timedelta(seconds=heartbeat_s)
    found = is_dead(run, heartbeat_at=heartbeat_at, dead_after=timedelta(seconds=60), now=NOW)
    assert found is dead
