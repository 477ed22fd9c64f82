"""ArduPilot's DataFlash logs, binary and text, to rows, events, parameters and who wrote them.

Binary here, text in `dataflash_text`. Three passes over a binary log: `dataflash_scan` finds every
message; then boot clock, GPS and identity; then each type's messages are gathered into columns,
block by block, so that memory stays flat. No resync and no layout here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from logbox_pipeline.formats import dataflash_text
from logbox_pipeline.formats.dataflash_clock import Clock, Fixes, Offsets, Segments
from logbox_pipeline.formats.dataflash_columns import (
    gather,
    plain_values,
    read_fields,
    record_batch,
    slot_values,
)
from logbox_pipeline.formats.dataflash_definitions import (
    FMT_BYTES,
    HEADER,
    Layout,
    Slot,
    is_exact,
    read_definition,
)
from logbox_pipeline.formats.dataflash_events import (
    EVENT_TOPICS,
    PARAMETER_TOPIC,
    Identity,
)
from logbox_pipeline.formats.dataflash_out import Span, Told, about, fix_fields
from logbox_pipeline.formats.dataflash_scan import Scan, blocks
from logbox_pipeline.formats.stream import (
    Column,
    Damage,
    Item,
    Likeness,
    Limits,
    Rows,
    Unreadable,
)

PARSER_VERSION = 1

_BLOCK = 262_144
_PENDING_BYTES = 64 * 1024 * 1024
_FMT_START = b"\xa3\x95\x80"
_HEADERS_TO_BE_SURE = 16
_BYTES_PER_HEADER = 300
_MOST_TRIES = 1_000
_MOST_IDENTITY_MESSAGES = 5_000


def recognizes(head: memoryview, size: int) -> Likeness:
    """SURE of an FMT message anywhere in the head, of headers everywhere, and of FMT lines."""
    data = bytes(head)
    pos = data.find(_FMT_START)
    for _ in range(_MOST_TRIES):
        if pos < 0 or pos + FMT_BYTES > len(data):
            break
        definition = read_definition(data[pos : pos + FMT_BYTES])
        if definition is not None and is_exact(definition):
            return Likeness.SURE
        pos = data.find(_FMT_START, pos + 1)
    headers = data.count(HEADER)
    if headers >= _HEADERS_TO_BE_SURE and headers * _BYTES_PER_HEADER >= len(data):
        return Likeness.SURE
    return Likeness.SURE if dataflash_text.is_text(data) else Likeness.NO


def parse(source: memoryview, limits: Limits) -> Iterator[Item]:
    if dataflash_text.is_text(bytes(source[: 64 * 1024])):
        yield from dataflash_text.parse(source, limits)
        return
    scan = Scan(source, limits)
    held: list[Damage] = []
    for damage in scan.walk():
        held.append(damage)
        if len(scan.codes):
            yield from held
            held.clear()
    if not len(scan.codes):
        has_headers = source.nbytes > 0 and HEADER in bytes(source[: 16 * 1024 * 1024])
        reason = "no_definitions" if has_headers else "damaged"
        yield Unreadable(reason, f"no FMT message could be read in {len(source)} bytes")
        return
    yield from held
    log = _Log(scan, limits)
    log.survey()
    yield from log.rows()
    yield from log.told.rest()
    yield about(log.identity, log.clock, log.offsets, log.span)


@dataclass(frozen=True)
class _Stream:
    """All messages of one layout."""

    layout: Layout
    instance: Slot | None
    columns: tuple[Column, ...]


class _Log:
    """What is known of a log between its passes."""

    def __init__(self, scan: Scan, limits: Limits) -> None:
        self.scan = scan
        self.limits = limits
        self.source = np.frombuffer(scan.source, np.uint8)
        self.identity = Identity()
        self.segments = Segments()
        self.span = Span()
        self._streams: dict[int, _Stream] = {}
        clocks = [layout.clock for layout in scan.layouts]
        self._clock_offset = np.array([clock.offset if clock else 0 for clock in clocks])
        self._clock_size = np.array(
            [int(clock.numpy_type[2:]) if clock else 0 for clock in clocks], np.int64
        )
        self._clock_us = np.array([layout.clock_us for layout in scan.layouts], np.int64)
        self.offsets = Offsets((None,), None)
        self.clock = Clock(self.offsets, self.segments, limits.received_at)
        self.told = Told(self.identity, self.clock, limits.batch_rows)

    def survey(self) -> None:
        """Second pass: where the boot clock steps back, GPS fixes, identity."""
        layouts = self.scan.layouts
        gps = self._gps_codes()
        speaking = [code for code, layout in enumerate(layouts) if layout.topic in ("MSG", "VER")]
        fixes = Fixes(self.limits.received_at)
        messages = 0
        low = 0
        for codes, position in blocks(self.scan, _BLOCK):
            t_boot_us, missing = self._boot_clock(codes, position)
            clocked = np.flatnonzero(~missing)
            self.segments.note(clocked + low, t_boot_us[clocked])
            for code, (week, week_ms, status) in gps.items():
                here = np.flatnonzero(codes == code)
                here = here[~missing[here]]
                if len(here):
                    rows = gather(self.source, position[here], layouts[code].size_bytes)
                    numbers = [
                        slot_values(rows, slot).astype(np.int64) for slot in (week, week_ms, status)
                    ]
                    fixes.note(here + low, t_boot_us[here], *numbers)
            if messages < _MOST_IDENTITY_MESSAGES:
                for index in np.flatnonzero(np.isin(codes, speaking)).tolist():
                    messages += 1
                    if messages > _MOST_IDENTITY_MESSAGES:
                        break
                    layout = layouts[codes[index]]
                    fields = read_fields(layout, self._message(layout, int(position[index])))
                    self.identity.take(layout.topic, fields)
            low += len(codes)
        self.offsets = fixes.offsets(self.segments)
        self.clock = Clock(self.offsets, self.segments, self.limits.received_at)
        self.told = Told(self.identity, self.clock, self.limits.batch_rows)

    def rows(self) -> Iterator[Item]:
        """Third pass: rows, and events and parameters between them."""
        telling = np.array([layout.topic in EVENT_TOPICS for layout in self.scan.layouts])
        setting = np.array([layout.topic == PARAMETER_TOPIC for layout in self.scan.layouts])
        pending: dict[int, list[_Piece]] = {}
        pending_bytes = 0
        low = 0
        for codes, position in blocks(self.scan, _BLOCK):
            t_boot_us, missing = self._boot_clock(codes, position)
            index = np.arange(low, low + len(codes))
            utc_us, unknown = self.clock.utc_us(index, t_boot_us, missing)
            self.span.note(t_boot_us, missing, utc_us, unknown)
            order = np.argsort(codes, kind="stable")
            names, starts = np.unique(codes[order], return_index=True)
            for code, here in zip(names.tolist(), np.split(order, starts[1:]), strict=True):
                rows = gather(self.source, position[here], self.scan.layouts[code].size_bytes)
                piece = _Piece(rows, t_boot_us[here], missing[here], utc_us[here], unknown[here])
                pending.setdefault(code, []).append(piece)
                pending_bytes += rows.nbytes
                if sum(len(waiting.rows) for waiting in pending[code]) >= self.limits.batch_rows:
                    pieces = pending.pop(code)
                    pending_bytes -= sum(done.rows.nbytes for done in pieces)
                    yield from self._batches(code, pieces)
            for at in np.flatnonzero(telling[codes]).tolist():
                layout = self.scan.layouts[codes[at]]
                fields = read_fields(layout, self._message(layout, int(position[at])))
                yield from self.told.take(
                    layout.topic,
                    fields,
                    None if missing[at] else int(t_boot_us[at]),
                    None if unknown[at] else int(utc_us[at]),
                )
            yield from self._parameters(codes, position, t_boot_us, missing, setting)
            low += len(codes)
            if pending_bytes > _PENDING_BYTES:
                for code, pieces in pending.items():
                    yield from self._batches(code, pieces)
                pending.clear()
                pending_bytes = 0
        for code, pieces in sorted(pending.items()):
            yield from self._batches(code, pieces)

    def _parameters(
        self,
        codes: NDArray[np.uint16],
        position: NDArray[np.int64],
        t_boot_us: NDArray[np.int64],
        missing: NDArray[np.bool_],
        setting: NDArray[np.bool_],
    ) -> Iterator[Item]:
        """The parameters of one block; a log has thousands, so not one by one."""
        found = np.flatnonzero(setting[codes])
        # Another definition of PARM in the middle is rare: cut where it changes.
        for here in np.split(found, np.flatnonzero(np.diff(codes[found].astype(int))) + 1):
            if not len(here):
                continue
            layout = self.scan.layouts[codes[here[0]]]
            rows = gather(self.source, position[here], layout.size_bytes)
            names, values, defaults = (
                [None] * len(here) if slot is None else plain_values(rows, slot)
                for slot in map(layout.field, ("Name", "Value", "Default"))
            )
            times = [
                None if gone else us
                for us, gone in zip(t_boot_us[here].tolist(), missing[here].tolist(), strict=True)
            ]
            yield from self.told.take_parameters(names, values, defaults, times)

    def _batches(self, code: int, pieces: list["_Piece"]) -> Iterator[Rows]:
        stream = self._stream(code)
        whole = _joined(pieces)
        if stream.instance is None:
            yield from self._rows(stream, 0, whole)
            return
        # A sensor's number below zero is none; the column still says it.
        numbers = np.maximum(slot_values(whole.rows, stream.instance).astype(np.int64), 0)
        order = np.argsort(numbers, kind="stable")
        found, starts = np.unique(numbers[order], return_index=True)
        for instance, here in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
            part = whole if len(found) == 1 else whole.take(here)
            yield from self._rows(stream, instance, part)

    def _stream(self, code: int) -> _Stream:
        if code not in self._streams:
            layout, meaning = self.scan.layouts[code], self.scan.meanings.get(code)
            units = self.scan.units
            self._streams[code] = _Stream(
                layout, units.instance_slot(layout, meaning), units.columns(layout, meaning)
            )
        return self._streams[code]

    def _rows(self, stream: _Stream, instance: int, piece: "_Piece") -> Iterator[Rows]:
        for low in range(0, len(piece.rows), self.limits.batch_rows):
            part = piece.cut(low, low + self.limits.batch_rows)
            t_boot_us, ts = self.clock.columns(
                part.utc_us, part.t_boot_us, part.unknown, part.missing
            )
            batch = record_batch(part.rows, stream.layout, t_boot_us, ts)
            yield Rows(stream.layout.topic, instance, batch, stream.columns)

    def _boot_clock(
        self, codes: NDArray[np.uint16], position: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The boot clock of messages in microseconds, and where there is none."""
        size = self._clock_size[codes]
        at = position + self._clock_offset[codes]
        raw = np.zeros(len(codes), np.int64)
        for width in (8, 4):
            here = np.flatnonzero(size == width)
            if len(here):
                view: NDArray[np.generic] = np.ndarray(
                    (len(self.source) - width + 1,),
                    dtype=f"<u{width}",
                    buffer=self.source.data,
                    strides=(1,),
                )
                raw[here] = view[at[here]].astype(np.int64)
        factor = self._clock_us[codes]
        missing = (size == 0) | (raw < 0) | (raw > 2**63 // 1000 - 1) & (factor > 1)
        return np.where(missing, 0, raw) * factor, missing

    def _gps_codes(self) -> dict[int, tuple[Slot, Slot, Slot]]:
        """Layouts that tell GPS time; those of the first receiver where it has any."""
        for prefix in ("GPS", "GPS2", "GPSB"):
            found = {
                code: fields
                for code, layout in enumerate(self.scan.layouts)
                if layout.topic == prefix and layout.clock and (fields := fix_fields(layout))
            }
            if found and np.isin(np.frombuffer(self.scan.codes, np.uint16), list(found)).any():
                return found
        return {}

    def _message(self, layout: Layout, position: int) -> bytes:
        return bytes(self.scan.source[position : position + layout.size_bytes])


@dataclass(frozen=True)
class _Piece:
    """Packed messages of one layout, and their times."""

    rows: NDArray[np.void]
    t_boot_us: NDArray[np.int64]
    missing: NDArray[np.bool_]
    utc_us: NDArray[np.int64]
    unknown: NDArray[np.bool_]

    def take(self, here: NDArray[np.int64]) -> "_Piece":
        return _Piece(
            self.rows[here],
            self.t_boot_us[here],
            self.missing[here],
            self.utc_us[here],
            self.unknown[here],
        )

    def cut(self, low: int, high: int) -> "_Piece":
        return _Piece(
            self.rows[low:high],
            self.t_boot_us[low:high],
            self.missing[low:high],
            self.utc_us[low:high],
            self.unknown[low:high],
        )


def _joined(pieces: list[_Piece]) -> _Piece:
    if len(pieces) == 1:
        return pieces[0]
    return _Piece(
        np.concatenate([piece.rows for piece in pieces]),
        np.concatenate([piece.t_boot_us for piece in pieces]),
        np.concatenate([piece.missing for piece in pieces]),
        np.concatenate([piece.utc_us for piece in pieces]),
        np.concatenate([piece.unknown for piece in pieces]),
    )
