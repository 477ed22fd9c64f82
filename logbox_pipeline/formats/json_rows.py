"""Blocks of JSON lines to events: whole blocks by array, single lines with care, in their order.

Shared by `jsonl` and `json_documents`. No files here, and nothing of where a block stands.
"""

from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from logbox_pipeline.formats.json_columns import event_columns
from logbox_pipeline.formats.json_mapping import Mapper, Row
from logbox_pipeline.formats.json_odd import odd_lines
from logbox_pipeline.formats.json_scan import Scan, scan
from logbox_pipeline.formats.json_several import several
from logbox_pipeline.formats.json_spans import spans
from logbox_pipeline.formats.json_values import Record, careful_record
from logbox_pipeline.formats.stream import EVENT_SCHEMA, Limits
from logbox_pipeline.formats.times import epoch_us

LARGEST_SCAN = 4 * 1024 * 1024
"""Bytes; a scan takes up to about thirty times its block."""

_DAY_US = 86_400_000_000
_TS = pa.timestamp("us", tz="UTC")
_RECORDS = msgspec.json.Decoder(Record)
_ANYTHING = msgspec.json.Decoder(msgspec.Raw)
_SPACE = b" \t\r\n"
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True)
class BadLine:
    """A line, or a part of it, that gave no row, and why: bytes [start, end) of its block, with
    the newline when it is all of the line."""

    index: int
    start: int
    end: int
    reason: str


@dataclass(frozen=True)
class Block:
    """What came out of one block. `events` has a row per object, in order; None without any."""

    lines: int
    events: pa.RecordBatch | None
    bad: list[BadLine]


class RowReader:
    """Reads one log's blocks. rows: so far. first_us, last_us: the span of their times.
    units: lines or documents so far, counted by who gives the blocks."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._mapper = Mapper(epoch_us(limits.received_at) + _DAY_US)
        self.rows = 0
        self.units = 0
        self.first_us: int | None = None
        self.last_us: int | None = None

    def read(self, block: bytes) -> Block:
        """`block`: whole lines, each with its newline."""
        scanned = scan(block, self._limits.nesting) if len(block) <= LARGEST_SCAN else None
        if scanned is None:
            result = self._mixed(block)
        else:
            lines = len(scanned.starts)
            result = Block(lines, self._merged(scanned, np.arange(lines), []), [])
        if result.events is not None:
            self._note(result.events)
        return result

    def _mixed(self, block: bytes) -> Block:
        """A block in which some lines need care: the others still go together."""
        octets = np.frombuffer(block, np.uint8)
        newlines = np.flatnonzero(octets == ord("\n"))
        odd = odd_lines(block, octets, newlines, self._limits.nesting)
        plain: list[bytes] = []
        plain_lines: list[int] = []
        by_hand: list[tuple[int, list[Row]]] = []
        bad: list[BadLine] = []
        start = 0
        for index, end in enumerate(newlines.tolist()):
            line = block[start:end].strip(_SPACE)
            if line and index not in odd and _is_plain_object(line):
                plain.append(line)
                plain_lines.append(index)
            elif line:
                result = self._one_record(line, index in odd)
                if not isinstance(result, str):
                    by_hand.append((index, self._rows(result)))
                elif result != "bad_line" or not self._salvaged(
                    block, index, start, end, by_hand, bad
                ):
                    bad.append(BadLine(index, start, end + 1, result))
            start = end + 1
        plain.append(b"")
        scanned = scan(b"\n".join(plain), self._limits.nesting) if len(plain) > 1 else None
        if scanned is None and len(plain) > 1:
            for index, line in zip(plain_lines, plain[:-1], strict=True):
                by_hand.append((index, self._rows(_RECORDS.decode(line))))
        events = self._merged(scanned, np.array(plain_lines, np.int64), by_hand)
        return Block(len(newlines), events, bad)

    def _salvaged(
        self,
        block: bytes,
        index: int,
        start: int,
        end: int,
        by_hand: list[tuple[int, list[Row]]],
        bad: list[BadLine],
    ) -> bool:
        """Whole objects between what else stands on a bad line, such as one whose newline was
        lost, or that follows garbage; False when there are none."""
        if end - start > LARGEST_SCAN:
            return False
        rows: list[Row] = []
        lost: list[BadLine] = []
        line = memoryview(block)[start:end]
        for span in spans(line, self._limits.record_bytes, enters=False):
            reason = span.reason
            if reason is None:
                result = self._one_record(block[start + span.start : start + span.end], True)
                if isinstance(result, str):
                    reason = result
                else:
                    rows += self._rows(result)
            if reason is not None:
                first = start + span.start
                if lost and lost[-1].end == first:
                    first = lost.pop().start
                lost.append(BadLine(index, first, start + span.end, "bad_line"))
        if rows:
            by_hand.append((index, rows))
            bad.extend(lost)
        return bool(rows)

    def _one_record(self, line: bytes, is_odd: bool) -> Record | str:
        """The members of the object on a line, or why there are none."""
        if len(line) > self._limits.record_bytes:
            return "too_long"
        if not is_odd:
            try:
                return _RECORDS.decode(line)
            except _NOT_JSON:
                pass
        return careful_record(line, self._limits.nesting)

    def _rows(self, record: Record) -> list[Row]:
        return [self._mapper.row(one) for one in several(record)]

    def _merged(
        self,
        scanned: Scan | None,
        lines: NDArray[np.int64],
        by_hand: list[tuple[int, list[Row]]],
    ) -> pa.RecordBatch | None:
        """Rows of scanned lines, which are `lines` of the block, and others in their order."""
        batches: list[pa.RecordBatch] = []
        places: list[NDArray[np.int64]] = []
        if scanned is not None:
            columns = event_columns(scanned, self._mapper.levels, self._mapper.latest_us)
            unsettled = np.flatnonzero(columns.unsettled)
            if not len(unsettled) and not by_hand:
                return columns.events
            by_hand = by_hand + [
                (int(lines[i]), self._rows(_RECORDS.decode(scanned.text(i))))
                for i in unsettled.tolist()
            ]
            settled = np.flatnonzero(~columns.unsettled)
            batches.append(columns.events.take(pa.array(settled)))
            places.append(lines[settled])
        if by_hand:
            batches.append(_row_batch([row for _, rows in by_hand for row in rows]))
            counts = [len(rows) for _, rows in by_hand]
            places.append(np.repeat(np.array([line for line, _ in by_hand], np.int64), counts))
        if len(batches) < 2:
            return batches[0] if batches else None
        order = np.argsort(np.concatenate(places), kind="stable")
        return pa.concat_batches(batches).take(pa.array(order))

    def _note(self, events: pa.RecordBatch) -> None:
        self.rows += events.num_rows
        span = pc.min_max(events.column(0).cast(pa.int64())).as_py()
        if span["min"] is not None:
            first, last = self.first_us, self.last_us
            self.first_us = span["min"] if first is None else min(first, span["min"])
            self.last_us = span["max"] if last is None else max(last, span["max"])


def _is_plain_object(line: bytes) -> bool:
    """A whole valid object that is not empty, and not too long for a scan."""
    if line[0] != ord("{") or len(line) > LARGEST_SCAN or not line[1:-1].strip(_SPACE):
        return False
    try:
        _ANYTHING.decode(line)
    except _NOT_JSON:
        return False
    return True


def _row_batch(rows: list[Row]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True))
    return pa.RecordBatch.from_arrays(
        [
            pa.array(columns[0], pa.int64()).cast(_TS),
            *(
                pa.array(column, field.type)
                for column, field in zip(columns[1:], list(EVENT_SCHEMA)[1:], strict=True)
            ),
        ],
        schema=EVENT_SCHEMA,
    )
