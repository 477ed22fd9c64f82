import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from logbox_pipeline.benchmark.parts import PARTS
from logbox_pipeline.cli.main import app


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # What the command sets for its own stack is not to stay for other tests.
    for name in ("HOME", "WORK_DIR", "WEB_PORT", "REPLICATION", "POSTGRES_TOPICS"):
        monkeypatch.setenv(f"LOGBOX_{name}", "")
        monkeypatch.delenv(f"LOGBOX_{name}")
    monkeypatch.setenv("LOGBOX_HOME", str(tmp_path / "home"))


def test_quick_look_at_the_parsers_needs_no_stack_and_leaves_nothing(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["bench", "parsing", "--quick", "--json", "--html", str(page)])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    (part,) = found["parts"]
    assert (part["part"], part["error"]) == ("parsing", None)
    assert {"parsing_ulog", "parsing_csv_mb_per_s"} <= {one["name"] for one in part["measured"]}
    assert (found["is_quick"], found["missed"]) == (True, [])
    assert found["machine"]["cores"] > 0
    assert {"Python", "pyarrow", "pyulog", "dlt"} <= found["versions"].keys()
    assert "a quick look" in page.read_text()
    assert [one.name for one in (tmp_path / "home").rglob("*")] in ([], ["bench"])


def test_unknown_part_is_wrong_use() -> None:
    done = CliRunner().invoke(app, ["bench", "parsing", "everything"])
    assert done.exit_code == 2
    assert "parts are parsing, idle, jsonl" in done.stderr


def test_help_says_what_each_part_measures() -> None:
    done = CliRunner().invoke(app, ["bench", "--help"], env={"COLUMNS": "200"})
    for part in PARTS:
        assert part.name in done.stdout
