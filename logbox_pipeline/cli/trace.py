"""`logbox trace/get`: what became of a log, and the log itself."""

import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from logbox_pipeline.cli.operate import checked_site, plain, print_line, print_time
from logbox_pipeline.cli.say import print_json, say
from logbox_pipeline.core.errors import UsageError
from logbox_pipeline.core.keys import extension, inner_extension
from logbox_pipeline.steps import trace as steps


def trace(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="File name, key, digest (8 or more hex digits), log or delivery id, VEHICLE@DATE.",
        ),
    ],
    client: Annotated[str | None, typer.Option("--client", help="Only this client's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Did we get it? Every hop with its time and reason; exit 1 when it was never seen."""
    # Refuse what cannot be asked before anything is contacted.
    steps.ask(what)
    found = steps.trace(checked_site(), what, client)
    if as_json:
        print_json(asdict(found))
    else:
        _show(found)
    if not found.found:
        _say_never_seen(found)
        raise typer.Exit(1)


def get(
    log_id: Annotated[str, typer.Argument(metavar="LOG_ID", help="The log's id; see trace.")],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="PATH", help="A file or folder; - is stdout."),
    ] = None,
    as_uploaded: Annotated[
        bool,
        typer.Option("--as-uploaded", help="The object the drone sent, not the log out of it."),
    ] = False,
) -> None:
    """Write a log's bytes, once their digest is proven; never over another file.

    A log that came compressed or in an archive is written without its wrapper.
    """
    wanted = _log_id(log_id)
    if output == "-":
        _to_stdout(wanted, as_uploaded=as_uploaded)
        return
    asked = Path(output or ".")
    if not asked.is_dir():
        _require_free(asked)
    folder = asked if asked.is_dir() else asked.parent
    if not folder.is_dir():
        raise UsageError(
            f"there is no folder {plain(str(folder))}", hint="make it, or name another"
        )
    with steps.original(checked_site(), wanted, folder, as_uploaded=as_uploaded) as (path, held):
        is_inner = not as_uploaded and held.content_sha256 != held.sha256
        # The drone's own name could be `.bashrc`: it names nothing here.
        ending = (inner_extension if is_inner else extension)(held.member or held.archive_key)
        target = asked / f"{wanted}{ending}" if asked.is_dir() else asked
        _move(path, target)
        size_bytes = target.stat().st_size
    called = plain(f"{held.name}/{held.member}" if is_inner and held.member else held.name)
    sha256 = held.content_sha256 if is_inner else held.sha256
    say(f"{target}: {size_bytes:,} bytes, sha256 {sha256}; the drone called it {called}")


def _show(found: steps.Trace) -> None:
    for one in found.deliveries:
        reason = f" ({one.reason})" if one.reason else ""
        print_line(f"{one.landing_key}: {one.state}{reason}")
        for hop in one.hops:
            print_line(f"  {print_time(hop.at)}  {hop.hop:<12}  {hop.detail}".rstrip())
    if found.matches > len(found.deliveries):
        say(
            f"{len(found.deliveries)} newest of {found.matches} deliveries; "
            "--client or a whole key narrows it"
        )
    if found.standing:
        print_line("in landing, not yet seen by the sensor:")
        for standing in found.standing:
            print_line(
                f"  {print_time(standing.received_at)}  {standing.landing_key}  "
                f"{standing.size_bytes:,} bytes"
            )
        last = found.last_tick_at
        say(
            "the sensor looks every 10 s; it last looked "
            + (f"at {last:%Y-%m-%d %H:%M:%S} UTC" if last else "never: does Dagster run?")
        )


def _say_never_seen(found: steps.Trace) -> None:
    say(plain(f"never seen: {found.what}"))
    if not found.is_landing_searched_whole:
        say(
            "  landing holds too much to look at all of it; give the whole key, "
            "or narrow it with --client"
        )
    for one in found.last_heard:
        say(
            f"  last heard of {one['client']}/{one['vehicle']} at "
            f"{one['last_seen_at']:%Y-%m-%d %H:%M:%S} UTC"
        )
    if found.vehicles and not found.last_heard:
        vehicles = " or ".join(found.vehicles)
        say(plain(f"  nothing was ever heard of a vehicle {vehicles} either"))
    say("  next: look on the drone for the log; `logbox client list` shows its keys")


def _log_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise UsageError(
            f"{plain(text)!r} is no log id", hint="`logbox trace NAME` shows the ids of what came"
        ) from None


def _to_stdout(wanted: UUID, *, as_uploaded: bool) -> None:
    if sys.stdout.isatty():
        raise UsageError(
            "a log's bytes do not belong on a terminal",
            hint="send stdout into a file or pipe, or use --output PATH",
        )
    with (
        steps.original(checked_site(), wanted, as_uploaded=as_uploaded) as (path, _),
        path.open("rb") as file,
    ):
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _move(path: Path, target: Path) -> None:
    """Put a finished file in place, whole or not at all, and never over another."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    try:
        target.hardlink_to(path)
    except FileExistsError:
        _require_free(target)
        raise
    except OSError:
        # No hard links on this file system: a rename, which could hit a file made this instant.
        _require_free(target)
        path.rename(target)


def _require_free(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise UsageError(
            f"{plain(str(target))} exists and is not overwritten",
            hint="remove it, or name another file with --output",
        )
