"""Real logs, where they are at hand: what reference parsers read in them is what comes out."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from logbox_pipeline_tests.formats.parsing import assert_equals_pyulog, parse

SAMPLES = Path(__file__).parents[2] / ".." / "shared" / "samples"
EXPECTED: dict[str, dict[str, Any]] = (
    json.loads((SAMPLES / "expected.json").read_text())["files"]
    if (SAMPLES / "expected.json").exists()
    else {}
)
pytestmark = pytest.mark.skipif(not EXPECTED, reason=f"no sample logs in {SAMPLES}")


def of_format(name: str, *, is_damaged: bool) -> list[str]:
    return [
        path
        for path, expected in EXPECTED.items()
        if expected.get("format") == name and path.startswith("corrupt/") == is_damaged
    ] or [pytest.param("", marks=pytest.mark.skip(reason="no sample logs"))]


@pytest.mark.parametrize("path", of_format("ulog", is_damaged=False))
def test_a_real_ulog_gives_what_pyulog_reads(path: str) -> None:
    data, expected = (SAMPLES / path).read_bytes(), EXPECTED[path]
    parsed = parse(data, format_name="ulog")
    assert_equals_pyulog(data, parsed)
    assert parsed.rows_total == expected["rows_total"]
    for topic in expected["topics"]:
        table = parsed.rows[topic["name"], topic["multi_id"]]
        stamps = table["t_boot_us"].to_numpy().astype(np.uint64)
        assert hashlib.sha256(stamps.tobytes()).hexdigest() == topic["ts_sha256"]
    kinds = [parameter["kind"] for parameter in parsed.parameters]
    assert kinds.count("initial") == expected["initial_params"]
    assert kinds.count("changed") == expected["changed_params"]
    sources = [str(event["source"]) for event in parsed.events]
    assert sources.count("ulog") == expected["logged_messages"]
    assert sum(s.startswith("tag_") for s in sources) == expected["logged_messages_tagged"]
    assert sources.count("logbox.dropout") == expected["dropouts"]
    assert parsed.about.vehicle_uid == expected["vehicle_uuid"]
    assert (parsed.about.time_source == "gps") == bool(expected["gps_utc"])
    assert parsed.damages == []


@pytest.mark.parametrize("path", of_format("ulog", is_damaged=True))
def test_a_damaged_ulog_gives_at_least_what_pyulog_reads(path: str) -> None:
    expected = EXPECTED[path]
    parsed = parse((SAMPLES / path).read_bytes(), format_name="ulog")
    for topic in expected["topics"]:
        assert parsed.rows[topic["name"], topic["multi_id"]].num_rows >= topic["rows"]
    assert len(parsed.events) >= expected["logged_messages"] + expected["dropouts"]
    assert parsed.about.vehicle_uid == expected["vehicle_uuid"]
    assert parsed.damages
