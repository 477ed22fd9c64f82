"""Verify an Ed25519 signature: RFC 8032, section 5.1.7, in integers. Standard library only.

A drone gets no package but boto3, and a receipt is one signature now and then: some milliseconds
each. Nothing here is secret, so nothing has to take constant time. Signing is the pipeline's.

Formulas: RFC 8032, section 5.1.4 (extended homogeneous coordinates, x = X/Z, y = Y/Z, xy = T/Z).
"""

from __future__ import annotations

import hashlib

Point = tuple[int, int, int, int]

KEY_BYTES = 32
SIGNATURE_BYTES = 64

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)
_NEUTRAL: Point = (0, 1, 1, 0)


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) is that of `message` by the owner of `public_key` (32 bytes).

    Only the one canonical form of each part is accepted: a coordinate below the field's prime, a
    scalar below the group's order. A key of small order, which would sign anything, is refused.
    """
    if len(signature) != SIGNATURE_BYTES:
        return False
    key = _decoded(public_key)
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or _is_small_order(key) or scalar >= _ORDER:
        return False
    digest = hashlib.sha512(signature[:32] + public_key + message).digest()
    challenge = int.from_bytes(digest, "little") % _ORDER
    # R = sB - hA, compared as bytes: a point in any other form than its own is not equal.
    found = _times_and_times(scalar, _BASE, challenge, _negative(key))
    return _encoded(found) == signature[:32]


def is_public_key(public_key: bytes) -> bool:
    """Whether these bytes are a key that `verify` accepts at all."""
    point = _decoded(public_key)
    return point is not None and not _is_small_order(point)


def _is_small_order(point: Point) -> bool:
    x, y, z, _ = _times(8, point)
    return x % _P == 0 and (y - z) % _P == 0


def _decoded(encoded: bytes) -> Point | None:
    """The point of 32 bytes (section 5.1.3); None when they are none."""
    if len(encoded) != KEY_BYTES:
        return None
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= _P:
        return None
    x = _x_of(y, sign)
    return None if x is None else (x, y, 1, x * y % _P)


def _x_of(y: int, sign: int) -> int | None:
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    if v * x * x % _P == -u % _P:
        x = x * _ROOT_OF_MINUS_ONE % _P
    elif v * x * x % _P != u:
        return None
    if x == 0 and sign:
        return None
    return _P - x if x & 1 != sign else x


def _encoded(point: Point) -> bytes:
    x, y, z, _ = point
    inverse = pow(z, _P - 2, _P)
    x, y = x * inverse % _P, y * inverse % _P
    return (y | (x & 1) << 255).to_bytes(KEY_BYTES, "little")


def _sum(one: Point, other: Point) -> Point:
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a = (y1 - x1) * (y2 - x2) % _P
    b = (y1 + x1) * (y2 + x2) % _P
    c = 2 * t1 * t2 * _D % _P
    d = 2 * z1 * z2 % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _doubled(point: Point) -> Point:
    x, y, z, _ = point
    a, b = x * x % _P, y * y % _P
    h = a + b
    e = h - (x + y) * (x + y) % _P
    g = a - b
    f = 2 * z * z % _P + g
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(scalar: int, point: Point) -> Point:
    return _times_and_times(scalar, point, 0, _NEUTRAL)


def _times_and_times(scalar: int, point: Point, other_scalar: int, other: Point) -> Point:
    """The sum of two products: their doublings are done once for both (Straus, 1964)."""
    both = _sum(point, other)
    total = _NEUTRAL
    for bit in range(max(scalar.bit_length(), other_scalar.bit_length()) - 1, -1, -1):
        total = _doubled(total)
        if scalar >> bit & 1:
            total = _sum(total, both if other_scalar >> bit & 1 else point)
        elif other_scalar >> bit & 1:
            total = _sum(total, other)
    return total


def _negative(point: Point) -> Point:
    x, y, z, t = point
    return _P - x, y, z, _P - t


def _base() -> Point:
    y = 4 * pow(5, _P - 2, _P) % _P
    x = _x_of(y, 0)
    assert x is not None
    return x, y, 1, x * y % _P


_BASE = _base()
