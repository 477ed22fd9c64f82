"""Ending what we started, all of it, without waiting for the dead."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from logbox_pipeline.local.processes import end_group, group_is_alive

ORPHANING = """
import os, subprocess, sys, time
child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
time.sleep(60)
"""


def orphaning() -> tuple["subprocess.Popen[bytes]", int]:
    """(a process that leads a group, the id of its child in that group)."""
    leader = subprocess.Popen(
        [sys.executable, "-c", ORPHANING], stdout=subprocess.PIPE, start_new_session=True
    )
    assert leader.stdout is not None
    child = int(leader.stdout.readline())
    leader.stdout.close()
    return leader, child


def is_gone(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_a_group_is_ended_with_all_its_children() -> None:
    leader, child = orphaning()
    assert group_is_alive(leader)
    end_group(leader, grace_s=10)
    assert is_gone(child)
    assert leader.returncode == -signal.SIGTERM


def test_a_group_lives_on_in_the_child_of_a_dead_leader() -> None:
    leader, child = orphaning()
    leader.kill()
    leader.wait()
    assert group_is_alive(leader)
    os.kill(child, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while not is_gone(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not group_is_alive(leader)


def test_children_of_a_dead_leader_may_say_their_last_word(tmp_path: Path) -> None:
    said = tmp_path / "said"
    child = f"trap 'echo bye > {said}; exit' TERM; echo ready; while :; do sleep 0.05; done"
    script = f"import subprocess; subprocess.run(['sh', '-c', {child!r}])"
    leader = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True
    )
    assert leader.stdout is not None
    assert leader.stdout.readline() == b"ready\n"
    leader.stdout.close()
    leader.kill()
    leader.wait()
    end_group(leader, grace_s=10)
    assert said.read_text() == "bye\n"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux shows the dead")
def test_a_dead_child_that_nobody_reaped_is_not_waited_for() -> None:
    leader, _ = orphaning()
    os.kill(leader.pid, signal.SIGKILL)
    while not is_gone(leader.pid):
        time.sleep(0.01)
    started = time.monotonic()
    end_group(leader, grace_s=30)
    assert time.monotonic() - started < 20
