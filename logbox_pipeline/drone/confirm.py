"""Ask for receipts: what Logbox says about the bytes that were sent.

A receipt stands under its digest and under its landing key. Names are used again after a card is
formatted, digests are not; a key for one vehicle may not see the first on every store. Both are
asked, and one counts only when it is about this file's digest.

No receipt yet is 404, or 403 AccessDenied on AWS, which tells a key without list rights no more. A
key that is refused looks like that too, when its policy was taken away; so on the first 403, and
now and then, something is asked that every client's key may do.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Callable

from logbox_pipeline.drone.errors import NoAnswerError
from logbox_pipeline.drone.receipt import Receipt, Stage, Unproven, read_receipt
from logbox_pipeline.drone.store import RefusedError, Store, backoff_s, is_refused_key

LONGEST_POLL_S = 30.0
_PROBE_EVERY_S = 300.0


@dataclass(frozen=True)
class Sent:
    """What was uploaded: `since` is the server's time before it began."""

    key: str
    sha256: str
    since: datetime | None


@dataclass(frozen=True)
class Look:
    """What was found when asked once. `receipt` is proven and about the digest.

    `distrusted`: why something that stands there does not count.
    """

    receipt: Receipt | None
    distrusted: str | None = None


class Receipts:
    """The receipts that a target's key may read; `attempts` at each request."""

    def __init__(
        self,
        store: Store,
        *,
        attempts: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._attempts = attempts
        self._clock = clock
        self._probed_at: float | None = None

    def look(self, key: str, sha256: str) -> Look:
        """Ask once for the receipt of these bytes.

        Raises NoAnswerError, KeyRefusedError, UploadError.
        """
        target = self._store.target
        found: list[Receipt] = []
        distrusted = None
        for place in target.receipt_keys_of(key, sha256):
            stored = self._get(place)
            if stored is None:
                continue
            read = read_receipt(stored, target.receipt_keys)
            if isinstance(read, Unproven):
                distrusted = f"{place}: {read.why}"
            elif read.client != target.client:
                distrusted = f"{place}: it is another client's, {read.client}"
            elif read.is_about(sha256):
                found.append(read)
                if read.proves(sha256, Stage.LOADED) and read.proves(sha256, Stage.REPLICATED):
                    break
        best = max(
            found,
            key=lambda one: (one.proves(sha256, Stage.ARCHIVED), one.written_at),
            default=None,
        )
        return Look(best, distrusted)

    def probe(self) -> None:
        """Ask for something that the key must be allowed.

        Raises KeyRefusedError, NoAnswerError, UploadError.
        """
        target = self._store.target
        try:
            self._store.call(
                "list_objects_v2",
                "receipts",
                attempts=self._attempts,
                Prefix=target.receipts_prefix,
                MaxKeys=1,
            )
        except RefusedError as refused:
            raise self._store.explain(
                refused, "receipts", f"list {target.receipts_prefix}"
            ) from None
        self._probed_at = self._clock()

    def _get(self, place: str) -> bytes | None:
        try:
            answer = self._store.call("get_object", "receipts", attempts=self._attempts, Key=place)
        except RefusedError as refused:
            if refused.status == 404 and refused.code != "NoSuchBucket":
                return None
            if refused.status != 403 or is_refused_key(refused):
                raise self._store.explain(refused, place, "read there") from None
            if self._probed_at is None or self._clock() - self._probed_at > _PROBE_EVERY_S:
                self.probe()
            return None
        body: bytes = answer["Body"]
        return body


@dataclass(frozen=True)
class Waited:
    """How waiting ended: `is_reached`, or `why` not; `is_refused`: no waiting would help."""

    is_reached: bool
    is_refused: bool
    receipt: Receipt | None
    why: str | None


def judge(look: Look, sent: Sent, stages: Sequence[Stage]) -> Waited | None:
    """What a look says about an upload that is to reach all `stages`; None: not yet."""
    receipt = look.receipt
    if receipt is None:
        return None
    if all(receipt.proves(sent.sha256, stage) for stage in stages):
        return Waited(True, False, receipt, None)
    if receipt.refuses(sent.sha256, sent.key, sent.since):
        return Waited(False, True, receipt, receipt.why)
    is_kept = receipt.proves(sent.sha256, Stage.ARCHIVED)
    if Stage.LOADED in stages and is_kept and receipt.never_loads():
        return Waited(False, True, receipt, f"kept, but not loaded: {receipt.why}")
    return None


def wait_for(
    receipts: Receipts,
    sent: Sent,
    stages: Sequence[Stage],
    *,
    timeout_s: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Waited:
    """Ask until every one of `stages` is proven, the log is refused, or time is up.

    A link that fails is waited out. Raises KeyRefusedError, UploadError.
    """
    until = clock() + timeout_s
    attempt = 1
    while True:
        last = "no receipt yet"
        receipt = None
        try:
            look = receipts.look(sent.key, sent.sha256)
        except NoAnswerError as wrong:
            last = wrong.message
        else:
            ended = judge(look, sent, stages)
            if ended is not None:
                return ended
            receipt = look.receipt
            if receipt is not None:
                last = f"so far: {receipt.why}"
            elif look.distrusted is not None:
                last = f"what stands there is no proof: {look.distrusted}"
        left_s = until - clock()
        if left_s <= 0:
            return Waited(False, False, receipt, f"not {_words(stages)} in time; {last}")
        sleep(min(left_s, backoff_s(attempt, LONGEST_POLL_S)))
        attempt += 1


def _words(stages: Sequence[Stage]) -> str:
    return " and ".join(stage.value for stage in stages)
