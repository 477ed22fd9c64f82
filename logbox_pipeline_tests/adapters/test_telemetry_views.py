"""Each telemetry table's view in schema `analytics`: made, kept, never in a load's way."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from typing import Any

import pytest

from logbox_pipeline.adapters import telemetry_tables, telemetry_views
from logbox_pipeline.adapters.postgres import connect, transaction
from logbox_pipeline.adapters.telemetry_tables import ensure_tables, make_views
from logbox_pipeline.core.tables import StoredColumn, WantedTopic
from logbox_pipeline.steps.migrations import run_dbmate

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def catalog(database: str) -> str:
    run_dbmate(database, "up")
    return database


@pytest.fixture
def connection(catalog: str) -> Iterator[Any]:
    with closing(connect(catalog)) as opened:
        yield opened


def ensure(
    connection: Any, *fields: tuple[str, str], topic: str = "a", log_format: str = "csv"
) -> None:
    columns = tuple(StoredColumn(name, kind, "m") for name, kind in fields)
    ensure_tables(
        connection,
        [WantedTopic(log_format, topic, columns)],
        received_on=NOW.date(),
        now=NOW,
    )


def ask(connection: Any, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with transaction(connection) as cursor:
        cursor.execute(query, values or None)
        return list(cursor.fetchall())


def columns_of(connection: Any, view: str = "csv_a") -> dict[str, str]:
    """Without those that every view has."""
    found = ask(
        connection,
        """
        select attname, format_type(atttypid, atttypmod)
        from pg_attribute
        where attrelid = format('analytics.%%I', %s::text)::regclass and attnum > 0
        order by attnum
        """,
        view,
    )
    return dict(found[11:])


def insert(connection: Any, column: str, value: Any) -> None:
    with transaction(connection) as cursor:
        cursor.execute(
            f"insert into telemetry.csv_a (log_id, instance, received_on, {column})"
            " values (gen_random_uuid(), 0, %s, %s)",
            (NOW.date(), value),
        )


def test_a_table_comes_with_its_view(connection: Any) -> None:
    ensure(connection, ("Alt (m)", "real"), ("q[0]", "real"))
    assert columns_of(connection) == {"alt_m": "real", "q_0": "real"}
    lacking = ask(
        connection,
        """
        select attname
        from pg_attribute
        where attrelid = 'analytics.csv_a'::regclass and attnum > 0
            and col_description(attrelid, attnum) is null
        """,
    )
    assert lacking == []


def test_a_changed_type_is_one_column_of_the_view(connection: Any) -> None:
    for kind, value in (("bigint", 7), ("double precision", 7.5), ("text", "seven")):
        ensure(connection, ("x", kind))
        [(column,)] = ask(
            connection,
            "select column_name from logbox.telemetry_columns where type = %s",
            kind,
        )
        insert(connection, column, value)
    assert columns_of(connection) == {"x": "text"}
    assert sorted(ask(connection, "select x from analytics.csv_a")) == [
        ("7",),
        ("7.5",),
        ("seven",),
    ]


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        (("boolean", True), ("double precision", 2.5), [1.0, 2.5]),
        (("date", date(2026, 1, 2)), ("timestamp with time zone", NOW), [
            datetime(2026, 1, 2, tzinfo=UTC), NOW,
        ]),
        (("boolean[]", [True]), ("smallint[]", [3]), [[1], [3]]),
        (("real[]", [0.5]), ("text", "x"), ["x", "{0.5}"]),
        (("bytea", b"\x01"), ("text", "x"), ["\\x01", "x"]),
    ],
)  # fmt: skip
def test_values_of_both_types_are_shown(
    connection: Any, first: tuple[str, Any], second: tuple[str, Any], shown: list[Any]
) -> None:
    for kind, value in (first, second):
        ensure(connection, ("x", kind))
        [(column,)] = ask(
            connection, "select column_name from logbox.telemetry_columns where type = %s", kind
        )
        insert(connection, column, value)
    assert [
        value for (value,) in ask(connection, "select x from analytics.csv_a order by 1")
    ] == shown


def test_two_fields_that_differ_only_in_case_are_two_columns(connection: Any) -> None:
    ensure(connection, ("Alt", "real"), ("alt", "real"), ("ALT", "text"))
    names = list(columns_of(connection))
    assert names[0] == "alt"
    assert len(set(names)) == 3


def test_names_beyond_63_bytes_have_their_view(connection: Any) -> None:
    long = "x" * 80
    ensure(connection, (long + "a", "real"), (long + "b", "real"), topic=long)
    ensure(connection, (long + "a", "text"), topic=long)
    [(view,)] = ask(connection, "select distinct table_name from logbox.telemetry_columns")
    assert len(view) == 56
    found = columns_of(connection, view)
    assert sorted(found.values()) == ["real", "text"]
    assert {len(name) for name in found} == {63}


def test_a_new_column_leaves_the_view_in_its_place(connection: Any) -> None:
    ensure(connection, ("x", "real"))
    with transaction(connection) as cursor:
        cursor.execute("create view public.mine as select x from analytics.csv_a")
    before = ask(connection, "select 'analytics.csv_a'::regclass::oid")
    ensure(connection, ("x", "real"), ("y", "real"))
    assert columns_of(connection) == {"x": "real", "y": "real"}
    assert ask(connection, "select 'analytics.csv_a'::regclass::oid") == before


def test_a_view_that_another_stands_on_stays_as_it_is(connection: Any) -> None:
    ensure(connection, ("x", "real"))
    with transaction(connection) as cursor:
        cursor.execute("create view public.mine as select x from analytics.csv_a")
    ensure(connection, ("x", "text"))
    assert columns_of(connection) == {"x": "real"}
    with transaction(connection) as cursor:
        cursor.execute("drop view public.mine")
    ensure(connection, ("x", "text"))
    assert columns_of(connection) == {"x": "text"}


def test_no_load_waits_long_for_a_view_that_is_read(
    connection: Any, catalog: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry_tables, "VIEW_PATIENCE_S", 0.3)
    ensure(connection, ("x", "real"))
    with transaction(connection) as cursor:
        cursor.execute("comment on view analytics.csv_a is 'of an older definition'")
    with closing(connect(catalog)) as reading, transaction(reading) as cursor:
        cursor.execute("select * from analytics.csv_a")
        started = time.monotonic()
        ensure(connection, ("x", "real"))
        assert time.monotonic() - started < 2
    ensure(connection, ("x", "real"))
    assert ask(connection, "select obj_description('analytics.csv_a'::regclass, 'pg_class')") == [
        (telemetry_views.comment_of("csv", "a", "csv_a", 6),)
    ]


def test_nothing_is_made_when_nothing_changed(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure(connection, ("x", "real"))
    monkeypatch.setattr(telemetry_views, "make", pytest.fail)
    ensure(connection, ("x", "real"))
    assert make_views(connection) == 1


def test_two_batches_at_once_add_columns_to_one_table_and_its_view(
    connection: Any, catalog: str
) -> None:
    ensure(connection, ("x", "real"))
    failed: list[BaseException] = []

    def add(prefix: str) -> None:
        try:
            with closing(connect(catalog)) as own:
                for number in range(12):
                    ensure(own, ("x", "real"), (f"{prefix}{number}", "real"), ("same", prefix))
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=add, args=(kind,)) for kind in ("text", "bigint")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    expected = {"x", "same"} | {f"{kind}{n}" for kind in ("text", "bigint") for n in range(12)}
    assert set(columns_of(connection)) == expected
    assert columns_of(connection)["same"] == "text"


def test_what_a_log_says_is_never_sql_in_a_view(connection: Any) -> None:
    evil = "\"; drop schema logbox cascade; -- %s %(x)s '"
    ensure(connection, (evil, "real"), topic=evil, log_format="ulog")
    ensure(connection, (evil, "text"), topic=evil, log_format="ulog")
    [(view,)] = ask(connection, "select distinct table_name from logbox.telemetry_columns")
    assert list(columns_of(connection, view).values()) == ["text"]


def test_rows_of_a_flight_are_found_by_the_index(connection: Any) -> None:
    ensure(connection, ("x", "real"))
    with transaction(connection) as cursor:
        cursor.execute(
            """
            insert into logbox.clients values ('acme', now());
            insert into logbox.deliveries (
                delivery_id, bucket, landing_key, etag, received_at, client, name, size_bytes,
                sensed_at
            )
            select md5(n::text)::uuid, 'b', n, 'e', now(), 'acme', 'n', 1, now()
            from generate_series(1, 300) as n;
            insert into logbox.logs (
                log_id, client, content_sha256, delivery_id, received_at, received_on, size_bytes
            )
            select md5(n::text)::uuid, 'acme', repeat(md5(n::text), 2), md5(n::text)::uuid, now(),
                now(), 1
            from generate_series(1, 300) as n;
            insert into logbox.flights (
                flight_id, client, started_before, duration_s, end_state, time_source
            )
            select log_id, 'acme', now(), 1, 'landed', 'none' from logbox.logs;
            insert into logbox.flight_logs (
                log_id, flight_no, flight_id, is_track, timed_by, first_second, last_second,
                takeoff_t_boot_us, landed_t_boot_us, duration_s, end_state
            )
            select log_id, 1, log_id, true, 'boot_clock', 0, 1, 100, 200, 1, 'landed'
            from logbox.logs;
            insert into telemetry.csv_a (log_id, instance, received_on, t_boot_us, x)
            select log_id, 0, '2026-11-24', us, us from logbox.logs, generate_series(1, 300) as us;
            analyze logbox.logs, logbox.flights, logbox.flight_logs, telemetry.csv_a;
            """
        )
    of_one = "select count(*), min(flight_s) from analytics.csv_a where flight_id = md5('7')::uuid"
    assert ask(connection, of_one) == [(101, 0.0)]
    plan = str(ask(connection, f"explain {of_one}"))
    assert "csv_a_202611_log_id_t_boot_us_idx" in plan
    assert "Seq Scan on csv_a_202611" not in plan
    # Whose flight it was is not looked up when nobody asks.
    plan = str(ask(connection, "explain select x, client from analytics.csv_a"))
    assert " on flights " not in plan
