"""Whole seconds of a log's clock, also where it steps back. Pure; made for `formats/track.py`.

A *key* numbers a second: the segment of the clock above KEY_BITS, the second within it below. A
clock that steps back by more than STEP_BACK_US starts a new segment (the vehicle started again);
SPIKE_ROWS rows or fewer that jump away and come back are bad stamps and are left out. Each topic
sees only its own steps; the topic that saw most says how many segments there are, and those of
another that saw fewer go where their times fit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KEY_BITS = 44
STEP_BACK_US = 2_000_000
SPIKE_ROWS = 5
MAX_SEGMENTS = 1_000
"""More steps back than this, in a log or a batch of it, are no restarts: what follows stays in the
last segment."""

LONELY_GAP_S, LONELY_SECONDS = 3_600, 3
"""A few seconds an hour away from all others are a bad stamp, not a part of the log."""

NONE = np.iinfo(np.int64).min
"""Stands for "no time" among int64 times."""

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_SECOND = (1 << KEY_BITS) - 1


class Clock:
    """The clock of one topic's rows, batch by batch."""

    def __init__(self) -> None:
        self._segment = 0
        self._newest_us = NONE
        self.ranges: list[tuple[int, int]] = []

    def keys(self, times_us: Ints) -> tuple[Ints, Bools]:
        """The key of each row, and which rows count; rows before 0 do not."""
        if self._goes_on(times_us):
            keys = times_us // 1_000_000 | self._segment << KEY_BITS
            self._newest_us = int(times_us[-1])
            self._see_one(self._segment, int(keys.min()) & _SECOND, int(keys.max()) & _SECOND)
            return keys, np.ones(len(keys), bool)
        keep = times_us >= 0
        segment = np.full(len(times_us), self._segment, np.int64)
        rows = np.flatnonzero(keep)
        if not len(rows):
            return segment, keep
        times = times_us[rows]
        before = np.concatenate(([max(self._newest_us, -1)], times[:-1]))
        steps = np.flatnonzero(times < before - STEP_BACK_US)
        for place in steps[:MAX_SEGMENTS].tolist():
            self._step_back(times, before, place, rows, keep, segment)
        rows = rows[keep[rows]]
        if len(rows):
            self._newest_us = int(times_us[rows[-1]])
        keys = (segment << KEY_BITS) | np.where(keep, times_us // 1_000_000, 0)
        self._see(keys[rows])
        return keys, keep

    def _goes_on(self, times_us: Ints) -> bool:
        """Whether all is as it nearly always is: no row before 0, and no step back."""
        if not len(times_us) or times_us.min() < 0:
            return False
        is_after = times_us[0] >= max(self._newest_us, -1) - STEP_BACK_US
        return bool(is_after and (times_us[1:] >= times_us[:-1] - STEP_BACK_US).all())

    def _step_back(
        self, times: Ints, before: Ints, place: int, rows: Ints, keep: Bools, segment: Ints
    ) -> None:
        if not keep[rows[place]]:
            return
        ahead = times[place + 1 : place + 1 + SPIKE_ROWS]
        back = np.flatnonzero(
            (ahead >= before[place] - STEP_BACK_US) & (ahead < before[place] + LONELY_GAP_S * 10**6)
        )
        if len(back):
            keep[rows[place : place + 1 + int(back[0])]] = False
            return
        start = max(0, place - SPIKE_ROWS)
        behind = np.flatnonzero(before[start : place + 1] <= times[place] + STEP_BACK_US)
        if len(behind) and before[start + int(behind[-1])] >= 0:
            keep[rows[start + int(behind[-1]) : place]] = False
            return
        if self._segment + 1 < MAX_SEGMENTS:
            self._segment += 1
            segment[rows[place] :] = self._segment

    def _see(self, keys: Ints) -> None:
        for number in np.unique(keys >> KEY_BITS).tolist():
            seconds = keys[keys >> KEY_BITS == number] & _SECOND
            self._see_one(number, int(seconds.min()), int(seconds.max()))

    def _see_one(self, number: int, least: int, most: int) -> None:
        while len(self.ranges) <= number:
            self.ranges.append((least, most))
        known = self.ranges[number]
        self.ranges[number] = (min(least, known[0]), max(most, known[1]))


@dataclass(frozen=True)
class Grid:
    """The seconds of a track, ascending. second: counted from the first. Times are NONE where
    nobody knows them."""

    key: Ints
    second: Ints
    t_boot_us: Ints
    ts_us: Ints


@dataclass(frozen=True)
class Timeline:
    """All clocks of one log on one line. stamps: (key, t_boot_us, ts_us) of the newest row seen in
    a second, by key; rows may repeat a key."""

    segments: tuple[Ints, ...]
    stamps: Ints

    def keys(self, clock: int, keys: Ints) -> Ints:
        """Keys of one topic's own clock as keys of the log."""
        return _moved(self.segments[clock], keys)

    def grid(self, held: list[Ints], spoken: list[Ints], hold_s: int, clock: str) -> Grid:
        """Seconds with a sample (`spoken`), and hold_s more after those that are `held`, though
        not beyond the newest sample of the segment."""
        samples = _without_lonely(np.unique(np.concatenate(spoken)))
        sampled = np.unique(np.concatenate([*held, samples[:0]]))
        wider = np.unique((sampled[:, None] + np.arange(hold_s + 1)).ravel())
        key = np.union1d(samples, wider)
        newest = _newest(samples)
        segment = key >> KEY_BITS
        key = key[key <= newest[np.minimum(segment, len(newest) - 1)]]
        return self._stamped(key[_near(key, samples, hold_s)], clock)

    def _stamped(self, key: Ints, clock: str) -> Grid:
        times = np.full((len(key), 2), NONE, np.int64)
        place = np.searchsorted(key, self.stamps[:, 0])
        place = np.minimum(place, len(key) - 1)
        hit = key[place] == self.stamps[:, 0]
        np.maximum.at(times, place[hit], self.stamps[hit, 1:])
        t_boot_us, ts_us = times[:, 0], times[:, 1]
        at_us = (key & _SECOND) * 1_000_000
        if clock == "t_boot_us":
            t_boot_us = np.where(t_boot_us == NONE, at_us, t_boot_us)
            ts_us = _carried(key, t_boot_us, ts_us)
        else:
            ts_us = np.where(ts_us == NONE, at_us, ts_us)
        return Grid(key, _seconds(key), t_boot_us, ts_us)


def timeline(clocks: list[Clock], stamps: list[Ints]) -> Timeline | None:
    """One line for all topics' clocks; None when no row has a time."""
    if not any(clock.ranges for clock in clocks):
        return None
    ranges = max((clock.ranges for clock in clocks), key=len)
    segments = tuple(_aligned(clock.ranges, ranges) for clock in clocks)
    moved = [
        np.column_stack((_moved(segment, rows[:, 0]), rows[:, 1:]))
        for segment, rows in zip(segments, stamps, strict=True)
    ]
    return Timeline(segments, np.concatenate(moved))


def _aligned(own: list[tuple[int, int]], ranges: list[tuple[int, int]]) -> Ints:
    """Own segment -> segment of the log: in order, each where it overlaps most."""
    if len(own) == len(ranges):
        return np.arange(len(own), dtype=np.int64)
    aligned = []
    least = 0
    for number, (start, end) in enumerate(own):
        most = len(ranges) - (len(own) - number) + 1
        overlaps = [min(end, last) - max(start, first) for first, last in ranges[least:most]]
        best = least + overlaps.index(max(overlaps))
        aligned.append(best)
        least = best + 1
    return np.array(aligned, np.int64)


def _moved(segments: Ints, keys: Ints) -> Ints:
    if len(segments) == 1 and not segments[0]:
        return keys
    moved: Ints = (segments[keys >> KEY_BITS] << KEY_BITS) | (keys & _SECOND)
    return moved


def _without_lonely(keys: Ints) -> Ints:
    starts = np.flatnonzero(np.diff(keys) > LONELY_GAP_S) + 1
    groups = np.split(keys, starts)
    kept = [group for group in groups if len(group) > LONELY_SECONDS]
    return np.concatenate(kept) if kept else keys


def _newest(samples: Ints) -> Ints:
    """By segment, its newest key."""
    segment = samples >> KEY_BITS
    newest = np.full(int(segment[-1]) + 1, -1, np.int64)
    np.maximum.at(newest, segment, samples)
    return newest


def _near(key: Ints, samples: Ints, hold_s: int) -> Bools:
    """Which keys have a sample not more than hold_s before them."""
    place = np.searchsorted(samples, key, "right") - 1
    near: Bools = (place >= 0) & (key - samples[np.maximum(place, 0)] <= hold_s)
    return near


def _carried(key: Ints, t_boot_us: Ints, ts_us: Ints) -> Ints:
    """UTC also where no row says it: the newest known offset of the segment goes on."""
    known = np.flatnonzero(ts_us != NONE)
    if not len(known):
        return ts_us
    place = np.searchsorted(known, np.arange(len(key)), "right") - 1
    source = known[np.maximum(place, 0)]
    is_same = (place >= 0) & (key[source] >> KEY_BITS == key >> KEY_BITS)
    carried = t_boot_us + (ts_us[source] - t_boot_us[source])
    return np.where((ts_us == NONE) & is_same, carried, ts_us)


def _seconds(key: Ints) -> Ints:
    """Segments end to end, counted from 0."""
    second = key & _SECOND
    if not len(key):
        return second
    steps = np.diff(second)
    steps[np.diff(key >> KEY_BITS) > 0] = 1
    return np.concatenate(([0], np.cumsum(steps)))
