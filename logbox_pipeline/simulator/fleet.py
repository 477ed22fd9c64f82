"""A small fleet: the logs its drones fly with, how they upload them, and what must come out.

Seven of the uploads are in order, the others are what goes wrong in the field. What comes out is
looked at and judged elsewhere.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from logbox_pipeline.core import keys
from logbox_pipeline.core.digest import log_id
from logbox_pipeline.core.tables import EVENTS, PARAMETERS
from logbox_pipeline.drone.digest import digest_file
from logbox_pipeline.drone.uploader import Target, Uploader, UploadError
from logbox_pipeline.simulator.jsonl_writer import JsonlLedger, write_jsonl
from logbox_pipeline.simulator.ulog_writer import UlogLedger, write_ulog

REFUSED = "refused"
"""State of an upload that the store did not take: there is no delivery."""


class Declares(StrEnum):
    """Which digest an upload declares."""

    ITS_OWN = "its own"
    ANOTHER = "another"
    NONE = "none"


@dataclass(frozen=True)
class Upload:
    """One file, who uploads it where, and what must become of it.

    client: whose folder it goes to; key_of: whose key it goes with. state, log_state and reason
    are the catalog's words, but for REFUSED, whose reason is the store's. tables: rows by table.
    """

    client: str
    vehicle: str
    path: Path
    sha256: str
    size_bytes: int
    state: str
    log_state: str | None = None
    reason: str | None = None
    tables: Mapping[str, int] = field(default_factory=dict)
    declares: Declares = Declares.ITS_OWN
    key_of: str = ""

    @property
    def name(self) -> str:
        return f"{self.vehicle}/{self.path.name}"

    @property
    def landing_key(self) -> str:
        return keys.landing_prefix(self.client, self.vehicle) + self.path.name

    @property
    def log_id(self) -> str:
        return str(log_id(self.client, self.sha256))


def make_fleet(folder: Path, clients: tuple[str, str], now: datetime) -> list[Upload]:
    """Write every file below `folder`. Each drone's uploads are together, in its own order."""
    alpine, harbour = clients
    morning = now.replace(second=0, microsecond=0) - timedelta(hours=3)
    heron = _Drone(folder, alpine, "heron", morning)
    kite = _Drone(folder, alpine, "kite", morning)
    gull = _Drone(folder, harbour, "gull", morning)
    tern = _Drone(folder, harbour, "tern", morning)
    flight = heron.ulog("flight-1.ulg", duration_s=120)
    return [
        flight,
        heron.ulog("flight-2.ulg", duration_s=60),
        heron.intruding("astray.ulg", into=harbour),
        heron.repeating(flight, "flight-1b.ulg"),
        kite.jsonl("mission.jsonl", lines=12_000),
        kite.mismatched("torn.jsonl"),
        kite.unknown("camera.raw"),
        gull.ulog("flight-1.ulg", duration_s=90),
        gull.jsonl("mission.jsonl", lines=8_000, bad_lines=5),
        gull.undeclared("no-digest.ulg"),
        tern.ulog("indoor.ulg", duration_s=45, has_gps=False),
        tern.jsonl("mission.jsonl", lines=4_000),
    ]


def fly(
    fleet: Sequence[Upload],
    targets: Mapping[str, Target],
    *,
    on_uploaded: Callable[[Upload, str | None], None] = lambda upload, refused: None,
    on_trouble: Callable[[str], None] = lambda sentence: None,
) -> dict[str, str]:
    """Upload everything, all drones at once. `targets` has each client's own key.

    Returns the code of each refusal of the store by landing key. Raises UploadError when an upload
    that is in order does not get through.
    """

    def send_all(uploads: list[Upload]) -> dict[str, str]:
        refused = {}
        for upload in uploads:
            code = _send(upload, targets[upload.key_of], on_trouble)
            if code is not None:
                refused[upload.landing_key] = code
            on_uploaded(upload, code)
        return refused

    drones = [list(group) for _, group in groupby(fleet, lambda one: (one.key_of, one.vehicle))]
    refused: dict[str, str] = {}
    with ThreadPoolExecutor(len(drones)) as threads:
        for one in threads.map(send_all, drones):
            refused.update(one)
    return refused


def rows_by_log(fleet: Sequence[Upload]) -> dict[tuple[str, str], int]:
    """The ledger: rows that must stand, by (log_id, table)."""
    return {
        (upload.log_id, table): rows
        for upload in fleet
        if upload.log_state == "loaded"
        for table, rows in upload.tables.items()
        if rows
    }


@dataclass(frozen=True)
class _Drone:
    """Writes the files of one drone."""

    folder: Path
    client: str
    vehicle: str
    start: datetime

    def ulog(self, name: str, *, duration_s: float, has_gps: bool = True) -> Upload:
        path = self._path(name)
        with path.open("wb") as out:
            ledger = write_ulog(
                out, seed=_seed(path), duration_s=duration_s, start=self.start, has_gps=has_gps
            )
        return self._upload(path, "archived", "loaded", tables=_ulog_rows(ledger))

    def jsonl(self, name: str, *, lines: int, bad_lines: int = 0) -> Upload:
        path = self._path(name)
        with path.open("wb") as out:
            ledger = write_jsonl(
                out, seed=_seed(path), lines=lines, start=self.start, bad_lines=bad_lines
            )
        return self._upload(path, "archived", "loaded", tables=_jsonl_rows(ledger))

    def mismatched(self, name: str) -> Upload:
        """Bytes that are not those the drone took the digest of."""
        path = self.jsonl(name, lines=500).path
        return self._upload(path, "quarantined", None, "mismatch", declares=Declares.ANOTHER)

    def undeclared(self, name: str) -> Upload:
        """What a plain S3 client sends that knows nothing of digests."""
        path = self.ulog(name, duration_s=20).path
        return self._upload(path, "quarantined", None, "undeclared", declares=Declares.NONE)

    def unknown(self, name: str) -> Upload:
        path = self._path(name)
        path.write_bytes(b"RAW\x00" + random.Random(_seed(path)).randbytes(60_000))
        return self._upload(path, "archived", "unparsed", "unknown_format")

    def repeating(self, first: Upload, name: str) -> Upload:
        """The same bytes once more under another name."""
        path = self._path(name)
        path.write_bytes(first.path.read_bytes())
        return self._upload(path, "duplicate")

    def intruding(self, name: str, *, into: str) -> Upload:
        """A log that would be fine, sent to another client's folder."""
        path = self.ulog(name, duration_s=10).path
        return self._upload(path, REFUSED, None, "AccessDenied", client=into)

    def _path(self, name: str) -> Path:
        path = self.folder / self.client / self.vehicle / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _upload(
        self,
        path: Path,
        state: str,
        log_state: str | None = None,
        reason: str | None = None,
        *,
        tables: Mapping[str, int] | None = None,
        declares: Declares = Declares.ITS_OWN,
        client: str | None = None,
    ) -> Upload:
        digest = digest_file(path)
        return Upload(
            client=client or self.client,
            vehicle=self.vehicle,
            path=path,
            sha256=digest.sha256,
            size_bytes=digest.size_bytes,
            state=state,
            log_state=log_state,
            reason=reason,
            tables=tables or {},
            declares=declares,
            key_of=self.client,
        )


def _seed(path: Path) -> int:
    """Differs from file to file, the same in every run of one client."""
    return sum(place * ord(char) for place, char in enumerate("/".join(path.parts[-3:]), 1))


def _ulog_rows(ledger: UlogLedger) -> dict[str, int]:
    rows: Counter[str] = Counter()
    for (topic, _), count in ledger.rows.items():
        rows[f"ulog_{topic}"] += count
    rows[EVENTS] = len(ledger.messages) + len(ledger.dropouts_ms)
    rows[PARAMETERS] = len(ledger.parameters)
    return dict(rows)


def _jsonl_rows(ledger: JsonlLedger) -> dict[str, int]:
    # A bad line is kept apart as an event of Logbox's own.
    return {EVENTS: ledger.events + len(ledger.bad_lines)}


def _send(upload: Upload, target: Target, on_trouble: Callable[[str], None]) -> str | None:
    """The code of the store's refusal, or None."""
    is_regular = upload.declares is Declares.ITS_OWN and upload.client == target.client
    if not is_regular:
        return _put_plainly(upload, target)
    drone = replace(target, vehicle=upload.vehicle)
    Uploader(drone, on_trouble=on_trouble).upload(upload.path)
    return None


def _put_plainly(upload: Upload, target: Target) -> str | None:
    """PUT as any S3 client does: the drone's uploader never does what is wrong on purpose."""
    s3 = boto3.session.Session().client(
        "s3",
        endpoint_url=target.endpoint or None,
        region_name=target.region,
        aws_access_key_id=target.access_key_id,
        aws_secret_access_key=target.secret_access_key,
        config=Config(s3={"addressing_style": "path" if target.endpoint else "auto"}),
    )
    try:
        with upload.path.open("rb") as body:
            s3.put_object(
                Bucket=target.bucket,
                Key=upload.landing_key,
                Body=body,
                Metadata=dict(_declared(upload)),
            )
    except ClientError as refused:
        return str(refused.response["Error"]["Code"])
    except BotoCoreError as wrong:
        raise UploadError(f"{upload.path}: {wrong}") from None
    return None


def _declared(upload: Upload) -> Iterator[tuple[str, str]]:
    if upload.declares is Declares.ITS_OWN:
        yield "sha256", upload.sha256
    elif upload.declares is Declares.ANOTHER:
        yield "sha256", upload.sha256[::-1]
