"""What the size of the catalog costs: a batch, a sensor's tick, a reconciliation, memory.

Each size has a catalog of its own, made directly; the catalogs take turns. What is measured runs in
processes of its own, so that memory is told apart; batches are ingested by what a run calls.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from uuid import uuid4

from logbox_pipeline.adapters.catalog_batches import working_runs
from logbox_pipeline.benchmark.bench import Bench, own_site
from logbox_pipeline.benchmark.made_catalog import Shape, add_files, make_catalog
from logbox_pipeline.benchmark.measure import is_calm
from logbox_pipeline.benchmark.measured import Measured, higher, lower
from logbox_pipeline.benchmark.own_memory import Spent, peak_bytes, reset_peak
from logbox_pipeline.benchmark.reconcile import CountedTimes, measure_counted
from logbox_pipeline.benchmark.workload import LogFile, make_files, upload_files
from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.settings import Settings
from logbox_pipeline.steps.ingest import ingest_offered
from logbox_pipeline.steps.manifest import tell_all
from logbox_pipeline.steps.sense import Tick, sense
from logbox_pipeline.steps.site import Site, open_site

_LINES = 95
_TICKS_TO_CALM = 200


def measure_growth(bench: Bench) -> Iterator[Measured]:
    """Figures of every size of `sizes.catalogs`, the largest also as a multiple of the smallest."""
    sizes = bench.sizes
    with ExitStack() as open_ones:
        sites: dict[int, Site] = {}
        counted: dict[int, CountedTimes] = {}
        runs: dict[int, ProcessPoolExecutor] = {}
        sensors: dict[int, ProcessPoolExecutor] = {}
        for logs in sizes.catalogs:
            site = sites[logs] = open_ones.enter_context(own_site(bench, f"growth_{logs}"))
            bench.say(f"a catalog of {logs:,} logs, and its reconciliation by count")
            folder = bench.scratch / f"growth-{logs}"
            folder.mkdir(parents=True)
            with _process() as process:
                counted[logs] = process.submit(_count, site.settings, folder, logs).result()
            runs[logs] = open_ones.enter_context(_process())
            sensors[logs] = open_ones.enter_context(_process())
        batches: dict[int, list[Spent]] = {logs: [] for logs in sizes.catalogs}
        ticks: dict[int, list[Spent]] = {logs: [] for logs in sizes.catalogs}
        for turn in bench.turns("batches and ticks of each catalog"):
            for logs, site in sites.items():
                folder = bench.scratch / f"growth-{logs}" / str(turn)
                made = make_files(
                    folder, files=sizes.batch_files, lines=_LINES, seed=next(bench.seeds)
                )
                prefix = bench.landing(f"growth-{logs}-{turn}")
                batches[logs].append(
                    runs[logs].submit(_batch, site.settings, made, prefix).result()
                )
                ticks[logs].append(sensors[logs].submit(_empty_tick, site.settings).result())
    yield from _figures(bench, batches, ticks, counted)


def _process() -> ProcessPoolExecutor:
    # A fresh interpreter: forked, it would begin with our memory.
    return ProcessPoolExecutor(1, get_context("spawn"))


def _figures(
    bench: Bench,
    batches: dict[int, list[Spent]],
    ticks: dict[int, list[Spent]],
    counted: dict[int, CountedTimes],
) -> Iterator[Measured]:
    of = "logs in the catalog"
    batch = f"one batch of {bench.sizes.batch_files} files of 20 KB"
    tick = "a sensor's tick with nothing new"
    count = "reconciliation by count, the archive's listing recorded"
    for logs, spent in batches.items():
        yield lower("batch_s", batch, "s", _seconds(spent), at=logs, of=of)
    for logs, spent in batches.items():
        rates = [bench.sizes.batch_files / seconds for seconds in _seconds(spent)]
        yield higher("batch_files_per_s", batch, "files/s", rates, at=logs, of=of)
    smallest = _seconds(batches[min(batches)])
    for logs, spent in batches.items():
        if logs == min(batches):
            continue
        times = [one / small for one, small in zip(_seconds(spent), smallest, strict=True)]
        beside = f"the same with {min(batches):,}"
        yield lower("batch_growth", batch, "times", times, beside=beside, at=logs, of=of)
    for logs, spent in ticks.items():
        yield lower("tick_s", tick, "s", _seconds(spent), at=logs, of=of)
    for logs, one in counted.items():
        yield lower("reconcile_s", count, "s", [one.seconds], at=logs, of=of)
    for logs, spent in batches.items():
        what = "most memory of a process that ingests a batch, without its parsers"
        yield lower("batch_mib", what, "MiB", _mib(spent), at=logs, of=of)
    for logs, spent in ticks.items():
        what = "most memory of a process that ticks"
        yield lower("tick_mib", what, "MiB", _mib(spent), at=logs, of=of)
    for logs, one in counted.items():
        what = "most memory of a process that reconciles"
        yield lower("reconcile_mib", what, "MiB", [one.peak_bytes / 2**20], at=logs, of=of)


def _seconds(spent: list[Spent]) -> list[float]:
    return [one.seconds for one in spent]


def _mib(spent: list[Spent]) -> list[float]:
    return [one.peak_bytes / 2**20 for one in spent]


# In a process of its own


def _count(settings: Settings, folder: Path, logs: int) -> CountedTimes:
    site = open_site(settings)
    # Without files: reconciliation would miss each of them in the stores.
    shape = Shape(days=1, has_files=False)
    make_catalog(site, logs, shape)
    counted = measure_counted(site, folder, logs)
    if counted.drifts or counted.unchecked:
        raise LogboxError(f"{counted.drifts} drifts in a catalog that was made without any")
    add_files(site, logs, shape)
    return counted


def _batch(settings: Settings, files: list[LogFile], prefix: str) -> Spent:
    """One batch, from its claim to an empty landing."""
    site = open_site(settings)
    upload_files(site, files, prefix)
    (offered,) = _tick(site).offered
    reset_peak()
    started = time.perf_counter()
    for _ in ingest_offered(site, offered.run_key, f"bench-{uuid4()}"):
        pass
    return Spent(time.perf_counter() - started, peak_bytes())


def _empty_tick(settings: Settings) -> Spent:
    """A tick when nothing is new and nothing owed any more."""
    site = open_site(settings)
    # What a tick tells the archive only when it has settled is told at once.
    tell_all(site)
    for _ in range(_TICKS_TO_CALM):
        if is_calm(site):
            break
        _tick(site)
    reset_peak()
    started = time.perf_counter()
    tick = _tick(site)
    seconds = time.perf_counter() - started
    if tick.new or tick.offered or tick.swept or tick.trouble:
        raise LogboxError(f"the tick was to find nothing, and found: {tick}")
    return Spent(seconds, peak_bytes())


def _tick(site: Site) -> Tick:
    """What the sensor does, but for asking Dagster which runs there are."""
    with site.transaction() as cursor:
        working_runs(cursor, finished_after=site.now())
    return sense(site, hint={}, run_states=_no_runs)


def _no_runs(_: Any) -> dict[str, Any]:
    return {}
