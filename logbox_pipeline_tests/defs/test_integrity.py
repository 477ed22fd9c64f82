"""What a data engineer sees in Dagster of comparing, repairing and rehearsing."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from logbox_pipeline.definitions import build_defs
from logbox_pipeline.defs.resources import SiteResource
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import jsonl, one, rows, upload

_SITE: list[Site] = []


class Opened(SiteResource):
    """A site resource around a test's site."""

    def open(self) -> Site:
        return _SITE[0]


@pytest.fixture
def flown(site: Site) -> Iterator[Site]:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("armed", "disarmed"))
    journey.ingest_all(site)
    _SITE.append(site)
    yield site
    _SITE.clear()


def run(name: str, config: Any = None) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        job = build_defs(Opened()).resolve_job_def(name)
        return job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)


def test_drift_is_named_shown_and_only_mended_when_confirmed(flown: Site) -> None:
    journey.change(flown, "update logbox.log_events set message = 'x' where seq = 0")
    compared = run("reconcile_deep")
    assert compared.success
    (told,) = compared.get_asset_materialization_events()
    assert told.materialization.metadata["open_drifts"].value == 1
    checks = {one.check_name: one for one in compared.get_asset_check_evaluations()}
    assert not checks["no_open_drift"].passed

    shown = run("repair")
    assert shown.success
    assert rows(flown, "select * from logbox.repairs") == []
    config = {"ops": {"mend_drifts": {"config": {"confirm": True}}}}
    assert run("repair", config).success
    state, by = rows(flown, "select state, by from logbox.repairs")[0]
    assert (state, by.startswith("Dagster run ")) == ("done", True)
    assert one(flown, "select message from logbox.log_events where seq = 0") == "armed"
    again = run("reconcile_deep").get_asset_materialization_events()[0]
    assert again.materialization.metadata["open_drifts"].value == 0


def test_a_repair_that_is_refused_fails_its_run(flown: Site) -> None:
    for key, version in rows(flown, "select archive_key, version_id from logbox.objects"):
        flown.archive.delete(key, version_id=version)
    assert run("reconcile").success
    config = {"ops": {"mend_drifts": {"config": {"confirm": True}}}}
    assert not run("repair", config).success
    assert rows(flown, "select state from logbox.repairs") == [("refused",)]


def test_a_drill_shows_its_speed_and_turns_its_check_red_when_it_differs(flown: Site) -> None:
    done = run("drill")
    assert done.success
    metadata = done.get_asset_materialization_events()[0].materialization.metadata
    assert metadata["verdict"].value == "equal"
    assert metadata["projected_hours_for_everything"].value >= 0
    (check,) = done.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("recovery_is_rehearsed", True)
    journey.change(flown, "delete from logbox.log_events where seq = 0")
    (check,) = run("drill").get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
