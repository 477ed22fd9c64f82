from pathlib import Path

import msgspec
import pytest

from logbox_pipeline.benchmark import results as kept
from logbox_pipeline.benchmark.results import Results, before, newest, save, saved
from logbox_pipeline.core.errors import UsageError
from logbox_pipeline_tests.benchmarks.made import (
    ELSEWHERE,
    batch_s,
    idle_s,
    results,
    times_script,
)


def test_what_is_saved_is_read_as_it_was(tmp_path: Path) -> None:
    one = results(times_script(6, 5.25), batch_s(2.5, 1_000), day=2)
    path = save(one, tmp_path / "results")
    assert path.name == "20261102T123000-abc0002.json"
    assert saved(tmp_path / "results") == [one]


def test_saved_runs_come_the_oldest_first(tmp_path: Path) -> None:
    runs = [results(idle_s(day), day=day) for day in (3, 1, 2)]
    for one in runs:
        save(one, tmp_path / "results")
    assert [one.measured_at.day for one in saved(tmp_path / "results")] == [1, 2, 3]


def test_a_run_is_compared_with_the_last_on_the_same_kind_of_machine() -> None:
    now = results(idle_s(9), day=9)
    earlier = [
        results(idle_s(1), times_script(1), day=1),
        results(idle_s(2), day=2),
        results(idle_s(3), day=3, machine=ELSEWHERE),
        results(idle_s(4), day=4, is_quick=True),
    ]
    last = before([*earlier, now], now)
    assert {key: one.value for key, one in last.items()} == {"idle_s": 2, "ulog_times_script": 1}


def test_the_newest_of_each_part_is_whole_and_of_full_size() -> None:
    whole = results(idle_s(1), day=1, part="idle")
    other = results(times_script(1), day=2, part="ulog")
    found = newest(
        [
            whole,
            other,
            results(day=3, part="idle", error="it broke"),
            results(idle_s(2), day=4, part="idle", is_quick=True),
        ]
    )
    assert {name: one.results for name, one in found.items()} == {"idle": whole, "ulog": other}


def test_bars_are_missed_by_runs_of_full_size_alone() -> None:
    assert [one.key for one in results(times_script(1), idle_s(1)).missed] == ["ulog_times_script"]
    assert results(times_script(1), is_quick=True).missed == []


def test_a_part_that_failed_is_told_of() -> None:
    assert [one.error for one in results(error="it broke").failed] == ["it broke"]


def test_nothing_is_kept_where_there_is_no_source_tree(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="source tree"):
        save(results(), tmp_path / "not there" / "results")


def test_results_in_the_tree_can_be_read() -> None:
    for path in kept.FOLDER.glob("*.json"):
        one = msgspec.json.decode(path.read_bytes(), type=Results)
        assert path.stem == f"{one.measured_at:%Y%m%dT%H%M%S}-{one.commit}"
        assert one.parts
