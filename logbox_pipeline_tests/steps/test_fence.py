"""A run that was given up and wakes again may change nothing."""

from datetime import timedelta

import pytest

from logbox_pipeline.adapters.catalog_batches import Claim
from logbox_pipeline.core.errors import FenceLost
from logbox_pipeline.steps.archive import archive
from logbox_pipeline.steps.attempt import attempt, claim
from logbox_pipeline.steps.load import load
from logbox_pipeline.steps.parse import parse
from logbox_pipeline.steps.settle import settle
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.verify import verify
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import jsonl, ulog, upload


def fly(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("armed"))
    upload(site, "landing/acme/d1/b.ulg", ulog({"fix": ["x"]}))
    upload(site, "landing/acme/d1/bad.jsonl", jsonl("cut"), sha256="0" * 64)


def give_up(site: Site, held: Claim) -> None:
    """A minute passes without a heartbeat, and the sensor looks."""
    journey.change(site, "update logbox.batches set heartbeat_at = heartbeat_at - interval '2 min'")
    seen = journey.tick(site)
    assert [batch.batch_id for batch, _ in seen.died] == [held.batch_id]
    assert [batch.attempt for batch in seen.offered] == [held.attempt + 1]


def test_run_paused_before_its_commit_cannot_load_settle_or_delete(site: Site) -> None:
    fly(site)
    zombie = journey.claim_offered(site, "zombie")
    verify(site, zombie)
    archive(site, zombie)
    parsed = parse(site, zombie)
    give_up(site, zombie)
    journey.ingest_all(site)
    upload(site, "landing/acme/d1/a.jsonl", jsonl("newer"))
    before = journey.snapshot(site)
    with pytest.raises(FenceLost):
        load(site, zombie, parsed)
    with pytest.raises(FenceLost):
        settle(site, zombie)
    for step in (verify, archive, parse):
        with pytest.raises(FenceLost):
            step(site, zombie)
    assert journey.snapshot(site) == before


def test_run_paused_while_the_next_attempt_is_half_done_cannot_commit_first(site: Site) -> None:
    fly(site)
    zombie = journey.claim_offered(site, "zombie")
    verify(site, zombie)
    archive(site, zombie)
    parsed = parse(site, zombie)
    give_up(site, zombie)
    held = claim(site, zombie.batch_id, 2, "living")
    verify(site, held)
    archive(site, held)
    again = parse(site, held)
    with pytest.raises(FenceLost):
        load(site, zombie, parsed)
    load(site, held, again)
    settle(site, held)
    found = journey.snapshot(site)
    assert len(found["lake"]["log_events"]) == len(found["postgres"]["log_events"])
    assert len(found["lake"]["ulog_fix"]) == len(found["postgres"]["ulog_fix"]) == 3
    assert journey.keys_in(site.landing, "landing/") == []


def test_same_run_cannot_claim_an_attempt_twice(site: Site) -> None:
    fly(site)
    held = journey.claim_offered(site)
    with pytest.raises(FenceLost, match="running, attempt 1"):
        claim(site, held.batch_id, held.attempt, held.run_id)


def test_lost_fence_is_not_counted_as_a_failure(site: Site) -> None:
    fly(site)
    zombie = journey.claim_offered(site, "zombie")
    give_up(site, zombie)
    before = journey.rows(site, "select failures, attempt, state from logbox.batches")
    with pytest.raises(FenceLost), attempt(site, zombie):
        verify(site, zombie)
    assert journey.rows(site, "select failures, attempt, state from logbox.batches") == before


def test_batch_that_is_committing_right_now_is_not_given_up(site: Site) -> None:
    """The load holds the batch's row, so its heartbeat cannot get through meanwhile."""
    fly(site)
    held = journey.claim_offered(site)
    journey.change(site, "update logbox.batches set heartbeat_at = heartbeat_at - interval '2 min'")
    with site.transaction() as cursor:
        cursor.execute(
            "select from logbox.batches where batch_id = %s for update", (str(held.batch_id),)
        )
        started = site.now()
        assert journey.tick(site).died == ()
        assert site.now() - started < timedelta(seconds=5)
