"""What can go wrong on a drone.

UploadError                 a file that was not uploaded, or of which nothing can be learned
├── TargetError             wrong use: a setting, an argument, a name; nothing was sent
├── NoAnswerError           the link or the store fails; worth another try later
├── KeyRefusedError         the store does not accept the key, or does not allow it enough
├── AlreadyThereError       another upload stands in landing under that name
└── ChangedError            the file changed while it was being sent
"""

from __future__ import annotations


class UploadError(Exception):
    """What was not done, and why; `hint` is the next thing to do."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class TargetError(UploadError):
    """Wrong use: a setting or an argument that cannot be; nothing was sent."""


class NoAnswerError(UploadError):
    """Patience is used up: the link or the store failed at each attempt."""


class KeyRefusedError(UploadError):
    """The key is unknown, revoked or not allowed to do what a client's key may do."""


class AlreadyThereError(UploadError):
    """An object stands at `key`; the file with the digest `sha256` was not put over it."""

    def __init__(self, message: str, hint: str, *, key: str, sha256: str, size_bytes: int) -> None:
        super().__init__(message, hint)
        self.key = key
        self.sha256 = sha256
        self.size_bytes = size_bytes


class ChangedError(UploadError):
    """The file is not what it was when its digest was taken."""
