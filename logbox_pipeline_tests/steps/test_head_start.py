"""Rows that go to Postgres while other logs are parsed: once each, and never in anybody's way."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from logbox_pipeline.adapters.catalog_batches import Claim
from logbox_pipeline.core import tables
from logbox_pipeline.core.errors import FenceLost
from logbox_pipeline.steps import head_start, load
from logbox_pipeline.steps.archive import archive
from logbox_pipeline.steps.parse import parse
from logbox_pipeline.steps.reconcile import Verdict, reconcile
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.verify import verify
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import jsonl, one, rows, ulog, upload


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each log is a part of its own."""
    monkeypatch.setattr(head_start, "PART_BYTES", 1)


@pytest.fixture
def whole_copies(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Logs of each batch that the load had to copy itself."""
    copied: list[int] = []

    def copy_rows(cursor: Any, received_on: Any, parsed: Any) -> dict[str, int]:
        copied.append(len(parsed.read))
        return real(cursor, received_on, parsed)

    real = load.copy_rows
    monkeypatch.setattr(load, "copy_rows", copy_rows)
    return copied


def fly(site: Site, number: int, *fields: str) -> None:
    upload(site, f"landing/acme/d1/{number}.ulg", ulog({"fix": fields or ("x", "y")}, seed=number))


def telemetry_rows(site: Site) -> list[tuple[Any, ...]]:
    return rows(site, "select log_id, count(*) from telemetry.ulog_fix group by 1 order by 1")


def test_batch_whose_tables_stand_is_copied_while_it_is_parsed(
    site: Site, whole_copies: list[int]
) -> None:
    fly(site, 1)
    journey.ingest_all(site)
    assert whole_copies == [1]

    for number in (2, 3, 4):
        fly(site, number)
    upload(site, "landing/acme/d1/a.jsonl", jsonl("armed", "disarmed"))
    journey.ingest_all(site)

    assert whole_copies == [1]
    assert [count for _, count in telemetry_rows(site)] == [3, 3, 3, 3]
    assert one(site, "select count(*) from logbox.log_events") == 4 + 2
    assert journey.untold(site) == []


def test_log_with_a_new_field_makes_the_others_give_way(
    site: Site, whole_copies: list[int]
) -> None:
    fly(site, 1)
    journey.ingest_all(site)

    for number in (2, 3, 4, 5):
        fly(site, number, *("x", "y", f"new_{number}")[: 2 + (number == 4)])
    journey.ingest_all(site)

    assert whole_copies == [1, 4]
    assert [count for _, count in telemetry_rows(site)] == [3] * 5
    assert one(site, "select count(*) from telemetry.ulog_fix where new_4 is not null") == 3
    assert journey.states(site) == [("archived", "")] * 5


def test_topic_that_all_its_logs_together_make_too_wide_is_in_the_lake_alone(
    site: Site, whole_copies: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each name is known, so that nothing is to be made: the first log's rows were taken."""
    fly(site, 1, "x", "y")
    journey.ingest_all(site)
    monkeypatch.setattr(tables, "MAX_POSTGRES_COLUMNS", 2)
    fly(site, 2, "v", "w")
    journey.ingest_all(site)
    fly(site, 3, "x", "y")
    fly(site, 4, "v", "w")
    journey.ingest_all(site)

    assert whole_copies == [1, 1, 2]
    assert [count for _, count in telemetry_rows(site)] == [3]
    assert one(site, "select count(*) from logbox.log_topics where lake_only_reason is null") == 1
    assert reconcile(site, deep=True).verdict is Verdict.CLEAN


def test_head_start_that_loses_its_connection_costs_time_and_nothing_else(
    site: Site, whole_copies: list[int]
) -> None:
    fly(site, 1)
    journey.ingest_all(site)
    fly(site, 2)
    fly(site, 3)
    held = archived(site)

    with head_start.head_start(site, held) as ahead:
        parsed = parse(site, held, ahead)
        assert all(part.result() for part in ahead._copied)
        journey.rows(
            site,
            """
            select pg_terminate_backend(pid) from pg_stat_activity
            where state = 'idle in transaction' and datname = current_database()
            """,
        )
        load.load(site, held, parsed, ahead)

    assert whole_copies == [1, 2]
    assert [count for _, count in telemetry_rows(site)] == [3, 3, 3]


def test_head_start_gives_way_to_whoever_adds_a_column(site: Site) -> None:
    fly(site, 1)
    journey.ingest_all(site)
    fly(site, 2)
    fly(site, 3)
    held = archived(site)
    parsed = parse(site, held)
    waits = """
        select exists (
            select from pg_locks
            where not granted and database = (
                select oid from pg_database where datname = current_database()
            )
        )
    """
    with (
        ThreadPoolExecutor(1) as another,
        head_start.head_start(site, held) as ahead,
    ):
        ahead.take(parsed.read[0])
        assert ahead._copied[0].result()["ulog_fix"] == 3
        adding = another.submit(
            journey.change, site, "alter table telemetry.ulog_fix add column late integer"
        )
        while not one(site, waits):
            assert not adding.done()
            time.sleep(0.02)
        ahead.take(parsed.read[1])
        adding.result(timeout=10)
        assert ahead.begun(parsed) is None
        load.load(site, held, parsed, ahead)
    assert [count for _, count in telemetry_rows(site)] == [3, 3, 3]


def test_head_start_of_long_ago_leaves_the_load_no_time(
    site: Site, whole_copies: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fly(site, 1)
    journey.ingest_all(site)
    fly(site, 2)
    held = archived(site)
    with head_start.head_start(site, held) as ahead:
        parsed = parse(site, held, ahead)
        assert ahead._copied[0].result()["ulog_fix"] == 3
        monkeypatch.setattr(head_start, "LONGEST_S", 0)
        load.load(site, held, parsed, ahead)
    assert whole_copies == [1, 1]
    assert [count for _, count in telemetry_rows(site)] == [3, 3]


def test_what_was_copied_for_a_batch_that_fails_is_not_there(site: Site) -> None:
    fly(site, 1)
    journey.ingest_all(site)
    fly(site, 2)
    held = archived(site)

    with head_start.head_start(site, held) as ahead:
        parse(site, held, ahead)
        assert [part.result()["ulog_fix"] for part in ahead._copied] == [3]

    assert [count for _, count in telemetry_rows(site)] == [3]


def test_attempt_that_was_given_up_has_no_head_start(site: Site) -> None:
    fly(site, 1)
    journey.ingest_all(site)
    fly(site, 2)
    held = archived(site)
    with head_start.head_start(site, held) as ahead:
        parsed = parse(site, held, ahead)
        journey.change(
            site, "update logbox.batches set attempt = attempt + 1 where state = 'running'"
        )
        with pytest.raises(FenceLost):
            load.load(site, held, parsed, ahead)
    assert [count for _, count in telemetry_rows(site)] == [3]


def archived(site: Site) -> Claim:
    """A claimed batch whose bytes are archived."""
    held = journey.claim_offered(site)
    verify(site, held)
    archive(site, held)
    return held
