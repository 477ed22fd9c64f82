from dataclasses import dataclass

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import given

from logbox_pipeline.core import compaction
from logbox_pipeline.core.compaction import MOST_FILES, unified, worth_merging
from logbox_pipeline.core.errors import PermanentError


@dataclass(frozen=True)
class File:
    size_bytes: int


def sizes(files: list[int], target: int) -> list[list[int]]:
    groups = worth_merging([File(size) for size in files], target)
    return [[one.size_bytes for one in group] for group in groups]


def test_one_small_file_is_worth_nothing_two_are() -> None:
    assert sizes([], 100) == sizes([10], 100) == sizes([10, 50, 200], 100) == []
    assert sizes([10, 50, 49], 100) == [[10, 49]]


@given(st.lists(st.integers(1, 120), max_size=300), st.integers(2, 200))
def test_groups_keep_to_the_target_and_leave_at_most_one_small_file(
    files: list[int], target: int
) -> None:
    groups = sizes(files, target)
    small = [size for size in files if size < target // 2]
    assert all(2 <= len(group) <= MOST_FILES and sum(group) <= target for group in groups)
    assert [size for group in groups for size in group] == small[: sum(map(len, groups))]
    assert len(small) - sum(map(len, groups)) <= 1
    merged = [sum(group) for group in groups if len(group) < MOST_FILES]
    assert sum(size < target // 2 for size in merged) <= 1


def test_columns_of_all_files_stand_once_those_of_the_widest_first() -> None:
    narrow = pa.schema([pa.field("log_id", pa.uuid(), nullable=False), ("z", pa.int64())])
    wide = pa.schema(
        [
            pa.field("log_id", pa.uuid(), nullable=False),
            pa.field("x", pa.float32(), nullable=False),
            ("y", pa.float32()),
        ]
    )
    found = unified([narrow, wide])
    assert found.names == ["log_id", "x", "y", "z"]
    assert [field.nullable for field in found] == [False, True, True, True]
    other = pa.schema([pa.field("log_id", pa.uuid()), ("y", pa.float64())])
    with pytest.raises(PermanentError, match="column y: expected float, found double"):
        unified([wide, other])


def test_more_files_than_can_be_open_take_more_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "MOST_FILES", 3)
    assert sizes([1] * 7, 100) == [[1] * 3, [1] * 3]
