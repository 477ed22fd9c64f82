"""What the view of a telemetry table shows: one column per field, whatever types it came in. Pure.

No SQL here. A field whose type changed has a column per type in the table (`core.tables`), and at
most one of them has a value in a row; the view shows that value in a type that fits them all.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from logbox_pipeline.core.tables import UINT64, VIEW_COLUMNS, NamedColumn

_INTEGERS = ("boolean", "smallint", "integer", "bigint", UINT64)
_FLOATS = ("real", "double precision")
_TIMES = frozenset(("date", "timestamp with time zone"))
_EXACT_IN_REAL = frozenset(("boolean", "smallint"))
"""A real has 24 bits for digits: every 16-bit integer is one, not every 32-bit integer."""


@dataclass(frozen=True)
class ViewColumn:
    """`variants` are columns of the table that stand there, in the order they came."""

    name: str
    type: str
    variants: tuple[NamedColumn, ...]

    @property
    def comment(self) -> str:
        said = described(self.variants[0])
        if len(self.variants) == 1:
            return said
        listed = ", ".join(f"{one.column_name} ({one.type})" for one in self.variants)
        return f"{said}; whichever there is of {listed}"


def view_columns(known: Sequence[NamedColumn], standing: Sequence[str]) -> list[ViewColumn]:
    """One column for each field of which `standing` (the table's columns, in its order) has one.

    known: all rows of the registry for the topic. A column keeps its name and place for ever: it is
    called as its field's first column was, and follows those that the table had before it.
    """
    rows = {row.column_name: row for row in known}
    first_names: dict[str, str] = {}
    for row in sorted(known, key=lambda row: row.position):
        first_names.setdefault(row.source_name, row.column_name)
    variants: dict[str, list[NamedColumn]] = {}
    for name in standing:
        # A topic without fields has its clock in the registry.
        if (found := rows.get(name)) is not None and found.source_name:
            variants.setdefault(found.source_name, []).append(found)
    return [
        ViewColumn(
            _beside_ours(first_names[source_name]),
            common_type({one.type for one in ones}),
            tuple(ones),
        )
        for source_name, ones in variants.items()
    ]


def _beside_ours(name: str) -> str:
    """A registry older than the view may have given a field one of the view's own names."""
    return f"{name}_" if name in VIEW_COLUMNS else name


def common_type(types: Collection[str]) -> str:
    """The type that shows values of all of these.

    Numbers stay numbers (an integer beyond 2**53 beside a double precision is rounded here, never
    in the table), truth is 0 or 1 among numbers; what has nothing in common is text.
    """
    if len(types) == 1:
        return next(iter(types))
    if all(one.endswith("[]") for one in types):
        return f"{common_type({one.removesuffix('[]') for one in types})}[]"
    found = frozenset(types)
    if found <= frozenset(_INTEGERS):
        return max(found, key=_INTEGERS.index)
    if found <= frozenset(_INTEGERS) | frozenset(_FLOATS):
        whole = found - frozenset(_FLOATS)
        is_exact = whole <= _EXACT_IN_REAL and "double precision" not in found
        return "real" if is_exact else "double precision"
    if found == _TIMES:
        return "timestamp with time zone"
    return "text"


def described(row: NamedColumn) -> str:
    """A column's comment: the source's name, unit, scale, and where they are defined."""
    unit = f" [{row.unit}]" if row.unit else ""
    scale = f", scaled by {row.scale:g}" if row.scale is not None else ""
    source = f" ({row.definition})" if row.definition else ""
    return f"{row.source_name}{unit}{scale}{source}"
