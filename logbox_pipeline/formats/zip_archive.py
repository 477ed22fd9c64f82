"""Zip archives: which logs they hold, which members are refused and why, and each one's stream.

Own reading instead of `zipfile`: archives with a broken directory give what their members' own
headers still say, members that overlap are refused, and no name ever becomes a path. No files.

Source: PKWARE APPNOTE 6.3.10, sections 4.3 and 4.4.
"""

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from logbox_pipeline.formats.wrappers import (
    CHUNK_BYTES,
    Inflated,
    Lost,
    Refusal,
    StreamItem,
    zstd_stream,
)

STORED, DEFLATED, ZSTD = 0, 8, 93
_METHODS = {
    1: "shrink", 6: "implode", 9: "deflate64", 12: "bzip2", 14: "lzma", 95: "xz", 96: "jpeg",
    97: "wavpack", 98: "ppmd", 99: "AES encryption",
}  # fmt: skip

DIRECTORY = "(directory)"
"""Stands in for the members nobody can name when the archive's directory is broken."""

MAX_NAME_BYTES = 1_000

_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_DESCRIPTOR, _END64, _LOCATOR64 = b"PK\x07\x08", b"PK\x06\x06", b"PK\x06\x07"
_END_BYTES = 22
_LONGEST_COMMENT = 65_535
_FIRST_WINDOW_BYTES = 4_096
_MOST_DESCRIPTORS = 100_000
"""Of a damaged archive, for at most LOGBOX_MAX_MEMBERS members."""

_OF_THE_SYSTEM = re.compile(r"(^|/)(__MACOSX/|\.DS_Store$|Thumbs\.db$|desktop\.ini$)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TYPE, _LINK, _FOLDER, _FILE = 0o170000, 0o120000, 0o040000, 0o100000


@dataclass(frozen=True)
class Member:
    """One member that can be read: its compressed bytes are [start, stop) of the archive.

    size_bytes and crc32 are what the archive declares, None where it does not. `fault`: why the
    member ends early (`wrapper_cut`), found without its directory.
    """

    name: str
    method: int
    start: int
    stop: int
    size_bytes: int | None
    crc32: int | None
    crc32_at: int
    fault: str | None = None


@dataclass(frozen=True)
class RefusedMember:
    name: str
    reason: str
    detail: str


class _Entry(NamedTuple):
    """What a header, central or local, says of a member."""

    name: str
    is_safe: bool
    flags: int
    method: int
    crc32: int
    stored_bytes: int
    size_bytes: int
    header_at: int
    mode: int


def zip_members(source: memoryview, most: int) -> list[Member | RefusedMember]:
    """What a zip archive holds, in its own order, each name once (`a`, `a#2`...).

    Folders and what file managers leave behind (`__MACOSX/`, `.DS_Store`, `Thumbs.db`) are no
    logs and are passed over. An archive of more than `most` members is refused whole.
    """
    entries = _directory(source, most)
    if isinstance(entries, Refusal):
        return [RefusedMember(DIRECTORY, entries.reason, entries.detail)]
    found = None if entries is None else _listed(source, entries)
    if found is None:
        found = _recovered(source, most)
    if len(found) > most + 1:
        return [RefusedMember(DIRECTORY, "too_many", f"more than {most} members")]
    return _with_own_names(found)


def member_stream(source: memoryview, member: Member) -> Iterator[StreamItem]:
    """The bytes of a member: chunks of at most CHUNK_BYTES, then what was lost of them."""
    size_bytes = crc32 = 0
    has_lost = False
    for item in _decoded(source, member):
        if isinstance(item, bytes):
            size_bytes += len(item)
            crc32 = zlib.crc32(item, crc32)
            if member.size_bytes is not None and size_bytes > member.size_bytes:
                yield Refusal("bomb", f"it declares {member.size_bytes} bytes and holds more")
                return
        elif isinstance(item, Lost):
            has_lost = True
        yield item
    if has_lost:
        return
    if member.fault is not None:
        yield Lost(member.stop, member.stop, member.fault)
    elif member.size_bytes not in (None, size_bytes) or member.crc32 not in (None, crc32):
        yield Lost(member.crc32_at, member.crc32_at + 4, "wrapper_checksum")


def _decoded(source: memoryview, member: Member) -> Iterator[StreamItem]:
    data = source[member.start : member.stop]
    if member.method == STORED:
        for start in range(0, len(data), CHUNK_BYTES):
            yield bytes(data[start : start + CHUNK_BYTES])
    elif member.method == DEFLATED:
        inflated = Inflated(data, 0, len(data))
        yield from inflated
        if inflated.fault is not None:
            yield Lost(member.start + inflated.at, member.stop, inflated.fault)
    else:
        for item in zstd_stream(data):
            if isinstance(item, Lost):
                start, stop = member.start + item.start, member.start + item.end
                yield replace(item, start=start, end=stop)
            else:
                yield item


# By the directory


def _directory(source: memoryview, most: int) -> list[_Entry] | Refusal | None:
    """The central directory's entries; None when it is missing or does not hold together."""
    end_at = _find_end(source)
    if end_at is None:
        return None
    disk, _, _, count, size, offset = struct.unpack_from("<4H2L", source, end_at + 4)
    if disk not in (0, 0xFFFF):
        return Refusal("unsupported", f"the last of {disk + 1} volumes; upload the archive whole")
    stop = end_at
    if 0xFFFF in (count, disk) or 0xFFFFFFFF in (size, offset):
        large = _end64(source, end_at)
        if large is not None:
            count, size, offset, stop = large
    start = stop - size
    # What stands before the archive (a stub, a banner) shifts everything that follows.
    shift = start - offset
    if start < 0 or shift < 0:
        return None
    if count > most:
        return Refusal("too_many", f"{count} members; at most {most} are read")
    return _central(source, start, stop, count, shift)


def _find_end(source: memoryview) -> int | None:
    tail_at = max(0, len(source) - _END_BYTES - _LONGEST_COMMENT)
    tail = bytes(source[tail_at:])
    place = tail.rfind(_END)
    while place >= 0:
        if place + _END_BYTES <= len(tail):
            comment_bytes = int.from_bytes(tail[place + 20 : place + 22], "little")
            if place + _END_BYTES + comment_bytes <= len(tail):
                return tail_at + place
        place = tail.rfind(_END, 0, place)
    return None


def _end64(source: memoryview, end_at: int) -> tuple[int, int, int, int] | None:
    """(members, directory's bytes, its offset, where it stops) of a zip64 archive."""
    locator_at = end_at - 20
    if locator_at < 0 or bytes(source[locator_at : locator_at + 4]) != _LOCATOR64:
        return None
    (at,) = struct.unpack_from("<Q", source, locator_at + 8)
    if at + 56 > len(source) or bytes(source[at : at + 4]) != _END64:
        return None
    count, size, offset = struct.unpack_from("<3Q", source, at + 32)
    return count, size, offset, at


def _central(source: memoryview, at: int, stop: int, count: int, shift: int) -> list[_Entry] | None:
    entries: list[_Entry] = []
    while len(entries) <= count and at + 46 <= stop and bytes(source[at : at + 4]) == _CENTRAL:
        made_by, _, flags, method = struct.unpack_from("<4H", source, at + 4)
        crc32, stored, size, name_bytes, extra_bytes, comment_bytes = struct.unpack_from(
            "<3L3H", source, at + 16
        )
        attributes, header_at = struct.unpack_from("<2L", source, at + 38)
        name_at = at + 46
        extra_at = name_at + name_bytes
        if extra_at + extra_bytes > stop:
            return None
        size, stored, header_at = _zip64(
            bytes(source[extra_at : extra_at + extra_bytes]), size, stored, header_at
        )
        name, is_safe = _name(bytes(source[name_at:extra_at]), flags)
        mode = attributes >> 16 if made_by >> 8 in (3, 19) else 0
        entries.append(
            _Entry(name, is_safe, flags, method, crc32, stored, size, header_at + shift, mode)
        )
        at = extra_at + extra_bytes + comment_bytes
    return entries if at == stop and len(entries) == count else None


def _zip64(extra: bytes, *values: int) -> tuple[int, ...]:
    """The values, those that did not fit taken from the zip64 extra field (section 4.5.3)."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            large = list(
                struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4)
            )
            return tuple(
                large.pop(0) if value == 0xFFFFFFFF and large else value for value in values
            )
        at += 4 + length
    return values


def _listed(source: memoryview, entries: Sequence[_Entry]) -> list[Member | RefusedMember] | None:
    """None when a member is not where the directory says."""
    places = [_data_at(source, entry) for entry in entries]
    overlapping = _overlapping(entries, places)
    found: list[Member | RefusedMember] = []
    for number, (entry, start) in enumerate(zip(entries, places, strict=True)):
        if _is_passed_over(entry):
            continue
        refusal = _refusal(entry)
        if refusal is None and number in overlapping:
            refusal = Refusal("bomb", "its bytes are also those of another member")
        if refusal is not None:
            found.append(RefusedMember(entry.name, refusal.reason, refusal.detail))
            continue
        if start is None:
            return None
        stop = min(start + entry.stored_bytes, len(source))
        crc32_at = entry.header_at + 14
        found.append(
            Member(entry.name, entry.method, start, stop, entry.size_bytes, entry.crc32, crc32_at)
        )
    return found


def _data_at(source: memoryview, entry: _Entry) -> int | None:
    """Where a member's data begins, by its local header; None when there is no header."""
    at = entry.header_at
    if at + 30 > len(source) or bytes(source[at : at + 4]) != _LOCAL:
        return None
    name_bytes, extra_bytes = struct.unpack_from("<2H", source, at + 26)
    start = at + 30 + int(name_bytes) + int(extra_bytes)
    return start if start + entry.stored_bytes <= len(source) else None


def _overlapping(entries: Sequence[_Entry], places: Sequence[int | None]) -> set[int]:
    """Members that share bytes with one that begins after them: how a small archive holds much."""
    spans = sorted(
        (entry.header_at, start + entry.stored_bytes, number)
        for number, (entry, start) in enumerate(zip(entries, places, strict=True))
        if start is not None
    )
    return {number for (_, stop, number), (next_at, _, _) in pairwise(spans) if stop > next_at}


def _is_passed_over(entry: _Entry) -> bool:
    is_folder = entry.name.endswith("/") or entry.mode & _TYPE == _FOLDER
    return entry.is_safe and (
        (is_folder and entry.size_bytes == 0) or _OF_THE_SYSTEM.search(entry.name) is not None
    )


def _refusal(entry: _Entry) -> Refusal | None:
    if not entry.is_safe:
        return Refusal(
            "unsafe_name",
            "its name is empty, absolute, leads out of the archive, has control characters or "
            f"is longer than {MAX_NAME_BYTES} bytes",
        )
    if entry.mode & _TYPE == _LINK:
        return Refusal("not_a_file", "a symbolic link")
    if entry.mode & _TYPE not in (0, _FILE):
        return Refusal("not_a_file", "a device, pipe or socket")
    if entry.flags & 0x2041 or entry.method == 99:
        return Refusal("encrypted", "it needs a password; archive it without one")
    if entry.method not in (STORED, DEFLATED, ZSTD):
        method = _METHODS.get(entry.method, "unknown")
        return Refusal(
            "unsupported",
            f"compression method {entry.method} ({method}); stored, deflate and zstd are read",
        )
    if entry.size_bytes == 0:
        return Refusal("empty", "the member has no bytes")
    return None


# By the members' own headers


def _recovered(source: memoryview, most: int) -> list[Member | RefusedMember]:
    found: list[Member | RefusedMember] = []
    descriptors: dict[int, int] | None = None
    at = _find(source, _LOCAL, 0)
    while at is not None and at + 30 <= len(source) and len(found) <= most:
        _, flags, method = struct.unpack_from("<3H", source, at + 4)
        crc32, stored, size, name_bytes, extra_bytes = struct.unpack_from("<3L2H", source, at + 14)
        name_at = at + 30
        extra_at = name_at + name_bytes
        start = extra_at + extra_bytes
        if start > len(source):
            break
        size, stored = _zip64(bytes(source[extra_at:start]), size, stored)
        name, is_safe = _name(bytes(source[name_at:extra_at]), flags)
        entry = _Entry(name, is_safe, flags, method, crc32, stored, size, at, 0)
        if flags & 8 and stored == 0:
            if descriptors is None:
                descriptors = _descriptors(source, start)
            member, is_empty = _described(source, entry, start, descriptors.get(start)), False
        else:
            stop = min(start + stored, len(source))
            fault = "wrapper_cut" if start + stored > len(source) else None
            member = _up_to_the_next(
                source, Member(name, method, start, stop, size, crc32, at + 14, fault)
            )
            is_empty = size == 0
        refusal = _refusal(entry if is_empty else entry._replace(size_bytes=1))
        if refusal is not None and not _is_passed_over(entry):
            found.append(RefusedMember(name, refusal.reason, refusal.detail))
        elif not _is_passed_over(entry):
            found.append(member)
        at = _find(source, _LOCAL, member.stop)
    if found:
        found.append(
            RefusedMember(
                DIRECTORY,
                "broken_archive",
                "the archive's directory is missing or damaged; its members were found by their "
                "own headers, and there may have been more",
            )
        )
    return found


def _up_to_the_next(source: memoryview, member: Member) -> Member:
    """The member, ended where the next one begins when bytes of it are missing."""
    if member.stop == len(source) or bytes(source[member.stop : member.stop + 2]) == _LOCAL[:2]:
        return member
    next_at = _find(source, _LOCAL, member.start)
    if next_at is None or next_at > member.stop:
        return member
    return replace(member, stop=next_at, fault="wrapper_cut")


def _descriptors(source: memoryview, at: int | None) -> dict[int, int]:
    """Where the data that each descriptor from `at` on tells of would begin -> the first such
    descriptor. In one pass: a file full of members and descriptors would take one for each."""
    found: dict[int, int] = {}
    at = _find(source, _DESCRIPTOR, at or 0)
    while at is not None and at + 16 <= len(source) and len(found) < _MOST_DESCRIPTORS:
        (stored,) = struct.unpack_from("<L", source, at + 8)
        found.setdefault(at - stored, at)
        at = _find(source, _DESCRIPTOR, at + 4)
    return found


def _described(source: memoryview, entry: _Entry, start: int, at: int | None) -> Member:
    """A member whose sizes stand behind its data, in the descriptor at `at` if there is one: it
    proves itself by its size."""
    name, method = entry.name, entry.method
    if at is not None:
        crc32, _, size = struct.unpack_from("<3L", source, at + 4)
        return Member(name, method, start, at, size, crc32, at + 4)
    # Without one a deflate stream still ends by itself; what is stored ends at the next header.
    stop = _find(source, _LOCAL, start) if method == STORED else None
    fault = "wrapper_cut" if method == STORED else None
    return Member(
        name, method, start, len(source) if stop is None else stop, None, None, start, fault
    )


def _find(source: memoryview, needle: bytes, at: int) -> int | None:
    # What is near is found without copying what is far: there may be one every few bytes.
    window = _FIRST_WINDOW_BYTES
    while at < len(source):
        place = bytes(source[at : at + window + len(needle) - 1]).find(needle)
        if place >= 0:
            return at + place
        at += window
        window = min(2 * window, CHUNK_BYTES)
    return None


# Names


def _name(raw: bytes, flags: int) -> tuple[str, bool]:
    """(the name, printable and with `/` between its parts, whether it is safe to use).

    Windows archivers write backslashes; read as `/` they hide nothing from the checks.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("utf-8" if flags & 0x800 else "cp437", "replace")
    text = text.replace("\\", "/")
    is_safe = (
        0 < len(text.encode()) <= MAX_NAME_BYTES
        and not text.startswith("/")
        and re.match(r"[A-Za-z]:", text) is None
        and ".." not in text.split("/")
        and _CONTROL.search(text) is None
    )
    shown = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    return (shown if is_safe else _cut(shown)), is_safe


def _cut(name: str) -> str:
    return name.encode()[:MAX_NAME_BYTES].decode("utf-8", "ignore") or "(no name)"


def _with_own_names(found: Sequence[Member | RefusedMember]) -> list[Member | RefusedMember]:
    taken: set[str] = set()
    result = []
    for one in found:
        name, number = one.name, 1
        while name in taken:
            number += 1
            name = f"{one.name}#{number}"
        taken.add(name)
        result.append(replace(one, name=name))
    return result
