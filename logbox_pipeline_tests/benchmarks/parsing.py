"""How fast the parsers are beside what they are measured against. Run it; it is no test.

    python -m logbox_pipeline_tests.benchmarks.parsing

Believe the ratios, not the numbers: the machine is shared.
"""

import io
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pandas as pd
from pyulog import ULog

from logbox_pipeline.formats import jsonl, ulog
from logbox_pipeline.formats.stream import Limits
from logbox_pipeline.simulator.jsonl_writer import write_jsonl
from logbox_pipeline.simulator.ulog_writer import write_ulog

LIMITS = Limits(received_at=datetime(2026, 12, 1, tzinfo=UTC))
ULOG_BYTES = 64_000_000
JSONL_LINES = 300_000


class Envelope(msgspec.Struct):
    ts: str | None = None
    level: str | int | None = None
    logger: str | None = None
    msg: str | None = None


def main() -> None:
    out = io.BytesIO()
    write_ulog(out, seed=1, size_bytes=ULOG_BYTES)
    data = out.getvalue()
    ours = best(lambda: list(ulog.parse(memoryview(data), LIMITS)))
    theirs = best(lambda: [pd.DataFrame(d.data) for d in ULog(io.BytesIO(data)).data_list])
    say(f"ulog   {len(data) / ours / 1e6:6.0f} MB/s   pyulog -> pandas", theirs / ours)

    out = io.BytesIO()
    write_jsonl(out, seed=1, lines=JSONL_LINES)
    data = out.getvalue()
    ours = best(lambda: list(jsonl.parse(memoryview(data), LIMITS)))
    decoder = msgspec.json.Decoder(Envelope)
    say(
        f"jsonl  {JSONL_LINES / ours / 1e3:6.0f} klines/s   msgspec, envelope, line by line",
        best(lambda: [decoder.decode(line) for line in data.splitlines()]) / ours,
    )
    say(
        f"jsonl  {JSONL_LINES / ours / 1e3:6.0f} klines/s   msgspec, envelope, all lines at once",
        best(lambda: decoder.decode_lines(data)) / ours,
    )
    everything = msgspec.json.Decoder()
    say(
        f"jsonl  {JSONL_LINES / ours / 1e3:6.0f} klines/s   msgspec, every value, line by line",
        best(lambda: [everything.decode(line) for line in data.splitlines()]) / ours,
    )


def best(work: Callable[[], object], times: int = 3) -> float:
    """Seconds of the fastest of some runs."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def say(what: str, ratio: float) -> None:
    sys.stdout.write(f"{what}: {ratio:.2f} times as fast\n")


if __name__ == "__main__":
    main()
