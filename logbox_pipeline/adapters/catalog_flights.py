"""The catalog's record of flights: which log saw which, kept joined as logs come and go.

What makes two logs' flights one is decided in `core.flights`; here only what a change touches is
read and written again, so that a vehicle with thousands of flights costs no more than a new one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

from psycopg2.extras import execute_values

from logbox_pipeline.core.flights import (
    MAX_CLOCK_ERROR_S,
    MIN_OVERLAP_S,
    EndState,
    Flight,
    FoundFlight,
    LogFlight,
    join,
)

_MARGIN = timedelta(seconds=MAX_CLOCK_ERROR_S + MIN_OVERLAP_S)
"""No two spans further apart than this are one flight."""

_SEEN = [one.name for one in fields(LogFlight)]
_KNOWN = [
    one.name for one in fields(Flight)
    if one.name not in ("members", "track_log_id", "track_flight_no")
]  # fmt: skip


def record_flights(
    cursor: Any,
    found: Sequence[FoundFlight],
    loaded: Sequence[UUID],
    forgotten: Sequence[UUID] = (),
) -> None:
    """Part of the load transaction: `found` is all that the logs `loaded` saw; what they saw in an
    earlier load, and what the logs `forgotten` saw, is gone.

    Flights that this touches are joined anew; the result does not depend on the order in which logs
    come. Vehicles are locked in one order until the transaction ends: call this once, and after
    other changes that wait for locks.
    """
    replaced = sorted({*loaded, *forgotten})
    _lock_vehicles(cursor, found, replaced)
    touched = _flights_of_logs(cursor, replaced) | _flights_around(cursor, found)
    gone = set(replaced)
    kept = {one: by for one, by in _members(cursor, touched).items() if one.log_id not in gone}
    members = kept | _timed(found)
    _delete(cursor, touched)
    _insert(cursor, join(list(members)), members)


def forget_log_flights(cursor: Any, log_ids: Sequence[UUID]) -> None:
    """These logs count no more: their flights are gone, or are what other logs saw of them."""
    record_flights(cursor, (), (), log_ids)


def _lock_vehicles(cursor: Any, found: Sequence[FoundFlight], replaced: Sequence[UUID]) -> None:
    cursor.execute(
        """
        select distinct l.client, l.vehicle
        from logbox.flight_logs
        join logbox.logs l using (log_id)
        where log_id = any(%s::uuid[]) and l.vehicle is not null
        """,
        (_texts(replaced),),
    )
    vehicles = {(client, vehicle) for client, vehicle in cursor.fetchall()}
    vehicles |= {(one.client, one.vehicle) for one in found if one.vehicle is not None}
    if vehicles:
        cursor.execute(
            """
            select pg_advisory_xact_lock(name)
            from (
                select distinct hashtextextended('flights:' || client || '/' || vehicle, 0) as name
                from unnest(%s::text[], %s::text[]) as v (client, vehicle)
                order by 1
            ) as ordered
            """,
            ([client for client, _ in vehicles], [vehicle for _, vehicle in vehicles]),
        )


def _flights_of_logs(cursor: Any, log_ids: Sequence[UUID]) -> set[str]:
    cursor.execute(
        "select distinct flight_id from logbox.flight_logs where log_id = any(%s::uuid[])",
        (_texts(log_ids),),
    )
    return {flight_id for (flight_id,) in cursor.fetchall()}


def _flights_around(cursor: Any, found: Sequence[FoundFlight]) -> set[str]:
    """Flights of the same vehicles near the times of `found`. More than needed does no harm."""
    around = [
        (one.client, one.vehicle, *span)
        for one in found
        if one.vehicle is not None and (span := _span(one.flight)) is not None
    ]
    if not around:
        return set()
    cursor.execute(
        """
        select distinct m.flight_id
        from unnest(%s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[])
            as near (client, vehicle, earliest, latest)
        -- Who was in the air then, and of these the vehicle's: `offset` keeps Postgres from
        -- beginning with all the logs that a vehicle ever made.
        cross join lateral (
            select flight_id, log_id
            from logbox.flight_logs
            where takeoff_at is not null
                and landed_at is not null
                and tstzrange(
                    least(takeoff_at, landed_at), greatest(takeoff_at, landed_at), '[]'
                ) && tstzrange(near.earliest, near.latest, '[]')
            offset 0
        ) as m
        cross join lateral (
            select
            from logbox.logs l
            where l.log_id = m.log_id and (l.client, l.vehicle) = (near.client, near.vehicle)
            offset 0
        ) as own
        """,
        tuple(list(column) for column in zip(*around, strict=True)),
    )
    return {flight_id for (flight_id,) in cursor.fetchall()}


def _span(flight: LogFlight) -> tuple[datetime, datetime] | None:
    if flight.takeoff_at is None or flight.landed_at is None:
        return None
    times = (flight.takeoff_at, flight.landed_at)
    # A clock may step back in flight, and a flight of unknown length is given MIN_OVERLAP_S.
    return min(times) - 2 * _MARGIN, max(times) + 2 * _MARGIN


def _timed(found: Sequence[FoundFlight]) -> dict[FoundFlight, str | None]:
    """Each with the clock that tells the flights of its log apart, so that no row has two."""
    by_log: dict[UUID, list[LogFlight]] = {}
    for one in found:
        by_log.setdefault(one.log_id, []).append(one.flight)
    clocks = {log_id: _clock(flights) for log_id, flights in by_log.items()}
    return {one: clocks[one.log_id] for one in found}


def _clock(flights: Sequence[LogFlight]) -> str | None:
    if _are_apart([(one.takeoff_at, one.landed_at) for one in flights]):
        return "utc"
    if _are_apart([(one.takeoff_t_boot_us, one.landed_t_boot_us) for one in flights]):
        return "boot_clock"
    return None


def _are_apart(spans: Sequence[tuple[Any, Any]]) -> bool:
    if any(time is None for span in spans for time in span):
        return False
    ordered = sorted(spans)
    return all(first <= last for first, last in ordered) and all(
        before[1] < after[0] for before, after in pairwise(ordered)
    )


def _members(cursor: Any, flight_ids: set[str]) -> dict[FoundFlight, str | None]:
    """What logs saw of these flights, and `timed_by` of each."""
    if not flight_ids:
        return {}
    cursor.execute(
        f"""
        select l.log_id, l.client, l.vehicle, l.received_at, l.time_source, l.time_error_ms,
            l.firmware, l.autopilot, l.airframe, l.format, m.timed_by,
            {", ".join(f"m.{name}" for name in _SEEN)}
        from logbox.flight_logs m
        join logbox.logs l using (log_id)
        where m.flight_id = any(%s::uuid[])
        """,  # noqa: S608 - the columns are the dataclass's own field names
        (sorted(flight_ids),),
    )
    return {
        FoundFlight(
            log_id=UUID(row[0]),
            flight=_log_flight(row[11:]),
            client=row[1],
            vehicle=row[2],
            received_at=row[3],
            time_source=row[4],
            time_error_ms=row[5],
            firmware=row[6],
            autopilot=row[7],
            airframe=row[8],
            format=row[9],
        ): row[10]
        for row in cursor.fetchall()
    }


def _log_flight(values: Sequence[Any]) -> LogFlight:
    known = dict(zip(_SEEN, values, strict=True))
    return LogFlight(**{**known, "end_state": EndState(known["end_state"])})


def _delete(cursor: Any, flight_ids: set[str]) -> None:
    for table in ("flight_logs", "flights"):
        cursor.execute(
            f"delete from logbox.{table} where flight_id = any(%s::uuid[])",  # noqa: S608
            (sorted(flight_ids),),
        )


def _insert(
    cursor: Any, flights: Sequence[Flight], members: Mapping[FoundFlight, str | None]
) -> None:
    if not flights:
        return
    seen = {(one.log_id, one.flight.flight_no): (one.flight, by) for one, by in members.items()}
    execute_values(
        cursor,
        f"insert into logbox.flights ({', '.join(_KNOWN)}) values %s",  # noqa: S608
        [tuple(_plain(getattr(flight, name)) for name in _KNOWN) for flight in flights],
        page_size=1_000,
    )
    execute_values(
        cursor,
        f"""
        insert into logbox.flight_logs (flight_id, log_id, is_track, timed_by, {", ".join(_SEEN)})
        values %s
        """,  # noqa: S608
        [
            (
                str(flight.flight_id),
                str(log_id),
                (log_id, flight_no) == (flight.track_log_id, flight.track_flight_no),
                timed_by,
                *(_plain(getattr(seen_flight, name)) for name in _SEEN),
            )
            for flight in flights
            for log_id, flight_no in flight.members
            for seen_flight, timed_by in [seen[log_id, flight_no]]
        ],
        page_size=1_000,
    )


def _plain(value: Any) -> Any:
    """What psycopg2 writes; an EndState is text already."""
    return str(value) if isinstance(value, UUID | EndState) else value


def _texts(ids: Sequence[UUID]) -> list[str]:
    return [str(one) for one in ids]
