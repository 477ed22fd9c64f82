"""What a death in the middle of a write leaves, and what becomes of a write that fails."""

import hashlib
import resource
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from logbox_pipeline.local.durable import recover
from logbox_pipeline.local.processes import read_json


def test_neither_renamed_is_undone(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(b"old")
    (tmp_path / "k.meta.json").write_text('{"v": 1}')
    (tmp_path / "k.tmp").write_bytes(b"new")
    (tmp_path / "k.meta.json.tmp").write_text('{"v": 2}')
    assert recover(tmp_path) == 1
    assert contents(tmp_path) == {"k": b"old", "k.meta.json": b'{"v": 1}'}


def test_only_the_bytes_renamed_is_finished(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(b"new")
    (tmp_path / "k.meta.json").write_text('{"v": 1}')
    (tmp_path / "k.meta.json.tmp").write_text('{"v": 2}')
    assert recover(tmp_path) == 1
    assert contents(tmp_path) == {"k": b"new", "k.meta.json": b'{"v": 2}'}


def test_torn_metadata_is_undone(tmp_path: Path) -> None:
    (tmp_path / "k").write_bytes(b"old")
    (tmp_path / "k.meta.json").write_text('{"v": 1}')
    (tmp_path / "k.meta.json.tmp").write_text('{"v"')
    recover(tmp_path)
    assert contents(tmp_path) == {"k": b"old", "k.meta.json": b'{"v": 1}'}


def test_half_written_bytes_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "k.tmp").write_bytes(b"ne")
    assert recover(tmp_path) == 1
    assert contents(tmp_path) == {}
    assert recover(tmp_path) == 0


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("versioning", ["Enabled", None])
def test_a_write_that_fails_is_refused_and_changes_nothing(
    stack: Any, buckets: str, versioning: str | None
) -> None:
    s3 = stack.client()
    bucket = f"{buckets}full"
    s3.create_bucket(Bucket=bucket)
    if versioning:
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": versioning})
    s3.put_object(Bucket=bucket, Key="kept", Body=b"old", Metadata={"v": "1"})
    pid = read_json(stack.home / "stack.json")["object_store_pid"]
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    # Large enough for what other tests write meanwhile, too small for this.
    limit = 48 * 2**20
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        for key in ("kept", "new"):
            with pytest.raises(ClientError, match="ServiceUnavailable"):
                s3.put_object(Bucket=bucket, Key=key, Body=bytes(limit + 1), Metadata={"v": "2"})
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    found = s3.get_object(Bucket=bucket, Key="kept")
    assert (found["Body"].read(), found["Metadata"]) == (b"old", {"v": "1"})
    listed = s3.list_objects_v2(Bucket=bucket)
    assert [entry["Key"] for entry in listed["Contents"]] == ["kept"]
    s3.put_object(Bucket=bucket, Key="new", Body=b"now", IfNoneMatch="*")
    etag = s3.head_object(Bucket=bucket, Key="new")["ETag"].strip('"')
    assert etag == hashlib.md5(b"now").hexdigest()
