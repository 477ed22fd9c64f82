"""Real ArduPilot logs, where they are at hand: what pymavlink reads in them is what comes out."""

import pytest

from logbox_pipeline_tests.formats.dataflash_oracle import assert_equals_pymavlink, rows_by_topic
from logbox_pipeline_tests.formats.parsing import parse
from logbox_pipeline_tests.formats.test_samples import EXPECTED, SAMPLES, of_format

pytestmark = pytest.mark.skipif(not EXPECTED, reason=f"no sample logs in {SAMPLES}")


@pytest.mark.parametrize("path", of_format("dataflash", is_damaged=False))
def test_a_real_log_gives_what_pymavlink_reads(path: str) -> None:
    data, expected = (SAMPLES / path).read_bytes(), EXPECTED[path]
    parsed = parse(data, format_name="dataflash")
    assert_equals_pymavlink(data, parsed, is_text=False)
    assert rows_by_topic(parsed) == expected["rows"]
    assert parsed.rows_total == expected["rows_total"]
    assert [e["source"] for e in parsed.events].count("dataflash") == expected["n_msg"]
    fix = expected["first_gps_fix"]
    assert (parsed.about.time_source == "gps") == bool(fix)
    if fix:
        at_us = parsed.about.recorded_from.timestamp() - expected["pymavlink_first_ts"]
        assert abs(at_us) < 0.1
    assert parsed.damages == []


@pytest.mark.parametrize("path", of_format("dataflash_text", is_damaged=False))
def test_a_real_text_log_gives_what_pymavlink_reads(path: str) -> None:
    data, expected = (SAMPLES / path).read_bytes(), EXPECTED[path]
    parsed = parse(data, format_name="dataflash")
    assert_equals_pymavlink(data, parsed, is_text=True)
    assert all(rows_by_topic(parsed)[topic] >= rows for topic, rows in expected["rows"].items())
    assert [e["source"] for e in parsed.events].count("dataflash") == expected["n_msg"]
    assert parsed.damages == []


@pytest.mark.parametrize("path", of_format("dataflash", is_damaged=True))
def test_a_damaged_log_gives_at_least_what_pymavlink_reads(path: str) -> None:
    parsed, expected = parse((SAMPLES / path).read_bytes()), EXPECTED[path]
    found = rows_by_topic(parsed)
    assert all(found[topic] >= rows for topic, rows in expected["rows"].items())
    assert parsed.damages
