"""What two readings of one log differ in: rows, columns, values. No I/O."""

from dataclasses import dataclass
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from logbox_pipeline.core.content import NOT_CONTENT

_LONGEST = 80


@dataclass(frozen=True)
class ValueChange:
    """Rows of a column that differ, and the first of them, before and after, as text."""

    column: str
    rows: int
    before: str
    after: str


@dataclass(frozen=True)
class TableChange:
    """How a log's rows in a table differ. Rows are compared in their order in the file: where the
    counts differ, those beyond the shorter reading are told by the counts alone."""

    log_id: UUID
    table_name: str
    rows_before: int
    rows_after: int
    columns_gained: tuple[str, ...]
    columns_lost: tuple[str, ...]
    values: tuple[ValueChange, ...]


def compare(
    log_id: UUID, table_name: str, before: pa.Table | None, after: pa.Table | None
) -> TableChange:
    """before, after: the log's rows as they stand in a Parquet file of the lake, sorted alike; None
    of one of them: it has none.

    A column counts as there when it has a value.
    """
    before = pa.table({}) if before is None else before
    after = pa.table({}) if after is None else after
    old, new = _filled(before), _filled(after)
    rows = min(before.num_rows, after.num_rows)
    values = []
    for name in (one for one in new if one in old):
        left = before[name].slice(0, rows)
        change = _values(name, left, after[name].slice(0, rows).cast(left.type, safe=False))
        if change is not None:
            values.append(change)
    return TableChange(
        log_id,
        table_name,
        before.num_rows,
        after.num_rows,
        tuple(one for one in new if one not in old),
        tuple(one for one in old if one not in new),
        tuple(values),
    )


def _filled(table: pa.Table) -> list[str]:
    return [
        name
        for name in table.column_names
        if name not in NOT_CONTENT and table[name].null_count < table.num_rows
    ]


def _values(name: str, before: pa.ChunkedArray, after: pa.ChunkedArray) -> ValueChange | None:
    if pa.types.is_list(before.type):
        pairs = zip(before.to_pylist(), after.to_pylist(), strict=True)
        places = [place for place, (old, new) in enumerate(pairs) if old != new]
    else:
        is_same = pc.fill_null(pc.equal(before, after), False)
        is_same = pc.or_(is_same, pc.and_(pc.is_null(before), pc.is_null(after)))
        if pa.types.is_floating(before.type):
            is_same = pc.or_(
                is_same, pc.fill_null(pc.and_(pc.is_nan(before), pc.is_nan(after)), False)
            )
        places = pc.indices_nonzero(pc.invert(is_same)).to_pylist()
    if not places:
        return None
    return ValueChange(name, len(places), _text(before[places[0]]), _text(after[places[0]]))


def _text(value: pa.Scalar) -> str:
    said = "null" if not value.is_valid else str(value.as_py())
    return said if len(said) <= _LONGEST else said[: _LONGEST - 1] + "…"
