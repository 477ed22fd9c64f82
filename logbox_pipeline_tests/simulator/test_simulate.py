"""A fleet with every fault, over the real stores, held against its ledger; and what was changed by
hand afterwards is named, and nothing else."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from logbox_pipeline.core import keys as object_keys
from logbox_pipeline.simulator.fleet_check import check_fleet
from logbox_pipeline.simulator.fleet_judge import Check
from logbox_pipeline.simulator.fleet_kill import KILLS
from logbox_pipeline.simulator.fleet_ledger import Ledger
from logbox_pipeline.simulator.fleet_logs import Upload
from logbox_pipeline.simulator.fleet_plan import Fault, Wishes
from logbox_pipeline.simulator.fleet_report import report, summarize
from logbox_pipeline.simulator.page import render
from logbox_pipeline.steps.replicate import replicate
from logbox_pipeline_tests.journey import change, ingest_all, rows, with_settings
from logbox_pipeline_tests.simulator.flown_fleet import fly_fleet

if TYPE_CHECKING:
    from logbox_pipeline.steps.site import Site
    from logbox_pipeline_tests.conftest import MakeSite, Stack

FAULTS = dict.fromkeys(Fault, 0.05) | {Fault.KILLED: 0.025, Fault.DUPLICATE: 0.075}


@pytest.fixture
def whole(make_site: "MakeSite", stack: "Stack") -> Iterator["Site"]:
    """A site that reads the access log of the S3 it uses, and waits for no sidecar."""
    with make_site() as made:
        yield with_settings(made, home=stack.home, sidecar_grace_s=0)


def run(site: "Site", stack: "Stack", wishes: Wishes, folder: Path) -> Ledger:
    def work() -> None:
        ingest_all(site)
        replicate(site)

    return fly_fleet(
        site,
        wishes,
        folder,
        endpoint=stack.s3_endpoint,
        access_key_id=stack.access_key_id,
        secret_access_key=stack.secret_access_key,
        work=work,
    )


def failed(checks: Sequence[Check]) -> dict[str, tuple[str, ...]]:
    return {check.sentence: check.wrong for check in checks if not check.passed}


@pytest.mark.slow
def test_a_fleet_with_every_fault_comes_out_as_its_ledger_says(
    whole: "Site", stack: "Stack", tmp_path: Path
) -> None:
    wishes = Wishes(seed=5, drones=2, logs=10, over_s=1, largest_bytes=620_000, faults=FAULTS)
    ledger = run(whole, stack, wishes, tmp_path)
    sent = ledger.sent
    assert ledger.is_ended
    assert {one.fault for one in sent} == {None, *Fault}
    assert all(one.answer for one in sent)
    assert sum(one.answer.kills for one in sent if one.answer) == KILLS
    assert any(one.answer.skewed for one in sent if one.answer)

    found, checks = check_fleet(whole, ledger.fleet, sent, tmp_path)
    assert failed(checks) == {}
    assert len(checks) == 20
    summary = summarize(sent, found)
    planned = sum(one.planned_objects for one in sent)
    assert planned <= summary.deliveries <= planned + sum(one.fault is Fault.RESENT for one in sent)
    assert set(summary.latency_s) == {"p50", "p90", "p95", "p99", "p100"}
    page = render(report(ledger.fleet, sent, found, checks, summary, "logbox simulate"))
    assert page.count("<svg") == 5

    tampered = [how for tamper in TAMPERS for how in tamper(whole, ledger)]
    _, checks = check_fleet(whole, ledger.fleet, sent, tmp_path)
    wrong = failed(checks)
    assert len(wrong) == len(tampered), wrong
    for how in tampered:
        (sentence,) = (one for one in wrong if how.check in one)
        assert len(wrong[sentence]) == how.times, wrong[sentence]
        assert all(how.named in one for one in wrong[sentence]), wrong[sentence]


@dataclass(frozen=True)
class Tampered:
    """What was done: the check that must fail, and what each of its differences must name."""

    check: str
    named: str
    times: int = 1


def loaded(ledger: Ledger, place: int = 0) -> Upload:
    """One upload that was in order, alone with its bytes."""
    digests = [one.upload.sha256 for one in ledger.sent]
    return [
        one.upload
        for one in ledger.sent
        if one.fault is None and digests.count(one.upload.sha256) == 1
    ][place]


def a_row_less(site: "Site", ledger: Ledger) -> list[Tampered]:
    upload = next(
        one.upload
        for one in ledger.sent
        if one.fault is None and any("log_events" in log.tables for log in one.upload.logs)
    )
    log = next(log for log in upload.logs if log.tables.get("log_events"))
    log_id = upload.log_id_of(log)
    change(
        site,
        """
        delete from logbox.log_events
        where (log_id, seq) in (
            select log_id, seq from logbox.log_events where log_id = %s limit 1
        )
        """,
        log_id,
    )
    return [Tampered("Postgres has the", f"log_events of log {log_id}")]


def a_bit_of_the_archive(site: "Site", ledger: Ledger) -> list[Tampered]:
    upload = loaded(ledger)
    ((key,),) = rows(
        site, "select archive_key from logbox.objects where sha256 = %s", upload.sha256
    )
    stored = site.archive.read(key)
    assert stored is not None
    site.archive.put_bytes(key, bytes([stored[0][0] ^ 1]) + stored[0][1:])
    return [Tampered("the archive gives back", upload.landing_key)]


def a_replica_lost(site: "Site", ledger: Ledger) -> list[Tampered]:
    assert site.replica is not None
    upload = loaded(ledger, 1)
    ((key,),) = rows(
        site, "select archive_key from logbox.objects where sha256 = %s", upload.sha256
    )
    site.replica.delete(key)
    return [Tampered("so does the replica", upload.landing_key)]


def a_word_in_quarantine(site: "Site", ledger: Ledger) -> list[Tampered]:
    ((key, landing_key), *_) = rows(
        site,
        """
        select quarantine_key, landing_key
        from logbox.deliveries
        where state = 'quarantined'
        order by 1
        """,
    )
    site.landing.put_bytes(key, b"something else")
    return [Tampered("quarantine keeps", landing_key)]


def a_state_forged(site: "Site", ledger: Ledger) -> list[Tampered]:
    upload = next(one.upload for one in ledger.sent if one.fault is Fault.UNKNOWN_FORMAT)
    change(
        site,
        "update logbox.logs set reason = 'encrypted' where log_id = %s",
        upload.log_id_of(upload.logs[0]),
    )
    return [Tampered("deliveries ended as it must", upload.landing_key)]


def a_receipt_forged(site: "Site", ledger: Ledger) -> list[Tampered]:
    key = object_keys.receipt_key(loaded(ledger, 2).landing_key)
    stored = site.landing.read(key)
    assert stored is not None
    site.landing.put_bytes(key, stored[0].replace(b'"reason":null', b'"reason":"no" '))
    return [Tampered("each is signed by Logbox", key)]


def a_receipt_lost(site: "Site", ledger: Ledger) -> list[Tampered]:
    key = object_keys.receipt_key(loaded(ledger, 3).landing_key)
    site.landing.delete(key)
    return [Tampered("receipts stands by its name or digest", key)]


def a_receipt_of_another(site: "Site", ledger: Ledger) -> list[Tampered]:
    """Signed by Logbox, and about something else."""
    key = object_keys.receipt_key(loaded(ledger, 4).landing_key)
    stored = site.landing.read(object_keys.receipt_key(loaded(ledger, 5).landing_key))
    assert stored is not None
    site.landing.put_bytes(key, stored[0])
    return [Tampered("each says of its delivery", key)]


def a_lake_file_lost(site: "Site", ledger: Ledger) -> list[Tampered]:
    ((key, logs), *_) = rows(
        site,
        """
        select f.lake_key, count(distinct p.log_id)
        from logbox.lake_files f
        join logbox.logs l on l.batch_id = any(f.batch_ids)
        join logbox.log_parameters p using (log_id)
        where f.state = 'live' and f.table_name = 'log_parameters'
        group by f.lake_key
        order by 2
        """,
    )
    site.lake.delete(key)
    return [
        Tampered("the lake has no file too many", key),
        Tampered("Parquet has the", "log_parameters of log", times=logs),
    ]


def an_upload_by_a_stranger(site: "Site", ledger: Ledger) -> list[Tampered]:
    key = object_keys.landing_prefix(ledger.fleet.clients[0], "drone-001") + "new.log"
    site.landing.put_bytes(key, b"new")
    return [
        Tampered("nothing is left in landing", key),
        Tampered("nobody else wrote below", f"{key}: PutObject"),
    ]


def a_request_not_logged(site: "Site", ledger: Ledger) -> list[Tampered]:
    key = loaded(ledger, 6).landing_key
    change(site, "delete from logbox.access_log where object_key = %s", key)
    return [Tampered("the access log has each upload", key)]


def a_refusal_not_logged(site: "Site", ledger: Ledger) -> list[Tampered]:
    key = next(one.upload.landing_key for one in ledger.sent if one.fault is Fault.WRONG_PREFIX)
    change(site, "delete from logbox.access_log where object_key = %s", key)
    return [Tampered("each request that S3 refused", key)]


TAMPERS: Sequence[Callable[["Site", Ledger], list[Tampered]]] = (
    a_row_less,
    a_bit_of_the_archive,
    a_replica_lost,
    a_word_in_quarantine,
    a_state_forged,
    a_receipt_forged,
    a_receipt_lost,
    a_receipt_of_another,
    a_lake_file_lost,
    an_upload_by_a_stranger,
    a_request_not_logged,
    a_refusal_not_logged,
)
