"""Reconciliation names exactly what was tampered with, and nothing else; mended, it is clean."""

import contextlib
import random
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from logbox_pipeline.adapters import catalog_drifts
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.adapters.turns import Turn, turn
from logbox_pipeline.core.digest import sha256_hex
from logbox_pipeline.core.errors import TransientError
from logbox_pipeline.core.reconciliation import Comparison, Place
from logbox_pipeline.steps import compare_stores
from logbox_pipeline.steps.archive import archive
from logbox_pipeline.steps.load import load
from logbox_pipeline.steps.parse import parse
from logbox_pipeline.steps.reconcile import Reconciliation, Verdict, reconcile
from logbox_pipeline.steps.replicate import replicate
from logbox_pipeline.steps.seal import seal_all
from logbox_pipeline.steps.settle import settle
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.verify import verify
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.conftest import Cluster, Stack, new_site, remove_bucket
from logbox_pipeline_tests.formats.test_wrappers import zipped
from logbox_pipeline_tests.journey import jsonl, one, ulog, upload

TOPICS = {"fix": ["x", "y"], "power": ["v"]}
EVERYTHING = 1
"""scrub_days: each deep run reads every byte."""


@pytest.fixture(scope="module")
def flown(
    cluster: Cluster, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Shared by the tests of this module, each of which leaves it as it was: some logs, ingested
    and replicated."""
    prefix = f"t{secrets.token_hex(5)}-"
    with new_site(cluster, stack, prefix, tmp_path_factory.mktemp("flown")) as site:
        upload(site, "landing/acme/d1/a.ulg", ulog(TOPICS))
        upload(site, "landing/acme/d1/b.ulg", ulog({"fix": ["x", "y", "z"]}, rows=5, seed=7))
        upload(site, "landing/beta/d2/c.jsonl", jsonl("armed", "disarmed") + b'{"v":1.50e3}\n')
        upload(site, "landing/beta/d2/c-again.jsonl", jsonl("armed", "disarmed"))
        upload(site, "landing/beta/d2/e.zip", zipped([("1.jsonl", jsonl("x")), ("2.bin", b"\0?")]))
        upload(site, "landing/acme/d1/f.dat", b"\x00nobody reads this")
        upload(site, "landing/acme/d1/g.ulg", ulog(TOPICS), sha256="0" * 64)
        journey.ingest_all(site)
        seal_all(site)
        replicate(site)
        yield site
    for s3 in (stack.client(), stack.replica_client()):
        for bucket in s3.list_buckets()["Buckets"]:
            if bucket["Name"].startswith(prefix):
                remove_bucket(s3, bucket["Name"])


def deep(site: Site) -> Reconciliation:
    return reconcile(site, deep=True, scrub_days=EVERYTHING)


def seen(found: Reconciliation) -> list[tuple[str, str, str]]:
    return [(one.kind.value, one.place.value, one.subject) for one in found.drifts]


def require_clean(found: Reconciliation) -> None:
    assert (seen(found), dict(found.unchecked)) == ([], {})
    assert found.verdict is Verdict.CLEAN


# One tampering at a time. Each yields what should be found, and mends it when it is resumed.

Found = tuple[str, str, str]
Tampering = Callable[[Site], Iterator[Found]]


def object_key(site: Site) -> str:
    return str(one(site, "select min(archive_key) from logbox.objects"))


def lake_file(site: Site, table: str = "ulog_fix") -> str:
    (key,) = journey.keys_in(site.lake, f"lake/{table}/")
    return key


def bytes_of(bucket: S3Bucket, key: str) -> bytes:
    read = bucket.read(key)
    assert read is not None
    return read[0]


def flipped(data: bytes) -> bytes:
    """One bit, within the rows of a Parquet file."""
    return data[:9] + bytes([data[9] ^ 1]) + data[10:]


def overwritten(bucket: S3Bucket, key: str, how: Callable[[bytes], bytes]) -> Iterator[None]:
    good = bytes_of(bucket, key)
    bucket.put_bytes(key, how(good))
    yield
    bucket.put_bytes(key, good)


def archive_byte_flipped(site: Site) -> Iterator[Found]:
    for _ in overwritten(site.archive, object_key(site), flipped):
        yield "mismatch", "archive", object_key(site)


def archive_object_cut(site: Site) -> Iterator[Found]:
    for _ in overwritten(site.archive, object_key(site), lambda data: data[:-1]):
        yield "mismatch", "archive", object_key(site)


def archive_object_deleted(site: Site) -> Iterator[Found]:
    good = bytes_of(site.archive, object_key(site))
    site.archive.delete(object_key(site))
    yield "missing", "archive", object_key(site)
    site.archive.put_bytes(object_key(site), good)


def archive_stray(site: Site) -> Iterator[Found]:
    key = f"archive/acme/ab/{'ab' * 32}.ulg"
    site.archive.put_bytes(key, b"who put this here?")
    yield "unexpected", "archive", key
    site.archive.delete(key)


def manifest_edited(site: Site) -> Iterator[Found]:
    key = str(one(site, "select min(archive_key) from logbox.manifests where kind = 'outcome'"))
    for _ in overwritten(site.archive, key, lambda body: body.replace(b"loaded", b"looded", 1)):
        yield "mismatch", "archive", key


def manifest_deleted(site: Site) -> Iterator[Found]:
    key = str(one(site, "select min(archive_key) from logbox.manifests where kind = 'intake'"))
    good = bytes_of(site.archive, key)
    site.archive.delete(key)
    yield "missing", "archive", key
    site.archive.put_bytes(key, good)


def seal_edited(site: Site) -> Iterator[Found]:
    key = str(one(site, "select min(archive_key) from logbox.seals"))
    for _ in overwritten(site.archive, key, flipped):
        yield "mismatch", "archive", key


def signature_edited(site: Site) -> Iterator[Found]:
    key = str(one(site, "select min(archive_key) from logbox.seals")) + ".sig"
    for _ in overwritten(site.archive, key, flipped):
        yield "mismatch", "archive", key


def seal_and_catalog_edited(site: Site) -> Iterator[Found]:
    """Whoever edits a manifest and the catalog's digest of it is found out by the seal."""
    key = str(one(site, "select min(archive_key) from logbox.manifests where kind = 'outcome'"))
    good = bytes_of(site.archive, key)
    body = good.replace(b"loaded", b"looded", 1)
    update = "update logbox.manifests set sha256 = %s where archive_key = %s"
    site.archive.put_bytes(key, body)
    assert site.replica
    site.replica.put_bytes(key, body)
    journey.change(site, update, sha256_hex(body), key)
    yield "mismatch", "seals", key
    site.archive.put_bytes(key, good)
    site.replica.put_bytes(key, good)
    journey.change(site, update, sha256_hex(good), key)


def replica_byte_flipped(site: Site) -> Iterator[Found]:
    assert site.replica
    for _ in overwritten(site.replica, object_key(site), flipped):
        yield "mismatch", "replica", object_key(site)


def replica_object_deleted(site: Site) -> Iterator[Found]:
    assert site.replica
    good = bytes_of(site.replica, object_key(site))
    site.replica.delete(object_key(site))
    yield "missing", "replica", object_key(site)
    site.replica.put_bytes(object_key(site), good)


def replica_stray(site: Site) -> Iterator[Found]:
    assert site.replica
    site.replica.put_bytes("archive/zzz", b"?")
    yield "unexpected", "replica", "archive/zzz"
    site.replica.delete("archive/zzz")


@contextlib.contextmanager
def rows_kept(site: Site, table: str) -> Iterator[None]:
    """The table's rows are put back at the end."""
    journey.change(site, f"create table telemetry.kept as select * from {table}")
    yield
    journey.change(site, f"delete from {table}")
    journey.change(site, f"insert into {table} select * from telemetry.kept")
    journey.change(site, "drop table telemetry.kept")


def row_changed(table: str, statement: str, kind: str = "mismatch") -> Tampering:
    def tamper(site: Site) -> Iterator[Found]:
        log_id = one(
            site, f"select log_id::text from {table} group by 1 order by count(*), 1 limit 1"
        )
        with rows_kept(site, table):
            journey.change(site, statement, log_id)
            yield kind, "postgres", f"{table.rpartition('.')[2]}/{log_id}"

    return tamper


def row_of_nobody(site: Site) -> Iterator[Found]:
    log_id = "00000000-0000-4000-8000-000000000000"
    journey.change(site, "insert into logbox.log_events (log_id, seq) values (%s, 0)", log_id)
    yield "unexpected", "postgres", f"log_events/{log_id}"
    journey.change(site, "delete from logbox.log_events where log_id = %s", log_id)


def table_dropped(site: Site) -> Iterator[Found]:
    journey.change(site, "alter table telemetry.ulog_power rename to ulog_gone")
    journey.change(site, "alter table telemetry.ulog_gone set schema telemetry_parts")
    yield "missing", "postgres", "ulog_power"
    journey.change(site, "alter table telemetry_parts.ulog_gone set schema telemetry")
    journey.change(site, "alter table telemetry.ulog_gone rename to ulog_power")


def log_row_changed(site: Site) -> Iterator[Found]:
    log_id = one(site, "select min(log_id::text) from logbox.logs where state = 'loaded'")
    journey.change(site, "update logbox.logs set events = events + 1 where log_id = %s", log_id)
    yield "mismatch", "postgres", f"logs/{log_id}"
    journey.change(site, "update logbox.logs set events = events - 1 where log_id = %s", log_id)


def measure_changed(site: Site) -> Iterator[Found]:
    log_id, digest = journey.rows(
        site,
        "select log_id::text, content_digest from logbox.log_tables where table_name = 'ulog_fix' "
        "order by 1 limit 1",
    )[0]
    update = """
        update logbox.log_tables
        set content_digest = %s
        where log_id = %s and table_name = 'ulog_fix'
    """
    journey.change(site, update, "0" * 32, log_id)
    yield "mismatch", "postgres", f"log_tables/ulog_fix/{log_id}"
    journey.change(site, update, digest, log_id)


def lake_file_deleted(site: Site) -> Iterator[Found]:
    key = lake_file(site)
    good = bytes_of(site.lake, key)
    site.lake.delete(key)
    yield "missing", "lake", key
    site.lake.put_bytes(key, good)


def lake_file_cut(site: Site) -> Iterator[Found]:
    for _ in overwritten(site.lake, lake_file(site), lambda data: data[:-3]):
        yield "mismatch", "lake", lake_file(site)


def lake_file_swapped(site: Site) -> Iterator[Found]:
    other = bytes_of(site.lake, lake_file(site, "ulog_power"))
    for _ in overwritten(site.lake, lake_file(site), lambda _: other):
        yield "mismatch", "lake", lake_file(site)


def lake_byte_flipped(site: Site) -> Iterator[Found]:
    for _ in overwritten(site.lake, lake_file(site), flipped):
        yield "mismatch", "lake", lake_file(site)


def lake_stray(site: Site) -> Iterator[Found]:
    key = lake_file(site).replace(".parquet", "-copy.parquet")
    site.lake.put_bytes(key, bytes_of(site.lake, lake_file(site)))
    yield "unexpected", "lake", key
    site.lake.delete(key)


TAMPERINGS: dict[str, Tampering] = {
    "archive byte flipped": archive_byte_flipped,
    "archive object cut": archive_object_cut,
    "archive object deleted": archive_object_deleted,
    "archive stray": archive_stray,
    "manifest edited": manifest_edited,
    "manifest deleted": manifest_deleted,
    "seal edited": seal_edited,
    "signature edited": signature_edited,
    "manifest and catalog edited": seal_and_catalog_edited,
    "replica byte flipped": replica_byte_flipped,
    "replica object deleted": replica_object_deleted,
    "replica stray": replica_stray,
    "row deleted": row_changed(
        "telemetry.ulog_fix",
        "delete from telemetry.ulog_fix where t_boot_us = "
        "(select min(t_boot_us) from telemetry.ulog_fix where log_id = %s)",
    ),
    "all rows of a log deleted": row_changed(
        "logbox.log_events", "delete from logbox.log_events where log_id = %s", "missing"
    ),
    "row duplicated": row_changed(
        "telemetry.ulog_fix",
        "insert into telemetry.ulog_fix select * from telemetry.ulog_fix where log_id = %s limit 1",
    ),
    "row changed": row_changed(
        "telemetry.ulog_fix", "update telemetry.ulog_fix set x = x + 0.25 where log_id = %s"
    ),
    "event changed": row_changed(
        "logbox.log_events",
        "update logbox.log_events set attributes = '{\"a\": 1}' where log_id = %s and seq = 0",
    ),
    "row of nobody": row_of_nobody,
    "table dropped": table_dropped,
    "log's row changed": log_row_changed,
    "measure changed": measure_changed,
    "lake file deleted": lake_file_deleted,
    "lake file cut": lake_file_cut,
    "lake file swapped": lake_file_swapped,
    "lake byte flipped": lake_byte_flipped,
    "lake stray": lake_stray,
}
ONLY_DEEP_MENDED = {"measure changed", "manifest and catalog edited"}
"""What a count cannot even see to be gone."""
ONLY_DEEP = {
    "seal edited", "signature edited", "manifest and catalog edited",
    "archive byte flipped", "manifest edited", "replica byte flipped", "row changed",
    "event changed", "measure changed", "lake byte flipped",
}  # fmt: skip


def test_untouched_site_is_clean_by_count_and_deep(flown: Site) -> None:
    require_clean(reconcile(flown))
    found = deep(flown)
    require_clean(found)
    assert found.compared[Comparison.POSTGRES_ROWS] == found.compared[Comparison.LAKE_ROWS] > 5
    stored = one(flown, "select sum(size_bytes) from logbox.objects")
    assert found.read_bytes > 2 * stored


@pytest.mark.parametrize("name", TAMPERINGS)
def test_one_tampering_is_one_drift_and_gone_when_mended(flown: Site, name: str) -> None:
    tampering = TAMPERINGS[name](flown)
    expected = next(tampering)
    try:
        by_count = reconcile(flown)
        found = deep(flown)
        # A count does not say that it is gone, when only digests can tell.
        again = reconcile(flown) if name in ONLY_DEEP else found
    finally:
        assert next(tampering, None) is None
    assert seen(by_count) == ([] if name in ONLY_DEEP else [expected])
    assert seen(found) == seen(again) == [expected]
    assert (found.verdict, dict(found.unchecked)) == (Verdict.DRIFT, {})
    mended = reconcile(flown, deep=name in ONLY_DEEP_MENDED)
    require_clean(mended)
    assert mended.resolved_drifts == 1


ALONE = {"log's row changed", "measure changed", "table dropped", "manifest and catalog edited"}
"""What hides other changes of the same rows, or files."""
SAME_PLACE = ("archive byte", "archive object", "manifest", "replica", "row", "lake file", "lake")


@pytest.mark.parametrize("seed", range(3))
def test_random_tamperings_together_are_each_named(flown: Site, seed: int) -> None:
    chance = random.Random(seed)
    names = {chance.choice([n for n in TAMPERINGS if n.startswith(p)]) for p in SAME_PLACE}
    chosen: dict[str, str] = {}
    for name in sorted(names - ALONE):
        # Two that change the same thing are one difference.
        chosen.setdefault(next(p for p in SAME_PLACE if name.startswith(p)).split()[0], name)
    tamperings = [TAMPERINGS[name](flown) for name in chosen.values()]
    expected = sorted(next(one) for one in tamperings)
    try:
        found = deep(flown)
    finally:
        for one in reversed(tamperings):
            assert next(one, None) is None
    assert sorted(seen(found)) == expected
    require_clean(deep(flown))


# What is no drift


class Away(S3Bucket):
    """A store that does not answer."""

    @contextlib.contextmanager
    def _translated(self, operation: str, key: str) -> Iterator[None]:
        raise TransientError(f"could not {operation} s3://{self.bucket}/{key}: away")
        yield


def away(bucket: S3Bucket) -> S3Bucket:
    return Away(bucket.client, bucket.bucket)


def test_a_store_that_is_away_is_not_checked_and_its_drifts_stay(flown: Site) -> None:
    tampering = archive_object_deleted(flown)
    expected = next(tampering)
    assert seen(reconcile(flown)) == [expected]
    assert next(tampering, None) is None
    dark = replace(flown, archive=away(flown.archive))
    found = deep(dark)
    assert seen(found) == [expected]
    assert set(found.unchecked) == {Comparison.ARCHIVE, Comparison.ARCHIVE_BYTES, Comparison.SEALS}
    assert found.resolved_drifts == 0
    require_clean(reconcile(flown))
    unsure = reconcile(dark)
    assert (seen(unsure), unsure.verdict) == ([], Verdict.UNCHECKED)


def test_a_lake_that_is_away_leaves_postgres_checked(flown: Site) -> None:
    found = deep(replace(flown, lake=away(flown.lake)))
    assert set(found.unchecked) == {Comparison.LAKE_FILES, Comparison.LAKE_ROWS}
    assert found.compared[Comparison.POSTGRES_ROWS] > 5
    assert found.verdict is Verdict.UNCHECKED


def test_an_object_that_alone_cannot_be_read_is_unreadable(flown: Site) -> None:
    broken = object_key(flown)

    class Broken(S3Bucket):
        def chunks(self, key: str, **asked: Any) -> Iterator[bytes]:
            if key == broken:
                raise TransientError("500 from the disk below")
            return super().chunks(key, **asked)

    bad = replace(flown, archive=Broken(flown.archive.client, flown.archive.bucket))
    assert seen(deep(bad)) == [("unreadable", "archive", broken)]
    require_clean(reconcile(flown))


def test_only_one_reconciliation_runs_at_a_time(flown: Site) -> None:
    with (
        flown.connection() as other,
        turn(other, Turn.RECONCILIATION),
        pytest.raises(TransientError, match="another reconciliation"),
    ):
        reconcile(flown)
    require_clean(reconcile(flown))


def test_acknowledged_drift_is_quiet_while_it_stays_the_same(flown: Site) -> None:
    tampering = archive_stray(flown)
    next(tampering)
    try:
        (drift,) = reconcile(flown).drifts
        with flown.transaction() as cursor:
            catalog_drifts.acknowledge_drift(cursor, str(drift.drift_id), "our own", flown.now())
        found = reconcile(flown)
        assert (found.new_drifts, found.open_drifts) == (0, 1)
        quiet = "select count(acknowledged_at) from logbox.drifts where resolved_at is null"
        assert one(flown, quiet) == 1
    finally:
        assert next(tampering, None) is None
    require_clean(reconcile(flown))


def test_what_lies_outside_the_window_of_postgres_is_no_drift(flown: Site) -> None:
    narrow = journey.with_settings(flown, postgres_telemetry_days=1)
    require_clean(deep(narrow))
    later = replace(narrow, now=lambda: flown.now() + timedelta(days=62))
    with rows_kept(flown, "telemetry.ulog_fix"):
        journey.change(flown, "delete from telemetry.ulog_fix")
        require_clean(deep(later))
        assert reconcile(narrow).verdict is Verdict.DRIFT
    require_clean(reconcile(narrow))


def test_more_differences_than_can_be_told_leave_the_comparison_unfinished(
    flown: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare_stores, "MOST_DRIFTS", 2)
    found = reconcile(flown, listings={Place.ARCHIVE: []})
    # Each was looked at again, and stands.
    assert (seen(found), found.verdict) == ([], Verdict.CLEAN)
    for key in ("archive/x1", "archive/x2", "archive/x3"):
        flown.archive.put_bytes(key, b"?")
    try:
        found = reconcile(flown)
    finally:
        for key in ("archive/x1", "archive/x2", "archive/x3"):
            flown.archive.delete(key)
    assert len(found.drifts) == 2
    assert Comparison.ARCHIVE in found.unchecked
    require_clean(reconcile(flown))


def test_nothing_is_wrong_at_any_moment_of_an_ingest(site: Site) -> None:
    upload(site, "landing/acme/d1/a.ulg", ulog(TOPICS))
    upload(site, "landing/acme/d1/b.jsonl", jsonl("x", "y"))
    upload(site, "landing/acme/d1/bad.jsonl", jsonl("z"), sha256="0" * 64)
    require_clean(deep(site))
    held = journey.claim_offered(site)
    require_clean(deep(site))
    verify(site, held)
    require_clean(deep(site))
    archive(site, held)
    require_clean(deep(site))
    parsed = parse(site, held)
    require_clean(deep(site))
    load(site, held, parsed)
    require_clean(deep(site))
    settle(site, held)
    require_clean(deep(site))


def test_objects_that_nobody_records_or_clears_away_are_named(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("x"))
    journey.ingest_all(site)
    upload(site, "landing/acme/d1/late.jsonl", jsonl("y"))
    upload(site, "landing/acme/d1/late.jsonl.sha256", b"not a delivery")
    require_clean(reconcile(site))
    later = replace(site, now=lambda: site.now() + timedelta(minutes=5))
    assert seen(reconcile(later)) == [("unexpected", "landing", "landing/acme/d1/late.jsonl")]
    journey.tick(site)
    require_clean(reconcile(later))
    # Ingested, and yet its object stands, or stood, in landing.
    journey.change(
        site, "update logbox.deliveries set left_landing_at = null where name = 'a.jsonl'"
    )
    assert seen(reconcile(later)) == [("missing", "landing", "landing/acme/d1/a.jsonl")]


def test_scrub_reads_a_share_each_night_longest_unread_first(flown: Site) -> None:
    journey.change(flown, "delete from logbox.scrubs")
    objects = one(
        flown,
        "select (select count(*) from logbox.objects) + (select count(*) from logbox.manifests)",
    )
    read: list[int] = []
    while one(flown, "select count(*) from logbox.scrubs where place = 'archive'") < objects:
        read.append(reconcile(flown, deep=True, scrub_days=4).compared[Comparison.ARCHIVE_BYTES])
        assert len(read) <= 4
    assert len(read) > 1
    assert max(read) < objects
