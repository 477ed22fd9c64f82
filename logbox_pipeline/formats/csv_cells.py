"""What one cell of a CSV says: a number, a time, a truth value, nothing, a word. No tables here."""

import csv
import re
from functools import lru_cache

MISSING = (
    *("", "NaN", "nan", "NAN", "null", "NULL", "Null", "N/A", "n/a", "NA", "#N/A", "None"),
    *("-", "--", "--.--"),
)
"""What a missing number is written as. In a text column only the empty cell is missing."""

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?inf(?:inity)?", re.I)
COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
TIME = re.compile(
    r"\d{4}[-/.]?\d\d[-/.]?\d\d(?:[T _]\d\d?:?\d\d.{0,24})?"
    r"|\d\d?:\d\d(?::\d\d([.,]\d+)?)?( ?[AP]M)?"
    r"|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}(?:,? \d\d?:\d\d.{0,20})?",
    re.I,
)
BOOLS = frozenset(("true", "false"))


def is_typed(cell: str) -> bool:
    """A number, a time, a truth value, or a word for a missing one."""
    cell = cell.strip()
    return (
        NUMBER.fullmatch(cell) is not None
        or cell in MISSING
        or TIME.fullmatch(cell) is not None
        or cell.lower() in BOOLS
    )


def split_cells(line: str, delimiter: str) -> tuple[str, ...]:
    """The cells of one logical line, as RFC 4180 quotes them."""
    if delimiter == " ":
        return tuple(line.split())
    if '"' not in line:
        return tuple(line.rstrip("\r\n").split(delimiter))
    try:
        return tuple(next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), ()))
    except csv.Error:
        return tuple(line.rstrip("\r\n").split(delimiter))


def is_well_quoted(line: str, delimiter: str) -> bool:
    """Is every quoted field closed, and followed by a delimiter or the end (RFC 4180)? Lines that
    only met because a quote was lost are not."""
    return delimiter != " " and _record(delimiter).fullmatch(line) is not None


@lru_cache(maxsize=16)
def _record(delimiter: str) -> re.Pattern[str]:
    other = re.escape(delimiter)
    cell = rf'(?: *"(?:[^"]|"")*" *|(?! *")[^{other}\n]*)'
    return re.compile(rf"{cell}(?:{other}{cell})*\r?\n?")


def worth(cell: str, delimiter: str) -> float:
    """How much a cell speaks for its delimiter: all when it is typed, little when it holds other
    delimiters."""
    cell = cell.strip()
    if is_typed(cell) or (delimiter != "," and COMMA_NUMBER.fullmatch(cell)):
        return 1.0
    return 0.2 if any(other in cell for other in "\t;|" if other != delimiter) else 0.6
