"""One odd JSON line to members that every store takes: what a fast decoder refuses or lets through.

Decided here, once, so that the least is lost: NUL and lone surrogates become U+FFFD; NaN, Infinity
and numbers beyond float64 become strings of their text; control characters inside strings are
allowed; other numbers keep their text to the digit. No columns here.
"""

import json
import re

import msgspec

from logbox_pipeline.formats.text import clean_text

Record = dict[str, msgspec.Raw]

_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_OPENING = (b"[", b"{")
_CLOSING = (b"]", b"}")
_LONGEST_WITH_CARE = 4 * 1024 * 1024
"""Bytes; care makes an object of every value, which takes up to sixty times the line's size."""

_LONGEST_NUMBER = 309
"""Digits; a longer whole number is beyond float64, and near what Postgres's numeric holds."""


def careful_record(line: bytes, nesting: int) -> Record | str:
    """The members of the object on `line`, or the reason why there are none."""
    line = line.strip(b"\0 \t\r\n")
    if not line:
        return "zeroed"
    if depth(line, nesting) > nesting:
        return "too_deep"
    if len(line) > _LONGEST_WITH_CARE:
        return "too_long"
    try:
        text, is_utf8 = line.decode(), True
    except UnicodeDecodeError:
        text, is_utf8 = line.decode("utf-8", "replace"), False
    try:
        value = _DECODER.decode(text)
    except ValueError:
        return "bad_line"
    except RecursionError:
        return "too_deep"
    if not isinstance(value, dict):
        return "not_an_object"
    record = {
        clean_text(key): msgspec.Raw(msgspec.json.encode(_clean(value[key]))) for key in value
    }
    if not is_utf8:
        record["logbox_invalid_utf8"] = msgspec.Raw(b"true")
    return record


def depth(line: bytes, most: int) -> int:
    """How deep the brackets outside of strings go; stops counting behind `most`."""
    if line.count(b"[") + line.count(b"{") <= most:
        return 0
    now = deepest = 0
    for match in _STRING_OR_BRACKET.finditer(line):
        token = match[0]
        if token in _OPENING:
            now += 1
            deepest = max(deepest, now)
            if deepest > most:
                break
        elif token in _CLOSING:
            now -= 1
    return deepest


def bracket_end(source: memoryview, start: int, most_bytes: int) -> int | None:
    """Behind the bracket that closes the one at `start`; None when none does in `most_bytes`."""
    now = 0
    for match in _STRING_OR_BRACKET.finditer(source, start, min(len(source), start + most_bytes)):
        letter = source[match.start()]
        if letter in b"[{":
            now += 1
        elif letter in b"]}":
            now -= 1
            if now == 0:
                return match.end()
    return None


def _clean(value: object) -> object:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_clean(entry) for entry in value]
    if isinstance(value, dict):
        return {clean_text(key): _clean(entry) for key, entry in value.items()}
    return value


def _whole(text: str) -> object:
    return text if len(text) > _LONGEST_NUMBER else msgspec.Raw(text.encode())


def _fraction(text: str) -> object:
    too_large = float(text) in (float("inf"), float("-inf"))
    return text if too_large or len(text) > 10_000 or _tiny(text) else msgspec.Raw(text.encode())


def _tiny(text: str) -> bool:
    """An exponent that Postgres's numeric does not hold: `1e-99999` is zero to float64."""
    exponent = text.lower().partition("e")[2].lstrip("+-")
    return len(exponent) > 4


_DECODER = json.JSONDecoder(
    parse_float=_fraction, parse_int=_whole, parse_constant=str, strict=False
)
