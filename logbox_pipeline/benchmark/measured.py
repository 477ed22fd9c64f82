"""What was measured: repetitions, the bar they are held against, what became worse. No measuring.

A ratio is taken in each repetition, between two works that took turns, so that a busy machine
slows both; its median is what counts, and its lowest and highest say how much to believe it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from logbox_pipeline.benchmark.bars import BARS

WORSE_BY = 1.2
"""Worse than the last saved figure by more than this is marked."""


class Better(StrEnum):
    """Which way a figure should go."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True)
class Measured:
    """One figure. values: one of each repetition, in `unit`; beside: what took turns with it;
    at, of: what it grows with, where there is such a thing (1,000 logs in the catalog); bar: what
    was promised of the median."""

    name: str
    what: str
    unit: str
    better: Better
    values: tuple[float, ...]
    beside: str = ""
    at: int | None = None
    of: str = ""
    bar: float | None = None

    @property
    def title(self) -> str:
        return self.what if self.at is None else f"{self.what}, {self.at:,} {self.of}"

    @property
    def key(self) -> str:
        """What the same figure of another run is found by."""
        return key_of(self.name, self.at)

    @property
    def value(self) -> float:
        return median(self.values)

    @property
    def lowest(self) -> float:
        return min(self.values)

    @property
    def highest(self) -> float:
        return max(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether the bar is met; None without one."""
        if self.bar is None:
            return None
        return self.value >= self.bar if self.better is Better.HIGHER else self.value <= self.bar


def higher(
    name: str,
    what: str,
    unit: str,
    values: Iterable[float],
    *,
    beside: str = "",
    at: int | None = None,
    of: str = "",
) -> Measured:
    """A figure of which more is better, such as a rate; its bar is the promised one."""
    return Measured(
        name, what, unit, Better.HIGHER, tuple(values), beside, at, of, BARS.get(key_of(name, at))
    )


def lower(
    name: str,
    what: str,
    unit: str,
    values: Iterable[float],
    *,
    beside: str = "",
    at: int | None = None,
    of: str = "",
) -> Measured:
    """A figure of which less is better, such as seconds or memory."""
    return Measured(
        name, what, unit, Better.LOWER, tuple(values), beside, at, of, BARS.get(key_of(name, at))
    )


def key_of(name: str, at: int | None) -> str:
    return name if at is None else f"{name}@{at}"


def times_worse(now: Measured, before: Measured) -> float:
    """How many times worse its median is than before; below 1: it is better."""
    if now.better is Better.LOWER:
        return _over(now.value, before.value)
    return _over(before.value, now.value)


def became_worse(now: Iterable[Measured], before: Mapping[str, Measured]) -> dict[str, float]:
    """By key, how many times worse: those alone that are worse by more than WORSE_BY."""
    found = {one.key: times_worse(one, before[one.key]) for one in now if one.key in before}
    return {key: times for key, times in found.items() if times > WORSE_BY}


def _over(one: float, other: float) -> float:
    if other > 0:
        return one / other
    return float("inf") if one > 0 else 1.0


def said(value: float) -> str:
    """A number as tables show it."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(one: Measured) -> str:
    """`2.6 (2.4-3.0)`; the number alone when it was measured once."""
    if len(one.values) == 1:
        return said(one.value)
    return f"{said(one.value)} ({said(one.lowest)}-{said(one.highest)})"


def promised(one: Measured) -> str:
    """`at least 5`, `at most 1.2`, or nothing."""
    if one.bar is None:
        return ""
    side = "least" if one.better is Better.HIGHER else "most"
    return f"at {side} {said(one.bar)}"
