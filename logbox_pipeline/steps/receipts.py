"""Receipts: put Logbox's signed word on each delivery where its drone looks for it.

One writer: whatever a receipt tells is rendered from the catalog's state, never from what a step
has at hand. What changes in the catalog owes the receipt in the outbox; a run pays at once for its
batch, with one PUT per delivery, and the sensor pays for everything else.

A delivery's receipt stands at its name and at its bytes' digest. Names are used again, and bytes
come twice: at a name speaks the newest delivery, at a digest one that is archived. A delivery whose
key is unsafe has none: it is in quarantine, and no key can be made of its own.
"""

import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, islice
from typing import Any
from uuid import UUID

from logbox_pipeline.adapters import catalog_receipts, postgres
from logbox_pipeline.adapters.catalog_batches import Claim
from logbox_pipeline.adapters.catalog_receipts import NAME_ONLY, Owed, Settled
from logbox_pipeline.core import keys
from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.core.receipt import DeliveryFacts, render
from logbox_pipeline.core.signing import Signer
from logbox_pipeline.steps.signing import signer_of
from logbox_pipeline.steps.site import TRANSFERS, Site

SWEEP_S = 5.0
"""How long one sweep may take; the sensor's tick has other work."""

_PAGE = 500
_AT_WORK = timedelta(seconds=60)
"""A batch that takes longer to load has receipts meanwhile that say what is archived."""


@dataclass(frozen=True)
class _Places:
    """Facts by the key of the receipt that tells them, and the keys that each entry owes."""

    facts: dict[str, DeliveryFacts]
    by_digest: dict[Owed, str]
    by_name: dict[Owed, str]


def write_receipts(site: Site, held: Claim) -> int:
    """Write the receipts of a loaded batch where a drone looks first. Returns how many.

    That is by digest for what is in the archive, by name for anything else; the other key is the
    sweep's. Raises nothing: rows and states are committed, and what is not written stays owed.
    """
    written: set[str] = set()
    with suppress(LogboxError):
        signer = signer_of(site.settings)
        with site.transaction() as cursor:
            entries = catalog_receipts.owed_of_batch(cursor, held.batch_id)
            places = _places(cursor, entries)
        archived = {
            one: key
            for one, key in places.by_digest.items()
            if places.facts[key].archived_at is not None
        }
        others = {one: key for one, key in places.by_name.items() if one not in archived}
        written, _ = _put(
            site, signer, {key: places.facts[key] for key in {*archived.values(), *others.values()}}
        )
        done = [one for one, key in archived.items() if key in written]
        # Without a digest to be found by, the name is all there is.
        whole = [
            one
            for one in entries
            if one not in archived
            and one not in places.by_digest
            and (one not in others or others[one] in written)
        ]
        with site.transaction() as cursor:
            catalog_receipts.told(cursor, [*done, *whole])
            catalog_receipts.put_again(
                cursor,
                [f"{one.delivery_id}{NAME_ONLY}" for one in done if one in places.by_name],
            )
    return len(written)


def sweep_receipts(site: Site) -> int:
    """Write what is owed, the longest owed first, for at most SWEEP_S. Returns how many were.

    Raises SettingError without a key to sign with, and what kept a receipt from being written; that
    one stands behind the others from then on.
    """
    signer = signer_of(site.settings)
    deadline = time.monotonic() + SWEEP_S
    total = 0
    while time.monotonic() < deadline:
        with site.transaction() as cursor:
            entries = catalog_receipts.owed(cursor, _PAGE, settled_for=site.now() - _AT_WORK)
            places = _places(cursor, entries)
        if not entries:
            break
        written, error = _put(site, signer, places.facts)
        done = [
            one
            for one in entries
            if {places.by_digest.get(one), places.by_name.get(one)} - {None} <= written
        ]
        with site.transaction() as cursor:
            catalog_receipts.told(cursor, done)
            catalog_receipts.put_off(cursor, {one.id for one in entries} - {one.id for one in done})
        total += len(written)
        if error is not None:
            raise error
    return total


def owe_missing_receipts(site: Site) -> int:
    """Owe what drones wait for: receipts that are not there, or older than what they tell. Returns
    of how many deliveries.

    After a rebuild: what was owed when the database was lost is nowhere else. Raises TransientError
    when landing is away.
    """
    owed = 0
    with site.connection() as connection, postgres.translated(), connection:
        settled = catalog_receipts.settled(connection)
        for client, deliveries in groupby(settled, key=lambda one: one.client):
            put_at = {
                one.key: one.received_at
                for one in site.landing.list_all(keys.receipts_prefix(client))
            }
            missing = (one for one in deliveries if _is_missing(one, put_at))
            while page := [str(one.delivery_id) for one in islice(missing, _PAGE)]:
                with connection.cursor() as cursor:
                    catalog_receipts.put_again(cursor, page)
                owed += len(page)
    return owed


def _is_missing(one: Settled, put_at: Mapping[str, datetime]) -> bool:
    wanted = {keys.receipt_key(one.landing_key)}
    if one.sha256 is not None:
        wanted.add(keys.digest_receipt_key(one.client, one.sha256))
    # Stores tell the second at most: what was put within it is put once more.
    return one.changed_at is None or any(
        key not in put_at or put_at[key] <= one.changed_at for key in wanted
    )


def _places(cursor: Any, entries: Collection[Owed]) -> _Places:
    """Where receipts have to be written, and by what. Read after the entries, so that facts are
    never older than the change an entry is about."""
    by_name = catalog_receipts.speakers_by_name(cursor, [one.delivery_id for one in entries])
    by_digest = catalog_receipts.speakers_by_digest(
        cursor, [one.delivery_id for one in entries if not one.is_name_only]
    )
    facts = catalog_receipts.facts(cursor, {*by_name.values(), *by_digest.values()})
    places = _Places({}, {}, {})
    for entry in entries:
        teller = _teller(facts, by_digest, entry.delivery_id)
        if teller is not None and teller.sha256 is not None and not entry.is_name_only:
            key = keys.digest_receipt_key(teller.client, teller.sha256)
            places.facts[key], places.by_digest[entry] = teller, key
        teller = _teller(facts, by_name, entry.delivery_id)
        if teller is not None:
            key = keys.receipt_key(teller.landing_key)
            if not keys.is_digest_receipt(key):
                places.facts[key], places.by_name[entry] = teller, key
    return places


def _teller(
    facts: Mapping[UUID, DeliveryFacts], speakers: Mapping[UUID, UUID], delivery: UUID
) -> DeliveryFacts | None:
    """The delivery that speaks for this one; None when none may."""
    if delivery not in speakers:
        return None
    told = facts[speakers[delivery]]
    key = keys.parse_landing_key(told.landing_key)
    is_safe = isinstance(key, keys.LandingKey) and key.client == told.client
    return told if is_safe else None


def _put(
    site: Site, signer: Signer, wanted: Mapping[str, DeliveryFacts]
) -> tuple[set[str], LogboxError | None]:
    """(keys that were written, what kept others from it). The first error ends it: a store that
    does not answer would be waited for as often as there are receipts."""
    now = site.now()
    failed: list[LogboxError] = []

    def put(key: str) -> str | None:
        if failed:
            return None
        try:
            site.landing.put_bytes(key, render(wanted[key], signer, now))
        except LogboxError as error:
            failed.append(error)
            return None
        return key

    with ThreadPoolExecutor(TRANSFERS) as threads:
        written = {key for key in threads.map(put, wanted) if key is not None}
    return written, failed[0] if failed else None
