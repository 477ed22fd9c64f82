"""What one look at landing finds, and what it offers."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from logbox_pipeline.adapters import catalog_batches
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core.ports import ListedObject, Page
from logbox_pipeline.steps import sense as sense_module
from logbox_pipeline.steps.sense import sense
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import jsonl, one, rows, tick, upload, with_settings


class ListedOnly:
    """A landing bucket full of objects that only a listing shows: 2,000 real ones take a minute."""

    def __init__(self, bucket: str, keys: Iterable[str], at: datetime) -> None:
        self.bucket = bucket
        self._objects = [ListedObject(key, "e" * 32, 2, at) for key in sorted(keys)]

    def list_page(
        self, prefix: str, *, after: str = "", folders: bool = False, most: int = 1000
    ) -> Page:
        below = [one for one in self._objects if one.key.startswith(prefix) and one.key > after]
        if folders:
            names = {prefix + one.key.removeprefix(prefix).partition("/")[0] for one in below}
            return Page((), tuple(f"{name}/" for name in sorted(names)), False)
        return Page(tuple(below[:most]), (), len(below) > most)


def test_replayed_ticks_change_nothing(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    first = tick(site)
    before = rows(site, "select d::text from logbox.deliveries d order by delivery_id")
    batches = rows(site, "select b::text from logbox.batches b")
    again = tick(site)
    assert (first.new, first.formed) == (1, 1)
    assert (again.new, again.formed) == (0, 0)
    assert again.offered == first.offered
    assert rows(site, "select d::text from logbox.deliveries d order by delivery_id") == before
    assert rows(site, "select b::text from logbox.batches b") == batches


def test_two_ticks_at_once_make_each_delivery_and_batch_once(site: Site) -> None:
    for number in range(20):
        upload(site, f"landing/acme/d1/{number}.jsonl", jsonl(str(number)))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: tick(site), range(4)))
    assert one(site, "select count(*) from logbox.deliveries") == 20
    batched = "select batch_id, count(*) from logbox.deliveries group by batch_id order by 1"
    assert rows(site, batched) == rows(
        site, "select batch_id, files::bigint from logbox.batches order by 1"
    )


def test_uploads_of_the_same_second_are_all_found(site: Site) -> None:
    for number in range(5):
        upload(site, f"landing/acme/d1/{number}.jsonl", b"{}")
    assert tick(site).new == 5
    upload(site, "landing/acme/d1/5.jsonl", b"{}")
    assert tick(site).new == 1


def test_burst_does_not_keep_another_client_waiting(site: Site) -> None:
    """2,000 objects in one tick: all are found, and the single file is in the first batch."""
    burst = [f"landing/acme/d1/{number:05}.jsonl" for number in range(1_999)]
    landing = ListedOnly("full", [*burst, "landing/beta/d9/single.jsonl"], site.now())
    site = journey.with_settings(site, batch_files=500)
    site = replace(site, landing=cast("S3Bucket", landing))
    seen = tick(site)
    assert (seen.listed, seen.new, seen.formed) == (2_000, 2_000, 4)
    in_first = """
        select count(*)
        from logbox.deliveries
        where client = 'beta' and batch_id = %s
    """
    assert one(site, in_first, str(seen.offered[0].batch_id)) == 1
    assert tick(site).new == 0


def test_object_listed_again_after_it_left_is_a_delivery_of_its_own(site: Site) -> None:
    for _ in range(3):
        upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
        journey.ingest_all(site)
    assert journey.states(site) == [("archived", ""), ("duplicate", ""), ("duplicate", "")]
    assert one(site, "select count(*) from logbox.log_events") == 1


def test_object_still_being_cleared_away_is_not_new(site: Site) -> None:
    """Listed just before it was deleted, recorded just after: no delivery may come of it."""
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    journey.tick(site)
    journey.change(site, "update logbox.deliveries set left_landing_at = now()")
    slow = replace(site, now=lambda: datetime.now(UTC) - timedelta(seconds=5))
    assert tick(slow).new == 0
    assert tick(site).new == 1


def test_paused_pipeline_records_and_offers_nothing(site: Site) -> None:
    with site.transaction() as cursor:
        catalog_batches.pause(cursor, "ann", site.now())
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    seen = tick(site)
    assert (seen.new, seen.formed, seen.offered, seen.paused_by) == (1, 0, (), "ann")
    with site.transaction() as cursor:
        catalog_batches.resume(cursor)
    assert len(tick(site).offered) == 1


def test_batch_that_backs_off_is_not_offered_before_its_time(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    tick(site)
    journey.change(site, "update logbox.batches set not_before = now() + interval '1 minute'")
    assert tick(site).offered == ()
    assert (
        len(tick(replace(site, now=lambda: datetime.now(UTC) + timedelta(seconds=61))).offered) == 1
    )


def test_part_full_batch_waits_while_another_runs(site: Site) -> None:
    patient = with_settings(site, batch_wait_s=60)
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    assert tick(patient).formed == 1
    upload(site, "landing/acme/d1/b.jsonl", jsonl("b"))
    assert tick(patient).formed == 0
    assert tick(replace(patient, now=lambda: datetime.now(UTC) + timedelta(seconds=61))).formed == 1


def test_listing_goes_on_where_it_broke_off_and_wraps(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time for one page only: in the end everybody's every object is found."""
    page = type(site.landing).list_page

    def small_page(bucket: object, prefix: str, **asked: object) -> object:
        found = page(site.landing, prefix, **{**asked, "most": 2})  # type: ignore[arg-type]
        clock["now"] += 1
        return found

    for client in ("acme", "beta", "ghost"):
        for number in range(3):
            upload(site, f"landing/{client}/d1/{number}.jsonl", jsonl(client + str(number)))
    clock = {"now": 0.0}
    monkeypatch.setattr(type(site.landing), "list_page", small_page)
    monkeypatch.setattr(sense_module.time, "monotonic", lambda: clock["now"])
    monkeypatch.setattr(sense_module, "LISTING_S", 2.5)
    hint: dict[str, str] = {}
    listed = []
    for _ in range(6):
        seen = sense(site, hint=hint, run_states=lambda _: {})
        hint = seen.hint
        listed.append(seen.listed)
    assert max(listed) <= 6
    assert one(site, "select count(*) from logbox.deliveries") == 9
    # It wrapped: what comes at the front of the list is found, too.
    upload(site, "landing/acme/d1/-first.jsonl", jsonl("front"))
    for _ in range(6):
        hint = sense(site, hint=hint, run_states=lambda _: {}).hint
    assert one(site, "select count(*) from logbox.deliveries") == 10
