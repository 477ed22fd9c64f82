"""Ed25519 signing in integers, for tests alone: slow, and not in constant time. RFC 8032, 5.1.6."""

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from logbox_pipeline.drone import ed25519
from logbox_pipeline.drone.receipt import key_id_of


@dataclass(frozen=True)
class Signer:
    secret: bytes

    @property
    def _scalar(self) -> int:
        low = bytearray(hashlib.sha512(self.secret).digest()[:32])
        low[0] &= 248
        low[31] = (low[31] & 127) | 64
        return int.from_bytes(low, "little")

    @property
    def public_key(self) -> bytes:
        return ed25519._encoded(ed25519._times(self._scalar, ed25519._BASE))

    @property
    def public_text(self) -> str:
        return base64.b64encode(self.public_key).decode()

    @property
    def known(self) -> dict[str, bytes]:
        return {key_id_of(self.public_key): self.public_key}

    def sign(self, message: bytes) -> bytes:
        prefix = hashlib.sha512(self.secret).digest()[32:]
        nonce = number(prefix + message) % ed25519._ORDER
        point = ed25519._encoded(ed25519._times(nonce, ed25519._BASE))
        challenge = number(point + self.public_key + message) % ed25519._ORDER
        scalar = (nonce + challenge * self._scalar) % ed25519._ORDER
        return point + scalar.to_bytes(32, "little")

    def stored(self, fields: dict[str, Any]) -> bytes:
        """A receipt as it is stored."""
        text = json.dumps(
            {**fields, "key_id": key_id_of(self.public_key)},
            separators=(",", ":"),
            ensure_ascii=False,
        )
        signed = text[:-1].encode()
        signature = base64.b64encode(self.sign(signed))
        return signed + b',"signature":"' + signature + b'"}\n'


def number(message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(message).digest(), "little")


def receipt_fields(owner: str, landing_key: str, digest: str, **changes: Any) -> dict[str, Any]:
    """What a receipt of a log that was archived and loaded says; `changes` win."""
    at = "2026-11-29T12:00:00+00:00"
    fields = {
        "version": 1,
        "client": owner,
        "vehicle": None,
        "landing_key": landing_key,
        "delivery_id": "3b0e5a4e-93f3-5d0f-a4a5-1c0a5b7d5a10",
        "sha256": digest,
        "declared_sha256": digest,
        "size_bytes": 4,
        "received_at": "2126-11-29T12:00:00+00:00",
        "state": "archived",
        "reason": None,
        "detail": None,
        "duplicate_of": None,
        "archived_at": at,
        "replicated_at": None,
        "loaded_at": at,
        "logs": [
            {
                "log_id": "0b3a4e7e-93f3-5d0f-a4a5-1c0a5b7d5a10",
                "member": "",
                "state": "loaded",
                "reason": None,
                "format": "ulog",
                "rows": 12,
                "is_damaged": False,
                "damaged_bytes": 0,
            }
        ],
        "seal": None,
        "written_at": at,
    }
    assert changes.keys() <= fields.keys()
    return fields | changes
