"""Least, largest and mean value of each field of a topic, while its rows go by. No I/O.

Exact but for the mean. NaN and infinities are counted apart, so that one of them hides nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_MATRIX_VALUES = 32_768
"""Up to here a batch is measured as one matrix: a numpy call costs more than its few values."""

_EXACT = 2**53
_NUMBERS = frozenset(
    (pa.int16().id, pa.int32().id, pa.int64().id, pa.float32().id, pa.float64().id)
)
_FLOATS = frozenset((pa.float32().id, pa.float64().id))

Number = int | float


@dataclass(frozen=True)
class FieldStatistics:
    """One entry per column of the topic, in its order.

    nulls: rows without a value. not_finite: NaN and infinities, which lows, highs and means leave
    out. lows, highs, means: None where no finite number is, and for what is no number (text,
    lists, booleans, times, and integers beyond bigint).
    """

    nulls: tuple[int, ...]
    not_finite: tuple[int, ...]
    lows: tuple[Number | None, ...]
    highs: tuple[Number | None, ...]
    means: tuple[float | None, ...]

    def of(self, place: int) -> dict[str, Number | None]:
        """`min`, `max`, `mean` (numbers only), `nulls`, and `not_finite` where there are any."""
        said: dict[str, Number | None] = {}
        if self.lows[place] is not None:
            said["min"] = self.lows[place]
            said["max"] = self.highs[place]
            said["mean"] = self.means[place]
        said["nulls"] = self.nulls[place]
        if self.not_finite[place]:
            said["not_finite"] = self.not_finite[place]
        return said


@dataclass
class FieldMeter:
    """Adds up one instance of a topic, batch by batch."""

    _rows: int = 0
    _seen: dict[int, "_Field"] = field(default_factory=dict)

    def add(self, layout: Sequence[int], arrays: Sequence[pa.Array], rows: int) -> None:
        """`arrays` in storage types (`core.tables`); `layout`: the topic's column of each."""
        self._rows += rows
        numbers: list[tuple[_Field, bool, NDArray[np.generic]]] = []
        for place, array in zip(layout, arrays, strict=True):
            seen = self._seen.get(place)
            if seen is None:
                seen = self._seen[place] = _Field()
            nulls = array.null_count
            seen.valid += rows - nulls
            kind = array.type.id
            if kind in _NUMBERS and nulls < rows:
                plain = array.drop_null() if nulls else array
                numbers.append((seen, kind in _FLOATS, plain.to_numpy()))
        # An infinity less another is NaN, and said so by numpy on stderr.
        with np.errstate(all="ignore"):
            if rows * len(numbers) <= _MATRIX_VALUES:
                _measure_together(numbers, rows)
            else:
                for seen, is_float, values in numbers:
                    seen.measure(values, is_float)

    def statistics(self, columns: int) -> FieldStatistics:
        """What was seen of a topic that has `columns` columns by now."""
        nothing = _Field()
        seen = [self._seen.get(place, nothing) for place in range(columns)]
        return FieldStatistics(
            tuple(self._rows - one.valid for one in seen),
            tuple(one.not_finite for one in seen),
            tuple(one.low for one in seen),
            tuple(one.high for one in seen),
            tuple(one.mean for one in seen),
        )


@dataclass(slots=True)
class _Field:
    valid: int = 0
    not_finite: int = 0
    low: Number | None = None
    high: Number | None = None
    total: float = 0.0

    @property
    def mean(self) -> float | None:
        finite = self.valid - self.not_finite
        # The sum of finite numbers may be infinite, which is no JSON.
        return self.total / finite if self.low is not None and math.isfinite(self.total) else None

    def measure(self, values: NDArray[np.generic], is_float: bool) -> None:
        """`values` without nulls, at least one."""
        total = float(values.sum(dtype=np.float64))
        if is_float and not math.isfinite(total):
            finite = values[np.isfinite(values)]
            self.not_finite += len(values) - len(finite)
            if len(finite) == 0:
                return
            values = finite
            total = float(values.sum(dtype=np.float64))
        self.take(values.min().item(), values.max().item(), total)

    def take(self, low: Number, high: Number, total: float) -> None:
        self.total += total
        if self.low is None or self.high is None:
            self.low, self.high = low, high
            return
        if low < self.low:
            self.low = low
        if high > self.high:
            self.high = high


def _measure_together(
    numbers: Sequence[tuple[_Field, bool, NDArray[np.generic]]], rows: int
) -> None:
    whole = []
    for seen, is_float, values in numbers:
        if len(values) == rows:
            whole.append((seen, is_float, values))
        else:
            seen.measure(values, is_float)
    if not whole:
        return
    matrix = np.empty((len(whole), rows))
    for place, (_, _, values) in enumerate(whole):
        matrix[place] = values
    spans = zip(
        whole,
        matrix.min(axis=1).tolist(),
        matrix.max(axis=1).tolist(),
        matrix.sum(axis=1).tolist(),
        strict=True,
    )
    for (seen, is_float, values), low, high, total in spans:
        if is_float:
            if math.isfinite(total):
                seen.take(low, high, total)
            else:
                seen.measure(values, is_float)
        elif low > -_EXACT and high < _EXACT:
            seen.take(int(low), int(high), total)
        else:
            seen.measure(values, is_float)
