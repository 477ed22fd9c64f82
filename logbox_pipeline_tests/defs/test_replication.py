"""The sensor of the replica asks for a run only when one would find work, and for one at a time."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType

from logbox_pipeline.adapters.turns import Turn, turn
from logbox_pipeline.definitions import build_defs
from logbox_pipeline.defs import sensors
from logbox_pipeline.defs.resources import SiteResource
from logbox_pipeline.steps.judge import Judgement, judge
from logbox_pipeline.steps.replicate import due, replicate
from logbox_pipeline.steps.site import Site, open_site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import jsonl, upload

_SITE: list[Site] = []


class Opened(SiteResource):
    """A site resource around a test's site."""

    def open(self) -> Site:
        return _SITE[0]


@pytest.fixture
def dagster(site: Site) -> Iterator[dg.DagsterInstance]:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("armed"))
    journey.ingest_all(site)
    _SITE.append(site)
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance
    _SITE.clear()


def look(instance: dg.DagsterInstance) -> list[dg.RunRequest] | str:
    """What the sensor asks for, or why it asks for nothing."""
    context = dg.build_sensor_context(instance=instance, resources={"site": Opened()})
    found = sensors.replication_sensor(context)
    if isinstance(found, dg.SkipReason):
        return found.skip_message or ""
    assert isinstance(found, dg.SensorResult)
    return list(found.run_requests or ())


def verdict(site: Site) -> Judgement:
    (found,) = (one for one in judge(site) if one.check == "replica_is_caught_up")
    return found


def test_one_run_brings_the_replica_up_to_date_and_no_other_is_asked_for(
    site: Site, dagster: dg.DagsterInstance
) -> None:
    (request,) = look(dagster)
    assert int(request.tags["logbox/owed_files"]) > 1  # type: ignore[union-attr]
    job = build_defs(Opened()).resolve_job_def("replicate")
    done = job.execute_in_process(instance=dagster)
    assert done.success
    (told,) = done.get_asset_materialization_events()
    metadata = told.materialization.metadata
    assert metadata["lag_s"].value == 0
    assert metadata["copied_files"].value == metadata["dagster/row_count"].value
    (check,) = done.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("replica_is_caught_up", True)
    assert look(dagster) == "The replica has everything."


def test_without_a_replica_nothing_is_counted(site: Site, dagster: dg.DagsterInstance) -> None:
    _SITE[0] = replace(site, replica=None)
    assert "There is no replica" in look(dagster)
    assert due(_SITE[0]).lag.files == 0 < due(site).lag.files


def test_what_has_just_landed_comes_first_unless_the_replica_is_far_behind(
    site: Site, dagster: dg.DagsterInstance
) -> None:
    upload(site, "landing/acme/d1/b.jsonl", jsonl("disarmed"))
    assert len(journey.tick(site).offered) == 1
    assert "Batches are at work" in look(dagster)
    third = site.settings.replica_lag_s / 3
    _SITE[0] = replace(site, now=lambda: site.now() + timedelta(seconds=third))
    (request,) = look(dagster)
    assert int(request.tags["logbox/lag_s"]) >= third  # type: ignore[union-attr]


def test_a_replica_that_is_away_costs_no_run(site: Site, dagster: dg.DagsterInstance) -> None:
    away = {"replica_s3_endpoint": "http://127.0.0.1:9"}
    _SITE[0] = open_site(site.settings.model_copy(update=away))
    assert "LOGBOX_REPLICA_S3_ENDPOINT" in look(dagster)


def test_a_replica_that_is_set_wrong_fails_the_tick(
    site: Site, dagster: dg.DagsterInstance
) -> None:
    _SITE[0] = open_site(site.settings.model_copy(update={"replica_bucket": "no-such-bucket"}))
    with pytest.raises(dg.Failure, match="LOGBOX_REPLICA_BUCKET"):
        look(dagster)


def test_a_failed_run_is_followed_by_a_rest(
    site: Site, dagster: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    _SITE[0] = open_site(site.settings.model_copy(update={"replica_bucket": "no-such-bucket"}))
    job = build_defs(Opened()).resolve_job_def("replicate")
    assert not job.execute_in_process(instance=dagster, raise_on_error=False).success
    _SITE[0] = site
    assert "ended FAILURE" in look(dagster)
    rested = timedelta(seconds=sensors.REPLICATION_REST_S + 5)
    _SITE[0] = replace(site, now=lambda: site.now() + rested)
    assert len(look(dagster)) == 1


def begin(dagster: dg.DagsterInstance) -> Any:
    """A run that Dagster thinks is at work."""
    job = build_defs(Opened()).resolve_job_def("replicate")
    run = dagster.create_run_for_job(job)
    event = DagsterEvent(DagsterEventType.RUN_START.value, job.name)
    dagster.report_dagster_event(event, run.run_id)
    return run


def test_no_second_run_is_asked_for_while_one_is_at_work_and_a_dead_one_is_failed(
    site: Site, dagster: dg.DagsterInstance
) -> None:
    run = begin(dagster)
    assert "is at work" in look(dagster)
    _SITE[0] = replace(site, now=lambda: site.now() + timedelta(seconds=90))
    with site.connection() as other, turn(other, Turn.REPLICATION):
        assert "is at work" in look(dagster)
        assert dagster.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.STARTED  # type: ignore[union-attr]
    look(dagster)
    assert dagster.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]


def test_the_check_warns_of_a_lag_over_the_promise_until_it_is_caught_up(
    site: Site, dagster: dg.DagsterInstance
) -> None:
    late = replace(site, now=lambda: site.now() + timedelta(seconds=1_000))
    assert verdict(site).passed
    found = verdict(late)
    assert (found.passed, found.is_error) == (False, False)
    assert found.count == found.rows[0]["files"] > 1
    replicate(site)
    assert verdict(late).passed
    assert verdict(late).sentence == "The replica has everything."


def test_no_replica_is_a_warning_unless_it_was_decided(site: Site) -> None:
    alone = replace(site, replica=None)
    assert not verdict(alone).passed
    assert "only copy" in verdict(alone).sentence
    decided = site.settings.model_copy(update={"replication": "off"})
    assert verdict(replace(alone, settings=decided)).passed
