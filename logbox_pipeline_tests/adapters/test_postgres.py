import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from logbox_pipeline.adapters.postgres import SERVER_LIMITS, connect, transaction
from logbox_pipeline.core.errors import (
    LogboxError,
    PermanentError,
    SettingError,
    StoreRefused,
    TransientError,
)


@pytest.fixture
def connection(database: str) -> Iterator[Any]:
    with closing(connect(database)) as opened:
        yield opened


def execute(connection: Any, statement: str) -> None:
    with transaction(connection) as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url + "_missing",
        lambda url: "postgresql://nobody:secret-word@" + url.rpartition("@")[2],
        lambda url: "postgresql://a:secret-word@no-such-host.invalid/x",
        lambda url: "postgresql//a:secret-word@nowhere",
        lambda url: "postgresql://a:secret-word@localhost:port/x",
    ],
)
def test_a_wrong_url_names_the_setting_and_no_secret(database: str, change: Any) -> None:
    with pytest.raises(SettingError, match="LOGBOX_DATABASE_URL") as caught:
        connect(change(database))
    assert "secret-word" not in str(caught.value)


def test_a_server_that_is_away_is_transient() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(TransientError, match="does not answer"):
            connect(f"postgresql://a:b@127.0.0.1:{bound.getsockname()[1]}/x")


def test_a_session_is_in_utc(connection: Any) -> None:
    with transaction(connection) as cursor:
        cursor.execute("show time zone")
        assert cursor.fetchone() == ("UTC",)


def test_a_session_over_tcp_is_ended_soon_when_its_client_is_lost(connection: Any) -> None:
    assert connection.info.host == "127.0.0.1"
    with transaction(connection) as cursor:
        for setting in SERVER_LIMITS:
            name, _, value = setting.partition(" = ")
            cursor.execute("select setting from pg_settings where name = %s", (name,))
            assert cursor.fetchone() == (value,)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("select 1 / 0", StoreRefused),
        ("select * from missing", StoreRefused),
        ("select pg_terminate_backend(pg_backend_pid())", TransientError),
        ("set local statement_timeout = 10; select pg_sleep(5)", TransientError),
        ("do $$ begin raise sqlstate '54000'; end $$", PermanentError),
        ("do $$ begin raise sqlstate '53100'; end $$", TransientError),
        ("do $$ begin raise sqlstate '40P01'; end $$", TransientError),
    ],
)
def test_errors_are_transient_or_permanent(
    connection: Any, statement: str, expected: type[LogboxError]
) -> None:
    with pytest.raises(expected):
        execute(connection, statement)


def test_a_closed_connection_is_transient(connection: Any) -> None:
    connection.close()
    with pytest.raises(TransientError):
        execute(connection, "select 1")


def test_a_transaction_is_whole_or_not_at_all(connection: Any) -> None:
    with pytest.raises(StoreRefused):
        execute(connection, "create table t (x int); select 1 / 0")
    with transaction(connection) as cursor:
        cursor.execute("select to_regclass('t')")
        assert cursor.fetchone() == (None,)
