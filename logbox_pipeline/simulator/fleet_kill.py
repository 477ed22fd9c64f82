"""Kill a drone in the middle of an upload, and start it again: real processes, a real journal."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from logbox_pipeline.drone.target import Target
from logbox_pipeline.drone.watch import MULTIPART_BYTES

RATE = "12M"
"""Bytes per second of a drone that will be killed: a part takes most of a second."""

KILLS = 2

_WATCH = "import sys; from logbox_pipeline.drone.cli import main; sys.exit(main(sys.argv[1:]))"
_LOOK_S = 0.02
_AGAIN_S = 2.0


@dataclass(frozen=True)
class Survived:
    """key: where the bytes stand. repeats: requests that were sent again."""

    key: str
    kills: int
    repeats: int


def send_and_kill(
    target: Target,
    path: Path,
    sha256: str,
    scratch: Path,
    *,
    receipt_keys: str,
    endure: Callable[[float], None],
) -> Survived:
    """Let `logbox-drone watch` send one file, kill it between its parts, and let it go on.

    path: the only file of its folder. endure: waits so many seconds, or raises. A file below
    MULTIPART_BYTES goes in one request, and is not killed.
    """
    drone = _Drone(target, path.parent, scratch, receipt_keys)
    kills = 0
    if path.stat().st_size >= MULTIPART_BYTES:
        kills = sum(drone.run_and_kill(sent, endure) for sent in range(1, KILLS + 1))
    while True:
        drone.run()
        key = drone.sent_as(sha256)
        if key is not None:
            return Survived(key, kills, drone.repeats)
        endure(_AGAIN_S)


class _Drone:
    def __init__(self, target: Target, folder: Path, scratch: Path, receipt_keys: str) -> None:
        self._state = scratch / "state"
        self._folder = folder
        self._said = scratch / "said.txt"
        scratch.mkdir(parents=True, exist_ok=True)
        given = {
            "LOGBOX_CLIENT": target.client,
            "LOGBOX_VEHICLE": target.vehicle,
            "LOGBOX_LANDING_BUCKET": target.bucket,
            "LOGBOX_CLIENT_ACCESS_KEY_ID": target.access_key_id,
            "LOGBOX_CLIENT_SECRET_ACCESS_KEY": target.secret_access_key,
            "LOGBOX_S3_ENDPOINT": target.endpoint,
            "LOGBOX_S3_REGION": target.region,
            "LOGBOX_RECEIPT_PUBLIC_KEY": receipt_keys,
        }
        others = {name: value for name, value in os.environ.items() if name not in given}
        self._environment = others | {name: value for name, value in given.items() if value}

    def run(self) -> None:
        """Until it has sent what it could."""
        with self._started("--once") as process:
            process.wait()

    def run_and_kill(self, sent_parts: int, endure: Callable[[float], None]) -> bool:
        """Whether it was killed, once the store had so many parts: before it was done."""
        with self._started("--once", "--max-rate", RATE) as process:
            try:
                while process.poll() is None and self._parts() < sent_parts:
                    endure(_LOOK_S)
                # In the middle of the next one.
                time.sleep(_LOOK_S)
            finally:
                process.kill()
            return process.wait() < 0

    def sent_as(self, sha256: str) -> str | None:
        """The landing key of these bytes, once the store has them."""
        found = self._ask("select key from uploads where sha256 = ? and state <> 'sending'", sha256)
        return None if found is None else str(found)

    @property
    def repeats(self) -> int:
        return self._said.read_text(errors="replace").count("; attempt ")

    def _parts(self) -> int:
        return int(self._ask("select count(*) from parts") or 0)

    def _ask(self, question: str, *values: str) -> Any:
        journal = self._state / "journal.sqlite3"
        if not journal.exists():
            return None
        try:
            # The drone has it for itself alone: locks are passed over, and what it is just writing
            # looks damaged.
            place = f"{journal.absolute().as_uri()}?immutable=1"
            with closing(sqlite3.connect(place, uri=True)) as connection:
                row = connection.execute(question, values).fetchone()
        except sqlite3.DatabaseError:
            return None
        return None if row is None else row[0]

    def _started(self, *options: str) -> subprocess.Popen[bytes]:
        arguments = ["watch", "--state", str(self._state), "--stable-for", "0.1", *options]
        with self._said.open("ab") as said:
            return subprocess.Popen(
                [sys.executable, "-c", _WATCH, *arguments, str(self._folder)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
