"""A log's format is known by its content, never by its name."""

import io

import pytest

from logbox_pipeline.formats.recognize import FORMATS, recognize
from logbox_pipeline.formats.stream import Limits, Unreadable
from logbox_pipeline.simulator.csv_writer import STYLES, write_csv
from logbox_pipeline.simulator.dji_app_writer import write_dji_app
from logbox_pipeline.simulator.jsonl_writer import write_jsonl
from logbox_pipeline.simulator.ulog_writer import write_ulog
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT, parse
from logbox_pipeline_tests.formats.small_logs import SMALL_LOGS


def name_of(data: bytes) -> str | None:
    recognized = recognize(memoryview(data), Limits(received_at=RECEIVED_AT))
    return recognized.format.name if recognized else None


def test_our_own_logs_are_recognized() -> None:
    ulog, jsonl = io.BytesIO(), io.BytesIO()
    write_ulog(ulog, seed=1, duration_s=1)
    write_jsonl(jsonl, seed=1, lines=100)
    assert name_of(ulog.getvalue()) == "ulog"
    assert name_of(jsonl.getvalue()) == "jsonl"


def test_our_own_tables_are_recognized() -> None:
    for style in STYLES:
        table = io.BytesIO()
        write_csv(table, seed=1, rows=30, style=style)
        assert name_of(table.getvalue()) == "csv"
    flight = io.BytesIO()
    write_dji_app(flight, seed=1, duration_s=3)
    assert name_of(flight.getvalue()) == "dji_app"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 5000,
        b"\x1f\x8b\x08\x00",
        b"PK\x03\x04",
        b"\xa3\x95\x80\x80",
    ],
)
def test_other_files_are_unknown(data: bytes) -> None:
    assert name_of(data) is None


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"plain text\nand more\n", "text"),
        (b"null\n", "text"),
        (b"{not json\n" * 10, "text"),
        (b"key=value\nother=2\n", "text"),
        (b"2026-11-24 09:00:00,123 INFO a, b\n2026-11-24 09:00:01,5 INFO c, d\n" * 9, "text"),
        (b"2026-11-24 09:00:00,123 - main - INFO - hello: world\n" * 9, "text"),
        (b"2026-11-24T09:00:00 INFO main: hello\n" * 9, "text"),
        (b"10%\r20%\rdone\r", "text"),
        ("только текст\n".encode("cp1251") * 9, "text"),
        ("text 1\r\n".encode("utf-16") * 1, "text"),
        (b"Nov 24 09:00:00 host app[1]: {json?}\n" * 30, "syslog"),
        (b"Nov 24 09:00:00 host app[1]: level=info msg=x a=1\n" * 30, "syslog"),
        (b"<34>1 - - - - - -\n", "syslog"),
        (b"level=info msg=logfmt\n", "logfmt"),
        (b"starting\n" + b'ts=1 level=info msg="a b"\n' * 9, "logfmt"),
    ],
)
def test_lines_of_text_are_known_by_most_of_them(data: bytes, name: str) -> None:
    assert name_of(data) == name


def test_json_lines_may_begin_badly() -> None:
    assert name_of(b'garbage\n\n{"a":1}\n{"a":2}\n{"a":3}\n') == "jsonl"
    assert name_of(b"\xef\xbb\xbf" + b'{"a":1}\n') == "jsonl"
    assert name_of(b"\0" * 64 + b'{"a":1}\n') == "jsonl"


def test_a_first_line_longer_than_the_head_is_still_json_lines() -> None:
    assert name_of(b'{"a":"' + b"x" * 200_000 + b'"}\n') == "jsonl"


def test_an_encrypted_ulog_is_known_and_unreadable() -> None:
    data = b"ULogEnc" + bytes(100)
    recognized = recognize(memoryview(data), Limits(received_at=RECEIVED_AT))
    assert recognized is not None
    (item,) = recognized.format.parse(memoryview(data), Limits(received_at=RECEIVED_AT))
    assert isinstance(item, Unreadable)
    assert item.reason == "encrypted"


def test_formats_have_names_of_their_own() -> None:
    assert len({known.name for known in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize("hole", [70_000, 200_000])
@pytest.mark.parametrize("kept", [0, 100])
@pytest.mark.parametrize("name", ["mavlink", "jsonl", "syslog", "text", "csv"])
def test_a_log_whose_beginning_was_zeroed_is_known_by_what_follows(
    name: str, kept: int, hole: int
) -> None:
    log = SMALL_LOGS[name].write(1) * 3
    data = log[:kept] + bytes(hole) + log[kept:]
    limits = Limits(received_at=RECEIVED_AT)
    recognized = recognize(memoryview(data), limits)
    assert recognized is not None
    assert recognized.format.name in (name, "text")
    parsed = parse(data)
    assert parsed.rows_total + len(parsed.events) >= 30
    assert sum(damage.end - damage.start for damage in parsed.damages) >= hole


def test_a_hole_with_nothing_behind_it_is_no_format() -> None:
    assert name_of(bytes(300_000)) is None
    assert name_of(b"\xff" * 300_000) is None
