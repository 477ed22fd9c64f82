"""MAVLink telemetry logs and raw streams to rows, events, parameters and what they say of systems.

`.tlog` of QGroundControl, MAVProxy and Mission Planner: the time is the recorder's, of the moment
it received a frame, as written. (MAVProxy uses the lowest 2 bits of the microseconds for the number
of the link.) Streams without times (`.raw`, `.rlog`) have null there. Topic = name of the message,
instance = sysid * 256 + compid. No resync and no layout here.
"""

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logbox_pipeline.formats.mavlink_columns import (
    Payloads,
    boot_clock_field,
    boot_clock_us,
    payload_rows,
    record_rows,
    values,
)
from logbox_pipeline.formats.mavlink_definitions import Definitions, Message, definitions
from logbox_pipeline.formats.mavlink_events import Moment, Witness
from logbox_pipeline.formats.mavlink_frames import Frames
from logbox_pipeline.formats.mavlink_identity import firmware, hardware, vehicle_uid
from logbox_pipeline.formats.mavlink_scan import STAMP_BYTES, Scan
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
from logbox_pipeline.formats.times import EARLIEST_FIX_US, instant

PARSER_VERSION = 1

_PENDING_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 1_024
_RESTART_US = 10_000_000
"""A boot clock that steps back by less came late over another link."""

_STEADY_CLOCKS = frozenset(
    ("SYSTEM_TIME", "ATTITUDE", "GLOBAL_POSITION_INT", "LOCAL_POSITION_NED", "SCALED_IMU")
)
_MOST_OFFSETS = 100_000
_INFO_CHARACTERS = 4_000
_OBSERVED: dict[str, tuple[str, ...]] = {
    "HEARTBEAT": ("type", "autopilot", "base_mode", "custom_mode", "system_status"),
    "STATUSTEXT": ("severity", "text", "id", "chunk_seq"),
    "COMMAND_ACK": ("command", "result"),
    "EXTENDED_SYS_STATE": ("landed_state",),
    "PARAM_VALUE": ("param_id", "param_type"),
    "AUTOPILOT_VERSION": (
        "capabilities", "flight_sw_version", "board_version", "vendor_id", "product_id", "uid",
    ),
}  # fmt: skip


def recognizes(head: memoryview, size: int) -> Likeness:
    """SURE: frames in a row, most of the head, whose checksums hold and whose times can be."""
    raw = bytes(head)
    if b"\xfd" not in raw and b"\xfe" not in raw:
        return Likeness.NO
    scan = Scan(head, Limits(received_at=datetime(2100, 1, 1, tzinfo=UTC)))
    covered = timed = 0
    for item in scan.walk():
        if isinstance(item, Frames):
            covered += int((item.end - item.start).sum()) + scan.stamp_bytes * len(item)
            timed += int((item.ts_us >= 0).sum())
    frames, in_a_row = scan.counts.v1 + scan.counts.v2, scan.counts.contiguous
    is_timed = scan.stamp_bytes == STAMP_BYTES and timed >= 3
    if in_a_row >= 3 and covered >= len(raw) * (0.5 if is_timed else 0.9):
        return Likeness.SURE if is_timed or in_a_row >= 5 else Likeness.MAYBE
    fits = frames > 0 and in_a_row * 2 >= frames and covered >= len(raw) * 0.1
    return Likeness.MAYBE if fits else Likeness.NO


def parse(source: memoryview, limits: Limits) -> Iterator[Item]:
    scan = Scan(source, limits)
    held: list[Damage] = []
    log = _Log(source, limits)
    for item in scan.walk():
        if isinstance(item, Frames):
            yield from held
            held.clear()
            yield from log.take(item)
        elif log.frames:
            yield item
        else:
            held.append(item)
    if not scan.counts.frames:
        yield Unreadable("no_frames", f"no whole MAVLink frame in {len(source)} bytes")
        return
    yield from held
    yield from log.rest()
    yield log.about(scan)


@dataclass
class _Carried:
    """What one sender had said when the window ended."""

    frames: int = 0
    boot_us: int = 0
    steady_us: int = 0
    seq: int | None = None
    lost: int = 0


class _Log:
    """Gathers the frames of each message and sender, window by window."""

    def __init__(self, source: memoryview, limits: Limits) -> None:
        self.frames = 0
        self._limits = limits
        self._known: Definitions = definitions()
        self._source: NDArray[np.uint8] = np.frombuffer(source, np.uint8)
        self._witness = Witness(self._known, limits.batch_rows)
        self._carried: dict[int, _Carried] = {}
        self._pending: dict[int, list[Payloads]] = {}
        self._pending_bytes = 0
        self._heartbeats: dict[int, bytes] = {}
        self._first_us: int | None = None
        self._last_us: int | None = None
        self._offsets_us = array("q")

    def take(self, frames: Frames) -> Iterator[Item]:
        self.frames += len(frames)
        self._note_times(frames.ts_us)
        groups = self._groups(frames)
        boot_us, is_steady = self._boot_clocks(frames, groups)
        clock_us, restarts = self._by_sender(frames, boot_us, is_steady)
        seen: list[tuple[int, int, str, Moment, dict[str, Any]]] = []
        for key, here, payloads in groups:
            whole = replace(payloads, t_boot_us=_whole_clock(payloads, boot_us, clock_us, here))
            if payloads.message.name in _OBSERVED:
                seen += self._observed(whole, here, clock_us)
            if payloads.message.name == "SYSTEM_TIME":
                self._note_offsets(whole)
            self._pending.setdefault(key, []).append(whole)
            self._pending_bytes += whole.rows.nbytes + _PIECE_BYTES
            if sum(map(len, self._pending[key])) >= self._limits.batch_rows:
                yield from self._flush(key)
        for index, before_us, after_us in restarts:
            said = {"before_us": before_us, "after_us": after_us}
            seen.append((index, 0, "", self._moment(frames, index, after_us), said))
        for _, _, name, moment, said in sorted(seen, key=lambda one: one[:2]):
            if name:
                self._witness.take(name, moment, said)
            else:
                self._witness.take_restart(moment, **said)
        yield from self._witness.ready()
        if self._pending_bytes > _PENDING_BYTES:
            for key in list(self._pending):
                yield from self._flush(key)

    def rest(self) -> Iterator[Item]:
        for key in sorted(self._pending):
            yield from self._flush(key)
        yield from self._witness.rest()

    def about(self, scan: Scan) -> About:
        witness, counts = self._witness, scan.counts
        ours = next(iter((*witness.banner, *witness.version, 0)))
        if witness.vehicle is not None:
            ours = witness.vehicle
        version, system = witness.version.get(ours), witness.systems.get(ours)
        autopilot = system.autopilot if system else 0
        info: dict[str, str | int | float] = {
            "container": "tlog" if scan.stamp_bytes else "raw",
            "frames_v1": counts.v1,
            "frames_v2": counts.v2,
            "frames_signed": counts.signed,
            "frames_restored": counts.restored,
            "frames_without_time": counts.without_time,
            "frames_lost": sum(self._lost(number, scan) for number in self._carried),
            "bad_crc": counts.bad_crc,
            "unknown_messages": _short(dict(sorted(counts.unknown.items()))),
            "restarts": witness.restarts,
            "systems": _short([self._system(number, scan) for number in sorted(self._carried)]),
        }
        offsets = np.frombuffer(self._offsets_us, np.int64)
        if len(offsets):
            info["gcs_minus_vehicle_ms"] = round(float(np.median(offsets)) / 1000)
        error_us = float(np.quantile(np.abs(offsets), 0.95)) if len(offsets) else None
        return About(
            time_source=TimeSource.NONE if self._first_us is None else TimeSource.GCS,
            time_error_ms=(
                None if error_us is None or self._first_us is None else round(error_us / 1000)
            ),
            recorded_from=None if self._first_us is None else instant(self._first_us),
            recorded_to=None if self._last_us is None else instant(self._last_us),
            vehicle_uid=witness.uid.get(ours) or vehicle_uid(version, autopilot),
            firmware=witness.banner.get(ours) or firmware(version, autopilot),
            hardware=witness.board.get(ours) or hardware(version),
            info=info,
        )

    def _groups(self, frames: Frames) -> list[tuple[int, NDArray[np.int64], Payloads]]:
        """(key, indexes into `frames`, payloads) for each message and sender."""
        keys = frames.place << 16 | frames.sysid << 8 | frames.compid
        order = np.argsort(keys, kind="stable")
        names, starts = np.unique(keys[order], return_index=True)
        groups = []
        for key, here in zip(names.tolist(), np.split(order, starts[1:]), strict=True):
            message = self._known.messages[key >> 16]
            rows = payload_rows(self._source, message, frames.payload[here], frames.length[here])
            nothing = np.zeros(len(here), np.int64)
            payloads = Payloads(message, key & 0xFFFF, rows, frames.ts_us[here], nothing)
            groups.append((key, here, payloads))
        return groups

    def _boot_clocks(
        self, frames: Frames, groups: list[tuple[int, NDArray[np.int64], Payloads]]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """For each frame its boot clock, 0 where there is none or it wraps, and whether it is one
        of those that show a restart."""
        boot_us = np.zeros(len(frames), np.int64)
        is_steady = np.zeros(len(frames), np.bool_)
        for _, here, payloads in groups:
            if not _wraps(payloads.message):
                boot_us[here] = boot_clock_us(payloads.message, payloads.rows)
                is_steady[here] = payloads.message.name in _STEADY_CLOCKS
        return boot_us, is_steady & (boot_us > 0)

    def _by_sender(
        self, frames: Frames, boot_us: NDArray[np.int64], is_steady: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], list[tuple[int, int, int]]]:
        """The last boot clock its sender gave up to each frame (0: none yet), and the restarts:
        (index of the frame, clock before, clock after)."""
        clock_us = np.zeros(len(frames), np.int64)
        restarts = []
        sender = frames.sysid << 8 | frames.compid
        order = np.argsort(sender, kind="stable")
        names, starts = np.unique(sender[order], return_index=True)
        for name, here in zip(names.tolist(), np.split(order, starts[1:]), strict=True):
            carried = self._carried.setdefault(name, _Carried())
            boots = np.concatenate(([carried.boot_us], boot_us[here]))
            last = np.maximum.accumulate(np.where(boots > 0, np.arange(len(boots)), 0))
            clock_us[here] = boots[last[1:]]
            steady = here[is_steady[here]]
            clocks = np.concatenate(([carried.steady_us], boot_us[steady]))
            for step in np.flatnonzero(np.diff(clocks) < -_RESTART_US).tolist():
                restarts.append((int(steady[step]), int(clocks[step]), int(clocks[step + 1])))
            seqs = frames.seq[here]
            first = int(seqs[0]) - 1 if carried.seq is None else carried.seq
            skipped = (np.diff(np.concatenate(([first], seqs))) - 1) & 0xFF
            # More than half the way around is a frame that came late, or twice.
            carried.lost += int(skipped[skipped < 128].sum())
            carried.frames += len(here)
            carried.seq, carried.boot_us = int(seqs[-1]), int(boots[last[-1]])
            carried.steady_us = int(clocks[-1])
        return clock_us, restarts

    def _observed(
        self, payloads: Payloads, here: NDArray[np.int64], clock_us: NDArray[np.int64]
    ) -> Iterator[tuple[int, int, str, Moment, dict[str, Any]]]:
        """What the witness wants to know, as Python values."""
        message, rows = payloads.message, payloads.rows
        which = np.arange(len(rows))
        if message.name == "HEARTBEAT":
            which = self._changes(payloads)
        if not len(which):
            return
        columns: dict[str, list[Any]] = {}
        for name in _OBSERVED[message.name]:
            field = message.field(name)
            assert field is not None
            columns[name] = values(rows[which], field).tolist()
        if message.name == "PARAM_VALUE":
            # As bytes: a float would lose what an integer says.
            columns["param_value"] = [row[:4].tobytes() for row in rows[which]]
        if message.name == "AUTOPILOT_VERSION":
            for name in ("uid2", "flight_custom_version"):
                field = message.field(name)
                assert field is not None
                columns[name] = [bytes(entries) for entries in values(rows[which], field).tolist()]
        for place, index in enumerate(which.tolist()):
            frame = int(here[index])
            ts_us, boot_us = int(payloads.ts_us[index]), int(clock_us[frame])
            moment = Moment(
                payloads.instance, ts_us if ts_us >= 0 else None, boot_us if boot_us else None
            )
            said = {name: entries[place] for name, entries in columns.items()}
            yield frame, 1, message.name, moment, said

    def _changes(self, payloads: Payloads) -> NDArray[np.int64]:
        """Heartbeats that differ from the one before: they are many and seldom do."""
        before = self._heartbeats.get(payloads.instance)
        self._heartbeats[payloads.instance] = payloads.rows[-1].tobytes()
        differs = np.ones(len(payloads), np.bool_)
        differs[1:] = (payloads.rows[1:] != payloads.rows[:-1]).any(axis=1)
        differs[0] = before != payloads.rows[0].tobytes()
        return np.flatnonzero(differs)

    def _moment(self, frames: Frames, index: int, boot_us: int) -> Moment:
        ts_us = int(frames.ts_us[index])
        instance = int(frames.sysid[index]) << 8 | int(frames.compid[index])
        return Moment(instance, ts_us if ts_us >= 0 else None, boot_us)

    def _note_times(self, ts_us: NDArray[np.int64]) -> None:
        known = ts_us[ts_us >= 0]
        if len(known):
            first, last = int(known.min()), int(known.max())
            self._first_us = first if self._first_us is None else min(first, self._first_us)
            self._last_us = last if self._last_us is None else max(last, self._last_us)

    def _note_offsets(self, payloads: Payloads) -> None:
        """How far the recorder's clock is from that of a vehicle that knows the time."""
        field = payloads.message.field("time_unix_usec")
        if field is None or payloads.instance & 0xFF != 1:
            return
        unix_us = values(payloads.rows, field).view(np.int64)
        valid = (unix_us >= EARLIEST_FIX_US) & (unix_us < 2**60) & (payloads.ts_us >= 0)
        room = max(0, _MOST_OFFSETS - len(self._offsets_us))
        self._offsets_us.extend((payloads.ts_us - unix_us)[valid][:room].tolist())

    def _system(self, instance: int, scan: Scan) -> dict[str, Any]:
        said: dict[str, Any] = {"sysid": instance >> 8, "compid": instance & 0xFF}
        system = self._witness.systems.get(instance)
        if system is not None and instance in self._heartbeats:
            said["type"] = self._known.enum_name("MAV_TYPE", system.type)
            said["autopilot"] = self._known.enum_name("MAV_AUTOPILOT", system.autopilot)
        lost = self._lost(instance, scan)
        return said | {"frames": self._carried[instance].frames, "lost": lost}

    def _lost(self, instance: int, scan: Scan) -> int:
        """Frames that a sender numbered and nobody recorded; those of unknown messages were."""
        return max(0, self._carried[instance].lost - scan.counts.unknown_from[instance])

    def _flush(self, key: int) -> Iterator[Rows]:
        pieces = self._pending.pop(key)
        self._pending_bytes -= sum(piece.rows.nbytes + _PIECE_BYTES for piece in pieces)
        whole = replace(
            pieces[0],
            rows=np.concatenate([piece.rows for piece in pieces]),
            ts_us=np.concatenate([piece.ts_us for piece in pieces]),
            t_boot_us=np.concatenate([piece.t_boot_us for piece in pieces]),
        )
        for low in range(0, len(whole), self._limits.batch_rows):
            part = slice(low, low + self._limits.batch_rows)
            yield record_rows(
                replace(
                    whole,
                    rows=whole.rows[part],
                    ts_us=whole.ts_us[part],
                    t_boot_us=whole.t_boot_us[part],
                )
            )


def _wraps(message: Message) -> bool:
    """Microseconds in 32 bits begin again after 71 minutes: SERVO_OUTPUT_RAW.time_usec."""
    field = boot_clock_field(message)
    return field is not None and field.type == "uint32_t" and not field.name.endswith("_ms")


def _whole_clock(
    payloads: Payloads,
    boot_us: NDArray[np.int64],
    clock_us: NDArray[np.int64],
    here: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The boot clock of a group's rows; one that wraps is continued next to its sender's others."""
    if not _wraps(payloads.message):
        return boot_us[here]
    raw = boot_clock_us(payloads.message, payloads.rows)
    turns = np.maximum(np.round((clock_us[here] - raw) / 2**32), 0).astype(np.int64)
    return np.where(raw > 0, raw + (turns << 32), 0)


def _short(value: object) -> str:
    return json.dumps(value)[:_INFO_CHARACTERS]
