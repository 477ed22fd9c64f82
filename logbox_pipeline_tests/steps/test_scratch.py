"""Work that is no batch's has its own folder, and says so when it cannot write there."""

import os
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from logbox_pipeline.core.reconciliation import Comparison
from logbox_pipeline.steps.attempt import sweep_scratch
from logbox_pipeline.steps.drill import drill
from logbox_pipeline.steps.reconcile import reconcile
from logbox_pipeline.steps.repair import repair
from logbox_pipeline.steps.scratch import LEFT_OVER, scratch_folder
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import claim_offered, jsonl, upload


def aged(folder: Path, by: timedelta) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    at = folder.stat().st_mtime - by.total_seconds()
    os.utime(folder, (at, at))
    return folder


def test_the_sensor_leaves_other_work_that_lives_alone(site: Site) -> None:
    scratch = site.settings.scratch
    an_hour = timedelta(hours=1)
    dead_attempt = aged(scratch / f"{uuid4()}-1", an_hour)
    dead_rebuild = aged(scratch / f"rebuild_{uuid4().hex}", 2 * LEFT_OVER)
    foreign = aged(scratch / "rebuild-1", an_hour)
    with scratch_folder(site, "rebuild") as mine:
        aged(mine, an_hour)
        assert sweep_scratch(site) == 2
        assert mine.exists()
        assert foreign.exists()
    assert not any(folder.exists() for folder in (mine, dead_attempt, dead_rebuild))


def test_scratch_that_cannot_be_written_is_said_and_is_no_drift(site: Site, tmp_path: Path) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    journey.ingest_all(site)
    (tmp_path / "file").write_text("no folder")
    full = journey.with_settings(site, work_dir=tmp_path / "file")
    done = drill(full)
    assert done.verdict == "failed"
    assert "LOGBOX_WORK_DIR" in (done.detail or "")
    unchecked = reconcile(full, deep=True).unchecked
    assert "cannot write scratch" in unchecked[Comparison.LAKE_ROWS]
    journey.change(site, "delete from logbox.log_events")
    (drift,) = reconcile(site).drifts
    (repaired,) = repair(full, by="test")
    assert (repaired.drift, repaired.state) == (drift, "failed")
    assert "cannot write scratch" in (repaired.detail or "")


def test_a_run_sweeps_what_died_on_its_own_host(site: Site, tmp_path: Path) -> None:
    """The sensor's host has another disk; what works there, or here, is left alone."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    living = claim_offered(site, "run-elsewhere")
    dead = [aged(host / f"{uuid4()}-1", timedelta(hours=1)) for host in (here, elsewhere)]
    # Equal names on two disks: it is at work on one of them, and the catalog does not say on which.
    at_work = [
        aged(host / f"{living.batch_id}-{living.attempt}", timedelta(hours=1))
        for host in (here, elsewhere)
    ]
    upload(site, "landing/beta/d2/b.jsonl", jsonl("b"))
    journey.ingest_all(journey.with_settings(site, work_dir=here))
    assert [folder.exists() for folder in dead] == [False, True]
    assert all(folder.exists() for folder in at_work)
