"""Growing logs: only the longest has rows, whichever comes first, in Postgres and in the lake."""

import gzip
import hashlib
import itertools
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from logbox_pipeline.adapters.catalog_retry import Choice
from logbox_pipeline.core.batching import RunSeen, RunState
from logbox_pipeline.core.digest import log_id
from logbox_pipeline.core.errors import TransientError
from logbox_pipeline.steps import lake
from logbox_pipeline.steps import parse as parse_step
from logbox_pipeline.steps.agree import compare_recent
from logbox_pipeline.steps.archive import archive
from logbox_pipeline.steps.attempt import claim
from logbox_pipeline.steps.ingest import ingest_offered
from logbox_pipeline.steps.lake import LakeReport
from logbox_pipeline.steps.load import load
from logbox_pipeline.steps.parse import parse
from logbox_pipeline.steps.parse_worker import UnparsedLog
from logbox_pipeline.steps.retry import retry
from logbox_pipeline.steps.settle import sweep_lake
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.trace import trace
from logbox_pipeline.steps.verify import verify
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.formats.test_wrappers import zipped, zstd
from logbox_pipeline_tests.journey import jsonl, one, rows, ulog, upload, with_settings
from logbox_pipeline_tests.run_batch import start_run

TOPICS = {"fix": ["x", "y"], "power": ["v"]}
# A writer appends: the shorter log is a beginning of the longer one.
SHORT, MIDDLE, LONG = (ulog(TOPICS, rows=count) for count in (3, 30, 300))
OTHER = ulog(TOPICS, rows=5, seed=99)
STATES = "select content_sha256, state, superseded_by::text from logbox.logs"


@pytest.fixture(autouse=True)
def _writer_appends() -> None:
    assert MIDDLE.startswith(SHORT)
    assert LONG.startswith(MIDDLE)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def fix_rows(site: Site) -> tuple[int, int]:
    """Rows of telemetry.ulog_fix in Postgres and, once the grace is over, in the lake."""
    sweep_lake(with_settings(site, lake_grace_s=0))
    found = journey.snapshot(site)
    return len(found["postgres"]["ulog_fix"]), len(found["lake"]["ulog_fix"])


def have_rows(site: Site) -> set[str]:
    """Digests of logs with any row, wherever; the same in Postgres and the lake."""
    sweep_lake(with_settings(site, lake_grace_s=0))
    known = dict(rows(site, "select log_id::text, content_sha256 from logbox.logs"))
    found = journey.snapshot(site)
    said = {
        place: {
            known[log]
            for name, lines in found[place].items()
            if name in ("log_events", "log_parameters", "log_topics") or name.startswith("ulog_")
            for log in known
            if any(log in line for line in lines)
        }
        for place in ("postgres", "lake")
    }
    assert said["postgres"] == said["lake"]
    return said["lake"]


def is_settled(site: Site, *expected: bytes) -> bool:
    """Whether exactly these logs have rows, and nothing is left open."""
    assert have_rows(site) == {digest(data) for data in expected}
    loaded = rows(site, "select content_sha256 from logbox.logs where state = 'loaded'")
    assert {sha256 for (sha256,) in loaded} == {digest(data) for data in expected}
    assert compare_recent(site).passed
    assert journey.keys_in(site.landing) == []
    return set(rows(site, "select state, failures from logbox.batches")) == {("finished", 0)}


def ingest_each(site: Site, uploads: Sequence[tuple[str, bytes]]) -> None:
    for name, data in uploads:
        upload(site, f"landing/acme/d1/{name}", data)
        journey.ingest_all(site)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_only_the_longest_has_rows_in_whatever_order_they_come(
    site: Site, order: tuple[int, ...]
) -> None:
    logs = [SHORT, MIDDLE, LONG]
    ingest_each(site, [(f"{number}.ulg", logs[number]) for number in order])
    assert fix_rows(site) == (300, 300)
    assert is_settled(site, LONG)
    states = {sha256: (state, by) for sha256, state, by in rows(site, STATES)}
    assert states[digest(LONG)] == ("loaded", None)
    for each in (SHORT, MIDDLE):
        assert states[digest(each)][0] == "archived"
        assert states[digest(each)][1] is not None
    assert one(site, "select count(*) from logbox.objects where archived_at is not null") == 3


def test_a_whole_series_in_one_batch_parses_the_last_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []
    begun: list[int] = []
    parse_all, parsing_early = parse_step.parse_all, parse_step.parsing_early

    def counted(settings: Any, jobs: Any, early: Any = None) -> Any:
        parsed.extend(job.size_bytes for job in jobs)
        return parse_all(settings, jobs, early)

    def counted_early(settings: Any, jobs: Any) -> Any:
        begun.extend(job.size_bytes for job in jobs)
        return parsing_early(settings, jobs)

    monkeypatch.setattr(parse_step, "parse_all", counted)
    monkeypatch.setattr(parse_step, "parsing_early", counted_early)
    monkeypatch.setattr(parse_step, "EARLY_BYTES", 0)
    for count in range(1, 12):
        upload(site, f"landing/acme/d1/{count}.ulg", ulog(TOPICS, rows=count))
    upload(site, "landing/acme/d1/other.ulg", OTHER)
    journey.ingest_all(site)
    assert sorted(parsed) == sorted([len(ulog(TOPICS, rows=11)), len(OTHER)])
    assert sorted(begun) == sorted(parsed)
    assert is_settled(site, ulog(TOPICS, rows=11), OTHER)


def test_growth_is_seen_through_wrappers(site: Site) -> None:
    ingest_each(
        site,
        [
            ("a.ulg.gz", gzip.compress(SHORT)),
            ("b.zip", zipped([("x/long.ulg", LONG), ("o.ulg", OTHER)])),
            ("c.ulg.zst", zstd(MIDDLE)),
        ],
    )
    assert is_settled(site, LONG, OTHER)


def test_neighbours_in_the_same_files_keep_their_rows(site: Site) -> None:
    text = jsonl("one", "two", "three")
    for name, data in (("s.ulg", SHORT), ("o.ulg", OTHER), ("t.jsonl", text)):
        upload(site, f"landing/acme/d1/{name}", data)
    upload(site, "landing/beta/d1/s.ulg", SHORT)
    journey.ingest_all(site)
    before = journey.snapshot(site)["lake"]
    ingest_each(site, [("l.ulg", LONG)])
    replaced = "select count(*) from logbox.lake_files where state = 'replaced'"
    assert one(site, replaced) == 3  # log_events, ulog_fix, ulog_power
    after = journey.snapshot(site)["lake"]
    kept = [line for line in before["ulog_fix"] if str(log_id("acme", digest(SHORT))) not in line]
    assert len(kept) == 5 + 3
    assert fix_rows(site) == (5 + 3 + 300, 5 + 3 + 300)
    assert one(site, replaced) == 0
    assert set(kept) <= set(after["ulog_fix"])
    assert rows(site, "select count(*) from logbox.logs where state = 'loaded'") == [(4,)]
    assert compare_recent(site).passed


def test_replaced_files_stay_for_the_grace(site: Site) -> None:
    ingest_each(site, [("s.ulg", SHORT), ("l.ulg", LONG)])
    before = set(journey.keys_in(site.lake))
    live = {
        key for (key,) in rows(site, "select lake_key from logbox.lake_files where state = 'live'")
    }
    assert live < before
    assert sweep_lake(site) == 0
    assert sweep_lake(with_settings(site, lake_grace_s=0)) == len(before - live)
    assert set(journey.keys_in(site.lake)) == live


def test_other_vehicles_clients_and_beginnings_are_left_alone(site: Site) -> None:
    upload(site, "landing/acme/d1/a.ulg", SHORT)
    upload(site, "landing/acme/d2/b.ulg", MIDDLE)
    upload(site, "landing/beta/d1/c.ulg", LONG)
    upload(site, "landing/acme/d1/d.ulg", SHORT[:-1] + b"\xff" + LONG[len(SHORT) :])
    journey.ingest_all(site)
    assert one(site, "select count(*) from logbox.logs where state = 'loaded'") == 4


def test_equal_heads_and_marks_are_no_proof(site: Site) -> None:
    """Logs that differ where neither head nor marks look."""
    base = jsonl(*(f"line {n:06}" for n in range(2_000)))
    other = base[:30_000].replace(b"line 000100", b"LINE 000100") + base[30_000:]
    ingest_each(site, [("a.jsonl", base[: base.rindex(b"\n", 0, 40_000) + 1]), ("b.jsonl", other)])
    assert one(site, "select count(*) from logbox.logs where state = 'loaded'") == 2
    assert one(site, "select count(*) from logbox.logs where superseded_by is not null") == 0


@pytest.mark.parametrize("first", [0, 1])
def test_tiny_logs_grow_too(site: Site, first: int) -> None:
    logs = [b'{"msg":"a"}\n', b'{"msg":"a"}\n{"msg":"b"}\n' + jsonl(*"cdefgh")]
    ingest_each(site, [("x", logs[first]), ("y", logs[1 - first])])
    assert is_settled(site, logs[1])


def test_empty_log_is_nobodys_beginning(site: Site) -> None:
    ingest_each(site, [("a.gz", gzip.compress(b"")), ("b", jsonl("x"))])
    assert sorted(rows(site, "select state, superseded_by from logbox.logs"), key=str) == [
        ("loaded", None),
        ("unparsed", None),
    ]


def test_longer_log_that_cannot_be_read_takes_no_rows_away(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse_all = parse_step.parse_all

    def fails_on_long(settings: Any, jobs: Any, early: Any = None) -> Any:
        for job, result in zip(jobs, parse_all(settings, jobs, early), strict=True):
            is_it = job.size_bytes == len(LONG)
            yield UnparsedLog("parser_timeout", "a busy machine") if is_it else result

    monkeypatch.setattr(parse_step, "parse_all", fails_on_long)
    ingest_each(site, [("s.ulg", SHORT)])
    upload(site, "landing/acme/d1/m.ulg", MIDDLE)
    upload(site, "landing/acme/d1/l.ulg", LONG)
    journey.ingest_all(site)
    assert have_rows(site) == {digest(MIDDLE)}
    monkeypatch.undo()
    assert len(retry(site, Choice(reason="parser_timeout")).files) == 1
    journey.ingest_all(site)
    assert is_settled(site, LONG)


def test_unread_beginning_gives_way_and_is_no_open_matter(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unread(settings: Any, jobs: Any, early: Any = None) -> Any:
        return iter([UnparsedLog("parser_timeout", "a busy machine")] * len(jobs))

    with monkeypatch.context() as patched:
        patched.setattr(parse_step, "parse_all", unread)
        ingest_each(site, [("s.ulg", SHORT)])
    ingest_each(site, [("l.ulg", LONG)])
    assert is_settled(site, LONG)
    assert retry(site, Choice()).files == ()
    (told,) = trace(site, "s.ulg").deliveries
    assert ("superseded" in [hop.hop for hop in told.hops]) is True


def test_superseded_log_delivered_again_is_a_duplicate(site: Site) -> None:
    ingest_each(site, [("s.ulg", SHORT), ("l.ulg", LONG), ("again.ulg", SHORT)])
    assert journey.states(site) == [("archived", ""), ("archived", ""), ("duplicate", "")]
    assert is_settled(site, LONG)


# Two at once


def prepared(site: Site, run_key: str) -> Any:
    """A batch parsed and put, not yet loaded: (its claim, what was parsed)."""
    batch_id, _, attempt = run_key.partition(":")
    held = claim(site, batch_id, int(attempt), f"run-{run_key}")
    verify(site, held)
    archive(site, held)
    return held, parse(site, held)


@pytest.mark.parametrize("is_longer_loaded_first", [True, False])
def test_batches_that_missed_each_other_find_out_before_they_commit(
    site: Site, *, is_longer_loaded_first: bool
) -> None:
    single = with_settings(site, batch_files=1)
    upload(site, "landing/acme/d1/s.ulg", SHORT)
    upload(site, "landing/acme/d1/l.ulg", LONG)
    both = [prepared(site, batch.run_key) for batch in journey.tick(single).offered]
    both.sort(key=lambda one: one[1].read[0].log.size_bytes, reverse=is_longer_loaded_first)
    refused = []
    for held, parsed in both:
        try:
            load(site, held, parsed)
        except TransientError as error:
            refused.append(str(error))
    # The longer one alone may find out, or whichever comes second.
    assert len(refused) == 1
    assert "another batch" in refused[0]
    journey.change(site, "update logbox.batches set heartbeat_at = heartbeat_at - interval '2 min'")
    ended = {f"{held.batch_id}:{held.attempt}": RunSeen(RunState.ENDED) for held, _ in both}
    journey.tick(site, ended)
    journey.change(site, "update logbox.batches set not_before = null, failures = 0")
    journey.ingest_all(site)
    assert is_settled(site, LONG)


def test_two_batches_that_rewrite_the_same_file_do_not_lose_a_row(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_long = ulog(TOPICS, rows=50, seed=99)
    upload(site, "landing/acme/d1/s.ulg", SHORT)
    upload(site, "landing/acme/d2/o.ulg", OTHER)
    upload(site, "landing/acme/d3/x.ulg", ulog(TOPICS, rows=7, seed=5))
    journey.ingest_all(site)
    single = with_settings(site, batch_files=1)
    upload(site, "landing/acme/d1/l.ulg", LONG)
    upload(site, "landing/acme/d2/ol.ulg", other_long)
    (first, first_parsed), (second, second_parsed) = (
        prepared(site, batch.run_key) for batch in journey.tick(single).offered
    )
    put = lake.put

    def other_commits_meanwhile(*arguments: Any) -> LakeReport:
        stored = put(*arguments)
        monkeypatch.setattr(lake, "put", put)
        load(site, first, first_parsed)
        return stored

    monkeypatch.setattr(lake, "put", other_commits_meanwhile)
    with pytest.raises(TransientError, match="replaced by another batch"):
        load(site, second, second_parsed)
    journey.change(site, "update logbox.batches set heartbeat_at = heartbeat_at - interval '2 min'")
    ended = {f"{one.batch_id}:{one.attempt}": RunSeen(RunState.ENDED) for one in (first, second)}
    journey.tick(site, ended)
    journey.change(site, "update logbox.batches set not_before = null, failures = 0")
    journey.ingest_all(site)
    assert is_settled(site, LONG, other_long, ulog(TOPICS, rows=7, seed=5))


def test_runs_at_once_end_with_the_longest(site: Site) -> None:
    single = with_settings(site, batch_files=1)
    for number, count in enumerate((3, 30, 7, 15)):
        upload(site, f"landing/acme/d1/{number}.ulg", ulog(TOPICS, rows=count))
    offered = journey.tick(single).offered

    def run(run_key: str) -> None:
        try:
            list(ingest_offered(single, run_key, run_key))
        except TransientError:
            journey.change(site, "update logbox.batches set not_before = null")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(run, [batch.run_key for batch in offered]))
    for _ in range(4):
        for batch in journey.tick(single).offered:
            run(batch.run_key)
    assert is_settled(site, MIDDLE)


# Killed


@pytest.mark.parametrize(
    "failpoint",
    ["after_ownership", "after_planned", "after_parquet_put", "before_commit", "after_commit"],
)
def test_killed_run_that_supersedes_ends_as_a_clean_one(site: Site, failpoint: str) -> None:
    upload(site, "landing/acme/d1/s.ulg", SHORT)
    upload(site, "landing/acme/d1/o.ulg", OTHER)
    journey.ingest_all(site)
    upload(site, "landing/acme/d1/l.ulg", LONG)
    (batch,) = journey.tick(site).offered
    run = start_run(journey.dying_at(site.settings, failpoint), batch.run_key, "x")
    run.join(60)
    assert run.exitcode == -signal.SIGKILL
    if failpoint != "after_commit":
        # Nothing counts yet.
        loaded = rows(site, "select content_sha256 from logbox.logs where state = 'loaded'")
        assert {sha256 for (sha256,) in loaded} == {digest(SHORT), digest(OTHER)}
    journey.change(site, "update logbox.batches set heartbeat_at = heartbeat_at - interval '2 min'")
    journey.tick(site, {batch.run_key: RunSeen(RunState.ENDED)})
    journey.ingest_all(site)
    journey.change(site, "update logbox.batches set failures = 0")
    assert fix_rows(site) == (305, 305)
    assert is_settled(site, LONG, OTHER)


def test_outcome_tells_what_gave_way(site: Site) -> None:
    ingest_each(site, [("s.ulg", SHORT), ("l.ulg", LONG)])
    by = str(log_id("acme", digest(LONG)))
    (gone,) = [
        row
        for (kind, _), row in journey.told(site).items()
        if kind == "log" and row["superseded_by"] == by
    ]
    assert gone["content_sha256"] == digest(SHORT)


def test_large_logs_are_told_apart_by_their_marks(site: Site) -> None:
    lines = [f"{n} {os.urandom(20).hex()}" for n in range(5_000)]
    short, long = jsonl(*lines[:3_000]), jsonl(*lines)
    ingest_each(site, [("l.jsonl", long), ("s.jsonl", short)])
    assert one(site, "select min(cardinality(marks)) from logbox.logs") == 2
    assert is_settled(site, long)
