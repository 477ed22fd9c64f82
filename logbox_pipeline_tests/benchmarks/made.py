"""Results as a run would leave them, for tests. No test here."""

from datetime import UTC, datetime

from logbox_pipeline.benchmark.machine import Machine
from logbox_pipeline.benchmark.measured import Measured, higher, lower
from logbox_pipeline.benchmark.results import PartResults, Results

HERE = Machine("A processor", "x86_64", 2, 24 * 2**30, "Linux 6.1", 0.3)
ELSEWHERE = Machine("Another", "aarch64", 8, 64 * 2**30, "Linux 6.1", 0.3)


def results(
    *measured: Measured,
    day: int = 1,
    machine: Machine = HERE,
    is_quick: bool = False,
    part: str = "ulog",
    error: str | None = None,
) -> Results:
    """A run of one part on that day of November."""
    return Results(
        datetime(2026, 11, day, 12, 30, tzinfo=UTC),
        "logbox bench",
        f"abc000{day}",
        machine,
        {"Python": "3.11.7"},
        is_quick,
        (PartResults(part, 61.0, measured, error),),
    )


def times_script(*ratios: float) -> Measured:
    """Has a bar: at least 5."""
    return higher("ulog_times_script", "8 ULogs", "times", ratios, beside="plain script")


def idle_s(*seconds: float) -> Measured:
    """Has a bar: at most 30."""
    return lower("idle_s", "one log while idle", "s", seconds)


def batch_s(seconds: float, logs: int) -> Measured:
    return lower("batch_s", "one batch", "s", [seconds], at=logs, of="logs in the catalog")
