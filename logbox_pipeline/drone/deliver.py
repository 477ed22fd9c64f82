"""Bring one file to Logbox: send it, wait for its receipt, remove the copy. What is said of it.

Shared by `logbox-drone upload` and `logbox upload`. A result is a dict of plain values, `--json`'s
line; nothing here raises for a file that failed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Callable

from logbox_pipeline.drone.confirm import Receipts, Sent, Waited, wait_for
from logbox_pipeline.drone.errors import AlreadyThereError, TargetError, UploadError
from logbox_pipeline.drone.receipt import Receipt, Stage
from logbox_pipeline.drone.remove import remove_proven
from logbox_pipeline.drone.target import Target
from logbox_pipeline.drone.uploader import Progress, Uploaded, Uploader

TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Wish:
    """What is to happen after a file was sent; `timeout_s` for each file's receipt."""

    wait: Stage | None = None
    delete_after: Stage | None = None
    timeout_s: float = TIMEOUT_S

    @property
    def stages(self) -> tuple[Stage, ...]:
        return tuple(stage for stage in (self.wait, self.delete_after) if stage is not None)

    def check(self, target: Target) -> None:
        """Raises TargetError when no receipt could ever be believed."""
        if self.stages and not target.receipt_keys:
            option = "--wait" if self.delete_after is None else "--delete-after"
            raise TargetError(
                f"{option} needs LOGBOX_RECEIPT_PUBLIC_KEY, to know a true receipt",
                "add the line that `logbox client add` prints",
            )


@dataclass(frozen=True)
class Delivery:
    """A file after sending: what is said of it, and what to ask receipts for (None: failed)."""

    path: Path
    result: dict[str, Any]
    sent: Sent | None


def result_of(
    path: Path, uploader: Uploader, name: str | None, progress: Progress, wish: Wish | None = None
) -> Delivery:
    """Send one file. One that stands there already counts as sent if a receipt says so."""
    started = time.monotonic()
    clock = uploader.store.clock
    try:
        done = uploader.upload(path, name=name, on_progress=progress)
        since = clock.now() - timedelta(seconds=time.monotonic() - started)
        sent = Sent(done.key, done.sha256, since)
    except AlreadyThereError as taken:
        sent = Sent(taken.key, taken.sha256, None)
        if not _has_it(uploader, sent, wish or Wish()):
            return Delivery(path, _failure(path, taken), None)
        note = "it was there already, as its receipt says"
        done = Uploaded(taken.key, taken.sha256, taken.size_bytes, note)
    except UploadError as wrong:
        return Delivery(path, _failure(path, wrong), None)
    result = {
        "path": str(path),
        "state": "uploaded",
        "key": done.key,
        "sha256": done.sha256,
        "size_bytes": done.size_bytes,
        "elapsed_s": round(time.monotonic() - started, 3),
        "note": done.note,
    }
    return Delivery(path, result, sent)


def confirmed(
    delivery: Delivery,
    uploader: Uploader,
    wish: Wish,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Wait for the receipt of a file that was sent, and remove the copy if that is wished.

    `state` becomes the last stage asked for, `refused`, `unconfirmed` or `failed`.
    """
    if delivery.sent is None or not wish.stages:
        return delivery.result
    started = time.monotonic()
    try:
        waited = wait_for(
            Receipts(uploader.store),
            delivery.sent,
            wish.stages,
            timeout_s=wish.timeout_s,
            sleep=sleep,
        )
    except UploadError as wrong:
        return {**delivery.result, "state": "failed", "error": wrong.message, "hint": wrong.hint}
    result = {**delivery.result, "waited_s": round(time.monotonic() - started, 3)}
    if waited.receipt is not None:
        result["receipt"] = _said(waited.receipt)
    if not waited.is_reached:
        return {**result, **_not_reached(delivery.path, waited)}
    result["state"] = max(wish.stages, key=list(Stage).index).value
    if wish.delete_after is not None and waited.receipt is not None:
        hint = "upload it again when nothing writes it any more"
        try:
            kept = remove_proven(delivery.path, waited.receipt, wish.delete_after)
        except OSError as wrong:
            kept, hint = f"{wrong.strerror or wrong}", "delete it by hand"
        result["is_deleted"] = kept is None
        if kept is not None:
            return {
                **result,
                "state": "failed",
                "error": f"{delivery.path}: kept, though Logbox has it: {kept}",
                "hint": hint,
            }
    return result


def has_failed(result: Mapping[str, Any]) -> bool:
    return "error" in result


def describe(result: Mapping[str, Any]) -> str:
    """One line for a person: what went well goes to stdout, a failure to stderr."""
    if has_failed(result):
        return f"{result['state']}: {result['error']}" + (
            f"\n  next: {result['hint']}" if result["hint"] else ""
        )
    note = f"  ({result['note']})" if result["note"] else ""
    deleted = "  (the copy here is deleted)" if result.get("is_deleted") else ""
    return (
        f"{result['state']} {result['key']}  {size_text(result['size_bytes'])}  "
        f"{result['sha256']}{note}{deleted}"
    )


def size_text(size_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def _has_it(uploader: Uploader, sent: Sent, wish: Wish) -> bool:
    """Whether Logbox says that it has these bytes; asked for as long as was wished."""
    if not uploader.store.target.receipt_keys:
        return False
    try:
        waited = wait_for(
            Receipts(uploader.store),
            sent,
            [Stage.ARCHIVED],
            timeout_s=wish.timeout_s if wish.stages else 0,
        )
    except UploadError:
        return False
    return waited.is_reached


def _failure(path: Path, wrong: UploadError) -> dict[str, Any]:
    return {"path": str(path), "state": "failed", "error": wrong.message, "hint": wrong.hint}


def _not_reached(path: Path, waited: Waited) -> dict[str, Any]:
    return {
        "state": "refused" if waited.is_refused else "unconfirmed",
        "error": f"{path}: {waited.why}",
        "hint": None
        if waited.is_refused
        else "the log was sent; ask again later: the same command waits on",
    }


def _said(receipt: Receipt) -> dict[str, Any]:
    def text(at: Any) -> str | None:
        return None if at is None else at.isoformat()

    return {
        "state": receipt.state,
        "reason": receipt.reason,
        "detail": receipt.detail,
        "sha256": receipt.sha256,
        "duplicate_of": receipt.duplicate_of,
        "received_at": text(receipt.received_at),
        "archived_at": text(receipt.archived_at),
        "replicated_at": text(receipt.replicated_at),
        "loaded_at": text(receipt.loaded_at),
        "logs": [
            {"log_id": log.log_id, "member": log.member, "state": log.state, "reason": log.reason}
            for log in receipt.logs
        ],
        "written_at": text(receipt.written_at),
    }
