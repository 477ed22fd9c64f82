"""Wrappers around logs, told by their first bytes: gzip and zstd read here as streams of bounded
chunks; zip in `zip_archive`. No files, no limits on size: whoever writes the chunks counts them.

What cannot be read of a wrapper is an item of its stream, never an exception: `Lost` says which of
the wrapper's own bytes gave nothing, `Refusal` that it cannot be read at all here.

Sources: RFC 1952 (gzip), RFC 1951 (deflate), RFC 8878 (zstd), PKWARE APPNOTE 6.3.10 (zip).
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import zstandard

_GZIP = b"\x1f\x8b\x08"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"
"""Last three of the four bytes of a skippable frame's magic number; the first is 0x50 to 0x5f."""

_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x07\x08", b"PK00")
"""A member, an empty archive (zip64 too), and the markers of the first of several volumes."""

HEAD_BYTES = 18
"""How much of a file `looks_wrapped` wants to see."""

_INPUT_BYTES = 64 * 1024
CHUNK_BYTES = 1024 * 1024
"""Most bytes of one chunk of a stream."""

MAX_WINDOW_BYTES = 128 * 1024 * 1024
"""Largest zstd window that is allocated: what `zstd --ultra -22` and `zstd --long` use."""

_LONGEST_HEADER_TEXT = 64 * 1024
_ZSTD_BLOCK_BYTES = 128 * 1024


class Wrapper(StrEnum):
    GZIP = "gzip"
    ZSTD = "zstd"
    ZIP = "zip"


@dataclass(frozen=True)
class Lost:
    """Bytes [start, end) of the wrapper that gave nothing, or did not prove what they should; empty
    where it ends too early and every byte that is there was of use.

    reason: `wrapper_cut`, `wrapper_corrupt`, `wrapper_checksum` (all was read, and something in it
    is wrong) or `wrapper_garbage` (bytes after the end).
    """

    start: int
    end: int
    reason: str


@dataclass(frozen=True)
class Refusal:
    """What cannot be read, in one word and for a person."""

    reason: str
    detail: str


StreamItem = bytes | Lost | Refusal


def looks_wrapped(head: bytes) -> bool:
    """Whether the first HEAD_BYTES may begin a wrapper: cheap, and never False for one."""
    return _wrapper_at(head) is not None or _is_skippable(head)


def wrapper_of(source: memoryview) -> Wrapper | None:
    """The wrapper these bytes are, None when they are none."""
    at = 0
    # Skippable frames belong to LZ4 too: the first other frame tells.
    while _is_skippable(bytes(source[at : at + 4])):
        at += 8 + int.from_bytes(source[at + 4 : at + 8], "little")
    found = _wrapper_at(bytes(source[at : at + HEAD_BYTES]))
    return found if at == 0 or found is Wrapper.ZSTD else None


def unwrapped(source: memoryview, wrapper: Wrapper) -> Iterator[StreamItem]:
    """The stream inside a gzip or zstd wrapper: chunks of at most CHUNK_BYTES, then what was lost.

    Several gzip members or zstd frames, one after the other, are one stream.
    """
    return _gzip(source) if wrapper is Wrapper.GZIP else zstd_stream(source)


def _wrapper_at(head: bytes) -> Wrapper | None:
    # Reserved flags must be zero (RFC 1952 section 2.3.1.2): text never begins so.
    if head[:3] == _GZIP and len(head) > 3 and head[3] & 0xE0 == 0:
        return Wrapper.GZIP
    if head[:4] == _ZSTD:
        return Wrapper.ZSTD
    return Wrapper.ZIP if head[:4] in _ZIP else None


def _is_skippable(head: bytes) -> bool:
    return head[1:4] == _SKIPPABLE and head[0] & 0xF0 == 0x50


# gzip


def _gzip(source: memoryview) -> Iterator[StreamItem]:
    at = 0
    while at < len(source):
        start = _gzip_data(source, at)
        if start is None:
            if at == 0 or not _is_zero(source, at):
                is_cut = _GZIP.startswith(bytes(source[at : at + 3]))
                yield Lost(at, len(source), "wrapper_cut" if is_cut else "wrapper_garbage")
            return
        inflated = Inflated(source, start, len(source))
        yield from inflated
        if inflated.fault is not None:
            yield Lost(inflated.at, len(source), inflated.fault)
            return
        trailer = bytes(source[inflated.at : inflated.at + 8])
        if len(trailer) < 8:
            yield Lost(inflated.at, len(source), "wrapper_cut")
            return
        expected = inflated.crc32.to_bytes(4, "little") + (inflated.size_bytes % 2**32).to_bytes(
            4, "little"
        )
        if trailer != expected:
            yield Lost(inflated.at, inflated.at + 8, "wrapper_checksum")
        at = inflated.at + 8


def _gzip_data(source: memoryview, at: int) -> int | None:
    """Where the deflate stream of the member at `at` begins; None without a whole header."""
    head = bytes(source[at : at + 10])
    if len(head) < 10 or _wrapper_at(head) is not Wrapper.GZIP:
        return None
    flags, at = head[3], at + 10
    if flags & 4:
        at += 2 + int.from_bytes(source[at : at + 2], "little")
    for flag in (8, 16):
        if flags & flag:
            length = bytes(source[at : at + _LONGEST_HEADER_TEXT]).find(0)
            if length < 0:
                return None
            at += length + 1
    if flags & 2:
        at += 2
    return at if at < len(source) else None


def _is_zero(source: memoryview, at: int) -> bool:
    """Whether only zeros follow, as after a gzip file on tape or in a preallocated file."""
    step = CHUNK_BYTES
    return not any(any(source[start : start + step]) for start in range(at, len(source), step))


class Inflated:
    """The chunks of one raw deflate stream in source[start:stop]; read it to its end, once.

    Then `at` is where the stream ends or broke off and `fault` says how it broke off, if it did.
    """

    def __init__(self, source: memoryview, start: int, stop: int) -> None:
        self.at = start
        self.fault: str | None = None
        self.size_bytes = 0
        self.crc32 = 0
        self._source = source
        self._stop = stop

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks():
            self.size_bytes += len(chunk)
            self.crc32 = zlib.crc32(chunk, self.crc32)
            yield chunk

    def _chunks(self) -> Iterator[bytes]:
        decoder = zlib.decompressobj(-zlib.MAX_WBITS)
        while not decoder.eof:
            piece = bytes(self._source[self.at : min(self.at + _INPUT_BYTES, self._stop)])
            if not piece:
                self.fault = "wrapper_cut"
                if rest := decoder.flush():
                    yield rest
                return
            pending = piece
            while pending and not decoder.eof:
                before = decoder.copy()
                try:
                    chunk = decoder.decompress(pending, CHUNK_BYTES)
                except zlib.error:
                    self.fault = "wrapper_corrupt"
                    self.at += len(piece) - len(pending)
                    yield from self._until_error(before, pending)
                    return
                pending = decoder.unconsumed_tail
                if chunk:
                    yield chunk
            self.at += len(piece) - len(decoder.unused_data)

    def _until_error(self, decoder: "zlib._Decompress", pending: bytes) -> Iterator[bytes]:
        """What the bytes before the bad one still give: zlib keeps it back when it fails."""
        for number in range(len(pending)):
            try:
                chunk = decoder.decompress(pending[number : number + 1])
            except zlib.error:
                self.at += number
                return
            if chunk:
                yield chunk


# zstd


@dataclass(frozen=True)
class _Frame:
    """One zstd frame's header (RFC 8878 section 3.1.1.1)."""

    blocks_at: int
    window_bytes: int
    dictionary: int
    has_checksum: bool


def zstd_stream(source: memoryview) -> Iterator[StreamItem]:
    """The stream inside zstd frames, block by block: what a block gives is bounded, whatever it is
    made of, and what is whole before a bad one comes out."""
    decoder = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    at = 0
    while at < len(source):
        head = bytes(source[at : at + 8])
        if _is_skippable(head) and len(head) == 8:
            at += 8 + int.from_bytes(head[4:], "little")
            if at > len(source):
                yield Lost(len(source) - 1, len(source), "wrapper_cut")
            continue
        frame = _zstd_frame(source, at)
        if isinstance(frame, Refusal):
            yield frame
            return
        if frame is None:
            is_cut = head[:4] == _ZSTD or _ZSTD.startswith(head[:4])
            if at == 0 or not _is_zero(source, at):
                yield Lost(at, len(source), "wrapper_cut" if is_cut else "wrapper_garbage")
            return
        blocks = _Blocks(source, at, frame, decoder)
        yield from blocks
        if blocks.fault is not None:
            yield Lost(blocks.at, len(source), blocks.fault)
            return
        if blocks.has_wrong_checksum:
            yield Lost(blocks.at - 4, blocks.at, "wrapper_checksum")
        at = blocks.at


def _zstd_frame(source: memoryview, at: int) -> _Frame | Refusal | None:
    """None: no zstd frame, or one cut in its header."""
    head = bytes(source[at : at + 18])
    if head[:4] != _ZSTD or len(head) < 6:
        return None
    flags = head[4]
    is_single_segment = bool(flags & 0x20)
    place = 5
    window_bytes = 0
    if not is_single_segment:
        exponent, mantissa = head[5] >> 3, head[5] & 7
        window_bytes = (1 << (10 + exponent)) // 8 * (8 + mantissa)
        place += 1
    dictionary_bytes = (0, 1, 2, 4)[flags & 3]
    dictionary = int.from_bytes(head[place : place + dictionary_bytes], "little")
    place += dictionary_bytes
    size_field = (int(is_single_segment), 2, 4, 8)[flags >> 6]
    if len(head) < place + size_field:
        return None
    if is_single_segment:
        size_bytes = int.from_bytes(head[place : place + size_field], "little")
        window_bytes = size_bytes + (256 if size_field == 2 else 0)
    if window_bytes > MAX_WINDOW_BYTES:
        return Refusal(
            "unsupported",
            f"zstd with a window of {window_bytes} bytes; up to {MAX_WINDOW_BYTES} are read "
            "(compress it with --long=27 or less)",
        )
    if dictionary:
        return Refusal("unsupported", f"zstd that needs dictionary {dictionary} to be read")
    return _Frame(at + place + size_field, window_bytes, dictionary, bool(flags & 4))


class _Blocks:
    """The chunks of one frame; read to the end, `at` is behind it or where it broke off."""

    def __init__(
        self, source: memoryview, at: int, frame: _Frame, decoder: zstandard.ZstdDecompressor
    ) -> None:
        self.at = at
        self.fault: str | None = None
        self.has_wrong_checksum = False
        self._source = source
        self._frame = frame
        self._decoder = decoder

    def __iter__(self) -> Iterator[bytes]:
        decoder = self._decoder.decompressobj()
        source, block_at, is_last = self._source, self._frame.blocks_at, False
        while not is_last:
            header = int.from_bytes(source[block_at : block_at + 3], "little")
            is_last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
            stop = block_at + 3 + (1 if kind == 1 else size)
            if stop > len(source) or block_at + 3 > len(source):
                self.fault = "wrapper_cut"
                return
            if kind == 3 or size > _ZSTD_BLOCK_BYTES:
                self.fault = "wrapper_corrupt"
                return
            try:
                chunk = decoder.decompress(source[self.at : stop])
            except zstandard.ZstdError:
                self.fault = "wrapper_corrupt"
                return
            self.at = block_at = stop
            if chunk:
                yield chunk
        if self._frame.has_checksum:
            if self.at + 4 > len(source):
                self.fault = "wrapper_cut"
                return
            try:
                decoder.decompress(source[self.at : self.at + 4])
            except zstandard.ZstdError:
                self.has_wrong_checksum = True
            self.at += 4
