"""Retry and release: what stuck goes through once more, and nothing is done twice."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from logbox_pipeline.adapters import catalog_batches, catalog_retry
from logbox_pipeline.adapters.catalog_batches import Claim
from logbox_pipeline.adapters.catalog_retry import Choice
from logbox_pipeline.core.errors import UsageError
from logbox_pipeline.steps import parse as parse_step
from logbox_pipeline.steps.archive import archive
from logbox_pipeline.steps.attempt import claim
from logbox_pipeline.steps.judge import judge
from logbox_pipeline.steps.parse_worker import UnparsedLog
from logbox_pipeline.steps.release import LARGEST_PUT_BYTES, acknowledge, release, why_not
from logbox_pipeline.steps.retry import retry
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.verify import verify
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import (
    deliveries,
    ingest_all,
    one,
    rows,
    tick,
    upload,
    with_settings,
)

LOG = b'{"ts":"2026-03-01T00:00:00Z","level":"info","msg":"up"}\n' * 20
OTHER = b'{"ts":"2026-03-02T00:00:00Z","level":"info","msg":"down"}\n' * 20
WRONG = "0" * 64


def test_release_lets_a_mismatch_through_to_its_rows(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG, sha256=WRONG)
    ingest_all(site)
    assert deliveries(site)["acme/d1/a.jsonl"] == ("quarantined", "mismatch")

    done = release(site, Choice(deliveries=(only_delivery(site),)), "cable was known bad")

    assert [file.name for file in done.files] == ["a.jsonl"]
    assert deliveries(site)["acme/d1/a.jsonl"] == ("received", None)
    ingest_all(site)
    assert deliveries(site)["acme/d1/a.jsonl"] == ("archived", None)
    assert one(site, "select count(*) from logbox.log_events") == 20
    assert one(site, "select state from logbox.logs") == "loaded"
    # What was declared and found stays on record.
    assert rows(site, "select note, verdict, declared_sha256 from logbox.deliveries") == [
        ("cable was known bad", "mismatch", WRONG)
    ]


def test_release_twice_changes_nothing_the_second_time(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG, sha256=WRONG)
    ingest_all(site)
    choice = Choice(deliveries=(only_delivery(site),))
    release(site, choice, "known")
    before = snapshot(site)

    again = release(site, choice, "known")

    assert (again.files, again.already, again.held) == ((), choice.deliveries, ())
    assert snapshot(site) == before
    ingest_all(site)
    assert release(site, choice, "known").already == choice.deliveries


def test_the_archive_is_told_of_a_release(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG, sha256=WRONG)
    ingest_all(site)
    release(site, Choice(client="acme"), "known")
    assert journey.untold(site) == []
    delivery = journey.told(site)["delivery", str(only_delivery(site))]
    assert delivery["released_at"] is not None
    assert delivery["note"] == "known"


def test_dry_runs_change_nothing(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG, sha256=WRONG)
    upload(site, "landing/acme/d1/b.bin", b"\x00\x01 unknown format")
    ingest_all(site)
    before = snapshot(site)
    choice = Choice(client="acme")
    assert len(release(site, choice, "n", dry_run=True).files) == 1
    assert len(acknowledge(site, choice, "n", dry_run=True).files) == 2
    assert len(retry(site, choice, dry_run=True).files) == 1
    assert snapshot(site) == before


def test_an_unsafe_key_is_never_released(site: Site) -> None:
    upload(site, "landing/nobody/a.jsonl", LOG)
    ingest_all(site)
    (delivery,) = (UUID(row[0]) for row in rows(site, "select delivery_id from logbox.deliveries"))
    done = release(site, Choice(deliveries=(delivery,)), "please")
    assert not done.files
    assert "safe key" in done.held[0].why
    assert deliveries(site)["nobody/a.jsonl"] == ("quarantined", "unsafe_key")


def test_a_too_large_file_is_released_from_wherever_it_stands(site: Site) -> None:
    upload(site, "landing/acme/d1/big.jsonl", LOG)
    small = with_settings(site, max_log_bytes=100)
    ingest_all(small)
    assert deliveries(site)["acme/d1/big.jsonl"] == ("quarantined", "too_large")
    assert len(release(small, Choice(reason="too_large"), "wanted").files) == 1
    ingest_all(small)
    assert deliveries(site)["acme/d1/big.jsonl"] == ("archived", None)
    assert one(site, "select count(*) from logbox.log_events") == 20


def test_a_file_larger_than_the_archive_can_hold_is_not_released(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG, sha256=WRONG)
    ingest_all(site)
    with site.transaction() as cursor:
        cursor.execute("update logbox.deliveries set size_bytes = %s", (LARGEST_PUT_BYTES + 1,))
        (file,) = catalog_retry.refused(cursor, Choice())
    assert "more than the archive can hold" in (why_not(file) or "")


def test_nothing_is_released_while_it_is_still_leaving_landing(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG, sha256=WRONG)
    ingest_all(site)
    with site.transaction() as cursor:
        cursor.execute("update logbox.deliveries set left_landing_at = null")
    done = release(site, Choice(client="acme"), "n")
    assert not done.files
    assert "repeat this" in done.held[0].why


def test_release_needs_to_know_which_files(site: Site) -> None:
    with pytest.raises(UsageError, match="which files"):
        release(site, Choice(), "n")
    with pytest.raises(UsageError, match="note is empty"):
        release(site, Choice(client="acme"), "  ")
    with pytest.raises(UsageError, match="no delivery"):
        release(site, Choice(deliveries=(uuid4(),)), "n")


def test_acknowledging_silences_the_check_and_keeps_the_file(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG, sha256=WRONG)
    upload(site, "landing/acme/d1/b.bin", b"\x00\x01 unknown format")
    ingest_all(site)
    assert open_refusals(site) == 2
    assert len(acknowledge(site, Choice(client="acme"), "seen").files) == 2
    before = snapshot(site)
    again = acknowledge(site, Choice(client="acme"), "seen")
    assert (again.files, len(again.already)) == ((), 2)
    assert snapshot(site) == before
    assert open_refusals(site) == 0
    assert deliveries(site)["acme/d1/a.jsonl"] == ("quarantined", "mismatch")


def test_an_unread_log_is_read_by_a_later_parser(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(parse_step, "parse_all", no_parser)
        upload(site, "landing/acme/d1/a.jsonl", LOG)
        upload(site, "landing/acme/d1/copy.jsonl", LOG)
        ingest_all(site)
    assert one(site, "select state from logbox.logs") == "unparsed"
    left_at = rows(site, "select delivery_id, left_landing_at from logbox.deliveries order by 1")

    assert len(retry(site, Choice(reason="no_parser")).files) == 1
    assert not retry(site, Choice(reason="no_parser")).files
    ingest_all(site)

    assert rows(site, "select state, reason from logbox.logs") == [("loaded", None)]
    assert one(site, "select count(*) from logbox.log_events") == 20
    assert left_at == rows(
        site, "select delivery_id, left_landing_at from logbox.deliveries order by 1"
    )
    assert {state for state, _ in deliveries(site).values()} == {"archived", "duplicate"}
    assert one(site, "select count(*) from logbox.batches where state <> 'finished'") == 0
    assert not tick(site).formed


def test_what_stays_unread_is_as_it_was(site: Site) -> None:
    upload(site, "landing/acme/d1/b.bin", b"\x00\x01 unknown format")
    ingest_all(site)
    retry(site, Choice())
    ingest_all(site)
    assert rows(site, "select state, reason from logbox.logs") == [("unparsed", "unknown_format")]


def test_a_loaded_log_is_never_driven_again(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    ingest_all(site)
    before = snapshot(site)
    assert not retry(site, Choice()).files
    with site.transaction() as cursor:
        assert not catalog_retry.drive_again(cursor, [only_delivery(site)])
    assert snapshot(site) == before


def test_loaded_logs_without_a_batch_are_no_candidates(site: Site) -> None:
    """As after a rebuild, which restores no batches."""
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    ingest_all(site)
    with site.transaction() as cursor:
        cursor.execute("update logbox.deliveries set batch_id = null")
    assert not tick(site).formed


def test_a_failed_delivery_that_was_not_archived_is_read_again(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    give_up(site, offered(site))
    assert deliveries(site)["acme/d1/a.jsonl"] == ("failed", "batch_failed")
    assert not tick(site).formed

    assert [file.state for file in retry(site, Choice(client="acme")).files] == ["failed"]
    assert not retry(site, Choice(client="acme")).files
    ingest_all(site)

    assert deliveries(site)["acme/d1/a.jsonl"] == ("archived", None)
    assert one(site, "select count(*) from logbox.log_events") == 20
    assert not list(site.landing.list_all("landing/"))


def test_a_failed_log_that_was_archived_is_read_from_the_archive(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    held = offered(site)
    verify(site, held)
    archive(site, held)
    parse_step.parse(site, held)
    give_up(site, held)
    assert one(site, "select state from logbox.logs") == "failed"
    archived_at = one(site, "select archived_at from logbox.deliveries")
    log_id = UUID(one(site, "select log_id from logbox.logs"))

    assert len(retry(site, Choice(log_id=log_id)).files) == 1
    assert deliveries(site)["acme/d1/a.jsonl"] == ("archived", None)
    ingest_all(site)

    assert one(site, "select state from logbox.logs") == "loaded"
    assert one(site, "select archived_at from logbox.deliveries") == archived_at
    assert one(site, "select count(*) from logbox.log_events") == 20
    live = "select sum(rows)::int from logbox.lake_files where state = 'live' and table_name = %s"
    assert one(site, live, "log_events") == 20
    assert not list(site.landing.list_all("landing/"))


def test_retry_leaves_a_batch_alone_that_is_at_work(site: Site) -> None:
    upload(site, "landing/acme/d1/b.bin", b"\x00\x01 unknown format")
    ingest_all(site)
    with site.transaction() as cursor:
        cursor.execute("update logbox.batches set state = 'loaded'")
    before = snapshot(site)
    done = retry(site, Choice())
    assert (done.files, len(done.busy)) == ((), 1)
    with site.transaction() as cursor:
        assert not catalog_retry.drive_again(cursor, [only_delivery(site)])
    assert snapshot(site) == before


def test_choices_narrow(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG, sha256=WRONG)
    upload(site, "landing/beta/d1/b.bin", b"\x00\x01 unknown format")
    ingest_all(site)
    batch_id = UUID(one(site, "select batch_id from logbox.batches"))
    now = datetime.now(UTC)

    def found(**choice: Any) -> list[str]:
        with site.transaction() as cursor:
            files = catalog_retry.refused(cursor, Choice(**choice))
            assert catalog_retry.count_refused(cursor, Choice(**choice)) == (len(files), len(files))
        return sorted(file.name for file in files)

    assert found() == ["a.jsonl", "b.bin"]
    assert found(client="acme") == ["a.jsonl"]
    assert found(reason="unknown_format") == ["b.bin"]
    assert found(since=now - timedelta(hours=1)) == ["a.jsonl", "b.bin"]
    assert found(since=now + timedelta(hours=1)) == []
    assert found(batch_id=batch_id) == ["a.jsonl", "b.bin"]
    assert found(batch_id=uuid4()) == []


def offered(site: Site) -> Claim:
    (batch,) = tick(site).offered
    return claim(site, batch.batch_id, batch.attempt, "a-run")


def give_up(site: Site, held: Claim) -> None:
    """Two deaths of a batch of one file."""
    for attempt in (held.attempt, held.attempt + 1):
        with site.transaction() as cursor:
            catalog_batches.count_failure(cursor, held.batch_id, attempt, "died", site.now())


def no_parser(_settings: Any, jobs: list[Any], _early: Any = None) -> Iterator[UnparsedLog]:
    return (UnparsedLog("no_parser", "not written yet") for _ in jobs)


def only_delivery(site: Site) -> UUID:
    return UUID(one(site, "select delivery_id from logbox.deliveries"))


def open_refusals(site: Site) -> int:
    return next(found.count for found in judge(site) if found.check == "no_open_refusals")


def snapshot(site: Site) -> list[tuple[Any, ...]]:
    return rows(site, "select * from logbox.deliveries order by delivery_id") + rows(
        site, "select * from logbox.logs order by log_id"
    )
