"""Reach Postgres: connect, one transaction, and foreign errors made ours. No query here."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

from logbox_pipeline.core.errors import (
    LogboxError,
    PermanentError,
    SettingError,
    StoreRefused,
    TransientError,
)

CONNECT_TIMEOUT_S = 10

# By its system's limits, what a session has locked is free two hours after its host was lost.
SERVER_LIMITS = (
    "tcp_keepalives_idle = 30",
    "tcp_keepalives_interval = 10",
    "tcp_keepalives_count = 3",
    "tcp_user_timeout = 60000",
)
"""What a session sets at the server, to be ended within two minutes when its client is lost."""

_SESSION = "; ".join(
    f"set {setting}" for setting in ("time zone 'UTC'", "logbox.is_writer = 'on'", *SERVER_LIMITS)
)

_WRONG_SETTING = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "could not translate host name",
    "no pg_hba.conf entry",
    "is not permitted to log in",
    "permission denied for database",
    "invalid ",
)
"""What libpq says when the URL is wrong; it gives no SQLSTATE before a session exists."""

_NO_DATABASE = re.compile(r'database ".*" does not exist')


def connect(url: str) -> Any:
    """A psycopg2 connection in UTC, outside any transaction. Only what is changed through one of
    these is told to the archive (`logbox.owes`).

    Raises SettingError when the URL names what is not there or may not log in, TransientError
    when the server is away or slow. Neither repeats the URL, which may hold a password.
    """
    try:
        connection = psycopg2.connect(
            url,
            connect_timeout=CONNECT_TIMEOUT_S,
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )
    except psycopg2.OperationalError as error:
        said = _first_line(error)
        if _NO_DATABASE.search(said):
            raise SettingError(
                f"Postgres does not know the database of LOGBOX_DATABASE_URL: {said}",
                hint="run `logbox rebuild` if it was lost, `logbox setup` if it was never made",
            ) from None
        if any(words in said for words in _WRONG_SETTING):
            raise SettingError(
                f"Postgres does not let us in: {said}",
                hint="set LOGBOX_DATABASE_URL in .env, or run `logbox setup`",
            ) from None
        raise TransientError(
            f"Postgres does not answer: {said}",
            hint="is it running where LOGBOX_DATABASE_URL says?",
        ) from None
    except (psycopg2.ProgrammingError, UnicodeError):
        raise SettingError(
            "LOGBOX_DATABASE_URL is not a Postgres URL",
            hint="it reads postgresql://user:password@host:port/database",
        ) from None
    with transaction(connection) as cursor:
        cursor.execute(_SESSION)
    return connection


@contextmanager
def transaction(connection: Any) -> Iterator[Any]:
    """A cursor whose work is committed when the block ends, or not at all; errors translated."""
    with translated(), connection, connection.cursor() as cursor:
        yield cursor


def is_in_the_way(cursor: Any) -> bool:
    """Whether somebody waits for a table that this transaction has locked."""
    cursor.execute(
        """
        select exists (
            select
            from pg_locks ours
            join pg_locks theirs using (database, relation)
            where ours.pid = pg_backend_pid() and ours.granted
                and ours.locktype = 'relation' and theirs.locktype = 'relation'
                and not theirs.granted
        )
        """
    )
    return bool(cursor.fetchone()[0])


@contextmanager
def translated() -> Iterator[None]:
    """Raise psycopg2's errors as TransientError (away, slow, locked, full) or StoreRefused."""
    try:
        yield
    except psycopg2.Error as error:
        raise translation(error) from error


def translation(error: psycopg2.Error) -> LogboxError:
    said = f"Postgres: {_first_line(error)}"
    code = error.pgcode or ""
    # psycopg2 files class 54 (a row too wide, an index entry too long) under OperationalError.
    if isinstance(error, psycopg2.OperationalError) and not code.startswith("54"):
        return TransientError(said)
    # "connection already closed": the server went away earlier.
    if isinstance(error, psycopg2.InterfaceError):
        return TransientError(said)
    if isinstance(error, psycopg2.errors.InsufficientPrivilege):
        return StoreRefused(
            f"{said}: the login of this database URL may not do that",
            hint="`logbox` works as logbox_writer (LOGBOX_DATABASE_URL); an analyst's login is for "
            "psql and notebooks",
        )
    if isinstance(error, psycopg2.NotSupportedError | psycopg2.ProgrammingError):
        return StoreRefused(said, hint="does the schema match? see `logbox migrate status`")
    return PermanentError(said) if not code else StoreRefused(f"{said} (SQLSTATE {code})")


def _first_line(error: psycopg2.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
