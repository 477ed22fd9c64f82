"""Remove a drone's copy of a log, on proof only."""

from __future__ import annotations

import os
from pathlib import Path

from logbox_pipeline.drone.digest import digest_file
from logbox_pipeline.drone.receipt import Receipt, Stage


def remove_proven(path: Path, receipt: Receipt, stage: Stage) -> str | None:
    """Delete a file whose bytes the receipt proves to have come to `stage`.

    The file is read again, whole, right before. Returns why it is not to be deleted, None when it
    is gone. Raises OSError when it cannot be read or deleted.
    """
    before = os.lstat(path)
    digest = digest_file(path)
    if not receipt.proves(digest.sha256, stage):
        return "the file is not the one that the receipt is about"
    if _identity(os.lstat(path)) != _identity(before):
        return "the file is being changed"
    path.unlink()
    return None


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
