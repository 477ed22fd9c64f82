"""Lines of access logs: AWS's format and the embedded S3's own."""

from datetime import UTC, datetime

import pytest

from logbox_pipeline.core.access import LONGEST_LINE, Access, Unread, is_refused, split_lines
from logbox_pipeline.formats import access_aws, access_guard

# After the examples of the format's documentation.
LISTING = (
    "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be logs-bucket "
    "[06/Feb/2019:00:01:57 +0000] 192.0.2.3 arn:aws:iam::123456789012:user/logbox/{user} "
    'DD6CC733AEXAMPLE {operation} {key} "{uri} HTTP/1.1" {status} {error} - 4406 41 28 '
    '"-" "{agent}" {version} 10S62Zv81kBW7BB6SX4XJ48o6kpcl6LPwEoizZQQxJd5qDSCTLX0TgS37kYUBKQW3+bP '
    "SigV4 ECDHE-RSA-AES128-GCM-SHA256 AuthHeader b.s3.us-west-1.amazonaws.com TLSV1.2 - - {more}"
)
GUARD = b'{"at":"2026-11-29T10:00:00.123+00:00","key_id":"AKIA1","service":"s3","status":200}'


def aws(**said: str) -> Access:
    found = access_aws.read_line(
        LISTING.format(
            **{
                "user": "logbox-client-acme", "operation": "REST.PUT.OBJECT", "key": "landing/a",
                "uri": "PUT /landing/a", "status": "200", "error": "-", "agent": "S3Console/0.4",
                "version": "-", "more": "us-east-1",
            }
            | said
        ).encode()
    )  # fmt: skip
    assert isinstance(found, Access), found
    return found


def test_an_aws_line_is_read_field_by_field() -> None:
    found = aws(version="3HL4kqtJvjVBH40Nrjfkd")
    assert found == Access(
        at=datetime(2019, 2, 6, 0, 1, 57, tzinfo=UTC),
        key_id=None,
        principal="arn:aws:iam::123456789012:user/logbox/logbox-client-acme",
        is_authenticated=True,
        service="s3",
        operation="PutObject",
        is_part=False,
        bucket="logs-bucket",
        object_key="landing/a",
        version_id="3HL4kqtJvjVBH40Nrjfkd",
        status=200,
        error=None,
        bytes_in=4406,
        bytes_out=0,
        duration_ms=41,
        address="192.0.2.3",
        request_id="DD6CC733AEXAMPLE",
    )
    assert access_aws.iam_name(found.principal) == ("123456789012", "logbox-client-acme")


@pytest.mark.parametrize(
    ("key", "uri", "is_called"),
    [
        ("landing/a%2520b", "PUT /landing/a%20b", "landing/a b"),
        ("landing/a%20b", "PUT /landing/a%20b", "landing/a b"),
        ("landing/%25C3%25A4", "PUT /logs-bucket/landing/%C3%A4?x=1", "landing/ä"),
        # A name that looks escaped itself.
        ("landing/a%252520b", "PUT /landing/a%2520b", "landing/a%20b"),
        ("landing/100%2525", "PUT /landing/100%25", "landing/100%"),
        ("landing/a%2520b", "-", "landing/a b"),
        ("-", "GET /logs-bucket?list-type=2", None),
        ("landing/%2500", "PUT /landing/%00", "landing/\\0"),
        ("landing/%25FF", "PUT /landing/%FF", "landing/\\udcff"),
    ],
)
def test_an_escaped_key_is_the_objects_own_name(key: str, uri: str, is_called: str | None) -> None:
    assert aws(key=key, uri=uri).object_key == is_called


def test_quotes_in_what_the_sender_wrote_move_no_field() -> None:
    found = aws(agent='evil" 200 - "x" forged', uri='GET /a" 200 - 1 1 1 1 "-" "-"', version="v1")
    assert (found.version_id, found.status, found.error) == ("v1", 200, None)
    assert aws(agent="-", version="v2").version_id == "v2"


def test_later_and_missing_fields_are_fine() -> None:
    assert aws(more="us-east-1 new fields of 2031").operation == "PutObject"
    short = LISTING[: LISTING.index(" 10S62")].format(
        user="u", operation="REST.GET.VERSIONING", key="-", uri="GET /b?versioning", status="200",
        error="-", agent="x", version="-",
    )  # fmt: skip
    found = access_aws.read_line(short.encode())
    assert isinstance(found, Access)
    assert found.operation == "GetBucketVersioning"


def test_operations_have_the_names_of_the_api_whoever_wrote_the_log() -> None:
    assert aws(operation="REST.GET.BUCKET", uri="GET /b?list-type=2").operation == "ListObjectsV2"
    assert aws(operation="REST.GET.BUCKET", uri="GET /b").operation == "ListObjects"
    assert aws(operation="S3.EXPIRE.OBJECT").operation == "S3.EXPIRE.OBJECT"
    deleted = aws(operation="BATCH.DELETE.OBJECT", status="204")
    assert (deleted.operation, deleted.is_part) == ("DeleteObject", True)


@pytest.mark.parametrize(
    "line",
    [b"", b"-", b"\xff\xfe\x00garbage", b'{"at": 1}', LISTING[:200].encode(), b'"' * 10_000,
     LISTING.format(user="u", operation="X", key="-", uri="-", status="200", error="-", agent="-",
                    version="-", more="").replace("Feb", "Foo").encode()],
)  # fmt: skip
def test_what_is_no_aws_line_is_unread(line: bytes) -> None:
    assert isinstance(access_aws.read_line(line), Unread)


@pytest.mark.parametrize(
    "line",
    [b"", b"null", b"[]", b"{}", GUARD[:-5], GUARD.replace(b"+00:00", b""), b'{"at":"yesterday"}',
     GUARD.replace(b"200}", b"20000}"), b"\xff\xfe", GUARD + GUARD],
)  # fmt: skip
def test_what_is_no_line_of_the_guards_is_unread(line: bytes) -> None:
    assert isinstance(access_guard.read_line(line), Unread)


def test_a_line_of_an_earlier_version_is_read() -> None:
    found = access_guard.read_line(GUARD)
    assert isinstance(found, Access)
    assert (found.is_authenticated, found.is_part, found.error) == (True, False, None)


def test_a_role_of_aws_is_known_by_its_name() -> None:
    role = "arn:aws:sts::123456789012:assumed-role/logbox/i-0abc"
    assert access_aws.iam_name(role) == ("123456789012", "logbox")
    assert access_aws.iam_name("logbox-client-acme") == (None, "logbox-client-acme")
    assert access_aws.iam_name(None) == (None, None)
    assert access_aws.iam_name("arn:") == (None, None)


def test_a_half_line_waits_and_a_line_without_end_counts_once() -> None:
    def ends(text: bytes, *, is_final: bool, size: int = 7) -> list[tuple[bytes | None, int]]:
        chunks = (text[at : at + size] for at in range(0, len(text), size))
        return [(line.text, line.end) for line in split_lines(chunks, 100, is_final=is_final)]

    assert ends(b"one\n\ntwo\nhal", is_final=False) == [(b"one", 104), (b"two", 109)]
    assert ends(b"one\nhal", is_final=True) == [(b"one", 104), (b"hal", 107)]
    long = b"x" * (LONGEST_LINE + 1)
    found = ends(long + b"\nshort\n", is_final=False, size=2**20)
    assert found == [(None, 100 + len(long) + 1), (b"short", 100 + len(long) + 7)]
    assert ends(long, is_final=True, size=2**20) == [(None, 100 + len(long))]


@pytest.mark.parametrize(
    ("status", "error", "is_it"),
    [("403", "AccessDenied", True), ("405", "MethodNotAllowed", True), ("404", "NoSuchKey", False),
     ("412", "PreconditionFailed", False), ("400", "InvalidRequest", True),
     ("400", "BadDigest", False), ("400", "RequestTimeout", False), ("503", "SlowDown", False),
     ("200", "-", False), ("-", "-", False)],
)  # fmt: skip
def test_a_refusal_is_a_no_to_who_asks_or_to_what_is_asked(
    status: str, error: str, is_it: bool
) -> None:
    assert is_refused(aws(status=status, error=error), "acme") is is_it


def test_waiting_for_ones_own_receipt_is_no_refusal() -> None:
    said = {"operation": "REST.GET.OBJECT", "status": "403", "error": "AccessDenied"}
    waiting = aws(key="receipts/acme/a.json", uri="GET /receipts/acme/a.json", **said)
    assert not is_refused(waiting, "acme")
    assert is_refused(waiting, "beta")
    assert is_refused(waiting, None)
    assert is_refused(waiting._replace(is_authenticated=False), "acme")
    assert is_refused(waiting._replace(operation="PutObject"), "acme")
