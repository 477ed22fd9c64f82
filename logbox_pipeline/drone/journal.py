"""What `watch` remembers: files seen, bytes sent, what Logbox said of them, what was deleted.

An SQLite file, written through to the disk at every step (`synchronous=full`), so that a power cut
costs at most the part that was on its way. What was sent is known by its digest; a path only leads
to one. Losing the journal loses no log: files are sent again, and Logbox knows them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from logbox_pipeline.drone.errors import TargetError
from logbox_pipeline.drone.folder import Found
from logbox_pipeline.drone.target import Target

_TABLES = """
create table if not exists about (
    name text primary key,
    value text not null
);
-- A file as it was last seen. Times of waiting are seconds of the monotonic clock, which starts
-- anew with the machine: they are reset when the journal is opened.
create table if not exists files (
    path blob primary key,
    size_bytes integer not null,
    modified_ns integer not null,
    steady_since real not null,
    not_before real not null default 0,
    tries integer not null default 0,
    sha256 text,     -- of the bytes that are dealt with; null: still to be sent
    skipped text     -- why it never will be
);
create index if not exists files_by_digest on files (sha256);
create index if not exists files_to_send on files (size_bytes, path)
    where sha256 is null and skipped is null;
-- sending -> sent -> archived | replicated | loaded, or refused
create table if not exists uploads (
    sha256 text primary key,
    path blob not null,
    key text not null,
    size_bytes integer not null,
    state text not null,
    since text,      -- server's time before it began
    reason text,
    next_look real,  -- null: nothing more to ask
    looks integer not null default 0,
    upload_id text,
    part_bytes integer
);
create table if not exists parts (
    sha256 text not null,
    number integer not null,
    etag text not null,
    checksum text not null,
    primary key (sha256, number)
) without rowid;
create table if not exists deleted (
    path blob not null,
    sha256 text not null,
    stage text not null,
    deleted_at text not null
);
"""

_UPLOADS = """
select sha256, path, key, size_bytes, state, since, looks, upload_id, part_bytes
from uploads
"""


@dataclass(frozen=True)
class Upload:
    """What is known of bytes that were sent, or are being sent from `path`."""

    sha256: str
    path: bytes
    key: str
    size_bytes: int
    state: str
    since: datetime | None
    looks: int
    upload_id: str | None
    part_bytes: int | None


class Journal:
    """One watcher's memory, open; `now` everywhere is monotonic seconds.

    Raises TargetError when another process has it, or it is another client's.
    """

    def __init__(self, state: Path, target: Target, now: float) -> None:
        path = state / "journal.sqlite3"
        try:
            state.mkdir(parents=True, exist_ok=True)
            self._db = self._opened(path)
        except (OSError, sqlite3.OperationalError) as wrong:
            why = "another watcher has it" if "locked" in str(wrong) else str(wrong)
            raise TargetError(f"cannot use {path}: {why}", "give another folder: --state") from None
        whose = f"{target.client} in {target.bucket}"
        found = self._one("select value from about where name = 'target'")
        if found is not None and found[0] != whose:
            raise TargetError(
                f"{path} is about uploads of {found[0]}, not of {whose}",
                "give another folder: --state",
            )
        with self._db:
            self._db.execute("insert or ignore into about values ('target', ?)", (whose,))
            self._db.execute(
                "update files set steady_since = ?, not_before = 0 where sha256 is null", (now,)
            )
            self._db.execute("update uploads set next_look = ? where next_look is not null", (now,))

    def _opened(self, path: Path) -> sqlite3.Connection:
        try:
            return _open(path)
        except sqlite3.DatabaseError as wrong:
            if isinstance(wrong, sqlite3.OperationalError):
                raise
        # A disk that lost what it had promised to keep. What is here is no log.
        path.replace(path.with_suffix(".damaged"))
        return _open(path)

    def close(self) -> None:
        self._db.close()

    def note(self, seen: Iterable[Found], now: float) -> None:
        """Files were seen; one that is not as it was before has to be steady anew."""
        with self._db:
            for found in seen:
                known = self._one(
                    "select size_bytes, modified_ns from files where path = ?", (found.path,)
                )
                if known != (found.size_bytes, found.modified_ns):
                    self._db.execute(
                        """
                        insert or replace into files (path, size_bytes, modified_ns, steady_since)
                        values (?, ?, ?, ?)
                        """,
                        (found.path, found.size_bytes, found.modified_ns, now),
                    )

    def next_file(self, steady_before: float, now: float, below_bytes: int | None) -> Found | None:
        """The smallest file that is to be sent, steady and not put off."""
        row = self._one(
            """
            select path, size_bytes, modified_ns
            from files
            where sha256 is null and skipped is null and steady_since <= ? and not_before <= ?
                and size_bytes < ?
            order by size_bytes, path
            limit 1
            """,
            (steady_before, now, 2**62 if below_bytes is None else below_bytes),
        )
        return None if row is None else Found(*row)

    def unsent(self) -> int:
        row = self._one("select count(*) from files where sha256 is null and skipped is null")
        return 0 if row is None else int(row[0])

    def put_off(self, path: bytes, until: float) -> None:
        self._write(
            "update files set not_before = ?, tries = tries + 1 where path = ?", (until, path)
        )

    def tries(self, path: bytes) -> int:
        row = self._one("select tries from files where path = ?", (path,))
        return 0 if row is None else int(row[0])

    def skip(self, path: bytes, why: str) -> None:
        self._write("update files set skipped = ? where path = ?", (why, path))

    def forget_file(self, path: bytes) -> None:
        self._write("delete from files where path = ?", (path,))

    def dealt_with(self, path: bytes, sha256: str) -> None:
        """These bytes of the file were sent, now or before."""
        self._write("update files set sha256 = ? where path = ?", (sha256, path))

    def paths_of(self, sha256: str) -> list[bytes]:
        rows = self._db.execute("select path from files where sha256 = ?", (sha256,))
        return [path for (path,) in rows]

    def upload(self, sha256: str) -> Upload | None:
        return self._upload("where sha256 = ?", (sha256,))

    def half_sent(self, path: bytes) -> Upload | None:
        """What was being sent from this path and did not end."""
        return self._upload("where path = ? and state = 'sending'", (path,))

    def abandoned(self) -> Upload | None:
        """What was being sent from a file that is not here any more, or is another."""
        return self._upload(
            """
            where state = 'sending' and upload_id is not null
                and not exists (
                    select 1 from files where files.path = uploads.path and sha256 is null
                )
            """,
            (),
        )

    def due(self, now: float) -> Upload | None:
        """The upload whose receipt should be asked for next."""
        return self._upload("where next_look <= ? order by next_look limit 1", (now,))

    def next_due(self) -> float | None:
        row = self._one("select min(next_look) from uploads")
        return None if row is None else row[0]

    def sending(self, sha256: str, path: bytes, key: str, size_bytes: int, since: datetime) -> None:
        """About to be sent; what is known of an earlier attempt at the same bytes stays."""
        self._write(
            """
            insert into uploads (sha256, path, key, size_bytes, state, since)
            values (?, ?, ?, ?, 'sending', ?)
            on conflict (sha256) do nothing
            """,
            (sha256, path, key, size_bytes, since.isoformat()),
        )

    def settled(
        self, sha256: str, state: str, next_look: float | None, *, reason: str | None = None
    ) -> None:
        """The state of an upload, and when to ask again; a look counts."""
        self._write(
            """
            update uploads
            set state = ?, next_look = ?, reason = ?, looks = looks + 1
            where sha256 = ?
            """,
            (state, next_look, reason, sha256),
        )

    def sent(self, sha256: str, key: str, since: datetime, next_look: float | None) -> None:
        with self._db:
            self._db.execute("delete from parts where sha256 = ?", (sha256,))
            self._db.execute(
                """
                update uploads
                set state = 'sent', key = ?, since = ?, next_look = ?, looks = 0,
                    upload_id = null, part_bytes = null
                where sha256 = ?
                """,
                (key, since.isoformat(), next_look, sha256),
            )

    def look_now(self, sha256: str, now: float) -> None:
        self._write("update uploads set next_look = ?, looks = 0 where sha256 = ?", (now, sha256))

    def look_again(self, states: Sequence[str], now: float) -> None:
        """Ask again about what was settled otherwise, while a file with its bytes is here."""
        with self._db:
            self._db.executemany(
                """
                update uploads
                set next_look = ?, looks = 0
                where state = ?
                    and exists (select 1 from files where files.sha256 = uploads.sha256)
                """,
                [(now, state) for state in states],
            )

    def forget_upload(self, sha256: str) -> None:
        """These bytes are to be sent as if they never had been."""
        with self._db:
            self._db.execute("delete from uploads where sha256 = ?", (sha256,))
            self._db.execute("delete from parts where sha256 = ?", (sha256,))
            self._db.execute("update files set sha256 = null where sha256 = ?", (sha256,))

    def deleted(self, path: bytes, sha256: str, stage: str, at: datetime) -> None:
        with self._db:
            self._db.execute("delete from files where path = ?", (path,))
            self._db.execute(
                "insert into deleted values (?, ?, ?, ?)", (path, sha256, stage, at.isoformat())
            )

    def parts_of(self, sha256: str) -> KeptParts:
        return KeptParts(self, sha256)

    def _upload(self, where: str, parameters: tuple[Any, ...]) -> Upload | None:
        row = self._one(_UPLOADS + where, parameters)
        if row is None:
            return None
        sha256, path, key, size_bytes, state, since, *rest = row
        began_at = None if since is None else datetime.fromisoformat(since)
        return Upload(sha256, path, key, size_bytes, state, began_at, *rest)

    def _one(self, query: str, parameters: tuple[Any, ...] = ()) -> Any:
        with closing(self._db.execute(query, parameters)) as cursor:
            return cursor.fetchone()

    def _write(self, statement: str, parameters: tuple[Any, ...]) -> None:
        with self._db:
            self._db.execute(statement, parameters)


class KeptParts:
    """uploader.OpenParts, in the journal."""

    def __init__(self, journal: Journal, sha256: str) -> None:
        self._journal = journal
        self._sha256 = sha256

    def open_upload(self, key: str, part_bytes: int) -> str | None:
        known = self._journal.upload(self._sha256)
        if known is None or (known.key, known.part_bytes) != (key, part_bytes):
            return None
        return known.upload_id

    def sent_parts(self) -> Mapping[int, tuple[str, str]]:
        rows = self._journal._db.execute(
            "select number, etag, checksum from parts where sha256 = ?", (self._sha256,)
        )
        return {number: (etag, checksum) for number, etag, checksum in rows}

    def opened(self, key: str, upload_id: str, part_bytes: int) -> None:
        with self._journal._db as db:
            db.execute("delete from parts where sha256 = ?", (self._sha256,))
            db.execute(
                "update uploads set key = ?, upload_id = ?, part_bytes = ? where sha256 = ?",
                (key, upload_id, part_bytes, self._sha256),
            )

    def sent(self, number: int, etag: str, checksum: str) -> None:
        self._journal._write(
            "insert or replace into parts values (?, ?, ?, ?)",
            (self._sha256, number, etag, checksum),
        )

    def lost(self) -> None:
        with self._journal._db as db:
            db.execute("delete from parts where sha256 = ?", (self._sha256,))
            db.execute(
                "update uploads set upload_id = null, part_bytes = null where sha256 = ?",
                (self._sha256,),
            )


def _open(path: Path) -> sqlite3.Connection:
    """The only process with the file: a second one is told so at once."""
    db = sqlite3.connect(os.fspath(path), timeout=0)
    try:
        db.execute("pragma locking_mode = exclusive")
        db.execute("pragma synchronous = full")
        db.execute("pragma cache_size = -512")
        db.execute("begin exclusive")
        db.commit()
        # Damage is often found only where it is read.
        if db.execute("pragma quick_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("damaged")
        db.executescript(_TABLES)
    except BaseException:
        db.close()
        raise
    return db
