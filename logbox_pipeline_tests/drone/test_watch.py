"""`logbox-drone watch` on the real store: a folder, a clock that the test turns, a bad link."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from logbox_pipeline.drone import watch
from logbox_pipeline.drone.errors import KeyRefusedError, TargetError
from logbox_pipeline.drone.rate import Rate
from logbox_pipeline.drone.receipt import Stage
from logbox_pipeline.drone.signing import ClockOffset
from logbox_pipeline.drone.watch import PART_BYTES, Settings, Watcher
from logbox_pipeline_tests.drone.bad_link import Answer, Cut, Lose, bad_link, troubles
from logbox_pipeline_tests.drone.conftest import Landing
from logbox_pipeline_tests.drone.signer import Signer

PUT = r"^PUT /[^ ?]+ "


class DoneError(BaseException):
    """The test has seen enough."""


@dataclass
class Drone:
    """A watcher whose time passes only while it sleeps."""

    landing: Landing
    settings: Settings
    said: list[str] = field(default_factory=list)
    now: float = 1000.0
    on_sleep: Callable[[float], None] = lambda now: None

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.001)
        self.on_sleep(self.now)

    @contextmanager
    def watcher(self) -> Iterator[Watcher]:
        made = Watcher(
            self.landing.target,
            self.settings,
            self.said.append,
            now=lambda: self.now,
            sleep=self.sleep,
        )
        try:
            yield made
        finally:
            made.close()

    def once(self) -> int:
        with self.watcher() as watcher:
            return watcher.once()

    def run_for(self, seconds: float, on_sleep: Callable[[float], None] = lambda now: None) -> None:
        """Watch for so long; `on_sleep` is told the time each time it waits."""
        until = self.now + seconds

        def tick(now: float) -> None:
            on_sleep(now)
            if now >= until:
                raise DoneError

        self.on_sleep = tick
        with self.watcher() as watcher, pytest.raises(DoneError):
            watcher.forever()

    def heard(self, word: str) -> list[str]:
        return [line for line in self.said if word in line]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "logs"
    made.mkdir()
    return made


@pytest.fixture
def drone(landing: Landing, folder: Path) -> Drone:
    return Drone(landing, Settings(folder, folder / ".logbox", delete_after=None))


def deleting(drone: Drone, stage: Stage = Stage.ARCHIVED) -> Drone:
    drone.settings = replace(drone.settings, delete_after=stage)
    return drone


def test_what_is_there_is_sent_once(drone: Drone, folder: Path) -> None:
    (folder / "DCIM").mkdir()
    (folder / "a.ulg").write_bytes(b"first")
    (folder / "DCIM" / "b.ulg").write_bytes(b"second one")
    assert (drone.once(), drone.once()) == (0, 0)
    assert drone.landing.stored() == {"a.ulg": b"first", "DCIM/b.ulg": b"second one"}
    assert drone.landing.versions() == 2
    assert len(drone.heard("sent ")) == 2


def test_file_that_grows_is_not_sent_until_it_is_steady(drone: Drone, folder: Path) -> None:
    log = folder / "growing.ulg"
    log.write_bytes(b"x")
    seen: list[tuple[float, set[str]]] = []

    def record(now: float) -> None:
        if now < 1040:
            log.write_bytes(log.read_bytes() + b"x")
        seen.append((now, drone.landing.logs()))

    drone.run_for(70, record)
    whole = log.read_bytes()
    assert drone.landing.stored() == {"growing.ulg": whole}
    assert all(names == set() for now, names in seen if now < 1040 + drone.settings.stable_for_s)


def test_file_that_is_open_for_writing_waits(
    drone: Drone, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its size and time stand still: a recorder that buffers."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        with (folder / "open.ulg").open("wb") as recorder:
            recorder.write(b"so far")
            recorder.flush()
            drone.run_for(60)
            assert drone.landing.logs() == set()
        drone.run_for(60)
        assert drone.landing.logs() == {"open.ulg"}
    finally:
        signal.signal(signal.SIGIO, before)


def test_small_logs_are_sent_first(drone: Drone, folder: Path) -> None:
    for name, size in (("a", 3000), ("b", 10), ("c", 200)):
        (folder / f"{name}.ulg").write_bytes(bytes(size))
    with bad_link(drone.landing.target.endpoint or "", lambda line: None) as link:
        drone.once()
    assert [line.split("/")[-2][0] for line in link.requests if line.startswith("PUT")] == [
        "b", "c", "a",
    ]  # fmt: skip


def test_small_log_overtakes_a_big_one_between_its_parts(drone: Drone, folder: Path) -> None:
    big(folder / "big.ulg", parts=3)
    order: list[str] = []

    def rule(line: str) -> None:
        if line.startswith("PUT"):
            order.append("part" if "partNumber" in line else "small")
        if "partNumber=1" in line:
            (folder / "small.ulg").write_bytes(b"small")
            drone.now += 5

    drone.settings = replace(drone.settings, stable_for_s=0)
    with bad_link(drone.landing.target.endpoint or "", rule):
        drone.run_for(1)
    assert order == ["part", "small", "part", "part"]
    assert drone.landing.logs() == {"big.ulg", "small.ulg"}


def test_what_is_no_log_stays_behind(drone: Drone, folder: Path) -> None:
    drone.settings = replace(drone.settings, ignore=("*.jpg", "cache/*"))
    (folder / ".hidden").mkdir()
    (folder / "cache").mkdir()
    (folder / "link.ulg").symlink_to("/etc/hostname")
    for name in (".x.ulg", "b.part", "c.jpg", ".hidden/d.ulg", "cache/e.ulg", "good.ulg"):
        (folder / name).write_bytes(b"x" + name.encode())
    assert drone.once() == 0
    assert drone.landing.logs() == {"good.ulg"}


def test_name_that_logbox_refuses_is_told_once_and_the_rest_goes_on(
    drone: Drone, folder: Path
) -> None:
    for name in (b"a\nb.ulg", b"\xff\xfe.ulg", b"back\\slash.ulg", b"x.sha256", b"good.ulg"):
        (folder / os.fsdecode(name)).write_bytes(b"x" + name)
    drone.run_for(60)
    drone.run_for(60)
    assert drone.landing.logs() == {"good.ulg"}
    assert len(drone.heard("not sent, ever")) == 4
    assert len(list(folder.glob("[!.]*"))) == 5
    assert not any("\n" in line for line in drone.heard("not sent"))


def test_receipt_deletes_the_file_when_asked(drone: Drone, folder: Path) -> None:
    log = folder / "a.ulg"
    log.write_bytes(b"flight")

    def logbox(now: float) -> None:
        assert log.exists() or drone.heard("deleted a.ulg")
        if now >= 1060:
            drone.landing.put_receipt("a.ulg", b"flight", loaded_at=None)

    deleting(drone).run_for(200, logbox)
    assert not log.exists()
    assert drone.landing.logs() == {"a.ulg"}
    assert journal(folder, "select stage from deleted") == [("archived",)]


def test_without_being_asked_it_deletes_nothing(drone: Drone, folder: Path) -> None:
    (folder / "a.ulg").write_bytes(b"flight")
    drone.landing.put_receipt("a.ulg", b"flight")
    drone.run_for(100)
    assert drone.heard("archived ")
    assert (folder / "a.ulg").exists()


def test_deletion_that_is_asked_for_later_takes_what_was_sent_before(
    drone: Drone, folder: Path
) -> None:
    (folder / "a.ulg").write_bytes(b"flight")
    drone.landing.put_receipt("a.ulg", b"flight")
    drone.run_for(100)
    assert (folder / "a.ulg").exists()
    deleting(drone).run_for(30)
    assert not (folder / "a.ulg").exists()
    assert drone.landing.logs() == {"a.ulg"}


def test_file_that_cannot_be_deleted_is_told_once(
    drone: Drone, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.ulg").write_bytes(b"flight")
    drone.landing.put_receipt("a.ulg", b"flight")
    tries = 0

    def unlink(self: Path, **_: object) -> None:
        nonlocal tries
        tries += 1
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", unlink)
    deleting(drone).run_for(600)
    assert (len(drone.heard("cannot delete a.ulg")), tries) == (1, 1)
    assert drone.landing.logs() == {"a.ulg"}


@pytest.mark.parametrize("what", ["changed", "digest", "key", "stage"])
def test_receipt_that_proves_nothing_keeps_the_file(drone: Drone, folder: Path, what: str) -> None:
    (folder / "a.ulg").write_bytes(b"flight")
    landing = drone.landing
    if what == "changed":
        stored = landing.put_receipt("a.ulg", b"flight")
        landing.put_stored("a.ulg", b"flight", stored.replace(b"archived", b"brchived", 1))
    elif what == "digest":
        landing.put_receipt("a.ulg", b"flight", sha256="ab" * 32)
    elif what == "key":
        replace(landing, signer=Signer(b"s" * 32)).put_receipt("a.ulg", b"flight")
    else:
        landing.put_receipt("a.ulg", b"flight", replicated_at=None)
    deleting(drone, Stage.REPLICATED if what == "stage" else Stage.ARCHIVED).run_for(300)
    assert (folder / "a.ulg").read_bytes() == b"flight"
    assert len(drone.heard("no proof")) == (1 if what in ("changed", "key") else 0)


def test_file_that_changed_after_it_was_sent_is_kept_and_sent(drone: Drone, folder: Path) -> None:
    log = folder / "a.ulg"
    log.write_bytes(b"flight")

    def logbox(now: float) -> None:
        if now >= 1030 and log.read_bytes() == b"flight":
            log.write_bytes(b"flight and more")
            drone.landing.put_receipt("a.ulg", b"flight")

    deleting(drone).run_for(100, logbox)
    assert log.read_bytes() == b"flight and more"
    assert b"flight and more" in drone.landing.stored().values()


def test_refused_log_is_kept_told_once_and_not_sent_again(drone: Drone, folder: Path) -> None:
    log = folder / "a.ulg"
    log.write_bytes(b"flight")
    drone.landing.put_receipt("a.ulg", b"flight", state="quarantined", reason="too_large")
    drone.settings = replace(drone.settings, every_s=60)
    deleting(drone).run_for(5000)
    drone.run_for(5000)
    assert log.exists()
    assert drone.landing.versions() == 2
    assert len(drone.heard("refused ")) == 1
    assert "too_large" in drone.heard("refused ")[0]
    log.write_bytes(b"another flight")
    drone.run_for(180)
    assert b"another flight" in drone.landing.stored().values()


def test_released_log_is_deleted_in_the_end(drone: Drone, folder: Path) -> None:
    (folder / "a.ulg").write_bytes(b"flight")
    drone.landing.put_receipt("a.ulg", b"flight", state="quarantined")

    drone.settings = replace(drone.settings, every_s=300)
    deleting(drone).run_for(1000)
    assert drone.heard("refused ")
    drone.landing.put_receipt("a.ulg", b"flight")
    drone.run_for(5000)
    assert not (folder / "a.ulg").exists()


def test_log_that_logbox_lost_is_kept_and_sent_again(drone: Drone, folder: Path) -> None:
    (folder / "a.ulg").write_bytes(b"flight")
    drone.once()
    drone.landing.put_receipt("a.ulg", b"flight", archived_at=None, loaded_at=None)
    drone.landing.admin.delete_object(
        Bucket=drone.landing.target.bucket, Key=f"{drone.landing.prefix}a.ulg"
    )
    drone.settings = replace(drone.settings, every_s=300)
    deleting(drone).run_for(600)
    assert drone.heard("lost by Logbox")
    assert drone.landing.logs() == set()
    drone.run_for(3600)
    assert drone.landing.logs() == {"a.ulg"}
    assert (folder / "a.ulg").exists()


def test_same_bytes_under_another_name_are_not_sent_again(drone: Drone, folder: Path) -> None:
    (folder / "a.ulg").write_bytes(b"flight")
    deleting(drone).run_for(30)
    (folder / "copy.ulg").write_bytes(b"flight")
    drone.landing.put_receipt("a.ulg", b"flight")
    drone.run_for(100)
    assert drone.landing.logs() == {"a.ulg"}
    assert list(folder.glob("*.ulg")) == []


def test_name_that_is_taken_gets_the_digest(drone: Drone, folder: Path) -> None:
    """The card was formatted, and last week's log_1.ulg still stands in landing."""
    (folder / "log_1.ulg").write_bytes(b"last week")
    drone.once()
    (folder / "log_1.ulg").write_bytes(b"this week")
    assert drone.once() == 0
    assert sorted(drone.landing.stored().values()) == [b"last week", b"this week"]


def test_lost_journal_loses_nothing_and_sends_nothing_that_logbox_has(
    drone: Drone, folder: Path
) -> None:
    data = os.urandom(2_000_000)
    (folder / "a.ulg").write_bytes(data)
    drone.once()
    drone.landing.put_receipt("a.ulg", data)
    (folder / ".logbox" / "journal.sqlite3").write_bytes(b"no database" * 1000)
    with bad_link(drone.landing.target.endpoint or "", lambda line: None) as link:
        assert deleting(drone).once() == 0
        drone.now += 60
        drone.once()
    assert not [line for line in link.requests if line.startswith("PUT")]
    assert not (folder / "a.ulg").exists()
    assert (folder / ".logbox" / "journal.damaged").exists()


def test_network_that_is_away_is_waited_for(drone: Drone, folder: Path) -> None:
    """One question a minute, one line said, for as long as it takes."""
    (folder / "a.ulg").write_bytes(b"flight")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    true = drone.landing.target
    drone.landing = replace(
        drone.landing, target=replace(true, endpoint=f"http://127.0.0.1:{port}")
    )
    drone.run_for(3600)
    assert len(drone.said) < 10
    asked: list[float] = []
    away = drone.landing
    drone.run_for(1800, asked.append)
    assert 28 <= len(asked) <= 100
    drone.landing = replace(away, target=true)
    drone.run_for(60)
    assert drone.landing.logs() == {"a.ulg"}


def test_link_that_breaks_in_the_middle_and_comes_back(drone: Drone, folder: Path) -> None:
    big(folder / "big.ulg", parts=3)
    rule = troubles(on="partNumber=2|list-type", first=[None, *[Cut(0)] * 8])
    with bad_link(drone.landing.target.endpoint or "", rule) as link:
        drone.run_for(400)
    assert drone.landing.logs() == {"big.ulg"}
    assert drone.heard("no link")
    assert drone.heard("the link is back")
    assert sum("partNumber=1 " in line for line in link.requests) == 1
    assert sum("partNumber=3 " in line for line in link.requests) == 1


def test_store_that_fails_for_one_log_does_not_hold_up_the_others(
    drone: Drone, folder: Path
) -> None:
    (folder / "a.ulg").write_bytes(b"a")
    (folder / "b.ulg").write_bytes(b"bb")
    rule = troubles(on=r"^PUT .*/a\.ulg", first=[Answer("500 Oh", "InternalError")] * 12)
    with bad_link(drone.landing.target.endpoint or "", rule):
        drone.run_for(60)
        assert drone.landing.logs() == {"b.ulg"}
        drone.settings = replace(drone.settings, every_s=300)
        drone.run_for(4000)
    assert {name[0] for name in drone.landing.logs()} == {"a", "b"}


def test_refused_key_is_an_error_at_once(drone: Drone, folder: Path) -> None:
    wrong = replace(drone.landing.target, secret_access_key="wrong")
    drone.landing = replace(drone.landing, target=wrong)
    with drone.watcher() as watcher, pytest.raises(KeyRefusedError):
        watcher.forever()
    said: list[str] = []
    assert watch.run(wrong, replace(drone.settings, is_once=True), said.append) == 1
    assert "next:" in said[-1]


KILLED = """
import os, re, sys
from logbox_pipeline.drone import cli
from logbox_pipeline_tests.drone.bad_link import bad_link
endpoint, env, folder, on = sys.argv[1:]
def rule(line):
    if re.search(on, line):
        os.kill(os.getpid(), 9)
with bad_link(endpoint, rule):
    cli.main(["watch", folder, "--env", env, "--once", "--stable-for", "0"])
"""


@pytest.mark.parametrize("on", ["partNumber=3 ", "^POST .*uploadId="])
def test_kill_in_the_middle_of_a_big_log_costs_one_part(
    drone: Drone, folder: Path, tmp_path: Path, on: str
) -> None:
    data = big(folder / "big.ulg", parts=4)
    env_file = tmp_path / "drone.env"
    env_file.write_text(drone.landing.env_lines())
    endpoint = drone.landing.target.endpoint or ""
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, endpoint, env_file, folder, on],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert drone.landing.open_uploads() == 1
    with bad_link(endpoint, lambda line: None) as link:
        assert drone.once() == 0
    parts = [line for line in link.requests if "partNumber=" in line]
    assert len(parts) == (0 if "POST" in on else 2)
    assert (drone.landing.stored(), drone.landing.open_uploads()) == ({"big.ulg": data}, 0)
    assert drone.heard("going on with big.ulg")


def test_half_sent_log_that_changed_starts_anew(drone: Drone, folder: Path) -> None:
    big(folder / "big.ulg", parts=3)
    stop_at(drone, "partNumber=2")
    assert drone.landing.open_uploads() == 1
    data = big(folder / "big.ulg", parts=2)
    assert drone.once() == 0
    assert (drone.landing.stored(), drone.landing.open_uploads()) == ({"big.ulg": data}, 0)


def test_half_sent_log_that_went_away_leaves_no_parts(drone: Drone, folder: Path) -> None:
    big(folder / "big.ulg", parts=3)
    stop_at(drone, "partNumber=2")
    (folder / "big.ulg").unlink()
    assert (drone.once(), drone.once()) == (0, 0)
    assert (drone.landing.stored(), drone.landing.open_uploads()) == ({}, 0)


def test_parts_that_the_store_has_wrong_are_sent_again(drone: Drone, folder: Path) -> None:
    data = big(folder / "big.ulg", parts=3)
    stop_at(drone, "partNumber=3")
    (upload_id,) = journal(folder, "select upload_id from uploads")[0]
    drone.landing.admin.upload_part(
        Bucket=drone.landing.target.bucket,
        Key=f"{drone.landing.prefix}big.ulg",
        UploadId=upload_id,
        PartNumber=1,
        Body=bytes(PART_BYTES),
        ChecksumAlgorithm="SHA256",
    )
    assert drone.once() == 0
    assert drone.landing.stored() == {"big.ulg": data}


def test_completion_whose_answer_the_killed_process_never_saw(drone: Drone, folder: Path) -> None:
    data = big(folder / "big.ulg", parts=3)
    rule = troubles(on=r"^POST .*uploadId=", first=[Lose(), *[Cut(0)] * 9])
    with bad_link(drone.landing.target.endpoint or "", rule):
        assert drone.once() == 1
    drone.now += 600
    assert drone.once() == 0
    assert set(drone.landing.stored().values()) == {data}


def test_rate_cap_holds() -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    rate = Rate(1000, sleep=sleep, clock=lambda: now)
    for _ in range(100):
        rate.take(100)
    assert 9.5 <= now <= 10.5
    now += 3600
    before = now
    for _ in range(10):
        rate.take(100)
    assert now - before >= 0.7, "what was not used is not saved up"


def test_upload_takes_as_long_as_the_cap_says(drone: Drone, folder: Path) -> None:
    (folder / "a.ulg").write_bytes(bytes(400_000))
    drone.settings = replace(drone.settings, max_rate=200_000, stable_for_s=0)
    started = time.monotonic()
    said: list[str] = []
    assert watch.run(drone.landing.target, replace(drone.settings, is_once=True), said.append) == 0
    assert 1.5 < time.monotonic() - started < 30
    assert drone.landing.logs() == {"a.ulg"}


def test_second_watcher_of_the_same_folder_is_refused(drone: Drone) -> None:
    with (
        drone.watcher(),
        pytest.raises(TargetError, match="another watcher"),
        drone.watcher(),
    ):
        pass


def test_journal_of_another_client_is_refused(drone: Drone) -> None:
    drone.once()
    drone.landing = replace(drone.landing, target=replace(drone.landing.target, client="other"))
    with pytest.raises(TargetError, match="is about uploads of"), drone.watcher():
        pass


def test_clock_is_learned_before_it_is_refused(
    drone: Drone, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.ulg").write_bytes(b"flight")
    learned: list[str] = []
    learn = ClockOffset.learn

    def note(self: ClockOffset, headers: dict[str, str], error: dict[str, str]) -> object:
        learned.append(headers["date"])
        return learn(self, headers, error)

    monkeypatch.setattr(ClockOffset, "learn", note)
    drone.once()
    assert len(learned) >= 2


def test_watch_of_100_mb_takes_less_than_64_mb(
    landing: Landing, folder: Path, tmp_path: Path
) -> None:
    with (folder / "sparse.ulg").open("wb") as log:
        log.truncate(110_000_000)
    env_file = tmp_path / "drone.env"
    env_file.write_text(landing.env_lines())
    script = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from logbox_pipeline.drone.cli import main\n"
        "status = main(sys.argv[1:])\n"
        # Not ru_maxrss, which begins with the size of the process that forked this one.
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run(
        [
            sys.executable, "-c", script, "watch", folder, "--env", env_file, "--once",
            "--stable-for", "0",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 * 1024
    assert landing.head("sparse.ulg")["ContentLength"] == 110_000_000


def test_sigterm_ends_it_cleanly(landing: Landing, folder: Path, tmp_path: Path) -> None:
    env_file = tmp_path / "drone.env"
    env_file.write_text(landing.env_lines())
    (folder / "a.ulg").write_bytes(b"flight")
    command = [
        sys.executable, "-m", "logbox_pipeline.drone.cli", "watch", folder, "--env", env_file,
        "--stable-for", "0", "--every", "0.1",
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if " sent a.ulg" in line:
                break
        running.send_signal(signal.SIGTERM)
        rest = running.stderr.read()
        assert running.wait(30) == 0
    assert "stopped" in rest
    assert "Traceback" not in rest


def test_folder_that_is_none_is_wrong_use(landing: Landing, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="is no folder"):
        watch.run(landing.target, Settings(tmp_path / "none", tmp_path / "s"), print)


def big(path: Path, parts: int) -> bytes:
    """A log of so many parts, the last of them short."""
    data = os.urandom((parts - 1) * PART_BYTES) + b"the end"
    path.write_bytes(data)
    return data


def stop_at(drone: Drone, request: str) -> None:
    """As SIGTERM does, before a request is sent."""

    def rule(line: str) -> Cut | None:
        return Cut(0) if request in line else None

    def stop(now: float) -> None:
        if drone.heard("attempt 2"):
            raise DoneError

    drone.on_sleep = stop
    with bad_link(drone.landing.target.endpoint or "", rule), pytest.raises(DoneError):
        drone.once()
    drone.on_sleep = lambda now: None
    drone.said.clear()


def journal(folder: Path, query: str) -> list[tuple[object, ...]]:
    db = sqlite3.connect(folder / ".logbox" / "journal.sqlite3")
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()
