"""What the embedded stack's processes are told: the settings' own order, and limits of time."""

from pathlib import Path

import pytest

from logbox_pipeline.local.site import _write_databases
from logbox_pipeline.local.stack import EmbeddedStack
from logbox_pipeline.settings import load_settings, stack_environment


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose files are written, in an environment without settings."""
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("LOGBOX_HOME", str(home))
    (home / "stack.env").write_text("LOGBOX_SECRET_KEY=the stack's\nLOGBOX_S3_REGION=us-east-1\n")
    (home / "setup.env").write_text("LOGBOX_DATABASE_URL=postgresql://a:b%3D@localhost/c?d=e\n")
    return home


def test_env_wins_over_the_stacks_files_in_its_processes_as_in_every_command(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(".env").write_text("LOGBOX_SECRET_KEY=my own\nLOGBOX_S3_REGION=eu-west-1\nOTHER=1\n")
    monkeypatch.setenv("LOGBOX_S3_REGION", "eu-north-1")
    told = {
        name: value
        for name, value in stack_environment(home).items()
        if not name.startswith("LOGBOX_TEST_RUN_")
    }
    assert told == {
        "LOGBOX_HOME": str(home),
        "LOGBOX_SECRET_KEY": "my own",
        "LOGBOX_S3_REGION": "eu-north-1",
        "LOGBOX_DATABASE_URL": "postgresql://a:b%3D@localhost/c?d=e",
    }
    settings = load_settings()
    assert (settings.secret_key, settings.s3_region) == ("my own", "eu-north-1")


def test_dagster_does_not_wait_for_ever_for_a_postgres_that_is_silent(tmp_path: Path) -> None:
    with EmbeddedStack(tmp_path / "stack", has_replica=False) as stack:
        _write_databases(stack)
    written = (tmp_path / "stack" / "setup.env").read_text()
    (dagster,) = (line for line in written.splitlines() if line.startswith("LOGBOX_DAGSTER_"))
    assert "/logbox_dagster?connect_timeout=10&keepalives_idle=30" in dagster
