"""Repair of objects: archive, replica, seals and strays, and the rows that know of them.

What stands is looked at before it is decided what is wrong, the object or its row; nothing that
proves itself is hidden or written over.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from logbox_pipeline.adapters import catalog_inventory, catalog_repairs
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core import keys
from logbox_pipeline.core.reconciliation import (
    Drift,
    DriftKind,
    ExpectedObject,
    Place,
    judge_object,
)
from logbox_pipeline.core.repair import (
    Action,
    Mended,
    Proof,
    Proven,
    Refused,
    action_for,
    action_for_other_bytes,
    action_for_stray,
)
from logbox_pipeline.core.told import Subject
from logbox_pipeline.steps.proof import proven
from logbox_pipeline.steps.recognize import SignedLists, recognize
from logbox_pipeline.steps.scratch import scratch_folder
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.told import Told
from logbox_pipeline.steps.verify_seals import stored_digest

_KEPT = (
    "the catalog lacks rows that the archive proves, so nothing is hidden. If the database is an "
    "older one, `logbox rebuild --database NAME` makes a whole one beside it"
)


class Evidence:
    """What is looked up once for all repairs of one call, when it is first asked for.

    `hidden`: keys whose object was hidden by this call: of two copies one stays until somebody has
    looked.
    """

    def __init__(self, site: Site, drifts: Collection[Drift]) -> None:
        self.lists = SignedLists(site)
        self.hidden: set[str] = set()
        strays = [one.subject for one in drifts if action_for(one) is Action.QUARANTINE_STRAY]
        self._told = Told(site, [(Subject.LAKE_FILE, key) for key in strays], None)

    def told_file(self, lake_key: str) -> str | None:
        """The row of a Parquet file that the catalog does not know, as JSON; None when the archive
        was never told of one. Raises TransientError or StoreRefused."""
        place = Subject.LAKE_FILE, lake_key
        return self._told.rows([place]).get(place)


@dataclass(frozen=True)
class Choice:
    """How a drift is to be mended; `stands`: what is there and proves itself."""

    action: Action
    stands: Proven | None = None


def choose(site: Site, drift: Drift, known: Evidence) -> Choice:
    """What mends a drift, by what stands there now. Raises TransientError or StoreRefused."""
    action = action_for(drift)
    is_stored = drift.place in (Place.ARCHIVE, Place.REPLICA)
    if action in (Action.HIDE_STRAY, Action.QUARANTINE_STRAY) and looks_right(site, drift):
        return Choice(Action.NOTHING)
    if action is Action.QUARANTINE_STRAY:
        row = known.told_file(drift.subject)
        is_told = row is not None and catalog_repairs.is_of_live_file(
            row, stored_digest(site.lake, drift.subject)
        )
        return Choice(Action.RESTORE_FILE_ROW if is_told else action)
    if action is Action.HIDE_STRAY:
        stands = recognize(store_of(site, drift.place), drift.subject, known.lists)
        has_delivery = False
        if (archived := keys.parse_archive_key(drift.subject)) is not None:
            with site.transaction() as cursor:
                has_delivery = catalog_repairs.has_delivery(cursor, *archived)
        return Choice(action_for_stray(drift.place, stands, has_delivery=has_delivery), stands)
    if action is Action.COPY_OBJECT and is_stored and drift.kind is DriftKind.MISMATCH:
        stands = recognize(store_of(site, drift.place), drift.subject, known.lists)
        wanted = _expected(site, Place.ARCHIVE, drift.subject)
        return Choice(action_for_other_bytes(wanted, stands), stands)
    return Choice(action)


def looks_right(site: Site, drift: Drift) -> bool:
    """Whether an object stands, or is away, as the catalog says, by key and size."""
    standing = store_of(site, drift.place).head(drift.subject)
    wanted = _expected(site, drift.place, drift.subject)
    size_bytes = None if standing is None else standing.size_bytes
    return judge_object(drift.place, drift.subject, wanted, size_bytes) is None


def store_of(site: Site, place: Place) -> S3Bucket:
    """Raises Refused when the site has no replica any more."""
    if place is Place.LAKE:
        return site.lake
    if place is not Place.REPLICA:
        return site.archive
    if site.replica is None:
        raise Refused("this site has no replica any more")
    return site.replica


def _expected(site: Site, place: Place, key: str) -> ExpectedObject | None:
    with site.transaction() as cursor:
        return catalog_inventory.expected_at(cursor, place, [key]).get(key)


# Copies


def copy_object(site: Site, drift: Drift, known: Evidence) -> Mended:
    """A new version of the object, from whichever store or older version holds its digest."""
    key = drift.subject
    damaged = store_of(site, drift.place)
    listed = known.lists.find(key)
    wanted = _expected(site, Place.ARCHIVE, key)
    if drift.place is Place.SEALS:
        # The catalog's own word on it is what the seal disproves, and only a signed one can.
        if listed is None or keys.manifest_kind(key) is None:
            raise Refused(f"no seal that is signed with a key of this site lists {key}")
        wanted = ExpectedObject(key, True, None, listed[0])
    if wanted is None or wanted.sha256 is None:
        raise Refused(f"nobody knows what {key} should be")
    with scratch_folder(site, "repair") as folder:
        path = folder / "object"
        source = _find_proven(wanted, _others(site, drift.place), damaged, path)
        put = damaged.put_file(key, path, wanted.sha256)
        assert put is not None
        stored = proven(damaged, key, path, wanted.sha256, put)
    with site.transaction() as cursor:
        if listed is not None and drift.place is Place.SEALS:
            stands = Proven(key, wanted.sha256, stored.size_bytes, Proof.SEAL)
            _put_manifest(cursor, stands, listed[1], stored.received_at)
        if drift.place is not Place.REPLICA:
            catalog_repairs.set_version(cursor, key, stored.version_id)
    return Mended(source, f"{stored.size_bytes} bytes, sha256 {wanted.sha256}, as a new version")


def _others(site: Site, place: Place) -> list[tuple[str, S3Bucket]]:
    """The other stores that may hold the same."""
    if place is Place.REPLICA:
        return [("archive", site.archive)]
    return [] if site.replica is None else [("replica", site.replica)]


def _find_proven(
    wanted: ExpectedObject, others: list[tuple[str, S3Bucket]], damaged: S3Bucket, path: Path
) -> str:
    """Bring the bytes to `path`; where they were found."""
    looked = []
    for name, store in others:
        download = store.download(wanted.key, path)
        if download is not None and download.sha256 == wanted.sha256:
            return name
        looked.append(f"{name}: {'nothing' if download is None else download.sha256}")
    for name, store in [*others, ("the same bucket", damaged)]:
        for version_id in store.versions(wanted.key):
            download = store.download(wanted.key, path, version_id=version_id)
            if download is not None and download.sha256 == wanted.sha256:
                return f"an older version in {name}"
    raise Refused(
        f"no side holds sha256 {wanted.sha256}: {', '.join(looked) or 'there is no replica'}, and "
        "no older version does"
    )


# Strays


def keep(stands: Proven | None) -> Mended:
    """Raises Refused: what the archive proves is never hidden."""
    raise Refused(f"{_KEPT} ({'' if stands is None else stands.proof})")


def hide_stray(site: Site, drift: Drift, known: Evidence) -> Mended:
    """Put a delete marker over an object that proves nothing."""
    key = drift.subject
    store = store_of(site, drift.place)
    if _expected(site, drift.place, key) is not None:
        raise Refused("the catalog knows it by now")
    if store.versioning() != "Enabled":
        raise Refused(f"bucket {store.bucket} is not versioned: it might be the last copy")
    if drift.place is Place.REPLICA and site.archive.head(key) is not None:
        raise Refused("the archive holds this key too: what that is comes first")
    if key in known.hidden:
        raise Refused(
            "the same key was hidden in the archive just now: look at it, then repair once more"
        )
    standing = store.head(key)
    store.delete(key)
    known.hidden.add(key)
    version = "" if standing is None else f" {standing.version_id}"
    return Mended(None, f"deleted; its bytes stay as version{version}")


def quarantine_stray(site: Site, drift: Drift) -> Mended:
    """Move a Parquet file that nobody was told of out of readers' way."""
    if _expected(site, Place.LAKE, drift.subject) is not None:
        raise Refused("the catalog knows it by now")
    name = drift.subject.rpartition("/")[2] or None
    to = keys.quarantine_key(keys.UNKNOWN_CLIENT, "stray", uuid4(), name)
    with scratch_folder(site, "repair") as folder:
        path = folder / "object"
        download = site.lake.download(drift.subject, path)
        if download is not None:
            put = site.landing.put_file(to, path, download.sha256)
            assert put is not None
            proven(site.landing, to, path, download.sha256, put)
    site.lake.delete(drift.subject)
    return Mended(None, f"moved to s3://{site.landing.bucket}/{to}")


# Rows that are wrong or gone, of objects that are right


def restore_file_row(site: Site, drift: Drift, known: Evidence) -> Mended:
    """The row of a live Parquet file, whose digest is that of the file that stands."""
    row = known.told_file(drift.subject)
    if row is None:
        raise Refused(f"the archive was never told of {drift.subject}")
    with site.transaction() as cursor:
        catalog_repairs.put_back(cursor, Subject.LAKE_FILE, row)
    return Mended("journal", "the row as it was told")


def restore_manifest_row(site: Site, stands: Proven | None, known: Evidence) -> Mended:
    """The row of a manifest or journal entry that a signed seal lists."""
    listed = None if stands is None else known.lists.find(stands.key)
    standing = None if stands is None else site.archive.head(stands.key)
    if stands is None or listed is None or standing is None:
        raise Refused("it does not stand there any more, or no signed seal lists it")
    with site.transaction() as cursor:
        _put_manifest(cursor, stands, listed[1], standing.received_at)
    return Mended(
        listed[1],
        "the row of the file; rows of the catalog that it tells of are not looked at: if these are "
        "gone too, `logbox rebuild --database NAME` makes a whole database beside this one",
    )


def mend_row(site: Site, stands: Proven | None, known: Evidence) -> Mended:
    """What the catalog says of an object, by the object, which is proven."""
    assert stands is not None
    if stands.proof is Proof.SEAL:
        return restore_manifest_row(site, stands, known)
    with site.transaction() as cursor:
        catalog_repairs.correct_object(cursor, stands.key, stands.sha256, stands.size_bytes)
    return Mended("archive", f"{stands.size_bytes} bytes, sha256 {stands.sha256}")


def _put_manifest(cursor: Any, stands: Proven, sealed_by: str, put_at: datetime) -> None:
    kind = keys.manifest_kind(stands.key)
    if kind is None:
        raise Refused(f"{stands.key} is no name of a manifest")
    catalog_repairs.put_manifest(
        cursor, stands.key, kind[0], kind[1], stands.sha256, stands.size_bytes,
        sealed_by=sealed_by, put_at=put_at,
    )  # fmt: skip
