"""Results as rows of a table, for the terminal and the page; where they were measured, in words."""

from collections.abc import Mapping

from logbox_pipeline.benchmark.measured import (
    Measured,
    became_worse,
    promised,
    said,
    spread,
)
from logbox_pipeline.benchmark.results import PartResults, Results

COLUMNS = ("work", "measured", "beside", "bar", "last_saved")


def rows_of(
    part: PartResults, last: Mapping[str, Measured], *, is_quick: bool
) -> list[dict[str, str]]:
    """A row per figure; last: saved figures by key. A quick run is held against no bar."""
    worse = became_worse(part.measured, last)
    return [
        {
            "work": one.title,
            "measured": f"{spread(one)} {one.unit}".rstrip(),
            "beside": one.beside,
            "bar": "" if is_quick else _bar(one),
            "last_saved": _last(last.get(one.key), worse.get(one.key)),
        }
        for one in part.measured
    ]


def where(results: Results) -> str:
    """Commit, machine and versions in one line."""
    machine = results.machine
    about = f"{machine.kind}, {machine.architecture}, {machine.kernel}"
    versions = ", ".join(f"{name} {number}" for name, number in sorted(results.versions.items()))
    return f"commit {results.commit}; {about}, load {machine.load_1m:g} at the start; {versions}"


def _bar(one: Measured) -> str:
    verdict = {None: "", True: ", met", False: ", missed"}[one.is_met]
    return f"{promised(one)}{verdict}"


def _last(last: Measured | None, times_worse: float | None) -> str:
    if last is None:
        return ""
    return said(last.value) + (f"; now {times_worse:.2f} times worse" if times_worse else "")
