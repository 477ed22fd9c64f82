"""After the commit: the outcome is written, landing is cleared of exactly what was read."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core.errors import TransientError
from logbox_pipeline.steps import lake
from logbox_pipeline.steps.archive import archive
from logbox_pipeline.steps.load import load
from logbox_pipeline.steps.parse import parse
from logbox_pipeline.steps.settle import settle, sweep_lake, sweep_landing
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.verify import verify
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import jsonl, one, rows, upload


def later(site: Site, **ago: float) -> Site:
    return replace(site, now=lambda: datetime.now(UTC) + timedelta(**ago))


def test_nothing_leaves_landing_before_the_commit(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    upload(site, "landing/acme/d1/bad.jsonl", jsonl("b"), sha256="0" * 64)
    held = journey.claim_offered(site)
    verify(site, held)
    archive(site, held)
    parsed = parse(site, held)
    assert len(journey.keys_in(site.landing, "landing/")) == 2
    load(site, held, parsed)
    assert settle(site, held).left_landing == 2
    assert journey.keys_in(site.landing, "landing/") == []
    assert one(site, "select state from logbox.batches") == "finished"


def test_delete_that_fails_is_done_by_a_later_tick(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        upload(site, f"landing/acme/d1/{number}.jsonl", jsonl(str(number)))
    delete_all = S3Bucket.delete_all

    def failing(bucket: S3Bucket, wanted: Sequence[tuple[str, str | None]]) -> Any:
        error = TransientError("the store is away")
        failed = {one: error for one in wanted if one[0].endswith("1.jsonl")}
        return failed | delete_all(bucket, [one for one in wanted if one not in failed])

    offered = journey.tick(site).offered
    with monkeypatch.context() as patched:
        patched.setattr(S3Bucket, "delete_all", failing)
        with pytest.raises(TransientError):
            journey.ingest_offers(site, offered)
    # The two that left are known to have left; the batch is loaded and stays so.
    assert journey.keys_in(site.landing) == ["landing/acme/d1/1.jsonl"]
    assert (
        one(site, "select count(*) from logbox.deliveries where left_landing_at is not null") == 2
    )
    assert rows(site, "select state, failures, transient_failures from logbox.batches") == [
        ("loaded", 0, 0)
    ]
    assert journey.tick(later(site, minutes=2)).settled == 1
    assert journey.keys_in(site.landing) == []
    assert one(site, "select state from logbox.batches") == "finished"


def test_finished_object_that_still_stands_is_swept(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    journey.ingest_all(site)
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    version = site.landing.head("landing/acme/d1/a.jsonl")
    assert version is not None
    journey.change(
        site,
        "update logbox.deliveries set left_landing_at = null, version_id = %s",
        version.version_id,
    )
    assert sweep_landing(site) == 0
    assert sweep_landing(later(site, minutes=2)) == 1
    assert journey.keys_in(site.landing) == []


def test_unproven_objects_are_never_swept(site: Site) -> None:
    upload(site, "landing/acme/d1/waits.jsonl", jsonl("a"), declare=False)
    upload(site, "landing/acme/d1/new.jsonl", jsonl("b"))
    journey.tick(site)
    for minutes in (2, 60, 100_000):
        assert sweep_landing(later(site, minutes=minutes)) == 0
    assert len(journey.keys_in(site.landing)) == 2


def test_parquet_of_a_dead_attempt_is_deleted_and_forgotten_an_hour_later(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    held = journey.claim_offered(site)
    verify(site, held)
    archive(site, held)
    lake.put(site, held, lake.write(site, site.folder(held), parse(site, held)))
    journey.change(site, "update logbox.lake_files set state = 'abandoned'")
    assert journey.keys_in(site.lake) != []
    assert sweep_lake(site) == 1
    assert journey.keys_in(site.lake) == []
    assert one(site, "select count(*) from logbox.lake_files") == 1
    sweep_lake(later(site, hours=2))
    assert one(site, "select count(*) from logbox.lake_files") == 0
