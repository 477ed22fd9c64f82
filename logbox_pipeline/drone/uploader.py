"""Upload one file to the landing bucket over a bad link. Python 3.9, boto3 and stdlib only.

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
import hashlib
import random
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Callable

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
)
from botocore.exceptions import (
    ConnectionError as NoConnection,
)

from logbox_pipeline.drone.digest import FileDigest, digest_file, has_changed
from logbox_pipeline.drone.signing import ClockOffset, sign_by

MULTIPART_BYTES = 64 * 1024**2
PART_BYTES = 16 * 1024**2
ATTEMPTS = 8
LONGEST_WAIT_S = 60.0
MAX_KEY_BYTES = 900
"""The same limit as in core/keys.py; a test keeps them the same."""

Progress = Callable[[int, int], None]
"""Called with bytes sent and bytes in all; bytes sent may step back when a request is repeated."""

_CLIENT = re.compile(r"[a-z0-9][a-z0-9-]{1,30}[a-z0-9]")
_VEHICLE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffd\ud800-\udfff]")
_EXTENSION = re.compile(r"(\.[A-Za-z0-9]{1,8})?(\.(gz|zst|zip))?$", re.IGNORECASE)
_DIGEST_BYTES = 13
_RESTARTS = 2
_NOT_SENT = (EndpointConnectionError, ConnectTimeoutError)
_LINK_ERRORS = (NoConnection, HTTPClientError, IncompleteReadError, ResponseStreamingError)
_SKEWED = ("RequestTimeTooSkewed", "RequestExpired")
_DAMAGED_ON_THE_WAY = ("BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody")
_TRY_AGAIN = (
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "TooManyRequests",
    "OperationAborted",
    "ConditionalRequestConflict",
    *_DAMAGED_ON_THE_WAY,
)


class UploadError(Exception):
    """A file that was not uploaded, and why; `hint` is the next thing to do."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class TargetError(UploadError):
    """Wrong use: a setting or an argument that cannot be; nothing was sent."""


@dataclass(frozen=True)
class Target:
    """Where a drone uploads to, and as whom."""

    client: str
    bucket: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    endpoint: str | None = None
    region: str = "us-east-1"
    vehicle: str | None = None

    def __post_init__(self) -> None:
        if not _CLIENT.fullmatch(self.client):
            raise TargetError(f"{self.client!r} is no client's name", "check LOGBOX_CLIENT")
        if self.vehicle is not None and not is_vehicle_name(self.vehicle):
            raise TargetError(
                f"{self.vehicle!r} is no vehicle's name: 1 to 64 letters, digits, `.`, `_` or `-`",
                "give another one with --vehicle",
            )


@dataclass(frozen=True)
class Uploaded:
    """A file that stands in landing, byte for byte."""

    key: str
    sha256: str
    size_bytes: int
    note: str | None = None
    """What the reader should know, such as why the key is not the expected one."""


def is_vehicle_name(name: str) -> bool:
    return _VEHICLE.fullmatch(name) is not None and name not in (".", "..")


class Uploader:
    """Uploads files to one target; remembers how wrong the drone's clock is.

    `attempts` counts per request. `multipart_bytes` is the size from which a file goes in parts.
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
    ) -> None:
        self._target = target
        self._attempts = attempts
        self._multipart_bytes = multipart_bytes
        self._part_bytes = part_bytes
        self._on_trouble = on_trouble
        self._sleep = sleep
        self._clock = ClockOffset()
        try:
            self._s3 = boto3.session.Session().client(
                "s3",
                endpoint_url=target.endpoint or None,
                region_name=target.region,
                aws_access_key_id=target.access_key_id,
                aws_secret_access_key=target.secret_access_key,
                config=Config(
                    # Retries are ours: botocore does not tell whether an answer was lost.
                    retries={"total_max_attempts": 1},
                    connect_timeout=connect_timeout_s,
                    read_timeout=read_timeout_s,
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    s3={"addressing_style": "path" if target.endpoint else "auto"},
                ),
            )
        except (BotoCoreError, ValueError) as wrong:
            raise TargetError(
                f"cannot talk to {target.endpoint or 'AWS'}: {wrong}",
                "check LOGBOX_S3_ENDPOINT and LOGBOX_S3_REGION",
            ) from None
        sign_by(self._s3, self._clock)
        self._s3.meta.events.register("before-send.s3", _begin_to_count)

    def upload(
        self, path: Path, *, name: str | None = None, on_progress: Progress | None = None
    ) -> Uploaded:
        """Upload one file under `name`, or its own.

        Raises UploadError.
        """
        key = self.key_for(name if name is not None else path.name)
        try:
            digest = digest_file(path)
            sending = _Sending(path, digest, on_progress or (lambda done, total: None))
            try:
                self._send(key, sending)
            except _UnclearError:
                # Under this name 412 is as good as 200: whoever put it there put these bytes.
                key = _with_digest(key, digest.sha256)
                with suppress(_UnclearError, _TakenError):
                    self._send(key, sending)
                note = "an answer was lost, so it was sent again under a name with its digest"
                return Uploaded(key, digest.sha256, digest.size_bytes, note)
        except _TakenError:
            raise UploadError(
                f"{path}: another upload already stands at {key}, and nothing is overwritten",
                "if it was uploaded before, all is well; if it is another file, use --name",
            ) from None
        except OSError as wrong:
            raise UploadError(f"{path}: {wrong.strerror or wrong}") from None
        return Uploaded(key, digest.sha256, digest.size_bytes)

    def key_for(self, name: str) -> str:
        """The landing key of a file called `name`.

        Raises TargetError when Logbox would refuse such a key.
        """
        target = self._target
        vehicle = f"{target.vehicle}/" if target.vehicle else ""
        key = f"landing/{target.client}/{vehicle}{name}"
        why = None
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            why = "empty, `.`, `..`, or with a slash or backslash"
        elif _UNPRINTABLE.search(name):
            why = "control characters or invalid UTF-8"
        elif name.endswith(".sha256"):
            why = "`.sha256` is for sidecars, and this upload declares its digest itself"
        elif len(key.encode()) + _DIGEST_BYTES > MAX_KEY_BYTES:
            why = f"its key would be longer than {MAX_KEY_BYTES - _DIGEST_BYTES} bytes"
        if why:
            raise TargetError(f"{name!r} cannot be a log's name: {why}", "use --name")
        return key

    def _send(self, key: str, sending: _Sending) -> None:
        if sending.digest.size_bytes < self._multipart_bytes:
            self._send_whole(key, sending)
        else:
            self._send_in_parts(key, sending)

    def _send_whole(self, key: str, sending: _Sending) -> None:
        with sending.path.open("rb") as source:
            try:
                self._call(
                    "put_object",
                    sending,
                    body=_Body(source, 0, sending),
                    Key=key,
                    ContentLength=sending.digest.size_bytes,
                    ChecksumSHA256=sending.digest.checksum,
                    Metadata={"sha256": sending.digest.sha256},
                    IfNoneMatch="*",
                )
            except _RefusedError as refused:
                if refused.status != 412:
                    raise self._explain(refused, key) from None
                raise (_UnclearError() if refused.lost_answer else _TakenError()) from None

    def _send_in_parts(self, key: str, sending: _Sending) -> None:
        for restarts_left in reversed(range(_RESTARTS + 1)):
            try:
                self._send_in_parts_once(key, sending)
                return
            except _RefusedError as refused:
                # The store forgot the upload: it was restarted, or it clears old ones.
                if refused.code != "NoSuchUpload" or not restarts_left:
                    raise self._explain(refused, key) from None
                self._on_trouble("the store has forgotten the parts; starting over")

    def _send_in_parts_once(self, key: str, sending: _Sending) -> None:
        upload_id = self._call(
            "create_multipart_upload",
            sending,
            Key=key,
            ChecksumAlgorithm="SHA256",
            Metadata={"sha256": sending.digest.sha256},
        )["UploadId"]
        try:
            parts = self._send_parts(key, sending, upload_id)
            self._complete(key, sending, upload_id, parts)
        except BaseException:
            self._abort(key, upload_id)
            raise

    def _send_parts(self, key: str, sending: _Sending, upload_id: str) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        whole = hashlib.sha256()
        sent = 0
        with sending.path.open("rb") as source:
            while chunk := source.read(self._part_bytes):
                whole.update(chunk)
                checksum = base64.b64encode(hashlib.sha256(chunk).digest()).decode()
                number = len(parts) + 1
                answer = self._call(
                    "upload_part",
                    sending,
                    body=_Body(BytesIO(chunk), sent, sending),
                    Key=key,
                    UploadId=upload_id,
                    PartNumber=number,
                    ContentLength=len(chunk),
                    ChecksumSHA256=checksum,
                )
                parts.append(
                    {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}
                )
                sent += len(chunk)
        if whole.hexdigest() != sending.digest.sha256:
            raise _changed(sending.path)
        return parts

    def _complete(
        self, key: str, sending: _Sending, upload_id: str, parts: list[dict[str, Any]]
    ) -> None:
        try:
            self._call(
                "complete_multipart_upload",
                sending,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": parts},
                IfNoneMatch="*",
            )
        except _RefusedError as refused:
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
            self._call("list_parts", sending, Key=key, UploadId=upload_id, MaxParts=1)
        except _RefusedError as refused:
            if refused.code == "NoSuchUpload":
                return False
            raise
        return True

    def _abort(self, key: str, upload_id: str) -> None:
        try:
            self._s3.abort_multipart_upload(Bucket=self._target.bucket, Key=key, UploadId=upload_id)
        except (ClientError, BotoCoreError) as error:
            if "NoSuchUpload" not in str(error):
                self._on_trouble(f"parts of {key} are left in the store until it clears them")

    def _call(
        self, operation: str, sending: _Sending, *, body: _Body | None = None, **params: Any
    ) -> dict[str, Any]:
        """One request, again and again while the link or the store is at fault.

        Raises _RefusedError when the store says no, UploadError when patience is used up.
        """
        if body is not None:
            params["Body"] = body
        lost_answer = False
        clock_was_set = False
        attempt = 1
        while True:
            try:
                if body is not None:
                    body.rewind()
                answer: dict[str, Any] = getattr(self._s3, operation)(
                    Bucket=self._target.bucket, **params
                )
            except ClientError as error:
                refused = _RefusedError(error, lost_answer)
                if refused.code in _SKEWED and not clock_was_set:
                    self._set_clock(refused)
                    clock_was_set = True
                    continue
                if refused.code in _DAMAGED_ON_THE_WAY and has_changed(
                    sending.path, sending.digest
                ):
                    raise _changed(sending.path) from None
                if (
                    refused.status < 500
                    and refused.status != 429
                    and (refused.code not in _TRY_AGAIN)
                ):
                    raise refused from None
                lost_answer = lost_answer or refused.status >= 500
                trouble = f"the store answers {refused.status} {refused.code}"
            except _LINK_ERRORS as error:
                lost_answer = lost_answer or not isinstance(error, _NOT_SENT)
                trouble = _one_line(error)
            except BotoCoreError as error:
                raise UploadError(f"{sending.path}: {_one_line(error)}") from None
            else:
                return answer
            clock_was_set = False
            if attempt >= self._attempts:
                raise UploadError(
                    f"{sending.path}: given up after {attempt} attempts: {trouble}",
                    "try again when the link is better; nothing is kept half",
                )
            wait_s = min(LONGEST_WAIT_S, 2.0 ** (attempt - 1)) * random.uniform(0.5, 1)  # noqa: S311
            self._on_trouble(f"{trouble}; attempt {attempt + 1} in {wait_s:.0f} s")
            self._sleep(wait_s)
            attempt += 1

    def _set_clock(self, refused: _RefusedError) -> None:
        offset = self._clock.learn(refused.headers, refused.error)
        if offset is None:
            raise UploadError(
                "this machine's clock is wrong, and the store does not say what time it is",
                "set the clock",
            )
        self._on_trouble(
            f"this machine's clock is off by {abs(offset.total_seconds()):.0f} s: "
            "signing by the server's"
        )

    def _explain(self, refused: _RefusedError, key: str) -> UploadError:
        target = self._target
        if refused.code in _SKEWED:
            return UploadError(
                f"{key}: the store still finds this machine's clock wrong after correcting it",
                "set the clock",
            )
        if refused.code in ("InvalidAccessKeyId", "SignatureDoesNotMatch"):
            return UploadError(
                f"{key}: the store does not accept the key {target.access_key_id} ({refused.code})",
                "it may have been revoked or rotated: ask for a new one",
            )
        if refused.status == 403:
            return UploadError(
                f"{key}: the key {target.access_key_id} may not write there ({refused.code})",
                "check LOGBOX_CLIENT and --vehicle; a key for one vehicle needs its --vehicle",
            )
        if refused.code == "NoSuchBucket":
            return UploadError(
                f"{key}: there is no bucket {target.bucket!r} at {target.endpoint or 'AWS'}",
                "check LOGBOX_LANDING_BUCKET and LOGBOX_S3_ENDPOINT",
            )
        return UploadError(f"{key}: refused: {refused.status} {refused.code}: {refused.message}")


def _with_digest(key: str, sha256: str) -> str:
    """`landing/acme/flight.ulg.gz` -> `landing/acme/flight-0123456789ab.ulg.gz`."""
    at = len(key) - len(_EXTENSION.search(key)[0])  # type: ignore[index]
    return f"{key[:at]}-{sha256[: _DIGEST_BYTES - 1]}{key[at:]}"


@dataclass(frozen=True)
class _Sending:
    path: Path
    digest: FileDigest
    on_progress: Progress


class _Body:
    """A request's body that counts what is sent, and not what is read to sign it."""

    def __init__(self, source: BinaryIO, before: int, sending: _Sending) -> None:
        self._source = source
        self._before = before
        self._sending = sending
        self.is_sent = False

    def rewind(self) -> None:
        self.is_sent = False
        self._source.seek(0)

    def read(self, size: int = -1) -> bytes:
        chunk = self._source.read(size)
        if self.is_sent and chunk:
            done = self._before + self._source.tell()
            self._sending.on_progress(done, self._sending.digest.size_bytes)
        return chunk

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()


def _begin_to_count(request: Any, **_: Any) -> None:
    if isinstance(request.body, _Body):
        request.body.is_sent = True


class _RefusedError(Exception):
    """The store said no. `lost_answer`: an earlier attempt may yet have been carried out."""

    def __init__(self, error: ClientError, lost_answer: bool) -> None:
        super().__init__(str(error))
        answer: Mapping[str, Any] = error.response
        metadata = answer.get("ResponseMetadata", {})
        self.status: int = metadata.get("HTTPStatusCode", 0)
        self.headers: Mapping[str, str] = metadata.get("HTTPHeaders", {})
        self.error: Mapping[str, Any] = answer.get("Error", {})
        self.code: str = self.error.get("Code", "")
        self.message: str = _one_line(self.error.get("Message", ""))
        self.lost_answer = lost_answer


class _TakenError(Exception):
    """The name is another upload's."""


class _UnclearError(Exception):
    """An answer was lost, and whose bytes stand there cannot be told."""


def _changed(path: Path) -> UploadError:
    return UploadError(
        f"{path}: the file changed while it was being sent",
        "upload it when nothing writes it any more",
    )


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
