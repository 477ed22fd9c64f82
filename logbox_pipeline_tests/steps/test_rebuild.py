"""Postgres from the archive bucket alone: row for row, and after being killed too."""

import contextlib
import hashlib
import io
import json
import multiprocessing
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from psycopg2 import sql

from logbox_pipeline.adapters import catalog_batches, databases, postgres
from logbox_pipeline.adapters.catalog_restore import Scope
from logbox_pipeline.adapters.catalog_retry import Choice
from logbox_pipeline.adapters.databases import database_of
from logbox_pipeline.adapters.turns import Turn, turn
from logbox_pipeline.core import keys
from logbox_pipeline.core.errors import (
    PermanentError,
    SettingError,
    TransientError,
    UsageError,
)
from logbox_pipeline.core.repair import Action, next_command
from logbox_pipeline.core.told import Subject, line
from logbox_pipeline.simulator.ulog_writer import write_ulog
from logbox_pipeline.steps.archive import archive
from logbox_pipeline.steps.lost_catalog import WHAT_NOW
from logbox_pipeline.steps.rebuild import (
    make_target,
    rebuild,
    rebuild_into,
    rebuild_missing,
    site_on,
)
from logbox_pipeline.steps.receipts import sweep_receipts
from logbox_pipeline.steps.reconcile import reconcile
from logbox_pipeline.steps.release import acknowledge
from logbox_pipeline.steps.repair import repair
from logbox_pipeline.steps.seal import seal_all
from logbox_pipeline.steps.setup import set_up
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.verify import verify
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.formats.test_wrappers import zipped
from logbox_pipeline_tests.journey import jsonl, rows, ulog, upload

NOT_THE_SAME = frozenset(
    (
        # Of the store, not of the logs; see DESIGN section 4.
        *("batches", "access_log", "reconciliations", "drifts", "repairs", "drills"),
        # What is owed, looked at and known of files now; pipeline_state is the sensor's.
        *("outbox", "scrubs", "manifests", "pipeline_state"),
    )
)


def tables(site: Site) -> dict[str, tuple[int, str]]:
    """(rows, digest of their sorted JSON) of every table, by name; empty columns do not count."""
    named = rows(
        site,
        """
        select n.nspname, c.relname
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in ('logbox', 'telemetry') and c.relkind in ('r', 'p')
        """,
    )
    found = {}
    with site.transaction() as cursor:
        for schema, table in named:
            if table in NOT_THE_SAME or table.startswith("access_log"):
                continue
            cursor.execute(
                sql.SQL(
                    "select jsonb_strip_nulls(to_jsonb(t.*))::text as row from {} t order by 1"
                ).format(sql.Identifier(schema, table))
            )
            lines = [line for (line,) in cursor.fetchall()]
            digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
            found[f"{schema}.{table}"] = len(lines), digest
    return found


def flight(seed: int) -> bytes:
    out = io.BytesIO()
    write_ulog(out, seed=seed, duration_s=20, start=datetime(2026, 11, 24, 9, seed, tzinfo=UTC))
    return out.getvalue()


def fly(site: Site) -> None:
    """Some of everything that can become of a log."""
    grown = [f"{n}" for n in range(300)]
    upload(site, "landing/acme/d1/a.ulg", flight(1))
    upload(site, "landing/acme/d1/small.ulg", ulog({"one": ["x", "t"], "Two": ["y", "Y"]}))
    upload(site, "landing/acme/d1/short.jsonl", jsonl(*grown[:200]))
    upload(site, "landing/acme/d1/bad.jsonl", jsonl("bad"), sha256="0" * 64)
    upload(site, "landing/beta/v1/unknown.bin", b"\x00\x01 nobody reads this")
    upload(
        site,
        "landing/beta/v1/two.zip",
        zipped([("a", jsonl("a")), ("../b", b"b"), ("c", jsonl("c"))]),
    )
    upload(site, "landing/nobody/x.jsonl", jsonl("x"))
    journey.ingest_all(site)
    upload(site, "landing/acme/d1/long.jsonl", jsonl(*grown))
    upload(site, "landing/acme/d1/again.jsonl", jsonl(*grown[:200]))
    upload(site, "landing/beta/v2/again.jsonl", jsonl("a"))
    upload(site, "landing/acme/d2/a.ulg", flight(2))
    journey.ingest_all(site)
    acknowledge(site, Choice(client="acme"), "known")
    journey.ingest_all(site)
    assert journey.untold(site) == []
    seal_all(site)


@contextlib.contextmanager
def beside(site: Site, name: str) -> Iterator[Site]:
    """A migrated empty database of its own, dropped at the end."""
    database = f"{database_of(site.settings.database_url)}_{name}"
    try:
        yield make_target(site, database)
    finally:
        drop(site, database)


def drop(site: Site, database: str) -> None:
    with databases.administrator(site.settings.admin_database_url) as cursor:
        databases.drop(cursor, database)


def test_a_dropped_database_comes_back_row_for_row(site: Site) -> None:
    fly(site)
    before = tables(site)
    receipts = journey.keys_in(site.landing, "receipts/")
    for key in receipts[::2]:
        # As when it was lost before they were written, and with it that they were owed.
        site.landing.delete(key)
    drop(site, database_of(site.settings.database_url))
    report = rebuild_missing(site, Scope())
    assert (report.lost, report.progress.different) == ({}, 0)
    assert tables(site) == before
    sweep_receipts(site)
    assert journey.keys_in(site.landing, "receipts/") == receipts
    assert before["logbox.flights"][0] == 2
    # And it is a pipeline's database: what comes now is ingested, what came before is known.
    upload(site, "landing/acme/d1/new.jsonl", jsonl("new"))
    upload(site, "landing/acme/d1/known.jsonl", jsonl(*[f"{n}" for n in range(300)]))
    journey.ingest_all(site)
    assert rows(site, "select state from logbox.deliveries where name = 'new.jsonl'") == [
        ("archived",)
    ]
    assert rows(site, "select state from logbox.deliveries where name = 'known.jsonl'") == [
        ("duplicate",)
    ]
    assert journey.untold(site) == []


def test_setup_after_the_loss_hides_nothing_and_rebuild_takes_the_empty_ones_place(
    site: Site,
) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    upload(site, "landing/beta/d1/b.ulg", ulog({"one": ["x"]}))
    journey.ingest_all(site)
    assert journey.untold(site) == []
    seal_all(site)
    before, archived = tables(site), journey.keys_in(site.archive)
    drop(site, database_of(site.settings.database_url))
    with pytest.raises(SettingError, match="run `logbox rebuild` if it was lost"):
        reconcile(site)
    said: list[str] = []
    set_up(site, said.append)
    assert WHAT_NOW in said

    # Nothing is taken for a stray, and nothing is taken in.
    found = reconcile(site, deep=True)
    assert [(one.kind.value, one.place.value, one.subject) for one in found.drifts] == [
        ("missing", "postgres", "catalog")
    ]
    assert next_command(found.drifts[0]) == "logbox rebuild"
    (done,) = repair(site, by="test")
    assert (done.state, "logbox rebuild" in (done.detail or "")) == ("refused", True)
    upload(site, "landing/acme/d1/new.jsonl", jsonl("new"))
    with pytest.raises(PermanentError, match="holds logs that this database does not know"):
        journey.tick(site)
    assert journey.keys_in(site.archive) == archived

    owner_url = site.settings.owner_database_url
    with closing(postgres.connect(owner_url)) as owner:
        with postgres.transaction(owner) as cursor:
            cursor.execute("create table public.theirs (n int)")
        with pytest.raises(UsageError, match="holds something"):
            rebuild_missing(site, Scope())
        with postgres.transaction(owner) as cursor:
            cursor.execute("drop table public.theirs")
        journey.write(site, "insert into logbox.clients values ('gamma', now(), null)")

        # What arrives in it meanwhile is not thrown away.
        arrives = "insert into logbox.objects values ('gamma', repeat('0', 64), 'x', null, 1)"
        with pytest.raises(UsageError, match="holds something"):
            rebuild_missing(
                site,
                Scope(),
                lambda done: journey.change(site, arrives) if done.done == done.units else None,
            )
        journey.change(site, "delete from logbox.objects")
        # A session that is open does not keep the name.
        with contextlib.suppress(TransientError), postgres.transaction(owner) as cursor:
            cursor.execute("select 1")
        rebuild_missing(site, Scope())
    after = tables(site)
    assert after.pop("logbox.clients")[0] == before.pop("logbox.clients")[0] + 1
    assert after == before
    assert databases_like(site, database_of(site.settings.database_url)) == 1
    journey.ingest_all(site)
    assert journey.one(site, "select count(*) from logbox.logs") == 3


def databases_like(site: Site, name: str) -> int:
    return int(
        journey.one(site, "select count(*) from pg_database where datname like %s", f"{name}%")
    )


@pytest.mark.parametrize(
    "failpoint", ["after_archive_read", "after_restore", "after_unit_1", "before_rebuild_end"]
)
def test_killed_it_goes_on_where_it_was(site: Site, failpoint: str) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    upload(site, "landing/acme/d1/b.ulg", ulog({"one": ["x"]}))
    journey.ingest_all(site)
    assert journey.untold(site) == []
    small = replace(site, settings=site.settings.model_copy(update={"batch_files": 1}))
    with beside(small, "killed") as target:
        dying = replace(target, settings=journey.dying_at(target.settings, failpoint))
        process = multiprocessing.get_context("spawn").Process(
            target=rebuild_there, args=(dying.settings,)
        )
        process.start()
        process.join(60)
        assert process.exitcode == -9
        report = rebuild(target, Scope())
        assert report.progress.units == 2
        assert tables(target) == tables(site)


def rebuild_there(settings: Any) -> None:
    from logbox_pipeline.steps.site import open_site

    rebuild(open_site(settings), Scope())


def test_what_died_before_its_outcome_is_loaded_by_the_next_batch(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    held = journey.claim_offered(site)
    verify(site, held)
    archive(site, held)
    with beside(site, "early") as target:
        rebuild(target, Scope())
        assert rows(target, "select state, batch_id from logbox.deliveries") == [("archived", None)]
        journey.ingest_all(target)
        assert journey.one(target, "select count(*) from logbox.log_events") == 1


def test_a_part_is_made_beside_the_whole(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    upload(site, "landing/beta/d1/b.jsonl", jsonl("b", "c"))
    journey.ingest_all(site)
    assert journey.untold(site) == []
    with beside(site, "part") as target:
        report = rebuild(target, Scope(client="beta"))
        assert report.progress.logs == 1
        assert rows(target, "select client from logbox.logs") == [("beta",)]
        assert journey.one(target, "select count(*) from logbox.log_events") == 2
        # As in an older database, what the archive proves is unknown there, and no stray.
        before = journey.keys_in(site.archive)
        strays = [one for one in reconcile(target).drifts if one.place == "archive"]
        assert [one.subject for one in strays] == [
            key for key in before if key.startswith("archive/acme/")
        ]
        done = repair(target, [str(one.drift_id) for one in strays], by="test")
        assert {(one.action, one.state) for one in done} == {(Action.KEEP, "refused")}
        assert journey.keys_in(site.archive) == before


def test_a_database_in_use_is_not_touched(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    journey.ingest_all(site)
    with pytest.raises(UsageError, match="holds logs"):
        rebuild(site, Scope())
    with pytest.raises(UsageError, match="is there"):
        rebuild_missing(site, Scope())


@pytest.mark.parametrize("failpoint", ["before_rename", "after_rename"])
def test_killed_at_its_very_end_it_takes_its_name_whoever_is_connected(
    site: Site, failpoint: str
) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    journey.ingest_all(site)
    assert journey.untold(site) == []
    before = tables(site)
    database = database_of(site.settings.database_url)
    drop(site, database)
    dying = replace(site, settings=journey.dying_at(site.settings, failpoint))
    process = multiprocessing.get_context("spawn").Process(
        target=rebuild_lost, args=(dying.settings,)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -9
    held = database if failpoint == "after_rename" else f"{database}_rebuilding"
    with site_on(site, held).connection():
        report = rebuild_missing(site, Scope())
    assert (report.is_clean, report.progress.logs) == (True, 1)
    assert tables(site) == before
    assert journey.one(site, "select to_regclass('logbox_rebuild.scope')") is None


def rebuild_lost(settings: Any) -> None:
    from logbox_pipeline.steps.site import open_site

    rebuild_missing(open_site(settings), Scope())


def edit(site: Site, key: str) -> None:
    """A change that only a digest shows."""
    read = site.archive.read(key)
    assert read is not None
    site.archive.put_bytes(key, read[0].replace(b"acme", b"acne"))


def delete_all(site: Site, key: str) -> None:
    for version_id in site.archive.versions(key):
        site.archive.delete(key, version_id=version_id)


def test_what_somebody_did_to_manifests_is_found_and_undone(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    journey.ingest_all(site)
    assert journey.untold(site) == []
    sealed = journey.keys_in(site.archive, keys.MANIFESTS_PREFIX)
    seal_all(site)
    upload(site, "landing/acme/d1/b.jsonl", jsonl("b"))
    upload(site, "landing/beta/d1/c.jsonl", jsonl("c"))
    journey.ingest_all(site)
    assert journey.untold(site) == []
    new = [one for one in journey.keys_in(site.archive, keys.MANIFESTS_PREFIX) if one not in sealed]
    intake, outcome = sealed
    bodies = {one: site.archive.read(one)[0] for one in sealed}
    edit(site, intake)
    site.archive.delete(outcome)
    changed = [one for one in new if one.startswith(f"{keys.MANIFESTS_PREFIX}acme/")]
    edit(site, changed[0])
    site.archive.put_bytes(changed[1], b"{")
    edited_seal = keys.seal_key("acme", 1)
    edit(site, edited_seal)
    stray = f"{keys.MANIFESTS_PREFIX}acme/received_on=2026-11-29/notes.jsonl"
    site.archive.put_bytes(stray, b"no manifest")
    untold = keys.archive_key("acme", "ab" * 32, "x.jsonl")
    site.archive.put_bytes(untold, b"x")
    before = tables(site)
    with beside(site, "edited") as target:
        report = rebuild(target, Scope())
        assert set(report.odd_files) == {intake, outcome, *changed, edited_seal, stray}
        assert (report.lost, report.lost_files) == ({}, {})
        assert (report.unknown, report.unknown_keys) == (1, (untold,))
        assert tables(target).keys() == before.keys()
        # When the edited seal was put is not when it was sealed.
        other = {one for one, found in tables(target).items() if found != before[one]}
        assert other <= {"logbox.seals"}
        chains = "select client, number, sha256, previous_sha256 from logbox.seals order by 1, 2"
        assert rows(target, chains) == rows(site, chains)
        drifts = rows(target, "select subject, kind from logbox.drifts where place = 'archive'")
        assert sorted(drifts) == sorted(
            [(intake, "mismatch"), (outcome, "missing"), *((one, "mismatch") for one in changed)]
        )
    # And where no copy is left, all but what only it told of is made.
    orphan = put_orphan(site)
    for kept, messages in ((outcome, "abc"), (intake, "bc")):
        for one in sealed:
            delete_all(site, one)
            delete_all(replace(site, archive=site.replica), one)
        site.replica.put_bytes(kept, bodies[kept])
        with beside(site, "without") as target:
            report = rebuild(target, Scope())
            assert set(report.lost_files) == {*sealed} - {kept}
            assert "in the replica is" in report.odd_files[kept]
            assert set(report.lost) == {orphan}
            made = rows(target, "select message from logbox.log_events order by 1")
            assert "".join(message for (message,) in made) == messages


def put_orphan(site: Site) -> str:
    """A log that the journal tells of, and of its delivery nothing does."""
    ids = {"log_id": str(uuid4()), "delivery_id": str(uuid4())}
    row = json.loads(journey.one(site, "select to_jsonb(l)::text from logbox.logs l limit 1"))
    told = line(Subject.LOG, ids["log_id"], "acme", site.now(), json.dumps({**row, **ids}))
    site.archive.put_bytes(keys.journal_key(site.now(), uuid4()), told)
    return ids["log_id"]


def test_two_rebuilds_do_not_fill_one_database(site: Site) -> None:
    with (
        site.connection() as other,
        turn(other, Turn.REBUILD),
        pytest.raises(UsageError, match="another rebuild of database"),
    ):
        rebuild(site, Scope())


def test_a_site_of_which_only_a_client_was_made_is_filled_while_paused(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    journey.ingest_all(site)
    journey.change(site, "update logbox.clients set created_at = created_at")
    assert journey.untold(site) == []
    with beside(site, "empty") as target:
        database = database_of(target.settings.database_url)
        journey.change(target, "insert into logbox.clients values ('acme', now(), null)")
        with pytest.raises(UsageError, match="the site's own database"):
            rebuild_into(target, database, Scope())
        with pytest.raises(UsageError, match="a part of the logs"):
            rebuild_into(target, database, Scope(client="acme"))
        with target.transaction() as cursor:
            catalog_batches.pause(cursor, "test", target.now())
        assert rebuild_into(target, database, Scope()).is_clean
        assert journey.one(target, "select count(*) from logbox.log_events") == 1


def test_a_slip_of_the_pen_makes_no_database(site: Site) -> None:
    database = f"{database_of(site.settings.database_url)}_slip"
    with pytest.raises(PermanentError, match="no such client in the archive"):
        rebuild_into(site, database, Scope(client="nosuch"))
    with databases.administrator(site.settings.admin_database_url) as cursor:
        assert not databases.exists(cursor, database)


def test_lost_bytes_are_said_and_the_rest_is_made(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    upload(site, "landing/acme/d1/b.jsonl", jsonl("b", "c"))
    journey.ingest_all(site)
    assert journey.untold(site) == []
    ((key, version),) = rows(
        site, "select archive_key, version_id from logbox.objects order by size_bytes limit 1"
    )
    site.archive.delete(key, version_id=version)
    with beside(site, "lost") as target:
        report = rebuild(target, Scope())
        assert len(report.lost) == 1
        assert "found nothing in the archive" in next(iter(report.lost.values()))
        assert rows(target, "select subject, kind, client from logbox.drifts") == [
            (key, "missing", "acme")
        ]
        assert journey.one(target, "select count(*) from logbox.log_events") == 2
