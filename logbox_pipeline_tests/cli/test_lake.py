"""`logbox lake` and `logbox retain`: what they print, refuse and change."""

from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests.cli.office import run, run_json, settle_in
from logbox_pipeline_tests.journey import ingest_all, jsonl, ulog, upload, with_settings


@pytest.fixture(autouse=True)
def at_the_site(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    settle_in(site, monkeypatch)
    upload(site, "landing/acme/d1/a.ulg", ulog({"fix": ["x"]}))
    upload(site, "landing/acme/d1/b.jsonl", jsonl("b"))
    ingest_all(with_settings(site, batch_files=1))


def test_paths_are_the_live_files_and_json_says_what_they_hold(site: Site) -> None:
    found = run_json("lake", "paths", "log_events")
    assert [sorted(one) for one in found] == [
        ["path", "received_on", "rows", "sha256", "size_bytes"]
    ] * 2
    printed = run("lake", "paths", "log_events", "--day", found[0]["received_on"])
    assert printed.stdout.splitlines() == [one["path"] for one in found]
    assert all(one["path"].startswith(f"s3://{site.lake.bucket}/lake/log_events/") for one in found)
    assert run("lake", "paths", "log_events", "--day", "2020-01-01").stdout == ""


def test_a_table_or_day_that_is_none_is_wrong_use() -> None:
    unknown = run("lake", "paths", "events")
    assert unknown.exit_code == 2
    assert "it has: log_events, ulog_fix" in unknown.stderr
    assert run("lake", "paths", "log_events", "--day", "yesterday").exit_code == 2
    assert run("lake", "compact", "--day", "2999-01-01").exit_code == 2


def test_the_view_script_is_exact_in_duckdb(site: Site, tmp_path: Path) -> None:
    script = run("lake", "duckdb").stdout
    for stored in site.lake.list_all("lake/"):
        path = tmp_path / stored.key
        path.parent.mkdir(parents=True, exist_ok=True)
        site.lake.download(stored.key, path)
    # A stray file in the bucket is in no view.
    stray = next(tmp_path.glob("lake/log_events/*/*.parquet"))
    stray.with_name("stray.parquet").write_bytes(stray.read_bytes())
    with duckdb.connect() as database:
        # DuckDB's S3 reader is an extension from the network: here it reads a copy.
        database.execute(script.replace(f"s3://{site.lake.bucket}", str(tmp_path)))
        counted = "select count(*), min(received_on) = max(received_on) from {}"
        assert database.execute(counted.format("log_events")).fetchall() == [(2, True)]
        assert database.execute(counted.format("ulog_fix")).fetchall() == [(3, True)]
    assert "ulog_fix" not in run("lake", "duckdb", "log_events").stdout


def test_compact_and_retain_say_what_they_do_and_would_do(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "0 files became 0" in run("lake", "compact").stderr
    assert "keeps every day" in run("retain").stderr
    later = Site(
        with_settings(site, postgres_telemetry_days=1).settings,
        site.landing,
        site.archive,
        site.lake,
        now=lambda: start + timedelta(days=70),
    )
    start = site.now()
    for module in ("lake", "retain"):
        monkeypatch.setattr(f"logbox_pipeline.cli.{module}.checked_site", lambda: later)
    would = run_json("retain", "--dry-run")
    assert (would["dropped_partitions"], would["dropped_rows"]) == (1, 3)
    assert run_json("retain") == would | {"dry_run": False}
    assert "2 files would become 1" in run("lake", "compact", "--dry-run").stderr
    done = run_json("lake", "compact")
    assert (done["files_before"], done["files_after"], done["left"]) == (2, 1, [])
    assert run("lake", "paths", "log_events").stdout.endswith(done["merged"][0]["path"] + "\n")
