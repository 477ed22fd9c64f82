from pathlib import Path

from logbox_pipeline.benchmark.readme import BEGIN, END, NOTHING, markdown, put_into
from logbox_pipeline.benchmark.results import newest, saved
from logbox_pipeline_tests.benchmarks.made import batch_s, idle_s, results, times_script

README = Path(__file__).parents[2] / "README.md"


def test_readme_shows_the_newest_saved_results() -> None:
    """When it does not: python -m logbox_pipeline_tests.benchmarks.write_readme"""
    text = README.read_text()
    assert put_into(text, markdown(newest(saved()))) == text


def test_a_missed_bar_is_said() -> None:
    text = markdown(newest([results(times_script(2, 3, 4), idle_s(12))]))
    assert "| ulog | 8 ULogs | **3 (2-4)** times | plain script | at least 5, **missed** |" in text
    assert "|  | one log while idle | **12** s |  | at most 30 |" in text


def test_what_grows_stands_in_one_row() -> None:
    text = markdown(newest([results(batch_s(2, 1_000), batch_s(2.5, 1_000_000), part="growth")]))
    assert "| growth | one batch; 1,000 / 1,000,000 logs in the catalog | **2 / 2.5** s |" in text


def test_the_command_and_the_machine_stand_above_the_table() -> None:
    text = markdown(newest([results(idle_s(12))]))
    assert text.startswith(
        "`logbox bench`, 2026-11-01 12:30 UTC, 1 minutes: commit abc0001; A proc"
    )


def test_parts_of_several_runs_name_theirs() -> None:
    text = markdown(
        newest([results(idle_s(1), part="idle"), results(times_script(6), part="ulog", day=2)])
    )
    first, second, *_ = text.splitlines()
    assert "(ulog), 2026-11-02" in first
    assert "(idle), 2026-11-01" in second


def test_without_results_it_says_so() -> None:
    assert markdown({}) == NOTHING


def test_what_stands_around_the_table_stays() -> None:
    assert put_into(f"a\n{BEGIN}\nold\n{END}\nb\n", "new") == f"a\n{BEGIN}\nnew\n{END}\nb\n"
