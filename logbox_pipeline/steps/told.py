"""What the archive was told of some rows: looked up in its manifests and journal. Read-only."""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from logbox_pipeline.adapters import catalog_manifests, catalog_repairs
from logbox_pipeline.adapters.catalog_manifests import TellingFile
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core.digest import sha256_hex
from logbox_pipeline.core.errors import PermanentError, StoreRefused
from logbox_pipeline.core.told import Line, Subject, lines
from logbox_pipeline.steps.site import TRANSFERS, Site

Place = tuple[Subject, str]

_OVERLAP = timedelta(minutes=10)
"""Longer than a file takes from being planned to being visible here."""


class Told:
    """Rows as the archive was told of them last.

    A file is believed when its bytes have the digest that was put down when it was written,
    whichever store or older version holds these. Each is read once for all `expected` rows, once
    more when rows are asked for that nobody expected, and new ones as they come.
    """

    def __init__(
        self, site: Site, expected: Collection[Place], clients: Collection[str] | None
    ) -> None:
        """clients: whose the rows are; None when nobody knows, then everybody's are read."""
        self._site, self._clients = site, clients
        self._wanted = {(str(subject), id_) for subject, id_ in expected}
        self._forget()

    def rows(self, places: Collection[Place]) -> dict[Place, str]:
        """As JSON; what was never told, or is gone, is left out.

        Raises TransientError when a store is away.
        """
        asked = {(str(subject), id_): (subject, id_) for subject, id_ in places}
        if not asked.keys() <= self._wanted:
            # Repairs of objects ask for the logs in these next: one reading finds all of them.
            self._wanted |= {*asked, *self._logs_in_objects()}
            self._forget()
        self._read_on()
        found = {place: self._newest.get(key) for key, place in asked.items()}
        return {
            place: line.text
            for place, line in found.items()
            if line is not None and line.text is not None
        }

    def in_doubt(self, places: Collection[Place]) -> str | None:
        """Key of a file that is lost or damaged everywhere, and may tell newer of one of these."""
        tellings = [self._newest.get((str(subject), id_)) for subject, id_ in places]
        return next(
            (
                file.archive_key
                for file in self._unproven
                if any(one is None or file.planned_at >= one.told_at for one in tellings)
            ),
            None,
        )

    def _forget(self) -> None:
        self._newest: dict[tuple[str, str], Line] = {}
        self._unproven: list[TellingFile] = []
        self._read: set[str] = set()
        self._since: datetime | None = None

    def _logs_in_objects(self) -> Iterator[tuple[str, str]]:
        for (kind, _), line in self._newest.items():
            if kind == Subject.OBJECT and line.text is not None:
                for log_id in catalog_repairs.members(line.text):
                    yield str(Subject.LOG), str(log_id)

    def _read_on(self) -> None:
        with self._site.transaction() as cursor:
            files = catalog_manifests.telling(cursor, self._clients, self._since)
        unread = [one for one in files if one.archive_key not in self._read]
        with ThreadPoolExecutor(TRANSFERS) as threads:
            for file, found in zip(unread, threads.map(self._lines, unread), strict=True):
                if found is None and not file.is_written:
                    continue
                self._read.add(file.archive_key)
                if found is None:
                    self._unproven.append(file)
                for one in found or ():
                    newest = self._newest.get((one.kind, one.id))
                    if newest is None or newest.told_at <= one.told_at:
                        self._newest[one.kind, one.id] = one
        if files:
            self._since = max(one.planned_at for one in files) - _OVERLAP

    def _lines(self, file: TellingFile) -> list[Line] | None:
        """Those that tell of a wanted row; None when no side holds what was written."""
        body = self._proven(file)
        if body is None:
            return None
        return [one for one in lines(body) if (one.kind, one.id) in self._wanted]

    def _proven(self, file: TellingFile) -> bytes | None:
        bodies = self._copies(file.archive_key)
        return next((one for one in bodies if one and sha256_hex(one) == file.sha256), None)

    def _copies(self, key: str) -> Iterator[bytes | None]:
        stores = [self._site.archive, *([self._site.replica] if self._site.replica else [])]
        for store in stores:
            yield _bytes(store, key)
        for store in stores:
            for version_id in store.versions(key):
                yield _bytes(store, key, version_id)


def _bytes(store: S3Bucket, key: str, version_id: str | None = None) -> bytes | None:
    """None when they are missing."""
    try:
        return b"".join(store.chunks(key, version_id=version_id))
    except StoreRefused:
        raise
    except PermanentError:
        return None
