"""Failpoints: a run that comes to one dies, or what it works with does; each fires once."""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.chaos.faults import Fault, all_faults, failpoints

NAME = "after_archived"


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    made = [
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) for _ in range(2)
    ]
    yield made
    for one in made:
        one.kill()
        one.wait()


@pytest.fixture
def ground(tmp_path: Path, sleepers: list[subprocess.Popen[bytes]]) -> Any:
    """As much of a ground as failpoints look at: one of its processes runs, another does not."""
    return SimpleNamespace(
        failpoints=tmp_path,
        armed=set(),
        mounted=[],
        s3=None,
        replica=None,
        postgres=SimpleNamespace(served=None),
        pids=lambda: {"S3": sleepers[0].pid, "replica": None},
        parsers=list,
        runs=list,
    )


def fault(ground: Any, kind: str) -> Fault:
    (found,) = (one for one in all_faults(ground, random.Random(1)) if one.kind == kind)
    return found


def test_every_kind_of_fault_is_there_once(ground: Any) -> None:
    kinds = [one.kind for one in all_faults(ground, random.Random(1))]
    assert len(set(kinds)) == len(kinds)
    for name in failpoints():
        assert f"kill -9 of a run {name}" in kinds
        assert f"kill -9 of what a run works with {name}" in kinds


def test_what_the_failpoint_names_dies_and_not_who_comes_there(
    site: Site, ground: Any, sleepers: list[subprocess.Popen[bytes]]
) -> None:
    strike = fault(ground, f"kill -9 of what a run works with {NAME}").strike
    assert not strike()
    assert (ground.failpoints / NAME).read_text() == str(sleepers[0].pid)
    journey.with_settings(site, failpoints=ground.failpoints).reach(NAME)
    assert sleepers[0].wait(timeout=10) == -9
    assert strike()
    journey.with_settings(site, failpoints=ground.failpoints).reach(NAME)


def test_a_victim_that_died_of_something_else_is_replaced(
    ground: Any, sleepers: list[subprocess.Popen[bytes]]
) -> None:
    strike = fault(ground, f"kill -9 of what a run works with {NAME}").strike
    assert not strike()
    sleepers[0].kill()
    sleepers[0].wait()
    ground.pids = lambda: {"S3": sleepers[1].pid}
    assert not strike()
    assert not strike()
    assert (ground.failpoints / NAME).read_text() == str(sleepers[1].pid)


def test_only_who_has_set_a_failpoint_withdraws_it(ground: Any) -> None:
    of_run = fault(ground, f"kill -9 of a run {NAME}")
    of_others = fault(ground, f"kill -9 of what a run works with {NAME}")
    assert not of_run.strike()
    assert not of_others.strike()
    of_others.withdraw()
    assert (ground.failpoints / NAME).read_text() == ""
    of_run.withdraw()
    assert not (ground.failpoints / NAME).exists()
