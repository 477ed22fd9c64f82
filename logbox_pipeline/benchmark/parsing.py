"""How fast each parser is beside what a user would reach for instead, on the same bytes.

Both take turns in one process, so that a busy machine slows both. No pipeline here.
"""

import io
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pandas as pd
import pyarrow.csv

from logbox_pipeline.benchmark.bench import Bench
from logbox_pipeline.benchmark.measured import Measured, higher
from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.formats.recognize import recognize
from logbox_pipeline.formats.stream import Limits
from logbox_pipeline.simulator.csv_writer import write_csv
from logbox_pipeline.simulator.dataflash_writer import write_dataflash
from logbox_pipeline.simulator.jsonl_writer import write_jsonl
from logbox_pipeline.simulator.tlog_writer import write_tlog
from logbox_pipeline.simulator.ulog_writer import write_ulog

LIMITS = Limits(received_at=datetime(2026, 12, 1, tzinfo=UTC))


class Envelope(msgspec.Struct):
    """What every JSON line of the workload may say, whatever its shape."""

    ts: str | None = None
    level: str | int | None = None
    logger: str | None = None
    msg: str | None = None


def measure_parsing(bench: Bench) -> Iterator[Measured]:
    """Two figures per format. Raises LogboxError when a peer is not installed."""
    pyulog = _peer("pyulog")
    dfreader = _peer("pymavlink.DFReader")
    mavutil = _peer("pymavlink.mavutil")
    mavutil.set_dialect("all")
    share = bench.sizes.parsing

    def read_dataflash(path: Path) -> None:
        reader = dfreader.DFReader_binary(str(path))
        while reader.recv_msg() is not None:
            pass

    def read_tlog(path: Path) -> None:
        reader = mavutil.mavlogfile(str(path))
        while reader.recv_msg() is not None:
            pass

    decoder = msgspec.json.Decoder(Envelope)
    yield from _compare(
        bench,
        ("ulog", "ULog", "pyulog -> pandas"),
        lambda out: write_ulog(out, seed=1, size_bytes=int(64_000_000 * share)),
        lambda path: [pd.DataFrame(topic.data) for topic in pyulog.ULog(str(path)).data_list],
    )
    yield from _compare(
        bench,
        ("dataflash", "DataFlash", "pymavlink"),
        lambda out: write_dataflash(out, seed=1, size_bytes=int(12_000_000 * share)),
        read_dataflash,
    )
    yield from _compare(
        bench,
        ("tlog", "tlog, checksums proven", "pymavlink"),
        lambda out: write_tlog(out, seed=1, size_bytes=int(8_000_000 * share)),
        read_tlog,
    )
    yield from _compare(
        bench,
        ("jsonl", "JSON Lines of 46 shapes", "msgspec, the envelope alone"),
        lambda out: write_jsonl(out, seed=1, lines=int(300_000 * share)),
        lambda path: [decoder.decode(line) for line in path.read_bytes().splitlines()],
    )
    yield from _compare(
        bench,
        ("csv", "CSV", "pyarrow.csv"),
        lambda out: write_csv(out, seed=1, rows=int(500_000 * share)),
        lambda path: pyarrow.csv.read_csv(path),
    )


def _peer(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise LogboxError(
            f"{name.partition('.')[0]} is not installed: there is nothing to measure against",
            hint="pip install pyulog pymavlink, or run make bench",
        ) from error


def _compare(
    bench: Bench,
    names: tuple[str, str, str],
    write: Callable[[BinaryIO], object],
    read_by_peer: Callable[[Path], object],
) -> Iterator[Measured]:
    """names: of the figure, of the format, of the peer."""
    name, work, peer = names
    out = io.BytesIO()
    write(out)
    data = out.getvalue()
    with tempfile.TemporaryDirectory(prefix="logbox-bench-") as folder:
        path = Path(folder) / "log"
        path.write_bytes(data)
        turns = [
            (_seconds(lambda: _parse(data)), _seconds(lambda: read_by_peer(path)))
            for _ in bench.turns(f"{work} to Arrow")
        ]
    rates = [len(data) / ours / 1e6 for ours, _ in turns]
    yield higher(f"parsing_{name}_mb_per_s", f"{work} to Arrow", "MB/s", rates)
    ratios = [theirs / ours for ours, theirs in turns]
    yield higher(f"parsing_{name}", f"{work} to Arrow", "times", ratios, beside=peer)


def _parse(data: bytes) -> None:
    source = memoryview(data)
    recognized = recognize(source, LIMITS)
    assert recognized is not None
    for _ in recognized.format.parse(source, LIMITS):
        pass


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
