"""The words of a mapping: which field of which topic feeds which column of a track. Pure.

The mappings themselves are in `ulog_track`, `dataflash_track`, `mavlink_track` and
`dji_app_track`; README's tables are made of them. What happens to the values is in `track`.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logbox_pipeline.formats.stream import About

Values = NDArray[Any]
"""float64 with NaN for unknown, or objects (text) with None."""


@dataclass(frozen=True)
class Need:
    """A row counts only where `field` is from least to most and not `unlike`; and always where the
    log has no such field (firmware before it)."""

    field: str
    least: float = -np.inf
    most: float = np.inf
    unlike: float | None = None

    @property
    def text(self) -> str:
        parts = [self.field]
        parts += [f"from {self.least:.10g}"] if self.least > -np.inf else []
        parts += [f"to {self.most:.10g}"] if self.most < np.inf else []
        parts += [f"not {self.unlike:g}"] if self.unlike is not None else []
        return " ".join(parts)


@dataclass(frozen=True)
class Mapped:
    """One source of one column.

    field: one name, or several with ", " between, as the source spells them. scale: value = field
    x scale; None where `meaning` says in words what `value` computes (arguments in the order of the
    fields). source: URL of the definition. unknown: values of the field that mean "not known".
    holds_s: how long a value holds, instead of the column's own. tells_before: speaks only of
    changes, so its first word says that the opposite was so before. must_show: counts only in a log
    where it has this value at least once.
    """

    column: str
    topic: str
    field: str
    scale: float | None
    source: str
    meaning: str = ""
    value: Callable[..., Values] | None = None
    needs: tuple[Need, ...] = ()
    unknown: tuple[float, ...] = ()
    holds_s: int | None = None
    tells_before: bool = False
    must_show: float | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(self.field.split(", "))

    @property
    def how(self) -> str:
        """For a table that people read: `x 0.01; fix_type from 3; 65535 is unknown`."""
        parts = []
        if self.scale is not None and self.scale != 1:
            parts.append(f"x {self.scale:.7g}")
        parts += [self.meaning] if self.meaning else []
        parts += [need.text for need in self.needs]
        parts += [f"{unknown:g} is unknown" for unknown in self.unknown]
        return "; ".join(parts) or "as it is"


@dataclass(frozen=True)
class Vehicle:
    """What flew. autopilot and airframe as in `core.flights.LogTrack`; kind: what the numbers of
    modes depend on (ArduPilot's vehicle); flies: False for what stays on the ground or in water."""

    autopilot: str | None = None
    airframe: str | None = None
    kind: str | None = None
    flies: bool = True


class Topics(Protocol):
    """A log's rows, wherever they are."""

    def instances(self, topic: str) -> tuple[int, ...]:
        """Ascending; empty when the log has no such topic."""

    def read(self, topic: str, instance: int, fields: Collection[str]) -> Iterator[pa.RecordBatch]:
        """Columns `t_boot_us`, `ts`, then those of `fields` that are there, by source name."""


@dataclass(frozen=True)
class TrackFormat:
    """How one log format becomes a track.

    clock: `t_boot_us` or `ts`, whichever every row has. vehicle: from what the log says of itself
    and the commonest value of each hidden column. mode_name: of the mapped mode value. instances:
    the only ones to read of each topic; None for all.
    """

    format: str
    mapping: tuple[Mapped, ...]
    clock: str
    vehicle: Callable[[About | None, Mapping[str, Any]], Vehicle]
    mode_name: Callable[[Vehicle, Any], str | None]
    instances: Callable[[Topics], frozenset[int] | None] = lambda topics: None


# What mappings compute


def position(
    topic: str, lat: str, lon: str, scale: float, source: str, needs: tuple[Need, ...] = ()
) -> tuple[Mapped, Mapped]:
    """A fix: both or none, in the range of the globe, and not at 0, 0 (no fix yet)."""
    both = (
        Need(lat, -90 / scale, 90 / scale, unlike=0),
        Need(lon, -180 / scale, 180 / scale, unlike=0),
        *needs,
    )
    return (
        Mapped("lat_deg", topic, lat, scale, source, needs=both),
        Mapped("lon_deg", topic, lon, scale, source, needs=both),
    )


def length(x: Values, y: Values) -> Values:
    return np.hypot(as_numbers(x), as_numbers(y))


def equals(number: float) -> Callable[[Values], Values]:
    """1 for this number, 0 for any other, NaN for none."""
    return lambda values: _where_known(values, as_numbers(values) == number)


def has_bit(bit: int) -> Callable[[Values], Values]:
    return lambda values: _where_known(values, _integers(values) & bit != 0)


def told(answers: Mapping[int, int]) -> Callable[[Values], Values]:
    """1 or 0 for the numbers that say something, NaN for all others."""

    def tell(values: Values) -> Values:
        numbers = as_numbers(values)
        said = np.full(len(numbers), np.nan)
        for number, answer in answers.items():
            said[numbers == number] = answer
        return said

    return tell


def _where_known(values: Values, answers: Values) -> Values:
    return np.where(np.isfinite(as_numbers(values)), answers, np.nan)


def _integers(values: Values) -> NDArray[np.int64]:
    return np.nan_to_num(as_numbers(values), posinf=0, neginf=0).astype(np.int64)


def as_numbers(values: Values) -> NDArray[np.float64]:
    """Numbers, also where a log writes them as text; NaN for any other text."""
    if values.dtype != object:
        return values
    return np.array([_number(value) for value in values], float)


def _number(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return np.nan


def named(name: str | None, code: Any) -> str:
    """`CUSTOM_42` for a mode that nobody has named, text as it is."""
    if name is not None:
        return name
    return code if isinstance(code, str) else f"CUSTOM_{int(code)}"
