"""Small files that ask for much: each ends with a recorded reason or its rows, within its CPU time
and memory, and what shares its batch is loaded."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from logbox_pipeline.adapters.catalog_retry import Choice
from logbox_pipeline.core import tables
from logbox_pipeline.steps import new_names
from logbox_pipeline.steps.agree import compare_recent
from logbox_pipeline.steps.budget import Budget
from logbox_pipeline.steps.parse_worker import ParsedLog, UnparsedLog, parse_log
from logbox_pipeline.steps.retry import retry
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT
from logbox_pipeline_tests.hostile import floods
from logbox_pipeline_tests.journey import deliveries, one, rows, upload, with_settings

PATIENCE_S = 15.0
"""CPU time of one flood, on a busy machine; the slowest takes two seconds."""


@dataclass(frozen=True)
class Ends:
    """How a flood ends. `events` and `topics`: how many come out; `damaged`: with a hole."""

    make: Callable[[], bytes]
    topics: int = 0
    events: int = 0
    is_damaged: bool = False
    unparsed: str | None = None


FLOODS = {
    "10,000 topics": Ends(floods.many_topics, topics=10_000),
    "65,535 formats": Ends(floods.many_formats, topics=1),
    "5,000 fields": Ends(floods.wide_topic, topics=1),
    "9,600 columns": Ends(lambda: floods.many_columns(2), topics=2),
    "a string of 4 GB": Ends(floods.long_string, events=3, is_damaged=True),
    "arrays of 2^31": Ends(floods.huge_arrays, events=3, is_damaged=True),
    "types that hold themselves": Ends(floods.recursive_types, topics=1, events=2, is_damaged=True),
    "types that double 40 times": Ends(floods.doubling_types, events=2, is_damaged=True),
    "types 5,000 deep": Ends(floods.deep_types, events=2, is_damaged=True),
    "long names times many": Ends(floods.long_nested_names, topics=1),
    "FMT of every type again": Ends(lambda: floods.dataflash_fmt_flood(10_000), topics=1),
    "beginnings of frames": Ends(floods.tlog_flood, unparsed="unknown_format"),
    "JSON 100,000 deep": Ends(floods.deep_json, events=4, is_damaged=True),
    "JSON of 300,000 members": Ends(lambda: floods.many_keys(300_000), events=3),
    "JSON of one long line": Ends(
        lambda: floods.one_long_line(100_000_000), events=3, is_damaged=True
    ),
    "JSON of huge numbers": Ends(floods.odd_numbers_and_keys, events=4),
    "CSV of 100,000 columns": Ends(floods.wide_csv, events=3),
    "CSV of many headers": Ends(floods.many_csv_headers, topics=1),
    "JSON of 20,000 shapes": Ends(floods.many_json_shapes, events=20_000),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_within_its_budget(name: str, tmp_path: Path) -> None:
    ends = FLOODS[name]
    path = tmp_path / "log"
    path.write_bytes(ends.make())
    size = path.stat().st_size
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    budget = Budget(60, 1024**3 + 4 * size)
    result = parse_log(path, tmp_path / "rows", RECEIVED_AT, budget)
    assert time.process_time() - started < PATIENCE_S
    more_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    assert more_mib < 600, more_mib
    if isinstance(result, UnparsedLog):
        assert result.reason == ends.unparsed
        return
    assert isinstance(result, ParsedLog)
    spooled = result.spooled
    assert (len(spooled.topics), spooled.events) == (ends.topics, ends.events)
    assert (spooled.damaged_ranges > 0) == ends.is_damaged
    # What is kept of names is small, whatever they were: the main process holds a batch of them.
    names = [column.source_name for topic in spooled.topics for column in topic.columns]
    longest = max((len(name.encode()) for name in names), default=0)
    assert longest <= tables.MAX_SOURCE_NAME_BYTES


def test_floods_of_one_client_are_contained_in_their_batch(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names within their limits, attributes that jsonb would not hold, tables left to others."""
    monkeypatch.setattr(new_names, "MOST_TOPICS", 60)
    monkeypatch.setattr(new_names, "MOST_COLUMNS", 3_000)
    site = with_settings(site, max_telemetry_tables=100)
    sent = {
        "alike.ulg": floods.alike_names(),
        "long.ulg": floods.long_names(),
        "many_topics.ulg": floods.many_topics(61),
        "many_columns.ulg": floods.wide_topic(3_001),
        "some_topics.ulg": floods.many_topics(40, "some"),
        "elements.jsonl": floods.many_elements(2_200_000),
        "keys.jsonl": floods.many_keys(20_000),
        "deep.jsonl": floods.deep_json(10_000),
        "numbers.jsonl": floods.odd_numbers_and_keys(),
        "wide.csv": floods.wide_csv(6_000),
    }
    for name, data in sent.items():
        upload(site, f"landing/acme/d1/{name}", data)
        # The same by another client, whose limits are its own: and each log of its own too.
        upload(site, f"landing/beta/d1/{name}", data)
    upload(site, "landing/beta/d2/good.ulg", journey.ulog({"fix": ["lat", "lon"]}))
    journey.ingest_all(site)

    assert rows(site, "select state, failures from logbox.batches") == [("finished", 0)]
    assert set(deliveries(site).values()) == {("archived", None)}
    unread = """
        select l.client, d.name, l.reason
        from logbox.logs l
        join logbox.deliveries d using (delivery_id)
        where l.state <> 'loaded'
        order by 1, 2
    """
    too_many = [
        (client, name, "too_many_names")
        for client in ("acme", "beta")
        for name in ("many_columns.ulg", "many_topics.ulg")
    ]
    wide = [(client, "wide.csv", "too_many_columns") for client in ("acme", "beta")]
    assert rows(site, unread) == sorted(too_many + wide)
    assert one(site, "select state from logbox.logs l where size_bytes < 400") == "loaded"
    _told_apart(site)
    _held(site)
    assert compare_recent(site).passed
    assert journey.untold(site) == []


def _told_apart(site: Site) -> None:
    """Names that differ have tables and columns of their own, the same for both clients."""
    named = """
        select topic, count(distinct table_name), count(*), count(distinct column_name)
        from logbox.telemetry_columns
        where format = 'ulog' and topic ilike 'a%%'
        group by topic
        order by topic
    """
    assert [row[1:] for row in rows(site, named)] == [(1, 8, 8)] * 5
    assert one(site, "select count(distinct lower(table_name)) = count(distinct table_name) "
                     "from logbox.telemetry_columns")  # fmt: skip
    topics = "select distinct topic from logbox.log_topics where octet_length(topic) > 900"
    assert len(rows(site, topics)) == 2


def _held(site: Site) -> None:
    """Attributes too long for jsonb to take apart stand there whole, as one string."""
    kinds = """
        select message, jsonb_typeof(attributes), count(*), min(length(attributes::text)) > 200000
        from logbox.log_events
        where message in ('elements', 'keys')
        group by 1, 2
        order by 1
    """
    assert rows(site, kinds) == [("elements", "string", 2, True), ("keys", "object", 2, True)]


def test_a_client_that_took_all_its_names_may_use_them(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_names, "MOST_TOPICS", 5)
    upload(site, "landing/acme/d1/1.ulg", journey.ulog({f"t{n}": ["x"] for n in range(5)}))
    journey.ingest_all(site)
    for number in range(2, 5):
        # Known names are no new ones, however many logs bring them.
        topics = {f"t{n}": ["x"] for n in range(5)} | {f"u{number}": ["x"]}
        upload(site, f"landing/acme/d1/{number}.ulg", journey.ulog(topics, seed=number))
    journey.ingest_all(site)
    assert rows(site, "select state, count(*) from logbox.logs group by 1") == [("loaded", 4)]


def test_a_topic_that_one_client_filled_is_still_read_for_the_others(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What all have of a topic stays readable, and small enough to be looked through each time."""
    monkeypatch.setattr(new_names, "MOST_COLUMNS_OF_TOPIC", 10)
    ordinary = ["lat", "lon", "alt"]
    upload(site, "landing/beta/d1/1.ulg", journey.ulog({"fix": ordinary}))
    journey.ingest_all(site)
    for number in range(4):
        made_up = {"fix": [f"made_up_{number}_{n}" for n in range(5)]}
        upload(site, f"landing/acme/d1/{number}.ulg", journey.ulog(made_up, seed=number))
    upload(site, "landing/beta/d1/2.ulg", journey.ulog({"fix": ordinary}, seed=9))
    journey.ingest_all(site)
    found = rows(site, "select client, state, count(*) from logbox.logs group by 1, 2")
    assert sorted(found) == [("acme", "loaded", 1), ("acme", "unparsed", 3), ("beta", "loaded", 2)]
    assert one(site, "select count(*) from logbox.telemetry_columns") == 8


def test_names_beyond_a_batchs_limit_are_read_by_a_retry(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_names, "MOST_TOPICS", 5)
    for number in range(2):
        topics = {f"{number}t{n}": ["x"] for n in range(4)}
        upload(site, f"landing/acme/d1/{number}.ulg", journey.ulog(topics, seed=number))
    journey.ingest_all(site)
    assert sorted(rows(site, "select state, reason from logbox.logs"), key=str) == [
        ("loaded", None),
        ("unparsed", "too_many_names"),
    ]

    assert len(retry(site, Choice(reason="too_many_names"), dry_run=False).files) == 1
    journey.ingest_all(site)
    assert rows(site, "select state, count(*) from logbox.logs group by 1") == [("loaded", 2)]
    assert compare_recent(site).passed


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a" * 1_000, "a" * 1_000),
        ("é" * 500, "é" * 500),
        ("a\0b", "a\ufffdb"),
    ],
)
def test_a_name_that_fits_is_kept(text: str, kept: str) -> None:
    assert tables.clean_name(text) == kept


@pytest.mark.parametrize("letter", ["a", "é", "日", "\U0001f681"])
def test_a_name_that_does_not_fit_is_cut_and_still_its_own(letter: str) -> None:
    one_, other = tables.clean_name(letter * 2_000 + "1"), tables.clean_name(letter * 2_000 + "2")
    assert one_ != other
    assert one_[:200] == other[:200] == letter * 200
    assert len(one_.encode()) <= tables.MAX_SOURCE_NAME_BYTES
    assert tables.clean_name(one_) == one_


def test_attributes_too_long_to_be_taken_apart_become_a_string() -> None:
    long = '{"a":[' + "0," * tables._LONGEST_JSON + "0]}"
    cleaned: list[Any] = tables.clean_json(pa.array(['{"a":1}', long, None])).to_pylist()
    assert cleaned[0] == '{"a":1}'
    assert cleaned[1] == '"' + long.replace('"', '\\"') + '"'
    assert cleaned[2] is None
