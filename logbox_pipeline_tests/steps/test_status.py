"""Status: what is overdue is said, what is fine is not."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from logbox_pipeline.adapters import catalog_batches
from logbox_pipeline.steps.attempt import claim
from logbox_pipeline.steps.replicate import replicate
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.status import Replica, status
from logbox_pipeline_tests.journey import ingest_all, tick, upload

LOG = b'{"ts":"2026-03-01T00:00:00Z","msg":"up"}\n' * 20


def later(site: Site, **by: float) -> Site:
    def clock() -> datetime:
        return site.now() + timedelta(**by)

    return replace(site, now=clock)


def test_a_fresh_site_is_overdue_only_for_its_sensor(site: Site) -> None:
    found = status(site)
    assert found.sensor.is_overdue
    assert ["never looked" in sentence for sentence in found.overdue] == [True]
    tick(site)
    assert status(site).overdue == []


def test_the_sensor_is_overdue_after_two_minutes_unless_paused(site: Site) -> None:
    tick(site)
    assert not status(later(site, seconds=100)).sensor.is_overdue
    assert status(later(site, seconds=130)).sensor.is_overdue
    with site.transaction() as cursor:
        catalog_batches.pause(cursor, "me: moving house", site.now())
    found = status(later(site, seconds=130))
    assert not found.sensor.is_overdue
    assert found.paused_by == "me: moving house"


def test_the_oldest_unfinished_log_is_held_against_the_promise(site: Site) -> None:
    assert status(site).freshness.age_s is None
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    tick(site)
    found = status(later(site, seconds=60))
    assert 55 <= (found.freshness.age_s or 0) <= 120
    assert not found.freshness.is_broken
    assert found.backlog["files"] == 1
    found = status(later(site, seconds=2_000))
    assert found.freshness.is_broken
    assert any("LOGBOX_FRESHNESS_PROMISE_S" in sentence for sentence in found.overdue)
    ingest_all(site)
    found = status(later(site, seconds=2_000))
    assert not found.freshness.is_broken
    assert found.backlog["files"] == 0


def test_a_client_gone_silent_is_overdue_until_revoked(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    ingest_all(site)
    found = status(later(site, days=8))
    assert [row["client"] for row in found.clients if row["is_silent"]] == ["acme", "beta"]
    with site.transaction() as cursor:
        cursor.execute("update logbox.clients set revoked_at = now() where client = 'beta'")
    found = status(later(site, days=8))
    assert [row["client"] for row in found.clients if row["is_silent"]] == ["acme"]


def test_the_replica_is_late_after_its_promise_until_it_is_caught_up(site: Site) -> None:
    assert status(site).replica.files == 0
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    ingest_all(site)
    tick(site)
    found = status(later(site, seconds=800))
    assert (found.replica.replication, found.replica.bucket) == ("copy", site.replica.bucket)  # type: ignore[union-attr]
    assert found.replica.files
    assert 795 <= (found.replica.lag_s or 0) <= 860
    assert not found.replica.is_late
    found = status(later(site, seconds=2_000))
    assert found.replica.is_late
    assert any("LOGBOX_REPLICA_LAG_S" in sentence for sentence in found.overdue)
    replicate(site)
    found = status(later(site, seconds=2_000))
    assert (found.replica.files, found.replica.lag_s, found.replica.is_late) == (0, 0, False)


def test_a_site_without_a_replica_says_so_and_is_not_overdue_for_it(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    ingest_all(site)
    found = status(later(replace(site, replica=None), seconds=2_000))
    assert found.replica == Replica("off")
    assert not any("replica" in sentence for sentence in found.overdue)


def test_a_batch_that_backs_off_says_why_and_until_when(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    (batch,) = tick(site).offered
    held = claim(site, batch.batch_id, batch.attempt, "a-run")
    assert status(site).batches[0]["state"] == "running"
    with site.transaction() as cursor:
        until = catalog_batches.back_off(
            cursor, held.batch_id, held.attempt, "S3 was away", site.now()
        )
    (row,) = status(site).batches
    assert (row["state"], row["not_before"], row["last_error"]) == ("open", until, "S3 was away")


def test_storage_says_how_long_the_disk_will_do(site: Site, tmp_path: Path) -> None:
    found = status(site, disk=tmp_path).storage
    assert found.disk_free_bytes is not None
    assert found.days_left is None
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    ingest_all(site)
    found = status(site, disk=tmp_path).storage
    assert found.archive_bytes == found.archive_bytes_per_day == len(LOG)
    assert found.days_left is not None
    assert status(site).storage.days_left is None


@pytest.mark.parametrize("change", [lambda site: None, tick, ingest_all])
def test_looking_changes_nothing(site: Site, change: Callable[[Site], object]) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG, sha256="0" * 64)
    change(site)
    moving = {"at": None, "storage": None, "freshness": None, "replica": None}
    before = replace(status(site), **moving)  # type: ignore[arg-type]
    after = replace(status(site), **moving)  # type: ignore[arg-type]
    assert before == after
