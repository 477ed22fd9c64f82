"""`logbox-drone`: the command line of a drone. Python 3.9, boto3 and the standard library.

Results go to stdout, everything else to stderr. Exit 0 fine, 1 some file failed, 2 wrong use.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from logbox_pipeline.drone.deliver import (
    TIMEOUT_S,
    Delivery,
    Wish,
    confirmed,
    describe,
    has_failed,
    result_of,
    size_text,
)
from logbox_pipeline.drone.errors import TargetError, UploadError
from logbox_pipeline.drone.receipt import Stage, parse_public_keys
from logbox_pipeline.drone.store import ATTEMPTS
from logbox_pipeline.drone.target import Target
from logbox_pipeline.drone.uploader import Progress, Uploader

_REDRAW_S = 0.2
_LEAST_RATE = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. (The console script passes it to sys.exit.)"""
    options = _parser().parse_args(spelled_out(sys.argv[1:] if arguments is None else arguments))
    try:
        return _watch(options) if options.command == "watch" else _upload(options)
    except TargetError as wrong:
        _tell(wrong)
        return 2
    except KeyboardInterrupt:
        _line("interrupted; nothing is kept half")
        return 130


def read_target(
    environment: Mapping[str, str], env_file: Path | None, vehicle: str | None
) -> Target:
    """Who uploads where: from the lines that `logbox client add` prints.

    A named file wins over the environment, an argument over both. Raises TargetError.
    """
    values: dict[str, str] = {**environment, **(read_env_file(env_file) if env_file else {})}

    def required(name: str) -> str:
        value = values.get(name, "")
        if not value:
            raise TargetError(
                f"{name} is not set",
                "give the lines that `logbox client add` printed, as --env FILE or in the "
                "environment",
            )
        return value

    return Target(
        client=required("LOGBOX_CLIENT"),
        bucket=required("LOGBOX_LANDING_BUCKET"),
        access_key_id=required("LOGBOX_CLIENT_ACCESS_KEY_ID"),
        secret_access_key=required("LOGBOX_CLIENT_SECRET_ACCESS_KEY"),
        endpoint=values.get("LOGBOX_S3_ENDPOINT") or None,
        region=values.get("LOGBOX_S3_REGION") or "us-east-1",
        vehicle=vehicle or values.get("LOGBOX_VEHICLE") or None,
        receipt_keys=parse_public_keys(values.get("LOGBOX_RECEIPT_PUBLIC_KEY", "")),
    )


def read_env_file(path: Path) -> dict[str, str]:
    """`NAME=value` lines; `export`, quotes, comments and empty lines as in a shell."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as wrong:
        raise TargetError(f"cannot read {path}: {wrong}") from None
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise TargetError(f"{path}, line {number}: expected NAME=value")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        values[name.strip().split()[-1]] = value
    return values


def check_paths(paths: Sequence[Path], name: str | None) -> None:
    """Raises TargetError for what cannot be uploaded as asked; nothing has been sent then."""
    if name is not None and len(paths) > 1:
        raise TargetError("--name goes with one file", "upload them one by one")
    for path in paths:
        if path.is_dir():
            raise TargetError(f"{path} is a folder", f"name its files: {path}/*")


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """`--wait` alone means `--wait archived`, also before a path."""
    stages = [stage.value for stage in Stage]
    return [
        f"{one}={Stage.ARCHIVED.value}" if one == "--wait" and following not in stages else one
        for one, following in zip(arguments, [*arguments[1:], ""])
    ]


def _upload(options: argparse.Namespace) -> int:
    target = read_target(os.environ, options.env, options.vehicle)
    wish = Wish(options.wait, options.delete_after, options.timeout)
    wish.check(target)
    check_paths(options.paths, options.name)
    uploader = Uploader(target, attempts=options.attempts, on_trouble=_line)
    for path in options.paths:
        target.key_for(options.name if options.name is not None else path.name)
    failed = False
    waiting: list[Delivery] = []
    for path in options.paths:
        delivery = result_of(path, uploader, options.name, _progress_line(path.name), wish)
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
        is_waiting = delivery.sent is not None and bool(wish.stages)
        if is_waiting:
            waiting.append(delivery)
        if not is_waiting or not options.json:
            failed = _report(delivery.result, options.json) or failed
    # All are sent before the first is waited for: Logbox takes them together.
    for delivery in waiting:
        failed = _report(confirmed(delivery, uploader, wish), options.json) or failed
    return 1 if failed else 0


def _report(result: Mapping[str, Any], as_json: bool) -> bool:
    """Print a result; whether it is a failure."""
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
    elif has_failed(result):
        _line(describe(result))
    else:
        sys.stdout.write(describe(result) + "\n")
    sys.stdout.flush()
    return has_failed(result)


def _watch(options: argparse.Namespace) -> int:
    # Imported here: sqlite is nothing that `upload` needs.
    from logbox_pipeline.drone.watch import Settings, run

    target = read_target(os.environ, options.env, options.vehicle)
    settings = Settings(
        folder=options.folder,
        state=options.state or options.folder / ".logbox",
        stable_for_s=options.stable_for,
        every_s=options.every,
        max_rate=options.max_rate,
        delete_after=options.delete_after,
        ignore=tuple(options.ignore),
        is_once=options.once,
    )
    Wish(delete_after=settings.delete_after).check(target)
    return run(target, settings, _line)


def _progress_line(name: str) -> Progress:
    """A line on the terminal that is drawn over; nothing where there is no terminal."""
    if not sys.stderr.isatty():
        return lambda done, total: None
    started = time.monotonic()
    drawn = 0.0

    def draw(done: int, total: int) -> None:
        nonlocal drawn
        now = time.monotonic()
        if now - drawn < _REDRAW_S:
            return
        drawn = now
        rate = done / max(now - started, 0.001)
        sys.stderr.write(
            f"\r\x1b[K{name}  {100 * done // max(total, 1)} %  "
            f"{size_text(done)} of {size_text(total)}  {size_text(rate)}/s"
        )
        sys.stderr.flush()

    return draw


def _tell(wrong: UploadError) -> None:
    _line(f"logbox-drone: {wrong.message}" + (f"\n  next: {wrong.hint}" if wrong.hint else ""))


def _line(text: str) -> None:
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{clear}{text}\n")
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="logbox-drone", description="Upload logs to Logbox over plain S3."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    upload = commands.add_parser(
        "upload",
        help="upload files",
        description="Upload files, each with its SHA-256. Nothing is ever overwritten. Exit 0: all "
        "are there; 1: some are not; 2: wrong use.",
    )
    upload.add_argument("paths", metavar="PATH", nargs="+", type=Path)
    upload.add_argument("--vehicle", help="the vehicle's folder (default: LOGBOX_VEHICLE)")
    upload.add_argument("--name", help="another name for the one file")
    upload.add_argument(
        "--env",
        metavar="FILE",
        type=Path,
        help="the lines that `logbox client add` printed (default: the environment)",
    )
    upload.add_argument(
        "--attempts",
        metavar="N",
        type=_positive,
        default=ATTEMPTS,
        help="attempts at each request while the link or the store fails (default: %(default)s)",
    )
    upload.add_argument(
        "--wait",
        metavar="STAGE",
        type=_stage,
        nargs="?",
        const=Stage.ARCHIVED,
        help="wait for the receipt: archived (default), replicated or loaded",
    )
    upload.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=TIMEOUT_S,
        help="how long to wait for a file's receipt (default: %(default).0f)",
    )
    _add_delete_after(upload)
    upload.add_argument("--json", action="store_true", help="one JSON line per file on stdout")
    watch = commands.add_parser(
        "watch",
        help="upload what appears in a folder",
        description="Upload what appears in a folder, and below it, once nothing writes it any "
        "more; small logs first. Goes on where it was after a power cut, and waits for the network "
        "for as long as it takes. Exit 0: stopped, or all is sent; 1: the key is refused, or with "
        "--once something could not be sent; 2: wrong use.",
    )
    watch.add_argument("folder", metavar="DIR", type=Path)
    watch.add_argument("--vehicle", help="the vehicle's folder (default: LOGBOX_VEHICLE)")
    watch.add_argument(
        "--env",
        metavar="FILE",
        type=Path,
        help="the lines that `logbox client add` printed (default: the environment)",
    )
    watch.add_argument(
        "--state", metavar="DIR", type=Path, help="where it remembers (default: DIR/.logbox)"
    )
    watch.add_argument(
        "--stable-for",
        metavar="SECONDS",
        type=_seconds,
        default=10.0,
        help="how long a file must stay as it is before it is sent (default: %(default).0f)",
    )
    watch.add_argument(
        "--every",
        metavar="SECONDS",
        type=_seconds,
        default=5.0,
        help="how often to look into the folder (default: %(default).0f)",
    )
    watch.add_argument(
        "--max-rate", metavar="BYTES", type=_rate, help="bytes per second at most; 500k, 2M"
    )
    _add_delete_after(watch)
    watch.add_argument(
        "--ignore",
        metavar="GLOB",
        action="append",
        default=[],
        help="names, or paths below DIR, that are no logs; hidden files and *.part, *.partial, "
        "*.tmp, *.crdownload, *.swp, *~ never are",
    )
    watch.add_argument("--once", action="store_true", help="send what is there, then end")
    return parser


def _add_delete_after(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--delete-after",
        metavar="STAGE",
        type=_stage,
        help="delete the copy here when a receipt proves these bytes archived, replicated or "
        "loaded; needs LOGBOX_RECEIPT_PUBLIC_KEY",
    )


def _stage(text: str) -> Stage:
    try:
        return Stage(text)
    except ValueError:
        raise argparse.ArgumentTypeError("expected archived, replicated or loaded") from None


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError("expected 0 or more")
    return seconds


def _rate(text: str) -> float:
    unit = {"k": 1e3, "m": 1e6, "g": 1e9}.get(text[-1:].lower())
    rate = float(text[:-1] if unit else text) * (unit or 1)
    if not _LEAST_RATE <= rate < math.inf:
        raise argparse.ArgumentTypeError(f"expected {_LEAST_RATE} or more: 500k, 2M")
    return rate


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
