"""How flights are cut out of one log's track. No I/O.

A flight is one stretch in the air. How it is cut:

- The autopilot says when it is airborne (`is_airborne`; what it said last goes on): takeoff is the
  first airborne second while not disarmed, landing the last. On the ground for less than BOUNCE_S
  is one flight still.
- It says only when it is armed: takeoff is the first second of the armed stretch with a speed
  over ARMED_SPEED_M_S or ARMED_CLIMB_M away from the altitude at arming, landing is the disarm.
  Without speed and altitude, the armed stretch is the flight.
- It says neither: in the air is a speed over FREE_SPEED_M_S or FREE_CLIMB_M above the lowest
  altitude so far; less than FREE_BOUNCE_S between two such stretches is one flight.
- What does not fly (rover, boat, submarine: `flies=False`) makes a flight of each armed stretch.

Shorter than MIN_FLIGHT_S is no flight. A gap of GAP_S in the track, or a boot clock that starts
again, ends what was under way.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logbox_pipeline.core.flights import EndState, LogFlight

MIN_FLIGHT_S = 3
BOUNCE_S = 3
GAP_S = 300
ARMED_SPEED_M_S, ARMED_CLIMB_M = 2.0, 2.0
FREE_SPEED_M_S, FREE_CLIMB_M, FREE_BOUNCE_S = 4.0, 5.0, 10

EARTH_RADIUS_M = 6_371_008.8
"""Mean radius R1 (IUGG, https://doi.org/10.1007/s001900050278)."""

MAX_SPEED_M_S = 150.0
"""A fix that would need more than this from the last good one, or a speed over it, is an outlier;
faster than any drone that logs in these formats."""

TRUST_AFTER = 5
"""So many fixes in a row that agree with each other but not with the last good one are the truth:
the track goes on from them, and the jump adds no distance."""

MAX_ALT_M = 50_000.0


def cut(track: pa.Table, *, flies: bool = True) -> list[LogFlight]:
    """The flights in a track (`core.track.TRACK_COLUMNS`), in order, numbered from 1."""
    rows = _Rows(track)
    spans = []
    for start, end, ended in _stretches(rows):
        for first, last, state in _flown(rows, start, end, flies):
            # What is under way when a stretch ends was ended by what ended the stretch.
            spans.append((first, last, ended if state is None else state))
    return [
        _flight(rows, number, first, last, state)
        for number, (first, last, state) in enumerate(spans, 1)
    ]


_Floats = NDArray[np.float64]
_Bools = NDArray[np.bool_]
_Span = tuple[int, int]


class _Rows:
    """A track's columns as arrays; null numbers are NaN, null booleans neither yes nor no."""

    def __init__(self, track: pa.Table) -> None:
        self.table = track
        self.second: NDArray[np.int64] = track["second"].to_numpy()
        self.t_boot_us = self.numbers("t_boot_us")
        self.alt_m = _within(self.numbers("alt_m"), -MAX_ALT_M, MAX_ALT_M)
        self.speed_m_s = _within(self.numbers("speed_m_s"), 0, MAX_SPEED_M_S)
        self.armed, self.disarmed = self.answers("is_armed")
        self.airborne, self.grounded = self.answers("is_airborne")

    def numbers(self, name: str) -> _Floats:
        values: _Floats = self.table[name].cast(pa.float64(), safe=False).to_numpy()
        return values

    def answers(self, name: str) -> tuple[_Bools, _Bools]:
        values = self.table[name].cast(pa.int8()).cast(pa.float64()).to_numpy()
        return values == 1, values == 0

    def at(self, name: str, row: int) -> Any:
        return self.table[name][row].as_py()


def _within(values: _Floats, least: float, most: float) -> _Floats:
    with np.errstate(invalid="ignore"):
        return np.where((values >= least) & (values <= most), values, np.nan)


# Cutting: rows [first, last], and the state where it is known


def _stretches(rows: _Rows) -> Iterator[tuple[int, int, EndState]]:
    """[start, end) of what one power-on and one connection tells, and how it ended."""
    count = len(rows.second)
    if count == 0:
        return
    timed = np.flatnonzero(np.isfinite(rows.t_boot_us))
    reboots = timed[1:][np.diff(rows.t_boot_us[timed]) < -1e6]
    gaps = np.flatnonzero(np.diff(rows.second) > GAP_S) + 1
    ends = dict.fromkeys(gaps.tolist(), EndState.LOST)
    ends |= dict.fromkeys(reboots.tolist(), EndState.REBOOTED)
    ends[count] = EndState.LOG_ENDED
    start = 0
    for end in sorted(ends):
        yield start, end, ends[end]
        start = end


_Flown = tuple[int, int, EndState | None]


def _flown(rows: _Rows, start: int, end: int, flies: bool) -> Iterator[_Flown]:
    part = slice(start, end)
    armed, disarmed = rows.armed[part], rows.disarmed[part]
    airborne, grounded = rows.airborne[part], rows.grounded[part]
    if not flies and (armed.any() or disarmed.any()):
        found = _by_arming(rows, start, armed, moved=False)
    elif airborne.any() or grounded.any():
        found = _by_airborne(rows, start, _going_on(airborne, grounded) & ~disarmed, disarmed)
    elif armed.any() or disarmed.any():
        found = _by_arming(rows, start, armed, moved=True)
    else:
        found = _by_movement(rows, start, end)
    for first, last, state in found:
        if rows.second[last] - rows.second[first] + 1 >= MIN_FLIGHT_S:
            yield first, last, state


def _going_on(yes: _Bools, no: _Bools) -> _Bools:
    """What was said last, where something was said."""
    said = np.where(yes | no, np.arange(len(yes)), -1)
    newest = np.maximum.accumulate(said)
    return (newest >= 0) & yes[newest]


def _by_airborne(rows: _Rows, start: int, airborne: _Bools, disarmed: _Bools) -> Iterator[_Flown]:
    seconds = rows.second[start:]
    for first, last in _closed(_runs(airborne), seconds, BOUNCE_S, disarmed):
        if last + 1 == len(airborne):
            state = None
        else:
            state = EndState.DISARMED if disarmed[last + 1] else EndState.LANDED
            # A landing and the disarm of it in one second is a landing.
            if rows.grounded[start + last + 1]:
                state = EndState.LANDED
        yield start + first, start + last, state


def _by_arming(rows: _Rows, start: int, armed: _Bools, *, moved: bool) -> Iterator[_Flown]:
    for first, last in _runs(armed):
        state = None if last + 1 == len(armed) else EndState.DISARMED
        if moved:
            part = slice(start + first, start + last + 1)
            takeoff = _takeoff(rows.alt_m[part], rows.speed_m_s[part])
            if takeoff is None:
                continue
            first += takeoff
        yield start + first, start + last, state


def _takeoff(alt_m: _Floats, speed_m_s: _Floats) -> int | None:
    """The first row that moved; row 0 when nobody knows, None when nothing moved."""
    known = alt_m[np.isfinite(alt_m)]
    if not len(known) and not np.isfinite(speed_m_s).any():
        return 0
    with np.errstate(invalid="ignore"):
        moved = speed_m_s > ARMED_SPEED_M_S
        if len(known):
            moved |= np.abs(alt_m - known[0]) > ARMED_CLIMB_M
    return int(moved.argmax()) if moved.any() else None


def _by_movement(rows: _Rows, start: int, end: int) -> Iterator[_Flown]:
    alt_m, speed_m_s = rows.alt_m[start:end], rows.speed_m_s[start:end]
    with np.errstate(invalid="ignore"):
        lowest = np.fmin.accumulate(alt_m)
        flying = (speed_m_s > FREE_SPEED_M_S) | (alt_m - lowest > FREE_CLIMB_M)
    nothing = np.zeros(len(flying), bool)
    for first, last in _closed(_runs(flying), rows.second[start:], FREE_BOUNCE_S, nothing):
        state = None if last + 1 == len(flying) else EndState.LANDED
        yield start + first, start + last, state


def _runs(yes: _Bools) -> list[_Span]:
    """[first, last] of each run of True."""
    edges = np.diff(np.concatenate(([0], yes.astype(np.int8), [0])))
    return list(zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1, strict=True))


def _closed(
    runs: list[_Span], seconds: NDArray[np.int64], bounce_s: int, breaks: _Bools
) -> list[_Span]:
    """Runs joined where less than bounce_s lies between and nothing breaks them."""
    closed: list[_Span] = []
    for first, last in runs:
        if closed:
            before = closed[-1][1]
            is_near = seconds[first] - seconds[before] <= bounce_s
            if is_near and not breaks[before + 1 : first].any():
                closed[-1] = (closed[-1][0], last)
                continue
        closed.append((first, last))
    return closed


# What a flight was like


def _flight(rows: _Rows, number: int, first: int, last: int, state: EndState) -> LogFlight:
    part = slice(first, last + 1)
    second = rows.second
    lat_deg, lon_deg, distance_m = _path(
        second[part], rows.numbers("lat_deg")[part], rows.numbers("lon_deg")[part]
    )
    pct = _known(rows.numbers("battery_pct")[part])
    volts = _known(_within(rows.numbers("battery_v")[part], 0.1, 10_000))
    alt_m, speed_m_s = _known(rows.alt_m[part]), _known(rows.speed_m_s[part])
    has_fix = len(lat_deg) > 0
    takeoff_us, landed_us = rows.at("t_boot_us", first), rows.at("t_boot_us", last)
    takeoff_at, landed_at = rows.at("ts", first), rows.at("ts", last)
    return LogFlight(
        flight_no=number,
        first_second=int(second[first]),
        last_second=int(second[last]),
        takeoff_t_boot_us=takeoff_us,
        landed_t_boot_us=landed_us,
        takeoff_at=takeoff_at,
        landed_at=landed_at,
        duration_s=float(second[last] - second[first]),
        distance_m=distance_m if has_fix else None,
        max_alt_m=float(alt_m.max()) if len(alt_m) else None,
        max_speed_m_s=float(speed_m_s.max()) if len(speed_m_s) else None,
        start_lat_deg=float(lat_deg[0]) if has_fix else None,
        start_lon_deg=float(lon_deg[0]) if has_fix else None,
        end_lat_deg=float(lat_deg[-1]) if has_fix else None,
        end_lon_deg=float(lon_deg[-1]) if has_fix else None,
        min_lat_deg=float(lat_deg.min()) if has_fix else None,
        min_lon_deg=float(lon_deg.min()) if has_fix else None,
        max_lat_deg=float(lat_deg.max()) if has_fix else None,
        max_lon_deg=float(lon_deg.max()) if has_fix else None,
        battery_used_pct=max(0.0, float(pct[0] - pct[-1])) if len(pct) else None,
        battery_used_mah=_used_mah(second[part], rows.numbers("battery_a")[part]),
        min_battery_v=float(volts.min()) if len(volts) else None,
        end_state=state,
    )


def _known(values: _Floats) -> _Floats:
    return values[np.isfinite(values)]


def _used_mah(second: NDArray[np.int64], amps: _Floats) -> float | None:
    known = np.isfinite(amps)
    if known.sum() < 0.8 * (second[-1] - second[0] + 1):
        return None
    used_mah = float(np.trapezoid(amps[known], second[known]) / 3.6)
    # A flight that charged its battery had a sensor that was never calibrated.
    return used_mah if used_mah >= 0 else None


def _path(
    second: NDArray[np.int64], lat_deg: _Floats, lon_deg: _Floats
) -> tuple[_Floats, _Floats, float]:
    """Good fixes, and the length of the way through them (m)."""
    known = np.flatnonzero(
        (np.abs(lat_deg) <= 90) & (np.abs(lon_deg) <= 180) & ((lat_deg != 0) | (lon_deg != 0))
    )
    good: list[int] = []
    doubted: list[int] = []
    distance_m = 0.0
    for row in known.tolist():
        step_m = _reached(good, row, second, lat_deg, lon_deg)
        if step_m is not None:
            distance_m += step_m
            good.append(row)
            doubted = []
            continue
        if doubted and _reached(doubted, row, second, lat_deg, lon_deg) is None:
            doubted = []
        doubted.append(row)
        if len(doubted) == TRUST_AFTER:
            if len(good) < TRUST_AFTER:
                # Fewer than it takes to be trusted: they were the outliers.
                good, distance_m = [], 0.0
            distance_m += _length(doubted, lat_deg, lon_deg)
            good += doubted
            doubted = []
    return lat_deg[good], lon_deg[good], distance_m


def _length(rows: list[int], lat_deg: _Floats, lon_deg: _Floats) -> float:
    return sum(
        haversine_m(lat_deg[a], lon_deg[a], lat_deg[b], lon_deg[b]) for a, b in pairwise(rows)
    )


def _reached(
    rows: list[int], row: int, second: NDArray[np.int64], lat_deg: _Floats, lon_deg: _Floats
) -> float | None:
    """The step from the last of `rows` to `row` (m), None when nothing moves that fast."""
    if not rows:
        return 0.0
    last = rows[-1]
    step_m = haversine_m(lat_deg[last], lon_deg[last], lat_deg[row], lon_deg[row])
    return step_m if step_m <= MAX_SPEED_M_S * (second[row] - second[last]) else None


def haversine_m(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> float:
    """Great-circle distance between two positions in degrees (m).

    R. W. Sinnott, "Virtues of the Haversine", Sky and Telescope 68 (1984), 159.
    """
    phi_a, phi_b = math.radians(lat_a), math.radians(lat_b)
    half_lat, half_lon = (phi_b - phi_a) / 2, math.radians(lon_b - lon_a) / 2
    chord = math.sin(half_lat) ** 2 + math.cos(phi_a) * math.cos(phi_b) * math.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(chord)))
