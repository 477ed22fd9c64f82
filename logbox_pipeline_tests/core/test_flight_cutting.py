"""Flights cut out of hand-made tracks: what the autopilot says first, then what can be seen."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logbox_pipeline.core.flight_cutting import cut, haversine_m
from logbox_pipeline.core.flights import EndState
from logbox_pipeline.core.track import TRACK_COLUMNS

START = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
METRE_DEG = 1 / 111_195.08


def track(count: int, **columns: Any) -> pa.Table:
    """`count` seconds; a column is one value for all, or one per second."""
    known: dict[str, list[Any]] = {
        "second": list(range(count)),
        "t_boot_us": [second * 1_000_000 for second in range(count)],
        "ts": [START + timedelta(seconds=second) for second in range(count)],
    }
    for name, values in columns.items():
        known[name] = values if isinstance(values, list) else [values] * count
    arrays = [pa.array(known.get(f.name, [None] * count), f.type) for f in TRACK_COLUMNS]
    return pa.Table.from_arrays(arrays, schema=TRACK_COLUMNS)


def spans(table: pa.Table, **how: bool) -> list[tuple[int, int, str]]:
    return [(f.first_second, f.last_second, f.end_state) for f in cut(table, **how)]


def steps(text: str) -> list[bool | None]:
    """`.` no, `#` yes, `?` unknown: one per second."""
    return [{".": False, "#": True, "?": None}[letter] for letter in text]


def told(airborne: str, armed: str | None = None) -> pa.Table:
    states = {"is_airborne": steps(airborne)}
    if armed is not None:
        states["is_armed"] = steps(armed)
    return track(len(airborne), **states)


def test_an_empty_track_has_no_flight() -> None:
    assert cut(track(0)) == []


def test_a_track_that_knows_nothing_has_no_flight() -> None:
    assert cut(track(60)) == []


@pytest.mark.parametrize(
    ("airborne", "armed", "expected"),
    [
        ("...####...", ".########.", [(3, 6, "landed")]),
        ("...####...", "...####...", [(3, 6, "landed")]),
        ("...####???", ".######...", [(3, 6, "disarmed")]),
        ("...####???", ".#########", [(3, 9, "log_ended")]),
        ("..##??##..", ".#########", [(2, 7, "landed")]),
        ("...#######", ".######...", [(3, 6, "disarmed")]),
        ("...#######", ".#########", [(3, 9, "log_ended")]),
        ("#####.....", "#######...", [(0, 4, "landed")]),
        ("##########", "##########", [(0, 9, "log_ended")]),
        ("..####....####..", ".##############.", [(2, 5, "landed"), (10, 13, "landed")]),
        ("..####.###..", ".##########.", [(2, 9, "landed")]),
        ("..####.###..", ".####..####.", [(2, 4, "disarmed"), (7, 9, "landed")]),
        ("..####......", "............", []),
        ("..####......", "????????????", [(2, 5, "landed")]),
        ("...##....", ".#######.", []),
        ("..........", ".########.", []),
    ],
)
def test_what_the_autopilot_says_of_air_and_ground_counts(
    airborne: str, armed: str, expected: list[tuple[int, int, str]]
) -> None:
    assert spans(told(airborne, armed)) == expected


def test_without_a_word_on_air_a_flight_starts_when_it_moves_and_ends_when_it_disarms() -> None:
    armed = [False] * 5 + [True] * 20 + [False] * 5
    climbs = [0.0] * 10 + [min(10.0, float(s)) for s in range(20)]
    assert spans(track(30, is_armed=armed, alt_m=climbs)) == [(13, 24, "disarmed")]
    drives = [0.1] * 12 + [3.0] * 18
    assert spans(track(30, is_armed=armed, speed_m_s=drives)) == [(12, 24, "disarmed")]


def test_armed_without_moving_is_no_flight() -> None:
    assert cut(track(30, is_armed=True, alt_m=0.3, speed_m_s=0.2)) == []


def test_armed_without_speed_and_altitude_is_a_flight() -> None:
    assert spans(track(10, is_armed=steps("..######.."))) == [(2, 7, "disarmed")]


def test_without_any_state_speed_and_altitude_are_seen() -> None:
    speed = [0.0] * 5 + [9.0] * 10 + [1.0] * 6 + [9.0] * 10 + [0.0] * 20 + [9.0] * 5
    found = spans(track(len(speed), speed_m_s=speed))
    assert found == [(5, 30, "landed"), (51, 55, "log_ended")]
    assert spans(track(20, alt_m=[100.0] * 5 + [120.0] * 10 + [101.0] * 5)) == [(5, 14, "landed")]


def test_what_does_not_fly_makes_a_flight_of_each_armed_stretch() -> None:
    dives = track(20, is_armed=steps("..########..####...."), speed_m_s=0.0, is_airborne=False)
    assert spans(dives, flies=False) == [(2, 9, "disarmed"), (12, 15, "disarmed")]
    assert spans(dives) == []


def test_a_long_gap_ends_what_was_under_way() -> None:
    seconds = [*range(10), *range(400, 410)]
    table = track(20, is_airborne=True, second=seconds)
    assert spans(table) == [(0, 9, "lost"), (400, 409, "log_ended")]


def test_a_short_gap_does_not() -> None:
    seconds = [*range(10), *range(100, 110)]
    flights = cut(track(20, is_airborne=True, second=seconds))
    assert [(f.first_second, f.last_second, f.duration_s) for f in flights] == [(0, 109, 109.0)]


def test_a_boot_clock_that_begins_again_ends_what_was_under_way() -> None:
    boot = [s * 1_000_000 for s in [*range(100, 110), *range(10)]]
    found = spans(track(20, is_airborne=True, t_boot_us=boot))
    assert found == [(0, 9, EndState.REBOOTED), (10, 19, EndState.LOG_ENDED)]


def test_a_restart_is_seen_past_seconds_without_the_boot_clock() -> None:
    boot = [*(s * 1_000_000 for s in range(100, 109)), None, None, *(s * 10**6 for s in range(9))]
    found = spans(track(20, is_airborne=True, t_boot_us=boot))
    assert found == [(0, 10, EndState.REBOOTED), (11, 19, EndState.LOG_ENDED)]


def test_distance_of_a_straight_line() -> None:
    lat = [47 + 10 * METRE_DEG * s for s in range(101)]
    (flight,) = cut(track(101, is_airborne=True, lat_deg=lat, lon_deg=8.0))
    assert flight.distance_m == pytest.approx(1_000, rel=1e-5)
    assert (flight.start_lat_deg, flight.end_lat_deg) == (lat[0], lat[-1])
    assert (flight.min_lat_deg, flight.max_lat_deg) == (lat[0], lat[-1])


def test_fixes_that_jump_away_and_back_add_no_distance() -> None:
    lat: list[float | None] = [47 + 10 * METRE_DEG * s for s in range(101)]
    lat[30], lat[31], lat[60], lat[80] = 12.0, -77.0, None, math.nan
    (flight,) = cut(track(101, is_airborne=True, lat_deg=lat, lon_deg=8.0))
    assert flight.distance_m == pytest.approx(1_000, rel=1e-5)
    assert flight.min_lat_deg == 47.0


def test_a_first_fix_far_away_is_the_outlier() -> None:
    lat = [12.0, 12.0] + [47 + 10 * METRE_DEG * s for s in range(101)]
    (flight,) = cut(track(103, is_airborne=True, lat_deg=lat, lon_deg=8.0))
    assert flight.distance_m == pytest.approx(1_000, rel=1e-5)
    assert flight.start_lat_deg == 47.0


def test_a_track_that_goes_on_elsewhere_is_believed_without_the_jump() -> None:
    here = [47 + 10 * METRE_DEG * s for s in range(51)]
    there = [48 + 10 * METRE_DEG * s for s in range(51)]
    (flight,) = cut(track(102, is_airborne=True, lat_deg=here + there, lon_deg=8.0))
    assert flight.distance_m == pytest.approx(1_000, rel=1e-5)
    assert (flight.start_lat_deg, flight.end_lat_deg) == (here[0], there[-1])


def test_zero_zero_is_no_fix() -> None:
    (flight,) = cut(track(10, is_airborne=True, lat_deg=0.0, lon_deg=0.0))
    assert flight.distance_m is None
    assert flight.start_lat_deg is None


def test_extremes_leave_out_what_no_drone_does() -> None:
    speed, alt = [5.0] * 10, [20.0] * 10
    speed[4], alt[5] = 9_999.0, 1e9
    (flight,) = cut(track(10, is_airborne=True, speed_m_s=speed, alt_m=alt))
    assert (flight.max_speed_m_s, flight.max_alt_m) == (5.0, 20.0)


def test_battery_is_what_the_flight_used() -> None:
    pct = [100.0] * 5 + [90.0 - s for s in range(11)] + [50.0] * 4
    airborne = [False] * 5 + [True] * 11 + [False] * 4
    volts = [16.0] * 10 + [0.0] + [14.5] * 9
    (flight,) = cut(
        track(20, is_airborne=airborne, battery_pct=pct, battery_a=36.0, battery_v=volts)
    )
    assert flight.battery_used_pct == 10.0
    assert flight.battery_used_mah == pytest.approx(100.0)
    assert flight.min_battery_v == 14.5


def test_unknown_stays_unknown() -> None:
    (flight,) = cut(
        track(10, is_airborne=True, ts=None, t_boot_us=None, battery_a=[None] * 9 + [1])
    )
    assert flight.takeoff_at is None
    assert flight.takeoff_t_boot_us is None
    assert flight.battery_used_mah is None
    assert flight.battery_used_pct is None
    assert flight.max_alt_m is None


def test_times_are_those_of_the_rows() -> None:
    (flight,) = cut(told("...####..."))
    assert (flight.takeoff_t_boot_us, flight.landed_t_boot_us) == (3_000_000, 6_000_000)
    assert flight.takeoff_at == START + timedelta(seconds=3)
    assert flight.landed_at == START + timedelta(seconds=6)
    assert flight.duration_s == 3.0


def test_haversine_knows_a_degree_and_half_the_globe() -> None:
    assert haversine_m(0, 0, 1, 0) == pytest.approx(111_195.08, abs=0.01)
    assert haversine_m(0, 179.5, 0, -179.5) == pytest.approx(111_195.08, abs=0.01)
    assert haversine_m(90, 0, -90, 0) == pytest.approx(math.pi * 6_371_008.8)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, True, False]),
            st.sampled_from([None, True, False]),
            st.one_of(st.none(), st.floats(width=32)),
            st.one_of(st.none(), st.floats()),
            st.integers(0, 400),
        ),
        max_size=60,
    ),
    st.booleans(),
)
def test_whatever_a_track_holds_flights_are_apart_and_in_it(rows: Any, flies: bool) -> None:
    armed, airborne, speed, lat, gaps = ([list(c) for c in zip(*rows, strict=True)] or [[]] * 5)[:5]
    second = [sum(gaps[: place + 1]) + place for place in range(len(gaps))]
    table = track(
        len(rows), second=second, is_armed=armed, is_airborne=airborne,
        speed_m_s=speed, alt_m=speed, lat_deg=lat, lon_deg=lat, battery_v=speed, battery_a=speed,
    )  # fmt: skip
    last = -1
    for number, flight in enumerate(cut(table, flies=flies), 1):
        assert flight.flight_no == number
        assert last < flight.first_second <= flight.last_second
        assert flight.first_second in second
        assert flight.last_second in second
        assert flight.distance_m is None or flight.distance_m >= 0
        last = flight.last_second
