"""What a drone's key can do to the store itself: seal objects, lie about sizes and digests, leave
parts behind. Each costs the one delivery, and nobody else's."""

import hashlib
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from logbox_pipeline.adapters.catalog_retry import Choice
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core.ports import ListedObject, Page, StoredObject
from logbox_pipeline.steps.judge import judge
from logbox_pipeline.steps.release import release
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.journey import deliveries, jsonl, one, rows, tick, upload

SEALS: dict[str, dict[str, str]] = {
    "cold": {"StorageClass": "GLACIER"},
    "colder": {"StorageClass": "DEEP_ARCHIVE"},
    "own_key": {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32},
}
"""Ways to put an object that PutObject allows, and that no GET of ours gives back."""

GIB = 1024**3


def put(site: Site, key: str, data: bytes, **how: Any) -> None:
    site.landing.client.put_object(Bucket=site.landing.bucket, Key=key, Body=data, **how)


def test_objects_that_the_store_gives_back_to_nobody_cost_no_second_run(site: Site) -> None:
    for name, how in SEALS.items():
        put(site, f"landing/acme/d1/{name}.jsonl", jsonl(name), **how)
    # A sidecar is the drone's as well, and so is what is refused for its key.
    upload(site, "landing/acme/d1/aside.jsonl", jsonl("aside"), declare=False)
    put(site, "landing/acme/d1/aside.jsonl.sha256", b"0" * 64, StorageClass="GLACIER")
    put(site, "landing/ghost/d1/x.jsonl", jsonl("ghost"), StorageClass="GLACIER")
    for number in range(5):
        upload(site, f"landing/beta/d1/{number}.jsonl", jsonl(f"beta {number}"))
    (batch,) = tick(site).offered
    journey.ingest_offers(site, [batch])
    assert rows(site, "select state, attempt, failures from logbox.batches") == [("finished", 1, 0)]
    sealed = {f"acme/d1/{name}.jsonl" for name in (*SEALS, "aside")} | {"ghost/d1/x.jsonl"}
    assert deliveries(site) == dict.fromkeys(sealed, ("quarantined", "sealed")) | {
        f"beta/d1/{number}.jsonl": ("archived", None) for number in range(5)
    }
    # Nothing is deleted that nobody could copy.
    assert {key.removeprefix("landing/") for key in journey.keys_in(site.landing, "landing/")} == {
        *sealed,
        "acme/d1/aside.jsonl.sha256",
    }
    (refusals,) = [one for one in judge(site) if one.check == "no_open_refusals"]
    assert {row["reason"] for row in refusals.rows} == {"sealed"}
    assert tick(site).offered == ()


def test_a_sealed_object_that_is_uploaded_again_or_opened_goes_its_way(site: Site) -> None:
    put(site, "landing/acme/d1/a.jsonl", jsonl("cold"), StorageClass="GLACIER")
    journey.ingest_all(site)
    time.sleep(1.1)  # listings tell times to the second
    upload(site, "landing/acme/d1/a.jsonl", jsonl("warm"))
    journey.ingest_all(site)
    assert sorted(rows(site, "select state, reason from logbox.deliveries"), key=str) == [
        ("archived", None),
        ("quarantined", "sealed"),
    ]
    # Released while it is sealed still: looked at once more, and refused once more.
    release(site, Choice(reason="sealed"), "they say it is open now")
    journey.ingest_all(site)
    assert one(site, "select count(*) from logbox.deliveries where reason = 'sealed'") == 1


def test_a_sidecar_of_any_size_is_read_to_its_beginning_only(site: Site) -> None:
    log = jsonl("with a sidecar")
    digest = hashlib.sha256(log).hexdigest()
    long = f"{digest}  a.jsonl\n".encode() + b"x" * (40 * 1024**2)
    upload(site, "landing/acme/d1/a.jsonl", log, declare=False)
    upload(site, "landing/acme/d1/a.jsonl.sha256", long, declare=False)
    read = site.landing.read("landing/acme/d1/a.jsonl.sha256")
    assert read is not None
    assert len(read[0]) == 16 * 1024**2
    journey.ingest_all(site)
    assert deliveries(site) == {"acme/d1/a.jsonl": ("archived", None)}
    assert journey.keys_in(site.landing, "landing/") == []


NOT_DIGESTS = {
    "sql": b"'; drop table logbox.deliveries; --",
    "shell": b"$(touch /tmp/hostile) `id`",
    "markup": b"<script>alert(1)</script>",
    "terminal": b"\x1b[2J\x1b]0;owned\x07\r\n\r\n",
    "nul": b"\x00" * 64,
    "not_text": b"\xff\xfe" * 32,
    "bidi": "\u202e".encode() * 20,
    "one_long_word": b"a" * 100_000,
    "nothing": b"",
    "lines": b"\n" * 5_000,
    "another": hashlib.sha256(b"another").hexdigest().encode(),
}


def test_sidecars_and_metadata_that_are_no_digest_are_a_mismatch_in_printable_words(
    site: Site,
) -> None:
    for name, said in NOT_DIGESTS.items():
        upload(site, f"landing/acme/side/{name}", jsonl(name), declare=False)
        upload(site, f"landing/acme/side/{name}.sha256", said, declare=False)
        if said.isascii() and said.decode().isprintable():
            declared = said[:1_500].decode()
            upload(site, f"landing/acme/meta/{name}", jsonl(f"{name} 2"), sha256=declared)
    journey.ingest_all(site)
    assert set(deliveries(site).values()) == {("quarantined", "mismatch")}
    details = [detail for (detail,) in rows(site, "select detail from logbox.deliveries")]
    assert all(len(each) < 400 and each.isprintable() for each in details)
    declared_digests = rows(site, "select distinct declared_sha256 from logbox.deliveries")
    assert {said for (said,) in declared_digests} == {None, NOT_DIGESTS["another"].decode()}


class Restless(S3Bucket):
    """A landing bucket whose drone writes each sidecar anew whenever it was read."""

    def read(self, key: str, **asked: Any) -> Any:
        found = super().read(key, **asked)
        if key.endswith(".sha256"):
            said = hashlib.sha256(str(time.monotonic()).encode()).hexdigest()
            self.client.put_object(Bucket=self.bucket, Key=key, Body=said.encode())
        return found


def test_a_sidecar_that_never_says_the_same_keeps_nobody_else_waiting(site: Site) -> None:
    upload(site, "landing/acme/d1/a.jsonl", jsonl("restless"), declare=False)
    put(site, "landing/acme/d1/a.jsonl.sha256", b"0" * 64)
    upload(site, "landing/beta/d1/b.jsonl", jsonl("patient"))
    landing = site.landing
    restless = Restless(landing.client, landing.bucket)
    journey.ingest_all(replace(site, landing=restless))
    assert deliveries(site) == {
        "acme/d1/a.jsonl": ("quarantined", "mismatch"),
        "beta/d1/b.jsonl": ("archived", None),
    }
    assert rows(site, "select attempt, transient_failures from logbox.batches") == [(1, 0)]


class Claims(S3Bucket):
    """A landing bucket that says of one object that it is larger than any disk here. MiniStack
    cannot hold 50 GB, and no test can send them: what counts is that Logbox acts on the size it is
    told before it reads, and an object of that size has an etag of parts."""

    size_bytes = 50 * GIB

    def list_page(self, prefix: str, **asked: Any) -> Page:
        page = super().list_page(prefix, **asked)
        return replace(page, objects=tuple(self._claimed(one) for one in page.objects))

    def head(self, key: str, *, version_id: str | None = None) -> StoredObject | None:
        found = super().head(key, version_id=version_id)
        if found is None or not key.endswith("huge.ulg"):
            return found
        return replace(found, size_bytes=self.size_bytes, etag="e" * 32 + "-6400")

    def download(self, key: str, *more: Any, **asked: Any) -> Any:
        assert not key.endswith("huge.ulg"), "its bytes must not be read"
        return super().download(key, *more, **asked)

    def copy_within(self, source: str, version_id: str | None, target: str) -> StoredObject:
        # Copied by parts of another size, as the store would: another etag.
        return replace(super().copy_within(source, version_id, target), etag="c" * 32 + "-9")

    def _claimed(self, one: ListedObject) -> ListedObject:
        if not one.key.endswith("huge.ulg"):
            return one
        return replace(one, size_bytes=self.size_bytes, etag="e" * 32 + "-6400")


def test_fifty_gigabytes_are_refused_unread_and_alone(site: Site) -> None:
    upload(site, "landing/acme/d1/huge.ulg", b"ULog")
    upload(site, "landing/beta/d1/b.jsonl", jsonl("beta"))
    landing = Claims(site.landing.client, site.landing.bucket)
    site = replace(site, landing=cast("S3Bucket", landing))
    offered = tick(site).offered
    # It fills a batch by itself: the other client's log does not travel with it.
    assert rows(site, "select files from logbox.batches") == [(1,), (1,)]
    journey.ingest_offers(site, offered)
    assert deliveries(site) == {
        "acme/d1/huge.ulg": ("quarantined", "too_large"),
        "beta/d1/b.jsonl": ("archived", None),
    }
    detail = one(site, "select detail from logbox.deliveries where reason = 'too_large'")
    assert f"{50 * GIB} bytes" in detail
    # Copied by the store in other parts than it was sent in: nothing proves the copy.
    assert "landing/acme/d1/huge.ulg" in journey.keys_in(site.landing, "landing/")


def test_parts_never_completed_are_no_delivery_and_slow_nobody(site: Site) -> None:
    s3, bucket = site.landing.client, site.landing.bucket
    for number in range(50):
        where = {"Bucket": bucket, "Key": f"landing/acme/d1/never-{number}.ulg"}
        upload_id = s3.create_multipart_upload(**where)["UploadId"]
        for part in (1, 2, 10_000):
            s3.upload_part(**where, UploadId=upload_id, PartNumber=part, Body=b"ULog")
    upload(site, "landing/beta/d1/b.jsonl", jsonl("beta"))
    seen = tick(site)
    assert (seen.listed, seen.new) == (1, 1)
    journey.ingest_offers(site, seen.offered)
    assert deliveries(site) == {"beta/d1/b.jsonl": ("archived", None)}


def test_an_object_of_parts_without_bytes_is_empty(site: Site) -> None:
    s3 = site.landing.client
    where = {"Bucket": site.landing.bucket, "Key": "landing/acme/d1/parts.ulg"}
    upload_id = s3.create_multipart_upload(**where)["UploadId"]
    etag = s3.upload_part(**where, UploadId=upload_id, PartNumber=1, Body=b"")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(**where, UploadId=upload_id, MultipartUpload=parts)
    upload(site, "landing/beta/d1/b.jsonl", jsonl("beta"))
    journey.ingest_all(site)
    late = replace(site, now=lambda: datetime.now(UTC) + timedelta(minutes=6))
    journey.ingest_all(late)
    assert deliveries(site) == {
        "acme/d1/parts.ulg": ("quarantined", "empty"),
        "beta/d1/b.jsonl": ("archived", None),
    }


HEADERS: dict[str, dict[str, Any]] = {
    "type": {"ContentType": "text/html; charset='><script>alert(1)</script>"},
    "encoding": {"ContentEncoding": "gzip"},
    "name": {"ContentDisposition": 'attachment; filename="../../etc/passwd"'},
    "cache": {"CacheControl": "'; drop table logbox.logs; --"},
    "redirect": {"WebsiteRedirectLocation": "https://example.org/"},
    "expires": {"Expires": datetime(9999, 12, 31, tzinfo=UTC)},
    "metadata": {"Metadata": {f"m{number}": "'\"<$(id)>`" for number in range(20)}},
    "entries": {"Metadata": {f"m{number}": "x" for number in range(300)}},
}


def test_headers_of_an_object_change_nothing(site: Site) -> None:
    for name, headers in HEADERS.items():
        log = jsonl(name)
        metadata = headers.get("Metadata", {}) | {"sha256": hashlib.sha256(log).hexdigest()}
        put(site, f"landing/acme/d1/{name}", log, **(headers | {"Metadata": metadata}))
    journey.ingest_all(site)
    assert set(deliveries(site).values()) == {("archived", None)}
    messages = rows(site, "select message from logbox.log_events")
    assert {message for (message,) in messages} == HEADERS.keys()
