"""Read a receipt and prove that it is Logbox's word. No I/O.

A receipt is one line of JSON that ends, to the byte, with

    ,"key_id":"<16 hex digits>","signature":"<base64 of 64 bytes>"}\\n

and what is signed are the stored bytes before `,"signature":"`. So it is verified as it was stored,
and no way of writing JSON matters.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Any

from logbox_pipeline.drone.ed25519 import is_public_key, verify
from logbox_pipeline.drone.errors import TargetError

VERSION = 1
REFUSED_STATES = ("quarantined", "failed", "vanished", "erased")
"""Delivery states after which these bytes are not kept, or not kept as they should be."""

_ENDING = re.compile(
    rb',"key_id":"([0-9a-f]{16})"(,"signature":")([A-Za-z0-9+/]{86}==)"\}\n\Z', re.ASCII
)
_HAS_ROWS = ("loaded", "superseded")
"""States of a log that has its rows, or whose rows a longer log has."""
_HAS_NONE = ("unparsed", "refused", "failed", "erased")
_SLACK = timedelta(seconds=5)


class Stage(str, Enum):
    """How far a log must have come. Each is proven by its own time in the receipt."""

    ARCHIVED = "archived"
    REPLICATED = "replicated"
    LOADED = "loaded"


@dataclass(frozen=True)
class Unproven:
    """Bytes that are no receipt to rely on, and why."""

    why: str


@dataclass(frozen=True)
class LogOutcome:
    """What became of one log inside the uploaded bytes; `member` is its name in a zip.

    `log_id` None: a member that was refused.
    """

    log_id: str | None
    member: str
    state: str
    reason: str | None


@dataclass(frozen=True)
class Receipt:
    """Logbox's signed word about one delivery. Digests are hex, times UTC.

    `sha256` is what Logbox computed (None: never read), `declared_sha256` what the upload claimed.
    """

    client: str
    landing_key: str
    sha256: str | None
    declared_sha256: str | None
    size_bytes: int | None
    received_at: datetime
    state: str
    reason: str | None
    detail: str | None
    duplicate_of: str | None
    archived_at: datetime | None
    replicated_at: datetime | None
    loaded_at: datetime | None
    logs: tuple[LogOutcome, ...]
    written_at: datetime
    key_id: str

    def is_about(self, sha256: str) -> bool:
        """Whether it speaks of an upload of the file with this digest, arrived whole or not."""
        return sha256 in (self.sha256, self.declared_sha256)

    def proves(self, sha256: str, stage: Stage) -> bool:
        """Whether exactly these bytes have come so far, and are still kept.

        LOADED says nothing of the replica, nor REPLICATED of the tables; each says archived.
        """
        reached_at = {
            Stage.ARCHIVED: self.archived_at,
            Stage.REPLICATED: self.replicated_at,
            Stage.LOADED: self.loaded_at,
        }[stage]
        return (
            self.sha256 == sha256
            and self.state not in REFUSED_STATES
            and self.archived_at is not None
            and reached_at is not None
        )

    def refuses(self, sha256: str, landing_key: str, since: datetime | None) -> bool:
        """Whether this upload was refused: not an earlier one of the same bytes or name.

        `since`: server's time before the upload began.
        """
        return (
            self.state in REFUSED_STATES
            and self.is_about(sha256)
            and self.landing_key == landing_key
            and (since is None or self.received_at >= since - _SLACK)
        )

    def says_lost(self, sha256: str) -> bool:
        """Whether Logbox had archived exactly these bytes, and finds them no more."""
        return (
            self.sha256 == sha256
            and self.state in ("archived", "duplicate")
            and self.archived_at is None
        )

    def never_loads(self) -> bool:
        """Whether every log of these bytes has ended, and one of them without being loaded."""
        states = [log.state for log in self.logs]
        return all(state in _HAS_ROWS + _HAS_NONE for state in states) and any(
            state in _HAS_NONE for state in states
        )

    @property
    def why(self) -> str:
        """One line of what became of it."""
        said = [self.reason, self.detail]
        if self.state not in REFUSED_STATES:
            without_rows = [log for log in self.logs if log.state in _HAS_NONE]
            said += [
                log.state + (f" ({log.reason})" if log.reason else "") for log in without_rows[:1]
            ]
        return ": ".join([self.state, *(text for text in said if text)])


def read_receipt(stored: bytes, keys: Mapping[str, bytes]) -> Receipt | Unproven:
    """The receipt in these stored bytes, if the owner of one of `keys` signed it.

    `keys`: public keys (32 bytes) by key_id.
    """
    ending = _ENDING.search(stored)
    if ending is None:
        return Unproven("it does not end as a receipt does")
    key_id = ending[1].decode()
    if key_id not in keys:
        return Unproven(f"it is signed with the key {key_id}, which is not known here")
    signature = base64.b64decode(ending[3])
    # The last letter has spare bits, which decoding forgets: only the one spelling counts.
    if base64.b64encode(signature) != ending[3]:
        return Unproven("its signature is not spelled as it was written")
    if not verify(keys[key_id], stored[: ending.start(2)], signature):
        return Unproven("its signature is not that of these bytes")
    try:
        return _receipt(json.loads(stored))
    except (ValueError, KeyError, TypeError, AttributeError) as wrong:
        return Unproven(f"signed, but not understood: {wrong!r}")


def parse_public_keys(text: str) -> dict[str, bytes]:
    """LOGBOX_RECEIPT_PUBLIC_KEY: base64 of 32 bytes, several with commas between, by key_id.

    Raises TargetError.
    """
    keys = {}
    for one in filter(None, (part.strip() for part in text.split(","))):
        try:
            key = base64.b64decode(one, validate=True)
        except binascii.Error:
            key = b""
        if not is_public_key(key):
            raise TargetError(
                f"LOGBOX_RECEIPT_PUBLIC_KEY: {one!r} is no Ed25519 public key: expected base64 of "
                "32 bytes",
                "copy the line that `logbox client add` printed",
            )
        keys[key_id_of(key)] = key
    return keys


def key_id_of(public_key: bytes) -> str:
    return hashlib.sha256(public_key).hexdigest()[:16]


def _receipt(said: Mapping[str, Any]) -> Receipt:
    if said["version"] != VERSION:
        raise ValueError(f"version {said['version']}, expected {VERSION}")
    return Receipt(
        client=said["client"],
        landing_key=said["landing_key"],
        sha256=said["sha256"],
        declared_sha256=said["declared_sha256"],
        size_bytes=said["size_bytes"],
        received_at=_required_time(said["received_at"]),
        state=said["state"],
        reason=said["reason"],
        detail=said["detail"],
        duplicate_of=said["duplicate_of"],
        archived_at=_time(said["archived_at"]),
        replicated_at=_time(said["replicated_at"]),
        loaded_at=_time(said["loaded_at"]),
        logs=tuple(
            LogOutcome(log["log_id"], log["member"], log["state"], log["reason"])
            for log in said["logs"]
        ),
        written_at=_required_time(said["written_at"]),
        key_id=said["key_id"],
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else _required_time(text)


def _required_time(text: str) -> datetime:
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return at if at.tzinfo else at.replace(tzinfo=timezone.utc)
