"""Replicate: a proven copy of every file of the archive, elsewhere. Nothing else waits for it.

What is owed stands in the catalog, oldest first: what has no `replicated_at`, and what the replica
was seen without since then, whose drift stays open until reconciliation sees it gone. With
LOGBOX_REPLICATION=external the store copies by itself, and each copy is only proven here.
"""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

from logbox_pipeline.adapters import catalog_replica as catalog
from logbox_pipeline.adapters import postgres
from logbox_pipeline.adapters.catalog_batches import open_batches
from logbox_pipeline.adapters.catalog_drifts import record_drift
from logbox_pipeline.adapters.catalog_replica import BEGINNING, Lag, Owed
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.adapters.turns import Turn, is_taken, turn
from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.core.ports import Download
from logbox_pipeline.steps.proof import holds, proven, put_proven
from logbox_pipeline.steps.setup import require_replica_bucket
from logbox_pipeline.steps.site import TRANSFERS, Site, open_replica

MOST_FILES, MOST_BYTES = 20_000, 16 * 2**30
"""Of one call: some minutes of work, so that its end is seen and its numbers are told."""

PROMPT_S = 10.0
"""How long `due` waits for an answer of the replica."""

_BUSY_SHARE = 3
"""While batches are at work the replica waits up to this share of LOGBOX_REPLICA_LAG_S: what has
just landed is first of all to be loaded, and both would fight for the same processors."""

PAGE_FILES, PAGE_BYTES = 200, 256 * 2**20
"""Of one commit, and most bytes in scratch but for one file that is larger alone: what a killed
call does again."""


class Outcome(StrEnum):
    COPIED = "copied"
    THERE = "there"
    """It stood in the replica, and is proven."""
    ADRIFT = "adrift"
    """A drift is recorded: the archive's bytes, or in external mode the replica's, are wrong."""
    WAITING = "waiting"
    """Not there yet, and not ours to copy."""


@dataclass(frozen=True)
class ReplicateReport:
    """What one call did, in files, and what is still owed after it."""

    copied: int
    copied_bytes: int
    there: int
    adrift: int
    waiting: int
    lag: Lag
    lag_s: int


@dataclass(frozen=True)
class Due:
    """Whether a call would find work. `why_not` says in a sentence why not."""

    lag: Lag
    lag_s: int
    why_not: str | None


def due(site: Site) -> Due:
    """Look whether anything can be replicated now: a run costs seconds, this milliseconds.

    Raises TransientError when the replica does not answer, SettingError when its bucket is not as
    setup makes it.
    """
    if site.replica is None:
        # Everything is owed to it, for ever: that is not to be counted twice a minute.
        nothing = Lag(0, 0, None)
        return Due(nothing, 0, "There is no replica: the archive is the only copy.")
    now = site.now()
    with site.transaction() as cursor:
        lag = catalog.lag(cursor)
        is_owed = bool(catalog.owed(cursor, _places(site), now, 1))
        is_busy = any(not one.is_apart for one in open_batches(cursor))
    lag_s = lag.seconds(now)
    if not lag.files:
        return Due(lag, lag_s, "The replica has everything.")
    if not is_owed:
        why = f"{lag.files} file(s) wait for the repair of their drift: `logbox drift list`."
        return Due(lag, lag_s, why)
    if is_busy and lag_s < site.settings.replica_lag_s / _BUSY_SHARE:
        return Due(lag, lag_s, f"Batches are at work; the replica may be {lag_s} s behind.")
    # Whoever asks does so twice a minute and is to be told at once, a hung replica too.
    prompt = open_replica(site.settings, read_timeout_s=PROMPT_S, attempts=1)
    assert prompt is not None
    require_replica_bucket(prompt)
    return Due(lag, lag_s, None)


def is_replicating(site: Site) -> bool:
    """Whether a call is at work somewhere; a hint."""
    with site.transaction() as cursor:
        return is_taken(cursor, Turn.REPLICATION)


def replicate(
    site: Site, *, most_files: int = MOST_FILES, most_bytes: int = MOST_BYTES
) -> ReplicateReport:
    """Bring the replica up to date: copy and prove what is owed, oldest first, within bounds.

    One call works at a time; another one returns with nothing done. Raises TransientError when the
    replica, the archive or Postgres is away, SettingError or StoreRefused when the replica does
    not let us in; what was proven by then is recorded. A single file that fails is raised at the
    end, after the others.
    """
    found = dict.fromkeys(Outcome, 0)
    copied_bytes, seen, seen_bytes, failures = 0, 0, 0, list[LogboxError]()
    with site.connection() as connection, _alone(site, connection) as is_alone:
        after: tuple[Any, str] = BEGINNING
        while is_alone and site.replica and seen < most_files and seen_bytes < most_bytes:
            if not seen or failures:
                require_replica_bucket(site.replica)
            page = _page(site, connection, after, most_files - seen)
            if not page:
                break
            done, failed = _copy_page(site, site.replica, page)
            site.reach("after_replica_put")
            there = [one for one, how in done if how in (Outcome.COPIED, Outcome.THERE)]
            with postgres.transaction(connection) as cursor:
                catalog.record_replicated(cursor, there, site.now())
            for one, how in done:
                found[how] += 1
                copied_bytes += one.size_bytes if how is Outcome.COPIED else 0
            failures += failed
            seen, seen_bytes = seen + len(page), seen_bytes + sum(one.size_bytes for one in page)
            after = (page[-1].since, page[-1].archive_key)
        with postgres.transaction(connection) as cursor:
            lag = catalog.lag(cursor)
    if failures:
        raise failures[0]
    return ReplicateReport(
        copied=found[Outcome.COPIED],
        copied_bytes=copied_bytes,
        there=found[Outcome.THERE],
        adrift=found[Outcome.ADRIFT],
        waiting=found[Outcome.WAITING],
        lag=lag,
        lag_s=lag.seconds(site.now()),
    )


@contextmanager
def _alone(site: Site, connection: Any) -> Iterator[bool]:
    """Whether no other call is at work; if so, with an empty scratch folder."""
    with turn(connection, Turn.REPLICATION) as is_alone:
        if is_alone:
            shutil.rmtree(_scratch(site), ignore_errors=True)
            _scratch(site).mkdir(parents=True)
        try:
            yield is_alone
        finally:
            if is_alone:
                shutil.rmtree(_scratch(site), ignore_errors=True)


def _scratch(site: Site) -> Path:
    return site.settings.scratch / "replica"


def _places(site: Site) -> tuple[str, ...]:
    """Where a drift keeps a file from being replicated: wrong bytes in the replica are written
    over, unless the writing is not ours."""
    return ("archive", "replica") if _is_external(site) else ("archive",)


def _is_external(site: Site) -> bool:
    return site.settings.replicates_by == "external"


def _page(site: Site, connection: Any, after: tuple[Any, str], most: int) -> list[Owed]:
    with postgres.transaction(connection) as cursor:
        page = catalog.owed(cursor, _places(site), site.now(), min(most, PAGE_FILES), after)
    size_bytes = 0
    for number, one in enumerate(page):
        size_bytes += one.size_bytes
        if number and size_bytes > PAGE_BYTES:
            return page[:number]
    return page


def _copy_page(
    site: Site, replica: S3Bucket, page: list[Owed]
) -> tuple[list[tuple[Owed, Outcome]], list[LogboxError]]:
    """How each file fared, and what kept others from faring at all.

    Once as many failed as there are threads the rest is left: the store is likely away, and each
    try may last until a timeout.
    """
    work = _verify if _is_external(site) else _copy
    numbers, lock = count(), Lock()
    done: list[tuple[Owed, Outcome]] = []
    failed: list[LogboxError] = []

    def handle(one: Owed) -> None:
        if len(failed) >= TRANSFERS:
            return
        with lock:
            path = _scratch(site) / str(next(numbers))
        try:
            done.append((one, work(site, replica, one, path)))
        except LogboxError as error:
            failed.append(error)
        finally:
            path.unlink(missing_ok=True)

    with ThreadPoolExecutor(TRANSFERS) as threads:
        list(threads.map(handle, page))
    return done, failed


def _copy(site: Site, replica: S3Bucket, one: Owed, path: Path) -> Outcome:
    download = _read_proven(site, one, path)
    if download is None:
        return Outcome.ADRIFT
    if one.is_lost:
        # Whatever stands there was read and found wrong, though its checksum may say otherwise.
        put = replica.put_file(one.archive_key, path, one.sha256)
        assert put is not None
        proven(replica, one.archive_key, path, one.sha256, put)
        return Outcome.COPIED
    _, is_new = put_proven(site, replica, "replica", one.archive_key, path, one.sha256, one.client)
    return Outcome.COPIED if is_new else Outcome.THERE


def _read_proven(site: Site, one: Owed, path: Path) -> Download | None:
    """The archive's bytes at `path`, which are what they should be; None when they are not, which
    is now a drift. Looked at twice, since bytes are damaged on their way too."""
    download = site.archive.download(one.archive_key, path, version_id=one.version_id)
    if download is not None and download.sha256 != one.sha256:
        download = site.archive.download(one.archive_key, path, version_id=one.version_id)
    if download is not None and download.sha256 == one.sha256:
        return download
    found = None if download is None else f"{download.size_bytes} bytes, {download.sha256}"
    _record(site, "missing" if download is None else "mismatch", "archive", one, found)
    return None


def _verify(site: Site, replica: S3Bucket, one: Owed, path: Path) -> Outcome:
    """External mode: whether the store has copied it, and copied it right."""
    there = replica.head(one.archive_key)
    if there is None:
        return Outcome.WAITING
    if not holds(replica, one.archive_key, there, one.sha256, one.size_bytes, path):
        found = f"{there.size_bytes} bytes, checksum {there.checksum_sha256}"
        _record(site, "mismatch", "replica", one, found)
        return Outcome.ADRIFT
    return Outcome.THERE


def _record(site: Site, kind: str, place: str, one: Owed, found: str | None) -> None:
    with site.transaction() as cursor:
        record_drift(
            cursor,
            kind,
            place,
            one.archive_key,
            expected=f"{one.size_bytes} bytes, {one.sha256}",
            found=found,
            now=site.now(),
            client=one.client,
        )
