"""`logbox bench`: measure the whole path, beside a peer and the bare requests, in one run."""

import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from logbox_pipeline.adapters import postgres
from logbox_pipeline.benchmark.measure import (
    measure_bare_requests,
    measure_idle_latency,
    measure_pipeline,
)
from logbox_pipeline.benchmark.parsing import measure_parsing
from logbox_pipeline.benchmark.peers import measure_dlt
from logbox_pipeline.benchmark.workload import make_files
from logbox_pipeline.cli.say import print_json, print_table, say
from logbox_pipeline.local.site import running
from logbox_pipeline.settings import load_settings, required
from logbox_pipeline.steps.site import Site, open_site

CLIENT = "bench"
DLT_DATABASE = "logbox_bench_dlt"


def bench(
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    files: Annotated[int, typer.Option(help="JSON Lines files of 5,000 lines.")] = 200,
    small_files: Annotated[int, typer.Option(help="Files of about 20 KB.")] = 1_000,
    has_peer: Annotated[bool, typer.Option("--peer/--no-peer", help="Also measure dlt.")] = True,
    only_parsing: Annotated[
        bool, typer.Option("--only-parsing", help="Bytes to Arrow alone; needs no stack.")
    ] = False,
) -> None:
    """Measure the parsers, then the embedded stack under LOGBOX_HOME (use a folder of its own)."""
    parsing = []
    for ratio in measure_parsing():
        say(f"{ratio.work}: {ratio.times_peer} times {ratio.peer}")
        parsing.append(asdict(ratio))
    results = {} if only_parsing else _measure_stack(files, small_files, has_peer)
    if as_json:
        print_json(results | {"parsing": parsing})
        return
    ratios = [
        one | {"ratio": f"{one['times_peer']} ({one['lowest']}-{one['highest']})"}
        for one in parsing
    ]
    print_table("bytes to Arrow", ratios, ("work", "mb_per_s", "ratio", "bar", "peer"))
    rows = [{"measure": name, "value": value} for name, value in results.items()]
    if rows:
        print_table("through the pipeline", rows, ("measure", "value"))


def _measure_stack(files: int, small_files: int, has_peer: bool) -> dict[str, Any]:
    home = load_settings().home
    with running(home, say):
        site = open_site(load_settings())
        with site.transaction() as cursor:
            cursor.execute(
                "insert into logbox.clients values (%s, now()) on conflict do nothing", (CLIENT,)
            )
        return _measure(site, home, files, small_files, has_peer)


def _measure(
    site: Site, home: Path, files: int, small_files: int, has_peer: bool
) -> dict[str, Any]:
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    prefix = f"landing/{CLIENT}/{stamp}"
    seed = int(datetime.now(UTC).timestamp())
    results: dict[str, Any] = {
        "measured_at": stamp,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python "
        f"{platform.python_version()}",
    }
    say(f"making {files} files of 5,000 lines and {small_files} of about 20 KB")
    scratch = home / "bench" / stamp
    large = make_files(scratch / "large", files=files, lines=5_000, seed=seed)
    small = make_files(scratch / "small", files=small_files, lines=95, seed=seed + 100_000)
    one = make_files(scratch / "one", files=1, lines=1_000, seed=seed + 900_000)[0]

    say("one log while idle")
    results["idle_upload_to_queryable_s"] = round(
        measure_idle_latency(site, one, f"{prefix}/one/"), 1
    )
    say("large files through sensor and runs")
    times = measure_pipeline(site, large, f"{prefix}/large/")
    rows = sum(one.rows for one in large)
    results |= {
        "jsonl_rows": rows,
        "jsonl_bytes": sum(one.size_bytes for one in large),
        "jsonl_ingest_s": round(times.ingest_s, 2),
        "jsonl_rows_per_s": round(rows / times.ingest_s),
        "jsonl_sensor_wait_s": round(times.sensor_wait_s, 1),
        "jsonl_runs": times.runs,
        "jsonl_peak_memory_mib": times.peak_memory_bytes // 2**20,
    }
    say("small files through sensor and runs, and the bare requests beside them")
    times = measure_pipeline(site, small, f"{prefix}/small/")
    bare_s = measure_bare_requests(site, small, f"{prefix}-bare/small/".replace("landing", "bare"))
    results |= {
        "small_files": len(small),
        "small_settled_s": round(times.settled_s, 2),
        "small_files_per_s": round(len(small) / times.settled_s, 1),
        "small_bare_requests_s": round(bare_s, 2),
        "small_rate_of_bare": round(bare_s / times.settled_s, 2),
        "small_peak_memory_mib": times.peak_memory_bytes // 2**20,
    }
    if has_peer:
        say("dlt on the same files into the same Postgres")
        dlt_s = measure_dlt(
            home / "bench" / "dlt-venv", scratch / "large", _dlt_database(site), say
        )
        results |= {
            "dlt_s": round(dlt_s, 1),
            "dlt_rows_per_s": round(rows / dlt_s),
            "jsonl_times_dlt": round(dlt_s / results["jsonl_ingest_s"], 1),
        }
    return results


def _dlt_database(site: Site) -> str:
    """A fresh database for dlt beside ours, on the same server."""
    admin_url = required(site.settings.admin_database_url, "LOGBOX_ADMIN_DATABASE_URL")
    connection = postgres.connect(admin_url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor, postgres.translated():
            cursor.execute(f"drop database if exists {DLT_DATABASE}")
            cursor.execute(f"create database {DLT_DATABASE}")
    finally:
        connection.close()
    return urlsplit(admin_url)._replace(path=f"/{DLT_DATABASE}").geturl()
