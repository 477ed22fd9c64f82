"""Sign S3 requests by the server's clock when the drone's own is wrong.

S3 refuses a request signed more than 15 minutes off (403 RequestTimeTooSkewed), and botocore does
not correct for it. Its signer takes the time from the system and keeps it in
`request.context["timestamp"]`, from where everything else of the signature is made; so it is moved
there. Tried with botocore 1.36.26 (Python 3.9), 1.42.97 (Python 3.9) and 1.43.106 (Python 3.11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth

SIGNER = "logbox-s3v4"
_OFFSET = "logbox_clock_offset"
_AMZ_DATE = "%Y%m%dT%H%M%SZ"

# "Signature expired: 20261124T000000Z is now earlier than ... (20261127T001500Z - 15 min.)"
_IN_MESSAGE = re.compile(r"\((\d{8}T\d{6}Z) [+-] \d+ min\.\)")


class ClockOffset:
    """How far the server's clock is ahead of ours. Starts at nothing, learns from answers."""

    def __init__(self) -> None:
        self.offset = timedelta(0)

    def learn(self, headers: Mapping[str, str], error: Mapping[str, Any]) -> timedelta | None:
        """Take the server's time from a refusal; None when it does not say.

        It stands in the `Date` header, in S3's `ServerTime`, or at the end of the message.
        """
        server = _http_date(headers.get("date", "")) or _iso_date(error.get("ServerTime", ""))
        if server is None:
            found = _IN_MESSAGE.search(error.get("Message", ""))
            server = _utc(datetime.strptime(found[1], _AMZ_DATE)) if found else None  # noqa: DTZ007
        if server is None:
            return None
        self.offset = server - datetime.now(timezone.utc)
        return self.offset

    def now(self) -> datetime:
        """The server's time, as far as it is known."""
        return datetime.now(timezone.utc) + self.offset


class _OffsetSigner(S3SigV4Auth):  # type: ignore[misc]
    """S3's own signer, at another time."""

    def _modify_request_before_signing(self, request: Any) -> None:
        offset = request.context.get(_OFFSET)
        if offset:
            at = datetime.strptime(request.context["timestamp"], _AMZ_DATE)  # noqa: DTZ007
            request.context["timestamp"] = (at + offset).strftime(_AMZ_DATE)
        super()._modify_request_before_signing(request)


def sign_by(client: Any, clock: ClockOffset) -> None:
    """Make an S3 client sign every request at `clock`'s time, which each answer corrects."""
    AUTH_TYPE_MAPS[SIGNER] = _OffsetSigner

    def choose(**_: Any) -> str:
        return SIGNER

    def note(request: Any, **_: Any) -> None:
        request.context[_OFFSET] = clock.offset

    client.meta.events.register_first("choose-signer.s3", choose)

    def learn(http_response: Any, **_: Any) -> None:
        # Before a refusal teaches it: a drone whose clock drifts for weeks is never refused.
        clock.learn({"date": http_response.headers.get("date", "")}, {})

    client.meta.events.register("before-sign.s3", note)
    client.meta.events.register("after-call.s3", learn)


def _http_date(text: str) -> datetime | None:
    try:
        return _utc(parsedate_to_datetime(text))
    except (TypeError, ValueError):
        return None


def _iso_date(text: str) -> datetime | None:
    try:
        return _utc(datetime.fromisoformat(text.replace("Z", "+00:00")))
    except ValueError:
        return None


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=timezone.utc)
