"""The generator writes real JSON Lines: the standard library reads what the ledger says."""

import io
import json

from logbox_pipeline.simulator.jsonl_writer import write_jsonl


def test_every_line_but_the_bad_ones_is_an_object() -> None:
    out = io.BytesIO()
    ledger = write_jsonl(out, seed=2, lines=2000, bad_lines=20)
    lines = out.getvalue().splitlines()
    assert len(lines) == ledger.lines
    assert len(ledger.bad_lines) == ledger.lines - ledger.events == 20
    objects = [
        json.loads(line) for number, line in enumerate(lines, 1) if number not in ledger.bad_lines
    ]
    assert all(isinstance(entry, dict) for entry in objects)
    assert sum(ledger.events_by_level.values()) == ledger.events


def test_there_are_as_many_shapes_as_asked_for() -> None:
    out = io.BytesIO()
    write_jsonl(out, seed=2, lines=3000, shapes=46)
    assert len({tuple(json.loads(line)) for line in out.getvalue().splitlines()}) == 46


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, again = io.BytesIO(), io.BytesIO()
    assert write_jsonl(first, seed=2, lines=500) == write_jsonl(again, seed=2, lines=500)
    assert first.getvalue() == again.getvalue()


def test_lines_are_as_long_as_real_ones() -> None:
    ledger = write_jsonl(io.BytesIO(), seed=2, lines=2000)
    assert 180 < ledger.size_bytes / ledger.lines < 260
