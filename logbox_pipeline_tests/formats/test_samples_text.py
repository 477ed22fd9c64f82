"""Real logs of lines, where they are at hand: every line is in a row, and times are as lnav's."""

import json
from datetime import UTC, datetime

import pytest

from logbox_pipeline_tests.formats.parsing import Parsed, parse
from logbox_pipeline_tests.formats.test_samples import EXPECTED, SAMPLES

pytestmark = pytest.mark.skipif(not EXPECTED, reason=f"no sample logs in {SAMPLES}")
ENTRIES = {
    "text/lnav_logfile_crlf.0": ("text", 2),
    "text/lnav_logfile_glog.0": ("text", 7),
    "text/lnav_logfile_invalid_utf8.0": ("text", 1),
    "text/lnav_logfile_multiline.0": ("text", 2),
    "text/lnav_logfile_syslog.0": ("syslog", 4),
    "text/lnav_logfile_rollover.2": ("syslog", 375),
    "text/lnav_logfile_with_zones.0": ("syslog", 3),
    "text/elastic_auth.log": ("syslog", 7121),
    "logfmt/lnav_logfile_logfmt.0": ("logfmt", 5),
}


def sample(path: str) -> Parsed:
    return parse((SAMPLES / path).read_bytes(), format_name=ENTRIES[path][0])


@pytest.mark.parametrize("path", ENTRIES)
def test_a_real_log_gives_every_entry_with_its_time(path: str) -> None:
    parsed = sample(path)
    assert len(parsed.events) == ENTRIES[path][1]
    assert parsed.damages == []
    assert all(event["ts"] is not None for event in parsed.events)
    for event in parsed.events:
        json.loads(str(event["attributes"] or "{}"))


def test_zones_put_the_lines_into_the_same_second() -> None:
    stamps = [event["ts"] for event in sample("text/lnav_logfile_with_zones.0").events]
    assert {str(stamp)[:19] for stamp in stamps} == {"2022-08-27 14:22:01"}


def test_every_february_follows_its_november() -> None:
    stamps = [event["ts"] for event in sample("text/lnav_logfile_rollover.2").events]
    assert {(stamp.year, stamp.month) for stamp in stamps} == {(2025, 11), (2026, 2)}  # type: ignore[attr-defined]


def test_continued_lines_are_in_the_message() -> None:
    (first, second) = sample("text/lnav_logfile_multiline.0").events
    assert first["message"] == "Hello, World!\n  How are you today?"
    assert first["ts"] == datetime(2009, 7, 20, 22, 59, 27, 672000, tzinfo=UTC)
    assert (second["level"], second["message"]) == (3, "Goodbye, World!")
