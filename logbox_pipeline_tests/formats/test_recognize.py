"""A log's format is known by its content, never by its name."""

import io

import pytest

from logbox_pipeline.formats.recognize import FORMATS, recognize
from logbox_pipeline.formats.stream import Limits, Unreadable
from logbox_pipeline.simulator.jsonl_writer import write_jsonl
from logbox_pipeline.simulator.ulog_writer import write_ulog
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT


def name_of(data: bytes, size: int | None = None) -> str | None:
    known = recognize(memoryview(data), len(data) if size is None else size)
    return known.name if known else None


def test_our_own_logs_are_recognized() -> None:
    ulog, jsonl = io.BytesIO(), io.BytesIO()
    write_ulog(ulog, seed=1, duration_s=1)
    write_jsonl(jsonl, seed=1, lines=100)
    assert name_of(ulog.getvalue()) == "ulog"
    assert name_of(jsonl.getvalue()) == "jsonl"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 5000,
        b"plain text\nand more\n",
        b"a,b,c\n1,2,3\n",
        b"Nov 24 09:00:00 host app[1]: {json?}\n" * 30,
        b"[1,2,3]\n",
        b"null\n",
        b"{not json\n" * 10,
        b"\x1f\x8b\x08\x00",
        b"PK\x03\x04",
        b"\xa3\x95\x80\x80",
        b"level=info msg=logfmt\n",
    ],
)
def test_other_files_are_unknown(data: bytes) -> None:
    assert name_of(data) is None


def test_json_lines_may_begin_badly() -> None:
    assert name_of(b'garbage\n\n{"a":1}\n{"a":2}\n{"a":3}\n') == "jsonl"
    assert name_of(b"\xef\xbb\xbf" + b'{"a":1}\n') == "jsonl"
    assert name_of(b"\0" * 64 + b'{"a":1}\n') == "jsonl"


def test_a_first_line_longer_than_the_head_is_still_json_lines() -> None:
    assert name_of(b'{"a":"' + b"x" * 70_000, size=200_000) == "jsonl"


def test_an_encrypted_ulog_is_known_and_unreadable() -> None:
    data = b"ULogEnc" + bytes(100)
    known = recognize(memoryview(data), len(data))
    assert known is not None
    (item,) = known.parse(memoryview(data), Limits(received_at=RECEIVED_AT))
    assert isinstance(item, Unreadable)
    assert item.reason == "encrypted"


def test_formats_have_names_of_their_own() -> None:
    assert len({known.name for known in FORMATS}) == len(FORMATS)
