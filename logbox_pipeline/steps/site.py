"""What every step works on: settings, the buckets, the catalog, the clock. No step here."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from logbox_pipeline.adapters import postgres
from logbox_pipeline.adapters.catalog_batches import Claim
from logbox_pipeline.adapters.s3 import REPLICA_NAMES, S3Bucket, s3_client
from logbox_pipeline.core.errors import SettingError
from logbox_pipeline.settings import Settings, required

TRANSFERS = 8
"""Concurrent S3 transfers of one run: past it two cores gain nothing (see benchmarks)."""

_PROMPT_S = 5.0


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Site:
    """Where the steps happen. `now` gives aware UTC times; tests pass their own.

    `replica` None: the archive is the only copy.
    """

    settings: Settings
    landing: S3Bucket
    archive: S3Bucket
    lake: S3Bucket
    replica: S3Bucket | None = None
    now: Callable[[], datetime] = _utc_now

    def transaction(self) -> AbstractContextManager[Any]:
        """A cursor whose work is committed when the block ends, or not at all."""
        return _transaction(self._database_url)

    def connection(self) -> AbstractContextManager[Any]:
        """A connection in no transaction, for work that needs several short ones."""
        return closing(postgres.connect(self._database_url))

    @property
    def _database_url(self) -> str:
        return required(self.settings.database_url, "LOGBOX_DATABASE_URL")

    def folder(self, held: Claim) -> Path:
        """Scratch of one attempt; nothing in it is needed by another attempt."""
        return self.settings.scratch / f"{held.batch_id}-{held.attempt}"

    def reach(self, failpoint: str) -> None:
        """Die here, once, when a file says so: how tests kill a run between two effects. The file
        may hold the id of another process, which dies in the place of this one."""
        if self.settings.failpoints is None:
            return
        file = self.settings.failpoints / failpoint
        try:
            victim = int(file.read_text() or os.getpid())
            file.unlink()
        except FileNotFoundError:
            return
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)


def open_site(settings: Settings) -> Site:
    """The site the settings describe. Nothing is contacted yet.

    Raises SettingError when the replica would be a bucket that holds something else.
    """
    client = s3_client(
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
    )
    return Site(
        settings,
        S3Bucket(client, settings.landing_bucket),
        S3Bucket(client, settings.archive_bucket),
        S3Bucket(client, settings.lake_bucket),
        open_replica(settings),
    )


def open_prompt_landing(settings: Settings) -> S3Bucket:
    """Landing, for questions that nobody waits for: asked once, and soon given up."""
    client = s3_client(
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
        read_timeout_s=_PROMPT_S,
        attempts=1,
    )
    return S3Bucket(client, settings.landing_bucket)


def open_replica(
    settings: Settings, *, read_timeout_s: float = 60, attempts: int = 4
) -> S3Bucket | None:
    """The bucket that holds the second copy of the archive; None when there is to be none."""
    if settings.replicates_by == "off":
        return None
    others = (settings.landing_bucket, settings.archive_bucket, settings.lake_bucket)
    if settings.replica_s3_endpoint == settings.s3_endpoint and settings.replica_bucket in others:
        raise SettingError(
            f"LOGBOX_REPLICA_BUCKET is {settings.replica_bucket}, which is one of the site's other "
            "buckets: a copy there protects from nothing",
            hint="name a bucket elsewhere: LOGBOX_REPLICA_S3_ENDPOINT, LOGBOX_REPLICA_S3_REGION",
        )
    client = s3_client(
        endpoint=settings.replica_s3_endpoint,
        region=settings.replica_s3_region or settings.s3_region,
        access_key_id=settings.replica_access_key_id,
        secret_access_key=settings.replica_secret_access_key,
        read_timeout_s=read_timeout_s,
        attempts=attempts,
    )
    return S3Bucket(client, settings.replica_bucket, REPLICA_NAMES)


@contextmanager
def _transaction(url: str) -> Iterator[Any]:
    with closing(postgres.connect(url)) as connection, postgres.transaction(connection) as cursor:
        yield cursor
