"""Sense: list landing, record what is new, form batches, offer what is open, tidy what is done.

Called by the landing sensor and by nothing else that runs for long. Everything it decides on
stands in the catalog; the hint it is given only says where to go on listing.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from logbox_pipeline.adapters import catalog_batches, catalog_landing
from logbox_pipeline.adapters.catalog_batches import OpenBatch
from logbox_pipeline.adapters.catalog_landing import Arrived, New
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core import keys
from logbox_pipeline.core.batching import (
    AfterFailure,
    BatchLimits,
    RunSeen,
    RunState,
    form,
    is_dead,
    most_apart,
)
from logbox_pipeline.core.errors import FenceLost, LogboxError, ObjectSealed
from logbox_pipeline.core.ports import ListedObject
from logbox_pipeline.core.shown import one_line
from logbox_pipeline.steps.attempt import sweep_scratch
from logbox_pipeline.steps.lost_catalog import require_catalog
from logbox_pipeline.steps.manifest import sweep_manifests, tell
from logbox_pipeline.steps.receipts import sweep_receipts
from logbox_pipeline.steps.settle import settle, sweep_lake, sweep_landing
from logbox_pipeline.steps.site import Site, open_prompt_landing

LISTING_S = 20.0
"""How long one tick may list; the sensor's own limit is 60 s."""

MOST_AHEAD = 8
"""Batches offered and not yet claimed. Further files wait unbatched, so that a client who comes
late is in the next batch and not behind all of another's burst."""

_SETTLE_MOST = 5

ASKING_S = 10.0
"""How long one tick may ask for single objects; what is left over is asked for when it is listed
the next time."""

_OUTAGE_GAP = timedelta(seconds=45)
"""Ticks further apart than this mean that the machine, Postgres or the daemon was away: deaths
found then are not the batch's fault."""


@dataclass(frozen=True)
class Tick:
    """What one look at landing found and did. `hint` goes back into the next tick."""

    arrived: dict[date, Arrived]
    listed: int
    formed: int
    offered: tuple[OpenBatch, ...]
    died: tuple[tuple[OpenBatch, AfterFailure | None], ...]
    settled: int
    swept: int
    paused_by: str | None
    hint: dict[str, str]
    trouble: str | None

    @property
    def new(self) -> int:
        return sum(day.files for day in self.arrived.values())


def sense(
    site: Site,
    *,
    hint: Mapping[str, str],
    run_states: Callable[[list[OpenBatch]], Mapping[str, RunSeen]],
) -> Tick:
    """One tick. `run_states` tells by run_key what Dagster knows of each open batch's run."""
    require_catalog(site)
    listed_at = site.now()
    with site.transaction() as cursor:
        clients = frozenset(catalog_landing.client_names(cursor))
        paused_at, paused_by, last_tick_at = catalog_batches.paused(cursor)
    listed, sidecars, next_hint = _list(site, hint)
    now = site.now()
    had_outage = last_tick_at is not None and now - last_tick_at > _OUTAGE_GAP
    died = _bury_the_dead(site, run_states, had_outage=had_outage)
    new, unanswered = _find_new(site, listed, listed_at)
    with site.transaction() as cursor:
        arrived = catalog_landing.record_arrivals(
            cursor, site.landing.bucket, new, clients=clients, now=now
        )
        catalog_landing.release_by_sidecars(cursor, site.landing.bucket, sidecars)
        catalog_landing.end_waiting(cursor, now)
        open_batches = catalog_batches.open_batches(cursor)
        most = most_apart(gets_through=catalog_batches.gets_through(cursor, now))
        apart = {one.batch_id for one in [one for one in open_batches if one.is_apart][:most]}
        busy = [one for one in open_batches if one.batch_id not in apart]
        ahead = sum(batch.state == "open" for batch in busy)
        limits = site.settings
        # While paused nothing is formed either: what has piled up makes full batches later.
        waiting = [] if paused_at else catalog_landing.candidates(cursor, most=10_000)
        formed = form(
            waiting,
            BatchLimits(limits.batch_files, limits.batch_bytes, limits.batch_wait_s),
            is_idle=not busy,
            now=now,
        )[: max(0, MOST_AHEAD - ahead)]
        catalog_batches.insert_batches(cursor, formed, now)
        open_batches = [] if paused_at else catalog_batches.open_batches(cursor)
        # One at a time, since each may hold its run for minutes; more as soon as one was loaded.
        most = MOST_AHEAD if catalog_batches.gets_through_apart(cursor, now) else 1
        offered = _to_offer(open_batches, now, most_apart=most)
        catalog_batches.tick(cursor, now)
    settled = _settle_orphans(site, now)
    swept, untidy = _sweep(site)
    return Tick(
        arrived,
        len(listed),
        len(formed),
        tuple(offered),
        tuple(died),
        settled,
        swept,
        (paused_by or "paused") if paused_at else None,
        next_hint,
        unanswered or untidy,
    )


def _sweep(site: Site) -> tuple[int, str | None]:
    """(how much was tidied, why not all was): tidying never holds up what arrives."""
    swept, trouble = 0, None
    for sweep in (
        sweep_landing,
        sweep_lake,
        sweep_scratch,
        sweep_receipts,
        tell,
        sweep_manifests,
    ):
        try:
            swept += sweep(site)
        except LogboxError as error:
            trouble = f"Could not tidy up: {error.message}"
    return swept, trouble


def _list(
    site: Site, hint: Mapping[str, str]
) -> tuple[list[ListedObject], list[str], dict[str, str]]:
    """(objects, sidecar keys, where to go on). Clients take turns, one page each; those of whom
    nothing stands there cost no request."""
    deadline = time.monotonic() + LISTING_S
    wanted, loose = _top_level(site)
    # Where the last tick broke off comes first, so that nobody's turn is always too late.
    order = [prefix for prefix in hint if prefix in wanted] + sorted(wanted - hint.keys())
    going_on = {prefix: hint.get(prefix, "") for prefix in order}
    listed = list(loose)
    sidecars: list[str] = []
    while going_on:
        for prefix in list(going_on):
            if time.monotonic() > deadline:
                return listed, sidecars, going_on
            page = site.landing.list_page(prefix, after=going_on[prefix])
            for one in page.objects:
                if keys.is_sidecar(one.key):
                    sidecars.append(one.key)
                elif not one.key.endswith("/") or one.size_bytes:
                    listed.append(one)
            del going_on[prefix]
            if page.has_more:
                going_on[prefix] = page.objects[-1].key
    return listed, sidecars, {}


def _top_level(site: Site) -> tuple[set[str], list[ListedObject]]:
    """(folders of clients known or not, objects that lie in no client's folder at all)."""
    folders: set[str] = set()
    loose: list[ListedObject] = []
    after = ""
    while True:
        page = site.landing.list_page(keys.LANDING_PREFIX, after=after, folders=True)
        folders.update(page.folders)
        loose += [one for one in page.objects if one.key != keys.LANDING_PREFIX]
        if not page.has_more:
            return folders, loose
        # "0" follows "/": past everything inside the last folder.
        last = page.folders[-1].removesuffix("/") + "0" if page.folders else ""
        after = max(last, page.objects[-1].key if page.objects else "")


def _find_new(
    site: Site, listed: Sequence[ListedObject], listed_at: datetime
) -> tuple[list[New], str | None]:
    """(listed objects without a delivery, why not all of them were found). What left landing and is
    listed again is asked for by its name: listings of some stores are late, and it would be a
    delivery of nothing."""
    with site.transaction() as cursor:
        new = catalog_landing.find_new(cursor, site.landing.bucket, listed, listed_at=listed_at)
    found = [one for one in new if not one.earlier]
    known = [one for one in new if one.earlier]
    # Chance, so that some that the store does not tell of do not stand before the others.
    random.shuffle(known)
    landing = open_prompt_landing(site.settings) if known else site.landing
    deadline = time.monotonic() + ASKING_S
    trouble = None
    for asked, one in enumerate(known):
        if time.monotonic() > deadline:
            left = len(known) - asked
            return (
                found,
                f"{left} objects that had left landing are listed again, not asked for yet",
            )
        try:
            if _stands(landing, one.listed):
                found.append(one)
        except LogboxError as error:
            # One that is not told of ends no tick.
            key = one_line(one.listed.key)
            trouble = f"Could not ask for {key}, which is listed again: {error.message}"
    return found, trouble


def _stands(landing: S3Bucket, listed: ListedObject) -> bool:
    try:
        stored = landing.head(listed.key)
    except ObjectSealed:
        # Something is there, and a run says what: one object must not end the tick for all.
        return True
    # An answer to HEAD has whole seconds, a listing may not.
    return (
        stored is not None
        and stored.etag == listed.etag
        and stored.received_at.replace(microsecond=0) == listed.received_at.replace(microsecond=0)
    )


def _to_offer(batches: list[OpenBatch], now: datetime, *, most_apart: int) -> list[OpenBatch]:
    """What is due. Of files that stand apart so many at a time, those first that wait for longest;
    last what somebody stopped."""
    due = [
        batch
        for batch in batches
        if batch.state == "open" and (batch.not_before is None or batch.not_before <= now)
    ]
    apart = sorted((one for one in due if one.is_apart), key=lambda one: one.not_before or now)
    tried = sum(one.is_apart and one.state == "running" for one in batches)
    return [one for one in due if not one.is_apart] + apart[: max(0, most_apart - tried)]


def _bury_the_dead(
    site: Site,
    run_states: Callable[[list[OpenBatch]], Mapping[str, RunSeen]],
    *,
    had_outage: bool,
) -> list[tuple[OpenBatch, AfterFailure | None]]:
    """End attempts whose run will never finish. None in the answer: nobody was to blame."""
    with site.transaction() as cursor:
        batches = catalog_batches.open_batches(cursor)
    if not batches:
        return []
    seen = run_states(batches)
    buried: list[tuple[OpenBatch, AfterFailure | None]] = []
    for batch in batches:
        now = site.now()
        is_over = is_dead(
            seen.get(batch.run_key, RunSeen(RunState.NONE)),
            heartbeat_at=batch.heartbeat_at,
            dead_after=timedelta(seconds=site.settings.run_dead_after_s),
            now=now,
        )
        if not is_over:
            continue
        try:
            buried.append((batch, _bury(site, batch, had_outage=had_outage)))
        except FenceLost:
            # It finished, or failed by itself, while we looked.
            continue
    return buried


def _bury(site: Site, batch: OpenBatch, *, had_outage: bool) -> AfterFailure | None:
    with site.transaction() as cursor:
        if not catalog_batches.is_free(cursor, batch.batch_id):
            raise FenceLost(f"batch {batch.batch_id} is being committed right now")
        if batch.run_id is None:
            # It never came to the files: the machine, its queue or the catalog was in the way.
            said = f"the run of attempt {batch.attempt} ended before it claimed the batch"
            catalog_batches.back_off(cursor, batch.batch_id, batch.attempt, said, site.now())
            return None
        if had_outage:
            catalog_batches.renew(cursor, batch.batch_id, batch.attempt)
            return None
        return catalog_batches.count_failure(
            cursor,
            batch.batch_id,
            batch.attempt,
            f"run {batch.run_id} died without a word in attempt {batch.attempt}",
            site.now(),
        )


def _settle_orphans(site: Site, now: datetime) -> int:
    """Finish what a run that died after its commit left open."""
    before = now - timedelta(seconds=site.settings.run_dead_after_s)
    with site.transaction() as cursor:
        orphans = catalog_batches.unsettled(cursor, before)
    settled = 0
    # Chance, so that some that cannot be settled do not stand before the others.
    for held in random.sample(orphans, min(len(orphans), _SETTLE_MOST)):
        try:
            settle(site, held)
            settled += 1
        except LogboxError:
            # The next tick tries again; the rows are safe.
            continue
    return settled
