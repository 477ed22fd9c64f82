"""Which flights of several logs are one flight, and which numbers stand for it."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from logbox_pipeline.core.flights import EndState, Flight, FoundFlight, LogFlight, join

NINE = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
UPLOADED = NINE + timedelta(hours=5)


def seen(takeoff_s: float, landed_s: float, number: int = 1, **known: Any) -> LogFlight:
    """A flight by seconds after nine."""
    flight = LogFlight(
        flight_no=number,
        first_second=int(takeoff_s),
        last_second=int(landed_s),
        takeoff_t_boot_us=None,
        landed_t_boot_us=None,
        takeoff_at=NINE + timedelta(seconds=takeoff_s),
        landed_at=NINE + timedelta(seconds=landed_s),
        duration_s=landed_s - takeoff_s,
        distance_m=None,
        max_alt_m=None,
        max_speed_m_s=None,
        start_lat_deg=None,
        start_lon_deg=None,
        end_lat_deg=None,
        end_lon_deg=None,
        min_lat_deg=None,
        min_lon_deg=None,
        max_lat_deg=None,
        max_lon_deg=None,
        battery_used_pct=None,
        battery_used_mah=None,
        min_battery_v=None,
        end_state=EndState.LANDED,
    )
    return replace(flight, **known)


def found(log: int, flight: LogFlight, **known: Any) -> FoundFlight:
    one = FoundFlight(
        log_id=UUID(int=log),
        flight=flight,
        client="alpha",
        vehicle="drone-1",
        received_at=UPLOADED,
        time_source="gps",
        time_error_ms=0,
        firmware=None,
        autopilot=None,
        airframe=None,
        format="ulog",
    )
    return replace(one, **known)


def members(flights: list[Flight]) -> list[list[tuple[int, int]]]:
    return [[(log_id.int, number) for log_id, number in one.members] for one in flights]


def test_logs_that_overlap_are_one_flight() -> None:
    flights = join([found(1, seen(0, 100)), found(2, seen(50, 160))])
    assert members(flights) == [[(1, 1), (2, 1)]]


def test_logs_that_follow_each_other_are_two() -> None:
    flights = join([found(1, seen(0, 100)), found(2, seen(130, 160))])
    assert members(flights) == [[(1, 1)], [(2, 1)]]


@pytest.mark.parametrize(("overlap_s", "flights"), [(-1, 2), (0, 2), (2.9, 2), (3, 1), (10, 1)])
def test_a_touch_of_less_than_three_seconds_is_none(overlap_s: float, flights: int) -> None:
    assert len(join([found(1, seen(0, 100)), found(2, seen(100 - overlap_s, 200))])) == flights


def test_a_short_flight_overlaps_by_half_of_it() -> None:
    assert len(join([found(1, seen(0, 4)), found(2, seen(2, 6))])) == 1


def test_clock_errors_widen_the_overlap_but_not_without_end() -> None:
    late = seen(101, 200)
    wrong_by = {ms: len(join([found(1, seen(0, 100)), found(2, late, time_error_ms=ms)]))
                for ms in (0, 3_000, 4_000, 60_000)}  # fmt: skip
    assert wrong_by == {0: 2, 3_000: 2, 4_000: 1, 60_000: 1}
    minute_later = found(2, seen(160, 300), time_error_ms=600_000)
    assert len(join([found(1, seen(0, 100)), minute_later])) == 2


@pytest.mark.parametrize(
    "other",
    [{"client": "beta"}, {"vehicle": "drone-2"}, {"vehicle": None}, {"time_source": "none"}],
)
def test_other_vehicles_and_untrusted_clocks_stay_apart(other: dict[str, Any]) -> None:
    assert len(join([found(1, seen(0, 100)), found(2, seen(0, 100), **other)])) == 2


def test_two_unknown_vehicles_are_not_one() -> None:
    ones = [found(log, seen(0, 100), vehicle=None) for log in (1, 2)]
    assert members(join(ones)) == [[(1, 1)], [(2, 1)]]


def test_without_trusted_time_the_arrival_is_the_bound() -> None:
    (flight,) = join([found(1, seen(0, 100), time_source="none")])
    assert (flight.takeoff_at, flight.landed_at) == (None, None)
    assert flight.started_before == UPLOADED
    (timed,) = join([found(1, seen(0, 100))])
    assert timed.started_before == timed.takeoff_at == NINE


def test_a_flight_without_utc_is_kept() -> None:
    unknown = seen(0, 100, takeoff_at=None, landed_at=None)
    (flight,) = join([found(1, unknown)])
    assert (flight.takeoff_at, flight.duration_s) == (None, 100)


def test_one_ground_log_holds_several_flights() -> None:
    ground = [found(9, seen(0, 100, 1), format="mavlink", time_source="gcs"),
              found(9, seen(300, 420, 2), format="mavlink", time_source="gcs")]  # fmt: skip
    board = [found(1, seen(1, 101)), found(2, seen(299, 421))]
    assert members(join(ground + board)) == [[(1, 1), (9, 1)], [(2, 1), (9, 2)]]


def test_a_ground_log_that_missed_a_landing_joins_no_two_flights() -> None:
    ground = found(9, seen(0, 400), format="mavlink", time_source="gcs")
    board = [found(1, seen(0, 100)), found(2, seen(200, 400))]
    assert members(join([ground, *board])) == [[(1, 1)], [(2, 1), (9, 1)]]


def test_two_flights_of_one_log_are_never_one() -> None:
    assert len(join([found(1, seen(0, 100, 1)), found(1, seen(50, 200, 2))])) == 2


def test_ground_logs_alone_are_joined_too() -> None:
    both = [found(n, seen(0, 100), format="mavlink", time_source="gcs") for n in (1, 2)]
    assert members(join(both)) == [[(1, 1), (2, 1)]]


def test_the_track_of_the_log_on_board_stands_for_the_flight() -> None:
    (flight,) = join(
        [
            found(1, seen(0, 200, distance_m=9.0), format="mavlink", time_source="gcs"),
            found(2, seen(0, 90, distance_m=5.0)),
            found(3, seen(0, 100, distance_m=7.0), firmware="v1.16"),
        ]
    )
    assert (flight.track_log_id.int, flight.track_flight_no) == (3, 1)
    assert (flight.distance_m, flight.duration_s, flight.firmware) == (7.0, 100, "v1.16")


def test_what_the_best_log_does_not_know_another_says() -> None:
    (flight,) = join(
        [
            found(1, seen(0, 100, max_alt_m=50.0)),
            found(2, seen(0, 99, max_alt_m=49.0, battery_used_pct=12.0), airframe="quadrotor"),
        ]
    )
    assert (flight.max_alt_m, flight.battery_used_pct, flight.airframe) == (50.0, 12.0, "quadrotor")


def test_a_log_that_ended_in_the_air_is_finished_by_one_that_saw_more() -> None:
    cut_off = seen(0, 60, end_state=EndState.LOG_ENDED, end_lat_deg=47.0, end_lon_deg=8.0)
    whole = seen(1, 300, end_lat_deg=48.0, end_lon_deg=9.0)
    (flight,) = join([found(1, cut_off), found(2, whole, format="mavlink", time_source="gcs")])
    assert flight.track_log_id == UUID(int=1)
    assert (flight.duration_s, flight.end_state) == (300.0, EndState.LANDED)
    assert (flight.end_lat_deg, flight.end_lon_deg) == (48.0, 9.0)
    assert flight.landed_at == NINE + timedelta(seconds=300)


def test_the_order_of_arrival_changes_nothing() -> None:
    ones = [
        found(1, seen(0, 100)),
        found(2, seen(60, 200)),
        found(3, seen(20, 190), format="mavlink", time_source="gcs"),
        found(4, seen(500, 600), time_source="none"),
    ]
    joined = [join(list(order)) for order in itertools.permutations(ones)]
    assert all(flights == joined[0] for flights in joined)
    assert members(joined[0]) == [[(1, 1), (2, 1), (3, 1)], [(4, 1)]]


def test_the_id_is_that_of_the_earliest_member() -> None:
    (alone,) = join([found(1, seen(0, 100))])
    (joined,) = join([found(1, seen(0, 100)), found(2, seen(10, 300))])
    (other_client,) = join([found(1, seen(0, 100), client="beta")])
    assert joined.flight_id == alone.flight_id
    assert other_client.flight_id != alone.flight_id


def test_every_flight_of_a_log_is_in_exactly_one() -> None:
    ones = [found(log, seen(start, start + 50, 1), format=format)
            for log, (start, format) in enumerate(
                itertools.product(range(0, 400, 30), ("ulog", "mavlink", "dji_app")))]  # fmt: skip
    placed = sorted(member for flight in join(ones) for member in flight.members)
    assert placed == sorted((one.log_id, one.flight.flight_no) for one in ones)


def test_ten_thousand_flights_take_no_time_at_all() -> None:
    ones = [found(log, seen(log * 100, log * 100 + 60)) for log in range(10_000)]
    assert len(join(ones)) == 10_000
