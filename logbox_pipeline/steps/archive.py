"""Archive: put each verified log where nothing changes it, and prove that it is there.

Ends with the intake manifest: from it and the archive every delivery can be told again.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from logbox_pipeline.adapters import catalog_deliveries as catalog
from logbox_pipeline.adapters.catalog_batches import Claim, fence
from logbox_pipeline.adapters.catalog_deliveries import Delivery
from logbox_pipeline.core import keys
from logbox_pipeline.steps.manifest import write_intake
from logbox_pipeline.steps.proof import put_proven
from logbox_pipeline.steps.site import TRANSFERS, Site
from logbox_pipeline.steps.verify import scratch_file


@dataclass(frozen=True)
class ArchiveReport:
    """`stored_bytes` counts only objects that were not there before."""

    archived: int
    stored: int
    stored_bytes: int
    manifests: tuple[str, ...]


@dataclass(frozen=True)
class _Wanted:
    client: str
    sha256: str
    size_bytes: int
    archive_key: str
    path: Path


def archive(site: Site, held: Claim) -> ArchiveReport:
    """Put and prove every verified log of the batch, then write the intake manifests."""
    with site.transaction() as cursor:
        fence(cursor, held)
        verified = catalog.of_batch(cursor, held.batch_id, "verified")
        places = catalog.reserve_objects(cursor, [_reservation(one) for one in verified])
    site.reach("after_objects_reserved")
    wanted = {
        (one.client, one.sha256): _Wanted(
            one.client,
            one.sha256 or "",
            one.size_bytes,
            places[one.client, one.sha256 or ""][0],
            scratch_file(site.folder(held), one.delivery_id),
        )
        for one in verified
    }
    with ThreadPoolExecutor(TRANSFERS) as threads:
        proofs = list(threads.map(lambda one: _put_and_prove(site, one), wanted.values()))
    site.reach("after_archive_put")
    with site.transaction() as cursor:
        fence(cursor, held)
        now = site.now()
        catalog.record_archived(
            cursor,
            [
                (one.client, one.sha256, version_id)
                for one, (version_id, _) in zip(wanted.values(), proofs, strict=True)
            ],
            [one.delivery_id for one in verified],
            now,
        )
    site.reach("after_archived")
    manifests = write_intake(site, held)
    site.reach("after_intake")
    new = [one for one, (_, is_new) in zip(wanted.values(), proofs, strict=True) if is_new]
    return ArchiveReport(
        len(verified), len(new), sum(one.size_bytes for one in new), tuple(manifests)
    )


def _reservation(delivery: Delivery) -> tuple[str, str, str, int]:
    sha256 = delivery.sha256 or ""
    return (
        delivery.client,
        sha256,
        keys.archive_key(delivery.client, sha256, delivery.name),
        delivery.size_bytes,
    )


def _put_and_prove(site: Site, wanted: _Wanted) -> tuple[str | None, bool]:
    """(version id, whether it was new) of an archive object proven to be these bytes."""
    stored, is_new = put_proven(
        site,
        site.archive,
        "archive",
        wanted.archive_key,
        wanted.path,
        wanted.sha256,
        wanted.client,
    )
    return stored.version_id, is_new
