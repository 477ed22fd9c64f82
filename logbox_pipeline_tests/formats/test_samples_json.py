"""Real JSON logs, where they are at hand: every object's rows, with what loggers say in columns."""

import json
from pathlib import Path
from typing import Any

import pytest

from logbox_pipeline_tests.formats.parsing import parse

SAMPLES = Path(__file__).parents[2] / ".." / "shared" / "samples"
EXPECTED: dict[str, dict[str, Any]] = (
    json.loads((SAMPLES / "expected.json").read_text())["files"]
    if (SAMPLES / "expected.json").exists()
    else {}
)
pytestmark = pytest.mark.skipif(not EXPECTED, reason=f"no sample logs in {SAMPLES}")

SEVERAL = {"jsonl/lnav_logfile_otel_collector.jsonl": 11}
"""Rows, where an object holds several records."""


def of_json(*, is_damaged: bool) -> list[Any]:
    return [
        path
        for path, expected in EXPECTED.items()
        if expected.get("format") == "jsonl" and path.startswith("corrupt/") == is_damaged
    ] or [pytest.param("", marks=pytest.mark.skip(reason="no sample logs"))]


@pytest.mark.parametrize("path", of_json(is_damaged=False))
def test_real_json_lines_give_a_row_per_record(path: str) -> None:
    expected = EXPECTED[path]
    parsed = parse((SAMPLES / path).read_bytes(), format_name="jsonl")
    assert len(parsed.events) == SEVERAL.get(path, expected["objects"])
    assert len(parsed.damages) == expected["unparseable"] + expected["non_object_json"]
    for event in parsed.events:
        json.loads(str(event["attributes"] or "{}"))
        assert event["ts"] is not None


@pytest.mark.parametrize("path", of_json(is_damaged=True))
def test_damaged_json_lines_give_every_object(path: str) -> None:
    expected = EXPECTED[path]
    parsed = parse((SAMPLES / path).read_bytes(), format_name="jsonl")
    assert len(parsed.events) >= expected["objects"]
    assert len(parsed.damages) == expected["unparseable"] + expected["non_object_json"]


@pytest.mark.parametrize(
    ("path", "levels", "sources"),
    [
        ("jsonl/lnav_logfile_bunyan.0", {6, 7}, {"renovate"}),
        ("jsonl/lnav_logfile_ecs_log.json", {2, 3, 4, 6, 7}, {"app"}),
        ("jsonl/lnav_logfile_journald.json", {1, 6}, {"python"}),
        ("jsonl/lnav_logfile_otel_collector.jsonl", {None, 2, 3, 4, 6, 7},
         {None, "minimal", "com.example.payment", "com.example.order", "com.example.test",
          "com.example.deploy"}),
    ],
)  # fmt: skip
def test_what_a_logger_says_stands_in_columns(
    path: str, levels: set[int | None], sources: set[str | None]
) -> None:
    if not (SAMPLES / path).exists():
        pytest.skip(f"no {path}")
    events = parse((SAMPLES / path).read_bytes(), format_name="jsonl").events
    assert {event["level"] for event in events} == levels
    assert {event["source"] for event in events} == sources
    assert all(event["message"] for event in events)


@pytest.mark.parametrize("path", of_json(is_damaged=False))
@pytest.mark.parametrize("indent", [None, 2])
def test_a_real_log_as_one_array_gives_the_same_rows(path: str, indent: int | None) -> None:
    lines = (SAMPLES / path).read_bytes().splitlines()
    objects = [value for line in lines if isinstance(value := _value(line), dict)]
    in_lines = parse(b"".join(json.dumps(one).encode() + b"\n" for one in objects))
    in_array = parse(json.dumps(objects, indent=indent).encode(), format_name="json")
    assert in_array.damages == []
    assert [_plain(e) for e in in_array.events] == [_plain(e) for e in in_lines.events]


def _value(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _plain(event: dict[str, object]) -> dict[str, object]:
    return {**event, "attributes": json.loads(str(event["attributes"] or "{}"))}
