"""The body of a request: a window of a file, counted and slowed down while it is sent."""

from __future__ import annotations

from typing import Any, BinaryIO, Callable

from logbox_pipeline.drone.rate import Rate


class Body:
    """`size_bytes` of a file from `start` on; never more than a chunk of it is in memory.

    botocore reads it to sign it and urllib3 to send it: only the second counts.
    """

    def __init__(
        self,
        source: BinaryIO,
        start: int,
        size_bytes: int,
        on_sent: Callable[[int], None],
        rate: Rate | None = None,
    ) -> None:
        self._source = source
        self._start = start
        self._size_bytes = size_bytes
        self._on_sent = on_sent
        self._rate = rate
        self._at = 0
        self.is_sent = False

    def rewind(self) -> None:
        self.is_sent = False
        self.seek(0)

    def read(self, size: int = -1) -> bytes:
        left = self._size_bytes - self._at
        size = left if size is None or size < 0 else min(size, left)
        if self.is_sent and self._rate is not None:
            size = min(size, self._rate.slice_bytes)
        # Each time anew: the file's own position is everybody's.
        self._source.seek(self._start + self._at)
        chunk = self._source.read(size)
        self._at += len(chunk)
        if self.is_sent and chunk:
            if self._rate is not None:
                self._rate.take(len(chunk))
            self._on_sent(self._start + self._at)
        return chunk

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._at, self._size_bytes)[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at


def begin_to_count(request: Any, **_: Any) -> None:
    """botocore's `before-send`: what is read from now on goes out."""
    if isinstance(request.body, Body):
        request.body.is_sent = True
