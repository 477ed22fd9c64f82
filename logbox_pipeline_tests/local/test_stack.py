"""The embedded stack starts, stops, remembers, refuses and survives. Each test has its own home."""

import hashlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psycopg2
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from logbox_pipeline.core.errors import LogboxError, UsageError
from logbox_pipeline.local import postgres
from logbox_pipeline.local.processes import command_of, port_is_free, read_json
from logbox_pipeline.local.stack import EmbeddedStack, running_pid, stop_running

SETTINGS = {
    "LOGBOX_S3_ENDPOINT",
    "LOGBOX_IAM_ENDPOINT",
    "LOGBOX_S3_REGION",
    "LOGBOX_S3_ACCESS_KEY_ID",
    "LOGBOX_S3_SECRET_ACCESS_KEY",
    "LOGBOX_SECRET_KEY",
    "LOGBOX_ADMIN_DATABASE_URL",
}
REPLICA_SETTINGS = {
    "LOGBOX_REPLICA_S3_ENDPOINT",
    "LOGBOX_REPLICA_S3_REGION",
    "LOGBOX_REPLICA_ACCESS_KEY_ID",
    "LOGBOX_REPLICA_SECRET_ACCESS_KEY",
}


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder for one stack; whatever a failed test left running on it is ended."""
    folder = Path(tempfile.mkdtemp(prefix="logbox-home-"))
    try:
        yield folder / "home"
    finally:
        stop_running(folder / "home")
        shutil.rmtree(folder)


def client(stack: EmbeddedStack, service: str = "s3", **keys: str) -> Any:
    found = stack.environment()
    credentials = {
        "aws_access_key_id": found["LOGBOX_S3_ACCESS_KEY_ID"],
        "aws_secret_access_key": found["LOGBOX_S3_SECRET_ACCESS_KEY"],
    } | keys
    return boto3.client(
        service,
        endpoint_url=found["LOGBOX_S3_ENDPOINT"],
        region_name=found["LOGBOX_S3_REGION"],
        config=Config(retries={"max_attempts": 0}),
        **credentials,
    )


def replica_client(stack: EmbeddedStack, **keys: str) -> Any:
    found = stack.environment()
    credentials = {
        "aws_access_key_id": found["LOGBOX_REPLICA_ACCESS_KEY_ID"],
        "aws_secret_access_key": found["LOGBOX_REPLICA_SECRET_ACCESS_KEY"],
    } | keys
    return boto3.client(
        "s3",
        endpoint_url=found["LOGBOX_REPLICA_S3_ENDPOINT"],
        region_name=found["LOGBOX_REPLICA_S3_REGION"],
        config=Config(retries={"max_attempts": 0}),
        **credentials,
    )


def query(stack: EmbeddedStack, sql: str) -> Any:
    connection = psycopg2.connect(stack.environment()["LOGBOX_ADMIN_DATABASE_URL"])
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else None
    finally:
        connection.close()


def pids(stack: EmbeddedStack) -> tuple[int, int, int]:
    """(object store, PostgreSQL, replica)"""
    postmaster = (stack.home / "postgres" / "postmaster.pid").read_text().split()[0]
    known = read_json(stack.home / "stack.json")
    return known["object_store_pid"], int(postmaster), known["replica_object_store_pid"]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    while command_of(pid):
        time.sleep(0.01)


def test_environment_leads_to_both_servers(home: Path) -> None:
    with EmbeddedStack(home) as stack:
        assert set(stack.environment()) == SETTINGS | REPLICA_SETTINGS
        assert client(stack).list_buckets()["Buckets"] == []
        assert query(stack, "show timezone") == [("UTC",)]
        assert query(stack, "show synchronous_commit") == [("on",)]
        env = (home / "stack.env").read_text().splitlines()
        assert dict(line.split("=", 1) for line in env) == stack.environment()


def test_secrets_are_private_and_in_no_log(home: Path) -> None:
    with EmbeddedStack(home) as stack:
        for name in ("secrets.json", "stack.env", "replica/secrets.json"):
            assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
        # A failing statement with a password in it.
        with pytest.raises(psycopg2.Error):
            query(stack, "create role pg_reserved password 'hunter2hunter2'")
        secrets = [
            *read_json(home / "secrets.json").values(),
            *read_json(home / "replica" / "secrets.json").values(),
            "hunter2hunter2",
        ]
        written = [*(home / "log").iterdir(), *(home / "replica" / "log").iterdir()]
        logs = "".join(path.read_text(errors="replace") for path in written)
        for secret in secrets:
            if not secret.startswith("AKIA"):
                assert secret not in logs
        for pid in pids(stack):
            assert all(secret not in (command_of(pid) or "") for secret in secrets)


def test_all_listen_on_loopback_only(home: Path) -> None:
    with EmbeddedStack(home) as stack:
        known = read_json(home / "stack.json")
        ports = {f"{known[p]:04X}" for p in ("postgres_port", "s3_port", "replica_s3_port")}
        assert len(ports) == 3
        lines = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        listening = [line.split()[1] for line in lines.splitlines() if " 0A " in line]
        ours = [place for place in listening if place.rpartition(":")[2] in ports]
        assert sorted(place.rpartition(":")[2] for place in ours) == sorted(ports)
        assert all(place.startswith("0100007F:") for place in ours)
        assert not list((stack.home / "postgres").glob(".s.PGSQL*"))


def test_postgres_wants_its_password(home: Path) -> None:
    with EmbeddedStack(home) as stack:
        url = stack.environment()["LOGBOX_ADMIN_DATABASE_URL"]
        password = url.split(":")[2].split("@")[0]
        for wrong in (url.replace(password, "wrong"), url.replace(f":{password}", "")):
            with pytest.raises(psycopg2.OperationalError, match="password"):
                psycopg2.connect(wrong)


def test_ports_data_and_keys_are_the_same_after_a_restart(home: Path) -> None:
    with EmbeddedStack(home) as stack:
        before = stack.environment()
        client(stack).create_bucket(Bucket="logs")
        query(stack, "create table kept as select 42 as answer")
    for name in ("s3_port", "postgres_port", "replica_s3_port"):
        assert port_is_free(read_json(home / "stack.json")[name])
    with EmbeddedStack(home) as stack:
        assert stack.environment() == before
        assert [b["Name"] for b in client(stack).list_buckets()["Buckets"]] == ["logs"]
        assert query(stack, "select answer from kept") == [(42,)]


def test_stop_leaves_no_process_and_start_twice_starts_once(home: Path) -> None:
    stack = EmbeddedStack(home)
    stack.stop()
    stack.start()
    started = pids(stack)
    stack.start()
    assert pids(stack) == started
    stack.stop()
    stack.stop()
    assert [command_of(pid) for pid in started] == [None] * 3


def test_a_second_stack_on_the_same_home_is_refused_with_pid_and_home(home: Path) -> None:
    with EmbeddedStack(home) as stack:
        with pytest.raises(LogboxError, match=f"{home} is already running .pid {os.getpid()}."):
            EmbeddedStack(home).start()
        assert client(stack).list_buckets()["Buckets"] == []


def test_a_taken_port_is_named_with_its_owner(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            LogboxError, match=rf"port {port} .* S3, is taken by .*pid {os.getpid()}"
        ):
            EmbeddedStack(home, s3_port=port).start()
        with pytest.raises(LogboxError, match=rf"port {port} .* PostgreSQL, is taken"):
            EmbeddedStack(home, postgres_port=port).start()
    assert running_pid(home) is None
    with EmbeddedStack(home, s3_port=port) as stack:
        assert stack.environment()["LOGBOX_S3_ENDPOINT"].endswith(f":{port}")


def test_environment_before_the_start_is_a_usage_error(home: Path) -> None:
    with pytest.raises(UsageError, match="not started"):
        EmbeddedStack(home).environment()


def test_everything_survives_kill_9_of_both_servers(home: Path) -> None:
    stack = EmbeddedStack(home)
    stack.start()
    s3, iam = client(stack), client(stack, "iam")
    s3.create_bucket(Bucket="logs")
    s3.put_bucket_versioning(Bucket="logs", VersioningConfiguration={"Status": "Enabled"})
    iam.create_user(UserName="drone")
    policy = """{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Action": "s3:PutObject", "Resource": "arn:aws:s3:::logs/landing/*"}]}"""
    iam.put_user_policy(UserName="drone", PolicyName="p", PolicyDocument=policy)
    made = iam.create_access_key(UserName="drone")["AccessKey"]
    keys = {
        "aws_access_key_id": made["AccessKeyId"],
        "aws_secret_access_key": made["SecretAccessKey"],
    }
    first = s3.put_object(Bucket="logs", Key="a", Body=b"one", Metadata={"sha256": "1"})
    second = s3.put_object(Bucket="logs", Key="a", Body=b"two", Metadata={"sha256": "2"})
    s3.put_object(Bucket="logs", Key="gone", Body=b"x")
    s3.delete_object(Bucket="logs", Key="gone")
    query(stack, "create table kept as select 42 as answer")
    for pid in pids(stack)[:2]:
        kill(pid)
    stack.stop()

    with EmbeddedStack(home) as stack:
        s3 = client(stack)
        assert query(stack, "select answer from kept") == [(42,)]
        assert s3.get_bucket_versioning(Bucket="logs")["Status"] == "Enabled"
        now = s3.get_object(Bucket="logs", Key="a")
        assert (now["Body"].read(), now["Metadata"]) == (b"two", {"sha256": "2"})
        assert now["VersionId"] == second["VersionId"]
        then = s3.get_object(Bucket="logs", Key="a", VersionId=first["VersionId"])
        assert (then["Body"].read(), then["Metadata"]) == (b"one", {"sha256": "1"})
        with pytest.raises(ClientError, match="NoSuchKey"):
            s3.get_object(Bucket="logs", Key="gone")
        drone = client(stack, **keys)
        drone.put_object(Bucket="logs", Key="landing/b", Body=b"3")
        with pytest.raises(ClientError, match="AccessDenied"):
            drone.put_object(Bucket="logs", Key="elsewhere", Body=b"3")


def test_puts_that_were_answered_survive_kill_9_in_their_middle(home: Path) -> None:
    stack = EmbeddedStack(home)
    stack.start()
    client(stack).create_bucket(Bucket="logs")
    store, *_ = pids(stack)
    answered: list[str] = []

    def put(worker: int) -> None:
        s3 = client(stack)
        for number in range(1_000):
            key = f"w{worker}/{number % 7}" if worker else f"new/{number}"
            try:
                s3.put_object(Bucket="logs", Key=key, Body=os.urandom(5_000), Metadata={"n": key})
            except (BotoCoreError, ClientError):
                return
            answered.append(key)

    threads = [threading.Thread(target=put, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    while len(answered) < 150:
        time.sleep(0.005)
    kill(store)
    for thread in threads:
        thread.join()
    stack.stop()
    with EmbeddedStack(home) as stack:
        s3 = client(stack)
        for key in set(answered):
            found = s3.get_object(Bucket="logs", Key=key)
            assert found["Metadata"] == {"n": key}
            body = found["Body"].read()
            assert found["ETag"].strip('"') == hashlib.md5(body).hexdigest()
        assert not list((home / "s3").rglob("*.tmp"))


def test_a_killed_parent_takes_the_object_store_with_it_and_the_next_start_recovers(
    home: Path,
) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from logbox_pipeline.local.stack import EmbeddedStack\n"
        "EmbeddedStack(Path(sys.argv[1])).start(); print('up', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(home)], stdout=subprocess.PIPE, start_new_session=True
    ) as parent:
        try:
            assert parent.stdout
            assert parent.stdout.readline() == b"up\n"
            assert running_pid(home) == parent.pid
            store, server, replica = pids(EmbeddedStack(home))
        finally:
            parent.kill()
    deadline = time.monotonic() + 10
    while (command_of(store) or command_of(replica)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (command_of(store), command_of(replica)) == (None, None)
    assert running_pid(home) is None
    with EmbeddedStack(home) as stack:
        assert query(stack, "select 1") == [(1,)]
        assert pids(stack)[1] != server
        assert command_of(server) is None


def test_stop_running_ends_what_a_killed_parent_left(home: Path) -> None:
    stack = EmbeddedStack(home)
    stack.start()
    started = pids(stack)
    # As if this process had died: the lock is free, the servers still run.
    assert stack._lock
    stack._lock.close()
    assert stop_running(home) is True
    assert [command_of(pid) for pid in started] == [None] * 3
    assert stop_running(home) is False
    stack._lock, stack._postgres = None, None
    for server in (stack._store, stack._replica):
        server._process.wait()  # type: ignore[union-attr]


def test_the_replica_is_a_store_of_its_own(home: Path) -> None:
    with EmbeddedStack(home) as stack:
        found = stack.environment()
        assert found["LOGBOX_REPLICA_S3_ENDPOINT"] != found["LOGBOX_S3_ENDPOINT"]
        assert found["LOGBOX_REPLICA_S3_REGION"] != found["LOGBOX_S3_REGION"]
        replica_client(stack).create_bucket(
            Bucket="copies", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
        )
        assert client(stack).list_buckets()["Buckets"] == []
        others = {
            "aws_access_key_id": found["LOGBOX_S3_ACCESS_KEY_ID"],
            "aws_secret_access_key": found["LOGBOX_S3_SECRET_ACCESS_KEY"],
        }
        with pytest.raises(ClientError, match="InvalidAccessKeyId"):
            replica_client(stack, **others).list_buckets()


def test_postgres_and_s3_killed_by_kill_9_are_started_again_with_what_they_hold(
    home: Path,
) -> None:
    with EmbeddedStack(home) as stack:
        client(stack).create_bucket(Bucket="logs")
        query(stack, "create table kept as select 42 as answer")
        first = pids(stack)
        for pid in first[:2]:
            kill(pid)
        deadline = time.monotonic() + 30
        while set(pids(stack)[:2]) & set(first[:2]):
            assert time.monotonic() < deadline
            stack.watch()
        assert query(stack, "select answer from kept") == [(42,)]
        while True:
            try:
                assert [one["Name"] for one in client(stack).list_buckets()["Buckets"]] == ["logs"]
                break
            except BotoCoreError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert pids(stack)[2] == first[2]


def test_a_replica_killed_by_kill_9_comes_back_with_its_data_and_nothing_else_stops(
    home: Path,
) -> None:
    with EmbeddedStack(home) as stack:
        store, server, replica = pids(stack)
        s3 = replica_client(stack)
        s3.create_bucket(
            Bucket="copies", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
        )
        s3.put_object(Bucket="copies", Key="a", Body=b"one")
        kill(replica)
        deadline = time.monotonic() + 30
        # A killed process may take a moment to be seen as gone.
        while pids(stack)[2] == replica:
            assert time.monotonic() < deadline
            stack.watch()
        assert pids(stack)[:2] == (store, server)
        while True:
            try:
                assert s3.get_object(Bucket="copies", Key="a")["Body"].read() == b"one"
                break
            except BotoCoreError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        again = pids(stack)[2]
    assert command_of(again) is None


def test_without_a_replica_none_is_run_and_its_data_stays(home: Path) -> None:
    with EmbeddedStack(home) as stack:
        replica_client(stack).create_bucket(
            Bucket="copies", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
        )
        key = stack.environment()["LOGBOX_REPLICA_ACCESS_KEY_ID"]
    with EmbeddedStack(home, has_replica=False) as stack:
        assert set(stack.environment()) == SETTINGS
        assert pids(stack)[2] is None
    with EmbeddedStack(home) as stack:
        assert stack.environment()["LOGBOX_REPLICA_ACCESS_KEY_ID"] == key
        assert [b["Name"] for b in replica_client(stack).list_buckets()["Buckets"]] == ["copies"]


def test_a_stale_pid_of_somebody_else_does_not_stop_postgres(home: Path) -> None:
    with EmbeddedStack(home):
        pass
    pid_file = home / "postgres" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{home}/postgres\n1\n5432\n\n127.0.0.1\n1 1\nready\n")
    with EmbeddedStack(home) as stack:
        assert query(stack, "select 1") == [(1,)]


def test_a_half_made_cluster_is_made_again(home: Path) -> None:
    (home / "postgres.new" / "base").mkdir(parents=True)
    with EmbeddedStack(home) as stack:
        assert query(stack, "select 1") == [(1,)]


def test_lost_secrets_are_said_and_not_made_up(home: Path) -> None:
    with EmbeddedStack(home):
        pass
    (home / "secrets.json").unlink()
    with pytest.raises(LogboxError, match=r"secrets\.json is missing"):
        EmbeddedStack(home).start()
    assert running_pid(home) is None


def test_unreadable_iam_state_stops_the_start(home: Path) -> None:
    with EmbeddedStack(home):
        pass
    (home / "s3" / "state" / "iam.json").write_text('{"half')
    with pytest.raises(LogboxError, match=r"iam.json is not JSON"):
        EmbeddedStack(home).start()
    assert running_pid(home) is None


def test_a_very_deep_home_works(home: Path) -> None:
    deep = home / ("d" * 60) / ("e" * 60)
    with EmbeddedStack(deep) as stack:
        assert query(stack, "select 1") == [(1,)]


def test_psql_of_the_wheel_answers(home: Path) -> None:
    with EmbeddedStack(home) as stack:
        url = stack.environment()["LOGBOX_ADMIN_DATABASE_URL"]
        said = subprocess.run(
            [stack.psql, url, "-Atc", "select 6 * 7"], capture_output=True, text=True, check=True
        )
        assert said.stdout == "42\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")
def test_a_home_in_a_closed_folder_is_opened_to_postgres_alone(home: Path) -> None:
    closed = home.parent / "closed"
    closed.mkdir(mode=0o700)
    with EmbeddedStack(closed / "home") as stack:
        assert query(stack, "select 1") == [(1,)]
        tried = subprocess.run(
            ["ls", closed / "home"], user="nobody", capture_output=True, text=True, check=False
        )
        assert "Permission denied" in tried.stderr
    entries = postgres.read_acl(closed)
    assert (postgres.ACL_OTHER, 0, postgres.ACL_NO_ID) in entries
    assert (postgres.ACL_GROUP_OBJ, 0, postgres.ACL_NO_ID) in entries


def test_a_folder_of_somebody_elses_is_left_as_it_is(home: Path) -> None:
    home.mkdir()
    (home / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"it holds thesis\.txt"):
        EmbeddedStack(home).start()
    assert [one.name for one in home.iterdir()] == ["thesis.txt"]
