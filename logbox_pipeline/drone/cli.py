"""`logbox-drone`: the command line of a drone. Python 3.9, boto3 and the standard library.

Results go to stdout, everything else to stderr. Exit 0 fine, 1 some file failed, 2 wrong use.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from logbox_pipeline.drone.uploader import (
    ATTEMPTS,
    Progress,
    Target,
    TargetError,
    Uploader,
    UploadError,
)

_REDRAW_S = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. (The console script passes it to sys.exit.)"""
    options = _parser().parse_args(arguments)
    try:
        return _upload(options)
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


def result_of(
    path: Path, uploader: Uploader, name: str | None, progress: Progress
) -> dict[str, Any]:
    """Upload one file; what `--json` prints of it. Never raises for a file that failed."""
    started = time.monotonic()
    try:
        done = uploader.upload(path, name=name, on_progress=progress)
    except UploadError as wrong:
        return {
            "path": str(path),
            "state": "failed",
            "error": wrong.message,
            "hint": wrong.hint,
        }
    return {
        "path": str(path),
        "state": "uploaded",
        "key": done.key,
        "sha256": done.sha256,
        "size_bytes": done.size_bytes,
        "elapsed_s": round(time.monotonic() - started, 3),
        "note": done.note,
    }


def describe(result: Mapping[str, Any]) -> str:
    """One line for a person: an upload goes to stdout, a failure to stderr."""
    if result["state"] == "failed":
        return f"failed: {result['error']}" + (
            f"\n  next: {result['hint']}" if result["hint"] else ""
        )
    note = f"  ({result['note']})" if result["note"] else ""
    return f"uploaded {result['key']}  {size_text(result['size_bytes'])}  {result['sha256']}{note}"


def size_text(size_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def _upload(options: argparse.Namespace) -> int:
    target = read_target(os.environ, options.env, options.vehicle)
    check_paths(options.paths, options.name)
    uploader = Uploader(target, attempts=options.attempts, on_trouble=_line)
    for path in options.paths:
        uploader.key_for(options.name if options.name is not None else path.name)
    failed = False
    for path in options.paths:
        result = result_of(path, uploader, options.name, _progress_line(path.name))
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
        failed = failed or result["state"] == "failed"
        if options.json:
            sys.stdout.write(json.dumps(result) + "\n")
            sys.stdout.flush()
        elif result["state"] == "failed":
            _line(describe(result))
        else:
            sys.stdout.write(describe(result) + "\n")
            sys.stdout.flush()
    return 1 if failed else 0


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
    upload.add_argument("--json", action="store_true", help="one JSON line per file on stdout")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
