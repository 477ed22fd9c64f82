"""A newer parser's rows take the place of the older one's, in both stores, shown first."""

import json
import multiprocessing
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from logbox_pipeline.adapters import spool
from logbox_pipeline.adapters.catalog_reparse import Chosen
from logbox_pipeline.core.content import Content, content_of
from logbox_pipeline.core.errors import TransientError, UsageError
from logbox_pipeline.core.tables import EVENTS
from logbox_pipeline.steps import parse as parse_step
from logbox_pipeline.steps import reparse as step
from logbox_pipeline.steps.agree import compare_recent
from logbox_pipeline.steps.compact import compact
from logbox_pipeline.steps.reparse import reparse
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import jsonl, one, rows, ulog, upload
from logbox_pipeline_tests.run_compaction import a_day_on

ACME = Chosen(client="acme")


@pytest.fixture
def loaded(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Three logs as an older parser read them: it shouted, and knew no levels."""

    def older(path: Any, spooled: Any) -> Iterator[pa.RecordBatch]:
        for batch in batches(path, spooled):
            message = pa.array([f"{text}!" for text in batch["message"].to_pylist()])
            level = pa.nulls(batch.num_rows, pa.int16())
            for name, column in (("message", message), ("level", level)):
                batch = batch.set_column(batch.schema.get_field_index(name), name, column)
            yield batch

    def digests(read: Any) -> dict[UUID, Content]:
        return {
            each.log.log_id: content_of(EVENTS, older(each.rows, each.result.spooled))
            for each in read
        }

    batches = spool.event_batches
    upload(site, "landing/acme/d1/a.jsonl", jsonl("one", "two"))
    upload(site, "landing/acme/d1/b.ulg", ulog({"same": ["x"]}))
    upload(site, "landing/beta/d1/c.jsonl", jsonl("three"))
    with monkeypatch.context() as old:
        old.setattr(spool, "event_batches", older)
        old.setattr(parse_step, "_events_contents", digests)
        journey.ingest_all(site)
    return site


MESSAGES = """
    select l.client, l.format, e.message, e.level
    from logbox.log_events e
    join logbox.logs l using (log_id)
    order by 1, 2, 3
"""


def test_the_difference_is_shown_and_nothing_changes(loaded: Site) -> None:
    before = journey.snapshot(loaded)
    shown = reparse(loaded, Chosen(client="acme", format="jsonl"), dry_run=True)
    assert journey.snapshot(loaded) == before
    assert (shown.logs, shown.kept) == (1, ())
    (change,) = shown.changes
    assert (change.table_name, change.rows_before, change.rows_after) == ("log_events", 2, 2)
    assert (change.columns_gained, change.columns_lost) == (("level",), ())
    (value,) = change.values
    assert (value.column, value.rows, value.before, value.after) == ("message", 2, "one!", "one")
    assert list(loaded.settings.scratch.glob("*")) == []


def test_rows_are_replaced_in_both_stores_and_nobody_elses(loaded: Site) -> None:
    telemetry = rows(loaded, "select * from telemetry.ulog_same")
    done = reparse(loaded, ACME)
    assert (done.logs, done.changed_logs) == (2, 2)
    assert [row[2] for row in rows(loaded, MESSAGES)] == ["one", "two", "logging started", "three!"]
    assert rows(loaded, "select * from telemetry.ulog_same") == telemetry
    assert compare_recent(loaded).passed
    live = rows(
        loaded,
        """
        select sum(rows)::int
        from logbox.lake_files
        where state = 'live' and table_name = 'log_events'
        """,
    )
    assert live == [(4,)]
    assert journey.untold(loaded) == []
    assert rows(loaded, "select distinct state from logbox.batches") == [("finished",)]
    again = reparse(loaded, ACME)
    assert (again.changes, again.kept) == ((), ())
    assert list(loaded.settings.scratch.glob("*")) == []


def test_unchanged_logs_only_get_the_newer_version(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("one"))
    journey.ingest_all(site)
    journey.change(site, "update logbox.logs set parser_version = 0")
    files = rows(site, "select lake_key, state from logbox.lake_files order by 1")
    assert reparse(site, ACME).changes == ()
    assert one(site, "select parser_version from logbox.logs") > 0
    assert rows(site, "select lake_key, state from logbox.lake_files order by 1") == files


def test_a_log_that_cannot_be_read_any_more_keeps_its_rows(loaded: Site) -> None:
    for key, version in rows(
        loaded, "select archive_key, version_id from logbox.objects where client = 'acme'"
    ):
        loaded.archive.delete(key, version_id=version)
    before = rows(loaded, MESSAGES)
    done = reparse(loaded, ACME)
    assert ["found nothing in the archive" in kept.why for kept in done.kept] == [True, True]
    assert rows(loaded, MESSAGES) == before


def test_a_load_in_between_is_not_undone(loaded: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(site: Site, held: Any, lot: Any, again: Any) -> None:
        monkeypatch.undo()
        reparse(site, ACME)
        replace(site, held, lot, again)

    replace = step._replace
    monkeypatch.setattr(step, "_replace", meanwhile)
    with pytest.raises(TransientError, match="another batch"):
        reparse(loaded, ACME)
    assert [row[2] for row in rows(loaded, MESSAGES)] == ["one", "two", "logging started", "three!"]
    assert compare_recent(loaded).passed


def test_without_a_choice_nothing_is_read(site: Site) -> None:
    with pytest.raises(UsageError, match="which logs"):
        reparse(site, Chosen())


def test_what_changes_is_said_in_json(loaded: Site) -> None:
    from dataclasses import asdict

    shown = reparse(loaded, ACME, dry_run=True)
    assert json.loads(json.dumps(asdict(shown), default=str))["changes"][0]["table_name"]


@pytest.mark.parametrize(
    ("failpoint", "is_compacted"),
    [("before_replacing", False), ("after_parquet_put", False), ("before_commit", True)],
)
def test_killed_before_the_commit_nothing_counts_and_again_it_does(
    loaded: Site, failpoint: str, is_compacted: bool
) -> None:
    if is_compacted:
        upload(loaded, "landing/beta/d1/late.jsonl", jsonl("four"))
        journey.ingest_all(loaded)
        assert compact(a_day_on(loaded)).done != ()
    before = rows(loaded, MESSAGES)
    dying = journey.dying_at(loaded.settings, failpoint)
    process = multiprocessing.get_context("spawn").Process(target=reparse_there, args=(dying,))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    assert rows(loaded, MESSAGES) == before
    assert compare_recent(loaded).passed
    # The sensor finds its batch dead, and a run of nothing ends it and clears away its files.
    long_ago = "update logbox.batches set heartbeat_at = now() - interval '1 h' where state = %s"
    journey.change(loaded, long_ago, "running")
    journey.ingest_all(loaded)
    assert rows(loaded, "select distinct state from logbox.batches") == [("finished",)]
    assert reparse(loaded, ACME).changed_logs == 2
    theirs = [row[2] for row in rows(loaded, MESSAGES) if row[0] == "acme"]
    assert theirs == ["one", "two", "logging started"]
    assert compare_recent(loaded).passed
    journey.tick(loaded)
    live = {key for (key,) in rows(loaded, "select lake_key from logbox.lake_files")}
    assert set(journey.keys_in(loaded.lake)) <= live


def reparse_there(settings: Any) -> None:
    from logbox_pipeline.steps.site import open_site

    reparse(open_site(settings), ACME)
