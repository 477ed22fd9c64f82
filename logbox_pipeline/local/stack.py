"""The embedded stack of one home folder: PostgreSQL, a guarded S3 and its replica, on loopback.

    with EmbeddedStack(Path(".logbox")) as stack:
        stack.environment()

    <home>/stack.lock    held by the process that runs the stack; holds its pid
    <home>/stack.json    ports, remembered from start to start, and pids
    <home>/stack.env     what environment() gives, 0600
    <home>/secrets.json  passwords and keys, made once, 0600
    <home>/log/          postgres.log, object_store.log, access.jsonl
    <home>/postgres, <home>/s3
    <home>/replica/      secrets.json, log/ and s3/ of the second S3 (s3_server.py)

Buckets, roles, databases and migrations are `logbox setup`'s; Dagster's processes dagster.py's.
"""

import contextlib
import fcntl
import json
import logging
import os
import secrets
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from logbox_pipeline.core.errors import LogboxError, UsageError
from logbox_pipeline.local.patience import Patience
from logbox_pipeline.local.postgres import Postgres, new_password
from logbox_pipeline.local.processes import (
    LOOPBACK,
    free_port,
    port_is_free,
    port_owner,
    read_json,
    write_private,
)
from logbox_pipeline.local.s3_server import S3Server, end_left_server

log = logging.getLogger(__name__)

REGION = "us-east-1"
REPLICA_REGION = "us-west-2"
"""Another one, so that nothing can confuse the two stores in silence."""

ORPHANS_S = 5.0
"""How long what a killed PostgreSQL started may keep our port, until it sees that it is alone."""

OWN_NAMES = frozenset(
    (
        "bench",
        "dagster",
        "log",
        "postgres",
        "postgres.new",
        "replica",
        "s3",
        "work",
        "secrets.json",
        "setup.env",
        "stack.env",
        "stack.json",
        "stack.lock",
    )
)
"""What stands in a home folder."""

SERVERS = {
    "postgres_port": "PostgreSQL",
    "s3_port": "S3",
    "replica_s3_port": "the replica's S3",
}
"""Whose the ports of stack.json are."""

STORE_PID, REPLICA_PID = "object_store_pid", "replica_object_store_pid"


# A started stack holds its lock by an open file: it must not be collected as garbage.
_started: set["EmbeddedStack"] = set()


class EmbeddedStack:
    """PostgreSQL and S3 under one home folder; ports are remembered, or free ones are found.

    `has_replica` False leaves the second S3 out: the settings name another one, or want none.
    """

    def __init__(
        self,
        home: Path,
        *,
        postgres_port: int | None = None,
        s3_port: int | None = None,
        has_replica: bool = True,
    ) -> None:
        # Not resolve(): a home reached through a link keeps its name in every message.
        self.home = home.absolute()
        self.log = self.home / "log"
        self._asked = {"postgres_port": postgres_port, "s3_port": s3_port}
        self._store = S3Server(self.home, "the embedded S3")
        self._replica: S3Server | None = None
        if has_replica:
            self._replica = S3Server(self.home / "replica", "the embedded replica")
            self._asked["replica_s3_port"] = None
        self._ports: dict[str, int] = {}
        self._secrets: dict[str, str] = {}
        self._replica_keys: dict[str, str] = {}
        self._lock: IO[str] | None = None
        self._postgres: Postgres | None = None
        self._postgres_started_at = 0.0
        self._patience = {name: Patience() for name in SERVERS}

    def start(self) -> None:
        """Start both servers and wait until they answer; a second call changes nothing.

        Raises LogboxError when another process runs this home's stack, when a port is taken, and
        when a server does not start (with the tail of its log). Nothing is left running then.
        """
        if self._lock:
            return
        self._make_home()
        self._lock = take_lock(self.home)
        _started.add(self)
        try:
            end_leftovers(self.home)
            self._make_secrets()
            self._ports = self._choose_ports()
            # All at once: each takes its second or two to come up.
            for server, port in self._object_stores():
                server.begin(port)
            self._postgres = self._server()
            self._start_postgres(self._postgres)
            for server, port in self._object_stores():
                server.wait(port)
            self._remember()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End what this object started and free its ports; harmless when nothing runs."""
        if not self._lock:
            return
        try:
            self._store.stop()
            if self._replica:
                self._replica.stop()
            if self._postgres:
                self._postgres.stop()
                self._postgres = None
        finally:
            self._lock.close()
            self._lock = None
            _started.discard(self)

    def environment(self) -> dict[str, str]:
        """The settings that lead Logbox to this stack; it holds secrets."""
        if not self._ports:
            raise UsageError(f"the embedded stack in {self.home} is not started")
        endpoint = f"http://{LOOPBACK}:{self._ports['s3_port']}"
        found = {
            "LOGBOX_S3_ENDPOINT": endpoint,
            "LOGBOX_IAM_ENDPOINT": endpoint,
            "LOGBOX_S3_REGION": REGION,
            "LOGBOX_S3_ACCESS_KEY_ID": self._secrets["s3_access_key_id"],
            "LOGBOX_S3_SECRET_ACCESS_KEY": self._secrets["s3_secret_access_key"],
            "LOGBOX_SECRET_KEY": self._secrets["secret_key"],
            "LOGBOX_ADMIN_DATABASE_URL": self._server().url("postgres"),
        }
        if self._replica:
            found |= {
                "LOGBOX_REPLICA_S3_ENDPOINT": f"http://{LOOPBACK}:{self._ports['replica_s3_port']}",
                "LOGBOX_REPLICA_S3_REGION": REPLICA_REGION,
                "LOGBOX_REPLICA_ACCESS_KEY_ID": self._replica_keys["s3_access_key_id"],
                "LOGBOX_REPLICA_SECRET_ACCESS_KEY": self._replica_keys["s3_secret_access_key"],
            }
        return found

    @property
    def psql(self) -> Path:
        """The psql that belongs to the embedded PostgreSQL."""
        return self._server().psql

    def watch(self) -> None:
        """Start again what has died, as an init system does; for a loop in the foreground.

        One that dies again and again is let rest in between (patience.py), and never given up: a
        full disk is emptied by somebody some day.
        """
        names = ("s3_port", "replica_s3_port")
        for name, (server, port) in zip(names, self._object_stores(), strict=False):
            if server.has_ended() and self._is_due(name, server.started_at):
                log.warning("%s has ended and is started again; see %s", server.name, server.log)
                server.stop()
                server.begin(port)
                self._remember()
        postgres = self._postgres
        if postgres is None or postgres.is_running():
            return
        if self._is_due("postgres_port", self._postgres_started_at):
            log.warning("PostgreSQL has ended and is started again; see %s", postgres.log)
            try:
                self._start_postgres(postgres)
            except LogboxError as error:
                log.warning("%s", error)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _server(self) -> Postgres:
        return Postgres(
            self.home / "postgres",
            self.log / "postgres.log",
            port=self._ports.get("postgres_port", 0),
            password=self._secrets.get("postgres_password", ""),
        )

    def _object_stores(self) -> list[tuple[S3Server, int]]:
        found = [(self._store, self._ports["s3_port"])]
        if self._replica:
            found.append((self._replica, self._ports["replica_s3_port"]))
        return found

    def _start_postgres(self, server: Postgres) -> None:
        self._postgres_started_at = time.monotonic()
        server.start()

    def _is_due(self, name: str, started_at: float) -> bool:
        return self._patience[name].is_over(started_at=started_at, now=time.monotonic())

    def _make_home(self) -> None:
        if self.home.exists() and not (self.home / "stack.json").exists():
            others = sorted({one.name for one in self.home.iterdir()} - OWN_NAMES)
            if others:
                raise UsageError(
                    f"{self.home} is no folder of a stack: it holds {others[0]}"
                    + (f" and {len(others) - 1} more" if len(others) > 1 else ""),
                    hint="set LOGBOX_HOME to a folder that is empty, or that does not exist yet",
                )
        # As root, PostgreSQL's own user must pass through; listing stays ours alone.
        mode = 0o711 if os.geteuid() == 0 else 0o700
        folders = [self.home, self.log]
        if self._replica:
            folders += [self._replica.folder, self._replica.log.parent]
        for folder in folders:
            if not folder.exists():
                folder.mkdir(parents=True)
                folder.chmod(mode)

    def _make_secrets(self) -> None:
        path = self.home / "secrets.json"
        known = read_json(path)
        if "postgres_password" not in known and (self.home / "postgres").exists():
            raise LogboxError(
                f"{path} is missing, but {self.home / 'postgres'} was made with its password",
                hint="restore secrets.json from a backup",
            )
        made = {
            "postgres_password": new_password(),
            "secret_key": secrets.token_urlsafe(32),
        } | known
        if made != known:
            write_private(path, json.dumps(made, indent=1) + "\n")
        self._secrets = self._store.make_keys()
        self._replica_keys = self._replica.make_keys() if self._replica else {}

    def _choose_ports(self) -> dict[str, int]:
        remembered = read_json(self.home / "stack.json")
        chosen: dict[str, int] = {}
        for name, asked in self._asked.items():
            port = asked or remembered.get(name)
            if port is None:
                port = free_port()
                while port in chosen.values():
                    port = free_port()
            elif not _is_free_soon(port, ORPHANS_S if asked is None else 0):
                raise port_taken(name, port, self.home, asked=asked is not None)
            chosen[name] = port
        return chosen

    def _remember(self) -> None:
        known = read_json(self.home / "stack.json")
        pids = {
            STORE_PID: self._store.pid,
            REPLICA_PID: self._replica.pid if self._replica else None,
        }
        remembered = {**known, **self._ports, **pids}
        write_private(self.home / "stack.json", json.dumps(remembered, indent=1) + "\n")
        lines = [f"{name}={value}\n" for name, value in self.environment().items()]
        write_private(self.home / "stack.env", "".join(lines))


def running_pid(home: Path) -> int | None:
    """The pid of the process that runs a home's stack; None when nobody does."""
    path = home.absolute() / "stack.lock"
    try:
        with path.open("r+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read().strip() or 0) or None
    except FileNotFoundError:
        pass
    return None


def stop_running(home: Path, *, timeout_s: float = 90) -> bool:
    """Stop a home's stack from another process; False when there was nothing to stop.

    The process that runs it is told to end (SIGTERM) and waited for; what a killed one left
    behind is ended here. Raises LogboxError when it does not end in time.
    """
    home = home.absolute()
    pid = running_pid(home)
    if pid is None:
        if not home.exists():
            return False
        lock = take_lock(home)
        try:
            return end_leftovers(home)
        finally:
            lock.close()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while running_pid(home) == pid:
        if time.monotonic() > deadline:
            raise LogboxError(
                f"the stack in {home} (pid {pid}) did not end within {timeout_s:.0f} s",
                hint=f"kill {pid}, then run `logbox down` again",
            )
        time.sleep(0.1)
    return True


def end_leftovers(home: Path) -> bool:
    """End the servers that a killed run left on this home. The caller holds the lock."""
    known = read_json(home / "stack.json")
    ended = end_left_server(home, known, STORE_PID)
    ended = end_left_server(home / "replica", known, REPLICA_PID) or ended
    left = Postgres(home / "postgres", home / "log" / "postgres.log", port=0, password="")
    if left.is_running():
        left.stop()
        ended = True
    return ended


def take_lock(home: Path) -> IO[str]:
    """Hold a home's lock until the file is closed or this process ends."""
    # The lock's file is never deleted: two processes could then hold two of one name.
    fd = os.open(home / "stack.lock", os.O_RDWR | os.O_CREAT, 0o600)
    file = os.fdopen(fd, "r+", encoding="utf-8")
    # Twice: running_pid() of another process may be looking just now.
    for wait_s in (0.3, 0):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if wait_s:
                time.sleep(wait_s)
                continue
        pid = file.read().strip() or "unknown"
        file.close()
        raise LogboxError(
            f"the stack in {home} is already running (pid {pid})",
            hint="use it as it is, or stop it with `logbox down`",
        )
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def port_taken(name: str, port: int, home: Path, *, asked: bool) -> LogboxError:
    owner = port_owner(port)
    by = f" by {owner}" if owner else ""
    hint = "stop that process, or choose another port"
    if not asked:
        hint = f"stop that process, or remove {name} from {home / 'stack.json'} for a new port"
    return LogboxError(f"port {port} of {LOOPBACK}, for {SERVERS[name]}, is taken{by}", hint=hint)


def _is_free_soon(port: int, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while not port_is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
