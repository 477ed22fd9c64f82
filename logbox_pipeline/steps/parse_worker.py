"""Parse one log inside a worker process, under limits. What is wrong with a log is an answer here.

Imported by a bare interpreter: keep Dagster and boto3 out, each would cost every worker seconds.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from logbox_pipeline.adapters.mapped import kept_small, map_file
from logbox_pipeline.adapters.spool import Spool, Spooled
from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.core.flights import LogTrack
from logbox_pipeline.formats.recognize import recognize
from logbox_pipeline.formats.stream import Damage, Limits
from logbox_pipeline.formats.wrappers import Lost
from logbox_pipeline.steps.budget import MACHINE_FAULTS, Budget, OutOfTime, limited
from logbox_pipeline.steps.track import track_of

_BUGS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class ParsedLog:
    """Rows that stand in the spool."""

    format: str
    parser_version: int
    recognized_by: str
    spooled: Spooled
    track: LogTrack | None = None
    track_error: str | None = None
    """Why there is no track, when the making of it failed."""


@dataclass(frozen=True)
class UnparsedLog:
    """Authentic bytes that gave no rows, and why."""

    reason: str
    detail: str
    format: str | None = None
    parser_version: int | None = None


def parse_log(
    path: Path,
    rows: Path,
    received_at: datetime,
    budget: Budget,
    lost: Iterable[Lost] = (),
) -> ParsedLog | UnparsedLog:
    """Recognize a log by its content and spool its rows to the file `rows`.

    `lost` is what its wrapper lost of it: ranges of the wrapper's bytes, told as damage too.
    """
    try:
        with limited(budget):
            return _parse(path, rows, received_at, lost)
    except OutOfTime:
        return UnparsedLog(
            "parser_timeout", f"took more than {budget.cpu_s} s of CPU time (LOGBOX_PARSE_CPU_S)"
        )
    except MemoryError:
        return UnparsedLog(
            "parser_failed",
            f"needs more than {budget.memory_bytes // 2**20} MiB (LOGBOX_PARSE_MEMORY_BYTES)",
        )
    except LogboxError:
        raise
    except Exception as error:
        # A parser's bug costs its own file only; the machine's faults are not its bugs.
        if isinstance(error, OSError) and error.errno in MACHINE_FAULTS:
            raise
        return UnparsedLog("parser_failed", f"{type(error).__name__}: {error}"[:1_000])


def _parse(
    path: Path, rows: Path, received_at: datetime, lost: Iterable[Lost]
) -> ParsedLog | UnparsedLog:
    size = path.stat().st_size
    if size == 0:
        return UnparsedLog("empty", "the log has no bytes")
    # Never closed by hand: a parser's arrays may still look at it; the last of them closes it.
    mapped = map_file(path)
    source = memoryview(mapped)
    limits = Limits(received_at=received_at)
    recognized = recognize(source, limits)
    if recognized is None:
        start = bytes(source[:16]).hex(" ")
        return UnparsedLog("unknown_format", f"no parser knows these bytes: {start} ...")
    known = recognized.format
    with Spool(rows) as spool, kept_small(mapped):
        for item in known.parse(source, limits):
            spool.write(item)
        for one in lost:
            spool.write(Damage(one.start, one.end, one.reason))
        spooled = spool.close()
    if spooled.unreadable is not None:
        return UnparsedLog(
            spooled.unreadable.reason,
            spooled.unreadable.detail,
            known.name,
            known.parser_version,
        )
    try:
        found, error = track_of(rows, known.name, spooled, spooled.about), None
    except _BUGS as bug:
        # The log's own rows are there, and worth more than what is made of them.
        found, error = None, f"{type(bug).__name__}: {bug}"[:1_000]
    return ParsedLog(known.name, known.parser_version, recognized.how, spooled, found, error)
