"""Which columns of a CSV say when: UTC, and the time since boot or start. By content, then by name.

A UTC column is a date with a time as text, a number that counts from 1970, or a date and a time
in two columns. Text without a zone is taken as UTC and says so by its error, unless it or its
header names UTC. A day and a month that could be swapped give no time. No rows are cut here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from logbox_pipeline.formats.csv_cells import MISSING, NUMBER
from logbox_pipeline.formats.csv_stamps import ONE_DATE, ONE_STAMP, ZONE, DayOrder, text_us
from logbox_pipeline.formats.stream import Column
from logbox_pipeline.formats.times import EARLIEST_LOG_US

UNKNOWN_ZONE_MS = 14 * 3_600_000
"""No zone lies further from UTC than +14:00."""

TS = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class TimePlan:
    """Where the times of a table stand.

    utc: one column's place, or a date's and a time's; empty when there is none. order: for text;
    None for numbers, of which `utc_us` microseconds are one. boot: the place of the column that
    counts from boot or start, `boot_us` microseconds each.
    """

    utc: tuple[int, ...] = ()
    order: DayOrder | None = None
    utc_us: float = 0.0
    error_ms: int | None = None
    boot: int | None = None
    boot_us: float = 0.0


_ONE_CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)? *(?:[AaPp][Mm])?" + ZONE)
_FRACTION = re.compile(r":\d\d[.,]\d|T\d{6}\.\d")
_SAYS_UTC = re.compile(r"\b(utc|gmt|zulu|unix|epoch)\b|_utc\b|utc_", re.I)
_SAYS_LOCAL = re.compile(r"local", re.I)
_SAYS_ZONE = re.compile(r"(Z|z|UTC|GMT|UT|[+-]\d{2}:?\d{2})$")
_EPOCH_NAME = re.compile(r"time|stamp|date|epoch|utc|unix|clock|^t$|^ts$|^ts[_ ]|^c1$", re.I)

_UNITS_US = {
    **dict.fromkeys(("ns", "nsec", "nanosecond", "nanoseconds"), 0.001),
    **dict.fromkeys(("us", "µs", "μs", "usec", "usecs", "microsecond", "microseconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 1e3),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1e6),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 60e6),
}
_BOOT_NAMES = frozenset(
    (
        *("t", "time", "timestamp", "stamp", "timer", "elapsed", "elapsedtime", "timeelapsed"),
        *("flytime", "flighttime", "offsettime", "clockoffsettime", "uptime", "timeboot"),
        *("tboot", "boottime", "timesinceboot", "timesincestart", "timesincearm", "simtime"),
        *("gametime", "logtime", "seconds", "secs", "sec", "millis", "micros", "ms", "us"),
        *("timeus", "timems", "timesec", "missiontime", "timestampms", "timestampus"),
        "timestampsample",
    )
)
_NOT_BOOT = re.compile(r"remain|return|left|duration|last.?update|delay|latency|countdown", re.I)
_JUDGED = 0.9
_USUAL_HZ = 20.0
_USUAL_START_US = 600e6


def plan_times(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], decimal_comma: bool, latest_us: int
) -> TimePlan:
    """Settle the time columns from the first rows' cells. latest_us: no log is later (UTC)."""
    cells = [[row[place].strip() for row in rows] for place in range(len(columns))]
    filled = [[cell for cell in column if cell not in MISSING] for column in cells]
    numbers = [_numbers(column, decimal_comma) for column in filled]
    ranked = [
        *_stamp_columns(columns, filled),
        *_epoch_columns(columns, numbers, latest_us),
        *_date_and_clock(columns, filled),
    ]
    boot, boot_us = _boot_column(columns, numbers, latest_us)
    if not ranked:
        return TimePlan(boot=boot, boot_us=boot_us)
    plan = min(ranked, key=lambda pair: pair[0])[1]
    if plan.utc == (boot,):
        boot = None
    return TimePlan(plan.utc, plan.order, plan.utc_us, plan.error_ms, boot, boot_us)


def utc_column(plan: TimePlan, arrays: Sequence[pa.Array], latest_us: int) -> pa.Array:
    """The rows' UTC as `timestamp[us, UTC]`; null where it is none or no log's time."""
    rows = len(arrays[0])
    if not plan.utc:
        return pa.nulls(rows, TS)
    if plan.order is None:
        us = scaled_us(arrays[plan.utc[0]], plan.utc_us)
    else:
        texts = [arrays[place].cast(pa.string()) for place in plan.utc]
        joined = texts[0] if len(texts) == 1 else pc.binary_join_element_wise(*texts, " ")
        us = text_us(joined, plan.order)
    inside = pc.and_(pc.greater_equal(us, EARLIEST_LOG_US), pc.less_equal(us, latest_us))
    return pc.if_else(inside, us, pa.scalar(None, pa.int64())).cast(TS)


def boot_column(plan: TimePlan, arrays: Sequence[pa.Array]) -> pa.Array:
    """The rows' microseconds since boot or start as int64; null where there are none."""
    if plan.boot is None:
        return pa.nulls(len(arrays[0]), pa.int64())
    return scaled_us(arrays[plan.boot], plan.boot_us)


def scaled_us(values: pa.Array, us: float) -> pa.Array:
    """Numbers (or numbers as text) times `us`, as int64; null where there is no number."""
    if pa.types.is_null(values.type) or pa.types.is_boolean(values.type):
        return pa.nulls(len(values), pa.int64())
    if pa.types.is_string(values.type):
        bare = pc.utf8_trim_whitespace(values)
        is_number = pc.match_substring_regex(bare, r"^-?[0-9]+(\.[0-9]+)?$")
        values = pc.if_else(is_number, bare, pa.scalar(None, pa.string())).cast(pa.float64())
    if pa.types.is_integer(values.type) and us >= 1:
        limit = 2**62 // int(us)
        whole = values.cast(pa.int64(), safe=False)
        inside = pc.and_(pc.less_equal(whole, limit), pc.greater_equal(whole, -limit))
        kept = pc.if_else(inside, whole, pa.scalar(None, pa.int64()))
        return pc.multiply(kept, pa.scalar(int(us), pa.int64()))
    if pa.types.is_integer(values.type):
        return pc.divide(values.cast(pa.int64(), safe=False), pa.scalar(round(1 / us), pa.int64()))
    product = pc.round(pc.multiply(values.cast(pa.float64()), us))
    sane = pc.and_(pc.is_finite(product), pc.less(pc.abs(product), 2.0**62))
    return pc.if_else(sane, product, pa.scalar(None, pa.float64())).cast(pa.int64(), safe=False)


# Finding the columns

_Ranked = list[tuple[tuple[int, int], TimePlan]]


def _numbers(cells: list[str], decimal_comma: bool) -> list[float]:
    """The column's numbers, when almost all of it are numbers."""
    if decimal_comma:
        cells = [cell.replace(",", ".") for cell in cells]
    found = [float(cell) for cell in cells if NUMBER.fullmatch(cell)]
    return found if found and len(found) >= _JUDGED * len(cells) else []


def _stamp_columns(columns: Sequence[Column], filled: list[list[str]]) -> _Ranked:
    found: _Ranked = []
    for place, cells in enumerate(filled):
        order = _order(cells, ONE_STAMP)
        if order is None:
            continue
        name = columns[place].source_name
        rank, error_ms = _zone(name, cells)
        found.append(((rank, place), TimePlan((place,), order, error_ms=error_ms)))
    return found


def _zone(name: str, cells: list[str]) -> tuple[int, int]:
    """The rank of a text column and how far its times may lie from UTC (ms)."""
    resolution_ms = 1 if any(map(_FRACTION.search, cells)) else 1_000
    if all(map(_SAYS_ZONE.search, cells)) or _SAYS_UTC.search(name):
        return 0, resolution_ms
    return (5 if _SAYS_LOCAL.search(name) else 3), UNKNOWN_ZONE_MS


def _epoch_columns(
    columns: Sequence[Column], numbers: list[list[float]], latest_us: int
) -> _Ranked:
    found: _Ranked = []
    for place, values in enumerate(numbers):
        us = _epoch_unit(values, columns[place].unit, latest_us)
        if us is None or not _EPOCH_NAME.search(columns[place].source_name):
            continue
        steps = [abs(b - a) for a, b in pairwise(values) if a != b]
        if steps and median(steps) * us > 600e6:
            continue  # PX4's microseconds since boot look like seconds since 1970
        whole_s = us == 1e6 and all(value == int(value) for value in values)
        found.append(((1, place), TimePlan((place,), None, us, error_ms=1_000 if whole_s else 1)))
    return found


def _epoch_unit(values: list[float], unit: str | None, latest_us: int) -> float | None:
    """What one is in microseconds, when all of them count from 1970. Who writes nanoseconds means
    them; other units are often those of another clock."""
    for us in (0.001,) if unit == "ns" else (1e6, 1e3, 1.0, 0.001):
        if values and all(EARLIEST_LOG_US <= value * us <= latest_us for value in values):
            return us
    return None


def _date_and_clock(columns: Sequence[Column], filled: list[list[str]]) -> _Ranked:
    """The first date column and the time column that follows it, or else stands before it."""
    dates = [(place, _order(cells, ONE_DATE)) for place, cells in enumerate(filled)]
    if not any(order for _, order in dates):
        return []
    named = re.compile("date|day", re.I)
    clocks = [
        place
        for place, cells in enumerate(filled)
        if cells and sum(1 for cell in cells if _ONE_CLOCK.fullmatch(cell)) >= _JUDGED * len(cells)
    ]
    for place, order in dates:
        name = columns[place].source_name
        if order is None or not clocks:
            continue
        if all(cell.isdecimal() for cell in filled[place]) and not named.search(name):
            continue
        clock = min(clocks, key=lambda other: (other < place, abs(other - place)))
        rank, error_ms = _zone(f"{name} {columns[clock].source_name}", filled[clock])
        return [((rank + 1, place), TimePlan((place, clock), order, error_ms=error_ms))]
    return []


def _order(cells: list[str], patterns: dict[DayOrder, re.Pattern[str]]) -> DayOrder | None:
    """The order that nearly all cells allow; None when two orders do, or none."""
    allowed = []
    if not any(p.fullmatch(cell) for p in patterns.values() for cell in cells[:3]):
        return None
    for order, pattern in patterns.items():
        matches = [match for match in map(pattern.fullmatch, cells) if match]
        good = sum(1 for m in matches if 1 <= int(m["mo"]) <= 12 and 1 <= int(m["d"]) <= 31)
        if cells and good >= _JUDGED * len(cells):
            allowed.append(order)
            if any(m.groupdict().get("ap") for m in matches):
                return order  # AM and PM are written where the month comes first
    if len(allowed) == 2 and all("." in cell.split(" ")[0] for cell in cells):
        return DayOrder.DMY
    return allowed[0] if len(allowed) == 1 else None


def _boot_column(
    columns: Sequence[Column], numbers: list[list[float]], latest_us: int
) -> tuple[int | None, float]:
    for place, values in enumerate(numbers):
        column = columns[place]
        bare = re.sub(r"[(\[].*|[^a-z0-9]", "", column.source_name.lower())
        unit = _UNITS_US.get((column.unit or "").lower())
        stem = re.sub(r"(us|ms|sec|s)$", "", bare) if unit else bare
        is_named = bool({bare, stem} & _BOOT_NAMES) or (unit and "time" in bare)
        if not is_named or _NOT_BOOT.search(column.source_name) or not _is_clock(values):
            continue
        if unit is None:
            unit = {"us": 1.0, "ms": 1e3}.get(bare[-2:]) if bare != "us" else 1.0
        steps = [b - a for a, b in pairwise(values) if b > a]
        if _epoch_unit(values, column.unit, latest_us) and (not steps or median(steps) < 1_000):
            continue
        unit = unit or _likely_unit(values, steps)
        if unit:
            return place, unit
    return None, 0.0


def _is_clock(values: list[float]) -> bool:
    """Never below zero, and almost never stepping back."""
    back = sum(1 for a, b in pairwise(values) if b < a)
    is_sane = bool(values) and min(values) >= 0 and values[-1] > values[0]
    return is_sane and back <= 0.02 * len(values)


def _likely_unit(values: list[float], steps: list[float]) -> float | None:
    """Without a unit: the one that makes the rate of rows most usual (a step of 10,000 is 100 Hz
    in microseconds) and has the log begin soon after boot. Fractions of a number are a second's."""
    step = median(steps)
    if any(value != int(value) for value in values) and step < 100:
        return 1e6
    rates = {us: 1e6 / (step * us) for us in (1e6, 1e3, 1.0)}

    def oddness(us: float) -> float:
        late = values[0] * us / _USUAL_START_US
        return float(abs(np.log(rates[us] / _USUAL_HZ)) + max(0.0, np.log(max(late, 1.0))))

    unit = min(rates, key=oddness)
    return unit if 0.01 <= rates[unit] <= 10_000 else None
