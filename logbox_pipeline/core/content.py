"""The content digest of a log's rows in a table, over Arrow record batches. No I/O.

A row is hashed as the set of its non-null (column, value) pairs, and the rows' hashes are added
modulo 2^128. So the digest knows neither the order of rows nor that of columns, a column that was
added later changes nothing, and equal rows do not cancel each other. It is made to find what went
wrong, not to resist someone who looks for collisions: that is what SHA-256 of archived bytes does.

Parquet and Postgres must give the same digest: batches hold storage types (`core.tables`), and JSON
is taken by its value, since jsonb does not keep how it was written.
"""

import functools
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from logbox_pipeline.core.errors import PermanentError
from logbox_pipeline.core.tables import EVENTS

NOT_CONTENT = frozenset(("log_id", "client", "vehicle", "received_on"))
"""Columns that say whose row it is, and where: one side or the other has them."""

_JSON_COLUMNS = {EVENTS: frozenset(("attributes",))}

_CELLS = 32_768
"""Cells mixed at a time: with their scratch they stay in the processor's cache."""

_LONG_BYTES = 1_024
"""Texts above it go through BLAKE2b one by one; below it they are mixed together, word by word."""

_U64 = NDArray[np.uint64]

# Constants of splitmix64 (Steele, Lea, Flood 2014) and of xxHash64's primes: odd and well mixed.
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_WORD = np.uint64(0x9FB21C651E98DF25)
_LANE = np.uint64(0xC2B2AE3D27D4EB4F)
_NULL_ELEMENT = np.uint64(0x165667B19E3779F9)
_LOW = np.uint64(0xFFFFFFFF)
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)

if sys.byteorder != "little":
    raise ImportError("content digests are defined over little-endian words")


@dataclass(frozen=True)
class Content:
    """Rows and their digest: 32 lower-case hex digits."""

    rows: int
    digest: str


class ContentDigest:
    """Adds up one log's rows in one table, batch by batch, in any order."""

    def __init__(self, table_name: str) -> None:
        self._table_name = table_name
        self._rows = 0
        self._sum = 0

    def add(self, batch: pa.RecordBatch) -> None:
        for low, high in _row_hashes(self._table_name, batch):
            self._rows += len(low)
            self._sum += sum(_sums(low, high, np.zeros(1, np.int64)))

    @property
    def content(self) -> Content:
        return _content(self._rows, self._sum)


class ContentByLog:
    """Adds up the rows of many logs in one table; batches have a `log_id` column.

    Cheap where a log's rows stand together, right wherever they stand. Memory: a number per log.
    """

    def __init__(self, table_name: str) -> None:
        self._table_name = table_name
        self._found: dict[bytes, tuple[int, int]] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        log_ids = _sixteen_bytes(batch.column("log_id"))
        done = 0
        for low, high in _row_hashes(self._table_name, batch):
            starts = _starts(log_ids[done : done + len(low)])
            ends = np.append(starts[1:], len(low))
            for start, end, total in zip(
                starts.tolist(), ends.tolist(), _sums(low, high, starts), strict=True
            ):
                log_id = log_ids[done + start].tobytes()
                rows, before = self._found.get(log_id, (0, 0))
                self._found[log_id] = (rows + end - start, before + total)
            done += len(low)

    @property
    def contents(self) -> dict[UUID, Content]:
        return {
            UUID(bytes=log_id): _content(rows, total)
            for log_id, (rows, total) in self._found.items()
        }


def content_of(table_name: str, batches: Iterable[pa.RecordBatch]) -> Content:
    """The content of one log's rows."""
    digest = ContentDigest(table_name)
    for batch in batches:
        digest.add(batch)
    return digest.content


def _content(rows: int, total: int) -> Content:
    return Content(rows, f"{total % (1 << 128):032x}")


# Rows


def _row_hashes(table_name: str, batch: pa.RecordBatch) -> Iterator[tuple[_U64, _U64]]:
    """128 bits of each row as two columns, some rows at a time."""
    is_json = _JSON_COLUMNS.get(table_name, frozenset())
    columns = [
        (_seed(name), _canonical_json(_plain(values)) if name in is_json else _plain(values))
        for name, values in zip(batch.schema.names, batch.columns, strict=True)
        if name not in NOT_CONTENT and values.null_count < len(values)
    ]
    at_once = max(256, _CELLS // max(1, len(columns)))
    seeds = np.array([seed for seed, _ in columns], np.uint64)[:, None]
    cells = np.empty((len(columns), min(at_once, batch.num_rows)), np.uint64)
    scratch = np.empty_like(cells)
    for start in range(0, batch.num_rows, at_once):
        rows = min(at_once, batch.num_rows - start)
        mixed, spare = cells[:, :rows], scratch[:, :rows]
        nulls = []
        for place, (_, values) in enumerate(columns):
            part = values.slice(start, rows)
            mixed[place] = _bits(part)
            if part.null_count:
                nulls.append((place, ~part.is_valid().to_numpy(zero_copy_only=False)))
        mixed ^= seeds
        _mix(mixed, spare)
        for place, is_null in nulls:
            mixed[place, is_null] = 0
        low = mixed.sum(axis=0, dtype=np.uint64)
        # Not a multiple of the first lane: a second look at the same cells.
        np.right_shift(mixed, np.uint64(29), out=spare)
        spare ^= mixed
        spare *= _LANE
        high = spare.sum(axis=0, dtype=np.uint64)
        # A row is more than the sum of its cells: what moves between rows must not cancel out.
        spare = np.empty_like(low)
        high += _GOLDEN
        low ^= np.bitwise_or(high << np.uint64(23), high >> np.uint64(41))
        _mix(low, spare)
        high ^= low
        _mix(high, spare)
        yield low, high


def _sums(low: _U64, high: _U64, starts: NDArray[np.int64]) -> list[int]:
    """Per run of rows, the exact sum of its 128-bit hashes."""
    # In halves, so that no addition of up to 2^32 rows runs over.
    parts = [
        np.add.reduceat(half, starts).tolist()
        for half in (low & _LOW, low >> np.uint64(32), high & _LOW, high >> np.uint64(32))
    ]
    return [a + (b << 32) + (c << 64) + (d << 96) for a, b, c, d in zip(*parts, strict=True)]


def _mix(values: _U64, spare: _U64) -> None:
    """splitmix64's finalizer, in place: every bit depends on every bit, nothing collides."""
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        np.right_shift(values, np.uint64(shift), out=spare)
        values ^= spare
        values *= factor
    np.right_shift(values, np.uint64(31), out=spare)
    values ^= spare


@functools.lru_cache(65_536)
def _seed(column_name: str) -> int:
    return int.from_bytes(hashlib.blake2b(column_name.encode(), digest_size=8).digest(), "little")


def _plain(values: pa.Array) -> pa.Array:
    """Without an extension type: what says json, uuid or numeric is stored as text or bytes."""
    return values.storage if isinstance(values, pa.ExtensionArray) else values


def _sixteen_bytes(log_ids: pa.Array) -> NDArray[np.void]:
    stored = _plain(log_ids)
    return np.frombuffer(stored.buffers()[1], "V16", len(stored), stored.offset * 16)


def _starts(log_ids: NDArray[np.void]) -> NDArray[np.int64]:
    """Where a log's rows begin."""
    words = log_ids.view(np.uint64).reshape(-1, 2)
    is_new = np.ones(len(log_ids), np.bool_)
    is_new[1:] = (words[1:] != words[:-1]).any(axis=1)
    return np.flatnonzero(is_new)


# Values, 64 bits each


_FIXED: dict[int, str] = {
    pa.int16().id: "i2",
    pa.int32().id: "i4",
    pa.int64().id: "i8",
    pa.date32().id: "i4",
    pa.timestamp("us").id: "i8",
    pa.float32().id: "u4",
    pa.float64().id: "u8",
}


def _bits(values: pa.Array) -> NDArray[Any]:
    """A number of at most 64 bits for each value; any for nulls."""
    kind = values.type
    if (fixed := _FIXED.get(kind.id)) is not None:
        size = int(fixed[1])
        found = np.frombuffer(values.buffers()[1], fixed, len(values), values.offset * size)
        return found if fixed[0] == "u" else found.astype(np.int64).view(np.uint64)
    if pa.types.is_boolean(kind):
        told: NDArray[Any] = values.fill_null(False).to_numpy(zero_copy_only=False)
        return told.astype(np.uint64)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return _text_bits(values)
    if pa.types.is_decimal(kind):
        return _text_bits(values.cast(pa.string()))
    if pa.types.is_list(kind):
        return _list_bits(values)
    raise PermanentError(
        f"no content digest for Arrow type {kind}", hint="core/tables.py names the storage types"
    )


def _text_bits(values: pa.Array) -> _U64:
    offsets = np.frombuffer(values.buffers()[1], np.int32, len(values) + 1, values.offset * 4)
    begin = offsets[0]
    start = (offsets[:-1] - begin).astype(np.int64)
    length = np.diff(offsets).astype(np.int64)
    # Seven bytes behind the last, so that its word can be read.
    octets = np.zeros(int(offsets[-1] - begin) + 8, np.uint8)
    if len(octets) > 8:
        octets[:-8] = np.frombuffer(values.buffers()[2], np.uint8, len(octets) - 8, begin)
    if values.null_count:
        length = np.where(values.is_valid().to_numpy(zero_copy_only=False), length, 0)
    words = np.ndarray((len(octets) - 7,), "<u8", octets.data, strides=(1,))
    state = length.astype(np.uint64) * _GOLDEN
    for place in np.flatnonzero(length > _LONG_BYTES).tolist():
        text = octets[start[place] : start[place] + length[place]]
        digest = hashlib.blake2b(text.data, digest_size=8).digest()
        state[place] ^= np.uint64(int.from_bytes(digest, "little"))
    left = np.flatnonzero((length > 0) & (length <= _LONG_BYTES))
    at, size = start[left], length[left]
    while len(left):
        word = words[at] & _MASKS[np.minimum(size, 8)]
        mixed = (state[left] ^ word) * _WORD
        mixed ^= mixed >> np.uint64(32)
        state[left] = mixed
        size = size - 8
        goes_on = size > 0
        if goes_on.all():
            at = at + 8
        else:
            left, at, size = left[goes_on], at[goes_on] + 8, size[goes_on]
    return state


def _list_bits(values: pa.ListArray) -> _U64:
    offsets = np.frombuffer(values.buffers()[1], np.int32, len(values) + 1, values.offset * 4)
    offsets = offsets.astype(np.int64)
    elements = _plain(values.values).slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    start, length = offsets[:-1] - offsets[0], np.diff(offsets)
    state = (length + 1).astype(np.uint64) * _GOLDEN
    if not len(elements):
        return state
    index = np.arange(len(elements), dtype=np.int64) - np.repeat(start, length)
    found = (index + 1).astype(np.uint64) * _LANE
    spare = np.empty_like(found)
    _mix(found, spare)
    found ^= _bits(elements).astype(np.uint64) if elements.null_count < len(elements) else 0
    if elements.null_count:
        is_null = ~elements.is_valid().to_numpy(zero_copy_only=False)
        found[is_null] = (index[is_null] + 1).astype(np.uint64) * _NULL_ELEMENT
    _mix(found, spare)
    before = np.concatenate((np.zeros(1, np.uint64), np.cumsum(found, dtype=np.uint64)))
    total: _U64 = state + before[offsets[1:] - offsets[0]] - before[start]
    return total


# JSON by its value

_WRITTEN_ODDLY = r"[eE][-+]?[0-9]|[0-9]{16}"
"""Numbers that a float64 may not hold as they stand, or that jsonb writes otherwise (and texts that
look like them: those are only slower)."""


def _canonical_json(values: pa.StringArray) -> pa.StringArray:
    """The same JSON for equal values: names sorted, the last of equal names, numbers by value."""
    found = values.dictionary_encode()
    odd = pc.match_substring_regex(found.dictionary, _WRITTEN_ODDLY)
    texts = [
        _canonical(text, _numbers_by_value if is_odd else _plain_numbers)
        for text, is_odd in zip(found.dictionary.to_pylist(), odd.to_pylist(), strict=True)
    ]
    return pa.DictionaryArray.from_arrays(
        found.indices, pa.array(texts, pa.binary())
    ).dictionary_decode()


def _canonical(text: str, decode: Callable[[str], object]) -> bytes:
    try:
        return _encode(decode(text))
    except (ValueError, RecursionError, OverflowError):
        # Nested deeper than any parser yields: it counts as it is written.
        return text.encode()


def _usual(number: str) -> float | int:
    """A number below 10^15 with a fraction as jsonb keeps it, `1.0` or `0.50`."""
    value = float(number)
    return int(value) if value.is_integer() else value


_plain_numbers = msgspec.json.Decoder(float_hook=_usual).decode
_encode = msgspec.json.Encoder(order="sorted").encode


def _numbers_by_value(text: str) -> object:
    return json.loads(text, parse_float=_by_value, parse_int=_by_value)


def _by_value(number: str) -> float | int | str:
    """Whole numbers below 2^63 exactly, all others as the nearest float64."""
    value = float(number)
    if abs(value) < 2**53:
        return int(value) if value.is_integer() else value
    if abs(value) <= 2**63:
        exact = Decimal(number)
        whole = int(exact)
        if exact == whole and abs(whole) < 2**63:
            return whole
    # No JSON number is infinite; a name of its own keeps it apart from null.
    return repr(value) if value in (float("inf"), float("-inf")) else value
