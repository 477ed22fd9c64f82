"""Setup: buckets, roles, databases, migrations, grants. Running it again is harmless."""

from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import unquote, urlsplit

from psycopg2 import sql

from logbox_pipeline.adapters import databases, postgres, telemetry_tables
from logbox_pipeline.adapters.databases import database_of, with_database
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core.errors import SettingError, StoreRefused, TransientError
from logbox_pipeline.settings import Settings, required
from logbox_pipeline.steps.lost_catalog import WHAT_NOW, lost_catalog
from logbox_pipeline.steps.migrations import (
    apply_views,
    require_migrated,
    run_dbmate,
    sql_folder,
)
from logbox_pipeline.steps.signing import signer_of
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
    say(f"database {database_of(writer_url)} is migrated")
    if settings.test_database_url:
        test_url = settings.test_database_url
        migrate(test_url, with_database(writer_url, database_of(test_url)))
        say(f"database {database_of(test_url)} is migrated")
    if lost_catalog(site) is not None:
        say(WHAT_NOW)
    # Last, since all else works without: logs are loaded, and receipts follow once there is a key.
    say(f"receipts and seals are signed with key {signer_of(settings).key_id}")


def check(site: Site) -> None:
    """See that everything setup makes is there and reachable with these settings, but for the
    replica: nothing waits for that but replication.

    Raises SettingError with the first thing that is not.
    """
    try:
        with site.transaction() as cursor:
            require_migrated(cursor)
        states = [(*one, one[0].versioning()) for one in _buckets(site)]
    except (TransientError, StoreRefused) as error:
        raise SettingError(error.message, hint=error.hint) from error
    for bucket, setting, is_versioned, state in states:
        _require_bucket(bucket, setting, state, is_versioned=is_versioned)


def set_up_buckets(site: Site, say: Callable[[str], None]) -> None:
    for bucket, setting, is_versioned in _buckets(site):
        lock_days = site.settings.archive_lock_days if bucket is site.archive else 0
        _set_up_bucket(bucket, setting, say, is_versioned=is_versioned, lock_days=lock_days)
    if site.replica is None:
        say("there is no replica: the archive is the only copy of each log")
        return
    lock_days = site.settings.archive_lock_days
    try:
        _set_up_bucket(
            site.replica, "LOGBOX_REPLICA_BUCKET", say, is_versioned=True, lock_days=lock_days
        )
    except TransientError as away:
        # Nothing else may wait for the replica, and a start of the site least of all.
        say(f"the replica is not set up: {away.message}")
        say("  next: run `logbox setup` again when it answers")


def require_replica_bucket(replica: S3Bucket) -> None:
    """Raises SettingError unless the replica's bucket is there and versioned."""
    _require_bucket(replica, "LOGBOX_REPLICA_BUCKET", replica.versioning(), is_versioned=True)


def _set_up_bucket(
    bucket: S3Bucket,
    setting: str,
    say: Callable[[str], None],
    *,
    is_versioned: bool,
    lock_days: int,
) -> None:
    state = bucket.versioning()
    if state is None:
        bucket.create(versioned=is_versioned, lock_days=lock_days)
        locks = f", and locks what is put into it for {lock_days} days" if lock_days else ""
        say(f"bucket {bucket.bucket} is made{locks}")
        return
    _require_bucket(bucket, setting, state, is_versioned=is_versioned)
    say(f"bucket {bucket.bucket} is there")
    if lock_days:
        _say_lock(bucket, setting, lock_days, say)


def _require_bucket(
    bucket: S3Bucket, setting: str, state: str | None, *, is_versioned: bool
) -> None:
    if state is None:
        raise SettingError(
            f"bucket {bucket.bucket} of {setting} does not exist",
            hint=f"run `logbox setup`, or correct {setting}",
        )
    if is_versioned and state != "Enabled":
        raise SettingError(
            f"bucket {bucket.bucket} of {setting} is not versioned: a log written over another "
            "would be lost",
            hint=f"enable versioning on {bucket.bucket}, then run `logbox setup` again",
        )


def _say_lock(bucket: S3Bucket, setting: str, wanted: int, say: Callable[[str], None]) -> None:
    """Whether a bucket that was there locks what LOGBOX_ARCHIVE_LOCK_DAYS asks for: to change that
    is for whoever owns it."""
    found = bucket.lock_days()
    if found is None:
        say(
            f"bucket {bucket.bucket} has NO object lock, and LOGBOX_ARCHIVE_LOCK_DAYS is {wanted}: "
            "setup turns it on only in a bucket that it makes. Turn it on at the store, or name a "
            f"new bucket in {setting} and copy everything there"
        )
    elif found != wanted:
        say(
            f"bucket {bucket.bucket} locks what is put into it for {found} days, "
            f"LOGBOX_ARCHIVE_LOCK_DAYS asks for {wanted}: change the one at the store, or the other"
        )


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
    admin_url = required(settings.admin_database_url, "LOGBOX_ADMIN_DATABASE_URL")
    with databases.administrator(admin_url) as cursor:
        for url, role, setting in (
            (owner_url, OWNER, "LOGBOX_OWNER_DATABASE_URL"),
            (writer_url, WRITER, "LOGBOX_DATABASE_URL"),
        ):
            user, password = _credentials(url)
            if user != role:
                raise SettingError(
                    f"{setting} names role {user!r}", hint=f"it must be {role}; setup makes it"
                )
            _make_role(cursor, role, password)
        _make_role(cursor, READER, None)
        say(f"roles {OWNER}, {WRITER} and {READER} are there")
        urls = (owner_url, settings.test_database_url, settings.dagster_database_url)
        for database in [database_of(url) for url in urls if url]:
            make_database(cursor, database)
            say(f"database {database} is there")


def make_database(cursor: Any, database: str) -> None:
    """A database of Logbox, empty; the cursor is an administrator's."""
    databases.make(cursor, database, owner=OWNER, guests=(WRITER, READER))


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


def _buckets(site: Site) -> tuple[tuple[S3Bucket, str, bool], ...]:
    return (
        (site.landing, "LOGBOX_LANDING_BUCKET", True),
        (site.archive, "LOGBOX_ARCHIVE_BUCKET", True),
        (site.lake, "LOGBOX_LAKE_BUCKET", False),
    )


def _credentials(url: str) -> tuple[str, str]:
    """(user, password) of a database URL."""
    split = urlsplit(url)
    return unquote(split.username or ""), unquote(split.password or "")
