"""Lost catalog: does the archive hold logs, and the database knows of none? Read-only.

Then nothing else can be compared, mended or taken in before `logbox rebuild`: whatever the archive
holds would look like a stray.
"""

from logbox_pipeline.adapters import catalog_restore, catalog_seals
from logbox_pipeline.core import keys
from logbox_pipeline.core.errors import PermanentError
from logbox_pipeline.core.reconciliation import LOST_CATALOG, Drift, DriftKind, Place
from logbox_pipeline.steps.site import Site

WHAT_NOW = (
    "the archive holds logs that this database does not know: run `logbox rebuild` before anything "
    "is uploaded"
)


def lost_catalog(site: Site) -> Drift | None:
    """The drift that says so; None: the catalog holds something, or the archive nothing.

    The archive is asked only when the catalog is empty, and for one page of each kind of file.
    Raises TransientError or StoreRefused.
    """
    with site.transaction() as cursor:
        if not catalog_restore.is_empty(cursor):
            return None
    told_of = [
        listed.key
        for prefix in (keys.MANIFESTS_PREFIX, keys.JOURNAL_PREFIX)
        for listed in site.archive.list_page(prefix).objects
    ]
    objects = [
        listed.key
        for listed in site.archive.list_page("archive/").objects
        if keys.parse_archive_key(listed.key) is not None
    ]
    with site.transaction() as cursor:
        # What has arrived, or was told, while the archive was listed.
        if not catalog_restore.is_empty(cursor):
            return None
        known = catalog_seals.digests(cursor, told_of)
    unknown = [*(key for key in told_of if key not in known), *objects]
    if not unknown:
        return None
    return Drift(
        DriftKind.MISSING,
        Place.POSTGRES,
        LOST_CATALOG,
        f"the logs that the archive holds: {unknown[0]} and others",
        "no delivery, no object and no log: the catalog is empty and the archive is not",
    )


def require_catalog(site: Site) -> None:
    """Raises PermanentError when the catalog is lost, TransientError or StoreRefused as above."""
    if lost_catalog(site) is not None:
        raise PermanentError(
            "the archive holds logs that this database does not know: nothing is taken in",
            hint="run `logbox rebuild`; what was uploaded waits in landing",
        )
