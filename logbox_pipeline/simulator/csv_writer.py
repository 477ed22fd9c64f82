"""Write CSV as drone tools do, and say exactly what must come out. No parsing here.

The styles differ in all that a reader has to find out: delimiter, decimal sign, preamble, header,
units, quoting, encoding, and how they say when.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

_STEP = timedelta(milliseconds=100)
_LINES_PER_WRITE = 5_000
_MODES = ("Loiter", "Auto, mission", 'Return "home"', "Land\nnow")
_SAYINGS = ("link lost", "waypoint reached, holding", 'battery "2" low', "landing")
_LEVELS = (("INFO", 6), ("WARN", 4), ("ERROR", 3), ("DEBUG", 7))
_BAD = (
    b"\x00" * 40, b"\x93\x01\x02\x7f\xfe" * 5, b"1.5", b"half a line without fields",
)  # fmt: skip


@dataclass(frozen=True)
class CsvStyle:
    """How one tool writes.

    header: names, None when there are none. units: a row of units below it. stamp: a row's first
    cells. is_log: rows are messages. has_text: the last column is quoted text.
    """

    delimiter: str
    header: tuple[str, ...] | None
    stamp: Callable[[datetime, int], tuple[str, ...]]
    units: tuple[str, ...] | None = None
    preamble: tuple[str, ...] = ()
    decimal_comma: bool = False
    encoding: str = "utf-8"
    newline: str = "\n"
    is_log: bool = False
    has_text: bool = False


def _iso(instant: datetime, number: int) -> tuple[str, ...]:
    return (instant.isoformat(timespec="milliseconds")[:23] + "Z",)


def _epoch_ms(instant: datetime, number: int) -> tuple[str, ...]:
    return (str((instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)),)


def _date_and_time(instant: datetime, number: int) -> tuple[str, ...]:
    return (instant.strftime("%d.%m.%Y"), instant.strftime("%H:%M:%S.%f")[:-3])


def _boot_ms(instant: datetime, number: int) -> tuple[str, ...]:
    return (str(number * 100),)


def _compact(instant: datetime, number: int) -> tuple[str, ...]:
    return (instant.strftime("%Y%m%dT%H%M%S.%f"),)


STYLES: Mapping[str, CsvStyle] = {
    "plain": CsvStyle(
        ",", ("time", "lat_deg", "lon_deg", "alt_m", "satellites", "is_armed"), _iso
    ),
    "quoted": CsvStyle(
        ",", ("datetime(utc)", "lat", "lon", "height(feet)", "sats", "armed", "flycState"), _iso,
        has_text=True, newline="\r\n", preamble=("sep=,",),
    ),
    "semicolon": CsvStyle(
        ";", ("date", "time", "Breite (°)", "Länge (°)", "Höhe [m]", "Satelliten", "scharf"),
        _date_and_time, decimal_comma=True, encoding="cp1252", newline="\r\n",
    ),
    "tab": CsvStyle(
        "\t", ("timestamp_ms", "lat", "lon", "alt", "sats", "armed"), _epoch_ms,
        units=("ms", "deg", "deg", "m", "", ""),
        preamble=("# vehicle: quad-7", "# firmware: 1.14.0", "# a remark of no use"),
    ),
    "boot": CsvStyle(
        ",", ("time_boot_ms", "lat", "lon", "alt", "sats", "armed"), _boot_ms, encoding="utf-16",
    ),
    "bare": CsvStyle(",", None, _compact),
    "log": CsvStyle(",", ("time", "level", "module", "message", "code"), _iso, is_log=True),
}  # fmt: skip


@dataclass(frozen=True)
class CsvLedger:
    """What must come out of a written file.

    rows: of telemetry. sums: by column name, of its numbers. texts: of the text column, in order.
    events_by_level: of a log. bad_lines: numbers (1-based) of lines that give no row.
    has_utc, has_boot: whether rows have a time of that kind.
    """

    rows: int
    columns: tuple[str, ...]
    sums: Mapping[str, float]
    texts: tuple[str, ...]
    events: int
    events_by_level: Mapping[int, int]
    bad_lines: tuple[int, ...]
    has_utc: bool
    has_boot: bool
    first: datetime
    last: datetime
    size_bytes: int = field(compare=False, default=0)


def write_csv(
    out: BinaryIO,
    *,
    seed: int,
    rows: int,
    style: str = "plain",
    start: datetime = datetime(2026, 11, 24, 9, 0, tzinfo=UTC),
    bad_lines: int = 0,
) -> CsvLedger:
    """Write `rows` rows, 100 ms apart from `start` on, and `bad_lines` that are none, between
    them. style: a key of `STYLES`."""
    chance, how = random.Random(seed), STYLES[style]
    width = len(how.stamp(start, 0)) + (4 if how.is_log else 5 + how.has_text)
    names = how.header or tuple(f"c{place + 1}" for place in range(width))
    above = [*how.preamble]
    above += [how.delimiter.join(line) for line in (how.header, how.units) if line]
    size_bytes = _write(out, "".join(line + how.newline for line in above), how, is_first=True)
    line = len(above) + 1
    sums = dict.fromkeys(names[-5 - how.has_text : None if not how.has_text else -1], 0.0)
    texts: list[str] = []
    levels: dict[int, int] = {}
    bad: list[int] = []
    bad_after = set(chance.sample(range(2, max(rows, 3)), min(bad_lines, max(rows - 2, 0))))
    pending: list[str] = []
    for number in range(rows):
        stamp = how.stamp(start + number * _STEP, number)
        if how.is_log:
            (word, level), said = chance.choice(_LEVELS), _SAYINGS[number % len(_SAYINGS)]
            levels[level] = levels.get(level, 0) + 1
            cells = [*stamp, word, "nav", _quoted(said), str(number)]
        else:
            values = _values(chance, number)
            for name, value in zip(sums, values, strict=True):
                sums[name] += value
            cells = [*stamp, *(_written(value, how.decimal_comma) for value in values)]
            if how.has_text:
                texts.append(_MODES[number % len(_MODES)])
                cells.append(_quoted(texts[-1]))
        text = how.delimiter.join(cells) + how.newline
        pending.append(text)
        line += text.count("\n")
        if number in bad_after:
            size_bytes += _write(out, "".join(pending), how)
            pending.clear()
            size_bytes += out.write(_BAD[len(bad) % len(_BAD)] + how.newline.encode())
            bad.append(line)
            line += 1
        if len(pending) >= _LINES_PER_WRITE:
            size_bytes += _write(out, "".join(pending), how)
            pending.clear()
    size_bytes += _write(out, "".join(pending), how)
    return CsvLedger(
        rows=0 if how.is_log else rows,
        columns=names,
        sums={} if how.is_log else sums,
        texts=tuple(texts),
        events=rows if how.is_log else 0,
        events_by_level=dict(sorted(levels.items())),
        bad_lines=tuple(bad),
        has_utc=how.stamp is not _boot_ms,
        has_boot=how.stamp is _boot_ms,
        first=start,
        last=start + (rows - 1) * _STEP,
        size_bytes=size_bytes,
    )


def _values(chance: random.Random, number: int) -> tuple[float, float, float, int, int]:
    """Latitude, longitude, altitude, satellites, armed; all exact in the digits written."""
    return (
        round(47.1 + chance.random() / 100, 7),
        round(8.5 + chance.random() / 100, 7),
        round(50 + chance.random() * 10, 2),
        8 + number % 9,
        int(number > 5),
    )


def _written(value: float, decimal_comma: bool) -> str:
    return str(value).replace(".", ",") if decimal_comma else str(value)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _write(out: BinaryIO, text: str, how: CsvStyle, *, is_first: bool = False) -> int:
    # Only the beginning has a byte order mark.
    encoding = "utf-16-le" if how.encoding == "utf-16" and not is_first else how.encoding
    return out.write(text.encode(encoding))
