"""The limits and the growth, measured on next to nothing: do they measure what they say?"""

from dataclasses import replace
from pathlib import Path

import pytest

from logbox_pipeline.benchmark import through_pipeline
from logbox_pipeline.benchmark.bench import CLIENT, Bench, peer_database
from logbox_pipeline.benchmark.growth import measure_growth
from logbox_pipeline.benchmark.integrity import measure_integrity
from logbox_pipeline.benchmark.limits import (
    measure_bare_reads,
    measure_bare_requests,
    measure_server_copy,
)
from logbox_pipeline.benchmark.measured import Measured
from logbox_pipeline.benchmark.parts import Part, chosen, run_part
from logbox_pipeline.benchmark.peers import measure_plain_script
from logbox_pipeline.benchmark.sizes import QUICK
from logbox_pipeline.benchmark.waiting import measure_waiting
from logbox_pipeline.benchmark.workload import make_flights, make_mixed, upload_files
from logbox_pipeline.core.errors import PermanentError, UsageError
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey

TINY = replace(
    QUICK,
    parsing=0.001,
    flights=1,
    flight_bytes=200_000,
    receipts_large_files=1,
    receipts_small_files=1,
    catalogs=(600, 1_200),
    batch_files=3,
    waiting=(20, 30),
)


@pytest.fixture
def bench(site: Site, tmp_path: Path) -> Bench:
    with site.transaction() as cursor:
        cursor.execute("insert into logbox.clients values (%s, now(), null)", (CLIENT,))
    return Bench(site, tmp_path / "scratch", tmp_path / "tools", TINY, lambda _: None)


def by_key(measured: list[Measured]) -> dict[str, Measured]:
    return {one.key: one for one in measured}


def test_server_copies_the_rows_that_were_loaded(bench: Bench) -> None:
    site, prefix = bench.site, bench.landing("x")
    made = make_flights(bench.scratch, files=2, size_bytes=100_000, seed=1)
    upload_files(site, made, prefix)
    journey.ingest_all(site)
    copied = measure_server_copy(site, prefix)
    expected = journey.one(site, "select sum(rows)::bigint from logbox.log_tables")
    assert copied.rows == expected > sum(one.rows for one in made)
    assert copied.tables > 5
    assert copied.seconds > 0
    # Nothing of it is left.
    assert journey.rows(site, "select from pg_namespace where nspname = 'bench_limit'") == []
    assert measure_bare_reads(site, prefix) > 0
    site.archive.put_bytes(
        journey.one(site, "select min(archive_key) from logbox.objects"), b"other bytes"
    )
    with pytest.raises(PermanentError, match="does not hold"):
        measure_bare_reads(site, prefix)


def test_bare_requests_are_what_the_protocol_needs(bench: Bench) -> None:
    site, prefix = bench.site, bench.bare("x")
    made = make_flights(bench.scratch, files=2, size_bytes=20_000, seed=1)
    upload_files(site, made, prefix)
    assert measure_bare_requests(site, made, prefix) > 0
    names = [f"{prefix}{one.path.name}" for one in made]
    assert [one.key for one in site.landing.list_all(prefix)] == [f"{name}.json" for name in names]
    assert [one.key for one in site.archive.list_all(prefix)] == names


@pytest.mark.parametrize("is_lean", [True, False])
def test_plain_script_does_the_whole_job_or_fills_postgres_alone(
    bench: Bench, is_lean: bool
) -> None:
    site, prefix = bench.site, bench.bare("x")
    made = make_flights(bench.scratch, files=1, size_bytes=100_000, seed=1)
    made += make_mixed(bench.scratch, files=1, size_bytes=50_000, seed=1)
    upload_files(site, made, prefix)
    url = peer_database(site)
    assert measure_plain_script(site.settings, prefix, url, is_lean=is_lean) > 0
    found = journey.rows(
        journey.with_settings(site, database_url=url),
        "select count(*) from ulg_vehicle_attitude union all select count(*) from tlog_heartbeat",
    )
    assert all(rows for (rows,) in found)
    left = len(list(site.landing.list_all(prefix)))
    archived = len(list(site.archive.list_all(prefix)))
    in_lake = len(list(site.lake.list_all(prefix)))
    assert (left, archived) == ((3, 0) if is_lean else (0, 3))
    assert (in_lake == 0) == is_lean


@pytest.mark.slow
def test_growth_is_measured_on_each_catalog(bench: Bench) -> None:
    found = by_key(list(measure_growth(bench)))
    for logs in TINY.catalogs:
        for name in ("batch_s", "batch_mib", "tick_s", "tick_mib", "reconcile_s", "reconcile_mib"):
            assert found[f"{name}@{logs}"].value > 0
    assert found["batch_growth@1200"].beside == "the same with 600"


def test_waiting_objects_are_seen_and_counted(bench: Bench) -> None:
    found = by_key(list(measure_waiting(bench)))
    for objects in TINY.waiting:
        for name in ("waiting_tick_s", "waiting_longest_s", "waiting_mib", "waiting_listing_s"):
            assert found[f"{name}@{objects}"].value > 0


def test_integrity_is_measured_on_a_site_of_its_own(bench: Bench) -> None:
    found = by_key(list(measure_integrity(bench)))
    assert {"scrub_of_bare_reads", "receipts_1_mb", "receipts_20_kb"} <= found.keys()
    assert journey.one(bench.site, "select count(*) from logbox.logs") == 0


def test_a_part_that_fails_keeps_what_it_had_and_says_why(bench: Bench) -> None:
    def breaks(_: Bench) -> object:
        yield through_pipeline.lower("x", "work", "s", [1])
        raise ZeroDivisionError("of all things")

    done = run_part(Part("odd", "", breaks), bench, lambda _: None)  # type: ignore[arg-type]
    assert [one.name for one in done.measured] == ["x"]
    assert "of all things" in (done.error or "")


def test_parts_are_chosen_by_name_and_run_in_their_order() -> None:
    assert [part.name for part in chosen(["small", "parsing"])] == ["parsing", "small"]
    with pytest.raises(UsageError, match="odd is no part"):
        chosen(["odd"])
