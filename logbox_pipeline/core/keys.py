"""The grammar of every object key: build and parse, nowhere else. No I/O.

landing bucket   landing/<client>/<anything>           a drone's upload
                 quarantine/<client>/<reason>/<delivery id>/<name>
                 receipts/<client>/<landing key below the client>.json
archive bucket   archive/<client>/<aa>/<sha256><ext>   aa: the first two digits of the digest
                 archive/manifests/<client>/received_on=<date>/<batch id>-<attempt>-<kind>.jsonl
                 archive/journal/<date>/<time>-<id>.json
lake bucket      lake/<table>/received_on=<date>/<batch id>-<first 12 of the file's sha256>.parquet
"""

import re
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

LANDING_PREFIX = "landing/"
QUARANTINE_PREFIX = "quarantine/"
RECEIPTS_PREFIX = "receipts/"
SIDECAR_SUFFIX = ".sha256"
UNKNOWN_CLIENT = "unknown-client"
"""Whose quarantine takes what lies outside every client's folder; never a client's name."""

MAX_KEY_BYTES = 900
"""Longest landing key that is accepted. S3 allows 1,024 bytes; a receipt's key must fit too."""

_CLIENT = re.compile(r"[a-z0-9][a-z0-9-]{1,30}[a-z0-9]")
_EXTENSION = re.compile(r"(\.[A-Za-z0-9]{1,8}){1,2}$")
_ESCAPE = re.compile(r"\\(\\|0|u[0-9a-f]{4})")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffd\ud800-\udfff]")


@dataclass(frozen=True)
class LandingKey:
    """A safe landing key, taken apart. `vehicle` is a claim: the first folder below the client."""

    client: str
    vehicle: str | None
    name: str


@dataclass(frozen=True)
class UnsafeKey:
    """A landing key that must not be mapped to anything, and why."""

    client: str
    why: str


def is_client_name(name: str) -> bool:
    return _CLIENT.fullmatch(name) is not None and name != UNKNOWN_CLIENT


def parse_landing_key(key: str) -> LandingKey | UnsafeKey:
    """Take a landing key apart, or say why it is unsafe."""
    client, _, below = key.removeprefix(LANDING_PREFIX).partition("/")
    if not key.startswith(LANDING_PREFIX) or not is_client_name(client):
        return UnsafeKey(UNKNOWN_CLIENT, "no client has this folder")
    if _UNPRINTABLE.search(key):
        return UnsafeKey(client, "control characters or invalid UTF-8")
    if len(key.encode()) > MAX_KEY_BYTES:
        return UnsafeKey(client, f"longer than {MAX_KEY_BYTES} bytes")
    segments = below.split("/")
    if any(segment in ("", ".", "..") for segment in segments) or "\\" in key:
        return UnsafeKey(client, "an empty, `.` or `..` segment, or a backslash")
    return LandingKey(client, segments[0] if len(segments) > 1 else None, segments[-1])


def landing_prefix(client: str, vehicle: str | None = None) -> str:
    return f"{LANDING_PREFIX}{client}/" + (f"{vehicle}/" if vehicle else "")


def receipts_prefix(client: str, vehicle: str | None = None) -> str:
    return f"{RECEIPTS_PREFIX}{client}/" + (f"{vehicle}/" if vehicle else "")


def is_sidecar(key: str) -> bool:
    return key.endswith(SIDECAR_SUFFIX)


def sidecar_key(key: str) -> str:
    return key + SIDECAR_SUFFIX


def extension(name: str) -> str:
    """The extension kept in the archive: `.ulg`, `.jsonl`, `.tar.gz`; empty when there is none."""
    found = _EXTENSION.search(name)
    if not found or found.start() == 0:
        return ""
    last = found[0].rpartition(".")[2].lower()
    return found[0].lower() if last in ("gz", "zst", "zip") else f".{last}"


def inner_extension(name: str) -> str:
    """What is left of a wrapped log's extension: `.ulg` of `a.ulg.gz`, empty of `a.zip`."""
    return extension(re.sub(r"(\.(gz|zst|zip))+$", "", name, flags=re.IGNORECASE))


def quarantine_key(client: str, reason: str, delivery_id: UUID, name: str | None) -> str:
    """`name` None: the drone's own name is not fit to be used."""
    return f"{QUARANTINE_PREFIX}{client}/{reason}/{delivery_id}/{name or 'object'}"


def archive_key(client: str, sha256: str, name: str) -> str:
    return f"archive/{client}/{sha256[:2]}/{sha256}{extension(name)}"


def manifest_key(client: str, received_on: date, batch_id: UUID, attempt: int, kind: str) -> str:
    """`kind` is `intake` or `outcome`."""
    return (
        f"archive/manifests/{client}/received_on={received_on:%Y-%m-%d}/"
        f"{batch_id}-{attempt}-{kind}.jsonl"
    )


def journal_key(at: datetime, entry_id: UUID) -> str:
    return f"archive/journal/{at:%Y-%m-%d}/{at:%H%M%S%f}-{entry_id}.json"


def lake_key(table: str, received_on: date, batch_id: UUID, sha256: str) -> str:
    return f"lake/{table}/received_on={received_on:%Y-%m-%d}/{batch_id}-{sha256[:12]}.parquet"


def to_text(key: str) -> str:
    """A key as the catalog holds it: Postgres text takes no NUL and no lone surrogate."""
    escaped = key.replace("\\", "\\\\").replace("\x00", "\\0")
    return escaped.encode("utf-8", "backslashreplace").decode()


def from_text(text: str) -> str:
    """The key behind `to_text`."""
    return _ESCAPE.sub(
        lambda found: {"\\": "\\", "0": "\x00"}.get(found[1]) or chr(int(found[1][1:], 16)), text
    )
