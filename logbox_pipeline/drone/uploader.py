"""Upload one file to the landing bucket over a bad link. Python 3.9, botocore and stdlib only.

Nothing is ever overwritten: every write says `If-None-Match: *`. That leaves one riddle, for the
key may write and not read: an answer was lost on the way, the request is sent again, and the store
says 412, there is an object of that name. Ours, or another file's?

- After a multipart upload the upload id tells: the store still knows it, so it was not completed
  and the object is another's; it does not, so the object is ours.
- After a single PUT nothing tells. (`If-Match` with our MD5 would, but AWS wants s3:GetObject for
  it, and an ETag is no MD5 under SSE-KMS.) The file is sent again under a name that carries its
  digest: then the name says whose bytes they are. At worst Logbox receives it twice, which it
  knows how to take.

A 412 without a lost answer is the error it looks like.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Protocol

from logbox_pipeline.drone.body import Body
from logbox_pipeline.drone.digest import FileDigest, digest_file, has_changed
from logbox_pipeline.drone.errors import (
    AlreadyThereError,
    ChangedError,
    UploadError,
)
from logbox_pipeline.drone.rate import Rate
from logbox_pipeline.drone.store import ATTEMPTS, RefusedError, Store
from logbox_pipeline.drone.target import Target, with_digest

MULTIPART_BYTES = 64 * 1024**2
PART_BYTES = 16 * 1024**2

Progress = Callable[[int, int], None]
"""Called with bytes sent and bytes in all; bytes sent may step back when a request is repeated."""

_RESTARTS = 2


@dataclass(frozen=True)
class Uploaded:
    """A file that stands in landing, byte for byte."""

    key: str
    sha256: str
    size_bytes: int
    note: str | None = None
    """What the reader should know, such as why the key is not the expected one."""


class OpenParts(Protocol):
    """What remembers a multipart upload while it is open, so that another process goes on with it.

    Whatever these return from is safe from a power cut.
    """

    def open_upload(self, key: str, part_bytes: int) -> str | None:
        """The id of the upload to go on with, if its parts have that size."""

    def sent_parts(self) -> Mapping[int, tuple[str, str]]:
        """(etag, SHA-256 in base64) of each part that the store has, by number."""

    def opened(self, key: str, upload_id: str, part_bytes: int) -> None: ...

    def sent(self, number: int, etag: str, checksum: str) -> None: ...

    def lost(self) -> None:
        """Nothing will be made of the parts. (When all went well, `send` returns.)"""


class Uploader:
    """Uploads files to one target.

    `attempts` counts per request. `multipart_bytes` is the size from which a file goes in parts.
    `store`: share its knowledge of the server's clock; `rate`: a cap on what is sent.
    """

    def __init__(
        self,
        target: Target,
        *,
        attempts: int = ATTEMPTS,
        multipart_bytes: int = MULTIPART_BYTES,
        part_bytes: int = PART_BYTES,
        connect_timeout_s: float = 15,
        read_timeout_s: float = 60,
        on_trouble: Callable[[str], None] = lambda message: None,
        sleep: Callable[[float], None] = time.sleep,
        store: Store | None = None,
        rate: Rate | None = None,
    ) -> None:
        self._multipart_bytes = multipart_bytes
        self._part_bytes = part_bytes
        self._rate = rate
        self.store = store or Store(
            target,
            attempts=attempts,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
            on_trouble=on_trouble,
            sleep=sleep,
        )

    def upload(
        self, path: Path, *, name: str | None = None, on_progress: Progress | None = None
    ) -> Uploaded:
        """Upload one file under `name`, or its own.

        Raises UploadError.
        """
        key = self.store.target.key_for(name if name is not None else path.name)
        try:
            digest = self.digest(path)
        except OSError as wrong:
            raise UploadError(f"{path}: {wrong.strerror or wrong}") from None
        return self.send(path, key, digest, on_progress=on_progress)

    def digest(self, path: Path) -> FileDigest:
        """Read a file once, for all that `send` must know of it. Raises OSError."""
        is_big = path.stat().st_size >= self._multipart_bytes
        return digest_file(path, self._part_bytes if is_big else 0)

    def send(
        self,
        path: Path,
        key: str,
        digest: FileDigest,
        *,
        open_parts: OpenParts | None = None,
        on_progress: Progress | None = None,
        between_parts: Callable[[], None] = lambda: None,
    ) -> Uploaded:
        """Upload a file whose digest was taken by `digest`.

        With `open_parts` the parts that were sent outlive a failure or this process, and the same
        call goes on where it ended. Raises AlreadyThereError and other UploadErrors.
        """
        sending = _Sending(
            path, digest, on_progress or (lambda done, total: None), between_parts, open_parts
        )
        try:
            try:
                self._send(key, sending)
            except _UnclearError:
                # Under this name 412 is as good as 200: whoever put it there put these bytes.
                key = with_digest(key, digest.sha256)
                with suppress(_UnclearError, _TakenError):
                    self._send(key, sending)
                note = "an answer was lost, so it was sent again under a name with its digest"
                return Uploaded(key, digest.sha256, digest.size_bytes, note)
        except _TakenError:
            raise AlreadyThereError(
                f"{path}: another upload already stands at {key}, and nothing is overwritten",
                "if it was uploaded before, all is well; if it is another file, use --name",
                key=key,
                sha256=digest.sha256,
                size_bytes=digest.size_bytes,
            ) from None
        except OSError as wrong:
            raise UploadError(f"{path}: {wrong.strerror or wrong}") from None
        return Uploaded(key, digest.sha256, digest.size_bytes)

    def abort(self, key: str, upload_id: str) -> None:
        """Let the store forget the parts of an upload. Never raises UploadError."""
        try:
            self.store.call("abort_multipart_upload", key, attempts=1, Key=key, UploadId=upload_id)
        except (RefusedError, UploadError) as wrong:
            if "NoSuchUpload" not in str(wrong):
                self.store.on_trouble(f"parts of {key} are left in the store until it clears them")

    def _send(self, key: str, sending: _Sending) -> None:
        if sending.digest.parts:
            self._send_in_parts(key, sending)
        else:
            self._send_whole(key, sending)

    def _send_whole(self, key: str, sending: _Sending) -> None:
        with sending.path.open("rb") as source:
            try:
                self.store.call(
                    "put_object",
                    sending.path,
                    body=self._body(source, 0, sending.digest.size_bytes, sending),
                    on_damage=sending.check,
                    Key=key,
                    ContentLength=sending.digest.size_bytes,
                    ChecksumSHA256=sending.digest.checksum,
                    Metadata={"sha256": sending.digest.sha256},
                    IfNoneMatch="*",
                )
            except RefusedError as refused:
                if refused.status != 412:
                    raise self._explain(refused, key) from None
                raise (_UnclearError() if refused.lost_answer else _TakenError()) from None

    def _send_in_parts(self, key: str, sending: _Sending) -> None:
        for restarts_left in reversed(range(_RESTARTS + 1)):
            try:
                self._send_in_parts_once(key, sending)
                return
            except RefusedError as refused:
                # The store forgot the upload: it was restarted, or it clears old ones.
                if refused.code != "NoSuchUpload" or not restarts_left:
                    raise self._explain(refused, key) from None
                self.store.on_trouble("the store has forgotten the parts; starting over")

    def _send_in_parts_once(self, key: str, sending: _Sending) -> None:
        open_parts = sending.open_parts
        upload_id = open_parts.open_upload(key, self._part_bytes) if open_parts else None
        try:
            if upload_id is None:
                done: dict[int, str] = {}
                upload_id = self._open(key, sending)
            else:
                done = self._still_there(key, sending, upload_id)
            self._send_parts(key, sending, upload_id, done)
            self._complete(key, sending, upload_id, done)
        except BaseException as wrong:
            # Interrupted, or no answer: whoever remembers the parts goes on with them.
            is_lost = open_parts is None or _is_useless_after(wrong)
            if is_lost and upload_id is not None:
                self.abort(key, upload_id)
            if is_lost and open_parts is not None:
                open_parts.lost()
            raise

    def _open(self, key: str, sending: _Sending) -> str:
        upload_id: str = self.store.call(
            "create_multipart_upload",
            sending.path,
            Key=key,
            ChecksumAlgorithm="SHA256",
            Metadata={"sha256": sending.digest.sha256},
        )["UploadId"]
        if sending.open_parts is not None:
            sending.open_parts.opened(key, upload_id, self._part_bytes)
        return upload_id

    def _still_there(self, key: str, sending: _Sending, upload_id: str) -> dict[int, str]:
        """The etags of the parts that the store has, byte for byte, by number.

        Raises _UnclearError when all had been sent and the upload is gone: the process that sent
        them may have completed it.
        """
        assert sending.open_parts is not None
        remembered = sending.open_parts.sent_parts()
        listed: list[dict[str, Any]] = []
        after = 0
        try:
            while True:
                page = self.store.call(
                    "list_parts",
                    sending.path,
                    Key=key,
                    UploadId=upload_id,
                    PartNumberMarker=after,
                )
                listed += page.get("Parts", [])
                if not page.get("IsTruncated") or not page.get("Parts"):
                    break
                after = listed[-1]["PartNumber"]
        except RefusedError as refused:
            if refused.code == "NoSuchUpload" and len(remembered) == len(sending.digest.parts):
                raise _UnclearError() from None
            raise
        return {
            part["PartNumber"]: part["ETag"]
            for part in listed
            if _is_ours(part, sending.digest, remembered.get(part["PartNumber"]))
        }

    def _send_parts(
        self, key: str, sending: _Sending, upload_id: str, done: dict[int, str]
    ) -> None:
        digest = sending.digest
        with sending.path.open("rb") as source:
            for number in range(1, len(digest.parts) + 1):
                if number in done:
                    continue
                checksum = _checksum(digest, number)
                start = (number - 1) * digest.part_bytes
                answer = self.store.call(
                    "upload_part",
                    sending.path,
                    body=self._body(source, start, digest.part_size(number), sending),
                    on_damage=sending.check,
                    Key=key,
                    UploadId=upload_id,
                    PartNumber=number,
                    ContentLength=digest.part_size(number),
                    ChecksumSHA256=checksum,
                )
                done[number] = answer["ETag"]
                if sending.open_parts is not None:
                    sending.open_parts.sent(number, answer["ETag"], checksum)
                sending.between_parts()

    def _complete(
        self, key: str, sending: _Sending, upload_id: str, done: Mapping[int, str]
    ) -> None:
        parts = [
            {
                "PartNumber": number,
                "ETag": done[number],
                "ChecksumSHA256": _checksum(sending.digest, number),
            }
            for number in sorted(done)
        ]
        try:
            self.store.call(
                "complete_multipart_upload",
                sending.path,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": parts},
                IfNoneMatch="*",
            )
        except RefusedError as refused:
            if refused.status == 412 and not refused.lost_answer:
                raise _TakenError() from None
            if refused.status == 412:
                if self._is_open(key, sending, upload_id):
                    raise _TakenError() from None
                return
            if refused.code == "NoSuchUpload" and refused.lost_answer:
                # Completed, or forgotten by a store that was restarted: not proven.
                raise _UnclearError() from None
            raise

    def _is_open(self, key: str, sending: _Sending, upload_id: str) -> bool:
        try:
            self.store.call("list_parts", sending.path, Key=key, UploadId=upload_id, MaxParts=1)
        except RefusedError as refused:
            if refused.code == "NoSuchUpload":
                return False
            raise
        return True

    def _body(self, source: Any, start: int, size_bytes: int, sending: _Sending) -> Body:
        total = sending.digest.size_bytes
        return Body(
            source, start, size_bytes, lambda sent: sending.on_progress(sent, total), self._rate
        )

    def _explain(self, refused: RefusedError, key: str) -> UploadError:
        return self.store.explain(refused, key, "write there")


@dataclass(frozen=True)
class _Sending:
    path: Path
    digest: FileDigest
    on_progress: Progress = field(repr=False)
    between_parts: Callable[[], None] = field(repr=False)
    open_parts: OpenParts | None = None

    def check(self) -> None:
        """Raises ChangedError when the file is not what its digest says any more."""
        if has_changed(self.path, self.digest):
            raise ChangedError(
                f"{self.path}: the file changed while it was being sent",
                "upload it when nothing writes it any more",
            )


class _TakenError(Exception):
    """The name is another upload's."""


class _UnclearError(Exception):
    """An answer was lost, and whose bytes stand there cannot be told."""


def _is_useless_after(wrong: BaseException) -> bool:
    """Whether no later try can make anything of the parts. A key can be put right again."""
    if isinstance(wrong, RefusedError):
        return wrong.status != 403
    return isinstance(wrong, (ChangedError, _TakenError, _UnclearError))


def _checksum(digest: FileDigest, number: int) -> str:
    return base64.b64encode(digest.parts[number - 1]).decode()


def _is_ours(
    part: Mapping[str, Any], digest: FileDigest, remembered: tuple[str, str] | None
) -> bool:
    """Whether a part that the store lists is this file's; by our own note if it has no SHA-256."""
    number = part["PartNumber"]
    if number > len(digest.parts) or part.get("Size") != digest.part_size(number):
        return False
    checksum = part.get("ChecksumSHA256")
    if checksum is None and remembered is not None and remembered[0] == part["ETag"]:
        checksum = remembered[1]
    return bool(checksum == _checksum(digest, number))
