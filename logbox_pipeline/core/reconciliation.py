"""Decide from inventories what is not where, or not what, it should be. No I/O.

A comparison gets two sides and gives drifts. Whoever acts on one looks at its subject once more
first: what was in flight while the sides were listed is no drift. `without_echoes` leaves of many
differences with one cause the one that names it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from logbox_pipeline.core.content import Content
from logbox_pipeline.core.digest import drift_id
from logbox_pipeline.core.errors import PermanentError
from logbox_pipeline.core.keys import SEALS_PREFIX, SIGNATURE_SUFFIX, client_of_chain
from logbox_pipeline.core.ports import ListedObject

LOST_CATALOG = "catalog"
"""Subject of the one drift that says that the catalog is empty and the archive is not."""


class DriftKind(StrEnum):
    MISSING = "missing"
    UNEXPECTED = "unexpected"
    MISMATCH = "mismatch"
    STALE = "stale"
    UNREADABLE = "unreadable"


class Place(StrEnum):
    LANDING = "landing"
    ARCHIVE = "archive"
    REPLICA = "replica"
    POSTGRES = "postgres"
    LAKE = "lake"
    SEALS = "seals"


class Comparison(StrEnum):
    """What is compared with what; in the order in which it is done."""

    LANDING = "landing x deliveries"
    CATALOG = "deliveries x objects x logs"
    ARCHIVE = "archive x objects and manifests"
    ARCHIVE_BYTES = "archive bytes x digests"
    REPLICA = "replica x archive"
    REPLICA_BYTES = "replica bytes x digests"
    POSTGRES_ROWS = "rows in Postgres x rows as parsed"
    LAKE_FILES = "lake x lake_files"
    LAKE_ROWS = "rows in the lake x rows as parsed"
    MEASURE = "rows as parsed x both stores"
    SEALS = "seals"


@dataclass(frozen=True)
class Drift:
    """One difference. `subject`: the key of an object, or `<table>/<log_id>`, `logs/...`,
    `objects/...`, `catalog` in Postgres."""

    kind: DriftKind
    place: Place
    subject: str
    expected: str | None = None
    found: str | None = None
    client: str | None = None
    log_id: UUID | None = None
    table_name: str | None = None

    @property
    def drift_id(self) -> UUID:
        return drift_id(self.kind, self.place, self.subject)


@dataclass(frozen=True)
class ExpectedObject:
    """What the catalog says of a key. `must_stand` False: it may be there or not, something is in
    flight. Size and digest None: not known."""

    key: str
    must_stand: bool
    size_bytes: int | None = None
    sha256: str | None = None
    client: str | None = None
    table_name: str | None = None


def comparison_of(
    kind: DriftKind, place: Place, subject: str, log_id: UUID | None, table_name: str | None
) -> Comparison:
    """The comparison that finds such a drift, and that alone can say that it is gone."""
    is_bytes = kind in (DriftKind.MISMATCH, DriftKind.UNREADABLE)
    match place:
        case Place.LANDING:
            return Comparison.LANDING
        case Place.ARCHIVE:
            return Comparison.ARCHIVE_BYTES if is_bytes else Comparison.ARCHIVE
        case Place.REPLICA:
            return Comparison.REPLICA_BYTES if is_bytes else Comparison.REPLICA
        case Place.POSTGRES if subject.startswith("log_tables/"):
            return Comparison.MEASURE
        case Place.POSTGRES:
            return Comparison.CATALOG if table_name is None else Comparison.POSTGRES_ROWS
        case Place.LAKE if subject.startswith("lake/") and not is_bytes:
            return Comparison.LAKE_FILES
        case Place.LAKE:
            return Comparison.LAKE_ROWS
        case Place.SEALS:
            return Comparison.SEALS


# Objects

_Item = TypeVar("_Item", ExpectedObject, ListedObject)


def compare_listing(
    place: Place, expected: Iterable[ExpectedObject], listed: Iterable[ListedObject]
) -> Iterator[Drift]:
    """Walk two inventories side by side; memory does not grow with them.

    Both ascend by key, as UTF-8 sorts; neither has a key twice.
    Raises PermanentError when one does not.
    """
    left, right = _ascending(expected, "the catalog"), _ascending(listed, "the listing")
    wanted, stands = next(left, None), next(right, None)
    while wanted is not None or stands is not None:
        if stands is None or (wanted is not None and wanted.key < stands.key):
            assert wanted is not None
            drift = judge_object(place, wanted.key, wanted, None)
            wanted = next(left, None)
        elif wanted is None or stands.key < wanted.key:
            drift = judge_object(place, stands.key, None, stands.size_bytes)
            stands = next(right, None)
        else:
            drift = judge_object(place, wanted.key, wanted, stands.size_bytes)
            wanted, stands = next(left, None), next(right, None)
        if drift is not None:
            yield drift


def _ascending(items: Iterable[_Item], whose: str) -> Iterator[_Item]:
    before = ""
    for item in items:
        if item.key <= before:
            raise PermanentError(
                f"{whose} gives key {item.key!r} after {before!r}: keys must ascend",
                hint="this store does not list in key order: report it",
            )
        before = item.key
        yield item


def judge_object(
    place: Place, key: str, wanted: ExpectedObject | None, size_bytes: int | None
) -> Drift | None:
    """What is wrong at a key. size_bytes: of what stands there; None: nothing does."""
    if wanted is None:
        if size_bytes is None:
            return None
        return Drift(
            DriftKind.UNEXPECTED, place, key, "nothing: the catalog knows no such key",
            _bytes(size_bytes),
        )  # fmt: skip
    if not wanted.must_stand:
        return None
    if size_bytes is None:
        return _of(wanted, DriftKind.MISSING, place, describe(wanted), "nothing")
    if wanted.size_bytes is not None and wanted.size_bytes != size_bytes:
        return _of(wanted, DriftKind.MISMATCH, place, describe(wanted), _bytes(size_bytes))
    return None


def judge_bytes(place: Place, wanted: ExpectedObject, size_bytes: int, sha256: str) -> Drift | None:
    """What is wrong with an object that was read whole."""
    if (size_bytes, sha256) == (wanted.size_bytes, wanted.sha256):
        return None
    found = f"{_bytes(size_bytes)}, sha256 {sha256}"
    return _of(wanted, DriftKind.MISMATCH, place, describe(wanted), found)


def gone_or_unreadable(place: Place, wanted: ExpectedObject, kind: DriftKind, found: str) -> Drift:
    return _of(wanted, kind, place, describe(wanted), found)


def describe(wanted: ExpectedObject) -> str:
    said = [
        "an object" if wanted.size_bytes is None else _bytes(wanted.size_bytes),
        *([] if wanted.sha256 is None else [f"sha256 {wanted.sha256}"]),
    ]
    return ", ".join(said)


def _of(wanted: ExpectedObject, kind: DriftKind, place: Place, expected: str, found: str) -> Drift:
    return Drift(
        kind, place, wanted.key, expected, found, wanted.client, table_name=wanted.table_name
    )


def _bytes(size_bytes: int) -> str:
    return f"{size_bytes} bytes"


# Rows


def compare_contents(
    place: Place,
    table_name: str,
    expected: Mapping[UUID, Content],
    found: Mapping[UUID, Content],
) -> list[Drift]:
    """Logs whose rows in a table are not what was parsed, by rows and digest."""
    return [
        judge_rows(place, table_name, log_id, expected.get(log_id), found.get(log_id))
        for log_id in sorted(expected.keys() | found.keys())
        if expected.get(log_id) != found.get(log_id)
    ]


def judge_rows(
    place: Place,
    table_name: str,
    log_id: UUID,
    expected: Content | int | None,
    found: Content | int | None,
) -> Drift:
    """A difference that was found. A number: rows that were counted, not digested."""
    if found is None:
        kind = DriftKind.MISSING
    else:
        kind = DriftKind.UNEXPECTED if expected is None else DriftKind.MISMATCH
    return Drift(
        kind, place, f"{table_name}/{log_id}", describe_rows(expected), describe_rows(found),
        log_id=log_id, table_name=table_name,
    )  # fmt: skip


def describe_rows(content: Content | int | None) -> str:
    """A side of a drift about rows, in words."""
    if content is None:
        return "no rows"
    if isinstance(content, int):
        return f"{content} rows"
    return f"{content.rows} rows, digest {content.digest}"


# One cause, one drift


def without_echoes(drifts: Iterable[Drift]) -> list[Drift]:
    """Each drift once, and none that another one explains."""
    once = list({one.drift_id: one for one in reversed(list(drifts))}.values())[::-1]
    found = _with_wrong_measures(once)
    lost_objects = {
        tuple(one.subject.split("/")[1:])
        for one in found
        if one.place is Place.POSTGRES and one.subject.startswith("objects/")
    }
    logs = {
        one.log_id
        for one in found
        if one.place is Place.POSTGRES and one.table_name is None and one.log_id is not None
    }
    in_postgres = {one.table_name for one in found if one.place is Place.POSTGRES} - {None}
    # Seals are verified in the archive; a stray among them changes nothing in the others.
    in_archive = [one for one in found if one.place is Place.ARCHIVE]
    altered = {_sealed(one.subject) for one in in_archive}
    altered |= {
        one.subject.rpartition("/")[0]
        for one in in_archive
        if one.subject.startswith(SEALS_PREFIX) and one.kind is not DriftKind.UNEXPECTED
    }
    return [one for one in found if not _is_echo(one, lost_objects, logs, in_postgres, altered)]


def _is_echo(
    one: Drift,
    lost_objects: Collection[tuple[str, ...]],
    logs: Collection[UUID | None],
    in_postgres: Collection[str | None],
    altered: AbstractSet[str],
) -> bool:
    match one.place:
        case Place.ARCHIVE | Place.REPLICA if one.kind is DriftKind.UNEXPECTED:
            # Nobody knows the object because its row in Postgres is gone.
            return _object_of(one.subject) in lost_objects
        case Place.POSTGRES | Place.LAKE if one.table_name is not None and one.log_id is not None:
            # The log's own row is wrong, or gone.
            return one.log_id in logs
        case Place.LAKE if one.kind is DriftKind.MISMATCH and not one.subject.startswith("lake/"):
            # A sum over many logs, one of which is named already.
            return one.log_id is None and (one.table_name in in_postgres or bool(logs))
        case Place.SEALS:
            # The seal does not fit because the file it lists does not, or the list itself.
            return bool({_sealed(one.subject), _chain_of(one.subject)} & altered)
    return False


def _sealed(archive_key: str) -> str:
    """A signature stands and falls with what it signs."""
    return archive_key.removesuffix(SIGNATURE_SUFFIX)


def _chain_of(archive_key: str) -> str:
    """The folder of the seals that list a manifest or an entry of the journal."""
    return f"{SEALS_PREFIX}{client_of_chain(archive_key)}"


def _object_of(archive_key: str) -> tuple[str, ...]:
    """(client, sha256) of an object's key; anything of other keys."""
    parts = archive_key.split("/")
    return (parts[1], parts[-1].partition(".")[0]) if len(parts) == 4 else ()


def _with_wrong_measures(drifts: list[Drift]) -> list[Drift]:
    """Where both stores differ from the measure in the same way, the measure is wrong."""
    seen = {(one.place, one.table_name, one.log_id, one.expected, one.found) for one in drifts}
    found = []
    for one in drifts:
        others = [
            (place, one.table_name, one.log_id, one.expected, one.found) in seen
            for place in (Place.POSTGRES, Place.LAKE)
        ]
        if one.log_id is None or one.table_name is None or not all(others):
            found.append(one)
        elif one.place is Place.POSTGRES:
            found.append(
                Drift(
                    DriftKind.MISMATCH,
                    Place.POSTGRES,
                    f"log_tables/{one.subject}",
                    one.found,
                    one.expected,
                    one.client,
                    one.log_id,
                    one.table_name,
                )
            )
    return found
