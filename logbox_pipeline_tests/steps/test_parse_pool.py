"""Whatever becomes of worker processes, each file gets its own result."""

import hashlib
import os
import signal
import time
from multiprocessing import forkserver
from pathlib import Path

from logbox_pipeline.settings import Settings
from logbox_pipeline.steps.parse_pool import UnwrapJob, unwrap_all
from logbox_pipeline_tests.journey import jsonl


def workers() -> list[int]:
    server = forkserver._forkserver._forkserver_pid
    return [int(pid) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split()]


def test_a_worker_that_is_killed_while_it_has_no_file_costs_none(tmp_path: Path) -> None:
    jobs = []
    for number in range(6):
        path, data = tmp_path / f"{number}.jsonl", jsonl(str(number))
        path.write_bytes(data)
        folder = tmp_path / f"{number}"
        folder.mkdir()
        jobs.append(UnwrapJob(path, hashlib.sha256(data).hexdigest(), folder, len(data)))
    before = set(workers()) if forkserver._forkserver._forkserver_pid else set()
    results = unwrap_all(Settings(parse_workers=1), jobs)
    found = [next(results)]
    # All that is scheduled so far is done by then.
    time.sleep(1)
    killed = set(workers()) - before
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)
    found += list(results)
    assert killed
    assert [one.refused for one in found] == [()] * len(jobs)
    assert [one.logs[0].sha256 for one in found] == [one.sha256 for one in jobs]
