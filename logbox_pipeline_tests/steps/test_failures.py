"""Stores that go away cost time; a file that cannot be loaded costs only itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from logbox_pipeline.adapters import catalog_deliveries
from logbox_pipeline.core.batching import AfterFailure, RunSeen, RunState
from logbox_pipeline.core.errors import LogboxError, PermanentError, TransientError
from logbox_pipeline.steps import ingest as ingest_module
from logbox_pipeline.steps.archive import archive
from logbox_pipeline.steps.attempt import claim
from logbox_pipeline.steps.ingest import ingest_days
from logbox_pipeline.steps.parse import parse
from logbox_pipeline.steps.site import Site, open_site
from logbox_pipeline.steps.verify import verify
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import jsonl, one, rows, ulog, upload, with_settings
from logbox_pipeline_tests.steps.bad_line import Line

LOG = jsonl("armed", "disarmed")
OLD_HEARTBEAT = "update logbox.batches set heartbeat_at = heartbeat_at - interval '2 min'"
NO_BACKOFF = "update logbox.batches set not_before = null"


def fly(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    upload(site, "landing/acme/d1/again.jsonl", LOG)
    upload(site, "landing/acme/d1/b.ulg", ulog({"fix": ["x"]}))
    upload(site, "landing/acme/d1/bad.jsonl", jsonl("cut"), sha256="0" * 64)


@pytest.fixture(scope="module")
def clean() -> dict[str, Any]:
    """A clean run's snapshot, filled by the first test of this process that needs it."""
    return {}


def expected(make_site: Any, clean: dict[str, Any]) -> dict[str, Any]:
    if not clean:
        with make_site() as other:
            fly(other)
            journey.ingest_all(other)
            clean.update(journey.snapshot(other))
    return clean


@contextmanager
def over(
    site: Site, setting: str, *words: bytes, is_heard: bool = False
) -> Iterator[tuple[Site, Line]]:
    """The same site, with one of its servers behind a line that will be cut at `words`."""
    url = urlsplit(getattr(site.settings, setting))
    assert url.hostname
    assert url.port
    # S3 stays away; without Postgres a run waits to tell how it ended.
    mends_after_s = None if setting == "s3_endpoint" else 0.5
    cable = Line(url.hostname, url.port, words, is_heard=is_heard, mends_after_s=mends_after_s)
    moved = url._replace(netloc=url.netloc.replace(str(url.port), str(cable.port))).geturl()
    if setting == "s3_endpoint":
        shaky = open_site(site.settings)
        shaky.landing.client.meta.events.register("before-send.s3", reroute(url.netloc, cable.port))
    else:
        shaky = open_site(site.settings.model_copy(update={setting: moved}))
    try:
        yield shaky, cable
        assert cable.cuts == 1
    finally:
        cable.cut()


def reroute(netloc: str, port: int) -> Callable[..., None]:
    """Send S3 requests to another port; their signature and Host stay those of the real one."""

    def send_elsewhere(request: Any, **_: Any) -> None:
        request.headers["Host"] = netloc
        request.url = urlsplit(request.url)._replace(netloc=f"127.0.0.1:{port}").geturl()

    return send_elsewhere


S3_CUTS = [
    b"GET /{landing}/landing/acme/d1/a.jsonl",
    b"PUT /{landing}/quarantine/",
    b"PUT /{archive}/archive/acme/",
    b"PUT /{archive}/archive/manifests/",
    b"PUT /{lake}/lake/",
]


@pytest.mark.parametrize("words", S3_CUTS, ids=lambda words: words.decode())
def test_s3_away_in_the_middle_ends_as_a_clean_run(
    site: Site, make_site: Any, clean: dict[str, Any], words: bytes
) -> None:
    fly(site)
    (batch,) = journey.tick(site).offered
    for name in ("landing", "archive", "lake"):
        bucket = getattr(site, name).bucket
        words = words.replace(b"{%s}" % name.encode(), bucket.encode())
    with over(site, "s3_endpoint", words) as (shaky, _), pytest.raises(TransientError):
        journey.ingest_offers(shaky, [batch])
    assert_backed_off(site)
    journey.change(site, NO_BACKOFF)
    journey.ingest_all(site)
    assert journey.snapshot(site) == expected(make_site, clean)


def test_s3_away_after_the_commit_is_settled_by_the_sensor(
    site: Site, make_site: Any, clean: dict[str, Any]
) -> None:
    fly(site)
    (batch,) = journey.tick(site).offered
    words = f"POST /{site.landing.bucket}?delete".encode()
    with (
        over(site, "s3_endpoint", words, is_heard=True) as (shaky, _),
        pytest.raises(TransientError),
    ):
        journey.ingest_offers(shaky, [batch])
    assert one(site, "select state from logbox.batches") == "loaded"
    journey.change(site, OLD_HEARTBEAT)
    assert journey.tick(site).settled == 1
    assert journey.snapshot(site) == expected(make_site, clean)


POSTGRES_CUTS = [
    (b"update logbox.deliveries d",),
    (b"create table",),
    (b'copy "logbox"."log_events"',),
    (b'copy "logbox"."log_events"', b"COMMIT"),
]


@pytest.mark.parametrize("words", POSTGRES_CUTS, ids=lambda words: words[-1].decode())
def test_postgres_away_in_the_middle_ends_as_a_clean_run(
    site: Site, make_site: Any, clean: dict[str, Any], words: tuple[bytes, ...]
) -> None:
    fly(site)
    (batch,) = journey.tick(site).offered
    with over(site, "database_url", *words) as (shaky, _), pytest.raises(TransientError):
        journey.ingest_offers(shaky, [batch])
    assert_backed_off(site)
    journey.change(site, NO_BACKOFF)
    journey.ingest_all(site)
    assert journey.snapshot(site) == expected(make_site, clean)


def test_commit_whose_answer_is_lost_counts_and_is_not_done_again(
    site: Site, make_site: Any, clean: dict[str, Any]
) -> None:
    fly(site)
    (batch,) = journey.tick(site).offered
    words = (b'copy "logbox"."log_events"', b"COMMIT")
    with (
        over(site, "database_url", *words, is_heard=True) as (shaky, _),
        pytest.raises(TransientError),
    ):
        journey.ingest_offers(shaky, [batch])
    assert rows(site, "select state, attempt from logbox.batches") == [("loaded", 1)]
    journey.change(site, OLD_HEARTBEAT)
    assert journey.tick(site).settled == 1
    assert journey.snapshot(site) == expected(make_site, clean)


def assert_backed_off(site: Site) -> None:
    found = "select state, attempt, failures, transient_failures from logbox.batches"
    assert rows(site, found) == [("open", 2, 0, 1)]
    assert journey.tick(site).offered == ()
    later = replace(site, now=lambda: datetime.now(UTC) + timedelta(seconds=6))
    assert [batch.attempt for batch in journey.tick(later).offered] == [2]


# Permanent errors


def poisoned(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """A bug of ours that breaks every batch with one of these files in it."""

    def archive(site: Site, held: Any) -> Any:
        with site.transaction() as cursor:
            held_names = {one.name for one in catalog_deliveries.of_batch(cursor, held.batch_id)}
        report = real(site, held)
        if held_names & set(names):
            raise PermanentError(f"cannot archive {sorted(held_names & set(names))}")
        return report

    real = ingest_module.archive
    monkeypatch.setattr(ingest_module, "archive", archive)


def run_everything(site: Site) -> None:
    """Ticks and runs until nothing is offered; runs that fail fail."""
    for _ in range(30):
        offered = journey.tick(site).offered
        if not offered:
            return
        for batch in offered:
            try:
                journey.ingest_offers(site, [batch])
            except LogboxError:
                continue
    raise AssertionError("it does not come to an end")


def test_poison_file_stands_alone_in_the_end_and_the_others_are_loaded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        upload(site, f"landing/acme/d1/{number}.jsonl", jsonl(f"log {number}"))
    poisoned(monkeypatch, "3.jsonl")
    run_everything(site)
    assert journey.deliveries(site) == {
        f"acme/d1/{number}.jsonl": ("failed", "batch_failed") if number == 3 else ("archived", None)
        for number in range(5)
    }
    detail = one(site, "select detail from logbox.deliveries where state = 'failed'")
    assert "cannot archive ['3.jsonl']" in detail
    assert journey.keys_in(site.landing) == ["landing/acme/d1/3.jsonl"]
    found = journey.snapshot(site)
    assert len(found["postgres"]["log_events"]) == len(found["lake"]["log_events"]) == 4


def test_first_permanent_error_is_tried_again_whole(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    fly(site)
    (batch,) = journey.tick(site).offered
    with monkeypatch.context() as patched:
        poisoned(patched, "a.jsonl")
        with pytest.raises(PermanentError):
            journey.ingest_offers(site, [batch])
    assert rows(site, "select state, attempt, failures from logbox.batches") == [("open", 2, 1)]
    journey.ingest_all(site)
    assert rows(site, "select state, attempt, failures from logbox.batches") == [("finished", 2, 1)]


@pytest.mark.parametrize(
    "wrong", [{"s3_secret_access_key": "wrong"}, {"archive_bucket": "logbox-nowhere"}]
)
def test_wrong_settings_are_no_batchs_fault(site: Site, wrong: dict[str, str]) -> None:
    fly(site)
    offered = journey.tick(site).offered
    mistaken = open_site(site.settings.model_copy(update=wrong))
    with pytest.raises(LogboxError):
        journey.ingest_offers(mistaken, offered)
    assert rows(site, "select state, failures, transient_failures from logbox.batches") == [
        ("open", 0, 1)
    ]


# Dead runs


def test_run_that_started_and_never_claimed_is_dead_after_a_minute(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    (batch,) = journey.tick(site).offered
    now = site.now()
    for age_s, is_dead in ((59, False), (61, True)):
        since = now - timedelta(seconds=age_s)
        seen = journey.tick(site, {batch.run_key: RunSeen(RunState.STARTED, since)})
        assert bool(seen.died) is is_dead


def test_dead_run_is_found_by_its_heartbeat_and_counted(site: Site) -> None:
    quick = with_settings(site, run_dead_after_s=1)
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    held = journey.claim_offered(quick)
    running = {f"{held.batch_id}:1": RunSeen(RunState.STARTED, site.now())}
    assert journey.tick(quick, running).died == ()
    journey.change(site, "update logbox.batches set heartbeat_at = now() - interval '2 seconds'")
    ((batch, then),) = journey.tick(quick, running).died
    assert (batch.batch_id, then) == (held.batch_id, AfterFailure.AGAIN)
    assert rows(site, "select attempt, failures, state from logbox.batches") == [(2, 1, "open")]


def test_deaths_found_after_an_outage_are_nobodys_fault(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    journey.claim_offered(site)
    journey.change(site, OLD_HEARTBEAT)
    journey.change(
        site, "update logbox.pipeline_state set last_tick_at = last_tick_at - interval '2 min'"
    )
    ((_, then),) = journey.tick(site).died
    assert then is None
    assert rows(site, "select attempt, failures, state from logbox.batches") == [(2, 0, "open")]


def test_queued_run_is_never_given_up(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    (batch,) = journey.tick(site).offered
    queued = {batch.run_key: RunSeen(RunState.QUEUED)}
    next_day = replace(site, now=lambda: datetime.now(UTC) + timedelta(days=1))
    for _ in range(3):
        seen = journey.tick(next_day, queued)
        assert seen.died == ()
        # The same run key: Dagster starts no second run for it.
        assert [again.run_key for again in seen.offered] == [batch.run_key]


def test_batch_split_after_its_files_were_put_leaves_none_of_them_in_the_lake(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    upload(site, "landing/acme/d1/b.jsonl", jsonl("b"))
    journey.tick(site)
    for number in (1, 2):
        (batch,) = journey.tick(site).offered
        held = claim(site, batch.batch_id, number, f"run-{number}")
        verify(site, held)
        archive(site, held)
        parse(site, held)
        journey.change(site, OLD_HEARTBEAT)
        ((_, then),) = journey.tick(site).died
    assert then is AfterFailure.SPLIT
    journey.ingest_all(site)
    found = journey.snapshot(site)
    assert len(found["postgres"]["log_events"]) == len(found["lake"]["log_events"]) == 2


def test_day_by_hand_leaves_what_has_failed_to_retry(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    with monkeypatch.context() as patched:
        poisoned(patched, "a.jsonl")
        run_everything(site)
    assert journey.deliveries(site) == {"acme/d1/a.jsonl": ("failed", "batch_failed")}
    day = one(site, "select received_on from logbox.batches")
    list(ingest_days(site, day, day, "by-hand"))
    assert journey.deliveries(site) == {"acme/d1/a.jsonl": ("failed", "batch_failed")}
    assert one(site, "select state from logbox.batches") == "failed"
    assert journey.keys_in(site.landing) == ["landing/acme/d1/a.jsonl"]
