"""Unwrap: which logs each archived object of a batch holds, found before anyone owns them.

What is no wrapper by its first bytes is its own log and pays nothing more for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from logbox_pipeline.adapters.catalog_deliveries import Delivery
from logbox_pipeline.adapters.catalog_logs import OwnedLog, RefusedMember
from logbox_pipeline.core.digest import log_id
from logbox_pipeline.core.growth import Beginning, beginning
from logbox_pipeline.formats.wrappers import HEAD_BYTES, Lost, looks_wrapped
from logbox_pipeline.formats.zip_archive import DIRECTORY
from logbox_pipeline.steps.parse_pool import UnwrapJob, unwrap_all
from logbox_pipeline.steps.parse_worker import UnparsedLog
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.unwrap_worker import RefusedInner, Unwrapped
from logbox_pipeline.steps.verify import scratch_file

MOST_MEMBERS = 4_000
"""Of the archives of one batch: hundreds of small ones can hold half a million logs, and the other
clients' logs in the batch are loaded when the last of them is."""


@dataclass(frozen=True)
class FoundLog:
    """A log and where its bytes stand in scratch. `unread`: why there is nothing to parse, of a
    wrapper in which nothing could be read."""

    log: OwnedLog
    path: Path
    lost: tuple[Lost, ...] = ()
    unread: UnparsedLog | None = None


@dataclass(frozen=True)
class FoundBatch:
    """`put_off`: deliveries that would fill scratch, left to a later batch."""

    logs: tuple[FoundLog, ...]
    refused: tuple[RefusedMember, ...]
    put_off: tuple[UUID, ...]


def unwrap(site: Site, folder: Path, deliveries: Sequence[Delivery]) -> FoundBatch:
    """Open every wrapper among the deliveries' bytes in `folder`; equal bytes once."""
    wrapped = {
        one.sha256 or "": UnwrapJob(
            scratch_file(folder, one.delivery_id),
            one.sha256 or "",
            folder / f"{one.sha256}.logs",
            one.size_bytes,
        )
        for one in deliveries
        if is_wrapper(scratch_file(folder, one.delivery_id))
    }
    opened = _open(site, list(wrapped.values()))
    logs: list[FoundLog] = []
    refused: list[RefusedMember] = []
    put_off: list[UUID] = []
    for one in deliveries:
        sha256 = one.sha256 or ""
        if sha256 in opened:
            inner = opened[sha256]
            logs += _logs(one, inner, wrapped[sha256].path)
            refused += [
                RefusedMember(
                    one.delivery_id, one.client, sha256, each.member, each.reason, each.detail
                )
                for each in inner.refused
                if each.member
            ]
        elif sha256 in wrapped:
            put_off.append(one.delivery_id)
        else:
            path = scratch_file(folder, one.delivery_id)
            logs.append(FoundLog(_log(one, path, sha256, one.size_bytes), path))
    return FoundBatch(tuple(logs), tuple(refused), tuple(put_off))


def _open(site: Site, jobs: list[UnwrapJob]) -> dict[str, Unwrapped]:
    """By digest of the object, as many as scratch and one batch may hold; at least the first."""
    opened: dict[str, Unwrapped] = {}
    held_bytes = members = 0
    for job, inner in zip(jobs, unwrap_all(site.settings, jobs), strict=False):
        opened[job.sha256] = inner
        held_bytes += inner.size_bytes
        members += len(inner.logs) + len(inner.refused)
        is_full = members >= MOST_MEMBERS
        if is_full or held_bytes >= site.settings.max_unwrapped_total_bytes:
            break
    return opened


def _logs(delivery: Delivery, inner: Unwrapped, path: Path) -> list[FoundLog]:
    if inner.logs:
        return [
            FoundLog(
                _log(delivery, one.path, one.sha256, one.size_bytes, one.member), one.path, one.lost
            )
            for one in inner.logs
        ]
    # Nothing in it can be read: the object itself is the log, kept for a day when it can.
    unread = why_nothing(inner)
    log = _log(delivery, path, delivery.sha256 or "", delivery.size_bytes)
    return [FoundLog(log, path, (), unread)]


def why_nothing(inner: Unwrapped) -> UnparsedLog:
    """What is said of an object in which no log could be read: it is a log itself then."""
    whole = [one for one in inner.refused if one.member in ("", DIRECTORY)] or list(inner.refused)
    reasons = sorted({one.reason for one in whole})
    reason = reasons[0] if len(reasons) == 1 else "nothing_readable"
    return UnparsedLog(reason, _said(whole), inner.wrapper)


def _said(refused: list[RefusedInner]) -> str:
    most = 5
    said = [f"{one.member}: {one.detail}" if one.member else one.detail for one in refused[:most]]
    more = [f"and {len(refused) - most} more"] if len(refused) > most else []
    return "; ".join(said + more)[:1_000]


def _log(
    delivery: Delivery, path: Path, content_sha256: str, size_bytes: int, member: str = ""
) -> OwnedLog:
    assert delivery.sha256 is not None
    return OwnedLog(
        log_id(delivery.client, content_sha256),
        delivery.delivery_id,
        delivery.client,
        delivery.vehicle,
        content_sha256,
        delivery.received_at,
        size_bytes,
        delivery.sha256,
        beginning_of(path, size_bytes),
        member,
    )


def beginning_of(path: Path, size_bytes: int) -> Beginning:
    """How a log in scratch begins."""
    with path.open("rb") as file:

        def read(start: int, length: int) -> bytes:
            file.seek(start)
            return file.read(length)

        return beginning(size_bytes, read)


def is_wrapper(path: Path) -> bool:
    """Whether the file may hold other files, by its first bytes."""
    with path.open("rb") as file:
        return looks_wrapped(file.read(HEAD_BYTES))
