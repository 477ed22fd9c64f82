"""Retry: let failed deliveries and unread logs go through the pipeline once more.

What is archived is not asked of the drone again: verify reads it back from the archive.
"""

from dataclasses import dataclass

from logbox_pipeline.adapters import catalog_retry
from logbox_pipeline.adapters.catalog_retry import Choice, RefusedFile
from logbox_pipeline.steps.site import Site

_AT_WORK = ("open", "running", "loaded")


@dataclass(frozen=True)
class Retried:
    """`files` go into new batches (or would, in a dry run); `busy` belong to one at work."""

    files: tuple[RefusedFile, ...]
    busy: tuple[RefusedFile, ...]


def retry(site: Site, choice: Choice, *, dry_run: bool = False) -> Retried:
    """Free what failed or could not be read; the sensor batches it within a tick.

    Quarantined bytes are `release`'s and loaded logs nobody's: neither is touched.
    """
    with site.transaction() as cursor:
        found = [
            one
            for one in catalog_retry.refused(cursor, choice)
            if one.state in ("failed", "unparsed")
        ]
        busy = [one for one in found if one.batch_state in _AT_WORK]
        free = [one for one in found if one.batch_state not in _AT_WORK]
        if not dry_run:
            changed = set(catalog_retry.drive_again(cursor, [one.delivery_id for one in free]))
            free = [one for one in free if one.delivery_id in changed]
    return Retried(tuple(free), tuple(busy))
