"""Postgres and the lake hold the same rows, counted on both sides."""

from logbox_pipeline.steps.agree import compare_recent
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import jsonl, ulog, upload


def fly(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("armed", "disarmed"))
    upload(site, "landing/acme/d1/b.ulg", ulog({"fix": ["x"]}))
    journey.ingest_all(site)


def test_clean_ingest_agrees(site: Site) -> None:
    fly(site)
    found = compare_recent(site)
    assert found.passed, found
    assert "6 rows in 2" in found.sentence


def test_nothing_ingested_agrees(site: Site) -> None:
    assert compare_recent(site).passed


def test_lost_row_in_postgres_is_found(site: Site) -> None:
    fly(site)
    journey.change(site, "delete from telemetry.ulog_fix where t_boot_us = 1001000")
    found = compare_recent(site)
    assert not found.passed
    ((table, parquet, postgres),) = (
        (one["table"], one["parquet_rows"], one["postgres_rows"]) for one in found.rows
    )
    assert (table, parquet, postgres) == ("ulog_fix", 3, 2)


def test_lost_parquet_file_is_found(site: Site) -> None:
    fly(site)
    (key,) = journey.keys_in(site.lake, "lake/ulog_fix/")
    site.lake.delete(key)
    found = compare_recent(site)
    assert not found.passed
    assert any(one.get("file") == key for one in found.rows)


def test_cut_parquet_file_is_found_and_not_an_error(site: Site) -> None:
    fly(site)
    (key,) = journey.keys_in(site.lake, "lake/ulog_fix/")
    read = site.lake.read(key)
    assert read is not None
    site.lake.put_bytes(key, read[0][:-3])
    assert not compare_recent(site).passed


def test_tables_kept_in_the_lake_alone_agree(site: Site) -> None:
    fly(journey.with_settings(site, postgres_topics="other_*"))
    assert compare_recent(site).passed
    assert journey.one(site, "select lake_only_reason is not null from logbox.log_topics")
