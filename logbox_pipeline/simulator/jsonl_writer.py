"""Write JSON Lines as companion computers do, and say exactly what must come out. No parsing here.

The lines have many shapes: four common envelopes (zap-like, bunyan, ECS, OpenTelemetry) around
members that differ by subsystem.
"""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

_LINES_PER_WRITE = 10_000
_STEP = timedelta(milliseconds=20)
_SUBSYSTEMS = (
    *("nav", "link", "camera", "battery", "vision", "gimbal", "mission", "storage"),
    *("thermal", "avoidance", "payload", "rtk"),
)
_SENTENCES = (
    "waypoint reached, holding position",
    "link quality changed",
    "frame captured and queued for upload",
    "cell voltage spread above the usual",
    "obstacle map updated",
    "retrying the request after a timeout",
    "state machine moved on",
    "temperature within limits again",
)
_MEMBERS = (
    '"alt_m":%(f).2f',
    '"lat":%(g).7f,"lon":%(h).7f',
    '"battery":{"volts":%(f).3f,"pct":%(i)d}',
    '"attempt":%(i)d,"ok":true',
    '"state":"cruise"',
    '"latency_ms":%(f).1f',
    '"file":"DCIM/IMG_%(n)06d.JPG","size":%(n)d',
    '"satellites":%(i)d,"hdop":%(g).2f',
    '"tags":["auto","v%(i)d"]',
    '"cpu_pct":%(f).1f,"mem_mb":%(n)d',
    '"wp":%(i)d,"next":null',
    '"temp_c":%(f).1f',
    '"peer":"10.0.0.%(i)d","rssi_dbm":-%(i)d',
)
_BAD = (b'{"ts":"2026-11-24T00:00:00Z","level":"info","msg":"cut', b"\xff\xfe}", b"[1,2]", b"null")

_SEVERITIES = (7, 6, 6, 6, 6, 6, 5, 4, 4, 3, 2)
_NAMES = {7: "debug", 6: "info", 5: "notice", 4: "warn", 3: "error", 2: "critical"}
_BUNYAN = {7: 20, 6: 30, 5: 30, 4: 40, 3: 50, 2: 60}
_OTEL = {7: 5, 6: 9, 5: 9, 4: 13, 3: 17, 2: 21}


@dataclass(frozen=True)
class JsonlLedger:
    """What must come out of a written file.

    events_by_level: rows by syslog severity. bad_lines: numbers (1-based) of lines that give none.
    """

    lines: int
    events: int
    events_by_level: Mapping[int, int]
    bad_lines: tuple[int, ...]
    first: datetime | None
    last: datetime | None
    size_bytes: int = field(compare=False, default=0)


def write_jsonl(
    out: BinaryIO,
    *,
    seed: int,
    lines: int,
    shapes: int = 46,
    start: datetime = datetime(2026, 11, 24, 9, 0, tzinfo=UTC),
    bad_lines: int = 0,
) -> JsonlLedger:
    """Write `lines` lines, 20 ms apart from `start` on, `bad_lines` of them bad."""
    chance = random.Random(seed)
    templates = [_template(shape) for shape in range(shapes)]
    bad = set(chance.sample(range(lines), min(bad_lines, lines)))
    levels: Counter[int] = Counter()
    first: datetime | None = None
    last: datetime | None = None
    pending: list[bytes] = []
    size_bytes = 0
    for number in range(lines):
        if number in bad:
            pending.append(_BAD[number % len(_BAD)])
        else:
            template, names, is_fine = templates[chance.randrange(shapes)]
            severity = _SEVERITIES[chance.randrange(len(_SEVERITIES))]
            severity = severity if is_fine or severity != 5 else 6
            instant = start + number * _STEP
            first = first or instant
            last = instant
            levels[severity] += 1
            draw = chance.random()
            pending.append(
                (
                    template
                    % {
                        "iso": instant.isoformat(timespec="milliseconds")[:23],
                        "ns": _epoch_ms(instant) * 1_000_000,
                        "level": names[severity],
                        "say": _SENTENCES[number % len(_SENTENCES)],
                        "f": draw * 100,
                        "g": draw + 47,
                        "h": draw + 8,
                        "i": number % 97,
                        "n": number,
                    }
                ).encode()
            )
        if len(pending) == _LINES_PER_WRITE or number == lines - 1:
            block = b"\n".join(pending) + b"\n"
            out.write(block)
            size_bytes += len(block)
            pending.clear()
    return JsonlLedger(
        lines=lines,
        events=lines - len(bad),
        events_by_level=dict(sorted(levels.items())),
        bad_lines=tuple(number + 1 for number in sorted(bad)),
        first=first,
        last=last,
        size_bytes=size_bytes,
    )


def _template(shape: int) -> tuple[str, Mapping[int, object], bool]:
    """The text of a shape, how its envelope names severities, and whether it knows `notice`."""
    subsystem = _SUBSYSTEMS[shape % len(_SUBSYSTEMS)]
    count = 3 + shape % 3
    members = [_MEMBERS[(shape * 5 + step * 3) % len(_MEMBERS)] for step in range(count)]
    # What no other shape has, so that there are as many shapes as asked for.
    rest = ",".join([*dict.fromkeys(members), f'"{subsystem}_{shape}":%(i)d'])
    if shape % 8 == 5:
        head = f'{{"name":"{subsystem}","hostname":"companion","pid":412,"level":%(level)d,'
        return head + rest + ',"msg":"%(say)s","time":"%(iso)sZ","v":0}', _BUNYAN, False
    if shape % 8 == 6:
        head = '{"@timestamp":"%(iso)sZ","log.level":"%(level)s","message":"%(say)s",'
        return head + f'"log.logger":"{subsystem}",' + rest + "}", _NAMES, True
    if shape % 16 == 7:
        head = (
            '{"timeUnixNano":"%(ns)d","severityNumber":%(level)d,"body":{"stringValue":"%(say)s"},'
        )
        return head + f'"component":"{subsystem}",' + rest + "}", _OTEL, False
    head = '{"ts":"%(iso)sZ","level":"%(level)s",' + f'"logger":"{subsystem}",'
    return head + '"msg":"%(say)s",' + rest + "}", _NAMES, True


def _epoch_ms(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
