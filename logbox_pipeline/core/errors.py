"""What Logbox raises. Bad data is a value (a verdict, a state, a reason), never one of these.

    LogboxError
    ├── UsageError        the person asked for something that cannot be (exit 2)
    │   └── SettingError  a setting is missing or wrong; names the setting and the fix
    ├── PermanentError    trying again will not help
    │   ├── StoreRefused  the object store or database said no
    │   │   └── ObjectSealed  it has the object, and gives its bytes to nobody who asks like us
    │   └── FenceLost     another attempt owns this batch now; stop, touch nothing
    └── TransientError    down, slow or refusing for now: the only kind that is retried
        └── RequestFailed     one request to the object store was; others may be answered

Each says what, where, expected, found and what to do next. Adapters translate foreign errors
into these; nothing above them catches a boto3 or psycopg2 error.
"""

from collections.abc import Collection

from logbox_pipeline.core.shown import printable


class LogboxError(Exception):
    """Base of everything Logbox raises on purpose.

    `hint` is the next thing to do, shown on a line of its own. A message may name what a drone
    named, and goes to terminals, Dagster and people's chats: it is made fit to be shown here.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        message = printable(message)
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.hint}" if self.hint else self.message


class UsageError(LogboxError):
    """The person asked for something that cannot be."""


class SettingError(UsageError):
    """A setting is missing or wrong."""


class PermanentError(LogboxError):
    """Trying again will not help."""


class StoreRefused(PermanentError):
    """The object store or the database refused a request."""


class ObjectSealed(StoreRefused):
    """The store has an object and gives its bytes to nobody who asks as Logbox does: whoever wrote
    it encrypted it with a key of his own, or put it into a class of cold storage."""


class FenceLost(PermanentError):
    """Another attempt owns this batch now."""


class TransientError(LogboxError):
    """Down, slow or refusing for now."""


class RequestFailed(TransientError):
    """A request to the object store was not answered, or not in full. Others may be."""


def listed(names: Collection[str], most: int = 20) -> str:
    """Names for a message: sorted, the first of them where there are many."""
    shown = ", ".join(sorted(names)[:most]) or "none"
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
