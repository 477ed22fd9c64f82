"""The figures of several hosts against one; how they are run is `workers`'."""

from collections.abc import Iterator

from logbox_pipeline.benchmark.bench import Bench
from logbox_pipeline.benchmark.measured import Measured, higher, lower
from logbox_pipeline.benchmark.workers import measure_workers


def measure_several(bench: Bench) -> Iterator[Measured]:
    """Three run workers with separate folders on this machine, and one, in turns."""
    sizes = bench.sizes
    times = measure_workers(
        bench.site,
        bench.scratch / "workers",
        files=sizes.worker_files,
        flights=sizes.worker_flights,
        turns=sizes.turns,
        say=bench.say,
    )
    work = f"{times.files} logs, {times.size_bytes / 1e6:.0f} MB, in {times.batches} batches"
    one, many = "one run worker", f"{times.hosts} run workers on one machine"
    yield higher("workers_times_one", f"{work}: {many}", "times", times.ratios, beside=one)
    for name, who, took in (("one", one, times.one_s), ("many", many, times.many_s)):
        rates = [times.size_bytes / seconds / 1e6 for seconds in took]
        yield higher(f"workers_{name}_mb_per_s", f"{work}: {who}", "MB/s", rates)
    yield lower("workers_retries", f"attempts of {many} that gave way", "", [times.retries])
    yield lower("workers_deadlocks", "deadlocks that Postgres broke", "", [times.deadlocks])
