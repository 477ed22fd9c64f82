"""Load what the stores' access logs say into Postgres, each line once; drop what is too old.

    embedded   files below LOGBOX_HOME, written by local/access_log.py. A file is known by its
               first line, whatever it is called by now; each transaction moves its position
               together with the rows.
    aws        objects of S3 server access logging below LOGBOX_ACCESS_LOG_PREFIX, each read once
               and never deleted here. Delivery is late and out of order, so what is listed and
               was not read decides, over LATE.

What a check makes of the rows is judge.py's.
"""

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, Protocol

from logbox_pipeline.adapters import catalog_access
from logbox_pipeline.adapters.catalog_access import Reading, Who
from logbox_pipeline.adapters.iam import caller_arn
from logbox_pipeline.adapters.postgres import transaction
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core.access import (
    LONGEST_LINE,
    Access,
    Actor,
    Line,
    Unread,
    is_refused,
    split_lines,
)
from logbox_pipeline.core.errors import LogboxError, PermanentError, StoreRefused
from logbox_pipeline.core.policies import analyst_user
from logbox_pipeline.core.ports import ListedObject
from logbox_pipeline.formats import access_aws, access_guard
from logbox_pipeline.settings import Settings
from logbox_pipeline.steps.site import TRANSFERS, Site

LOAD_S = 120.0
"""How long one call may load; what is left waits for the next."""

LINES_AT_ONCE = 50_000
OBJECTS_AT_ONCE = 64
ROWS_DROPPED_AT_ONCE = 50_000

LATE = timedelta(days=3)
"""AWS delivers within hours, as a rule. An object whose name says that it is older than the newest
one read by more than this is not looked for."""

_READ_BYTES = 2**20
_PACKED = {".gz", ".zst", ".bz2", ".xz"}


@dataclass(frozen=True)
class Loaded:
    """What one call did. `is_behind`: its time was over before everything was read."""

    lines: int
    unread_lines: int
    sources: int
    dropped: int
    seconds: float
    is_behind: bool


def embedded_logs(settings: Settings) -> dict[str, Path]:
    """Store -> folder of its access log, of every embedded S3 there may be."""
    return {
        "embedded": settings.home / "log",
        "replica": settings.home / "replica" / "log",
    }


def load_access_log(site: Site, *, most_s: float = LOAD_S) -> Loaded:
    """Load every line that is new, for at most about `most_s` seconds, and drop old rows.

    Raises TransientError or StoreRefused when the catalog or the bucket of logs says so; what was
    loaded until then stays.
    """
    started = time.monotonic()
    with site.connection() as connection:
        loading = _Loading(site, connection, _Names.read(site, connection), started + most_s)
        for store, path in _embedded_files(site.settings):
            loading.load_file(store, path)
        for url in site.settings.access_log_prefixes:
            loading.load_objects(url)
        dropped = _drop_old(site, connection, loading.deadline)
    return Loaded(
        loading.lines,
        loading.unread_lines,
        loading.sources,
        dropped,
        time.monotonic() - started,
        loading.is_behind,
    )


def _embedded_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Oldest first: `access-<time>.jsonl` sorts before `access.jsonl`."""
    for store, folder in embedded_logs(settings).items():
        for path in sorted(folder.glob("access*.jsonl*")):
            if path.suffix not in _PACKED:
                yield store, path


def _is_ended(path: Path) -> bool:
    """Whether nothing is written to a file any more: the guard has put it aside."""
    return path.name.startswith("access-") and path.suffix == ".jsonl"


class _ReadLine(Protocol):
    def __call__(self, line: bytes, /) -> Access | Unread: ...


@dataclass
class _Loading:
    """One call's work, and its counts."""

    site: Site
    connection: Any
    names: "_Names"
    deadline: float
    lines: int = 0
    unread_lines: int = 0
    sources: int = 0
    is_behind: bool = False

    def load_file(self, store: str, path: Path) -> None:
        """All of a file that is new, in transactions of LINES_AT_ONCE lines."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            # Put aside since it was listed: found under its new name the next time.
            return
        with file:
            head = file.readline(LONGEST_LINE)
            if not head.endswith(b"\n") and len(head) < LONGEST_LINE and not _is_ended(path):
                return
            identity = f"sha256:{hashlib.sha256(head).hexdigest()}"
            while self._load_lines(store, path, identity, file):
                if self._is_over():
                    return

    def _load_lines(self, store: str, path: Path, identity: str, file: IO[bytes]) -> bool:
        """Whether there may be more."""
        size = file.seek(0, 2)
        now = self.site.now()
        with transaction(self.connection) as cursor:
            known = catalog_access.known_sources(cursor, [identity])
            if known.get(identity) == (str(path), size):
                return False
            source = catalog_access.hold_source(
                cursor,
                store=store,
                identity=identity,
                name=str(path),
                modified_at=datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC),
                now=now,
            )
            if size < source.position:
                said = f"it was cut from {source.position} to {size} bytes"
                read = Reading(size, 0, 1, said)
                catalog_access.move_position(cursor, source.source_id, read, now)
                self._count(read)
                return False
            file.seek(source.position)
            chunks = iter(lambda: file.read(_READ_BYTES), b"")
            lines = split_lines(chunks, source.position, is_final=_is_ended(path))
            found = _first(lines, LINES_AT_ONCE)
            if not found:
                return False
            read = self._put(cursor, found, source.source_id, access_guard.read_line)
            catalog_access.move_position(cursor, source.source_id, read, now)
        self._count(read)
        return len(found) == LINES_AT_ONCE

    def load_objects(self, url: str) -> None:
        """Every log object below s3://bucket/prefix that was not read before, oldest first."""
        name, _, prefix = url.removeprefix("s3://").partition("/")
        bucket = S3Bucket(self.site.landing.client, name)
        found = self._new_objects(bucket, prefix)
        with ThreadPoolExecutor(TRANSFERS) as threads:
            for start in range(0, len(found), OBJECTS_AT_ONCE):
                some = found[start : start + OBJECTS_AT_ONCE]
                texts = threads.map(lambda one: _read(bucket, one.key), some)
                self._load_texts(bucket, zip(some, texts, strict=True))
                if self._is_over():
                    return

    def _new_objects(self, bucket: S3Bucket, prefix: str) -> list[ListedObject]:
        oldest = self.site.now() - timedelta(days=self.site.settings.access_log_days)
        with transaction(self.connection) as cursor:
            newest = catalog_access.newest_object(cursor, _url(bucket, prefix))
        since = max(oldest, newest - LATE) if newest else oldest
        listed = [
            one
            for one in _listed_since(bucket, prefix, since)
            if one.size_bytes and one.received_at >= oldest
        ]
        new = []
        for start in range(0, len(listed), 10_000):
            some = {_url(bucket, one.key): one for one in listed[start : start + 10_000]}
            with transaction(self.connection) as cursor:
                read = catalog_access.known_sources(cursor, list(some))
            new += [one for url, one in some.items() if url not in read]
        # In the order they were written, so that whatever is older than the newest was read too.
        return sorted(new, key=lambda one: (one.received_at, one.key))

    def _load_texts(
        self, bucket: S3Bucket, texts: Iterator[tuple[ListedObject, bytes | None]]
    ) -> None:
        now = self.site.now()
        counted = []
        with transaction(self.connection) as cursor:
            for one, text in texts:
                # None: a lifecycle rule was faster.
                if text is None:
                    continue
                url = _url(bucket, one.key)
                source = catalog_access.hold_source(
                    cursor,
                    store="aws",
                    identity=url,
                    name=url,
                    modified_at=one.received_at,
                    now=now,
                )
                if source.position:
                    continue
                lines = list(split_lines([text], 0, is_final=True))
                read = self._put(cursor, lines, source.source_id, access_aws.read_line)
                read = Reading(len(text), read.lines, read.unread_lines, read.last_unread)
                catalog_access.move_position(cursor, source.source_id, read, now)
                counted.append(read)
        for read in counted:
            self._count(read)

    def _put(
        self, cursor: Any, lines: Sequence[Line], source_id: int, read_line: _ReadLine
    ) -> Reading:
        rows: list[tuple[Access, Who, bool]] = []
        unread_lines, last_unread = 0, None
        for line in lines:
            found = (
                Unread(f"longer than {LONGEST_LINE} bytes")
                if line.text is None
                else read_line(line.text)
            )
            if isinstance(found, Unread):
                unread_lines += 1
                begins = (line.text or b"")[:200].decode("utf-8", "backslashreplace")
                last_unread = f"ends at byte {line.end}: {found.why}: {begins}".replace("\0", "\\0")
            else:
                who = self.names.of(found)
                rows.append((found, who, is_refused(found, who.client)))
        catalog_access.insert_accesses(cursor, rows, source_id)
        return Reading(lines[-1].end if lines else 0, len(rows), unread_lines, last_unread)

    def _count(self, read: Reading) -> None:
        self.lines += read.lines
        self.unread_lines += read.unread_lines
        self.sources += 1

    def _is_over(self) -> bool:
        self.is_behind = time.monotonic() > self.deadline
        return self.is_behind


@dataclass(frozen=True)
class _Names:
    """Whose key and whose IAM user is whose. `account`: ours, on AWS."""

    by_key: dict[str, Who]
    by_user: dict[str, Who]
    account: str | None

    @classmethod
    def read(cls, site: Site, connection: Any) -> "_Names":
        settings = site.settings
        with transaction(connection) as cursor:
            by_key, by_user, analysts = catalog_access.people(cursor)
        for analyst in analysts:
            by_user[analyst_user(analyst)] = Who(Actor.ANALYST, analyst=analyst)
        for own_key_id in (settings.s3_access_key_id, settings.replica_access_key_id):
            if own_key_id:
                by_key[own_key_id] = Who(Actor.LOGBOX)
        account = None
        if settings.access_log_prefixes:
            # AWS's logs name users and roles, and no keys.
            account, own = access_aws.iam_name(_own_arn(settings))
            if own:
                by_user[own] = Who(Actor.LOGBOX)
        return cls(by_key, by_user, account)

    def of(self, access: Access) -> Who:
        if access.key_id in self.by_key:
            return self.by_key[access.key_id]
        account, name = access_aws.iam_name(access.principal)
        # Another account may have a user of that name.
        if account is not None and self.account is not None and account != self.account:
            return _NOBODY
        return self.by_user.get(name or "", _NOBODY)


_NOBODY = Who(Actor.UNKNOWN)


def _own_arn(settings: Settings) -> str | None:
    """None: nobody can tell, and Logbox's own requests stay `unknown`."""
    try:
        return caller_arn(
            endpoint=settings.iam_endpoint,
            region=settings.s3_region,
            access_key_id=settings.s3_access_key_id,
            secret_access_key=settings.s3_secret_access_key,
        )
    except LogboxError:
        return None


def _first(lines: Iterator[Line], most: int) -> list[Line]:
    found = []
    for line in lines:
        found.append(line)
        if len(found) == most:
            break
    return found


def _url(bucket: S3Bucket, key: str) -> str:
    return f"s3://{bucket.bucket}/{key}"


def _read(bucket: S3Bucket, key: str) -> bytes | None:
    try:
        return b"".join(bucket.chunks(key))
    except StoreRefused:
        raise
    except PermanentError:
        return None


def _listed_since(bucket: S3Bucket, prefix: str, since: datetime) -> Iterator[ListedObject]:
    """Objects whose names say that they are of `since` or later, and whatever sorts behind them.

    <prefix>YYYY-MM-DD-hh-mm-ss-<unique>, or, where logs are partitioned by date,
    <prefix><account>/<region>/<bucket>/YYYY/MM/DD/YYYY-...
    """
    folders = _partitioned(bucket, prefix)
    starts = [(place, f"{place}{since:%Y/%m/%d}") for place in folders] or [
        (prefix, f"{prefix}{since:%Y-%m-%d}")
    ]
    for place, after in starts:
        while True:
            page = bucket.list_page(place, after=after)
            yield from page.objects
            if not page.has_more:
                break
            after = page.objects[-1].key


def _partitioned(bucket: S3Bucket, prefix: str) -> list[str]:
    """The folders <account>/<region>/<bucket>/; empty where names begin with the date."""
    accounts = [
        folder
        for folder in bucket.list_page(prefix, folders=True).folders
        if len(name := folder.removeprefix(prefix).rstrip("/")) == 12 and name.isdigit()
    ]
    return [
        place
        for account in accounts
        for region in bucket.list_page(account, folders=True).folders
        for place in bucket.list_page(region, folders=True).folders
    ]


def _drop_old(site: Site, connection: Any, deadline: float) -> int:
    """Rows, files and what is known of them, past LOGBOX_ACCESS_LOG_DAYS."""
    before = site.now() - timedelta(days=site.settings.access_log_days)
    dropped = 0
    while True:
        with transaction(connection) as cursor:
            some = catalog_access.drop_rows(cursor, before.date(), ROWS_DROPPED_AT_ONCE)
        dropped += some
        if some < ROWS_DROPPED_AT_ONCE or time.monotonic() > deadline:
            break
    with transaction(connection) as cursor:
        gone = []
        for source_id, store, name, position in catalog_access.old_sources(cursor, before):
            path = Path(name)
            if store == "aws" or not path.exists():
                gone.append(source_id)
            elif _is_ended(path) and path.stat().st_size == position:
                path.unlink()
                gone.append(source_id)
        catalog_access.forget_sources(cursor, gone)
    return dropped
