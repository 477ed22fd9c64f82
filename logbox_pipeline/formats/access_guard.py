"""Read a line of the embedded S3's access log (local/access_log.py says what stands in it)."""

from datetime import datetime

import msgspec

from logbox_pipeline.core import keys
from logbox_pipeline.core.access import Access, Unread, text

# Where the body decides who asked: the guard lets the service itself check the signature.
_BAD_SIGNATURE = frozenset(
    {"SignatureDoesNotMatch", "InvalidClientTokenId", "IncompleteSignature", "InvalidAccessKeyId"}
)


class _Line(msgspec.Struct):
    """Lines of earlier versions lack `user`, `is_admitted`, `is_part`, `version_id`, `error`."""

    at: datetime
    key_id: str = ""
    user: str = ""
    is_admitted: bool | None = None
    service: str = ""
    operation: str = ""
    is_part: bool = False
    bucket: str = ""
    key: str = ""
    version_id: str = ""
    status: int = 0
    refused: str = ""
    error: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    duration_ms: float = 0.0
    remote: str = ""
    request_id: str = ""


_decode = msgspec.json.Decoder(_Line).decode


def read_line(line: bytes) -> Access | Unread:
    """One request, or why the line is none."""
    try:
        found = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Unread(f"no line of the embedded S3's log: {error}")
    if found.at.tzinfo is None or not 0 <= found.status < 1_000:
        return Unread("its time has no zone, or its status is none")
    error_code = found.error or found.refused
    is_admitted = bool(found.key_id) if found.is_admitted is None else found.is_admitted
    return Access(
        at=found.at,
        key_id=text(found.key_id),
        principal=text(found.user),
        is_authenticated=is_admitted and error_code not in _BAD_SIGNATURE,
        service=text(found.service) or "s3",
        operation=text(found.operation),
        is_part=found.is_part,
        bucket=text(found.bucket),
        object_key=text(keys.to_text(found.key)),
        version_id=text(found.version_id),
        # No answer was sent: the client had gone, or the store had died.
        status=found.status or None,
        error=text(error_code),
        bytes_in=found.bytes_in,
        bytes_out=found.bytes_out,
        duration_ms=found.duration_ms,
        address=text(found.remote),
        request_id=text(found.request_id),
    )
