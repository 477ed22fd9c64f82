"""Supersede: find the logs that a growing log takes the place of.

What is found counts when the load says so, in the transaction that brings the longer log's rows;
it looks again then, and begins anew when another batch has changed what was found.
"""

from collections import defaultdict
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from logbox_pipeline.adapters import catalog_growth, catalog_trace
from logbox_pipeline.core.digest import CHUNK_BYTES
from logbox_pipeline.core.errors import (
    FenceLost,
    PermanentError,
    StoreRefused,
    TransientError,
)
from logbox_pipeline.core.growth import Pair, Superseded, prefix_digests, superseded
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.trace import original


@dataclass(frozen=True)
class Growth:
    """What was found of the batch's logs: pairs that begin alike, which of them were looked at,
    and which of those are proven. `logs` are all that the batch owns."""

    logs: frozenset[UUID] = frozenset()
    pairs: tuple[Pair, ...] = ()
    examined: frozenset[tuple[UUID, UUID]] = frozenset()
    proven: frozenset[tuple[UUID, UUID]] = frozenset()

    def superseded(self, loading: Collection[UUID]) -> Mapping[UUID, Superseded]:
        return superseded(self.pairs, self.proven, loading)


def find_growth(site: Site, folder: Path, paths: Mapping[UUID, Path]) -> Growth:
    """`paths` are the batch's own logs in scratch. Reads only those that begin like another."""
    with site.transaction() as cursor:
        pairs = catalog_growth.pairs(cursor, list(paths))
    by_longer: dict[UUID, list[Pair]] = defaultdict(list)
    for pair in pairs:
        # A longer log of another batch may never be loaded; if it is, that batch looks at ours.
        if pair.longer_id in paths or pair.longer_state == "loaded":
            by_longer[pair.longer_id].append(pair)
    proven: set[tuple[UUID, UUID]] = set()
    for longer_id, alike in by_longer.items():
        path = paths.get(longer_id)
        found = _proven(site, folder, longer_id, path, alike)
        if path is None and len(found) < len(alike):
            # Bytes are damaged on their way too, and what does not look alike then stays twice.
            found |= _proven(site, folder, longer_id, path, alike)
        proven |= found
    examined = frozenset(one.ids for alike in by_longer.values() for one in alike)
    return Growth(frozenset(paths), tuple(pairs), examined, frozenset(proven))


def _proven(
    site: Site, folder: Path, longer_id: UUID, path: Path | None, alike: Collection[Pair]
) -> set[tuple[UUID, UUID]]:
    try:
        with closing(_beginning(site, folder, longer_id, path)) as chunks:
            digests = prefix_digests(chunks, {one.shorter_bytes for one in alike})
    except (StoreRefused, FenceLost):
        raise
    except PermanentError:
        # Its archived bytes are missing or changed: drift, and no reason to hold ours back.
        return set()
    return {one.ids for one in alike if digests.get(one.shorter_bytes) == one.shorter_sha256}


def take_over(
    cursor: Any,
    growth: Growth,
    loading: Collection[UUID],
    now: datetime,
) -> list[UUID]:
    """Part of the load transaction, before states are written: what was found counts from here.

    Returns the logs whose rows went. Raises TransientError when another batch changed it; the next
    attempt finds what is true then.
    """
    if not growth.logs:
        return []
    catalog_growth.lock_vehicles(cursor, growth.logs)
    pairs = catalog_growth.pairs(cursor, growth.logs)
    planned = growth.superseded(loading)
    unseen = [
        one
        for one in pairs
        if one.ids not in growth.examined
        and (one.longer_id in loading or one.longer_state == "loaded")
    ]
    is_same = superseded(pairs, growth.proven, loading) == planned
    if unseen or not is_same or catalog_growth.gave_way(cursor, growth.logs):
        raise TransientError(
            "a log that begins with another, or the other, was loaded by another batch meanwhile"
        )
    gone = list(planned.values())
    catalog_growth.supersede(cursor, gone, now)
    return [one.log_id for one in gone]


def _beginning(
    site: Site, folder: Path, log_id: UUID, path: Path | None
) -> Generator[bytes, None, None]:
    """A log's bytes, from scratch or the archive, as many as are asked for."""
    if path is not None:
        yield from _chunks(path)
        return
    with site.transaction() as cursor:
        held = [one for one in catalog_trace.archived(cursor, log_id) if one.archived_at]
    plain = next((one for one in held if one.sha256 == one.content_sha256), None)
    if plain is not None:
        yield from site.archive.chunks(plain.archive_key, version_id=plain.version_id)
        return
    with original(site, log_id, folder) as (inner, _):
        yield from _chunks(inner)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
