"""Dagster's processes beside the embedded stack: one code server, the webserver, the daemon.

The code server is shared, so that Logbox is loaded once and not by each of the other two. What it
serves is definitions.py's; how the instance is set up is deploy/dagster.yaml's.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from logbox_pipeline.core.errors import LogboxError, SettingError, TransientError
from logbox_pipeline.local.processes import (
    LOOPBACK,
    end_group,
    end_stray,
    free_port,
    port_is_free,
    port_owner,
    read_json,
    tail,
    without_secrets,
    write_private,
)

DEFINITIONS = "logbox_pipeline.definitions"
DATABASE_SETTING = "LOGBOX_DAGSTER_DATABASE_URL"
START_TIMEOUT_S = 120
# Runs are children of the code server and get as long to say that they were interrupted.
STOP_TIMEOUT_S = 20

HEALTH_QUERY = """
{
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
  workspaceOrError {
    ... on Workspace {
      locationEntries { loadStatus locationOrLoadError { ... on PythonError { message } } }
    }
    ... on PythonError { message }
  }
}
"""


@dataclass(frozen=True)
class Child:
    """One of Dagster's processes and where it writes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


class DagsterProcesses:
    """Dagster's UI on `port`, its daemon and its code server, with their home in `<home>/dagster`.

    `environment` is added to this process's own and must hold LOGBOX_DAGSTER_DATABASE_URL. Call
    start() in the main thread: on Linux the children end when the thread that started them does.
    """

    def __init__(
        self,
        home: Path,
        environment: dict[str, str],
        port: int,
        *,
        module: str = DEFINITIONS,
        working_directory: Path | None = None,
    ) -> None:
        self.home = home.absolute()
        self.port = port
        self._dagster_home = self.home / "dagster"
        self._module = module
        self._working_directory = (working_directory or Path.cwd()).absolute()
        self._environment = {
            **os.environ,
            **environment,
            "DAGSTER_HOME": str(self._dagster_home),
            "PYTHONUNBUFFERED": "1",
            # Colours are for terminals, not for logs.
            "NO_COLOR": "1",
        }
        self._children: list[Child] = []

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Start all three and wait until the UI answers and the daemon's heartbeats are there.

        Raises LogboxError with the tail of a log when one of them ends or the definitions do not
        load; nothing is left running then.
        """
        if self._children:
            return
        if DATABASE_SETTING not in self._environment:
            raise SettingError(f"{DATABASE_SETTING} is missing", hint="run `logbox setup`")
        self._end_leftovers()
        if not port_is_free(self.port):
            owner = port_owner(self.port)
            raise LogboxError(
                f"port {self.port} of {LOOPBACK}, for Dagster's UI, is taken"
                + (f" by {owner}" if owner else ""),
                hint="stop that process, or set LOGBOX_WEB_PORT to another port",
            )
        code_port = free_port()
        try:
            workspace = self._prepare(code_port)
            self._run("code", [
                "-m", "dagster", "api", "grpc", "--module-name", self._module,
                "--host", LOOPBACK, "--port", str(code_port), "--location-name", "logbox",
                "--use-python-environment-entry-point", "--working-directory",
                str(self._working_directory), "--log-level", "warning", "--log-format", "json",
            ])  # fmt: skip
            self._wait(lambda: not port_is_free(code_port), "the code server")
            self._run("webserver", [
                "-m", "dagster_webserver", "--host", LOOPBACK, "--port", str(self.port),
                "--workspace", str(workspace), "--dagster-log-level", "warning",
                "--suppress-warnings", "--log-format", "json",
            ])  # fmt: skip
            self._run("daemon", [
                "-m", "dagster._daemon", "run", "--workspace", str(workspace),
                "--log-level", "warning", "--log-format", "json",
            ])  # fmt: skip
            self._remember()
            self._wait(lambda: get(f"{self.url}/server_info") is not None, "the UI")
            self._wait(self._is_healthy, "the daemon")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End what start() started, with all their children; harmless when nothing runs."""
        # The daemon first, so that it launches nothing while the code server goes.
        for child in reversed(self._children):
            end_group(child.process, grace_s=STOP_TIMEOUT_S)
        self._children = []

    def watch(self) -> None:
        """Raise LogboxError when one of the processes has ended; for a loop in the foreground."""
        for child in self._children:
            code = child.process.poll()
            if code is not None:
                raise LogboxError(
                    f"Dagster's {child.name} process has ended (exit {code}); its log says:\n"
                    f"{without_secrets(tail(child.log, lines=60))}",
                    hint=f"read {child.log}",
                )

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

    def _prepare(self, code_port: int) -> Path:
        self._dagster_home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.home / "log").mkdir(exist_ok=True)
        shutil.copyfile(instance_file(), self._dagster_home / "dagster.yaml")
        workspace = self._dagster_home / "workspace.yaml"
        server = {"host": LOOPBACK, "port": code_port, "location_name": "logbox"}
        # JSON is YAML.
        workspace.write_text(
            json.dumps({"load_from": [{"grpc_server": server}]}, indent=1) + "\n", encoding="utf-8"
        )
        return workspace

    def _run(self, name: str, arguments: list[str]) -> None:
        log = self.home / "log" / f"dagster-{name}.log"
        leash = [sys.executable, "-m", "logbox_pipeline.local.leash", str(os.getpid())]
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*leash, sys.executable, *arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env=self._environment, cwd=self._working_directory,
            )  # fmt: skip
        self._children.append(Child(name, process, log))

    def _wait(self, is_ready: Any, what: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_ready():
            self.watch()
            if time.monotonic() > deadline:
                raise TransientError(
                    f"{what} of Dagster is not ready after {START_TIMEOUT_S} s",
                    hint=f"read {self.home / 'log'}/dagster-*.log",
                )
            time.sleep(0.2)

    def _is_healthy(self) -> bool:
        answer = get(f"{self.url}/graphql", {"query": HEALTH_QUERY})
        data = (answer or {}).get("data")
        if not data:
            return False
        for entry in data["workspaceOrError"].get("locationEntries", []):
            message = (entry["locationOrLoadError"] or {}).get("message")
            if message:
                raise LogboxError(
                    f"Dagster cannot load {self._module}: {without_secrets(message)}",
                    hint=f"read {self.home / 'log' / 'dagster-code.log'}",
                )
            if entry["loadStatus"] != "LOADED":
                return False
        statuses = data["instance"]["daemonHealth"]["allDaemonStatuses"]
        return bool(statuses) and all(s["healthy"] for s in statuses if s["required"])

    def _remember(self) -> None:
        pids = {child.name: child.process.pid for child in self._children}
        write_private(self._dagster_home / "pids.json", json.dumps(pids) + "\n")

    def _end_leftovers(self) -> None:
        """Where there is no leash (macOS), a killed run leaves its children behind."""
        for pid in read_json(self._dagster_home / "pids.json").values():
            end_stray(pid, command_contains=("dagster",))


def instance_file() -> Path:
    """deploy/dagster.yaml: in the wheel inside the package, in a checkout beside it."""
    package = Path(__file__).parents[1]
    for path in (package / "deploy" / "dagster.yaml", package.parent / "deploy" / "dagster.yaml"):
        if path.exists():
            return path
    raise LogboxError("deploy/dagster.yaml is missing from the installation", hint="install again")


def get(url: str, posted: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """The JSON object at a local URL; None while nobody answers."""
    body = None if posted is None else json.dumps(posted).encode()
    request = urllib.request.Request(  # noqa: S310  (a local http URL)
        url, data=body, headers={"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=15) as response:
            value = json.load(response)
    except (urllib.error.URLError, OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
