"""`logbox upload`: the drone's side, from a desk. The work is drone/'s, the progress bar ours."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
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
from typer.core import TyperCommand

from logbox_pipeline.core.errors import UsageError
from logbox_pipeline.drone.cli import check_paths, read_target, spelled_out
from logbox_pipeline.drone.deliver import (
    TIMEOUT_S,
    Delivery,
    Wish,
    confirmed,
    describe,
    has_failed,
    result_of,
)
from logbox_pipeline.drone.errors import TargetError
from logbox_pipeline.drone.receipt import Stage
from logbox_pipeline.drone.store import ATTEMPTS
from logbox_pipeline.drone.uploader import Progress, Uploader


class UploadCommand(TyperCommand):
    """`--wait` alone means `--wait archived`, as for `logbox-drone`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spelled_out(args))


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
    wait: Annotated[
        Stage | None, typer.Option(help="Wait for the receipt; alone: --wait archived.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long, for each file's receipt.")
    ] = TIMEOUT_S,
    delete_after: Annotated[
        Stage | None,
        typer.Option(help="Delete the file here when a receipt proves its bytes so far."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per file.")] = False,
) -> None:
    """Upload logs as a client, each with its SHA-256. Nothing is ever overwritten."""
    console = Console(stderr=True)
    wish = Wish(wait, delete_after, timeout)
    try:
        check_paths(paths, name)
        target = read_target(os.environ, env, vehicle)
        wish.check(target)
        uploader = Uploader(target, attempts=attempts, on_trouble=_teller(console))
        for path in paths:
            target.key_for(name if name is not None else path.name)
    except TargetError as wrong:
        raise UsageError(wrong.message, hint=wrong.hint) from None
    failed = False
    waiting: list[Delivery] = []
    for path in paths:
        with _bar(console, path) as progress:
            delivery = result_of(path, uploader, name, progress, wish)
        is_waiting = delivery.sent is not None and bool(wish.stages)
        if is_waiting:
            waiting.append(delivery)
        if not is_waiting or not as_json:
            failed = _report(delivery.result, as_json) or failed
    for delivery in waiting:
        with console.status(f"waiting for the receipt of {delivery.path.name}"):
            result = confirmed(delivery, uploader, wish)
        failed = _report(result, as_json) or failed
    if failed:
        raise typer.Exit(1)


def _report(result: Mapping[str, Any], as_json: bool) -> bool:
    """Print a result; whether it is a failure."""
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
    elif has_failed(result):
        typer.echo(describe(result), err=True)
    else:
        sys.stdout.write(describe(result) + "\n")
    sys.stdout.flush()
    return has_failed(result)


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
