"""`logbox bench`: measure the whole, beside peers and limits, on a stack of its own."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from logbox_pipeline.benchmark import machine, results
from logbox_pipeline.benchmark.bench import Bench, add_client
from logbox_pipeline.benchmark.measured import Measured, became_worse
from logbox_pipeline.benchmark.parts import PARTS, Part, chosen, run_part
from logbox_pipeline.benchmark.report import report
from logbox_pipeline.benchmark.results import PartResults, Results
from logbox_pipeline.benchmark.rows import COLUMNS, rows_of, where
from logbox_pipeline.benchmark.sizes import FULL, QUICK
from logbox_pipeline.cli.say import print_json, print_table, say
from logbox_pipeline.cli.stack import end_on_signals, require_embedded
from logbox_pipeline.core.errors import UsageError
from logbox_pipeline.local.processes import free_port
from logbox_pipeline.local.site import running
from logbox_pipeline.local.stack import running_pid
from logbox_pipeline.settings import load_settings
from logbox_pipeline.steps.site import Site, open_site

PINNED = {"LOGBOX_REPLICATION": "off", "LOGBOX_POSTGRES_TOPICS": "*"}
"""Copying to a replica follows a run: it would be done while what is beside it is measured."""

_WHICH = "; ".join(f"{part.name}: {part.about}" for part in PARTS)


def bench(
    parts: Annotated[
        list[str] | None, typer.Argument(metavar="[PART]...", help=f"Else all. {_WHICH}.")
    ] = None,
    is_quick: Annotated[
        bool, typer.Option("--quick", help="A look in 3 minutes: small, once, against no bar.")
    ] = False,
    is_saved: Annotated[
        bool, typer.Option("--save", help="Keep the results in the source tree.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a page with plots.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Measure speed, limits and growth on a stack of its own; exit 1 when a bar is missed."""
    require_embedded("bench", hint="clear .env, or run it in another folder")
    wanted = chosen(parts or ())
    if is_saved and not results.FOLDER.parent.is_dir():
        raise UsageError("there is no source tree to keep results in", hint="leave --save away")
    earlier = results.saved()
    end_on_signals()
    measured = _measure(wanted, is_quick=is_quick)
    last = results.before(earlier, measured)
    if is_saved:
        say(f"saved as {results.save(measured)}")
    if html is not None:
        html.write_text(report(measured, earlier, last), encoding="utf-8")
        say(f"written: {html}")
    _show(measured, last, as_json=as_json)
    if measured.missed or measured.failed:
        raise typer.Exit(1)


def _measure(parts: Sequence[Part], *, is_quick: bool) -> Results:
    # Before our own work is part of the load, and before anybody changes a file.
    here, commit = machine.this_machine(), machine.commit()
    started = datetime.now(UTC)
    # Of some parts the processes begin in folders of their own.
    folder = (load_settings().home / "bench").absolute()
    with _stack(folder, parts) as site:
        scratch = folder / "scratch"
        stage = Bench(site, scratch, folder / "tools", QUICK if is_quick else FULL, say)
        done = []
        for part in parts:
            say(f"{part.name}: {part.about}")
            try:
                done.append(run_part(part, stage, say))
            except KeyboardInterrupt:
                # What was measured before is not lost.
                done.append(PartResults(part.name, 0, (), "interrupted"))
                break
        postgres = _postgres_version(site) if any(part.needs_stack for part in parts) else None
    command = " ".join(["logbox", *sys.argv[1:]])
    versions = machine.versions(postgres)
    return Results(started, command, commit, here, versions, is_quick, tuple(done))


@contextmanager
def _stack(folder: Path, parts: Sequence[Part]) -> Iterator[Site]:
    """A fresh stack below `folder`, gone at the end: each run measures the same, and nobody's."""
    home, scratch = folder / "stack", folder / "scratch"
    if running_pid(home) is not None:
        raise UsageError("another benchmark runs here", hint="wait for it, or end it")
    os.environ.update(PINNED)
    os.environ["LOGBOX_HOME"] = str(home)
    os.environ["LOGBOX_WORK_DIR"] = str(home / "work")
    os.environ["LOGBOX_WEB_PORT"] = str(free_port())
    shutil.rmtree(home, ignore_errors=True)
    try:
        if not any(part.needs_stack for part in parts):
            yield open_site(load_settings())
            return
        with running(home, say):
            site = open_site(load_settings())
            add_client(site)
            yield site
    finally:
        for one in (home, scratch):
            shutil.rmtree(one, ignore_errors=True)


def _postgres_version(site: Site) -> str:
    with site.transaction() as cursor:
        cursor.execute("show server_version")
        return str(cursor.fetchone()[0])


def _show(measured: Results, last: dict[str, Measured], *, as_json: bool) -> None:
    worse = became_worse(measured.measured, last)
    if as_json:
        found: dict[str, Any] = msgspec.to_builtins(measured)
        missed = [one.key for one in measured.missed]
        print_json(found | {"missed": missed, "times_worse_than_last_saved": worse})
        return
    for part in measured.parts:
        rows = rows_of(part, last, is_quick=measured.is_quick)
        shown = [name for name in COLUMNS if any(row[name] for row in rows)]
        print_table(f"{part.part}, {part.seconds:.0f} s", rows, shown)
    say(where(measured))
    if measured.is_quick:
        say("a quick look: once each, small; no bar is for it")
    for part in measured.failed:
        say(f"{part.part} failed: {part.error}")
    for one in measured.missed:
        say(f"missed: {one.key}: {one.title}")
    for key, times in worse.items():
        say(f"worse than the last saved: {key}, {times:.2f} times")
