"""Read again: logs the catalog knows, from their archived bytes to rows, as at the first time.

What rebuild, repair and reparse have in common. Bytes are only used once their digest is right.
"""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from uuid import UUID

from logbox_pipeline.adapters import catalog_reread
from logbox_pipeline.adapters.catalog_reread import Source
from logbox_pipeline.core.errors import PermanentError
from logbox_pipeline.steps.parse import ParsedBatch, parse_logs
from logbox_pipeline.steps.scratch import scratch_errors
from logbox_pipeline.steps.site import TRANSFERS, Site
from logbox_pipeline.steps.unwrap import FoundLog, unwrap
from logbox_pipeline.steps.verify import scratch_file


@dataclass(frozen=True)
class Reread:
    """Logs as rows in scratch, and those whose bytes no store holds any more (log_id -> why).
    `archive_keys`: where the bytes of each log, lost or not, are to be."""

    parsed: ParsedBatch
    lost: dict[UUID, str]
    archive_keys: dict[UUID, str]


def reread(site: Site, folder: Path, received_on: date, log_ids: Collection[UUID]) -> Reread:
    """Fetch, unwrap and parse logs of one day. Their rows stand in `folder`, which is made.

    Raises TransientError when a store is away, or scratch cannot be written.
    """
    with site.transaction() as cursor:
        sources = catalog_reread.sources(cursor, log_ids)
    return reread_sources(site, folder, received_on, sources)


def reread_sources(
    site: Site, folder: Path, received_on: date, sources: Sequence[Source]
) -> Reread:
    """`reread` of the logs in `sources`."""
    with scratch_errors(site):
        return _reread(site, folder, received_on, sources)


def _reread(site: Site, folder: Path, received_on: date, sources: Sequence[Source]) -> Reread:
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(TRANSFERS) as threads:
        whys = list(threads.map(lambda one: _fetch(site, one, folder), sources))
    there = [one for one, why in zip(sources, whys, strict=True) if why is None]
    wanted = {log_id for one in sources for log_id in one.log_ids}
    logs = {one.log.log_id: one for one in _unwrap(site, folder, there) if one.log.log_id in wanted}
    lost = {
        log_id: why or "its object does not hold it any more"
        for one, why in zip(sources, whys, strict=True)
        for log_id in one.log_ids
        if log_id not in logs
    }
    ordered = [logs[log_id] for log_id in sorted(logs)]
    archive_keys = {log_id: one.archive_key for one in sources for log_id in one.log_ids}
    return Reread(parse_logs(site, folder, received_on, ordered), lost, archive_keys)


def _fetch(site: Site, source: Source, folder: Path) -> str | None:
    """Bring an object's bytes to scratch, from whichever side has them; why not, when none does."""
    path = scratch_file(folder, source.delivery.delivery_id)
    sides = [("archive", site.archive, source.version_id), ("archive", site.archive, None)]
    if site.replica is not None:
        sides.append(("replica", site.replica, None))
    looked: dict[str, str] = {}
    for name, store, version_id in sides:
        download = store.download(source.archive_key, path, version_id=version_id)
        if download is not None and download.sha256 == source.delivery.sha256:
            return None
        looked[name] = "nothing" if download is None else download.sha256
    path.unlink(missing_ok=True)
    found = ", ".join(f"{what} in the {name}" for name, what in looked.items())
    return f"{source.archive_key}: expected {source.delivery.sha256}, found {found}"


def _unwrap(site: Site, folder: Path, sources: Sequence[Source]) -> list[FoundLog]:
    """All of them, however many fit into scratch at a time."""
    deliveries = [one.delivery for one in sources]
    found: list[FoundLog] = []
    while deliveries:
        unwrapped = unwrap(site, folder, deliveries)
        found += unwrapped.logs
        if len(unwrapped.put_off) == len(deliveries):
            raise PermanentError(
                "no object fits into scratch", hint="raise LOGBOX_MAX_UNWRAPPED_TOTAL_BYTES"
            )
        put_off = set(unwrapped.put_off)
        deliveries = [one for one in deliveries if one.delivery_id in put_off]
    return found
