"""From landing to Postgres and the lake: once each, whatever arrives and however often."""

import gzip
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from logbox_pipeline.core.digest import log_id
from logbox_pipeline.core.errors import TransientError
from logbox_pipeline.settings import Settings
from logbox_pipeline.steps import archive as archive_step
from logbox_pipeline.steps import parse as parse_step
from logbox_pipeline.steps import parse_pool
from logbox_pipeline.steps.archive import archive
from logbox_pipeline.steps.attempt import claim
from logbox_pipeline.steps.ingest import ingest_days, ingest_offered
from logbox_pipeline.steps.load import load
from logbox_pipeline.steps.parse import parse
from logbox_pipeline.steps.settle import settle
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.verify import verify
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import deliveries, jsonl, one, rows, ulog, upload, with_settings
from logbox_pipeline_tests.steps import bad_parser

LOG = jsonl("armed", "disarmed")


def loaded_rows(site: Site) -> tuple[int, int]:
    """Rows of log_events in Postgres and in the lake."""
    lake = journey.snapshot(site)["lake"].get("log_events", [])
    return one(site, "select count(*) from logbox.log_events"), len(lake)


# Duplicates


def test_ingesting_twice_equals_ingesting_once(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    journey.ingest_all(site)
    before = journey.snapshot(site)
    assert journey.ingest_all(site) == []
    day = datetime.now(UTC).date()
    for report in ingest_days(site, day, day, "by-hand"):
        assert not any(report.counts.values())
    assert journey.snapshot(site) == before


def test_same_bytes_under_two_keys_of_one_batch_are_loaded_once(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    upload(site, "landing/acme/d1/b.jsonl", LOG)
    journey.ingest_all(site)
    assert journey.states(site) == [("archived", ""), ("duplicate", "")]
    assert loaded_rows(site) == (2, 2)
    assert one(site, "select count(*) from logbox.batches") == 1
    repeated = """
        select count(*)
        from logbox.deliveries
        join logbox.logs on log_id = duplicate_of
    """
    assert one(site, repeated) == 1
    assert journey.keys_in(site.landing) == []


def test_same_bytes_in_a_later_batch_are_loaded_once(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    journey.ingest_all(site)
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    journey.ingest_all(site)
    upload(site, "landing/acme/d2/other-name.txt", LOG)
    journey.ingest_all(site)
    assert journey.states(site) == [("archived", ""), ("duplicate", ""), ("duplicate", "")]
    assert loaded_rows(site) == (2, 2)
    assert len(journey.keys_in(site.archive, "archive/acme/")) == 1


def test_two_clients_with_the_same_bytes_have_a_log_each(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    upload(site, "landing/beta/d1/a.jsonl", LOG)
    journey.ingest_all(site)
    assert journey.states(site) == [("archived", ""), ("archived", "")]
    assert loaded_rows(site) == (4, 4)


def test_two_batches_at_once_with_shared_bytes_and_new_topics_load_each_log_once(
    site: Site,
) -> None:
    small = with_settings(site, batch_files=4)
    shared = [
        LOG,
        jsonl("other"),
        ulog({"fix": ["x"], "power": ["v"]}),
        ulog({"fix": ["x", "y"], "wind": ["n"]}, seed=1),
    ]
    # Every client's turn: files 0 to 3 of both halves go into different batches.
    for half in ("first", "second"):
        for number, data in enumerate(shared):
            upload(site, f"landing/acme/d1/{half}-{number}", data)
    offered = journey.tick(small).offered
    assert len(offered) == 2

    def run(run_key: str) -> None:
        for _ in ingest_offered(small, run_key, run_key):
            pass

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(run, [batch.run_key for batch in offered]))

    assert journey.states(site) == [("archived", "")] * 4 + [("duplicate", "")] * 4
    found = journey.snapshot(site)
    assert len(found["lake"]["log_events"]) == len(found["postgres"]["log_events"]) == 5
    assert {
        name: (len(found["postgres"][name]), len(lines))
        for name, lines in found["lake"].items()
        if name.startswith("ulog")
    } == {"ulog_fix": (6, 6), "ulog_power": (3, 3), "ulog_wind": (3, 3)}
    assert set(rows(site, "select state, failures, attempt from logbox.batches")) == {
        ("finished", 0, 1)
    }


# Between reading and deleting


@pytest.mark.parametrize("again", [LOG, jsonl("newer")], ids=["same-bytes", "other-bytes"])
def test_object_written_over_after_reading_is_a_delivery_of_its_own(
    site: Site, again: bytes
) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    held = journey.claim_offered(site)
    verify(site, held)
    archive(site, held)
    upload(site, "landing/acme/d1/a.jsonl", again)
    load(site, held, parse(site, held))
    settle(site, held)
    assert journey.keys_in(site.landing) == ["landing/acme/d1/a.jsonl"]
    journey.ingest_all(site)
    journey.ingest_all(site)
    assert journey.keys_in(site.landing) == []
    expected = "duplicate" if again == LOG else "archived"
    assert journey.states(site) == [("archived", ""), (expected, "")]
    assert loaded_rows(site) == ((2, 2) if again == LOG else (3, 3))


def test_object_deleted_after_reading_is_archived_all_the_same(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    held = journey.claim_offered(site)
    verify(site, held)
    site.landing.client.delete_object(Bucket=site.landing.bucket, Key="landing/acme/d1/a.jsonl")
    archive(site, held)
    load(site, held, parse(site, held))
    settle(site, held)
    assert deliveries(site) == {"acme/d1/a.jsonl": ("archived", None)}
    assert loaded_rows(site) == (2, 2)


# Bytes that no parser likes


def test_unknown_format_is_archived_and_unparsed(site: Site) -> None:
    upload(site, "landing/acme/d1/what.bin", b"\x00\x01\x02 no format")
    journey.ingest_all(site)
    assert deliveries(site) == {"acme/d1/what.bin": ("archived", None)}
    assert rows(site, "select state, reason from logbox.logs") == [("unparsed", "unknown_format")]
    assert journey.keys_in(site.landing) == []
    assert one(site, "select archived_at is not null from logbox.objects")


ODD_JSON = [
    b'{"msg":"nul \\u0000 inside"}',
    b'{"msg":"raw nul \x00"}',
    b'{"msg":"\xff\xfe"}',
    b'{"msg":"nan","v":NaN}',
    b'{"msg":"huge","v":1e400}',
    b'{"msg":"big","v":123456789012345678901234567890}',
    b'{"msg":"lone \\ud800 surrogate"}',
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    b"[" * 10_000,
    b'{"msg":"' + b"x" * 20_000_000 + b'"}',
    b'{"ts":"99999-99-99","level":{"a":1},"msg":[1]}',
    b'{"msg":"dup","msg":"keys"}',
    b'{"' + b"k" * 70_000 + b'":1}',
    b"{" + b",".join(b'"key_%d":%d' % (n, n) for n in range(5_000)) + b"}",
]


def test_odd_json_disturbs_no_row_beside_it(site: Site) -> None:
    first, last = jsonl("first"), jsonl("last")
    for number, line in enumerate(ODD_JSON):
        upload(site, f"landing/acme/d1/{number:02}.jsonl", first + line + b"\n" + last)
    upload(site, "landing/beta/d1/all.jsonl", first + b"\n".join(ODD_JSON) + b"\n" + last)
    upload(site, "landing/beta/d1/good.jsonl", LOG)
    journey.ingest_all(site)
    assert set(journey.states(site)) == {("archived", "")}
    assert set(rows(site, "select state, format from logbox.logs")) == {("loaded", "jsonl")}
    count = "select count(*) from logbox.log_events where message = %s"
    assert one(site, count, "first") == one(site, count, "last") == len(ODD_JSON) + 1
    in_postgres, in_lake = loaded_rows(site)
    assert in_postgres == in_lake >= 2 * (len(ODD_JSON) + 1) + 2
    assert set(rows(site, "select state, failures from logbox.batches")) == {("finished", 0)}


def test_parser_that_dies_hangs_or_eats_costs_its_own_file_only(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parse_pool, "parse_log", bad_parser.parse_log)
    monkeypatch.setattr(parse_pool, "_WALL_PER_CPU", 3)
    narrow = with_settings(site, parse_cpu_s=1, parse_memory_bytes=256 * 1024**2, parse_workers=2)
    expected = {
        "CRASH": "parser_failed",
        "EXIT": "parser_failed",
        "EAT": "parser_failed",
        "RECURSE": "parser_failed",
        "SPIN": "parser_timeout",
        "SLEEP": "parser_timeout",
    }
    for word in expected:
        upload(site, f"landing/acme/d1/{word}", f"{word} now".encode())
    for number in range(4):
        upload(site, f"landing/acme/d1/good-{number}.jsonl", jsonl(f"good {number}"))
    journey.ingest_all(narrow)
    unparsed = """
        select name, l.reason
        from logbox.logs l
        join logbox.deliveries using (delivery_id)
        where l.state = 'unparsed'
    """
    assert dict(rows(site, unparsed)) == expected
    assert loaded_rows(site) == (4, 4)
    assert set(rows(site, "select state, attempt from logbox.batches")) == {("finished", 1)}
    assert journey.keys_in(site.landing) == []


def test_full_scratch_disk_is_no_files_fault(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(site, "landing/acme/d1/a.jsonl", b"FULL of words")
    offered = journey.tick(site).offered
    with monkeypatch.context() as patched:
        patched.setattr(parse_pool, "parse_log", bad_parser.parse_log)
        with pytest.raises(TransientError, match="No space"):
            journey.ingest_offers(site, offered)
    assert rows(site, "select state, failures, transient_failures from logbox.batches") == [
        ("open", 0, 1)
    ]


# Readers


def test_reader_never_waits_a_second_for_loads_and_new_columns(site: Site) -> None:
    upload(site, "landing/acme/d1/0.ulg", ulog({"fix": ["a"]}, rows=50))
    journey.ingest_all(site)
    over = threading.Event()
    waits: list[float] = []

    def read(connection: Any) -> None:
        with connection, connection.cursor() as cursor:
            while not over.is_set():
                started = datetime.now(UTC)
                cursor.execute("select count(*), max(ts) from telemetry.ulog_fix")
                cursor.execute("select pg_sleep(0.05)")
                connection.commit()
                waits.append((datetime.now(UTC) - started).total_seconds())

    connections = [psycopg2.connect(site.settings.database_url) for _ in range(2)]
    readers = [threading.Thread(target=read, args=(each,)) for each in connections]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, 4):
            fields = ["a", *(f"new_{number}_{field}" for field in range(20))]
            upload(site, f"landing/acme/d1/{number}.ulg", ulog({"fix": fields}, 2_000, number))
            journey.ingest_all(site)
    finally:
        over.set()
        for reader in readers:
            reader.join()
        for connection in connections:
            connection.close()
    assert one(site, "select count(*) from telemetry.ulog_fix") == 6_050
    assert len(waits) > 20
    assert max(waits) < 1


def test_day_by_hand_finishes_what_is_unfinished_and_leaves_a_living_run_alone(
    site: Site,
) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    (batch,) = journey.tick(site).offered
    claim(site, batch.batch_id, 1, "living")
    upload(site, "landing/acme/d1/b.jsonl", jsonl("late"))
    journey.tick(with_settings(site, batch_wait_s=3_600))
    day = batch.received_on
    list(ingest_days(site, day, day, "by-hand"))
    assert deliveries(site) == {
        "acme/d1/a.jsonl": ("received", None),
        "acme/d1/b.jsonl": ("archived", None),
    }
    journey.change(site, "update logbox.batches set heartbeat_at = now() - interval '1 hour'")
    list(ingest_days(site, day, day, "by-hand"))
    assert set(deliveries(site).values()) == {("archived", None)}
    assert loaded_rows(site) == (3, 3)


def test_a_folder_for_temporary_files_that_is_named_too_long_says_so(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 90)
    deep.mkdir()
    code = "from logbox_pipeline.steps.parse_pool import make_ready; make_ready()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(deep)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "TransientError: cannot start the parsers' server" in done.stderr
    assert "set TMPDIR" in done.stderr


def test_what_is_new_is_parsed_while_it_is_archived_and_not_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(site, "landing/acme/d1/old.jsonl", jsonl("old"))
    journey.ingest_all(site)
    upload(site, "landing/acme/d1/again.jsonl", jsonl("old"))
    upload(site, "landing/acme/d1/wrapped.jsonl.gz", gzip.compress(jsonl("wrapped")))
    for name in ("new", "same"):
        upload(site, f"landing/acme/d1/{name}.jsonl", jsonl("new"))
    put_proven, parsing = archive_step.put_proven, parse_pool._parsing
    seen: list[str] = []
    scheduled: list[int] = []

    def waits_for_rows(of: Site, *more: Any) -> Any:
        deadline = time.monotonic() + 30
        while not (found := list(of.settings.scratch.glob("*/*.arrow"))):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        seen.extend(one.name for one in found)
        return put_proven(of, *more)

    def counted(settings: Settings) -> Any:
        def schedule(pool: Any, job: parse_pool.Job) -> Any:
            scheduled.append(job.size_bytes)
            return parsing(settings)(pool, job)

        return schedule

    monkeypatch.setattr(parse_step, "EARLY_BYTES", 0)
    monkeypatch.setattr(archive_step, "put_proven", waits_for_rows)
    monkeypatch.setattr(parse_pool, "_parsing", counted)
    journey.ingest_all(site)
    log = log_id("acme", hashlib.sha256(jsonl("new")).hexdigest())
    assert [name.endswith(f"-{log}.arrow") for name in set(seen)] == [True]
    assert scheduled == [len(jsonl("new")), len(jsonl("wrapped"))]
    assert sorted(
        message for (message,) in rows(site, "select message from logbox.log_events")
    ) == ["new", "old", "wrapped"]


def test_archive_that_fails_leaves_no_trace_of_what_was_parsed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    begun: list[parse_pool.Job] = []
    parsing_early = parse_step.parsing_early

    def noted(settings: Settings, jobs: Sequence[parse_pool.Job]) -> Any:
        begun.extend(jobs)
        return parsing_early(settings, jobs)

    def away(*_: Any) -> None:
        while not begun[0].rows.exists():
            time.sleep(0.01)
        raise TransientError("the archive is away")

    monkeypatch.setattr(parse_step, "EARLY_BYTES", 0)
    monkeypatch.setattr(parse_step, "parsing_early", noted)
    with monkeypatch.context() as patched:
        patched.setattr(archive_step, "put_proven", away)
        with pytest.raises(TransientError):
            journey.ingest_all(site)
    assert one(site, "select count(*) from logbox.logs") == 0
    assert not list(site.settings.scratch.iterdir())
    journey.change(site, "update logbox.batches set not_before = null")
    journey.ingest_all(site)
    assert rows(site, "select message from logbox.log_events") == [("a",)]
