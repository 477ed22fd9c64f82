"""What receipts cost an ingest: the same logs with a key to sign with, and without any."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from logbox_pipeline.adapters import catalog_batches
from logbox_pipeline.benchmark.workload import LogFile, make_flights, upload_files
from logbox_pipeline.steps.ingest import ingest_days
from logbox_pipeline.steps.sense import sense
from logbox_pipeline.steps.site import Site

TURNS = 5


@dataclass(frozen=True)
class ReceiptTimes:
    """Seconds of ingest with receipts over those without, median and range of TURNS pairs."""

    ratio: float
    lowest: float
    highest: float


def measure_receipts(
    site: Site, scratch: Path, prefix: str, *, files: int, size_bytes: int
) -> ReceiptTimes:
    """Ingest `files` flights of `size_bytes` in this process, with and without receipts in turns.

    The pipeline is paused meanwhile: no run of it takes the logs.
    """
    # Without a key nothing is rendered, signed or put; all else is the same.
    settings = site.settings.model_copy(update={"secret_key": None, "signing_key": None})
    without = replace(site, settings=settings)
    with site.transaction() as cursor:
        catalog_batches.pause(cursor, "the benchmark of receipts", site.now())
    ratios = []
    try:
        for turn in range(TURNS):
            sides = [("with", site), ("without", without)]
            seconds = {}
            # Whoever goes second finds warmer caches.
            for name, one in sides if turn % 2 else reversed(sides):
                folder = scratch / f"{name}-{turn}"
                seed = 10_000 * (turn + 1) + (5_000 if name == "with" else 0)
                made = make_flights(folder, files=files, size_bytes=size_bytes, seed=seed)
                seconds[name] = _ingest_s(one, made, f"{prefix}{name}-{turn}/")
            ratios.append(seconds["with"] / seconds["without"])
    finally:
        with site.transaction() as cursor:
            catalog_batches.resume(cursor)
    return ReceiptTimes(median(ratios), min(ratios), max(ratios))


def _ingest_s(site: Site, files: list[LogFile], prefix: str) -> float:
    upload_files(site, files, prefix)
    sense(site, hint={}, run_states=lambda _: {})
    today = site.now().date()
    started = time.monotonic()
    for _ in ingest_days(site, today, today, "bench"):
        pass
    return time.monotonic() - started
