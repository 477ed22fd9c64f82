"""What is said of a field is what its values say, however they come."""

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logbox_pipeline.core import statistics
from logbox_pipeline.core.statistics import FieldMeter


def said(*batches: pa.Array) -> dict[str, Any]:
    """Of one field whose values come in these batches."""
    meter = FieldMeter()
    for batch in batches:
        meter.add((0,), (batch,), len(batch))
    return meter.statistics(1).of(0)


def test_numbers_have_their_span_and_mean() -> None:
    values = pa.array([3.0, -1.5, 7.0], pa.float32())
    assert said(values) == {"min": -1.5, "max": 7.0, "mean": pytest.approx(8.5 / 3), "nulls": 0}


def test_nan_and_infinity_hide_nothing() -> None:
    values = pa.array([math.nan, 1.0, math.inf, 3.0, -math.inf, None], pa.float64())
    assert said(values) == {"min": 1.0, "max": 3.0, "mean": 2.0, "nulls": 1, "not_finite": 3}


def test_nothing_but_nan_has_no_span() -> None:
    assert said(pa.array([math.nan, None], pa.float32())) == {"nulls": 1, "not_finite": 1}


def test_integers_stay_exact_to_the_last_digit() -> None:
    values = pa.array([2**63 - 1, -(2**63), 2**53 + 1], pa.int64())
    found = said(values)
    assert (found["min"], found["max"]) == (-(2**63), 2**63 - 1)
    assert said(pa.array([2**53 + 1], pa.int64()))["min"] == 2**53 + 1


def test_a_sum_beyond_double_precision_has_no_mean_and_is_json() -> None:
    found = said(pa.array([1.7e308, 1.7e308], pa.float64()))
    assert found == {"min": 1.7e308, "max": 1.7e308, "mean": None, "nulls": 0}
    assert json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["a", None]),
        pa.array([True, None]),
        pa.array([[1.0], None], pa.list_(pa.float32())),
        pa.array([0, None], pa.timestamp("us", tz="UTC")),
        pa.array([2**63, None], pa.decimal128(20, 0)),
    ],
)
def test_what_is_no_number_has_its_nulls_counted(values: pa.Array) -> None:
    assert said(values) == {"nulls": 1}


def test_a_field_that_a_batch_lacks_is_null_there() -> None:
    meter = FieldMeter()
    meter.add((0,), (pa.array([1.0]),), 1)
    meter.add((1,), (pa.array([2.0, 3.0]),), 2)
    found = meter.statistics(3)
    assert found.nulls == (2, 1, 3)
    assert [found.of(place).get("mean") for place in range(3)] == [1.0, 2.5, None]


FIELDS = st.lists(
    st.none() | st.floats(width=32) | st.sampled_from([math.nan, math.inf]), max_size=40
)


@given(st.lists(st.tuples(FIELDS, st.booleans()), min_size=1, max_size=4), st.integers(1, 7))
def test_large_and_small_batches_say_the_same(
    columns: list[tuple[list[float | None], bool]], size: int
) -> None:
    rows = max(len(values) for values, _ in columns)
    arrays = [
        pa.array((values + [None] * rows)[:rows], pa.float64() if wide else pa.float32())
        for values, wide in columns
    ]
    layout = range(len(arrays))
    small, large = FieldMeter(), FieldMeter()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(statistics, "_MATRIX_VALUES", -1)
        large.add(layout, arrays, rows)
    for start in range(0, rows, size):
        parts = [array.slice(start, size) for array in arrays]
        small.add(layout, parts, len(parts[0]))
    for place, array in enumerate(arrays):
        one, other = (meter.statistics(len(arrays)).of(place) for meter in (small, large))
        values = array.drop_null().to_numpy()
        finite = values[np.isfinite(values)].astype(np.float64)
        expected: dict[str, Any] = {"nulls": array.null_count}
        if len(finite):
            mean = pytest.approx(float(finite.mean()), rel=1e-9, abs=1e-9 * np.abs(finite).max())
            expected |= {"min": finite.min(), "max": finite.max(), "mean": mean}
        if len(finite) < len(values):
            expected["not_finite"] = len(values) - len(finite)
        assert one == other | {"mean": one.get("mean")} if "mean" in one else one == other
        assert one == expected
