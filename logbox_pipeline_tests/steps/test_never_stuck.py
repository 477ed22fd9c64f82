"""Nothing is lost, stuck or blamed for ever, whatever one client, one object or one death does."""

import contextlib
import hashlib
import itertools
import random
import string
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from logbox_pipeline.adapters import catalog_batches, catalog_status
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core import batching
from logbox_pipeline.core.batching import RunSeen, RunState
from logbox_pipeline.core.errors import FenceLost, RequestFailed, StoreRefused, TransientError
from logbox_pipeline.core.ports import StoredObject
from logbox_pipeline.settings import Settings
from logbox_pipeline.steps import lake, proof
from logbox_pipeline.steps import parse as parsing
from logbox_pipeline.steps import sense as sensing
from logbox_pipeline.steps import verify as verifying
from logbox_pipeline.steps.archive import archive
from logbox_pipeline.steps.attempt import claim
from logbox_pipeline.steps.ingest import ingest_offered
from logbox_pipeline.steps.load import load
from logbox_pipeline.steps.parse import parse
from logbox_pipeline.steps.parse_pool import Job
from logbox_pipeline.steps.parse_worker import ParsedLog, UnparsedLog
from logbox_pipeline.steps.sense import MOST_AHEAD, Tick
from logbox_pipeline.steps.settle import settle
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.trace import trace
from logbox_pipeline.steps.verify import verify
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import jsonl, upload


def bury(site: Site) -> Tick:
    """The tick that finds the running attempt long silent."""
    journey.change(
        site, "update logbox.batches set heartbeat_at = heartbeat_at - interval '2 minutes'"
    )
    return journey.tick(site)


def let_back_off_pass(site: Site) -> None:
    journey.change(site, "update logbox.batches set not_before = least(not_before, now())")


def test_refused_file_alone_in_a_batch_that_dies_twice_still_leaves_landing(site: Site) -> None:
    upload(site, "landing/acme/d1/bad.jsonl", jsonl("x"), sha256="0" * 64)
    for run in ("r1", "r2"):
        (batch,) = journey.tick(site).offered
        verify(site, claim(site, batch.batch_id, batch.attempt, run))
        bury(site)
    let_back_off_pass(site)
    journey.ingest_all(site)
    assert journey.keys_in(site.landing, "landing/") == []
    assert journey.rows(site, "select state from logbox.deliveries") == [("quarantined",)]
    assert journey.rows(site, "select state from logbox.batches") == [("finished",)]


def test_duplicate_alone_in_a_batch_that_dies_twice_still_leaves_landing(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("x"))
    journey.ingest_all(site)
    upload(site, "landing/acme/d1/b.jsonl", jsonl("x"))
    for run in ("r1", "r2"):
        (batch,) = journey.tick(site).offered
        held = claim(site, batch.batch_id, batch.attempt, run)
        verify(site, held)
        archive(site, held)
        parse(site, held)
        bury(site)
    let_back_off_pass(site)
    journey.ingest_all(site)
    assert journey.keys_in(site.landing, "landing/") == []


def test_run_that_could_not_claim_is_no_file_s_fault(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("x"))
    away = journey.with_settings(site, database_url="postgresql://logbox_writer:x@127.0.0.1:1/no")
    for _ in range(3):
        (batch,) = journey.tick(site).offered
        with pytest.raises(TransientError):
            list(ingest_offered(away, batch.run_key, "r"))
        journey.tick(site, {batch.run_key: RunSeen(RunState.ENDED)})
        let_back_off_pass(site)
    assert journey.rows(site, "select failures, transient_failures from logbox.batches") == [(0, 3)]
    journey.ingest_all(site)
    assert journey.rows(site, "select state from logbox.logs") == [("loaded",)]


def test_object_that_cannot_be_deleted_holds_up_nobody(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("x"))
    held = journey.claim_offered(site)
    verify(site, held)
    archive(site, held)
    load(site, held, parse(site, held))
    journey.change(
        site,
        "update logbox.batches set state = 'finished', finished_at = now() - interval '1 day'",
    )
    delete_all = S3Bucket.delete_all

    def locked(self: S3Bucket, wanted: Sequence[tuple[str, str | None]]) -> Any:
        error = StoreRefused("could not delete it: AccessDenied (object lock)")
        held_back = {one: error for one in wanted if one[0].endswith("a.jsonl")}
        return held_back | delete_all(self, [one for one in wanted if one not in held_back])

    monkeypatch.setattr(S3Bucket, "delete_all", locked)
    upload(site, "landing/beta/d1/b.jsonl", jsonl("y"))
    seen = journey.tick(site)
    assert len(seen.offered) == 1
    assert "object lock" in (seen.trouble or "")


def test_quarantine_copy_that_is_not_proven_keeps_the_object_in_landing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = S3Bucket._put

    def lossy(self: S3Bucket, key: str, body: Any, size_bytes: int, *rest: Any) -> Any:
        if not key.startswith("quarantine/"):
            return put(self, key, body, size_bytes, *rest)
        self.client.put_object(Bucket=self.bucket, Key=key, Body=b"")
        return StoredObject(size_bytes, "etag", None, datetime.now(UTC))

    monkeypatch.setattr(S3Bucket, "_put", lossy)
    upload(site, "landing/acme/d1/a.jsonl", jsonl("x"), sha256="0" * 64)
    held = journey.claim_offered(site)
    with pytest.raises(TransientError, match="does not read back"):
        verify(site, held)
    assert journey.keys_in(site.landing, "landing/") == ["landing/acme/d1/a.jsonl"]


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Keys of landing for which the store answers 500, until they are taken out."""
    broken: set[str] = set()
    download = S3Bucket.download

    def answer(self: S3Bucket, key: str, path: Any, **asked: Any) -> Any:
        if key in broken:
            raise RequestFailed(f"500 for {key}")
        return download(self, key, path, **asked)

    monkeypatch.setattr(S3Bucket, "download", answer)
    return broken


def fail_thrice(site: Site) -> None:
    for _ in range(3):
        (batch,) = journey.tick(site).offered
        with pytest.raises(TransientError, match="500 for"):
            list(ingest_offered(site, batch.run_key, "r"))
        let_back_off_pass(site)


def let_waiting_pass(site: Site) -> None:
    journey.change(site, "update logbox.deliveries set waiting_until = now() - interval '1 s'")


def test_object_that_cannot_be_read_does_not_keep_the_others_of_its_batch(
    site: Site, unreadable: set[str]
) -> None:
    upload(site, "landing/acme/d1/good.jsonl", jsonl("good"))
    upload(site, "landing/beta/d1/bad.jsonl", jsonl("bad"))
    site.landing.put_bytes("landing/beta/d1/bad.jsonl.sha256", b"one that would release it")
    unreadable.add("landing/beta/d1/bad.jsonl")
    fail_thrice(site)
    journey.ingest_all(site)
    assert journey.rows(site, "select message from logbox.log_events") == [("good",)]
    assert journey.rows(
        site, "select client, reason, detail from logbox.deliveries where state = 'waiting'"
    ) == [("beta", "unread", "500 for landing/beta/d1/bad.jsonl")]
    hop = next(one for one in trace(site, "bad.jsonl").deliveries[0].hops if one.hop == "waiting")
    assert "could not be read: 500 for landing/beta/d1/bad.jsonl; tried again at" in hop.detail
    journey.change(site, "update logbox.deliveries set waiting_until = now() + interval '1 hour'")
    journey.tick(site)
    assert journey.rows(site, "select count(*) from logbox.batches") == [(1,)]
    unreadable.clear()
    let_waiting_pass(site)
    journey.ingest_all(site)
    assert (
        journey.rows(site, "select state, reason, detail from logbox.deliveries")
        == [("archived", None, None)] * 2
    )
    assert not {key for key in journey.keys_in(site.landing, "landing/") if key.endswith("jsonl")}


def test_objects_that_are_never_read_hold_no_place_among_the_batches(
    site: Site, unreadable: set[str]
) -> None:
    single = journey.with_settings(site, batch_files=1)
    for number in range(MOST_AHEAD):
        key = f"landing/acme/d1/{number}.jsonl"
        unreadable.add(key)
        upload(site, key, jsonl(str(number)))
    work_on_what_is_offered(single, rounds=1)
    assert journey.one(site, "select min(request_failures) from logbox.batches") == 1
    upload(site, "landing/beta/d1/one.jsonl", jsonl("beta"))
    work_on_what_is_offered(single, rounds=1)
    assert journey.rows(site, "select message from logbox.log_events") == [("beta",)]
    work_on_what_is_offered(single, rounds=3 * MOST_AHEAD)
    assert journey.rows(site, "select distinct state from logbox.batches") == [("finished",)]
    assert journey.rows(
        site, "select state, reason, count(*) from logbox.deliveries group by 1, 2 order by 1"
    ) == [("archived", None, 1), ("waiting", "unread", MOST_AHEAD)]


def test_what_was_not_read_before_costs_the_next_batch_no_attempt(
    site: Site, unreadable: set[str]
) -> None:
    upload(site, "landing/acme/d1/bad.jsonl", jsonl("bad"))
    unreadable.add("landing/acme/d1/bad.jsonl")
    fail_thrice(site)
    journey.ingest_all(site)
    let_waiting_pass(site)
    upload(site, "landing/beta/d1/one.jsonl", jsonl("beta"))
    (batch,) = journey.tick(site).offered
    list(ingest_offered(site, batch.run_key, "r"))
    assert journey.rows(site, "select client, state, reason from logbox.deliveries order by 1") == [
        ("acme", "waiting", "unread"),
        ("beta", "archived", None),
    ]
    assert [row["client"] for row in late(site)] == ["acme"]


def late(site: Site) -> list[dict[str, Any]]:
    with site.transaction() as cursor:
        return catalog_status.late(cursor, site.now() + timedelta(hours=1), 60)


def test_many_objects_that_cannot_be_read_are_no_store_that_is_away(
    site: Site, unreadable: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        key = f"landing/acme/d1/{number}.jsonl"
        unreadable.add(key)
        upload(site, key, jsonl(str(number)))
    upload(site, "landing/beta/d1/one.jsonl", jsonl("beta"))
    fail_thrice(site)
    held = journey.claim_offered(site)
    tried: list[str] = []
    download = S3Bucket.download

    def slowly(self: S3Bucket, key: str, path: Any, **asked: Any) -> Any:
        tried.append(key)
        time.sleep(0.05)
        return download(self, key, path, **asked)

    def no_listing(self: S3Bucket, prefix: str, **asked: Any) -> Any:
        raise TransientError("the store is away")

    with monkeypatch.context() as patched:
        patched.setattr(S3Bucket, "download", slowly)
        patched.setattr(S3Bucket, "list_page", no_listing)
        with pytest.raises(TransientError, match="500 for"):
            verify(site, held)
    assert len(tried) < 60
    assert journey.rows(site, "select distinct state from logbox.deliveries") == [("received",)]
    done = verify(site, held)
    assert (done.verified, done.waiting) == (1, 60)


@pytest.fixture
def ungiven(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Keys of the archive that the store does not take, until they are taken out."""
    broken: set[str] = set()
    put_file = S3Bucket.put_file

    def answer(self: S3Bucket, key: str, *asked: Any, **more: Any) -> Any:
        if key in broken:
            raise RequestFailed(f"500 for {key}: \0")
        return put_file(self, key, *asked, **more)

    monkeypatch.setattr(S3Bucket, "put_file", answer)
    return broken


def test_file_that_the_archive_does_not_take_does_not_keep_the_others_of_its_batch(
    site: Site, ungiven: set[str]
) -> None:
    for number in range(5):
        upload(site, f"landing/acme/d1/{number}.jsonl", jsonl(str(number)))
    bad = hashlib.sha256(jsonl("3")).hexdigest()
    ungiven.add(f"archive/acme/{bad[:2]}/{bad}.jsonl")
    work_on_what_is_offered(site, rounds=12)
    assert journey.rows(site, "select message from logbox.log_events order by 1") == [
        ("0",), ("1",), ("2",), ("4",),
    ]  # fmt: skip
    assert journey.rows(
        site, "select files, state from logbox.batches where state not in ('split', 'finished')"
    ) == [(1, "open")]
    assert journey.rows(site, "select failures from logbox.batches where failures > 0") == []
    tried_next = journey.one(site, "select not_before from logbox.batches where state = 'open'")
    assert tried_next - site.now() > timedelta(minutes=5)
    ungiven.clear()
    work_on_what_is_offered(site, rounds=1)
    assert journey.one(site, "select count(*) from logbox.log_events") == 5
    assert journey.rows(
        site, "select distinct state from logbox.batches where state <> 'split'"
    ) == [("finished",)]


def test_files_that_wait_alone_for_the_archive_hold_no_place_among_the_batches(
    site: Site, ungiven: set[str]
) -> None:
    single = journey.with_settings(site, batch_files=1)
    for number in range(MOST_AHEAD):
        sha256 = hashlib.sha256(jsonl(str(number))).hexdigest()
        ungiven.add(f"archive/acme/{sha256[:2]}/{sha256}.jsonl")
        upload(site, f"landing/acme/d1/{number}.jsonl", jsonl(str(number)))
    for batch in journey.tick(single).offered:
        with pytest.raises(TransientError, match="500 for"):
            list(ingest_offered(single, batch.run_key, "r"))
    let_back_off_pass(site)
    upload(site, "landing/beta/d1/one.jsonl", jsonl("beta"))
    fine, apart = journey.tick(site).offered
    assert (fine.is_apart, apart.is_apart) == (False, True)
    list(ingest_offered(site, fine.run_key, "r"))
    assert journey.rows(site, "select message from logbox.log_events") == [("beta",)]


def test_stores_that_are_away_split_no_batch(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        upload(site, f"landing/acme/d1/{number}.jsonl", jsonl(str(number)))
    journey.tick(site)

    def away(self: S3Bucket, *asked: Any, **more: Any) -> Any:
        raise RequestFailed("the store is away")

    for run in range(6):
        let_back_off_pass(site)
        (batch,) = journey.tick(site).offered
        with monkeypatch.context() as patched:
            patched.setattr(S3Bucket, "put_file", away)
            patched.setattr(S3Bucket, "list_page", away)
            with pytest.raises(TransientError):
                list(ingest_offered(site, batch.run_key, f"r{run}"))
    assert journey.rows(site, "select state, transient_failures from logbox.batches") == [
        ("open", 6)
    ]


def test_failures_of_other_kinds_do_not_count_as_those_of_requests(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        upload(site, f"landing/acme/d1/{number}.jsonl", jsonl(str(number)))
    for run, error in enumerate([RequestFailed, RequestFailed, TransientError, RequestFailed]):

        def fail(self: S3Bucket, *asked: Any, **more: Any) -> Any:
            raise error("not now")  # noqa: B023

        let_back_off_pass(site)
        (batch,) = journey.tick(site).offered
        with monkeypatch.context() as patched:
            patched.setattr(S3Bucket, "put_file", fail)
            with pytest.raises(TransientError):
                list(ingest_offered(site, batch.run_key, f"r{run}"))
    assert journey.rows(
        site, "select state, transient_failures, request_failures from logbox.batches"
    ) == [("open", 4, 3)]


def test_a_store_that_takes_nothing_ends_in_few_batches(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "MOST_APART", 4)
    for number in range(16):
        upload(site, f"landing/acme/d1/{number}.jsonl", jsonl(str(number)))

    def full(self: S3Bucket, *asked: Any, **more: Any) -> Any:
        raise RequestFailed("507: no space left")

    with monkeypatch.context() as patched:
        patched.setattr(S3Bucket, "put_file", full)
        work_on_what_is_offered(site, rounds=10)
    assert journey.one(site, "select count(*) from logbox.batches where state = 'open'") == 4
    work_on_what_is_offered(site, rounds=1)
    assert journey.one(site, "select count(*) from logbox.log_events") == 16


def test_many_bad_files_keep_no_other_from_being_loaded(
    site: Site, ungiven: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the store that fails, while the rest of it takes what comes."""
    monkeypatch.setattr(batching, "MOST_APART", 2)
    upload(site, "landing/acme/d1/before.jsonl", jsonl("before"))
    work_on_what_is_offered(site, rounds=1)
    for number in range(12):
        sha256 = hashlib.sha256(jsonl(str(number))).hexdigest()
        if number % 4 == 0:
            ungiven.add(f"archive/acme/{sha256[:2]}/{sha256}.jsonl")
        upload(site, f"landing/acme/d1/{number}.jsonl", jsonl(str(number)))
    work_on_what_is_offered(site, rounds=30)
    assert journey.one(site, "select count(*) from logbox.log_events") == 10
    assert (
        journey.rows(
            site, "select files from logbox.batches where state not in ('split', 'finished')"
        )
        == [(1,)] * 3
    )
    ungiven.clear()
    work_on_what_is_offered(site, rounds=3)
    assert journey.one(site, "select count(*) from logbox.log_events") == 13


def test_files_apart_are_tried_one_at_a_time(site: Site, ungiven: set[str]) -> None:
    single = journey.with_settings(site, batch_files=1)
    for number in range(3):
        sha256 = hashlib.sha256(jsonl(str(number))).hexdigest()
        ungiven.add(f"archive/acme/{sha256[:2]}/{sha256}.jsonl")
        upload(site, f"landing/acme/d1/{number}.jsonl", jsonl(str(number)))
    for batch in journey.tick(single).offered:
        with pytest.raises(TransientError, match="500 for"):
            list(ingest_offered(single, batch.run_key, "r"))
    tried = []
    for _ in range(3):
        let_back_off_pass(site)
        (batch,) = journey.tick(single).offered
        claim(site, batch.batch_id, batch.attempt, "r")
        assert journey.tick(single).offered == ()
        with site.transaction() as cursor:
            catalog_batches.back_off(
                cursor, batch.batch_id, batch.attempt, "hung", site.now(), by_request=True
            )
        tried.append(batch.batch_id)
    assert len(set(tried)) == 3


def test_what_was_split_off_and_is_fine_does_not_stand_apart(site: Site, ungiven: set[str]) -> None:
    for name in ("bad", "good"):
        upload(site, f"landing/acme/d1/{name}.jsonl", jsonl(name))
    bad = hashlib.sha256(jsonl("bad")).hexdigest()
    ungiven.add(f"archive/acme/{bad[:2]}/{bad}.jsonl")
    work_on_what_is_offered(site, rounds=4)
    halves = journey.tick(site).offered
    assert [(one.files, one.is_apart) for one in halves] == [(1, False), (1, False)]
    work_on_what_is_offered(site, rounds=1)
    assert journey.rows(site, "select message from logbox.log_events") == [("good",)]


def test_an_object_that_is_never_read_does_not_let_others_through(
    site: Site, unreadable: set[str]
) -> None:
    """Its batch is finished with nothing in it."""
    upload(site, "landing/acme/d1/bad.jsonl", jsonl("bad"))
    unreadable.add("landing/acme/d1/bad.jsonl")
    work_on_what_is_offered(site, rounds=5)
    with site.transaction() as cursor:
        assert not catalog_batches.gets_through(cursor, site.now())
    upload(site, "landing/acme/d1/good.jsonl", jsonl("good"))
    work_on_what_is_offered(site, rounds=1)
    with site.transaction() as cursor:
        assert catalog_batches.gets_through(cursor, site.now())
        assert not catalog_batches.gets_through_apart(cursor, site.now())


def test_files_apart_are_offered_together_once_their_store_takes_one(
    site: Site, ungiven: set[str]
) -> None:
    single = journey.with_settings(site, batch_files=1)
    for number in range(4):
        sha256 = hashlib.sha256(jsonl(str(number))).hexdigest()
        ungiven.add(f"archive/acme/{sha256[:2]}/{sha256}.jsonl")
        upload(site, f"landing/acme/d1/{number}.jsonl", jsonl(str(number)))
    work_on_what_is_offered(single, rounds=1)
    ungiven.clear()
    let_back_off_pass(site)
    (batch,) = journey.tick(single).offered
    list(ingest_offered(single, batch.run_key, "r"))
    assert len(journey.tick(single).offered) == 3


def test_an_object_that_does_not_read_back_keeps_no_other_of_its_batch(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(site, "landing/acme/d1/good.jsonl", jsonl("good"))
    upload(site, "landing/acme/d1/bad.jsonl", jsonl("bad"))
    bad = hashlib.sha256(jsonl("bad")).hexdigest()
    holds = proof.holds

    def lies(store: Any, key: str, stored: StoredObject, sha256: str, *asked: Any) -> bool:
        return sha256 != bad and holds(store, key, stored, sha256, *asked)

    monkeypatch.setattr(proof, "holds", lies)
    work_on_what_is_offered(site, rounds=6)
    assert journey.rows(site, "select message from logbox.log_events") == [("good",)]


def test_an_object_that_is_another_at_each_look_is_put_off(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(site, "landing/acme/d1/good.jsonl", jsonl("good"))
    upload(site, "landing/acme/d1/bad.jsonl", jsonl("bad"), sha256="0" * 64)
    judge = verifying._judge
    looks = itertools.count()

    def flips(*asked: Any) -> Any:
        judged = judge(*asked)
        if "bad.jsonl" not in asked[2]:
            return judged
        other = replace(judged.download, sha256=f"{next(looks):064x}")
        return replace(judged, download=other)

    monkeypatch.setattr(verifying, "_judge", flips)
    work_on_what_is_offered(site, rounds=5)
    assert journey.rows(site, "select message from logbox.log_events") == [("good",)]
    assert journey.rows(site, "select reason from logbox.deliveries where state = 'waiting'") == [
        ("unread",)
    ]


def test_what_waits_for_its_sidecar_does_not_make_the_other_of_its_batch_two(
    site: Site, ungiven: set[str]
) -> None:
    upload(site, "landing/acme/d1/waits.jsonl", jsonl("waits"), declare=False)
    upload(site, "landing/acme/d1/bad.jsonl", jsonl("bad"))
    bad = hashlib.sha256(jsonl("bad")).hexdigest()
    ungiven.add(f"archive/acme/{bad[:2]}/{bad}.jsonl")
    work_on_what_is_offered(site, rounds=1)
    assert journey.rows(site, "select state from logbox.deliveries order by 1") == [
        ("verified",),
        ("waiting",),
    ]
    with site.transaction() as cursor:
        (held_up,) = catalog_batches.open_batches(cursor)
    assert held_up.is_apart


def work_on_what_is_offered(site: Site, *, rounds: int) -> None:
    for _ in range(rounds):
        let_back_off_pass(site)
        for batch in journey.tick(site).offered:
            with contextlib.suppress(TransientError):
                list(ingest_offered(site, batch.run_key, "r"))


def test_many_that_are_not_told_of_stand_before_no_other(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        upload(site, f"landing/acme/d1/{number}.jsonl", jsonl(str(number)))
    leave(site)
    head = S3Bucket.head

    def mostly_silent(self: S3Bucket, key: str, **asked: Any) -> Any:
        if not key.endswith("5.jsonl"):
            raise StoreRefused("403 for this one")
        return head(self, key, **asked)

    with monkeypatch.context() as patched:
        patched.setattr(S3Bucket, "head", mostly_silent)
        tick = journey.tick(site)
    assert tick.new == 1
    assert "403 for this one" in (tick.trouble or "")


def test_asking_for_single_objects_ends_in_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        upload(site, f"landing/acme/d1/{number}.jsonl", jsonl(str(number)))
    leave(site)
    head = S3Bucket.head

    def slowly(self: S3Bucket, key: str, **asked: Any) -> Any:
        time.sleep(0.2)
        return head(self, key, **asked)

    with monkeypatch.context() as patched:
        patched.setattr(S3Bucket, "head", slowly)
        patched.setattr(sensing, "ASKING_S", 0.3)
        tick = journey.tick(site)
        first = tick.new
    assert 1 <= first < 4
    assert f"{4 - first} objects" in (tick.trouble or "")
    assert journey.tick(site).new == 4 - first


def leave(site: Site) -> None:
    """Let the catalog think that what it knows has left landing; it is listed again."""
    journey.tick(site)
    journey.change(
        site,
        """
        update logbox.deliveries
        set state = 'vanished', reason = 'deleted', left_landing_at = now()
        """,
    )
    journey.change(site, "update logbox.batches set state = 'finished'")


def test_object_that_the_store_does_not_tell_of_ends_no_tick(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("x"))
    leave(site)
    upload(site, "landing/beta/d1/b.jsonl", jsonl("beta"))

    def silent(self: S3Bucket, key: str, **asked: Any) -> Any:
        raise TransientError("the connection was closed")

    with monkeypatch.context() as patched:
        patched.setattr(S3Bucket, "head", silent)
        assert len(journey.tick(site).offered) == 1
    journey.ingest_all(site)
    assert journey.rows(site, "select message from logbox.log_events order by 1") == [
        ("beta",),
        ("x",),
    ]


def test_sidecar_of_newer_bytes_is_not_held_against_older_ones(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("old"), declare=False)
    held = journey.claim_offered(site)
    time.sleep(1.1)  # listings tell times to the second
    new = jsonl("new")
    upload(site, "landing/acme/d1/a.jsonl", new, declare=False)
    site.landing.put_bytes(
        "landing/acme/d1/a.jsonl.sha256", hashlib.sha256(new).hexdigest().encode()
    )
    verify(site, held)
    assert journey.rows(site, "select state from logbox.deliveries") == [("waiting",)]
    journey.change(site, "update logbox.batches set state = 'finished'")
    journey.ingest_all(site)
    assert ("new",) in journey.rows(site, "select message from logbox.log_events")


@pytest.mark.parametrize("size", [901, 1_000])
def test_long_key_of_one_client_stops_nobody(site: Site, size: int) -> None:
    letters = random.Random(1).choices(string.ascii_letters, k=size)
    key = "landing/acme/" + "".join(
        "/" if place % 100 == 99 else letter for place, letter in enumerate(letters)
    )
    upload(site, key[: size - 1] + "z", jsonl("x"))
    upload(site, "landing/beta/d1/b.jsonl", jsonl("y"))
    journey.ingest_all(site)
    assert journey.rows(
        site, "select client, state, reason from logbox.deliveries order by client"
    ) == [("acme", "quarantined", "unsafe_key"), ("beta", "archived", None)]


def test_scratch_of_a_killed_run_goes_with_the_next_attempt(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("x"))
    verify(site, journey.claim_offered(site))
    assert list(site.settings.scratch.iterdir())
    bury(site)
    journey.ingest_all(site)
    assert list(site.settings.scratch.iterdir()) == []


def test_scratch_nobody_works_in_is_swept(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("x"))
    held = journey.claim_offered(site)
    verify(site, held)
    journey.change(site, "update logbox.batches set state = 'finished'")
    later = replace(site, now=lambda: datetime.now(UTC) + timedelta(seconds=61))
    journey.tick(later)
    assert not site.folder(held).exists()


def test_late_client_waits_for_the_next_batch_and_not_for_all_of_a_burst(site: Site) -> None:
    small = journey.with_settings(site, batch_files=2)
    for number in range(2 * MOST_AHEAD + 10):
        upload(site, f"landing/acme/d1/{number}.jsonl", jsonl(str(number)))
    assert len(journey.tick(small).offered) == MOST_AHEAD
    upload(site, "landing/beta/d1/one.jsonl", jsonl("beta"))
    assert len(journey.tick(small).offered) == MOST_AHEAD
    first = journey.tick(small).offered[0]
    list(ingest_offered(small, first.run_key, "r"))
    journey.tick(small)
    assert journey.rows(
        site, "select batch_id is not null from logbox.deliveries where client = 'beta'"
    ) == [(True,)]


def test_sleeper_that_wakes_deletes_no_live_lake_file(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attempt 1 puts a file and dies. Attempt 2 would put another and is told to delete the
    first; asleep before it does, it is buried. Attempt 3 makes the first file live."""
    upload(site, "landing/acme/d1/a.jsonl", jsonl("x"))
    upload(site, "landing/acme/d1/b.jsonl", jsonl("y"))
    first = journey.claim_offered(site, "r1")
    verify(site, first)
    archive(site, first)
    lake.put(site, first, lake.write(site, site.folder(first), parse(site, first)))
    (batch,) = bury(site).offered
    second = claim(site, batch.batch_id, batch.attempt, "r2")
    verify(site, second)
    archive(site, second)
    parse_all = parsing.parse_all

    def one_times_out(
        settings: Settings, jobs: Sequence[Job], early: Any = None
    ) -> Iterator[ParsedLog | UnparsedLog]:
        for place, result in enumerate(parse_all(settings, jobs, early)):
            yield UnparsedLog("parser_timeout", "a busy machine") if place == 0 else result

    lock = lake.catalog_logs.lock_abandoned

    def asleep(cursor: Any, lake_keys: Sequence[str]) -> list[str]:
        monkeypatch.setattr(parsing, "parse_all", parse_all)
        monkeypatch.setattr(lake.catalog_logs, "lock_abandoned", lock)
        journey.change(site, "update logbox.batches set failures = 0")
        (third,) = bury(site).offered
        list(ingest_offered(site, third.run_key, "r3"))
        return lock(cursor, lake_keys)

    monkeypatch.setattr(parsing, "parse_all", one_times_out)
    monkeypatch.setattr(lake.catalog_logs, "lock_abandoned", asleep)
    with pytest.raises(FileNotFoundError):  # its scratch went with the next attempt's claim
        lake.put(site, second, lake.write(site, site.folder(second), parse(site, second)))
    with pytest.raises(FenceLost):
        settle(site, second)
    live = journey.rows(site, "select lake_key from logbox.lake_files where state = 'live'")
    assert live
    assert {key for (key,) in live} <= set(journey.keys_in(site.lake))
