"""`logbox rebuild`: Postgres again from the archive bucket alone."""

import time
from datetime import date
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from logbox_pipeline.adapters.catalog_restore import Progress as Done
from logbox_pipeline.adapters.catalog_restore import Scope
from logbox_pipeline.cli.say import print_json, say, stderr
from logbox_pipeline.core.errors import UsageError
from logbox_pipeline.settings import load_settings
from logbox_pipeline.steps import rebuild as steps
from logbox_pipeline.steps.rebuild import RebuildReport
from logbox_pipeline.steps.site import open_site


def rebuild(
    database: Annotated[
        str | None,
        typer.Option("--database", metavar="NAME", help="Fill this one, made when it is missing."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="DAY", help="Only what came since: 2026-03-01.")
    ] = None,
    client: Annotated[str | None, typer.Option("--client", help="Only this client's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Make Postgres from the archive bucket alone; run again, it goes on where it was.

    Exit 1: a log's bytes or a manifest are lost, a file of the archive is not what or where it
    should be, or rows are not those that were loaded once.
    """
    if database is None and (since or client):
        raise UsageError(
            "a part of the logs is no pipeline's database",
            hint="name another for it: `logbox rebuild --database NAME --since DAY`",
        )
    site, scope = open_site(load_settings()), Scope(_day(since), None, client)
    started = time.monotonic()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=stderr,
        transient=True,
    ) as bar:
        task = bar.add_task("reading manifests", total=None)

        def show(done: Done) -> None:
            bar.update(
                task,
                description=f"unit {done.done} of {done.units}, {done.rows:,} rows",
                total=done.size_bytes,
                completed=done.done_bytes,
            )

        if database is None:
            report = steps.rebuild_missing(site, scope, show)
        else:
            report = steps.rebuild_into(site, database, scope, show)
    _show(report, time.monotonic() - started, as_json=as_json)
    if not report.is_clean:
        raise typer.Exit(1)


def _show(report: RebuildReport, seconds: float, *, as_json: bool) -> None:
    done = report.progress
    if as_json:
        print_json(
            {
                "logs": done.logs,
                "size_bytes": done.size_bytes,
                "rows": done.rows,
                "different_logs": done.different,
                "lost_logs": report.lost,
                "lost_files": report.lost_files,
                "odd_files": report.odd_files,
                "unknown_objects": report.unknown,
                "unknown_keys": report.unknown_keys,
                "seconds": round(seconds, 3),
            }
        )
        return
    rate = done.size_bytes / 1e6 / seconds if seconds else 0.0
    say(f"{done.logs:,} logs, {done.rows:,} rows in {seconds:.1f} s ({rate:.1f} MB/s of logs)")
    if done.different:
        say(
            f"{done.different} log(s) do not hold the rows they once did: another parser version "
            "read them; `logbox reparse` brings the lake to the same"
        )
    for log_id, why in sorted(report.lost.items()):
        say(f"lost: {log_id}: {why}")
    for key, why in sorted(report.lost_files.items()):
        say(f"lost: {key}: {why}; what only it told of is not made")
    for key, why in sorted(report.odd_files.items()):
        say(f"odd: {key}: {why}")
    if report.unknown:
        say(
            f"{report.unknown} object(s) of the archive are in no manifest, the first: "
            f"{', '.join(report.unknown_keys[:3])}; `logbox reconcile` names them all"
        )


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no day", hint="a day reads 2026-03-01") from None
