"""Bytes of a text log to clean lines, block by block; what is no text becomes Damage.

Decided here once for every format of lines: line ends (LF, CRLF, the lone CR of old Macs), byte
order marks, UTF-16, colours (ANSI escapes are removed: the original keeps them), bytes that are
not UTF-8 (replaced and flagged), runs of NUL and 0xFF (what a power cut leaves), binary garbage,
lines that are too long. No times, no fields.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from logbox_pipeline.formats.stream import Damage, Limits
from logbox_pipeline.formats.text import REPLACEMENT, excerpt

BLOCK_BYTES = 256 * 1024

_RUN = re.compile(rb"\0{8,}|\xff{8,}")
_RUN_AT_START = re.compile(rb"\0++|\xff++")
_ANSI = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[@-Z\\-_])?")
"""CSI, OSC and two-byte escapes of ECMA-48; a lone escape too."""

_ENDS = re.compile(rb"\r+\n")
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\x07\x08\x0b\x0c\x1b")) + b"\x7f"
_SHORTEST_GARBAGE = 8
_PRINTABLE = bytes(range(32, 127)) + b"\t\n\r"
_LEAST_PRINTABLE = 10
"""One of so many bytes is ASCII in text of any encoding: spaces, digits, ends of lines."""


@dataclass(frozen=True)
class Block:
    """Whole lines of a log, each ending in one newline; no NUL, no colours.

    start, end: the bytes of the source they come from. first_line: 1-based. lines: how many.
    not_utf8: indexes of the lines in which something was replaced. names: who wrote each line,
    where the lines say so (`text_prefixes`).
    """

    text: str
    start: int
    end: int
    first_line: int
    lines: int
    not_utf8: frozenset[int] = frozenset()
    names: tuple[str, ...] = ()


def blocks(source: memoryview, limits: Limits) -> Iterator[Block | Damage]:
    """All of `source`: each byte is in a Block or in a Damage, in the order of the file."""
    encoding = _utf16(bytes(source[:1024]))
    pieces = _wide_blocks(source, limits, encoding) if encoding else _blocks(source, limits)
    held: Damage | None = None
    for piece in pieces:
        if isinstance(piece, Damage):
            if held is not None and held.end == piece.start and held.reason == piece.reason:
                held = Damage(held.start, piece.end, held.reason, held.line, held.excerpt)
                continue
            if held is not None:
                yield held
            held = piece
            continue
        if held is not None:
            yield held
            held = None
        yield piece
    if held is not None:
        yield held


def sample_lines(head: memoryview, size: int, most: int = 1_000) -> list[str] | None:
    """The first lines of a log of `size` bytes, to judge it by; None when it is no text.

    No text: controls throughout, or hardly a printable letter and not UTF-8.
    """
    data = bytes(head)
    parted = data if _utf16(data) else _RUN.sub(b"\n", data)
    if not parted.strip(b"\0\xff\n\r\t "):
        return None
    encoding = _utf16(data)
    if encoding:
        text = data.decode(encoding, "replace")
        lines = [line.rstrip("\r").replace("\0", REPLACEMENT) for line in text.split("\n")]
    else:
        letters = len(parted) - len(parted.translate(None, _PRINTABLE))
        if letters * _LEAST_PRINTABLE < len(parted) and not _is_utf8(parted):
            return None
        controls = len(parted) - len(parted.translate(None, _CONTROL))
        if controls * 50 > len(parted):
            return None
        newline = b"\n" if b"\n" in parted or b"\r" not in parted else b"\r"
        lines = [
            _clean(line.rstrip(b"\r"))[0]
            for line in parted.removeprefix(codecs.BOM_UTF8).split(newline, most + 1)
        ]
    if len(head) < size and len(lines) > 1:
        lines.pop()  # cut by the end of the head
    return [line for line in lines if line.strip()][:most]


def _is_utf8(head: bytes) -> bool:
    """Up to a letter that the end of the head cuts."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _utf16(head: bytes) -> str | None:
    """UTF-16 by its mark, or because every other byte of the beginning is NUL."""
    if head.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if head.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    if len(head) >= 32:
        octets = np.frombuffer(head[: len(head) // 2 * 2], np.uint8)
        even, odd = np.count_nonzero(octets[::2] == 0), np.count_nonzero(octets[1::2] == 0)
        half = len(octets) // 2
        if odd > 0.8 * half and even < 0.05 * half:
            return "utf-16-le"
        if even > 0.8 * half and odd < 0.05 * half:
            return "utf-16-be"
    return None


def _wide_blocks(source: memoryview, limits: Limits, encoding: str) -> Iterator[Block | Damage]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    pos = begin = 0
    line = 1
    rest = ""
    while pos < len(source):
        piece = bytes(source[pos : pos + BLOCK_BYTES])
        pos += len(piece)
        is_last = pos >= len(source)
        rest += decoder.decode(piece, is_last)
        if len(rest) * 2 > limits.record_bytes and "\n" not in rest:
            yield Damage(begin, pos, "too_long", line=line)
            rest, begin = "", pos
            continue
        whole = len(rest) if is_last else rest.rfind("\n") + 1
        if not whole:
            continue
        text, rest = rest[:whole], rest[whole:]
        end = pos - len(rest) * 2 if not is_last else pos
        text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\0", REPLACEMENT)
        if not text.endswith("\n"):
            text += "\n"
        yield Block(text, begin, max(end, begin), line, text.count("\n"))
        line += text.count("\n")
        begin = max(end, begin)


def _blocks(source: memoryview, limits: Limits) -> Iterator[Block | Damage]:
    size = len(source)
    pos = len(codecs.BOM_UTF8) if bytes(source[:3]) == codecs.BOM_UTF8 else 0
    head = bytes(source[:BLOCK_BYTES])
    newline = b"\n" if b"\n" in head or b"\r" not in head else b"\r"
    line = 1
    is_in_run = False
    while pos < size:
        block = bytes(source[pos : pos + BLOCK_BYTES])
        run = _RUN_AT_START.match(block)
        if run is not None and (run.end() >= 8 or is_in_run):
            is_in_run = run.end() == len(block)
            yield _run_damage(pos, pos + run.end(), run[0], line)
            pos += run.end()
            continue
        is_in_run = False
        if pos + len(block) < size:
            whole = block.rfind(newline) + 1
            if whole:
                block = block[:whole]
            else:
                run = _RUN.search(block)
                end = pos + run.start() if run else _line_end(source, pos + len(block), newline)
                if end - pos > limits.record_bytes:
                    shown = excerpt(block[:800])
                    yield Damage(pos, end, "too_long", line=line, excerpt=shown)
                    pos = end
                    line += 1
                    continue
                block = bytes(source[pos:end])
        end = pos + len(block)
        if newline == b"\r":
            block = block.replace(b"\r", b"\n")
        if not block.endswith(b"\n"):
            block += b"\n"
        count = block.count(b"\n")
        if len(block) > limits.record_bytes and len(max(block.split(b"\n"), key=len)) > (
            limits.record_bytes
        ):
            yield from _careful_block(block, pos, end, line, limits)
        elif _is_clean(block):
            yield Block(block.decode(), pos, end, line, count)
        else:
            yield from _careful_block(block, pos, end, line, limits)
        line += count
        pos = end


def _line_end(source: memoryview, pos: int, newline: bytes) -> int:
    """Behind the next newline from `pos` on, or where a run of NUL or 0xFF begins."""
    while pos < len(source):
        window = bytes(source[pos : pos + BLOCK_BYTES])
        found = window.find(newline)
        run = _RUN.search(window, 0, found if found >= 0 else len(window))
        if run is not None:
            return pos + run.start()
        if found >= 0:
            return pos + found + 1
        pos += len(window)
    return pos


def _is_clean(block: bytes) -> bool:
    """UTF-8 with no control but newline and tab."""
    octets = np.frombuffer(block, np.uint8)
    if np.count_nonzero(octets < 32) != block.count(b"\n") + block.count(b"\t"):
        return False
    if block.isascii():
        return b"\x7f" not in block
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True


def _careful_block(
    block: bytes, start: int, end: int, first_line: int, limits: Limits
) -> Iterator[Block | Damage]:
    """The same block line by line, where anything in it needs care."""
    clean = _ENDS.sub(b"\n", _ANSI.sub(b"", block)) if b"\0" not in block else block
    if clean is not block and _is_clean(clean) and len(block) <= limits.record_bytes:
        yield Block(clean.decode(), start, end, first_line, clean.count(b"\n"))
        return
    texts: list[str] = []
    flagged: set[int] = set()
    first, begin, pos = first_line, start, start
    for number, line in enumerate(block[:-1].split(b"\n"), first_line):
        line_end = min(pos + len(line) + 1, end)
        for piece_start, piece_end, reason in _pieces(line, pos, line_end, limits):
            raw = line[piece_start - pos : piece_end - pos]
            if reason is None:
                text, is_utf8 = _clean(raw.rstrip(b"\r"))
                if not is_utf8:
                    flagged.add(len(texts))
                texts.append(text)
                continue
            if texts:
                yield _block_of(texts, flagged, begin, piece_start, first)
                texts, flagged = [], set()
            shown = None if reason in ("zeroed", "padding") else excerpt(raw[:800])
            yield Damage(piece_start, piece_end, reason, line=number, excerpt=shown)
            first, begin = number + 1, piece_end
        pos = line_end
    if texts:
        yield _block_of(texts, flagged, begin, end, first)


def _block_of(texts: list[str], flagged: set[int], start: int, end: int, first_line: int) -> Block:
    return Block("\n".join(texts) + "\n", start, end, first_line, len(texts), frozenset(flagged))


def _pieces(
    line: bytes, pos: int, line_end: int, limits: Limits
) -> Iterator[tuple[int, int, str | None]]:
    """The parts of a line: [start, end) and why it is lost, None for text. Runs part lines."""
    begin = 0
    for run in _RUN.finditer(line):
        if run.start() > begin:
            yield pos + begin, pos + run.start(), _reason(line[begin : run.start()], limits)
        is_at_end = run.end() == len(line)
        end = line_end if is_at_end else pos + run.end()
        yield pos + run.start(), end, "zeroed" if run[0][0] == 0 else "padding"
        begin = run.end()
    if begin < len(line) or not line:
        yield pos + begin, line_end, _reason(line[begin:], limits)


def _reason(raw: bytes, limits: Limits) -> str | None:
    if len(raw) > limits.record_bytes:
        return "too_long"
    return "bad_line" if _is_garbage(raw) else None


def _is_garbage(raw: bytes) -> bool:
    """Bytes that no program wrote as text: controls all over, and more that is not UTF-8.

    High bytes alone are no garbage: other encodings (Latin-1, KOI8, Shift JIS) have only those.
    """
    if len(raw) < _SHORTEST_GARBAGE:
        return False
    controls = len(raw) - len(raw.translate(None, _CONTROL))
    if controls * 20 < len(raw) or controls < 2:
        return False
    bad = raw.decode("utf-8", "replace").count(REPLACEMENT)
    return (controls + bad) * 10 >= 3 * len(raw)


def _clean(raw: bytes) -> tuple[str, bool]:
    """A line's text, and whether it was UTF-8."""
    if b"\x1b" in raw:
        raw = _ANSI.sub(b"", raw)
    try:
        text, is_utf8 = raw.decode(), True
    except UnicodeDecodeError:
        text, is_utf8 = raw.decode("utf-8", "replace"), False
    return text.replace("\0", REPLACEMENT), is_utf8


def _run_damage(start: int, end: int, run: bytes, line: int) -> Damage:
    return Damage(start, end, "zeroed" if run[0] == 0 else "padding", line=line)
