"""Receipts: Logbox's signed word to the drone on one delivery, as bytes. No I/O.

One JSON object on one line, UTF-8, that ends in

    ,"key_id":"<16 hex digits>","signature":"<base64 of 64 bytes>"}\\n

The signature is Ed25519 over every byte before `,"signature":"`, so that whoever checks it needs no
canonical JSON. drone/ checks the same bytes with code of its own.
"""

import base64
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from logbox_pipeline.core.signing import Signer, key_id, signed_by

VERSION = 1
UNSETTLED = ("received", "waiting", "verified")
"""States of a delivery of which there is nothing to tell yet."""

_END = re.compile(rb',"key_id":"([0-9a-f]{16})"(,"signature":"([A-Za-z0-9+/]{86}==)"\}\n)\Z')


@dataclass(frozen=True)
class LogFacts:
    """One log of the delivered bytes, or a member of them that was refused (`log_id` None, state
    `refused`). A superseded log has state `superseded`, and `loaded_at` of the log that has its
    rows. `rows` None: it has none of its own, or not yet."""

    log_id: UUID | None
    member: str
    state: str
    reason: str | None
    format: str | None
    rows: int | None
    is_damaged: bool
    damaged_bytes: int
    loaded_at: datetime | None


@dataclass(frozen=True)
class DeliveryFacts:
    """What the catalog knows of one delivery. Times are aware; `landing_key` is the key itself, not
    the catalog's text form; `seal` is (number, sha256) of the client's newest."""

    delivery_id: UUID
    client: str
    vehicle: str | None
    landing_key: str
    sha256: str | None
    declared_sha256: str | None
    size_bytes: int
    received_at: datetime
    state: str
    reason: str | None
    detail: str | None
    duplicate_of: UUID | None
    archived_at: datetime | None
    replicated_at: datetime | None
    logs: Sequence[LogFacts]
    seal: tuple[int, str] | None


def loaded_at(logs: Sequence[LogFacts]) -> datetime | None:
    """Since when every log of these bytes has its rows in Postgres, or a longer log has them.

    None while one has not, also for ever: of an unparsed log or a refused member there are no rows.
    """
    times = [one.loaded_at for one in logs if one.loaded_at is not None]
    return max(times) if times and len(times) == len(logs) else None


def render(facts: DeliveryFacts, signer: Signer, now: datetime) -> bytes:
    """The receipt as it is stored."""
    told = {
        "version": VERSION,
        "client": facts.client,
        "vehicle": facts.vehicle,
        "landing_key": facts.landing_key,
        "delivery_id": str(facts.delivery_id),
        "sha256": facts.sha256,
        "declared_sha256": facts.declared_sha256,
        "size_bytes": facts.size_bytes,
        "received_at": _time(facts.received_at),
        "state": facts.state,
        "reason": facts.reason,
        "detail": facts.detail,
        "duplicate_of": str(facts.duplicate_of) if facts.duplicate_of else None,
        "archived_at": _time(facts.archived_at),
        "replicated_at": _time(facts.replicated_at),
        "loaded_at": _time(loaded_at(facts.logs)),
        "logs": [
            {
                "log_id": str(one.log_id) if one.log_id else None,
                "member": one.member,
                "state": one.state,
                "reason": one.reason,
                "format": one.format,
                "rows": one.rows,
                "is_damaged": one.is_damaged,
                "damaged_bytes": one.damaged_bytes,
            }
            for one in facts.logs
        ],
        "seal": {"number": facts.seal[0], "sha256": facts.seal[1]} if facts.seal else None,
        "written_at": _time(now),
        "key_id": signer.key_id,
    }
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    signed = text.removesuffix("}").encode()
    signature = base64.b64encode(signer.sign(signed))
    return signed + b',"signature":"' + signature + b'"}\n'


def read_receipt(body: bytes, keys: Collection[bytes]) -> dict[str, Any] | None:
    """What a receipt says; None unless one of the public keys signed exactly these bytes."""
    end = _END.search(body)
    if end is None:
        return None
    signature = base64.b64decode(end[3])
    # The last letter has spare bits, which decoding forgets: only the one spelling counts.
    if base64.b64encode(signature) != end[3]:
        return None
    signer = signed_by(signature, body[: end.start(2)], keys)
    if signer is None or key_id(signer) != end[1].decode():
        return None
    told: dict[str, Any] = json.loads(body)
    return told


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat()
