"""A cap on bytes per second: a token bucket. Standard library only."""

from __future__ import annotations

import time
from typing import Callable

_SLICES_PER_S = 4


class Rate:
    """Lets `bytes_per_s` through; up to a quarter of a second's worth at once.

    `sleep` and `clock` in seconds; the clock must not step back.
    """

    def __init__(
        self,
        bytes_per_s: float,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bytes_per_s = bytes_per_s
        self._sleep = sleep
        self._clock = clock
        self.slice_bytes = max(1, int(bytes_per_s / _SLICES_PER_S))
        """The most that should be taken at once, so that the line is used evenly."""
        self._left = float(self.slice_bytes)
        self._filled_at = clock()

    def take(self, size_bytes: int) -> None:
        """Wait until so many bytes may go."""
        now = self._clock()
        self._left += (now - self._filled_at) * self._bytes_per_s
        self._left = min(self._left, self.slice_bytes)
        self._filled_at = now
        self._left -= size_bytes
        if self._left < 0:
            self._sleep(-self._left / self._bytes_per_s)
