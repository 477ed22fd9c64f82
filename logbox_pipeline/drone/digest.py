"""SHA-256 of a file, streamed. Python 3.9, standard library only."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

CHUNK_BYTES = 1024 * 1024


class FileDigest(NamedTuple):
    """What a file was when it was read: its digest, and what tells that it has changed since.

    `parts`: the digests (32 bytes each) of its parts of `part_bytes`, from the same reading;
    empty when not asked for.
    """

    sha256: str
    size_bytes: int
    modified_ns: int
    part_bytes: int = 0
    parts: tuple[bytes, ...] = ()

    @property
    def checksum(self) -> str:
        """The same digest as S3 wants it in `x-amz-checksum-sha256`."""
        return base64.b64encode(bytes.fromhex(self.sha256)).decode()

    def part_size(self, number: int) -> int:
        """Bytes of a part, counted from 1."""
        return min(self.part_bytes, self.size_bytes - (number - 1) * self.part_bytes)


def digest_file(path: Path, part_bytes: int = 0) -> FileDigest:
    """Read a file once, front to back; `part_bytes` not 0: its parts' digests, too."""
    sha256 = hashlib.sha256()
    size_bytes = 0
    parts: list[bytes] = []
    with path.open("rb") as source:
        modified_ns = os.fstat(source.fileno()).st_mtime_ns
        while True:
            part = hashlib.sha256()
            before = size_bytes
            for chunk in _chunks(source, part_bytes):
                sha256.update(chunk)
                size_bytes += len(chunk)
                if part_bytes:
                    part.update(chunk)
            if not part_bytes or size_bytes == before:
                break
            parts.append(part.digest())
    return FileDigest(sha256.hexdigest(), size_bytes, modified_ns, part_bytes, tuple(parts))


def has_changed(path: Path, since: FileDigest) -> bool:
    """Whether the file is another one, or longer, than when it was read."""
    now = path.stat()
    return (now.st_size, now.st_mtime_ns) != (since.size_bytes, since.modified_ns)


def _chunks(source: BinaryIO, limit_bytes: int) -> Iterator[bytes]:
    """What follows in a file, up to `limit_bytes`; 0: to its end."""
    left = limit_bytes
    while not limit_bytes or left:
        chunk = source.read(min(CHUNK_BYTES, left) if limit_bytes else CHUNK_BYTES)
        if not chunk:
            return
        left -= len(chunk)
        yield chunk
