import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from typing import Any

import pytest

from logbox_pipeline.adapters import telemetry_tables
from logbox_pipeline.adapters.postgres import connect, transaction
from logbox_pipeline.adapters.telemetry_tables import EnsuredTables, ensure_tables, partition_of
from logbox_pipeline.core.errors import PermanentError, TransientError
from logbox_pipeline.core.tables import StoredColumn, WantedTopic
from logbox_pipeline.steps.migrations import run_dbmate

DAY = date(2026, 11, 24)
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def catalog(database: str) -> str:
    """The URL of a database with the migrations applied."""
    run_dbmate(database, "up")
    return database


@pytest.fixture
def connection(catalog: str) -> Iterator[Any]:
    with closing(connect(catalog)) as opened:
        yield opened


def topic(name: str, *fields: str, kind: str = "real") -> WantedTopic:
    return WantedTopic("ulog", name, tuple(StoredColumn(field, kind, "m") for field in fields))


def ensure(connection: Any, *wanted: WantedTopic, day: date = DAY, **options: Any) -> EnsuredTables:
    return ensure_tables(connection, wanted, received_on=day, now=NOW, **options)


def ask(connection: Any, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with transaction(connection) as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())


def columns_of(connection: Any, table: str, schema: str = "telemetry") -> dict[str, str]:
    return dict(
        ask(
            connection,
            """
            select attname, format_type(atttypid, atttypmod)
            from pg_attribute
            where attrelid = format('%%I.%%I', %s::text, %s::text)::regclass
                and attnum > 0 and not attisdropped
            order by attnum
            """,
            schema,
            table,
        )
    )


def registry_agrees(connection: Any) -> bool:
    """Every table in Postgres has its names in the registry, and every named column stands."""
    wrong = ask(
        connection,
        """
        select table_name, column_name
        from logbox.telemetry_columns
        full join (
            select c.relname as table_name, a.attname as column_name
            from pg_class c
            join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
            where c.relnamespace = 'telemetry'::regnamespace
                and c.relkind = 'p'
                and a.attname not in ('log_id', 'instance', 'received_on', 't_boot_us', 'ts')
        ) as standing using (table_name, column_name)
        where position is null or standing.column_name is null
        """,
    )
    return wrong == []


def test_a_new_topic_gets_a_table_a_partition_and_names(connection: Any) -> None:
    ensured = ensure(connection, topic("vehicle_attitude", "q[0]", "q[1]"))
    table = ensured.tables["ulog", "vehicle_attitude"]
    assert table.table_name == "ulog_vehicle_attitude"
    assert table.lake_only_reason is None
    assert [column.column_name for column in ensured.new_columns] == ["q_0", "q_1"]
    expected = {
        "log_id": "uuid",
        "instance": "integer",
        "received_on": "date",
        "t_boot_us": "bigint",
        "ts": "timestamp with time zone",
        "q_0": "real",
        "q_1": "real",
    }
    assert columns_of(connection, table.table_name) == expected
    leaf_schema, leaf = partition_of(table.table_name, DAY)
    assert (leaf_schema, leaf) == ("telemetry_parts", "ulog_vehicle_attitude_202611")
    assert columns_of(connection, leaf, leaf_schema) == expected
    assert registry_agrees(connection)


def test_rows_find_their_partition_and_its_index(connection: Any) -> None:
    ensure(connection, topic("a", "x"))
    ensure(connection, topic("a", "x"), day=date(2026, 12, 31))
    with transaction(connection) as cursor:
        cursor.execute(
            """
            insert into telemetry.ulog_a (log_id, instance, received_on, x)
            select gen_random_uuid(), 0, day, 1
            from unnest('{2026-11-01,2026-11-30,2026-12-01,2026-12-31}'::date[]) as day
            """
        )
    assert ask(connection, "select tableoid::regclass::text, count(*) from telemetry.ulog_a"
                           " group by 1 order by 1") == [
        ("telemetry_parts.ulog_a_202611", 2), ("telemetry_parts.ulog_a_202612", 2),
    ]  # fmt: skip
    assert (
        len(ask(connection, "select * from pg_indexes where schemaname = 'telemetry_parts'")) == 2
    )


def test_twice_changes_nothing(connection: Any) -> None:
    first = ensure(connection, topic("a", "x"), topic("b", "y"))
    before = ask(connection, "select xmin::text, * from logbox.telemetry_columns order by 2, 3")
    again = ensure(connection, topic("a", "x"), topic("b", "y"))
    assert again == EnsuredTables(first.tables, ())
    assert before == ask(
        connection, "select xmin::text, * from logbox.telemetry_columns order by 2, 3"
    )


def test_a_new_field_and_a_changed_type_become_columns(connection: Any) -> None:
    ensure(connection, topic("a", "x"))
    ensure(connection, topic("a", "x"), day=date(2026, 10, 1))
    more = ensure(connection, topic("a", "x", "y"), topic("a2"))
    changed = ensure(connection, topic("a", "x", kind="double precision"))
    assert [column.column_name for column in more.new_columns] == ["y", "t_boot_us"]
    assert [column.column_name for column in changed.tables["ulog", "a"].columns] == ["x_f64"]
    expected = {"x": "real", "y": "real", "x_f64": "double precision"}
    for schema, table in (
        ("telemetry", "ulog_a"),
        ("telemetry_parts", "ulog_a_202611"),
        ("telemetry_parts", "ulog_a_202610"),
    ):
        found = columns_of(connection, table, schema)
        assert {name: found[name] for name in expected} == expected
    assert registry_agrees_but_for(connection, "t_boot_us")


def registry_agrees_but_for(connection: Any, column: str) -> bool:
    """`column` stands in for a topic without fields, among the fixed columns."""
    with transaction(connection) as cursor:
        cursor.execute("delete from logbox.telemetry_columns where column_name = %s", (column,))
    return registry_agrees(connection)


def test_everything_says_what_it_is(connection: Any) -> None:
    ensure(connection, topic("it's", "a'b[0]"))
    ensure(connection, topic("it's", "c"))
    told = ask(
        connection,
        """
        select c.relname, a.attname, col_description(c.oid, a.attnum)
        from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
        where c.relkind = 'p' and c.relnamespace = 'telemetry'::regnamespace
        """,
    )
    comments = {name: comment for _, name, comment in told}
    assert comments["a_b_0"] == "a'b[0] [m]"
    assert comments["c"] == "c [m]"
    assert all(comments.values())
    assert ask(
        connection, "select obj_description('telemetry.ulog_it_s'::regclass, 'pg_class')"
    ) == [("Topic it's of ulog logs.",)]


def test_what_a_log_says_is_never_sql(connection: Any) -> None:
    evil = '"; drop schema logbox cascade; --'
    ensured = ensure(
        connection,
        WantedTopic("ulog", evil, (StoredColumn(evil, "real", evil, 1.0, "%s %(x)s {} \\"),)),
    )
    [table] = ensured.tables.values()
    assert columns_of(connection, table.table_name)[table.columns[0].column_name] == "real"
    assert ask(connection, "select source_name, definition from logbox.telemetry_columns") == [
        (evil, "%s %(x)s {} \\")
    ]


def test_what_stays_in_the_lake_has_names_but_no_table(connection: Any) -> None:
    wide = topic("wide", *(f"f{number}" for number in range(501)))
    ensured = ensure(
        connection, topic("a", "x"), topic("b", "x"), wide, postgres_topics="*", max_tables=1
    )
    reasons = {name: table.lake_only_reason for (_, name), table in ensured.tables.items()}
    assert reasons == {
        "a": None,
        "b": "over 1 telemetry tables (LOGBOX_MAX_TELEMETRY_TABLES)",
        "wide": "over 500 columns",
    }
    assert len(ensured.new_columns) == 503
    assert ask(connection, "select relname from pg_class where relkind = 'p'") == [("ulog_a",)]
    later = ensure(connection, topic("a", "x"), topic("b", "x"), postgres_topics="b")
    assert later.tables["ulog", "a"].lake_only_reason == "not among LOGBOX_POSTGRES_TOPICS"
    assert later.tables["ulog", "b"].lake_only_reason is None
    assert later.new_columns == ()


ORDINARY = topic("vehicle_attitude", "q[0]", "q[1]", "q[2]", "q[3]")


def wide(prefix: str, number: int) -> WantedTopic:
    return topic("vehicle_attitude", *(f"{prefix}{n}" for n in range(number)))


def reason_of(ensured: EnsuredTables, name: str = "vehicle_attitude") -> str | None:
    return ensured.tables["ulog", name].lake_only_reason


def test_one_clients_wide_topic_leaves_anothers_in_postgres(connection: Any) -> None:
    first = ensure(connection, ORDINARY)
    before = columns_of(connection, "ulog_vehicle_attitude")
    odd = ensure(connection, wide("odd", 499))
    assert reason_of(odd) == "over 500 columns"
    # Named all the same, so that the lake's names never change.
    assert len(odd.new_columns) == 499
    assert ensure(connection, wide("odd", 499)) == EnsuredTables(odd.tables, ())
    assert columns_of(connection, "ulog_vehicle_attitude") == before
    assert ensure(connection, ORDINARY) == EnsuredTables(first.tables, ())
    assert reason_of(first) is None


def test_what_still_fits_goes_to_postgres_after_a_wide_topic(connection: Any) -> None:
    ensure(connection, ORDINARY)
    ensure(connection, wide("odd", 499))
    newer = ensure(connection, topic("vehicle_attitude", "q[0]", "quat_reset_counter", "odd7"))
    assert reason_of(newer) is None
    assert [column.column_name for column in newer.new_columns] == ["quat_reset_counter"]
    found = columns_of(connection, "ulog_vehicle_attitude")
    assert list(found)[5:] == ["q_0", "q_1", "q_2", "q_3", "odd7", "quat_reset_counter"]
    leaf_schema, leaf = partition_of("ulog_vehicle_attitude", DAY)
    assert columns_of(connection, leaf, leaf_schema) == found


def test_an_ordinary_topic_makes_the_table_that_a_wide_one_could_not(connection: Any) -> None:
    assert reason_of(ensure(connection, wide("odd", 501))) == "over 500 columns"
    assert ask(connection, "select relname from pg_class where relkind = 'p'") == []
    assert reason_of(ensure(connection, ORDINARY)) is None
    found = columns_of(connection, "ulog_vehicle_attitude")
    assert list(found)[5:] == ["q_0", "q_1", "q_2", "q_3"]
    assert reason_of(ensure(connection, wide("odd", 501))) == "over 500 columns"
    assert columns_of(connection, "ulog_vehicle_attitude") == found


def test_a_topic_without_fields_gets_its_table_after_a_wide_one(connection: Any) -> None:
    ensure(connection, wide("odd", 501))
    assert reason_of(ensure(connection, topic("vehicle_attitude"))) is None
    assert len(columns_of(connection, "ulog_vehicle_attitude")) == 5


def test_wide_rows_leave_narrow_ones_in_postgres(connection: Any) -> None:
    ensure(connection, ORDINARY)
    texts = topic("vehicle_attitude", *(f"t{n}" for n in range(400)), kind="text")
    assert reason_of(ensure(connection, texts)) == "rows too wide for a Postgres page"
    assert reason_of(ensure(connection, ORDINARY)) is None


def test_one_batch_cannot_use_up_all_tables(connection: Any) -> None:
    odd = [topic(f"odd{number}", "x") for number in range(8)]
    ensured = ensure(connection, *odd, max_tables=8)
    reason = "over 2 new telemetry tables in one batch (LOGBOX_MAX_TELEMETRY_TABLES)"
    assert [table.lake_only_reason for table in ensured.tables.values()] == [
        None,
        None,
        *[reason] * 6,
    ]
    assert len(ensured.new_columns) == 8
    later = ensure(connection, *odd[:2], ORDINARY, *odd[2:], max_tables=8)
    in_postgres = [
        name for (_, name), table in later.tables.items() if table.lake_only_reason is None
    ]
    assert in_postgres == ["odd0", "odd1", "vehicle_attitude", "odd2"]
    assert later.tables["ulog", "odd3"].lake_only_reason == reason


def test_a_batch_killed_beside_a_wide_topic_leaves_nothing_half_done(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure(connection, ORDINARY)
    ensure(connection, wide("odd", 499))
    before = columns_of(connection, "ulog_vehicle_attitude")
    registry = "select * from logbox.telemetry_columns order by table_name, position"
    named = ask(connection, registry)
    newer = topic("vehicle_attitude", "q[0]", "odd7", "newer")

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(telemetry_tables, "_comment", die)
        with pytest.raises(KeyboardInterrupt):
            ensure(connection, newer)
    assert columns_of(connection, "ulog_vehicle_attitude") == before
    assert ask(connection, registry) == named
    assert reason_of(ensure(connection, newer)) is None
    assert set(columns_of(connection, "ulog_vehicle_attitude")) - set(before) == {"odd7", "newer"}


def test_tables_come_back_from_the_registry_alone(connection: Any) -> None:
    names = ensure(connection, topic("A", "x", "X"), topic("a", "x"))
    registry = ask(connection, "select table_name, column_name from logbox.telemetry_columns")
    with transaction(connection) as cursor:
        cursor.execute("drop table telemetry.ulog_a cascade; delete from logbox.telemetry_columns")
        telemetry_tables.write_registry(cursor, names.new_columns, NOW)
        telemetry_tables.write_registry(cursor, names.new_columns, NOW)
        assert sorted(telemetry_tables.read_registry(cursor), key=str) == sorted(
            names.new_columns, key=str
        )
    # In another order than they came first.
    again = ensure(connection, topic("a", "x"), topic("A", "X"))
    assert again.tables["ulog", "a"] == names.tables["ulog", "a"]
    assert set(registry) == set(
        ask(connection, "select table_name, column_name from logbox.telemetry_columns")
    )
    assert ensure(connection, topic("A", "x")).new_columns == ()
    assert registry_agrees(connection)


def test_a_column_changed_by_hand_is_said(connection: Any) -> None:
    ensure(connection, topic("a", "x"))
    with transaction(connection) as cursor:
        cursor.execute("drop view analytics.ulog_a")
        cursor.execute("alter table telemetry.ulog_a alter column x type text")
    with pytest.raises(PermanentError, match="expected real, found text"):
        ensure(connection, topic("a", "x"))


def test_no_reader_waits_while_a_long_query_holds_the_table(connection: Any, catalog: str) -> None:
    ensure(connection, topic("a", "x"))
    with closing(connect(catalog)) as holding, closing(connect(catalog)) as reading:
        with transaction(holding) as cursor:
            cursor.execute("select * from telemetry.ulog_a")
            maker = threading.Thread(target=lambda: ensure(connection, topic("a", "x", "y")))
            maker.start()
            waits = []
            deadline = time.monotonic() + 2
            while time.monotonic() < deadline:
                started = time.monotonic()
                ask(reading, "select count(*) from telemetry.ulog_a")
                waits.append(time.monotonic() - started)
                time.sleep(0.01)
            assert maker.is_alive()
            assert "y" not in columns_of(reading, "ulog_a")
        maker.join(10)
        assert "y" in columns_of(reading, "ulog_a")
        assert max(waits) < 0.2 + 0.3


def test_a_new_month_waits_for_no_reader(connection: Any, catalog: str) -> None:
    ensure(connection, topic("a", "x"))
    with closing(connect(catalog)) as holding, transaction(holding) as cursor:
        cursor.execute("select * from telemetry.ulog_a")
        started = time.monotonic()
        ensure(connection, topic("a", "x"), day=date(2027, 1, 1))
        assert time.monotonic() - started < 0.2


def test_a_lock_that_never_goes_is_transient(
    connection: Any, catalog: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry_tables, "PATIENCE_S", 0.3)
    ensure(connection, topic("a", "x"))
    with closing(connect(catalog)) as holding, transaction(holding) as cursor:
        cursor.execute("select * from telemetry.ulog_a")
        with pytest.raises(TransientError, match="locked"):
            ensure(connection, topic("a", "x", "y"))
    assert registry_agrees(connection)


def ensure_many(url: str, names: Sequence[str], fields: Sequence[str]) -> None:
    with closing(connect(url)) as connection:
        ensure(connection, *(topic(name, *fields) for name in names))


def test_two_batches_at_once_agree_on_names(connection: Any, catalog: str) -> None:
    names = [f"T{number}" for number in range(6)] + [f"t{number}" for number in range(6)]
    spawn = multiprocessing.get_context("spawn")
    workers = [
        spawn.Process(target=ensure_many, args=(catalog, order, fields))
        for order, fields in ((names, ("x", "y")), (names[::-1], ("Y", "y", "x")))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    [(tables, rows)] = ask(
        connection, "select count(distinct table_name), count(*) from logbox.telemetry_columns"
    )
    assert (tables, rows) == (12, 36)
    assert registry_agrees(connection)


def test_a_killed_batch_leaves_names_and_tables_agreeing(connection: Any, catalog: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    names = [f"t{number}" for number in range(40)]
    for rows_before_death in (1, 25, 60):
        worker = spawn.Process(target=ensure_many, args=(catalog, names, ("x", "y")))
        worker.start()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            [(rows,)] = ask(connection, "select count(*) from logbox.telemetry_columns")
            if rows >= rows_before_death:
                break
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        assert registry_agrees(connection)
    ensured = ensure(connection, *(topic(name, "x", "y") for name in names))
    assert {table.lake_only_reason for table in ensured.tables.values()} == {None}
    assert ask(connection, "select count(*) from logbox.telemetry_columns") == [(80,)]
    assert ask(
        connection, "select count(*) from pg_inherits i join pg_class c on c.oid = i.inhrelid"
                    " where c.relkind = 'r'"
    ) == [(40,)]  # fmt: skip


# Schema drift over several formats


def of_format(log_format: str, name: str, *fields: tuple[str, str]) -> WantedTopic:
    return WantedTopic(log_format, name, tuple(StoredColumn(*field) for field in fields))


def test_formats_with_the_same_topic_have_tables_of_their_own(connection: Any) -> None:
    ensured = ensure(
        connection,
        of_format("dataflash", "ATT", ("Roll", "real"), ("Err", "smallint")),
        of_format("mavlink", "ATT", ("roll", "real")),
        of_format(
            "dji_app", "flight", ("OSD.flyTime", "bigint"), ("GPS.lat [°]", "double precision")
        ),
        of_format("csv", "att", ("Größe", "text"), ("123", "bigint"), ("", "real")),
    )
    names = {table.table_name for table in ensured.tables.values()}
    assert names == {"dataflash_att", "mavlink_att", "dji_app_flight", "csv_att"}
    assert list(columns_of(connection, "dji_app_flight"))[5:] == ["osd_flytime", "gps_lat"]
    assert len(columns_of(connection, "csv_att")) == 8
    assert registry_agrees(connection)


def test_topics_and_fields_that_differ_only_in_case_never_share_a_name(connection: Any) -> None:
    ensured = ensure(
        connection,
        of_format("dataflash", "Att", ("X", "real"), ("x", "real")),
        of_format("dataflash", "ATT", ("x", "real")),
        of_format("dataflash", "att", ("x", "text")),
    )
    tables = [table.table_name for table in ensured.tables.values()]
    assert len(set(tables)) == 3
    [first, *_] = ensured.tables.values()
    assert len({column.column_name for column in first.columns}) == 2
    again = ensure(connection, of_format("dataflash", "att", ("x", "text")))
    assert again.tables["dataflash", "att"].table_name == tables[2]


def test_names_beyond_63_bytes_are_cut_without_collision(connection: Any) -> None:
    long = "very_long_name_" * 10
    fields = [(f"{long}{number}", "real") for number in range(20)]
    first = ensure(connection, of_format("csv", long + "a", *fields))
    second = ensure(connection, of_format("csv", long + "b", *fields))
    changed = ensure(connection, of_format("csv", long + "a", (fields[0][0], "text")))
    for ensured in (first, second):
        [table] = ensured.tables.values()
        assert len(table.table_name) == 56
        columns = {column.column_name for column in table.columns}
        assert len(columns) == 20
        assert {len(name.encode()) for name in columns} == {63}
    assert len({t.table_name for e in (first, second) for t in e.tables.values()}) == 2
    [column] = changed.new_columns
    assert len(column.column_name) == 63
    assert registry_agrees(connection)


def test_every_type_that_a_field_ever_had_is_a_column(connection: Any) -> None:
    kinds = ["bigint", "double precision", "text", "boolean", "real", "smallint[]", "bytea"]
    for kind in kinds:
        ensure(connection, of_format("csv", "a", ("x", kind)))
    found = columns_of(connection, "csv_a")
    assert [found[name] for name in list(found)[5:]] == kinds
    assert list(found)[5:] == ["x", "x_f64", "x_text", "x_bool", "x_f32", "x_i16_list", "x_bytes"]
    # In any order again, nothing is new.
    for kind in reversed(kinds):
        assert ensure(connection, of_format("csv", "a", ("x", kind))).new_columns == ()


def add_columns(url: str, kind: str, numbers: Sequence[int]) -> None:
    with closing(connect(url)) as connection:
        for number in numbers:
            fields = [("same", kind), (f"f{number}", "real"), (f"F{number}", kind)]
            ensure(connection, of_format("csv", "a", *fields))


def test_two_batches_at_once_add_columns_to_the_same_table(connection: Any, catalog: str) -> None:
    ensure(connection, of_format("csv", "a", ("x", "real")))
    spawn = multiprocessing.get_context("spawn")
    workers = [
        spawn.Process(target=add_columns, args=(catalog, kind, numbers))
        for kind, numbers in (("bigint", range(12)), ("text", range(11, -1, -1)))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    [(fields, columns)] = ask(
        connection,
        "select count(distinct (source_name, type)), count(distinct column_name)"
        " from logbox.telemetry_columns",
    )
    assert fields == columns == 1 + 2 + 12 + 24
    assert registry_agrees(connection)
    leaf_schema, leaf = partition_of("csv_a", DAY)
    assert columns_of(connection, leaf, leaf_schema) == columns_of(connection, "csv_a")
