"""Settle: after the commit, write the outcome and clear landing of what is proven elsewhere.

Also the sweeps that do the same later, for what a dead run left behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from logbox_pipeline.adapters import (
    catalog_batches,
    catalog_growth,
    catalog_lake,
    catalog_landing,
    catalog_logs,
)
from logbox_pipeline.adapters.catalog_batches import Claim, fence
from logbox_pipeline.adapters.catalog_landing import Standing
from logbox_pipeline.core import keys
from logbox_pipeline.steps.manifest import write_outcome
from logbox_pipeline.steps.receipts import write_receipts
from logbox_pipeline.steps.site import Site

_SWEEP_AFTER = timedelta(seconds=60)
_SWEEP_MOST = 200
_ABANDONED_AGAIN = timedelta(hours=1)


@dataclass(frozen=True)
class SettleReport:
    manifests: tuple[str, ...]
    left_landing: int


def settle(site: Site, held: Claim) -> SettleReport:
    """Write the outcome manifests and receipts, then let the batch's objects leave landing."""
    manifests = write_outcome(site, held)
    site.reach("after_outcome")
    write_receipts(site, held)
    site.reach("after_receipts")
    with site.transaction() as cursor:
        fence(cursor, held, "loaded")
        standing = catalog_landing.standing_of_batch(cursor, held.batch_id)
    _leave(site, standing)
    with site.transaction() as cursor:
        fence(cursor, held, "loaded")
        catalog_batches.mark_finished(cursor, held.batch_id, site.now())
    return SettleReport(tuple(manifests), len(standing))


def sweep_landing(site: Site) -> int:
    """Objects that are done and proven elsewhere but were not deleted. Returns how many went."""
    with site.transaction() as cursor:
        standing = catalog_landing.standing_finished(cursor, _SWEEP_MOST, site.now() - _SWEEP_AFTER)
    _leave(site, standing)
    return len(standing)


def sweep_lake(site: Site) -> int:
    """Delete Parquet files that dead attempts and compactions put, and those replaced longer ago
    than the grace. Returns how many went.

    What dead attempts put is deleted once when found and once more an hour later, since a run that
    was only asleep may put one in between.
    """
    with site.transaction() as cursor:
        catalog_lake.abandon_dead_compactions(cursor)
    with site.transaction() as cursor:
        abandoned = catalog_logs.abandoned_lake_files(cursor, _SWEEP_MOST)
        for lake_key in abandoned:
            site.lake.delete(lake_key)
        catalog_logs.forget_abandoned(cursor, abandoned, site.now() - _ABANDONED_AGAIN)
    with site.transaction() as cursor:
        now, settings = site.now(), site.settings
        replaced = catalog_growth.replaced_files(
            cursor,
            _SWEEP_MOST,
            replaced_before=now - timedelta(seconds=settings.lake_grace_s),
            compacted_before=now - timedelta(seconds=settings.compaction_grace_s),
        )
        for lake_key in replaced:
            site.lake.delete(lake_key)
        catalog_growth.forget_replaced(cursor, replaced)
    return len(abandoned) + len(replaced)


def _leave(site: Site, standing: Sequence[Standing]) -> None:
    """Delete exactly the versions that were read, then say so."""
    if not standing:
        return

    objects = {one: (keys.from_text(one[1]), one[2]) for one in standing}
    failed = site.landing.delete_all(list(objects.values()))
    # A sidecar goes after its object: an object without one would wait for it in vain.
    sidecars = {
        one: (keys.sidecar_key(key), one[3])
        for one, (key, version_id) in objects.items()
        if one[3] is not None and (key, version_id) not in failed
    }
    failed |= site.landing.delete_all(list(sidecars.values()))
    gone = [
        one[0] for one in standing if objects[one] not in failed and sidecars.get(one) not in failed
    ]
    site.reach("after_leaving")
    with site.transaction() as cursor:
        catalog_landing.mark_left(cursor, gone, site.now())
    site.reach("after_left")
    for error in failed.values():
        raise error
