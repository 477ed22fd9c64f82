"""JSON Lines of any shape to events: one row per line, what is known to columns, the rest kept.

Lines are read block by block (`json_rows`); a line that is no object becomes Damage. JSON that is
not one object a line is `json_documents`. No other text formats here.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from logbox_pipeline.formats.gathering import gathered
from logbox_pipeline.formats.json_rows import RowReader
from logbox_pipeline.formats.json_values import careful_record
from logbox_pipeline.formats.stream import (
    About,
    Damage,
    Events,
    Item,
    Likeness,
    Limits,
    TimeSource,
    Unreadable,
)
from logbox_pipeline.formats.text import excerpt
from logbox_pipeline.formats.times import instant

PARSER_VERSION = 3

_BLOCK = 1024 * 1024
"""Large enough that calls on arrays cost little per line, small enough for the cache."""

_BOM = b"\xef\xbb\xbf"
_RUN = bytes(8)
_RUNS = re.compile(rb"\0{8,}")
_MOST_HELD = 10_000
_RECOGNIZED_LINES = 100


def recognizes(head: memoryview, size: int) -> Likeness:
    """SURE when two thirds of the first lines begin as JSON objects and one is; MAYBE when one in
    four is. A line cut by the end of the head counts by how it begins."""
    data = bytes(head).removeprefix(_BOM)
    lines = [line.strip(b"\0 \t\r") for line in data.split(b"\n")]
    if len(data) < size and len(lines) > 1:
        lines.pop()  # cut by the end of the head
    lines = [line for line in lines if line][:_RECOGNIZED_LINES]
    braced = [line for line in lines if line.startswith(b"{")]
    # Decoded one after the other, and no further than it takes: a small log has few lines more.
    objects = (isinstance(careful_record(line, 64), dict) for line in braced)
    if any(objects):
        if len(braced) * 3 >= len(lines) * 2:
            return Likeness.SURE
        return Likeness.MAYBE if (1 + sum(objects)) * 4 >= len(lines) else Likeness.NO
    # One line longer than the head: all that can be seen is how it begins.
    is_long = len(lines) == 1 and len(head) < size and lines[0].lstrip(b"{ \t").startswith(b'"')
    return Likeness.SURE if is_long and braced else Likeness.NO


def parse(source: memoryview, limits: Limits) -> Iterator[Item]:
    reader = RowReader(limits)
    yield from finished(_items(source, limits, reader), reader, limits, "lines")


def finished(items: Iterator[Item], reader: RowReader, limits: Limits, unit: str) -> Iterator[Item]:
    """Events and Damage gathered, then what the log says of itself; Unreadable without a row."""
    held: list[Damage] = []
    damaged = 0
    for item in gathered(items, limits.batch_rows):
        if isinstance(item, Damage):
            damaged += 1
            if reader.rows == 0 and len(held) < _MOST_HELD:
                held.append(item)
                continue
        yield from held
        held.clear()
        yield item
    if reader.rows == 0 and damaged:
        yield Unreadable("damaged", f"none of {damaged} {unit} is a JSON object")
        return
    yield from held
    first_us, last_us = reader.first_us, reader.last_us
    yield About(
        time_source=TimeSource.NONE if first_us is None else TimeSource.LOG,
        recorded_from=None if first_us is None else instant(first_us),
        recorded_to=None if last_us is None else instant(last_us),
        info={unit: reader.units, f"bad_{unit}": damaged},
    )


def _items(source: memoryview, limits: Limits, reader: RowReader) -> Iterator[Item]:
    pos = len(_BOM) if bytes(source[:3]) == _BOM else 0
    size = len(source)
    while pos < size:
        if reader.rows >= limits.rows:
            yield Damage(pos, size, "row_limit", line=reader.units + 1)
            return
        block = bytes(source[pos : pos + _BLOCK])
        if pos + len(block) < size:
            whole = block.rfind(b"\n") + 1
            if whole:
                block = block[:whole]
            else:
                end = _line_end(source, pos + len(block))
                if end - pos > limits.record_bytes:
                    reader.units += 1
                    shown = excerpt(bytes(source[pos : pos + 800]))
                    yield Damage(pos, end, "too_long", line=reader.units, excerpt=shown)
                    pos = end
                    continue
                block = bytes(source[pos:end])
        yield from _block_items(block, pos, reader)
        pos += len(block)


def _line_end(source: memoryview, pos: int) -> int:
    """Behind the next newline from `pos` on, without a copy of the line."""
    while pos < len(source):
        window = bytes(source[pos : pos + _BLOCK])
        found = window.find(b"\n")
        if found >= 0:
            return pos + found + 1
        pos += len(window)
    return pos


def _block_items(block: bytes, pos: int, reader: RowReader) -> Iterator[Item]:
    is_cut = not block.endswith(b"\n")  # only the last line of the log
    result = reader.read(block + b"\n" if is_cut else block)
    damages = []
    for bad in result.bad:
        lost = block[bad.start : bad.end].rstrip(b"\n")
        reason = bad.reason
        if reason == "bad_line" and not lost.strip(b"\xff"):
            reason = "padding"
        elif reason == "bad_line" and is_cut and bad.end >= len(block):
            reason = "truncated"
        # The newline belongs to the line, but one that was not there does not.
        end = min(bad.end, len(block))
        line = reader.units + bad.index + 1
        shown = excerpt(lost[:800])
        damages.append(Damage(pos + bad.start, pos + end, reason, line=line, excerpt=shown))
    damages += _zeroed(block, pos, reader.units, damages)
    yield from sorted(damages, key=lambda damage: damage.start)
    reader.units += result.lines
    if result.events is not None:
        yield Events(result.events)


def _zeroed(block: bytes, pos: int, lines: int, known: Sequence[Damage]) -> Iterator[Damage]:
    """Runs of NUL beside whole lines: what a power cut left. `lines` are above the block."""
    if _RUN not in block:
        return
    bad = [(damage.start - pos, damage.end - pos) for damage in known]
    for run in _RUNS.finditer(block):
        place = bisect_right(bad, (run.start(), len(block))) - 1
        if place < 0 or bad[place][1] <= run.start():
            line = lines + block.count(b"\n", 0, run.start()) + 1
            yield Damage(pos + run.start(), pos + run.end(), "zeroed", line=line)
