"""A site beside the site: databases and buckets of its own on the same servers, gone at the end."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from logbox_pipeline.adapters import databases
from logbox_pipeline.adapters.databases import database_of, with_database
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.settings import required
from logbox_pipeline.steps.rebuild import make_target
from logbox_pipeline.steps.setup import set_up_buckets
from logbox_pipeline.steps.site import TRANSFERS, Site


@dataclass(frozen=True)
class Aside:
    """`dagster_url`: an empty database for Dagster, as SQLAlchemy takes it."""

    site: Site
    dagster_url: str


@contextmanager
def site_aside(
    site: Site, name: str, clients: tuple[str, ...], *, keeps_buckets: bool = False
) -> Iterator[Aside]:
    """As setup leaves one, with `clients` and without a replica.

    Needs the rights that the embedded stack gives: to make databases and buckets. keeps_buckets:
    they go with the whole stack, which takes no request per object.
    """
    admin_url = required(site.settings.admin_database_url, "LOGBOX_ADMIN_DATABASE_URL")
    own = database_of(required(site.settings.database_url, "LOGBOX_DATABASE_URL"))
    database, dagster = f"{own}_{name}", f"{own}_{name}_dagster"
    buckets = {
        which: S3Bucket(bucket.client, f"{bucket.bucket}-{name.replace('_', '-')}")
        for which, bucket in (
            ("landing", site.landing), ("archive", site.archive), ("lake", site.lake)
        )
    }  # fmt: skip
    with ExitStack() as left:
        for one in (database, dagster):
            left.callback(_drop, admin_url, one)
        _drop(admin_url, database)
        _drop(admin_url, dagster)
        with databases.administrator(admin_url) as cursor:
            databases.make(
                cursor, dagster, owner=urlsplit(admin_url).username or "postgres", guests=()
            )
        made = make_target(site, database)
        settings = made.settings.model_copy(
            update={f"{which}_bucket": bucket.bucket for which, bucket in buckets.items()}
            | {"replication": "off"}
        )
        beside = Site(settings, buckets["landing"], buckets["archive"], buckets["lake"])
        for bucket in buckets.values():
            if not keeps_buckets:
                left.callback(_remove, bucket)
        set_up_buckets(beside, lambda _: None)
        with beside.transaction() as cursor:
            for client in clients:
                cursor.execute("insert into logbox.clients values (%s, now(), null)", (client,))
        url = with_database(admin_url, dagster).replace("postgresql:", "postgresql+psycopg2:", 1)
        yield Aside(beside, url)


def _drop(admin_url: str, database: str) -> None:
    with databases.administrator(admin_url) as cursor:
        databases.drop(cursor, database)


def _remove(bucket: S3Bucket) -> None:
    """Every version in it, and then itself."""
    store = bucket.client

    def remove(found: dict[str, str]) -> None:
        store.delete_object(Bucket=bucket.bucket, Key=found["Key"], VersionId=found["VersionId"])

    with ThreadPoolExecutor(TRANSFERS) as threads:
        for page in store.get_paginator("list_object_versions").paginate(Bucket=bucket.bucket):
            list(threads.map(remove, page.get("Versions", []) + page.get("DeleteMarkers", [])))
    store.delete_bucket(Bucket=bucket.bucket)
