"""How fast each parser is beside what a user would reach for instead, on the same bytes.

Both take turns in one process, so that a busy machine slows both. No pipeline here.
"""

import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pandas as pd
import pyarrow.csv

from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.formats.recognize import recognize
from logbox_pipeline.formats.stream import Limits
from logbox_pipeline.simulator.csv_writer import write_csv
from logbox_pipeline.simulator.dataflash_writer import write_dataflash
from logbox_pipeline.simulator.jsonl_writer import write_jsonl
from logbox_pipeline.simulator.tlog_writer import write_tlog
from logbox_pipeline.simulator.ulog_writer import write_ulog

LIMITS = Limits(received_at=datetime(2026, 12, 1, tzinfo=UTC))
TURNS = 5


class Envelope(msgspec.Struct):
    """What every JSON line of the workload may say, whatever its shape."""

    ts: str | None = None
    level: str | int | None = None
    logger: str | None = None
    msg: str | None = None


@dataclass(frozen=True)
class Ratio:
    """Logbox's speed over the peer's: median of TURNS turns, and the lowest and highest of them."""

    work: str
    peer: str
    mb_per_s: float
    times_peer: float
    lowest: float
    highest: float
    bar: float


def measure_parsing() -> Iterator[Ratio]:
    """One ratio per format. Raises LogboxError when a peer is not installed."""
    pyulog = _peer("pyulog")
    dfreader = _peer("pymavlink.DFReader")
    mavutil = _peer("pymavlink.mavutil")
    mavutil.set_dialect("all")

    def read_dataflash(path: Path) -> None:
        reader = dfreader.DFReader_binary(str(path))
        while reader.recv_msg() is not None:
            pass

    def read_tlog(path: Path) -> None:
        reader = mavutil.mavlogfile(str(path))
        while reader.recv_msg() is not None:
            pass

    decoder = msgspec.json.Decoder(Envelope)
    yield _ratio(
        "ULog -> Arrow",
        "pyulog -> pandas",
        lambda out: write_ulog(out, seed=1, size_bytes=64_000_000),
        lambda path: [pd.DataFrame(topic.data) for topic in pyulog.ULog(str(path)).data_list],
        bar=2,
    )
    yield _ratio(
        "DataFlash -> Arrow",
        "pymavlink",
        lambda out: write_dataflash(out, seed=1, size_bytes=12_000_000),
        read_dataflash,
        bar=15,
    )
    yield _ratio(
        "tlog -> Arrow, CRC checked",
        "pymavlink",
        lambda out: write_tlog(out, seed=1, size_bytes=8_000_000),
        read_tlog,
        bar=5,
    )
    yield _ratio(
        "JSON Lines, 46 shapes -> Arrow",
        "msgspec, envelope alone",
        lambda out: write_jsonl(out, seed=1, lines=300_000),
        lambda path: [decoder.decode(line) for line in path.read_bytes().splitlines()],
        bar=0.3,
    )
    yield _ratio(
        "CSV -> Arrow",
        "pyarrow.csv",
        lambda out: write_csv(out, seed=1, rows=500_000),
        lambda path: pyarrow.csv.read_csv(path),
        bar=0.5,
    )


def _peer(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise LogboxError(
            f"{name.partition('.')[0]} is not installed: there is nothing to measure against",
            hint="pip install pyulog pymavlink, or run make bench",
        ) from error


def _ratio(
    work: str,
    peer: str,
    write: Callable[[BinaryIO], object],
    read_by_peer: Callable[[Path], object],
    *,
    bar: float,
) -> Ratio:
    out = io.BytesIO()
    write(out)
    data = out.getvalue()
    with tempfile.TemporaryDirectory(prefix="logbox-bench-") as folder:
        path = Path(folder) / "log"
        path.write_bytes(data)
        turns = [
            (_seconds(lambda: _parse(data)), _seconds(lambda: read_by_peer(path)))
            for _ in range(TURNS)
        ]
    ratios = [theirs / ours for ours, theirs in turns]
    return Ratio(
        work,
        peer,
        round(len(data) / statistics.median(ours for ours, _ in turns) / 1e6, 1),
        round(statistics.median(ratios), 2),
        round(min(ratios), 2),
        round(max(ratios), 2),
        bar,
    )


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
