"""The embedded S3's access log: one JSON object per line for each request, refused or not.

    <home>/log/access.jsonl             the file being written
    <home>/log/access-<time>.jsonl      earlier ones, never written again; dropped by whoever
                                        loads them, after LOGBOX_ACCESS_LOG_DAYS

Operations have the names of S3's API (`PutObject`). A request that names several objects has a
line for each of them behind its own, marked `is_part`. Lines are not synced: loss of power takes
the last seconds' with it, `kill -9` none. Who may do what is decided in guard.py.
"""

import dataclasses
import datetime
import html
import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

ROTATE_BYTES = 64 * 2**20
LONGEST_BATCH = 4 * 2**20
"""Bytes of a batch delete and of its answer that are looked at: 1,000 keys of 1,024 bytes fit."""

MOST_PARTS = 1_000
"""S3's own limit of keys in one DeleteObjects."""

_CLAIM = re.compile(r"(?:Credential=|X-Amz-Credential=|^AWS )([^/:,&%\s]{1,128})")
_CLAIMED_SERVICE = re.compile(r"Credential=[^,\s]*?/([a-z0-9-]{1,40})/aws4_request")
_CODE = re.compile(rb'<Code>(\w{1,64})</Code>|"__type":\s*"([\w.#]{1,64})"')

# The first of these that stands in the query names a subresource's operation.
SUBRESOURCES = {
    "acl": "Acl", "cors": "Cors", "encryption": "Encryption", "legal-hold": "LegalHold",
    "lifecycle": "Lifecycle", "location": "Location", "logging": "Logging",
    "notification": "Notification", "object-lock": "ObjectLock", "policy": "Policy",
    "publicAccessBlock": "PublicAccessBlock", "replication": "Replication",
    "retention": "Retention", "tagging": "Tagging", "versioning": "Versioning",
    "attributes": "Attributes", "ownershipControls": "OwnershipControls",
}  # fmt: skip
VERBS = {"GET": "Get", "HEAD": "Head", "PUT": "Put", "POST": "Post", "DELETE": "Delete"}


@dataclasses.dataclass
class Request:
    """One request, as far as the access log has to tell it."""

    method: str
    path: str
    query: dict[str, list[str]]
    remote: str
    started: float
    # What the credential claims, before anything is proven.
    claimed_key_id: str = ""
    claimed_service: str = ""
    # Set once the request is admitted.
    key_id: str = ""
    user: str = ""
    service: str = ""
    action: str = ""
    copy_source: str = ""
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    request_id: str = ""
    version_id: str = ""
    # The guard's own refusal, and the error code of whoever answered.
    refused: str = ""
    error: str = ""
    # Kept for a batch delete, whose keys stand in its body alone.
    sent: bytearray = dataclasses.field(default_factory=bytearray)
    answer: bytearray = dataclasses.field(default_factory=bytearray)

    @property
    def is_batch_delete(self) -> bool:
        return self.service == "s3" and self.method == "POST" and "delete" in self.query

    def keep_sent(self, body: bytes) -> None:
        if self.is_batch_delete and len(self.sent) < LONGEST_BATCH:
            self.sent += body

    def keep_answer(self, body: bytes) -> None:
        """Keep what tells of an error, or of single keys of a batch."""
        most = LONGEST_BATCH if self.is_batch_delete else 4_096 if self.status >= 400 else 0
        if len(self.answer) < most:
            self.answer += body

    def error_code(self) -> str:
        found = _CODE.search(self.answer) if self.status >= 400 else None
        code = (found[1] or found[2]).decode() if found else ""
        return self.refused or self.error or code.rpartition("#")[2]


class AccessLog:
    """The files. Begins a new one at each start, so that a file that a death or a loss of power
    cut short is never written on: whoever reads it knows that nothing follows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.exists() and path.stat().st_size:
            self._put_aside()
        self._open()

    def write(self, request: Request) -> None:
        lines = "".join(line + "\n" for line in access_lines(request))
        self._size += self._file.write(lines)
        if self._size >= ROTATE_BYTES:
            self._file.close()
            self._put_aside()
            self._open()

    def close(self) -> None:
        self._file.close()

    def _open(self) -> None:
        # Line buffered and append only: a line is one write, whole after any death of the process.
        self._file = self._path.open("a", buffering=1, encoding="utf-8")
        self._size = self._path.stat().st_size

    def _put_aside(self) -> None:
        at = datetime.datetime.now(datetime.UTC)
        self._path.rename(self._path.with_name(f"access-{at:%Y%m%dT%H%M%S%f}Z.jsonl"))


def claim(authorization: str, query_string: str) -> tuple[str, str]:
    """(key id, service) that a request's credential names, proven or not; empty when none does."""
    said = authorization or unquote(query_string)
    key_id, service = _CLAIM.search(said), _CLAIMED_SERVICE.search(said)
    return key_id[1] if key_id else "", service[1] if service else ""


def lenient_query(query_string: bytes) -> dict[str, list[str]]:
    """The query of a request that may be refused for it."""
    try:
        return parse_qs(query_string.decode("latin-1"), keep_blank_values=True)
    except ValueError:
        return {}


def operation(
    method: str, bucket: str, key: str, query: dict[str, list[str]], *, is_copy: bool = False
) -> str:
    """S3's name of an operation."""
    place = "Object" if key else "Bucket"
    if not bucket:
        return "ListBuckets"
    for name, word in SUBRESOURCES.items():
        if name in query:
            return f"{_verb(method)}{place}{word}"
    if "uploadId" in query:
        if method == "PUT":
            return "UploadPartCopy" if is_copy else "UploadPart"
        return {"POST": "CompleteMultipartUpload", "GET": "ListParts"}.get(
            method, "AbortMultipartUpload"
        )
    if "uploads" in query:
        return "CreateMultipartUpload" if method == "POST" else "ListMultipartUploads"
    if "delete" in query and method == "POST":
        return "DeleteObjects"
    if "versions" in query:
        return "ListObjectVersions"
    if key:
        return "CopyObject" if is_copy and method == "PUT" else f"{_verb(method)}Object"
    if method == "GET":
        return "ListObjectsV2" if query.get("list-type") == ["2"] else "ListObjects"
    return {"PUT": "CreateBucket", "DELETE": "DeleteBucket", "HEAD": "HeadBucket"}.get(
        method, f"{_verb(method)}Bucket"
    )


def _verb(method: str) -> str:
    return VERBS.get(method, method.title())


def access_lines(request: Request) -> list[str]:
    """The lines of one request, JSON objects. Query values are left out: a presigned URL is a
    secret."""
    service = request.service or request.claimed_service or "s3"
    bucket, key = "", ""
    if service == "s3" or not request.service:
        bucket, _, key = request.path.lstrip("/").partition("/")
    named = request.action
    # A path that names no bucket is no operation of S3's.
    if not named and service == "s3" and re.fullmatch(r"[a-z0-9.-]*", bucket):
        is_copy = bool(request.copy_source)
        named = operation(request.method, bucket, key, request.query, is_copy=is_copy)
    at = datetime.datetime.fromtimestamp(request.started, datetime.UTC)
    line = {
        "at": at.isoformat(timespec="milliseconds"),
        "key_id": request.key_id or request.claimed_key_id,
        "user": request.user,
        "is_admitted": bool(request.key_id),
        "service": service,
        "operation": named,
        "method": request.method,
        "bucket": bucket,
        "key": key,
        "version_id": request.version_id or (request.query.get("versionId") or [""])[0],
        "status": request.status,
        "refused": request.refused,
        "error": request.error_code(),
        "bytes_in": request.bytes_in,
        "bytes_out": request.bytes_out,
        "duration_ms": round((time.time() - request.started) * 1000, 1),
        "remote": request.remote,
        "request_id": request.request_id,
    }
    nothing = {"is_part": True, "bytes_in": 0, "bytes_out": 0, "version_id": ""}
    parts = [line | nothing | part for part in (*_source(request), *_deleted(request))]
    # ASCII, so that no key can forge or break a line.
    return [json.dumps(one, ensure_ascii=True) for one in (line, *parts)]


def _source(request: Request) -> list[dict[str, Any]]:
    """The object that a copy reads."""
    if not request.copy_source:
        return []
    path, _, query = request.copy_source.partition("?")
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    version = query.removeprefix("versionId=")
    return [{"operation": "GetObject", "bucket": bucket, "key": key, "version_id": version}]


def _deleted(request: Request) -> list[dict[str, Any]]:
    """Each object of a batch delete, and what became of it."""
    if not request.is_batch_delete:
        return []
    errors = {
        (_element(piece, "Key"), _element(piece, "VersionId")): _element(piece, "Code")
        for piece in _pieces(request.answer, "Error")
    }
    found = []
    for piece in _pieces(request.sent, "Object")[:MOST_PARTS]:
        key, version = _element(piece, "Key"), _element(piece, "VersionId")
        part: dict[str, Any] = {"operation": "DeleteObject", "key": key, "version_id": version}
        if request.status < 400:
            code = errors.get((key, version)) or errors.get((key, "")) or ""
            denied = 403 if code == "AccessDenied" else 400
            part |= {"status": denied if code else 204, "error": code}
        found.append(part)
    return found


def _pieces(xml: bytearray, name: str) -> list[str]:
    """What stands between each <name> and its end. Linear in the worst text, unlike a pattern."""
    _, *pieces = xml.decode("utf-8", "replace").split(f"<{name}>")
    return [piece.partition(f"</{name}>")[0] for piece in pieces]


def _element(piece: str, name: str) -> str:
    return html.unescape(piece.partition(f"<{name}>")[2].partition(f"</{name}>")[0])
