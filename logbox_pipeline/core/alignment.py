"""Topics of different rates on one clock: the newest value of each at a time. No I/O."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from logbox_pipeline.core.errors import UsageError

MOST_ROWS = 20_000_000
_SAME_CLOCK_US = 1_000_000
"""A ground station's time and a boot clock drift apart by less while a vehicle is up."""


def align(topics: Mapping[str, pa.Table], hz: float) -> pd.DataFrame:
    """One row per 1/hz seconds from the first sample of any topic to the last; an as-of join.

    topics: name -> all its rows: `t_boot_us` (int64), `ts` (UTC), then its columns. The index is
    `t_boot_us` (us) when every row has a boot clock that starts only once, else `ts`; a value is
    that of the topic's newest row at or before the time, and missing before its first. Columns are
    `<name>.<column>`, Arrow-backed, and `ts` where the index is the boot clock.
    Raises UsageError when there are no rows with a common clock, or MOST_ROWS would not do.
    """
    if not 0 < hz < math.inf:
        raise UsageError(f"hz is {hz}", hint="give a rate above 0, as rows per second")
    clock = _common_clock(topics)
    parts = {name: _by_clock(rows, clock) for name, rows in topics.items()}
    times = _grid([part.index for part in parts.values()], hz)
    columns = {}
    if clock == "t_boot_us":
        columns["ts"] = _utc(topics, times)
    for name, part in parts.items():
        at = part.index.searchsorted(times, side="right") - 1
        known = pa.array(np.where(at < 0, 0, at), mask=at < 0)
        for column in part.rows.column_names:
            values = part.rows[column].take(known)
            columns[f"{name}.{column}"] = pd.Series(values, dtype=pd.ArrowDtype(values.type))
    return pd.DataFrame(columns).set_index(_index(times, clock))


class _Topic:
    """Rows in the order of `index`, their times in whole us."""

    def __init__(self, index: NDArray[np.int64], rows: pa.Table) -> None:
        self.index = index
        self.rows = rows


def _common_clock(topics: Mapping[str, pa.Table]) -> str:
    if not any(rows.num_rows for rows in topics.values()):
        raise UsageError("these topics have no rows", hint="see logbox.log_topics")
    for clock in ("t_boot_us", "ts"):
        is_whole = all(rows[clock].null_count == 0 for rows in topics.values())
        if is_whole and (clock == "ts" or _starts_once(topics)):
            return clock
    raise UsageError(
        f"{', '.join(topics)} share no clock: the boot clock is not in every row or starts more "
        "than once, and not every row has a time in UTC",
        hint="ask for topics of one clock alone, or for the rows themselves",
    )


def _starts_once(topics: Mapping[str, pa.Table]) -> bool:
    """A vehicle that starts again counts from 0 again: UTC then stands elsewhere beside it."""
    offsets = [
        _range(pc.subtract(both["ts"].cast(pa.int64()), both["t_boot_us"]))
        for rows in topics.values()
        for both in [rows.select(["t_boot_us", "ts"]).drop_null()]
        if both.num_rows
    ]
    lows, highs = [low for low, _ in offsets], [high for _, high in offsets]
    return not offsets or max(highs) - min(lows) <= _SAME_CLOCK_US


def _range(values: pa.ChunkedArray) -> tuple[int, int]:
    found = pc.min_max(values)
    return found["min"].as_py(), found["max"].as_py()


def _by_clock(rows: pa.Table, clock: str) -> _Topic:
    times = rows[clock].cast(pa.int64()).to_numpy()
    order = np.argsort(times, kind="stable")
    values = rows.drop_columns(["t_boot_us", "ts"])
    return _Topic(times[order], values.take(pa.array(order)))


def _grid(indexes: list[NDArray[np.int64]], hz: float) -> NDArray[np.int64]:
    """Times in whole us."""
    held = [index for index in indexes if len(index)]
    first, last = min(index[0] for index in held), max(index[-1] for index in held)
    count = int((int(last) - int(first)) * hz / 1e6) + 1
    if count > MOST_ROWS:
        raise UsageError(
            f"{(int(last) - int(first)) / 1e6:.0f} s at {hz} Hz are {count:,} rows, more than "
            f"{MOST_ROWS:,}",
            hint="ask for a lower rate",
        )
    times: NDArray[np.int64] = first + np.rint(np.arange(count) * (1e6 / hz)).astype(np.int64)
    return times


def _utc(topics: Mapping[str, pa.Table], times: NDArray[np.int64]) -> pd.Series:
    """By the first row that has both clocks: they stand apart by the same in all."""
    utc = pd.ArrowDtype(pa.timestamp("us", tz="UTC"))
    for rows in topics.values():
        both = rows.select(["t_boot_us", "ts"]).filter(pc.field("ts").is_valid()).slice(0, 1)
        if both.num_rows:
            offset_us = both["ts"].cast(pa.int64())[0].as_py() - both["t_boot_us"][0].as_py()
            return pd.Series(pa.array(times + offset_us).cast(utc.pyarrow_dtype), dtype=utc)
    return pd.Series(pa.nulls(len(times), utc.pyarrow_dtype), dtype=utc)


def _index(times: NDArray[np.int64], clock: str) -> pd.Index:
    if clock == "t_boot_us":
        return pd.Index(times, name=clock)
    return pd.DatetimeIndex(times.view("datetime64[us]"), tz="UTC", name=clock)
