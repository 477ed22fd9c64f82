"""Where the members of each line stand, for a block of JSON lines: all of them at once, by array.

A block that needs any care (`json_odd` finds the lines, `json_values` cares) has no scan. No
values are decoded here and no names known.
"""

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

PADDING = 48
"""Bytes behind the block in `Scan.octets`, so that a key may be read in words."""

_SAMPLE = 64
_NUMBER_RUN = 250
"""A number shorter than this and without a large exponent is one that float64 holds."""

_QUOTE, _BACKSLASH, _COMMA, _COLON, _NEWLINE = b'"\\,:\n'
_OPEN_BRACE, _CLOSE_BRACE, _SPACE = b"{} "
_STEPS = np.zeros(256, np.int32)
_STEPS[list(b"{[")] = 1
_STEPS[list(b"}]")] = -1
_ANYTHING = msgspec.json.Decoder(msgspec.Raw)
_ODD_ESCAPES = (b"\\u0000", b"\\ud", b"\\uD")


@dataclass(frozen=True)
class Scan:
    """The top-level members of each line's object, in order; positions are bytes in the block.

    octets: the block and PADDING. starts: where each line begins. line: of each member, the line
    it stands on. key: behind the key's opening quote; key_end: its closing one. value: its first
    byte; end: the comma or brace behind it (white space may stand before). last: whether it is its
    line's last. quotes, backslashes: all of them, but for quotes that are escaped.
    """

    block: bytes
    octets: NDArray[np.uint8]
    starts: NDArray[np.int64]
    line: NDArray[np.int64]
    key: NDArray[np.int64]
    key_end: NDArray[np.int64]
    value: NDArray[np.int64]
    end: NDArray[np.int64]
    last: NDArray[np.bool_]
    quotes: NDArray[np.int64]
    backslashes: NDArray[np.int64]

    def text(self, line: int) -> bytes:
        """The line as it stands, without its newline."""
        start = int(self.starts[line])
        return self.block[start : self.block.index(b"\n", start)]


def scan(block: bytes, nesting: int) -> Scan | None:
    """None unless each line is one valid object from its first byte to its last, with members,
    not deeper than `nesting`, in UTF-8, without NUL, lone surrogates or numbers beyond float64."""
    if not _is_plain(block):
        return None
    octets = np.frombuffer(block + b"\n" * PADDING, np.uint8)
    at = _token_positions(octets[: len(block)])
    kind = octets[at]
    is_quote = kind == _QUOTE
    backslashes = at[:0]
    if b"\\" in block:
        is_backslash = kind == _BACKSLASH
        is_quote &= ~_escaped(at, is_backslash)
        backslashes = at.compress(is_backslash)
    quotes = at.compress(is_quote)
    quotes_before = np.cumsum(is_quote, dtype=np.int32)
    if _has_odd_number(block, octets, quotes):
        return None
    outside = np.flatnonzero((quotes_before & 1) < (kind != _QUOTE))
    newlines = int(np.count_nonzero(kind == _NEWLINE))
    kind = kind[outside]
    depth = np.cumsum(_STEPS[kind], dtype=np.int32)
    is_newline = kind == _NEWLINE
    ends = at[outside[is_newline]]
    if len(ends) != newlines:
        return None  # one stands in a string, where the comma for it was valid
    if not _lines_are_objects(octets, ends, depth[is_newline], len(block)):
        return None
    if int(depth.max()) > nesting:
        return None
    # On depth 1 the colons, back on 0 the object's brace. Commas are found between the two: there
    # are too many of them inside of values.
    top = np.flatnonzero(((depth == 1) & (kind == _COLON)) | ((depth == 0) & (kind > _COLON)))
    is_colon = kind[top] == _COLON
    colons = np.flatnonzero(is_colon)
    last = ~is_colon[colons + 1]
    if int(np.count_nonzero(last)) != len(ends):
        return None  # an object without members
    braces = at[outside[top[colons[last] + 1]]]
    colons = outside[top[colons]]
    quote = quotes_before[colons]
    key = quotes[quote - 2] + 1
    end = np.empty(len(key), np.int64)
    end[:-1] = key[1:] - 2
    end[last] = braces
    inner = np.flatnonzero(octets[end] != _COMMA)
    inner = inner[~last[inner]]
    while len(inner):
        end[inner] -= 1
        inner = inner[octets[end[inner]] != _COMMA]
    value = at[colons] + 1
    spaced = np.flatnonzero(octets[value] <= _SPACE)
    while len(spaced):
        value[spaced] += 1
        spaced = spaced[octets[value[spaced]] <= _SPACE]
    line = np.zeros(len(colons), np.int64)
    np.cumsum(last[:-1], out=line[1:])
    return Scan(
        block=block,
        octets=octets,
        starts=np.concatenate(([0], ends[:-1] + 1)),
        line=line,
        key=key,
        key_end=quotes[quote - 1],
        value=value,
        end=end,
        last=last,
        quotes=quotes,
        backslashes=backslashes,
    )


def _is_plain(block: bytes) -> bool:
    """Valid JSON when the newlines are commas, UTF-8, and without escapes that need care."""
    if b"\\" in block and any(escape in block for escape in _ODD_ESCAPES):
        return False
    try:
        if not block.isascii():
            block.decode()
        _ANYTHING.decode(b"[" + block[:-1].replace(b"\n", b",") + b"]")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _token_positions(octets: NDArray[np.uint8]) -> NDArray[np.int64]:
    folded = octets | 0x20  # brackets and braces differ in this bit, as do both of each
    found = octets == _QUOTE
    found |= octets == _BACKSLASH
    found |= folded == _OPEN_BRACE
    found |= folded == _CLOSE_BRACE
    found |= octets == _COLON
    found |= octets == _NEWLINE
    return np.flatnonzero(found)


def _escaped(at: NDArray[np.int64], is_backslash: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which tokens stand behind a backslash that escapes: an odd one in its run."""
    escaped = np.zeros(len(at), np.bool_)
    found = np.flatnonzero(is_backslash)
    positions = at[found]
    is_first = np.ones(len(found), np.bool_)
    is_first[1:] = positions[1:] != positions[:-1] + 1
    order = np.arange(len(found))
    in_run = order - np.maximum.accumulate(np.where(is_first, order, 0))
    escaping = found[in_run % 2 == 0]
    escaping = escaping[escaping + 1 < len(at)]
    near = at[escaping + 1] == at[escaping] + 1
    escaped[escaping[near] + 1] = True
    return escaped


def _has_odd_number(block: bytes, octets: NDArray[np.uint8], quotes: NDArray[np.int64]) -> bool:
    """Outside of strings a digit, `e`, perhaps a sign, and three digits; or, anywhere, about
    `_NUMBER_RUN` digits in a row: four samples next to each other are digits."""
    sample = _is_digit(octets[::_SAMPLE])
    runs = np.flatnonzero(sample[:-3] & sample[1:-2] & sample[2:-1] & sample[3:]) * _SAMPLE
    if any(block[start : start + 3 * _SAMPLE].isdigit() for start in runs.tolist()):
        return True
    is_exponent = (octets[1:] | 0x20) == ord("e")
    is_exponent &= _is_digit(octets[:-1])
    if not is_exponent.any():
        return False
    exponents = np.flatnonzero(is_exponent) + 1
    signed = (octets[exponents + 1] == ord("+")) | (octets[exponents + 1] == ord("-"))
    digits = exponents + signed
    large = _is_digit(octets[digits + 1])
    large &= _is_digit(octets[digits + 2]) & _is_digit(octets[digits + 3])
    return bool((np.searchsorted(quotes, exponents[large]) % 2 == 0).any())


def _is_digit(octets: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (octets - np.uint8(ord("0"))) < 10


def _lines_are_objects(
    octets: NDArray[np.uint8], ends: NDArray[np.int64], depth: NDArray[np.int32], size: int
) -> bool:
    """Do brackets close before each newline, and does each line stand between braces?"""
    if not len(ends) or int(ends[-1]) != size - 1 or depth.any():
        return False
    closing = octets[ends - 1]
    if (closing == ord("\r")).any():
        closing = np.where(closing == ord("\r"), octets[ends - 2], closing)
    opening = octets[ends[:-1] + 1]
    is_opened = octets[0] == ord("{") and bool((opening == ord("{")).all())
    return is_opened and bool((closing == ord("}")).all())
