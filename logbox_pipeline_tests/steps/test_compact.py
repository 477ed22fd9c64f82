"""Compaction: fewer files, the same rows, and no moment at which a reader sees another number."""

import hashlib
import io
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from logbox_pipeline.adapters import catalog_lake
from logbox_pipeline.adapters.turns import Turn, turn
from logbox_pipeline.core.content import Content, ContentByLog
from logbox_pipeline.core.errors import PermanentError, TransientError, UsageError
from logbox_pipeline.core.reconciliation import Place
from logbox_pipeline.steps import compact as compact_step
from logbox_pipeline.steps.agree import compare_recent
from logbox_pipeline.steps.aligned import aligned
from logbox_pipeline.steps.compact import compact
from logbox_pipeline.steps.reconcile import reconcile
from logbox_pipeline.steps.settle import sweep_lake
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import jsonl, one, rows, ulog, upload, with_settings
from logbox_pipeline_tests.run_compaction import a_day_on, start_compaction
from logbox_pipeline_tests.stores import differences

TOPICS = {"fix": ["x", "y"], "power": ["v"]}
SHORT, LONG = (ulog(TOPICS, rows=count) for count in (3, 300))
LIVE = "select count(*) from logbox.lake_files where state = 'live'"
LISTED = "select * from logbox.lake_files order by lake_key"
ROWS = (Place.LAKE, Place.POSTGRES)
STATES = "select distinct state from logbox.lake_files"

Contents = dict[str, dict[Any, Content]]


def fly(site: Site, *logs: bytes, vehicle: str = "d1") -> None:
    """One batch for each log."""
    for data in logs:
        upload(site, f"landing/acme/{vehicle}/{hashlib.sha256(data).hexdigest()}", data)
    journey.ingest_all(with_settings(site, batch_files=1))


def fly_three(site: Site) -> None:
    """Three batches; the second has a column more, the third lacks a topic."""
    fly(site, ulog(TOPICS, seed=1), ulog({"fix": ["x", "y", "z"], "power": ["v"]}, seed=2))
    fly(site, ulog({"fix": ["y"]}, rows=40, seed=3), vehicle="d2")


def live_tables(site: Site) -> dict[str, list[pa.Table]]:
    """What `lake_files` says is to be read, file by file. Retries nothing."""
    with site.transaction() as cursor:
        files = catalog_lake.live_files(cursor)
    found: dict[str, list[pa.Table]] = {}
    for file in files:
        read = site.lake.read(file.lake_key)
        assert read is not None, f"{file.lake_key} is live and not there"
        assert hashlib.sha256(read[0]).hexdigest() == file.sha256
        table = pq.read_table(io.BytesIO(read[0]), partitioning=None)
        assert table.num_rows == file.rows
        found.setdefault(file.table_name, []).append(table)
    return found


def contents(site: Site) -> Contents:
    """Rows and digest of each log in each table, through `lake_files`."""
    found: Contents = {}
    for name, files in live_tables(site).items():
        digest = ContentByLog(name)
        for table in files:
            for batch in table.to_batches():
                digest.add(batch)
        found[name] = digest.contents
    return found


def sorted_rows(site: Site) -> dict[str, list[str]]:
    """Every row of every table, value by value, without columns that are null in it."""
    return {
        name: sorted(
            str({column: value for column, value in row.items() if value is not None})
            for table in files
            for row in table.to_pylist()
        )
        for name, files in live_tables(site).items()
    }


def test_a_closed_day_becomes_one_file_a_table_with_the_same_rows(site: Site) -> None:
    fly_three(site)
    before, values = contents(site), sorted_rows(site)
    listed = rows(site, LISTED)
    batches = rows(site, "select distinct unnest(batch_ids)::text from logbox.lake_files")
    would = compact(a_day_on(site), dry_run=True)
    assert rows(site, LISTED) == listed
    report = compact(a_day_on(site))
    assert [one.old for one in would.done] == [one.old for one in report.done]
    assert would.counts == report.counts | {"bytes_after": 0}
    assert report.left == ()
    assert report.counts["files_before"] > report.counts["files_after"] == len(before)
    assert contents(site) == before
    assert sorted_rows(site) == values
    assert {name: len(files) for name, files in live_tables(site).items()} == dict.fromkeys(
        before, 1
    )
    # A second time changes nothing.
    listed = rows(site, LISTED)
    assert compact(a_day_on(site)).done == ()
    assert rows(site, LISTED) == listed
    told = rows(site, "select distinct unnest(batch_ids)::text from logbox.lake_files")
    assert sorted(told) == sorted(batches)
    is_written_as_the_load_writes(site)
    assert [drift for drift in reconcile(site, deep=True).drifts if drift.place in ROWS] == []
    # Readers by log, and the check that compares both stores, find their rows in it.
    assert compare_recent(site).passed
    log_id = one(site, "select log_id::text from logbox.log_topics where topic = 'power' limit 1")
    assert len(aligned(site, UUID(log_id), ["power"], 1000)) > 0


def is_written_as_the_load_writes(site: Site) -> None:
    """Sorted, compressed, with all columns, logs as UUIDs."""
    (fix,) = live_tables(site)["ulog_fix"]
    order = [
        (row["log_id"], row["instance"], row["t_boot_us"])
        for row in fix.select(["log_id", "instance", "t_boot_us"]).to_pylist()
    ]
    assert order == sorted(order)
    fixed = ["log_id", "client", "vehicle", "instance", "t_boot_us", "ts"]
    assert fix.schema.names == [*fixed, "x", "y", "z"]
    key = one(
        site,
        "select lake_key from logbox.lake_files where state = 'live' and table_name = 'ulog_fix'",
    )
    read = site.lake.read(key)
    assert read is not None
    column = pq.ParquetFile(io.BytesIO(read[0])).metadata.row_group(0).column(6)
    assert (column.path_in_schema, column.compression) == ("x", "ZSTD")
    assert "BYTE_STREAM_SPLIT" in column.encodings
    assert pq.ParquetFile(io.BytesIO(read[0])).schema_arrow.field("log_id").type == pa.uuid()


def test_a_late_log_joins_the_small_file_and_leaves_large_ones(site: Site) -> None:
    fly_three(site)
    compact(a_day_on(site))
    fly(site, ulog(TOPICS, rows=9, seed=77))
    largest = one(site, "select max(size_bytes) from logbox.lake_files where state = 'live'")
    before = contents(site)
    # All files are at least half of it: nothing is small.
    assert compact(a_day_on(with_settings(site, lake_file_bytes=2))).done == ()
    report = compact(a_day_on(with_settings(site, lake_file_bytes=4 * largest)))
    assert report.counts["files_after"] == len(before)
    assert contents(site) == before
    assert one(site, LIVE) == len(before)


# Which days


def test_today_and_days_with_work_left_are_left_and_only_one_compacts(site: Site) -> None:
    fly(site, jsonl("a"), jsonl("b"))
    assert compact(site).done == ()
    with pytest.raises(UsageError, match="is not over"):
        compact(site, day=site.now().date())
    for state in ("open", "loaded"):
        journey.change(
            site,
            """
            update logbox.batches
            set state = %s
            where batch_id = (select max(batch_id::text)::uuid from logbox.batches)
            """,
            state,
        )
        assert compact(a_day_on(site)).done == ()
    journey.change(site, "update logbox.batches set state = 'finished'")
    with (
        site.connection() as other,
        turn(other, Turn.COMPACTION),
        pytest.raises(TransientError, match="another compaction is at work"),
    ):
        compact(a_day_on(site))
    assert compact(a_day_on(site), day=(site.now() - timedelta(days=1)).date()).done == ()
    assert compact(a_day_on(site), day=site.now().date()).done != ()


def test_a_file_that_its_store_holds_up_keeps_its_day_from_no_compaction(site: Site) -> None:
    fly(site, jsonl("a"), jsonl("b"))
    journey.upload(site, "landing/acme/d1/held.jsonl", jsonl("held"))
    journey.tick(site)
    assert compact(a_day_on(site)).done == ()
    journey.change(site, "update logbox.batches set request_failures = 4 where state = 'open'")
    assert compact(a_day_on(site)).done != ()


# Readers


def test_a_reader_of_lake_files_never_sees_a_row_twice_or_not_at_all(site: Site) -> None:
    fly_three(site)
    before = contents(site)
    over = threading.Event()
    seen: list[Contents] = []

    def read() -> None:
        while not over.is_set():
            seen.append(contents(site))
        seen.append(contents(site))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        compact(a_day_on(site))
        # A day on, the grace of what was replaced a moment ago is not over.
        sweep_lake(a_day_on(site))
    finally:
        over.set()
        reader.join()
    assert len(seen) > 1
    assert all(found == before for found in seen)


def test_old_files_go_after_the_grace_of_compaction_and_no_other(site: Site) -> None:
    fly(site, SHORT)
    fly(site, ulog(TOPICS, seed=50), vehicle="d2")
    # It takes the place of SHORT, whose file is replaced as well: that one has the longer grace.
    fly(site, LONG)
    replaced = "select count(*) from logbox.lake_files where state = 'replaced'"
    by_growth = one(site, replaced)
    assert by_growth > 0
    compact(a_day_on(site))
    assert one(site, replaced) > by_growth
    soon = replace_now(site, days=1, seconds=200)
    assert sweep_lake(soon) == by_growth
    assert sweep_lake(soon) == 0
    assert sweep_lake(replace_now(site, days=1, seconds=400)) > 0
    assert one(site, replaced) == 0
    assert sorted(journey.keys_in(site.lake)) == sorted(
        key for (key,) in rows(site, "select lake_key from logbox.lake_files")
    )


def replace_now(site: Site, **later: float) -> Site:
    start = site.now()
    return Site(
        site.settings, site.landing, site.archive, site.lake, now=lambda: start + timedelta(**later)
    )


def test_a_bare_glob_that_keeps_one_file_a_log_is_exact_in_the_grace_too(
    site: Site, tmp_path: Path
) -> None:
    fly(site, jsonl("a", "b"), jsonl("c"))
    compact(a_day_on(site))
    for key in journey.keys_in(site.lake):
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        site.lake.download(key, path)
    glob = f"from read_parquet('{tmp_path}/lake/log_events/**', filename = true)"
    assert len(duckdb.sql(glob).fetchall()) == 6
    once = f"select message {glob} qualify filename = max(filename) over (partition by log_id)"
    assert sorted(duckdb.sql(once).fetchall()) == [("a",), ("b",), ("c",)]


# With others


def test_a_growing_log_takes_its_beginning_out_of_a_compacted_file(site: Site) -> None:
    fly(site, SHORT)
    fly(site, ulog(TOPICS, rows=7, seed=50), vehicle="d2")
    compact(a_day_on(site))
    fly(site, LONG)
    assert one(site, "select count(*) from logbox.logs where superseded_by is not null") == 1
    assert sum(table.num_rows for table in live_tables(site)["ulog_fix"]) == 307
    compact(a_day_on(site))
    assert sum(table.num_rows for table in live_tables(site)["ulog_fix"]) == 307
    sweep_lake(replace_now(site, days=2))
    assert differences(site)[0] == []


def test_what_another_replaces_meanwhile_is_left_for_the_next_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    fly(site, SHORT)
    fly(site, ulog(TOPICS, rows=7, seed=50), vehicle="d2")
    written = compact_step._written

    def grows_meanwhile(*arguments: Any) -> Any:
        file = written(*arguments)
        monkeypatch.setattr(compact_step, "_written", written)
        fly(site, LONG)
        return file

    monkeypatch.setattr(compact_step, "_written", grows_meanwhile)
    report = compact(a_day_on(site))
    assert [left.why for left in report.left if "replaced meanwhile" in (left.why or "")]
    assert sum(table.num_rows for table in live_tables(site)["ulog_fix"]) == 307
    assert one(site, "select count(*) from logbox.lake_files where state = 'planned'") == 0
    compact(a_day_on(site))
    sweep_lake(replace_now(site, days=2))
    assert differences(site)[0] == []
    assert len(journey.keys_in(site.lake)) == one(site, LIVE) == len(live_tables(site))


def test_drift_in_one_file_leaves_that_one_and_merges_the_others(site: Site) -> None:
    fly_three(site)
    before = contents(site)
    ((wrong,), *_) = rows(
        site, "select lake_key from logbox.lake_files where table_name = 'ulog_fix' order by 1"
    )
    read = site.lake.read(wrong)
    assert read is not None
    site.lake.put_bytes(wrong, read[0][:-1] + b"\0")
    report = compact(a_day_on(site))
    ((left,),) = [one.old for one in report.left]
    assert left.lake_key == wrong
    assert "drift" in (report.left[0].why or "")
    site.lake.put_bytes(wrong, read[0])
    assert contents(site) == before
    assert one(site, "select state from logbox.lake_files where lake_key = %s", wrong) == "live"


def test_a_merge_that_loses_a_row_replaces_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    fly_three(site)
    before = rows(site, LISTED)
    merge_files = compact_step.merge_files

    def loses(paths: Any, *others: Any) -> Any:
        table = pq.read_table(paths[0], partitioning=None)
        pq.write_table(table.slice(1), paths[0])
        return merge_files(paths, *others)

    monkeypatch.setattr(compact_step, "merge_files", loses)
    with pytest.raises(PermanentError, match="nothing was changed"):
        compact(a_day_on(site))
    assert rows(site, LISTED) == before


# Killed


@pytest.mark.parametrize(
    "failpoint",
    [
        "after_compaction_planned",
        "after_compaction_put",
        "before_compaction_commit",
        "after_compaction_commit",
    ],
)
def test_killed_compaction_changes_nothing_a_reader_sees_and_is_done_by_the_next(
    site: Site, failpoint: str
) -> None:
    fly(site, jsonl("a", "b"), jsonl("c"), jsonl("d", "e", "f"))
    before = contents(site)
    run = start_compaction(journey.dying_at(site.settings, failpoint))
    run.join(60)
    assert run.exitcode == -signal.SIGKILL
    assert contents(site) == before
    is_done = failpoint == "after_compaction_commit"
    deadline = time.monotonic() + 10
    while not is_done and not sweep_lake(site) and time.monotonic() < deadline:
        # Postgres has not seen yet that it is gone.
        time.sleep(0.05)
    # A bare glob does not wait for the next compaction to be right again.
    assert len(journey.keys_in(site.lake)) == (4 if is_done else 3)
    assert (compact(a_day_on(site)).done == ()) is is_done
    sweep_lake(replace_now(site, days=2))
    assert contents(site) == before
    assert len(journey.keys_in(site.lake)) == one(site, LIVE) == 1
    sweep_lake(replace_now(site, days=3))
    assert rows(site, STATES) == [("live",)]


@pytest.fixture(autouse=True)
def _all_postgres_rows_stay(site: Site) -> Iterator[None]:
    """Compaction touches the lake alone: both stores agree after every test here."""
    yield
    journey.change(site, "update logbox.batches set state = 'finished'")
    assert compare_recent(site).passed
