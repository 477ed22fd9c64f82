"""One column per field, in a type that fits all it came in."""

import pytest

from logbox_pipeline.core.tables import UINT64, NamedColumn
from logbox_pipeline.core.views import common_type, view_columns


def named(position: int, column: str, source: str, kind: str) -> NamedColumn:
    return NamedColumn("csv_x", column, "csv", "x", source, position, kind, "m")


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (("real",), "real"),
        (("real", "double precision"), "double precision"),
        (("smallint", "bigint"), "bigint"),
        (("bigint", UINT64), UINT64),
        (("smallint", "real"), "real"),
        (("integer", "real"), "double precision"),
        (("bigint", "double precision"), "double precision"),
        (("boolean", "smallint"), "smallint"),
        (("boolean", "real"), "real"),
        (("bigint", "text"), "text"),
        (("boolean", "timestamp with time zone"), "text"),
        (("date", "timestamp with time zone"), "timestamp with time zone"),
        (("date", "timestamp with time zone", "text"), "text"),
        (("real[]", "double precision[]"), "double precision[]"),
        (("text[]", "smallint[]"), "text[]"),
        (("real[]", "real"), "text"),
    ],
)
def test_types_meet_where_no_value_is_lost(types: tuple[str, ...], expected: str) -> None:
    assert common_type(types) == expected


def test_variants_of_a_field_are_one_column_under_its_first_name() -> None:
    known = [
        named(1, "alt", "alt", "real"),
        named(2, "lat", "lat", "real"),
        named(3, "alt_text", "alt", "text"),
    ]
    alt, lat = view_columns(known, ["log_id", "ts", "alt", "lat", "alt_text"])
    assert (alt.name, alt.type, [one.column_name for one in alt.variants]) == (
        "alt",
        "text",
        ["alt", "alt_text"],
    )
    assert (lat.name, lat.type) == ("lat", "real")
    assert alt.comment == "alt [m]; whichever there is of alt (real), alt_text (text)"


def test_a_column_keeps_its_name_though_the_first_of_its_field_stays_in_the_lake() -> None:
    known = [named(1, "alt", "alt", "text"), named(2, "alt_f32", "alt", "real")]
    [alt] = view_columns(known, ["alt_f32"])
    assert (alt.name, alt.type) == ("alt", "real")


def test_a_later_column_never_comes_before_an_earlier_one() -> None:
    known = [named(1, "a", "a", "real"), named(2, "b", "b", "real"), named(3, "c", "c", "real")]
    # `b` was too wide for Postgres when it came.
    assert [one.name for one in view_columns(known, ["a", "c", "b"])] == ["a", "c", "b"]


def test_a_field_with_a_name_of_the_views_own_stands_beside_it() -> None:
    known = [named(1, "flight_id", "flight_id", "text")]
    assert [one.name for one in view_columns(known, ["flight_id"])] == ["flight_id_"]
