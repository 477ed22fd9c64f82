"""Scrub: read archived bytes again and hash them, longest unread first, a day's share at a time.

What cannot be read for its own fault is `unreadable`; a store that is away is no drift.
"""

import hashlib
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from logbox_pipeline.adapters import catalog_inventory, catalog_reconciliations
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core.errors import PermanentError, StoreRefused, TransientError
from logbox_pipeline.core.reconciliation import (
    Drift,
    DriftKind,
    ExpectedObject,
    Place,
    gone_or_unreadable,
    judge_bytes,
)
from logbox_pipeline.steps.site import TRANSFERS, Site

_AT_A_TIME = 200
_TRIES = 3


@dataclass(frozen=True)
class Scrubbed:
    """What was read whole, and what was wrong with it."""

    objects: int
    read_bytes: int
    drifts: tuple[Drift, ...]


@dataclass(frozen=True)
class _Read:
    """size and digest of bytes; `trouble` says why there are none."""

    size_bytes: int = 0
    sha256: str = ""
    trouble: DriftKind | None = None
    said: str = ""


def scrub(
    site: Site, store: S3Bucket, place: Place, first: Collection[str], days: int | None
) -> Scrubbed:
    """Read `first`, and that share of everything by which all is read in `days` nightly runs.

    days None: only `first`. Raises TransientError or StoreRefused when the store as a whole does
    not answer; what was read by then is written down.
    """
    if not first and days is None:
        return Scrubbed(0, 0, ())
    with site.transaction() as cursor:
        queue = catalog_reconciliations.least_recently_checked(cursor, place, first, days)
    drifts: list[Drift] = []
    read_bytes = 0
    with ThreadPoolExecutor(TRANSFERS) as threads:
        for start in range(0, len(queue), _AT_A_TIME):
            some = queue[start : start + _AT_A_TIME]
            found = list(threads.map(lambda one: _read(store, one.key), some))
            read_bytes += sum(one.size_bytes for one in found)
            good, suspects = [], []
            for wanted, read in zip(some, found, strict=True):
                if read.trouble is None and judge_bytes(place, wanted, *_of(read)) is None:
                    good.append(wanted.key)
                else:
                    suspects.append(wanted)
            drifts += _look_again(site, store, place, suspects)
            with site.transaction() as cursor:
                catalog_reconciliations.mark_checked(cursor, place, good, site.now())
    return Scrubbed(len(queue), read_bytes, tuple(drifts))


def _look_again(
    site: Site, store: S3Bucket, place: Place, suspects: Collection[ExpectedObject]
) -> list[Drift]:
    """A second reading, against what the catalog says by then: one may have been mended."""
    if not suspects:
        return []
    with site.transaction() as cursor:
        wanted = catalog_inventory.expected_at(cursor, place, [one.key for one in suspects])
    found = []
    for one in wanted.values():
        if not one.must_stand:
            continue
        read = _read(store, one.key)
        if read.trouble is not None:
            found.append(gone_or_unreadable(place, one, read.trouble, read.said))
        elif (drift := judge_bytes(place, one, *_of(read))) is not None:
            found.append(drift)
    return found


def _of(read: _Read) -> tuple[int, str]:
    return read.size_bytes, read.sha256


def _read(store: S3Bucket, key: str) -> _Read:
    """Raises TransientError or StoreRefused when it is the store that does not answer."""
    for attempt in range(1, _TRIES + 1):
        digest, size_bytes = hashlib.sha256(), 0
        try:
            for chunk in store.chunks(key):
                digest.update(chunk)
                size_bytes += len(chunk)
            return _Read(size_bytes, digest.hexdigest())
        except (TransientError, StoreRefused) as error:
            # Raises when the store is away for everything.
            store.list_page(key, most=1)
            if attempt == _TRIES:
                return _Read(trouble=DriftKind.UNREADABLE, said=error.message)
        except PermanentError:
            return _Read(trouble=DriftKind.MISSING, said="nothing")
    raise AssertionError
