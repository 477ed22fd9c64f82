"""Retention: old months of telemetry leave Postgres, only once the lake is seen to hold them."""

from datetime import UTC, date, datetime

import pytest

from logbox_pipeline.adapters import telemetry_tables
from logbox_pipeline.core.reconciliation import Place
from logbox_pipeline.steps.agree import compare_recent
from logbox_pipeline.steps.reconcile import reconcile
from logbox_pipeline.steps.retain import retain
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import one, rows, ulog, upload, with_settings

LEAVES = """
    select relname
    from pg_class
    where relkind = 'r' and relnamespace = 'telemetry_parts'::regnamespace
    order by 1
"""


def months_on(site: Site, months: int, days: int = 30) -> Site:
    """The same site so many months later, keeping so many days."""
    kept = with_settings(site, postgres_telemetry_days=days)
    today = datetime.now(UTC)
    month = today.month - 1 + months
    at = datetime(today.year + month // 12, month % 12 + 1, 15, tzinfo=UTC)
    return Site(kept.settings, site.landing, site.archive, site.lake, now=lambda: at)


@pytest.fixture
def flown(site: Site) -> Site:
    """A log of two topics received today, and rows of an older month beside it."""
    upload(site, "landing/acme/d1/a.ulg", ulog({"fix": ["x"], "power": ["v"]}, rows=5))
    journey.ingest_all(site)
    return site


def test_nothing_goes_by_default_or_inside_the_window(flown: Site) -> None:
    leaves = rows(flown, LEAVES)
    assert retain(months_on(flown, 24, days=0)).judged == ()
    assert retain(flown).judged == ()
    assert retain(months_on(flown, 1)).judged == ()
    assert rows(flown, LEAVES) == leaves
    assert len(leaves) == 2


def test_old_months_go_and_everything_else_stays_and_works(flown: Site) -> None:
    before = journey.snapshot(flown)
    later = months_on(flown, 3)
    would = retain(later, dry_run=True)
    assert len(rows(flown, LEAVES)) == 2
    done = retain(later)
    assert done.counts == would.counts
    assert (done.counts["dropped_partitions"], done.counts["dropped_rows"]) == (2, 10)
    assert rows(flown, LEAVES) == []
    assert retain(later).judged == ()
    # The tables and their views stand, empty; events, tracks, the catalog and the lake are whole.
    assert one(flown, "select count(*) from telemetry.ulog_fix") == 0
    assert one(flown, "select count(*) from analytics.ulog_power") == 0
    after = journey.snapshot(flown)
    assert after["postgres"].pop("ulog_fix") == after["postgres"].pop("ulog_power") == []
    assert len(before["postgres"].pop("ulog_fix")) == 5
    before["postgres"].pop("ulog_power")
    assert after == before
    found = reconcile(later, deep=True)
    assert [drift for drift in found.drifts if drift.place in (Place.LAKE, Place.POSTGRES)] == []
    # The check knows the window, and the next log gets its partition again.
    assert compare_recent(flown).passed is False
    assert compare_recent(later).passed
    upload(flown, "landing/acme/d1/b.ulg", ulog({"fix": ["x"]}, seed=9))
    journey.ingest_all(flown)
    assert one(flown, "select count(*) from telemetry.ulog_fix") == 3


def test_only_months_wholly_before_the_window_go(flown: Site) -> None:
    with flown.transaction() as cursor:
        for month in (date(2026, 1, 1), date(2026, 2, 1)):
            telemetry_tables._ensure_partition(cursor, "ulog_fix", month)
    site = Site(
        flown.settings.model_copy(update={"postgres_telemetry_days": 10}),
        flown.landing,
        flown.archive,
        flown.lake,
        now=lambda: datetime(2026, 3, 5, tzinfo=UTC),
    )
    done = retain(site)
    assert done.first_day == date(2026, 2, 1)
    assert [one.partition.month for one in done.dropped] == [date(2026, 1, 1)]
    assert ("ulog_fix_202602",) in rows(flown, LEAVES)


def test_a_month_the_lake_does_not_hold_stays(flown: Site) -> None:
    later = months_on(flown, 3)
    key = one(flown, "select lake_key from logbox.lake_files where table_name = 'ulog_fix'")
    kept = flown.lake.read(key)
    assert kept is not None
    flown.lake.delete(key)
    (why,) = [one.why for one in retain(later).kept]
    assert why is not None
    assert "found nothing" in why
    # The other table's went; this one's stays until the file is there and counts.
    assert [name.rpartition("_")[0] for (name,) in rows(flown, LEAVES)] == ["ulog_fix"]
    flown.lake.put_bytes(key, kept[0])
    journey.change(
        flown, "update logbox.lake_files set state = 'replaced' where lake_key = %s", key
    )
    (why,) = [one.why for one in retain(later).kept]
    assert "5 rows in Postgres, 0 in the lake" in str(why)
    journey.change(flown, "update logbox.lake_files set state = 'live' where lake_key = %s", key)
    assert retain(later).kept == ()
    assert rows(flown, LEAVES) == []


def test_a_reader_is_waited_for_and_never_locked_out(
    flown: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry_tables, "PATIENCE_S", 0.5)
    later = months_on(flown, 3)
    with flown.transaction() as reader:
        reader.execute("select count(*) from telemetry.ulog_fix")
        (kept,) = retain(later).kept
        assert "locked" in str(kept.why)
        assert one(flown, "select count(*) from telemetry.ulog_fix") == 5
    assert len(retain(later).dropped) == 1
