"""Manifests: what the archive itself knows of each delivery and of what became of it.

Intake is written before anything leaves landing, outcome after the load committed; the journal
tells what changes at other times. All hold the same lines, `core.told`: rows of the catalog that
changed. A file is written down in `logbox.manifests` before it is put, and never put twice.
"""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, Literal
from uuid import UUID, uuid4

from logbox_pipeline.adapters import catalog_manifests, catalog_outbox
from logbox_pipeline.adapters.catalog_batches import Claim, fence
from logbox_pipeline.adapters.catalog_drifts import record_drift
from logbox_pipeline.adapters.catalog_manifests import ManifestRow
from logbox_pipeline.adapters.catalog_outbox import Owed, ToldRow
from logbox_pipeline.core import keys
from logbox_pipeline.core.digest import sha256_hex
from logbox_pipeline.core.told import Subject, line
from logbox_pipeline.steps.site import TRANSFERS, Site
from logbox_pipeline.steps.verify_seals import stored_digest

SETTLED = timedelta(seconds=30)
"""A batch tells of its own rows at its end; what is older than this is told by the journal."""

_TELL_MOST = 5_000
_PLANNED_LONG = timedelta(minutes=10)
_OF_BATCH = frozenset((Subject.DELIVERY, Subject.OBJECT, Subject.LOG))


@dataclass(frozen=True)
class Manifest:
    """A file by which the archive tells of itself. `client` None: the journal's."""

    archive_key: str
    kind: Literal["intake", "outcome", "journal", "seal"]
    client: str | None
    body: bytes
    batch_id: UUID | None = None

    @cached_property
    def row(self) -> ManifestRow:
        return ManifestRow(
            self.archive_key,
            self.kind,
            self.client,
            self.batch_id,
            sha256_hex(self.body),
            len(self.body),
        )


def put_manifests(site: Site, files: Sequence[Manifest]) -> None:
    """Write them down, put them, note that they are there.

    Raises TransientError or StoreRefused; what was put by then is found by `sweep_manifests`.
    """
    with site.transaction() as cursor:
        _plan(site, cursor, files)
    _put(site, files, ())


def write_intake(site: Site, held: Claim) -> list[str]:
    """Write the intake manifest of each client in the batch. Returns their keys.

    Raises FenceLost unless the batch is this attempt's.
    """
    return _write(site, held, "intake", "running")


def write_outcome(site: Site, held: Claim) -> list[str]:
    """Write what became of each delivery of the batch and of its logs. Returns the keys.

    Raises FenceLost unless the batch is this attempt's and loaded.
    """
    return _write(site, held, "outcome", "loaded")


def tell(site: Site, *, settled: timedelta = SETTLED) -> int:
    """Write what has changed for `settled` long, and no batch told, into the journal. Returns how
    many rows."""
    with site.transaction() as cursor:
        owed = catalog_outbox.owed(cursor, _TELL_MOST, site.now(), settled)
        files = _journal(site, catalog_outbox.rows(cursor, owed))
        _plan(site, cursor, files)
    _put(site, files, owed)
    return len(owed)


def tell_all(site: Site) -> None:
    """Write all that is owed by now into the journal."""
    while tell(site, settled=timedelta(0)) == _TELL_MOST:
        pass


def sweep_manifests(site: Site) -> int:
    """Look again at files that somebody was about to put when they died. Returns how many.

    Each is looked at once. Who was only slow writes it down again: nothing counts as told before.
    """
    with site.transaction() as cursor:
        planned = catalog_manifests.planned(cursor, site.now() - _PLANNED_LONG)
    for archive_key, sha256, client in planned:
        stored = site.archive.head(archive_key)
        found = None if stored is None else stored_digest(site.archive, archive_key)
        with site.transaction() as cursor:
            if stored is not None and found == sha256:
                catalog_manifests.mark_found(cursor, archive_key, stored.received_at)
            elif catalog_manifests.forget(cursor, archive_key) and found is not None:
                record_drift(
                    cursor,
                    "unexpected",
                    "archive",
                    archive_key,
                    expected=f"nothing, or sha256 {sha256}",
                    found=f"sha256 {found}",
                    now=site.now(),
                    client=client,
                )
    return len(planned)


def _write(site: Site, held: Claim, kind: Literal["intake", "outcome"], state: str) -> list[str]:
    with site.transaction() as cursor:
        fence(cursor, held, state)
        owed = catalog_outbox.owed_of_batch(cursor, held.batch_id)
        taken = catalog_manifests.of_batch(cursor, held.batch_id)
        of_client: dict[str, list[ToldRow]] = defaultdict(list)
        others: list[ToldRow] = []
        for row in catalog_outbox.rows(cursor, owed):
            is_clients = row.subject in _OF_BATCH and row.client is not None
            (of_client[row.client or ""] if is_clients else others).append(row)
        files = [
            Manifest(_free_key(held, client, kind, taken), kind, client, _body(rows), held.batch_id)
            for client, rows in sorted(of_client.items())
        ]
        told_by = [*files, *_journal(site, others)]
        _plan(site, cursor, told_by)
    _put(site, told_by, owed)
    return [one.archive_key for one in files]


def _plan(site: Site, cursor: Any, files: Sequence[Manifest]) -> None:
    catalog_manifests.plan(cursor, [one.row for one in files], site.now())


def _put(site: Site, files: Sequence[Manifest], told: Sequence[Owed]) -> None:
    """Put files that are written down, then say in one that they are there and what they tell."""
    if not files and not told:
        return
    with ThreadPoolExecutor(TRANSFERS) as threads:
        list(threads.map(lambda one: site.archive.put_bytes(one.archive_key, one.body), files))
    with site.transaction() as cursor:
        catalog_manifests.mark_written(cursor, [one.row for one in files], site.now())
        catalog_outbox.tick_off(cursor, told)


def _free_key(held: Claim, client: str, kind: str, taken: frozenset[str]) -> str:
    """A run that settles what a dead one began tells what that one had not."""
    number = 1
    while True:
        key = keys.manifest_key(
            client, held.received_on, held.batch_id, held.attempt, kind, number=number
        )
        if key not in taken:
            return key
        number += 1


def _journal(site: Site, rows: Sequence[ToldRow]) -> list[Manifest]:
    """The journal's next entry; none when there is nothing to tell."""
    if not rows:
        return []
    return [Manifest(keys.journal_key(site.now(), uuid4()), "journal", None, _body(rows))]


def _body(rows: Sequence[ToldRow]) -> bytes:
    return b"".join(line(row.subject, row.id, row.client, row.told_at, row.row) for row in rows)
