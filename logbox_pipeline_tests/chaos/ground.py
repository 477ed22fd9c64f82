"""The stack that the faults strike: made, started, looked at, ended. No fault here.

    folder/home        LOGBOX_HOME; with the right to mount, PostgreSQL's data on a small disk
    folder/work        LOGBOX_WORK_DIR, a small disk too
    folder/failpoints  LOGBOX_FAILPOINTS
    folder/up.log      what `logbox up` said

Dagster and its runs reach S3, the replica and Postgres by way of the proxies; whoever only looks
goes straight.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from dotenv import dotenv_values

from logbox_pipeline.local.processes import command_of, end_group, free_port, read_json
from logbox_pipeline.settings import stack_files
from logbox_pipeline_tests.chaos.postgres_proxy import PostgresProxy
from logbox_pipeline_tests.chaos.s3_proxy import S3Proxy

ROOT = Path(__file__).parents[2]
START_S = 120
PINNED = {
    "LOGBOX_SIDECAR_GRACE_S": "5",
    "LOGBOX_DIGEST_POLICY": "require",
    "LOGBOX_POSTGRES_TOPICS": "*",
    "LOGBOX_REPLICATION": "copy",
    # Many small batches: more that can be struck.
    "LOGBOX_BATCH_FILES": "5",
    "LOGBOX_LAKE_GRACE_S": "0",
    "LOGBOX_COMPACTION_GRACE_S": "0",
}
POSTGRES_DISK = "1500m"
WORK_DISK = "400m"


class Ground:
    """One stack in `folder`, which is made here and removed by end()."""

    def __init__(self, folder: Path, *, seed: int) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.work = folder / "work"
        self.failpoints = folder / "failpoints"
        self.armed: set[Path] = set()
        self.seed = seed
        self.mounted: list[Path] = []
        self.proxies: list[Any] = []
        self._up: subprocess.Popen[bytes] | None = None
        self._begun: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Set the stack up, and start it behind the proxies."""
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o711)
        for folder in (self.work, self.failpoints):
            folder.mkdir()
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("LOGBOX_")
        } | {
            **PINNED,
            "LOGBOX_HOME": str(self.home),
            "LOGBOX_WORK_DIR": str(self.work),
            "LOGBOX_FAILPOINTS": str(self.failpoints),
            "LOGBOX_WEB_PORT": str(free_port()),
            "PYTHONPATH": str(ROOT),
        }
        self.logbox("setup", check=True)
        self._mount(self.work, WORK_DISK)
        self._mount(self.home / "postgres", POSTGRES_DISK)
        found = read_json(self.home / "stack.json")
        self.s3 = S3Proxy(found["s3_port"], seed=self.seed)
        self.replica = S3Proxy(found["replica_s3_port"], seed=self.seed + 1)
        self.postgres = PostgresProxy(found["postgres_port"])
        self.proxies = [self.s3, self.replica, self.postgres]
        for proxy in self.proxies:
            proxy.served.start()
        detours = self.folder / "detours.json"
        detours.write_text(json.dumps(self._detours()), encoding="utf-8")
        detours.chmod(0o600)
        self.start_up()

    def start_up(self) -> None:
        """Start `logbox up`, as an init system does, and wait until all of it runs."""
        with (self.folder / "up.log").open("ab") as log:
            self._up = subprocess.Popen(
                [
                    sys.executable, "-m", "logbox_pipeline_tests.chaos.up",
                    str(self.folder / "detours.json"),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=self._environment, cwd=self.folder,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while self.absent() or not self.last_tick():
            if time.monotonic() > deadline or self._up.poll() is not None:
                raise RuntimeError(f"the stack does not start:\n{self.said()}")
            time.sleep(0.5)

    def kill_up(self) -> None:
        """As a machine that loses power does to it, and starts again."""
        assert self._up is not None
        self._up.kill()
        self._up.wait()

    def end(self, *, keep: bool = False) -> None:
        """Stop all that was started here; remove the folder."""
        for begun in self._begun:
            end_group(begun, grace_s=10)
        if self._up is not None:
            self._up.terminate()
            try:
                self._up.wait(90)
            except subprocess.TimeoutExpired:
                end_group(self._up, grace_s=5)
        if self.home.exists():
            self.logbox("down")
        for proxy in self.proxies:
            proxy.served.stop()
        for place in self.mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=False)
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    # Using it

    def logbox(
        self, *arguments: str, check: bool = False, timeout_s: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run `logbox ...` straight against the stores."""
        done = self.run(self.command(*arguments), timeout_s=timeout_s)
        if check and done.returncode != 0:
            raise RuntimeError(f"logbox {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done

    def run(
        self, command: Sequence[str], *, timeout_s: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the stack's environment."""
        return subprocess.run(
            command, capture_output=True, text=True, check=False,
            env=self._environment, cwd=self.folder, timeout=timeout_s,
        )  # fmt: skip

    def begin(
        self, *arguments: str, log: Path, settings: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start `logbox ...`, which writes to `log`."""
        with log.open("ab") as out:
            begun = subprocess.Popen(
                self.command(*arguments), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True, env=self._environment | (settings or {}), cwd=self.folder,
            )  # fmt: skip
        self._begun.append(begun)
        return begun

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", "from logbox_pipeline.cli.entry import main; main()",
                *arguments]  # fmt: skip

    def cursor(self, database: str = "LOGBOX_DATABASE_URL") -> AbstractContextManager[Any]:
        """Straight to Postgres; raises psycopg2.OperationalError while it is away."""
        return _cursor(self.values()[database].replace("+psycopg2", ""))

    def superuser(self) -> AbstractContextManager[Any]:
        """A cursor of Postgres's superuser in the pipeline's database."""
        values = self.values()
        database = values["LOGBOX_DATABASE_URL"].rpartition("/")[2]
        server = values["LOGBOX_ADMIN_DATABASE_URL"].rpartition("/")[0]
        return _cursor(f"{server}/{database}")

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.cursor() as cursor:
            cursor.execute(query, values)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

    def values(self) -> dict[str, str]:
        """The settings that lead straight to the stores."""
        found: dict[str, str] = {}
        for file in stack_files(self.home):
            found |= {name: value or "" for name, value in dotenv_values(file).items()}
        return found

    def said(self) -> str:
        path = self.folder / "up.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    # Looking at it

    def last_tick(self) -> float:
        """When the landing sensor ended its last tick (Unix seconds); 0 when nobody can tell."""
        try:
            rows = self.rows("select extract(epoch from last_tick_at) from logbox.pipeline_state")
        except psycopg2.Error:
            return 0.0
        return float(rows[0][0] or 0) if rows else 0.0

    def absent(self) -> list[str]:
        """Which of the stack's processes do not run."""
        return [name for name, pid in self.pids().items() if pid is None or not command_of(pid)]

    def pids(self) -> dict[str, int | None]:
        stack = read_json(self.home / "stack.json")
        dagster = read_json(self.home / "dagster" / "pids.json")
        return {
            "S3": stack.get("object_store_pid"),
            "replica": stack.get("replica_object_store_pid"),
            "Postgres": self._postmaster(),
            **{name: dagster.get(name) for name in ("code", "daemon", "webserver")},
        }

    def runs(self) -> list[int]:
        """Processes of runs, and of such as a killed code server has left behind."""
        ours = f"LOGBOX_HOME={self.home}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if b"spawn_main" not in (folder / "cmdline").read_bytes():
                    continue
                if ours in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def parsers(self) -> list[int]:
        """Parser processes: forked from the server that a run has started."""
        return [
            worker
            for run in self.runs()
            for server in children(run)
            if "forkserver" in (command_of(server) or "")
            for worker in children(server)
        ]

    def _postmaster(self) -> int | None:
        try:
            text = (self.home / "postgres" / "postmaster.pid").read_text(encoding="utf-8")
            return int(text.split()[0])
        except (OSError, IndexError, ValueError):
            return None

    def _detours(self) -> dict[str, str]:
        port = self.postgres.served.port
        straight = self.values()

        def led(name: str) -> str:
            return straight[name].replace(f"127.0.0.1:{port}", f"[::1]:{port}")

        return {
            "LOGBOX_S3_ENDPOINT": self.s3.endpoint,
            "LOGBOX_REPLICA_S3_ENDPOINT": self.replica.endpoint,
            "LOGBOX_DATABASE_URL": led("LOGBOX_DATABASE_URL"),
            "LOGBOX_DAGSTER_DATABASE_URL": led("LOGBOX_DAGSTER_DATABASE_URL"),
        }

    def _mount(self, place: Path, size: str) -> None:
        """Put a small disk in the place of a folder, with what it holds; not where we may not."""
        aside = place.with_name(f"{place.name}.aside")
        place.rename(aside)
        place.mkdir()
        options = f"size={size},mode={aside.stat().st_mode & 0o777:o}"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)],
            capture_output=True, check=False,
        )  # fmt: skip
        if mounted.returncode != 0:
            place.rmdir()
            aside.rename(place)
            return
        self.mounted.append(place)
        subprocess.run(["cp", "-a", f"{aside}/.", str(place)], check=True)
        shutil.rmtree(aside)


@contextmanager
def _cursor(url: str) -> Iterator[Any]:
    with closing(psycopg2.connect(url, connect_timeout=3)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def children(pid: int | None) -> Sequence[int]:
    """Processes whose parent this one is."""
    if pid is None:
        return []
    found = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(one) for one in thread.read_text().split()]
        except OSError:
            continue
    return found


def kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Whether there was such a process."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
