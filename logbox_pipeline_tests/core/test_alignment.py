"""Topics on one clock: each value is the newest that was known at a time."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest

from logbox_pipeline.core import alignment
from logbox_pipeline.core.alignment import align
from logbox_pipeline.core.errors import UsageError

START = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
STAMP = pa.timestamp("us", tz="UTC")


def topic(
    boot_ms: Sequence[int | None], values: Sequence[float | None], *, has_utc: bool = True
) -> pa.Table:
    stamps = [START + timedelta(milliseconds=t) if has_utc and t is not None else None
              for t in boot_ms]  # fmt: skip
    return pa.table(
        {
            "t_boot_us": pa.array([None if t is None else t * 1_000 for t in boot_ms], pa.int64()),
            "ts": pa.array(stamps, STAMP),
            "x": pa.array(values, pa.float32()),
        }
    )


def column(frame: pd.DataFrame, name: str) -> list[float | None]:
    return [None if value is pd.NA else value for value in frame[name]]


def test_a_value_is_the_newest_at_or_before_its_row() -> None:
    frame = align({"a": topic([0, 100, 250], [1, 2, 3]), "b": topic([199, 200], [7, 8])}, hz=10)
    assert list(frame.index) == [0, 100_000, 200_000]
    assert frame.index.name == "t_boot_us"
    assert column(frame, "a.x") == [1, 2, 2]
    assert column(frame, "b.x") == [None, None, 8]


def test_the_last_of_equal_times_wins_and_rows_need_no_order() -> None:
    frame = align({"a": topic([100, 0, 100], [2, 1, 3])}, hz=10)
    assert column(frame, "a.x") == [1, 3]


def test_a_missing_value_is_missing_and_not_the_one_before() -> None:
    frame = align({"a": topic([0, 100], [1, None])}, hz=10)
    assert column(frame, "a.x") == [1, None]


def test_widths_are_the_sources_own_and_utc_is_there() -> None:
    frame = align({"a": topic([0, 100], [1, 2])}, hz=10)
    assert frame["a.x"].dtype == pd.ArrowDtype(pa.float32())
    assert list(frame["ts"]) == [START, START + timedelta(milliseconds=100)]
    without = align({"a": topic([0, 100], [1, 2], has_utc=False)}, hz=10)
    assert column(without, "ts") == [None, None]


def test_without_a_boot_clock_the_index_is_utc() -> None:
    rows = topic([0, 100], [1, 2]).set_column(0, "t_boot_us", pa.nulls(2, pa.int64()))
    frame = align({"a": rows}, hz=20)
    assert frame.index.name == "ts"
    assert list(frame.index) == [START + timedelta(milliseconds=50 * n) for n in range(3)]
    assert column(frame, "a.x") == [1, 1, 2]
    assert "ts" not in frame.columns


def test_a_rate_that_does_not_divide_a_second_does_not_drift() -> None:
    frame = align({"a": topic([0, 1_000], [1, 2])}, hz=3)
    assert list(frame.index) == [0, 333_333, 666_667, 1_000_000]


@pytest.mark.parametrize("hz", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_wrong_use(hz: float) -> None:
    with pytest.raises(UsageError, match="hz is"):
        align({"a": topic([0], [1])}, hz)


def test_topics_without_rows_or_without_a_common_clock_are_wrong_use() -> None:
    with pytest.raises(UsageError, match="have no rows"):
        align({"a": topic([], [])}, hz=1)
    no_utc = topic([0], [1], has_utc=False)
    no_boot = topic([0], [1]).set_column(0, "t_boot_us", pa.nulls(1, pa.int64()))
    with pytest.raises(UsageError, match="share no clock"):
        align({"a": no_utc, "b": no_boot}, hz=1)


def test_more_rows_than_memory_likes_are_refused_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment, "MOST_ROWS", 1_000)
    with pytest.raises(UsageError, match="1,001 rows"):
        align({"a": topic([0, 100_000], [1, 2])}, hz=10)


def test_a_vehicle_that_started_twice_is_aligned_by_utc() -> None:
    first, second = topic([0, 100], [1, 2]), topic([0, 100], [101, 102])
    later = pa.array([at + timedelta(seconds=10) for at in second["ts"].to_pylist()], STAMP)
    both = pa.concat_tables([first, second.set_column(1, "ts", later)])
    frame = align({"a": both}, hz=10)
    assert frame.index.name == "ts"
    assert column(frame, "a.x")[:2] == [1, 2]
    assert column(frame, "a.x")[-2:] == [101, 102]
