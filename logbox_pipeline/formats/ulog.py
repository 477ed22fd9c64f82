"""PX4's ULog to rows, events, parameters and what the log says of itself.

Two passes: `ulog_scan` finds every message; then the GPS gives UTC, and each topic's messages are
gathered into columns, block by block, so that memory stays flat. No resync and no layout here.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from heapq import merge
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from logbox_pipeline.formats.px4_events import load_definitions
from logbox_pipeline.formats.stream import (
    About,
    Damage,
    Item,
    Likeness,
    Limits,
    Rows,
    TimeSource,
    Unreadable,
)
from logbox_pipeline.formats.times import instant
from logbox_pipeline.formats.ulog_clock import LARGEST_CLOCK_US, Clock, Clocks, find_clocks
from logbox_pipeline.formats.ulog_columns import (
    Event,
    Special,
    clock_values,
    events,
    gather,
    parameters,
    px4_event_rows,
    record_batch,
)
from logbox_pipeline.formats.ulog_definitions import Keyed, release_name
from logbox_pipeline.formats.ulog_scan import (
    HEADER_BYTES,
    MAGIC,
    Scan,
    Stream,
    blocks,
    by_stream,
)

PARSER_VERSION = 2

_BLOCK = 262_144
_PENDING_BYTES = 64 * 1024 * 1024
_INFO_CHARACTERS = 4_000
_INFO_ENTRIES = 200


def recognizes(head: memoryview, size: int) -> Likeness:
    return Likeness.SURE if bytes(head[: len(MAGIC)]) == MAGIC else Likeness.NO


def parse(source: memoryview, limits: Limits) -> Iterator[Item]:
    if bytes(source[: len(MAGIC)]) != MAGIC:
        yield Unreadable("not_ulog", "the file does not begin with the ULog magic")
        return
    if len(source) < HEADER_BYTES:
        yield Unreadable("truncated", f"{len(source)} bytes of a {HEADER_BYTES} byte header")
        return
    scan = Scan(source, limits)
    held: list[Damage] = []
    for damage in scan.walk():
        if scan.unknown_flags:
            break
        held.append(damage)
        if scan.messages or scan.codes:
            yield from held
            held.clear()
    if scan.unknown_flags:
        yield Unreadable("incompatible", f"unknown incompatible flags {scan.unknown_flags}")
        return
    if held and not (scan.messages or scan.codes):
        yield Unreadable("damaged", f"no message could be read in {len(source)} bytes")
        return
    yield from held
    clocks = find_clocks(scan, limits.received_at)
    times = _Times(scan, clocks)
    yield from _rows(scan, times, limits)
    yield from events(source, times.specials(), _px4_events(scan, clocks), limits.batch_rows)
    data_from = len(source) if scan.data_from is None else scan.data_from
    yield from parameters(source, times.specials(), data_from, limits.batch_rows)
    yield _about(scan, times)


class _Times:
    """The boot clock over the whole log, filled while its rows go by.

    `at_us` has, for each special message, the largest boot clock written before it in its segment.
    """

    def __init__(self, scan: Scan, clocks: Clocks) -> None:
        self.scan = scan
        self.clocks = clocks
        self.at_us = array("q")
        self.latest_us = scan.start_us if scan.start_us < LARGEST_CLOCK_US else 0
        self.first_us: int | None = None
        self.utc_us: list[int] = []

    def note(self, low: int, t_boot_us: NDArray[np.int64], clock: Clock) -> None:
        """`t_boot_us` of the messages from index `low` on, 0 where there is none; one segment."""
        if low in self.clocks.starts[1:]:
            self.latest_us = 0
        sane = np.where((t_boot_us < 0) | (t_boot_us > LARGEST_CLOCK_US), 0, t_boot_us)
        largest = np.maximum.accumulate(np.concatenate(([self.latest_us], sane)))
        index = np.frombuffer(self.scan.special_index, np.int64)
        first, last = np.searchsorted(index, [low, low + len(sane)], "left")
        self.at_us.extend(largest[index[first:last] - low].tolist())
        self.latest_us = int(largest[-1])
        nonzero = sane[sane > 0]
        if len(nonzero):
            smallest = int(nonzero.min())
            self.first_us = smallest if self.first_us is None else min(self.first_us, smallest)
            known = (clock.utc_us(smallest), clock.utc_us(self.latest_us))
            self.utc_us = [us for us in (*self.utc_us, *known) if us is not None]
            self.utc_us = [min(self.utc_us), max(self.utc_us)] if self.utc_us else []

    def specials(self) -> Iterator[Special]:
        clocks, starts = self.clocks.clocks, self.clocks.starts
        segment = 0
        for number, pos in enumerate(self.scan.special):
            at_us = self.at_us[number] if number < len(self.at_us) else self.latest_us
            index = self.scan.special_index[number]
            while segment + 1 < len(starts) and starts[segment + 1] <= index:
                segment += 1
            yield pos, at_us, clocks[segment]


def _rows(scan: Scan, times: _Times, limits: Limits) -> Iterator[Rows]:
    pending = _Pending(scan, limits)
    for low, codes, position, clock in _blocks(scan, times.clocks):
        if low in times.clocks.starts:
            yield from pending.flush()
            pending.clock = clock
        t_boot_us = np.zeros(len(codes), np.int64)
        yield from pending.take(codes, position, t_boot_us)
        times.note(low, t_boot_us, clock)
    yield from pending.flush()


def _blocks(
    scan: Scan, clocks: Clocks
) -> Iterator[tuple[int, NDArray[np.uint16], NDArray[np.int64], Clock]]:
    """Index of the first message, codes, positions; cut where a segment starts."""
    low = 0
    for codes, position in blocks(scan, _BLOCK):
        high = low + len(codes)
        cuts = [low, *(start for start in clocks.starts if low < start < high), high]
        for first, last in pairwise(cuts):
            segment = bisect_right(clocks.starts, first) - 1
            part = slice(first - low, last - low)
            yield first, codes[part], position[part], clocks.clocks[segment]
        low = high


class _Pending:
    """Messages gathered by stream until there are enough of one for a batch."""

    def __init__(self, scan: Scan, limits: Limits) -> None:
        self.clock = Clock(None, limits.received_at)
        self._scan = scan
        self._limits = limits
        self._source = np.frombuffer(scan.source, np.uint8)
        self._chunks: dict[int, list[NDArray[np.void]]] = {}
        self._bytes = 0

    def take(
        self,
        codes: NDArray[np.uint16],
        position: NDArray[np.int64],
        t_boot_us: NDArray[np.int64],
    ) -> Iterator[Rows]:
        """Gather these messages and fill in `t_boot_us`; yield what is enough."""
        for stream, here in by_stream(self._scan, codes):
            number, layout = stream.group, stream.layout
            rows = gather(self._source, position[here], layout.size_min)
            t_boot_us[here] = clock_values(rows, layout)[0]
            self._chunks.setdefault(number, []).append(rows)
            self._bytes += rows.nbytes
            if sum(map(len, self._chunks[number])) >= self._limits.batch_rows:
                chunks = self._chunks.pop(number)
                self._bytes -= sum(chunk.nbytes for chunk in chunks)
                yield from _batches(stream, chunks, self.clock, self._limits)
        if self._bytes > _PENDING_BYTES:
            yield from self.flush()

    def flush(self) -> Iterator[Rows]:
        for number, chunks in sorted(self._chunks.items()):
            yield from _batches(self._scan.streams[number], chunks, self.clock, self._limits)
        self._chunks.clear()
        self._bytes = 0


def _batches(
    stream: Stream, chunks: list[NDArray[np.void]], clock: Clock, limits: Limits
) -> Iterator[Rows]:
    rows = np.concatenate(chunks) if len(chunks) > 1 else chunks[0]
    columns = stream.layout.columns
    for low in range(0, len(rows), limits.batch_rows):
        batch = record_batch(rows[low : low + limits.batch_rows], stream.layout, clock)
        yield Rows(stream.topic, stream.instance, batch, columns)


def _px4_events(scan: Scan, clocks: Clocks) -> Iterator[tuple[int, Event]]:
    """PX4's `event` topic as events, in the order of the file."""
    if all(stream.topic != "event" for stream in scan.streams):
        return
    definitions = (
        load_definitions(bytes(scan.event_definitions)) if scan.event_definitions else None
    )
    source = np.frombuffer(scan.source, np.uint8)
    for _, codes, position, clock in _blocks(scan, clocks):
        found = [
            px4_event_rows(
                gather(source, here, stream.layout.size_min),
                here,
                stream.layout,
                definitions,
                clock,
            )
            for stream, where in by_stream(scan, codes)
            if stream.topic == "event"
            for here in [position[where]]
        ]
        yield from merge(*found, key=lambda row: row[0])


def _about(scan: Scan, times: _Times) -> About:
    known = {keyed.key: keyed for keyed in (part.keyed for part in scan.information)}
    first_us = scan.start_us if 0 < scan.start_us < LARGEST_CLOCK_US else times.first_us
    # Rows before the header's start were written before the log: kept, but not where it begins.
    header_us = times.clocks.clocks[0].utc_us(first_us)
    utc_us = times.utc_us
    segments = len(times.clocks.starts)
    return About(
        time_source=TimeSource.GPS if times.clocks.has_utc else TimeSource.NONE,
        time_error_ms=times.clocks.error_ms,
        recorded_from=instant(header_us or min(utc_us)) if header_us or utc_us else None,
        recorded_to=instant(max(utc_us)) if utc_us else None,
        vehicle_uid=_text(known.get("sys_uuid")),
        firmware=_firmware(known),
        hardware=_text(known.get("ver_hw")),
        info=_info(scan) | ({"clock_segments": segments} if segments > 1 else {}),
    )


def _text(keyed: Keyed | None) -> str | None:
    return keyed.value if keyed and isinstance(keyed.value, str) and keyed.value else None


def _firmware(known: dict[str, Keyed]) -> str | None:
    release = known.get("ver_sw_release")
    parts = [release_name(release.value)] if release and isinstance(release.value, int) else []
    version = _text(known.get("ver_sw"))
    if version:
        parts.append(version)
    return " ".join(parts) or None


def _info(scan: Scan) -> dict[str, str | int | float]:
    """Information messages, bounded; the parts of a multiple one joined, its entries by line."""
    info: dict[str, str | int | float] = {}
    for part in scan.information:
        keyed = part.keyed
        value = keyed.value.hex() if isinstance(keyed.value, bytes) else keyed.value
        old = info.get(keyed.key)
        if isinstance(value, str):
            if isinstance(old, str) and part.multiple:
                value = old + ("" if part.continued else "\n") + value
            value = value[:_INFO_CHARACTERS]
        if old is not None or len(info) < _INFO_ENTRIES:
            info[keyed.key] = value
    info["ulog_version"] = scan.version
    return info
