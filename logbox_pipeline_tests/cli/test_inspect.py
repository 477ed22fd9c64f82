"""`logbox inspect`: what would become of a file, with no server anywhere."""

import gzip
import hashlib
import io
import json
import zipfile
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from typer.testing import CliRunner

from logbox_pipeline.cli.main import app
from logbox_pipeline.simulator.jsonl_writer import write_jsonl
from logbox_pipeline.simulator.ulog_writer import write_ulog
from logbox_pipeline_tests.formats.small_logs import SMALL_LOGS


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No stack and no settings at hand; what is left behind in scratch would show."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOGBOX_HOME", str(tmp_path / "home"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(
        "logbox_pipeline.steps.inspect.TemporaryDirectory",
        partial(TemporaryDirectory, dir=tmp_path / "scratch"),
    )


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["inspect", *map(str, arguments)])
    return result.exit_code, result.output


def described(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def ulog(seed: int) -> bytes:
    return SMALL_LOGS["ulog"].write(seed)


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_whole_log_is_described_and_exits_0(tmp_path: Path) -> None:
    out = io.BytesIO()
    ledger = write_ulog(out, seed=5, duration_s=20.0)
    exit_code, output = run(written(tmp_path / "f.ulg", out.getvalue()), "--json")
    (log,) = described(output)
    assert exit_code == 0
    assert (log["state"], log["format"], log["recognized_by"]) == ("loaded", "ulog", "content")
    assert log["sha256"] == log["content_sha256"] == hashlib.sha256(out.getvalue()).hexdigest()
    assert log["rows"] == sum(ledger.rows.values())
    assert log["topics"] == {
        f"{topic}/{instance}" if instance else topic: rows
        for (topic, instance), rows in ledger.rows.items()
    }
    assert log["events"] == sum(log["events_by_level"].values())
    assert log["parameters"] == len(ledger.parameters)
    assert log["vehicle_uid"] == ledger.vehicle_uid
    assert (log["is_damaged"], log["damaged_bytes"], log["reason"]) == (False, 0, None)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_every_log_of_an_archive_is_described_and_a_refused_member_exits_1(tmp_path: Path) -> None:
    lines = io.BytesIO()
    write_jsonl(lines, seed=1, lines=50)
    with zipfile.ZipFile(tmp_path / "card.zip", "w") as archive:
        archive.writestr("a/flight.ulg.gz", gzip.compress(ulog(seed=1)))
        archive.writestr("companion.jsonl", lines.getvalue())
        archive.writestr("../escape.ulg", ulog(seed=2))
    exit_code, output = run(tmp_path / "card.zip", "--json")
    flight, companion = described(output)
    assert exit_code == 1
    assert (flight["member"], flight["format"]) == ("a/flight.ulg.gz", "ulog")
    assert flight["content_sha256"] == hashlib.sha256(ulog(seed=1)).hexdigest()
    assert (companion["member"], companion["format"]) == ("companion.jsonl", "jsonl")
    assert companion["events"] == 50
    whole = hashlib.sha256((tmp_path / "card.zip").read_bytes()).hexdigest()
    for log in (flight, companion):
        assert log["sha256"] == whole
        assert [refused["member"] for refused in log["refused_members"]] == ["../escape.ulg"]


def test_a_wrapper_in_which_nothing_can_be_read_is_one_unparsed_log(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "card.zip", "w") as archive:
        archive.writestr("../escape.ulg", ulog(seed=2))
    exit_code, output = run(tmp_path / "card.zip", "--json")
    (log,) = described(output)
    assert exit_code == 1
    assert (log["state"], log["reason"], log["format"]) == ("unparsed", "unsafe_name", "zip")
    assert log["sha256"] == log["content_sha256"]
    assert (log["rows"], log["events"], log["topics"]) == (0, 0, {})


def test_damage_is_shown_and_exits_1(tmp_path: Path) -> None:
    data = ulog(seed=1)
    exit_code, output = run(written(tmp_path / "cut.ulg", data[: len(data) // 2]))
    assert exit_code == 1
    assert "bytes lost at" in output
    assert "truncated" in output


def test_what_cannot_be_read_says_why_and_exits_1(tmp_path: Path) -> None:
    exit_code, output = run(written(tmp_path / "x.ulg", b"ULogEnc" + bytes(100)))
    assert exit_code == 1
    assert "encrypted" in output
    exit_code, output = run(written(tmp_path / "empty.ulg", b""))
    assert exit_code == 1
    assert "the log has no bytes" in output
    (log,) = described(run(tmp_path / "empty.ulg", "--json")[1])
    assert (log["state"], log["reason"]) == ("quarantined", "empty")


def test_rows_of_a_topic_and_events_are_shown(tmp_path: Path) -> None:
    path = written(tmp_path / "f.ulg", ulog(seed=1))
    exit_code, output = run(path, "--topic", "vehicle_attitude", "--rows", "2", "--json")
    rows = json.loads(output)
    assert exit_code == 0
    assert len(rows) == 2
    assert {"instance", "t_boot_us", "ts", "q[0]"} <= set(rows[0])
    exit_code, output = run(path, "--topic", "events")
    assert exit_code == 0
    assert "message" in output


def test_fields_called_like_our_own_columns_are_shown_beside_them(tmp_path: Path) -> None:
    table = b"instance,t_boot_us,ts,ts#2,lat\n1,1000,1675851121,5,48.1\n1,2000,1675851122,6,48.2\n"
    path = written(tmp_path / "own.csv", table)
    _, output = run(path, "--json")
    (topic,) = described(output)[0]["topics"]
    exit_code, output = run(path, "--topic", topic, "--json")
    assert exit_code == 0
    first = json.loads(output)[0]
    assert (first["ts#2"], first["ts#2#2"], first["lat"]) == (1675851121, 5, 48.1)
    assert (first["instance"], first["instance#2"], first["t_boot_us"]) == (0, 1, 1000)


def test_an_unknown_topic_or_file_is_wrong_use(tmp_path: Path) -> None:
    path = written(tmp_path / "f.ulg", ulog(seed=1))
    exit_code, output = run(path, "--topic", "nothing_such")
    assert exit_code == 2
    assert "it has events and: " in output
    exit_code, output = run(path, "--topic", "vehicle_atitude")
    assert exit_code == 2
    assert "did you mean vehicle_attitude" in output
    exit_code, output = run(tmp_path / "none.ulg")
    assert exit_code == 2
    assert "is no file" in output


def test_nothing_a_file_says_reaches_the_terminal_as_markup(tmp_path: Path) -> None:
    line = '{"ts":"2026-11-24T09:00:00Z","msg":"[red]x[/red] \\u001b[31m","logger":"[bold]"}\n'
    path = written(tmp_path / "[red]evil.jsonl", (line * 3).encode())
    exit_code, output = run(path, "--topic", "events")
    assert exit_code == 0
    assert "[red]x[/red]" in output
    assert "\x1b" not in output


def test_a_topic_is_found_in_whichever_member_has_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "card.zip", "w") as archive:
        archive.writestr("companion.jsonl", b'{"msg":"x"}\n' * 3)
        archive.writestr("flight.ulg", ulog(seed=1))
    exit_code, output = run(tmp_path / "card.zip", "--topic", "vehicle_attitude", "--rows", "1")
    assert exit_code == 0
    assert "flight.ulg" in output
    assert "companion.jsonl" not in output


def test_wide_rows_are_folded(tmp_path: Path) -> None:
    path = written(tmp_path / "f.ulg", ulog(seed=1))
    _, output = run(path, "--topic", "vehicle_local_position", "--rows", "2")
    assert max(map(len, output.splitlines())) <= 101
