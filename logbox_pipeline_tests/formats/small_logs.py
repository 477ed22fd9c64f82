"""A small log of every format that is read, by the simulator's own writers."""

import io
from collections.abc import Callable
from dataclasses import dataclass

from logbox_pipeline.simulator.jsonl_writer import write_jsonl
from logbox_pipeline.simulator.ulog_writer import write_ulog


@dataclass(frozen=True)
class SmallLog:
    """`write` gives a log of some ten KB for a seed; `samples` is the folder of real ones."""

    write: Callable[[int], bytes]
    samples: str


def _ulog(seed: int) -> bytes:
    out = io.BytesIO()
    write_ulog(out, seed=seed, duration_s=1.0)
    return out.getvalue()


def _jsonl(seed: int) -> bytes:
    out = io.BytesIO()
    write_jsonl(out, seed=seed, lines=100)
    return out.getvalue()


SMALL_LOGS = {
    "ulog": SmallLog(_ulog, "ulog"),
    "jsonl": SmallLog(_jsonl, "jsonl"),
}
