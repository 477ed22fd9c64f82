"""Whatever was tampered with: repair mends it from a proven side, and all is as it was."""

import io
import multiprocessing
import random
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq
import pytest

from logbox_pipeline.adapters import catalog_repairs
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core import keys
from logbox_pipeline.core.digest import sha256_hex
from logbox_pipeline.core.errors import UsageError
from logbox_pipeline.core.repair import Action
from logbox_pipeline.core.seal import Seal, render
from logbox_pipeline.steps import restore
from logbox_pipeline.steps.manifest import tell_all
from logbox_pipeline.steps.reconcile import Verdict, reconcile
from logbox_pipeline.steps.repair import Repaired, repair
from logbox_pipeline.steps.replicate import replicate
from logbox_pipeline.steps.seal import seal_all
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.conftest import Cluster, Stack, new_site, remove_bucket
from logbox_pipeline_tests.formats.test_wrappers import zipped
from logbox_pipeline_tests.journey import jsonl, one, rows, ulog, upload
from logbox_pipeline_tests.steps.test_rebuild import tables

EVERYTHING = 1
TOPICS = {"fix": ["x", "y"], "power": ["v"]}

Found = tuple[str, str, str]


@pytest.fixture(scope="module")
def flown(
    cluster: Cluster, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Some logs, ingested, sealed and replicated; each test leaves it whole again."""
    prefix = f"t{secrets.token_hex(5)}-"
    with new_site(cluster, stack, prefix, tmp_path_factory.mktemp("flown")) as site:
        upload(site, "landing/acme/d1/a.ulg", ulog(TOPICS))
        upload(site, "landing/acme/d1/b.ulg", ulog({"fix": ["x", "y", "z"]}, rows=5, seed=7))
        upload(site, "landing/beta/d2/c.jsonl", jsonl("armed", "disarmed") + b'{"v":1.50e3}\n')
        upload(site, "landing/beta/d2/e.zip", zipped([("1.jsonl", jsonl("x")), ("2.bin", b"\0?")]))
        journey.ingest_all(site)
        assert journey.untold(site) == []
        seal_all(site)
        replicate(site)
        assert journey.untold(site) == []
        yield site
    for s3 in (stack.client(), stack.replica_client()):
        for bucket in s3.list_buckets()["Buckets"]:
            if bucket["Name"].startswith(prefix):
                remove_bucket(s3, bucket["Name"])


def deep(site: Site) -> list[Found]:
    found = reconcile(site, deep=True, scrub_days=EVERYTHING)
    assert dict(found.unchecked) == {}
    assert (found.verdict is Verdict.CLEAN) == (not found.drifts)
    return [(seen.kind.value, seen.place.value, seen.subject) for seen in found.drifts]


def lake(site: Site) -> dict[str, list[str]]:
    """Rows that count, by table."""
    found: dict[str, list[str]] = {}
    for table, key in rows(
        site, "select table_name, lake_key from logbox.lake_files where state = 'live'"
    ):
        table_rows = pq.read_table(io.BytesIO(bytes_of(site.lake, key)), partitioning=None)
        found.setdefault(table, []).extend(map(str, table_rows.to_pylist()))
    return {table: sorted(lines) for table, lines in found.items()}


def catalog(site: Site) -> dict[str, Any]:
    """Everything but what a repair may change: which file or version it is."""
    found = tables(site)
    del found["logbox.lake_files"], found["logbox.objects"]
    found["objects"] = rows(
        site, "select archive_key, sha256, size_bytes, archived_at from logbox.objects order by 1"
    )
    return found


# Tamperings: each says what should be found


def object_key(site: Site) -> str:
    return str(one(site, "select min(archive_key) from logbox.objects"))


def manifest_key(site: Site, kind: str) -> str:
    return str(one(site, "select min(archive_key) from logbox.manifests where kind = %s", kind))


def lake_key(site: Site, table: str = "ulog_fix") -> str:
    return str(
        one(
            site,
            "select lake_key from logbox.lake_files where state = 'live' and table_name = %s",
            table,
        )
    )


def log_with(site: Site, table: str) -> str:
    return str(one(site, f"select min(log_id::text) from {table}"))


def bytes_of(bucket: S3Bucket, key: str) -> bytes:
    read = bucket.read(key)
    assert read is not None
    return read[0]


def flip(bucket: S3Bucket | None, key: str) -> None:
    assert bucket is not None
    data = bytes_of(bucket, key)
    middle = len(data) // 2
    bucket.put_bytes(key, data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])


def destroy(bucket: S3Bucket | None, key: str) -> None:
    """Every version of it."""
    assert bucket is not None
    for version_id in bucket.versions(key):
        bucket.delete(key, version_id=version_id)


def archive_flipped(site: Site) -> Found:
    flip(site.archive, object_key(site))
    return "mismatch", "archive", object_key(site)


def archive_destroyed(site: Site) -> Found:
    key = object_key(site)
    destroy(site.archive, key)
    return "missing", "archive", key


def archive_stray(site: Site) -> Found:
    key = f"archive/acme/ab/{'ab' * 32}.ulg"
    site.archive.put_bytes(key, b"who put this here?")
    return "unexpected", "archive", key


def manifest_edited(site: Site) -> Found:
    key = manifest_key(site, "outcome")
    site.archive.put_bytes(key, bytes_of(site.archive, key).replace(b"loaded", b"looded"))
    return "mismatch", "archive", key


def seal_deleted(site: Site) -> Found:
    key = manifest_key(site, "seal")
    destroy(site.archive, key)
    return "missing", "archive", key


def signature_deleted(site: Site) -> Found:
    key = f"{manifest_key(site, 'seal')}.sig"
    destroy(site.archive, key)
    return "missing", "archive", key


def replica_flipped(site: Site) -> Found:
    flip(site.replica, object_key(site))
    return "mismatch", "replica", object_key(site)


def replica_deleted(site: Site) -> Found:
    destroy(site.replica, object_key(site))
    return "missing", "replica", object_key(site)


def replica_stray(site: Site) -> Found:
    assert site.replica
    site.replica.put_bytes("archive/zzz", b"?")
    return "unexpected", "replica", "archive/zzz"


def in_postgres(kind: str, table: str, statement: str) -> Callable[[Site], Found]:
    def tamper(site: Site) -> Found:
        log_id = log_with(site, table)
        journey.change(site, statement, log_id)
        return kind, "postgres", f"{table.rpartition('.')[2]}/{log_id}"

    return tamper


def stray_row(site: Site) -> Found:
    log_id = "00000000-0000-4000-8000-000000000000"
    journey.change(site, "insert into logbox.log_events (log_id, seq) values (%s, 0)", log_id)
    return "unexpected", "postgres", f"log_events/{log_id}"


def table_dropped(site: Site) -> Found:
    journey.change(site, "drop table telemetry.ulog_power cascade")
    return "missing", "postgres", "ulog_power"


def object_row_deleted(site: Site) -> Found:
    client, sha256 = rows(
        site, "select client, sha256 from logbox.objects order by archive_key limit 1"
    )[0]
    for table in ("object_logs", "objects"):
        journey.change(
            site,
            f"delete from logbox.{table} where (client, sha256) = (%s, %s)",
            client,
            sha256,
        )
    return "missing", "postgres", f"objects/{client}/{sha256}"


def log_row_deleted(site: Site) -> Found:
    ((log_id, client, sha256),) = rows(
        site,
        """
        select log_id::text, client, sha256
        from logbox.object_logs join logbox.logs l using (log_id, client)
        where l.format = 'ulog'
        order by 1
        limit 1
        """,
    )
    for table in (
        *("object_logs", "log_topics", "log_tables", "log_parameters", "flight_logs"),
        "logs",
    ):
        journey.change(site, f"delete from logbox.{table} where log_id = %s", log_id)
    return "missing", "postgres", f"logs/{client}/{sha256}"


def log_row_changed(site: Site) -> Found:
    log_id = log_with(site, "logbox.log_events")
    journey.change(site, "update logbox.logs set events = events + 1 where log_id = %s", log_id)
    return "mismatch", "postgres", f"logs/{log_id}"


def measure_changed(site: Site) -> Found:
    log_id = log_with(site, "telemetry.ulog_fix")
    journey.change(
        site,
        "update logbox.log_tables set content_digest = repeat('0', 32) "
        "where log_id = %s and table_name = 'ulog_fix'",
        log_id,
    )
    return "mismatch", "postgres", f"log_tables/ulog_fix/{log_id}"


def lake_deleted(site: Site) -> Found:
    key = lake_key(site)
    site.lake.delete(key)
    return "missing", "lake", key


def lake_cut(site: Site) -> Found:
    key = lake_key(site, "log_events")
    site.lake.put_bytes(key, bytes_of(site.lake, key)[:-3])
    return "mismatch", "lake", key


def lake_swapped(site: Site) -> Found:
    key = lake_key(site)
    site.lake.put_bytes(key, bytes_of(site.lake, lake_key(site, "ulog_power")))
    return "mismatch", "lake", key


def lake_stray(site: Site) -> Found:
    key = lake_key(site).replace(".parquet", "-copy.parquet")
    site.lake.put_bytes(key, bytes_of(site.lake, lake_key(site)))
    return "unexpected", "lake", key


TAMPERINGS: dict[str, Callable[[Site], Found]] = {
    "archive byte flipped": archive_flipped,
    "archive object destroyed": archive_destroyed,
    "archive stray": archive_stray,
    "manifest edited": manifest_edited,
    "seal destroyed": seal_deleted,
    "signature destroyed": signature_deleted,
    "replica byte flipped": replica_flipped,
    "replica object destroyed": replica_deleted,
    "replica stray": replica_stray,
    "row deleted": in_postgres(
        "mismatch",
        "telemetry.ulog_fix",
        "delete from telemetry.ulog_fix where t_boot_us = "
        "(select min(t_boot_us) from telemetry.ulog_fix where log_id = %s)",
    ),
    "row duplicated": in_postgres(
        "mismatch",
        "telemetry.ulog_power",
        "insert into telemetry.ulog_power "
        "select * from telemetry.ulog_power where log_id = %s limit 1",
    ),
    "event changed": in_postgres(
        "mismatch",
        "logbox.log_events",
        "update logbox.log_events set message = 'nothing happened' where log_id = %s and seq = 0",
    ),
    "stray row": stray_row,
    "table dropped": table_dropped,
    "row of an object deleted": object_row_deleted,
    "row of a log deleted": log_row_deleted,
    "row of a log changed": log_row_changed,
    "measure changed": measure_changed,
    "lake file deleted": lake_deleted,
    "lake file cut": lake_cut,
    "lake file swapped": lake_swapped,
    "lake stray": lake_stray,
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_each_tampering_is_named_and_mended(flown: Site, name: str) -> None:
    before = catalog(flown), lake(flown)
    expected = TAMPERINGS[name](flown)
    tell_all(flown)
    assert deep(flown) == [expected]
    (done,) = repair(flown, by="test")
    assert (done.state, done.detail is not None) == ("done", True), done
    assert deep(flown) == []
    assert (catalog(flown), lake(flown)) == before


def test_rows_of_many_logs_are_loaded_again_some_at_a_time(
    flown: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = catalog(flown)
    at_once: list[int] = []
    read = restore.read_lot

    def counted(site: Site, folder: Any, lot: restore.LoadedLot) -> Any:
        at_once.append(len(lot.logs))
        return read(site, folder, lot)

    monkeypatch.setattr(restore, "read_lot", counted)
    table_dropped(flown)
    journey.change(flown, "delete from logbox.log_events")
    log_ids = [UUID(log_id) for (log_id,) in rows(flown, "select log_id::text from logbox.logs")]
    folder = flown.settings.scratch / "reload"
    lots = journey.with_settings(flown, batch_files=2)
    assert restore.reload_rows(lots, folder, log_ids) > 0
    assert at_once == [2, 2, 1]
    assert list(folder.iterdir()) == []
    assert catalog(flown) == before
    assert deep(flown) == []


# A table that is gone explains rows that are, and a row of a log those of its tables.
_ALONE = {
    *("table dropped", "row of a log deleted", "row of a log changed", "measure changed"),
    "row of an object deleted",
}
_SAME_PLACE = (
    {
        *("archive byte flipped", "archive object destroyed"),
        *("replica byte flipped", "replica object destroyed"),
    },
    {"seal destroyed", "signature destroyed"},
    {"lake file deleted", "lake file swapped"},
)
COMBINATIONS = [
    random.Random(seed).sample([name for name in TAMPERINGS if name not in _ALONE], 5)
    for seed in range(4)
]


@pytest.mark.parametrize("names", COMBINATIONS, ids=lambda names: "+".join(names))
def test_several_at_once_are_named_and_mended(flown: Site, names: list[str]) -> None:
    chosen: list[str] = []
    for name in names:
        if not any({name, other} <= place for place in _SAME_PLACE for other in chosen):
            chosen.append(name)
    before = catalog(flown), lake(flown)
    expected = [TAMPERINGS[name](flown) for name in chosen]
    tell_all(flown)
    assert sorted(deep(flown)) == sorted(expected)
    done = repair(flown, by="test")
    assert [one.state for one in done] == ["done"] * len(expected)
    assert deep(flown) == []
    assert (catalog(flown), lake(flown)) == before


def test_a_wrong_row_is_mended_and_the_object_is_left_alone(flown: Site) -> None:
    before = catalog(flown), lake(flown)
    key, manifest, parquet = object_key(flown), manifest_key(flown, "outcome"), lake_key(flown)
    versions = flown.archive.versions(key), flown.archive.versions(manifest)
    journey.change(
        flown, "update logbox.objects set size_bytes = size_bytes + 1 where archive_key = %s", key
    )
    journey.change(
        flown,
        "update logbox.manifests set sha256 = repeat('0', 64) where archive_key = %s",
        manifest,
    )
    journey.change(flown, "delete from logbox.lake_files where lake_key = %s", parquet)
    assert sorted(deep(flown)) == sorted(
        [("unexpected", "lake", parquet)]
        + [("mismatch", place, of) for place in ("archive", "replica") for of in (key, manifest)]
    )
    done = repair(flown, by="test")
    assert [one.state for one in done] == ["done"] * 5, done
    assert journey.one(flown, OPEN) == 0
    assert deep(flown) == []
    assert (flown.archive.versions(key), flown.archive.versions(manifest)) == versions
    assert (catalog(flown), lake(flown)) == before
    replicate(flown)


OPEN = "select count(*) from logbox.drifts where resolved_at is null"


def test_a_manifest_whose_row_is_gone_gets_it_back_and_is_never_hidden(flown: Site) -> None:
    assert flown.replica
    before = rows(flown, MANIFESTS)
    standing = [journey.keys_in(bucket) for bucket in (flown.archive, flown.replica)]
    journey.change(flown, "delete from logbox.manifests where kind = 'intake'")
    found = deep(flown)
    assert {(kind, place) for kind, place, _ in found} == {
        ("unexpected", "archive"),
        ("unexpected", "replica"),
    }
    assert [one.state for one in repair(flown, by="test")] == ["done"] * len(found)
    assert [journey.keys_in(bucket) for bucket in (flown.archive, flown.replica)] == standing
    assert rows(flown, MANIFESTS) == before
    replicate(flown)
    assert deep(flown) == []


MANIFESTS = """
    select archive_key, client, batch_id, kind, sha256, size_bytes, sealed_by
    from logbox.manifests
    order by 1
"""


def test_two_copies_of_a_stray_are_never_hidden_in_one_go(flown: Site) -> None:
    for bucket in (flown.archive, flown.replica):
        assert bucket
        bucket.put_bytes("archive/zzz", b"?")
    assert len(deep(flown)) == 2
    assert [one.state for one in repair(flown, by="test")] == ["done", "refused"]
    assert flown.replica
    assert bytes_of(flown.replica, "archive/zzz") == b"?"
    assert [one.state for one in repair(flown, by="test")] == ["done"]
    assert deep(flown) == []


def test_a_seal_that_nobody_signed_installs_nothing(flown: Site) -> None:
    manifest = manifest_key(flown, "outcome")
    truth = bytes_of(flown.archive, manifest)
    forged = truth.replace(b"loaded", b"looded")
    client = manifest.split("/")[2]
    first, second = keys.seal_key(client, 1), keys.seal_key(client, 2)
    previous = sha256_hex(bytes_of(flown.archive, first))
    flown.archive.put_bytes(manifest, forged)
    flown.archive.put_bytes(manifest, truth)
    flown.archive.put_bytes(
        second, render(Seal(client, 2, previous, {manifest: sha256_hex(forged)}))
    )
    long_ago = replace(flown, now=lambda: datetime.now(UTC) + timedelta(minutes=11))
    assert deep(long_ago) == [("unexpected", "archive", second)]
    (done,) = repair(flown, by="test")
    assert (done.state, done.action) == ("refused", Action.KEEP)
    assert bytes_of(flown.archive, manifest) == truth
    # They may write to Postgres too: the signed list is believed, not the row.
    flown.archive.put_bytes(manifest, forged)
    journey.change(
        flown,
        "update logbox.manifests set sha256 = %s, sealed_by = %s where archive_key = %s",
        sha256_hex(forged),
        second,
        manifest,
    )
    assert ("mismatch", "seals", manifest) in deep(long_ago)
    repair(flown, by="test")
    assert bytes_of(flown.archive, manifest) == truth
    assert rows(
        flown, "select sha256, sealed_by from logbox.manifests where archive_key = %s", manifest
    ) == [(sha256_hex(truth), first)]
    destroy(flown.archive, second)
    replicate(flown)
    assert deep(long_ago) == []


def test_what_a_batch_is_at_work_on_is_not_driven_again(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("x"))
    journey.claim_offered(site)
    with site.transaction() as cursor:
        assert catalog_repairs.redrive(cursor, "landing/acme/d1/a.jsonl", site.now()) == []
    assert one(site, "select count(*) from logbox.deliveries where batch_id is not null") == 1


def test_an_edited_manifest_is_not_believed_and_none_is_read_for_each_drift(
    flown: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = catalog(flown)
    edited = next(
        key
        for key in journey.keys_in(flown.archive, keys.MANIFESTS_PREFIX + "acme/")
        if key.endswith("outcome.jsonl")
    )
    good = bytes_of(flown.archive, edited)
    flown.archive.put_bytes(edited, good.replace(b'"vehicle": "d1"', b'"vehicle": "d9"'))
    assert bytes_of(flown.archive, edited) != good
    journey.change(flown, "update logbox.logs set events = events + 1 where state = 'loaded'")
    drifts = reconcile(flown).drifts
    assert {(one.kind, one.place) for one in drifts} == {("mismatch", "postgres")}
    assert len(drifts) > 2
    read: Counter[tuple[str, str]] = Counter()
    chunks = S3Bucket.chunks

    def counted(bucket: S3Bucket, key: str, **which: Any) -> Iterator[bytes]:
        read[bucket.bucket, key] += 1
        return chunks(bucket, key, **which)

    with monkeypatch.context() as patched:
        patched.setattr(S3Bucket, "chunks", counted)
        assert {one.state for one in repair(flown, by="test")} == {"done"}
    assert max(read.values()) == 1
    assert catalog(flown) == before
    assert deep(flown) == [("mismatch", "archive", edited)]
    assert [one.state for one in repair(flown, by="test")] == ["done"]
    assert deep(flown) == []


def test_without_proof_no_row_is_touched(site: Site) -> None:
    alone = replace(site, replica=None)
    upload(alone, "landing/acme/d1/a.jsonl", jsonl("x"))
    journey.ingest_all(alone)
    tell_all(alone)
    told = manifest_key(alone, "outcome"), object_key(alone)
    good = {key: bytes_of(alone.archive, key) for key in told}
    log_row_changed(alone)
    assert len(reconcile(alone).drifts) == 1
    tampered = rows(alone, "select * from logbox.logs")
    for key, why in zip(told, ("may tell otherwise", "cannot be read"), strict=True):
        destroy(alone.archive, key)
        alone.archive.put_bytes(key, good[key].replace(b"d1", b"d9").replace(b"x", b"y"))
        (refused,) = repair(alone, by="test")
        assert refused.state == "refused"
        assert why in (refused.detail or "")
        assert rows(alone, "select * from logbox.logs") == tampered
        alone.archive.put_bytes(key, good[key])
    assert [one.state for one in repair(alone, by="test")] == ["done"]
    assert one(alone, "select events from logbox.logs") == 1


def test_what_logbox_itself_gave_up_is_not_made_again(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("x"))
    journey.ingest_all(site)
    tables = "log_topics log_tables log_parameters log_events flight_logs object_logs logs"
    for table in tables.split():
        journey.write(site, f"delete from logbox.{table}")
    assert journey.untold(site) == []
    assert None in journey.told(site).values()
    assert len(reconcile(site).drifts) == 1
    (refused,) = repair(site, by="test")
    assert (refused.state, refused.detail) == ("refused", "the archive was told of no log in it")


def test_what_is_wrong_on_every_side_is_refused_and_stays_open(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("x"))
    journey.ingest_all(site)
    replicate(site)
    key = object_key(site)
    for bucket in (site.archive, site.replica):
        assert bucket
        destroy(bucket, key)
        bucket.put_bytes(key, b"not these")
    assert deep(site) == [("mismatch", "archive", key), ("mismatch", "replica", key)]
    done = repair(site, by="test")
    assert [one.state for one in done] == ["refused", "refused"]
    assert "no side holds" in (done[0].detail or "")
    assert rows(site, "select state, by from logbox.repairs") == [("refused", "test")] * 2
    assert len(deep(site)) == 2


def test_an_older_version_is_a_side_too(site: Site) -> None:
    alone = replace(site, replica=None)
    upload(alone, "landing/acme/d1/a.jsonl", jsonl("x"))
    journey.ingest_all(alone)
    flip(alone.archive, object_key(alone))
    assert deep(alone) == [("mismatch", "archive", object_key(alone))]
    (done,) = repair(alone, by="test")
    assert (done.state, done.source) == ("done", "an older version in the same bucket")
    assert deep(alone) == []


def test_a_dry_run_says_what_it_would_do_and_does_nothing(site: Site) -> None:
    upload(site, "landing/acme/d1/a.ulg", ulog(TOPICS))
    journey.ingest_all(site)
    journey.change(site, "delete from telemetry.ulog_fix")
    (drift,) = deep(site)
    (planned,) = repair(site, dry_run=True, by="test")
    assert (planned.state, planned.action.value) == ("planned", "load the log's rows again")
    assert rows(site, "select * from logbox.repairs") == []
    assert deep(site) == [drift]


def test_only_what_was_named_is_repaired(site: Site) -> None:
    upload(site, "landing/acme/d1/a.ulg", ulog(TOPICS))
    journey.ingest_all(site)
    journey.change(site, "delete from telemetry.ulog_fix")
    site.lake.delete(lake_key(site))
    found = deep(site)
    assert len(found) == 2
    (wanted,) = rows(site, "select drift_id::text from logbox.drifts where place = 'lake'")
    done: list[Repaired] = repair(site, wanted, by="test")
    assert [one.state for one in done] == ["done"]
    assert [place for _, place, _ in deep(site)] == ["postgres"]
    with pytest.raises(UsageError, match="no open drift"):
        repair(site, wanted, by="test")


def test_killed_before_a_remade_file_counts_it_is_remade_again(site: Site) -> None:
    upload(site, "landing/acme/d1/a.ulg", ulog(TOPICS))
    upload(site, "landing/acme/d1/b.ulg", ulog({"fix": ["x"]}, seed=3))
    journey.ingest_all(site)
    before = lake(site)
    site.lake.delete(lake_key(site))
    assert len(deep(site)) == 1
    dying = journey.dying_at(site.settings, "before_remade_counts")
    process = multiprocessing.get_context("spawn").Process(target=repair_there, args=(dying,))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    long_ago = "update logbox.batches set heartbeat_at = now() - interval '1 h' where state = %s"
    journey.change(site, long_ago, "running")
    journey.ingest_all(site)
    if deep(site):
        assert [one.state for one in repair(site, by="test")] == ["done"]
    assert deep(site) == []
    assert lake(site) == before


def repair_there(settings: Any) -> None:
    from logbox_pipeline.steps.site import open_site

    repair(open_site(settings), by="test")
