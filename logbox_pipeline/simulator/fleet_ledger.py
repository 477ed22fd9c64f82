"""The ledger of a simulated fleet: what was sent, what the store answered, what must come out.

JSON Lines, each with its `kind`: one `fleet`, one `upload` for each, all of them before anything is
sent; then an `answer` as each comes. So it is true whenever the simulator ends, also by a kill: an
upload without an answer may be there or not, and if it is, all of it must be right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from logbox_pipeline.core.errors import UsageError
from logbox_pipeline.drone.target import with_digest
from logbox_pipeline.simulator.fleet_logs import ABORTED, REFUSED, Upload
from logbox_pipeline.simulator.fleet_plan import Fault

VERSION = 1
NO_LIMIT = 1_000_000


@dataclass(frozen=True)
class Fleet:
    """Whose uploads these are. keys: access key id by client; revoked_key_id: one that is refused.
    accepts_undeclared: LOGBOX_DIGEST_POLICY of the site."""

    seed: int
    started_at: datetime
    landing_bucket: str
    keys: Mapping[str, str]
    revoked_key_id: str
    accepts_undeclared: bool
    version: int = VERSION

    @property
    def clients(self) -> list[str]:
        return sorted(self.keys)


class Objects(msgspec.Struct, frozen=True, array_like=True):
    """How many objects of these bytes can have been made at one key: a PUT whose answer was lost
    is sent again, and both may have been carried out."""

    least: int
    most: int


@dataclass(frozen=True)
class Answer:
    """What became of one upload, as its drone saw it.

    status and code: of the store's last word. objects: by landing key. skewed: requests that were
    refused for the time they were signed at. kills: of the drone's process, in the middle.
    """

    number: int
    began_at: datetime
    ended_at: datetime
    status: int
    code: str = ""
    objects: Mapping[str, Objects] = field(default_factory=dict)
    repeats: int = 0
    skewed: int = 0
    kills: int = 0


@dataclass(frozen=True)
class Sent:
    """One upload and its answer; None: nobody heard of one. key_id: the key it was sent with."""

    number: int
    upload: Upload
    key_id: str
    fault: Fault | None = None
    answer: Answer | None = None

    @property
    def is_in(self) -> bool:
        """Whether its bytes are for Logbox to take."""
        return self.upload.state not in (REFUSED, ABORTED)

    @property
    def planned_objects(self) -> int:
        """How many it puts when no answer is lost."""
        return 0 if not self.is_in else 2 if self.fault is Fault.RESENT else 1

    @property
    def objects(self) -> Mapping[str, Objects]:
        """What can stand, or have stood, in landing."""
        if not self.is_in:
            return {}
        if self.answer is not None:
            return self.answer.objects
        key = self.upload.landing_key
        maybe = Objects(0, NO_LIMIT)
        return {key: maybe, with_digest(key, self.upload.sha256): maybe}


@dataclass(frozen=True)
class Ledger:
    """A whole ledger as it was read. is_ended: the simulator came to its end."""

    fleet: Fleet
    sent: tuple[Sent, ...]
    is_ended: bool


class LedgerFile:
    """A ledger while it is written. Lines are whole: each is one write."""

    def __init__(self, path: Path, fleet: Fleet, sent: Sequence[Sent]) -> None:
        """Raises UsageError when there is one already."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = path.open("xb", buffering=0)
        except FileExistsError:
            raise UsageError(
                f"{path} is there already", hint="name another one, or --check it"
            ) from None
        self._lock = Lock()
        lines = [_line("fleet", fleet), *(_line("upload", one) for one in sent)]
        self._file.write(b"".join(lines))

    def answered(self, answer: Answer) -> None:
        with self._lock:
            self._file.write(_line("answer", answer))

    def end(self, now: datetime) -> None:
        with self._lock:
            self._file.write(_line("end", {"at": now}))
            self._file.close()


def read_ledger(path: Path) -> Ledger:
    """Raises UsageError for what is no ledger."""
    fleet: Fleet | None = None
    sent: dict[int, Sent] = {}
    is_ended = False
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as wrong:
        raise UsageError(f"cannot read {path}: {wrong.strerror}") from None
    for number, line in enumerate(lines[:-1], 1):
        try:
            said = msgspec.json.decode(line)
            kind = said.pop("kind")
            if kind == "fleet":
                fleet = _read(said, Fleet)
            elif kind == "upload":
                one = _read(said, Sent)
                sent[one.number] = one
            elif kind == "answer":
                answer = _read(said, Answer)
                before = sent[answer.number]
                sent[answer.number] = Sent(
                    before.number, before.upload, before.key_id, before.fault, answer
                )
            is_ended = is_ended or kind == "end"
        except (msgspec.MsgspecError, KeyError, AttributeError, TypeError) as wrong:
            raise UsageError(f"{path}, line {number}, is no ledger's: {wrong}") from None
    if fleet is None or fleet.version != VERSION:
        raise UsageError(
            f"{path} is no ledger of version {VERSION}",
            hint="`logbox simulate --ledger FILE` writes one",
        )
    return Ledger(fleet, tuple(sent.values()), is_ended)


def _line(kind: str, what: Any) -> bytes:
    told = what if isinstance(what, dict) else asdict(what)
    return msgspec.json.encode({"kind": kind} | told, enc_hook=_plain) + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        # Where it was written is nobody's business.
        return value.name
    raise NotImplementedError(type(value))


def _read(said: Any, kind: Any) -> Any:
    def hook(wanted: type, value: Any) -> Any:
        return wanted(value)

    return msgspec.convert(said, kind, dec_hook=hook)


def utc_now() -> datetime:
    return datetime.now(UTC)
