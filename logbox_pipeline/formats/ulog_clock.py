"""The boot clock of a ULog: where it starts anew, and what it was in UTC. No columns here.

A clock that steps back (the autopilot started again and wrote on) begins a new segment, which has
an offset to UTC of its own, or none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logbox_pipeline.formats.times import EARLIEST_FIX_US, EARLIEST_LOG_US, epoch_us
from logbox_pipeline.formats.ulog_definitions import Layout, Slot
from logbox_pipeline.formats.ulog_scan import Scan, Stream, blocks, by_stream

LARGEST_CLOCK_US = 2**53
"""A boot clock beyond this (the year 2255, for clocks that count from 1970) is damage."""

_STEP_BACK_US = 1_000_000
"""Topics lie some hundred milliseconds apart in a file; one topic's own clock never steps so far
back."""

_MOST_SEGMENTS = 1_000
_BLOCK = 262_144
_BEHIND_HEADER = 5
_CARRIED = 3
_GPS_TOPICS = ("vehicle_gps_position", "sensor_gps")
_TS = pa.timestamp("us", tz="UTC")


class Clock:
    """Boot time to UTC. `offset_us` is UTC minus boot time, None where nobody knows."""

    def __init__(self, offset_us: int | None, received_at: datetime) -> None:
        self.offset_us = offset_us
        self.latest_us = epoch_us(received_at + timedelta(days=1))

    def utc_us(self, t_boot_us: int | None) -> int | None:
        if self.offset_us is None or t_boot_us is None:
            return None
        utc_us = t_boot_us + self.offset_us
        return utc_us if EARLIEST_LOG_US <= utc_us <= self.latest_us else None

    def utc_column(self, t_boot_us: NDArray[np.int64], missing: NDArray[np.bool_]) -> pa.Array:
        if self.offset_us is None:
            return pa.nulls(len(t_boot_us), _TS)
        sane = np.clip(t_boot_us, -LARGEST_CLOCK_US, LARGEST_CLOCK_US)
        utc_us = sane + self.offset_us
        wrong = missing | (utc_us < EARLIEST_LOG_US) | (utc_us > self.latest_us)
        return pa.array(utc_us.view("datetime64[us]"), type=_TS, mask=wrong)


@dataclass(frozen=True)
class Clocks:
    """One clock per segment. `starts`: index of each segment's first data message, from 0.

    error_ms: how far 95 % of the fixes lie from their segment's offset; None without fixes.
    """

    starts: tuple[int, ...]
    clocks: tuple[Clock, ...]
    error_ms: int | None

    @property
    def has_utc(self) -> bool:
        return any(clock.offset_us is not None for clock in self.clocks)


def find_clocks(scan: Scan, received_at: datetime) -> Clocks:
    """Segments by each topic's own clock; offsets by the median over a segment's valid fixes."""
    starts = np.array([0, *_restarts(scan)], np.int64)
    index, offset_us = _fixes(scan, Clock(0, received_at).latest_us)
    segment = np.searchsorted(starts, index, "right") - 1
    clocks: list[Clock] = []
    spread: list[NDArray[np.int64]] = []
    for number in range(len(starts)):
        own = offset_us[segment == number]
        median = int(np.median(own)) if len(own) else None
        clocks.append(Clock(median, received_at))
        if median is not None:
            spread.append(np.abs(own - median))
    error_ms = None
    if spread:
        error_ms = int(np.ceil(float(np.quantile(np.concatenate(spread), 0.95)) / 1000))
    return Clocks(tuple(starts.tolist()), tuple(clocks), error_ms)


def _restarts(scan: Scan) -> list[int]:
    """Indexes of the data messages that begin a new segment."""
    steps: list[tuple[int, int]] = []
    carried: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
    for low, stream, where, position in _blocks(scan):
        t_boot_us, index = _stamps(scan, stream, position), low + where
        sane = (t_boot_us >= 0) & (t_boot_us < LARGEST_CLOCK_US)
        if stream.group in carried:
            before = carried[stream.group]
            t_boot_us = np.concatenate((before[0], t_boot_us[sane]))
            index = np.concatenate((before[1], index[sane]))
        elif not sane.all():
            t_boot_us, index = t_boot_us[sane], index[sane]
        steps += _steps_back(t_boot_us, index)
        carried[stream.group] = t_boot_us[-_CARRIED:], index[-_CARRIED:]
    starts: list[int] = []
    for before_index, at in sorted(set(steps), key=lambda step: step[1]):
        # Every topic steps back once per restart; only the first to do so begins the segment.
        if not starts or before_index >= starts[-1]:
            starts.append(at)
    return starts[:_MOST_SEGMENTS]


def _steps_back(t_boot_us: NDArray[np.int64], index: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(index of the last message before, of the first behind). Two messages on either side must
    agree, so that one damaged time is no restart."""
    if len(t_boot_us) < 4:
        return []
    before = np.minimum(t_boot_us[:-3], t_boot_us[1:-2])
    behind = np.maximum(t_boot_us[2:-1], t_boot_us[3:])
    found = np.flatnonzero(before - behind > _STEP_BACK_US)
    return list(zip(index[found + 1].tolist(), index[found + 2].tolist(), strict=True))


def _blocks(
    scan: Scan, wanted: frozenset[int] | None = None
) -> Iterator[tuple[int, Stream, NDArray[np.int64], NDArray[np.int64]]]:
    """Block by block and stream by stream: index of the block's first message, the stream, where
    in the block its messages are, and their positions in the file."""
    low = 0
    for codes, position in blocks(scan, _BLOCK):
        for stream, where in by_stream(scan, codes):
            if stream.layout.timestamp and (wanted is None or stream.group in wanted):
                yield low, stream, where, position[where]
        low += len(codes)


def _stamps(scan: Scan, stream: Stream, position: NDArray[np.int64]) -> NDArray[np.int64]:
    assert stream.layout.timestamp is not None
    return _values(scan, stream.layout, stream.layout.timestamp, position).astype(np.int64)


def _values(scan: Scan, layout: Layout, slot: Slot, position: NDArray[np.int64]) -> NDArray[Any]:
    """One scalar field of the messages at `position`, without copying the rest of them."""
    kind = np.dtype(slot.numpy_type)
    view: NDArray[Any] = np.ndarray(
        (len(scan.source) - kind.itemsize + 1,), kind, buffer=scan.source, strides=(1,)
    )
    return view[position + _BEHIND_HEADER + slot.offset]


def _fixes(scan: Scan, latest_us: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Index and UTC minus boot time of every valid fix, of the first topic that has one."""
    for topic in _GPS_TOPICS:
        wanted = frozenset(s.group for s in scan.streams if s.topic == topic and _has_fix(s))
        found = [
            (low + where[valid], offset_us[valid])
            for low, stream, where, position in (_blocks(scan, wanted) if wanted else ())
            for offset_us, valid in [_offsets(scan, stream, position, latest_us)]
        ]
        if any(len(index) for index, _ in found):
            return (
                np.concatenate([index for index, _ in found]),
                np.concatenate([offset_us for _, offset_us in found]),
            )
    return np.empty(0, np.int64), np.empty(0, np.int64)


def _has_fix(stream: Stream) -> bool:
    types = {slot.name: slot.numpy_type for slot in stream.layout.slots}
    return types.get("time_utc_usec") == "<u8" and types.get("fix_type") == "<u1"


def _offsets(
    scan: Scan, stream: Stream, position: NDArray[np.int64], latest_us: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    slots = {slot.name: slot for slot in stream.layout.slots}
    utc_us = _values(scan, stream.layout, slots["time_utc_usec"], position).astype(np.int64)
    fix_type = _values(scan, stream.layout, slots["fix_type"], position)
    t_boot_us = _stamps(scan, stream, position)
    valid = (fix_type >= 3) & (t_boot_us >= 0) & (t_boot_us < LARGEST_CLOCK_US)
    valid &= (utc_us >= EARLIEST_FIX_US) & (utc_us <= latest_us)
    return utc_us - t_boot_us, valid
