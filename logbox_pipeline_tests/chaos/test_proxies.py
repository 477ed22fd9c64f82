"""The proxies do what they say: a suite whose faults are none would always pass."""

import contextlib
import socket
import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import boto3
import psycopg2
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from hypothesis import given
from hypothesis import strategies as st

from logbox_pipeline.local.processes import free_port
from logbox_pipeline.local.s3_server import S3Server
from logbox_pipeline_tests.chaos.postgres_proxy import (
    Messages,
    PostgresFault,
    PostgresProxy,
    Seen,
)
from logbox_pipeline_tests.chaos.s3_proxy import S3Fault, S3Proxy

BODY = bytes(range(256)) * 2_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[S3Proxy, Any, Any]]:
    """(proxy, a client by way of it, a client that goes straight)."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "log").mkdir()
    server, port = S3Server(folder, "the store"), free_port()
    keys = server.make_keys()
    server.begin(port)
    proxy = S3Proxy(port)
    proxy.hang_s = 0.2

    def client(endpoint: str) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=keys["s3_access_key_id"],
            aws_secret_access_key=keys["s3_secret_access_key"],
            config=Config(
                retries={"total_max_attempts": 1},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    try:
        server.wait(port)
        proxy.served.start()
        straight = client(f"http://127.0.0.1:{port}")
        straight.create_bucket(Bucket="logs")
        yield proxy, client(proxy.endpoint), straight
    finally:
        proxy.served.stop()
        server.stop()


def read(client: Any, key: str) -> bytes:
    body: bytes = client.get_object(Bucket="logs", Key=key)["Body"].read()
    return body


def bits_apart(ours: bytes, theirs: bytes) -> int:
    assert len(ours) == len(theirs)
    return sum((a ^ b).bit_count() for a, b in zip(ours, theirs, strict=True))


def test_without_a_fault_everything_passes(store: tuple[S3Proxy, Any, Any]) -> None:
    _, s3, straight = store
    s3.put_object(Bucket="logs", Key="whole", Body=BODY, Metadata={"sha256": "x"})
    assert read(s3, "whole") == read(straight, "whole") == BODY
    assert s3.head_object(Bucket="logs", Key="whole")["Metadata"] == {"sha256": "x"}
    s3.delete_object(Bucket="logs", Key="whole")
    with pytest.raises(ClientError, match="NoSuchKey"):
        read(s3, "whole")


def test_a_flipped_answer_is_one_bit_from_what_is_stored(store: tuple[S3Proxy, Any, Any]) -> None:
    proxy, s3, straight = store
    straight.put_object(Bucket="logs", Key="a", Body=BODY)
    proxy.arm(S3Fault.FLIPPED_ANSWER)
    assert bits_apart(read(s3, "a"), BODY) == 1
    assert read(s3, "a") == BODY


def test_a_flipped_request_is_refused_by_the_store(store: tuple[S3Proxy, Any, Any]) -> None:
    proxy, s3, straight = store
    proxy.arm(S3Fault.FLIPPED_REQUEST)
    with pytest.raises(ClientError):
        s3.put_object(Bucket="logs", Key="flipped", Body=BODY)
    with pytest.raises(ClientError, match="NoSuchKey"):
        read(straight, "flipped")


def test_a_lost_answer_is_of_a_request_that_was_done(store: tuple[S3Proxy, Any, Any]) -> None:
    proxy, s3, straight = store
    proxy.arm(S3Fault.LOST_ANSWER)
    with pytest.raises(BotoCoreError):
        s3.put_object(Bucket="logs", Key="lost", Body=BODY)
    assert read(straight, "lost") == BODY


@pytest.mark.parametrize("fault", [S3Fault.CUT_REQUEST, S3Fault.HANG])
def test_what_breaks_off_is_not_stored(store: tuple[S3Proxy, Any, Any], fault: S3Fault) -> None:
    proxy, s3, straight = store
    proxy.arm(fault)
    with pytest.raises((BotoCoreError, ConnectionError)):
        s3.put_object(Bucket="logs", Key=fault.name, Body=BODY)
    with pytest.raises(ClientError, match="NoSuchKey"):
        read(straight, fault.name)


def test_a_cut_answer_is_short(store: tuple[S3Proxy, Any, Any]) -> None:
    proxy, s3, straight = store
    straight.put_object(Bucket="logs", Key="b", Body=BODY)
    proxy.arm(S3Fault.CUT_ANSWER)
    with pytest.raises(BotoCoreError):
        read(s3, "b")


@pytest.mark.parametrize(
    ("fault", "code"), [(S3Fault.ERROR_500, "InternalError"), (S3Fault.SLOW_DOWN, "SlowDown")]
)
def test_errors_are_s3s_own(store: tuple[S3Proxy, Any, Any], fault: S3Fault, code: str) -> None:
    proxy, s3, _ = store
    proxy.arm(fault)
    with pytest.raises(ClientError, match=code):
        s3.put_object(Bucket="logs", Key="c", Body=BODY)


def test_listings_lie_in_each_way(store: tuple[S3Proxy, Any, Any]) -> None:
    proxy, s3, straight = store

    def listed(**more: str) -> list[str]:
        page = s3.list_objects_v2(Bucket="logs", Prefix="list/", **more)
        return [one["Key"] for one in page.get("Contents", [])]

    names = [f"list/{number:02}" for number in range(20)]
    for name in names[:10]:
        straight.put_object(Bucket="logs", Key=name, Body=b"1")
    assert listed() == names[:10]
    for name in names[10:]:
        straight.put_object(Bucket="logs", Key=name, Body=b"1")
    assert listed() == names
    proxy.arm(S3Fault.STALE_LISTING)
    assert listed() == names[:10]
    proxy.arm(S3Fault.OMITTED)
    found = listed()
    assert set(found) < set(names)
    proxy.arm(S3Fault.REORDERED)
    found = listed()
    assert (found != names, sorted(found)) == (True, names)
    proxy.arm(S3Fault.SHORT_PAGE)
    page = s3.list_objects_v2(Bucket="logs", Prefix="list/")
    assert (len(page["Contents"]), page["IsTruncated"]) == (10, True)
    proxy.arm(S3Fault.REPEATED_PAGE)
    assert listed(StartAfter=names[15])[0] == names[0]
    assert listed() == names


def test_a_commit_whose_answer_is_lost_was_made_and_one_before_was_not(database: str) -> None:
    server = database.rpartition("@")[2].partition("/")[0]
    proxy = PostgresProxy(int(server.rpartition(":")[2]), listen=free_port())
    proxy.served.start()
    led = database.replace(server, f"[::1]:{proxy.served.port}")
    with contextlib.closing(psycopg2.connect(database)) as straight:
        straight.autocommit = True
        cursor = straight.cursor()
        cursor.execute("create table t (n int)")
        for fault, value in (
            (PostgresFault.DROPPED_BEFORE_COMMIT, 1),
            (PostgresFault.DROPPED_AT_COMMIT, 2),
        ):
            proxy.arm(fault)
            with (
                pytest.raises(psycopg2.OperationalError),
                contextlib.closing(psycopg2.connect(led)) as connection,
                connection,
            ):
                connection.cursor().execute("insert into t values (%s)", (value,))
        cursor.execute("select n from t")
        assert cursor.fetchall() == [(2,)]
    proxy.arm(PostgresFault.SILENT)
    with pytest.raises(psycopg2.OperationalError, match="timeout"):
        psycopg2.connect(led, connect_timeout=2)
    proxy.served.refuse()
    with pytest.raises(psycopg2.OperationalError, match="refused"):
        psycopg2.connect(led)
    proxy.served.accept()
    psycopg2.connect(led).close()
    proxy.served.stop()
    with socket.socket(socket.AF_INET6) as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("::1", proxy.served.port))


def message(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack("!I", len(payload) + 4) + payload


SESSION = b"".join(
    (
        struct.pack("!II", 8, 80877103),
        struct.pack("!II", 20, 196_608) + b"user\0me\0\0\0\0\0"[:12],
        message(b"Q", b"BEGIN\0"),
        message(b"Q", b"copy t from stdin\0"),
        message(b"d", b"Q" * 300),
        message(b"c", b""),
        message(b"Q", b"COMMIT\0"),
        message(b"X", b""),
    )
)


@given(st.lists(st.integers(1, len(SESSION)), max_size=30))
def test_messages_are_followed_whatever_pieces_they_come_in(cuts: list[int]) -> None:
    messages, seen = Messages(), list[Seen]()
    edges = [0, *sorted(cuts), len(SESSION)]
    for start, end in pairwise(edges):
        seen += sorted(messages.read(SESSION[start:end]), reverse=True)
    assert sorted(set(seen)) == [Seen.COMMIT, Seen.COPY]
    assert seen.count(Seen.COMMIT) == seen.count(Seen.COPY) == 1
