"""DataFlash time: GPS fixes and boot clock to UTC, segment by segment. No bytes here.

GPS time is weeks and milliseconds since 1980-01-06 without leap seconds (IS-GPS-200, 20.3.3.3.1.1);
leap seconds: https://hpiers.obspm.fr/iers/bul/bulc/Leap_Second.dat (IERS Bulletin C). A boot clock
that steps back was started anew, so each segment between such steps has an offset of its own.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logbox_pipeline.formats.times import EARLIEST_FIX_US, EARLIEST_LOG_US, epoch_us

LARGEST_CLOCK_US = 2**53
"""A boot clock beyond this (285 years) is damage."""

STEP_BACK_US = 1_000_000
"""Threads log some messages late, by less than this; more is a clock that was started anew."""

VALID_STATUS = 3
"""GPS.Status from which on there is a 3D fix (AP_GPS::GPS_Status)."""

_TS = pa.timestamp("us", tz="UTC")
_GPS_EPOCH_US = epoch_us(datetime(1980, 1, 6, tzinfo=UTC))
_LEAP_SECONDS = (
    (datetime(2012, 7, 1, tzinfo=UTC), 16),
    (datetime(2015, 7, 1, tzinfo=UTC), 17),
    (datetime(2017, 1, 1, tzinfo=UTC), 18),
)
"""GPS minus UTC in seconds, from when on. Fixes before 2015 are refused anyway."""


def gps_utc_us(week: NDArray[np.int64], week_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """GPS week and milliseconds of it to microseconds since 1970, UTC."""
    gps_us = _GPS_EPOCH_US + (week * 604_800_000 + week_ms) * 1000
    leap_s = np.full(len(gps_us), _LEAP_SECONDS[0][1], np.int64)
    for since, seconds in _LEAP_SECONDS[1:]:
        leap_s[gps_us >= epoch_us(since) + seconds * 1_000_000] = seconds
    utc_us: NDArray[np.int64] = gps_us - leap_s * 1_000_000
    return utc_us


class Segments:
    """Fed with every clocked message in the order of the file, finds where the clock steps back.

    One wild value is not a step: the median of three neighbours must have stepped.
    """

    def __init__(self) -> None:
        self.starts: list[int] = [0]
        self._index = np.empty(0, np.int64)
        self._t_us = np.empty(0, np.int64)
        self._median_us: int | None = None

    def note(self, index: NDArray[np.int64], t_us: NDArray[np.int64]) -> None:
        """`index` of each message in the log, ascending, and its boot clock."""
        sane = (t_us >= 0) & (t_us < LARGEST_CLOCK_US)
        index = np.concatenate((self._index, index[sane]))
        t_us = np.concatenate((self._t_us, t_us[sane]))
        self._index, self._t_us = index[-2:], t_us[-2:]
        if len(t_us) < 3:
            return
        median = _median_of_three(t_us)
        before = median[:1] if self._median_us is None else np.array([self._median_us])
        steps = np.flatnonzero(np.diff(np.concatenate((before, median))) < -STEP_BACK_US)
        self._median_us = int(median[-1])
        # median[i] stands for t_us[i + 1].
        self.starts += index[steps + 1].tolist()

    def of(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of the segment of each message."""
        found: NDArray[np.int64] = np.searchsorted(self.starts, index, "right") - 1
        return found


def _median_of_three(values: NDArray[np.int64]) -> NDArray[np.int64]:
    a, b, c = values[:-2], values[1:-1], values[2:]
    median: NDArray[np.int64] = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    return median


@dataclass(frozen=True)
class Offsets:
    """UTC minus boot clock of each segment (None where nobody knows), and how far 95 % of the
    fixes lie from their median, in the worst segment."""

    us: tuple[int | None, ...]
    error_ms: int | None


class Fixes:
    """GPS fixes of one log, kept as offsets between UTC and boot clock."""

    def __init__(self, received_at: datetime) -> None:
        self._latest_us = epoch_us(received_at + timedelta(days=1))
        self._index: list[NDArray[np.int64]] = []
        self._offset_us: list[NDArray[np.int64]] = []

    def note(
        self,
        index: NDArray[np.int64],
        t_boot_us: NDArray[np.int64],
        week: NDArray[np.int64],
        week_ms: NDArray[np.int64],
        status: NDArray[np.int64],
    ) -> None:
        sane = (week >= 0) & (week < 10_000) & (week_ms >= 0) & (week_ms < 604_800_000)
        sane &= (status >= VALID_STATUS) & (t_boot_us >= 0) & (t_boot_us < LARGEST_CLOCK_US)
        utc_us = gps_utc_us(np.where(sane, week, 0), np.where(sane, week_ms, 0))
        sane &= (utc_us >= EARLIEST_FIX_US) & (utc_us <= self._latest_us)
        self._index.append(index[sane])
        self._offset_us.append((utc_us - t_boot_us)[sane])

    def offsets(self, segments: Segments) -> Offsets:
        index = np.concatenate([*self._index, np.empty(0, np.int64)])
        offset_us = np.concatenate([*self._offset_us, np.empty(0, np.int64)])
        medians: list[int | None] = [None] * len(segments.starts)
        error_ms = None
        if not len(index):
            return Offsets(tuple(medians), None)
        numbers = segments.of(index)
        order = np.argsort(numbers, kind="stable")
        found, first = np.unique(numbers[order], return_index=True)
        for number, here in zip(found.tolist(), np.split(offset_us[order], first[1:]), strict=True):
            median = int(np.median(here))
            spread_us = float(np.quantile(np.abs(here - median), 0.95))
            medians[number] = median
            error_ms = max(error_ms or 0, int(np.ceil(spread_us / 1000)))
        return Offsets(tuple(medians), error_ms)


class Clock:
    """Boot clock to UTC, by the segment that a message stands in."""

    def __init__(self, offsets: Offsets, segments: Segments, received_at: datetime) -> None:
        self.is_known = any(us is not None for us in offsets.us)
        self._segments = segments
        self._offset_us = np.array([us or 0 for us in offsets.us], np.int64)
        self._missing = np.array([us is None for us in offsets.us])
        self._latest_us = epoch_us(received_at + timedelta(days=1))

    def utc_us(
        self, index: NDArray[np.int64], t_boot_us: NDArray[np.int64], missing: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """UTC of messages, and where nobody knows it."""
        number = self._segments.of(index)
        utc_us = np.clip(t_boot_us, 0, LARGEST_CLOCK_US) + self._offset_us[number]
        wrong = missing | self._missing[number]
        wrong |= (utc_us < EARLIEST_LOG_US) | (utc_us > self._latest_us)
        return utc_us, wrong

    def columns(
        self,
        utc_us: NDArray[np.int64],
        t_boot_us: NDArray[np.int64],
        unknown: NDArray[np.bool_],
        missing: NDArray[np.bool_],
    ) -> tuple[pa.Array, pa.Array]:
        """The first two columns of `Rows`."""
        return (
            pa.array(t_boot_us, mask=missing),
            pa.array(utc_us.view("datetime64[us]"), type=_TS, mask=unknown),
        )
