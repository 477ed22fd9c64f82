"""What an ingest leaves for analysts: topics, aliases, tracks, views; a comment on everything."""

import io
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from logbox_pipeline.adapters import catalog_topics
from logbox_pipeline.adapters.telemetry_tables import make_views
from logbox_pipeline.core.track import TRACK_COLUMNS
from logbox_pipeline.simulator.jsonl_writer import write_jsonl
from logbox_pipeline.simulator.ulog_writer import write_ulog
from logbox_pipeline.steps.agree import compare_recent
from logbox_pipeline.steps.migrations import run_dbmate
from logbox_pipeline.steps.setup import migrate
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.conftest import Cluster, Stack, new_site, remove_bucket
from logbox_pipeline_tests.journey import one, rows, ulog, upload

MORNING = datetime(2026, 11, 20, 6, tzinfo=UTC)


def flight(seed: int = 3, **options: Any) -> bytes:
    out = io.BytesIO()
    write_ulog(out, seed=seed, **({"duration_s": 30} | options))
    return out.getvalue()


def fly(site: Site, *, vehicle: str = "heron", seed: int = 3, **options: Any) -> None:
    upload(site, f"landing/acme/{vehicle}/{seed}.ulg", flight(seed, **options))
    journey.ingest_all(site)


@pytest.fixture(scope="module")
def flown(
    cluster: Cluster, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A site that has ingested one flight and its companion's log, for tests that only look."""
    prefix = f"t{secrets.token_hex(5)}-"
    with new_site(cluster, stack, prefix, tmp_path_factory.mktemp("flown")) as site:
        out = io.BytesIO()
        write_jsonl(out, seed=3, lines=300)
        upload(site, "landing/acme/heron/companion.jsonl", out.getvalue())
        fly(site)
        yield site
        for bucket in (site.landing, site.archive, site.lake):
            remove_bucket(stack.client(), bucket.bucket)


# What is there says what it is


def test_every_column_of_every_table_and_view_has_a_comment(flown: Site) -> None:
    found = rows(
        flown,
        """
        select n.nspname, c.relname, c.relkind, a.attname,
            obj_description(c.oid, 'pg_class') is null or col_description(c.oid, a.attnum) is null
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where n.nspname in ('logbox', 'analytics', 'telemetry') and c.relkind in ('r', 'v', 'p')
        """,
    )
    assert {(schema, kind) for schema, _, kind, _, _ in found} == {
        ("logbox", "r"),
        ("logbox", "v"),
        ("analytics", "v"),
        ("telemetry", "p"),
    }
    assert [(schema, table, column) for schema, table, _, column, lacks in found if lacks] == []


def test_a_reader_may_select_every_view_and_change_none(flown: Site) -> None:
    found = rows(
        flown,
        """
        select c.relname, has_table_privilege('logbox_reader', c.oid, 'select'),
            has_table_privilege('logbox_reader', c.oid, 'insert, update, delete')
        from pg_class c
        where c.relkind = 'v'
            and c.relnamespace in ('analytics'::regnamespace, 'logbox'::regnamespace)
        """,
    )
    assert len(found) > 15
    assert [name for name, may_read, may_write in found if not may_read or may_write] == []
    assert one(flown, "select has_schema_privilege('logbox_reader', 'analytics', 'usage')")


def test_every_telemetry_table_has_its_view_with_as_many_rows(flown: Site) -> None:
    tables = rows(
        flown,
        "select relname from pg_class where relkind = 'p'"
        " and relnamespace = 'telemetry'::regnamespace order by 1",
    )
    assert len(tables) > 10
    for (table,) in tables:
        assert one(flown, f"select count(*) from telemetry.{table}") == one(
            flown, f"select count(*) from analytics.{table}"
        )
    in_flight = """
        select vehicle, count(*), count(flight_id), min(flight_s), max(flight_s)
        from analytics.ulog_vehicle_attitude
        group by 1
    """
    [(vehicle, all_rows, in_air, first_s, last_s)] = rows(flown, in_flight)
    assert vehicle == "heron"
    [(takeoff_at, landed_at, duration_s)] = rows(
        flown, "select takeoff_at, landed_at, duration_s from logbox.flights"
    )
    between = "select count(*) from telemetry.ulog_vehicle_attitude where ts between %s and %s"
    assert in_air == one(flown, between, takeoff_at, landed_at)
    assert 0 < in_air < all_rows
    assert first_s == pytest.approx(0, abs=0.1)
    assert last_s == pytest.approx(duration_s, abs=1.5)


# Topics


def test_a_topics_statistics_are_those_of_its_rows(flown: Site) -> None:
    [(count, first, last, first_at, last_at, rate_hz)] = rows(
        flown,
        "select rows, first_t_boot_us, last_t_boot_us, first_at, last_at, rate_hz"
        " from logbox.log_topics where topic = 'vehicle_attitude'",
    )
    table = "telemetry.ulog_vehicle_attitude"
    assert (count, first, last, first_at, last_at) == rows(
        flown, f"select count(*), min(t_boot_us), max(t_boot_us), min(ts), max(ts) from {table}"
    )[0]
    assert rate_hz == pytest.approx((count - 1) * 1e6 / (last - first))
    for column in ("q_0", "quat_reset_counter", "timestamp_sample"):
        said = one(
            flown,
            "select fields -> %s from logbox.log_topics where topic = 'vehicle_attitude'",
            column,
        )
        least, most, mean = rows(
            flown,
            f"select min({column})::float8, max({column})::float8, avg({column}::float8)"
            f" from {table}",
        )[0]
        assert said == {
            "min": least,
            "max": most,
            "mean": pytest.approx(mean, rel=1e-9),
            "nulls": 0,
        }


def test_keys_of_the_fields_are_the_tables_columns(flown: Site) -> None:
    unknown = """
        select t.topic, k.name
        from logbox.log_topics t
        cross join lateral jsonb_object_keys(t.fields) as k (name)
        left join logbox.telemetry_columns c
            on (c.table_name, c.column_name) = (t.table_name, k.name)
        where c.column_name is null
    """
    assert rows(flown, unknown) == []
    assert one(flown, "select count(*) from logbox.log_topics where fields is null") == 0
    assert one(flown, "select count(distinct fields_id) from logbox.log_topics") > 5


def test_one_set_of_fields_has_one_id_in_every_log() -> None:
    assert catalog_topics.fields_id(["b", "a"]) == catalog_topics.fields_id(["a", "b"])
    assert catalog_topics.fields_id(["ab"]) != catalog_topics.fields_id(["a", "b"])


def test_statistics_stand_for_what_is_in_the_lake_only(site: Site) -> None:
    fly(journey.with_settings(site, postgres_topics="none"))
    assert one(
        site,
        "select bool_and(lake_only_reason is not null and fields <> '{}') from logbox.log_topics",
    )


# Vehicles


def aliases(site: Site) -> list[tuple[Any, ...]]:
    return rows(site, "select vehicle_uid, vehicle from logbox.vehicle_aliases order by 1, 2")


def test_a_hardware_id_is_known_by_its_folders_name(site: Site) -> None:
    for seed in (1, 2):
        fly(site, seed=seed, vehicle_uid="aa")
    assert aliases(site) == [("aa", "heron")]
    assert rows(site, "select * from analytics.vehicle_conflicts") == []
    assert one(site, "select first_seen_at <= last_seen_at from logbox.vehicle_aliases")


def test_a_conflict_of_names_is_seen_and_no_error(site: Site) -> None:
    fly(site, vehicle="heron", seed=1, vehicle_uid="aa")
    fly(site, vehicle="kite", seed=2, vehicle_uid="aa")
    fly(site, vehicle="kite", seed=3, vehicle_uid="bb")
    fly(site, vehicle="gull", seed=4, vehicle_uid="cc")
    assert aliases(site) == [("aa", "heron"), ("aa", "kite"), ("bb", "kite"), ("cc", "gull")]
    assert rows(
        site,
        "select vehicle_uid, vehicle, names_of_uid, uids_of_name from analytics.vehicle_conflicts"
        " order by 1, 2",
    ) == [("aa", "heron", 2, 1), ("aa", "kite", 2, 2), ("bb", "kite", 1, 2)]
    assert set(rows(site, "select state from logbox.logs")) == {("loaded",)}


# Tracks


def test_the_track_is_the_same_in_postgres_and_the_lake(flown: Site) -> None:
    [key] = journey.keys_in(flown.lake, "lake/log_track/")
    read = flown.lake.read(key)
    assert read is not None
    lake = pq.read_table(io.BytesIO(read[0]), partitioning=None)
    assert lake.schema.names == ["log_id", "client", "vehicle", *TRACK_COLUMNS.names]
    columns = TRACK_COLUMNS.names
    # Python has no shorter float: both sides as doubles.
    shown = [
        f"{field.name}::float8" if pa.types.is_float32(field.type) else field.name
        for field in TRACK_COLUMNS
    ]
    postgres = rows(flown, f"select {', '.join(shown)} from logbox.log_track order by second")
    assert [dict(zip(columns, row, strict=True)) for row in postgres] == lake.select(
        columns
    ).to_pylist()
    assert one(flown, "select sum(track_rows) from logbox.logs") == lake.num_rows > 25
    assert compare_recent(flown).passed


def test_columns_of_the_track_are_those_the_code_says(flown: Site) -> None:
    found = rows(
        flown,
        """
        select attname, format_type(atttypid, atttypmod), attnotnull
        from pg_attribute
        where attrelid = 'logbox.log_track'::regclass and attnum > 1 and not attisdropped
        order by attnum
        """,
    )
    spelled = {
        "int64": "bigint",
        "int16": "smallint",
        "float": "real",
        "double": "double precision",
        "string": "text",
        "bool": "boolean",
        "timestamp[us, tz=UTC]": "timestamp with time zone",
    }
    assert found == [
        (field.name, spelled[str(field.type)], not field.nullable) for field in TRACK_COLUMNS
    ]


# Views of analysts


def test_views_of_analysts_see_the_flight(flown: Site) -> None:
    [(vehicles, flights, flight_h, logs)] = rows(
        flown,
        "select sum(vehicles), sum(flights), sum(flight_h), sum(logs) from analytics.fleet_by_day",
    )
    assert (vehicles, flights, logs) == (1, 1, 2)
    assert flight_h * 3600 == pytest.approx(one(flown, "select duration_s from logbox.flights"))
    before_end = rows(
        flown,
        "select s_before_end, level_name from analytics.events_before_end order by s_before_end",
    )
    assert before_end
    assert all(0 <= s_before_end < 30 for s_before_end, _ in before_end)
    assert {"info", "warning"} & {name for _, name in before_end}
    [(cycle_no, flights, start_pct, end_pct)] = rows(
        flown, "select cycle_no, flights, start_pct, end_pct from analytics.battery_cycles"
    )
    assert (cycle_no, flights) == (1, 1)
    assert 100 >= start_pct > end_pct >= 0


def test_a_changed_parameter_is_seen_between_two_flights(site: Site) -> None:
    for seed in (1, 2):
        fly(site, seed=seed, duration_s=20, start=MORNING + timedelta(hours=seed))
    changed = rows(
        site,
        "select name, previous_value, value from analytics.parameter_changes"
        " where vehicle = 'heron' order by 1",
    )
    assert changed == rows(
        site,
        """
        select name, min(value) filter (where nth = 1), min(value) filter (where nth = 2)
        from logbox.log_parameters
        join (
            select log_id, rank() over (order by recorded_from) as nth from logbox.logs
        ) as ordered using (log_id)
        where kind = 'initial'
        group by 1
        having count(distinct value) = 2
        order by 1
        """,
    )
    assert len(changed) > 20
    # Set while flying, after takeoff: the second flight took off with the old value again.
    assert "MPC_XY_VEL_MAX" not in {name for name, _, _ in changed}


def test_a_topic_and_a_field_that_came_with_a_firmware_are_seen(site: Site) -> None:
    for seed, topics in enumerate(({"a": ["x", "y"], "b": ["v"]}, {"a": ["x", "z"], "c": ["w"]})):
        upload(site, f"landing/acme/d1/{seed}.ulg", ulog(topics, seed=seed))
        journey.ingest_all(site)
        journey.change(
            site, "update logbox.logs set firmware = %s where firmware is null", f"v{seed}"
        )
    found = rows(
        site,
        "select firmware, previous_firmware, topic, column_name, change"
        " from analytics.schema_changes_by_firmware order by 3, 4",
    )
    assert found == [
        ("v1", "v0", "a", "y", "vanished"),
        ("v1", "v0", "a", "z", "appeared"),
        ("v1", "v0", "b", None, "vanished"),
        ("v1", "v0", "c", None, "appeared"),
    ]


def test_errors_are_counted_by_vehicle(site: Site) -> None:
    upload(
        site,
        "landing/acme/d1/a.jsonl",
        b'{"level":"error","msg":"first","logger":"nav","ts":"2026-11-20T10:00:00Z"}\n'
        b'{"level":"error","msg":"last","logger":"nav","ts":"2026-11-20T10:00:01Z"}\n'
        b'{"level":"info","msg":"fine","logger":"nav","ts":"2026-11-20T10:00:02Z"}\n',
    )
    journey.ingest_all(site)
    assert rows(
        site,
        "select vehicle, level_name, source, events, logs, newest_message"
        " from analytics.errors_by_vehicle",
    ) == [("d1", "error", "nav", 2, 1, "last")]


# A changed definition


def views(site: Site) -> Sequence[tuple[Any, ...]]:
    return rows(
        site,
        "select n.nspname, c.relname, pg_get_viewdef(c.oid), obj_description(c.oid, 'pg_class')"
        " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind = 'v' and n.nspname in ('logbox', 'analytics') order by 1, 2",
    )


def test_views_come_back_when_they_are_gone_or_of_another_shape(site: Site) -> None:
    fly(site)
    before = views(site)
    owner_url, writer_url = site.settings.owner_database_url, site.settings.database_url
    assert owner_url
    assert writer_url
    with site.transaction() as cursor:
        cursor.execute("drop view analytics.ulog_vehicle_attitude")
    migrate(owner_url, writer_url)
    assert views(site) == before
    with site.connection() as connection:
        assert make_views(connection) == one(
            site, "select count(distinct table_name) from logbox.log_topics"
        )


def test_views_and_tables_survive_a_rollback_of_a_site_with_flights(site: Site) -> None:
    fly(site)
    before = views(site)
    owner_url, writer_url = site.settings.owner_database_url, site.settings.database_url
    assert owner_url
    assert writer_url
    telemetry = "select count(*) from telemetry.ulog_vehicle_attitude"
    count = one(site, telemetry)
    for _ in range(2):
        run_dbmate(owner_url, "rollback")
    assert views(site) == []
    assert one(site, telemetry) == count
    migrate(owner_url, writer_url)
    assert views(site) == before
    assert one(site, "select count(*) from analytics.ulog_vehicle_attitude") == count
