"""The replica: proven copies elsewhere, that nothing waits for and no accident can falsify."""

import hashlib
import multiprocessing
import signal
import socket
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from logbox_pipeline.adapters.s3 import REPLICA_NAMES, S3Bucket
from logbox_pipeline.adapters.turns import Turn, turn
from logbox_pipeline.core.errors import SettingError, StoreRefused, TransientError
from logbox_pipeline.core.keys import archive_key
from logbox_pipeline.settings import Settings, is_replica_embedded
from logbox_pipeline.steps import replicate as replicate_module
from logbox_pipeline.steps.manifest import Manifest, put_manifests
from logbox_pipeline.steps.reconcile import reconcile
from logbox_pipeline.steps.replicate import due, is_replicating, replicate
from logbox_pipeline.steps.seal import seal_all
from logbox_pipeline.steps.setup import set_up_buckets
from logbox_pipeline.steps.site import Site, open_site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import jsonl, one, rows, upload

LOGS = {f"{name}.jsonl": jsonl(f"{name} armed", "off") for name in ("a", "b", "c")}
A = LOGS["a.jsonl"]
SHA256 = hashlib.sha256(A).hexdigest()
KEY = archive_key("acme", SHA256, "a.jsonl")
INTAKE = "archive/manifests/acme/received_on=2026-11-24/b-1-intake.jsonl"


def fly(site: Site) -> None:
    """The whole journey, up to the archive and beyond."""
    for name, data in LOGS.items():
        upload(site, f"landing/acme/d1/{name}", data)
    journey.ingest_all(site)


def archive(site: Site) -> None:
    """Only what the journey leaves in the archive, in a twentieth of the time."""
    for name, data in LOGS.items():
        sha256 = hashlib.sha256(data).hexdigest()
        key = archive_key("acme", sha256, name)
        stored = site.archive.put_bytes(key, data)
        journey.change(
            site,
            "insert into logbox.objects values ('acme', %s, %s, %s, %s, %s)",
            sha256,
            key,
            stored.version_id,
            len(data),
            site.now(),
        )
    put_manifests(site, [Manifest(INTAKE, "intake", "acme", b'{"kind":"delivery","state":"x"}\n')])


def reopened(site: Site, **changes: Any) -> Site:
    """The same site as other settings open it."""
    return open_site(site.settings.model_copy(update=changes))


def without_replica(site: Site) -> Site:
    """The site while nobody answers at its replica's endpoint; asked once, not with patience."""
    client = boto3.client(
        "s3",
        endpoint_url="http://127.0.0.1:9",
        region_name="us-west-2",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(retries={"max_attempts": 1, "mode": "standard"}),
    )
    return replace(site, replica=S3Bucket(client, site.settings.replica_bucket, REPLICA_NAMES))


def bodies(bucket: Any) -> dict[str, bytes]:
    return {key: bucket.read(key)[0] for key in journey.keys_in(bucket)}


def drifts(site: Site) -> list[tuple[Any, ...]]:
    return rows(site, "select kind, place, subject from logbox.drifts order by 3, 2")


def owed(site: Site) -> set[str]:
    return {
        key
        for (key,) in rows(
            site,
            """
            select archive_key from logbox.objects where replicated_at is null
            union all
            select archive_key from logbox.manifests where replicated_at is null
            """,
        )
    }


def put(site: Site, place: str, key: str, body: bytes) -> None:
    """As somebody else would: without a checksum."""
    bucket = getattr(site, place)
    bucket.client.put_object(Bucket=bucket.bucket, Key=key, Body=body)


def test_every_log_and_manifest_is_copied_and_proven_and_again_changes_nothing(site: Site) -> None:
    fly(site)
    there = bodies(site.archive)
    assert owed(site) == set(there)
    done = replicate(site)
    assert (done.copied, done.there, done.adrift, done.waiting) == (len(there), 0, 0, 0)
    assert done.copied_bytes == sum(map(len, there.values()))
    assert (done.lag.files, done.lag.size_bytes, done.lag_s) == (0, 0, 0)
    assert site.replica
    assert bodies(site.replica) == there
    head = site.replica.head(KEY)
    assert head is not None
    assert head.checksum_sha256 is not None
    assert owed(site) == set()
    assert due(site).why_not == "The replica has everything."
    before = rows(site, "select archive_key, replicated_at from logbox.objects order by 1")
    assert replicate(site).copied == 0
    assert rows(site, "select archive_key, replicated_at from logbox.objects order by 1") == before
    assert not list(site.settings.scratch.glob("replica*"))


def test_a_replica_that_is_down_delays_itself_alone_and_is_caught_up(site: Site) -> None:
    away = without_replica(site)
    fly(away)
    assert journey.states(away) == [("archived", "")] * 3
    assert journey.keys_in(away.landing) == []
    with pytest.raises(TransientError, match="LOGBOX_REPLICA_S3_ENDPOINT"):
        replicate(away)
    with pytest.raises(TransientError, match="LOGBOX_REPLICA_S3_ENDPOINT"):
        due(reopened(site, replica_s3_endpoint="http://127.0.0.1:9"))
    assert len(owed(site)) == len(journey.keys_in(site.archive))
    late = replace(site, now=lambda: site.now() + timedelta(hours=2))
    assert due(late).lag_s > 7_000
    assert replicate(site).lag.files == 0
    assert owed(site) == set()


def test_a_file_that_waits_alone_for_its_store_keeps_no_replica_waiting(site: Site) -> None:
    archive(site)
    journey.upload(site, "landing/acme/d1/next.jsonl", journey.jsonl("next"))
    journey.tick(site)
    assert "Batches are at work" in (due(site).why_not or "")
    journey.change(
        site,
        "update logbox.batches set request_failures = 1, attempt = 2 where state = 'open'",
    )
    assert due(site).why_not is None


def test_a_replica_that_hangs_is_said_soon(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(site)
    monkeypatch.setattr(replicate_module, "PROMPT_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        hung = f"http://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(TransientError, match="LOGBOX_REPLICA_S3_ENDPOINT"):
            due(reopened(site, replica_s3_endpoint=hung))
        assert time.monotonic() - started < 5


def test_a_replica_that_goes_away_in_the_middle_keeps_what_was_proven(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(site)
    monkeypatch.setattr(replicate_module, "PAGE_FILES", 2)
    pages = []
    copy_page = replicate_module._copy_page

    def then_gone(opened: Site, replica: Any, page: Any) -> Any:
        pages.append(page)
        gone = without_replica(site).replica
        return copy_page(opened, replica if len(pages) == 1 else gone, page)

    monkeypatch.setattr(replicate_module, "_copy_page", then_gone)
    with pytest.raises(TransientError, match="LOGBOX_REPLICA_S3_ENDPOINT"):
        replicate(site)
    assert owed(site) == set(journey.keys_in(site.archive)) - {one.archive_key for one in pages[0]}


def test_killed_between_put_and_commit_and_again_equals_once(site: Site) -> None:
    archive(site)
    doomed = journey.dying_at(site.settings, "after_replica_put")
    run = multiprocessing.get_context("forkserver").Process(target=replicate_with, args=(doomed,))
    run.start()
    run.join(60)
    assert run.exitcode == -signal.SIGKILL
    there = bodies(site.archive)
    assert owed(site) == set(there)
    done = replicate(site)
    assert (done.copied, done.there) == (0, len(there))
    assert site.replica
    assert bodies(site.replica) == there
    versions = site.replica.client.list_object_versions(Bucket=site.replica.bucket)["Versions"]
    assert len(versions) == len(there)
    assert owed(site) == set()


def replicate_with(settings: Settings) -> None:
    replicate(open_site(settings))


@pytest.mark.parametrize("other", [b"others", A[:-2] + b"?\n"], ids=["size", "same-size"])
def test_other_bytes_in_the_replica_are_drift_and_get_a_new_version(
    site: Site, other: bytes
) -> None:
    archive(site)
    put(site, "replica", KEY, other)
    assert replicate(site).adrift == 0
    assert drifts(site) == [("mismatch", "replica", KEY)]
    assert site.replica
    assert bodies(site.replica) == bodies(site.archive)
    assert owed(site) == set()


@pytest.mark.parametrize("kind", ["missing", "mismatch"])
def test_what_the_replica_lost_is_copied_again_once_and_then_no_drift(
    site: Site, kind: str
) -> None:
    archive(site)
    replicate(site)
    assert site.replica
    site.replica.delete(KEY)
    if kind == "mismatch":
        put(site, "replica", KEY, b"others")

    def adrift() -> list[tuple[str, str]]:
        found = reconcile(site).drifts
        return [(one.kind, one.subject) for one in found if one.place == "replica"]

    assert adrift() == adrift() == [(kind, KEY)]
    assert (due(site).lag.files, due(site).why_not) == (1, None)
    done = replicate(site)
    assert (done.copied, done.lag.files) == (1, 0)
    assert replicate(site).copied == 0
    assert bodies(site.replica) == bodies(site.archive)
    assert adrift() == []


def test_right_bytes_already_there_are_proven_by_reading_when_no_checksum_is_stored(
    site: Site,
) -> None:
    archive(site)
    put(site, "replica", KEY, A)
    done = replicate(site)
    assert done.there == 1
    assert drifts(site) == []
    assert owed(site) == set()


@pytest.mark.parametrize("kind", ["mismatch", "missing"])
def test_damage_in_the_archive_is_drift_is_not_copied_and_holds_up_nothing(
    site: Site, kind: str
) -> None:
    archive(site)
    version = one(site, "select version_id from logbox.objects where archive_key = %s", KEY)
    site.archive.delete(KEY, version_id=version)
    if kind == "mismatch":
        put(site, "archive", KEY, A[:-2] + b"?\n")
        journey.change(
            site, "update logbox.objects set version_id = null where sha256 = %s", SHA256
        )
    done = replicate(site)
    assert (done.adrift, done.lag.files) == (1, 1)
    assert drifts(site) == [(kind, "archive", KEY)]
    assert owed(site) == {KEY}
    assert site.replica
    assert site.replica.head(KEY) is None
    # It is not read again at each tick, and is taken up once its drift is resolved.
    assert "logbox drift list" in (due(site).why_not or "")
    assert replicate(site).adrift == 0
    put(site, "archive", KEY, A)
    journey.change(site, "update logbox.objects set version_id = null where sha256 = %s", SHA256)
    journey.change(site, "update logbox.drifts set resolved_at = now()")
    assert replicate(site).copied >= 1
    assert owed(site) == set()


def test_an_edited_manifest_is_drift_and_not_copied(site: Site) -> None:
    archive(site)
    put(site, "archive", INTAKE, b'{"kind":"delivery","state":"y"}\n')
    assert replicate(site).adrift == 1
    assert drifts(site) == [("mismatch", "archive", INTAKE)]
    assert owed(site) == {INTAKE}


def test_a_seal_and_its_signature_are_replicated(site: Site) -> None:
    archive(site)
    seal_all(site)
    replicate(site)
    assert bodies(site.replica) == bodies(site.archive)
    assert any(key.endswith(".sha256.sig") for key in bodies(site.replica))


def test_external_mode_proves_what_is_there_and_copies_nothing(site: Site) -> None:
    archive(site)
    site = reopened(site, replication="external")
    there = bodies(site.archive)
    done = replicate(site)
    assert (done.copied, done.there, done.waiting) == (0, 0, len(there))
    assert site.replica
    assert journey.keys_in(site.replica) == []
    missing, *others = sorted(there)
    for key in others:
        site.replica.put_bytes(key, there[key])
    put(site, "replica", others[0], b"wrong")
    put(site, "replica", others[1], there[others[1]])
    done = replicate(site)
    assert (done.there, done.adrift, done.waiting) == (len(others) - 1, 1, 1)
    assert owed(site) == {missing, others[0]}
    assert drifts(site) == [("mismatch", "replica", others[0])]
    assert bodies(site.replica)[others[0]] == b"wrong"


def test_calls_are_bounded_and_take_the_oldest_first(site: Site) -> None:
    archive(site)
    order = rows(
        site,
        """
        select archive_key from (
            select archived_at as since, archive_key from logbox.objects
            union all
            select written_at, archive_key from logbox.manifests
        ) as files
        order by since, archive_key
        """,
    )
    files = [key for (key,) in order]
    assert replicate(site, most_files=2).copied == 2
    assert owed(site) == set(files[2:])
    assert replicate(site, most_bytes=0).copied == 0


def test_a_page_holds_little_or_one_large_file(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    archive(site)
    monkeypatch.setattr(replicate_module, "PAGE_BYTES", 1)
    pages = []
    copy_page = replicate_module._copy_page
    monkeypatch.setattr(
        replicate_module,
        "_copy_page",
        lambda *given: (pages.append(given[2]), copy_page(*given))[1],
    )
    replicate(site)
    assert {len(page) for page in pages} == {1}
    assert owed(site) == set()


def test_one_call_works_at_a_time(site: Site) -> None:
    archive(site)
    assert not is_replicating(site)
    with site.connection() as other, turn(other, Turn.REPLICATION):
        assert is_replicating(site)
        done = replicate(site)
        assert (done.copied, done.lag.files) == (0, len(owed(site)))
    assert replicate(site).lag.files == 0


def test_a_bucket_that_went_away_is_said_and_not_made_again(site: Site) -> None:
    archive(site)
    nowhere = reopened(site, replica_bucket=site.settings.replica_bucket + "-gone")
    for look in (due, replicate):
        with pytest.raises(SettingError, match="LOGBOX_REPLICA_BUCKET does not exist"):
            look(nowhere)


def test_a_key_the_replica_does_not_know_is_refused_by_name(site: Site) -> None:
    archive(site)
    stranger = reopened(site, replica_access_key_id=site.settings.s3_access_key_id)
    with pytest.raises(StoreRefused, match="LOGBOX_REPLICA_ACCESS_KEY_ID"):
        replicate(stranger)


def test_an_unversioned_replica_is_refused(site: Site, buckets: str) -> None:
    assert site.replica
    site.replica.client.create_bucket(
        Bucket=f"{buckets}plain", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
    )
    wrong = reopened(site, replica_bucket=f"{buckets}plain")
    with pytest.raises(SettingError, match="LOGBOX_REPLICA_BUCKET is not versioned"):
        set_up_buckets(wrong, lambda _: None)


def test_setup_goes_on_without_a_replica_that_is_away_and_says_so(site: Site) -> None:
    said: list[str] = []
    set_up_buckets(without_replica(site), said.append)
    assert any("the replica is not set up" in sentence for sentence in said)
    set_up_buckets(reopened(site, replication="off"), said.append)
    assert said[-1] == "there is no replica: the archive is the only copy of each log"


def test_a_site_without_a_replica_owes_nothing(site: Site) -> None:
    archive(site)
    alone = reopened(site, replication="off")
    assert alone.replica is None
    assert "only copy" in (due(alone).why_not or "")
    assert replicate(alone).copied == 0


def test_the_archive_is_no_replica_of_itself(site: Site) -> None:
    settings = site.settings
    same = {"replica_bucket": settings.archive_bucket, "replica_s3_endpoint": settings.s3_endpoint}
    with pytest.raises(SettingError, match="LOGBOX_REPLICA_BUCKET"):
        reopened(site, **same)


def test_a_replica_is_copied_to_once_a_place_for_it_is_named(tmp_path: Path) -> None:
    home = {"home": tmp_path}
    assert Settings(**home).replicates_by == "off"  # type: ignore[arg-type]
    assert Settings(**home, replica_s3_region="eu-west-1").replicates_by == "copy"  # type: ignore[arg-type]
    off = Settings(**home, replica_s3_region="eu-west-1", replication="off")  # type: ignore[arg-type]
    assert off.replicates_by == "off"


@pytest.mark.parametrize(
    ("setting", "value", "is_embedded"),
    [
        ("LOGBOX_REPLICA_BUCKET", "copies", True),
        ("LOGBOX_REPLICATION", "copy", True),
        ("LOGBOX_REPLICATION", "off", False),
        ("LOGBOX_REPLICA_S3_ENDPOINT", "https://s3.example.org", False),
        ("LOGBOX_REPLICA_S3_REGION", "eu-west-1", False),
    ],
)
def test_the_embedded_replica_gives_way_to_one_that_is_configured(
    setting: str,
    value: str,
    is_embedded: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(setting, value)
    assert is_replica_embedded() is is_embedded
