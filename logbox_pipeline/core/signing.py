"""Ed25519: the key that signs receipts and seals, and what checks their signatures. No I/O.

A private key is derived from a secret, or given. Whoever checks needs the 32 bytes of the public
key: in base64, or as the PEM that OpenSSL reads.
"""

import base64
import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from logbox_pipeline.core.errors import SettingError

KEY_BYTES = 32
SIGNATURE_BYTES = 64
LEAST_SECRET_CHARACTERS = 32
"""The public key is public: a short secret behind it could be found by trying."""

_INFO = b"logbox: ed25519 key of receipts and seals, 1"
"""HKDF's info (RFC 5869): another use of the same secret derives another key."""

HOW_TO_MAKE = "make one with `openssl rand -base64 32`, set LOGBOX_SECRET_KEY to it, and keep it"


@dataclass(frozen=True)
class Signer:
    """A private key. `public_key` is its other half, 32 bytes; `key_id` names it in receipts."""

    private_key: Ed25519PrivateKey = field(repr=False)
    public_key: bytes
    key_id: str

    def sign(self, data: bytes) -> bytes:
        """64 bytes, the same for the same data."""
        return self.private_key.sign(data)


def signer_from_secret(secret: str) -> Signer:
    """The key that belongs to LOGBOX_SECRET_KEY: HKDF-SHA256 without salt.

    Raises SettingError when the secret is too short. No message holds a secret.
    """
    if len(secret) < LEAST_SECRET_CHARACTERS:
        raise SettingError(
            f"LOGBOX_SECRET_KEY has {len(secret)} characters, "
            f"at least {LEAST_SECRET_CHARACTERS} are needed",
            hint=HOW_TO_MAKE,
        )
    derive = HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=_INFO)
    return _signer(Ed25519PrivateKey.from_private_bytes(derive.derive(secret.encode())))


def signer_from_key(text: str) -> Signer:
    """The key given as LOGBOX_SIGNING_KEY: base64 of 32 bytes, or PEM (`\\n` may stand for its
    line ends).

    Raises SettingError when it is neither. No message holds a secret.
    """
    wrong = SettingError(
        "LOGBOX_SIGNING_KEY is neither base64 of 32 bytes nor an Ed25519 private key in PEM",
        hint="make one with `openssl genpkey -algorithm ed25519`, or set LOGBOX_SECRET_KEY",
    )
    if "PRIVATE KEY" not in text:
        raw = _raw_key(text)
        if raw is None:
            raise wrong
        return _signer(Ed25519PrivateKey.from_private_bytes(raw))
    try:
        key = serialization.load_pem_private_key(text.replace("\\n", "\n").encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise wrong from None
    if not isinstance(key, Ed25519PrivateKey):
        raise wrong
    return _signer(key)


def public_keys(text: str) -> tuple[bytes, ...]:
    """Public keys written as base64, with commas between them.

    Raises SettingError when one is not 32 bytes.
    """
    found = []
    for one in filter(None, (part.strip() for part in text.split(","))):
        raw = _raw_key(one)
        if raw is None:
            raise SettingError(
                f"{one!r} is no public key: expected base64 of {KEY_BYTES} bytes",
                hint="`logbox receipt-key` prints this site's; several have commas between them",
            )
        found.append(raw)
    return tuple(found)


def key_id(public_key: bytes) -> str:
    """Names a public key of 32 bytes: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def public_text(public_key: bytes) -> str:
    """The base64 that drones are given."""
    return base64.b64encode(public_key).decode()


def public_pem(public_key: bytes) -> str:
    """The same key as OpenSSL reads it."""
    return (
        Ed25519PublicKey.from_public_bytes(public_key)
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def signed_by(signature: bytes, data: bytes, keys: Collection[bytes]) -> bytes | None:
    """Which of the public keys the signature over `data` is of; None: none of them."""
    for key in keys:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, data)
        except (InvalidSignature, ValueError):
            continue
        return key
    return None


def _signer(private_key: Ed25519PrivateKey) -> Signer:
    public = private_key.public_key().public_bytes_raw()
    return Signer(private_key, public, key_id(public))


def _raw_key(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        return None
    return raw if len(raw) == KEY_BYTES else None
