"""MAVLink's checksum, CRC-16/MCRF4XX, of many frames at once. No frames are found here.

A CRC is linear over GF(2): the CRC of a text is the XOR of what each byte alone would leave,
which depends on the byte and on how many bytes follow it. So frames of equal length are one matrix,
one table look-up per column. Source: https://mavlink.io/en/guide/serialization.html#checksum
(polynomial 0x1021 reflected, initial value 0xFFFF, CRC_EXTRA as one more byte at the end).
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

_REFLECTED_POLYNOMIAL = 0x8408
_INITIAL = 0xFFFF
_LONGEST = 300


def checksums(
    source: NDArray[np.uint8],
    start: NDArray[np.int64],
    length: NDArray[np.int64],
    extra: NDArray[np.uint8],
    zeros: NDArray[np.int64] | None = None,
) -> NDArray[np.uint16]:
    """The CRC of `length` bytes from each `start` on, then of the byte `extra`.

    All of them must lie within `source`; a length is at most 280. `zeros`: what the CRC would be
    were so many more zeros at the end, and the first byte, the payload's length, larger by them.
    """
    shares = _shares()
    found = np.zeros(len(start), np.uint16)
    if not len(start):
        return found
    more = np.zeros(len(start), np.int64) if zeros is None else zeros
    kind = length << 9 | more
    order = np.argsort(kind, kind="stable")
    kinds, first = np.unique(kind[order], return_index=True)
    for code, here in zip(kinds.tolist(), np.split(order, first[1:]), strict=True):
        size, behind = code >> 9, code & 0x1FF
        columns = np.ascontiguousarray(gathered(source, start[here], size).T)
        columns[0] += np.uint8(behind)
        crc = np.full(len(here), _initial_shares()[size + behind + 1], np.uint16)
        for column, values in enumerate(columns):
            crc ^= shares[size - column + behind].take(values)
        found[here] = crc ^ shares[0].take(extra[here])
    return found


def gathered(source: NDArray[np.uint8], start: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """The `size` bytes from each `start` on: uint8 (n, size). All must lie within `source`."""
    whole: NDArray[np.void] = np.ndarray(
        (len(source) - size + 1,), f"V{size}", source.data, strides=(1,)
    )
    return whole[start].view(np.uint8).reshape(len(start), size)


def checksum(raw: bytes, extra: int) -> int:
    """The CRC of one text, then of the byte `extra`."""
    table = _shares()[0]
    crc = _INITIAL
    for byte in (*raw, extra):
        crc = (crc >> 8) ^ int(table[(crc ^ byte) & 0xFF])
    return crc


@cache
def _shares() -> NDArray[np.uint16]:
    """[bytes that follow, byte] -> what that byte alone leaves in a CRC that began with zero."""
    table = np.arange(256, dtype=np.uint16)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ _REFLECTED_POLYNOMIAL, table >> 1).astype(
            np.uint16
        )
    shares = np.empty((_LONGEST, 256), np.uint16)
    shares[0] = table
    for behind in range(1, _LONGEST):
        shares[behind] = (shares[behind - 1] >> 8) ^ table[shares[behind - 1] & 0xFF]
    return shares


@cache
def _initial_shares() -> NDArray[np.uint16]:
    """What the initial value leaves after so many bytes."""
    table = _shares()[0]
    left = np.empty(_LONGEST, np.uint16)
    crc = _INITIAL
    for size in range(_LONGEST):
        left[size] = crc
        crc = (crc >> 8) ^ int(table[crc & 0xFF])
    return left
