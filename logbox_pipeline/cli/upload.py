"""`logbox upload`: the drone's side, from a desk. The work is drone/'s, the progress bar ours."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bar

from logbox_pipeline.core.errors import UsageError
from logbox_pipeline.drone.cli import check_paths, describe, read_target, result_of
from logbox_pipeline.drone.uploader import ATTEMPTS, Progress, TargetError, Uploader


def upload(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="The logs.")],
    vehicle: Annotated[
        str | None, typer.Option(help="The vehicle's folder; else LOGBOX_VEHICLE.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Another name for the one file.")] = None,
    env: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The lines that `logbox client add` printed."),
    ] = None,
    attempts: Annotated[
        int, typer.Option(min=1, help="Attempts at each request while the link or store fails.")
    ] = ATTEMPTS,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per file.")] = False,
) -> None:
    """Upload logs as a client, each with its SHA-256. Nothing is ever overwritten."""
    console = Console(stderr=True)
    try:
        check_paths(paths, name)
        target = read_target(os.environ, env, vehicle)
        uploader = Uploader(target, attempts=attempts, on_trouble=_teller(console))
        for path in paths:
            uploader.key_for(name if name is not None else path.name)
    except TargetError as wrong:
        raise UsageError(wrong.message, hint=wrong.hint) from None
    failed = False
    for path in paths:
        with _bar(console, path) as progress:
            result = result_of(path, uploader, name, progress)
        failed = failed or result["state"] == "failed"
        _report(result, as_json)
    if failed:
        raise typer.Exit(1)


def _report(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
    elif result["state"] == "failed":
        typer.echo(describe(result), err=True)
    else:
        sys.stdout.write(describe(result) + "\n")
    sys.stdout.flush()


@contextmanager
def _bar(console: Console, path: Path) -> Iterator[Progress]:
    """A progress bar on a terminal; nothing elsewhere."""
    if not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(path.name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _teller(console: Console) -> Any:
    def tell(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    return tell
