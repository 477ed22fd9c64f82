"""Write logs of lines as the usual tools do, and say exactly what must come out. No parsing here.

The styles differ in all that a reader has to find out: stamps, zones, years, levels, tags, line
ends, colours, encodings, lines that continue the one above.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, BinaryIO

_LEVELS = (("INFO", 6), ("WARNING", 4), ("ERROR", 3), ("DEBUG", 7))
_COLOURS = {6: "32", 4: "33", 3: "31", 7: "36"}
_SOURCES = ("nav.planner", "link", "power.monitor", "camera")
_SAYINGS = (
    "takeoff",
    "battery voltage low: 14.1 V",
    "waypoint reached, holding",
    'mode is now "Return"',
    "höhe erreicht",
    "gps fix with 12 satellites",
)
_TRACE = (
    "Traceback (most recent call last):",
    '  File "nav.py", line 12, in step',
    "ValueError: 7",
)
_EAST = timezone(timedelta(hours=5, minutes=30))


@dataclass(frozen=True)
class TextEvent:
    """One row that must come out. `attributes` are the members that must be there."""

    ts: datetime | None
    level: int | None
    source: str | None
    message: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class TextStyle:
    """How one tool writes.

    format: what Logbox calls it. line: an event as its first line. step: the mean time between
    two. resolution: to which the stamp says the time. has_traces: errors come with a stack trace.
    is_zoned: the stamp says its zone. has_year: and its year.
    """

    format: str
    line: Callable[[TextEvent, random.Random], str]
    has_level: bool = True
    has_source: bool = True
    has_traces: bool = True
    is_zoned: bool = False
    has_year: bool = True
    is_stamped: bool = True
    resolution: timedelta = timedelta(milliseconds=1)
    step: timedelta = timedelta(milliseconds=700)
    newline: str = "\n"
    encoding: str = "utf-8"
    attributes: tuple[tuple[str, Any], ...] = ()


def write_text(
    out: BinaryIO,
    *,
    seed: int,
    lines: int,
    style: str,
    start: datetime = datetime(2026, 11, 24, 9, 0, tzinfo=UTC),
    traces_every: int = 1,
) -> tuple[TextEvent, ...]:
    """Write `lines` events in the style of that name (STYLES); what must come out, in order.
    Where errors come with a stack trace, every `traces_every`-th does."""
    how = STYLES[style]
    chance = random.Random(seed)
    now = start
    ledger = []
    errors = 0
    if how.encoding == "utf-16":
        out.write(b"\xff\xfe")
    for number in range(lines):
        now += how.step * (0.5 + chance.random())
        event = _event(chance, now, how, number)
        text = how.line(event, chance)
        errors += event.level == 3
        if how.has_traces and event.level == 3 and errors % traces_every == 0:
            text = "\n".join([text, *_TRACE])
            message = "\n".join([event.message, *_TRACE])
            event = TextEvent(event.ts, event.level, event.source, message, event.attributes)
        out.write(
            (text.replace("\n", how.newline) + how.newline).encode(
                how.encoding.replace("utf-16", "utf-16-le")
            )
        )
        ledger.append(event)
    return tuple(ledger)


def _event(chance: random.Random, now: datetime, how: TextStyle, number: int) -> TextEvent:
    _, level = chance.choice(_LEVELS)
    since = now - datetime(1970, 1, 1, tzinfo=UTC)
    return TextEvent(
        now - since % how.resolution if how.is_stamped else None,
        level if how.has_level else None,
        chance.choice(_SOURCES) if how.has_source else None,
        f"{chance.choice(_SAYINGS)} #{number}",
        dict(how.attributes),
    )


def _word(event: TextEvent) -> str:
    return next(word for word, level in _LEVELS if level == event.level)


def _at(event: TextEvent) -> datetime:
    assert event.ts is not None
    return event.ts


def _iso(event: TextEvent, _: random.Random) -> str:
    stamp = _at(event).isoformat(timespec="milliseconds")[:23]
    return f"{stamp}Z {_word(event)} {event.message}"


def _python(event: TextEvent, _: random.Random) -> str:
    stamp = f"{_at(event):%Y-%m-%d %H:%M:%S},{_at(event).microsecond // 1000:03d}"
    return f"{stamp} - {event.source} - {_word(event)} - {event.message}"


def _log4j(event: TextEvent, _: random.Random) -> str:
    stamp = f"{_at(event):%Y-%m-%d %H:%M:%S},{_at(event).microsecond // 1000:03d}"
    return f"{stamp} [main] {_word(event):5} {event.source} - {event.message}"


def _coloured(event: TextEvent, _: random.Random) -> str:
    stamp = _at(event).astimezone(_EAST).isoformat(timespec="milliseconds")
    colour = _COLOURS[event.level or 6]
    return f"\x1b[2m{stamp}\x1b[0m \x1b[{colour};1m{_word(event)}\x1b[0m {event.message}"


def _glog(event: TextEvent, chance: random.Random) -> str:
    letter = _word(event)[0]
    stamp = f"{letter}{_at(event):%m%d %H:%M:%S.%f}"
    return f"{stamp} {chance.randrange(99999):5d} {event.source}:{chance.randrange(999)}] " + (
        event.message
    )


def _american(event: TextEvent, _: random.Random) -> str:
    at = _at(event)
    return f"{at.month}/{at.day}/{at.year} {at.hour % 12 or 12}:{at:%M:%S %p} {event.message}"


def _epoch(event: TextEvent, _: random.Random) -> str:
    return f"[{_word(event)}] [{_at(event).timestamp():.6f}] [{event.source}]: {event.message}"


def _bare(event: TextEvent, _: random.Random) -> str:
    return event.message


def _rfc3164(event: TextEvent, chance: random.Random) -> str:
    at = _at(event)
    pid = chance.randrange(1, 99999)
    return f"{at:%b} {at.day:2d} {at:%H:%M:%S} drone-7 {event.source}[{pid}]: {event.message}"


def _with_pri(event: TextEvent, chance: random.Random) -> str:
    return f"<{16 * 8 + (event.level or 0)}>{_rfc3164(event, chance)}"


def _rfc5424(event: TextEvent, chance: random.Random) -> str:
    stamp = _at(event).isoformat(timespec="milliseconds")[:23]
    pid = chance.randrange(1, 99999)
    head = f"<{16 * 8 + (event.level or 0)}>1 {stamp}Z drone-7 {event.source} {pid} - "
    return f'{head}[meta@1 note="a \\"b\\] c"] \ufeff{event.message}'


def _rsyslog(event: TextEvent, chance: random.Random) -> str:
    stamp = _at(event).astimezone(_EAST).isoformat(timespec="microseconds")
    return f"{stamp} drone-7 {event.source}[{chance.randrange(1, 9999)}]: {event.message}"


def _logfmt(event: TextEvent, _: random.Random) -> str:
    stamp = _at(event).isoformat(timespec="milliseconds")[:23]
    said = event.message.replace('"', '\\"')
    return (
        f'time={stamp}Z level={_word(event).lower()} msg="{said}" logger={event.source} '
        'n=42 ratio=0.50 ok=true empty= path="C:\\\\x"'
    )


_MICRO, _SECOND = timedelta(microseconds=1), timedelta(seconds=1)
_HOST = (("host", "drone-7"),)
_META = {"meta@1": {"note": 'a "b] c'}}
STYLES = {
    "iso": TextStyle("text", _iso, has_source=False, is_zoned=True),
    "python": TextStyle("text", _python),
    "log4j_crlf": TextStyle("text", _log4j, newline="\r\n", attributes=(("thread", "main"),)),
    "coloured": TextStyle(
        "text", _coloured, has_source=False, is_zoned=True, attributes=(("zone", "+05:30"),)
    ),
    "glog": TextStyle("text", _glog, has_year=False, resolution=_MICRO),
    "american": TextStyle(
        "text",
        _american,
        has_level=False,
        has_source=False,
        has_traces=False,
        resolution=_SECOND,
        step=timedelta(hours=7),
    ),
    "ros": TextStyle("text", _epoch, is_zoned=True, resolution=_MICRO),
    "utf16": TextStyle("text", _python, encoding="utf-16", newline="\r\n"),
    "bare": TextStyle(
        "text",
        _bare,
        has_level=False,
        has_source=False,
        has_traces=False,
        is_stamped=False,
    ),
    "rfc3164": TextStyle(
        "syslog",
        _rfc3164,
        has_level=False,
        has_traces=False,
        has_year=False,
        resolution=_SECOND,
        attributes=_HOST,
    ),
    "rfc3164_years": TextStyle(
        "syslog",
        _rfc3164,
        has_level=False,
        has_traces=False,
        has_year=False,
        resolution=_SECOND,
        step=timedelta(days=9),
        attributes=_HOST,
    ),
    "rfc3164_pri": TextStyle(
        "syslog",
        _with_pri,
        has_year=False,
        resolution=_SECOND,
        attributes=(*_HOST, ("facility", "local0")),
    ),
    "rfc5424": TextStyle(
        "syslog",
        _rfc5424,
        has_traces=False,
        is_zoned=True,
        attributes=(*_HOST, ("facility", "local0"), ("structured_data", _META)),
    ),
    "rsyslog": TextStyle(
        "syslog",
        _rsyslog,
        has_level=False,
        has_traces=False,
        is_zoned=True,
        resolution=_MICRO,
        attributes=(*_HOST, ("zone", "+05:30")),
    ),
    "logfmt": TextStyle(
        "logfmt",
        _logfmt,
        is_zoned=True,
        attributes=(*(("n", 42), ("ratio", 0.5), ("ok", True), ("empty", ""), ("path", "C:\\x")),),
    ),
}
"""By name; each is one real tool's way."""
