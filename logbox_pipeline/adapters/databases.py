"""Databases of the cluster: made, renamed, dropped. The connection is an administrator's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg2
from psycopg2 import sql

from logbox_pipeline.adapters import postgres

_RENAME_TRIES = 3


def database_of(url: str) -> str:
    """The database a URL names."""
    return urlsplit(url).path.removeprefix("/")


def with_database(url: str, database: str) -> str:
    """The same URL for another database of the cluster."""
    return urlsplit(url)._replace(path=f"/{database}").geturl()


@contextmanager
def administrator(url: str) -> Iterator[Any]:
    """A cursor outside any transaction, as making and dropping databases asks for."""
    connection = postgres.connect(url)
    try:
        connection.autocommit = True
        with postgres.translated(), connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def exists(cursor: Any, database: str) -> bool:
    cursor.execute("select from pg_database where datname = %s", (database,))
    return cursor.fetchone() is not None


def make(cursor: Any, database: str, *, owner: str, guests: tuple[str, ...]) -> None:
    """A database in UTF-8 that `guests` may connect to; one that is there stays as it is."""
    if not exists(cursor, database):
        cursor.execute(
            sql.SQL("create database {} owner {} template template0 encoding 'UTF8'").format(
                sql.Identifier(database), sql.Identifier(owner)
            )
        )
    for role in guests:
        cursor.execute(
            sql.SQL("grant connect on database {} to {}").format(
                sql.Identifier(database), sql.Identifier(role)
            )
        )


def rename(cursor: Any, database: str, to: str) -> None:
    """And end what is connected to it. Raises psycopg2's ObjectInUse when others keep coming."""
    for tries_left in range(_RENAME_TRIES - 1, -1, -1):
        cursor.execute(
            """
            select pg_terminate_backend(pid)
            from pg_stat_activity
            where datname = %s and backend_type = 'client backend'
            """,
            (database,),
        )
        try:
            # It waits some seconds for those that were ended to be gone.
            cursor.execute(
                sql.SQL("alter database {} rename to {}").format(
                    sql.Identifier(database), sql.Identifier(to)
                )
            )
        except psycopg2.errors.ObjectInUse:
            if not tries_left:
                raise
        else:
            return


def unused(cursor: Any, pattern: str) -> list[str]:
    """Databases whose whole name matches, and to which nobody is connected."""
    cursor.execute(
        """
        select datname
        from pg_database d
        where datname ~ %s
            and not exists (select from pg_stat_activity a where a.datname = d.datname)
        order by datname
        """,
        (f"^(?:{pattern})$",),
    )
    return [name for (name,) in cursor.fetchall()]


def drop(cursor: Any, database: str) -> None:
    """And end what is connected to it. One that is not there is fine."""
    cursor.execute(
        sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(database))
    )
