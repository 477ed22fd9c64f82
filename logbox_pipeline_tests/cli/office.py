"""Type `logbox ...` at a test's own site. No test here."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from logbox_pipeline.cli.main import app
from logbox_pipeline.settings import Settings
from logbox_pipeline.steps.site import Site


def settle_in(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment say what the site's settings say, as .env would."""
    for name in Settings.model_fields:
        value = getattr(site.settings, name)
        if value is not None:
            monkeypatch.setenv(f"LOGBOX_{name.upper()}", str(value))
    site.settings.home.mkdir(exist_ok=True)
    monkeypatch.chdir(site.settings.home)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert "Traceback" not in result.stderr, result.stderr
    return result


def run_json(*arguments: object, exit_code: int = 0) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == exit_code, result.stderr
    return json.loads(result.stdout)
