"""A child that dies again and again is let rest longer each time, and never given up."""

from logbox_pipeline.local.patience import FIRST_S, MOST_S, STEADY_S, Patience


def rests(ran_s: float, times: int) -> list[float]:
    """Seconds from each death to the next start, of a child that runs for `ran_s` each time."""
    patience, now, found = Patience(), 1_000.0, []
    for _ in range(times):
        started_at, now = now, now + ran_s
        died_at = now
        while not patience.is_over(started_at=started_at, now=now):
            now += 0.5
        found.append(now - died_at)
    return found


def test_the_first_death_is_mended_at_once_and_each_next_one_later() -> None:
    assert rests(0.1, 8) == [0, FIRST_S, 2, 4, 8, 16, MOST_S, MOST_S]


def test_what_has_run_steadily_is_started_again_at_once() -> None:
    assert rests(STEADY_S, 5) == [0] * 5
