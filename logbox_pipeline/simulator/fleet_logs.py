"""The files of a small fleet's drones: each is written here, with what must come of it.

All follows from names and the morning they flew: the same names give the same rows.
"""

import gzip
import io
import random
import struct
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import zstandard

from logbox_pipeline.core import keys
from logbox_pipeline.core.digest import log_id, sha256_hex
from logbox_pipeline.core.tables import EVENTS, PARAMETERS
from logbox_pipeline.drone.digest import digest_file
from logbox_pipeline.formats.csv_columns import topic_of
from logbox_pipeline.formats.stream import Column
from logbox_pipeline.simulator.csv_writer import write_csv
from logbox_pipeline.simulator.dataflash_writer import write_dataflash
from logbox_pipeline.simulator.dji_app_writer import write_dji_app
from logbox_pipeline.simulator.journal_writer import write_journal
from logbox_pipeline.simulator.json_writer import write_json
from logbox_pipeline.simulator.jsonl_writer import write_jsonl
from logbox_pipeline.simulator.text_writer import STYLES, write_text
from logbox_pipeline.simulator.tlog_writer import write_tlog
from logbox_pipeline.simulator.ulog_writer import UlogLedger, write_ulog

REFUSED = "refused"
"""State of an upload that the store did not take: there is no delivery."""

ABORTED = "aborted"
"""State of an upload that its drone gave up half-way: there is nothing."""

SUPERSEDED = "superseded"
"""State of a log whose rows a longer one has: in the catalog, archived with a `superseded_by`."""

_UNSAFE_MEMBER = "../../etc/escape.ulg"


class Declares(StrEnum):
    """Which digest an upload declares."""

    ITS_OWN = "its own"
    ANOTHER = "another"
    NONE = "none"


@dataclass(frozen=True)
class ExpectedFlight:
    """What must be told of a flight; None where the log does not say. `number` counts the flights
    of one drone: logs with the same number saw the same flight."""

    number: int
    duration_s: float
    max_alt_m: float | None = None
    distance_m: float | None = None
    battery_used_pct: float | None = None
    end_state: str = "landed"
    has_time: bool = True
    is_seen_from_ground: bool = False


@dataclass(frozen=True)
class ExpectedLog:
    """One log of an upload and what must become of it: the catalog's words, but for SUPERSEDED.
    sha256: of the innermost bytes. tables: rows by table."""

    sha256: str
    state: str
    format: str | None = None
    reason: str | None = None
    tables: Mapping[str, int] = field(default_factory=dict)
    flight: ExpectedFlight | None = None
    member: str = ""
    is_damaged: bool = False


@dataclass(frozen=True)
class Upload:
    """One file, who uploads it where, and what must become of it.

    client: whose folder it goes to; key_of: whose key it goes with. state and reason are the
    catalog's words, but for REFUSED, whose reason is the store's. refused_members: of an archive,
    (name, reason).
    """

    client: str
    vehicle: str
    path: Path
    sha256: str
    size_bytes: int
    state: str
    logs: tuple[ExpectedLog, ...] = ()
    reason: str | None = None
    refused_members: tuple[tuple[str, str], ...] = ()
    declares: Declares = Declares.ITS_OWN
    key_of: str = ""

    @property
    def name(self) -> str:
        return f"{self.vehicle}/{self.path.name}"

    @property
    def landing_key(self) -> str:
        return keys.landing_prefix(self.client, self.vehicle) + self.path.name

    def log_id_of(self, log: ExpectedLog) -> str:
        return str(log_id(self.client, log.sha256))


@dataclass(frozen=True)
class Drone:
    """Writes the files of one drone. Its flights are half an hour apart. seed: of what is in them,
    beside their names; not needed where names differ."""

    folder: Path
    client: str
    vehicle: str
    morning: datetime
    seed: int = 0

    # In order

    def ulog(self, name: str, number: int, *, duration_s: float, has_gps: bool = True) -> Upload:
        data, log = self._flown_ulog(name, number, duration_s, has_gps)
        return self._archived(name, data, log)

    def packed_ulog(self, name: str, number: int, *, duration_s: float) -> Upload:
        """Compressed as its name says."""
        data, log = self._flown_ulog(name, number, duration_s)
        return self._archived(name, _packed(name, data), log)

    def dataflash(
        self, name: str, number: int, *, duration_s: float, is_text: bool = False
    ) -> Upload:
        out = io.BytesIO()
        ledger = write_dataflash(
            out,
            seed=self._seed(name),
            duration_s=duration_s,
            start=self._start(number),
            is_text=is_text,
        )
        tables = _telemetry("dataflash", ledger.rows)
        tables |= {EVENTS: len(ledger.events), PARAMETERS: len(ledger.parameters)}
        flight = ExpectedFlight(number, 0.9 * duration_s, 30.0, end_state="disarmed")
        return self._read(name, out, "dataflash", tables, flight)

    def tlog(self, name: str, number: int, *, duration_s: float, autopilot: str) -> Upload:
        """What the ground station recorded."""
        out = io.BytesIO()
        ledger = write_tlog(
            out,
            seed=self._seed(name),
            duration_s=duration_s,
            start=self._start(number),
            autopilot=autopilot,
        )
        # Armed, disarmed, one command refused, and five words on what is known of the ground.
        said = len(ledger.texts) + len(ledger.modes) + 2 + 1 + 5
        tables = _telemetry("mavlink", ledger.rows)
        tables |= {EVENTS: said, PARAMETERS: len(ledger.parameters)}
        # It is told in whole per cents, once a second: too coarse for a short flight.
        used_pct = 42.0 if duration_s >= 60 else None
        flight = ExpectedFlight(
            number, 0.6 * duration_s, 25.0, battery_used_pct=used_pct, is_seen_from_ground=True
        )
        return self._read(name, out, "mavlink", tables, flight)

    def dji_app(self, name: str, number: int, *, duration_s: float) -> Upload:
        out = io.BytesIO()
        ledger = write_dji_app(
            out, seed=self._seed(name), duration_s=duration_s, start=self._start(number)
        )
        # Also the motors, and the end of the session.
        said = len(ledger.messages) + len(ledger.modes) + 2
        tables = {"dji_app_flight": ledger.rows, EVENTS: said}
        flight = ExpectedFlight(number, duration_s, 30.5, 110.0, 20.0)
        return self._read(name, out, "dji_app", tables, flight)

    def jsonl(self, name: str, *, lines: int, bad_lines: int = 0) -> Upload:
        out, tables = self._lines(name, lines, bad_lines)
        log = ExpectedLog(
            sha256_hex(out.getvalue()), "loaded", "jsonl", tables=tables, is_damaged=bad_lines > 0
        )
        return self._archived(name, _packed(name, out.getvalue()), log)

    def json(self, name: str, *, records: int, style: str) -> Upload:
        out = io.BytesIO()
        write_json(out, seed=self._seed(name), records=records, style=style, start=self.morning)
        return self._read(name, out, "json", {EVENTS: records})

    def journal(self, name: str, *, entries: int) -> Upload:
        out = io.BytesIO()
        write_journal(out, seed=self._seed(name), entries=entries, start=self.morning)
        return self._read(name, out, "journal", {EVENTS: entries})

    def text(self, name: str, *, lines: int, style: str, traces_every: int = 1) -> Upload:
        """As a program on a companion computer writes it, in one of the writer's STYLES."""
        out = io.BytesIO()
        write_text(
            out,
            seed=self._seed(name),
            lines=lines,
            style=style,
            start=self.morning,
            traces_every=traces_every,
        )
        return self._read(name, out, STYLES[style].format, {EVENTS: lines})

    def table(self, name: str, *, rows: int, style: str) -> Upload:
        out = io.BytesIO()
        ledger = write_csv(out, seed=self._seed(name), rows=rows, style=style, start=self.morning)
        table = f"csv_{topic_of([Column(column) for column in ledger.columns])}"
        return self._read(name, out, "csv", {table: ledger.rows, EVENTS: ledger.events})

    def card(self, name: str, number: int, *, duration_s: float, lines: int = 2_000) -> Upload:
        """A memory card's logs in one archive, one of them under a name that leads elsewhere."""
        ulog, flown = self._flown_ulog(f"{name}/log_3.ulg", number, duration_s)
        companion, tables = self._lines(f"{name}/companion.jsonl", lines)
        said = ExpectedLog(sha256_hex(companion.getvalue()), "loaded", "jsonl", tables=tables)
        members = {
            "DCIM/log_3.ulg": ulog,
            "companion.jsonl": companion.getvalue(),
            _UNSAFE_MEMBER: ulog[::-1],
        }
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, data in members.items():
                archive.writestr(zipfile.ZipInfo(member), data, zipfile.ZIP_DEFLATED)
        upload = self._archived(
            name,
            out.getvalue(),
            replace(flown, member="DCIM/log_3.ulg"),
            replace(said, member="companion.jsonl"),
        )
        return replace(upload, refused_members=((_UNSAFE_MEMBER, "unsafe_name"),))

    def growing(self, first: str, second: str, *, lines: int) -> list[Upload]:
        """One log uploaded twice: when half of it was written, and whole."""
        whole, tables = self._lines(first, lines)
        part = b"".join(whole.getvalue().splitlines(keepends=True)[: lines // 2])
        begun = ExpectedLog(sha256_hex(part), SUPERSEDED, "jsonl")
        return [self._archived(first, part, begun), self._read(second, whole, "jsonl", tables)]

    # What goes wrong

    def cut_ulog(self, name: str, number: int, *, duration_s: float) -> Upload:
        """The battery was pulled in flight: the file ends in the middle of a message."""
        data, flown = self._flown_ulog(name, number, duration_s)
        end, tables = _rows_of_first(data, int(len(data) * 0.6))
        data = data[: end + 7]
        assert flown.flight is not None
        # Speeds are even but for some seconds.
        aloft_s = 0.6 * duration_s - 0.05 * duration_s
        flight = ExpectedFlight(number, aloft_s, flown.flight.max_alt_m, end_state="log_ended")
        log = replace(flown, sha256=sha256_hex(data), tables=tables, flight=flight, is_damaged=True)
        return self._archived(name, data, log)

    def cut_jsonl(self, name: str, *, lines: int) -> Upload:
        """The power was cut in the middle of a line."""
        out, _ = self._lines(name, lines)
        return self._cut(name, out, "jsonl", lines)

    def cut_json(self, name: str, *, records: int) -> Upload:
        """The power was cut in the middle of an array's last record."""
        out = io.BytesIO()
        write_json(out, seed=self._seed(name), records=records, start=self.morning)
        return self._cut(name, out, "json", records)

    def mismatched(self, name: str) -> Upload:
        return tampered(self.jsonl(name, lines=500))

    def undeclared(self, name: str) -> Upload:
        return undeclared(self.ulog(name, 1, duration_s=20))

    def intruding(self, name: str, *, into: str) -> Upload:
        return intruding(self.ulog(name, 1, duration_s=20), into=into)

    def repeating(self, first: Upload, name: str) -> Upload:
        """The same bytes once more under another name."""
        upload = self._archived(name, first.path.read_bytes())
        return replace(upload, state="duplicate")

    def recording(self, name: str) -> Upload:
        """A robot's recording in a format that Logbox knows and does not read."""
        header = b"\x89MCAP0\r\n\x01" + struct.pack("<QI", 12, 4) + b"ros2" + struct.pack("<I", 0)
        return self._unread(name, header, "mcap", "not_read")

    def unknown(self, name: str, size_bytes: int = 60_000) -> Upload:
        return self._unread(name, b"RAW\x00", None, "unknown_format", size_bytes)

    # How

    def _flown_ulog(
        self, name: str, number: int, duration_s: float, has_gps: bool = True
    ) -> tuple[bytes, ExpectedLog]:
        out = io.BytesIO()
        ledger = write_ulog(
            out,
            seed=self._seed(name),
            duration_s=duration_s,
            start=self._start(number),
            has_gps=has_gps,
        )
        plan = ledger.flight
        flight = ExpectedFlight(
            number,
            plan.airborne_s,
            plan.max_alt_m,
            plan.distance_m if has_gps else None,
            plan.battery_used_pct,
            has_time=has_gps,
        )
        log = ExpectedLog(
            sha256_hex(out.getvalue()), "loaded", "ulog", tables=_ulog_rows(ledger), flight=flight
        )
        return out.getvalue(), log

    def _lines(
        self, name: str, lines: int, bad_lines: int = 0
    ) -> tuple[io.BytesIO, dict[str, int]]:
        out = io.BytesIO()
        ledger = write_jsonl(
            out, seed=self._seed(name), lines=lines, start=self.morning, bad_lines=bad_lines
        )
        # A bad line is kept apart as an event of Logbox's own.
        return out, {EVENTS: ledger.events + len(ledger.bad_lines)}

    def _cut(self, name: str, out: io.BytesIO, format: str, records: int) -> Upload:
        data = out.getvalue()[:-20]
        # What is left of the last record is kept apart, as an event of Logbox's own.
        log = ExpectedLog(
            sha256_hex(data), "loaded", format, tables={EVENTS: records}, is_damaged=True
        )
        return self._archived(name, data, log)

    def _unread(
        self, name: str, head: bytes, format: str | None, reason: str, size_bytes: int = 60_000
    ) -> Upload:
        data = head + random.Random(self._seed(name)).randbytes(size_bytes)
        log = ExpectedLog(sha256_hex(data), "unparsed", format, reason)
        return self._archived(name, data, log)

    def _read(
        self,
        name: str,
        out: io.BytesIO,
        format: str,
        tables: Mapping[str, int],
        flight: ExpectedFlight | None = None,
    ) -> Upload:
        sha256 = sha256_hex(out.getvalue())
        log = ExpectedLog(sha256, "loaded", format, tables=tables, flight=flight)
        return self._archived(name, out.getvalue(), log)

    def _archived(self, name: str, data: bytes, *logs: ExpectedLog) -> Upload:
        path = self.folder / self.client / self.vehicle / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        digest = digest_file(path)
        return Upload(
            client=self.client,
            vehicle=self.vehicle,
            path=path,
            sha256=digest.sha256,
            size_bytes=digest.size_bytes,
            state="archived",
            logs=logs,
            key_of=self.client,
        )

    def _start(self, number: int) -> datetime:
        return self.morning + timedelta(minutes=30 * (number - 1))

    def _seed(self, name: str) -> int:
        """Differs from file to file, the same in every run of one client."""
        place = f"{self.client}/{self.vehicle}/{name}"
        return self.seed + sum(at * ord(char) for at, char in enumerate(place, 1))


def tampered(upload: Upload) -> Upload:
    """Bytes that are not those the drone took the digest of."""
    return replace(
        _unopened(upload), state="quarantined", reason="mismatch", declares=Declares.ANOTHER
    )


def undeclared(upload: Upload) -> Upload:
    """What a plain S3 client sends that knows nothing of digests."""
    return replace(
        _unopened(upload), state="quarantined", reason="undeclared", declares=Declares.NONE
    )


def intruding(upload: Upload, *, into: str) -> Upload:
    """A log that would be fine, sent to another client's folder."""
    return replace(_unopened(upload), state=REFUSED, reason="AccessDenied", client=into)


def with_wrong_key(upload: Upload, key_of: str) -> Upload:
    """Which of its words the store has for that depends on the store."""
    return replace(_unopened(upload), state=REFUSED, key_of=key_of)


def aborted(upload: Upload) -> Upload:
    return replace(_unopened(upload), state=ABORTED)


def _unopened(upload: Upload) -> Upload:
    """Nobody comes to look into it."""
    return replace(upload, logs=(), refused_members=())


def _packed(name: str, data: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(data, mtime=0)
    return zstandard.ZstdCompressor().compress(data) if name.endswith(".zst") else data


def _telemetry(format: str, rows: Mapping[tuple[str, int], int]) -> dict[str, int]:
    tables: Counter[str] = Counter()
    for (topic, _), count in rows.items():
        tables[f"{format}_{topic.lower()}"] += count
    return dict(tables)


def _ulog_rows(ledger: UlogLedger) -> dict[str, int]:
    said = len(ledger.messages) + len(ledger.events) + len(ledger.dropouts_ms)
    return _telemetry("ulog", ledger.rows) | {EVENTS: said, PARAMETERS: len(ledger.parameters)}


def _rows_of_first(data: bytes, size_bytes: int) -> tuple[int, dict[str, int]]:
    """Where the last whole message of a ULog's first bytes ends, and what rows there are up to
    there, with the one that tells of the damage. Every message says its own size."""
    tables: Counter[str] = Counter({EVENTS: 1})
    topics: dict[int, str] = {}
    end = 16
    for kind, body in _messages(data):
        if end + 3 + len(body) > size_bytes:
            break
        end += 3 + len(body)
        if kind == "A":
            topics[struct.unpack_from("<H", body, 1)[0]] = body[3:].decode()
        elif kind == "D":
            topic = topics[struct.unpack_from("<H", body)[0]]
            tables[f"ulog_{topic}"] += 1
            tables[EVENTS] += topic == "event"
        elif kind in "LCO":
            tables[EVENTS] += 1
        elif kind in "PQ":
            tables[PARAMETERS] += 1
    return end, dict(tables)


def _messages(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 16
    while at < len(data):
        size, kind = struct.unpack_from("<HB", data, at)
        yield chr(kind), data[at + 3 : at + 3 + size]
        at += 3 + size
