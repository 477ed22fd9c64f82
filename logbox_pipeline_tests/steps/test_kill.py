"""A run that is killed between any two effects costs time and nothing else."""

import gzip
import io
import re
import signal
import zipfile
from pathlib import Path
from typing import Any

import pytest

from logbox_pipeline.core.batching import RunSeen, RunState
from logbox_pipeline.simulator.ulog_writer import write_ulog
from logbox_pipeline.steps.receipts import sweep_receipts
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.run_batch import start_run

SOURCE = Path(__file__).parents[2] / "logbox_pipeline" / "steps"
FAILPOINTS = [
    "after_quarantine_put",
    "after_verified",
    "after_objects_reserved",
    "after_archive_put",
    "after_archived",
    "after_intake",
    "after_unwrap",
    "after_ownership",
    "after_parse",
    "after_tables",
    "after_planned",
    "after_parquet_put",
    "before_commit",
    "after_commit",
    "after_outcome",
    "after_receipts",
    "after_leaving",
    "after_left",
]
# test_replicate.py, test_rebuild.py, test_reparse.py, test_repair.py, test_compact.py
TRIED_ELSEWHERE = {
    *("after_replica_put", "after_archive_read", "after_restore", "before_rebuild_end"),
    *("before_rename", "after_rename"),
    *("before_replacing", "before_remade_counts"),
    *("after_compaction_planned", "after_compaction_put", "before_compaction_commit"),
    "after_compaction_commit",
}
SETTLED_BY_SENSOR = {
    "after_commit", "after_outcome", "after_receipts", "after_leaving", "after_left"
}  # fmt: skip
GOOD = journey.jsonl("armed", "disarmed")


def fly(site: Site) -> None:
    """One log of each kind."""
    journey.upload(site, "landing/acme/d1/a.jsonl", GOOD)
    journey.upload(site, "landing/acme/d1/again.jsonl", GOOD)
    journey.upload(site, "landing/acme/d1/b.ulg", journey.ulog({"fix": ["x", "y"]}))
    journey.upload(site, "landing/acme/d1/bad.jsonl", journey.jsonl("cut"), sha256="0" * 64)
    journey.upload(site, "landing/beta/d1/a.jsonl.gz", gzip.compress(GOOD, mtime=0))
    journey.upload(site, "landing/beta/d1/many.zip", many())
    journey.upload(site, "landing/beta/d3/flight.ulg", flight())
    journey.upload(site, "landing/beta/d2/what.bin", b"\x01\x02 nobody knows this format")


def flight() -> bytes:
    out = io.BytesIO()
    write_ulog(out, seed=5, duration_s=8)
    return out.getvalue()


def many() -> bytes:
    """An archive of a log, one that comes alone too, one nobody can read and an unsafe name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in (
            ("a.ulg", journey.ulog({"fix": ["x", "z"]}, seed=7)),
            ("b.jsonl", GOOD),
            ("c.bin", b"\x03\x04 nobody knows this either"),
            ("../evil", b"evil"),
        ):
            archive.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


def test_every_failpoint_of_the_code_is_tried() -> None:
    used = {
        name
        for path in SOURCE.glob("*.py")
        for name in re.findall(r'site\.reach\("(\w+)"\)', path.read_text())
    }
    assert used == set(FAILPOINTS) | TRIED_ELSEWHERE


@pytest.fixture(scope="module")
def clean() -> dict[str, Any]:
    """A clean run's snapshot, filled by the first test of this process that needs it."""
    return {}


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_killed_run_ends_as_a_clean_one(
    site: Site, make_site: Any, clean: dict[str, Any], failpoint: str
) -> None:
    if not clean:
        with make_site() as other:
            fly(other)
            journey.ingest_all(other)
            clean.update(everything(other))
        catalog = clean["postgres"]
        # What the comparison below would not miss: a flight, its track, and a zip's members.
        assert len(catalog["flights"]) == len(catalog["flight_logs"]) == 1
        assert len(catalog["log_track"]) == len(clean["lake"]["log_track"]) >= 8
        assert sum("'a.ulg'" in row or "'../evil'" in row for row in catalog["object_logs"]) == 2
    fly(site)
    (batch,) = journey.tick(site).offered

    doomed = journey.dying_at(site.settings, failpoint)
    run = start_run(doomed, batch.run_key, "doomed")
    run.join(60)

    assert run.exitcode == -signal.SIGKILL
    # A minute without a sign of life passes.
    journey.change(site, "update logbox.batches set heartbeat_at = heartbeat_at - interval '2 min'")
    seen = journey.tick(site, {batch.run_key: RunSeen(RunState.ENDED)})
    if failpoint in SETTLED_BY_SENSOR:
        assert (seen.died, seen.settled, seen.offered) == ((), 1, ())
    else:
        assert [died.batch_id for died, _ in seen.died] == [batch.batch_id]
        assert [again.attempt for again in seen.offered] == [2]
        journey.ingest_all(site)
    assert everything(site) == clean


def everything(site: Site) -> dict[str, Any]:
    """What came out, and which receipts tell of it once nothing is owed."""
    sweep_receipts(site)
    return journey.snapshot(site) | {
        "owed": journey.one(site, "select count(*) from logbox.outbox where subject = 'receipt'"),
        "receipts": journey.keys_in(site.landing, "receipts/"),
    }
