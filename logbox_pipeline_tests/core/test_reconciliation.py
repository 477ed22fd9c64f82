"""Two inventories side by side, and of many differences the ones that name a cause."""

import string
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logbox_pipeline.core.content import Content
from logbox_pipeline.core.digest import log_id
from logbox_pipeline.core.errors import PermanentError
from logbox_pipeline.core.ports import ListedObject
from logbox_pipeline.core.reconciliation import (
    Drift,
    DriftKind,
    ExpectedObject,
    Place,
    compare_contents,
    compare_listing,
    comparison_of,
    without_echoes,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)
LOG = UUID(int=5)


def listed(key: str, size_bytes: int = 1) -> ListedObject:
    return ListedObject(key, "", size_bytes, AT)


_SIDE = st.dictionaries(st.text(string.ascii_lowercase, min_size=1, max_size=2), st.integers(0, 3))


@given(_SIDE, _SIDE, st.sets(st.text(string.ascii_lowercase, min_size=1, max_size=2)))
def test_walking_side_by_side_gives_what_comparing_whole_mappings_gives(
    wanted: dict[str, int], stands: dict[str, int], in_flight: set[str]
) -> None:
    found = compare_listing(
        Place.ARCHIVE,
        (ExpectedObject(key, key not in in_flight, wanted[key]) for key in sorted(wanted)),
        (listed(key, stands[key]) for key in sorted(stands)),
    )
    settled = wanted.keys() - in_flight
    assert {(one.kind.value, one.subject) for one in found} == (
        {("missing", key) for key in settled - stands.keys()}
        | {("unexpected", key) for key in stands.keys() - wanted.keys()}
        | {("mismatch", key) for key in settled & stands.keys() if wanted[key] != stands[key]}
    )


def test_a_listing_out_of_order_is_refused_not_believed() -> None:
    with pytest.raises(PermanentError, match="keys must ascend"):
        list(compare_listing(Place.ARCHIVE, [], [listed("b"), listed("a")]))


def test_memory_does_not_grow_with_the_inventories() -> None:
    def wanted() -> Iterator[ExpectedObject]:
        for number in range(20_000):
            yield ExpectedObject(f"archive/{number:07}", True, 1, "0" * 64)

    tracemalloc.start()
    found = compare_listing(
        Place.ARCHIVE, wanted(), (listed(f"archive/{number:07}") for number in range(20_000))
    )
    assert list(found) == []
    assert tracemalloc.get_traced_memory()[1] < 200_000
    tracemalloc.stop()


def test_each_kind_of_difference_in_rows_has_its_name() -> None:
    one, two, three = (Content(rows, "0" * 32) for rows in (1, 2, 3))
    first, second, third = (UUID(int=number) for number in (1, 2, 3))
    found = compare_contents(
        Place.LAKE, "t", {first: one, second: two}, {second: three, third: one}
    )
    assert [(drift.kind.value, drift.subject) for drift in found] == [
        ("missing", f"t/{first}"),
        ("mismatch", f"t/{second}"),
        ("unexpected", f"t/{third}"),
    ]


def rows_drift(place: Place, found: str = "3 rows", log: UUID = LOG) -> Drift:
    return Drift(DriftKind.MISMATCH, place, f"t/{log}", "2 rows", found, log_id=log, table_name="t")


def test_both_stores_against_the_measure_is_one_drift_of_the_measure() -> None:
    (drift,) = without_echoes([rows_drift(Place.POSTGRES), rows_drift(Place.LAKE)])
    assert (drift.subject, drift.expected, drift.found) == (
        f"log_tables/t/{LOG}",
        "3 rows",
        "2 rows",
    )
    both = [rows_drift(Place.POSTGRES, "4 rows"), rows_drift(Place.LAKE)]
    assert without_echoes(both) == both


def test_a_lost_row_of_an_object_explains_its_stray_and_its_log() -> None:
    sha256 = "ab" * 32
    lost = Drift(
        DriftKind.MISSING,
        Place.POSTGRES,
        f"objects/acme/{sha256}",
        log_id=log_id("acme", sha256),
    )
    echoes = [
        Drift(DriftKind.UNEXPECTED, Place.ARCHIVE, f"archive/acme/ab/{sha256}.ulg"),
        Drift(DriftKind.UNEXPECTED, Place.REPLICA, f"archive/acme/ab/{sha256}.ulg"),
        rows_drift(Place.POSTGRES, log=log_id("acme", sha256)),
    ]
    other = Drift(DriftKind.UNEXPECTED, Place.ARCHIVE, f"archive/beta/ab/{sha256}.ulg")
    assert without_echoes([*echoes, other, lost]) == [other, lost]


def test_a_difference_seen_twice_is_one() -> None:
    assert without_echoes([rows_drift(Place.LAKE)] * 2) == [rows_drift(Place.LAKE)]


@pytest.mark.parametrize("kind", list(DriftKind))
@pytest.mark.parametrize("place", list(Place))
def test_every_drift_belongs_to_one_comparison(kind: DriftKind, place: Place) -> None:
    for subject in ("lake/t/x", "t/x", "log_tables/t/x", "archive/x"):
        assert comparison_of(kind, place, subject, None, None)
