"""How a simulated fleet sends: the drone's own code where it behaves, bare requests where not.

No upload is given up while there is time: a drone asks again until the store answers. So it is
known of each what the store made of it, and how often it can have been made twice.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from logbox_pipeline.drone.body import Body
from logbox_pipeline.drone.errors import (
    AlreadyThereError,
    KeyRefusedError,
    NoAnswerError,
    UploadError,
)
from logbox_pipeline.drone.rate import Rate
from logbox_pipeline.drone.store import RefusedError, Store
from logbox_pipeline.drone.target import Target
from logbox_pipeline.drone.uploader import Uploader
from logbox_pipeline.simulator.fleet_kill import send_and_kill
from logbox_pipeline.simulator.fleet_ledger import Answer, Objects, Sent
from logbox_pipeline.simulator.fleet_logs import Declares, Upload
from logbox_pipeline.simulator.fleet_plan import Fault

LONGEST_WAIT_S = 5.0
"""Between two requests for the same: a drone waits longer, but an outage in a trial is short."""

WRONG_CLOCK = timedelta(days=3)
_PART_BYTES = 5 * 2**20
_FOR_EVER = 10**6


class GivenUp(NoAnswerError):
    """There was no more time."""


@dataclass(frozen=True)
class Keys:
    """clients: each one's own key. revoked: one that no store should take. receipts: public keys,
    as a drone is given them."""

    clients: Mapping[str, Target]
    revoked: Target
    receipts: str = ""

    def of(self, upload: Upload) -> Target:
        return self.clients.get(upload.key_of, self.revoked)


class Sender:
    """Sends the uploads of all drones; safe to share between their threads.

    scratch: a folder for drones that are processes. has_time: whether to try on. slow_s: how long
    a slow upload takes, about. resend_s: between the two uploads to one key, every other time;
    else the second follows at once.
    """

    def __init__(
        self,
        keys: Keys,
        scratch: Path,
        *,
        has_time: Callable[[], bool],
        now: Callable[[], datetime],
        on_trouble: Callable[[str], None] = lambda sentence: None,
        slow_s: float = 8,
        resend_s: float = 12,
    ) -> None:
        self._slow_s = slow_s
        self._resend_s = resend_s
        self._keys = keys
        self._scratch = scratch
        self._has_time = has_time
        self._now = now
        self._on_trouble = on_trouble
        self._noted = _Noted()
        # One for each key: a client of S3 takes a third of a second to make.
        self._stores = {
            target.access_key_id: self._store(target)
            for target in (*keys.clients.values(), keys.revoked)
        }

    def send(self, sent: Sent, path: Path) -> Answer | None:
        """Send one upload as its fault says; None: time was over before the store answered."""
        self._noted.repeats = self._noted.skewed = 0
        began_at = self._now()
        try:
            done = self._sent(sent, path)
        except GivenUp:
            return None
        return Answer(
            sent.number,
            began_at,
            self._now(),
            done.status,
            done.code,
            done.objects,
            self._noted.repeats,
            self._noted.skewed,
            done.kills,
        )

    def _sent(self, sent: Sent, path: Path) -> "_Done":
        upload = sent.upload
        target = replace(self._keys.of(upload), vehicle=upload.vehicle)
        store = self._stores[target.access_key_id]
        match sent.fault:
            case Fault.TAMPERED | Fault.UNDECLARED | Fault.WRONG_PREFIX | Fault.WRONG_KEY:
                return self._put(store, upload, path)
            case Fault.RESENT:
                first = self._put(store, upload, path)
                if sent.number % 2:
                    self._endure_all(self._resend_s)
                second = self._put(store, upload, path)
                # Within one second the two cannot be told apart by what a GET answers: both
                # deliveries may read the newer one, and the older comes back as a third.
                third = {key: Objects(0, 1) for key in second.objects}
                both = _sum(first.objects, second.objects)
                return replace(second, objects=_sum(both, third))
            case Fault.ABORTED:
                return self._abort(store, upload, path)
            case Fault.KILLED:
                return self._killed(target, sent, path)
            case Fault.SLOW:
                rate = Rate(max(20_000.0, upload.size_bytes / self._slow_s), sleep=self._endure_all)
                return self._in_order(Uploader(target, store=store, rate=rate), upload, path)
            case Fault.CLOCK_OFF:
                wrong = self._store(target)
                days = WRONG_CLOCK if sent.number % 2 else -WRONG_CLOCK
                wrong.clock.offset = days
                return self._in_order(Uploader(target, store=wrong), upload, path)
        return self._in_order(Uploader(target, store=store), upload, path)

    def _in_order(self, uploader: Uploader, upload: Upload, path: Path) -> "_Done":
        key = upload.landing_key
        try:
            stands_at = uploader.send(path, key, uploader.digest(path)).key
        except GivenUp:
            raise
        except AlreadyThereError:
            return _Done(412, "PreconditionFailed", self._maybe(key))
        except KeyRefusedError as refused:
            return _Done(403, refused.message, self._maybe(key))
        except UploadError as wrong:
            return _Done(400, wrong.message, self._maybe(key))
        # Under the plain name it may stand as well, when the answer to that was lost.
        return _Done(200, "", self._maybe(key) | {stands_at: self._once()})

    def _put(self, store: Store, upload: Upload, path: Path) -> "_Done":
        """As any S3 client does, over whatever stands there."""
        repeats_before = self._noted.repeats
        with path.open("rb") as source:
            try:
                store.call(
                    "put_object",
                    upload.name,
                    body=Body(source, 0, upload.size_bytes, lambda sent: None),
                    Key=upload.landing_key,
                    ContentLength=upload.size_bytes,
                    Metadata=declared(upload),
                )
            except RefusedError as refused:
                return _Done(refused.status, refused.code)
        most = 1 + self._noted.repeats - repeats_before
        return _Done(200, "", {upload.landing_key: Objects(1, most)})

    def _abort(self, store: Store, upload: Upload, path: Path) -> "_Done":
        """Begin an upload in parts, send the first, and give it up."""
        key, about = upload.landing_key, upload.name
        size_bytes = min(upload.size_bytes, _PART_BYTES)
        try:
            upload_id = store.call("create_multipart_upload", about, Key=key)["UploadId"]
            # A store that was restarted meanwhile may have forgotten it, which is as good.
            with path.open("rb") as source, suppress(RefusedError):
                store.call(
                    "upload_part",
                    about,
                    body=Body(source, 0, size_bytes, lambda sent: None),
                    Key=key,
                    UploadId=upload_id,
                    PartNumber=1,
                    ContentLength=size_bytes,
                )
            store.call("abort_multipart_upload", about, Key=key, UploadId=upload_id)
        except RefusedError as refused:
            if refused.code != "NoSuchUpload":
                return _Done(refused.status, refused.code)
        return _Done(204)

    def _killed(self, target: Target, sent: Sent, path: Path) -> "_Done":
        survived = send_and_kill(
            target,
            path,
            sent.upload.sha256,
            self._scratch / str(sent.number),
            receipt_keys=self._keys.receipts,
            endure=self._endure,
        )
        self._noted.repeats += survived.repeats
        most = 1 + survived.repeats + survived.kills
        maybe = {sent.upload.landing_key: Objects(0, most)}
        return _Done(200, "", maybe | {survived.key: Objects(1, most)}, survived.kills)

    def _maybe(self, key: str) -> dict[str, Objects]:
        return {key: Objects(0, 1 + self._noted.repeats)}

    def _once(self) -> Objects:
        return Objects(1, 1 + self._noted.repeats)

    def _store(self, target: Target) -> Store:
        return Store(
            target,
            attempts=_FOR_EVER,
            connect_timeout_s=5,
            read_timeout_s=30,
            on_trouble=self._note,
            sleep=self._endure,
        )

    def _note(self, sentence: str) -> None:
        if "; attempt " in sentence:
            self._noted.repeats += 1
        elif "clock is off" in sentence:
            self._noted.skewed += 1
        self._on_trouble(sentence)

    def _endure(self, seconds: float) -> None:
        if not self._has_time():
            raise GivenUp("there is no more time")
        time.sleep(min(seconds, LONGEST_WAIT_S))

    def _endure_all(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0:
            self._endure(min(left_s, 0.5))


@dataclass(frozen=True)
class _Done:
    status: int
    code: str = ""
    objects: Mapping[str, Objects] = field(default_factory=dict)
    kills: int = 0


class _Noted(threading.local):
    """Of the upload that this thread is at."""

    repeats = 0
    skewed = 0


def declared(upload: Upload) -> dict[str, str]:
    """The metadata of an upload that does not come from a drone's own code."""
    match upload.declares:
        case Declares.ITS_OWN:
            return {"sha256": upload.sha256}
        case Declares.ANOTHER:
            return {"sha256": upload.sha256[::-1]}
        case Declares.NONE:
            return {}


def _sum(first: Mapping[str, Objects], second: Mapping[str, Objects]) -> dict[str, Objects]:
    none = Objects(0, 0)
    return {
        key: Objects(
            first.get(key, none).least + second.get(key, none).least,
            first.get(key, none).most + second.get(key, none).most,
        )
        for key in {**first, **second}
    }
