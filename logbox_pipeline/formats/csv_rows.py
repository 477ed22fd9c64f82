"""Lines of a CSV to columns, block by block: Arrow's reader where a block is clean, repair where
it is not, so that a bad line costs only itself. No times and no names here.
"""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from logbox_pipeline.formats.csv_cells import is_well_quoted, split_cells
from logbox_pipeline.formats.csv_declared import is_directive
from logbox_pipeline.formats.csv_dialect import Dialect
from logbox_pipeline.formats.csv_types import (
    Types,
    blank_to_null,
    convert_options,
    fits,
    read_options,
    squeezed,
    typed_batches,
)
from logbox_pipeline.formats.stream import Damage, Item, Limits
from logbox_pipeline.formats.text import clean_text, excerpt

BLOCK_BYTES = 4 * 1024 * 1024
_STEP = 256 * 1024
_MOST_JOINED = 100
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_ERASED = b"\xff\xff"
_COMMENTS = (b"#", b"%", b"//")


@dataclass(frozen=True)
class Comment:
    """A line between the rows that is a remark. line: 1-based."""

    line: int
    text: str


@dataclass
class RowReader:
    """Reads the rows of one table; remembers the types that its columns have come to.

    line: on which the block being read begins, 1-based (counted only when somebody asks: counting
    newlines costs as much as reading them). rows: read so far. short_lines: rows that had too
    few fields. repeated_headers: lines that say the header again.
    """

    dialect: Dialect
    types: Types
    line: int
    rows: int = 0
    short_lines: int = 0
    repeated_headers: int = 0
    _uncounted: list[tuple[int, int]] = field(default_factory=list)

    def read(
        self, source: memoryview, start: int, limits: Limits
    ) -> Iterator[list[pa.Array] | Damage | Comment]:
        """The rows from `start` on as columns (all of one length), and what gave none."""
        size = len(source)
        while start < size:
            if self.rows >= limits.rows:
                yield Damage(start, size, "row_limit", line=self._line(source))
                return
            block, is_too_long = _block(source, start, limits.record_bytes)
            if is_too_long:
                end = start + is_too_long
                shown = excerpt(bytes(source[start : start + 800]))
                yield Damage(start, end, "too_long", line=self._line(source), excerpt=shown)
                self.line += 1
                start = end
                continue
            for item in self._block_items(source, block, start):
                if isinstance(item, list):
                    self.rows += len(item[0])
                yield item
            self._uncounted.append((start, start + len(block)))
            start += len(block)

    def _line(self, source: memoryview) -> int:
        for low, high in self._uncounted:
            self.line += bytes(source[low:high]).count(b"\n")
        self._uncounted.clear()
        return self.line

    def _block_items(
        self, source: memoryview, block: bytes, start: int
    ) -> Iterator[list[pa.Array] | Damage | Comment]:
        columns = self._read_typed(block) if _is_clean(block) else None
        if columns is not None:
            yield from [columns] if len(columns[0]) else []
            return
        self._line(source)
        lines = squeezed(block) if self.dialect.delimiter == " " else block
        kept: list[bytes] = []
        for line in self._judged(lines, block, start):
            if isinstance(line, bytes):
                kept.append(line)
            else:
                yield line
        repaired = b"".join(kept)
        columns = self._read_typed(repaired)
        if columns is not None:
            yield from [columns] if len(columns[0]) else []
            return
        texts = self._without_headers(self._read_text(repaired))
        if len(texts[0]):
            yield from typed_batches(texts, self.types, self.dialect.decimal_comma)

    def _read_typed(self, lines: bytes) -> list[pa.Array] | None:
        """The columns of clean lines; None when one of them is not as it should be."""
        lines = squeezed(lines) if self.dialect.delimiter == " " else lines
        # A last line without a newline may have been cut; `_judged` looks at it.
        if not lines.endswith(b"\n"):
            return None
        if not lines.strip():
            return [pa.nulls(0)] * self.dialect.width
        try:
            table = pa_csv.read_csv(
                pa.BufferReader(lines),
                convert_options=convert_options(self.dialect, self.types),
                **read_options(self.dialect, lines),
            )
        except (pa.ArrowInvalid, pa.ArrowKeyError):
            return None
        columns = []
        may_swallow = b'"' in lines and lines.count(b"\n") > table.num_rows + _MOST_JOINED
        for place, column in enumerate(table.columns):
            values = column.combine_chunks()
            if pa.types.is_string(values.type):
                if may_swallow and pc.max(pc.count_substring(values, "\n")).as_py() > _MOST_JOINED:
                    return None  # two stray quotes, and all lines between them in one field
                values = blank_to_null(values)
                if self.types[place] is None and values.null_count < len(values):
                    return None  # the first values of a column that was empty so far
                values = values if self.types[place] is not None else pa.nulls(len(values))
            columns.append(values)
        return columns

    def _read_text(self, lines: bytes) -> list[pa.Array]:
        """The columns of repaired lines as text."""
        width = self.dialect.width
        try:
            table = pa_csv.read_csv(
                pa.BufferReader(lines),
                convert_options=convert_options(self.dialect, [pa.string()] * width),
                **read_options(self.dialect, lines),
            )
            return [column.combine_chunks() for column in table.columns]
        except (pa.ArrowInvalid, pa.ArrowKeyError):
            text = lines.decode("utf-8", "replace")
            rows = [split_cells(line, self.dialect.delimiter) for line in text.split("\n") if line]
            padded = [(*row, *[""] * width)[:width] for row in rows]
            columns = zip(*padded, strict=True) if padded else [()] * width
            return [pa.array(column, pa.string()) for column in columns]

    def _without_headers(self, texts: list[pa.Array]) -> list[pa.Array]:
        """Without rows that only say the header again (logs joined to one file)."""
        header = self.dialect.header
        if header is None or len(header) != len(texts):
            return texts
        said = np.ones(len(texts[0]), bool)
        for name, cells in zip(header, texts, strict=True):
            if not said.any():
                return texts
            same = pc.equal(pc.utf8_trim_whitespace(cells), name)
            said &= same.to_numpy(zero_copy_only=False)
        self.repeated_headers += int(said.sum())
        keep = pa.array(~said)
        return [cells.filter(keep) for cells in texts] if said.any() else texts

    # Judging the lines of a block that is not clean

    def _judged(self, lines: bytes, block: bytes, start: int) -> Iterator[bytes | Damage | Comment]:
        """Runs of good lines as they are, odd ones repaired to the table's width, or what they
        are instead. `block` has the same lines as `lines` before spaces were squeezed."""
        ends = _ends(lines)
        starts = np.concatenate(([0], ends[:-1]))
        origin = ends if lines is block else _ends(block)
        good = self._good(lines, starts, ends)
        bad = np.append(np.flatnonzero(~good), len(ends))
        index = 0
        while index < len(ends):
            if good[index]:
                upto = int(bad[np.searchsorted(bad, index)])
                yield self._utf8(lines[int(starts[index]) : int(ends[upto - 1])])
                index = upto
                continue
            low, high = int(starts[index]), int(ends[index])
            last = self._last_of_record(lines, ends, index)
            at = start + (int(origin[index - 1]) if index else 0)
            line = _Line(lines[low : int(ends[last])], at, start + int(origin[last]), index)
            if last > index and not self._is_record(line.raw):
                line = _Line(lines[low:high], at, start + int(origin[index]), index)
                last = index
            yield from self._judge(line)
            index = last + 1

    def _good(
        self, lines: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which lines have the right number of delimiters, no quotes, and nothing binary."""
        octets = np.frombuffer(lines, np.uint8)
        delimiters = np.flatnonzero(octets == ord(self.dialect.delimiter))
        is_bad = (octets < 32) & (octets != 10) & (octets != 13) & (octets != 9)
        is_bad |= (octets == ord('"')) | (octets == 127)
        is_bad[1:] |= (octets[1:] == 255) & (octets[:-1] == 255)
        bad = np.flatnonzero(is_bad)
        here = np.searchsorted(delimiters, ends) - np.searchsorted(delimiters, starts)
        clean = np.searchsorted(bad, ends) == np.searchsorted(bad, starts)
        good: NDArray[np.bool_] = (here == self.dialect.width - 1) & clean
        if len(ends) and octets[-1] != 10:
            good[-1] = False
        return good

    def _last_of_record(self, lines: bytes, ends: NDArray[np.int64], index: int) -> int:
        """The line on which a quoted field that begins on line `index` is closed."""
        low = int(ends[index - 1]) if index else 0
        if lines.count(b'"', low, int(ends[index])) % 2 == 0:
            return index
        for last in range(index + 1, min(index + _MOST_JOINED, len(ends))):
            if lines.count(b'"', int(ends[last - 1]), int(ends[last])) % 2:
                return last
        return index

    def _judge(self, line: "_Line") -> Iterator[bytes | Damage | Comment]:
        raw, number = line.raw, self.line + line.index
        bare = raw.strip()
        if not bare:
            return
        if _CONTROL.search(raw) or _ERASED in raw:
            reason = "zeroed" if raw.count(0) * 2 > len(raw) else "bad_line"
            yield Damage(line.start, line.end, reason, line=number, excerpt=excerpt(bare))
            return
        cells, width = self._cells(raw), self.dialect.width
        is_cut = not raw.endswith(b"\n")
        if bare.startswith(_COMMENTS) and (len(cells) != width or self.dialect.nulls):
            remark = clean_text(bare.decode(self.dialect.encoding, "replace"))
            if not (self.dialect.nulls and is_directive(remark)):
                yield Comment(number, remark)
        elif is_cut and (len(cells) < width or raw.count(b'"') % 2):
            yield Damage(line.start, line.end, "truncated", line=number, excerpt=excerpt(bare))
        elif not self._is_row(cells):
            yield Damage(line.start, line.end, "bad_line", line=number, excerpt=excerpt(bare))
        else:
            extra = [cell for cell in cells[width:] if cell.strip()]
            if extra:
                lost = len(self.dialect.delimiter.join(cells[width:]).encode()) + 1
                low = max(line.start, line.end - lost - (len(raw) - len(raw.rstrip(b"\r\n"))))
                shown = excerpt(" ".join(extra).encode())
                yield Damage(low, line.end, "extra_fields", line=number, excerpt=shown)
            self.short_lines += len(cells) < width
            yield self._written((*cells, *[""] * width)[:width])

    def _is_row(self, cells: tuple[str, ...]) -> bool:
        """Could these cells be a row of the table? Two rows without a newline between them could
        not, nor could a fragment."""
        width = self.dialect.width
        if len(cells) >= 2 * width - 1 and width > 1:
            return not any(cell.strip() for cell in cells[width:])
        if len(cells) == width:
            return True
        comma = self.dialect.decimal_comma
        kinds = self.types[: len(cells)]
        return len(cells) > 1 and all(
            fits(cell, kind, comma) for cell, kind in zip(cells, kinds, strict=False)
        )

    def _is_record(self, raw: bytes) -> bool:
        """Do these lines make one row, with newlines in its quotes?"""
        text = self._utf8(raw).decode("utf-8", "replace")
        is_closed = is_well_quoted(text, self.dialect.delimiter)
        return is_closed and len(self._cells(raw)) == self.dialect.width

    def _cells(self, raw: bytes) -> tuple[str, ...]:
        text = self._utf8(raw).decode("utf-8", "replace")
        return split_cells(text, self.dialect.delimiter)

    def _written(self, cells: tuple[str, ...]) -> bytes:
        """One line that Arrow reads as these cells."""
        out = io.StringIO()
        csv.writer(out, delimiter=self.dialect.delimiter, lineterminator="\n").writerow(cells)
        return out.getvalue().encode("utf-8", "replace")

    def _utf8(self, raw: bytes) -> bytes:
        if raw.isascii():
            return raw
        try:
            raw.decode()
        except UnicodeDecodeError:
            return raw.decode(self.dialect.encoding, "replace").encode()
        return raw


def merged(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, with bad lines that follow each other as one range."""
    pending: Damage | None = None
    for item in items:
        if isinstance(item, Damage):
            if pending and (pending.end, pending.reason) == (item.start, item.reason):
                pending = Damage(
                    pending.start, item.end, item.reason, pending.line, pending.excerpt
                )
                continue
            if pending:
                yield pending
            pending = item
            continue
        if pending:
            yield pending
            pending = None
        yield item
    if pending:
        yield pending


@dataclass(frozen=True)
class _Line:
    """A line that needs care: its bytes, where they stand in the log, its place in the block."""

    raw: bytes
    start: int
    end: int
    index: int


def _is_clean(block: bytes) -> bool:
    """Nothing binary, and no quote that Arrow would wait for to the end of the block."""
    if b"\0" in block or b"\xff" in block:
        return False
    return b'"' not in block or block.count(b'"') % 2 == 0


def _ends(lines: bytes) -> NDArray[np.int64]:
    """Behind each newline; the last line may have none."""
    ends = np.flatnonzero(np.frombuffer(lines, np.uint8) == 10) + 1
    if len(ends) == 0 or ends[-1] != len(lines):
        ends = np.append(ends, len(lines))
    return ends.astype(np.int64)


def _block(source: memoryview, start: int, longest: int) -> tuple[bytes, int]:
    """Whole records from `start` on; or, when a single line is too long, its length."""
    end = min(start + BLOCK_BYTES, len(source))
    if end == len(source):
        return bytes(source[start:end]), 0
    low = max(start, end - _STEP)
    newline = bytes(source[low:end]).rfind(b"\n")
    if newline >= 0:
        block = bytes(source[start : low + newline + 1])
    else:
        block = bytes(source[start:end])
        block = block[: block.rfind(b"\n") + 1]
    if block:
        return (block[: _record_end(block)] if b'"' in block else block), 0
    pos = end
    while pos < len(source):
        window = bytes(source[pos : pos + _STEP])
        found = window.find(b"\n")
        if found >= 0:
            pos += found + 1
            break
        pos += len(window)
    return (b"", pos - start) if pos - start > longest else (bytes(source[start:pos]), 0)


def _record_end(block: bytes) -> int:
    """Behind the last newline that stands in no quotes. `block` ends with a newline."""
    if block.count(b'"') % 2 == 0:
        return len(block)
    octets = np.frombuffer(block, np.uint8)
    newlines = np.flatnonzero(octets == 10)
    quotes = np.flatnonzero(octets == ord('"'))
    outside = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
    # A quote that is never closed leaves no newline outside: cut where the line ends.
    return int(outside[-1]) + 1 if len(outside) else len(block)
