"""Inspect: what Logbox would make of a file, without any server. The same code as in a run."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from logbox_pipeline.adapters.spool import event_batches
from logbox_pipeline.core.errors import LogboxError, UsageError
from logbox_pipeline.formats.wrappers import HEAD_BYTES, Wrapper, looks_wrapped
from logbox_pipeline.settings import Settings
from logbox_pipeline.steps.frames import events_frame, parameters_frame, topic_frame
from logbox_pipeline.steps.parse_pool import Job, UnwrapJob, parse_all, unwrap_all
from logbox_pipeline.steps.parse_worker import ParsedLog, UnparsedLog
from logbox_pipeline.steps.unwrap import why_nothing
from logbox_pipeline.steps.unwrap_worker import InnerLog, RefusedInner, Unwrapped


@dataclass(frozen=True)
class InspectedLog:
    """One log of the file; its rows stand in the file `rows` as long as the inspection is open."""

    member: str
    sha256: str
    size_bytes: int
    result: ParsedLog | UnparsedLog
    rows: Path

    @property
    def topics(self) -> tuple[str, ...]:
        """Names of the topics that `frame` gives."""
        return tuple(one.topic for one in self._parsed.spooled.topics)

    def frame(self, topic: str) -> pd.DataFrame:
        """Every row of a topic, as `steps.frames.topic_frame` gives it."""
        return topic_frame(self.rows, self._parsed.spooled, topic)

    def events(self) -> pd.DataFrame:
        return events_frame(self.rows, self._parsed.spooled)

    def events_by_level(self) -> Counter[int | None]:
        """How many events of each level; None: those whose source gives none."""
        counts: Counter[int | None] = Counter()
        for batch in event_batches(self.rows, self._parsed.spooled):
            for one in batch.column("level").value_counts():
                counts[one["values"].as_py()] += one["counts"].as_py()
        return counts

    def parameters(self) -> pd.DataFrame:
        return parameters_frame(self.rows, self._parsed.spooled)

    @property
    def _parsed(self) -> ParsedLog:
        if not isinstance(self.result, ParsedLog):
            raise UsageError(f"nothing could be read: {self.result.reason}: {self.result.detail}")
        return self.result


@dataclass(frozen=True)
class Inspection:
    """A file, the logs in it (at least one), and the members of an archive that were refused."""

    path: Path
    sha256: str
    size_bytes: int
    wrapper: Wrapper | None
    logs: tuple[InspectedLog, ...]
    refused: tuple[RefusedInner, ...]


@contextmanager
def inspect(settings: Settings, path: Path, now: datetime) -> Iterator[Inspection]:
    """Unwrap and parse as a run would, had the file arrived `now`; scratch is gone afterwards.

    Raises UsageError when there is no such file, TransientError when scratch is full.
    """
    if not path.is_file():
        raise UsageError(f"{path} is no file")
    with TemporaryDirectory(prefix="logbox-inspect-") as scratch:
        yield _inspect(settings, path, now, Path(scratch))


def _inspect(settings: Settings, path: Path, now: datetime, scratch: Path) -> Inspection:
    sha256, head = _read(path)
    size_bytes = path.stat().st_size
    opened = Unwrapped(None, (InnerLog("", path, sha256, size_bytes),), ())
    if looks_wrapped(head):
        job = UnwrapJob(path, sha256, scratch / "unwrapped", size_bytes)
        (opened,) = unwrap_all(settings, [job])
    if not opened.logs:
        unread = InspectedLog("", sha256, size_bytes, why_nothing(opened), scratch / "0.arrow")
        return Inspection(path, sha256, size_bytes, opened.wrapper, (unread,), opened.refused)
    jobs = [
        Job(one.path, scratch / f"{number}.arrow", now, one.size_bytes, one.lost)
        for number, one in enumerate(opened.logs)
    ]
    logs = tuple(
        InspectedLog(one.member, one.sha256, one.size_bytes, result, job.rows)
        for one, job, result in zip(opened.logs, jobs, parse_all(settings, jobs), strict=True)
    )
    return Inspection(path, sha256, size_bytes, opened.wrapper, logs, opened.refused)


def _read(path: Path) -> tuple[str, bytes]:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest(), head
    except OSError as error:
        raise LogboxError(f"cannot read {path}: {error.strerror}") from error
