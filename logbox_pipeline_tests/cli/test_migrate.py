"""`logbox migrate`: what may be lost is said before it is."""

from pathlib import Path

import pytest

from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests.cli.office import run, settle_in
from logbox_pipeline_tests.journey import ingest_all, jsonl, one, upload


def test_rows_of_loaded_logs_do_not_go_unasked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    settle_in(site, monkeypatch)
    monkeypatch.setenv("LOGBOX_OWNER_DATABASE_URL", site.settings.database_url or "")
    upload(site, "landing/acme/d1/a.jsonl", jsonl("up"))
    ingest_all(site)
    refused = run("migrate", "down")
    assert refused.exit_code == 2
    assert "1 logs are loaded" in refused.stderr
    assert "logbox migrate down --yes" in refused.stderr
    assert one(site, "select count(*) from logbox.log_track") == 0
    assert one(site, "select state from logbox.logs") == "loaded"


def test_without_a_stack_the_next_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (("status",), ("trace", "a.ulg"), ("migrate", "status"), ("db",)):
        result = run(*command)
        assert result.exit_code == 1
        assert f"the stack of {tmp_path}/.logbox is not there yet" in result.stderr
        assert "logbox up" in result.stderr
