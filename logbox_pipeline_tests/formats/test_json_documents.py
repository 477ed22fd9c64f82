"""JSON that is not one object a line: every record is a row, whatever stands around it."""

import io
import json
import random
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logbox_pipeline.formats.json_documents import parse as parse_json
from logbox_pipeline.formats.stream import Damage, Limits, Unreadable
from logbox_pipeline.simulator.jsonl_writer import write_jsonl
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT, Parsed, parse

RECORDS: list[dict[str, Any]] = [
    {"ts": f"2026-11-24T09:00:{n:02d}Z", "level": "info", "msg": f"m{n}", "p": {"x": [1, {"y": n}]}}
    for n in range(8)
]
PRETTY = "\n".join(json.dumps(record, indent=2) for record in RECORDS).encode() + b"\n"
ARRAY = json.dumps(RECORDS).encode()
WRAPPED = json.dumps({"device": "d", "logs": RECORDS, "count": 8}).encode()


def read(data: bytes, **limits: object) -> Parsed:
    parsed = parse(data, format_name="json", **limits)
    spans = [(damage.start, damage.end) for damage in parsed.damages]
    assert spans == sorted(spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    return parsed


def messages(parsed: Parsed) -> list[str]:
    return [str(event["message"]) for event in parsed.events if event["message"] is not None]


ALL = [f"m{n}" for n in range(8)]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(PRETTY, id="pretty-printed"),
        pytest.param(PRETTY.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(b"\xef\xbb\xbf" + PRETTY, id="byte order mark"),
        pytest.param("".join(map(json.dumps, RECORDS)).encode(), id="concatenated"),
        pytest.param(b" ".join(json.dumps(r).encode() for r in RECORDS), id="parted by spaces"),
        pytest.param(ARRAY, id="array"),
        pytest.param(json.dumps(RECORDS, indent=4).encode(), id="pretty array"),
        pytest.param(b"[\n" + b",\n".join(json.dumps(r).encode() for r in RECORDS) + b"\n]",
                     id="array, an element a line"),
        pytest.param(ARRAY + b"\n" + b"[]" + b"\n", id="two arrays"),
        pytest.param(json.dumps({"logs": RECORDS}).encode(), id="wrapped"),
        pytest.param(json.dumps({"Records": RECORDS}, indent=1).encode(), id="wrapped, pretty"),
        pytest.param("".join(f"\x1e{json.dumps(r)}\n" for r in RECORDS).encode(), id="RFC 7464"),
    ],
)  # fmt: skip
def test_every_record_is_a_row(data: bytes) -> None:
    parsed = read(data)
    assert messages(parsed) == ALL
    assert len(parsed.events) == 8
    assert parsed.damages == []
    for record, event in zip(RECORDS, parsed.events, strict=True):
        assert json.loads(str(event["attributes"])) == {"p": record["p"]}
        assert (event["level"], event["ts"] is None) == (6, False)


def test_what_a_wrapper_says_besides_is_a_row() -> None:
    parsed = read(WRAPPED)
    assert messages(parsed) == ALL
    others = [json.loads(str(e["attributes"])) for e in parsed.events if e["message"] is None]
    assert others == [{"device": "d"}, {"count": 8}]


def test_an_array_inside_of_a_record_is_no_wrapper() -> None:
    record = {"ts": "2026-11-24T09:00:00Z", "data": [{"a": 1}, {"b": 2}], "msg": "one"}
    assert messages(read(json.dumps(record, indent=1).encode())) == ["one"]


def test_pretty_otlp_is_a_row_per_log_record() -> None:
    line = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "b"}}] * 3}]}]}
    assert messages(read(json.dumps(line, indent=2).encode())) == ["b"] * 3


def test_numbers_keep_their_digits_when_lines_are_joined() -> None:
    parsed = read(b'{\n "msg": "x",\n "n": 1.50,\n "big": 12345678901234567890123\n}\n')
    assert parsed.events[0]["attributes"] == '{"n":1.50,"big":12345678901234567890123}'


@pytest.mark.parametrize("data", [PRETTY, ARRAY, WRAPPED], ids=["pretty", "array", "wrapped"])
def test_cut_anywhere_all_before_the_cut_comes_out(data: bytes) -> None:
    for cut in range(40, len(data), 31):
        items = list(parse_json(memoryview(data[:cut]), Limits(received_at=RECEIVED_AT)))
        found = [e for i in items if hasattr(i, "batch") for e in i.batch.to_pylist()]
        whole = [n for n in range(8) if ends(data, n) <= cut]
        assert [e["message"] for e in found if e["message"]] == [f"m{n}" for n in whole]


def ends(data: bytes, number: int) -> int:
    """Where record `number` ends: at the third brace behind its own name."""
    at = data.index(b'"m%d"' % number)
    for _ in range(3):
        at = data.index(b"}", at) + 1
    return at


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [(b"@@ noise @@\n", "bad_document"), (bytes(300), "zeroed"), (b"\xff" * 300, "padding")],
)
def test_garbage_between_documents_costs_itself(garbage: bytes, reason: str) -> None:
    at = PRETTY.index(b"}\n{") + 2
    parsed = read(PRETTY[:at] + garbage + PRETTY[at:])
    assert messages(parsed) == ALL
    (damage,) = parsed.damages
    assert (damage.reason, damage.start) == (reason, at)


def test_a_zeroed_block_costs_the_documents_that_it_hits() -> None:
    first, last = PRETTY.index(b'"m2"'), PRETTY.index(b'"m3"')
    parsed = read(PRETTY[:first] + bytes(last - first) + PRETTY[last:])
    assert messages(parsed) == ["m0", "m1", "m4", "m5", "m6", "m7"]
    assert parsed.damages


def test_a_document_cut_by_a_crash_does_not_take_the_next_along() -> None:
    for cut in range(1, PRETTY.index(b"}\n{"), 5):
        found = messages(read(PRETTY + PRETTY[:cut] + b"\n" + PRETTY))
        assert (found[:8], found[-8:]) == (ALL, ALL)


def test_inner_objects_of_a_damaged_record_are_no_rows() -> None:
    bad = (
        json.dumps({"msg": "bad", "in": {"msg": "inner"}, "z": 1}).encode().replace(b'"bad"', b"@")
    )
    parsed = read(b"".join([json.dumps(RECORDS[0]).encode(), bad, json.dumps(RECORDS[1]).encode()]))
    assert messages(parsed) == ["m0", "m1"]


def test_odd_values_are_read_with_care() -> None:
    parsed = read(b'[{"msg":"a\tb","x":NaN},\n{"msg":"caf\xe9"},{"msg":"\\ud800"}]')
    assert messages(parsed) == ["a\tb", "caf\ufffd", "\ufffd"]


def test_what_is_no_object_is_damage() -> None:
    parsed = read(b'[{"msg":"a"},1,null,"x",{"msg":"b"}]')
    assert messages(parsed) == ["a", "b"]
    assert [damage.reason for damage in parsed.damages] == ["not_an_object"]


def test_limits_hold() -> None:
    assert read(PRETTY * 50, rows=10).damages[-1].reason == "row_limit"
    long = b'{\n"a":"' + b"x" * 5_000_000 + b'"}\n'
    assert [d.reason for d in read(PRETTY + long, record_bytes=1_000_000).damages] == ["too_long"]
    deep = b'{\n"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}\n"
    parsed = read(PRETTY + deep + PRETTY)
    assert [d.reason for d in parsed.damages] == ["too_deep"]
    assert messages(parsed) == ALL * 2


def test_nothing_but_noise_is_unreadable() -> None:
    (item,) = parse_json(memoryview(b"{\n nothing"), Limits(received_at=RECEIVED_AT))
    assert isinstance(item, Unreadable)


@pytest.mark.parametrize(
    "piece",
    [b"[", b"{", b'{"', b'{"a":', b'{"a":[{', b'{"a":1,', b"}", b'"', b"1 ", b"[{", b'\n{"a":',
     b'{"a":NaN,', b'{"logs":[{"a":', b'{"a":"\n', b"\\", b'{"a":{"b":1}', b"\x00{"],
)  # fmt: skip
def test_hostile_text_takes_time_by_its_size(piece: bytes) -> None:
    data = PRETTY + piece * (100_000 // len(piece))
    start = time.process_time()
    items = list(parse_json(memoryview(data), Limits(received_at=RECEIVED_AT)))
    assert time.process_time() - start < 10
    assert len([item for item in items if isinstance(item, Damage)]) < 20_000


def test_a_large_array_is_streamed() -> None:
    import tracemalloc

    data = b"[" + b",".join([b'{"msg":"m","x":"' + b"y" * 1000 + b'"}'] * 60_000) + b"]"
    rows = 0
    tracemalloc.start()
    for item in parse_json(memoryview(data), Limits(received_at=RECEIVED_AT, batch_rows=1000)):
        rows += item.batch.num_rows if hasattr(item, "batch") else 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 60_000
    assert peak < 40_000_000


def test_a_written_log_as_an_array_comes_out_as_its_ledger_says() -> None:
    out = io.BytesIO()
    ledger = write_jsonl(out, seed=5, lines=2_000)
    lines = out.getvalue().splitlines()
    in_lines = parse(out.getvalue(), format_name="jsonl")
    in_array = read(b"[" + b",\n  ".join(lines) + b"]")
    assert in_array.events == in_lines.events
    assert len(in_array.events) == ledger.events
    assert in_array.about is not None
    assert in_array.about.recorded_to == ledger.last


@settings(max_examples=150, deadline=4000)
@given(
    st.sampled_from([PRETTY, ARRAY, WRAPPED]),
    st.lists(
        st.tuples(st.integers(0, 900), st.integers(0, 60), st.binary(max_size=20)), max_size=6
    ),
    st.integers(0, 1000),
)
def test_mutated_bytes_never_raise(
    data: bytes, edits: list[tuple[int, int, bytes]], seed: int
) -> None:
    changed = bytearray(data)
    for at, length, piece in edits:
        changed[at : at + length] = piece or bytes(length)
    position = random.Random(seed).randrange(len(data))
    for text in (bytes(changed), bytes(changed[:position]), bytes(changed) + data):
        parsed = read(PRETTY + text)
        assert messages(parsed)[:7] == ALL[:7]
        for event in parsed.events:
            json.loads(str(event["attributes"] or "{}"), parse_constant=pytest.fail)
