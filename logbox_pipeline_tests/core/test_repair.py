"""What stands and proves itself is never hidden, nor written over."""

import pytest

from logbox_pipeline.core.reconciliation import (
    LOST_CATALOG,
    Drift,
    DriftKind,
    ExpectedObject,
    Place,
)
from logbox_pipeline.core.repair import (
    Action,
    Proof,
    Proven,
    action_for_other_bytes,
    action_for_stray,
    next_command,
)


def proven(proof: Proof) -> Proven:
    return Proven("archive/x", "0" * 64, 1, proof)


@pytest.mark.parametrize("place", [Place.ARCHIVE, Place.REPLICA])
@pytest.mark.parametrize("has_delivery", [True, False])
def test_only_what_proves_nothing_is_hidden(place: Place, has_delivery: bool) -> None:
    assert action_for_stray(place, None, has_delivery=has_delivery) is Action.HIDE_STRAY
    for proof in Proof:
        action = action_for_stray(place, proven(proof), has_delivery=has_delivery)
        assert action in (Action.KEEP, Action.RESTORE_OBJECT_ROW, Action.RESTORE_MANIFEST_ROW)


def test_a_row_comes_back_only_where_it_is_whole_and_proven() -> None:
    assert {
        (proof, has_delivery): action
        for proof in Proof
        for has_delivery in (True, False)
        if (action := action_for_stray(Place.ARCHIVE, proven(proof), has_delivery=has_delivery))
        is not Action.KEEP
    } == {
        (Proof.NAME, True): Action.RESTORE_OBJECT_ROW,
        (Proof.SEAL, True): Action.RESTORE_MANIFEST_ROW,
        (Proof.SEAL, False): Action.RESTORE_MANIFEST_ROW,
    }


def test_the_side_that_is_proven_stays() -> None:
    wanted = ExpectedObject("archive/x", True, 2, "1" * 64)
    assert action_for_other_bytes(wanted, proven(Proof.NAME)) is Action.MEND_ROW
    assert action_for_other_bytes(wanted, proven(Proof.SEAL)) is Action.MEND_ROW
    assert action_for_other_bytes(wanted, proven(Proof.FORM)) is Action.COPY_OBJECT
    assert action_for_other_bytes(wanted, None) is Action.COPY_OBJECT
    assert action_for_other_bytes(None, proven(Proof.NAME)) is Action.COPY_OBJECT


def test_a_lost_catalog_is_for_rebuild() -> None:
    lost = Drift(DriftKind.MISSING, Place.POSTGRES, LOST_CATALOG)
    assert next_command(lost) == "logbox rebuild"
    table = Drift(DriftKind.MISSING, Place.POSTGRES, LOST_CATALOG, table_name=LOST_CATALOG)
    assert next_command(table) == f"logbox repair {table.drift_id}"
