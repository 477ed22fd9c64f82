"""The archive copy: proven, never trusted by its name."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from logbox_pipeline.core.errors import TransientError
from logbox_pipeline.core.keys import archive_key
from logbox_pipeline.core.ports import StoredObject
from logbox_pipeline.core.told import lines
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import jsonl, one, rows, upload

LOG = jsonl("armed", "disarmed")
SHA256 = hashlib.sha256(LOG).hexdigest()
KEY = archive_key("acme", SHA256, "a.jsonl")


def test_original_stands_in_the_archive_under_its_digest(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    journey.ingest_all(site)
    read = site.archive.read(KEY)
    assert read is not None
    assert read[0] == LOG
    assert rows(site, "select archive_key, version_id from logbox.objects") == [
        (KEY, read[1].version_id)
    ]


@pytest.mark.parametrize("other", [b"others", LOG[:-2] + b"?\n"], ids=["size", "same-size"])
def test_other_bytes_under_the_archive_key_are_drift_and_get_a_new_version(
    site: Site, other: bytes
) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    offered = journey.tick(site).offered
    site.archive.client.put_object(Bucket=site.archive.bucket, Key=KEY, Body=other)
    journey.ingest_offers(site, offered)
    read = site.archive.read(KEY)
    assert read is not None
    assert read[0] == LOG
    assert one(site, "select version_id from logbox.objects") == read[1].version_id
    ((kind, place, subject, expected, found),) = rows(
        site, "select kind, place, subject, expected, found from logbox.drifts"
    )
    assert (kind, place, subject) == ("mismatch", "archive", KEY)
    assert SHA256 in expected
    assert str(len(other)) in found
    versions = site.archive.client.list_object_versions(Bucket=site.archive.bucket, Prefix=KEY)
    assert len(versions["Versions"]) == 2
    assert journey.keys_in(site.landing) == []


def test_equal_bytes_already_there_are_proven_by_reading_when_no_checksum_is_stored(
    site: Site,
) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    offered = journey.tick(site).offered
    site.archive.client.put_object(Bucket=site.archive.bucket, Key=KEY, Body=LOG)
    (_, archived, *_) = journey.ingest_offers(site, offered)
    assert archived.counts["archived_files"] == 1
    assert archived.counts["stored_objects"] == 0
    assert rows(site, "select * from logbox.drifts") == []


def test_copy_that_does_not_read_back_keeps_the_object_in_landing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that takes a PUT, confirms nothing and then shows other bytes."""
    put_file = type(site.archive).put_file

    def lying(bucket: Any, key: str, path: Path, sha256: str, **more: Any) -> StoredObject | None:
        if bucket.bucket != site.archive.bucket:
            return put_file(bucket, key, path, sha256, **more)
        bucket.client.put_object(Bucket=bucket.bucket, Key=key, Body=b"rot")
        return StoredObject(3, "rot", None, site.now())

    upload(site, "landing/acme/d1/a.jsonl", LOG)
    with monkeypatch.context() as patched:
        patched.setattr(type(site.archive), "put_file", lying)
        with pytest.raises(TransientError, match="does not read back"):
            journey.ingest_all(site)
    assert journey.keys_in(site.landing) == ["landing/acme/d1/a.jsonl"]
    assert rows(site, "select archived_at from logbox.objects") == [(None,)]
    journey.change(site, "update logbox.batches set not_before = null")
    journey.ingest_all(site)
    assert journey.states(site) == [("archived", "")]
    assert journey.keys_in(site.landing) == []


def test_intake_manifest_tells_all_that_is_known_before_anything_leaves(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    upload(site, "landing/acme/d1/bad.jsonl", jsonl("x"), sha256="0" * 64)
    journey.ingest_all(site)
    (intake,) = [key for key in journey.keys_in(site.archive) if key.endswith("-intake.jsonl")]
    told = [json.loads(one.text) for one in lines(site.archive.read(intake)[0])]
    assert sorted(one["verdict"] for one in told if "verdict" in one) == ["mismatch", "verified"]
    assert [one["size_bytes"] for one in told if "archive_key" in one] == [len(LOG)]
    assert journey.untold(site) == []
