"""Real telemetry logs, where they are at hand: what pymavlink reads in them is what comes out."""

from typing import Any

import pytest

from logbox_pipeline_tests.formats.mavlink_oracle import assert_holds_pymavlink
from logbox_pipeline_tests.formats.parsing import Parsed, parse
from logbox_pipeline_tests.formats.test_samples import EXPECTED, SAMPLES, of_format

pytestmark = pytest.mark.skipif(not EXPECTED, reason=f"no sample logs in {SAMPLES}")


def _read(path: str) -> tuple[Parsed, dict[str, Any], bytes]:
    data = (SAMPLES / path).read_bytes()
    return parse(data, format_name="mavlink"), EXPECTED[path], data


def _rows_by_topic(parsed: Parsed) -> dict[str, int]:
    rows: dict[str, int] = {}
    for (topic, _), table in parsed.rows.items():
        rows[topic] = rows.get(topic, 0) + table.num_rows
    return rows


@pytest.mark.parametrize("path", of_format("tlog", is_damaged=False))
def test_a_real_tlog_gives_what_pymavlink_reads(path: str) -> None:
    """And what it calls BAD_DATA: frames that QGroundControl shortened after their checksum."""
    parsed, expected, data = _read(path)
    assert_holds_pymavlink(data, parsed)
    rows = _rows_by_topic(parsed)
    restored = int(parsed.about.info["frames_restored"])
    assert restored == expected["bad_data"]
    assert sum(rows.values()) == parsed.rows_total == expected["rows_total"]
    assert parsed.damages == []
    for topic, count in expected["rows"].items():
        if topic != "BAD_DATA":
            assert count <= rows[topic] <= count + restored
    assert parsed.about.recorded_from.timestamp() == pytest.approx(expected["first_unix_s"])
    assert parsed.about.recorded_to.timestamp() == pytest.approx(expected["last_unix_s"])


@pytest.mark.parametrize("path", of_format("tlog", is_damaged=True))
def test_a_damaged_tlog_gives_at_least_what_pymavlink_reads(path: str) -> None:
    parsed, expected, data = _read(path)
    assert_holds_pymavlink(data, parsed)
    rows = _rows_by_topic(parsed)
    for topic, count in expected["rows"].items():
        assert topic == "BAD_DATA" or rows[topic] >= count
    assert parsed.damages
    assert sum(damage.end - damage.start for damage in parsed.damages) < 400


@pytest.mark.parametrize(
    "path", [*of_format("tlog", is_damaged=False), *of_format("tlog", is_damaged=True)]
)
def test_a_real_tlog_names_its_vehicle_and_its_texts(path: str) -> None:
    parsed, expected, _ = _read(path)
    texts = [(e["level"], e["message"]) for e in parsed.events if e["source"] == "mavlink.1/1"]
    first = [tuple(text) for text in expected["statustext_first"]]
    assert texts[: len(first)] == first
    assert len(texts) == expected["statustext"]
    assert parsed.about.firmware == first[0][1]
    assert parsed.about.vehicle_uid == "e2b5e5db604543deab373d50adc66fa2"
    assert parsed.about.time_source == "gcs"
    named = {p["name"]: p["value"] for p in parsed.parameters if p["kind"] == "initial"}
    assert named["SYSID_THISMAV"] == 1
    assert len(named) > 880
