"""Dates and times written as text to microseconds since 1970, column by column. No columns are
chosen here.
"""

import re
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class DayOrder(StrEnum):
    """How a date's parts follow each other."""

    YMD = "ymd"
    MDY = "mdy"
    DMY = "dmy"


_CLOCK = (
    r"(?P<h>\d{1,2}):?(?P<mi>\d{2})(?::?(?P<s>\d{2})(?:[.,:](?P<f>\d{1,9}))?)?"
    r" *(?P<ap>[AaPp][Mm])?"
)
ZONE = r" *(?P<zone>Z|z|UTC|GMT|UT|[+-]\d{2}:?\d{2})?"
_DATES = {
    DayOrder.YMD: r"(?P<y>\d{4})[-/._]?(?P<mo>\d{1,2})[-/._]?(?P<d>\d{1,2})",
    DayOrder.MDY: r"(?P<mo>\d{1,2})[-/.](?P<d>\d{1,2})[-/.](?P<y>\d{4})",
    DayOrder.DMY: r"(?P<d>\d{1,2})[-/.](?P<mo>\d{1,2})[-/.](?P<y>\d{4})",
}
_STAMPS = {order: f"^{date}[T _,]+{_CLOCK}{ZONE}$" for order, date in _DATES.items()}
ONE_STAMP = {order: re.compile(pattern) for order, pattern in _STAMPS.items()}
ONE_DATE = {order: re.compile(pattern) for order, pattern in _DATES.items()}


def text_us(texts: pa.Array, order: DayOrder) -> pa.Array:
    """By Arrow where the text is ISO 8601 with separators; else by places where texts of one
    length have the same shape; else, and slowest, by a regular expression."""
    texts = pc.utf8_trim_whitespace(texts)
    if order is DayOrder.YMD:
        for kind in (pa.timestamp("ns"), pa.timestamp("ns", tz="UTC")):
            try:
                # One first: a cast that fails costs 50 times one that does not.
                pc.cast(texts.drop_null().slice(0, 1), kind)
                stamps = pc.cast(texts, kind)
            except pa.ArrowInvalid:
                continue
            return pc.divide(stamps.cast(pa.int64()), pa.scalar(1_000, pa.int64()))
    us = np.zeros(len(texts), np.int64)
    valid = np.zeros(len(texts), bool)
    lengths = pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
    for length in np.unique(lengths).tolist():
        if length == 0:
            continue
        here = np.flatnonzero(lengths == length)
        alike = texts if len(here) == len(texts) else texts.take(pa.array(here))
        us[here], valid[here] = _placed_us(alike, length, order) or _matched_us(alike, order)
    return pa.array(us, pa.int64(), mask=~valid)


_Us = tuple[NDArray[np.int64], NDArray[np.bool_]]


def _placed_us(texts: pa.Array, length: int, order: DayOrder) -> _Us | None:
    """Microseconds of texts of one length, when they differ in nothing but the digits."""
    first = ONE_STAMP[order].match(texts[0].as_py())
    if first is None or len(texts[0].as_py()) != length:
        return None
    _, offsets, data = texts.buffers()
    begin = int(np.frombuffer(offsets, np.int32, 1, texts.offset * 4)[0])
    octets = np.frombuffer(data, np.uint8, len(texts) * length, begin).reshape(-1, length)
    digits = octets - np.uint8(ord("0"))
    spans = [first.span(name) for name in ("y", "mo", "d", "h", "mi", "s", "f")]
    is_digit = np.zeros(length, bool)
    for low, high in spans:
        is_digit[max(low, 0) : max(high, 0)] = True
    same = octets[:, ~is_digit] == octets[0, ~is_digit]
    if not same.all() or not (digits[:, is_digit] < 10).all():
        return None
    numbers = []
    for low, high in spans:
        number = np.zeros(len(texts), np.int64)
        for place in range(max(low, 0), max(high, 0)):
            number = number * 10 + digits[:, place]
        numbers.append(number)
    fraction_digits = spans[-1][1] - spans[-1][0]
    scale = 10.0 ** (6 - fraction_digits)
    numbers[-1] = np.floor(numbers[-1] * scale).astype(np.int64)
    half = (first["ap"] or "").lower()
    year, month, day, hour, minute, second, fraction_us = numbers
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    offset_s = np.int64(_zone_s(first["zone"] or ""))
    return _civil_us(year, month, day, hour, minute, second, fraction_us, offset_s)


def _matched_us(texts: pa.Array, order: DayOrder) -> _Us:
    parts = pc.extract_regex(texts, _STAMPS[order])
    year, month, day, hour, minute, second = (
        _whole(parts.field(name)) for name in ("y", "mo", "d", "h", "mi", "s")
    )
    fraction = _whole(pc.utf8_slice_codeunits(pc.utf8_rpad(_filled(parts, "f"), 6, "0"), 0, 6))
    half = pc.utf8_lower(_filled(parts, "ap"))
    is_half = pc.not_equal(half, "").to_numpy(zero_copy_only=False)
    is_pm = pc.equal(half, "pm").to_numpy(zero_copy_only=False)
    hour = np.where(is_half, hour % 12 + np.where(is_pm, 12, 0), hour)
    zones = _filled(parts, "zone").dictionary_encode()
    table = np.array([_zone_s(zone) for zone in zones.dictionary.to_pylist()] or [0], np.int64)
    offset_s = table[zones.indices.to_numpy(zero_copy_only=False)]
    us, valid = _civil_us(year, month, day, hour, minute, second, fraction, offset_s)
    return us, valid & parts.is_valid().to_numpy(zero_copy_only=False)


def _civil_us(
    year: NDArray[np.int64],
    month: NDArray[np.int64],
    day: NDArray[np.int64],
    hour: NDArray[np.int64],
    minute: NDArray[np.int64],
    second: NDArray[np.int64],
    fraction_us: NDArray[np.int64],
    offset_s: NDArray[np.int64] | np.int64,
) -> _Us:
    """Microseconds since 1970, and which of these dates and times there are."""
    months = (year - 1970) * 12 + month - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + day - 1
    same_month = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) == months
    valid = same_month & (month >= 1) & (month <= 12) & (hour < 24) & (minute < 60) & (second < 61)
    seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset_s
    return seconds * 1_000_000 + fraction_us, valid


def _filled(parts: pa.StructArray, name: str) -> pa.Array:
    return pc.fill_null(parts.field(name), "")


def _whole(texts: pa.Array) -> NDArray[np.int64]:
    digits = pc.if_else(pc.equal(pc.fill_null(texts, ""), ""), "0", texts)
    whole: NDArray[np.int64] = digits.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return whole


def _zone_s(zone: str) -> int:
    """East of UTC, in seconds: `+02:00`, `-0330`, `Z`."""
    digits = zone[1:].replace(":", "") if zone[:1] in ("+", "-") else ""
    offset = int(digits[:2]) * 3_600 + int(digits[2:]) * 60 if digits else 0
    return -offset if zone.startswith("-") else offset
