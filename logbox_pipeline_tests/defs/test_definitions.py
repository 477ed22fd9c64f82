"""The definitions as Dagster sees them, and one batch through its own machinery."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from uuid import UUID

import dagster as dg
import pytest

from logbox_pipeline.adapters import catalog_batches
from logbox_pipeline.core.batching import REQUESTS_BEFORE_SPLIT
from logbox_pipeline.definitions import build_defs, defs
from logbox_pipeline.defs import jobs, sensors
from logbox_pipeline.defs.assets import BATCH_TAG
from logbox_pipeline.defs.resources import SiteResource
from logbox_pipeline.defs.sensors import landing_sensor
from logbox_pipeline.steps.alert import alert_of_failure
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import rows, upload


class Opened(SiteResource):
    """A site resource around a test's site."""

    def open(self) -> Site:
        return _SITE[0]


_SITE: list[Site] = []


@pytest.fixture
def dagster(site: Site) -> Iterator[dg.DagsterInstance]:
    _SITE.append(site)
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance
    _SITE.clear()


def test_asset_keys_and_checks_are_the_glossarys() -> None:
    graph = defs.resolve_asset_graph()
    assert sorted(key.to_user_string() for key in graph.get_all_asset_keys()) == [
        "access_log",
        "archived_logs",
        "loaded_logs",
        "parsed_logs",
        "received_logs",
        "reconciliation",
        "recovery_drill",
        "replicated_logs",
        "verified_logs",
    ]
    assert sorted(key.name for key in graph.asset_check_keys) == [
        "freshness_promise",
        "landing_is_clear",
        "no_open_drift",
        "no_open_refusals",
        "no_refused_requests",
        "postgres_equals_parquet",
        "reconciliation_is_recent",
        "recovery_is_rehearsed",
        "replica_is_caught_up",
    ]


def test_every_asset_says_what_it_is_whose_it_is_and_what_it_is_made_with() -> None:
    for key in defs.resolve_asset_graph().get_all_asset_keys():
        node = defs.resolve_asset_graph().get(key)
        assert node.description
        name = key.to_user_string()
        groups = {
            "access_log": "audit",
            "reconciliation": "integrity",
            "recovery_drill": "integrity",
        }
        assert node.group_name == groups.get(name, "ingest")
        assert node.owners
        assert node.kinds
        # What is owed, asked or compared is so whichever day it came.
        assert (node.partitions_def is None) == (name in groups or name == "replicated_logs")


def test_the_sensor_offers_a_batch_once_and_its_run_loads_the_log(
    site: Site, dagster: dg.DagsterInstance
) -> None:
    upload(site, "landing/acme/d1/a.jsonl", b'{"msg":"hello"}\n')
    built = build_defs(Opened())
    context = dg.build_sensor_context(instance=dagster, resources={"site": Opened()})
    result = landing_sensor(context)
    assert isinstance(result, dg.SensorResult)
    assert result.run_requests is not None
    (request,) = result.run_requests
    batch_id, _, attempt = (request.run_key or "").partition(":")
    assert attempt == "1"
    assert request.tags[BATCH_TAG] == str(UUID(batch_id))

    job = built.resolve_job_def("ingest")
    done = job.execute_in_process(
        instance=dagster,
        partition_key=request.partition_key,
        tags={**request.tags, "dagster/run_key": request.run_key or ""},
    )
    assert done.success
    materialized = {
        event.asset_key.to_user_string()
        for event in done.get_asset_materialization_events()
        if event.asset_key
    }
    assert materialized == {"verified_logs", "archived_logs", "parsed_logs", "loaded_logs"}
    assert all(check.passed for check in done.get_asset_check_evaluations())
    assert rows(site, "select message from logbox.log_events") == [("hello",)]
    again = landing_sensor(dg.build_sensor_context(instance=dagster, resources={"site": Opened()}))
    assert isinstance(again, dg.SensorResult)
    assert not again.run_requests


def test_a_day_materialized_by_a_person_finishes_what_is_open_and_no_more(
    site: Site, dagster: dg.DagsterInstance
) -> None:
    upload(site, "landing/acme/d1/a.jsonl", b'{"msg":"hello"}\n')
    landing_sensor(dg.build_sensor_context(instance=dagster, resources={"site": Opened()}))
    ((day,),) = rows(site, "select received_on::text from logbox.batches")
    job = build_defs(Opened()).resolve_job_def("ingest")
    assert job.execute_in_process(instance=dagster, partition_key=day).success
    before = rows(site, "select log_id, loaded_at from logbox.logs")
    assert len(before) == 1
    assert job.execute_in_process(instance=dagster, partition_key=day).success
    assert rows(site, "select log_id, loaded_at from logbox.logs") == before


def test_the_jobs_of_the_lake_run_nightly_and_say_what_they_did(
    site: Site, dagster: dg.DagsterInstance
) -> None:
    built = build_defs(Opened())
    for name in ("compact", "retain"):
        done = built.resolve_job_def(name).execute_in_process(instance=dagster)
        assert done.success
        (step,) = [event for event in done.all_events if event.is_successful_output]
        assert len(step.step_output_data.metadata) > 3
    scheduled = {schedule.job_name for schedule in built.schedules or ()}
    assert {"compact", "retain"} <= scheduled


def test_refused_files_keep_their_check_at_warn_after_a_clean_batch(
    site: Site, dagster: dg.DagsterInstance
) -> None:
    upload(site, "landing/acme/d1/bad.jsonl", b'{"msg":"x"}\n', sha256="0" * 64)
    job = build_defs(Opened()).resolve_job_def("ingest")
    for _ in range(2):
        landing_sensor(dg.build_sensor_context(instance=dagster, resources={"site": Opened()}))
        ((day,),) = rows(site, "select distinct received_on::text from logbox.deliveries")
        done = job.execute_in_process(instance=dagster, partition_key=day)
        (refusals,) = (
            check
            for check in done.get_asset_check_evaluations()
            if check.check_name == "no_open_refusals"
        )
        assert not refusals.passed
        assert refusals.severity is dg.AssetCheckSeverity.WARN
        upload(site, "landing/acme/d1/good.jsonl", b'{"msg":"y"}\n')


def test_the_audit_loads_the_access_log_and_warns_of_what_was_refused(
    site: Site, dagster: dg.DagsterInstance
) -> None:
    folder = site.settings.home / "log"
    folder.mkdir(parents=True)
    line = {"at": datetime.now(UTC).isoformat(), "key_id": "AKIAWHO", "status": 403}
    (folder / "access.jsonl").write_text(json.dumps(line) + "\n")
    done = build_defs(Opened()).resolve_job_def("audit").execute_in_process(instance=dagster)
    assert done.success
    assert rows(site, "select key_id from logbox.access_log") == [("AKIAWHO",)]
    (check,) = done.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("no_refused_requests", False)
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert "unknown" in (check.description or "")


def test_a_failed_run_is_told_to_the_webhook_with_its_files_and_the_next_command(
    site: Site,
) -> None:
    upload(site, "landing/acme/d1/a.jsonl", b'{"msg":"hello"}\n')
    from logbox_pipeline.steps.sense import sense

    (batch,) = sense(site, hint={}, run_states=lambda _: {}).offered
    with _listener() as (url, received):
        listening = Site(
            site.settings.model_copy(update={"alert_webhook_url": url}),
            site.landing,
            site.archive,
            site.lake,
        )
        alert_of_failure(
            listening, job="ingest", run_id="r1", batch_id=str(batch.batch_id), error="boom"
        )
    (text,) = [message["text"] for message in received]
    assert str(batch.batch_id) in text
    assert "landing/acme/d1/a.jsonl" in text
    assert "boom" in text
    assert "logbox status" in text


def test_a_file_whose_store_fails_for_it_alerts_the_first_times_only(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", b'{"msg":"hello"}\n')
    (batch,) = journey.tick(site).offered
    attempt = batch.attempt
    with _listener() as (url, received):
        listening = journey.with_settings(site, alert_webhook_url=url)
        for _ in range(6):
            with site.transaction() as cursor:
                catalog_batches.back_off(
                    cursor, batch.batch_id, attempt, "RequestFailed: 500", site.now(),
                    by_request=True,
                )  # fmt: skip
            attempt += 1
            alert_of_failure(
                listening, job="ingest", run_id="r", batch_id=str(batch.batch_id), error="500"
            )
        assert len(received) == REQUESTS_BEFORE_SPLIT
        with site.transaction() as cursor:
            catalog_batches.count_failure(cursor, batch.batch_id, attempt, "died", site.now())
        alert_of_failure(
            listening, job="ingest", run_id="r", batch_id=str(batch.batch_id), error="died"
        )
    assert len(received) == REQUESTS_BEFORE_SPLIT + 1


def test_the_failure_sensor_watches_every_job() -> None:
    assert sensors.alert_on_failure.name == "alert_on_failure"
    assert sensors.alert_on_failure.default_status is dg.DefaultSensorStatus.RUNNING


class _listener:  # noqa: N801 - reads as a word: with _listener()
    """A real HTTP server that keeps what is posted to it."""

    def __enter__(self) -> tuple[str, list[dict[str, str]]]:
        received: list[dict[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append(json.loads(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}/hook", received

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_every_old_run_is_purged_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PURGE_AT_ONCE", 2)
    with dg.DagsterInstance.ephemeral() as instance:
        for number in range(5):
            status = dg.DagsterRunStatus.SUCCESS if number else dg.DagsterRunStatus.STARTED
            instance.add_run(dg.DagsterRun("ingest", status=status))
        assert jobs.purge(instance, datetime.now(UTC) - timedelta(hours=1)) == 0
        assert jobs.purge(instance, datetime.now(UTC) + timedelta(hours=1)) == 4
        assert [run.status.value for run in instance.get_runs()] == ["STARTED"]
