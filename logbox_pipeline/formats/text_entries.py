"""Lines of a text log to events: which lines begin an entry, and which continue the one above.

A file has a few shapes of lines. The one that a sample shows most is matched in bulk, block by
block; every other line is tried on its own. What syslog and plain text share; no patterns here.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from logbox_pipeline.formats.gathering import gathered
from logbox_pipeline.formats.json_mapping import Mapper
from logbox_pipeline.formats.stream import (
    EVENT_SCHEMA,
    About,
    Damage,
    Events,
    Item,
    Limits,
    TimeSource,
    Unreadable,
)
from logbox_pipeline.formats.text_levels import WORDS, text_level
from logbox_pipeline.formats.text_lines import Block, blocks, sample_lines
from logbox_pipeline.formats.text_objects import BEGINNING as OBJECT_BEGINNING
from logbox_pipeline.formats.text_objects import read_objects
from logbox_pipeline.formats.text_prefixes import Prefix, name_sources, prefix_of, without_prefix
from logbox_pipeline.formats.text_rows import Columns, ShapeReader, with_attributes
from logbox_pipeline.formats.text_samples import sampled
from logbox_pipeline.formats.text_shapes import Shape, Stamp, match_of_line, stamp_pattern
from logbox_pipeline.formats.text_times import (
    UNKNOWN_YEAR_MS,
    UNKNOWN_ZONE_MS,
    Clock,
    Years,
    YearScan,
    settle_order,
)
from logbox_pipeline.formats.times import EARLIEST_LOG_US, epoch_us, instant

_SAMPLE_BYTES = 64 * 1024
_MOST_ENTRY_BYTES = 256 * 1024
_MOST_ENTRY_LINES = 2_000
_MOST_DATES = 10_000
_MONTH_US = 31 * 86_400_000_000
_LEAST_ROWS = 500
"""So many rows are made at once: a file that is all holes is no slower than another."""

_MOST_IN_ORDER = 1_000
"""So many damages stand exactly between the rows where they were; more, a little before them."""
_ENOUGH = 0.1
"""The share of a sample's lines from which on a shape is matched in bulk: the most particular of
those that have it, so that no general one takes the lines of another."""

_LEVEL_AT_START = re.compile(rf"[\[<(* ]{{0,3}}({WORDS})(?![\w./=-])", re.ASCII)
_TS = pa.timestamp("us", tz="UTC")
Row = tuple[str, ...]


def parse_entries(source: memoryview, limits: Limits, stamps: tuple[Stamp, ...]) -> Iterator[Item]:
    """Events of all lines, Damage, and About or Unreadable last."""
    log = _Log(source, limits, stamps)
    held: list[Damage] = []
    for item in gathered(log.items(), limits.batch_rows):
        if isinstance(item, Damage):
            log.damages += 1
            if log.rows == 0 and len(held) < _MOST_DATES:
                held.append(item)
                continue
        yield from held
        held.clear()
        yield item
    if log.rows == 0 and log.damages:
        yield Unreadable("damaged", f"no text in {len(source)} bytes")
        return
    yield from held
    yield log.about()


@dataclass
class _Pending:
    """Entries that were read and are not yet rows. shapes: None for a line without a stamp. names:
    who wrote each, in a log with prefixes."""

    shapes: list[Shape | None] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    more: dict[int, list[str]] = field(default_factory=dict)
    flagged: set[int] = field(default_factory=set)

    def take_last(self) -> "_Pending":
        """The last entry, which the next block may continue."""
        last = len(self.rows) - 1
        taken = _Pending([self.shapes.pop()], [self.rows.pop()], self.names[last:])
        del self.names[last:]
        if last in self.more:
            taken.more[0] = self.more.pop(last)
        if last in self.flagged:
            self.flagged.discard(last)
            taken.flagged.add(0)
        return taken


class _Log:
    """One file while it is read."""

    def __init__(self, source: memoryview, limits: Limits, stamps: tuple[Stamp, ...]) -> None:
        self.source = source
        self.limits = limits
        self.stamps = stamps
        self.latest = limits.received_at + timedelta(days=1)
        self.entry_bytes = min(_MOST_ENTRY_BYTES, limits.record_bytes)
        self.lines = self.rows = self.damages = self.unstamped = 0
        self.first_us: int | None = None
        self.last_us: int | None = None
        self.readers: dict[str, ShapeReader] = {}
        self.clocks: dict[str, Clock] = {}
        self.notes: dict[str, str | int | float] = {}
        self.pending = _Pending()
        self.is_open = False
        self.open_bytes = self.open_lines = 0
        self.dominant: Shape | None = None
        self.prefix: Prefix | None = None
        self.mapper = Mapper(epoch_us(self.latest))

    def items(self) -> Iterator[Item]:
        seen = self._sampled()
        self.dominant = seen[0] if seen else None
        self._settle({shape.stamp.name: shape.stamp for shape in seen})
        for piece in self._blocks():
            if isinstance(piece, Damage):
                if self.damages < _MOST_IN_ORDER and len(self.pending.rows) > 1:
                    yield self._ready()
                yield piece
                continue
            if self.rows + len(self.pending.rows) >= self.limits.rows:
                yield Damage(piece.start, len(self.source), "row_limit", line=piece.first_line)
                break
            self.lines += piece.lines
            self._read(piece)
            if len(self.pending.rows) >= _LEAST_ROWS:
                yield self._ready()
        if self.pending.rows:
            yield Events(self._batch(self.pending))

    def _blocks(self) -> Iterator[Block | Damage]:
        for piece in blocks(self.source, self.limits):
            if self.prefix is None or isinstance(piece, Damage):
                yield piece
            else:
                yield without_prefix(piece, self.prefix)

    def _ready(self) -> Events:
        """All entries but the last, which the next block may continue."""
        ready = self.pending
        self.pending = ready.take_last()
        return Events(self._batch(ready))

    def about(self) -> About:
        unzoned = sum(clock.unzoned for clock in self.clocks.values())
        years = set().union(*(clock.assumed_years for clock in self.clocks.values()))
        shapes = Counter({name: reader.rows for name, reader in self.readers.items()})
        info: dict[str, str | int | float] = {
            "lines": self.lines,
            "entries": self.rows,
            "shapes": ", ".join(f"{name} {rows}" for name, rows in shapes.most_common(20)),
            **self.notes,
        }
        if self.unstamped:
            info["unstamped"] = self.unstamped
        has_times = self.first_us is not None
        error_ms = 0
        if unzoned and has_times:
            info["zone_assumed"] = "UTC"
            error_ms += UNKNOWN_ZONE_MS
        if years and has_times and not self._is_year_known():
            first, last = min(years), max(years)
            info["year_assumed"] = f"{first}-{last}" if last > first else str(first)
            error_ms += UNKNOWN_YEAR_MS
        return About(
            time_source=TimeSource.LOG if has_times else TimeSource.NONE,
            time_error_ms=error_ms or None,
            recorded_from=None if self.first_us is None else instant(self.first_us),
            recorded_to=None if self.last_us is None else instant(self.last_us),
            info=info,
        )

    def _is_year_known(self) -> bool:
        """Do lines with a year stand in the time of those without?"""
        spans = [(r.shape.stamp, r.span_us) for r in self.readers.values() if r.span_us]
        guessed = [span for stamp, span in spans if stamp.is_yearless]
        return all(
            any(
                first - _MONTH_US <= dated[1] and dated[0] <= last + _MONTH_US
                for stamp, dated in spans
                if not stamp.is_yearless
            )
            for first, last in guessed
        )

    def _sampled(self) -> list[Shape]:
        """The shapes of the beginning, the middle and the end; first the one for bulk."""
        lines = self._sample()
        self.prefix = prefix_of(lines)
        if self.prefix is not None and lines:
            text = "\n".join(lines) + "\n"
            lines = without_prefix(Block(text, 0, 0, 1, len(lines)), self.prefix).text.split("\n")
            lines = [line for line in lines if line]
        sample = sampled(lines, self.stamps)
        self.stamps, counts, shapes = sample.stamps, sample.counts, sample.shapes
        enough = _ENOUGH * sum(counts.values())
        names = [stamp.name for stamp in self.stamps]
        return sorted(
            shapes.values(),
            key=lambda shape: (
                counts[shape.name] < enough,
                names.index(shape.stamp.name),
                shape.rank,
            ),
        )

    def _sample(self) -> list[str]:
        size = len(self.source)
        begins = (0, max(0, size // 2), max(0, size - _SAMPLE_BYTES))
        lines: list[str] = []
        for begin in begins[: 1 if size <= _SAMPLE_BYTES else 3]:
            piece = self.source[begin : begin + _SAMPLE_BYTES]
            lines += sample_lines(piece, len(piece) + 1, 200) or []
        return lines

    def _settle(self, seen: dict[str, Stamp]) -> None:
        """Look through the whole file once, when dates leave open which ones they are."""
        open_stamps = [s for s in seen.values() if s.is_yearless or s.is_ordered]
        if not open_stamps:
            return
        scans = {stamp.name: YearScan() for stamp in open_stamps}
        dates: dict[str, dict[str, None]] = {stamp.name: {} for stamp in open_stamps}
        patterns = {
            stamp.name: re.compile(rf"^{stamp_pattern(stamp).pattern}", re.ASCII | re.MULTILINE)
            for stamp in open_stamps
        }
        for piece in self._blocks():
            if isinstance(piece, Damage):
                continue
            for stamp in open_stamps:
                pattern = patterns[stamp.name]
                found = pattern.findall(piece.text)
                if not found:
                    continue
                columns = list(zip(*found, strict=True))
                texts = columns[pattern.groupindex["date"] - 1]
                if stamp.is_ordered:
                    if len(dates[stamp.name]) < _MOST_DATES:
                        dates[stamp.name].update(dict.fromkeys(texts))
                    continue
                times = columns[pattern.groupindex["time"] - 1]
                if "year" in pattern.groupindex:
                    years = columns[pattern.groupindex["year"] - 1]
                    if any(years):
                        kept = [i for i, year in enumerate(years) if not year]
                        texts = tuple(texts[i] for i in kept)
                        times = tuple(times[i] for i in kept)
                scans[stamp.name].see(texts, times)
        for stamp in open_stamps:
            clock = self._clock(stamp)
            if stamp.is_ordered:
                clock.order = settle_order(list(dates[stamp.name]), self.latest)
                self.notes["date_order"] = clock.order
            else:
                clock.first_year, is_nearest = scans[stamp.name].settled(self.latest)
                clock.years = Years(is_nearest)

    def _clock(self, stamp: Stamp) -> Clock:
        if stamp.name not in self.clocks:
            self.clocks[stamp.name] = Clock(first_year=self.latest.year - 1)
        return self.clocks[stamp.name]

    def _read(self, block: Block) -> None:
        pending, dominant, names = self.pending, self.dominant, block.names
        if dominant is None:
            rows: list[Row] = [(line,) for line in block.text[:-1].split("\n")]
            special = list(range(len(rows)))
        else:
            rows = dominant.bulk.findall(block.text)
            key = dominant.key
            special = [index for index, row in enumerate(rows) if not row[key]]
            if block.not_utf8:
                special = sorted(block.not_utf8.union(special))
        begin = 0
        for index in special:
            if begin < index:
                self._append(dominant, rows[begin:index], names and names[begin:index])
            begin = index + 1
            row, name = rows[index], names and names[index : index + 1]
            before = len(pending.rows)
            if dominant is not None and row[dominant.key]:
                self._append(dominant, [row], name)
            else:
                self._read_line(row[-1], name)
            if index in block.not_utf8 and pending.rows:
                pending.flagged.add(max(before, len(pending.rows)) - 1)
        self._append(dominant, rows[begin:], names[begin:])

    def _append(self, shape: Shape | None, rows: Sequence[Row], names: tuple[str, ...]) -> None:
        if rows:
            self.pending.shapes += [shape] * len(rows)
            self.pending.rows += rows
            self.pending.names += names
            self.is_open = shape is not None
            self.open_bytes = self.open_lines = 0

    def _read_line(self, line: str, name: tuple[str, ...]) -> None:
        shape, match = match_of_line(line, self.stamps)
        if match is not None:
            self._append(shape, [(*match.groups(""), "")], name)
            return
        if self.is_open and (not name or self._continues(line, name)):
            self.open_bytes += len(line) + 1
            self.open_lines += 1
            if self.open_bytes <= self.entry_bytes and self.open_lines <= _MOST_ENTRY_LINES:
                self.pending.more.setdefault(len(self.pending.rows) - 1, []).append(line)
                return
        if line.strip():
            is_open = self.is_open and not name
            self._append(None, [(line,)], name)
            self.is_open = is_open

    def _continues(self, line: str, name: tuple[str, ...]) -> bool:
        """Programs that share a log do not continue each other's entries."""
        is_same = self.pending.names[-1:] == [*name]
        return is_same and not line.startswith(OBJECT_BEGINNING)

    def _batch(self, ready: _Pending) -> pa.RecordBatch:
        shapes, rows = ready.shapes, ready.rows
        count = len(rows)
        if shapes.count(shapes[0]) == count:
            columns = self._columns(shapes[0], rows)
        else:
            columns = self._mixed(shapes, rows)
        if self.prefix is not None:
            name_sources(columns, ready.names, self.prefix)
        for index, lines in ready.more.items():
            columns.messages[index] = "\n".join([columns.messages[index], *lines]).rstrip()
        for index in ready.flagged:
            columns.attributes[index] = with_attributes(
                columns.attributes[index], {"logbox_invalid_utf8": True}
            )
        self.rows += count
        if columns.valid.any():
            us = columns.us[columns.valid]
            first_us, last_us = int(us.min()), int(us.max())
            self.first_us = first_us if self.first_us is None else min(first_us, self.first_us)
            self.last_us = last_us if self.last_us is None else max(last_us, self.last_us)
        arrays = [
            pa.array(columns.us.view("datetime64[us]"), type=_TS, mask=~columns.valid),
            pa.nulls(count, pa.int64())
            if columns.boots is None
            else pa.array(columns.boots, pa.int64()),
            pa.array(columns.levels, pa.int16()),
            pa.array(columns.sources, pa.string()),
            pa.array(columns.messages, pa.string()),
            pa.array(columns.attributes, pa.string()),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=EVENT_SCHEMA)

    def _columns(self, shape: Shape | None, rows: Sequence[Row]) -> Columns:
        if shape is None:
            return self._unstamped(rows)
        reader = self.readers.get(shape.name)
        if reader is None:
            reader = self.readers[shape.name] = ShapeReader(
                shape, self._clock(shape.stamp), epoch_us(self.latest), EARLIEST_LOG_US
            )
        return reader.columns(rows)

    def _unstamped(self, rows: Sequence[Row]) -> Columns:
        self.unstamped += len(rows)
        messages = [row[0] for row in rows]
        found = [_LEVEL_AT_START.match(message) for message in messages]
        columns = Columns(
            us=np.zeros(len(rows), np.int64),
            valid=np.zeros(len(rows), np.bool_),
            boots=None,
            levels=[text_level(match[1])[0] if match else None for match in found],
            sources=[None] * len(rows),
            messages=messages,
            attributes=[None] * len(rows),
        )
        if self.prefix is not None:
            read_objects(columns, self.mapper, self.limits.nesting)
        return columns

    def _mixed(self, shapes: Sequence[Shape | None], rows: Sequence[Row]) -> Columns:
        """The columns of lines of several shapes, in the order of the file."""
        count = len(rows)
        places: dict[Shape | None, list[int]] = {}
        for index, shape in enumerate(shapes):
            places.setdefault(shape, []).append(index)
        us, valid = np.zeros(count, np.int64), np.zeros(count, np.bool_)
        boots: list[Any] = [None] * count
        levels: list[Any] = [None] * count
        sources: list[Any] = [None] * count
        messages: list[Any] = [None] * count
        attributes: list[Any] = [None] * count
        for shape, indexes in places.items():
            part = self._columns(shape, [rows[index] for index in indexes])
            us[indexes], valid[indexes] = part.us, part.valid
            for at, index in enumerate(indexes):
                boots[index] = part.boots[at] if part.boots is not None else None
                levels[index] = part.levels[at]
                sources[index] = part.sources[at]
                messages[index] = part.messages[at]
                attributes[index] = part.attributes[at]
        has_boots = any(boot is not None for boot in boots)
        return Columns(
            us, valid, boots if has_boots else None, levels, sources, messages, attributes
        )
