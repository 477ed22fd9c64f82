"""Measure the running pipeline: through landing, sensor and runs, as drones use it.

Every number is wall-clock seconds from the catalog's own times, or bytes of memory from /proc.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from logbox_pipeline.adapters import catalog_batches
from logbox_pipeline.benchmark.workload import LogFile, upload_files
from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.steps.site import Site

PATIENCE_S = 600
_POLL_S = 1.0
"""Looking costs what is measured: four times a second, 0.9 s of CPU a turn for memory alone."""


@dataclass(frozen=True)
class PipelineTimes:
    """`ingest_s`: first run's start to last commit; `settled_s`: to the last object gone from
    landing. `sensor_wait_s`: from the moment the sensor may work to the first run's start."""

    runs: int
    ingest_s: float
    settled_s: float
    sensor_wait_s: float
    peak_memory_bytes: int


def measure_pipeline(site: Site, files: list[LogFile], prefix: str) -> PipelineTimes:
    """Upload while paused, let the sensor go, wait until everything has left landing."""
    with site.transaction() as cursor:
        catalog_batches.pause(cursor, "logbox bench", site.now())
    upload_files(site, files, prefix)
    began = site.now()
    with site.transaction() as cursor:
        catalog_batches.resume(cursor)
    with _peak_memory() as peak:
        _wait(site, prefix, len(files))
    with site.transaction() as cursor:
        cursor.execute(
            """
            select count(*), min(started_at), max(loaded_at), max(finished_at)
            from logbox.batches b
            where exists (
                select from logbox.deliveries d
                where d.batch_id = b.batch_id and starts_with(d.landing_key, %s)
            )
            """,
            (prefix,),
        )
        runs, started_at, loaded_at, finished_at = cursor.fetchone()
    return PipelineTimes(
        runs,
        (loaded_at - started_at).total_seconds(),
        (finished_at - started_at).total_seconds(),
        (started_at - began).total_seconds(),
        max(peak),
    )


def measure_idle_latency(site: Site, file: LogFile, prefix: str) -> float:
    """Seconds from the end of one upload, with nothing else to do, to its rows being visible."""
    upload_files(site, [file], prefix)
    uploaded = site.now()
    _wait(site, prefix, 1)
    with site.transaction() as cursor:
        cursor.execute(
            """
            select l.loaded_at
            from logbox.logs l
            join logbox.deliveries d using (delivery_id)
            where starts_with(d.landing_key, %s)
            """,
            (prefix,),
        )
        loaded_at: datetime = cursor.fetchone()[0]
    return (loaded_at - uploaded).total_seconds()


def wait_until_calm(site: Site) -> None:
    """Wait until nothing is owed any more: receipts and manifests that follow a run, and any run.

    What comes after one work is not to be done while another is measured.
    """
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if is_calm(site):
            return
        time.sleep(_POLL_S)
    raise LogboxError(f"still at work after {PATIENCE_S} s", hint="see the logs of its stack")


def is_calm(site: Site) -> bool:
    """Whether no batch is at work, and neither a drone nor the archive is owed a word."""
    with site.transaction() as cursor:
        cursor.execute(
            """
            select not exists (select from logbox.outbox)
                and not exists (
                    select from logbox.batches where state in ('open', 'running', 'loaded')
                )
            """
        )
        return bool(cursor.fetchone()[0])


def _wait(site: Site, prefix: str, files: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with site.transaction() as cursor:
            cursor.execute(
                """
                select count(*) filter (where b.state = 'finished'),
                    max(b.last_error) filter (where b.state in ('open', 'failed', 'split'))
                from logbox.deliveries d
                left join logbox.batches b using (batch_id)
                where starts_with(d.landing_key, %s)
                """,
                (prefix,),
            )
            finished, error = cursor.fetchone()
        if error:
            raise LogboxError(f"a batch failed while it was measured: {error}")
        if finished == files:
            return
        time.sleep(_POLL_S)
    raise LogboxError(f"not done after {PATIENCE_S} s", hint="see the logs of its stack")


@contextmanager
def _peak_memory() -> Iterator[list[int]]:
    """Memory of the largest run (its process and parsers), sampled once a second."""
    peaks = [0]
    over = threading.Event()

    def sample() -> None:
        while not over.wait(_POLL_S):
            peaks.append(max(_run_memory().values(), default=0))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()


def _run_memory() -> dict[int, int]:
    """Proportional set size in bytes by run process, children included. Linux only."""
    parents: dict[int, int] = {}
    code_servers: set[int] = set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command = (folder / "cmdline").read_bytes()
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(stat[1])
        if b"\0grpc\0" in command:
            code_servers.add(int(folder.name))
    runs = {pid for pid, parent in parents.items() if parent in code_servers}
    memory = dict.fromkeys(runs, 0)
    for pid in parents:
        ancestor = pid
        while ancestor not in runs and ancestor in parents:
            ancestor = parents[ancestor]
        if ancestor in runs:
            memory[ancestor] += _pss(pid)
    return memory


def _pss(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(
        (int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:")), 0
    )
