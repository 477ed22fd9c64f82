"""Verify: read each object once, hash it on the way, decide what it is.

Bytes that cannot be trusted go to quarantine, see `quarantine`. Nothing leaves landing here.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from logbox_pipeline.adapters import catalog_deliveries as catalog
from logbox_pipeline.adapters.catalog_batches import Claim, fence, request_failures
from logbox_pipeline.adapters.catalog_deliveries import (
    UNREAD,
    Delivery,
    Gone,
    Refused,
    Verified,
    Waits,
)
from logbox_pipeline.core import keys
from logbox_pipeline.core.digest import CHUNK_BYTES, composite_checksum, likely_part_sizes
from logbox_pipeline.core.errors import ObjectSealed, PermanentError, RequestFailed, TransientError
from logbox_pipeline.core.ports import Download
from logbox_pipeline.core.verification import (
    Decision,
    Declared,
    DeclaredBy,
    Refusal,
    Verdict,
    decide,
    declared_in_headers,
    declared_in_sidecar,
)
from logbox_pipeline.steps.quarantine import quarantine_file, quarantine_unread
from logbox_pipeline.steps.site import TRANSFERS, Site

Outcome = Verified | Refused | Gone | Waits

_MOST_LOOKS = 5
"""At bytes that no digest vouches for, after the first."""

_AWAY_AFTER = 2 * TRANSFERS
"""Deliveries in a row that could not be read: is the store away, so that the others need not be
tried?"""

_PATIENT_ATTEMPTS = 3
"""Attempts that a batch makes as a whole. After them, what cannot be read leaves it; what has left
another batch for that does so at once."""

_READ_AGAIN_FIRST = timedelta(seconds=10)
_READ_AGAIN_MOST = timedelta(minutes=5)


@dataclass(frozen=True)
class VerifyReport:
    """What was read and decided. Sizes in bytes."""

    read_bytes: int
    verified: int
    refused: tuple[Refused, ...]
    gone: tuple[Gone, ...]
    waiting: int

    @property
    def not_kept(self) -> tuple[Refused | Gone, ...]:
        return (*self.refused, *self.gone)


def verify(site: Site, held: Claim) -> VerifyReport:
    """Read and judge every delivery of the batch that has not been refused already.

    Leaves each fit log at `scratch_file`. What again and again cannot be read is put off, so that
    it does not keep the others. Raises TransientError when a store is away.
    """
    with site.transaction() as cursor:
        deliveries = catalog.of_batch(cursor, held.batch_id, "received", "verified", "archived")
        failed_before = request_failures(cursor, held.batch_id)
    folder = site.folder(held)
    folder.mkdir(parents=True, exist_ok=True)
    outcomes, unread = _examine_all(
        site, deliveries, folder, may_put_off=failed_before >= _PATIENT_ATTEMPTS
    )
    if unread and not _answers(site):
        raise unread[0].error
    outcomes += [_put_off(site, one) for one in unread]
    verified = [one for one in outcomes if isinstance(one, Verified)]
    refused = [one for one in outcomes if isinstance(one, Refused)]
    gone = [one for one in outcomes if isinstance(one, Gone)]
    waits = [one for one in outcomes if isinstance(one, Waits)]
    site.reach("after_quarantine_put")
    archived_before = {one.delivery_id for one in deliveries if one.state == "archived"}
    with site.transaction() as cursor:
        fence(cursor, held)
        newly = [one for one in verified if one.delivery_id not in archived_before]
        catalog.record_verified(cursor, newly, site.now())
        catalog.record_refused(cursor, refused, site.now())
        catalog.record_gone(cursor, gone, site.now())
        catalog.record_waiting(cursor, waits)
    site.reach("after_verified")
    sizes = {one.delivery_id: one.size_bytes for one in deliveries}
    return VerifyReport(
        sum(sizes[one.delivery_id] for one in verified),
        len(verified),
        tuple(refused),
        tuple(gone),
        len(waits),
    )


def scratch_file(folder: Path, delivery_id: UUID) -> Path:
    """Where the bytes of a verified delivery stand while its batch is worked on."""
    return folder / f"{delivery_id}.log"


@dataclass(frozen=True)
class _Unread:
    delivery: Delivery
    error: TransientError


def _examine_all(
    site: Site, deliveries: Sequence[Delivery], folder: Path, *, may_put_off: bool
) -> tuple[list[Outcome], list[_Unread]]:
    """(what was read and judged, what the store did not give and may be put off)."""
    outcomes: list[Outcome] = []
    unread: list[_Unread] = []
    in_a_row = 0
    with ThreadPoolExecutor(TRANSFERS) as threads:
        begun = [threads.submit(_examined, site, one, folder) for one in deliveries]
        try:
            for delivery, examined in zip(deliveries, begun, strict=True):
                try:
                    outcomes.append(examined.result())
                    in_a_row = 0
                except TransientError as error:
                    in_a_row += 1
                    is_known = delivery.reason == UNREAD
                    # What an earlier attempt archived is read from there: no drone's doing.
                    if not (may_put_off or is_known) or delivery.state == "archived":
                        raise
                    if in_a_row % _AWAY_AFTER == 0 and not _answers(site):
                        raise
                    unread.append(_Unread(delivery, error))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
    return outcomes, unread


def _answers(site: Site) -> bool:
    try:
        site.landing.list_page(keys.LANDING_PREFIX, most=1)
    except TransientError:
        return False
    return True


def _put_off(site: Site, unread: _Unread) -> Waits:
    """To be read again after as long as it has been there, five minutes at most."""
    now = site.now()
    age = now - unread.delivery.received_at
    wait = min(max(age, _READ_AGAIN_FIRST), _READ_AGAIN_MOST)
    return Waits(unread.delivery.delivery_id, now + wait, unread.error.message)


def _examined(site: Site, delivery: Delivery, folder: Path) -> Outcome:
    """What a drone may do to its own upload, such as to encrypt it with a key that it keeps, is a
    finding about that one delivery: it must not fail those that share its batch."""
    try:
        return _examine(site, delivery, folder)
    except ObjectSealed as sealed:
        if delivery.state == "archived" or delivery.left_landing_at is not None:
            raise  # not the drone's object any more
        scratch_file(folder, delivery.delivery_id).unlink(missing_ok=True)
        detail = f"{sealed.message}; it stays in landing until it is uploaded again"
        return Refused(
            delivery.delivery_id, None, None, None, None,
            Verdict.UNREADABLE, Refusal.SEALED, detail, None,
        )  # fmt: skip


def _examine(site: Site, delivery: Delivery, folder: Path) -> Outcome:
    path = scratch_file(folder, delivery.delivery_id)
    if delivery.state == "archived":
        return _read_again(site, delivery, path)
    key = keys.from_text(delivery.landing_key)
    if delivery.client == keys.UNKNOWN_CLIENT or isinstance(
        keys.parse_landing_key(key), keys.UnsafeKey
    ):
        return _refuse_key(site, delivery, key, path)
    limit = site.settings.max_log_bytes
    if delivery.size_bytes > limit and delivery.released_at is None:
        return quarantine_unread(
            site,
            delivery,
            Refusal.TOO_LARGE,
            f"{delivery.size_bytes} bytes; LOGBOX_MAX_LOG_BYTES allows {limit}",
        )
    judged = _judge(site, delivery, key, path)
    if isinstance(judged, _Judged) and judged.decision.is_unproven:
        judged = _judge_again(site, delivery, key, path, judged)
    if isinstance(judged, Gone):
        return judged
    download, declared, sidecar_version_id = judged.download, judged.declared, judged.sidecar
    decision = judged.decision
    version_id = download.stored.version_id if delivery.left_landing_at is None else None
    if decision.action == "wait":
        path.unlink()
        return Waits(delivery.delivery_id, _waits_until(site, delivery))
    if decision.action == "archive":
        return Verified(
            delivery.delivery_id,
            version_id,
            sidecar_version_id,
            declared,
            download.sha256,
            decision.verdict,
        )
    assert decision.refusal is not None
    assert decision.detail is not None
    refused = Refused(
        delivery.delivery_id,
        version_id,
        sidecar_version_id,
        declared,
        download.sha256,
        decision.verdict,
        decision.refusal,
        decision.detail,
        quarantine_file(site, delivery, path, download.sha256, decision.refusal),
    )
    path.unlink()
    return refused


@dataclass(frozen=True)
class _Judged:
    """Bytes at `scratch_file`, and what they are taken for."""

    download: Download
    declared: Declared | None
    sidecar: str | None
    decision: Decision


def _judge(site: Site, delivery: Delivery, key: str, path: Path) -> _Judged | Gone:
    download = _download(site, delivery, key, path)
    if isinstance(download, Gone):
        return download
    declared, sidecar_version_id = _declared(site, delivery, key, path, download)
    decision = decide(
        declared,
        download.sha256,
        download.size_bytes,
        policy=site.settings.digest_policy,
        waits_until=_waits_until(site, delivery),
        released=delivery.released_at is not None,
        now=site.now(),
    )
    return _Judged(download, declared, sidecar_version_id, decision)


def _judge_again(
    site: Site, delivery: Delivery, key: str, path: Path, first: _Judged
) -> _Judged | Gone:
    """Bytes and digests are damaged on their way too: what no digest vouches for is what it is
    when it is so twice. Raises RequestFailed when the bytes are not.

    A sidecar that says something else each time is its drone's doing, and no reason to keep the
    others of the batch waiting: after _MOST_LOOKS the last one counts.
    """
    for _ in range(_MOST_LOOKS):
        again = _judge(site, delivery, key, path)
        if isinstance(again, Gone) or not again.decision.is_unproven:
            return again
        _require_same(site, key, first.download, again.download)
        if again.declared == first.declared:
            return again
        first = again
    return first


def _require_same(site: Site, key: str, first: Download, again: Download) -> None:
    if first.sha256 != again.sha256:
        raise RequestFailed(
            f"s3://{site.landing.bucket}/{key} was read twice: {first.sha256}, then {again.sha256}"
        )


def _waits_until(site: Site, delivery: Delivery) -> datetime:
    return delivery.received_at + timedelta(seconds=site.settings.sidecar_grace_s)


def _refuse_key(site: Site, delivery: Delivery, key: str, path: Path) -> Outcome:
    parsed = keys.parse_landing_key(key)
    why = parsed.why if isinstance(parsed, keys.UnsafeKey) else "no client has this folder"
    if delivery.size_bytes > site.settings.max_log_bytes:
        return quarantine_unread(site, delivery, Refusal.UNSAFE_KEY, f"unsafe key: {why}")
    first = _download(site, delivery, key, path)
    if isinstance(first, Gone):
        return first
    download = _download(site, delivery, key, path)
    if isinstance(download, Gone):
        return download
    _require_same(site, key, first, download)
    refused = Refused(
        delivery.delivery_id,
        download.stored.version_id,
        None,
        None,
        download.sha256,
        Verdict.UNREADABLE,
        Refusal.UNSAFE_KEY,
        f"unsafe key: {why}; known clients are in `logbox client list`",
        quarantine_file(site, delivery, path, download.sha256, Refusal.UNSAFE_KEY),
    )
    path.unlink()
    return refused


def _download(site: Site, delivery: Delivery, key: str, path: Path) -> Download | Gone:
    """Read exactly the object that was listed, even when a newer one stands over it by now."""
    if delivery.left_landing_at is not None:
        return _download_refused(site, delivery, path)
    download = site.landing.download(key, path, version_id=delivery.version_id)
    if download is not None and _is_listed(download, delivery):
        return download
    # Some stores fail on listing versions of keys with control characters.
    may_look = delivery.version_id is None and not any(ord(char) < 32 for char in key)
    older = None
    # What was deleted stays deleted, though its version may still be there.
    if download is not None and may_look:
        older = site.landing.find_version(key, delivery.etag, delivery.received_at)
    if older is not None:
        download = site.landing.download(key, path, version_id=older)
        if download is not None and _is_listed(download, delivery):
            return download
    path.unlink(missing_ok=True)
    return Gone(
        delivery.delivery_id,
        "deleted" if download is None else "overwritten",
        "the object was listed and is not there any more"
        if download is None
        else "the object was written over before it was read; what stands there now is a "
        "delivery of its own",
    )


def _is_listed(download: Download, delivery: Delivery) -> bool:
    stored = download.stored
    # Listings may round to the second or not; answers to GET always do.
    is_same_time = stored.received_at.replace(microsecond=0) == delivery.received_at.replace(
        microsecond=0
    )
    return stored.etag == delivery.etag and is_same_time


def _download_refused(site: Site, delivery: Delivery, path: Path) -> Download:
    assert delivery.quarantine_key is not None
    download = site.landing.download(delivery.quarantine_key, path)
    if download is not None and download.sha256 != delivery.sha256:
        download = site.landing.download(delivery.quarantine_key, path)
    if download is None:
        raise PermanentError(
            f"delivery {delivery.delivery_id}: its quarantine copy "
            f"{delivery.quarantine_key} is missing",
            hint="restore it from an older version of that key, then `logbox retry`",
        )
    if delivery.sha256 is not None and download.sha256 != delivery.sha256:
        raise PermanentError(
            f"{delivery.quarantine_key} has changed: expected {delivery.sha256}, "
            f"found {download.sha256}",
            hint="restore it from an older version of that key, then `logbox retry`",
        )
    return download


def _read_again(site: Site, delivery: Delivery, path: Path) -> Verified:
    """Bytes that an earlier attempt archived: read back from the archive and proven once more."""
    assert delivery.sha256 is not None
    with site.transaction() as cursor:
        places = catalog.reserve_objects(
            cursor,
            [
                (
                    delivery.client,
                    delivery.sha256,
                    keys.archive_key(delivery.client, delivery.sha256, delivery.name),
                    delivery.size_bytes,
                )
            ],
        )
    archive_key, version_id, _ = places[delivery.client, delivery.sha256]
    download = site.archive.download(archive_key, path, version_id=version_id)
    if download is None or download.sha256 != delivery.sha256:
        found = "nothing" if download is None else download.sha256
        raise PermanentError(
            f"s3://{site.archive.bucket}/{archive_key}: expected {delivery.sha256}, found {found}",
            hint="this is drift in the archive; see `logbox status`",
        )
    return Verified(
        delivery.delivery_id, None, None, None, delivery.sha256, Verdict(delivery.verdict or "")
    )


def _declared(
    site: Site, delivery: Delivery, key: str, path: Path, download: Download
) -> tuple[Declared | None, str | None]:
    """(the declared digest, the version of the sidecar it was read from)."""
    stored = download.stored
    if delivery.left_landing_at is not None:
        # These bytes come out of quarantine: what is said there of their digest is our own word.
        declared = _declared_before(delivery)
    else:
        declared = declared_in_headers(stored.metadata, stored.checksum_sha256)
        if declared is None and stored.checksum_sha256 and "-" in stored.checksum_sha256:
            declared = _composite(site, key, path, download)
    if declared is not None:
        return declared, None
    sidecar = site.landing.read(keys.sidecar_key(key))
    if sidecar is None:
        return None, None
    content, its = sidecar
    declared = declared_in_sidecar(content)
    if declared.sha256 != download.sha256 and not _is_current(site, key, download):
        # It speaks of newer bytes that stand over these, and stays for their delivery.
        return None, None
    return declared, its.version_id


def _is_current(site: Site, key: str, download: Download) -> bool:
    standing = site.landing.head(key)
    return standing is None or standing.version_id == download.stored.version_id


def _declared_before(delivery: Delivery) -> Declared | None:
    if delivery.declared_by is None:
        return None
    said = delivery.declared_sha256
    return Declared(DeclaredBy(delivery.declared_by), said, said or "no digest")


def _composite(site: Site, key: str, path: Path, download: Download) -> Declared | None:
    said = download.stored.checksum_sha256
    assert said is not None
    part_bytes = site.landing.part_size(key, download.stored.version_id)
    if part_bytes is not None:
        computed = composite_checksum(_chunks(path), part_bytes)
        return Declared(DeclaredBy.CHECKSUM, download.sha256 if computed == said else None, said)
    # The store does not tell: a usual size that gives its checksum proves the bytes as well.
    for likely in likely_part_sizes(download.size_bytes, int(said.rpartition("-")[2])):
        if composite_checksum(_chunks(path), likely) == said:
            return Declared(DeclaredBy.CHECKSUM, download.sha256, said)
    return None


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
