"""The stamps of text logs to UTC microseconds, a column at a time. No lines, no patterns of lines.

A date without a year takes it from the order of the file and the upload; a date whose order is
not known (`03/04/2026`) from what else stands in the file; a time without a zone is taken as UTC.
What was assumed is said by whoever calls.
"""

import calendar
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from logbox_pipeline.formats.times import epoch_us

_ZONES_BY_MINUTES = {
    0: "UTC GMT WET Z z",
    60: "CET MEZ BST WEST",
    120: "CEST MESZ EET",
    180: "EEST MSK",
    480: "HKT SGT AWST",
    540: "JST KST",
    570: "ACST",
    600: "AEST",
    630: "ACDT",
    660: "AEDT",
    720: "NZST",
    780: "NZDT",
    -240: "EDT",
    -300: "EST CDT",
    -360: "CST MDT",
    -420: "MST PDT",
    -480: "PST AKDT",
    -540: "AKST",
    -600: "HST",
}
ZONES = {name: minutes for minutes, names in _ZONES_BY_MINUTES.items() for name in names.split()}
"""Minutes east of Greenwich. The American ones are RFC 822's; a name that means several (IST) is
left out."""

UNKNOWN_ZONE_MS = 14 * 3_600_000
"""The farthest that a clock on local time stands from UTC (Line Islands)."""

UNKNOWN_YEAR_MS = 366 * 86_400_000
"""A year that nobody wrote follows from the upload, which may come a year late."""

_DAY_US = 86_400_000_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if name}
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d\d?):?(\d\d)?", re.ASCII)
_NUMBERS = re.compile(r"\d+", re.ASCII)
_YEAR_KEYS = 372
"""Days of a year in which each month has 31: only good to tell forwards from backwards."""

_BACK_KEYS = 31
_SOME_LEAP_YEAR = 2024
_ACROSS_KEYS = 14
_MOST_YEARS = 20
_MOST_CACHED = 20_000
_MOST_DATES = 10_000


def zone_minutes(text: str) -> int | None:
    """Minutes east of Greenwich; None for a name that nobody can be sure of."""
    text = text.strip()
    if text in ZONES:
        return ZONES[text]
    match = _OFFSET.fullmatch(text)
    if match is None:
        return None
    minutes = int(match[2]) * 60 + int(match[3] or 0)
    if minutes > 14 * 60 + 59:
        return None
    return -minutes if match[1] == "-" else minutes


def date_parts(text: str, order: str) -> tuple[int | None, int, int] | None:
    """(year or None, month, day) of a date; `order` settles three numbers: `ymd`, `dmy`, `mdy`."""
    numbers = _NUMBERS.findall(text)
    month = next((_MONTHS[w] for w in re.findall("[A-Z][a-z]{2}", text) if w in _MONTHS), None)
    if month is not None:
        if len(numbers) == 1:
            return None, month, int(numbers[0])
        if len(numbers) != 2:
            return None
        a, b = numbers
        year, day = (a, b) if len(a) == 4 else (b, a)
        return _full_year(year), month, int(day)
    if len(numbers) == 1:
        (digits,) = numbers
        if len(digits) == 8:
            return int(digits[:4]), int(digits[4:6]), int(digits[6:])
        if len(digits) == 6:
            return _full_year(digits[:2]), int(digits[2:4]), int(digits[4:])
        return (None, int(digits[:2]), int(digits[2:])) if len(digits) == 4 else None
    if len(numbers) == 2:
        return None, int(numbers[0]), int(numbers[1])
    if len(numbers) != 3:
        return None
    if len(numbers[0]) == 4:
        order = "ymd"
    elif "." in text and len(numbers[2]) == 4:
        order = "dmy"
    said = dict(zip(order, numbers, strict=True))
    return _full_year(said["y"]), int(said["m"]), int(said["d"])


def _full_year(digits: str) -> int:
    """Two digits are POSIX's: 69-99 are 19xx."""
    year = int(digits)
    return year + (1900 if year >= 69 else 2000) if len(digits) <= 2 else year


def settle_order(texts: Sequence[str], latest: datetime) -> str:
    """Which of d/m/y, m/d/y, y/m/d the dates (in the order of the file) can be, best first.

    One that gives a day that is none, or one after `latest`, is out; then the one that steps back
    least, then the one that takes the least time; then, of years of two digits, the newest; then
    the American one, which names `/`.
    """
    best: tuple[int, ...] | None = None
    chosen = "mdy"
    has_long_year = any(len(n) == 4 for text in texts[:1] for n in _NUMBERS.findall(text))
    orders = ("mdy", "dmy") if has_long_year else ("mdy", "dmy", "ymd")
    if texts and "/" not in texts[0]:
        orders = ("dmy", "mdy", *orders[2:])
    last_day = latest.toordinal()
    for order in orders:
        days = [_ordinal(text, order) for text in texts]
        known = [day for day in days if day is not None and day <= last_day]
        if not known:
            continue
        backs = sum(after < before for before, after in pairwise(known))
        newest = 0 if has_long_year else -max(known)
        score = (len(days) - len(known), backs, max(known) - min(known), newest)
        if best is None or score < best:
            best, chosen = score, order
    return chosen


def _ordinal(text: str, order: str) -> int | None:
    parts = date_parts(text, order)
    try:
        return None if parts is None or parts[0] is None else date(*parts).toordinal()  # type: ignore[arg-type]
    except ValueError:
        return None


@dataclass
class Years:
    """The years of dates without one, counted from the first date of the file as year 0.

    A date that stands more than a month before the one above it is in the next year; one that
    stands a little before it, across New Year or not, is a clock that stepped back.
    `is_nearest`: take the year that is nearest to the line above instead.
    """

    is_nearest: bool = False
    _previous: int | None = None
    _year: int = 0

    def of(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The year of each key (month * 31 + day) relative to the first of all."""
        if not len(keys):
            return keys
        before = np.concatenate(([self._previous or keys[0]], keys[:-1]))
        steps = keys - before
        back, across = (
            (_YEAR_KEYS // 2, _YEAR_KEYS // 2)
            if self.is_nearest
            else (_BACK_KEYS, _YEAR_KEYS - _ACROSS_KEYS)
        )
        years = self._year + np.cumsum((steps < -back).astype(np.int64) - (steps > across))
        self._previous, self._year = int(keys[-1]), int(years[-1])
        return years


@dataclass
class YearScan:
    """Finds, in one look over the dates of a file, which year its first date is in."""

    ways: tuple[Years, Years] = field(default_factory=lambda: (Years(), Years(is_nearest=True)))
    last: list[tuple[int, int, str]] = field(default_factory=lambda: [(-9999, 0, "")] * 2)
    first: list[int] = field(default_factory=lambda: [0, 0])
    leaps: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))

    def see(self, dates: Sequence[str], times: Sequence[str]) -> None:
        cache = {text: _key(text) for text in set(dates)}
        keys = np.array([cache[text] for text in dates], np.int64)
        known = np.flatnonzero(keys)
        if not len(known):
            return
        keys = keys[known]
        for way, years in enumerate(self.ways):
            offsets = years.of(keys)
            ranks = offsets * 1_000 + keys
            top = ranks.max()
            time = max(times[known[i]] for i in np.flatnonzero(ranks == top).tolist())
            self.last[way] = max(self.last[way], (*map(int, divmod(top, 1_000)), time))
            self.first[way] = min(self.first[way], int(offsets.min()))
            self.leaps[way].update(offsets[keys == 2 * 31 + 29].tolist())

    def settled(self, latest: datetime) -> tuple[int, bool]:
        """The year of the file's first date, and whether years are the nearest ones: the latest
        that puts no line after `latest` and each 29 February into a leap year."""
        way = int(self.last[0][0] - self.first[0] > _MOST_YEARS)
        offset, key, time = self.last[way]
        month, day = divmod(key - 1, 31) if key else (1, 0)
        for year in range(latest.year, latest.year - 9, -1):
            if not _is_after(year, month, day + 1, time, latest) and all(
                calendar.isleap(year - offset + leap) for leap in self.leaps[way]
            ):
                return year - offset, bool(way)
        return latest.year - 1 - offset, bool(way)


def _key(text: str) -> int:
    """Month * 31 + day; 0 for what is no date, or one with its year."""
    parts = date_parts(text, "mdy")
    if parts is None or parts[0] is not None or not 1 <= parts[1] <= 12:
        return 0
    if not 1 <= parts[2] <= calendar.monthrange(_SOME_LEAP_YEAR, parts[1])[1]:
        return 0
    return parts[1] * 31 + parts[2]


def _is_after(year: int, month: int, day: int, time: str, latest: datetime) -> bool:
    hours, minutes, seconds = ([int(n) for n in _NUMBERS.findall(time)] + [0, 0, 0])[:3]
    return (year, month, day, hours, minutes, seconds) > (
        *(latest.year, latest.month, latest.day),
        *(latest.hour, latest.minute, latest.second),
    )


@dataclass(frozen=True)
class Instants:
    """UTC microseconds, where they are known, and where the stamp said more than they do."""

    us: NDArray[np.int64]
    valid: NDArray[np.bool_]
    said_more: NDArray[np.bool_]


@dataclass
class Clock:
    """The dates and zones of one shape of stamps in one file. `first_year` with `years`: of the
    file's first date, for dates without a year. `unzoned`: stamps seen without a known zone.
    `assumed_years`: those that dates without one were given."""

    order: str = "mdy"
    first_year: int = 1970
    years: Years = field(default_factory=Years)
    unzoned: int = 0
    assumed_years: set[int] = field(default_factory=set)
    _days: dict[str, tuple[int, int]] = field(default_factory=dict)
    _zones: dict[str, int | None] = field(default_factory=dict)

    def instants(
        self,
        dates: Sequence[str],
        times: Sequence[str],
        fractions: Sequence[str] | None,
        zones: Sequence[str] | None,
        halves: Sequence[str] | None,
    ) -> Instants:
        days, valid = self._dates(dates)
        us, are_times = _times_us(times, halves)
        us += days * _DAY_US
        valid &= are_times
        said_more = ~valid
        if fractions is not None:
            part_us, is_finer = _fractions_us(fractions)
            us += part_us
            said_more |= is_finer
        if zones is None:
            self.unzoned += len(us)
        else:
            us -= self._zone_us(zones)
        return Instants(us, valid, said_more)

    def _dates(self, dates: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Days since 1970; 0 and False where there is none."""
        known = self._days
        for text in set(dates) - known.keys():
            if len(known) > _MOST_CACHED:
                known.clear()
                for other in set(dates):
                    known[other] = self._date(other)
            known[text] = self._date(text)
        pairs = np.array([known[text] for text in dates], np.int64).reshape(-1, 2)
        days, keys = pairs[:, 0].copy(), pairs[:, 1]
        valid = days != _NO_DAY
        (without,) = np.nonzero(keys)
        if len(without):
            years = self.first_year + self.years.of(keys[without])
            named = {
                (year, key): _day_number(year, *_month_day(key))
                for year, key in set(zip(years.tolist(), keys[without].tolist(), strict=True))
            }
            self.assumed_years.update(year for year, _ in named)
            found = [
                named[pair] for pair in zip(years.tolist(), keys[without].tolist(), strict=True)
            ]
            days[without] = found
            valid[without] = days[without] != _NO_DAY
        days[~valid] = 0
        return days, valid

    def _date(self, text: str) -> tuple[int, int]:
        """(days since 1970, 0), or (_NO_DAY, key) for a date without a year."""
        parts = date_parts(text, self.order)
        if parts is None:
            return _NO_DAY, 0
        year, month, day = parts
        if year is None:
            return _NO_DAY, _key(text)
        return _day_number(year, month, day), 0

    def _zone_us(self, zones: Sequence[str]) -> NDArray[np.int64]:
        known = self._zones
        for text in set(zones) - known.keys():
            if len(known) > _MOST_CACHED:
                known.clear()
            known[text] = zone_minutes(text) if text else None
        minutes = [known.get(text) for text in zones]
        self.unzoned += minutes.count(None)
        return np.array([m or 0 for m in minutes], np.int64) * 60_000_000


_NO_DAY = -(2**31)


def _month_day(key: int) -> tuple[int, int]:
    month, day = divmod(key - 1, 31)
    return month, day + 1


def _day_number(year: int, month: int, day: int) -> int:
    try:
        return date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        return _NO_DAY


def _times_us(
    times: Sequence[str], halves: Sequence[str] | None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """`09:00:00` as microseconds of the day. A leap second is the first of the next minute."""
    if set(map(len, times)) != {8}:
        times = [_two_digits(text) for text in times]
    digits = _digits(times, 8)
    hours = digits[:, 0] * 10 + digits[:, 1]
    minutes = digits[:, 3] * 10 + digits[:, 4]
    seconds = digits[:, 6] * 10 + digits[:, 7]
    valid = (hours < 24) & (minutes < 60) & (seconds <= 60)
    if halves is not None and any(halves):
        is_half = np.array([bool(half) for half in halves])
        is_late = np.array([half[:1] in ("p", "P") for half in halves])
        valid &= ~is_half | ((hours >= 1) & (hours <= 12))
        hours = np.where(is_half, hours % 12 + 12 * is_late, hours)
    return (hours * 3600 + minutes * 60 + seconds) * 1_000_000, valid


def _two_digits(text: str) -> str:
    """`9:00:00`, ` 9:00:00`, `09:00`, `090000`, `09.00.00` as `09:00:00`; no time is `99:99:99`."""
    numbers = _NUMBERS.findall(text)
    if len(numbers) == 1 and len(numbers[0]) in (5, 6):
        digits = numbers[0].zfill(6)
        numbers = [digits[:2], digits[2:4], digits[4:]]
    if not 2 <= len(numbers) <= 3 or any(len(number) > 2 for number in numbers):
        return "99:99:99"
    return ":".join(number.zfill(2) for number in [*numbers, "00"][:3])


def _fractions_us(fractions: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The digits behind the point as microseconds, and where there were finer ones."""
    widths = set(map(len, fractions))
    if widths == {0}:
        return np.zeros(len(fractions), np.int64), np.zeros(len(fractions), np.bool_)
    is_finer = np.zeros(len(fractions), np.bool_)
    if max(widths) > 6:
        is_finer = np.array([bool(text[6:].strip("0")) for text in fractions])
    if len(widths) > 1 or max(widths) > 6:
        fractions = [text[:6].ljust(6, "0") for text in fractions]
        widths = {6}
    (width,) = widths
    powers = 10 ** np.arange(5, 5 - width, -1, dtype=np.int64)
    part: NDArray[np.int64] = _digits(fractions, width) @ powers
    return part, is_finer


def _digits(texts: Iterable[str], width: int) -> NDArray[np.int64]:
    octets = np.frombuffer("".join(texts).encode("ascii", "replace"), np.uint8)
    return octets.reshape(-1, width).astype(np.int64) - ord("0")


def epochs_us(numbers: Sequence[str], fractions: Sequence[str] | None) -> Instants:
    """Seconds, milli-, micro- or nanoseconds since 1970, by how many digits they have."""
    values = np.array([int(number[:16].ljust(16, "0")) for number in numbers], np.int64)
    said_more = np.array([len(number) > 16 and bool(number[16:].strip("0")) for number in numbers])
    if fractions is not None and any(fractions):
        part_us, is_finer = _fractions_us(fractions)
        values += part_us
        said_more |= is_finer
    return Instants(values, np.ones(len(values), np.bool_), said_more)


def boots_us(numbers: Sequence[str], fractions: Sequence[str]) -> list[int]:
    part_us, _ = _fractions_us(fractions)
    return [
        int(number) * 1_000_000 + part
        for number, part in zip(numbers, part_us.tolist(), strict=True)
    ]


def latest_us(received_at: datetime) -> int:
    """The latest time that a row may claim."""
    return epoch_us(received_at.astimezone(UTC) + timedelta(days=1))
