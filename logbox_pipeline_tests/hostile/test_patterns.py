"""No pattern over an attacker's text takes more time than its length: long lines of one piece, for
every format that reads text."""

import time
from collections.abc import Iterator

import pytest

from logbox_pipeline.formats.recognize import FORMATS, recognize
from logbox_pipeline.formats.stream import Limits
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT

PIECES = (
    b"1", b" ", b"\t", b":", b"-", b"[", b"]", b"=", b'"', b"'", b"\\", b",", b";", b"|", b"{",
    b"(",
    b"a", b"a=", b'a="', b'a="\\', b"1:", b"1-", b"[1", b"<1>", b"<34>1 ", b"a.", b"a: ", b"at ",
    b"2026-11-24", b"2026-11-24T09:00:00", b"Nov 24 09:00:00 ", b"[INFO] ", b"ERROR:", b"\x1b[",
    b"\x1b[1;", b"\x1b]0;", b"\xc3\xa9", b"\xff", b"\r", b"\\u", b'\\"', b'""', b'"a",', b"#",
    b"0x",
    b"1e", b"-1.5e", b"1,", b"nan,", b'k="v" ', b'{"a":', b'[{"a":1},', b"FMT, ", b"%", b"a | ",
    b'File "', b"kern  :err   : [   1.0] ",
)  # fmt: skip

BEGINNINGS = {
    "nothing": b"",
    "jsonl": b'{"msg":"a"}\n',
    "csv": b"a,b,c\n1,2,3\n",
    "syslog": b"<34>1 2026-11-24T09:00:00Z host app 1 - - hi\n",
    "text": b"2026-11-24 09:00:00 INFO hi\n",
    "logfmt": b"time=2026-11-24T09:00:00Z level=info msg=hi\n",
    "dataflash": b"FMT, 128, 89, FMT, BBnNZ, Type,Length,Name,Format,Columns\n",
}

SIZE_BYTES = 12_000
PATIENCE_S = 0.5
"""CPU time of one case. The slowest linear one takes 1.3 us a byte, so 20 ms; what takes time by
the square of its length would take ten seconds and more."""

TEXTUAL = ("json", "jsonl", "journal", "logfmt", "syslog", "csv", "text", "dataflash", "dji_app")


def cases(beginning: bytes) -> Iterator[bytes]:
    for piece in PIECES:
        yield beginning * 10 + piece * (SIZE_BYTES // len(piece))
        yield beginning * 10 + (piece * (1_000 // len(piece)) + b"\n") * (SIZE_BYTES // 1_000)


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS.keys())
def test_lines_of_one_piece_take_time_by_their_length(beginning: bytes) -> None:
    for data in cases(beginning):
        started = time.process_time()
        found = recognize(memoryview(data), Limits(RECEIVED_AT))
        for _ in found.format.parse(memoryview(data), Limits(RECEIVED_AT)) if found else ():
            pass
        took = time.process_time() - started
        assert took < PATIENCE_S, (took, data[-40:], found)


@pytest.mark.parametrize("name", TEXTUAL)
def test_a_parser_that_gets_what_is_not_its_own_takes_time_by_its_length(name: str) -> None:
    (known,) = [each for each in FORMATS if each.name == name]
    for piece in PIECES:
        data = memoryview(piece * (SIZE_BYTES // len(piece)))
        started = time.process_time()
        for _ in known.parse(data, Limits(RECEIVED_AT)):
            pass
        took = time.process_time() - started
        assert took < PATIENCE_S, (took, piece)
