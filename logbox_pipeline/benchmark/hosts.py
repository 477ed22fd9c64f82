"""Hosts that work off batches side by side: each with a disk of its own, one catalog, one store.

What stands for a host is a folder and, in it, one run at a time: a process begun as Dagster's
launchers for containers begin it (`dagster api execute_run`). What the daemon does beside them is
done here: ticks of the sensor's own code, and one run for each batch that it offers.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import dagster as dg
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import (
    DEFAULT_DAGSTER_ENTRY_POINT,
    JobPythonOrigin,
    RepositoryPythonOrigin,
)
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import serialize_value

import logbox_pipeline
from logbox_pipeline.adapters.catalog_batches import OpenBatch
from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.defs.assets import RUN_KEY_TAG
from logbox_pipeline.defs.jobs import ingest_job
from logbox_pipeline.defs.sensors import look, request_of
from logbox_pipeline.local.dagster import DEFINITIONS
from logbox_pipeline.local.processes import end_group, tail, write_private
from logbox_pipeline.settings import Settings
from logbox_pipeline.steps.site import Site

PARTITION_TAG = "dagster/partition"
_SOURCE = Path(logbox_pipeline.__file__).parents[1]
_TICK_S = 2.0
"""Sooner than the sensor's 10 s: a host without work is not what is measured."""
_POLL_S = 0.05
_GRACE_S = 20.0


class Host:
    """One machine: its disk, and the run it works on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_up = True
        self.runs = 0
        self._run: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, mode=0o700)

    @property
    def work_dir(self) -> Path:
        return self.folder / "work"

    @property
    def is_idle(self) -> bool:
        return self.is_up and (self._run is None or self._run.poll() is not None)

    @property
    def has_failed(self) -> bool:
        return self.is_up and self._run is not None and (self._run.poll() or 0) > 0

    def begin(self, run: dg.DagsterRun, origin: JobPythonOrigin, settings: Settings) -> None:
        """Execute a run of the shared instance here."""
        if self._run is not None:
            end_group(self._run, grace_s=0)
        told = serialize_value(ExecuteRunArgs(origin, run.run_id, None))
        with (self.folder / "run.log").open("ab") as log:
            self._run = subprocess.Popen(
                [sys.executable, "-m", "dagster", "api", "execute_run", told],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=self._environment(settings), cwd=self.folder,
            )  # fmt: skip
        self.runs += 1

    def lose(self) -> None:
        """Its power is cut: its processes end at once, its disk stays, it does not return."""
        self.is_up = False
        if self._run is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._run.pid, signal.SIGKILL)
            self._run.wait()

    def stop(self) -> None:
        if self._run is not None:
            end_group(self._run, grace_s=_GRACE_S)

    def _environment(self, settings: Settings) -> dict[str, str]:
        own = settings.model_copy(update={"home": self.folder, "work_dir": self.work_dir})
        said = own.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("LOGBOX_")},
            **{f"LOGBOX_{name.upper()}": str(value) for name, value in said.items()},
            "DAGSTER_HOME": str(self.folder.parent / "dagster"),
            "PYTHONPATH": os.pathsep.join([str(_SOURCE), os.environ.get("PYTHONPATH", "")]),
        }


class Hosts:
    """`number` hosts below `folder`, on a site whose sensor nobody else runs.

    dagster_url: an empty database for the runs, as `postgresql+psycopg2://...`. Call `work_off`
    inside the block: at its end every run is ended.
    """

    def __init__(self, site: Site, folder: Path, number: int, dagster_url: str) -> None:
        self.site = site
        home = folder / "dagster"
        home.mkdir(parents=True, mode=0o700)
        instance = {
            "storage": {"postgres": {"postgres_url": dagster_url}},
            "telemetry": {"enabled": False},
        }
        # JSON is YAML.
        write_private(home / "dagster.yaml", json.dumps(instance) + "\n")
        self._instance = dg.DagsterInstance.from_config(str(home))
        self.hosts = [Host(folder / f"host-{number + 1}") for number in range(number)]
        self._queue: deque[dg.DagsterRun] = deque()
        self._asked: set[str] = set()
        self._hint: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for host in self.hosts:
            host.stop()
        self._instance.dispose()

    def work_off(self, *, patience_s: float, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Go on until nothing is open; `meanwhile` is called some times a second.

        Raises LogboxError after `patience_s`.
        """
        deadline = time.monotonic() + patience_s
        next_tick = 0.0
        while True:
            if time.monotonic() >= next_tick:
                # A run tells Dagster of its end after the catalog.
                if self._tick() and all(host.is_idle or not host.is_up for host in self.hosts):
                    return
                next_tick = time.monotonic() + _TICK_S
            self._hand_out()
            self._require_begun()
            meanwhile()
            if time.monotonic() > deadline:
                logs = [tail(host.folder / "run.log", lines=15) for host in self.hosts]
                raise LogboxError(
                    f"the hosts are not done after {patience_s:.0f} s:\n" + "\n".join(logs)
                )
            time.sleep(_POLL_S)

    def ended(self) -> dict[str, int]:
        """How many runs ended how, as Dagster has it. Inside the block."""
        return Counter(run.status.value for run in self._instance.get_runs())

    def deadlocks(self) -> int:
        """How many Postgres has had to break in the site's database."""
        with self.site.transaction() as cursor:
            cursor.execute(
                "select deadlocks from pg_stat_database where datname = current_database()"
            )
            return int(cursor.fetchone()[0])

    def _tick(self) -> bool:
        """One look of the sensor; True: there is nothing left to do."""
        tick = look(self._instance, self.site, hint=self._hint)
        self._hint = tick.hint
        for batch in tick.offered:
            if batch.run_key not in self._asked:
                self._asked.add(batch.run_key)
                self._queue.append(self._ask_for(batch))
        return not (tick.new or tick.formed or tick.offered or self._is_any_open())

    def _ask_for(self, batch: OpenBatch) -> dg.DagsterRun:
        request = request_of(batch)
        tags = {
            **request.tags,
            RUN_KEY_TAG: batch.run_key,
            PARTITION_TAG: str(request.partition_key),
        }
        run = dg.DagsterRun(
            job_name=ingest_job.name,
            status=dg.DagsterRunStatus.STARTING,
            tags=tags,
            job_code_origin=_origin(),
        )
        return self._instance.add_run(run)

    def _hand_out(self) -> None:
        for host in self.hosts:
            if self._queue and host.is_idle:
                host.begin(self._queue.popleft(), _origin(), self.site.settings)

    def _require_begun(self) -> None:
        """A run that fails is the catalog's; a process that cannot even begin one is nobody's."""
        for host in self.hosts:
            if host.has_failed:
                said = tail(host.folder / "run.log", lines=15)
                raise LogboxError(f"{host.folder.name} could not execute a run:\n{said}")

    def _is_any_open(self) -> bool:
        with self.site.transaction() as cursor:
            cursor.execute(
                """
                select exists (
                    select from logbox.batches where state in ('open', 'running', 'loaded')
                )
                """
            )
            return bool(cursor.fetchone()[0])


def _origin() -> JobPythonOrigin:
    """The code location's job, as every host finds it."""
    return JobPythonOrigin(
        job_name=ingest_job.name,
        repository_origin=RepositoryPythonOrigin(
            executable_path=sys.executable,
            code_pointer=ModuleCodePointer(DEFINITIONS, "defs", None),
            entry_point=DEFAULT_DAGSTER_ENTRY_POINT,
        ),
    )
