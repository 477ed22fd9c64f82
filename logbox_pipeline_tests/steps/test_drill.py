"""A rehearsed rebuild says what it found, how fast it was, and leaves nothing behind."""

from dataclasses import replace
from datetime import timedelta

import pytest

from logbox_pipeline.adapters import databases
from logbox_pipeline.adapters.catalog_restore import Scope
from logbox_pipeline.adapters.databases import database_of
from logbox_pipeline.adapters.turns import Turn, turn
from logbox_pipeline.core.errors import TransientError
from logbox_pipeline.steps.compact import compact
from logbox_pipeline.steps.drill import OVERDUE, drill, judge_drill
from logbox_pipeline.steps.manifest import tell
from logbox_pipeline.steps.rebuild import RebuildReport, make_target, rebuild
from logbox_pipeline.steps.reconcile import reconcile
from logbox_pipeline.steps.repair import repair
from logbox_pipeline.steps.retain import retain
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import jsonl, rows, ulog, upload


def ingest_some(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("one", "two"))
    upload(site, "landing/acme/d1/b.ulg", ulog({"same": ["x", "t"]}))
    upload(site, "landing/beta/d1/c.jsonl", jsonl("one"))
    journey.ingest_all(site)


def later(site: Site, by: timedelta) -> Site:
    now = site.now
    return replace(site, now=lambda: now() + by)


def has_scratch(site: Site) -> bool:
    pattern = f"{database_of(site.settings.database_url)}_drill_.*"
    with databases.administrator(site.settings.admin_database_url) as cursor:
        return bool(databases.unused(cursor, pattern))


def test_a_drill_finds_the_live_database_equal_and_says_how_fast(site: Site) -> None:
    ingest_some(site)
    # A drill that was killed has left this.
    make_target(site, f"{database_of(site.settings.database_url)}_drill_0123456789ab")
    assert has_scratch(site)
    done = drill(site)
    assert (done.verdict, done.detail, done.logs, done.rows) == ("equal", None, 3, 7)
    assert done.bytes_per_s == done.size_bytes / done.seconds
    assert abs(done.projected_s - done.seconds) < 0.001
    assert not has_scratch(site)
    assert judge_drill(site).passed
    assert "equal to the row" in judge_drill(site).sentence
    late = judge_drill(later(site, OVERDUE + timedelta(days=1)))
    assert (late.passed, late.is_error) == (False, True)
    assert "9 days ago" in late.sentence


def test_a_second_drill_beside_the_first_is_refused(site: Site) -> None:
    with (
        site.connection() as other,
        turn(other, Turn.DRILL),
        pytest.raises(TransientError, match="another drill is at work"),
    ):
        drill(site)


def test_what_commits_while_a_drill_runs_is_no_difference(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest_some(site)
    upload(site, "landing/acme/d1/d.jsonl", jsonl("four"))
    journey.ingest_all(site)
    tomorrow = later(site, timedelta(days=1))

    def meanwhile(target: Site, scope: Scope) -> RebuildReport:
        assert compact(tomorrow).done
        # As a reparse leaves it, and tells of it.
        journey.change(
            site,
            """
            update logbox.logs
            set loaded_at = now(), events = events + 1
            where client = 'beta'
            """,
        )
        while tell(site, settled=timedelta(0)):
            pass
        return rebuild(target, scope)

    monkeypatch.setattr("logbox_pipeline.steps.drill.rebuild", meanwhile)
    done = drill(site)
    assert (done.verdict, done.detail) == ("equal", None)


def test_telemetry_that_has_left_postgres_is_no_difference(site: Site) -> None:
    ingest_some(site)
    old = journey.with_settings(later(site, timedelta(days=62)), postgres_telemetry_days=1)
    assert retain(old).dropped
    done = drill(old)
    assert (done.verdict, done.detail, done.rows) == ("equal", None, 4)
    # Nor does a repair bring it back.
    journey.change(site, "delete from logbox.log_events where message = 'logging started'")
    (drift,) = reconcile(old).drifts
    (mended,) = repair(old, [str(drift.drift_id)], by="test")
    assert (mended.state, mended.detail) == ("done", "1 rows of 1 log(s)")
    assert journey.one(site, "select count(*) from telemetry.ulog_same") == 0


def test_a_drill_finds_what_somebody_changed(site: Site) -> None:
    ingest_some(site)
    journey.change(site, "update logbox.log_events set message = 'ONE' where message = 'one'")
    journey.change(
        site,
        "delete from telemetry.ulog_same where ctid in (select min(ctid) from telemetry.ulog_same)",
    )
    done = drill(site)
    assert done.verdict == "different"
    assert done.detail == (
        "logbox.log_events: 4 rows live, 4 rebuilt, not equal; "
        "telemetry.ulog_same: 2 rows live, 3 rebuilt"
    )
    assert not judge_drill(site).passed
    assert "found a difference" in judge_drill(site).sentence


def test_a_drill_that_cannot_read_the_archive_failed(site: Site) -> None:
    ingest_some(site)
    away = site.settings.model_copy(update={"admin_database_url": site.settings.database_url})
    done = drill(replace(site, settings=away))
    assert done.verdict == "failed"
    assert "permission denied to create database" in done.detail
    assert not judge_drill(site).passed


def test_lost_bytes_are_a_difference(site: Site) -> None:
    ingest_some(site)
    ((key, version),) = rows(
        site, "select archive_key, version_id from logbox.objects where client = 'beta'"
    )
    site.archive.delete(key, version_id=version)
    done = drill(site)
    assert done.verdict == "different"
    assert "found nothing in the archive" in done.detail


def test_before_the_first_week_is_over_no_drill_is_no_alarm(site: Site) -> None:
    assert judge_drill(site).passed
    ingest_some(site)
    assert judge_drill(site).passed
    assert not judge_drill(later(site, OVERDUE + timedelta(days=1))).passed
