"""Where the MAVLink frames of a log stand: frames, checksums, resync. No field is read here.

A telemetry log repeats [8 bytes: microseconds since 1970, big-endian][frame]
(https://mavlink.io/en/guide/serialization.html, the log's records: QGroundControl, MAVProxy,
Mission Planner); a raw stream has the frames alone. Every byte that could begin a frame of a known
message is tried, many at once, and the checksum decides: so a resync needs no search of its own,
and damage costs what whole bytes cost. What lies between whole frames is walked: frames of unknown
messages, which nobody can check, when another frame follows them; the rest is damage.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from logbox_pipeline.formats.mavlink_crc import checksums
from logbox_pipeline.formats.mavlink_definitions import Definitions, definitions
from logbox_pipeline.formats.mavlink_frames import Frames, apart, merged, outside
from logbox_pipeline.formats.stream import Damage, Limits
from logbox_pipeline.formats.text import excerpt
from logbox_pipeline.formats.times import EARLIEST_FIX_US, epoch_us

MAGIC_V1 = 0xFE
MAGIC_V2 = 0xFD
STAMP_BYTES = 8
_SIGNED = 0x01
_SIGNATURE_BYTES = 13
_LONGEST_FRAME = 10 + 255 + 2 + _SIGNATURE_BYTES
_WINDOW = 2 * 1024 * 1024
_TRIED_BYTES = 4 * 1024 * 1024
_DAY_US = 86_400_000_000


@dataclass
class Counts:
    """What was seen, for `About.info`. unknown_from: unknown frames by sysid * 256 + compid."""

    v1: int = 0
    v2: int = 0
    signed: int = 0
    restored: int = 0
    bad_crc: int = 0
    without_time: int = 0
    contiguous: int = 0
    unknown: Counter[int] = field(default_factory=Counter)
    unknown_from: Counter[int] = field(default_factory=Counter)

    @property
    def frames(self) -> int:
        return self.v1 + self.v2 + sum(self.unknown.values())


class Scan:
    """One pass over the bytes of a log."""

    def __init__(self, source: memoryview, limits: Limits) -> None:
        self.source = source
        self.counts = Counts()
        self._limits = limits
        self._bytes: NDArray[np.uint8] = np.frombuffer(source, np.uint8)
        self._size = len(source)
        self._latest_us = epoch_us(limits.received_at + timedelta(days=1))
        self._known: Definitions = definitions()
        self._extra: NDArray[np.uint8] = np.array(
            [message.crc_extra for message in self._known.messages], np.uint8
        )
        self._alternatives = _alternative_lengths(self._known)
        self._stamp_bytes: int | None = None
        self._end = 0
        self._ts_us = -1
        self._rows = 0

    @property
    def stamp_bytes(self) -> int:
        """Bytes before each frame that hold its time; 0 in a raw stream."""
        return STAMP_BYTES if self._stamp_bytes is None else self._stamp_bytes

    def walk(self) -> Iterator[Frames | Damage]:
        """Frames window by window, and the damage before and between them."""
        low = 0
        while low < self._size:
            high = min(low + _WINDOW, self._size)
            frames = self._whole_frames(low, high)
            if len(frames):
                if self._stamp_bytes is None:
                    self._stamp_bytes = _stamp_bytes(frames)
                frames = self._with_time(frames)
            left = self._limits.rows - self._rows
            is_full = len(frames) >= left
            if is_full:
                frames = frames.take(np.arange(left))
            if len(frames):
                yield from self._between(frames)
                self._count(frames)
                yield frames
            if is_full:
                if self._end < self._size:
                    yield Damage(self._end, self._size, "row_limit")
                return
            low = max(high, self._end)
        yield from self._gap(self._end, self._size)

    def _whole_frames(self, low: int, high: int) -> Frames:
        """Frames of known messages that begin in [low, high), by checksum, not overlapping."""
        tried = self._candidates(low, high)
        is_whole = self._passes(tried)
        whole = tried.take(apart(tried, np.flatnonzero(is_whole), self._end))
        rest = tried.take(np.flatnonzero(~is_whole & tried.is_v2 & ~tried.is_signed))
        restored = self._restored(outside(rest, whole, self._end))
        if not len(restored):
            return whole
        together = merged(whole, restored)
        return together.take(apart(together, np.arange(len(together)), self._end))

    def _candidates(self, low: int, high: int) -> Frames:
        """Where a header of a known message could stand."""
        head = self._bytes[low : max(low, min(high, self._size - 8))]
        # 0xFD and 0xFE, in one comparison of bytes.
        start = np.flatnonzero((head - np.uint8(MAGIC_V2)) < 2).astype(np.int64) + low
        is_v2 = self._bytes[start] == MAGIC_V2
        flags = self._bytes[start + 2]
        start = start[~is_v2 | ((flags <= _SIGNED) & (start + 12 <= self._size))]
        is_v2 = self._bytes[start] == MAGIC_V2
        length = self._bytes[start + 1].astype(np.int64)
        is_signed = is_v2 & (self._bytes[start + 2] == _SIGNED)
        payload = start + np.where(is_v2, 10, 6)
        end = payload + length + 2 + np.where(is_signed, _SIGNATURE_BYTES, 0)
        message_id = self._bytes[start + 5].astype(np.int64)
        wide = np.flatnonzero(is_v2)
        at = start[wide]
        message_id[wide] = (
            self._bytes[at + 7].astype(np.int64)
            | self._bytes[at + 8].astype(np.int64) << 8
            | self._bytes[at + 9].astype(np.int64) << 16
        )
        message_id[message_id >= len(self._known.place)] = -1
        place = np.where(message_id >= 0, self._known.place[message_id], -1).astype(np.int64)
        fits = (place >= 0) & (end <= self._size)
        # The first protocol has no shortened payloads; some senders add the extensions.
        fits &= is_v2 | (
            (length >= self._known.base_length[message_id])
            & (length <= self._known.length[message_id])
        )
        which = np.flatnonzero(fits)
        start, is_v2 = start[which], is_v2[which]
        address = start + np.where(is_v2, 4, 2)
        return Frames(
            start=start,
            place=place[which],
            payload=payload[which],
            length=length[which],
            end=end[which],
            is_v2=is_v2,
            is_signed=is_signed[which],
            is_restored=np.zeros(len(start), np.bool_),
            seq=self._bytes[address].astype(np.int64),
            sysid=self._bytes[address + 1].astype(np.int64),
            compid=self._bytes[address + 2].astype(np.int64),
            ts_us=np.full(len(start), -1, np.int64),
        )

    def _passes(self, tried: Frames) -> NDArray[np.bool_]:
        passes = np.empty(len(tried), np.bool_)
        covered = tried.payload + tried.length - tried.start - 1
        per_step = max(1, _TRIED_BYTES // _LONGEST_FRAME)
        for low in range(0, len(tried), per_step):
            part = slice(low, low + per_step)
            start, size = tried.start[part] + 1, covered[part]
            extra = self._extra[tried.place[part]]
            crc = checksums(self._bytes, start, size, extra)
            passes[part] = crc == self._sent(start + size)
        return passes

    def _restored(self, tried: Frames) -> Frames:
        """Frames that a recorder shortened without computing the checksum again.

        QGroundControl cut the zeros at the end of a payload, and changed the length, in frames
        whose sender had not; the checksum still is that of the payload as it was sent. Which
        length that was is tried: the lengths this message ever had, and one zero more.
        """
        restored = np.zeros(len(tried), np.bool_)
        covered = tried.payload + tried.length - tried.start - 1
        sent = self._sent(tried.start + 1 + covered)
        extra = self._extra[tried.place]
        followed = self._is_followed(tried.end)
        for lengths in (tried.length + 1, *self._alternatives[tried.place].T.astype(np.int64)):
            which = np.flatnonzero(
                ~restored & followed & (lengths > tried.length) & (lengths <= 255)
            )
            crc = checksums(
                self._bytes,
                tried.start[which] + 1,
                covered[which],
                extra[which],
                (lengths - tried.length)[which],
            )
            restored[which] = crc == sent[which]
        found = tried.take(np.flatnonzero(restored))
        found.is_restored[:] = True
        return found

    def _is_followed(self, end: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Does the file end there, or another frame begin behind its time?"""
        behind = end + self.stamp_bytes
        magic = self._bytes[np.minimum(behind, self._size - 1)]
        is_magic = (magic == MAGIC_V1) | (magic == MAGIC_V2)
        followed: NDArray[np.bool_] = (end == self._size) | ((behind < self._size) & is_magic)
        return followed

    def _sent(self, position: NDArray[np.int64]) -> NDArray[np.uint16]:
        low = self._bytes[position].astype(np.uint16)
        high = self._bytes[position + 1].astype(np.uint16)
        return low | (high << np.uint16(8))

    def _with_time(self, frames: Frames) -> Frames:
        """`frames` with their time, without those that only look like frames.

        A checksum of 16 bits is right by chance once in 65,536 times. The second protocol has
        24 bits more to go by; a frame of the first must also touch another frame, or have a time
        that can be.
        """
        before = np.concatenate(([self._end], frames.end[:-1]))
        stamp_bytes = self.stamp_bytes
        touches = frames.start == before + stamp_bytes
        touches |= self._is_followed(frames.end)
        if stamp_bytes:
            room = frames.start - before >= STAMP_BYTES
            at = np.maximum(frames.start - STAMP_BYTES, 0)
            raw: NDArray[np.uint64] = np.ndarray(
                (self._size - 7,), ">u8", self._bytes.data, strides=(1,)
            )[at]
            can_be = room & (raw >= EARLIEST_FIX_US) & (raw <= self._latest_us)
            frames.ts_us[:] = np.where(can_be, raw.astype(np.int64), -1)
            self._refuse_leaps(frames.ts_us)
            touches |= can_be
        if bool((touches | frames.is_v2).all()):
            return frames
        return frames.take(np.flatnonzero(touches | frames.is_v2))

    def _refuse_leaps(self, ts_us: NDArray[np.int64]) -> None:
        """No checksum covers the times: one that lies a day or more from both its neighbours,
        which lie within a day of each other, is damage and becomes -1."""
        known = np.flatnonzero(ts_us >= 0)
        if len(known) < 2:
            return
        times = ts_us[known]
        first = self._ts_us if self._ts_us >= 0 else int(times[1])
        before = np.concatenate(([first], times[:-1]))
        after = np.concatenate((times[1:], times[-2:-1]))
        leaps = (
            (np.abs(times - before) > _DAY_US)
            & (np.abs(times - after) > _DAY_US)
            & (np.abs(before - after) <= _DAY_US)
        )
        ts_us[known[leaps]] = -1
        kept = times[~leaps]
        if len(kept):
            self._ts_us = int(kept[-1])

    def _between(self, frames: Frames) -> Iterator[Damage]:
        """What lies between the frames, and before the first."""
        before = np.concatenate(([self._end], frames.end[:-1]))
        stamp_bytes = self.stamp_bytes
        record = np.where(frames.start - before >= stamp_bytes, frames.start - stamp_bytes, -1)
        record = np.where(record < 0, frames.start, record)
        apart = np.flatnonzero(record > before)
        self.counts.contiguous += len(frames) - len(apart)
        for index in apart.tolist():
            yield from self._gap(int(before[index]), int(record[index]))
        self._end = int(frames.end[-1])

    def _gap(self, start: int, end: int) -> Iterator[Damage]:
        """Walk [start, end), which holds no whole frame of a known message."""
        pos, unknown, reason, bad_crc = start, Counter[int](), "no_frame", 0
        damage_from = -1
        while pos < end:
            header = self._header(pos + self.stamp_bytes)
            if header is None:
                if end == self._size and self._could_begin(pos):
                    reason = "truncated"
                break
            message_id, stop, is_known = header
            if stop > end:
                if stop > self._size and end == self._size:
                    reason = "truncated"
                break
            if is_known:
                bad_crc += 1
                if damage_from < 0:
                    damage_from = pos
            elif stop == end or self._header(stop + self.stamp_bytes) is not None:
                if damage_from >= 0:
                    yield Damage(damage_from, pos, "bad_crc", excerpt=self._shown(damage_from))
                    damage_from = -1
                unknown[message_id] += 1
                self.counts.unknown_from[self._sender(pos + self.stamp_bytes)] += 1
            else:
                break
            pos = stop
        self.counts.unknown.update(unknown)
        self.counts.bad_crc += bad_crc
        if damage_from >= 0 and pos == end:
            yield Damage(damage_from, end, "bad_crc", excerpt=self._shown(damage_from))
        elif pos < end:
            start = damage_from if damage_from >= 0 else pos
            yield self._damage(start, end, "bad_crc" if damage_from >= 0 else reason)

    def _header(self, pos: int) -> tuple[int, int, bool] | None:
        """Message id, where the frame ends, and whether the message is known."""
        if pos + 8 > self._size:
            return None
        magic, length = self.source[pos], self.source[pos + 1]
        if magic == MAGIC_V1:
            message_id, stop = self.source[pos + 5], pos + 8 + length
        elif magic == MAGIC_V2 and pos + 12 <= self._size and self.source[pos + 2] <= _SIGNED:
            low, middle, high = self.source[pos + 7 : pos + 10]
            message_id = low | middle << 8 | high << 16
            stop = pos + 12 + length + _SIGNATURE_BYTES * self.source[pos + 2]
        else:
            return None
        return message_id, stop, self._known.known(message_id) is not None

    def _sender(self, pos: int) -> int:
        address = pos + (3 if self.source[pos] == MAGIC_V1 else 5)
        return self.source[address] << 8 | self.source[address + 1]

    def _could_begin(self, pos: int) -> bool:
        """Is too little left for a header, but what is there could be one's beginning?"""
        start = pos + self.stamp_bytes
        if start >= self._size:
            return True
        return self._size - start < 12 and self.source[start] in (MAGIC_V1, MAGIC_V2)

    def _damage(self, start: int, end: int, reason: str) -> Damage:
        size = min(end - start, 1024 * 1024)
        shown = self._bytes[start : start + size]
        if reason != "truncated" and size >= 16:
            if int(np.count_nonzero(shown)) < size / 4:
                return Damage(start, end, "zeroed")
            if int(np.count_nonzero(shown == 0xFF)) > size * 3 / 4:
                return Damage(start, end, "padding")
        return Damage(start, end, reason, excerpt=self._shown(start))

    def _shown(self, start: int) -> str:
        return excerpt(bytes(self.source[start : start + 40]), 40)

    def _count(self, frames: Frames) -> None:
        self._rows += len(frames)
        self.counts.v2 += int(frames.is_v2.sum())
        self.counts.v1 += int((~frames.is_v2).sum())
        self.counts.signed += int(frames.is_signed.sum())
        self.counts.restored += int(frames.is_restored.sum())
        if self.stamp_bytes:
            self.counts.without_time += int((frames.ts_us < 0).sum())


def _stamp_bytes(frames: Frames) -> int:
    """Are there times between the first frames?"""
    between = frames.start[1:] - frames.end[:-1]
    timed, raw = int((between == STAMP_BYTES).sum()), int((between == 0).sum())
    if timed == raw:
        return STAMP_BYTES if int(frames.start[0]) >= STAMP_BYTES else 0
    return STAMP_BYTES if timed > raw else 0


def _alternative_lengths(known: Definitions) -> NDArray[np.int16]:
    """[place, n]: lengths that a message's payload has had, 0 where there are no more."""
    widest = max(len(message.lengths) for message in known.messages)
    table = np.zeros((len(known.messages), widest), np.int16)
    for place, message in enumerate(known.messages):
        table[place, : len(message.lengths)] = message.lengths
    return table
