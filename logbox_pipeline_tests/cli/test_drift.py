"""`logbox drift`: seen, acknowledged, seen again."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from logbox_pipeline.adapters.catalog_drifts import record_drift
from logbox_pipeline.cli import drift as commands
from logbox_pipeline.steps.judge import judge
from logbox_pipeline.steps.site import Site


def see(site: Site) -> None:
    with site.transaction() as cursor:
        record_drift(
            cursor,
            "mismatch",
            "archive",
            "archive/acme/aa/x",
            expected="5 bytes",
            found="6 bytes",
            now=datetime.now(UTC),
        )


def is_red(site: Site) -> bool:
    return not next(one for one in judge(site) if one.check == "no_open_drift").passed


def test_an_acknowledged_drift_is_quiet_until_it_is_seen_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(commands, "checked_site", lambda: site)
    see(site)
    assert is_red(site)
    listed = CliRunner().invoke(commands.drift_app, ["list"])
    assert listed.exit_code == 1
    assert "mismatch in archive: archive/acme/aa/x" in listed.output
    drift = listed.output.split()[0]
    seen = CliRunner().invoke(commands.drift_app, ["acknowledge", drift, "--note", "our own test"])
    assert seen.exit_code == 0
    assert not is_red(site)
    assert CliRunner().invoke(commands.drift_app, ["list"]).exit_code == 0
    see(site)
    assert is_red(site)


def test_an_unknown_drift_is_wrong_use(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "checked_site", lambda: site)
    result = CliRunner().invoke(commands.drift_app, ["acknowledge", "nope", "--note", "x"])
    assert "no open drift has the id nope" in str(result.exception)
