"""SHA-256 of a file, streamed. Python 3.9, standard library only."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

CHUNK_BYTES = 1024 * 1024


class FileDigest(NamedTuple):
    """What a file was when it was read: its digest, and what tells that it has changed since."""

    sha256: str
    size_bytes: int
    modified_ns: int

    @property
    def checksum(self) -> str:
        """The same digest as S3 wants it in `x-amz-checksum-sha256`."""
        return base64.b64encode(bytes.fromhex(self.sha256)).decode()


def digest_file(path: Path) -> FileDigest:
    """Read a file once, front to back."""
    sha256 = hashlib.sha256()
    size_bytes = 0
    with path.open("rb") as source:
        modified_ns = os.fstat(source.fileno()).st_mtime_ns
        while chunk := source.read(CHUNK_BYTES):
            sha256.update(chunk)
            size_bytes += len(chunk)
    return FileDigest(sha256.hexdigest(), size_bytes, modified_ns)


def has_changed(path: Path, since: FileDigest) -> bool:
    """Whether the file is another one, or longer, than when it was read."""
    now = path.stat()
    return (now.st_size, now.st_mtime_ns) != (since.size_bytes, since.modified_ns)
