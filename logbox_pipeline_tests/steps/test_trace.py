"""Trace: every log is found by whatever name a person has for it, and its way is told."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from logbox_pipeline.core.digest import log_id
from logbox_pipeline.core.errors import LogboxError, PermanentError, UsageError
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.trace import Trace, ask, original, trace
from logbox_pipeline_tests.journey import ingest_all, one, rows, tick, upload

LOG = b'{"ts":"2026-03-01T00:00:00Z","level":"info","msg":"up"}\n' * 20
SHA256 = hashlib.sha256(LOG).hexdigest()


def hops(found: Trace) -> list[str]:
    (delivery,) = found.deliveries
    return [hop.hop for hop in delivery.hops]


def test_a_loaded_log_is_found_by_all_its_names(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    ingest_all(site)
    today = one(site, "select received_on from logbox.deliveries")
    ((archive_key, delivery_id),) = rows(
        site,
        "select archive_key, delivery_id from logbox.objects join logbox.deliveries using (sha256)",
    )
    for what in (
        "a.jsonl",
        "d1/a.jsonl",
        "acme/d1/a.jsonl",
        "landing/acme/d1/a.jsonl",
        f"s3://{site.landing.bucket}/landing/acme/d1/a.jsonl",
        archive_key,
        SHA256,
        SHA256[:8].upper(),
        str(log_id("acme", SHA256)),
        delivery_id,
        f"d1@{today}",
        "d1@2026-03-01",
    ):
        assert hops(trace(site, what)) == [
            "received", "sensed", "verified", "archived", "parsed", "loaded", "left landing",
        ], what  # fmt: skip
        assert not trace(site, what, "beta").found, what
    for what in ("b.jsonl", SHA256[:7], "d1@2026-03-02", str(uuid4()), "0" * 64, "d2@2026-03-01"):
        assert not trace(site, what).found, what


def test_every_hop_says_when_and_what(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    ingest_all(site)
    (delivery,) = trace(site, "a.jsonl").deliveries
    details = {hop.hop: hop.detail for hop in delivery.hops}
    assert f"{len(LOG):,} bytes" in details["received"]
    assert details["verified"].startswith(f"verified: metadata declares {SHA256}")
    assert f"s3://{site.archive.bucket}/archive/acme/{SHA256[:2]}/" in details["archived"]
    assert details["loaded"] == "log_events 20"
    assert all(hop.at for hop in delivery.hops if hop.hop != "parsed")
    assert delivery.log_ids == [str(log_id("acme", SHA256))]


def test_a_refused_file_says_why_and_where_it_is(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG, sha256="0" * 64)
    ingest_all(site)
    (delivery,) = trace(site, "0" * 8).deliveries
    (hop,) = (hop for hop in delivery.hops if hop.hop == "quarantined")
    assert "mismatch" in hop.detail
    assert SHA256 in hop.detail
    key = f"quarantine/acme/mismatch/{delivery.delivery_id}/a.jsonl"
    assert key in hop.detail
    assert trace(site, key).found


def test_a_duplicate_points_at_the_log_it_repeats(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    ingest_all(site)
    upload(site, "landing/acme/d1/again.jsonl", LOG)
    ingest_all(site)
    (delivery,) = trace(site, "again.jsonl").deliveries
    (hop,) = (hop for hop in delivery.hops if hop.hop == "duplicate")
    assert "first delivered as landing/acme/d1/a.jsonl, which is loaded" in hop.detail
    assert trace(site, str(log_id("acme", SHA256))).matches == 2


def test_an_unread_log_says_why(site: Site) -> None:
    upload(site, "landing/acme/d1/b.bin", b"\x00\x01 unknown format")
    ingest_all(site)
    assert hops(trace(site, "b.bin"))[-2:] == ["unparsed", "left landing"]


def test_a_waiting_file_says_for_what(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG, declare=False)
    ingest_all(site)
    (delivery,) = trace(site, "a.jsonl").deliveries
    assert "waits until" in delivery.hops[-1].detail
    assert "a.jsonl.sha256" in delivery.hops[-1].detail


def test_what_the_sensor_has_not_seen_is_found_in_landing(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    today = datetime.now(UTC).date()
    for what in ("a.jsonl", "landing/acme/d1/a.jsonl", SHA256[:10], f"d1@{today}"):
        found = trace(site, what)
        assert found.found
        assert [one.landing_key for one in found.standing] == ["landing/acme/d1/a.jsonl"], what
    assert not trace(site, "a.jsonl", "beta").found
    tick(site)
    # Its digest is not in the catalog yet: landing leads back to the delivery.
    found = trace(site, SHA256[:10])
    assert not found.standing
    assert hops(found) == ["received", "sensed", "in batch"]


def test_a_log_never_seen_says_when_its_vehicle_was_last_heard_of(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    ingest_all(site)
    for what in ("d1@2020-01-01", "landing/acme/d1/b.jsonl", "acme/d1/b.jsonl", "d1/b.jsonl", "d1"):
        found = trace(site, what)
        assert not found.found
        assert [row["vehicle"] for row in found.last_heard] == ["d1"], what
    assert trace(site, "d9@2020-01-01").last_heard == []
    assert [row["vehicle"] for row in trace(site, "b.jsonl", "acme").last_heard] == ["d1"]
    assert trace(site, "b.jsonl").last_heard == []


def test_hostile_questions_are_answered(site: Site) -> None:
    for what in (
        "'; drop table logbox.logs; --",
        "%",
        "_" * 2000,
        "\udcff",
        "a\x00b",
        "@2026-01-01",
    ):
        assert not trace(site, what).found
    with pytest.raises(UsageError, match="nothing to look for"):
        ask(" ")
    with pytest.raises(UsageError, match="no date"):
        ask("d1@2026-13-01")


def test_an_original_is_proven_before_it_is_handed_out(site: Site, tmp_path: Path) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    ingest_all(site)
    wanted = log_id("acme", SHA256)
    with original(site, wanted, tmp_path) as (path, held):
        assert path.read_bytes() == LOG
        assert held.name == "a.jsonl"
    with site.transaction() as cursor:
        cursor.execute("select archive_key from logbox.objects")
        (key,) = cursor.fetchone()
        stored = site.archive.put_bytes(key, b"other bytes")
        cursor.execute("update logbox.objects set version_id = %s", (stored.version_id,))
    with (
        pytest.raises(PermanentError, match=f"expected {SHA256}"),
        original(site, wanted, tmp_path),
    ):
        pass
    assert list(tmp_path.glob(".logbox-*")) == []


def test_a_version_put_over_the_original_changes_nothing(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    ingest_all(site)
    site.archive.put_bytes(one(site, "select archive_key from logbox.objects"), b"other bytes")
    with original(site, log_id("acme", SHA256)) as (path, _):
        assert path.read_bytes() == LOG


def test_an_unknown_log_has_no_original(site: Site) -> None:
    with pytest.raises(LogboxError, match="no log has the id"), original(site, UUID(int=0)):
        pass


def test_a_trace_never_writes(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    frozen = replace(site, now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    trace(frozen, "a.jsonl")
    assert one(site, "select count(*) from logbox.deliveries") == 0
