"""The grammar of every object key: build and parse, nowhere else. No I/O.

landing bucket   landing/<client>/<anything>           a drone's upload
                 quarantine/<client>/<reason>/<delivery id>/<name>
                 receipts/<client>/<landing key below the client>.json
                 receipts/<client>/sha256/<sha256>.json
archive bucket   archive/<client>/<aa>/<sha256><ext>   aa: the first two digits of the digest
                 archive/manifests/<client>/received_on=<date>/<batch id>-<attempt>-<kind>.jsonl
                 archive/journal/<date>/<time>-<id>.jsonl
                 archive/seals/<client>/<number>.sha256, and .sha256.sig beside it
lake bucket      lake/<table>/received_on=<date>/<batch id>-<first 12 of the file's sha256>.parquet
"""

import re
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

LANDING_PREFIX = "landing/"
QUARANTINE_PREFIX = "quarantine/"
RECEIPTS_PREFIX = "receipts/"
MANIFESTS_PREFIX = "archive/manifests/"
JOURNAL_PREFIX = "archive/journal/"
SEALS_PREFIX = "archive/seals/"
SIDECAR_SUFFIX = ".sha256"
SIGNATURE_SUFFIX = ".sig"
DIGESTS = "sha256"
"""The folder below a client's receipts where they are called by their bytes' digest."""
JOURNAL_CLIENT = "_journal"
"""Whose seals the journal's entries are in; never a client's name."""
UNKNOWN_CLIENT = "unknown-client"
"""Whose quarantine takes what lies outside every client's folder; never a client's name."""

MAX_KEY_BYTES = 900
"""Longest landing key that is accepted. S3 allows 1,024 bytes; a receipt's key must fit too."""

_CLIENT = re.compile(r"[a-z0-9][a-z0-9-]{1,30}[a-z0-9]")
_EXTENSION = re.compile(r"(\.[A-Za-z0-9]{1,8}){1,2}$")
_ARCHIVE_KEY = re.compile(r"archive/([^/]+)/([0-9a-f]{2})/(\2[0-9a-f]{62})(\.[a-z0-9]+)*")
_DIGEST_RECEIPT = re.compile(r"receipts/[^/]+/sha256/[0-9a-f]{64}\.json")
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TOLD = re.compile(
    r"archive/manifests/[^/]+/received_on=\d{4}-\d\d-\d\d/"
    rf"{_UUID}-\d+-(?:intake|outcome)(?:-\d+)?\.jsonl"
    rf"|archive/journal/\d{{4}}-\d\d-\d\d/\d{{12}}-{_UUID}\.jsonl",
    re.ASCII,
)
_ESCAPE = re.compile(r"\\(\\|0|u[0-9a-f]{4})")
_MANIFEST_KEY = re.compile(
    r"archive/manifests/([^/]+)/(?:[^/]+/)*[^/]*?-(intake|outcome)(?:-[0-9]+)?\.jsonl"
)
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


def parse_archive_key(key: str) -> tuple[str, str] | None:
    """(client, sha256) of archived bytes; None when the key is not one of theirs."""
    found = _ARCHIVE_KEY.fullmatch(key)
    return (found[1], found[3]) if found and is_client_name(found[1]) else None


def objects_prefix(client: str | None = None) -> str:
    """Of one client's objects, or of all, among what else the archive holds."""
    return "archive/" if client is None else f"archive/{client}/"


def is_told(key: str) -> bool:
    """Whether it is one of `manifest_key` or `journal_key`."""
    return _TOLD.fullmatch(key) is not None


def manifest_key(
    client: str, received_on: date, batch_id: UUID, attempt: int, kind: str, *, number: int = 1
) -> str:
    """`kind` is `intake` or `outcome`; `number` counts those of one attempt."""
    again = "" if number == 1 else f"-{number}"
    return (
        f"{MANIFESTS_PREFIX}{client}/received_on={received_on:%Y-%m-%d}/"
        f"{batch_id}-{attempt}-{kind}{again}.jsonl"
    )


def manifest_kind(key: str) -> tuple[str, str | None] | None:
    """(kind, client) of a file by which the archive tells of itself: `intake` or `outcome` of a
    client, `journal` of nobody. None when it is another key; seals are not among them."""
    if key.startswith(JOURNAL_PREFIX):
        return "journal", None
    found = _MANIFEST_KEY.fullmatch(key)
    return (found[2], found[1]) if found else None


def journal_key(at: datetime, entry_id: UUID) -> str:
    return f"{JOURNAL_PREFIX}{at:%Y-%m-%d}/{at:%H%M%S%f}-{entry_id}.jsonl"


def receipt_key(landing_key: str) -> str:
    """The receipt of what was uploaded as `landing_key`, which is a safe one."""
    return f"{RECEIPTS_PREFIX}{landing_key.removeprefix(LANDING_PREFIX)}.json"


def is_digest_receipt(key: str) -> bool:
    """Whether a receipt's key is one of `digest_receipt_key`. That of a log that a drone called by
    a digest, in a folder `sha256`, would be too."""
    return _DIGEST_RECEIPT.fullmatch(key) is not None


def digest_receipt_key(client: str, sha256: str) -> str:
    """The receipt of these bytes, whatever they were called."""
    return f"{receipts_prefix(client, DIGESTS)}{sha256}.json"


def seal_key(client: str, number: int) -> str:
    """`client` may be JOURNAL_CLIENT. Six digits, so that names sort as the chain goes."""
    return f"{SEALS_PREFIX}{client}/{number:06d}{SIDECAR_SUFFIX}"


def signature_key(seal: str) -> str:
    """The signature over the list at the key `seal`."""
    return seal + SIGNATURE_SUFFIX


def seal_prefix(client: str | None = None) -> str:
    """Of one client's seals, or of all."""
    return SEALS_PREFIX if client is None else f"{SEALS_PREFIX}{client}/"


def parse_seal_key(key: str) -> tuple[str, int] | None:
    """(client, number) of a seal's list; None when the key is not one."""
    client, _, name = key.removeprefix(SEALS_PREFIX).partition("/")
    number = name.removesuffix(SIDECAR_SUFFIX)
    if not number.isascii() or not number.isdigit() or int(number) < 1:
        return None
    return (client, int(number)) if key == seal_key(client, int(number)) else None


def client_of_chain(key: str) -> str:
    """In whose seals a manifest, or an entry of the journal, is listed."""
    if key.startswith(MANIFESTS_PREFIX):
        return key.removeprefix(MANIFESTS_PREFIX).partition("/")[0]
    return JOURNAL_CLIENT


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
