"""One client's way to its bucket: requests that are repeated while the link or the store fails.

Retries are ours and not botocore's, since it does not tell whether an answer was lost. botocore
alone, without boto3 around it, saves a drone 3 MB.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any, Callable

import botocore.session
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
from botocore.parsers import ResponseParserError

from logbox_pipeline.drone.body import Body, begin_to_count
from logbox_pipeline.drone.errors import KeyRefusedError, NoAnswerError, TargetError, UploadError
from logbox_pipeline.drone.signing import ClockOffset, sign_by
from logbox_pipeline.drone.target import Target

ATTEMPTS = 8
LONGEST_WAIT_S = 60.0
MAX_ANSWER_BYTES = 8 * 1024**2
"""A receipt is some kilobytes; whatever stands there, a drone's memory is not at its mercy."""

DAMAGED_ON_THE_WAY = ("BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody")
_NOT_SENT = (EndpointConnectionError, ConnectTimeoutError)
_SKEWED = ("RequestTimeTooSkewed", "RequestExpired")
_REFUSED_KEY = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken")
_TRY_AGAIN = (
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "TooManyRequests",
    "OperationAborted",
    "ConditionalRequestConflict",
    *DAMAGED_ON_THE_WAY,
)


class _NotTheStoreError(Exception):
    """An answer that no S3 store gives: a login page of a hotspot, or a proxy's."""


_LINK_ERRORS = (
    NoConnection,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
    ResponseParserError,
    _NotTheStoreError,
)
_TAGGED = ("put_object", "upload_part", "complete_multipart_upload")
"""What the store answers with an ETag, without which nothing is believed to have been written."""


class RefusedError(Exception):
    """The store said no. `lost_answer`: an earlier attempt may yet have been carried out."""

    def __init__(self, error: ClientError, lost_answer: bool) -> None:
        super().__init__(str(error))
        answer: Mapping[str, Any] = error.response
        metadata = answer.get("ResponseMetadata", {})
        self.status: int = metadata.get("HTTPStatusCode", 0)
        self.headers: Mapping[str, str] = metadata.get("HTTPHeaders", {})
        self.error: Mapping[str, Any] = answer.get("Error", {})
        self.code: str = self.error.get("Code", "")
        self.message: str = one_line(self.error.get("Message", ""))
        self.lost_answer = lost_answer


class Store:
    """The landing bucket as one key sees it; remembers how wrong this machine's clock is.

    `attempts` counts per request; `on_trouble` is told each time that one is repeated.
    """

    def __init__(
        self,
        target: Target,
        *,
        attempts: int = ATTEMPTS,
        connect_timeout_s: float = 15,
        read_timeout_s: float = 60,
        on_trouble: Callable[[str], None] = lambda message: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.target = target
        self.on_trouble = on_trouble
        self.clock = ClockOffset()
        self._attempts = attempts
        self._sleep = sleep
        try:
            self._s3 = botocore.session.Session().create_client(
                "s3",
                endpoint_url=target.endpoint or None,
                region_name=target.region,
                aws_access_key_id=target.access_key_id,
                aws_secret_access_key=target.secret_access_key,
                config=Config(
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
        sign_by(self._s3, self.clock)
        self._s3.meta.events.register("before-send.s3", begin_to_count)

    def call(
        self,
        operation: str,
        about: object,
        *,
        body: Body | None = None,
        on_damage: Callable[[], None] = lambda: None,
        attempts: int | None = None,
        **params: Any,
    ) -> dict[str, Any]:
        """One request, again and again while the link or the store is at fault.

        `about` begins the messages; `on_damage` is called when the bytes that arrived were not
        those that were declared, and may raise. Raises RefusedError when the store says no,
        NoAnswerError when patience is used up, UploadError.
        """
        if body is not None:
            params["Body"] = body
        patience = self._attempts if attempts is None else attempts
        lost_answer = False
        clock_was_set = False
        attempt = 1
        while True:
            try:
                if body is not None:
                    body.rewind()
                return self._once(operation, params)
            except ClientError as error:
                refused = RefusedError(error, lost_answer)
                if refused.code in _SKEWED and not clock_was_set:
                    self._set_clock(refused)
                    clock_was_set = True
                    continue
                if refused.code in DAMAGED_ON_THE_WAY:
                    on_damage()
                if not _is_transient(refused):
                    raise refused from None
                lost_answer = lost_answer or refused.status >= 500
                trouble = f"the store answers {refused.status} {refused.code}"
            except _LINK_ERRORS as error:
                lost_answer = lost_answer or not isinstance(error, _NOT_SENT)
                trouble = one_line(error)
            except BotoCoreError as error:
                raise UploadError(f"{about}: {one_line(error)}") from None
            clock_was_set = False
            if attempt >= patience:
                raise NoAnswerError(
                    f"{about}: given up after {attempt} attempts: {trouble}",
                    "try again when the link is better; nothing is kept half",
                )
            wait_s = backoff_s(attempt)
            self.on_trouble(f"{trouble}; attempt {attempt + 1} in {wait_s:.0f} s")
            self._sleep(wait_s)
            attempt += 1

    def explain(self, refused: RefusedError, about: str, may_not: str) -> UploadError:
        """A refusal in words: `may_not` is what the key is not allowed, `write there`."""
        target = self.target
        if refused.code in _SKEWED:
            return UploadError(
                f"{about}: the store still finds this machine's clock wrong after correcting it",
                "set the clock",
            )
        if is_refused_key(refused):
            return KeyRefusedError(
                f"{about}: the store does not accept the key {target.access_key_id} "
                f"({refused.code})",
                "it may have been revoked or rotated: ask for a new one",
            )
        if refused.status == 403:
            return KeyRefusedError(
                f"{about}: the key {target.access_key_id} may not {may_not} ({refused.code})",
                "check LOGBOX_CLIENT and --vehicle; a key for one vehicle needs its --vehicle",
            )
        if refused.code == "NoSuchBucket":
            return KeyRefusedError(
                f"{about}: there is no bucket {target.bucket!r} at {target.endpoint or 'AWS'}",
                "check LOGBOX_LANDING_BUCKET and LOGBOX_S3_ENDPOINT",
            )
        return UploadError(f"{about}: refused: {refused.status} {refused.code}: {refused.message}")

    def _once(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(self._s3, operation)(Bucket=self.target.bucket, **params)
        if operation in _TAGGED and not answer.get("ETag"):
            raise _NotTheStoreError("what answers is no S3 store: a hotspot's login page?")
        if operation == "get_object":
            stream = answer["Body"]
            try:
                answer["Body"] = stream.read(MAX_ANSWER_BYTES)
            finally:
                stream.close()
            if len(answer["Body"]) < min(answer["ContentLength"], MAX_ANSWER_BYTES):
                raise ResponseStreamingError(error="the answer ends too early")
        return answer

    def _set_clock(self, refused: RefusedError) -> None:
        offset = self.clock.learn(refused.headers, refused.error)
        if offset is None:
            raise UploadError(
                "this machine's clock is wrong, and the store does not say what time it is",
                "set the clock",
            )
        self.on_trouble(
            f"this machine's clock is off by {abs(offset.total_seconds()):.0f} s: "
            "signing by the server's"
        )


def is_refused_key(refused: RefusedError) -> bool:
    """Whether the store does not know the key at all, whatever it was asked for."""
    return refused.code in _REFUSED_KEY


def backoff_s(attempt: int, longest_s: float = LONGEST_WAIT_S) -> float:
    """Seconds to wait after the attempt of this number, from 1: doubled each time, jittered."""
    return min(longest_s, 2.0 ** min(attempt - 1, 30)) * random.uniform(0.5, 1)  # noqa: S311


def one_line(error: object) -> str:
    return " ".join(str(error).split())


def _is_transient(refused: RefusedError) -> bool:
    if not refused.code or refused.code.isdigit():
        # A status without S3's word for it: something on the way answers, not the store.
        return True
    return refused.status >= 500 or refused.status == 429 or refused.code in _TRY_AGAIN
