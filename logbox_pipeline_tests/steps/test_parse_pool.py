"""Whatever becomes of worker processes, each file gets its own result."""

import hashlib
import os
import signal
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest

from logbox_pipeline.settings import Settings
from logbox_pipeline.steps.parse_pool import Job, UnwrapJob, begun, parse_all, unwrap_all
from logbox_pipeline.steps.parse_worker import ParsedLog
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT
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


def job(folder: Path, name: str, lines: int) -> Job:
    path = folder / f"{name}.jsonl"
    path.write_bytes(jsonl(*[name] * lines))
    return Job(path, folder / f"{name}.arrow", RECEIVED_AT, path.stat().st_size)


def events(result: object) -> int:
    assert isinstance(result, ParsedLog)
    return result.spooled.events


def test_what_was_begun_is_there_when_it_is_asked_for_and_the_rest_is_not_waited_for(
    tmp_path: Path,
) -> None:
    settings = Settings(parse_workers=1)
    early = [job(tmp_path, "a", 1), job(tmp_path, "b", 2), job(tmp_path, "long", 400_000)]
    late = job(tmp_path, "c", 3)
    with begun(settings, early) as parsing:
        assert parsing is not None
        first = parsing.futures[early[0]]
        assert first is not None
        first.result()
        started = time.monotonic()
        found = list(parse_all(settings, [early[1], late, early[0]], parsing))
    assert [events(one) for one in found] == [2, 3, 1]
    alone = next(parse_all(settings, [early[2]]))
    assert events(alone) == 400_000
    assert time.monotonic() - started < 60


def test_an_error_stops_what_was_begun(tmp_path: Path) -> None:
    before = set(workers()) if forkserver._forkserver._forkserver_pid else set()
    with (
        pytest.raises(LookupError),
        begun(Settings(parse_workers=1), [job(tmp_path, "a", 2_000_000)]),
    ):
        raise LookupError
    assert set(workers()) <= before


def test_nothing_to_begin_starts_no_worker() -> None:
    with begun(Settings(), []) as parsing:
        assert parsing is None
