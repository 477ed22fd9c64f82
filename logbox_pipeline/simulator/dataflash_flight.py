"""The messages of the simulated ArduPilot flight: fields, units, rates, and values over time.

Takeoff, a circle, landing: smooth functions of time with seeded noise. No log format here but the
names of its field types.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LETTERS = {
    "a": ("<i2", (32,)), "b": "i1", "B": "u1", "h": "<i2", "H": "<u2", "i": "<i4", "I": "<u4",
    "f": "<f4", "d": "<f8", "g": "<f2", "n": "S4", "N": "S16", "Z": "S64", "c": "<i2", "C": "<u2",
    "e": "<i4", "E": "<u4", "L": "<i4", "M": "i1", "q": "<i8", "Q": "<u8",
}  # fmt: skip
SCALES = {"c": 100.0, "C": 100.0, "e": 100.0, "E": 100.0, "L": 1e7}
LEAP_S = 18
_GPS_EPOCH_US = 315_964_800_000_000


@dataclass(frozen=True)
class Message:
    """One message type. units, multipliers: one FMTU character per field."""

    number: int
    name: str
    letters: str
    columns: str
    units: str = ""
    multipliers: str = ""
    rate_hz: float = 0.0
    instances: int = 1

    @property
    def fields(self) -> list[str]:
        return self.columns.split(",")

    @property
    def dtype(self) -> np.dtype[np.void]:
        return np.dtype(list(zip(self.fields, map(LETTERS.get, self.letters), strict=True)))

    @property
    def size_bytes(self) -> int:
        return 3 + self.dtype.itemsize


DEFINING = (
    Message(128, "FMT", "BBnNZ", "Type,Length,Name,Format,Columns", "-b---", "-----"),
    Message(178, "UNIT", "QbZ", "TimeUS,Id,Label", "s--", "F--"),
    Message(177, "FMTU", "QBNN", "TimeUS,FmtType,UnitIds,MultIds", "s---", "F---"),
    Message(179, "MULT", "Qbd", "TimeUS,Id,Mult", "s--", "F--"),
)
TELLING = (
    Message(64, "PARM", "QNff", "TimeUS,Name,Value,Default", "s---", "F---"),
    Message(91, "MSG", "QZ", "TimeUS,Message", "s-", "F-"),
    Message(206, "VER", "QBHBBBBIZHBB", "TimeUS,BT,BST,Maj,Min,Pat,FWT,GH,FWS,APJ,BU,FV",
            "s-----------", "F-----------"),
    Message(125, "MODE", "QMBB", "TimeUS,Mode,ModeNum,Rsn", "s---", "F---"),
    Message(198, "EV", "QB", "TimeUS,Id", "s-", "F-"),
    Message(201, "ERR", "QBB", "TimeUS,Subsys,ECode", "s--", "F--"),
    Message(203, "ARM", "QBIBB", "TimeUS,ArmState,ArmChecks,Forced,Method", "s----", "F----"),
    Message(202, "FILE", "NIBZ", "FileName,Offset,Length,Data", "----", "----"),
)  # fmt: skip
FLYING = (
    Message(162, "IMU", "QBffffffIIfBBHH",
            "TimeUS,I,GyrX,GyrY,GyrZ,AccX,AccY,AccZ,EG,EA,T,GH,AH,GHz,AHz",
            "s#EEEooo--O--zz", "F-000000-----00", 50.0, 2),
    Message(30, "ATT", "QccccCCCC",
            "TimeUS,DesRoll,Roll,DesPitch,Pitch,DesYaw,Yaw,ErrRP,ErrYaw",
            "sddddhhdh", "FBBBBBBBB", 25.0),
    Message(118, "GPS", "QBBIHBcLLeffffB",
            "TimeUS,I,Status,GMS,GWk,NSats,HDop,Lat,Lng,Alt,Spd,GCrs,VZ,Yaw,U",
            "s#-s-S-DUmnhnh-", "F--C-0BGGB000--", 5.0),
    Message(115, "BAT", "QBfffffcf",
            "TimeUS,Instance,Volt,VoltR,Curr,CurrTot,EnrgTot,Temp,Res",
            "s#vvAiXOw", "F-000C?00", 10.0),
    Message(96, "BARO", "QBffcfIffB",
            "TimeUS,I,Alt,Press,Temp,CRt,SMS,Offset,GndTemp,Health",
            "s#mPOnsmO-", "F-00B0C?0-", 10.0, 2),
    Message(164, "ISBD", "QHHaaa", "TimeUS,N,seqno,x,y,z", "s--ooo", "F--???", 1.0),
    Message(60, "ALLA", "QbBhHiIfdgqM", "TimeUS,b,B,h,H,i,I,f,d,g,q,M",
            "s-----------", "F-----------", 2.0),
    Message(61, "ALLB", "QnNZcCeELQ", "TimeUS,n,N,Z,c,C,e,E,L,Q",
            "s---------", "F---------", 2.0),
)  # fmt: skip
"""ALLA and ALLB are no messages of ArduPilot's: they hold every field type, so that none goes
untested."""

OLD_FLYING = (
    Message(162, "IMU", "Iffffff", "TimeMS,GyrX,GyrY,GyrZ,AccX,AccY,AccZ", rate_hz=50.0),
    Message(30, "ATT", "IccccCC", "TimeMS,DesRoll,Roll,DesPitch,Pitch,DesYaw,Yaw", rate_hz=10.0),
    Message(118, "GPS", "BIHBcLLeeEefI",
            "Status,TimeMS,Week,NSats,HDop,Lat,Lng,RelAlt,Alt,Spd,GCrs,VZ,T", rate_hz=5.0),
)  # fmt: skip
"""As ArduCopter 3.2 logged: milliseconds, the GPS's own clock in TimeMS and ours in T."""

UNITS = {
    "-": "", "?": "UNKNOWN", "A": "A", "d": "deg", "b": "B", "D": "deglatitude", "E": "rad/s",
    "h": "degheading", "i": "A.s", "m": "m", "n": "m/s", "o": "m/s/s", "O": "degC",
    "S": "satellites", "s": "s", "U": "deglongitude", "v": "V", "P": "Pa", "w": "Ohm", "X": "W.h",
    "z": "Hz", "#": "instance",
}  # fmt: skip
MULTIPLIERS = {
    "-": 0.0, "?": 1.0, "0": 1.0, "B": 1e-2, "C": 1e-3, "F": 1e-6, "G": 1e-7, "!": 3.6,
}  # fmt: skip


def fill(
    message: Message,
    instance: int,
    times: NDArray[np.int64],
    start_us: int,
    utc_us: int,
    duration_s: float,
    seed: int,
    fix_after_s: float,
) -> NDArray[np.void]:
    """Messages at `times` (boot, us); UTC at the log's start is `utc_us`."""
    noise = np.random.default_rng([seed, message.number, instance, int(times[0])])
    seconds = (times - start_us) / 1e6
    known = _values(
        seconds, times, start_us, utc_us, duration_s, fix_after_s, noise, message in OLD_FLYING
    )
    if message.name == "BARO":
        # Above where the barometer was calibrated, not above the sea.
        known["Alt"] = known["RelAlt"]
    rows = np.zeros(len(times), message.dtype)
    for name, letter in zip(message.fields, message.letters, strict=True):
        if name == "TimeUS":
            rows[name] = times
        elif name == "TimeMS" and "Week" not in message.fields:
            rows[name] = times // 1000
        elif name in ("I", "Instance") and letter == "B":
            rows[name] = instance
        elif name in known and letter not in "nNZ":
            rows[name] = known[name] * SCALES.get(letter, 1.0)
        elif letter in "nNZ":
            rows[name] = [f"w{number % 7}".encode() for number in range(len(times))]
        else:
            kind = rows.dtype[name]
            bits = noise.integers(0, 256, len(times) * kind.itemsize, np.uint8)
            if letter in "fdg":
                rows[name] = noise.normal(0, 100, len(times))
            else:
                rows[name] = bits.view(kind.base).reshape(rows[name].shape)
    return rows


def _values(
    seconds: NDArray[np.float64],
    times: NDArray[np.int64],
    start_us: int,
    utc_us: int,
    duration_s: float,
    fix_after_s: float,
    noise: np.random.Generator,
    is_old: bool,
) -> dict[str, NDArray[Any]]:
    part = seconds / duration_s
    height = 30 * np.clip(np.minimum(part, 1 - part) * 8, 0, 1)
    turn = 2 * np.pi * seconds / 40

    def shaky(size: float) -> NDArray[np.float64]:
        return noise.normal(0, size, len(seconds))

    has_fix = seconds >= fix_after_s
    gps_ms = (utc_us + times - start_us - _GPS_EPOCH_US) // 1000 + LEAP_S * 1000
    gps = {
        "Status": np.where(has_fix, 3, 1),
        "GWk": np.where(has_fix, gps_ms // 604_800_000, 0),
        "GMS": np.where(has_fix, gps_ms % 604_800_000, 0),
        "NSats": np.where(has_fix, 14, 3),
        "T": times // 1000 if is_old else 41 + shaky(0.1),
        "U": np.ones(len(seconds)),
    }
    return {
        **gps,
        "Week": gps["GWk"],
        "TimeMS": gps["GMS"],
        "HDop": 0.8 + np.abs(shaky(0.05)),
        "Lat": 47.3977 + 3e-4 * np.sin(turn),
        "Lng": 8.5456 + 4e-4 * np.cos(turn),
        "Alt": 488 + height,
        "RelAlt": height,
        "Spd": 5 + shaky(0.2),
        "GCrs": np.degrees(turn) % 360,
        "VZ": shaky(0.3),
        "Roll": 8 + shaky(1),
        "DesRoll": np.full(len(seconds), 8.0),
        "Pitch": -4 + shaky(1),
        "DesPitch": np.full(len(seconds), -4.0),
        "Yaw": np.degrees(turn) % 360,
        "DesYaw": np.degrees(turn) % 360,
        "ErrRP": np.abs(shaky(0.02)),
        "ErrYaw": np.abs(shaky(0.02)),
        "GyrX": shaky(0.05),
        "GyrY": shaky(0.05),
        "GyrZ": 0.157 + shaky(0.05),
        "AccX": shaky(0.4),
        "AccY": shaky(0.4),
        "AccZ": -9.81 + shaky(0.6),
        "Volt": 16.8 - 2 * part + shaky(0.02),
        "VoltR": 16.8 - 2 * part,
        "Curr": 14 + shaky(1),
        "CurrTot": 14 * seconds / 3.6,
        "EnrgTot": 14 * 16 * seconds / 3600,
        "Temp": 31 + shaky(0.2),
        "Res": np.full(len(seconds), 0.02),
        "Press": 95_600 - 12 * height,
    }
