import itertools
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logbox_pipeline.core import tables
from logbox_pipeline.core.errors import PermanentError
from logbox_pipeline.core.tables import NamedColumn, StoredColumn, TelemetryTable, WantedTopic


def stored(values: pa.Array) -> list[tuple[str, list]]:
    return [(kind, array.to_pylist()) for _, kind, array in tables.stored("x", values)]


def columns(*names: str, kind: str = "real") -> tuple[StoredColumn, ...]:
    return tuple(StoredColumn(name, kind) for name in names)


def named(topic: WantedTopic, known: tuple[NamedColumn, ...] = ()) -> list[str]:
    table, _ = tables.assign_names(topic, known, ())
    return [column.column_name for column in table.columns]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (pa.int8(), "smallint"),
        (pa.uint8(), "smallint"),
        (pa.int16(), "smallint"),
        (pa.uint16(), "integer"),
        (pa.int32(), "integer"),
        (pa.uint32(), "bigint"),
        (pa.int64(), "bigint"),
        (pa.float32(), "real"),
        (pa.float64(), "double precision"),
        (pa.bool_(), "boolean"),
        (pa.string(), "text"),
        (pa.timestamp("ms"), "timestamp with time zone"),
        (pa.list_(pa.uint8(), 20), "smallint[]"),
        (pa.list_(pa.string()), "text[]"),
        (pa.dictionary(pa.int32(), pa.string()), "text"),
    ],
)
def test_each_source_type_has_one_storage_type(source: pa.DataType, expected: str) -> None:
    assert tables.storage_type(source) == expected
    [(_, kind, array)] = tables.stored("x", pa.nulls(2, source))
    assert (kind, array.type) == (expected, tables.arrow_type(expected))


@pytest.mark.parametrize(
    "source", [pa.struct([("a", pa.int8())]), pa.timestamp("ns"), pa.list_(pa.date32())]
)
def test_a_type_no_parser_may_yield_is_an_error(source: pa.DataType) -> None:
    with pytest.raises(PermanentError, match="no storage type"):
        tables.storage_type(source)


def test_a_column_without_type_is_nothing() -> None:
    assert stored(pa.nulls(3)) == []


def test_integer_extremes_are_kept() -> None:
    for source in (pa.uint8(), pa.int8(), pa.uint16(), pa.uint32(), pa.int64()):
        limits = np.iinfo(source.to_pandas_dtype())
        values = [int(limits.min), None, int(limits.max)]
        assert stored(pa.array(values, source))[0][1] == values


def test_small_uint64_is_one_bigint_column() -> None:
    assert stored(pa.array([0, None, 2**63 - 1], pa.uint64())) == [("bigint", [0, None, 2**63 - 1])]


def test_large_uint64_goes_value_by_value_to_its_own_column() -> None:
    assert stored(pa.array([1, 2**63, None, 2**64 - 1], pa.uint64())) == [
        ("bigint", [1, None, None, None]),
        (tables.UINT64, [None, 2**63, None, 2**64 - 1]),
    ]


def test_large_uint64_in_a_list_takes_the_whole_list_along() -> None:
    assert stored(pa.array([[1], None, [2, 2**64 - 1]], pa.list_(pa.uint64()))) == [
        ("bigint[]", [[1], None, None]),
        ("numeric(20,0)[]", [None, None, [2, 2**64 - 1]]),
    ]


def test_fixed_size_lists_become_lists() -> None:
    values = pa.array([[1.5, 2.5], None], pa.list_(pa.float32(), 2))
    assert stored(values) == [("real[]", [[1.5, 2.5], None])]


def test_nul_and_broken_utf8_become_replacement_characters() -> None:
    broken = pa.Array.from_buffers(
        pa.string(),
        2,
        [None, pa.py_buffer(np.array([0, 2, 4], np.int32)), pa.py_buffer(b"ok\xffz")],
    )
    assert tables.clean_texts(broken).to_pylist() == ["ok", "\ufffdz"]
    assert tables.clean_texts(pa.array(["a\0b", None, ""])).to_pylist() == ["a\ufffdb", None, ""]
    assert stored(pa.array([["a\0", None], None]))[0][1] == [["a\ufffd", None], None]
    assert tables.clean_text("\ud800\0é") == "\ufffd\ufffd\ufffd\ufffdé"


def test_clean_text_is_not_copied() -> None:
    values = pa.array(["one", None, "zwei: ü"]).slice(1)
    assert tables.clean_texts(values) is values


def test_nul_outside_a_slice_does_not_matter() -> None:
    values = pa.array(["a\0", "b"]).slice(1)
    assert tables.clean_texts(values) is values


def test_times_beyond_the_calendar_become_null() -> None:
    raw = [-(2**63), -62_135_596_800_000_000, 0, None, 253_402_300_799_999_999, 2**63 - 1]
    cleaned = tables.clean_times(pa.array(raw, pa.timestamp("us", tz="UTC")))
    assert cleaned.cast(pa.int64()).to_pylist() == [None, raw[1], 0, None, raw[4], None]
    assert tables.clean_times(pa.array([2**62, 1], pa.timestamp("s"))).cast(
        pa.int64()
    ).to_pylist() == [None, 1_000_000]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": "\\u0000"}', {"a": "\ufffd"}),
        ('{"\\u0000": 1}', {"\ufffd": 1}),
        ('{"a": "\\ud800"}', {"a": "\ufffd\ufffd\ufffd"}),
        ('{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
        ('{"a": 1e999999, "b": 1.50}', {"a": "1e999999", "b": 1.5}),
        ('{"a": 1e99999999999999999999999}', {"a": "1e99999999999999999999999"}),
        ('{"a": "3e1234567", "b": [true, null]}', {"a": "3e1234567", "b": [True, None]}),
        ('{"a": ' + "9" * 20_000 + "}", {"a": "9" * 20_000}),
        ('{"a": \\u0000', '{"a": \\u0000'),
    ],
)
def test_json_that_jsonb_refuses_is_mended(text: str, expected: object) -> None:
    fine = '{"b":  1.0}'
    mended = tables.clean_json(pa.array([fine, None, text])).to_pylist()
    assert mended[:2] == [fine, None]
    assert json.loads(mended[2]) == expected


def test_names_are_plain_and_readable() -> None:
    wanted = WantedTopic("ulog", "esc", columns("q[0]", "esc[0].esc_rpm", "Roll", "3d", "é"))
    assert named(wanted) == ["q_0", "esc_0_esc_rpm", "roll", "_3d", "field"]
    assert tables.table_name_of("ulog", "vehicle_attitude", ()) == "ulog_vehicle_attitude"
    assert tables.table_name_of("dataflash", "ATT", ()) == "dataflash_att"


def test_names_differing_in_case_only_stay_apart() -> None:
    first, second = named(WantedTopic("csv", "t", columns("Roll", "roll")))
    assert first == "roll"
    assert second.startswith("roll_")
    assert tables.table_name_of("csv", "A", ()) != tables.table_name_of("csv", "a", ("csv_a",))


def test_fixed_and_system_columns_are_never_taken() -> None:
    wanted = WantedTopic("csv", "t", columns(*tables.FIXED_COLUMNS, "xmin", "ctid"))
    assert not {*tables.FIXED_COLUMNS, "xmin", "ctid"} & set(named(wanted))


def test_a_changed_type_is_a_column_of_its_own() -> None:
    wanted = WantedTopic("ulog", "t", (*columns("x"), *columns("x", kind="double precision")))
    assert named(wanted) == ["x", "x_f64"]
    listed = WantedTopic("u", "t", (StoredColumn("x", "bigint"), StoredColumn("x", "real[]")))
    assert named(listed) == ["x", "x_f32_list"]


def test_names_once_given_are_kept() -> None:
    _, first = tables.assign_names(WantedTopic("ulog", "t", columns("x", "y")), (), ())
    again, new = tables.assign_names(
        WantedTopic("ulog", "t", columns("z", "y")), first, ("ulog_t",)
    )
    assert again.table_name == "ulog_t"
    assert [(column.column_name, column.position) for column in again.columns] == [
        ("y", 2), ("z", 3),
    ]  # fmt: skip
    assert [column.source_name for column in new] == ["z"]


def test_fields_called_like_our_own_columns_get_other_names() -> None:
    own = (*tables.FIXED_COLUMNS, *tables.VIEW_COLUMNS)
    names = named(WantedTopic("csv", "t", columns(*own, "ctid", "TS", "lat")))
    assert not {*own, "ctid"} & set(names)
    assert len(set(names)) == len(own) + 3
    assert names[-1] == "lat"


def test_a_topic_without_fields_keeps_its_name() -> None:
    table, new = tables.assign_names(WantedTopic("ulog", "t", ()), (), ())
    assert table.columns == ()
    assert [(row.table_name, row.column_name) for row in new] == [("ulog_t", "t_boot_us")]
    more, new = tables.assign_names(WantedTopic("ulog", "t", columns("x")), new, ("ulog_t",))
    assert [column.column_name for column in more.columns] == ["x"]


@given(st.lists(st.text(), max_size=30, unique=True))
def test_any_names_become_distinct_short_identifiers(sources: list[str]) -> None:
    sources = [tables.clean_text(source) for source in sources]
    wanted = WantedTopic("f", "t", columns(*dict.fromkeys(sources)))
    names = named(wanted)
    assert len(set(names)) == len(names) == len(set(sources))
    for name in names:
        assert 0 < len(name.encode()) <= 63
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")


def test_long_names_are_cut_and_stay_apart() -> None:
    long = "a" * 70
    first, second, third = named(WantedTopic("f", "t", columns(long + "1", long + "2", long[:63])))
    assert len({first, second, third}) == 3
    assert third == "a" * 63
    table = tables.table_name_of("f", long, ())
    assert len(table) == 56
    assert table != tables.table_name_of("f", long + "b", ())


def lake_only(
    table: TelemetryTable, standing: dict[str, str] | None = None, **given: object
) -> str | None:
    settings = {"postgres_topics": "*", "existing_tables": (), "max_tables": 10} | given
    return tables.lake_only_reason(table, standing, **settings)  # type: ignore[arg-type]


def table_of(number: int, kind: str = "real", prefix: str = "f") -> TelemetryTable:
    wanted = WantedTopic("ulog", "t", columns(*(f"{prefix}{n}" for n in range(number)), kind=kind))
    return tables.assign_names(wanted, (), ())[0]


def standing_as(table: TelemetryTable) -> dict[str, str]:
    fixed = dict.fromkeys(("log_id", "instance", "received_on", "t_boot_us", "ts"), "bigint")
    return fixed | {column.column_name: column.type for column in table.columns}


def test_what_stays_in_the_lake_says_why() -> None:
    table = TelemetryTable("ulog_vehicle_attitude", "ulog", "vehicle_attitude", ())
    assert lake_only(table) is None
    assert lake_only(table, postgres_topics="Vehicle_*, ulog_x") is None
    assert lake_only(table, postgres_topics="ulog_*") is None
    assert lake_only(table, postgres_topics="esc_*") == "not among LOGBOX_POSTGRES_TOPICS"
    assert lake_only(table_of(500)) is None
    assert lake_only(table_of(501)) == "over 500 columns"
    assert lake_only(table_of(400, "text")) == "rows too wide for a Postgres page"
    assert lake_only(table, existing_tables=("a", "b"), max_tables=2).startswith("over 2")
    assert lake_only(table, {}, existing_tables=(table.table_name, "b"), max_tables=2) is None


def test_only_columns_that_postgres_lacks_can_be_too_many() -> None:
    ordinary, wide = table_of(4, prefix="q"), table_of(499)
    texts = table_of(326, "text")
    assert lake_only(wide, standing_as(table_of(1, prefix="q"))) is None
    assert lake_only(wide, standing_as(ordinary)) == "over 500 columns"
    assert lake_only(ordinary, standing_as(ordinary) | standing_as(wide)) is None
    more_texts = lake_only(table_of(5, "text", "q"), standing_as(texts))
    assert more_texts == "rows too wide for a Postgres page"
    assert lake_only(table_of(300, "text"), standing_as(texts)) is None


def test_one_batch_creates_a_quarter_of_the_tables_at_most() -> None:
    table = table_of(1)
    reason = "over 2 new telemetry tables in one batch (LOGBOX_MAX_TELEMETRY_TABLES)"
    assert lake_only(table, new_tables=1, max_tables=8) is None
    assert lake_only(table, new_tables=2, max_tables=8) == reason
    standing = {"existing_tables": (table.table_name,), "max_tables": 8, "new_tables": 2}
    assert lake_only(table, standing_as(table), **standing) is None
    assert lake_only(table, new_tables=0, max_tables=1) is None


def test_columns_over_many_logs_are_merged_in_the_order_first_seen() -> None:
    found = [("ulog", "a", columns("x")), ("ulog", "b", ()), ("ulog", "a", columns("y", "x"))]
    merged = tables.wanted_topics(found)
    assert [(topic.topic, [c.source_name for c in topic.columns]) for topic in merged] == [
        ("a", ["x", "y"]), ("b", []),
    ]  # fmt: skip


def test_every_type_has_a_suffix_of_its_own() -> None:
    kinds = ["smallint", "integer", "bigint", tables.UINT64, "real", "double precision", "text"]
    suffixes = [tables.type_suffix(kind) for kind in [*kinds, *(f"{kind}[]" for kind in kinds)]]
    assert all(a != b for a, b in itertools.combinations(suffixes, 2))
