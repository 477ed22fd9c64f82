"""Decide what mends a drift. No I/O.

Nothing is mended from a side that is not proven by its digest, and nothing is deleted of which no
other copy stands: strays of a versioned bucket stay as older versions, others go to quarantine.
"""

from dataclasses import dataclass
from enum import StrEnum

from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.core.reconciliation import (
    LOST_CATALOG,
    Drift,
    DriftKind,
    ExpectedObject,
    Place,
)


class Action(StrEnum):
    """What a repair does."""

    COPY_OBJECT = "copy the object back"
    HIDE_STRAY = "hide the stray; its bytes stay as an older version"
    QUARANTINE_STRAY = "move the stray to quarantine"
    RESTORE_OBJECT_ROW = "restore the row as the archive was told of it"
    RESTORE_FILE_ROW = "restore the row of the Parquet file as the archive was told of it"
    RESTORE_MANIFEST_ROW = "restore the row of the manifest as a signed seal lists it"
    MEND_ROW = "correct the row: the object is proven to be what it was"
    NOTHING = "nothing: it is as it should be by now"
    KEEP = "keep it: the archive proves it, and the catalog lacks its rows"
    REBUILD = "make the catalog again from the archive"
    RESTORE_LOGS = "restore the log as the archive was told of it, and load its rows again"
    RESTORE_MEASURE = "restore log_tables as the archive was told of it"
    RELOAD_ROWS = "load the log's rows again"
    DELETE_ROWS = "delete rows that belong to no log"
    REMAKE_FILE = "write the Parquet file again"
    REMAKE_DAY = "write the Parquet files of the table and day again"
    REDRIVE = "send the delivery through the pipeline again"


@dataclass(frozen=True)
class Mended:
    """What a repair did. `source`: where the good bytes or rows came from."""

    source: str | None
    detail: str


class Refused(LogboxError):
    """No side is proven good, or there is nothing that a command could do."""


class Proof(StrEnum):
    """What shows that an object is what its key says, whatever the catalog says of it."""

    NAME = "its bytes have the digest in its name"
    SEAL = "a signed seal lists it with this digest"
    SIGNATURE = "it is signed with a key of this site"
    FORM = "it reads as what it should be, though no signed seal lists it"


@dataclass(frozen=True)
class Proven:
    """An object that stands and proves itself."""

    key: str
    sha256: str
    size_bytes: int
    proof: Proof


def next_command(drift: Drift) -> str:
    """What mends `drift`, to be typed."""
    is_lost = action_for(drift) is Action.REBUILD
    return "logbox rebuild" if is_lost else f"logbox repair {drift.drift_id}"


def action_for(drift: Drift) -> Action:
    """Which action mends `drift`, as far as it can be said without a look at what stands there."""
    match drift.place:
        case Place.ARCHIVE | Place.REPLICA:
            is_stray = drift.kind is DriftKind.UNEXPECTED
            return Action.HIDE_STRAY if is_stray else Action.COPY_OBJECT
        case Place.LANDING:
            return Action.REDRIVE
        case Place.POSTGRES:
            return _in_postgres(drift)
        case Place.LAKE:
            return _in_lake(drift)
        case Place.SEALS:
            return Action.COPY_OBJECT


def _in_postgres(drift: Drift) -> Action:
    first = drift.subject.partition("/")[0]
    if first == LOST_CATALOG and drift.table_name is None:
        return Action.REBUILD
    if first == "objects":
        return Action.RESTORE_OBJECT_ROW
    if first == "logs":
        return Action.RESTORE_LOGS
    if first == "log_tables":
        return Action.RESTORE_MEASURE
    return Action.RELOAD_ROWS


def _in_lake(drift: Drift) -> Action:
    if not drift.subject.startswith("lake/"):
        return Action.REMAKE_DAY
    if drift.kind is DriftKind.UNEXPECTED:
        return Action.QUARANTINE_STRAY
    return Action.REMAKE_FILE


def action_for_stray(place: Place, stands: Proven | None, *, has_delivery: bool) -> Action:
    """What becomes of an object of archive or replica that the catalog does not know.

    has_delivery: the catalog knows a delivery of exactly these bytes.
    """
    if stands is None:
        return Action.HIDE_STRAY
    if place is not Place.ARCHIVE:
        return Action.KEEP
    if stands.proof is Proof.NAME and has_delivery:
        return Action.RESTORE_OBJECT_ROW
    return Action.RESTORE_MANIFEST_ROW if stands.proof is Proof.SEAL else Action.KEEP


def action_for_other_bytes(wanted: ExpectedObject | None, stands: Proven | None) -> Action:
    """What becomes of an object that is not what the catalog says: what is proven stays."""
    is_proven = stands is not None and stands.proof in (Proof.NAME, Proof.SEAL)
    return Action.MEND_ROW if is_proven and wanted is not None else Action.COPY_OBJECT
