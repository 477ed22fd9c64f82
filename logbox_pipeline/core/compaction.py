"""Which Parquet files of the lake are worth making one, and the columns of that one. No I/O."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import pyarrow as pa

from logbox_pipeline.core.errors import PermanentError

MOST_FILES = 100
"""Files merged at a time: each is open and holds its share of memory. More take another round."""


class Sized(Protocol):
    @property
    def size_bytes(self) -> int: ...


File = TypeVar("File", bound=Sized)


def is_small(size_bytes: int, target_bytes: int) -> bool:
    """Files of half the target and more are left as they are."""
    return size_bytes < target_bytes // 2


def worth_merging(files: Sequence[File], target_bytes: int) -> list[tuple[File, ...]]:
    """Groups of small files of one table and day, in their order, each to become one file.

    A group has two files or more and at most `target_bytes`; all but the last reach half of that,
    so at most one small file is left when every group is merged and kept its size.
    """
    groups: list[list[File]] = [[]]
    size = 0
    for file in files:
        if not is_small(file.size_bytes, target_bytes):
            continue
        if size + file.size_bytes > target_bytes or len(groups[-1]) == MOST_FILES:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += file.size_bytes
    return [tuple(group) for group in groups if len(group) > 1]


def unified(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Every column of files of one table, those of the widest first, then in the order seen.

    A column that a file lacks may be null. Raises PermanentError where one has two types: the
    registry gives another type a column of its own.
    """
    fields: dict[str, pa.Field] = {}
    for schema in sorted(schemas, key=len, reverse=True):
        for field in schema:
            known = fields.setdefault(field.name, field)
            if known.type != field.type:
                raise PermanentError(
                    f"column {field.name}: expected {known.type}, found {field.type}",
                    hint="this is a bug in Logbox: keep the files and report it",
                )
            if field.nullable:
                fields[field.name] = known.with_nullable(True)
    return pa.schema(
        [
            field if all(name in schema.names for schema in schemas) else field.with_nullable(True)
            for name, field in fields.items()
        ]
    )
