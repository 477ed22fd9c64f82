"""SHA-256 of streams, and the ids that are derived from digests. No I/O of its own."""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from uuid import UUID, uuid5

CHUNK_BYTES = 1024 * 1024

_HEX = re.compile(r"[0-9a-f]{64}")
_LOGS = UUID("6f1d1c86-6a53-5c0f-9d5e-2d2f4b0a6b01")
_DELIVERIES = UUID("6f1d1c86-6a53-5c0f-9d5e-2d2f4b0a6b02")
_BATCHES = UUID("6f1d1c86-6a53-5c0f-9d5e-2d2f4b0a6b03")
_DRIFTS = UUID("6f1d1c86-6a53-5c0f-9d5e-2d2f4b0a6b04")


def is_sha256(text: str) -> bool:
    """Whether `text` is a SHA-256 digest in lower-case hex."""
    return _HEX.fullmatch(text) is not None


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def to_base64(sha256: str) -> str:
    """The form S3 uses in `x-amz-checksum-sha256`."""
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def from_base64(checksum: str) -> str | None:
    """Hex of an S3 full-object SHA-256 checksum; None when it is not one."""
    try:
        raw = base64.b64decode(checksum, validate=True)
    except ValueError:
        return None
    return raw.hex() if len(raw) == 32 else None


def composite_checksum(chunks: Iterable[bytes], part_bytes: int) -> str:
    """S3's multipart SHA-256: base64 of the digest of the parts' digests, then `-<parts>`.

    `part_bytes` is the size of every part but the last.
    Source: Amazon S3 User Guide, "Checking object integrity", composite checksums.
    """
    outer = hashlib.sha256()
    parts = 0
    for part in _parts(chunks, part_bytes):
        outer.update(part)
        parts += 1
    return f"{base64.b64encode(outer.digest()).decode()}-{parts}"


_USUAL_PARTS_MIB = (5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 256, 512, 1024)
"""Of the AWS SDKs and CLI, rclone, s3cmd, s5cmd and MinIO's client: defaults and round numbers."""


def likely_part_sizes(size_bytes: int, parts: int) -> list[int]:
    """Usual part sizes in bytes by which so many bytes make so many parts."""
    return [
        mib * 1024**2
        for mib in _USUAL_PARTS_MIB
        if parts == max(1, -(-size_bytes // (mib * 1024**2)))
    ]


def _parts(chunks: Iterable[bytes], part_bytes: int) -> Iterator[bytes]:
    inner, filled = hashlib.sha256(), 0
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            taken = view[: part_bytes - filled]
            inner.update(taken)
            filled += len(taken)
            view = view[len(taken) :]
            if filled == part_bytes:
                yield inner.digest()
                inner, filled = hashlib.sha256(), 0
    if filled:
        yield inner.digest()


def log_id(client: str, content_sha256: str) -> UUID:
    """Identity of a log: the same for the same client and content, for ever."""
    return uuid5(_LOGS, f"{client}/{content_sha256}")


def delivery_id(bucket: str, key: str, etag: str, received_at: datetime, arrival: int) -> UUID:
    return uuid5(_DELIVERIES, "\n".join((bucket, key, etag, received_at.isoformat(), str(arrival))))


def batch_id(first_delivery: UUID, formed_at: datetime) -> UUID:
    return uuid5(_BATCHES, f"{first_delivery}/{formed_at.isoformat()}")


def drift_id(kind: str, place: str, subject: str) -> UUID:
    return uuid5(_DRIFTS, f"{kind}/{place}/{subject}")
