"""One request to a store, and whether the store refused it. No I/O.

Who asked is one of four actors. A request whose signature was not right is told of by the key it
claimed, and `is_authenticated` is False: anyone can write down another's key id.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

LONGEST_LINE = 4 * 2**20
"""Bytes of a longer line are not held; it counts as one that cannot be read."""

LONGEST_TEXT = 4_096
"""Characters kept of any one field."""


class Actor(StrEnum):
    """Whose key it was. `unknown`: no key, or one that Logbox never gave."""

    CLIENT = "client"
    ANALYST = "analyst"
    LOGBOX = "logbox"
    UNKNOWN = "unknown"


class Access(NamedTuple):
    """One request as a log tells it; the names are the columns of logbox.access_log. None where
    the log does not say. `is_part`: one object of a request that has a line of its own."""

    at: datetime
    key_id: str | None
    principal: str | None
    is_authenticated: bool
    service: str
    operation: str | None
    is_part: bool
    bucket: str | None
    object_key: str | None
    version_id: str | None
    status: int | None
    error: str | None
    bytes_in: int | None
    bytes_out: int | None
    duration_ms: float | None
    address: str | None
    request_id: str | None


@dataclass(frozen=True)
class Unread:
    """A line that is not what its format says, and why."""

    why: str


@dataclass(frozen=True)
class Line:
    """A line without its end. `end`: how many bytes of the source stand before the next one.
    `text` None: it is longer than LONGEST_LINE."""

    text: bytes | None
    end: int


# Bytes hurt or lost on their way: the sender tries again, and nobody was refused.
_HURT_ON_THE_WAY = frozenset(
    {
        "BadDigest",
        "IncompleteBody",
        "RequestTimeout",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    }
)
_REFUSING = frozenset({401, 403, 405})


def is_refused(access: Access, client: str | None) -> bool:
    """Whether the store said no to who asked, or to what was asked.

    404, 409, 412 and the like are answers. A client that asks for its receipt before there is one
    gets 404 from some stores and 403 from AWS; that is how waiting looks.
    """
    if access.status == 400:
        return access.error not in _HURT_ON_THE_WAY
    if access.status not in _REFUSING:
        return False
    is_waiting = (
        access.is_authenticated
        and client is not None
        and access.operation in ("GetObject", "HeadObject")
        and (access.object_key or "").startswith(f"receipts/{client}/")
    )
    return not is_waiting


def split_lines(chunks: Iterable[bytes], start: int, *, is_final: bool) -> Iterator[Line]:
    """Whole lines of a source that is read from byte `start`; empty ones are left out.

    What follows the last line end is a line when `is_final`, and otherwise not there yet.
    """
    held = b""
    end, too_long = start, False
    for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            size = len(held) + len(piece)
            end += size + 1
            if too_long or size > LONGEST_LINE:
                yield Line(None, end)
            elif size:
                yield Line(held + piece, end)
            held, too_long = b"", False
        held += rest
        if len(held) > LONGEST_LINE:
            end, held, too_long = end + len(held), b"", True
    if is_final and (held or too_long):
        yield Line(None if too_long else held, end + len(held))


def text(value: str | None) -> str | None:
    """A field as Postgres takes it: no NUL, none of endless length, None for nothing."""
    return value.replace("\x00", "\ufffd")[:LONGEST_TEXT] if value else None
