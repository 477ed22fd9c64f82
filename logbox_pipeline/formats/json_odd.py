"""Find, in a block of JSON lines, the lines that need care. A false alarm costs time only.

Care means `json_values.careful_record`. No decoding here.
"""

import re

import numpy as np
from numpy.typing import NDArray

from logbox_pipeline.formats.json_values import depth

_SUSPICIOUS_ESCAPES = (b"\\u0000", b"\\ud", b"\\uD")
_SAMPLE = 64
_PIECE = 1024 * 1024
_OVERLAP = 512


def odd_lines(
    block: bytes, octets: NDArray[np.uint8], newlines: NDArray[np.int64], nesting: int
) -> set[int]:
    """Indexes of lines with a NUL or surrogate escape, bytes that are not UTF-8, a number that
    float64 may not hold, or more brackets than `nesting`. `newlines`: where each line ends."""
    if len(newlines) == 1:
        return {0} if _is_odd(block, octets, nesting) else set()
    found: list[NDArray[np.int64]] = []
    for escape in _SUSPICIOUS_ESCAPES:
        if escape in block:
            found.append(_positions(block, escape))
    if not block.isascii() and not _is_utf8(block):
        found.append(_not_utf8(block, newlines))
    found.append(_large_exponents(octets))
    found.append(_digit_runs(block, octets))
    odd: set[int] = set()
    for positions in found:
        if len(positions):
            odd.update(np.unique(np.searchsorted(newlines, positions)).tolist())
    odd.update(_bracketed(octets, newlines, nesting))
    return odd


def _is_odd(line: bytes, octets: NDArray[np.uint8], nesting: int) -> bool:
    """The same for one line, which may be long: piece by piece, so that memory stays flat."""
    if any(escape in line for escape in _SUSPICIOUS_ESCAPES) or not _is_utf8(line):
        return True
    for start in range(0, len(line), _PIECE):
        piece = octets[start : start + _PIECE + _OVERLAP]
        text = line[start : start + _PIECE + _OVERLAP]
        if len(_large_exponents(piece)) or len(_digit_runs(text, piece)):
            return True
    return depth(line, nesting) > nesting


def _positions(block: bytes, needle: bytes) -> NDArray[np.int64]:
    return np.array([match.start() for match in re.finditer(re.escape(needle), block)], np.int64)


def _is_utf8(block: bytes) -> bool:
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True


def _not_utf8(block: bytes, newlines: NDArray[np.int64]) -> NDArray[np.int64]:
    starts = [0, *(newlines[:-1] + 1).tolist()]
    lines = zip(starts, newlines.tolist(), strict=True)
    return np.array([start for start, end in lines if not _is_utf8(block[start:end])], np.int64)


def _large_exponents(octets: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Where a digit, `e` and three digits stand in a row, with a sign or not."""
    at = np.flatnonzero((octets | 0x20) == ord("e"))
    at = at[(at > 0) & (at < len(octets) - 4)]
    at = at[_is_digit(octets[at - 1])]
    signed = (octets[at + 1] == ord("+")) | (octets[at + 1] == ord("-"))
    at = at + signed
    at = at[at < len(octets) - 3]
    large = _is_digit(octets[at + 1]) & _is_digit(octets[at + 2]) & _is_digit(octets[at + 3])
    found: NDArray[np.int64] = at[large]
    return found


def _digit_runs(block: bytes, octets: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Where about 250 digits stand in a row: four samples next to each other are digits."""
    sample = _is_digit(octets[::_SAMPLE])
    if len(sample) < 4:
        return np.empty(0, np.int64)
    at = np.flatnonzero(sample[:-3] & sample[1:-2] & sample[2:-1] & sample[3:]) * _SAMPLE
    runs = [start for start in at.tolist() if block[start : start + 3 * _SAMPLE].isdigit()]
    return np.array(runs, np.int64)


def _is_digit(octets: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (octets - np.uint8(ord("0"))) < 10


def _bracketed(octets: NDArray[np.uint8], newlines: NDArray[np.int64], nesting: int) -> list[int]:
    # `[` and `{` differ in one bit.
    opening = np.flatnonzero((octets | 0x20) == ord("{"))
    if len(opening) <= nesting:
        return []
    # Too many on one line, when the one `nesting` further on stands on the same line.
    near = opening[nesting:] - opening[:-nesting]
    longest = int(np.max(np.diff(newlines, prepend=-1)))
    close = np.flatnonzero(near < longest)
    first = np.searchsorted(newlines, opening[close])
    last = np.searchsorted(newlines, opening[close + nesting])
    lines: list[int] = np.unique(first[first == last]).tolist()
    return lines
