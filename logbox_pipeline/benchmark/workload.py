"""The files a benchmark works on, made by the simulator's own writers. No measuring here."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from logbox_pipeline.simulator.dataflash_writer import write_dataflash
from logbox_pipeline.simulator.jsonl_writer import write_jsonl
from logbox_pipeline.simulator.tlog_writer import write_tlog
from logbox_pipeline.simulator.ulog_writer import write_ulog
from logbox_pipeline.steps.site import TRANSFERS, Site


@dataclass(frozen=True)
class LogFile:
    """One file to upload: where it stands, its digest, its rows."""

    path: Path
    sha256: str
    size_bytes: int
    rows: int


def make_files(folder: Path, *, files: int, lines: int, seed: int) -> list[LogFile]:
    """`files` JSON Lines logs of `lines` lines and 46 shapes each, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(files):
        out = BytesIO()
        write_jsonl(out, seed=seed + number, lines=lines)
        data = out.getvalue()
        path = folder / f"companion-{number:05d}.jsonl"
        path.write_bytes(data)
        made.append(LogFile(path, hashlib.sha256(data).hexdigest(), len(data), lines))
    return made


def make_flights(folder: Path, *, files: int, size_bytes: int, seed: int) -> list[LogFile]:
    """`files` ULogs of about `size_bytes` each, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _flight(folder / f"flight-{number:05d}.ulg", size_bytes, seed + number)
        for number in range(files)
    ]


def make_mixed(folder: Path, *, files: int, size_bytes: int, seed: int) -> list[LogFile]:
    """`files` DataFlash logs and as many tlogs of about `size_bytes` each, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(files):
        for suffix, write in ((".bin", write_dataflash), (".tlog", write_tlog)):
            path = folder / f"flight-{number:05d}{suffix}"
            with path.open("wb") as out:
                ledger = write(out, seed=seed + number, size_bytes=size_bytes)
            made.append(_file(path, ledger.rows_total))
    return made


def make_long_lines(path: Path, *, lines: int, seed: int) -> LogFile:
    """One large JSON Lines log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        write_jsonl(out, seed=seed, lines=lines)
    return _file(path, lines)


def _flight(path: Path, size_bytes: int, seed: int) -> LogFile:
    with path.open("wb") as out:
        ledger = write_ulog(out, seed=seed, size_bytes=size_bytes)
    return _file(path, ledger.rows_total)


def _file(path: Path, rows: int) -> LogFile:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return LogFile(path, sha256, path.stat().st_size, rows)


def upload_files(site: Site, files: list[LogFile], prefix: str) -> None:
    """Put every file below `prefix` with its declared digest, as a drone does."""

    def put(one: LogFile) -> None:
        site.landing.put_file(
            f"{prefix}{one.path.name}", one.path, one.sha256, metadata={"sha256": one.sha256}
        )

    with ThreadPoolExecutor(TRANSFERS) as threads:
        list(threads.map(put, files))
