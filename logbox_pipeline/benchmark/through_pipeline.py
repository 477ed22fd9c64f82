"""Logs from landing to Postgres and the lake through sensor and runs, beside peers and limits.

One function per part; what a part is beside takes its turn right after it, on the same files, S3
endpoint and Postgres. How each is timed is `measure`'s, `peers`' and `limits`'.
"""

from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

from logbox_pipeline.benchmark.bench import Bench, peer_database
from logbox_pipeline.benchmark.limits import (
    measure_bare_reads,
    measure_bare_requests,
    measure_server_copy,
)
from logbox_pipeline.benchmark.measure import (
    measure_idle_latency,
    measure_pipeline,
    wait_until_calm,
)
from logbox_pipeline.benchmark.measured import Measured, higher, lower
from logbox_pipeline.benchmark.peers import install_dlt, measure_dlt, measure_plain_script
from logbox_pipeline.benchmark.workload import (
    LogFile,
    make_files,
    make_flights,
    make_long_lines,
    make_mixed,
    upload_files,
)

_JSONL_LINE_BYTES = 230
"""Mean of the writer's lines."""

_TO_COMMIT = "first run's start to last commit"

_SMALL_LINES = 95
"""Lines of a file of about 20 KB."""


def measure_idle(bench: Bench) -> Iterator[Measured]:
    """One log, with nothing else to do."""
    waits = []
    for turn in range(bench.sizes.idle_turns):
        name = f"idle-{turn}"
        bench.say("one log while idle")
        (file,) = make_files(bench.scratch / name, files=1, lines=1_000, seed=next(bench.seeds))
        wait_until_calm(bench.site)
        waits.append(measure_idle_latency(bench.site, file, bench.landing(name)))
    yield lower("idle_s", "one log while idle, from upload to queryable", "s", waits)


def measure_jsonl(bench: Bench) -> Iterator[Measured]:
    """Many lines of many shapes, beside dlt into Postgres and into Parquet."""
    site, sizes = bench.site, bench.sizes
    python = install_dlt(bench.tools, bench.say)
    took, waited, memory, rates, of_copy = [], [], [], [], []
    to_postgres, to_parquet = [], []
    for turn in bench.turns("JSON Lines"):
        name = f"jsonl-{turn}"
        made = make_files(
            bench.scratch / name,
            files=sizes.jsonl_files,
            lines=sizes.jsonl_lines,
            seed=next(bench.seeds),
        )
        upload_files(site, made, bench.bare(name))
        times = measure_pipeline(site, made, bench.landing(name))
        took.append(times.ingest_s)
        waited.append(times.sensor_wait_s)
        memory.append(times.peak_memory_bytes / 2**20)
        rates.append(_rows(made) / times.ingest_s)
        copied = measure_server_copy(site, bench.landing(name))
        of_copy.append(copied.seconds / times.ingest_s)
        url = peer_database(site)
        to_postgres.append(measure_dlt(python, site.settings, bench.bare(name), "postgres", url))
        lake = f"s3://{site.settings.lake_bucket}/peer/{name}"
        to_parquet.append(measure_dlt(python, site.settings, bench.bare(name), "filesystem", lake))
        _remove(bench.scratch / name)
    work = f"{sizes.jsonl_files * sizes.jsonl_lines:,} events in JSON Lines"
    yield higher("jsonl_rows_per_s", f"{work}, {_TO_COMMIT}", "rows/s", rates)
    yield higher(
        "jsonl_times_dlt",
        f"{work}, both stores",
        "times",
        _ratios(to_postgres, took),
        beside="dlt, filesystem to Postgres",
    )
    yield higher(
        "jsonl_times_dlt_parquet",
        f"{work}, both stores",
        "times",
        _ratios(to_parquet, took),
        beside="dlt, filesystem to Parquet alone",
    )
    yield higher(
        "jsonl_of_server_copy",
        work,
        "of the rate",
        of_copy,
        beside="the server's COPY of the same rows",
    )
    yield lower("jsonl_dlt_s", f"{work}, dlt to Postgres", "s", to_postgres)
    yield lower("jsonl_wait_s", "before it: sensor, queue, start of a process", "s", waited)
    yield lower("jsonl_memory_mib", f"most memory of a run and its parsers, {work}", "MiB", memory)


def measure_ulog(bench: Bench) -> Iterator[Measured]:
    """Large ULogs with all their topics, beside the plain script."""
    site, sizes = bench.site, bench.sizes
    rates, whole, lean = [], [], []
    for turn in bench.turns("ULog"):
        name = f"ulog-{turn}"
        made = make_flights(
            bench.scratch / name,
            files=sizes.flights,
            size_bytes=sizes.flight_bytes,
            seed=next(bench.seeds),
        )
        # Before: what is read back right after it was written is in the page cache.
        upload_files(site, made, bench.bare(name))
        times = measure_pipeline(site, made, bench.landing(name))
        rates.append(_bytes(made) / times.ingest_s / 1e6)
        script = {
            is_lean: measure_plain_script(
                site.settings, bench.bare(name), peer_database(site), is_lean=is_lean
            )
            # The whole job deletes what it has read.
            for is_lean in (True, False)
        }
        whole.append(script[False] / times.ingest_s)
        lean.append(script[True] / times.ingest_s)
        _remove(bench.scratch / name)
    work = f"{sizes.flights} ULogs of {sizes.flight_bytes / 1e6:g} MB, all topics"
    yield higher("ulog_mb_per_s", f"{work}, {_TO_COMMIT}", "MB/s", rates)
    yield higher(
        "ulog_times_script",
        work,
        "times",
        whole,
        beside="plain script, the user's whole job",
    )
    yield higher(
        "ulog_times_lean_script",
        work,
        "times",
        lean,
        beside="plain script, Postgres alone, nothing checked or archived",
    )


def measure_mavlink(bench: Bench) -> Iterator[Measured]:
    """DataFlash logs and tlogs, beside the plain script."""
    site, sizes = bench.site, bench.sizes
    rates, whole = [], []
    for turn in bench.turns("DataFlash and tlog"):
        name = f"mavlink-{turn}"
        made = make_mixed(
            bench.scratch / name,
            files=sizes.script_files,
            size_bytes=sizes.script_bytes,
            seed=next(bench.seeds),
        )
        upload_files(site, made, bench.bare(name))
        times = measure_pipeline(site, made, bench.landing(name))
        rates.append(_bytes(made) / times.ingest_s / 1e6)
        script_s = measure_plain_script(site.settings, bench.bare(name), peer_database(site))
        whole.append(script_s / times.ingest_s)
        _remove(bench.scratch / name)
    size = f"{sizes.script_bytes / 1e6:g} MB"
    work = f"{sizes.script_files} DataFlash logs and {sizes.script_files} tlogs of {size}"
    yield higher("mavlink_mb_per_s", f"{work}, {_TO_COMMIT}", "MB/s", rates)
    yield higher(
        "mavlink_times_script",
        work,
        "times",
        whole,
        beside="plain script with pymavlink, the user's whole job",
    )


def measure_large(bench: Bench) -> Iterator[Measured]:
    """Few large ULogs, beside the server's own COPY and plain reads."""
    site, sizes = bench.site, bench.sizes
    rates, of_copy, of_reads, copies = [], [], [], []
    for turn in bench.turns("large files"):
        name = f"large-{turn}"
        made = make_flights(
            bench.scratch / name,
            files=sizes.large_files,
            size_bytes=sizes.large_bytes,
            seed=next(bench.seeds),
        )
        times = measure_pipeline(site, made, bench.landing(name))
        rates.append(_bytes(made) / times.ingest_s / 1e6)
        copied = measure_server_copy(site, bench.landing(name))
        copies.append(copied.rows / copied.seconds)
        of_copy.append(copied.seconds / times.ingest_s)
        of_reads.append(measure_bare_reads(site, bench.landing(name)) / times.ingest_s)
        _remove(bench.scratch / name)
    work = f"{sizes.large_files} ULogs of {sizes.large_bytes / 1e6:g} MB, all topics"
    yield higher("large_mb_per_s", f"{work}, {_TO_COMMIT}", "MB/s", rates)
    yield higher(
        "large_of_server_copy",
        work,
        "of the rate",
        of_copy,
        beside="the server's COPY of the same rows into the same indexed tables",
    )
    yield higher(
        "large_of_bare_reads",
        work,
        "of the rate",
        of_reads,
        beside="GET and SHA-256 of the same bytes",
    )
    yield higher("large_server_copy_rows_per_s", f"{work}, the server's COPY", "rows/s", copies)


def measure_small(bench: Bench) -> Iterator[Measured]:
    """Many small files, beside a bare loop of the S3 requests that the protocol needs."""
    site, sizes = bench.site, bench.sizes
    rates, shares, bare_rates, memory = [], [], [], []
    for turn in bench.turns("small files"):
        name = f"small-{turn}"
        made = make_files(
            bench.scratch / name,
            files=sizes.small_files,
            lines=_SMALL_LINES,
            seed=next(bench.seeds),
        )
        upload_files(site, made, bench.bare(name))
        # Receipts by name follow a run, at the sensor's leisure.
        wait_until_calm(site)
        bare_s = measure_bare_requests(site, made, bench.bare(name))
        times = measure_pipeline(site, made, bench.landing(name))
        rates.append(len(made) / times.settled_s)
        bare_rates.append(len(made) / bare_s)
        shares.append(bare_s / times.settled_s)
        memory.append(times.peak_memory_bytes / 2**20)
        _remove(bench.scratch / name)
    work = f"{sizes.small_files:,} files of 20 KB"
    yield higher(
        "small_files_per_s", f"{work}, first run's start to an empty landing", "files/s", rates
    )
    yield higher(
        "small_of_bare",
        work,
        "of the rate",
        shares,
        beside="a bare loop of requests: GET, PUT, PUT of a receipt, DELETE of many",
    )
    yield higher("small_bare_files_per_s", f"{work}, the bare loop", "files/s", bare_rates)
    yield lower("small_memory_mib", f"most memory of a run and its parsers, {work}", "MiB", memory)


def measure_memory(bench: Bench) -> Iterator[Measured]:
    """The memory of a run and its parsers, for single logs of growing size."""
    for kind, title in (("ulog", "one ULog"), ("jsonl", "one JSON Lines log")):
        peaks: dict[int, float] = {}
        rates: dict[int, float] = {}
        for size_mb in bench.sizes.memory_mb:
            bench.say(f"{title} of {size_mb:,} MB")
            name = f"memory-{kind}-{size_mb}"
            file = _single(bench.scratch / name, kind, size_mb * 1_000_000, next(bench.seeds))
            times = measure_pipeline(bench.site, [file], bench.landing(name))
            peaks[size_mb] = times.peak_memory_bytes / 2**20
            rates[size_mb] = file.size_bytes / times.ingest_s / 1e6
            _remove(bench.scratch / name)
        what = f"most memory of a run and its parsers, {title}"
        for size_mb, peak in peaks.items():
            yield lower(f"memory_{kind}_mib", what, "MiB", [peak], at=size_mb, of="MB")
        for size_mb, rate in rates.items():
            yield higher(f"memory_{kind}_mb_per_s", title, "MB/s", [rate], at=size_mb, of="MB")


def _single(folder: Path, kind: str, size_bytes: int, seed: int) -> LogFile:
    if kind == "ulog":
        return make_flights(folder, files=1, size_bytes=size_bytes, seed=seed)[0]
    lines = size_bytes // _JSONL_LINE_BYTES
    return make_long_lines(folder / "long.jsonl", lines=lines, seed=seed)


def _ratios(theirs: list[float], ours: list[float]) -> list[float]:
    return [their_s / our_s for their_s, our_s in zip(theirs, ours, strict=True)]


def _rows(files: list[LogFile]) -> int:
    return sum(one.rows for one in files)


def _bytes(files: list[LogFile]) -> int:
    return sum(one.size_bytes for one in files)


def _remove(folder: Path) -> None:
    rmtree(folder, ignore_errors=True)
