"""Rows out of Postgres as Arrow record batches, through binary COPY. Read-only.

ADBC's driver decodes at the speed of the wire, a batch of about 16 MiB at a time. Beside psycopg2,
which gives one Python object per value.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import UUID

import adbc_driver_manager
import pyarrow as pa
from adbc_driver_postgresql import dbapi

from logbox_pipeline.adapters.postgres import CONNECT_TIMEOUT_S, SERVER_LIMITS
from logbox_pipeline.core.errors import LogboxError, StoreRefused, TransientError

_AWAY = ("08", "40", "53", "55", "57", "58")
"""SQLSTATE classes: connection, conflict, resources, locks, operator, system."""


class CopyOut:
    """A connection of its own. To open one costs as much as many small tables."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read within is one state of the database, whatever is committed meanwhile.

        Keep it short: it holds off changes of the tables read.
        """
        with _translated():
            try:
                with self._connection.cursor() as cursor:
                    cursor.execute("set transaction isolation level repeatable read, read only")
                    for setting in SERVER_LIMITS:
                        cursor.execute(f"set local {setting}")
                yield
            finally:
                self._connection.rollback()

    def rows(self, query: str) -> Iterator[pa.RecordBatch]:
        """The rows of a query. Its columns keep Postgres's types: uuid, numeric (as text), json.

        The query's values come through `literal`. Raises TransientError or StoreRefused.
        """
        with _translated(), self._connection.cursor() as cursor:
            cursor.execute(query)
            yield from cursor.fetch_record_batch()


@contextmanager
def copy_out(database_url: str) -> Iterator[CopyOut]:
    """Raises TransientError when the server is away, StoreRefused."""
    sign = "&" if "?" in database_url else "?"
    # The same as connect()'s: a server that takes a connection and is silent holds nobody for ever.
    patient = (
        f"{database_url}{sign}connect_timeout={CONNECT_TIMEOUT_S}"
        "&keepalives_idle=30&keepalives_interval=10&keepalives_count=3"
    )
    with _translated(), closing(dbapi.connect(patient)) as connection:
        yield CopyOut(connection)


def literal(value: UUID | str) -> str:
    return "'" + str(value).replace("'", "''") + "'"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except adbc_driver_manager.Error as error:
        raise _translation(error) from error


def _translation(error: Any) -> LogboxError:
    lines = str(error).strip().splitlines()
    said = f"Postgres: {lines[0] if lines else type(error).__name__}"
    sqlstate = error.sqlstate or ""
    if not sqlstate.strip("\0") or sqlstate[:2] in _AWAY:
        return TransientError(said)
    return StoreRefused(f"{said} (SQLSTATE {sqlstate})")
