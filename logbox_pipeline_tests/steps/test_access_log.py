"""The access log in Postgres: each line once, every request by whom it was, refusals seen."""

import contextlib
import json
import os
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from logbox_pipeline.adapters import catalog_access
from logbox_pipeline.adapters.iam import Iam
from logbox_pipeline.core.errors import PermanentError
from logbox_pipeline.steps import access_log
from logbox_pipeline.steps.access_log import load_access_log
from logbox_pipeline.steps.clients import add_client
from logbox_pipeline.steps.judge import judge_requests
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.trace import trace
from logbox_pipeline_tests.journey import change, one, rows, tick, with_settings

KEY = "AKIAACMEACMEACME1234"


@pytest.fixture
def log(site: Site) -> Path:
    """Where the embedded S3 of this site's home would write."""
    folder = site.settings.home / "log"
    folder.mkdir(parents=True)
    change(
        site,
        "insert into logbox.client_keys values (%s, 'acme', 'd1', 'logbox-client-acme.d1', now())",
        KEY,
    )
    return folder / "access.jsonl"


def line(number: int, **said: Any) -> str:
    at = datetime.now(UTC) - timedelta(minutes=1)
    found = {
        "at": at.isoformat(), "key_id": KEY, "is_admitted": True, "service": "s3",
        "operation": "PutObject", "bucket": "b", "key": f"landing/acme/d1/{number}", "status": 200,
        "bytes_in": 5, "remote": "10.0.0.7", "request_id": f"r{number}",
    }  # fmt: skip
    return json.dumps(found | said) + "\n"


def numbers(site: Site) -> list[str]:
    found = rows(site, "select request_id from logbox.access_log")
    return sorted(number for (number,) in found)


def append(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.write("".join(lines))


# Each line once.


def test_a_line_is_loaded_once_however_often_it_is_looked_for(site: Site, log: Path) -> None:
    append(log, line(1), line(2))
    assert load_access_log(site).lines == 2
    assert load_access_log(site).lines == 0
    append(log, line(3))
    assert load_access_log(site).lines == 1
    assert numbers(site) == ["r1", "r2", "r3"]
    assert one(site, "select position from logbox.access_log_sources") == log.stat().st_size


def test_a_death_between_rows_and_position_loads_neither(
    site: Site, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(log, line(1), line(2))

    def die(*_: object) -> None:
        raise PermanentError("killed")

    with monkeypatch.context() as context:
        context.setattr(catalog_access, "move_position", die)
        with pytest.raises(PermanentError):
            load_access_log(site)
    assert numbers(site) == []
    load_access_log(site)
    assert numbers(site) == ["r1", "r2"]


def test_half_a_line_waits_for_its_end(site: Site, log: Path) -> None:
    whole = line(2)
    append(log, line(1), whole[:40])
    assert load_access_log(site).lines == 1
    append(log, whole[40:], line(3))
    assert load_access_log(site).lines == 2
    assert numbers(site) == ["r1", "r2", "r3"]
    append(log.with_name("other.jsonl"), line(4))
    assert load_access_log(site).unread_lines == 0


def test_a_file_put_aside_is_read_on_and_not_again(site: Site, log: Path) -> None:
    append(log, line(1))
    load_access_log(site)
    append(log, line(2), line(3)[:30])
    log.rename(log.with_name("access-20261129T000000000000Z.jsonl"))
    append(log, line(4))
    done = load_access_log(site)
    # Nothing more will be written to it: what is left of a line is one that cannot be read.
    assert (done.lines, done.unread_lines) == (2, 1)
    assert load_access_log(site).lines == 0
    assert numbers(site) == ["r1", "r2", "r4"]
    names = rows(site, "select name from logbox.access_log_sources order by source_id")
    assert [Path(name).name for (name,) in names] == [
        "access-20261129T000000000000Z.jsonl",
        "access.jsonl",
    ]


def test_a_file_copied_and_emptied_is_another_file(site: Site, log: Path) -> None:
    append(log, line(1), line(2))
    load_access_log(site)
    log.with_name("access.jsonl.1").write_bytes(log.read_bytes() + line(3).encode())
    os.truncate(log, 0)
    append(log, line(4))
    load_access_log(site)
    assert numbers(site) == ["r1", "r2", "r3", "r4"]


def test_a_file_that_lost_its_end_says_so_and_goes_on(site: Site, log: Path) -> None:
    append(log, line(1), line(2), line(3))
    load_access_log(site)
    os.truncate(log, len(line(1)) + len(line(2)))
    assert load_access_log(site).unread_lines == 1
    append(log, line(4))
    assert load_access_log(site).lines == 1
    assert "it was cut from" in one(site, "select last_unread from logbox.access_log_sources")


def test_garbage_is_counted_and_told_and_stops_nothing(site: Site, log: Path) -> None:
    with log.open("wb") as file:
        file.write(line(1).encode() + b"\x00\xff garbage\n[]\n" + line(2).encode())
        file.write(line(3, key="k" * 2**20, error="e\0").encode())
    done = load_access_log(site)
    assert (done.lines, done.unread_lines) == (3, 2)
    assert numbers(site) == ["r1", "r2", "r3"]
    found = judge_requests(site)
    assert not found.passed
    assert "could not be read" in found.sentence
    assert "[]" in one(site, "select last_unread from logbox.access_log_sources")


def test_a_long_log_is_loaded_in_several_transactions(
    site: Site, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log, "LINES_AT_ONCE", 10)
    append(log, *(line(number) for number in range(35)))
    behind = load_access_log(site, most_s=-1)
    assert (behind.lines, behind.is_behind) == (10, True)
    assert load_access_log(site).lines == 25
    assert len(set(numbers(site))) == 35


def test_the_replicas_log_is_read_too(site: Site, log: Path) -> None:
    folder = site.settings.home / "replica" / "log"
    folder.mkdir(parents=True)
    append(folder / "access.jsonl", line(1))
    load_access_log(site)
    assert rows(site, "select store, lines from logbox.access_log_sources") == [("replica", 1)]


def test_what_is_too_old_goes_with_its_file(site: Site, log: Path) -> None:
    old = datetime.now(UTC) - timedelta(days=91)
    aside = log.with_name("access-20260101T000000000000Z.jsonl")
    append(aside, line(1, at=old.isoformat()))
    append(log, line(2))
    os.utime(aside, (old.timestamp(), old.timestamp()))
    assert load_access_log(site).dropped == 1
    assert numbers(site) == ["r2"]
    assert not aside.exists()
    assert one(site, "select count(*) from logbox.access_log_sources") == 1
    assert load_access_log(site).lines == 0


# Who it was.


def test_each_key_is_known_by_whose_it_is(site: Site, log: Path) -> None:
    change(site, "insert into logbox.analysts values ('ann', now(), null, 'AKIAANN')")
    append(
        log,
        line(1),
        line(2, key_id=site.settings.s3_access_key_id),
        line(3, key_id="AKIAANN"),
        line(4, key_id="AKIANOBODY"),
        line(5, key_id=""),
        line(6, key_id="", user="logbox-analyst-ann"),
    )
    load_access_log(site)
    found = rows(
        site,
        "select actor, client, vehicle, analyst, key_id from logbox.access_log order by request_id",
    )
    assert [row[:4] for row in found] == [
        ("client", "acme", "d1", None),
        ("logbox", None, None, None),
        ("analyst", None, None, "ann"),
        ("unknown", None, None, None),
        ("unknown", None, None, None),
        ("analyst", None, None, "ann"),
    ]
    assert found[3][4] == "AKIANOBODY"
    assert found[4][4] is None


def test_the_view_adds_up_who_did_what(site: Site, log: Path) -> None:
    append(
        log,
        line(1),
        line(2),
        line(2, status=403, error="AccessDenied"),
        line(3, operation="DeleteObjects", key=""),
        line(3, operation="DeleteObject", is_part=True, key="x"),
        line(3, operation="DeleteObject", is_part=True, key="y"),
    )
    load_access_log(site)
    found = rows(
        site,
        """
        select who, vehicle, operation, requests, objects, refused, bytes_in, addresses
        from analytics.access_by_day
        order by operation
        """,
    )
    assert found == [
        ("acme", "d1", "DeleteObject", 0, 2, 0, 10, 1),
        ("acme", "d1", "DeleteObjects", 1, 0, 0, 5, 1),
        ("acme", "d1", "PutObject", 3, 2, 1, 15, 1),
    ]


# The check.


def test_a_refusal_makes_its_check_warn_and_name_the_client_for_a_day(
    site: Site, log: Path
) -> None:
    append(log, line(1))
    load_access_log(site)
    assert judge_requests(site).passed
    append(log, line(2, status=403, error="AccessDenied"), line(3, status=404, error="NoSuchKey"))
    load_access_log(site)
    found = judge_requests(site)
    assert (found.passed, found.is_error, found.count) == (False, False, 1)
    assert "acme" in found.sentence
    (row,) = found.rows
    assert (row["operation"], row["error"], row["requests"]) == ("PutObject", "AccessDenied", 1)
    assert (row["address"], row["last_object"]) == ("10.0.0.7", "b/landing/acme/d1/2")
    assert judge_requests(with_settings(site, refused_requests_h=1)).count == 1
    change(site, "update logbox.access_log set at = at - interval '25 h'")
    assert judge_requests(site).passed


def test_a_clock_that_was_set_right_alarms_nobody(site: Site, log: Path) -> None:
    early = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    skewed = {"at": early, "status": 403, "error": "RequestTimeTooSkewed", "is_admitted": False}
    append(log, line(1, **skewed))
    load_access_log(site)
    assert not judge_requests(site).passed
    append(log, line(2))
    load_access_log(site)
    assert judge_requests(site).passed


# The real endpoint.


@contextlib.contextmanager
def requests_made(stack: Any, log: Path) -> Iterator[None]:
    """Gives this site the lines that the shared endpoint writes meanwhile."""
    source = stack.home / "log" / "access.jsonl"
    with source.open("rb") as file:
        file.seek(0, 2)
        yield
        text = b""
        deadline = time.monotonic() + 10
        # A line is written once its answer is sent.
        while b'"last-request"' not in text and time.monotonic() < deadline:
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"{stack.s3_endpoint}/audit-test/last-request")
            text += file.read()
        whole = text[: text.rfind(b"\n") + 1]
    log.write_bytes(log.read_bytes() + whole if log.exists() else whole)


def test_what_a_real_key_was_refused_is_there_with_client_and_error(
    site: Site, log: Path, stack: Any
) -> None:
    settings = site.settings
    iam = Iam(
        endpoint=settings.iam_endpoint,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
    )
    with site.connection() as connection:
        key = add_client(
            connection, iam, client="gamma",
            landing_bucket=settings.landing_bucket, now=site.now(),
        )  # fmt: skip
    held = {
        "aws_access_key_id": key.access_key_id,
        "aws_secret_access_key": key.secret_access_key,
    }
    bucket = site.landing.bucket
    drone = stack.client(**held)
    forger = stack.client(**held | {"aws_secret_access_key": "wrong"})
    root = stack.client(aws_access_key_id="test", aws_secret_access_key="test")
    others = {"Bucket": bucket, "Key": "landing/acme/a.bin"}
    reset = urllib.request.Request(f"{stack.s3_endpoint}/_ministack/reset", method="POST")
    try:
        with requests_made(stack, log):
            drone.put_object(Bucket=bucket, Key="landing/gamma/a b+ä.bin", Body=b"12345")
            with pytest.raises(ClientError):
                drone.put_object(Bucket=bucket, Key="landing/acme/stolen.bin", Body=b"1")
            with pytest.raises(ClientError):
                drone.list_objects_v2(Bucket=bucket, Prefix="landing/")
            with pytest.raises(ClientError):
                forger.get_object(Bucket=bucket, Key="landing/gamma/x")
            with pytest.raises(ClientError):
                root.list_buckets()
            with pytest.raises(ClientError):
                drone.copy_object(Bucket=bucket, Key="landing/gamma/c.bin", CopySource=others)
            stack.client().delete_objects(
                Bucket=bucket, Delete={"Objects": [{"Key": "landing/gamma/x&y"}, {"Key": "z"}]}
            )
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(reset)
        assert load_access_log(site).unread_lines == 0
    finally:
        iam.delete_user("logbox-client-gamma")
    found = rows(
        site,
        """
        select operation, object_key, status, error, is_authenticated, is_refused, is_part
        from logbox.access_log
        where client = 'gamma'
        order by at, is_part
        """,
    )
    assert found == [
        ("PutObject", "landing/gamma/a b+ä.bin", 200, None, True, False, False),
        ("PutObject", "landing/acme/stolen.bin", 403, "AccessDenied", True, True, False),
        ("ListObjectsV2", None, 403, "AccessDenied", True, True, False),
        ("GetObject", "landing/gamma/x", 403, "SignatureDoesNotMatch", False, True, False),
        ("CopyObject", "landing/gamma/c.bin", 403, "AccessDenied", True, True, False),
        ("GetObject", "landing/acme/a.bin", 403, "AccessDenied", True, True, True),
    ]
    (put,) = rows(
        site,
        "select bytes_in, version_id is not null, address, principal from logbox.access_log"
        " where object_key = 'landing/gamma/a b+ä.bin'",
    )
    assert put == (5, True, "127.0.0.1", "logbox-client-gamma")
    tick(site)
    (delivery,) = trace(site, "landing/gamma/a b+ä.bin").deliveries
    assert {hop.hop: hop.detail for hop in delivery.hops}["uploaded"] == (
        f"PutObject by client gamma, key {key.access_key_id}, from 127.0.0.1"
    )
    claimed = rows(site, "select actor, status from logbox.access_log where key_id = 'test'")
    assert claimed == [("unknown", 403)]
    deleted = rows(
        site,
        "select actor, object_key, status from logbox.access_log"
        # Other tests of this run clear their landing meanwhile.
        " where operation = 'DeleteObject' and bucket = %s order by object_key",
        bucket,
    )
    assert deleted == [("logbox", "landing/gamma/x&y", 204), ("logbox", "z", 204)]
    assert ("_ministack", "reset", 403) in rows(
        site, "select bucket, object_key, status from logbox.access_log where actor = 'unknown'"
    )
    check = judge_requests(site)
    assert not check.passed
    assert "gamma" in check.sentence


# AWS.


AWS_LINE = (
    "79a5 {bucket} [29/Nov/2026:10:00:{second:02} +0000] 192.0.2.3 {requester} REQ{second} "
    'REST.PUT.OBJECT landing/acme/{second} "PUT /landing/acme/{second} HTTP/1.1" {status} - - 7 '
    '41 28 "-" "boto3" - hostid SigV4 cipher AuthHeader host TLSv1.2 - -\n'
)
REQUESTER = "arn:aws:iam::000000000000:user/logbox/logbox-client-acme.d1"


def aws_line(second: int, *, requester: str = REQUESTER, status: int = 200) -> bytes:
    said = {"bucket": "landing", "second": second, "requester": requester, "status": status}
    return AWS_LINE.format(**said).encode()


def put(site: Site, key: str, *lines: bytes) -> None:
    site.lake.client.put_object(Bucket=site.lake.bucket, Key=key, Body=b"".join(lines))


@pytest.fixture
def aws(site: Site, log: Path) -> Site:
    """A site whose store writes S3 server access logs; into its lake, for want of a bucket."""
    now = datetime(2026, 12, 1, tzinfo=UTC)
    prefix = f"s3://{site.lake.bucket}/logs/"
    opened = with_settings(site, access_log_prefix=prefix, access_log_days=36_500)
    return Site(opened.settings, site.landing, site.archive, site.lake, lambda: now)


def test_each_object_of_aws_is_read_once_and_stays(aws: Site) -> None:
    # In another account, whoever made it chose its name.
    stranger = REQUESTER.replace("000000000000", "999999999999")
    own = "arn:aws:iam::000000000000:user/logbox-admin"
    first = "logs/2026-11-29-10-15-00-AAAAAAAAAAAAAAAA"
    put(aws, first, aws_line(1), aws_line(2, requester="-", status=403))
    put(aws, "logs/2026-11-29-10-20-00-BBBBBBBBBBBBBBBB", aws_line(3, requester=own), b"garbage\n")
    done = load_access_log(aws)
    assert (done.lines, done.unread_lines) == (3, 1)
    assert load_access_log(aws).lines == 0
    # Delivered late: it sorts before what was read.
    put(aws, "logs/2026-11-29-09-00-00-CCCCCCCCCCCCCCCC", aws_line(4, requester=stranger))
    assert load_access_log(aws).lines == 1
    found = rows(
        aws,
        """
        select request_id, actor, client, vehicle, is_authenticated, is_refused, bytes_in
        from logbox.access_log
        order by request_id
        """,
    )
    assert found == [
        ("REQ1", "client", "acme", "d1", True, False, 7),
        ("REQ2", "unknown", None, None, False, True, 7),
        ("REQ3", "logbox", None, None, True, False, 7),
        ("REQ4", "unknown", None, None, True, False, 7),
    ]
    assert aws.lake.head(first) is not None
    assert one(aws, "select count(*) from logbox.access_log_sources where store = 'aws'") == 3


def test_logs_that_aws_partitions_by_date_are_found(aws: Site) -> None:
    for day in ("28", "29"):
        folder = f"logs/123456789012/us-east-1/landing/2026/11/{day}"
        put(aws, f"{folder}/2026-11-{day}-10-15-00-AAAAAAAAAAAAAAAA", aws_line(int(day)))
    assert load_access_log(aws).lines == 2
    assert load_access_log(aws).lines == 0


def test_an_old_part_of_the_prefix_is_not_listed_again(
    aws: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(aws, "logs/2026-11-01-00-00-00-AAAAAAAAAAAAAAAA", aws_line(1))
    put(aws, "logs/2026-11-29-00-00-00-AAAAAAAAAAAAAAAA", aws_line(2))
    assert load_access_log(aws).lines == 2
    newest = datetime(2026, 11, 29, tzinfo=UTC)
    change(aws, "update logbox.access_log_sources set modified_at = %s", newest)
    change(aws, "delete from logbox.access_log_sources where name like %s", "%2026-11-01%")
    assert load_access_log(aws).lines == 0


def test_a_bucket_of_logs_that_is_not_there_is_said(aws: Site) -> None:
    wrong = with_settings(aws, access_log_prefix="s3://no-such-bucket-of-logs/x/")
    with pytest.raises(Exception, match="no-such-bucket-of-logs"):
        load_access_log(wrong)
