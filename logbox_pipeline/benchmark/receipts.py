"""What receipts cost an ingest: the same logs with a key to sign with, and without any."""

import time
from dataclasses import replace
from pathlib import Path

from logbox_pipeline.benchmark.workload import LogFile, make_flights, upload_files
from logbox_pipeline.steps.ingest import ingest_days
from logbox_pipeline.steps.sense import sense
from logbox_pipeline.steps.site import Site


def measure_receipts(
    site: Site, scratch: Path, prefix: str, *, files: int, size_bytes: int, turns: int, seed: int
) -> list[float]:
    """Seconds of ingest with receipts over those without, one ratio of each turn.

    `files` flights of `size_bytes` each time, in this process, on a site that no sensor looks at.
    """
    # Without a key nothing is rendered, signed or put; all else is the same.
    settings = site.settings.model_copy(update={"secret_key": None, "signing_key": None})
    without = replace(site, settings=settings)
    ratios = []
    for turn in range(turns):
        sides = [("with", site), ("without", without)]
        seconds = {}
        # Whoever goes second finds warmer caches.
        for number, (name, one) in enumerate(sides if turn % 2 else reversed(sides)):
            made = make_flights(
                scratch / f"{name}-{turn}",
                files=files,
                size_bytes=size_bytes,
                seed=seed + (2 * turn + number) * files,
            )
            seconds[name] = ingest_s(one, made, f"{prefix}{name}-{turn}/")
        ratios.append(seconds["with"] / seconds["without"])
    return ratios


def ingest_s(site: Site, files: list[LogFile], prefix: str) -> float:
    """Seconds of ingest alone: uploaded and sensed before."""
    upload_files(site, files, prefix)
    sense(site, hint={}, run_states=lambda _: {})
    today = site.now().date()
    started = time.monotonic()
    for _ in ingest_days(site, today, today, "bench"):
        pass
    return time.monotonic() - started
