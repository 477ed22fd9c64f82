"""One embedded S3 + IAM endpoint as stack.py starts, watches and ends it; it runs object_store.py.

    <folder>/secrets.json  its administrator's key, made once, 0600
    <folder>/s3            what it holds
    <folder>/log           object_store.log, access.jsonl

The stack has two: the store, in the home folder itself, and the replica, in `<home>/replica`, each
with a port, a key and data of its own.
"""

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from logbox_pipeline.core.errors import LogboxError, TransientError
from logbox_pipeline.local.processes import (
    LOOPBACK,
    end_group,
    end_stray,
    read_json,
    tail,
    write_private,
)

MODULE = "logbox_pipeline.local.object_store"
START_TIMEOUT_S = 60

# AWS's alphabet of key ids.
KEY_ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class S3Server:
    """The process over one folder. `name` is what messages call it: `the embedded S3`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.log = folder / "log" / "object_store.log"
        self.started_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def make_keys(self) -> dict[str, str]:
        """s3_access_key_id and s3_secret_access_key, among whatever else secrets.json holds."""
        path = self.folder / "secrets.json"
        known = read_json(path)
        made = {
            "s3_access_key_id": "AKIA" + "".join(secrets.choice(KEY_ID_LETTERS) for _ in range(16)),
            "s3_secret_access_key": secrets.token_hex(20),
        } | known
        if made != known:
            write_private(path, json.dumps(made, indent=1) + "\n")
        return made

    def begin(self, port: int) -> None:
        """Start the process; it answers once wait() has returned."""
        read_end, self._lifeline = os.pipe()
        self.started_at = time.monotonic()
        try:
            with self.log.open("ab") as output:
                self._process = subprocess.Popen(
                    [
                        sys.executable, "-m", MODULE,
                        "--home", str(self.folder), "--port", str(port),
                        "--lifeline", str(read_end),
                    ],
                    stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    pass_fds=(read_end,), start_new_session=True,
                )  # fmt: skip
        finally:
            os.close(read_end)

    def wait(self, port: int) -> None:
        """Raises LogboxError with the tail of its log when it ends, or is silent for too long."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers(f"http://{LOOPBACK}:{port}/_ministack/health"):
            self.watch()
            if time.monotonic() > deadline:
                raise TransientError(
                    f"{self.name} does not answer after {START_TIMEOUT_S} s:\n{tail(self.log)}",
                    hint=f"read {self.log}",
                )
            time.sleep(0.05)

    def watch(self) -> None:
        """Raise LogboxError when it has ended by itself."""
        if self.has_ended():
            raise died(self.name, self.log)

    def has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """End it and wait until it is gone; harmless when it does not run."""
        if self._process:
            end_group(self._process, grace_s=15)
            self._process = None
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


def end_left_server(folder: Path, remembered: Mapping[str, object], pid_name: str) -> bool:
    """End the server that a killed run left over a folder; False when there was none."""
    pid = remembered.get(pid_name)
    return isinstance(pid, int) and end_stray(pid, command_contains=(MODULE, f"{folder} "))


def died(what: str, log: Path) -> LogboxError:
    return LogboxError(f"{what} has ended; its log says:\n{tail(log)}", hint=f"read {log}")


def answers(url: str) -> bool:
    try:
        # No proxy of the caller's environment may stand between.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
