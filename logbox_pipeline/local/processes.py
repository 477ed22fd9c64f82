"""What the embedded stack knows of processes, ports and small files. No service is named here."""

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"

# Below Linux's ephemeral range (32768-60999): a remembered port there could be lent to somebody's
# outgoing connection while the stack is down.
PORT_RANGE = range(20000, 32000)


def write_private(path: Path, text: str) -> None:
    """Replace a file whole, durable, readable by its owner only."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, or {} where there is no file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{path} does not hold a JSON object")
    return value


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log, for an error message."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on."""
    for port in random.sample(PORT_RANGE, 200):
        if port_is_free(port):
            return port
    raise OSError(f"no free port between {PORT_RANGE.start} and {PORT_RANGE.stop}")


def port_is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers bind: connections of the last run in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def port_owner(port: int) -> str | None:
    """`command (pid N)` of the process that listens on a port; None where that cannot be known."""
    wanted = f"{port:04X}"
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                # st 0A is LISTEN.
                if fields[1].rpartition(":")[2] == wanted and fields[3] == "0A":
                    inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for fd in (process / "fd").iterdir():
                if str(fd.readlink()) in inodes:
                    command = command_of(int(process.name)) or "a process"
                    return f"{command[:80]} (pid {process.name})"
    return None


def command_of(pid: int) -> str | None:
    """The command line of a running process; None when there is no such process (or a zombie)."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        return raw.replace(b"\0", b" ").decode("utf-8", "replace").strip() or None
    except OSError:
        if Path("/proc/self").exists():
            return None
    found = subprocess.run(
        ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None


def end_group(process: subprocess.Popen[bytes], *, grace_s: float) -> None:
    """End a child that leads its own process group, and all of that group; wait until it is gone.

    The child's own id is the group's (`start_new_session=True`), and it is only reaped here, so
    the group cannot be somebody else's. One that has died by itself leaves its own children, and
    they get the same grace.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and group_is_alive(process):
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def group_is_alive(process: subprocess.Popen[bytes]) -> bool:
    """Whether any process of the group still runs. A dead one that its new parent has not reaped
    yet does not; only Linux tells them apart."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    if not Path("/proc/self/stat").exists():
        return True
    return any(group == process.pid and state not in "ZX" for state, group in _states_and_groups())


def _states_and_groups() -> Iterator[tuple[str, int]]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                # Behind the name, which may hold anything: state, parent, group.
                state, _, group, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
                yield state, int(group)


def end_stray(pid: int, *, command_contains: tuple[str, ...], grace_s: float = 10) -> bool:
    """End a process that an earlier run left, if its command line says it is still that one."""
    command = command_of(pid)
    if command is None or not all(part in command for part in command_contains):
        return False
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sent)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline:
            found = command_of(pid)
            if found is None or found != command:
                return True
            time.sleep(0.05)
    return False


def without_secrets(text: str) -> str:
    """A log's tail with the passwords of URLs blotted out."""
    return re.sub(r"(://[^:/@\s]+:)[^@\s]+@", r"\1***@", text)
