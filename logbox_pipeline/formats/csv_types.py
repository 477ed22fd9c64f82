"""Types of a CSV's columns: found in samples from all over the log, kept, widened when they must.

A cell that does not fit its column's type is never dropped: a whole number column that meets
fractions goes on as float64, and rows with other text come in batches where that column is text
(the same topic, another type; the store keeps both). No lines are cut here.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from logbox_pipeline.formats.csv_cells import MISSING, NUMBER
from logbox_pipeline.formats.csv_dialect import Dialect

TRUE, FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_NULLS = [*MISSING, *(f" {word}" for word in MISSING)]
_WINDOW = 16 * 1024
_WINDOWS, _FEW_WINDOWS = 32, 6
_LARGE = 8 * 1024 * 1024
_MOST_RUNS = 128
_WHOLE = re.compile(r"-?(?:0|[1-9]\d*)")
_ARROW_WHOLE = r"^-?[0-9]{1,18}$"
_ARROW_LONG = r"^[0-9]{18,20}$"
_ARROW_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?$|^[+-]?(?i:inf(inity)?)$"
_ARROW_BOOL = r"^(?i:true|false)$"
_TEXT = pa.string()

Types = list[pa.DataType | None]
"""A type per column; None while the column has been empty."""


def read_options(dialect: Dialect, lines: bytes) -> dict[str, object]:
    """How Arrow reads these lines of the table; it is faster when it need not look for quotes."""
    return {
        "read_options": pa_csv.ReadOptions(
            column_names=[str(place) for place in range(dialect.width)], block_size=1024 * 1024
        ),
        "parse_options": pa_csv.ParseOptions(
            delimiter=dialect.delimiter, newlines_in_values=b'"' in lines
        ),
    }


def convert_options(dialect: Dialect, types: Types) -> pa_csv.ConvertOptions:
    """Explicit types, so that nothing is guessed; a column without one is read as text."""
    return pa_csv.ConvertOptions(
        column_types={str(place): kind or _TEXT for place, kind in enumerate(types)},
        null_values=_NULLS,
        true_values=list(TRUE),
        false_values=list(FALSE),
        strings_can_be_null=False,
        decimal_point="," if dialect.decimal_comma else ".",
    )


def infer_types(source: memoryview, dialect: Dialect, offset: int) -> Types:
    """The narrowest types that hold the first rows and windows from all over the rows.

    offset: where the first row stands in `source`.
    """
    types: Types = [_kind_of(column, dialect) for column in zip(*dialect.rows, strict=True)]
    windows = list(_windows(source, offset, dialect))
    read = _inferred(b"".join(windows), dialect)
    for found in [read] if read else filter(None, (_inferred(each, dialect) for each in windows)):
        # Arrow guesses float64 for what is too large for int64.
        types = [
            old if old == pa.uint64() and new == pa.float64() else wider(old, new)
            for old, new in zip(types, found, strict=True)
        ]
    return types


def wider(old: pa.DataType | None, new: pa.DataType | None) -> pa.DataType | None:
    """The type that holds the values of both."""
    if old is None or new is None or old == new:
        return old if new is None else new
    if pa.types.is_string(old) or pa.types.is_string(new):
        return _TEXT
    if pa.types.is_boolean(old) or pa.types.is_boolean(new):
        return _TEXT
    if {old, new} == {pa.int64(), pa.uint64()}:
        return pa.uint64()
    return pa.float64()


def fits(cell: str, kind: pa.DataType | None, decimal_comma: bool) -> bool:
    """Could this cell stand in a column of this type?"""
    cell = cell.strip()
    if kind is None or pa.types.is_string(kind) or cell in MISSING:
        return True
    if pa.types.is_boolean(kind):
        return cell in TRUE or cell in FALSE
    return NUMBER.fullmatch(cell.replace(",", ".") if decimal_comma else cell) is not None


def blank_to_null(values: pa.Array) -> pa.Array:
    """Text cells; the empty ones are missing."""
    empty = pc.equal(values, "")
    if not pc.any(empty).as_py():
        return values
    return pc.if_else(empty, pa.scalar(None, _TEXT), values)


def padded_columns(rows: Sequence[Sequence[str]]) -> frozenset[int]:
    """Places of columns whose cells all begin or all end with a blank, or are filled up with blanks
    to one width: these are no part of a text."""
    return frozenset(
        place for place, cells in enumerate(zip(*rows, strict=True)) if _is_padded(cells)
    )


def _is_padded(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell]
    if not any(cell.strip() for cell in filled):
        return False
    is_filled_up = len(set(map(len, filled))) == 1 and any(cell[-1] == " " for cell in filled)
    return (
        all(cell[0] == " " for cell in filled)
        or all(cell[-1] == " " for cell in filled)
        or (is_filled_up and len(filled) > 1)
    )


def without_padding(values: pa.Array) -> pa.Array:
    """Texts without the blanks around them; null where nothing else is left."""
    return blank_to_null(pc.utf8_trim(values, " ")) if pa.types.is_string(values.type) else values


def typed_batches(
    columns: Sequence[pa.Array], types: Types, decimal_comma: bool
) -> Iterator[list[pa.Array]]:
    """Cells as text to typed columns, in runs of rows that have the same types, in order.

    `types` is widened in place where most of a column asks for it.
    """
    rows = len(columns[0])
    typed: list[pa.Array] = []
    odd: dict[int, NDArray[np.bool_]] = {}
    for place, cells in enumerate(columns):
        values, mask = _typed(cells, types[place], decimal_comma)
        if mask is not None:
            types[place] = wider(types[place], _kind_of_array(cells, decimal_comma))
            values, mask = _typed(cells, types[place], decimal_comma)
        if mask is not None and 2 * int(mask.sum()) > rows:
            types[place], values, mask = _TEXT, blank_to_null(cells), None
        if types[place] is None and values.null_count < rows:
            types[place] = values.type
        typed.append(values)
        if mask is not None:
            odd[place] = mask
    if not odd:
        yield typed
        return
    any_odd = np.logical_or.reduce(list(odd.values()))
    edges = [0, *(np.flatnonzero(np.diff(any_odd)) + 1).tolist(), rows]
    if len(edges) > _MOST_RUNS:
        edges = [0, rows]
    for low, high in pairwise(edges):
        yield [
            blank_to_null(columns[place].slice(low, high - low))
            if place in odd and odd[place][low:high].any()
            else typed[place].slice(low, high - low)
            for place in range(len(columns))
        ]


def _windows(source: memoryview, offset: int, dialect: Dialect) -> Iterator[bytes]:
    """Whole lines from all over the rows."""
    size = len(source) - offset
    count = _WINDOWS if size > _LARGE else _FEW_WINDOWS
    starts = [offset + size * number // count for number in range(count)]
    starts = starts if size > _WINDOW * count else [offset]
    length = _WINDOW if len(starts) > 1 else size
    for start in starts:
        raw = bytes(source[start : start + length])
        begin = 0 if start == offset else raw.find(b"\n") + 1
        lines = raw[begin : raw.rfind(b"\n") + 1]
        if lines and b"\0" not in lines:
            lines = lines if lines.isascii() else lines.decode("cp1252", "replace").encode()
            yield squeezed(lines) if dialect.delimiter == " " else lines


def squeezed(lines: bytes) -> bytes:
    """Runs of spaces as one, line by line; as many lines as before."""
    return b"\n".join(b" ".join(line.split()) for line in lines.split(b"\n"))


def _inferred(lines: bytes, dialect: Dialect) -> Types | None:
    options = pa_csv.ConvertOptions(
        null_values=_NULLS,
        true_values=list(TRUE),
        false_values=list(FALSE),
        # One that nothing matches: times stay the text they are.
        timestamp_parsers=["\x01"],
        decimal_point="," if dialect.decimal_comma else ".",
    )
    if not lines:
        return None
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(lines),
            convert_options=options,
            **read_options(dialect, lines),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError):
        return None
    return [_known(column, dialect.decimal_comma) for column in table.columns]


def _known(column: pa.ChunkedArray, decimal_comma: bool) -> pa.DataType | None:
    """The type Arrow guessed; but a few words among numbers make no column of words."""
    kind = column.type
    if pa.types.is_null(kind):
        return None
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return kind
    if not pa.types.is_string(kind):
        return _TEXT
    bare = _bare(column.combine_chunks(), decimal_comma)
    numbers = pc.filter(bare, pc.match_substring_regex(bare, _ARROW_NUMBER))
    if len(numbers) < 0.9 * (len(bare) - bare.null_count) or len(numbers) == 0:
        return _TEXT
    return _kind_of_array(numbers, False)


def _kind_of(cells: Iterable[str], dialect: Dialect) -> pa.DataType | None:
    """A number that begins with 0, or has more digits than float64 keeps, stays as written."""
    kind: pa.DataType | None = None
    for cell in {cell.strip() for cell in cells}.difference(MISSING):
        kind = wider(kind, _kind_of_cell(cell.replace(",", ".") if dialect.decimal_comma else cell))
    return kind


def _kind_of_cell(cell: str) -> pa.DataType:
    if _WHOLE.fullmatch(cell):
        number = int(cell) if len(cell) <= 20 else 2**64
        if -(2**63) <= number < 2**63:
            return pa.int64()
        return pa.uint64() if 0 <= number < 2**64 else _TEXT
    if NUMBER.fullmatch(cell):
        # Whole, but not written so: 007, +5, 1e6; only the first has digits to lose.
        return _TEXT if re.match(r"-?0\d+$", cell) else pa.float64()
    return pa.bool_() if cell in TRUE or cell in FALSE else _TEXT


def _kind_of_array(cells: pa.Array, decimal_comma: bool) -> pa.DataType | None:
    """The type that holds every number of a column that had to be read as text."""
    bare = _bare(cells, decimal_comma)
    if bare.null_count == len(bare):
        return None
    for pattern, kind in ((_ARROW_BOOL, pa.bool_()), (_ARROW_WHOLE, pa.int64())):
        if pc.all(pc.match_substring_regex(bare, pattern)).as_py():
            return kind
    is_number = pc.match_substring_regex(bare, _ARROW_NUMBER)
    if not pc.any(is_number).as_py():
        return _TEXT
    digits = pc.filter(bare, is_number)
    is_long = pc.match_substring_regex(digits, _ARROW_LONG)
    if pc.any(is_long).as_py():
        whole = pc.match_substring_regex(digits, r"^[0-9]{1,20}$")
        largest = max((int(text) for text in pc.filter(digits, is_long).to_pylist()), default=0)
        return pa.uint64() if pc.all(whole).as_py() and largest < 2**64 else _TEXT
    is_whole = pc.all(pc.match_substring_regex(digits, _ARROW_WHOLE)).as_py()
    return pa.int64() if is_whole else pa.float64()


def _typed(
    cells: pa.Array, kind: pa.DataType | None, decimal_comma: bool
) -> tuple[pa.Array, NDArray[np.bool_] | None]:
    """The column in its type, and which cells did not fit (null there), if any."""
    if kind is None:
        found = _kind_of_array(cells, decimal_comma)
        return (
            (pa.nulls(len(cells)), None) if found is None else _typed(cells, found, decimal_comma)
        )
    if pa.types.is_string(kind):
        return blank_to_null(cells), None
    bare = _bare(cells, decimal_comma)
    pattern = {pa.int64(): _ARROW_WHOLE, pa.uint64(): r"^[0-9]{1,19}$|^1[0-7][0-9]{18}$"}.get(
        kind, _ARROW_BOOL if pa.types.is_boolean(kind) else _ARROW_NUMBER
    )
    fitting = pc.match_substring_regex(bare, pattern)
    values = pc.if_else(fitting, bare, pa.scalar(None, _TEXT))
    if pa.types.is_floating(kind):
        values = pc.replace_substring_regex(values, r"^\+", "")
    elif pa.types.is_boolean(kind):
        values = pc.utf8_lower(values)
    typed = values.cast(kind)
    if values.null_count == bare.null_count:
        return typed, None
    odd: NDArray[np.bool_] = pc.fill_null(pc.invert(fitting), False).to_numpy(zero_copy_only=False)
    return typed, odd


def _bare(cells: pa.Array, decimal_comma: bool) -> pa.Array:
    """Cells without spaces around them; missing ones null."""
    bare = pc.utf8_trim_whitespace(cells)
    missing = pc.is_in(bare, value_set=pa.array(MISSING))
    bare = pc.if_else(missing, pa.scalar(None, _TEXT), bare)
    return pc.replace_substring(bare, ",", ".") if decimal_comma else bare
