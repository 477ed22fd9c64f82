"""PX4's ULog to rows, events, parameters and what the log says of itself.

Two passes: `ulog_scan` finds every message; then the GPS gives UTC, and each topic's messages are
gathered into columns, block by block, so that memory stays flat. No resync and no layout here.
"""

from array import array
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from logbox_pipeline.formats.stream import (
    About,
    Damage,
    Item,
    Limits,
    Rows,
    TimeSource,
    Unreadable,
)
from logbox_pipeline.formats.times import EARLIEST_FIX_US, instant
from logbox_pipeline.formats.ulog_columns import (
    LARGEST_CLOCK_US,
    Clock,
    Special,
    clock_values,
    events,
    gather,
    parameters,
    record_batch,
    slot_values,
)
from logbox_pipeline.formats.ulog_definitions import Keyed, release_name
from logbox_pipeline.formats.ulog_scan import HEADER_BYTES, MAGIC, Scan, Stream, positions

PARSER_VERSION = 1

_BLOCK = 262_144
_PENDING_BYTES = 64 * 1024 * 1024
_GPS_TOPICS = ("vehicle_gps_position", "sensor_gps")
_INFO_CHARACTERS = 4_000
_INFO_ENTRIES = 200


def is_ulog(head: memoryview) -> bool:
    return bytes(head[: len(MAGIC)]) == MAGIC


def parse(source: memoryview, limits: Limits) -> Iterator[Item]:
    if not is_ulog(source):
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
    offset_us, error_ms = _gps_offset(scan, limits)
    clock = Clock(offset_us, limits.received_at)
    times = _Times(scan)
    yield from _rows(scan, clock, times, limits)
    yield from events(source, times.specials(), clock, limits.batch_rows)
    data_from = len(source) if scan.data_from is None else scan.data_from
    yield from parameters(source, times.specials(), data_from, limits.batch_rows)
    yield _about(scan, clock, times, error_ms)


def _gps_offset(scan: Scan, limits: Limits) -> tuple[int | None, int | None]:
    """UTC minus boot time: the median over valid fixes, and how far 95 % of them lie from it."""
    latest_us = Clock(0, limits.received_at).latest_us
    for topic in _GPS_TOPICS:
        wanted = [s for s in scan.streams if s.topic == topic and _has_fix(s)]
        if not wanted:
            continue
        group_of = np.array(scan.code_group, np.int64)
        found = []
        for codes, position in positions(scan, _BLOCK):
            group = group_of[codes]
            for stream in wanted:
                here = position[group == stream.group]
                if len(here):
                    found.append(_fix_offsets(scan, stream, here, latest_us))
        offsets = np.concatenate(found) if found else np.empty(0, np.int64)
        if len(offsets):
            median = int(np.median(offsets))
            spread_us = float(np.quantile(np.abs(offsets - median), 0.95))
            return median, int(np.ceil(spread_us / 1000))
    return None, None


def _has_fix(stream: Stream) -> bool:
    types = {slot.name: slot.numpy_type for slot in stream.layout.slots}
    return types.get("time_utc_usec") == "<u8" and types.get("fix_type") == "<u1"


def _fix_offsets(
    scan: Scan, stream: Stream, position: NDArray[np.int64], latest_us: int
) -> NDArray[np.int64]:
    rows = gather(np.frombuffer(scan.source, np.uint8), position, stream.layout.size_min)
    slots = {slot.name: slot for slot in stream.layout.slots}
    utc_us = slot_values(rows, slots["time_utc_usec"]).view(np.int64)
    fix_type = slot_values(rows, slots["fix_type"]).view(np.uint8)
    t_boot_us, missing = clock_values(rows, stream.layout)
    valid = (fix_type >= 3) & ~missing & (t_boot_us < LARGEST_CLOCK_US)
    valid &= (utc_us >= EARLIEST_FIX_US) & (utc_us <= latest_us)
    offsets: NDArray[np.int64] = utc_us[valid] - t_boot_us[valid]
    return offsets


class _Times:
    """The boot clock over the whole log, filled while its rows go by.

    `at_us` has, for each special message, the largest boot clock written before it.
    """

    def __init__(self, scan: Scan) -> None:
        self.scan = scan
        self.at_us = array("q")
        self.latest_us = scan.start_us if scan.start_us < LARGEST_CLOCK_US else 0
        self.first_us: int | None = None

    def note(self, low: int, t_boot_us: NDArray[np.int64]) -> None:
        """`t_boot_us` of the messages from index `low` on, 0 where there is none."""
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

    def specials(self) -> Iterator[Special]:
        for number, pos in enumerate(self.scan.special):
            yield pos, self.at_us[number] if number < len(self.at_us) else self.latest_us


def _rows(scan: Scan, clock: Clock, times: _Times, limits: Limits) -> Iterator[Rows]:
    source = np.frombuffer(scan.source, np.uint8)
    group_of = np.array(scan.code_group, np.int64)
    pending: dict[int, list[NDArray[np.void]]] = {}
    pending_bytes = 0
    low = 0
    for codes, position in positions(scan, _BLOCK):
        group = group_of[codes]
        order = np.argsort(group, kind="stable")
        names, starts = np.unique(group[order], return_index=True)
        t_boot_us = np.zeros(len(codes), np.int64)
        for number, here in zip(names.tolist(), np.split(order, starts[1:]), strict=True):
            if number < 0:
                continue
            layout = scan.streams[number].layout
            rows = gather(source, position[here], layout.size_min)
            t_boot_us[here] = clock_values(rows, layout)[0]
            pending.setdefault(number, []).append(rows)
            pending_bytes += rows.nbytes
            if sum(map(len, pending[number])) >= limits.batch_rows:
                chunks = pending.pop(number)
                pending_bytes -= sum(chunk.nbytes for chunk in chunks)
                yield from _batches(scan.streams[number], chunks, clock, limits)
        times.note(low, t_boot_us)
        low += len(codes)
        if pending_bytes > _PENDING_BYTES:
            for number, chunks in pending.items():
                yield from _batches(scan.streams[number], chunks, clock, limits)
            pending.clear()
            pending_bytes = 0
    for number, chunks in sorted(pending.items()):
        yield from _batches(scan.streams[number], chunks, clock, limits)


def _batches(
    stream: Stream, chunks: list[NDArray[np.void]], clock: Clock, limits: Limits
) -> Iterator[Rows]:
    rows = np.concatenate(chunks) if len(chunks) > 1 else chunks[0]
    columns = stream.layout.columns
    for low in range(0, len(rows), limits.batch_rows):
        batch = record_batch(rows[low : low + limits.batch_rows], stream.layout, clock)
        yield Rows(stream.topic, stream.instance, batch, columns)


def _about(scan: Scan, clock: Clock, times: _Times, error_ms: int | None) -> About:
    known = {keyed.key: keyed for keyed in (part.keyed for part in scan.information)}
    first_us = scan.start_us if 0 < scan.start_us < LARGEST_CLOCK_US else times.first_us
    recorded_from = clock.utc_us(first_us)
    recorded_to = clock.utc_us(times.latest_us)
    return About(
        time_source=TimeSource.NONE if clock.offset_us is None else TimeSource.GPS,
        time_error_ms=error_ms,
        recorded_from=None if recorded_from is None else instant(recorded_from),
        recorded_to=None if recorded_to is None else instant(recorded_to),
        vehicle_uid=_text(known.get("sys_uuid")),
        firmware=_firmware(known),
        hardware=_text(known.get("ver_hw")),
        info=_info(scan),
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
