"""Dagster's processes start together, answer, are reported when they die, and leave nothing."""

import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.local.dagster import DATABASE_SETTING, DagsterProcesses, instance_file
from logbox_pipeline.local.processes import command_of, free_port, port_is_free

DEFINITIONS = """
import dagster as dg

@dg.asset
def one():
    return 1

@dg.asset
def slow():
    import time
    time.sleep(300)

defs = dg.Definitions(assets=[one, slow])
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "small_definitions.py").write_text(DEFINITIONS)
    (tmp_path / "broken_definitions.py").write_text("raise RuntimeError('broken on purpose')")
    return tmp_path


@pytest.fixture
def environment(database: str) -> dict[str, str]:
    return {DATABASE_SETTING: database.replace("postgresql:", "postgresql+psycopg2:")}


@pytest.fixture
def dagster(project: Path, environment: dict[str, str]) -> Iterator[DagsterProcesses]:
    processes = DagsterProcesses(
        project / "home",
        environment,
        free_port(),
        module="small_definitions",
        working_directory=project,
    )
    with processes:
        yield processes


def ask(dagster: DagsterProcesses, query: str) -> Any:
    request = urllib.request.Request(
        f"{dagster.url}/graphql",
        json.dumps({"query": query}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)["data"]


LAUNCH = """mutation { launchRun(executionParams: { mode: "default", selector: {
  repositoryLocationName: "logbox", repositoryName: "__repository__", jobName: "__ASSET_JOB",
  assetSelection: [{path: ["one"]}], assetCheckSelection: [] } })
  { __typename ... on LaunchRunSuccess { run { runId } } } }"""


@pytest.mark.slow
def test_a_run_succeeds_and_stop_leaves_nothing(dagster: DagsterProcesses) -> None:
    assert ask(dagster, LAUNCH)["launchRun"]["__typename"] == "LaunchRunSuccess"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        runs = ask(dagster, "{ runsOrError { ... on Runs { results { status } } } }")
        statuses = {run["status"] for run in runs["runsOrError"]["results"]}
        if statuses & {"SUCCESS", "FAILURE"}:
            break
        time.sleep(0.3)
    assert statuses == {"SUCCESS"}
    dagster.watch()
    pids = [child.process.pid for child in dagster._children]
    dagster.stop()
    assert [command_of(pid) for pid in pids] == [None] * 3
    assert port_is_free(dagster.port)


@pytest.mark.slow
def test_what_dies_is_started_again_and_runs_go_on(dagster: DagsterProcesses) -> None:
    before = {child.name: child for child in dagster._children}
    assert before.keys() == {"code", "webserver", "daemon"}
    for child in before.values():
        os.kill(child.process.pid, signal.SIGKILL)
        child.process.wait()
    dagster.watch()
    again = {child.name: child.process.pid for child in dagster._children}
    assert again.keys() == before.keys()
    assert not set(again.values()) & {child.process.pid for child in before.values()}
    assert json.loads((dagster.home / "dagster" / "pids.json").read_text()) == again
    deadline = time.monotonic() + 90
    while not dagster._is_healthy():
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert ask(dagster, LAUNCH)["launchRun"]["__typename"] == "LaunchRunSuccess"


@pytest.mark.slow
def test_a_run_that_is_lost_with_its_code_server_is_not_taken_for_started(
    dagster: DagsterProcesses,
) -> None:
    def wait_for(status: str) -> None:
        deadline = time.monotonic() + 120
        while True:
            dagster.watch()
            runs = ask(dagster, "{ runsOrError { ... on Runs { results { status } } } }")
            if [run["status"] for run in runs["runsOrError"]["results"]] == [status]:
                return
            assert time.monotonic() < deadline, runs
            time.sleep(0.3)

    launched = ask(dagster, LAUNCH.replace('"one"', '"slow"'))
    assert launched["launchRun"]["__typename"] == "LaunchRunSuccess"
    wait_for("STARTED")
    code = next(child for child in dagster._children if child.name == "code")
    # The run is of its group, and says nothing any more.
    os.killpg(code.process.pid, signal.SIGKILL)
    code.process.wait()
    wait_for("CANCELED")


@pytest.mark.slow
def test_broken_definitions_are_reported_and_nothing_is_left(
    project: Path, environment: dict[str, str]
) -> None:
    processes = DagsterProcesses(
        project / "home",
        environment,
        free_port(),
        module="broken_definitions",
        working_directory=project,
    )
    with pytest.raises(LogboxError, match="broken on purpose"):
        processes.start()
    assert processes._children == []


def test_a_missing_database_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogboxError, match=DATABASE_SETTING):
        DagsterProcesses(tmp_path, {}, free_port()).start()


def test_the_instance_sends_nothing_home() -> None:
    instance = yaml.safe_load(instance_file().read_text())
    assert instance["telemetry"] == {"enabled": False}
    assert instance["nux"] == {"enabled": False}
    assert instance["storage"]["postgres"]["postgres_url"] == {"env": DATABASE_SETTING}
