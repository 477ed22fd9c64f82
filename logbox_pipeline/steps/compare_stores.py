"""Compare what stands in landing, archive, replica and lake with what the catalog says stands."""

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta

from logbox_pipeline.adapters import catalog_inventory, postgres
from logbox_pipeline.adapters.catalog_inventory import Standing
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core import keys
from logbox_pipeline.core.ports import ListedObject
from logbox_pipeline.core.reconciliation import (
    Drift,
    DriftKind,
    Place,
    compare_listing,
    judge_object,
)
from logbox_pipeline.steps.site import TRANSFERS, Site

MOST_DRIFTS = 10_000
"""A comparison stops there: a store that lost everything is one finding, not a million."""

SENSED_AFTER = timedelta(minutes=2)
"""Twelve ticks of the sensor. What nobody has recorded, or cleared away, by then is left over."""

SEALING = timedelta(minutes=10)
"""Longer than from the first put of a seal to its row."""

_PAGE = 1_000
_PREFIXES = {Place.ARCHIVE: "archive/", Place.REPLICA: "archive/", Place.LAKE: "lake/"}


@dataclass(frozen=True)
class Found:
    """What a comparison looked at and what differs. `stopped`: why it did not see everything."""

    compared: int
    drifts: tuple[Drift, ...]
    read_bytes: int = 0
    stopped: str | None = None


def compare_store(
    site: Site, store: S3Bucket, place: Place, listed: Iterable[ListedObject] | None = None
) -> Found:
    """Archive, replica or lake against the catalog: what is missing, unexpected or of another
    size. `listed`: a listing taken earlier, in key order; None: list now.

    Memory does not grow with the store. Raises TransientError or StoreRefused.
    """
    counted = _Counted(store.list_all(_PREFIXES[place]) if listed is None else listed)
    with site.connection() as connection, postgres.translated(), connection:
        suspects = [
            one.subject
            for one in itertools.islice(
                compare_listing(
                    place, catalog_inventory.expected_objects(connection, place), counted
                ),
                MOST_DRIFTS,
            )
        ]
    return stopped_at_most(Found(counted.count, tuple(_look_again(site, store, place, suspects))))


def stopped_at_most(found: Found) -> Found:
    if len(found.drifts) < MOST_DRIFTS:
        return found
    return replace(found, stopped=f"stopped after {MOST_DRIFTS:,} differences")


class _Counted:
    """A listing that counts what was taken from it."""

    def __init__(self, listed: Iterable[ListedObject]) -> None:
        self._listed = listed
        self.count = 0

    def __iter__(self) -> Iterator[ListedObject]:
        for one in self._listed:
            self.count += 1
            yield one


def _look_again(site: Site, store: S3Bucket, place: Place, suspects: list[str]) -> list[Drift]:
    """What is wrong still: the catalog may have changed while the store was listed."""
    if not suspects:
        return []
    with site.transaction() as cursor:
        wanted = catalog_inventory.expected_at(cursor, place, suspects)
    with ThreadPoolExecutor(TRANSFERS) as threads:
        stands = list(threads.map(store.head, suspects))
    # A seal stands before the catalog knows of it.
    sealing_since = site.now() - SEALING
    drifts = [
        judge_object(place, key, wanted.get(key), None if found is None else found.size_bytes)
        for key, found in zip(suspects, stands, strict=True)
        if not (
            key not in wanted
            and key.startswith(keys.SEALS_PREFIX)
            and found is not None
            and found.received_at > sealing_since
        )
    ]
    return [one for one in drifts if one is not None]


# Landing


def compare_landing(site: Site) -> Found:
    """Objects that nobody recorded or cleared away, and deliveries whose object is gone."""
    listed_at = site.now()
    known: set[str] = set()
    unknown: list[ListedObject] = []
    compared = 0
    uploads = (
        one
        for one in site.landing.list_all(keys.LANDING_PREFIX)
        if not keys.is_sidecar(one.key) and not (one.key.endswith("/") and one.size_bytes == 0)
    )
    while page := list(itertools.islice(uploads, _PAGE)):
        compared += len(page)
        with site.transaction() as cursor:
            deliveries = catalog_inventory.known_deliveries(
                cursor, site.landing.bucket, page, listed_at
            )
        for one, delivery_id in zip(page, deliveries, strict=True):
            if delivery_id is not None:
                known.add(delivery_id)
            elif listed_at - one.received_at > SENSED_AFTER and len(unknown) < MOST_DRIFTS:
                unknown.append(one)
    with site.transaction() as cursor:
        standing = catalog_inventory.standing_deliveries(
            cursor, site.landing.bucket, listed_at - SENSED_AFTER
        )
    stale_before = listed_at - timedelta(seconds=site.settings.stale_after_s)
    lost = [one for one in standing if str(one.delivery_id) not in known]
    drifts = [
        *_still_unknown(site, unknown),
        *_still_lost(site, lost[:MOST_DRIFTS]),
        *(
            _stale(one)
            for one in standing
            if str(one.delivery_id) in known and one.is_settled and one.received_at < stale_before
        ),
    ]
    return stopped_at_most(Found(compared + len(lost), tuple(drifts)))


def _still_unknown(site: Site, unknown: list[ListedObject]) -> list[Drift]:
    if not unknown:
        return []
    with site.transaction() as cursor:
        deliveries = catalog_inventory.known_deliveries(
            cursor, site.landing.bucket, unknown, site.now()
        )
    return [
        Drift(
            DriftKind.UNEXPECTED, Place.LANDING, keys.to_text(one.key),
            f"a delivery within {SENSED_AFTER.seconds} s of its arrival",
            f"{one.size_bytes} bytes since {one.received_at:%Y-%m-%d %H:%M:%S} UTC",
            keys.parse_landing_key(one.key).client,
        )
        for one, delivery_id in zip(unknown, deliveries, strict=True)
        if delivery_id is None and site.landing.head(one.key) is not None
    ]  # fmt: skip


def _still_lost(site: Site, lost: list[Standing]) -> list[Drift]:
    gone = [one for one in lost if not _stands(site, one)]
    if not gone:
        return []
    with site.transaction() as cursor:
        left = {
            one.delivery_id
            for one in catalog_inventory.standing_deliveries(
                cursor, site.landing.bucket, site.now() - SENSED_AFTER
            )
        }
    return [
        Drift(
            DriftKind.MISSING, Place.LANDING, one.landing_key,
            f"the object of delivery {one.delivery_id} ({one.state})", "nothing", one.client,
        )
        for one in gone
        if one.delivery_id in left
    ]  # fmt: skip


def _stands(site: Site, one: Standing) -> bool:
    """Whether the version that arrived can still be read, though others stand over it."""
    key = keys.from_text(one.landing_key)
    if one.version_id is not None:
        return site.landing.head(key, version_id=one.version_id) is not None
    if not key.isprintable():
        # Versioned listings of such keys break some stores.
        return site.landing.head(key) is not None
    return site.landing.find_version(key, one.etag, one.received_at) is not None


def _stale(one: Standing) -> Drift:
    return Drift(
        DriftKind.STALE, Place.LANDING, one.landing_key,
        f"nothing: delivery {one.delivery_id} is {one.state}, and proven elsewhere",
        f"its object, since {one.received_at:%Y-%m-%d %H:%M:%S} UTC", one.client,
    )  # fmt: skip
