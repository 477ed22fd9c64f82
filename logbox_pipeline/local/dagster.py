"""Dagster's processes beside the embedded stack: one code server, the webserver, the daemon.

The code server is shared, so that Logbox is loaded once and not by each of the other two. What it
serves is definitions.py's; how the instance is set up is deploy/dagster.yaml's.
"""

import json
import logging
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
from logbox_pipeline.local.patience import Patience
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

log = logging.getLogger(__name__)

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

UNREACHED = "DagsterUserCodeUnreachableError"
"""What the webserver says while the code server is started again: the code has no fault."""

UNENDED_QUERY = """
{
  runsOrError(filter: {statuses: [STARTING, STARTED, CANCELING]}) {
    ... on Runs { results { runId updateTime } }
  }
}
"""
CANCEL = """
mutation($ids: [String!]!) {
  terminateRuns(runIds: $ids, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) { __typename }
}
"""


@dataclass(frozen=True)
class Child:
    """One of Dagster's processes and where it writes."""

    name: str
    arguments: list[str]
    process: subprocess.Popen[bytes]
    log: Path
    started_at: float


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
            # To start a run's process is one call. Where that takes more than the 60 s of the
            # default, each start is given up and made again, and the machine never recovers.
            "DAGSTER_GRPC_TIMEOUT_SECONDS": str(START_TIMEOUT_S * 2),
            # A tick is bounded by itself (steps/sense.py), and the next one is soon.
            "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "60",
        }
        self._children: list[Child] = []
        self._patience: dict[str, Patience] = {}
        self._lost_before: float | None = None

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
            self._end_lost_runs()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End what start() started, with all their children; harmless when nothing runs."""
        # The code server last, so that nothing is launched while it goes.
        for child in sorted(self._children, key=lambda one: one.name == "code"):
            end_group(child.process, grace_s=STOP_TIMEOUT_S)
        self._children = []

    def watch(self) -> None:
        """Start again what has ended, as an init system does; for a loop in the foreground.

        With the code server end the runs that it started: they are offered again. It listens on
        the same port, so that the others find it.
        """
        for child in list(self._children):
            if child.process.poll() is None:
                continue
            patience = self._patience.setdefault(child.name, Patience())
            if patience.is_over(started_at=child.started_at, now=time.monotonic()):
                said = "Dagster's %s process has ended and is started again; see %s"
                log.warning(said, child.name, child.log)
                end_group(child.process, grace_s=STOP_TIMEOUT_S)
                self._run(child.name, child.arguments)
                self._remember()
        self._end_lost_runs()

    def _require_all(self) -> None:
        """Raises LogboxError when one of the processes has ended."""
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
        written = self.home / "log" / f"dagster-{name}.log"
        if name == "code":
            self._lost_before = time.time()
        leash = [sys.executable, "-m", "logbox_pipeline.local.leash", str(os.getpid())]
        with written.open("ab") as output:
            process = subprocess.Popen(
                [*leash, sys.executable, *arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env=self._environment, cwd=self._working_directory,
            )  # fmt: skip
        others = [child for child in self._children if child.name != name]
        self._children = [*others, Child(name, arguments, process, written, time.monotonic())]

    def _wait(self, is_ready: Any, what: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_ready():
            self._require_all()
            if time.monotonic() > deadline:
                raise TransientError(
                    f"{what} of Dagster is not ready after {START_TIMEOUT_S} s",
                    hint=f"read {self.home / 'log'}/dagster-*.log",
                )
            time.sleep(0.2)

    def _end_lost_runs(self) -> None:
        """Tell Dagster of the runs that ended with an earlier code server, whose children they
        were: it would take them for started, and keep their places in the queue, for hours."""
        if self._lost_before is None:
            return
        graphql = f"{self.url}/graphql"
        data = (get(graphql, {"query": UNENDED_QUERY}) or {}).get("data")
        if not data or "results" not in data["runsOrError"]:
            # The UI is not there yet; the next look asks again.
            return
        lost = [
            run["runId"]
            for run in data["runsOrError"]["results"]
            if run["updateTime"] < self._lost_before
        ]
        if not lost or (get(graphql, {"query": CANCEL, "variables": {"ids": lost}}) or {}).get(
            "data"
        ):
            self._lost_before = None

    def _is_healthy(self) -> bool:
        answer = get(f"{self.url}/graphql", {"query": HEALTH_QUERY})
        data = (answer or {}).get("data")
        if not data:
            return False
        for entry in data["workspaceOrError"].get("locationEntries", []):
            message = (entry["locationOrLoadError"] or {}).get("message")
            if message and UNREACHED in message:
                return False
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
