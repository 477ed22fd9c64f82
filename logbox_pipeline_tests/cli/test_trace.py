"""`logbox trace` and `logbox get`: the answer, its exit code, and the file."""

import gzip
import hashlib
from pathlib import Path

import pytest

from logbox_pipeline.core.digest import log_id
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests.cli.office import run, run_json, settle_in
from logbox_pipeline_tests.journey import ingest_all, one, upload

LOG = b'{"ts":"2026-03-01T00:00:00Z","msg":"up"}\n' * 20
SHA256 = hashlib.sha256(LOG).hexdigest()
LOG_ID = log_id("acme", SHA256)


@pytest.fixture(autouse=True)
def at_the_site(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    settle_in(site, monkeypatch)


@pytest.fixture
def loaded(site: Site) -> Site:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    ingest_all(site)
    return site


def test_trace_tells_every_hop(loaded: Site) -> None:
    result = run("trace", "a.jsonl")
    assert result.exit_code == 0
    for words in ("received", "archived", "loaded", "log_events 20", str(LOG_ID)):
        assert words in result.stdout, words
    found = run_json("trace", SHA256[:12], "--client", "acme")
    assert found["found"]
    assert found["deliveries"][0]["hops"][0]["hop"] == "received"
    assert sorted(found) == [
        "deliveries", "found", "is_landing_searched_whole", "last_heard", "last_tick_at",
        "matches", "standing", "vehicles", "what",
    ]  # fmt: skip


def test_never_seen_exits_1_and_says_when_the_vehicle_was_last_heard_of(loaded: Site) -> None:
    result = run("trace", "d1@2020-01-01")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "never seen: d1@2020-01-01" in result.stderr
    assert "last heard of acme/d1 at 20" in result.stderr
    assert not run_json("trace", "d1@2020-01-01", exit_code=1)["found"]
    assert "nothing was ever heard of a vehicle d9" in run("trace", "d9/x.ulg").stderr


def test_trace_of_what_stands_unseen_in_landing(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    result = run("trace", "a.jsonl")
    assert result.exit_code == 0
    assert "landing/acme/d1/a.jsonl" in result.stdout
    assert "last looked never" in result.stderr


def test_wrong_use_exits_2(site: Site) -> None:
    for arguments in (("trace", ""), ("trace", "d1@2026-02-30"), ("get", "a.jsonl")):
        result = run(*arguments)
        assert result.exit_code == 2
        assert "next: " in result.stderr


def test_get_writes_the_original_under_a_name_of_ours(loaded: Site, tmp_path: Path) -> None:
    result = run("get", LOG_ID)
    assert result.exit_code == 0, result.stderr
    written = loaded.settings.home / f"{LOG_ID}.jsonl"
    assert written.read_bytes() == LOG
    assert "the drone called it a.jsonl" in result.stderr
    assert result.stdout == ""
    assert run("get", LOG_ID, "--output", tmp_path / "x.jsonl").exit_code == 0
    assert run("get", LOG_ID, "--output", tmp_path).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        f"{LOG_ID}.jsonl",
        "x.jsonl",
    ]


def test_get_overwrites_nothing(loaded: Site, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    (tmp_path / f"{LOG_ID}.jsonl").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for output in (tmp_path / "x", tmp_path, tmp_path / "link", tmp_path / "no" / "folder"):
        result = run("get", LOG_ID, "--output", output)
        assert result.exit_code == 2, output
    assert (tmp_path / "x").read_text() == "mine"
    assert (tmp_path / f"{LOG_ID}.jsonl").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    assert not list(tmp_path.glob(".logbox-*"))


def test_get_to_stdout_gives_the_bytes_alone(loaded: Site) -> None:
    result = run("get", LOG_ID, "--output", "-")
    assert result.exit_code == 0
    assert result.stdout_bytes == LOG
    assert result.stderr == ""


def test_a_mismatch_leaves_nothing(loaded: Site, tmp_path: Path) -> None:
    stored = loaded.archive.put_bytes(
        one(loaded, "select archive_key from logbox.objects"), b"other bytes"
    )
    with loaded.transaction() as cursor:
        cursor.execute("update logbox.objects set version_id = %s", (stored.version_id,))
    for output in (tmp_path / "x", "-"):
        result = run("get", LOG_ID, "--output", output)
        assert result.exit_code == 1
        assert SHA256 in result.stderr
        assert result.stdout == ""
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []
    assert not list(tmp_path.glob(".logbox-*"))


def test_an_unknown_log_exits_1(site: Site) -> None:
    result = run("get", LOG_ID)
    assert result.exit_code == 1
    assert "no log has the id" in result.stderr


def test_get_takes_a_log_out_of_its_wrapper_unless_told_not_to(site: Site, tmp_path: Path) -> None:
    packed = gzip.compress(LOG)
    upload(site, "landing/acme/d1/a.jsonl.gz", packed)
    ingest_all(site)
    result = run("get", LOG_ID, "--output", tmp_path)
    assert result.exit_code == 0
    assert SHA256 in result.stderr
    assert (tmp_path / f"{LOG_ID}.jsonl").read_bytes() == LOG
    assert run("get", LOG_ID, "--output", tmp_path, "--as-uploaded").exit_code == 0
    assert (tmp_path / f"{LOG_ID}.jsonl.gz").read_bytes() == packed
    assert run("get", LOG_ID, "--output", "-", "--as-uploaded").stdout_bytes == packed
    assert list(tmp_path.glob(".logbox-*")) == []
