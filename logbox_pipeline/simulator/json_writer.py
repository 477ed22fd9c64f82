"""Write JSON that is not one object a line: the records of `jsonl_writer` in documents."""

import io
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import BinaryIO

from logbox_pipeline.simulator.jsonl_writer import JsonlLedger, write_jsonl


def _array(records: list[bytes]) -> bytes:
    return b"[\n" + b",\n".join(records) + b"\n]\n"


def _indented(records: list[bytes]) -> bytes:
    return json.dumps([json.loads(record) for record in records], indent=2).encode()


def _documents(records: list[bytes]) -> bytes:
    return b"".join(json.dumps(json.loads(record), indent=2).encode() + b"\n" for record in records)


STYLES: Mapping[str, Callable[[list[bytes]], bytes]] = {
    "array": _array,
    "indented": _indented,
    "documents": _documents,
}
"""An array with a record a line, one with a value a line; records one after the other."""


def write_json(
    out: BinaryIO,
    *,
    seed: int,
    records: int,
    style: str = "array",
    start: datetime = datetime(2026, 11, 24, 9, 0, tzinfo=UTC),
) -> JsonlLedger:
    """Write `records` records, 20 ms apart from `start` on. style: a key of `STYLES`."""
    lines = io.BytesIO()
    ledger = write_jsonl(lines, seed=seed, lines=records, start=start)
    out.write(STYLES[style](lines.getvalue().splitlines()))
    return ledger
