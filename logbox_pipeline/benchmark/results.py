"""The results of one run as a file, and the files of earlier runs. No measuring here."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from logbox_pipeline.benchmark.machine import CHECKOUT, Machine
from logbox_pipeline.benchmark.measured import Measured
from logbox_pipeline.core.errors import UsageError

FOLDER = CHECKOUT / "logbox_pipeline_tests" / "benchmarks" / "results"


@dataclass(frozen=True)
class PartResults:
    """What one part gave in `seconds`. error: why it gave no more; None: it is whole."""

    part: str
    seconds: float
    measured: tuple[Measured, ...]
    error: str | None = None


@dataclass(frozen=True)
class Results:
    """One run of `logbox bench`. is_quick: few repetitions of little work, which no bar is for."""

    measured_at: datetime
    command: str
    commit: str
    machine: Machine
    versions: dict[str, str]
    is_quick: bool
    parts: tuple[PartResults, ...]

    @property
    def measured(self) -> Iterator[Measured]:
        for part in self.parts:
            yield from part.measured

    @property
    def missed(self) -> list[Measured]:
        """Figures below their bars; none of a quick run."""
        return [] if self.is_quick else [one for one in self.measured if one.is_met is False]

    @property
    def failed(self) -> list[PartResults]:
        return [part for part in self.parts if part.error is not None]


@dataclass(frozen=True)
class Newest:
    """The newest saved results of a part, and the run they are of."""

    results: Results
    part: PartResults


def to_json(results: Results) -> bytes:
    return msgspec.json.format(msgspec.json.encode(results, order="deterministic"), indent=1)


def save(results: Results, folder: Path = FOLDER) -> Path:
    """Write `<date>T<time>-<commit>.json`. Raises UsageError outside a checkout."""
    if not folder.parent.is_dir():
        raise UsageError(
            "results are kept in the source tree, and this is an installed package",
            hint="leave --save away, or run `make bench` in a clone",
        )
    folder.mkdir(exist_ok=True)
    path = folder / f"{results.measured_at:%Y%m%dT%H%M%S}-{results.commit}.json"
    path.write_bytes(to_json(results) + b"\n")
    return path


def saved(folder: Path = FOLDER) -> list[Results]:
    """All that were saved, the oldest first."""
    return sorted(
        (msgspec.json.decode(path.read_bytes(), type=Results) for path in folder.glob("*.json")),
        key=lambda one: one.measured_at,
    )


def before(earlier: Iterable[Results], now: Results) -> dict[str, Measured]:
    """By key, the last figures saved on the same kind of machine, by as long a run."""
    return {
        one.key: one
        for results in earlier
        if results.machine.kind == now.machine.kind
        and results.is_quick == now.is_quick
        and results.measured_at < now.measured_at
        for one in results.measured
    }


def newest(earlier: Iterable[Results]) -> dict[str, Newest]:
    """By part, the newest whole results of full size, wherever they were measured."""
    return {
        part.part: Newest(results, part)
        for results in earlier
        if not results.is_quick
        for part in results.parts
        if part.error is None
    }
