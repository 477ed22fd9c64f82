"""Setup: buckets, roles, databases, migrations, grants. Running it again is harmless."""

from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import unquote, urlsplit

from psycopg2 import sql

from logbox_pipeline.adapters import postgres, telemetry_tables
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core.errors import SettingError, StoreRefused, TransientError
from logbox_pipeline.settings import Settings, required
from logbox_pipeline.steps.migrations import (
    apply_views,
    require_migrated,
    run_dbmate,
    sql_folder,
)
from logbox_pipeline.steps.site import Site

OWNER, WRITER, READER = "logbox_owner", "logbox_writer", "logbox_reader"


def set_up(site: Site, say: Callable[[str], None]) -> None:
    """Make everything the pipeline needs. `say` is told each thing done, in a sentence.

    Raises SettingError naming the setting when something is missing or must not be changed here.
    """
    settings = site.settings
    set_up_buckets(site, say)
    if settings.admin_database_url:
        make_roles_and_databases(settings, say)
    else:
        say("LOGBOX_ADMIN_DATABASE_URL is not set: roles and databases must be there already")
    owner_url = required(settings.owner_database_url, "LOGBOX_OWNER_DATABASE_URL")
    writer_url = required(settings.database_url, "LOGBOX_DATABASE_URL")
    migrate(owner_url, writer_url)
    say(f"database {_parts(writer_url)[2]} is migrated")
    if settings.test_database_url:
        test_url = settings.test_database_url
        migrate(test_url, _with_database(writer_url, _parts(test_url)[2]))
        say(f"database {_parts(test_url)[2]} is migrated")


def check(site: Site) -> None:
    """See that everything setup makes is there and reachable with these settings.

    Raises SettingError with the first thing that is not.
    """
    try:
        with site.transaction() as cursor:
            require_migrated(cursor)
        states = [(*one, one[0].versioning()) for one in _buckets(site)]
    except (TransientError, StoreRefused) as error:
        raise SettingError(error.message, hint=error.hint) from error
    for bucket, setting, is_versioned, state in states:
        if state is None:
            raise SettingError(
                f"bucket {bucket.bucket} of {setting} does not exist",
                hint=f"run `logbox setup`, or correct {setting}",
            )
        if is_versioned and state != "Enabled":
            raise _unversioned(bucket, setting)


def set_up_buckets(site: Site, say: Callable[[str], None]) -> None:
    for bucket, setting, is_versioned in _buckets(site):
        state = bucket.versioning()
        if state is None:
            bucket.create(versioned=is_versioned)
            say(f"bucket {bucket.bucket} is made")
        elif is_versioned and state != "Enabled":
            raise _unversioned(bucket, setting)
        else:
            say(f"bucket {bucket.bucket} is there")


def migrate(owner_url: str, writer_url: str) -> None:
    """Apply all migrations, then the grants that go with them, then the views.

    The views of telemetry tables are the loader's: it makes them as it makes the tables.
    """
    run_dbmate(owner_url, "up")
    with closing(postgres.connect(owner_url)) as connection:
        with postgres.transaction(connection) as cursor:
            cursor.execute((sql_folder() / "grants.sql").read_text())
        with postgres.transaction(connection) as cursor:
            apply_views(cursor)
    with closing(postgres.connect(writer_url)) as connection:
        with postgres.transaction(connection) as cursor:
            cursor.execute((sql_folder() / "writer_grants.sql").read_text())
        telemetry_tables.make_views(connection)


def make_roles_and_databases(settings: Settings, say: Callable[[str], None]) -> None:
    owner_url = required(settings.owner_database_url, "LOGBOX_OWNER_DATABASE_URL")
    writer_url = required(settings.database_url, "LOGBOX_DATABASE_URL")
    connection = postgres.connect(
        required(settings.admin_database_url, "LOGBOX_ADMIN_DATABASE_URL")
    )
    try:
        connection.autocommit = True
        with connection.cursor() as cursor, postgres.translated():
            for url, role, setting in (
                (owner_url, OWNER, "LOGBOX_OWNER_DATABASE_URL"),
                (writer_url, WRITER, "LOGBOX_DATABASE_URL"),
            ):
                user, password, _ = _parts(url)
                if user != role:
                    raise SettingError(
                        f"{setting} names role {user!r}", hint=f"it must be {role}; setup makes it"
                    )
                _make_role(cursor, role, password)
            _make_role(cursor, READER, None)
            say(f"roles {OWNER}, {WRITER} and {READER} are there")
            databases = [
                _parts(url)[2]
                for url in (owner_url, settings.test_database_url, settings.dagster_database_url)
                if url
            ]
            for database in databases:
                _make_database(cursor, database)
                say(f"database {database} is there")
    finally:
        connection.close()


def _make_role(cursor: Any, role: str, password: str | None) -> None:
    """A role that is there stays as it is: a slip in .env must not change a running password."""
    cursor.execute("select from pg_roles where rolname = %s", (role,))
    if cursor.fetchone() is not None:
        return
    login = (
        sql.SQL("nologin")
        if password is None
        else sql.SQL("login password {}").format(sql.Literal(password))
    )
    cursor.execute(sql.SQL("create role {} {}").format(sql.Identifier(role), login))


def _make_database(cursor: Any, database: str) -> None:
    cursor.execute("select from pg_database where datname = %s", (database,))
    if cursor.fetchone() is None:
        cursor.execute(
            sql.SQL("create database {} owner {} template template0 encoding 'UTF8'").format(
                sql.Identifier(database), sql.Identifier(OWNER)
            )
        )
    for role in (WRITER, READER):
        cursor.execute(
            sql.SQL("grant connect on database {} to {}").format(
                sql.Identifier(database), sql.Identifier(role)
            )
        )


def _buckets(site: Site) -> tuple[tuple[S3Bucket, str, bool], ...]:
    return (
        (site.landing, "LOGBOX_LANDING_BUCKET", True),
        (site.archive, "LOGBOX_ARCHIVE_BUCKET", True),
        (site.lake, "LOGBOX_LAKE_BUCKET", False),
    )


def _unversioned(bucket: S3Bucket, setting: str) -> SettingError:
    return SettingError(
        f"bucket {bucket.bucket} of {setting} is not versioned: a log written over another "
        "would be lost before Logbox reads it",
        hint=f"enable versioning on {bucket.bucket}, then run `logbox setup` again",
    )


def _parts(url: str) -> tuple[str, str, str]:
    """(user, password, database) of a database URL."""
    split = urlsplit(url)
    return (
        unquote(split.username or ""),
        unquote(split.password or ""),
        split.path.removeprefix("/"),
    )


def _with_database(url: str, database: str) -> str:
    return urlsplit(url)._replace(path=f"/{database}").geturl()
