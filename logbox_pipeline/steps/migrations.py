"""Migrations: plain SQL files run by dbmate. Knows where they are and which are missing.

Views are no migrations: `sql/views` holds each as it is now, made again after every `up`, dropped
before a migration changes what they stand on. A file is named after its view, schema first.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import psycopg2
from psycopg2 import sql

from logbox_pipeline.adapters import postgres
from logbox_pipeline.core.errors import LogboxError, SettingError, UsageError

VIEW_LOCK_TIMEOUT_MS = 5_000
"""Queries wait behind whoever waits for a view's lock."""


def sql_folder() -> Path:
    """`sql/` of the checkout, or its copy inside an installed package."""
    package = Path(__file__).parents[1]
    beside = package.parent / "sql"
    return beside if (beside / "migrations").is_dir() else package / "sql"


def run_dbmate(database_url: str, command: Literal["up", "rollback", "status"]) -> str:
    """Run one dbmate command on a database. Returns what it printed.

    Views go before a migration does or is undone; `apply_views` makes them again.
    Raises LogboxError with dbmate's own words when it fails.
    """
    if command == "rollback" or (command == "up" and _pending(database_url)):
        _drop_views(database_url)
    # The password travels in the child's environment: arguments are for all to see.
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("dbmate")),
            *("--env", "LOGBOX_DBMATE_URL", "--no-dump-schema", "--migration-lock"),
            *("--migrations-dir", str(sql_folder() / "migrations"), command),
        ],
        env={"LOGBOX_DBMATE_URL": _dbmate_url(database_url), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        cwd=sql_folder(),
    )
    said = (done.stdout + done.stderr).strip()
    if done.returncode != 0:
        raise LogboxError(
            f"dbmate {command} failed: {said}",
            hint="correct the migration, or LOGBOX_OWNER_DATABASE_URL if it cannot connect",
        )
    return said


def new_migration(name: str, now: datetime) -> Path:
    """Make an empty migration file named after the time and `name`."""
    if not name.replace("_", "").isalnum() or not name.isascii():
        raise UsageError(
            f"{name!r} is no name for a migration", hint="use letters, digits and _: create_x"
        )
    path = sql_folder() / "migrations" / f"{now:%Y%m%d%H%M%S}_{name.lower()}.sql"
    path.write_text("-- migrate:up\n\n\n-- migrate:down\n\n")
    return path


def apply_views(cursor: Any) -> None:
    """Make every view of `sql/views` as its file says. The cursor is the owner's.

    Raises TransientError when a query holds one for longer than VIEW_LOCK_TIMEOUT_MS.
    """
    cursor.execute("select set_config('lock_timeout', %s, true)", (str(VIEW_LOCK_TIMEOUT_MS),))
    for path in sorted((sql_folder() / "views").glob("*.sql")):
        cursor.execute("savepoint before_view")
        try:
            cursor.execute(path.read_text())
        except psycopg2.errors.InvalidTableDefinition:
            # Another shape than it had: only a new view can have it.
            cursor.execute("rollback to savepoint before_view")
            view = sql.Identifier(*path.stem.split("."))
            cursor.execute(sql.SQL("drop view {}").format(view))
            cursor.execute(path.read_text())


def require_migrated(cursor: Any) -> None:
    """Raises SettingError when this code's migrations are not all applied."""
    if missing := _missing(cursor):
        raise SettingError(
            f"the database of LOGBOX_DATABASE_URL lacks {len(missing)} migration(s): "
            + ", ".join(missing),
            hint="run `logbox migrate up`, or `logbox setup` on a new database",
        )


def _missing(cursor: Any) -> list[str]:
    """Versions that are not applied."""
    wanted = {path.name.partition("_")[0] for path in (sql_folder() / "migrations").glob("*.sql")}
    cursor.execute("select to_regclass('public.schema_migrations') is not null")
    applied: set[str] = set()
    if cursor.fetchone()[0]:
        cursor.execute("select version from public.schema_migrations")
        applied = {version for (version,) in cursor.fetchall()}
    return sorted(wanted - applied)


def _pending(database_url: str) -> bool:
    with _transaction(database_url) as cursor:
        return bool(_missing(cursor))


def _drop_views(database_url: str) -> None:
    with _transaction(database_url) as cursor:
        cursor.execute("select set_config('lock_timeout', %s, true)", (str(VIEW_LOCK_TIMEOUT_MS),))
        cursor.execute(
            """
            select n.nspname, c.relname
            from pg_class c
            join pg_namespace n on n.oid = c.relnamespace
            where c.relkind = 'v' and n.nspname in ('logbox', 'analytics')
            """
        )
        for schema, name in cursor.fetchall():
            cursor.execute(
                sql.SQL("drop view if exists {} cascade").format(sql.Identifier(schema, name))
            )


def loaded_logs(database_url: str) -> int:
    """How many logs have rows here; 0 before the first migration."""
    connection = postgres.connect(database_url)
    with closing(connection), connection.cursor() as cursor, postgres.translated():
        cursor.execute("select to_regclass('logbox.logs') is not null")
        if not cursor.fetchone()[0]:
            return 0
        cursor.execute("select count(*) from logbox.logs where state = 'loaded'")
        return int(cursor.fetchone()[0])


@contextmanager
def _transaction(database_url: str) -> Iterator[Any]:
    try:
        connection = postgres.connect(database_url.replace("+psycopg2", "", 1))
    except LogboxError as error:
        raise LogboxError(error.message, hint="correct LOGBOX_OWNER_DATABASE_URL") from error
    with closing(connection), postgres.transaction(connection) as cursor:
        yield cursor


def _dbmate_url(url: str) -> str:
    plain = url.replace("postgresql+psycopg2://", "postgres://").replace(
        "postgresql://", "postgres://"
    )
    is_local = "@127.0.0.1" in plain or "@localhost" in plain
    if "sslmode=" in plain or not is_local:
        return plain
    return plain + ("&" if "?" in plain else "?") + "sslmode=disable"
