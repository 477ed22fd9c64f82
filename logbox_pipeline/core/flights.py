"""Flights: what one log saw of them, and what they were when several logs saw the same. No I/O.

Cutting a track into flights is in `core/flight_cutting.py`.

`join` makes one flight of what overlaps in trusted time (a clock of gps, rtc, gcs or the log's own
UTC) on one vehicle: the overlap must be MIN_OVERLAP_S, or half the shorter one, where each clock is
given its own error, MAX_CLOCK_ERROR_S together at most. A shorter touch is two flights.
Logs written on board decide how many flights there were; a flight that the ground saw (it may have
missed a landing) goes to the one it overlaps most. Each flight of a log is in exactly one flight.
Without trusted time, or without a vehicle, it stays alone.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

import pyarrow as pa

_FLIGHTS = UUID("6f1d1c86-6a53-5c0f-9d5e-2d2f4b0a6b05")

TRUSTED_TIME = frozenset(("gps", "rtc", "gcs", "log"))
MIN_OVERLAP_S = 3.0
MAX_CLOCK_ERROR_S = 5.0
GROUND_FORMATS = frozenset(("mavlink", "dji_app"))
"""Written on the ground, from what the link let through; all others are written on board."""


class EndState(StrEnum):
    """How a flight ended. landed: the autopilot said so, or speed and altitude did. disarmed: the
    motors stopped before a landing was seen. rebooted: the boot clock began again. lost: nothing
    was known for GAP_S. log_ended: the log ends in the air."""

    LANDED = "landed"
    DISARMED = "disarmed"
    REBOOTED = "rebooted"
    LOST = "lost"
    LOG_ENDED = "log_ended"


@dataclass(frozen=True)
class LogFlight:
    """One flight as one log saw it; first_second and last_second are rows of its track.

    Unknown is None. Positions come from fixes that are no outliers. battery_used_mah is the
    current summed over time, where it is known for 80 percent of the flight.
    """

    flight_no: int
    first_second: int
    last_second: int
    takeoff_t_boot_us: int | None
    landed_t_boot_us: int | None
    takeoff_at: datetime | None
    landed_at: datetime | None
    duration_s: float
    distance_m: float | None
    max_alt_m: float | None
    max_speed_m_s: float | None
    start_lat_deg: float | None
    start_lon_deg: float | None
    end_lat_deg: float | None
    end_lon_deg: float | None
    min_lat_deg: float | None
    min_lon_deg: float | None
    max_lat_deg: float | None
    max_lon_deg: float | None
    battery_used_pct: float | None
    battery_used_mah: float | None
    min_battery_v: float | None
    end_state: EndState


@dataclass(frozen=True)
class LogTrack:
    """What one log says of its flights. track: `core.track.TRACK_COLUMNS`.

    autopilot: `PX4`, `ArduPilot`, `DJI`... airframe: `quadrotor`, `plane`, `rover`, `submarine`...
    """

    track: pa.Table
    flights: tuple[LogFlight, ...]
    autopilot: str | None
    airframe: str | None


@dataclass(frozen=True)
class FoundFlight:
    """A flight of one log, and what of its log matters for joining it with others.

    vehicle: None when nobody says which. time_source: a value of `formats.stream.TimeSource`.
    """

    log_id: UUID
    flight: LogFlight
    client: str
    vehicle: str | None
    received_at: datetime
    time_source: str
    time_error_ms: int | None
    firmware: str | None
    autopilot: str | None
    airframe: str | None
    format: str


@dataclass(frozen=True)
class Flight:
    """One real flight.

    Numbers are those of the member whose track stands for it (`track_log_id`,
    `track_flight_no`: on board before ground station, then the longer); what it does not know, the
    next best member says. When its log ended in the air and another saw more, the end is the
    other's. started_before: an upper bound of takeoff; takeoff_at where that is known, else the
    arrival of the log. members: (log_id, flight_no), sorted.
    """

    flight_id: UUID
    client: str
    vehicle: str | None
    takeoff_at: datetime | None
    landed_at: datetime | None
    started_before: datetime
    duration_s: float
    distance_m: float | None
    max_alt_m: float | None
    max_speed_m_s: float | None
    start_lat_deg: float | None
    start_lon_deg: float | None
    end_lat_deg: float | None
    end_lon_deg: float | None
    min_lat_deg: float | None
    min_lon_deg: float | None
    max_lat_deg: float | None
    max_lon_deg: float | None
    battery_used_pct: float | None
    battery_used_mah: float | None
    min_battery_v: float | None
    end_state: EndState
    firmware: str | None
    autopilot: str | None
    airframe: str | None
    time_source: str
    time_error_ms: int | None
    members: tuple[tuple[UUID, int], ...]
    track_log_id: UUID
    track_flight_no: int


def join(found: Sequence[FoundFlight]) -> list[Flight]:
    """One Flight per real flight, whatever the order of `found`; sorted by started_before.

    Ids derive from the client and the earliest member's log and number, so the same set of flights
    always gives the same ids.
    """
    alone: list[list[FoundFlight]] = []
    timed: dict[tuple[str, str], list[FoundFlight]] = {}
    for one in sorted(found, key=_identity):
        if _span(one) is None or one.vehicle is None:
            alone.append([one])
        else:
            timed.setdefault((one.client, one.vehicle), []).append(one)
    groups = alone + [group for ones in timed.values() for group in _grouped(ones)]
    flights = [_joined(group) for group in groups]
    return sorted(flights, key=lambda flight: (flight.started_before, flight.flight_id))


def _identity(one: FoundFlight) -> tuple[UUID, int]:
    return one.log_id, one.flight.flight_no


def _span(one: FoundFlight) -> tuple[datetime, datetime] | None:
    """[takeoff, landing] in UTC that can be trusted."""
    flight = one.flight
    if one.time_source not in TRUSTED_TIME:
        return None
    if flight.takeoff_at is None or flight.landed_at is None:
        return None
    return flight.takeoff_at, max(flight.takeoff_at, flight.landed_at)


def _grouped(ones: list[FoundFlight]) -> list[list[FoundFlight]]:
    on_board = _overlapping([one for one in ones if one.format not in GROUND_FORMATS])
    place_of = {_identity(one): place for place, group in enumerate(on_board) for one in group}
    seen_alone = []
    best: dict[tuple[UUID, int], tuple[float, tuple[UUID, int]]] = {}
    ground = [one for one in ones if one.format in GROUND_FORMATS]
    for one, other in _pairs(ones):
        for seen, anchor in ((one, other), (other, one)):
            if seen.format in GROUND_FORMATS and anchor.format not in GROUND_FORMATS:
                overlap = (_overlap_s(seen, anchor), _identity(anchor))
                best[_identity(seen)] = max(overlap, best.get(_identity(seen), overlap))
    for one in ground:
        if _identity(one) in best:
            on_board[place_of[best[_identity(one)][1]]].append(one)
        else:
            seen_alone.append(one)
    return on_board + _overlapping(seen_alone)


def _overlapping(ones: list[FoundFlight]) -> list[list[FoundFlight]]:
    """Groups of flights that overlap, also by way of others."""
    group_of = {_identity(one): [one] for one in ones}
    for one, other in _pairs(ones):
        group, joined = group_of[_identity(one)], group_of[_identity(other)]
        if group is not joined:
            group += joined
            group_of |= dict.fromkeys(map(_identity, joined), group)
    return list({id(group): group for group in group_of.values()}.values())


def _pairs(ones: Iterable[FoundFlight]) -> Iterator[tuple[FoundFlight, FoundFlight]]:
    """Every two that are the same flight; what has ended is not looked at again."""
    spans = [(span, one) for one in ones if (span := _span(one))]
    spans.sort(key=lambda entry: (entry[0], _identity(entry[1])))
    slack = timedelta(seconds=MAX_CLOCK_ERROR_S)
    flying: list[tuple[datetime, FoundFlight]] = []
    for (start, end), one in spans:
        flying = [(until, other) for until, other in flying if until + slack >= start]
        for _, other in flying:
            if one.log_id != other.log_id and _is_same(one, other):
                yield other, one
        flying.append((end, one))


def _is_same(one: FoundFlight, other: FoundFlight) -> bool:
    error_s = ((one.time_error_ms or 0) + (other.time_error_ms or 0)) / 1000
    shorter_s = min(one.flight.duration_s, other.flight.duration_s)
    needed_s = min(MIN_OVERLAP_S, shorter_s / 2)
    return _overlap_s(one, other) + min(error_s, MAX_CLOCK_ERROR_S) >= needed_s


def _overlap_s(one: FoundFlight, other: FoundFlight) -> float:
    span, other_span = _span(one), _span(other)
    if span is None or other_span is None:
        return -math.inf
    overlap = min(span[1], other_span[1]) - max(span[0], other_span[0])
    return overlap.total_seconds()


def _joined(members: list[FoundFlight]) -> Flight:
    best, *others = sorted(members, key=_rank)
    flight = best.flight
    takeoff_at, landed_at = _span(best) or (None, None)
    duration_s, end_state = flight.duration_s, flight.end_state
    ended = flight
    further = _seen_further(best, others)
    if takeoff_at is not None and further is not None and further.landed_at is not None:
        ended, landed_at, end_state = further, further.landed_at, further.end_state
        duration_s = (landed_at - takeoff_at).total_seconds()
    flights = [one.flight for one in (best, *others)]
    ends = [ended, *flights]
    logs = [best, *others]
    first = min(
        members, key=lambda one: (one.flight.takeoff_at or one.received_at, *_identity(one))
    )
    return Flight(
        flight_id=uuid5(_FLIGHTS, f"{best.client}/{first.log_id}/{first.flight.flight_no}"),
        client=best.client,
        vehicle=best.vehicle,
        takeoff_at=takeoff_at,
        landed_at=landed_at,
        started_before=takeoff_at or best.received_at,
        duration_s=duration_s,
        distance_m=_known(flights, "distance_m"),
        max_alt_m=_known(flights, "max_alt_m"),
        max_speed_m_s=_known(flights, "max_speed_m_s"),
        start_lat_deg=_known(flights, "start_lat_deg"),
        start_lon_deg=_known(flights, "start_lon_deg"),
        end_lat_deg=_known(ends, "end_lat_deg"),
        end_lon_deg=_known(ends, "end_lon_deg"),
        min_lat_deg=_known(flights, "min_lat_deg"),
        min_lon_deg=_known(flights, "min_lon_deg"),
        max_lat_deg=_known(flights, "max_lat_deg"),
        max_lon_deg=_known(flights, "max_lon_deg"),
        battery_used_pct=_known(flights, "battery_used_pct"),
        battery_used_mah=_known(flights, "battery_used_mah"),
        min_battery_v=_known(flights, "min_battery_v"),
        end_state=end_state,
        firmware=_known(logs, "firmware"),
        autopilot=_known(logs, "autopilot"),
        airframe=_known(logs, "airframe"),
        time_source=best.time_source,
        time_error_ms=best.time_error_ms,
        members=tuple(sorted(_identity(one) for one in members)),
        track_log_id=best.log_id,
        track_flight_no=flight.flight_no,
    )


def _rank(one: FoundFlight) -> tuple[bool, float, UUID, int]:
    """Best first."""
    return one.format in GROUND_FORMATS, -one.flight.duration_s, *_identity(one)


def _seen_further(best: FoundFlight, others: list[FoundFlight]) -> LogFlight | None:
    """The flight of another log that goes on after this one's log ended in the air."""
    until = best.flight.landed_at
    if until is None or best.flight.end_state not in (EndState.LOG_ENDED, EndState.LOST):
        return None
    least = until + timedelta(seconds=MIN_OVERLAP_S)
    later = [
        (one.flight.landed_at, one.flight.flight_no, one.flight)
        for one in others
        if one.flight.landed_at is not None and one.flight.landed_at > least
    ]
    return max(later, key=lambda entry: entry[:2])[2] if later else None


def _known(found: Sequence[Any], name: str) -> Any:
    """The first value that is not None."""
    return next((value for one in found if (value := getattr(one, name)) is not None), None)
