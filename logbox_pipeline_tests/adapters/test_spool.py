import json
import pickle
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from logbox_pipeline.adapters import spool
from logbox_pipeline.adapters.spool import Spool, Spooled, event_batches, telemetry_batches
from logbox_pipeline.core import tables
from logbox_pipeline.core.content import content_of
from logbox_pipeline.formats.stream import (
    EVENT_SCHEMA,
    PARAMETER_SCHEMA,
    About,
    Column,
    Damage,
    Events,
    Item,
    Parameters,
    Rows,
    TimeSource,
    Unreadable,
)

ROWS = "rows.arrow"


def rows(
    t_boot_us: list[int | None],
    instance: int = 0,
    topic: str = "att",
    **fields: pa.Array,
) -> Rows:
    batch = pa.record_batch(
        [
            pa.array(t_boot_us, pa.int64()),
            pa.nulls(len(t_boot_us), pa.timestamp("us", tz="UTC")),
            *fields.values(),
        ],
        names=["t_boot_us", "ts", *fields],
    )
    return Rows(topic, instance, batch, tuple(Column(name, unit="m") for name in fields))


def events(*messages: str, **fields: object) -> Events:
    blank = dict.fromkeys(EVENT_SCHEMA.names) | fields
    return Events(
        pa.RecordBatch.from_pylist(
            [blank | {"message": message} for message in messages], schema=EVENT_SCHEMA
        )
    )


def spooled(folder: Path, *items: Item) -> Spooled:
    with Spool(folder / ROWS) as written:
        for item in items:
            written.write(item)
        # The summary crosses from the worker to the main process.
        return pickle.loads(pickle.dumps(written.close()))


def read(folder: Path, log: Spooled, topic: int = 0) -> pa.Table:
    found = log.topics[topic]
    table, _ = tables.assign_names(tables.WantedTopic("ulog", found.topic, found.columns), (), ())
    schema = tables.telemetry_schema(table)
    return pa.Table.from_batches(telemetry_batches(folder / ROWS, found, table), schema)


def read_events(folder: Path, log: Spooled) -> list[dict]:
    rows = event_batches(folder / ROWS, log)
    return pa.Table.from_batches(rows, tables.EVENT_COLUMNS).to_pylist()


def test_rows_come_back_by_instance_and_in_order(tmp_path: Path) -> None:
    log = spooled(
        tmp_path,
        rows([1, 2], instance=1, x=pa.array([1.0, 2.0])),
        rows([1, 3], instance=0, x=pa.array([3.0, 4.0])),
        rows([4], instance=1, x=pa.array([5.0])),
    )
    back = read(tmp_path, log)
    assert back["instance"].to_pylist() == [0, 0, 1, 1, 1]
    assert back["t_boot_us"].to_pylist() == [1, 3, 1, 2, 4]
    assert back["x"].to_pylist() == [3.0, 4.0, 1.0, 2.0, 5.0]
    assert back.schema.field("x").metadata == {b"source_name": b"x", b"unit": b"m"}
    [topic] = log.topics
    assert [(i.instance, i.rows, i.first_t_boot_us, i.last_t_boot_us) for i in topic.instances] == [
        (0, 2, 1, 3), (1, 3, 1, 4),
    ]  # fmt: skip
    assert log.telemetry_rows == topic.rows == 5


def test_a_clock_that_steps_back_is_sorted_and_stable(tmp_path: Path) -> None:
    log = spooled(
        tmp_path,
        rows([5, 1, None], x=pa.array([1, 2, 3])),
        rows([5, 0], x=pa.array([4, 5])),
    )
    back = read(tmp_path, log)
    assert back["t_boot_us"].to_pylist() == [0, 1, 5, 5, None]
    assert back["x"].to_pylist() == [5, 2, 1, 4, 3]
    assert not log.topics[0].instances[0].is_ordered


def test_columns_that_come_go_or_change_type_lose_nothing(tmp_path: Path) -> None:
    log = spooled(
        tmp_path,
        rows([1], x=pa.array([1], pa.int8())),
        rows([2], y=pa.array(["a\0"]), x=pa.array([2.5])),
        rows([3], x=pa.array([2**64 - 1], pa.uint64())),
    )
    back = read(tmp_path, log)
    assert back.select(back.column_names[3:]).to_pylist() == [
        {"x": 1, "y": None, "x_f64": None, "x_i64": None, "x_u64": None},
        {"x": None, "y": "a\ufffd", "x_f64": 2.5, "x_i64": None, "x_u64": None},
        {"x": None, "y": None, "x_f64": None, "x_i64": None, "x_u64": 2**64 - 1},
    ]


def test_a_field_named_twice_is_kept_twice(tmp_path: Path) -> None:
    one = rows([1], x=pa.array([1]), z=pa.array([2]))
    twice = Rows(one.topic, 0, one.batch, (Column("x"), Column("x")))
    back = read(tmp_path, spooled(tmp_path, twice))
    assert (back["x"].to_pylist(), back["x_2"].to_pylist()) == ([1], [2])


def test_events_are_numbered_with_damage_where_it_was_met(tmp_path: Path) -> None:
    log = spooled(
        tmp_path,
        events("one", "two", level=6),
        Damage(4096, 4221, "truncated"),
        Damage(5000, 5010, "bad_line", line=17, excerpt='{"a'),
        events("three", level=9, attributes='{"a":"\\u0000"}'),
        Damage(6000, 6001, "zeroed"),
    )
    found = read_events(tmp_path, log)
    assert [event["seq"] for event in found] == [0, 1, 2, 3, 4, 5]
    assert [event["message"] for event in found] == [
        "one",
        "two",
        "125 bytes lost at 4096: truncated",
        "10 bytes lost at 5000 (line 17): bad_line",
        "three",
        "1 bytes lost at 6000: zeroed",
    ]
    assert [event["level"] for event in found] == [6, 6, 4, 4, None, 4]
    assert [event["source"] for event in found[2:4]] == ["logbox.damage", "logbox.damage"]
    assert json.loads(found[3]["attributes"]) == {
        "start": 5000, "end": 5010, "reason": "bad_line", "line": 17, "excerpt": '{"a',
    }  # fmt: skip
    assert json.loads(found[4]["attributes"]) == {"a": "\ufffd"}
    assert (log.damaged_ranges, log.damaged_bytes, log.events) == (3, 136, 6)


def test_endless_damage_is_counted_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "MAX_DAMAGE_EVENTS", 3)
    log = spooled(tmp_path, *(Damage(n, n + 2, "noise") for n in range(0, 20, 2)), events("last"))
    found = read_events(tmp_path, log)
    assert len(found) == log.events == 5
    assert found[3]["message"] == "last"
    assert found[4]["message"].startswith("7 more ranges were lost")
    assert (log.damaged_ranges, log.damaged_bytes) == (10, 20)


def test_parameters_and_what_the_log_says_of_itself(tmp_path: Path) -> None:
    parameters = pa.RecordBatch.from_pylist(
        [
            {
                "name": "A",
                "kind": "initial",
                "t_boot_us": None,
                "value": 1.0,
                "value_type": "int32",
            },
            {"name": "B", "kind": "changed", "t_boot_us": 5, "value": None, "value_type": "float"},
        ],
        schema=PARAMETER_SCHEMA,
    )
    about = About(TimeSource.GPS, recorded_from=datetime(2026, 1, 1, tzinfo=UTC), info={"a": 1})
    log = spooled(tmp_path, Parameters(parameters), Parameters(parameters), about)
    back = pa.Table.from_batches(spool.parameter_batches(tmp_path / ROWS, log)).to_pylist()
    assert [(row["seq"], row["name"]) for row in back] == [(0, "A"), (1, "B"), (2, "A"), (3, "B")]
    assert log.parameters == 4
    assert log.about == about


def test_events_are_digested_as_the_rows_that_come_back(tmp_path: Path) -> None:
    log = spooled(
        tmp_path,
        events("a", "b", attributes='{"b": 1.50, "a": "x"}', level=6),
        Damage(3, 9, "noise"),
        events("last"),
    )
    back = event_batches(tmp_path / ROWS, log)
    assert log.events_content == content_of(tables.EVENTS, back)
    assert log.events_content.rows == log.events == 4


def test_an_unreadable_log_is_an_empty_spool(tmp_path: Path) -> None:
    log = spooled(tmp_path, Unreadable("encrypted", "header says so"))
    assert log.unreadable.reason == "encrypted"
    assert (log.telemetry_rows, log.events, log.topics) == (0, 0, ())
    assert read_events(tmp_path, log) == []


def test_thousands_of_instances_need_one_file(tmp_path: Path) -> None:
    log = spooled(tmp_path, *(rows([n], instance=n, x=pa.array([n])) for n in range(3_000)))
    assert read(tmp_path, log)["x"].to_pylist() == list(range(3_000))
    assert len(list(tmp_path.iterdir())) == 1


def timed(ts_us: list[int | None], t_boot_us: list[int | None]) -> Rows:
    """Rows with both clocks and one field `x`."""
    batch = pa.record_batch(
        [
            pa.array(t_boot_us, pa.int64()),
            pa.array(ts_us, pa.timestamp("us", tz="UTC")),
            pa.array([1.0] * len(ts_us), pa.float32()),
        ],
        names=["t_boot_us", "ts", "x"],
    )
    return Rows("att", 0, batch, (Column("x"),))


def spooled_instance(folder: Path, *items: Item) -> spool.SpooledInstance:
    with Spool(folder / ROWS) as written:
        for item in items:
            written.write(item)
        [topic] = written.close().topics
    return topic.instances[0]


def test_rate_is_counted_between_the_first_and_the_last_boot_clock(tmp_path: Path) -> None:
    found = spooled_instance(
        tmp_path, timed([None] * 3, [0, 100_000, 200_000]), timed([None, None], [300_000, None])
    )
    assert found.rate_hz == pytest.approx(10)
    assert (found.timed_rows, found.first_ts_us, found.last_ts_us) == (4, None, None)


def test_rate_is_counted_in_utc_where_no_boot_clock_is(tmp_path: Path) -> None:
    found = spooled_instance(tmp_path, timed([5_000_000, None, 4_000_000], [None] * 3))
    assert found.rate_hz == pytest.approx(1)
    assert (found.first_ts_us, found.last_ts_us) == (4_000_000, 5_000_000)


@pytest.mark.parametrize("clock", [[None], [7], [7, 7]])
def test_fewer_than_two_times_have_no_rate(tmp_path: Path, clock: list[int | None]) -> None:
    assert spooled_instance(tmp_path, timed([None] * len(clock), clock)).rate_hz is None


def test_fields_are_measured_over_all_batches_of_an_instance(tmp_path: Path) -> None:
    found = spooled_instance(
        tmp_path,
        rows([1, 2], x=pa.array([1.0, float("nan")], pa.float32())),
        rows([3], y=pa.array([True])),
        rows([4], x=pa.array([4], pa.uint8())),
    )
    said = [found.fields.of(place) for place in range(3)]
    assert said == [
        {"min": 1.0, "max": 1.0, "mean": 1.0, "nulls": 2, "not_finite": 1},
        {"nulls": 3},
        {"min": 4, "max": 4, "mean": 4.0, "nulls": 3},
    ]
