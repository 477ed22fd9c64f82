"""The parts of the benchmark, in the order in which they run, and how one that fails is told of."""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from shutil import rmtree

from logbox_pipeline.benchmark.bench import Bench, Say
from logbox_pipeline.benchmark.growth import measure_growth
from logbox_pipeline.benchmark.integrity import measure_integrity
from logbox_pipeline.benchmark.measured import Measured, spread
from logbox_pipeline.benchmark.parsing import measure_parsing
from logbox_pipeline.benchmark.results import PartResults
from logbox_pipeline.benchmark.several import measure_several
from logbox_pipeline.benchmark.through_pipeline import (
    measure_idle,
    measure_jsonl,
    measure_large,
    measure_mavlink,
    measure_memory,
    measure_small,
    measure_ulog,
)
from logbox_pipeline.benchmark.waiting import measure_waiting
from logbox_pipeline.core.errors import LogboxError, UsageError


@dataclass(frozen=True)
class Part:
    """about: what it measures, in a few words. needs_stack False: it reads no server."""

    name: str
    about: str
    measure: Callable[[Bench], Iterator[Measured]]
    needs_stack: bool = True


PARTS = (
    Part(
        "parsing",
        "bytes to Arrow, beside pyulog, pymavlink, msgspec, pyarrow",
        measure_parsing,
        needs_stack=False,
    ),
    Part("idle", "one log while nothing else is done", measure_idle),
    Part("jsonl", "a million JSON Lines, beside dlt", measure_jsonl),
    Part("ulog", "ULogs of 16 MB, beside a plain script", measure_ulog),
    Part("mavlink", "DataFlash and tlog, beside the plain script", measure_mavlink),
    Part("large", "ULogs of 64 MB, beside the server's own COPY", measure_large),
    Part("small", "5,000 files of 20 KB, beside the bare S3 requests", measure_small),
    Part("integrity", "scrub and receipts", measure_integrity),
    Part("memory", "logs of 200 MB and 1 GB", measure_memory),
    Part("workers", "three run workers on this machine, beside one", measure_several),
    Part("growth", "batch, tick, reconciliation with 1,000 to 1,000,000 logs", measure_growth),
    Part(
        "waiting",
        "tick, batch, reconciliation with 10,000 and 100,000 objects in landing",
        measure_waiting,
    ),
)


def chosen(names: Iterable[str]) -> list[Part]:
    """The parts of these names in their order; all of them for none. Raises UsageError."""
    wanted = set(names)
    unknown = wanted - {part.name for part in PARTS}
    if unknown:
        raise UsageError(
            f"{', '.join(sorted(unknown))} is no part of the benchmark",
            hint=f"parts are {', '.join(part.name for part in PARTS)}",
        )
    return [part for part in PARTS if not wanted or part.name in wanted]


def run_part(part: Part, bench: Bench, say: Say) -> PartResults:
    """What a part measured; what ended it stands beside what it had measured until then."""
    measured: list[Measured] = []
    error = None
    bench.scratch.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        for one in part.measure(bench):
            say(f"  {one.title}: {spread(one)} {one.unit} {one.beside}".rstrip())
            measured.append(one)
    except LogboxError as failed:
        error = str(failed)
    except Exception as failed:  # noqa: BLE001  the other parts' hour of work is not to be lost
        error = "".join(traceback.format_exception(failed)[-3:])
    seconds = round(time.monotonic() - started, 1)
    rmtree(bench.scratch, ignore_errors=True)
    if error is not None:
        say(f"  {part.name} failed: {error}")
    return PartResults(part.name, seconds, tuple(measured), error)
