"""`logbox reconcile`: what it says, and how it exits."""

import pytest

from logbox_pipeline.adapters.catalog_reconciliations import last_checked
from logbox_pipeline.steps.judge import judge, overdue_reconciliations
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.cli.office import run, run_json, settle_in
from logbox_pipeline_tests.journey import jsonl, one, upload


@pytest.fixture
def office(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    settle_in(site, monkeypatch)
    upload(site, "landing/acme/d1/a.jsonl", jsonl("x"))
    journey.ingest_all(site)
    return site


def test_clean_drift_and_unchecked_have_exits_of_their_own(
    office: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("reconcile").exit_code == 0
    clean = run_json("reconcile", "--every-byte")
    assert (clean["verdict"], clean["drifts"], clean["is_deep"]) == ("clean", [], True)

    key = one(office, "select archive_key from logbox.objects")
    office.archive.delete(key)
    result = run("reconcile")
    assert result.exit_code == 1
    for said in (f"missing in archive: {key}", "    expected ", "    found    nothing"):
        assert said in result.stdout
    found = run_json("reconcile", exit_code=1)
    (drift,) = found["drifts"]
    assert drift["next"] == f"logbox repair {drift['drift_id']}"
    assert drift["client"] == "acme"

    monkeypatch.setenv("LOGBOX_DATABASE_URL", "postgresql://x:y@127.0.0.1:1/none")
    away = run("reconcile")
    assert away.exit_code == 3, away.stderr
    assert "could not check" in away.stderr


def test_overdue_comparisons_are_said_until_they_are_made(office: Site) -> None:
    journey.change(office, "update logbox.batches set created_at = now() - interval '3 hours'")
    (check,) = (each for each in judge(office) if each.check == "reconciliation_is_recent")
    assert (check.passed, check.count) == (False, 1)
    assert run("status", "--strict").exit_code == 1
    assert run("reconcile").exit_code == 0
    with office.transaction() as cursor:
        checked = last_checked(cursor)
    assert overdue_reconciliations(checked, office.now()) == []
