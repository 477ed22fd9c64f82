"""Write the telemetry log that a ground station makes of a flight, and say exactly what must come
out. No parsing.

Records as QGroundControl and MAVProxy write them: 8 bytes of UTC, big-endian, and a MAVLink frame
(https://mavlink.io/en/guide/serialization.html). All follows from the seed.
"""

import math
import random
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

import numpy as np

from logbox_pipeline.formats.mavlink_crc import checksums
from logbox_pipeline.formats.mavlink_definitions import Message, definitions

VEHICLE, CAMERA, GROUND, RADIO = (1, 1), (1, 100), (255, 190), (51, 68)
UNKNOWN_V2, UNKNOWN_V1 = 61_000, 204
_STEPS_PER_S = 20
_BOOT_S = 15
_SIGNED = 0x01
_BYTES_PER_S = 1_625
_FORMATS = {
    "char": "s", "uint8_t": "B", "int8_t": "b", "uint16_t": "H", "int16_t": "h", "uint32_t": "I",
    "int32_t": "i", "uint64_t": "Q", "int64_t": "q", "float": "f", "double": "d",
}  # fmt: skip
_ARDUPILOT_MODES = (0, 5, 3, 6)
_PX4_MODES = (1 << 16, 3 << 16, 4 << 16 | 4 << 24, 4 << 16 | 5 << 24)
_MODE_NAMES = {
    "ardupilot": ("STABILIZE", "LOITER", "AUTO", "RTL"),
    "px4": ("MANUAL", "POSCTL", "AUTO_MISSION", "AUTO_RTL"),
}
LONG_TEXT = (
    "PreArm: the compass and the other compass are not of one mind — 180° apart, have a look"
)


@dataclass(frozen=True)
class TlogLedger:
    """What must come out of a written file.

    rows: by (topic, instance). texts: (severity, text). parameters: (name, kind, value).
    unknown: frames by message id. `first` and `last` are UTC, None without times.
    """

    rows: Mapping[tuple[str, int], int]
    texts: tuple[tuple[int, str], ...]
    modes: tuple[str, ...]
    parameters: tuple[tuple[str, str, float], ...]
    unknown: Mapping[int, int]
    frames_v1: int
    frames_v2: int
    frames_signed: int
    vehicle_uid: str
    firmware: str
    first: datetime | None
    last: datetime | None
    size_bytes: int = field(compare=False, default=0)

    @property
    def rows_total(self) -> int:
        return sum(self.rows.values())


def write_tlog(
    out: BinaryIO,
    *,
    seed: int,
    duration_s: float = 60.0,
    size_bytes: int | None = None,
    start: datetime = datetime(2026, 11, 24, 9, 0, tzinfo=UTC),
    autopilot: str = "ardupilot",
    protocol: int = 2,
    is_signed: bool = False,
    has_times: bool = True,
    vehicle_uid: str | None = None,
) -> TlogLedger:
    """Write one flight of `duration_s`, or of about `size_bytes`, recorded from `start` on.

    autopilot: `ardupilot` or `px4`. protocol: of the vehicle's frames; the radio always speaks the
    first. is_signed: every seventh frame of the second protocol. has_times: without, the frames
    stand back to back as in a raw stream.
    """
    if size_bytes is not None:
        duration_s = max(2.0, size_bytes / _BYTES_PER_S)
    flight = _Flight(seed, duration_s, start, autopilot, vehicle_uid, protocol)
    writer = _Writer(out, protocol, is_signed, has_times)
    for ts_us, sender, name, values in flight.messages():
        writer.write(ts_us, sender, name, values)
    writer.flush()
    return TlogLedger(
        rows=dict(writer.rows),
        texts=tuple(flight.texts),
        modes=_MODE_NAMES[autopilot],
        parameters=tuple(flight.parameters),
        unknown=dict(writer.unknown),
        frames_v1=writer.frames[1],
        frames_v2=writer.frames[2],
        frames_signed=writer.signed,
        vehicle_uid=flight.uid_text,
        firmware=flight.firmware,
        first=_instant(writer.first_us) if has_times else None,
        last=_instant(writer.last_us) if has_times else None,
        size_bytes=writer.size,
    )


def pack_payload(message: Message, values: Mapping[str, Any]) -> bytes:
    """All of a message's fields, in the order of the wire; what is not given is zero."""
    payload = bytearray(message.length)
    for entry in message.fields:
        value = values.get(entry.name)
        if value is None:
            continue
        count = max(entry.entries, 1)
        if entry.is_text:
            struct.pack_into(f"{count}s", payload, entry.offset, value)
        elif entry.entries:
            struct.pack_into(f"<{count}{_FORMATS[entry.type]}", payload, entry.offset, *value)
        else:
            struct.pack_into(f"<{_FORMATS[entry.type]}", payload, entry.offset, value)
    return bytes(payload)


class _Writer:
    """Frames with their numbers and lengths; checksums many at once."""

    def __init__(self, out: BinaryIO, protocol: int, is_signed: bool, has_times: bool) -> None:
        self.rows: Counter[tuple[str, int]] = Counter()
        self.unknown: Counter[int] = Counter()
        self.frames: Counter[int] = Counter()
        self.signed = self.size = self.last_us = 0
        self.first_us: int | None = None
        self._out = out
        self._protocol = protocol
        self._is_signed = is_signed
        self._has_times = has_times
        self._seq: Counter[tuple[int, int]] = Counter()
        self._buffer = bytearray()
        self._checks: list[tuple[int, int, int]] = []

    def write(
        self, ts_us: int, sender: tuple[int, int], name: str | int, values: Mapping[str, Any]
    ) -> None:
        if isinstance(name, int):
            message_id, extra, payload, base_length = name, 0, values["payload"], 255
            self.unknown[message_id] += 1
        else:
            message = definitions().by_name[name]
            message_id, extra, base_length = message.id, message.crc_extra, message.base_length
            payload = pack_payload(message, values)
            self.rows[name, sender[0] << 8 | sender[1]] += 1
        version = 1 if sender == RADIO or (self._protocol == 1 and message_id < 256) else 2
        seq = self._seq[sender] & 0xFF
        self._seq[sender] += 1
        self.frames[version] += 1
        if self._has_times:
            self._buffer += struct.pack(">Q", ts_us)
        start = len(self._buffer) + 1
        flags = 0
        if version == 1:
            payload = payload[:base_length]
            header = struct.pack("<6B", 0xFE, len(payload), seq, *sender, message_id)
        else:
            payload = payload.rstrip(b"\0") or payload[:1]
            flags = _SIGNED if self._is_signed and self.frames[2] % 7 == 0 else 0
            header = struct.pack("<7B", 0xFD, len(payload), flags, 0, seq, *sender)
            header += message_id.to_bytes(3, "little")
        self._buffer += header + payload
        self._checks.append((start, len(self._buffer) - start, extra))
        self._buffer += bytes(2)
        if flags:
            self.signed += 1
            stamp = (ts_us // 10).to_bytes(8, "little")[:6]
            self._buffer += b"\x05" + stamp + seq.to_bytes(6, "little")
        self.first_us = ts_us if self.first_us is None else min(self.first_us, ts_us)
        self.last_us = max(self.last_us, ts_us)
        if len(self._buffer) > 1024 * 1024:
            self.flush()

    def flush(self) -> None:
        if not self._checks:
            return
        start, length, extra = np.array(self._checks, np.int64).T
        raw = np.frombuffer(bytes(self._buffer), np.uint8).copy()
        crc = checksums(raw, start, length, extra.astype(np.uint8))
        raw[start + length] = crc & 0xFF
        raw[start + length + 1] = crc >> 8
        self.size += self._out.write(raw.tobytes())
        self._buffer.clear()
        self._checks.clear()


class _Flight:
    """What is said on the link while a copter takes off, flies a circle and lands."""

    def __init__(
        self,
        seed: int,
        duration_s: float,
        start: datetime,
        autopilot: str,
        vehicle_uid: str | None,
        protocol: int,
    ) -> None:
        self._chance = random.Random(seed)
        self._steps = max(2, int(duration_s * _STEPS_PER_S))
        self._start_us = _epoch_us(start)
        self._is_px4 = autopilot == "px4"
        self._has_chunks = protocol == 2
        self._uid = self._guid(vehicle_uid)
        self.uid_text = vehicle_uid or self._uid_text()
        self.firmware = (
            "v1.15.4 8877665544332211" if self._is_px4 else "ArduCopter V4.5.7 (2a3dc4b7)"
        )
        self.texts: list[tuple[int, str]] = []
        self.parameters: list[tuple[str, str, float]] = []

    def messages(self) -> Iterator[tuple[int, tuple[int, int], str | int, dict[str, Any]]]:
        for step in range(self._steps):
            at_us = self._start_us + step * 1_000_000 // _STEPS_PER_S
            for place, (sender, name, values) in enumerate(self._said(step)):
                yield at_us + place * 311 + self._chance.randrange(200), sender, name, values

    def _said(self, step: int) -> Iterator[tuple[tuple[int, int], str | int, dict[str, Any]]]:
        at = step / self._steps
        yield from self._once(step)
        yield from self._parameter(step)
        yield from self._motion(step, at)
        if step % _STEPS_PER_S == 0:
            yield from self._every_second(step, at)

    def _once(self, step: int) -> Iterator[tuple[tuple[int, int], str, dict[str, Any]]]:
        steps = self._steps
        if step == 2:
            yield VEHICLE, "AUTOPILOT_VERSION", self._version()
            for text in self._banner():
                yield from self._text(text, 6)
            yield from self._text(LONG_TEXT, 4, number=1)
        if step == steps // 3:
            yield from self._text(LONG_TEXT, 3, number=2, lost=0)
            arm = {"target_system": 1, "target_component": 1, "command": 400, "param1": 1.0}
            yield GROUND, "COMMAND_LONG", arm
            yield VEHICLE, "COMMAND_ACK", {"command": 400, "result": 0}
        if step == steps // 2:
            yield GROUND, "COMMAND_LONG", {"target_system": 1, "command": 511, "param1": math.nan}
            yield VEHICLE, "COMMAND_ACK", {"command": 511, "result": 2}

    def _motion(
        self, step: int, at: float
    ) -> Iterator[tuple[tuple[int, int], str, dict[str, Any]]]:
        boot_ms, turn = self._boot_ms(step), step / 40
        height_m = 25.0 * max(0.0, min(1.0, (at - 0.35) * 10, (0.9 - at) * 10))
        if step % 2 == 0:
            yield VEHICLE, "ATTITUDE", {
                "time_boot_ms": boot_ms, "roll": math.sin(turn) / 10, "pitch": math.cos(turn) / 10,
                "yaw": turn % 3.0, "rollspeed": self._chance.gauss(0, 0.01),
            }  # fmt: skip
        if step % 4 == 1:
            yield VEHICLE, "GLOBAL_POSITION_INT", {
                "time_boot_ms": boot_ms, "lat": 473_977_420 + int(900 * math.sin(turn)),
                "lon": 85_455_940 + int(900 * math.cos(turn)), "alt": 488_000 + int(height_m * 1e3),
                "relative_alt": int(height_m * 1e3), "vx": -2, "vy": -3, "vz": 0, "hdg": 27_000,
            }  # fmt: skip
            yield VEHICLE, "VFR_HUD", {
                "airspeed": 1.5, "groundspeed": 1.4, "alt": 488 + height_m, "climb": 0.25,
                "heading": 270, "throttle": 43,
            }  # fmt: skip
        if step % 10 == 3:
            yield VEHICLE, "GPS_RAW_INT", {
                "time_usec": boot_ms * 1000, "fix_type": 3, "lat": 473_977_420, "lon": 85_455_940,
                "alt": 488_000, "eph": 75, "epv": 110, "vel": 140, "cog": 65_535,
                "satellites_visible": 17, "h_acc": 840, "yaw": 36_000,
            }  # fmt: skip
            yield VEHICLE, "SERVO_OUTPUT_RAW", {
                "time_usec": boot_ms * 1000 & 0xFFFF_FFFF, "servo1_raw": 1500, "servo2_raw": 1511,
                "servo3_raw": 1490, "servo4_raw": 1502 if at < 0.5 else 0,
            }  # fmt: skip
            yield GROUND, "MANUAL_CONTROL", {"target": 1, "x": -2, "y": 3, "z": 500, "r": -253}

    def _every_second(
        self, step: int, at: float
    ) -> Iterator[tuple[tuple[int, int], str | int, dict[str, Any]]]:
        boot_ms, second = self._boot_ms(step), step // _STEPS_PER_S
        is_armed = 0.35 <= at < 0.95
        yield VEHICLE, "HEARTBEAT", {
            "type": 2, "autopilot": 12 if self._is_px4 else 3, "mavlink_version": 3,
            "base_mode": 81 | (128 if is_armed else 0), "custom_mode": self._mode(at),
            "system_status": 4 if is_armed else 3,
        }  # fmt: skip
        yield GROUND, "HEARTBEAT", {"type": 6, "autopilot": 8, "system_status": 4}
        yield CAMERA, "HEARTBEAT", {"type": 30, "autopilot": 8, "mavlink_version": 3}
        yield VEHICLE, "SYS_STATUS", {
            "onboard_control_sensors_present": 0x5371_FC2F, "load": 413, "current_battery": 1_530,
            "voltage_battery": 16_400 - int(1_500 * at), "battery_remaining": 100 - int(70 * at),
        }  # fmt: skip
        yield VEHICLE, "BATTERY_STATUS", {
            "temperature": 2_400, "current_battery": 1_530, "battery_remaining": 100 - int(70 * at),
            "current_consumed": int(3_000 * at),
            "voltages": [4_100, 4_099, 4_101, 4_098] + [65_535] * 6,
        }  # fmt: skip
        yield VEHICLE, "SYSTEM_TIME", {
            "time_boot_ms": boot_ms,
            "time_unix_usec": self._start_us + second * 1_000_000 - 40_000 if second > 3 else 0,
        }  # fmt: skip
        landed = 1 if at < 0.35 else 3 if at < 0.4 else 2 if at < 0.85 else 4 if at < 0.95 else 1
        yield VEHICLE, "EXTENDED_SYS_STATE", {"landed_state": landed}
        yield VEHICLE, "OBSTACLE_DISTANCE", {
            "time_usec": boot_ms * 1000, "distances": [600 + n for n in range(60)] + [65_535] * 12,
            "increment": 5, "min_distance": 20, "max_distance": 1_200,
        }  # fmt: skip
        yield RADIO, "RADIO_STATUS", {"rssi": 190, "remrssi": 187, "txbuf": 100, "noise": 40}
        yield VEHICLE, UNKNOWN_V2, {"payload": bytes(range(1, 31))}
        if second % 5 == 4:
            yield RADIO, UNKNOWN_V1, {"payload": bytes(range(1, 12))}

    def _mode(self, at: float) -> int:
        return (_PX4_MODES if self._is_px4 else _ARDUPILOT_MODES)[min(3, int(at * 4))]

    def _boot_ms(self, step: int) -> int:
        return _BOOT_S * 1000 + step * 1000 // _STEPS_PER_S

    def _parameter(self, step: int) -> Iterator[tuple[tuple[int, int], str, dict[str, Any]]]:
        known = [("SYSID_THISMAV", 6, 1), ("FRAME_CLASS", 6, -2), ("WPNAV_SPEED", 9, 1_000.5)]
        known += [(f"SERVO{number}_FUNCTION", 4, 32 + number) for number in range(1, 12)]
        kind, index = "initial", step - 10
        if step == self._steps * 2 // 3 and step > 30:
            index, kind = 2, "changed"
        if not 0 <= index < len(known):
            return
        name, type_number, value = known[index]
        if kind == "changed":
            value = 750.25
        is_packed = self._is_px4 and type_number != 9
        raw = struct.pack("<i" if is_packed else "<f", int(value) if is_packed else value)
        self.parameters.append((name, kind, float(value)))
        yield VEHICLE, "PARAM_VALUE", {
            "param_id": name.encode(), "param_type": type_number, "param_count": len(known),
            "param_value": struct.unpack("<f", raw)[0], "param_index": index,
        }  # fmt: skip

    def _text(
        self, text: str, severity: int, *, number: int = 0, lost: int | None = None
    ) -> Iterator[tuple[tuple[int, int], str, dict[str, Any]]]:
        """In chunks of 50 bytes when it has a number; `lost`: a chunk that never arrives."""
        raw = text.encode()
        chunks = [raw[low : low + 50] for low in range(0, len(raw), 50)] if number else [raw[:50]]
        for place, chunk in enumerate(chunks):
            if place != lost:
                yield VEHICLE, "STATUSTEXT", {
                    "severity": severity, "text": chunk, "id": number, "chunk_seq": place,
                }  # fmt: skip
        if not self._has_chunks:
            kept = [chunk for place, chunk in enumerate(chunks) if place != lost]
            self.texts += [(severity, chunk.decode("utf-8", "replace")) for chunk in kept]
            return
        if lost is not None:
            chunks[lost] = b"[missing]"
        self.texts.append((severity, b"".join(chunks).decode("utf-8", "replace")))

    def _banner(self) -> tuple[str, ...]:
        if self._is_px4:
            return ("[logger] ./log/2026-11-24/09_00_00.ulg",)
        words = " ".join(self.uid_text[low : low + 8].upper() for low in (0, 8, 16))
        return (self.firmware, f"CubeOrange {words}", "Frame: QUAD/X")

    def _version(self) -> dict[str, Any]:
        custom = bytes.fromhex("8877665544332211")[::-1] if self._is_px4 else b"2a3dc4b7"
        return {
            "capabilities": 0xFFFF if self._is_px4 else 0x2_FFEF, "board_version": 140 << 16,
            "uid2": list(self._uid),
            "flight_sw_version": 0x010F_04FF if self._is_px4 else 0x0405_07FF,
            "flight_custom_version": list(custom),
        }  # fmt: skip

    def _guid(self, vehicle_uid: str | None) -> bytes:
        if self._is_px4:
            return bytes.fromhex(vehicle_uid or f"000600000000{self._chance.getrandbits(96):024x}")
        words = vehicle_uid or f"{self._chance.getrandbits(96):024x}"
        return struct.pack("<3I", *(int(words[low : low + 8], 16) for low in (0, 8, 16))) + bytes(6)

    def _uid_text(self) -> str:
        if self._is_px4:
            return self._uid.hex()
        return "".join(f"{word:08x}" for word in struct.unpack("<3I", self._uid[:12]))


def _epoch_us(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _instant(us: int | None) -> datetime | None:
    return None if us is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
