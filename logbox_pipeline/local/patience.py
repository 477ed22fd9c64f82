"""When a child that has ended is started again. No process is touched here."""

FIRST_S = 1.0
MOST_S = 30.0

STEADY_S = 60.0
"""One that ran for so long had no fault of its own: it is started again at once."""


class Patience:
    """How long one child is let rest after it has ended: twice as long each time, up to MOST_S,
    until it has run steadily. Times are of one monotonic clock."""

    def __init__(self) -> None:
        self._rest_s = 0.0
        self._due_at: float | None = None

    def is_over(self, *, started_at: float, now: float) -> bool:
        """Whether a child that was started then, and has ended, is to be started again now."""
        if self._due_at is None:
            if now - started_at >= STEADY_S:
                self._rest_s = 0.0
            self._due_at = now + self._rest_s
            self._rest_s = min(MOST_S, max(FIRST_S, 2 * self._rest_s))
        if now < self._due_at:
            return False
        self._due_at = None
        return True
