"""Flights in the catalog: the same whatever came first, cheap however many there are."""

import random
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg2.extras import execute_values

from logbox_pipeline.adapters.catalog_flights import forget_log_flights, record_flights
from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.core.flights import EndState, FoundFlight, LogFlight
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests.journey import one, rows

DAY = datetime(2026, 11, 20, tzinfo=UTC)


def found(
    log: int,
    minute: float | None,
    minutes: float = 10,
    *,
    flight_no: int = 1,
    vehicle: str | None = "heron",
    **changes: Any,
) -> FoundFlight:
    """A flight of `minutes` that took off `minute` after DAY; None: nobody knows when."""
    takeoff_at = None if minute is None else DAY + timedelta(minutes=minute)
    landed_at = takeoff_at and takeoff_at + timedelta(minutes=minutes)
    boot_us = int(1e6 + flight_no * 3_600e6)
    unknown = dict.fromkeys(LogFlight.__dataclass_fields__)
    flight = LogFlight(
        **unknown
        | {
            "flight_no": flight_no,
            "first_second": flight_no * 3_600,
            "last_second": flight_no * 3_600 + int(minutes * 60),
            "takeoff_t_boot_us": boot_us,
            "landed_t_boot_us": boot_us + int(minutes * 60e6),
            "takeoff_at": takeoff_at,
            "landed_at": landed_at,
            "duration_s": minutes * 60,
            "end_state": EndState.LANDED,
        }
        | changes.pop("flight", {})
    )
    return replace(
        FoundFlight(
            log_id=UUID(int=log),
            flight=flight,
            client="acme",
            vehicle=vehicle,
            received_at=DAY + timedelta(days=1, seconds=log),
            time_source="none" if minute is None else "gps",
            time_error_ms=None,
            firmware="v1",
            autopilot="PX4",
            airframe="quadrotor",
            format="ulog",
        ),
        **changes,
    )


def add_logs(site: Site, flights: Iterable[FoundFlight]) -> None:
    """The catalog's rows that a load has made before its flights."""
    logs = sorted({one.log_id: one for one in flights}.values(), key=lambda one: one.log_id)
    with site.transaction() as cursor:
        execute_values(
            cursor,
            """
            insert into logbox.deliveries (
                delivery_id, bucket, landing_key, etag, received_at, client, name, size_bytes,
                sensed_at
            ) values %s on conflict do nothing
            """,
            [
                (
                    str(log.log_id),
                    "b",
                    f"{log.log_id}",
                    "e",
                    log.received_at,
                    log.client,
                    "n",
                    1,
                    DAY,
                )
                for log in logs
            ],
        )
        execute_values(
            cursor,
            """
            insert into logbox.logs (
                log_id, client, vehicle, content_sha256, delivery_id, received_at, received_on,
                size_bytes, state, format, loaded_at, telemetry_rows, time_source, time_error_ms,
                firmware, autopilot, airframe
            ) values %s on conflict do nothing
            """,
            [
                (
                    str(log.log_id), log.client, log.vehicle, f"{log.log_id.int:064x}",
                    str(log.log_id), log.received_at, log.received_at.date(), 1, "loaded",
                    log.format, DAY, 0, log.time_source, log.time_error_ms, log.firmware,
                    log.autopilot, log.airframe,
                )
                for log in logs
            ],
        )  # fmt: skip


def record(site: Site, flights: Sequence[FoundFlight], forgotten: Sequence[UUID] = ()) -> None:
    with site.transaction() as cursor:
        record_flights(cursor, flights, sorted({one.log_id for one in flights}), forgotten)


def recorded(site: Site) -> list[tuple[Any, ...]]:
    """Everything in both tables."""
    return rows(site, "select f::text from logbox.flights f order by flight_id") + rows(
        site, "select m::text from logbox.flight_logs m order by log_id, flight_no"
    )


def members(site: Site) -> list[list[int]]:
    """The numbers of the logs of each flight, in the order of takeoff."""
    return [
        logs
        for (logs,) in rows(
            site,
            """
            select array_agg(('x' || right(log_id::text, 6))::bit(24)::int order by log_id)
            from logbox.flights f
            join logbox.flight_logs m using (flight_id)
            group by f.flight_id
            order by f.started_before, f.flight_id
            """,
        )
    ]


def clear(site: Site) -> None:
    with site.transaction() as cursor:
        cursor.execute("delete from logbox.flight_logs; delete from logbox.flights")


def test_logs_that_overlap_are_one_flight_and_one_of_them_is_its_track(site: Site) -> None:
    flights = [found(1, 0), found(2, 5, format="mavlink"), found(3, 60)]
    add_logs(site, flights)
    record(site, flights)
    assert members(site) == [[1, 2], [3]]
    assert rows(
        site,
        "select right(log_id::text, 1), is_track, timed_by from logbox.flight_logs order by 1",
    ) == [("1", True, "utc"), ("2", False, "utc"), ("3", True, "utc")]


@pytest.mark.parametrize("seed", range(4))
def test_flights_do_not_depend_on_the_order_of_arrival(site: Site, seed: int) -> None:
    chance = random.Random(seed)
    flights = [
        found(
            log,
            None if log % 9 == 0 else chance.randrange(0, 300),
            chance.randrange(1, 40),
            vehicle=chance.choice(["heron", "kite", None]),
            format=chance.choice(["ulog", "mavlink"]),
            time_error_ms=chance.choice([None, 3_000]),
        )
        for log in range(1, 40)
    ]
    add_logs(site, flights)
    record(site, flights)
    together = recorded(site)
    for _ in range(3):
        clear(site)
        chance.shuffle(flights)
        start = 0
        while start < len(flights):
            size = chance.randrange(1, 6)
            record(site, flights[start : start + size])
            start += size
        assert recorded(site) == together
        # A log that is loaded again, and a batch done twice.
        record(site, flights[:7])
        assert recorded(site) == together


def test_a_log_that_joins_two_flights_parts_them_again_when_it_is_forgotten(site: Site) -> None:
    apart = [found(1, 0), found(2, 20)]
    between = found(3, 5, 20)
    add_logs(site, [*apart, between])
    record(site, apart)
    before = recorded(site)
    assert members(site) == [[1], [2]]
    record(site, [between])
    assert members(site) == [[1, 2, 3]]
    with site.transaction() as cursor:
        forget_log_flights(cursor, [between.log_id])
    assert recorded(site) == before


def test_a_growing_log_takes_the_place_of_its_beginning(site: Site) -> None:
    beginning, whole, other = found(1, 0, 5), found(2, 0, 30), found(3, 25, 10)
    add_logs(site, [beginning, whole, other])
    record(site, [beginning])
    record(site, [other])
    assert members(site) == [[1], [3]]
    record(site, [whole], [beginning.log_id])
    assert members(site) == [[2, 3]]


def test_a_log_loaded_again_with_fewer_flights_has_fewer(site: Site) -> None:
    first, second = found(1, 0), found(1, 60, flight_no=2)
    add_logs(site, [first])
    record(site, [first, second])
    assert members(site) == [[1], [1]]
    record(site, [first])
    assert members(site) == [[1]]
    with site.transaction() as cursor:
        record_flights(cursor, [], [first.log_id])
    assert recorded(site) == []


def test_flights_of_one_log_that_utc_does_not_tell_apart_go_by_the_boot_clock(site: Site) -> None:
    flights = [found(1, 0, 10), found(1, 5, 10, flight_no=2)]
    neither = [
        replace(one, log_id=UUID(int=2), flight=replace(one.flight, takeoff_t_boot_us=5))
        for one in flights
    ]
    add_logs(site, [*flights, *neither])
    record(site, [*flights, *neither])
    assert rows(
        site,
        "select right(log_id::text, 1), timed_by from logbox.flight_logs order by 1, flight_no",
    ) == [("1", "boot_clock"), ("1", "boot_clock"), ("2", None), ("2", None)]


def test_two_loads_of_the_same_vehicles_wait_and_never_in_a_ring(site: Site) -> None:
    vehicles = [f"v{number}" for number in range(12)]
    halves = [
        [found(number + 100 * half, number, vehicle=name) for number, name in enumerate(vehicles)]
        for half in (1, 2)
    ]
    add_logs(site, [*halves[0], *halves[1]])
    failed: list[LogboxError] = []

    def load(flights: list[FoundFlight]) -> None:
        try:
            for _ in range(8):
                random.shuffle(flights)
                record(site, flights)
        except LogboxError as error:
            failed.append(error)

    threads = [threading.Thread(target=load, args=(half,)) for half in halves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert members(site) == [[100 + number, 200 + number] for number in range(12)]


def test_one_more_flight_among_ten_thousand_is_cheap(site: Site) -> None:
    history = [found(log, 20 * log, 10) for log in range(1, 10_001)]
    add_logs(site, history)
    record(site, history)
    with site.transaction() as cursor:
        cursor.execute("analyze logbox.flight_logs; analyze logbox.flights; analyze logbox.logs")
    new = [found(20_000 + nth, 20 * (9_000 - 3 * nth) + 5, 10) for nth in range(20)]
    add_logs(site, new)
    started = time.monotonic()
    record(site, new[:1])
    record(site, new[1:])
    took_s = time.monotonic() - started
    assert one(site, "select count(*) from logbox.flights") == 10_000
    touched = "select count(*) from logbox.flight_logs where xmin::text <> %s"
    [(most_common,)] = rows(
        site,
        "select xmin::text from logbox.flight_logs group by 1 order by count(*) desc limit 1",
    )
    assert one(site, touched, most_common) == 40
    assert took_s < 2
