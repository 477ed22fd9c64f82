"""Whatever becomes of worker processes, each file gets its own result."""

import hashlib
import os
import signal
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest

from logbox_pipeline.settings import Settings
from logbox_pipeline.steps.parse_pool import Job, UnwrapJob, parse_all, parsing_early, unwrap_all
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


def test_what_was_begun_is_not_parsed_again_when_it_is_asked_for(tmp_path: Path) -> None:
    jobs = [job(tmp_path, name, lines) for lines, name in enumerate("abc", 1)]
    with parsing_early(Settings(parse_workers=1), jobs[:2]) as early:
        assert early is not None
        while early.has_unasked:
            time.sleep(0.01)
        for each in jobs[:2]:
            each.path.write_bytes(b"")
        found = list(parse_all(Settings(), [jobs[1], jobs[2], jobs[0]], early))
    assert [events(one) for one in found] == [2, 3, 1]


def test_what_nobody_asks_for_is_stopped(tmp_path: Path) -> None:
    settings = Settings(parse_workers=1)
    long = job(tmp_path, "long", 1_000_000)
    with parsing_early(settings, [long]):
        wait_for(long.rows)
    stopped_bytes = long.rows.stat().st_size
    assert events(next(parse_all(settings, [long]))) == 1_000_000
    assert stopped_bytes < long.rows.stat().st_size / 2


def test_an_error_stops_what_was_begun(tmp_path: Path) -> None:
    before = set(workers()) if forkserver._forkserver._forkserver_pid else set()
    long = job(tmp_path, "long", 1_000_000)

    def fails() -> None:
        with parsing_early(Settings(parse_workers=1), [long]):
            wait_for(long.rows)
            raise LookupError

    with pytest.raises(LookupError):
        fails()
    stopped_bytes = long.rows.stat().st_size
    assert set(workers()) <= before
    assert events(next(parse_all(Settings(), [long]))) == 1_000_000
    assert stopped_bytes < long.rows.stat().st_size / 2


def test_only_a_few_are_begun_at_a_time_and_none_once_it_is_known_what_is_wanted(
    tmp_path: Path,
) -> None:
    long = job(tmp_path, "long", 300_000)
    others = [job(tmp_path, f"{number}", 1) for number in range(20)]
    with parsing_early(Settings(parse_workers=1), [long, *others]) as early:
        assert early is not None
        (found,) = parse_all(Settings(), [others[-1]], early)
    assert events(found) == 1
    assert not any(one.rows.exists() for one in others[3:-1])


def test_nothing_to_begin_starts_no_worker() -> None:
    with parsing_early(Settings(), []) as early:
        assert early is None


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.001)
