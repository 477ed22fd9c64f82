"""`logbox client ...`, `logbox analyst ...` and `logbox upload` on the real Postgres and S3."""

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner, Result

from logbox_pipeline.cli.main import app
from logbox_pipeline.core.policies import client_user
from logbox_pipeline.settings import load_settings
from logbox_pipeline.steps.manifest import tell
from logbox_pipeline.steps.migrations import run_dbmate
from logbox_pipeline.steps.site import open_site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.conftest import Stack


@dataclass(frozen=True)
class Office:
    """Where an operator types commands."""

    stack: Stack
    database: str
    buckets: str
    client: str
    analyst: str

    def run(self, *arguments: str | Path) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert "Traceback" not in result.stderr
        return result

    def key(self, *arguments: str | Path) -> dict[str, str]:
        """Run a command that prints a key; its lines."""
        result = self.run(*arguments)
        assert result.exit_code == 0, result.stderr
        return dict(line.split("=", 1) for line in result.stdout.splitlines())

    def put(self, key: dict[str, str], below: str = "a.ulg") -> None:
        s3 = self.stack.client(
            aws_access_key_id=key["LOGBOX_CLIENT_ACCESS_KEY_ID"],
            aws_secret_access_key=key["LOGBOX_CLIENT_SECRET_ACCESS_KEY"],
        )
        s3.put_object(
            Bucket=f"{self.buckets}landing", Key=f"landing/{self.client}/{below}", Body=b"x"
        )

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(self.database)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())


@pytest.fixture
def office(
    stack: Stack, database: str, buckets: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Office]:
    s3 = stack.client()
    for name in ("landing", "archive", "lake"):
        s3.create_bucket(Bucket=f"{buckets}{name}")
        monkeypatch.setenv(f"LOGBOX_{name.upper()}_BUCKET", f"{buckets}{name}")
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOGBOX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOGBOX_DATABASE_URL", database)
    monkeypatch.chdir(tmp_path)
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_advisory_lock(20261124)")
        for role in ("logbox_owner", "logbox_writer", "logbox_reader"):
            cursor.execute("select from pg_roles where rolname = %s", (role,))
            if cursor.fetchone() is None:
                cursor.execute(f"create role {role}")
        connection.commit()
    run_dbmate(database, "up")
    client, analyst = f"acme-{secrets.token_hex(4)}", f"ada_{secrets.token_hex(4)}"
    yield Office(stack, database, buckets, client, analyst)
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute(f"drop role if exists analyst_{analyst}")
        connection.commit()


def test_added_client_uploads_with_the_printed_lines(office: Office, tmp_path: Path) -> None:
    added = office.run("client", "add", office.client)
    assert added.exit_code == 0
    assert "only time" in added.stderr
    assert office.run("receipt-key").stdout in added.stdout
    (tmp_path / "drone.env").write_text(added.stdout)
    (tmp_path / "flight.ulg").write_bytes(b"a log")
    sent = office.run("upload", tmp_path / "flight.ulg", "--env", tmp_path / "drone.env")
    assert (sent.exit_code, sent.stderr) == (0, "")
    assert sent.stdout.startswith(f"uploaded landing/{office.client}/flight.ulg")
    again = office.run("upload", tmp_path / "flight.ulg", "--env", tmp_path / "drone.env", "--json")
    assert again.exit_code == 1
    assert json.loads(again.stdout)["state"] == "failed"


def test_client_is_added_without_a_key_for_receipts_and_that_is_said(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOGBOX_SECRET_KEY")
    added = office.run("client", "add", office.client)
    assert added.exit_code == 0
    assert "LOGBOX_RECEIPT_PUBLIC_KEY" not in added.stdout
    assert "LOGBOX_SECRET_KEY is not set" in added.stderr


def test_upload_used_wrongly_ends_with_2(office: Office, tmp_path: Path) -> None:
    wrong = office.run("upload", tmp_path / "flight.ulg")
    assert wrong.exit_code == 2
    assert "LOGBOX_CLIENT is not set" in wrong.stderr


def test_client_exists_once(office: Office) -> None:
    office.key("client", "add", office.client)
    again = office.run("client", "add", office.client)
    assert (again.exit_code, again.stdout) == (2, "")
    assert f"logbox client rotate {office.client}" in again.stderr
    assert len(office.query("select * from logbox.client_keys")) == 1


@pytest.mark.parametrize("name", ["A", "ab", "-abc", "a" * 33, "a*c", "a/b", "unknown-client"])
def test_impossible_name_is_wrong_use(office: Office, name: str) -> None:
    refused = office.run("client", "add", "--", name)
    assert refused.exit_code == 2
    assert "cannot be a client's name" in refused.stderr


def test_vehicle_key_is_narrow_and_says_so(office: Office) -> None:
    key = office.key("client", "add", office.client, "--vehicle", "Falke_3")
    assert key["LOGBOX_VEHICLE"] == "Falke_3"
    office.put(key, "Falke_3/a.ulg")
    for elsewhere in ("a.ulg", "falke_3/a.ulg", "Falke_4/a.ulg"):
        with pytest.raises(ClientError, match="AccessDenied"):
            office.put(key, elsewhere)
    wide = office.key("client", "add", office.client)
    office.put(wide, "Falke_4/a.ulg")
    office.key("client", "add", office.client, "--vehicle", "falke_3")
    assert len(office.query("select distinct iam_user from logbox.client_keys")) == 3


def test_rotated_client_has_two_keys_until_it_is_finished(office: Office) -> None:
    old = office.key("client", "add", office.client)
    new = office.key("client", "rotate", office.client)
    office.put(old)
    office.put(new)
    third = office.run("client", "rotate", office.client)
    assert third.exit_code == 2
    assert "--finish" in third.stderr
    finished = office.run("client", "rotate", office.client, "--finish")
    assert (finished.exit_code, finished.stdout) == (0, "")
    assert old["LOGBOX_CLIENT_ACCESS_KEY_ID"] in finished.stderr
    with pytest.raises(ClientError):
        office.put(old)
    office.put(new)
    assert office.run("client", "rotate", office.client, "--finish").exit_code == 2


def test_revoked_client_uploads_no_more_and_can_come_back(office: Office) -> None:
    wide = office.key("client", "add", office.client)
    narrow = office.key("client", "add", office.client, "--vehicle", "v1")
    office.key("client", "rotate", office.client)
    assert office.run("client", "revoke", office.client).exit_code == 0
    for key in (wide, narrow):
        with pytest.raises(ClientError):
            office.put(key, "v1/a.ulg")
    assert office.query("select client from logbox.clients where revoked_at is not null") == [
        (office.client,)
    ]
    assert office.query("select 1 from logbox.client_keys where revoked_at is null") == []
    assert office.run("client", "revoke", office.client).exit_code == 0
    office.put(office.key("client", "add", office.client))
    assert office.query("select 1 from logbox.clients where revoked_at is not null") == []


def test_one_vehicle_is_revoked_alone(office: Office) -> None:
    wide = office.key("client", "add", office.client)
    stolen = office.key("client", "add", office.client, "--vehicle", "v1")
    assert office.run("client", "revoke", office.client, "--vehicle", "v1").exit_code == 0
    with pytest.raises(ClientError):
        office.put(stolen, "v1/a.ulg")
    office.put(wide)
    assert office.run("client", "revoke", office.client, "--vehicle", "v2").exit_code == 2
    assert office.query("select revoked_at from logbox.clients") == [(None,)]


def test_what_is_not_there_is_wrong_use(office: Office) -> None:
    for command in (("rotate",), ("rotate", "--finish"), ("revoke",)):
        refused = office.run("client", command[0], office.client, *command[1:])
        assert refused.exit_code == 2
        assert "next:" in refused.stderr


def test_list_shows_every_key_and_no_secret(office: Office) -> None:
    key = office.key("client", "add", office.client)
    office.key("client", "add", office.client, "--vehicle", "v1")
    office.run("client", "revoke", office.client, "--vehicle", "v1")
    text = office.run("client", "list").stdout
    assert key["LOGBOX_CLIENT_ACCESS_KEY_ID"] in text
    assert "vehicle v1" in text
    (listed,) = json.loads(office.run("client", "list", "--json").stdout)
    assert listed["client"] == office.client
    assert [one["vehicle"] for one in listed["keys"]] == [None, "v1"]
    assert listed["keys"][1]["revoked_at"] is not None
    assert key["LOGBOX_CLIENT_SECRET_ACCESS_KEY"] not in text + json.dumps(listed)


def test_the_archive_is_told_of_clients_and_keys_and_of_no_secret(office: Office) -> None:
    key = office.key("client", "add", office.client)
    narrow = office.key("client", "add", office.client, "--vehicle", "v1")
    office.run("client", "revoke", office.client)
    site = open_site(load_settings())
    tell(site, settled=timedelta(0))
    told = journey.told(site)
    assert told["client", office.client]["revoked_at"] is not None
    assert {kind for kind, _ in told} == {"client", "client_key"}
    for one in (key, narrow):
        assert told["client_key", one["LOGBOX_CLIENT_ACCESS_KEY_ID"]]["revoked_at"] is not None
        assert one["LOGBOX_CLIENT_SECRET_ACCESS_KEY"] not in str(told)


def test_key_that_a_crash_left_in_iam_is_taken_away(office: Office) -> None:
    first = office.key("client", "add", office.client)
    iam = office.stack.client("iam")
    user = client_user(office.client)
    stray = iam.create_access_key(UserName=user)["AccessKey"]["AccessKeyId"]
    office.key("client", "rotate", office.client)
    left = {key["AccessKeyId"] for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]}
    assert stray not in left
    assert first["LOGBOX_CLIENT_ACCESS_KEY_ID"] in left
    assert len(left) == 2


def test_two_people_adding_at_once_make_one_key(office: Office) -> None:
    from datetime import UTC, datetime

    from logbox_pipeline.adapters.iam import Iam
    from logbox_pipeline.adapters.postgres import connect
    from logbox_pipeline.core.errors import UsageError
    from logbox_pipeline.steps.clients import add_client

    outcomes: list[str] = []

    def add() -> None:
        iam = Iam(
            endpoint=office.stack.iam_endpoint,
            region="us-east-1",
            access_key_id=office.stack.access_key_id,
            secret_access_key=office.stack.secret_access_key,
        )
        with closing(connect(office.database)) as connection:
            try:
                add_client(
                    connection,
                    iam,
                    client=office.client,
                    landing_bucket=f"{office.buckets}landing",
                    now=datetime.now(UTC),
                )
            except UsageError:
                outcomes.append("refused")
            else:
                outcomes.append("added")

    people = [threading.Thread(target=add) for _ in range(4)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert sorted(outcomes) == ["added", "refused", "refused", "refused"]
    assert len(office.query("select * from logbox.client_keys")) == 1


def test_analyst_logs_in_with_the_printed_lines(office: Office, tmp_path: Path) -> None:
    office.stack.client().put_object(
        Bucket=f"{office.buckets}lake",
        Key="lake/log_events/part.parquet",
        Body=parquet(tmp_path),
    )
    added = office.run("analyst", "add", office.analyst)
    assert added.exit_code == 0, added.stderr
    psql, _, secret = added.stdout.partition("\n\n")
    url = psql.split("'")[1]
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("select current_user, pg_has_role('logbox_reader', 'member')")
        assert cursor.fetchone() == (f"analyst_{office.analyst}", True)
    with duckdb.connect() as lake:
        try:
            lake.execute("install httpfs; load httpfs")
        except duckdb.Error as offline:
            pytest.skip(f"DuckDB's httpfs cannot be installed here: {offline}")
        lake.execute(secret)
        path = f"s3://{office.buckets}lake/lake/log_events/**"
        assert lake.execute(f"select n from read_parquet('{path}')").fetchall() == [(42,)]


def test_analysts_secret_lines_are_sql_that_duckdb_parses(office: Office) -> None:
    secret = office.run("analyst", "add", office.analyst).stdout.partition("\n\n")[2]
    (statement,) = duckdb.extract_statements(secret)
    assert statement.type.name == "CREATE"
    for part in ("endpoint '127.0.0.1:", "url_style 'path'", "use_ssl false", "scope 's3://"):
        assert part in secret


def test_revoked_analyst_is_out_and_can_come_back(office: Office) -> None:
    url = office.run("analyst", "add", office.analyst).stdout.split("'")[1]
    assert office.run("analyst", "add", office.analyst).exit_code == 2
    with closing(psycopg2.connect(url)) as open_session:
        assert office.run("analyst", "revoke", office.analyst).exit_code == 0
        with pytest.raises(psycopg2.OperationalError), open_session.cursor() as cursor:
            cursor.execute("select 1")
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(url)
    assert office.run("analyst", "revoke", office.analyst).exit_code == 0
    (listed,) = json.loads(office.run("analyst", "list", "--json").stdout)
    assert listed["revoked_at"] is not None
    url = office.run("analyst", "add", office.analyst).stdout.split("'")[1]
    psycopg2.connect(url).close()
    assert office.run("analyst", "list").stdout.startswith(office.analyst)


def test_analyst_with_an_impossible_or_unknown_name_is_wrong_use(office: Office) -> None:
    for name in ("Ada", 'a"b', "a-b", "1a", "x" * 32):
        assert office.run("analyst", "add", name).exit_code == 2
    assert office.run("analyst", "revoke", office.analyst).exit_code == 2


def test_failed_lake_key_leaves_no_login_behind(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setenv("LOGBOX_ADMIN_DATABASE_URL", "postgresql://nobody:no@127.0.0.1:9/none")
        assert office.run("analyst", "add", office.analyst).exit_code in (1, 2)
    assert office.query("select * from logbox.analysts") == []


def parquet(folder: Path) -> bytes:
    with duckdb.connect() as database:
        database.execute(f"copy (select 42 as n) to '{folder}/part.parquet' (format parquet)")
    return (folder / "part.parquet").read_bytes()
