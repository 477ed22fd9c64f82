from pathlib import Path

import pytest

from logbox_pipeline.benchmark.bars import BARS
from logbox_pipeline.benchmark.measured import (
    became_worse,
    higher,
    lower,
    promised,
    spread,
    times_worse,
)
from logbox_pipeline_tests.benchmarks.made import idle_s, times_script


def test_the_median_counts_and_its_spread_is_told() -> None:
    one = times_script(6, 4, 9, 5.5, 5)
    assert (one.value, one.lowest, one.highest) == (5.5, 4, 9)
    assert spread(one) == "5.5 (4-9)"
    assert spread(lower("x", "", "rows/s", [124_500.4])) == "124,500"


@pytest.mark.parametrize(
    ("one", "is_met"),
    [
        (times_script(5), True),
        (times_script(4.9, 4.9, 90), False),
        (idle_s(30), True),
        (idle_s(30.1), False),
        (higher("no_bar_is_for_this", "", "s", [1]), None),
    ],
)
def test_a_bar_is_held_against_the_median(one: object, is_met: bool | None) -> None:
    assert one.is_met is is_met  # type: ignore[attr-defined]


def test_what_a_bar_asks_is_said_as_its_figure_goes() -> None:
    assert promised(times_script(1)) == "at least 5"
    assert promised(idle_s(1)) == "at most 30"
    assert promised(lower("no_bar_is_for_this", "", "s", [1])) == ""


def test_a_bar_of_one_size_is_not_one_of_another() -> None:
    assert lower("tick_s", "", "s", [2], at=1_000_000).is_met is False
    assert lower("tick_s", "", "s", [2], at=1_000).is_met is None


def test_worse_is_slower_and_also_a_lower_rate() -> None:
    assert times_worse(idle_s(15), idle_s(10)) == 1.5
    assert times_worse(times_script(5), times_script(10)) == 2
    assert times_worse(times_script(20), times_script(10)) == 0.5
    assert times_worse(lower("x", "", "", [0]), lower("x", "", "", [0])) == 1
    assert times_worse(lower("x", "", "", [1]), lower("x", "", "", [0])) == float("inf")


def test_only_what_is_worse_by_a_fifth_and_more_is_marked() -> None:
    before = {one.key: one for one in (idle_s(10), times_script(10))}
    assert became_worse([idle_s(12), times_script(8.4)], before) == {}
    assert became_worse([idle_s(12.1), times_script(8)], before) == {
        "idle_s": 1.21,
        "ulog_times_script": 1.25,
    }
    assert became_worse([higher("new", "", "", [1])], before) == {}


def test_every_bar_is_of_a_figure_that_some_part_measures() -> None:
    source = "".join(
        path.read_text()
        for path in (Path(__file__).parents[2] / "logbox_pipeline" / "benchmark").glob("*.py")
        if path.name != "bars.py"
    )
    for key in BARS:
        name = key.partition("@")[0]
        is_there = f'"{name}"' in source or any(
            name.startswith(start) and f'f"{start}{{' in source
            for start in ("parsing_", "receipts_", "memory_", "waiting_")
        )
        assert is_there, f"{key} is measured nowhere"
