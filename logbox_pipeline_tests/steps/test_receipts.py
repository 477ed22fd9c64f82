"""Every delivery gets its signed receipt, and it is true again soon after what it tells changed."""

import gzip
import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from logbox_pipeline.adapters import catalog_receipts
from logbox_pipeline.adapters.catalog_retry import Choice
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core.digest import log_id
from logbox_pipeline.core.errors import SettingError, TransientError
from logbox_pipeline.core.ports import StoredObject
from logbox_pipeline.core.receipt import UNSETTLED, read_receipt
from logbox_pipeline.core.reconciliation import Place
from logbox_pipeline.steps.archive import archive
from logbox_pipeline.steps.load import load
from logbox_pipeline.steps.migrations import sql_folder
from logbox_pipeline.steps.parse import parse
from logbox_pipeline.steps.receipts import owe_missing_receipts, sweep_receipts
from logbox_pipeline.steps.reconcile import reconcile
from logbox_pipeline.steps.release import release
from logbox_pipeline.steps.replicate import replicate
from logbox_pipeline.steps.settle import settle
from logbox_pipeline.steps.signing import believed_keys
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.verify import verify
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.formats.test_wrappers import zipped
from logbox_pipeline_tests.journey import (
    ingest_all,
    jsonl,
    keys_in,
    one,
    rows,
    ulog,
    upload,
    with_settings,
    write,
)

ULOG = ulog({"fix": ["x"]})


def receipt(site: Site, key: str) -> dict[str, Any]:
    """What the receipt at receipts/<key>.json says, its signature checked."""
    read = site.landing.read(f"receipts/{key}.json")
    assert read is not None, keys_in(site.landing, "receipts/")
    told = read_receipt(read[0], believed_keys(site.settings))
    assert told is not None
    return told


def by_digest(site: Site, data: bytes, client: str = "acme") -> dict[str, Any]:
    return receipt(site, f"{client}/sha256/{hashlib.sha256(data).hexdigest()}")


def owed(site: Site) -> int:
    count: int = one(site, "select count(*) from logbox.outbox where subject = 'receipt'")
    return count


def test_loaded_log_has_its_receipt_by_digest_at_once_and_by_name_soon(site: Site) -> None:
    log = jsonl("up", "down")
    upload(site, "landing/acme/d1/a.jsonl", log)
    offered = journey.tick(site).offered
    journey.ingest_offers(site, offered)
    (key,) = keys_in(site.landing, "receipts/")
    told = by_digest(site, log)
    assert list(told) == [
        "version", "client", "vehicle", "landing_key", "delivery_id", "sha256", "declared_sha256",
        "size_bytes", "received_at", "state", "reason", "detail", "duplicate_of", "archived_at",
        "replicated_at", "loaded_at", "logs", "seal", "written_at", "key_id", "signature",
    ]  # fmt: skip
    ((log_id, loaded_at),) = rows(site, "select log_id, loaded_at from logbox.logs")
    assert told["state"] == "archived"
    assert told["size_bytes"] == len(log)
    assert told["sha256"] == told["declared_sha256"]
    assert told["archived_at"] is not None
    assert told["replicated_at"] is None
    assert datetime.fromisoformat(told["loaded_at"]) == loaded_at
    assert told["logs"] == [
        {
            "log_id": str(log_id), "member": "", "state": "loaded", "reason": None,
            "format": "jsonl", "rows": 2, "is_damaged": False, "damaged_bytes": 0,
        }
    ]  # fmt: skip
    assert owed(site) == 1
    journey.tick(site)
    assert owed(site) == 0
    assert keys_in(site.landing, "receipts/") == ["receipts/acme/d1/a.jsonl.json", key]
    assert receipt(site, "acme/d1/a.jsonl")["loaded_at"] == told["loaded_at"]


def test_receipts_by_name_wait_for_a_minute_while_batches_are_at_work(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("up", "down"))
    journey.ingest_offers(site, journey.tick(site).offered)
    upload(site, "landing/acme/d1/b.jsonl", jsonl("away"))
    assert len(journey.tick(site).offered) == 1
    assert sweep_receipts(site) == 0
    assert owed(site) > 0
    assert sweep_receipts(replace(site, now=lambda: site.now() + timedelta(seconds=61))) > 0
    assert "receipts/acme/d1/a.jsonl.json" in keys_in(site.landing, "receipts/")


def test_mismatch_is_told_by_name_at_once_and_by_the_digest_that_was_found(site: Site) -> None:
    upload(site, "landing/acme/d1/cut.jsonl", jsonl("cut"), sha256="0" * 64)
    journey.ingest_offers(site, journey.tick(site).offered)
    told = receipt(site, "acme/d1/cut.jsonl")
    assert (told["state"], told["reason"], told["declared_sha256"]) == (
        "quarantined",
        "mismatch",
        "0" * 64,
    )
    assert told["sha256"] == hashlib.sha256(jsonl("cut")).hexdigest()
    assert (told["archived_at"], told["loaded_at"], told["logs"]) == (None, None, [])
    journey.tick(site)
    assert by_digest(site, jsonl("cut")) == told | {
        name: by_digest(site, jsonl("cut"))[name] for name in ("written_at", "signature")
    }
    assert owed(site) == 0


def test_refused_bytes_that_the_archive_has_do_not_speak_at_their_digest(site: Site) -> None:
    upload(site, "landing/acme/d1/good.jsonl", jsonl("a"))
    ingest_all(site)
    upload(site, "landing/acme/d1/bad.jsonl", jsonl("a"), sha256="0" * 64)
    ingest_all(site)
    assert by_digest(site, jsonl("a"))["state"] == "archived"
    assert receipt(site, "acme/d1/bad.jsonl")["state"] == "quarantined"
    # It is not this delivery that is in the archive: its drone declared other bytes.
    assert receipt(site, "acme/d1/bad.jsonl")["archived_at"] is None


def test_release_is_told_when_its_log_is_loaded(site: Site) -> None:
    upload(site, "landing/acme/d1/cut.jsonl", jsonl("cut"), sha256="0" * 64)
    ingest_all(site)
    release(site, Choice(client="acme"), "the card was bad")
    assert owed(site) == 0
    ingest_all(site)
    told = receipt(site, "acme/d1/cut.jsonl")
    assert (told["state"], told["reason"]) == ("archived", None)
    assert told["loaded_at"] is not None


def test_unparsed_log_and_refused_member_are_final_and_never_loaded(site: Site) -> None:
    upload(site, "landing/acme/d1/what.raw", b"\x01\x02 nobody knows this format")
    card = zipped([("a.jsonl", jsonl("a")), ("../../etc/b.jsonl", jsonl("b"))])
    upload(site, "landing/acme/d1/card.zip", card)
    ingest_all(site)
    told = receipt(site, "acme/d1/what.raw")
    assert [(log["state"], log["reason"]) for log in told["logs"]] == [
        ("unparsed", "unknown_format")
    ]
    assert told["archived_at"] is not None
    assert told["loaded_at"] is None
    told = by_digest(site, card)
    assert [(log["member"], log["state"], log["reason"]) for log in told["logs"]] == [
        ("../../etc/b.jsonl", "refused", "unsafe_name"),
        ("a.jsonl", "loaded", None),
    ]
    assert told["loaded_at"] is None


def test_duplicate_in_another_wrapper_is_loaded_when_the_owner_is(site: Site) -> None:
    site = with_settings(site, batch_wait_s=0)
    upload(site, "landing/acme/d1/a.ulg", ULOG)
    held = journey.claim_offered(site, "run-owner")
    verify(site, held)
    archive(site, held)
    parsed = parse(site, held)
    wrapped = gzip.compress(ULOG, mtime=0)
    upload(site, "landing/acme/d1/a.ulg.gz", wrapped)
    journey.ingest_offers(site, journey.tick(site).offered)
    told = by_digest(site, wrapped)
    assert told["state"] == "duplicate"
    assert told["duplicate_of"] == str(log_id("acme", hashlib.sha256(ULOG).hexdigest()))
    assert told["archived_at"] is not None
    assert (told["loaded_at"], told["logs"][0]["state"]) == (None, "archived")
    load(site, held, parsed)
    settle(site, held)
    sweep_receipts(site)
    told = by_digest(site, wrapped)
    assert told["loaded_at"] == by_digest(site, ULOG)["loaded_at"]
    assert told["logs"][0]["rows"] == 4


def test_superseded_log_is_loaded_since_the_longest_is(site: Site) -> None:
    first, second, third = (ulog({"fix": ["x"]}, rows=count) for count in (3, 30, 300))
    for number, log in enumerate((first, second, third)):
        upload(site, f"landing/acme/d1/{number}.ulg", log)
        ingest_all(site)
    longest = by_digest(site, third)
    assert longest["logs"][0]["state"] == "loaded"
    for log in (first, second):
        told = by_digest(site, log)
        assert [(each["state"], each["rows"]) for each in told["logs"]] == [("superseded", None)]
        assert told["loaded_at"] == longest["loaded_at"]
    # Whatever happens to the log that has the rows is told of all that rest on it.
    write(
        site,
        "update logbox.logs set loaded_at = null, state = 'failed', reason = 'batch_failed' "
        "where superseded_by is null",
    )
    sweep_receipts(site)
    assert [by_digest(site, log)["loaded_at"] for log in (first, second, third)] == [None] * 3


def test_replication_is_told_in_every_receipt_of_the_bytes(site: Site) -> None:
    for name in ("a", "b"):
        upload(site, f"landing/acme/d1/{name}.jsonl", jsonl("same"))
    upload(site, "landing/beta/d1/c.jsonl", jsonl("same"))
    ingest_all(site)
    at = datetime(2026, 11, 29, 12, tzinfo=UTC)
    write(site, "update logbox.objects set replicated_at = %s where client = 'acme'", at)
    assert owed(site) == 2
    sweep_receipts(site)
    for key in ("acme/d1/a.jsonl", "acme/d1/b.jsonl"):
        assert receipt(site, key)["replicated_at"] == "2026-11-29T12:00:00+00:00"
    assert by_digest(site, jsonl("same"))["replicated_at"] == "2026-11-29T12:00:00+00:00"
    assert by_digest(site, jsonl("same"), "beta")["replicated_at"] is None
    write(site, "update logbox.objects set replicated_at = replicated_at, version_id = 'x'")
    write(site, "update logbox.deliveries set note = 'seen', left_landing_at = now()")
    assert owed(site) == 0


def test_lost_bytes_are_not_said_to_be_kept_and_heal_when_they_come_again(site: Site) -> None:
    log = jsonl("the last good copy is the drone's")
    upload(site, "landing/acme/d1/a.jsonl", log)
    ingest_all(site)
    replicate(site)
    sweep_receipts(site)
    claims = "archived_at", "replicated_at", "loaded_at"
    assert None not in [by_digest(site, log)[claim] for claim in claims]
    key = one(site, "select archive_key from logbox.objects")
    assert site.replica
    for bucket in (site.archive, site.replica):
        for version_id in bucket.versions(key):
            bucket.delete(key, version_id=version_id)
    reconcile(site)
    assert owed(site) == 1
    sweep_receipts(site)
    for told in (by_digest(site, log), receipt(site, "acme/d1/a.jsonl")):
        assert [told[claim] for claim in claims] == [None] * 3
    reconcile(site)
    assert owed(site) == 0
    # A drone that is not told so sends them again.
    upload(site, "landing/acme/d1/again.jsonl", log)
    ingest_all(site)
    assert by_digest(site, log)["replicated_at"] is None
    assert [(one.place, one.subject) for one in reconcile(site).drifts] == [(Place.REPLICA, key)]
    sweep_receipts(site)
    assert [by_digest(site, log)[claim] is None for claim in claims] == [False, True, False]
    replicate(site)
    assert [bucket.read(key)[0] for bucket in (site.archive, site.replica)] == [log] * 2
    assert reconcile(site).drifts == ()
    sweep_receipts(site)
    assert None not in [by_digest(site, log)[claim] for claim in claims]


def test_at_a_name_speaks_the_newest_delivery(site: Site) -> None:
    upload(site, "landing/acme/d1/log_1.jsonl", jsonl("monday"))
    ingest_all(site)
    write(site, "update logbox.deliveries set received_at = received_at - interval '1 day'")
    upload(site, "landing/acme/d1/log_1.jsonl", jsonl("tuesday"))
    ingest_all(site)
    # News of the older one must not stand at a name that is another's now.
    write(
        site,
        "update logbox.objects set replicated_at = now() where sha256 = %s",
        hashlib.sha256(jsonl("monday")).hexdigest(),
    )
    sweep_receipts(site)
    assert (
        receipt(site, "acme/d1/log_1.jsonl")["sha256"]
        == by_digest(site, jsonl("tuesday"))["sha256"]
    )
    assert by_digest(site, jsonl("monday"))["replicated_at"] is not None


def test_name_that_looks_like_a_digest_takes_no_digests_receipt(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    ingest_all(site)
    name = hashlib.sha256(jsonl("a")).hexdigest()
    upload(site, f"landing/acme/sha256/{name}", jsonl("b"))
    ingest_all(site)
    assert by_digest(site, jsonl("a"))["landing_key"] == "landing/acme/d1/a.jsonl"
    assert by_digest(site, jsonl("b"))["landing_key"] == f"landing/acme/sha256/{name}"
    assert owed(site) == 0


@pytest.mark.parametrize("key", ["landing/acme/d1/\x07bell.jsonl", "landing/nobody-there/a.jsonl"])
def test_unsafe_key_has_no_receipt(site: Site, key: str) -> None:
    upload(site, key, jsonl("a"))
    ingest_all(site)
    assert one(site, "select state from logbox.deliveries") == "quarantined"
    assert keys_in(site.landing, "receipts/") == []
    assert owed(site) == 0


def test_store_that_refuses_a_receipt_keeps_no_log_from_being_loaded(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        upload(site, f"landing/acme/d1/{number}.jsonl", jsonl(str(number)))
    put = S3Bucket.put_bytes
    tried: list[str] = []

    def failing(bucket: S3Bucket, key: str, data: bytes) -> StoredObject:
        if key.startswith("receipts/"):
            tried.append(key)
            raise TransientError("the store is away")
        return put(bucket, key, data)

    offered = journey.tick(site).offered
    with monkeypatch.context() as patched:
        patched.setattr(S3Bucket, "put_bytes", failing)
        journey.ingest_offers(site, offered)
        assert one(site, "select state from logbox.batches") == "finished"
        assert keys_in(site.landing) == []
        assert journey.tick(site).trouble == "Could not tidy up: the store is away"
        assert keys_in(site.landing, "receipts/") == []
    assert owed(site) == 3
    journey.tick(site)
    assert len(keys_in(site.landing, "receipts/")) == 6
    assert owed(site) == 0


def test_without_a_secret_logs_are_loaded_and_receipts_follow_when_there_is_one(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    mute = with_settings(site, secret_key=None)
    ingest_all(mute)
    assert one(site, "select state from logbox.logs") == "loaded"
    assert keys_in(site.landing) == []
    assert "LOGBOX_SECRET_KEY is not set" in (journey.tick(mute).trouble or "")
    with pytest.raises(SettingError, match="LOGBOX_SECRET_KEY has 5 characters"):
        sweep_receipts(with_settings(site, secret_key="hush!"))
    sweep_receipts(site)
    assert len(keys_in(site.landing, "receipts/")) == 2


def test_batch_that_takes_long_has_receipts_of_what_is_archived(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    held = journey.claim_offered(site)
    verify(site, held)
    archive(site, held)
    assert sweep_receipts(site) == 0
    later = replace(site, now=lambda: datetime.now(UTC) + timedelta(minutes=2))
    assert sweep_receipts(later) == 2
    told = by_digest(site, jsonl("a"))
    assert told["archived_at"] is not None
    assert (told["loaded_at"], told["logs"]) == (None, [])


def test_what_changes_while_its_receipt_is_written_is_told_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    ingest_all(site)
    put = S3Bucket.put_bytes

    def slow(bucket: S3Bucket, key: str, data: bytes) -> StoredObject:
        write(site, "update logbox.objects set replicated_at = now()")
        return put(bucket, key, data)

    write(site, "update logbox.deliveries set vehicle = 'd2'")
    with monkeypatch.context() as patched:
        patched.setattr(S3Bucket, "put_bytes", slow)
        patched.setattr("logbox_pipeline.steps.receipts.SWEEP_S", 0.001)
        sweep_receipts(site)
    assert owed(site) == 1
    sweep_receipts(site)
    assert by_digest(site, jsonl("a"))["replicated_at"] is not None
    assert owed(site) == 0


def test_two_writers_at_once_leave_nothing_stale(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    ingest_all(site)
    write(site, "update logbox.objects set replicated_at = now()")
    with site.transaction() as cursor:
        slow = catalog_receipts.owed(cursor, 10, settled_for=site.now())
    sweep_receipts(site)
    assert owed(site) == 0
    with site.transaction() as cursor:
        # The slow writer's put came last, of facts it read before: nobody else would write again.
        catalog_receipts.told(cursor, slow)
    assert owed(site) == 1


def restore(site: Site, statement: str, *values: Any) -> None:
    """Change rows, and owe nothing for it."""
    with site.transaction() as cursor:
        cursor.execute("select set_config('logbox.is_restoring', 'on', true)")
        cursor.execute(statement, values or None)


def test_receipts_that_were_owed_when_the_database_was_lost_are_owed_again(site: Site) -> None:
    for name in ("a", "b", "c"):
        upload(site, f"landing/acme/d1/{name}.jsonl", jsonl(name))
    ingest_all(site)
    assert owed(site) == 0
    hour = "interval '1 hour'"
    times = "received_at", "sensed_at", "verified_at", "archived_at"
    back = ", ".join(f"{at} = {at} - {hour}" for at in times)
    # Stores tell seconds: as if all that was an hour ago.
    restore(site, f"update logbox.deliveries set {back}")
    restore(site, f"update logbox.logs set loaded_at = loaded_at - {hour}")
    assert owe_missing_receipts(site) == 0
    site.landing.delete("receipts/acme/d1/a.jsonl.json")
    sha256 = hashlib.sha256(jsonl("b")).hexdigest()
    replicated = f"update logbox.objects set replicated_at = now() + {hour} where sha256 = %s"
    restore(site, replicated, sha256)
    assert owe_missing_receipts(site) == owe_missing_receipts(site) == owed(site) == 2
    sweep_receipts(site)
    assert receipt(site, "acme/d1/a.jsonl")["loaded_at"] is not None
    assert by_digest(site, jsonl("b"))["replicated_at"] is not None


def test_catalog_and_code_agree_of_which_deliveries_there_is_nothing_to_tell() -> None:
    migrations = list((sql_folder() / "migrations").glob("*_receipts.sql"))
    assert len(migrations) == 2
    text = "".join(one.read_text() for one in migrations)
    named = re.findall(r"state not in \(([^)]*)\)", text)
    assert len(named) > 7
    assert set(named) == {", ".join(f"'{state}'" for state in UNSETTLED)}


def test_whoever_restores_owes_no_receipt(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("a"))
    ingest_all(site)
    with site.transaction() as cursor:
        cursor.execute("select set_config('logbox.is_restoring', 'on', true)")
        cursor.execute("update logbox.objects set replicated_at = now()")
        cursor.execute("update logbox.logs set loaded_at = now()")
        cursor.execute("update logbox.deliveries set vehicle = 'x'")
        cursor.execute("update logbox.object_logs set member = 'x'")
    assert owed(site) == 0
