"""Decide whether a received object is what it claims to be, and what becomes of it. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from logbox_pipeline.core.digest import from_base64, is_sha256


class Verdict(StrEnum):
    VERIFIED = "verified"
    MISMATCH = "mismatch"
    UNDECLARED = "undeclared"
    UNREADABLE = "unreadable"


class Refusal(StrEnum):
    """Why bytes go to quarantine instead of the archive (`deliveries.reason`)."""

    MISMATCH = "mismatch"
    UNDECLARED = "undeclared"
    UNSAFE_KEY = "unsafe_key"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    SEALED = "sealed"


class DeclaredBy(StrEnum):
    METADATA = "metadata"
    CHECKSUM = "checksum"
    SIDECAR = "sidecar"


@dataclass(frozen=True)
class Declared:
    """What the drone says the digest is; `sha256` None: it said something that is no digest."""

    by: DeclaredBy
    sha256: str | None
    said: str


@dataclass(frozen=True)
class Decision:
    """What becomes of a delivery whose bytes were read."""

    action: Literal["archive", "wait", "quarantine"]
    verdict: Verdict
    refusal: Refusal | None = None
    detail: str | None = None

    @property
    def is_unproven(self) -> bool:
        """Whether something becomes of bytes that no digest vouches for."""
        return self.action != "wait" and self.verdict is not Verdict.VERIFIED


def declared_in_headers(
    metadata: Mapping[str, str], checksum_sha256: str | None
) -> Declared | None:
    """The digest declared with the upload itself: its metadata first, then the store's checksum.

    A multipart checksum of checksums (`...-<parts>`) is no digest of the object; see
    `digest.composite_checksum`.
    """
    said = metadata.get("sha256")
    if said is not None:
        lower = said.strip().lower()
        return Declared(DeclaredBy.METADATA, lower if is_sha256(lower) else None, said[:200])
    if checksum_sha256 is not None and (sha256 := from_base64(checksum_sha256)):
        return Declared(DeclaredBy.CHECKSUM, sha256, checksum_sha256)
    return None


def declared_in_sidecar(content: bytes) -> Declared:
    """The digest in a `<key>.sha256` sidecar, in the format of `sha256sum`."""
    text = content[:4096].decode("utf-8", "replace").strip().removeprefix("\\")
    first = text.split(maxsplit=1)[0].lower() if text else ""
    return Declared(DeclaredBy.SIDECAR, first if is_sha256(first) else None, first[:200])


def decide(
    declared: Declared | None,
    computed: str,
    size_bytes: int,
    *,
    policy: Literal["require", "accept"],
    waits_until: datetime,
    released: bool,
    now: datetime,
) -> Decision:
    """Judge one delivery. `released` means a person let it through whatever its digest says."""
    if declared is not None and declared.sha256 == computed:
        verdict, refusal, detail = Verdict.VERIFIED, None, None
    elif declared is not None:
        verdict, refusal = Verdict.MISMATCH, Refusal.MISMATCH
        detail = (
            f"{declared.by} declares {declared.sha256 or repr(declared.said)}, "
            f"the bytes are {computed}"
        )
    else:
        verdict, refusal = Verdict.UNDECLARED, Refusal.UNDECLARED
        detail = f"no digest in metadata, checksum or sidecar; the bytes are {computed}"
    if size_bytes == 0:
        refusal, detail = Refusal.EMPTY, "the object has no bytes"
    if refusal is None or released:
        return Decision("archive", verdict)
    if refusal is Refusal.UNDECLARED:
        if policy == "accept" and now >= waits_until:
            return Decision("archive", verdict)
        if now < waits_until:
            return Decision("wait", verdict)
    return Decision("quarantine", verdict, refusal, detail)
