"""Which files hold rows of the same batches."""

from uuid import UUID

from logbox_pipeline.core.sharing import sharing

A, B, C, D = (UUID(int=number) for number in range(4))


def test_files_that_share_no_batch_stand_alone() -> None:
    assert sharing({}) == []
    assert sharing({"x": [A, B], "y": [C], "z": []}) == [["x"], ["y"], ["z"]]


def test_files_are_together_through_others_too() -> None:
    files = {"v": [A], "w": [D], "x": [B, C], "y": [C], "z": [A, B]}
    assert sharing(files) == [["v", "x", "y", "z"], ["w"]]
