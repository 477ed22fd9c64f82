"""JSON Lines of any shape to events: one row per line, what is known to columns, the rest kept.

Lines are decoded block by block, all at once where a block is clean; a line that needs care goes
through `json_values`, a line that is no object becomes Damage. No other text formats here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from logbox_pipeline.formats.json_fields import Levels, LevelScale, Plan, plan_of, time_us
from logbox_pipeline.formats.json_odd import odd_lines
from logbox_pipeline.formats.json_values import Record, careful_record
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
from logbox_pipeline.formats.text import excerpt
from logbox_pipeline.formats.times import EARLIEST_LOG_US, epoch_us, instant

PARSER_VERSION = 1

_BLOCK = 256 * 1024
"""Small enough for the processor's cache: larger ones were measured slower."""

_BATCH_BYTES = 32 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_MOST_HELD = 10_000
_MOST_SHAPES = 10_000
_RECOGNIZED_LINES = 20
_LEVEL_TYPES = frozenset((str, int, float))
_NULL = msgspec.Raw(b"null")
_TS = pa.timestamp("us", tz="UTC")
_RECORDS = msgspec.json.Decoder(Record)
_VALUES = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()


def is_jsonl(head: memoryview, size: int) -> bool:
    """Do the first lines look like JSON objects? At least one must be one, and most begin so."""
    data = bytes(head).removeprefix(_BOM)
    lines = [line.strip(b"\0 \t\r") for line in data.split(b"\n")]
    if len(data) < size and len(lines) > 1:
        lines.pop()  # cut by the end of the head
    lines = [line for line in lines if line][:_RECOGNIZED_LINES]
    braced = [line for line in lines if line.startswith(b"{")]
    if not braced or len(braced) * 2 < len(lines):
        return False
    if any(isinstance(careful_record(line, 64), dict) for line in braced):
        return True
    # One line longer than the head: all that can be seen is how it begins.
    return len(lines) == 1 and len(head) < size and lines[0].lstrip(b"{ \t").startswith(b'"')


def parse(source: memoryview, limits: Limits) -> Iterator[Item]:
    state = _State(latest_us=epoch_us(limits.received_at + timedelta(days=1)))
    held: list[Damage] = []
    for item in _gathered(_items(source, limits, state), limits.batch_rows):
        if isinstance(item, Damage):
            state.damaged += 1
            if state.rows == 0 and len(held) < _MOST_HELD:
                held.append(item)
                continue
        yield from held
        held.clear()
        yield item
    if state.rows == 0 and (held or state.damaged):
        yield Unreadable("damaged", f"none of {state.lines} lines is a JSON object")
        return
    yield from held
    yield About(
        time_source=TimeSource.NONE if state.first_us is None else TimeSource.LOG,
        recorded_from=None if state.first_us is None else instant(state.first_us),
        recorded_to=None if state.last_us is None else instant(state.last_us),
        info={"lines": state.lines, "bad_lines": state.damaged},
    )


@dataclass
class _State:
    """What is known of the log so far."""

    latest_us: int
    lines: int = 0
    rows: int = 0
    damaged: int = 0
    first_us: int | None = None
    last_us: int | None = None
    plans: dict[tuple[str, ...], Plan] = field(default_factory=dict)
    has_boot: bool = False
    levels: dict[LevelScale, Levels] = field(
        default_factory=lambda: {scale: Levels(scale) for scale in LevelScale}
    )

    def plan(self, shape: tuple[str, ...]) -> Plan:
        """The plan for lines of a shape that was not seen before."""
        if len(self.plans) >= _MOST_SHAPES:
            self.plans.clear()
        plan = self.plans[shape] = plan_of(shape, self.levels)
        self.has_boot = self.has_boot or plan.boot is not None
        return plan


def _gathered(items: Iterator[Item], batch_rows: int) -> Iterator[Item]:
    """The same items, with the events of many blocks in one batch."""
    batches: list[pa.RecordBatch] = []
    rows = size_bytes = 0
    for item in items:
        if not isinstance(item, Events):
            yield item
            continue
        batches.append(item.batch)
        rows += item.batch.num_rows
        size_bytes += item.batch.nbytes
        if rows >= batch_rows or size_bytes >= _BATCH_BYTES:
            yield Events(pa.concat_batches(batches))
            batches.clear()
            rows = size_bytes = 0
    if batches:
        yield Events(pa.concat_batches(batches))


def _items(source: memoryview, limits: Limits, state: _State) -> Iterator[Item]:
    pos = len(_BOM) if bytes(source[:3]) == _BOM else 0
    size = len(source)
    while pos < size:
        if state.rows >= limits.rows:
            yield Damage(pos, size, "row_limit", line=state.lines + 1)
            return
        block = bytes(source[pos : pos + _BLOCK])
        if pos + len(block) < size:
            whole = block.rfind(b"\n") + 1
            if whole:
                block = block[:whole]
            else:
                end = _line_end(source, pos + len(block))
                if end - pos > limits.record_bytes:
                    state.lines += 1
                    shown = excerpt(bytes(source[pos : pos + 800]))
                    yield Damage(pos, end, "too_long", line=state.lines, excerpt=shown)
                    pos = end
                    continue
                block = bytes(source[pos:end])
        yield from _block_items(block, pos, pos + len(block) == size, limits, state)
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


def _block_items(
    block: bytes, pos: int, is_last: bool, limits: Limits, state: _State
) -> Iterator[Item]:
    is_cut = not block.endswith(b"\n")
    if is_cut:
        block += b"\n"
    octets = np.frombuffer(block, np.uint8)
    newlines = np.flatnonzero(octets == ord("\n"))
    odd = odd_lines(block, octets, newlines, limits.nesting)
    records = _all_records(block, octets, newlines) if len(odd) < len(newlines) else None
    if records is not None and not odd:
        yield Events(_event_batch(records, state))
        state.lines += len(newlines)
        return
    kept: list[Record] = []
    start = 0
    for index, end in enumerate(newlines.tolist()):
        result: Record | str | None
        if records is not None and index not in odd:
            result = records[index]
        else:
            result = _one_record(block[start:end], index in odd, limits)
        if isinstance(result, dict):
            kept.append(result)
        elif result is not None:
            was_cut = is_cut and is_last and end == len(block) - 1
            reason = "truncated" if was_cut and result == "bad_line" else result
            shown = excerpt(block[start : min(end, start + 800)])
            line = state.lines + index + 1
            # The newline belongs to the line, but one that was not there does not.
            yield Damage(pos + start, pos + end + (not was_cut), reason, line=line, excerpt=shown)
        start = end + 1
    state.lines += len(newlines)
    if kept:
        yield Events(_event_batch(kept, state))


def _all_records(
    block: bytes, octets: NDArray[np.uint8], newlines: NDArray[np.int64]
) -> list[Record] | None:
    """All lines at once; None unless each line is one object from its first byte to its last."""
    ends = octets[newlines - 1]
    if (ends == ord("\r")).any():
        ends = np.where(ends == ord("\r"), octets[newlines - 2], ends)
    begins = octets[newlines[:-1] + 1]
    if block[0] != ord("{") or not (ends == ord("}")).all() or not (begins == ord("{")).all():
        return None
    try:
        records: list[Record] = _RECORDS.decode_lines(block)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return records if len(records) == len(newlines) else None


def _one_record(line: bytes, is_odd: bool, limits: Limits) -> Record | str | None:
    """One line: its members, the reason why there are none, or None for a blank line."""
    if not line.strip():
        return None
    if len(line) > limits.record_bytes:
        return "too_long"
    if not is_odd:
        try:
            return _RECORDS.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
    return careful_record(line, limits.nesting)


def _event_batch(records: list[Record], state: _State) -> pa.RecordBatch:
    """One row per record. Takes from each record what a column says in full."""
    known = state.plans
    plans = [known.get(shape) or state.plan(shape) for shape in map(tuple, records)]
    times = _taken(records, [plan[0] for plan in plans])
    levels = _taken(records, [plan[1] for plan in plans])
    sources = _taken(records, [plan[2] for plan in plans])
    messages = _taken(records, [plan[3] for plan in plans])
    boots = _taken(records, [plan[4] for plan in plans]) if state.has_boot else None
    columns = [
        _time_column(_decoded(times), times, records, plans, state),
        _boot_column(boots, records, plans),
        _level_column(_decoded(levels), levels, records, plans),
        _text_column(_decoded(sources), sources, records, plans, "source"),
        _text_column(_decoded(messages), messages, records, plans, "message"),
        _attributes_column(records),
    ]
    state.rows += len(records)
    return pa.RecordBatch.from_arrays(columns, schema=EVENT_SCHEMA)


def _taken(records: list[Record], names: list[str | None]) -> list[msgspec.Raw]:
    """One member out of each record."""
    return [
        record.pop(name, _NULL)  # type: ignore[arg-type]  # None is in no record
        for record, name in zip(records, names, strict=True)
    ]


def _decoded(raws: list[msgspec.Raw]) -> list[object]:
    values: list[object] = _VALUES.decode_lines(_ENCODER.encode_lines(raws))
    return values


def _put_back(record: Record, name: str | None, raw: msgspec.Raw) -> None:
    if name is not None and raw is not _NULL:
        record[name] = raw


def _time_column(
    values: list[object],
    raws: list[msgspec.Raw],
    records: list[Record],
    plans: list[Plan],
    state: _State,
) -> pa.Array:
    utc_us, valid, is_full = _times_us(values)
    valid = valid & (utc_us >= EARLIEST_LOG_US) & (utc_us <= state.latest_us)
    for index in np.flatnonzero(~(valid & is_full)).tolist():
        _put_back(records[index], plans[index].time, raws[index])
    if valid.any():
        first_us, last_us = int(utc_us[valid].min()), int(utc_us[valid].max())
        state.first_us = first_us if state.first_us is None else min(first_us, state.first_us)
        state.last_us = last_us if state.last_us is None else max(last_us, state.last_us)
    return pa.array(utc_us.view("datetime64[us]"), type=_TS, mask=~valid)


def _times_us(
    values: list[object],
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """UTC, where there is one, and where the value said its zone. In bulk where text ends in Z."""
    zoned = [v if type(v) is str and len(v) > 18 and v[-1] == "Z" else None for v in values]
    try:
        stamps = pa.array(zoned, pa.string()).cast(_TS)
    except pa.ArrowInvalid:
        stamps = pa.nulls(len(values), _TS)
    valid = stamps.is_valid().to_numpy(zero_copy_only=False)
    utc_us = stamps.cast(pa.int64()).fill_null(0).to_numpy().copy()
    is_full = valid.copy()
    for index in np.flatnonzero(~valid).tolist():
        us, zone = time_us(values[index])
        # Beyond int64 is beyond every bound.
        if us is not None and abs(us) < 2**62:
            utc_us[index], valid[index], is_full[index] = us, True, zone
    return utc_us, valid, is_full


def _boot_column(
    raws: list[msgspec.Raw] | None, records: list[Record], plans: list[Plan]
) -> pa.Array:
    if raws is None:
        return pa.nulls(len(records), pa.int64())
    column: list[int | None] = []
    for index, value in enumerate(_decoded(raws)):
        if isinstance(value, str) and value.isdecimal() and len(value) < 19:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
            column.append(value)
        else:
            column.append(None)
            _put_back(records[index], plans[index].boot, raws[index])
    return pa.array(column, pa.int64())


def _level_column(
    values: list[object],
    raws: list[msgspec.Raw],
    records: list[Record],
    plans: list[Plan],
) -> pa.Array:
    column: list[int | None] = []
    for index, (value, plan) in enumerate(zip(values, plans, strict=True)):
        # A true is no 1, though it would be found as one.
        level, is_full = plan[5][value] if type(value) in _LEVEL_TYPES else (None, False)  # type: ignore[index]
        column.append(level)
        if not is_full:
            _put_back(records[index], plan.level, raws[index])
    return pa.array(column, pa.int16())


def _text_column(
    values: list[object],
    raws: list[msgspec.Raw],
    records: list[Record],
    plans: list[Plan],
    role: Literal["source", "message"],
) -> pa.Array:
    try:
        column = pa.array(values, pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        column = None
    if column is None or column.null_count:
        texts = [_text(value) for value in values]
        for index, text in enumerate(texts):
            if text is None:
                _put_back(records[index], getattr(plans[index], role), raws[index])
        column = pa.array(texts, pa.string())
    return column


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    # OpenTelemetry's AnyValue.
    if isinstance(value, dict) and len(value) == 1:
        inner = value.get("stringValue")
        return inner if isinstance(inner, str) else None
    return None


def _attributes_column(records: list[Record]) -> pa.Array:
    """Each record as JSON text, null when nothing is left of it."""
    lines = _ENCODER.encode_lines(records)
    newlines = np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n"))
    ends = newlines - np.arange(len(newlines))
    offsets = np.concatenate(([0], ends)).astype(np.int32)
    texts = pa.StringArray.from_buffers(
        len(records), pa.py_buffer(offsets), pa.py_buffer(lines.replace(b"\n", b""))
    )
    empty = np.diff(offsets) == len("{}")
    if not empty.any():
        return texts
    return pc.if_else(pa.array(empty), pa.scalar(None, pa.string()), texts)
