"""What every adapter of `core.ports.ObjectStore` must do; run on each one there is."""

import hashlib
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from logbox_pipeline.adapters.s3 import S3Bucket, s3_client
from logbox_pipeline.core.digest import from_base64, sha256_hex
from logbox_pipeline.core.errors import RequestFailed, SettingError, StoreRefused, TransientError
from logbox_pipeline.core.ports import ObjectStore
from logbox_pipeline_tests.conftest import Stack


def stack_client(stack: Stack) -> Any:
    return s3_client(
        endpoint=stack.s3_endpoint,
        region="us-east-1",
        access_key_id=stack.access_key_id,
        secret_access_key=stack.secret_access_key,
    )


def s3_bucket(stack: Stack, name: str) -> S3Bucket:
    bucket = S3Bucket(stack_client(stack), name)
    bucket.create(versioned=True)
    return bucket


ADAPTERS: list[Callable[[Stack, str], ObjectStore]] = [s3_bucket]


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest, stack: Stack, buckets: str) -> ObjectStore:
    made: ObjectStore = request.param(stack, f"{buckets}store")
    return made


def write(folder: Path, data: bytes) -> tuple[Path, str]:
    path = folder / "bytes"
    path.write_bytes(data)
    return path, sha256_hex(data)


def test_what_is_put_is_what_is_read(store: ObjectStore, tmp_path: Path) -> None:
    path, sha256 = write(tmp_path, b"x" * 3_000_000)
    put = store.put_file("a/b", path, sha256, metadata={"sha256": sha256})
    assert put is not None
    assert put.version_id
    download = store.download("a/b", tmp_path / "back")
    assert download is not None
    assert (download.sha256, download.size_bytes) == (sha256, 3_000_000)
    assert download.stored.metadata == {"sha256": sha256}
    assert download.stored.version_id == put.version_id
    assert (tmp_path / "back").read_bytes() == path.read_bytes()


def test_the_stores_own_checksum_is_the_digest(store: ObjectStore, tmp_path: Path) -> None:
    path, sha256 = write(tmp_path, b"abc")
    store.put_file("a", path, sha256)
    head = store.head("a")
    assert head is not None
    assert head.checksum_sha256 is not None
    assert from_base64(head.checksum_sha256) == sha256


def test_a_put_is_answered_with_the_checksum_that_proves_it(
    store: ObjectStore, tmp_path: Path
) -> None:
    for size_bytes in (0, 3, 3_000_000):
        path, sha256 = write(tmp_path, b"x" * size_bytes)
        put = store.put_file(f"a/{size_bytes}", path, sha256)
        assert put is not None
        assert put.checksum_sha256 is not None
        assert from_base64(put.checksum_sha256) == sha256


def test_a_small_body_goes_at_once_and_a_large_one_when_the_store_wants_it(
    stack: Stack, buckets: str, tmp_path: Path
) -> None:
    store = s3_bucket(stack, f"{buckets}store")
    asked: list[str | None] = []

    def note(request: Any, **_: Any) -> None:
        asked.append(request.headers.get("Expect"))

    store.client.meta.events.register("before-send.s3.PutObject", note)
    for size_bytes in (0, 3, 1024 * 1024):
        path, sha256 = write(tmp_path, b"x" * size_bytes)
        store.put_file("a", path, sha256)
    store.put_bytes("a", b"receipt")
    assert asked[:2] == [None, None]
    assert asked[2] in (b"100-continue", "100-continue")
    assert asked[3] is None


def test_bytes_damaged_on_their_way_are_not_kept(store: ObjectStore, tmp_path: Path) -> None:
    path, _ = write(tmp_path, b"abc")
    with pytest.raises(TransientError, match="BadDigest"):
        store.put_file("a", path, hashlib.sha256(b"abd").hexdigest())
    assert store.head("a") is None


def test_only_if_absent_leaves_what_is_there(store: ObjectStore, tmp_path: Path) -> None:
    store.put_bytes("a", b"first")
    path, sha256 = write(tmp_path, b"second")
    assert store.put_file("a", path, sha256, only_if_absent=True) is None
    found = store.read("a")
    assert found is not None
    assert found[0] == b"first"


def test_what_is_not_there_is_none_and_leaves_no_file(store: ObjectStore, tmp_path: Path) -> None:
    assert store.head("nothing") is None
    assert store.read("nothing") is None
    assert store.part_size("nothing", None) is None
    assert store.download("nothing", tmp_path / "back") is None
    assert not (tmp_path / "back").exists()
    store.delete("nothing")


def test_an_older_version_is_found_by_how_it_was_listed(store: ObjectStore, tmp_path: Path) -> None:
    store.put_bytes("a", b"first")
    (listed,) = store.list_page("a").objects
    store.put_bytes("a", b"second")
    version_id = store.find_version("a", listed.etag, listed.received_at)
    assert version_id is not None
    download = store.download("a", tmp_path / "back", version_id=version_id)
    assert download is not None
    assert (tmp_path / "back").read_bytes() == b"first"
    assert store.find_version("a", "0" * 32, listed.received_at) is None


def test_deleting_a_version_leaves_the_others(store: ObjectStore) -> None:
    first = store.put_bytes("a", b"first")
    store.put_bytes("a", b"second")
    store.delete("a", version_id=first.version_id)
    found = store.read("a")
    assert found is not None
    assert found[0] == b"second"


def test_deleting_many_versions_leaves_the_others(store: ObjectStore) -> None:
    keys = [f"k{number}" for number in range(3)] + ["with\x01control", "with <xml> & 'ä'"]
    wanted, newer = [], []
    for key in keys:
        wanted.append((key, store.put_bytes(key, b"first").version_id))
        newer.append((key, store.put_bytes(key, b"second").version_id))
    assert store.delete_all([*wanted, ("k0", "0" * 32), ("never was", None)]) == {}
    assert [store.head(key, version_id=version_id) for key, version_id in wanted] == [None] * 5
    for key in keys:
        found = store.read(key)
        assert found is not None
        assert found[0] == b"second"
    # Versions of such a key cannot be listed, so nothing else would empty the bucket.
    assert store.delete_all(newer) == {}
    assert store.delete_all([]) == {}


def test_what_cannot_be_deleted_is_told_apart(stack: Stack, buckets: str) -> None:
    store = S3Bucket(stack_client(stack), f"{buckets}deletes")
    store.client.create_bucket(Bucket=store.bucket, ObjectLockEnabledForBucket=True)
    away = s3_bucket(stack, f"{buckets}none")
    away.client.delete_bucket(Bucket=away.bucket)
    kept, gone = store.put_bytes("kept", b"x"), store.put_bytes("gone", b"x")
    held = {"Bucket": store.bucket, "Key": "kept", "VersionId": kept.version_id}
    store.client.put_object_legal_hold(**held, LegalHold={"Status": "ON"})
    failed = store.delete_all([("kept", kept.version_id), ("gone", gone.version_id)])
    store.client.put_object_legal_hold(**held, LegalHold={"Status": "OFF"})
    assert list(failed) == [("kept", kept.version_id)]
    assert isinstance(failed["kept", kept.version_id], StoreRefused)
    assert store.head("gone") is None
    assert isinstance(away.delete_all([("a", None)])["a", None], SettingError)


@pytest.mark.parametrize("told", [{"Key": "kept"}, {"Key": "?"}])
def test_what_cannot_be_deleted_is_never_taken_for_deleted(
    stack: Stack, buckets: str, monkeypatch: pytest.MonkeyPatch, told: dict[str, str]
) -> None:
    """Not every store repeats the version that it was asked for."""
    store = s3_bucket(stack, f"{buckets}terse")
    kept = store.put_bytes("kept", b"x")

    def refuse(**_: object) -> dict[str, object]:
        return {"Errors": [{"Code": "InternalError", **told}]}

    monkeypatch.setattr(store.client, "delete_objects", refuse)
    assert list(store.delete_all([("kept", kept.version_id)])) == [("kept", kept.version_id)]


def test_many_are_deleted_where_the_store_takes_one_at_a_time(
    stack: Stack, buckets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = s3_bucket(stack, f"{buckets}single")
    put = [store.put_bytes(f"k{number}", b"x") for number in range(3)]
    unknown = ClientError({"Error": {"Code": "NotImplemented"}}, "DeleteObjects")

    def refuse(**_: object) -> None:
        raise unknown

    monkeypatch.setattr(store.client, "delete_objects", refuse)
    wanted = [(f"k{number}", one.version_id) for number, one in enumerate(put)]
    assert store.delete_all(wanted) == {}
    assert not list(store.list_all(""))


def test_pages_follow_each_other_without_gap_or_repeat(store: ObjectStore) -> None:
    for number in range(7):
        store.put_bytes(f"p/{number}", b"x")
    store.put_bytes("q", b"x")
    first = store.list_page("p/", most=3)
    second = store.list_page("p/", after=first.objects[-1].key, most=3)
    third = store.list_page("p/", after=second.objects[-1].key, most=3)
    listed = [one.key for page in (first, second, third) for one in page.objects]
    assert listed == [f"p/{number}" for number in range(7)]
    assert (first.has_more, second.has_more, third.has_more) == (True, True, False)
    assert [one.key for one in store.list_all("p/")] == listed


def test_folders_are_listed_apart_from_loose_objects(store: ObjectStore) -> None:
    for key in ("l/a/1", "l/a/2", "l/b/1", "l/loose"):
        store.put_bytes(key, b"x")
    page = store.list_page("l/", folders=True)
    assert page.folders == ("l/a/", "l/b/")
    assert [one.key for one in page.objects] == ["l/loose"]


def test_a_copy_has_the_same_bytes_and_etag(store: ObjectStore) -> None:
    put = store.put_bytes("a", b"first")
    store.put_bytes("a", b"second")
    copied = store.copy_within("a", put.version_id, "b")
    found = store.read("b")
    assert found is not None
    assert found[0] == b"first"
    assert copied.etag == put.etag


@pytest.mark.parametrize("key", ["a\x07b", "ü/ñ", "a b+c%2F", "a/../b", "a//b", "a\\b"])
def test_odd_keys_come_back_as_they_went(store: ObjectStore, tmp_path: Path, key: str) -> None:
    store.put_bytes(key, b"odd")
    assert [one.key for one in store.list_all("a" if key[0] == "a" else "ü")] == [key]
    download = store.download(key, tmp_path / "back")
    assert download is not None
    store.delete(key, version_id=download.stored.version_id)
    assert store.head(key) is None


def test_a_store_that_is_away_is_transient(stack: Stack) -> None:
    gone = S3Bucket(
        s3_client(
            endpoint="http://127.0.0.1:9",
            region="us-east-1",
            access_key_id=stack.access_key_id,
            secret_access_key=stack.secret_access_key,
        ),
        "any",
    )
    with pytest.raises(TransientError, match="LOGBOX_S3_ENDPOINT"):
        gone.read("a")


def test_a_key_the_store_does_not_know_is_refused(stack: Stack) -> None:
    stranger = S3Bucket(
        s3_client(
            endpoint=stack.s3_endpoint,
            region="us-east-1",
            access_key_id="AKIAAAAAAAAAAAAAAAAA",
            secret_access_key="x" * 40,
        ),
        "any",
    )
    with pytest.raises(StoreRefused, match="LOGBOX_S3_ACCESS_KEY_ID"):
        stranger.read("a")


def test_a_bucket_that_is_not_there_names_the_settings(stack: Stack, buckets: str) -> None:
    nowhere = S3Bucket(s3_bucket(stack, f"{buckets}x").client, f"{buckets}nowhere")
    with pytest.raises(SettingError, match="LOGBOX_LANDING_BUCKET"):
        nowhere.read("a")


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_store_that_fails_is_asked_so_often_in_all(attempts: int) -> None:
    asked = []

    class Failing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_response(500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Failing) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        client = s3_client(
            endpoint=f"http://127.0.0.1:{server.server_port}",
            region="us-east-1",
            access_key_id="a",
            secret_access_key="b",
            attempts=attempts,
        )
        with pytest.raises(RequestFailed):
            S3Bucket(client, "bucket").head("key")
        server.shutdown()
        serving.join()
    assert len(asked) == attempts
