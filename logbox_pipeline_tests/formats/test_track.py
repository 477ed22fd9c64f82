"""One hertz out of any rates: what is held, for how long, and which source wins."""

from collections.abc import Mapping
from time import process_time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logbox_pipeline.core.track import TRACK_COLUMNS
from logbox_pipeline.formats.track import HIDDEN_COLUMNS, track
from logbox_pipeline.formats.track_mapping import Mapped, Need, TrackFormat, Vehicle, told
from logbox_pipeline_tests.formats.topics import START, HandTopics, column, rows, track_of


def known(*mapping: Mapped, clock: str = "t_boot_us", flies: bool = True) -> TrackFormat:
    return TrackFormat(
        "hand",
        mapping,
        clock,
        lambda about, commonest: Vehicle("Hand", "quadrotor", None, flies),
        lambda vehicle, code: str(code),
    )


def source(column: str, topic: str, field: str = "v", **more: Any) -> Mapped:
    return Mapped(column, topic, field, more.pop("scale", 1.0), "https://example.org", **more)


ALT = source("alt_m", "fast")
ARMED = source("is_armed", "slow")


def test_a_second_has_its_last_valid_value() -> None:
    fast = rows([0.0, 0.3, 0.6, 0.9, 1.1, 1.5], v=[1.0, 2.0, 3.0, float("nan"), None, 6.0])
    found = track_of(known(ALT), {"fast": fast})
    assert column(found, "alt_m") == [3.0, 6.0]
    assert column(found, "second") == [0, 1]
    assert column(found, "t_boot_us") == [900_000, 1_500_000]


def test_scale_and_sentinels() -> None:
    mapped = source("battery_v", "fast", scale=1e-3, unknown=(65_535.0,))
    found = track_of(known(mapped, ALT), {"fast": rows([0, 1], v=[65_535, 12_600])})
    assert column(found, "battery_v") == [None, 12.6]


def test_a_value_is_held_five_seconds_and_no_longer() -> None:
    topics = {"fast": rows([0.0], v=[1.0]), "slow": rows([float(s) for s in range(9)], v=True)}
    found = track_of(known(ALT, ARMED), topics)
    assert column(found, "alt_m") == [1.0] * 6 + [None] * 3


def test_a_state_is_held_until_it_changes() -> None:
    topics = {
        "fast": rows([float(s) for s in range(100)], v=1.0),
        "slow": rows([2.0, 90.0], v=[True, False]),
    }
    found = track_of(known(ALT, ARMED), topics)
    assert column(found, "is_armed") == [None] * 2 + [True] * 88 + [False] * 10


def test_a_state_may_hold_for_some_seconds_only() -> None:
    mapped = source("is_airborne", "slow", holds_s=2)
    topics = {"fast": rows([float(s) for s in range(6)], v=1.0), "slow": rows([1.0], v=True)}
    found = track_of(known(ALT, mapped), topics)
    assert column(found, "is_airborne") == [None, True, True, True, None, None]


def test_a_second_in_which_nothing_is_known_has_no_row() -> None:
    topics = {"fast": rows([0.0, 20.0], v=1.0), "slow": rows([0.0], v=True)}
    found = track_of(known(ALT, ARMED), topics)
    assert column(found, "second") == [0, 1, 2, 3, 4, 5, 20]
    assert column(found, "is_armed") == [True] * 7


def test_no_second_comes_after_the_last_sample() -> None:
    assert column(track_of(known(ALT), {"fast": rows([0.0, 1.0], v=1.0)}), "second") == [0, 1]


def test_times_of_a_second_without_a_sample_follow_the_clock() -> None:
    found = track_of(known(ALT), {"fast": rows([10.5, 13.5], v=1.0)})
    assert column(found, "t_boot_us") == [10_500_000, 11_000_000, 12_000_000, 13_500_000]
    seconds = [(ts - START).total_seconds() for ts in column(found, "ts")]
    assert seconds == [10.5, 11.0, 12.0, 13.5]


def test_the_first_source_that_knows_wins_second_by_second() -> None:
    second = source("alt_m", "other")
    topics = {
        "fast": rows([0.0, 10.0], v=[1.0, 2.0]),
        "other": rows([float(s) for s in range(12)], v=9.0),
    }
    found = track_of(known(ALT, second), topics)
    assert column(found, "alt_m") == [1.0] * 6 + [9.0] * 4 + [2.0] * 2


def test_the_next_instance_speaks_where_the_one_before_is_silent() -> None:
    topics = {"fast": {0: rows([0.0, 1.0], v=[None, None]), 3: rows([0.0, 1.0], v=[5.0, 6.0])}}
    assert column(track_of(known(ALT), topics), "alt_m") == [5.0, 6.0]


def test_a_need_that_the_log_has_no_field_for_is_met() -> None:
    mapped = source("alt_m", "fast", needs=(Need("fix", least=3),))
    without = rows([0.0, 1.0], v=[1.0, 2.0])
    assert column(track_of(known(mapped), {"fast": without}), "alt_m") == [1.0, 2.0]
    with_fix = rows([0.0, 1.0], v=[1.0, 2.0], fix=[1, 3])
    assert column(track_of(known(mapped), {"fast": with_fix}), "alt_m") == [2.0]


def test_news_of_a_change_say_what_was_before() -> None:
    mapped = source("is_armed", "slow", scale=None, value=told({10: 1, 11: 0}), tells_before=True)
    topics = {"fast": rows([float(s) for s in range(5)], v=1.0), "slow": rows([3.0], v=[11])}
    found = track_of(known(ALT, mapped), topics)
    assert column(found, "is_armed") == [True, True, True, False, False]


def test_a_source_that_must_show_a_value_is_silent_without() -> None:
    mapped = source("is_airborne", "slow", must_show=1)
    topics = {"fast": rows([0.0, 1.0], v=1.0), "slow": rows([0.0], v=[0])}
    assert column(track_of(known(ALT, mapped), topics), "is_airborne") == [None, None]


def test_altitude_above_home_is_that_above_the_sea_less_that_of_home() -> None:
    mapping = (
        source("alt_m", "local"),
        source("alt_msl_m", "fast"),
        source("home_alt_m", "home"),
    )
    topics = {
        "local": rows([0.0, 1.0, 2.0], v=7.0),
        "fast": rows([0.0, 1.0, 2.0], v=[500.0, 510.0, None]),
        "home": rows([1.0], v=490.0),
    }
    found = track_of(known(*mapping), topics)
    assert column(found, "alt_m") == [10.0, 20.0, 20.0]
    without = {name: topics[name] for name in ("local", "fast")}
    assert column(track_of(known(*mapping), without), "alt_m") == [7.0, 7.0, 7.0]


def test_headings_are_in_their_range() -> None:
    mapping = (source("heading_deg", "fast"), source("yaw_deg", "fast"))
    fast = rows([0.0, 1.0, 2.0, 3.0], v=[-90.0, 360.0, 270.0, 180.0])
    found = track_of(known(*mapping), {"fast": fast})
    assert column(found, "heading_deg") == [270.0, 0.0, 270.0, 180.0]
    assert column(found, "yaw_deg") == [-90.0, 0.0, -90.0, 180.0]


def test_what_does_not_fly_is_never_airborne() -> None:
    mapped = source("is_airborne", "slow")
    topics = {"slow": rows([0.0, 1.0], v=True), "fast": rows([0.0, 1.0], v=1.0)}
    found = track_of(known(ALT, mapped, flies=False), topics)
    assert column(found, "is_airborne") == [None, None]


def test_numbers_written_as_text_are_numbers() -> None:
    fast = rows([0.0, 1.0], v=["1.5", "No Data"])
    assert column(track_of(known(ALT, ARMED), {"fast": fast}), "alt_m") == [1.5]


def test_numbers_that_no_column_holds_are_unknown() -> None:
    mapping = (source("satellites", "fast"), source("alt_m", "fast"))
    found = track_of(known(*mapping), {"fast": rows([0.0, 1.0], v=[1e39, 12.0])})
    assert column(found, "satellites") == [None, 12]
    assert column(found, "alt_m") == [None, 12.0]


def test_a_log_without_boot_clock_is_told_by_utc() -> None:
    plain = rows([0.2, 1.2], v=[1.0, 2.0])
    unbooted = plain.set_column(0, "t_boot_us", pa.nulls(2, pa.int64()))
    found = track_of(known(ALT), {"fast": unbooted})
    assert column(found, "t_boot_us") == [None, None]
    assert [(ts - START).total_seconds() for ts in column(found, "ts")] == [0.2, 1.2]


def test_nothing_with_a_time_is_no_track() -> None:
    timeless = rows([None, None], v=1.0)
    for topics in ({}, {"fast": timeless}, {"other": rows([0.0], v=1.0)}):
        assert track(known(ALT), HandTopics(topics, 10), None) is None


def test_where_batches_end_changes_nothing() -> None:
    times = [place * 0.07 for place in range(500)]
    topics = {"fast": rows(times, v=times), "slow": rows(times[::50], v=[True, False] * 5)}
    whole = track_of(known(ALT, ARMED), topics)
    for batch_rows in (1, 7, 100):
        assert track_of(known(ALT, ARMED), topics, batch_rows=batch_rows).track == whole.track


def test_a_clock_that_begins_again_goes_on_behind() -> None:
    times = [*(float(s) for s in range(100, 110)), *(float(s) for s in range(5))]
    topics = {"fast": rows(times, v=times), "slow": rows([100.0, 2.0], v=[True, False])}
    found = track_of(known(ALT, ARMED), topics)
    assert column(found, "second") == list(range(15))
    assert column(found, "alt_m") == times
    assert column(found, "is_armed") == [True] * 10 + [None] * 2 + [False] * 3


@pytest.mark.parametrize("wrong", [0.0, 5e6])
def test_bad_stamps_make_no_segment(wrong: float) -> None:
    times = [float(s) for s in range(100, 120)]
    times[10] = wrong
    found = track_of(known(ALT), {"fast": rows(times, v=times)})
    assert column(found, "second") == list(range(20))
    assert wrong not in column(found, "alt_m")


def test_bad_stamps_at_the_end_are_left_out() -> None:
    times = [*(float(s) for s in range(20)), 9e8]
    found = track_of(known(ALT), {"fast": rows(times, v=times)})
    assert column(found, "second") == list(range(20))


def test_a_clock_gone_mad_costs_no_time() -> None:
    times = [float(t) for t in np.random.default_rng(1).integers(0, 10**9, 65_000)]
    started = process_time()
    found = track_of(known(ALT), {"fast": rows(times, v=1.0)}, batch_rows=65_536)
    assert process_time() - started < 5
    assert found.track.num_rows <= 6 * len(times)


_TIMES = st.lists(
    st.one_of(st.none(), st.integers(-10, 100), st.integers(-(2**62), 2**62)), max_size=80
)


@given(_TIMES, _TIMES, st.integers(1, 20))
def test_whatever_the_clocks_say_seconds_are_unique_and_ascending(
    fast: list[int | None], slow: list[int | None], batch_rows: int
) -> None:
    topics = {"fast": _at(fast, 1.0), "slow": _at(slow, True)}
    for clock in ("t_boot_us", "ts"):
        found = track(known(ALT, ARMED, clock=clock), HandTopics(topics, batch_rows), None)
        if found is not None:
            found.track.validate(full=True)
            assert found.track.schema == TRACK_COLUMNS
            seconds = column(found, "second")
            assert seconds == sorted(set(seconds))
            assert found.track.num_rows <= 7 * (len(fast) + len(slow))


def _at(times: list[int | None], value: object) -> pa.Table:
    boot = pa.array(times, pa.int64())
    return pa.table({"t_boot_us": boot, "ts": boot.cast(pa.timestamp("us", tz="UTC")),
                     "v": pa.array([value] * len(times))})  # fmt: skip


def test_hidden_columns_are_not_those_of_the_track() -> None:
    commonest: dict[str, Any] = {}

    def vehicle(about: object, said: Mapping[str, Any]) -> Vehicle:
        commonest.update(said)
        return Vehicle()

    mapping = (ALT, source("mav_type", "slow"))
    hand = TrackFormat("hand", mapping, "t_boot_us", vehicle, lambda _, code: str(code))
    topics = {"fast": rows([0.0, 1.0], v=1.0), "slow": rows([0.0, 1.0], v=[2, 2])}
    found = track_of(hand, topics)
    assert set(commonest) == HIDDEN_COLUMNS
    assert commonest["mav_type"] == 2
    assert not HIDDEN_COLUMNS & set(found.track.column_names)
