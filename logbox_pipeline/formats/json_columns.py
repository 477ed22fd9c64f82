"""Event columns of a block of JSON lines, straight from its bytes, by array.

What is usual is settled here for all lines at once; a line that is not (`Columns.unsettled`) goes
to `json_mapping`, which means the same and knows more. No lines are found here (`json_scan`).
"""

from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from logbox_pipeline.formats.json_attributes import attributes_column
from logbox_pipeline.formats.json_fields import (
    MONGO_MARK,
    NAMES,
    NEXTCLOUD_MARK,
    PYTHON_MARKS,
    SEVERAL_NAMES,
    WRAPPERS,
    Levels,
    LevelScale,
    Role,
    scale_of,
    time_us,
)
from logbox_pipeline.formats.json_scan import PADDING, Scan
from logbox_pipeline.formats.stream import EVENT_SCHEMA
from logbox_pipeline.formats.times import EARLIEST_LOG_US

_TS = pa.timestamp("us", tz="UTC")
_NAIVE = pa.timestamp("us")
_NS = pa.timestamp("ns", tz="UTC")
_NAIVE_NS = pa.timestamp("ns")
_VALUES = msgspec.json.Decoder()
_QUOTE, _BACKSLASH, _BRACE, _BRACKET, _DASH = b'"\\{[-'
_ANY_VALUE = b'{"stringValue":"'
_ANY_VALUE_WORDS = np.frombuffer(_ANY_VALUE, "<u8")


@dataclass(frozen=True)
class Columns:
    """events: one row per line, without meaning where `unsettled` (bool per line)."""

    events: pa.RecordBatch
    unsettled: NDArray[np.bool_]


def event_columns(scan: Scan, levels: tuple[Levels, ...], latest_us: int) -> Columns:
    """`levels`: by LevelScale. Times outside EARLIEST_LOG_US..latest_us are left unsettled."""
    found = _find(scan)
    texts = _Texts(scan, found)
    ts = _time_column(texts, latest_us)
    boot = _boot_column(texts)
    level = _level_column(texts, levels)
    source = _text_column(texts, Role.SOURCE)
    message = _text_column(texts, Role.MESSAGE)
    attributes = attributes_column(scan, found.is_said)
    events = pa.RecordBatch.from_arrays(
        [ts, boot, level, source, message, attributes], schema=EVENT_SCHEMA
    )
    return Columns(events, found.unsettled)


# Which member is what


@dataclass(frozen=True)
class _Found:
    """member: for each role, of each line, the index of its member, -1 where there is none.
    end: of each member that has a role, where its value ends (no meaning for others).
    scale: of each line, its LevelScale. is_said: of each member, whether a column says it all.
    """

    member: NDArray[np.int64]
    scale: NDArray[np.int8]
    is_said: NDArray[np.bool_]
    unsettled: NDArray[np.bool_]


_MARK, _WRAPPER, _BY_HAND = range(len(Role), len(Role) + 3)
_LONGEST_NAME = 32


def _known_names() -> list[tuple[bytes, int, int, int]]:
    """Each name: its role (or what else it means), its rank, and its level scale."""
    known: dict[str, tuple[int, int, int]] = {}
    for role in Role:
        for rank, name in enumerate(NAMES[role]):
            known[name] = (role, rank, scale_of(name, LevelScale.PINO))
    for name in (*SEVERAL_NAMES, MONGO_MARK, NEXTCLOUD_MARK):
        known[name] = (_BY_HAND, 0, LevelScale.PINO)
    for name in PYTHON_MARKS:
        known.setdefault(name, (_MARK, 0, LevelScale.PINO))
    for name in WRAPPERS:
        known.setdefault(name, (_WRAPPER, 0, LevelScale.PINO))
    return [(name.encode(), *rest) for name, rest in known.items()]


_KNOWN = _known_names()
_WORDS = np.array(
    [np.frombuffer(name.ljust(_LONGEST_NAME, b"\0"), "<u8") for name, *_ in _KNOWN], np.uint64
)
_LENGTHS = np.array([len(name) for name, *_ in _KNOWN])
_ROLES = np.array([role for _, role, _, _ in _KNOWN], np.int8)
_RANKS = np.array([rank for _, _, rank, _ in _KNOWN], np.int8)
_SCALES = np.array([scale for _, _, _, scale in _KNOWN], np.int8)
_IS_MARK = np.array([name.decode() in PYTHON_MARKS for name, *_ in _KNOWN])
_IS_WRAPPER = np.array([name.decode() in WRAPPERS for name, *_ in _KNOWN])
_MASKS = np.array([(1 << 8 * min(n, 8)) - 1 for n in range(_LONGEST_NAME + 2)], np.uint64)
_FACTORS = np.arange(_LONGEST_NAME + 2).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
_HASH_BITS = np.uint64(64 - 14)


def _hashes(word: NDArray[np.uint64], length: NDArray[np.int64], factor: int) -> NDArray[np.uint64]:
    """Of a name, by its first eight bytes and its length; the last byte is in neither."""
    return ((word ^ _FACTORS[length]) * np.uint64(factor)) >> _HASH_BITS


def _hash_table() -> tuple[int, NDArray[np.int16]]:
    """A factor under which no two known names meet, and the name's index by its hash."""
    factor = 0x9FB21C651E98DF25
    while True:
        hashes = _hashes(_WORDS[:, 0], _LENGTHS, factor)
        if len(np.unique(hashes)) == len(hashes):
            table = np.full(1 << 14, -1, np.int16)
            table[hashes] = np.arange(len(hashes))
            return factor, table
        factor += 2


_FACTOR, _TABLE = _hash_table()


def _find(scan: Scan) -> _Found:
    lines = len(scan.starts)
    length = np.minimum(scan.key_end - scan.key, _LONGEST_NAME + 1)
    words = _words(scan.octets)
    word = words[scan.key] & _MASKS[length]
    name = _TABLE[_hashes(word, length, _FACTOR)]
    likely = np.flatnonzero(name >= 0)
    name = name[likely]
    exact = (_LENGTHS[name] == length[likely]) & (_WORDS[name, 0] == word[likely])
    for part in (1, 2, 3):
        long = np.flatnonzero(_LENGTHS[name] > 8 * part)
        rest = words[scan.key[likely[long]] + 8 * part]
        rest = rest & _MASKS[np.maximum(_LENGTHS[name[long]] - 8 * part, 0)]
        exact[long] &= rest == _WORDS[name[long], part]
    first = scan.octets[scan.value[likely]]
    if not exact.all():
        kept = np.flatnonzero(exact)
        likely, name, first = likely[kept], name[kept], first[kept]
    line = scan.line[likely]
    unsettled = np.zeros(lines, np.bool_)
    member = np.full((len(Role), lines), -1, np.int64)
    scale = np.full(lines, LevelScale.PINO, np.int8)
    marked = _IS_MARK[name]
    if marked.any():
        scale[line[marked]] = LevelScale.PYTHON
    roles = _ROLES[name]
    unsettled[line[roles == _BY_HAND]] = True
    is_null = first == ord("n")  # says nothing but that its name is there
    if is_null.any():
        kept = np.flatnonzero(~is_null)
        likely, name, first = likely[kept], name[kept], first[kept]
        line, roles = line[kept], roles[kept]
    for role in Role:
        chosen = np.flatnonzero(roles == role)
        at = line[chosen]
        if (at[1:] == at[:-1]).any():
            rank = _RANKS[name[chosen]]
            order = np.lexsort((rank, at))
            chosen, at, rank = chosen[order], at[order], rank[order]
            again = np.zeros(len(at), np.bool_)
            again[1:] = at[1:] == at[:-1]
            repeated = again.copy()
            repeated[1:] &= rank[1:] == rank[:-1]
            unsettled[at[repeated]] = True
            once = np.flatnonzero(~again)
            chosen, at = chosen[once], at[once]
        member[role, at] = likely[chosen]
        if role is Role.LEVEL:
            own = _SCALES[name[chosen]]
            special = np.flatnonzero(own != LevelScale.PINO)
            scale[at[special]] = own[special]
    wrapping = _IS_WRAPPER[name] & (first == _BRACE)
    if wrapping.any():
        lacks = np.any(member[[Role.TIME, Role.LEVEL, Role.SOURCE, Role.MESSAGE]] < 0, axis=0)
        wrapped = line[wrapping]
        unsettled[wrapped[lacks[wrapped]]] = True
    return _Found(member, scale, np.zeros(len(scan.key), np.bool_), unsettled)


def _words(octets: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """At each byte the eight from there on as one number, not copied."""
    return np.ndarray((len(octets) - 7,), "<u8", octets.data, strides=(1,))


# Values


class _Texts:
    """The values of roles, as spans of bytes."""

    def __init__(self, scan: Scan, found: _Found) -> None:
        self.scan = scan
        self.found = found
        self.source = pa.py_buffer(scan.octets)

    def of(self, role: Role) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The lines that have the role, and where its value begins and ends on each."""
        lines = np.flatnonzero(self.found.member[role] >= 0)
        members = self.found.member[role, lines]
        start, end = self.scan.value[members], self.scan.end[members]
        spaced = np.flatnonzero(self.scan.octets[end - 1] <= ord(" "))
        while len(spaced):
            end[spaced] -= 1
            spaced = spaced[self.scan.octets[end[spaced] - 1] <= ord(" ")]
        return lines, start, end

    def slices(
        self, start: NDArray[np.int64], end: NDArray[np.int64], type_: pa.DataType
    ) -> pa.Array:
        """The bytes [start, end) of each, which ascend and do not overlap."""
        offsets = np.empty(2 * len(start), np.int32)
        offsets[0::2] = start
        offsets[1::2] = end
        if not len(offsets):
            return pa.array([], type_)
        spans = pa.Array.from_buffers(
            type_, len(offsets) - 1, [None, pa.py_buffer(offsets), self.source]
        )
        return spans.take(pa.array(np.arange(0, len(offsets), 2)))

    def has_backslash(self, start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.bool_]:
        marks = self.scan.backslashes
        if not len(marks):
            return np.zeros(len(start), np.bool_)
        has: NDArray[np.bool_] = np.searchsorted(marks, start) != np.searchsorted(marks, end)
        return has

    def settle(self, role: Role, lines: NDArray[np.int64], is_said: NDArray[np.bool_]) -> None:
        """Note of which of `lines` the column of `role` says all."""
        self.found.is_said[self.found.member[role, lines[is_said]]] = True


def _nullable(rows: int, lines: NDArray[np.int64], values: pa.Array) -> pa.Array:
    """`values` on their lines, null on the others."""
    if len(lines) == rows:
        return values
    indices = np.full(rows, -1, np.int64)
    indices[lines] = np.arange(len(lines))
    return values.take(pa.array(indices, mask=indices < 0))


def _time_column(texts: _Texts, latest_us: int) -> pa.Array:
    rows = len(texts.scan.starts)
    lines, start, end = texts.of(Role.TIME)
    octets = texts.scan.octets
    is_text = octets[start] == _QUOTE
    start, end = start + is_text, end - is_text
    is_dated = is_text & (octets[start + 4] == _DASH) & (octets[start + 7] == _DASH)
    is_dated &= end - start > 18
    has_zone = octets[end - 1] == ord("Z")
    others = np.flatnonzero(is_dated & ~has_zone)
    if len(others):
        signs = octets[end[others, None] - (6, 5, 3)]
        is_signed = ((signs == ord("+")) | (signs == _DASH)).any(axis=1)
        has_zone[others] = is_signed & (end[others] - start[others] > 21)
    us = np.zeros(len(lines), np.int64)
    is_full = np.ones(len(lines), np.bool_)
    is_known = np.zeros(len(lines), np.bool_)
    for group, read in (
        (is_dated & has_zone, _zoned_us),
        (is_dated & ~has_zone, _naive_us),
        (~is_dated, _numbers_us),
    ):
        chosen = np.flatnonzero(group)
        if not len(chosen):
            continue
        values = read(texts.slices(start[chosen], end[chosen], pa.string()))
        if values is not None:
            us[chosen], is_known[chosen] = values, True
            is_full[chosen] = read is not _naive_us
            continue
        for index in chosen.tolist():
            begin, stop = int(start[index]) - is_text[index], int(end[index]) + is_text[index]
            found, full = time_us(_VALUES.decode(texts.scan.block[begin:stop]))
            # Beyond int64 is beyond every bound.
            if found is not None and abs(found) < 2**62:
                us[index], is_full[index], is_known[index] = found, full, True
    is_known &= (us >= EARLIEST_LOG_US) & (us <= latest_us)
    texts.found.unsettled[lines[~is_known]] = True
    texts.settle(Role.TIME, lines, is_known & is_full)
    column = np.zeros(rows, np.int64)
    column[lines] = us
    missing = np.ones(rows, np.bool_)
    missing[lines] = ~is_known
    return pa.array(column.view("datetime64[us]"), type=_TS, mask=missing)


def _zoned_us(values: pa.Array) -> NDArray[np.int64] | None:
    return _cast_us(values, _TS, _NS)


def _naive_us(values: pa.Array) -> NDArray[np.int64] | None:
    if pc.any(pc.equal(pc.utf8_slice_codeunits(values, 19, 20), ",")).as_py():
        values = pc.replace_substring(values, ",", ".")
    return _cast_us(values, _NAIVE, _NAIVE_NS)


def _cast_us(values: pa.Array, us: pa.DataType, ns: pa.DataType) -> NDArray[np.int64] | None:
    try:
        stamps = values.cast(us)
    except pa.ArrowInvalid:
        try:
            stamps = values.cast(ns).cast(us, safe=False)
        except pa.ArrowInvalid:
            return None
    return _int64(stamps.cast(pa.int64()))


def _numbers_us(values: pa.Array) -> NDArray[np.int64] | None:
    """Seconds to nanoseconds, by magnitude; as `time_us` does. None when one is not plain."""
    try:
        whole = _int64(values.cast(pa.int64()))
    except pa.ArrowInvalid:
        try:
            number: NDArray[np.float64] = values.cast(pa.float64()).to_numpy()
        except pa.ArrowInvalid:
            return None
        if not (np.abs(number) < 1e14).all():  # whole ones among them would lose digits
            return None
        factor = np.where(np.abs(number) < 1e11, 1e6, 1e3)
        return np.rint(number * factor).astype(np.int64)
    size = np.abs(whole)
    us = np.where(size < 10**17, whole, whole // 1_000)
    us = np.where(size < 10**14, whole * 1_000, us)
    scaled: NDArray[np.int64] = np.where(size < 10**11, whole * 1_000_000, us)
    return scaled


def _int64(values: pa.Array) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = values.to_numpy()
    return numbers


def _boot_column(texts: _Texts) -> pa.Array:
    rows = len(texts.scan.starts)
    lines, start, end = texts.of(Role.BOOT)
    if not len(lines):
        return pa.nulls(rows, pa.int64())
    is_text = texts.scan.octets[start] == _QUOTE
    values = texts.slices(start + is_text, end - is_text, pa.string())
    try:
        numbers = values.cast(pa.int64())
        is_known = numbers.to_numpy() >= 0
    except pa.ArrowInvalid:
        numbers, is_known = pa.nulls(len(lines), pa.int64()), np.zeros(len(lines), np.bool_)
    texts.found.unsettled[lines[~is_known]] = True
    texts.settle(Role.BOOT, lines, is_known)
    return _nullable(rows, lines, numbers)


def _level_column(texts: _Texts, levels: tuple[Levels, ...]) -> pa.Array:
    rows = len(texts.scan.starts)
    lines, start, end = texts.of(Role.LEVEL)
    coded = texts.slices(start, end, pa.binary()).dictionary_encode()
    scales = len(LevelScale)
    code = coded.indices.to_numpy() * scales + texts.found.scale[lines]
    words = coded.dictionary.to_pylist()
    known = np.full(len(words) * scales, -1, np.int16)
    full = np.zeros(len(words) * scales, np.bool_)
    for index in np.flatnonzero(np.bincount(code, minlength=0)).tolist():
        word, scale = words[index // scales], index % scales
        value = None if word[:1] in (b"{", b"[") else _VALUES.decode(word)
        # A true is no 1, though it would be found as one.
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            continue
        level, is_full = levels[scale][value]
        if level is not None:
            known[index], full[index] = level, is_full
    column = np.full(rows, -1, np.int16)
    column[lines] = known[code]
    texts.found.unsettled[lines[column[lines] < 0]] = True
    texts.settle(Role.LEVEL, lines, full[code])
    return pa.array(column, mask=column < 0)


def _text_column(texts: _Texts, role: Role) -> pa.Array:
    scan = texts.scan
    lines, start, end = texts.of(role)
    is_text = scan.octets[start] == _QUOTE
    start, end = start + is_text, end - is_text
    others = np.flatnonzero(~is_text)
    if len(others):
        wrapped = _any_value(scan, start[others], end[others])
        start[others[wrapped]] += len(_ANY_VALUE)
        end[others[wrapped]] -= 2
        is_text[others[wrapped]] = True
        unknown = np.flatnonzero(~is_text)
        texts.found.unsettled[lines[unknown]] = True
        end[unknown] = start[unknown]
    texts.settle(role, lines, is_text)
    values = texts.slices(start, end, pa.string())
    escaped = texts.has_backslash(start, end)
    if escaped.any():
        spans = zip(start[escaped].tolist(), end[escaped].tolist(), strict=True)
        decoded = [_VALUES.decode(b'"%b"' % scan.block[begin:stop]) for begin, stop in spans]
        values = pc.replace_with_mask(values, pa.array(escaped), pa.array(decoded, pa.string()))
    return _nullable(len(scan.starts), lines, values)


def _any_value(scan: Scan, start: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which values are exactly OpenTelemetry's {"stringValue":"..."}, without escapes."""
    words = _words(scan.octets)
    fits = (words[start] == _ANY_VALUE_WORDS[0]) & (words[start + 8] == _ANY_VALUE_WORDS[1])
    quotes = np.searchsorted(scan.quotes, end) - np.searchsorted(scan.quotes, start)
    is_whole = (scan.octets[end - 1] == ord("}")) & (scan.octets[end - 2] == _QUOTE)
    exact: NDArray[np.bool_] = fits & is_whole & (quotes == 4)
    return exact & (end - start >= len(_ANY_VALUE) + 2)


assert PADDING >= _LONGEST_NAME + 8
