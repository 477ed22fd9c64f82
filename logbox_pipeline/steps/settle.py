"""Settle: after the commit, write the outcome and clear landing of what is proven elsewhere.

Also the sweeps that do the same later, for what a dead run left behind.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.steps.manifest import write_outcome
from logbox_pipeline.steps.receipts import write_receipts
from logbox_pipeline.steps.site import TRANSFERS, Site

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

    def delete(one: Standing) -> str:
        delivery_id, landing_key, version_id, sidecar_version_id = one
        key = keys.from_text(landing_key)
        site.landing.delete(key, version_id=version_id)
        if sidecar_version_id is not None:
            site.landing.delete(keys.sidecar_key(key), version_id=sidecar_version_id)
        return delivery_id

    gone: list[str] = []
    error: LogboxError | None = None
    with ThreadPoolExecutor(TRANSFERS) as threads:
        for future in [threads.submit(delete, one) for one in standing]:
            try:
                gone.append(future.result())
            except LogboxError as failed:
                error = failed
    site.reach("after_leaving")
    with site.transaction() as cursor:
        catalog_landing.mark_left(cursor, gone, site.now())
    site.reach("after_left")
    if error is not None:
        raise error
