"""`logbox access`: who did what, and what was refused."""

import json
from datetime import UTC, datetime

import pytest

from logbox_pipeline.steps.access_log import load_access_log
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests.cli.office import run, run_json, settle_in
from logbox_pipeline_tests.journey import change


@pytest.fixture(autouse=True)
def _office(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    settle_in(site, monkeypatch)


def test_who_did_what_is_told_and_narrowed(site: Site) -> None:
    said = run("access")
    assert said.exit_code == 0
    assert "no log of a store was ever found" in said.stderr
    change(
        site, "insert into logbox.client_keys values ('AKIAACME', 'acme', null, 'u', now(), null)"
    )
    folder = site.settings.home / "log"
    folder.mkdir()
    line = {
        "at": datetime.now(UTC).isoformat(), "service": "s3", "operation": "PutObject",
        "bucket": "b", "key": "landing/acme/\x1b[31ma", "remote": "10.0.0.7",
    }  # fmt: skip
    for key_id, status, error in (
        ("AKIAACME", 200, ""), ("AKIAACME", 403, "AccessDenied"), ("AKIAWHO", 403, "AccessDenied"),
    ):  # fmt: skip
        with (folder / "access.jsonl").open("a") as file:
            file.write(json.dumps(line | {"key_id": key_id, "status": status, "error": error}))
            file.write("\n")
    load_access_log(site)
    assert [row["requests"] for row in run_json("access")] == [1, 1, 1]
    (refused,) = run_json("access", "--refused", "--client", "acme")
    assert (refused["who"], refused["status"], refused["error"]) == ("acme", 403, "AccessDenied")
    shown = run("access", "--since", "2d")
    assert "AccessDenied" in shown.stdout
    assert "3 request(s)" in shown.stderr
    assert run_json("access", "--since", "2030-01-01") == []
    assert run("access", "--since", "soon").exit_code == 2
