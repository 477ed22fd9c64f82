"""What a simulated fleet will send: which logs, how large, when, and what goes wrong. Pure.

A plan follows from its wishes alone: the same seed gives the same plan on every machine. How a
file is written is fleet_write's, how it is sent fleet_send's.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import exp, log
from statistics import NormalDist
from typing import NamedTuple

SMALLEST_BYTES, LARGEST_BYTES = 20_000, 100_000_000
WEEK_S = 7 * 86_400.0
PAUSE_S = 600.0
"""On the ground between two flights of a drone, so that no two of them look like one."""

KILLED_BYTES = 18_000_000
"""`logbox-drone watch` sends in parts from 16 MiB on: what is killed between two is larger."""

# Logarithms: nearly all logs lie between the smallest and the largest, most near 1.4 MB.
_SIZES = NormalDist(
    (log(SMALLEST_BYTES) + log(LARGEST_BYTES)) / 2,
    (log(LARGEST_BYTES) - log(SMALLEST_BYTES)) / 5,
)


class Arrival(StrEnum):
    """When the drones send. steady: one upload after the other, evenly. burst: a drone lands and
    sends all it has. catch-up: after a week without a link all send at once what that week left."""

    STEADY = "steady"
    BURST = "burst"
    CATCH_UP = "catch-up"


class Fault(StrEnum):
    """What goes wrong with an upload; the README says what must come of each."""

    TRUNCATED = "truncated"
    TAMPERED = "tampered"
    UNDECLARED = "undeclared"
    DUPLICATE = "duplicate"
    RESENT = "re-sent"
    WRONG_PREFIX = "wrong-prefix"
    WRONG_KEY = "wrong-key"
    ABORTED = "aborted"
    CLOCK_OFF = "clock-off"
    UNKNOWN_FORMAT = "unknown-format"
    SLOW = "slow"
    KILLED = "killed"


PROPORTIONS: Mapping[Fault, float] = {
    Fault.TRUNCATED: 0.03,
    Fault.TAMPERED: 0.02,
    Fault.UNDECLARED: 0.02,
    Fault.DUPLICATE: 0.05,
    Fault.RESENT: 0.03,
    Fault.WRONG_PREFIX: 0.02,
    Fault.WRONG_KEY: 0.02,
    Fault.ABORTED: 0.03,
    Fault.CLOCK_OFF: 0.03,
    Fault.UNKNOWN_FORMAT: 0.02,
    Fault.SLOW: 0.02,
    Fault.KILLED: 0.01,
}
"""Of all uploads, unless told otherwise; the others are in order."""


class Kind(StrEnum):
    """What a file is, wrapping and all."""

    ULOG = "ulog"
    ULOG_GZ = "ulog.gz"
    ULOG_ZST = "ulog.zst"
    CARD = "zip"
    DATAFLASH = "dataflash"
    DATAFLASH_TEXT = "dataflash-text"
    TLOG = "tlog"
    JSONL = "jsonl"
    JSONL_GZ = "jsonl.gz"
    JSON = "json"
    JOURNAL = "journal"
    CSV = "csv"
    TSV = "tsv"
    SYSLOG = "syslog"
    LOGFMT = "logfmt"
    TEXT = "text"
    DJI = "dji"
    RAW = "raw"
    """What nobody knows: only where the fault asks for it."""


class _Shape(NamedTuple):
    """unit_bytes: of one second, or one line that takes `unit_s` seconds; measured on the writers.
    smallest: where a whole flight is in it; largest: what such a log comes to in the field."""

    name: str
    unit_bytes: float
    unit_s: float
    smallest: int
    largest: int


_SHAPES = {
    Kind.ULOG: _Shape("log_{:04}.ulg", 20_500, 1, 420_000, LARGEST_BYTES),
    Kind.ULOG_GZ: _Shape("log_{:04}.ulg.gz", 20_500, 1, 420_000, LARGEST_BYTES),
    Kind.ULOG_ZST: _Shape("log_{:04}.ulg.zst", 20_500, 1, 420_000, LARGEST_BYTES),
    Kind.CARD: _Shape("card_{:04}.zip", 25_000, 1, 510_000, LARGEST_BYTES),
    Kind.DATAFLASH: _Shape("{:08}.BIN", 8_100, 1, 170_000, LARGEST_BYTES),
    Kind.DATAFLASH_TEXT: _Shape("{:08}.log", 28_600, 1, 580_000, LARGEST_BYTES),
    Kind.TLOG: _Shape("flight_{:04}.tlog", 1_620, 1, 60_000, 12_000_000),
    Kind.JSONL: _Shape("companion_{:04}.jsonl", 229, 0.1, 0, LARGEST_BYTES),
    Kind.JSONL_GZ: _Shape("companion_{:04}.jsonl.gz", 229, 0.1, 0, LARGEST_BYTES),
    Kind.JSON: _Shape("planner_{:04}.json", 229, 0.1, 0, 20_000_000),
    Kind.JOURNAL: _Shape("journal_{:04}.export", 260, 1, 0, 20_000_000),
    Kind.CSV: _Shape("battery_{:04}.csv", 57, 0.1, 0, 20_000_000),
    Kind.TSV: _Shape("battery_{:04}.tsv", 57, 0.1, 0, 20_000_000),
    Kind.SYSLOG: _Shape("syslog.{:04}", 68.6, 1, 0, 20_000_000),
    Kind.LOGFMT: _Shape("router_{:04}.log", 156, 1, 0, 20_000_000),
    Kind.TEXT: _Shape("planner_{:04}.log", 93, 1, 0, 20_000_000),
    Kind.DJI: _Shape("ipad_{:04}.log", 3_210, 1, 100_000, 12_000_000),
    Kind.RAW: _Shape("camera_{:04}.raw", 1_000, 1, 0, LARGEST_BYTES),
}

_CUT = (Kind.ULOG, Kind.JSONL, Kind.JSON)
"""Formats of which the ledger can say what is left when the end is missing."""


@dataclass(frozen=True)
class Wishes:
    """What is asked of a fleet. over_s: how long the uploads take to arrive; sizes in bytes."""

    seed: int = 1
    clients: int = 2
    drones: int = 5
    logs: int = 8
    arrival: Arrival = Arrival.STEADY
    over_s: float = 60
    largest_bytes: int = LARGEST_BYTES
    faults: Mapping[Fault, float] = field(default_factory=lambda: PROPORTIONS)

    @property
    def uploads(self) -> int:
        return self.clients * self.drones * self.logs


@dataclass(frozen=True)
class PlannedUpload:
    """One file of one drone. Its client and drone are numbers, from 0.

    size_bytes: of the log before it is packed. units: seconds or lines of it. due_s: when it is
    sent, after the start. began_s: how long before the start its recording began. repeats: the
    number of the upload whose bytes these are. seed: of its content.
    """

    number: int
    client: int
    drone: int
    kind: Kind
    name: str
    size_bytes: int
    units: float
    due_s: float
    began_s: float
    seed: int
    fault: Fault | None = None
    repeats: int | None = None


def plan(wishes: Wishes) -> list[PlannedUpload]:
    """Every upload of the fleet, each drone's together and in its own order."""
    chance = random.Random(wishes.seed)
    count = wishes.uploads
    sizes = _spread(chance, count)
    faults = _faults(chance, wishes.faults, count)
    used: Counter[Kind] = Counter()
    uploads = []
    for number in range(count):
        drone, turn = divmod(number, wishes.logs)
        fault = faults[number]
        size_bytes = _size(sizes[number], wishes.largest_bytes)
        kind = _kind(chance, used, size_bytes, fault)
        shape = _SHAPES[kind]
        if fault is Fault.KILLED:
            size_bytes = KILLED_BYTES
        uploads.append(
            PlannedUpload(
                number=number,
                client=drone // wishes.drones,
                drone=drone,
                kind=kind,
                name=shape.name.format(turn + 1),
                size_bytes=size_bytes,
                units=max(1, round(size_bytes / shape.unit_bytes)),
                due_s=0,
                began_s=0,
                seed=chance.randrange(2**31),
                fault=fault,
            )
        )
    uploads = _with_duplicates(chance, uploads)
    uploads = _with_recordings(uploads, wishes)
    return _with_arrivals(chance, uploads, wishes)


def duration_s(upload: PlannedUpload) -> float:
    """How long its recording took."""
    return upload.units * _SHAPES[upload.kind].unit_s


def _spread(chance: random.Random, count: int) -> list[float]:
    """Numbers between 0 and 1, evenly spread and in no order: even a few are like many."""
    places = [(number + chance.random()) / count for number in range(count)]
    chance.shuffle(places)
    return places


def _size(place: float, largest_bytes: int) -> int:
    """The size at this place of the distribution, cut off at both ends."""
    low, high = (_SIZES.cdf(log(end)) for end in (SMALLEST_BYTES, largest_bytes))
    return round(exp(_SIZES.inv_cdf(low + place * (high - low))))


def _faults(
    chance: random.Random, proportions: Mapping[Fault, float], count: int
) -> list[Fault | None]:
    """As many of each as its proportion says, to within one."""
    offset = chance.random()
    ends: list[tuple[float, Fault]] = []
    end = 0.0
    for fault, share in proportions.items():
        end += share
        ends.append((end, fault))
    drawn: list[Fault | None] = []
    for number in range(count):
        place = (number + offset) / count
        drawn.append(next((fault for end, fault in ends if place < end), None))
    chance.shuffle(drawn)
    return drawn


def _kind(
    chance: random.Random,
    used: Counter[Kind],
    size_bytes: int,
    fault: Fault | None,
) -> Kind:
    """The format that was used least, of those that are of this size in the field."""
    if fault is Fault.UNKNOWN_FORMAT:
        return Kind.RAW
    if fault is Fault.KILLED:
        return Kind.ULOG
    fitting = [
        kind
        for kind, shape in _SHAPES.items()
        if shape.smallest <= size_bytes <= shape.largest
        and kind is not Kind.RAW
        and (fault is not Fault.TRUNCATED or kind in _CUT)
    ]
    least = min(used[kind] for kind in fitting)
    kind = chance.choice([kind for kind in fitting if used[kind] == least])
    used[kind] += 1
    return kind


def _with_duplicates(
    chance: random.Random, uploads: Sequence[PlannedUpload]
) -> list[PlannedUpload]:
    """Each duplicate repeats a log of its own client that arrives whole; without one it is none."""
    whole: dict[int, list[PlannedUpload]] = {}
    for upload in uploads:
        if upload.fault in (None, Fault.CLOCK_OFF, Fault.SLOW):
            whole.setdefault(upload.client, []).append(upload)

    def settled(upload: PlannedUpload) -> PlannedUpload:
        if upload.fault is not Fault.DUPLICATE:
            return upload
        if upload.client not in whole:
            return replace(upload, fault=None)
        first = chance.choice(whole[upload.client])
        return replace(
            first,
            number=upload.number,
            drone=upload.drone,
            name=f"copy_{upload.number:04}_of_{first.name}",
            fault=Fault.DUPLICATE,
            repeats=first.number,
        )

    return [settled(upload) for upload in uploads]


def _with_recordings(uploads: Sequence[PlannedUpload], wishes: Wishes) -> list[PlannedUpload]:
    """When each recording began: one flight after the other, the last just before the start, or
    over the week before it."""
    began: dict[int, float] = {}
    for drone in {upload.drone for upload in uploads}:
        own = [one for one in uploads if one.drone == drone and one.repeats is None]
        flown_s = sum(duration_s(one) + PAUSE_S for one in own)
        spare_s = WEEK_S - flown_s if wishes.arrival is Arrival.CATCH_UP else 0.0
        pause_s = PAUSE_S + max(0.0, spare_s) / max(1, len(own))
        left_s = sum(duration_s(one) + pause_s for one in own)
        for one in own:
            began[one.number] = left_s
            left_s -= duration_s(one) + pause_s
    return [
        replace(one, began_s=began[one.number if one.repeats is None else one.repeats])
        for one in uploads
    ]


def _with_arrivals(
    chance: random.Random, uploads: Sequence[PlannedUpload], wishes: Wishes
) -> list[PlannedUpload]:
    lands_s = {drone: chance.uniform(0, wishes.over_s) for drone in range(len(uploads))}
    turns = wishes.clients * wishes.drones

    def due_s(upload: PlannedUpload) -> float:
        match wishes.arrival:
            case Arrival.CATCH_UP:
                return 0.0
            case Arrival.BURST:
                return lands_s[upload.drone]
            case Arrival.STEADY:
                # Drones take turns.
                turn = upload.number % wishes.logs
                return wishes.over_s * (turn * turns + upload.drone) / len(uploads)

    return [replace(one, due_s=due_s(one)) for one in uploads]
