"""How a CSV or TSV is written, found in its first bytes: delimiter, preamble, header, units row.

There is no CSV standard that loggers keep (RFC 4180 is a memo after the fact), so the table is what
most of the bytes agree on: the delimiter and the number of fields that explain the head best, where
numbers and times count for more than words. No types of columns and no rows here.
"""

import re
from collections import Counter
from dataclasses import dataclass

from logbox_pipeline.formats.csv_cells import (
    BOOLS,
    COMMA_NUMBER,
    MISSING,
    NUMBER,
    TIME,
    is_typed,
    is_well_quoted,
    split_cells,
    worth,
)
from logbox_pipeline.formats.csv_declared import declared
from logbox_pipeline.formats.stream import Likeness
from logbox_pipeline.formats.text import clean_text

BOM = b"\xef\xbb\xbf"
_DATE = re.compile(r"\d{4}[-/.]\d\d[-/.]\d\d")
_CLOCK = re.compile(r"\d\d:\d\d:\d\d(\.\d+)?")
_DELIMITERS = "\t;|,"
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]|\xff\xff")
_SEP_LINE = re.compile(rb'"?sep=(.)"?\r?\n', re.I)
_COMMENTS = ("#", "%", "//")
_MOST_LINES = 2_000
_MOST_JOINED = 200
_JUDGED_ROWS = 60
_JUDGED_CELLS = 800
_MOST_OF_COLUMN = 0.9
_LONGEST_NAME = 200
_LONGEST_UNIT = 16
_UNIT_CELL = re.compile(r"[\[(]?[A-Za-zµμ°%/^*·.\d²³ -]{0,14}[\])]?")


@dataclass(frozen=True)
class Dialect:
    """How the table is written and where it begins.

    delimiter: one character; a space means runs of spaces. encoding: `utf-8` or `cp1252`.
    header: the cells of the header line, None when the table has none. units: the cells of a units
    row below it. width: fields of a row. preamble: the lines above the header. data_start:
    the offset of the first row, which stands on line `data_line` (1-based). rows: the first rows.
    nulls: words for a missing text; is_utc: times without a zone are UTC. Both are of a table that
    declares itself (`csv_declared`).
    """

    delimiter: str
    decimal_comma: bool
    encoding: str
    header: tuple[str, ...] | None
    units: tuple[str, ...] | None
    width: int
    preamble: tuple[str, ...]
    data_start: int
    data_line: int
    rows: tuple[tuple[str, ...], ...]
    likeness: Likeness
    nulls: tuple[str, ...] = ()
    is_utc: bool = False


@dataclass(frozen=True)
class _Record:
    """Cells of one logical line, which stands at [start, end) and begins on line `line`."""

    start: int
    end: int
    line: int
    cells: tuple[str, ...]

    @property
    def text(self) -> str:
        return self.cells[0] if self.cells else ""


@dataclass(frozen=True)
class _Table:
    """What one delimiter makes of the head."""

    delimiter: str
    width: int
    first: int
    records: list[_Record]
    rows: list[_Record]
    share: float
    score: float


def sniff(head: bytes, is_whole: bool) -> Dialect | None:
    """The dialect of the table that `head` begins with; None when it is no table.

    is_whole: `head` is the whole log, so its last line is not cut.
    """
    start = len(BOM) if head.startswith(BOM) else 0
    named = _SEP_LINE.match(head, start)
    sep_line = head[start : named.end()].decode("cp1252").strip() if named else None
    start = named.end() if named else start
    encoding = _encoding(head)
    lines = _lines(head, start, is_whole)
    if not lines or _is_other_text(head, lines):
        return None
    if head.startswith(b"#", start) and (found := _declared(head, lines, encoding)):
        return found
    delimiters = named[1].decode("cp1252") if named else _DELIMITERS
    tables = [_table(head, lines, each, encoding) for each in delimiters if each.encode() in head]
    plausible = [table for table in tables if table]
    if not plausible:
        table = _table(head, lines, " ", encoding)
        if table is None or not _is_all_numbers(table):
            return None
        plausible = [table]
    best = max(plausible, key=lambda table: table.score)
    return _dialect(best, encoding, sep_line, 2 if named else 1)


def _declared(head: bytes, lines: list[tuple[int, int]], encoding: str) -> Dialect | None:
    texts = [head[low:high].decode(encoding, "replace").rstrip("\r\n") for low, high in lines]
    table = declared(texts)
    if table is None:
        return None
    width = len(table.header)
    cells = [split_cells(text, table.delimiter) for text in texts[table.above :]]
    rows = [row for row in cells if len(row) == width and not row[0].startswith("#")]
    if not rows or len(rows) * 2 < sum(bool(text) and text[0] != "#" for text in texts):
        return None
    return Dialect(
        delimiter=table.delimiter,
        decimal_comma=False,
        encoding=encoding,
        header=tuple(_clean(name) for name in table.header),
        units=None,
        width=width,
        preamble=tuple(_clean(text, 2_000) for text in table.said),
        data_start=lines[table.above][0],
        data_line=table.above + 1,
        rows=tuple(rows[: _few(width)]),
        likeness=Likeness.SURE,
        nulls=table.nulls,
        is_utc=table.is_utc,
    )


def _encoding(head: bytes) -> str:
    """cp1252 when bytes above 0x7F are there and most lines that have them are not UTF-8."""
    lines = head.split(b"\n")[:-1]
    high = [line for line in lines if not line.isascii() and not _BINARY.search(line)]
    bad = sum(1 for line in high if not _is_utf8(line))
    return "cp1252" if bad * 2 > len(high) else "utf-8"


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _lines(head: bytes, start: int, is_whole: bool) -> list[tuple[int, int]]:
    """[start, end) of the first lines, each with its newline."""
    found: list[tuple[int, int]] = []
    while start < len(head) and len(found) < _MOST_LINES:
        end = head.find(b"\n", start) + 1
        if end == 0:
            if is_whole or not found:
                found.append((start, len(head)))
            break
        found.append((start, end))
        start = end
    return found


_OTHER = re.compile(
    rb'\s*(?:\{|\[[\s\[{"\d-]|<\d{1,3}>|<[?!a-zA-Z/]|\$G[A-Z]{4},|FMT,|[^\n]*\x1b\[)'
)


def _is_other_text(head: bytes, lines: list[tuple[int, int]]) -> bool:
    """JSON, XML, syslog, NMEA, DataFlash as text, colours of a terminal: delimiters in them mean
    something else."""
    judged = [head[start : min(end, start + 40)] for start, end in lines[:_JUDGED_ROWS]]
    full = [line for line in judged if line.strip()]
    return not full or sum(1 for line in full if _OTHER.match(line)) * 2 >= len(full)


def _table(
    head: bytes, lines: list[tuple[int, int]], delimiter: str, encoding: str
) -> _Table | None:
    records = _records(head, lines, delimiter, encoding)
    weights: Counter[int] = Counter()
    for record in records:
        if len(record.cells) > 1 and not _is_comment(record):
            weights[len(record.cells)] += record.end - record.start
    if not weights:
        return None
    width = max(weights, key=lambda each: (weights[each], each))
    first = next(i for i, r in enumerate(records) if len(r.cells) == width and not _is_comment(r))
    body = [r for r in records[first:] if not _is_comment(r) and any(map(str.strip, r.cells))]
    rows = [record for record in body if len(record.cells) == width]
    # By bytes: many short lines of nonsense are still less than a few rows.
    share = _bytes(rows) / max(1, _bytes(body))
    if share < 0.6:
        return None
    few = _few(width)
    judged = [cell for record in rows[1 : few + 1] or rows for cell in record.cells]
    clean = sum(worth(cell, delimiter) for cell in judged) / len(judged)
    score = share * clean * (1 - 1 / (width + 1))
    return _Table(delimiter, width, first, records, rows, share, score)


def _is_comment(record: _Record) -> bool:
    return record.text.startswith(_COMMENTS)


def _bytes(records: list[_Record]) -> int:
    return sum(record.end - record.start for record in records)


def _few(width: int) -> int:
    """As many rows as it takes to know a table of this width."""
    return max(10, min(_JUDGED_ROWS, _JUDGED_CELLS // width))


def _records(
    head: bytes, lines: list[tuple[int, int]], delimiter: str, encoding: str
) -> list[_Record]:
    """Logical lines. A quote that is not closed soon costs its own line only."""
    records = []
    index = 0
    while index < len(lines):
        start, end = lines[index]
        last = index
        if head.count(b'"', start, end) % 2:
            for further in range(index + 1, min(index + _MOST_JOINED, len(lines))):
                if head.count(b'"', lines[further][0], lines[further][1]) % 2:
                    joined = head[start : lines[further][1]].decode(encoding, "replace")
                    if is_well_quoted(joined, delimiter):
                        last, end = further, lines[further][1]
                    break
        raw = head[start:end]
        if not _BINARY.search(raw):
            text = raw.decode(encoding, "replace")
            records.append(_Record(start, end, index, split_cells(text, delimiter)))
        index = last + 1
    return records


def _is_all_numbers(table: _Table) -> bool:
    rows = table.rows[1:] or table.rows
    cells = [cell for record in rows[: _few(table.width)] for cell in record.cells]
    typed = sum(map(is_typed, cells))
    return table.width >= 3 and table.share >= 0.95 and typed >= 0.95 * len(cells)


def _dialect(table: _Table, encoding: str, sep_line: str | None, line: int) -> Dialect | None:
    rows = table.rows
    has_header = _has_header(rows)
    above = [r for r in table.records if r.start < rows[0].start]
    header = rows[0].cells if has_header else None
    if header is None and above:
        header = _comment_header(above[-1], table) or _uneven_header(above[-1], table)
        if header is not None:
            above.pop()
    data = rows[1:] if has_header else rows
    units = data[0].cells if header and _is_units_row(data) else None
    data = data[1:] if units else data
    if not data:
        return None
    judged = [record.cells for record in data[: _few(table.width)]]
    decimal_comma = table.delimiter != "," and _has_decimal_comma(judged)
    # A wrong line right below the header is a row to be judged, not part of the preamble.
    before = rows[0] if has_header else None
    if units and before:
        before = rows[1]
    start = before.end if before else data[0].start
    likeness = _likeness(table, header, judged)
    if likeness is Likeness.NO:
        return None
    preamble = [_line_text(r, table.delimiter) for r in above]
    number = next((r.line for r in table.records if r.start >= start), 0)
    return Dialect(
        delimiter=table.delimiter,
        decimal_comma=decimal_comma,
        encoding=encoding,
        header=None if header is None else tuple(_clean(cell) for cell in header),
        units=None if units is None else tuple(_clean(cell) for cell in units),
        width=table.width,
        preamble=tuple(text for text in (sep_line, *preamble) if text),
        data_start=start,
        data_line=number + line,
        rows=tuple(judged),
        likeness=likeness,
    )


def _has_header(rows: list[_Record]) -> bool:
    """Words above numbers; or, in a table of words, words that could all be names."""
    first = rows[0].cells
    others = [record.cells for record in rows[1 : _few(len(rows[0].cells)) + 1]]
    filled = [cell.strip() for cell in first if cell.strip()]
    if not filled or not others:
        return False
    typed = sum(1 for cell in filled if is_typed(cell) and cell.lower() not in BOOLS)
    if typed * 2 > len(filled):
        return False
    if any(
        not is_typed(cell) and sum(is_typed(row[place]) for row in others) >= 0.9 * len(others)
        for place, cell in enumerate(first)
    ):
        return True
    names = {cell.lower() for cell in filled}
    return typed == 0 and len(names) == len(first) and max(map(len, names)) <= 64


def _comment_header(record: _Record, table: _Table) -> tuple[str, ...] | None:
    """`# time x y z` above the rows, with their delimiter or with spaces."""
    text = _line_text(record, table.delimiter)
    if not text.startswith(_COMMENTS):
        return None
    bare = text.lstrip("#%/ ")
    for cells in (split_cells(bare, table.delimiter), tuple(bare.split())):
        if any(is_typed(cell) for cell in cells):
            continue
        if len(cells) == table.width:
            return cells
        if len(cells) == table.width - 1 and all(
            _DATE.fullmatch(row.cells[0]) and _CLOCK.fullmatch(row.cells[1])
            for row in table.rows[: _few(table.width)]
        ):
            # RTKLIB has one name over both: `%  GPST  latitude(deg) ...`
            return (f"{cells[0]} date", f"{cells[0]} time", *cells[1:])
    return None


def _uneven_header(record: _Record, table: _Table) -> tuple[str, ...] | None:
    """A header with one field less or more than its rows: each row ends with a delimiter, or
    begins with a number that has no name (R and pandas write it so), or the header ends with one.
    """
    cells, width = record.cells, table.width
    is_named = len(cells) > 1 and not any(is_typed(cell) for cell in cells if cell.strip())
    if not is_named or _is_comment(record):
        return None
    if len(cells) == width + 1 and not cells[-1].strip():
        return cells[:-1]
    if len(cells) == width - 1:
        ends_empty = not any(row.cells[-1].strip() for row in table.rows[:_JUDGED_ROWS])
        return (*cells, "") if ends_empty else ("", *cells)
    return None


def _is_units_row(data: list[_Record]) -> bool:
    """Short words in brackets or like units, above numbers."""
    if len(data) < 2:
        return False
    cells = data[0].cells
    below = [record.cells for record in data[1 : _few(len(data[0].cells))]]
    filled = [cell.strip() for cell in cells if cell.strip() not in MISSING]
    if not filled or any(is_typed(cell) or len(cell) > _LONGEST_UNIT for cell in filled):
        return False
    if not all(_UNIT_CELL.fullmatch(cell) for cell in filled):
        return False
    above_numbers = sum(
        1
        for place, cell in enumerate(cells)
        if cell.strip() not in MISSING and all(is_typed(row[place]) for row in below)
    )
    return above_numbers * 2 > len(filled)


def _has_decimal_comma(rows: list[tuple[str, ...]]) -> bool:
    """Is there a column of such numbers? Others may still have points (an app that writes places
    by itself and heights as its locale has it)."""
    return any(map(_is_of_commas, zip(*rows, strict=True)))


def _is_of_commas(cells: tuple[str, ...]) -> bool:
    filled = [cell.strip() for cell in cells if cell.strip() not in MISSING]
    commas = sum(1 for cell in filled if COMMA_NUMBER.fullmatch(cell))
    wholes = sum(1 for cell in filled if NUMBER.fullmatch(cell) and "." not in cell)
    return commas > 0 and commas + wholes >= _MOST_OF_COLUMN * len(filled)


def _likeness(
    table: _Table, header: tuple[str, ...] | None, rows: list[tuple[str, ...]]
) -> Likeness:
    typed, numbers = _typed_columns(table.delimiter, rows)
    if table.width == 2 and _is_text_with_fraction(rows):
        return Likeness.NO
    if header is None and numbers * 2 < table.width:
        return Likeness.NO  # `09:00:00 | INFO | nav | landed` is a text log
    if typed and (table.width >= 3 or header) and table.share >= 0.7:
        return Likeness.SURE
    if typed == table.width and len(rows) >= 3:
        return Likeness.SURE
    is_plausible = table.share >= 0.9 and len(rows) >= 2
    return Likeness.MAYBE if is_plausible else Likeness.NO


def _typed_columns(delimiter: str, rows: list[tuple[str, ...]]) -> tuple[int, int]:
    """How many columns have values of one kind, and how many of those are numbers."""
    typed = numbers = 0
    for column in zip(*rows, strict=True):
        filled = [cell.strip() for cell in column if cell.strip() not in MISSING]
        if not filled or sum(worth(cell, delimiter) == 1.0 for cell in filled) < 0.9 * len(filled):
            continue
        typed += 1
        numbers += bool(NUMBER.fullmatch(filled[0]) or COMMA_NUMBER.fullmatch(filled[0]))
    return typed, numbers


_MILLISECONDS = re.compile(r"\d{3}\b\D")


def _is_text_with_fraction(rows: list[tuple[str, ...]]) -> bool:
    """`2026-11-24 09:00:00,123 INFO ...` is a line of a text log, cut at its fraction."""
    cut = sum(1 for row in rows if TIME.fullmatch(row[0].strip()) and _MILLISECONDS.match(row[1]))
    return cut * 2 > len(rows)


def _line_text(record: _Record, delimiter: str) -> str:
    return _clean(delimiter.join(record.cells).strip().rstrip(delimiter), 2_000)


def _clean(cell: str, characters: int = _LONGEST_NAME) -> str:
    return clean_text(" ".join(cell.split()))[:characters]
