"""`logbox simulate` says what was asked for wrongly, before it asks any store."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from logbox_pipeline.cli.main import app


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--check"], "none is named"),
        (["--check", "--ledger", "x.jsonl", "--fault", "all=0"], "uploads nothing"),
        (["--check", "--ledger", "nothing.jsonl"], "cannot read nothing.jsonl"),
        (["--fault", "flood=0.5"], "names are all, truncated"),
        (["--fault", "slow=2"], "from 0 to 1"),
        (["--fault", "slow"], "from 0 to 1"),
        (["--fault", "all=0.1"], "come to 1.20"),
        (["--largest", "1T"], "is no size"),
        (["--largest", "1K"], "more than 20K"),
        (["--largest", "200M"], "at most 100M"),
        (["--drones", "0"], "Invalid value"),
        (["--arrival", "never"], "Invalid value"),
    ],
)
def test_wrong_use_is_said_and_is_2(
    asked: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOGBOX_HOME", raising=False)
    result = CliRunner().invoke(app, ["simulate", *asked])
    assert result.exit_code == 2, result.output
    assert said in result.output + result.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_a_stack_it_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOGBOX_HOME", raising=False)
    result = CliRunner().invoke(app, ["simulate", "--ledger", "new.jsonl"])
    assert result.exit_code == 1
    assert "logbox up" in result.stderr
