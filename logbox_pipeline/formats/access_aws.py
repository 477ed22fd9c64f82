"""Read a line of an S3 server access log.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html: fields with spaces between,
some in brackets or quotes, `-` for nothing; new ones are added at the end. AWS's names of
operations (`REST.PUT.OBJECT`) become the API's (`PutObject`); those not known here stay.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from logbox_pipeline.core import keys
from logbox_pipeline.core.access import Access, Unread, text

_HEAD = re.compile(
    r"(?P<owner>\S+) (?P<bucket>\S+) \[(?P<time>[^\]]*)\] (?P<address>\S+) (?P<requester>\S+) "
    r"(?P<request_id>\S+) (?P<operation>\S+) (?P<key>\S+) "
    # Not up to the next quote: the line of the request is the sender's own text.
    r'(?:"(?P<uri>.*?)"|-) (?P<status>[0-9]{3}|-) (?P<error>\S+) (?P<sent>[0-9]+|-) '
    r"(?P<size>[0-9]+|-) (?P<duration>[0-9]+|-) (?:[0-9]+|-)(?: (?P<rest>.*))?"
)
# Referer and user agent may hold quotes; nothing after them does.
_REST = re.compile(r'(?:".*?"|-) (?:".*"|-) (?P<version>\S+)(?: .*)?')
_TIME = re.compile(r"(\d\d)/(\w{3})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)", re.ASCII)
_MONTHS = {
    "Jan": 1, "Feb": 2, "Mar": 3, "Apr": 4, "May": 5, "Jun": 6,
    "Jul": 7, "Aug": 8, "Sep": 9, "Oct": 10, "Nov": 11, "Dec": 12,
}  # fmt: skip
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")

_OPERATIONS = {
    "REST.GET.SERVICE": "ListBuckets",
    "REST.PUT.BUCKET": "CreateBucket",
    "REST.HEAD.BUCKET": "HeadBucket",
    "REST.DELETE.BUCKET": "DeleteBucket",
    "REST.GET.BUCKET": "ListObjects",
    "REST.GET.BUCKETVERSIONS": "ListObjectVersions",
    "REST.GET.OBJECT": "GetObject",
    "REST.HEAD.OBJECT": "HeadObject",
    "REST.PUT.OBJECT": "PutObject",
    "REST.POST.OBJECT": "PostObject",
    "REST.DELETE.OBJECT": "DeleteObject",
    "REST.COPY.OBJECT": "CopyObject",
    "REST.POST.MULTI_OBJECT_DELETE": "DeleteObjects",
    "REST.POST.UPLOADS": "CreateMultipartUpload",
    "REST.GET.UPLOADS": "ListMultipartUploads",
    "REST.PUT.PART": "UploadPart",
    "REST.COPY.PART": "UploadPartCopy",
    "REST.POST.UPLOAD": "CompleteMultipartUpload",
    "REST.GET.UPLOAD": "ListParts",
    "REST.DELETE.UPLOAD": "AbortMultipartUpload",
    "REST.GET.VERSIONING": "GetBucketVersioning",
    "REST.PUT.VERSIONING": "PutBucketVersioning",
    "REST.GET.LOCATION": "GetBucketLocation",
    "REST.GET.LOGGING_STATUS": "GetBucketLogging",
    "REST.PUT.LOGGING_STATUS": "PutBucketLogging",
    "REST.GET.BUCKETPOLICY": "GetBucketPolicy",
    "REST.PUT.BUCKETPOLICY": "PutBucketPolicy",
    "REST.DELETE.BUCKETPOLICY": "DeleteBucketPolicy",
    "REST.GET.LIFECYCLE": "GetBucketLifecycle",
    "REST.PUT.LIFECYCLE": "PutBucketLifecycle",
}
# One object of a request that AWS tells of in a line of its own.
_PARTS = {
    "BATCH.DELETE.OBJECT": "DeleteObject",
    "REST.COPY.OBJECT_GET": "GetObject",
    "REST.COPY.PART_GET": "GetObject",
}


def read_line(line: bytes) -> Access | Unread:
    """One request, or why the line is none."""
    said = line.decode("utf-8", "replace").rstrip("\r")
    found = _HEAD.fullmatch(said)
    if found is None:
        return Unread("no line of an S3 server access log")
    at = _time(found["time"])
    if at is None:
        return Unread(f"no time: {found['time'][:40]!r}")
    rest = _REST.fullmatch(found["rest"] or "")
    part = _PARTS.get(found["operation"])
    operation = part or _OPERATIONS.get(found["operation"], found["operation"])
    uri = found["uri"] or ""
    if operation == "ListObjects" and "list-type=2" in uri:
        operation = "ListObjectsV2"
    requester = _said(found["requester"])
    size = _number(found["size"])
    return Access(
        at=at,
        # AWS tells who it was and not by which key.
        key_id=None,
        principal=requester,
        is_authenticated=requester not in (None, "Anonymous"),
        service="s3",
        operation=text(operation),
        is_part=part is not None,
        bucket=_said(found["bucket"]),
        object_key=_key(found["key"], found["bucket"], uri),
        version_id=_said(rest["version"]) if rest else None,
        status=_number(found["status"]),
        error=_said(found["error"]),
        bytes_in=size if operation in ("PutObject", "UploadPart") else None,
        bytes_out=_number(found["sent"]) or 0,
        duration_ms=_number(found["duration"]),
        address=_said(found["address"]),
        request_id=_said(found["request_id"]),
    )


def iam_name(principal: str | None) -> tuple[str | None, str | None]:
    """(account, name of the user or role) of a principal: an ARN, or a bare name."""
    if principal is None or not principal.startswith("arn:"):
        return None, principal
    account, _, resource = ":".join(principal.split(":")[4:]).partition(":")
    kind, _, path = resource.partition("/")
    # arn:aws:sts::<account>:assumed-role/<role>/<session>; a user's path stands before its name.
    name = path.partition("/")[0] if kind == "assumed-role" else path.rpartition("/")[2]
    return account or None, name or None


def _key(field: str, bucket: str, uri: str) -> str | None:
    """The object's key. AWS escapes it once or twice, by the operation; the request's own line,
    which is escaped once, settles it. Without one it is taken for escaped twice, as documented."""
    if field == "-":
        return None
    once = _unescaped(field)
    twice = _unescaped(once)
    path = uri.partition(" ")[2].partition(" ")[0].partition("?")[0].removeprefix("/")
    asked = {_unescaped(path), _unescaped(path.removeprefix(f"{bucket}/"))}
    key = once if once in asked and twice not in asked else twice
    return text(keys.to_text(key))


def _unescaped(escaped: str) -> str:
    if "%" not in escaped:
        return escaped
    raw = escaped.encode("utf-8", "surrogateescape")
    raw = _ESCAPED.sub(lambda found: bytes((int(found[1], 16),)), raw)
    return raw.decode("utf-8", "surrogateescape")


@lru_cache(maxsize=4_096)
def _time(said: str) -> datetime | None:
    found = _TIME.fullmatch(said)
    if found is None:
        return None
    day, month, year, hour, minute, second, sign, zone_h, zone_m = found.groups()
    ahead = timedelta(hours=int(zone_h), minutes=int(zone_m)) * (1 if sign == "+" else -1)
    try:
        return datetime(
            int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second),
            tzinfo=timezone(ahead),
        ).astimezone(UTC)  # fmt: skip
    except (KeyError, ValueError, OverflowError):
        return None


def _said(field: str) -> str | None:
    return None if field == "-" else text(field)


def _number(field: str) -> int | None:
    """At most what a bigint holds."""
    return int(field) if field != "-" and len(field) < 19 else None
