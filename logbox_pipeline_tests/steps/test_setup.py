"""Setup, and what a person reads when something it makes is missing or wrong."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest

from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core.errors import SettingError, StoreRefused, UsageError
from logbox_pipeline.steps.migrations import new_migration, run_dbmate, sql_folder
from logbox_pipeline.steps.setup import check, migrate, set_up, set_up_buckets
from logbox_pipeline.steps.site import Site, open_site
from logbox_pipeline_tests.journey import rows, with_settings


@pytest.fixture
def empty_database(site: Site) -> Iterator[tuple[str, str]]:
    """(owner's URL, writer's URL) of a database without any migration."""
    admin_url = site.settings.admin_database_url
    owner_url = site.settings.owner_database_url
    writer_url = site.settings.database_url
    assert admin_url
    assert owner_url
    assert writer_url
    name = f"empty_{abs(hash(writer_url)) % 10**10}"
    with contextlib.closing(psycopg2.connect(admin_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"create database {name} owner logbox_owner")
            yield (
                urlsplit(owner_url)._replace(path=f"/{name}").geturl(),
                urlsplit(writer_url)._replace(path=f"/{name}").geturl(),
            )
            cursor.execute(f"drop database {name} with (force)")


def catalog_of(url: str) -> list[tuple[str, ...]]:
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            """
            select table_schema, table_name, column_name, data_type, is_nullable
            from information_schema.columns
            where table_schema in ('logbox', 'telemetry')
            order by 1, 2, 3
            """
        )
        return list(cursor.fetchall())


def test_migrations_apply_roll_back_and_apply_again(empty_database: tuple[str, str]) -> None:
    owner_url, writer_url = empty_database
    migrate(owner_url, writer_url)
    first = catalog_of(owner_url)
    assert first
    for _ in (sql_folder() / "migrations").glob("*.sql"):
        run_dbmate(owner_url, "rollback")
    assert catalog_of(owner_url) == []
    migrate(owner_url, writer_url)
    assert catalog_of(owner_url) == first


def test_migrating_twice_changes_nothing(empty_database: tuple[str, str]) -> None:
    migrate(*empty_database)
    first = catalog_of(empty_database[0])
    migrate(*empty_database)
    assert catalog_of(empty_database[0]) == first


def test_every_table_and_column_of_the_catalog_has_a_comment(site: Site) -> None:
    missing = rows(
        site,
        """
        select c.relname, a.attname
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where n.nspname = 'logbox' and c.relkind in ('r', 'v', 'p')
            and (
                obj_description(c.oid) is null
                or (a.attname is not null and col_description(c.oid, a.attnum) is null)
            )
        """,
    )
    assert missing == []


def test_setup_twice_is_harmless(site: Site) -> None:
    said: list[str] = []
    set_up(site, said.append)
    set_up(site, said.append)
    check(site)
    assert any("is migrated" in sentence for sentence in said)


def test_setup_without_a_secret_does_the_rest_and_then_names_the_setting(site: Site) -> None:
    said: list[str] = []
    with pytest.raises(SettingError, match="LOGBOX_SECRET_KEY is not set") as refused:
        set_up(with_settings(site, secret_key=None), said.append)
    assert "openssl rand -base64 32" in (refused.value.hint or "")
    assert any("is migrated" in sentence for sentence in said)


def test_archive_and_replica_that_setup_makes_are_locked_when_asked(
    site: Site, buckets: str
) -> None:
    assert site.replica
    archive = S3Bucket(site.archive.client, f"{buckets}locked")
    replica = S3Bucket(site.replica.client, f"{buckets}locked")
    locked = replace(with_settings(site, archive_lock_days=30), archive=archive, replica=replica)
    said: list[str] = []
    set_up_buckets(locked, said.append)
    assert f"bucket {buckets}locked is made, and locks what is put into it for 30 days" in said
    assert (archive.lock_days(), replica.lock_days()) == (30, 30)
    # The other buckets are drones' and analysts': what stands there must be able to go.
    assert (site.landing.lock_days(), site.lake.lock_days()) == (None, None)
    put = archive.put_bytes("archive/acme/aa/x", b"x")
    with pytest.raises(StoreRefused, match="object lock"):
        archive.delete("archive/acme/aa/x", version_id=put.version_id)
    archive.put_bytes("archive/acme/aa/x", b"a new version can always be put")
    kept = site.archive.client.get_object_retention(
        Bucket=archive.bucket, Key="archive/acme/aa/x", VersionId=put.version_id
    )
    assert kept["Retention"]["Mode"] == "GOVERNANCE"
    said.clear()
    set_up_buckets(locked, said.append)
    assert not any("locks" in sentence or "NO object lock" in sentence for sentence in said)
    set_up_buckets(with_settings(locked, archive_lock_days=7), said.append)
    assert any("for 30 days, LOGBOX_ARCHIVE_LOCK_DAYS asks for 7" in one for one in said)


def test_archive_that_was_there_unlocked_is_said_to_be_so(site: Site) -> None:
    said: list[str] = []
    set_up_buckets(with_settings(site, archive_lock_days=30), said.append)
    about = [one for one in said if "NO object lock" in one]
    assert site.replica
    for bucket, sentence in zip((site.archive, site.replica), about, strict=True):
        assert bucket.bucket in sentence
        assert "LOGBOX_ARCHIVE_LOCK_DAYS is 30" in sentence


def test_a_reader_may_select_every_table_and_change_none(site: Site) -> None:
    (privileges,) = rows(
        site,
        """
        select bool_and(has_table_privilege('logbox_reader', c.oid, 'select')),
            bool_or(has_table_privilege('logbox_reader', c.oid, 'insert, update, delete'))
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'logbox' and c.relkind = 'r'
        """,
    )
    assert privileges == (True, False)


def test_an_unversioned_landing_bucket_is_refused_with_the_reason(site: Site, buckets: str) -> None:
    site.landing.client.create_bucket(Bucket=f"{buckets}plain")
    wrong = open_site(site.settings.model_copy(update={"landing_bucket": f"{buckets}plain"}))
    with pytest.raises(SettingError, match="LOGBOX_LANDING_BUCKET is not versioned") as refused:
        set_up_buckets(wrong, lambda _: None)
    assert "written over" in str(refused.value)
    assert "next: enable versioning" in str(refused.value)


def test_a_missing_bucket_names_its_setting(site: Site, buckets: str) -> None:
    wrong = open_site(site.settings.model_copy(update={"archive_bucket": f"{buckets}nowhere"}))
    with pytest.raises(SettingError, match="LOGBOX_ARCHIVE_BUCKET does not exist") as refused:
        check(wrong)
    assert "logbox setup" in str(refused.value)


def test_an_unapplied_migration_names_the_command(
    site: Site, empty_database: tuple[str, str]
) -> None:
    with pytest.raises(SettingError, match=r"lacks [0-9]+ migration") as refused:
        check(with_settings(site, database_url=empty_database[0]))
    assert "logbox migrate up" in str(refused.value)


def test_a_wrong_password_names_the_setting_and_hides_the_password(site: Site) -> None:
    url = site.settings.database_url
    assert url
    wrong = url.replace(urlsplit(url).password or "", "not-the-password")
    with pytest.raises(SettingError, match="password authentication failed") as refused:
        check(with_settings(site, database_url=wrong))
    assert "LOGBOX_DATABASE_URL" in str(refused.value)
    assert "not-the-password" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"LOGBOX_S3_ENDPOINT": "http://127.0.0.1:9"}, "LOGBOX_S3_ENDPOINT"),
        ({"LOGBOX_DATABASE_URL": "postgresql://127.0.0.1:9/x"}, "LOGBOX_DATABASE_URL"),
        ({"LOGBOX_DATABASE_URL": "nonsense"}, "LOGBOX_DATABASE_URL"),
        ({"LOGBOX_BATCH_FILES": "many"}, "LOGBOX_BATCH_FILES"),
        ({"LOGBOX_LANDING_BUCKET": "nowhere-at-all"}, "LOGBOX_LANDING_BUCKET"),
        ({"LOGBOX_S3_ACCESS_KEY_ID": "AKIAAAAAAAAAAAAAAAAA"}, "LOGBOX_S3_ACCESS_KEY_ID"),
    ],
)
def test_wrong_settings_give_one_sentence_and_no_traceback(
    site: Site, tmp_path: Path, change: dict[str, str], setting: str
) -> None:
    settings = site.settings
    environment = {
        "PATH": "/usr/bin:/bin",
        "LOGBOX_HOME": str(tmp_path / "no-home"),
        "LOGBOX_DATABASE_URL": settings.database_url or "",
        "LOGBOX_S3_ENDPOINT": settings.s3_endpoint or "",
        "LOGBOX_S3_ACCESS_KEY_ID": settings.s3_access_key_id or "",
        "LOGBOX_S3_SECRET_ACCESS_KEY": settings.s3_secret_access_key or "",
        "LOGBOX_LANDING_BUCKET": settings.landing_bucket,
        "LOGBOX_ARCHIVE_BUCKET": settings.archive_bucket,
        "LOGBOX_LAKE_BUCKET": settings.lake_bucket,
    } | change
    done = subprocess.run(
        [str(Path(sys.executable).with_name("logbox")), "status", "--strict"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2, done.stderr
    assert setting in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_a_migrations_name_is_checked() -> None:
    from datetime import UTC, datetime

    with pytest.raises(UsageError, match="is no name for a migration"):
        new_migration("../evil", datetime.now(UTC))
