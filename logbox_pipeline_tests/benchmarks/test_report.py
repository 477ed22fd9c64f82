import re

from logbox_pipeline.benchmark.measured import higher
from logbox_pipeline.benchmark.report import report
from logbox_pipeline.benchmark.results import before
from logbox_pipeline_tests.benchmarks.made import batch_s, idle_s, results, times_script

NOW = results(
    times_script(4, 6, 5.5), idle_s(12), *(batch_s(2 + n, 10 ** (n + 3)) for n in range(4)), day=3
)
EARLIER = [results(times_script(9), idle_s(11), day=1), results(times_script(8), day=2)]


def page(now: object = NOW) -> str:
    return report(now, EARLIER, before(EARLIER, now))  # type: ignore[arg-type]


def test_page_opens_without_network() -> None:
    text = page()
    assert "<svg" in text
    assert "<script" not in text
    # Namespaces of SVG are names, not addresses.
    addresses = set(re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(\w+:[^"')\s]+)""", text))
    assert {one for one in addresses if "www.w3.org" not in one} == set()


def test_page_tells_figures_bars_and_what_became_worse() -> None:
    text = page()
    for said in (
        "5.5 (4-6) times",
        "at least 5, met",
        "plain script",
        "8; now 1.45 times worse",
        "2 of 2",
    ):
        assert said in text


def test_page_draws_bars_growth_and_history() -> None:
    text = page()
    for caption in ("Times the bar", "Seconds per batch", "8 ULogs beside plain script"):
        assert caption in text


def test_quick_run_is_held_against_no_bar() -> None:
    text = page(results(times_script(1), day=3, is_quick=True))
    assert "a quick look" in text
    assert "at least 5" not in text


def test_part_that_failed_is_on_the_page_as_it_stands() -> None:
    text = page(results(error="it <b>broke</b>", day=3))
    assert "it &lt;b&gt;broke&lt;/b&gt;" in text


def test_page_of_a_figure_that_is_nothing_can_be_drawn() -> None:
    assert "<svg" in page(results(idle_s(0), higher("ulog_mb_per_s", "", "MB/s", [0]), day=3))
