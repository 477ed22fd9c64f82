"""`logbox-drone watch`: upload what appears in a folder, for as long as the drone lives.

A file is sent when it has stood as it is for a while and nobody writes it; the smallest first, and
small ones also between the parts of a big one. What was sent is remembered in the journal, so that
a power cut costs one part. While the network is away nothing is read and nothing grows: one
question a minute, until there is an answer.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Callable

from logbox_pipeline.drone.confirm import Receipts, Sent, judge
from logbox_pipeline.drone.deliver import size_text
from logbox_pipeline.drone.digest import FileDigest, has_changed
from logbox_pipeline.drone.errors import (
    AlreadyThereError,
    ChangedError,
    KeyRefusedError,
    NoAnswerError,
    TargetError,
    UploadError,
)
from logbox_pipeline.drone.folder import Found, is_being_written, scan
from logbox_pipeline.drone.journal import Journal, Upload
from logbox_pipeline.drone.rate import Rate
from logbox_pipeline.drone.receipt import Receipt, Stage
from logbox_pipeline.drone.remove import remove_proven
from logbox_pipeline.drone.store import Store, backoff_s
from logbox_pipeline.drone.target import Target, with_digest
from logbox_pipeline.drone.uploader import Uploader

MULTIPART_BYTES = 16 * 1024**2
PART_BYTES = 8 * 1024**2
"""Smaller than for `upload`: on a slow link a power cut should not cost minutes of sending."""

_ATTEMPTS = 3
_ASK_FIRST_BYTES = 1024**2
"""From this size on, asking whether Logbox has a file costs less than sending it."""
_FIRST_LOOK_S = 5.0
_LONGEST_LOOK_S = 600.0
_REFUSED_LOOK_S = 3600.0
_LONGEST_PUT_OFF_S = 3600.0
_LOOKS_AT_ONCE = 20
_BUSY_SHARE = 20
"""Looking into the folder takes at most one part in so many of the time."""
_TOLD = 200


@dataclass(frozen=True)
class Settings:
    """How to watch. Seconds, bytes per second; `delete_after` None: never."""

    folder: Path
    state: Path
    stable_for_s: float = 10.0
    every_s: float = 5.0
    max_rate: float | None = None
    delete_after: Stage | None = None
    ignore: tuple[str, ...] = ()
    is_once: bool = False


class _Stopped(BaseException):
    """SIGTERM. No `except Exception` may hold it up."""


def run(target: Target, settings: Settings, say: Callable[[str], None]) -> int:
    """Watch until SIGTERM, or once; the exit status. Raises TargetError."""
    if not settings.folder.is_dir():
        raise TargetError(f"{settings.folder} is no folder", "name the one where logs appear")

    def stop(*_: Any) -> None:
        raise _Stopped

    before = {}
    if threading.current_thread() is threading.main_thread():
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, stop)
        if hasattr(signal, "SIGIO"):
            # See folder.is_being_written.
            before[signal.SIGIO] = signal.signal(signal.SIGIO, signal.SIG_IGN)
    watcher = None
    try:
        watcher = Watcher(target, settings, say)
        return watcher.once() if settings.is_once else watcher.forever()
    except _Stopped:
        say("stopped; what is half sent goes on at the next start")
        return 0
    except TargetError:
        raise
    except UploadError as wrong:
        say(wrong.message + (f"\n  next: {wrong.hint}" if wrong.hint else ""))
        return 1
    except sqlite3.Error as wrong:
        say(f"cannot write to {settings.state}: {wrong}\n  next: look at the disk, and its space")
        return 1
    finally:
        if watcher is not None:
            watcher.close()
        for number, handler in before.items():
            signal.signal(number, handler)


class Watcher:
    """One folder, one target. `now` and `sleep` in seconds of the monotonic clock."""

    def __init__(
        self,
        target: Target,
        settings: Settings,
        say: Callable[[str], None],
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._target = target
        self._settings = settings
        self._say_line = say
        self._now = now
        self._sleep = sleep
        rate = None if settings.max_rate is None else Rate(settings.max_rate, sleep=sleep)
        self._store = Store(target, attempts=_ATTEMPTS, on_trouble=self._say, sleep=sleep)
        self._uploader = Uploader(
            target,
            store=self._store,
            rate=rate,
            multipart_bytes=MULTIPART_BYTES,
            part_bytes=PART_BYTES,
        )
        self._receipts = Receipts(self._store)
        self._journal = Journal(settings.state, target, now())
        if self._asks:
            # What an earlier run did not have to know: it had no public key, or nothing to delete.
            settled = [stage.value for stage in Stage] if settings.delete_after else []
            self._journal.look_again(["sent", *settled], now())
        self._scanned_at: float | None = None
        self._scan_took_s = 0.0
        self._digest: tuple[bytes, FileDigest] | None = None
        self._told: set[str] = set()

    def close(self) -> None:
        self._journal.close()

    def forever(self) -> int:
        """Never returns; raises KeyRefusedError and what a signal's handler raises."""
        self._greet()
        self._await_link()
        while True:
            try:
                self._work()
            except NoAnswerError as wrong:
                self._say(wrong.message)
                self._await_link()
            self._sleep(self._settings.every_s)

    def once(self) -> int:
        """Send what is steady, look once at each receipt that is owed; 1: not all went well."""
        try:
            self._receipts.probe()
            self._scan()
            if self._journal.unsent():
                self._sleep(self._settings.stable_for_s)
                self._scan()
            self._drop_abandoned()
            all_well = True
            while True:
                found = self._next_file()
                if found is None:
                    break
                all_well = self._send(found) and all_well
            started = self._now()
            while self._look_at_due(started):
                pass
        except NoAnswerError as wrong:
            self._say(wrong.message)
            return 1
        return 0 if all_well else 1

    def _greet(self) -> None:
        settings = self._settings
        where = f"{self._target.endpoint or 'AWS'} as {self._target.client}"
        self._say(f"watching {settings.folder} for {where}; {self._journal.unsent()} to send")
        if self._target.vehicle is None:
            self._say("no vehicle is named: the first folder below counts as the vehicle's name")

    def _await_link(self) -> None:
        """Until the store answers, however long that takes. Raises KeyRefusedError."""
        since = self._now()
        attempt = 0
        while True:
            try:
                self._receipts.probe()
                break
            except KeyRefusedError:
                raise
            except UploadError as wrong:
                attempt += 1
                if attempt == 1:
                    self._say(f"no link ({wrong.message}); asking until there is one")
            self._sleep(backoff_s(attempt))
        if attempt:
            self._say(f"the link is back after {self._now() - since:.0f} s")

    def _scan(self) -> None:
        started = self._now()
        self._journal.note(
            scan(
                self._settings.folder,
                self._settings.ignore,
                self._settings.state,
                self._say_once,
            ),
            started,
        )
        self._scanned_at = self._now()
        self._scan_took_s = self._scanned_at - started

    def _scan_if_due(self) -> None:
        pause_s = max(self._settings.every_s, _BUSY_SHARE * self._scan_took_s)
        if self._scanned_at is None or self._now() - self._scanned_at >= pause_s:
            self._scan()

    def _work(self) -> None:
        """Send and look until there is nothing more to do now. Raises NoAnswerError."""
        self._drop_abandoned()
        while True:
            for _ in range(_LOOKS_AT_ONCE):
                if not self._look_at_due(self._now()):
                    break
            self._scan_if_due()
            found = self._next_file()
            if found is None:
                return
            self._send(found)

    def _between_parts(self) -> None:
        """While a big log is being sent: small ones overtake it."""
        with suppress(NoAnswerError):
            self._scan_if_due()
            while True:
                found = self._next_file(MULTIPART_BYTES)
                if found is None:
                    break
                self._send(found)
            self._look_at_due(self._now())

    def _next_file(self, below_bytes: int | None = None) -> Found | None:
        now = self._now()
        return self._journal.next_file(now - self._settings.stable_for_s, now, below_bytes)

    def _send(self, found: Found) -> bool:
        """Send one file; whether that went well or was not needed.

        Raises NoAnswerError (the file is put off) and KeyRefusedError.
        """
        path = self._path(found.path)
        name = os.fsdecode(found.path).replace(os.sep, "/")
        try:
            key = self._target.key_below(name)
        except TargetError as wrong:
            self._journal.skip(found.path, wrong.message)
            self._say(f"not sent, ever: {wrong.message}")
            return False
        if is_being_written(path):
            self._put_off(found, self._settings.stable_for_s or 1.0)
            return True
        try:
            digest = self._digest_of(found.path)
            now = Found(found.path, digest.size_bytes, digest.modified_ns)
            if now != found or has_changed(path, digest):
                self._see_again(found)
                return True
            return self._send_known(found, path, key, digest)
        except FileNotFoundError:
            self._journal.forget_file(found.path)
            return True
        except OSError as wrong:
            self._say(f"cannot read {_printable(name)}: {wrong.strerror or wrong}; trying later")
        except ChangedError:
            self._say(f"{_printable(name)} changed while it was being sent; waiting for it")
            self._see_again(found)
            return True
        except NoAnswerError:
            self._put_off(found)
            raise
        except KeyRefusedError:
            raise
        except UploadError as wrong:
            self._say(f"failed: {wrong.message}; trying later")
        self._put_off(found)
        return False

    def _send_known(self, found: Found, path: Path, key: str, digest: FileDigest) -> bool:
        journal, sha256 = self._journal, digest.sha256
        name = _printable(os.fsdecode(found.path))
        half = journal.half_sent(found.path)
        if half is not None and half.sha256 != sha256:
            self._drop(half)
        known = journal.upload(sha256)
        if known is not None and known.state != "sending":
            journal.dealt_with(found.path, sha256)
            if self._asks:
                journal.look_now(sha256, self._now())
            self._say(f"known {name}: the same bytes were sent as {known.key} ({known.state})")
            return True
        since = self._store.clock.now() if known is None or known.since is None else known.since
        journal.sending(sha256, found.path, key, digest.size_bytes, since)
        if known is None and digest.size_bytes >= _ASK_FIRST_BYTES and self._has(key, sha256):
            self._was_sent(found, key, sha256, since)
            self._say(f"known {name}: Logbox has these bytes, as their receipt says")
            return True
        plain = key
        if known is not None and known.upload_id is not None:
            key = known.key
            self._say(f"going on with {name}")
        started = self._now()
        try:
            done = self._sent_as(path, key, digest)
        except AlreadyThereError:
            done = key
            if key == plain and not self._has(key, sha256):
                # Ours, from before the journal, or another file of that name: never lost, and
                # under this name whoever put it put these bytes.
                done = with_digest(key, sha256)
                with suppress(AlreadyThereError):
                    done = self._sent_as(path, done, digest)
        self._was_sent(found, done, sha256, since)
        took_s = self._now() - started
        self._say(f"sent {name}  {size_text(digest.size_bytes)} in {took_s:.0f} s  as {done}")
        return True

    def _sent_as(self, path: Path, key: str, digest: FileDigest) -> str:
        return self._uploader.send(
            path,
            key,
            digest,
            open_parts=self._journal.parts_of(digest.sha256),
            between_parts=self._between_parts,
        ).key

    def _was_sent(self, found: Found, key: str, sha256: str, since: datetime) -> None:
        look_at = self._now() + _FIRST_LOOK_S if self._asks else None
        self._journal.sent(sha256, key, since, look_at)
        self._journal.dealt_with(found.path, sha256)
        self._digest = None

    @property
    def _asks(self) -> bool:
        """Whether receipts can be believed at all."""
        return bool(self._target.receipt_keys)

    def _has(self, key: str, sha256: str) -> bool:
        if not self._asks:
            return False
        receipt = self._receipts.look(key, sha256).receipt
        return receipt is not None and receipt.proves(sha256, Stage.ARCHIVED)

    def _look_at_due(self, now: float) -> bool:
        """Ask for the receipt that is due the longest; False: none is."""
        upload = self._journal.due(now) if self._asks else None
        if upload is None:
            return False
        goal = self._settings.delete_after or Stage.ARCHIVED
        try:
            look = self._receipts.look(upload.key, upload.sha256)
        except (NoAnswerError, KeyRefusedError):
            raise
        except UploadError as wrong:
            self._say_once(wrong.message)
            self._settle(upload, upload.state, _LONGEST_LOOK_S)
            return True
        if look.distrusted is not None:
            self._say_once(f"no proof: {look.distrusted}")
        ended = judge(look, Sent(upload.key, upload.sha256, upload.since), [goal])
        if look.receipt is not None and look.receipt.says_lost(upload.sha256):
            self._say(f"lost by Logbox: {upload.key}; sending it again within the hour")
            self._send_again(upload, _REFUSED_LOOK_S)
        elif ended is None:
            pause_s = min(_LONGEST_LOOK_S, _FIRST_LOOK_S * 1.5 ** min(upload.looks, 30))
            self._settle(upload, upload.state, pause_s)
        elif ended.is_reached and ended.receipt is not None:
            self._settle(upload, goal.value, None)
            if upload.state != goal.value:
                self._say(f"{goal.value} {upload.key}")
            if self._settings.delete_after is not None:
                self._delete(upload, ended.receipt, goal)
        elif ended.receipt is not None and ended.receipt.state == "vanished":
            # Logbox saw it and could not keep it: it is sent again, though not at once.
            self._say(f"vanished before Logbox had it: {upload.key}; sending it again")
            self._send_again(upload, _LONGEST_LOOK_S)
        else:
            if upload.state != "refused":
                self._say(f"refused {upload.key}: {ended.why}; the file is kept")
            self._settle(upload, "refused", _REFUSED_LOOK_S, ended.why)
        return True

    def _send_again(self, upload: Upload, after_s: float) -> None:
        paths = self._journal.paths_of(upload.sha256)
        self._journal.forget_upload(upload.sha256)
        for path in paths:
            self._journal.put_off(path, self._now() + after_s)

    def _settle(
        self, upload: Upload, state: str, pause_s: float | None, why: str | None = None
    ) -> None:
        next_look = None if pause_s is None else self._now() + pause_s
        self._journal.settled(upload.sha256, state, next_look, reason=why)

    def _delete(self, upload: Upload, receipt: Receipt, stage: Stage) -> None:
        for below in self._journal.paths_of(upload.sha256):
            path = self._path(below)
            name = _printable(os.fsdecode(below))
            if not path.exists():
                self._journal.forget_file(below)
                continue
            try:
                kept = remove_proven(path, receipt, stage)
            except OSError as wrong:
                self._say_once(f"cannot delete {name}: {wrong.strerror or wrong}")
                self._settle(upload, stage.value, _REFUSED_LOOK_S)
                continue
            if kept is None:
                at = self._store.clock.now()
                self._journal.deleted(below, upload.sha256, stage.value, at)
                self._say(f"deleted {name}: {stage.value} by its receipt")
            else:
                self._journal.forget_file(below)
                self._say(f"kept {name}: {kept}")

    def _drop_abandoned(self) -> None:
        while True:
            upload = self._journal.abandoned()
            if upload is None:
                return
            self._drop(upload)

    def _drop(self, upload: Upload) -> None:
        if upload.upload_id is not None:
            self._uploader.abort(upload.key, upload.upload_id)
        self._journal.forget_upload(upload.sha256)

    def _digest_of(self, below: bytes) -> FileDigest:
        """The digest of a file; the last one is kept, since a big file may take several tries."""
        path = self._path(below)
        if self._digest is not None and self._digest[0] == below:
            known = self._digest[1]
            if not has_changed(path, known):
                return known
        digest = self._uploader.digest(path)
        self._digest = (below, digest) if digest.parts else self._digest
        return digest

    def _see_again(self, found: Found) -> None:
        """It is not what was seen: the next look into the folder sees what it is now."""
        self._digest = None
        self._journal.forget_file(found.path)

    def _put_off(self, found: Found, pause_s: float | None = None) -> None:
        if pause_s is None:
            pause_s = backoff_s(self._journal.tries(found.path) + 3, _LONGEST_PUT_OFF_S)
        self._journal.put_off(found.path, self._now() + pause_s)

    def _path(self, below: bytes) -> Path:
        return self._settings.folder / os.fsdecode(below)

    def _say(self, text: str) -> None:
        self._say_line(f"{self._store.clock.now():%Y-%m-%dT%H:%M:%SZ} {text}")

    def _say_once(self, text: str) -> None:
        if text in self._told:
            return
        if len(self._told) >= _TOLD:
            self._told.clear()
        self._told.add(text)
        self._say(text)


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)
