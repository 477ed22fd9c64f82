"""What bad input gets before anything is archived: each refusal, with its reason and its bytes."""

import base64
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session

from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import deliveries, jsonl, one, rows, upload, with_settings

LOG = jsonl("armed", "disarmed")


def quarantined(site: Site) -> dict[str, bytes]:
    """Bytes in quarantine by `<client>/<reason>/<name>`."""
    found = {}
    for key in journey.keys_in(site.landing, "quarantine/"):
        read = site.landing.read(key)
        assert read is not None
        _, client, reason, _, name = key.split("/")
        found[f"{client}/{reason}/{name}"] = read[0]
    return found


def test_flipped_bit_is_a_mismatch_kept_in_quarantine(site: Site) -> None:
    damaged = bytes([LOG[0] ^ 1]) + LOG[1:]
    declared = hashlib.sha256(LOG).hexdigest()
    upload(site, "landing/acme/d1/a.jsonl", damaged, sha256=declared)
    journey.ingest_all(site)
    assert deliveries(site) == {"acme/d1/a.jsonl": ("quarantined", "mismatch")}
    assert quarantined(site) == {"acme/mismatch/a.jsonl": damaged}
    detail = one(site, "select detail from logbox.deliveries")
    assert declared in detail
    assert hashlib.sha256(damaged).hexdigest() in detail
    assert journey.keys_in(site.landing, "landing/") == []
    assert one(site, "select count(*) from logbox.objects") == 0


def test_stores_own_checksum_declares_a_digest(site: Site) -> None:
    checksum = base64.b64encode(hashlib.sha256(LOG).digest()).decode()
    site.landing.client.put_object(
        Bucket=site.landing.bucket, Key="landing/acme/a.jsonl", Body=LOG, ChecksumSHA256=checksum
    )
    journey.ingest_all(site)
    assert deliveries(site) == {"acme/a.jsonl": ("archived", None)}
    assert one(site, "select declared_by from logbox.deliveries") == "checksum"


def test_undeclared_log_waits_and_is_then_refused(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG, declare=False)
    journey.ingest_all(site)
    assert deliveries(site) == {"acme/d1/a.jsonl": ("waiting", None)}
    assert journey.keys_in(site.landing) == ["landing/acme/d1/a.jsonl"]
    journey.ingest_all(later(site))
    assert deliveries(site) == {"acme/d1/a.jsonl": ("quarantined", "undeclared")}
    assert quarantined(site) == {"acme/undeclared/a.jsonl": LOG}


def test_undeclared_log_is_taken_by_policy_after_its_grace(site: Site) -> None:
    lenient = with_settings(site, digest_policy="accept")
    upload(site, "landing/acme/d1/a.jsonl", LOG, declare=False)
    journey.ingest_all(lenient)
    assert deliveries(site) == {"acme/d1/a.jsonl": ("waiting", None)}
    journey.ingest_all(later(lenient))
    assert rows(site, "select state, verdict from logbox.deliveries") == [
        ("archived", "undeclared")
    ]


def test_sidecar_declares_and_leaves_with_its_log(site: Site) -> None:
    sidecar(site, LOG)
    upload(site, "landing/acme/d1/a.jsonl", LOG, declare=False)
    journey.ingest_all(site)
    assert rows(site, "select state, declared_by from logbox.deliveries") == [
        ("archived", "sidecar")
    ]
    assert journey.keys_in(site.landing) == []


def test_waiting_log_goes_on_when_its_sidecar_comes(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG, declare=False)
    journey.ingest_all(site)
    sidecar(site, LOG)
    journey.ingest_all(site)
    assert deliveries(site) == {"acme/d1/a.jsonl": ("archived", None)}
    assert journey.keys_in(site.landing) == []


def test_refused_log_is_released_by_a_late_sidecar(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG, declare=False)
    journey.ingest_all(later(site))
    sidecar(site, LOG)
    journey.ingest_all(site)
    assert rows(site, "select state, declared_by, verdict from logbox.deliveries") == [
        ("archived", "sidecar", "verified")
    ]
    assert one(site, "select count(*) from logbox.log_events") == 2
    assert journey.keys_in(site.landing, "landing/") == []


def test_late_sidecar_of_other_bytes_leaves_the_log_refused(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG, declare=False)
    journey.ingest_all(later(site))
    sidecar(site, b"other")
    journey.ingest_all(site)
    journey.ingest_all(site)
    assert deliveries(site) == {"acme/d1/a.jsonl": ("quarantined", "mismatch")}
    assert set(quarantined(site).values()) == {LOG}


def test_empty_file_is_refused_whatever_it_declares(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", b"")
    upload(site, "landing/acme/d1/b.jsonl", b"", declare=False)
    journey.ingest_all(site)
    assert set(deliveries(site).values()) == {("quarantined", "empty")}
    assert journey.keys_in(site.landing, "landing/") == []


def test_too_large_object_is_refused_without_reading_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = with_settings(site, max_log_bytes=len(LOG) - 1)
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    with monkeypatch.context() as patched:
        patched.setattr(type(site.landing), "download", never)
        journey.ingest_all(small)
    assert deliveries(site) == {"acme/d1/a.jsonl": ("quarantined", "too_large")}
    assert quarantined(site) == {"acme/too_large/a.jsonl": LOG}
    assert journey.keys_in(site.landing, "landing/") == []


UNSAFE = [
    "landing/acme/../beta/d1/a.jsonl",
    "landing/acme/d1/..",
    "landing/acme/./a.jsonl",
    "landing/acme//a.jsonl",
    "landing/acme/d1\\a.jsonl",
    "landing/acme/d1/a\x01b.jsonl",
    "landing/acme/d1/a\nb.jsonl",
    "landing/acme/d1/a\x7f.jsonl",
    "landing/acme/d1/a\u0085.jsonl",
    "landing/acme/" + "x" * 888,
    "landing/ghost/d1/a.jsonl",
    "landing/loose.jsonl",
    "landing/acme/d1/folder/",
]


def test_unsafe_keys_are_kept_under_names_of_ours(site: Site) -> None:
    kept = [LOG + b"%d" % number for number in range(len(UNSAFE))]
    for key, data in zip(UNSAFE, kept, strict=True):
        put_raw(site, key, data)
    upload(site, "landing/acme/d1/good.jsonl", LOG)
    journey.ingest_all(site)
    found = rows(site, "select landing_key, state, reason from logbox.deliveries")
    assert {state for key, state, _ in found if key.endswith("good.jsonl")} == {"archived"}
    assert [row[1:] for row in found if not row[0].endswith("good.jsonl")] == [
        ("quarantined", "unsafe_key")
    ] * len(kept)
    held = [site.landing.read(key) for key in journey.keys_in(site.landing, "quarantine/")]
    assert sorted(read[0] for read in held if read) == sorted(kept)
    names = {key.split("/", 4)[4] for key in journey.keys_in(site.landing, "quarantine/")}
    assert names == {"object"}
    assert journey.keys_in(site.landing, "landing/") == []


@pytest.mark.parametrize(
    "raw", [b"landing/acme/d1/a\x00b.jsonl", b"landing/acme/d1/a\xff\xfeb.jsonl"]
)
def test_key_that_is_no_text_disturbs_nobody(site: Site, raw: bytes) -> None:
    put_raw(site, raw, LOG)
    upload(site, "landing/acme/d1/good.jsonl", jsonl("fine"))
    journey.ingest_all(site)
    assert journey.states(site) == [("archived", ""), ("quarantined", "unsafe_key")]
    assert journey.keys_in(site.landing, "landing/") == []


def test_folder_markers_are_no_logs(site: Site) -> None:
    for key in ("landing/", "landing/acme/", "landing/acme/d1/"):
        upload(site, key, b"")
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    journey.ingest_all(site)
    assert deliveries(site) == {"acme/d1/a.jsonl": ("archived", None)}


def test_object_deleted_before_reading_has_vanished(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    upload(site, "landing/acme/d1/b.jsonl", jsonl("stays"))
    offered = journey.tick(site).offered
    site.landing.client.delete_object(Bucket=site.landing.bucket, Key="landing/acme/d1/a.jsonl")
    journey.ingest_offers(site, offered)
    assert deliveries(site) == {
        "acme/d1/a.jsonl": ("vanished", "deleted"),
        "acme/d1/b.jsonl": ("archived", None),
    }


def test_object_overwritten_before_reading_is_read_in_both_versions(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", LOG)
    offered = journey.tick(site).offered
    upload(site, "landing/acme/d1/a.jsonl", jsonl("newer"))
    journey.ingest_offers(site, offered)
    journey.ingest_all(site)
    assert journey.states(site) == [("archived", ""), ("archived", "")]
    assert sorted(rows(site, "select message from logbox.log_events")) == [
        ("armed",),
        ("disarmed",),
        ("newer",),
    ]
    assert journey.keys_in(site.landing) == []


def test_multipart_upload_is_proven_by_its_part_checksums(site: Site, tmp_path: Path) -> None:
    data = jsonl("x" * 1_000) * 6_000
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    config = boto3.s3.transfer.TransferConfig(multipart_threshold=1, multipart_chunksize=5 << 20)
    site.landing.client.upload_file(
        str(path),
        site.landing.bucket,
        "landing/acme/d1/a.jsonl",
        ExtraArgs={"ChecksumAlgorithm": "SHA256"},
        Config=config,
    )
    journey.ingest_all(site)
    assert rows(site, "select state, declared_by from logbox.deliveries") == [
        ("archived", "checksum")
    ]


def later(site: Site) -> Site:
    """The same site, six minutes on: past the grace of a sidecar."""
    return replace(site, now=lambda: datetime.now(UTC) + timedelta(minutes=6))


def sidecar(site: Site, data: bytes) -> None:
    text = f"{hashlib.sha256(data).hexdigest()}  a.jsonl\n".encode()
    upload(site, "landing/acme/d1/a.jsonl.sha256", text, declare=False)


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("its bytes must not be read")


def put_raw(site: Site, key: str | bytes, data: bytes) -> None:
    """A signed PUT whose path nobody tidies up on the way."""
    settings = site.settings
    path = quote(key, safe="/")
    sha256 = hashlib.sha256(data).hexdigest()
    request = AWSRequest(
        "PUT",
        f"{settings.s3_endpoint}/{site.landing.bucket}/{path}",
        data=data,
        headers={"x-amz-content-sha256": sha256, "x-amz-meta-sha256": sha256},
    )
    credentials = Credentials(settings.s3_access_key_id, settings.s3_secret_access_key)
    RawPath(credentials, "s3", settings.s3_region).add_auth(request)
    answer = URLLib3Session().send(request.prepare())
    assert answer.status_code == 200, answer.text


class RawPath(SigV4Auth):
    """Signs the path as it is, dots and double slashes included, as S3 wants it."""

    def _normalize_url_path(self, path: str) -> str:
        return path
