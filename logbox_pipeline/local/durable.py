"""Make MiniStack keep what it has acknowledged, through `kill -9` and loss of power.

MiniStack 1.5.33 (pinned: private functions are replaced and called here) writes objects without
fsync, swallows failed writes, and saves IAM and bucket settings only on a clean stop. Here, a
write is on disk before it is answered, and a write that failed is answered with an error.

An object is two files, its bytes and `<bytes>.meta.json`. Both are written aside (`.tmp`) and
synced before the first is renamed, so that `recover`, run before MiniStack reads the folder, can
finish or undo whatever a death left half:

    bytes.tmp stands               -> neither was renamed: drop both `.tmp`
    only meta.tmp, and it is whole -> the bytes were renamed: rename it too
    only meta.tmp, torn            -> it was alone in being rewritten: drop it

No network, no policy: see guard.py.
"""

import contextlib
import contextvars
import json
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.local.processes import sync_directory

log = logging.getLogger(__name__)

VERSION = "1.5.33"
ACCOUNT = "000000000000"

# The (bucket, key) of each write of the current request that did not reach the disk.
failed_writes: contextvars.ContextVar[list[tuple[str, str]] | None] = contextvars.ContextVar(
    "failed_writes", default=None
)

# The folders that the current request removed files from: synced once, before it is answered.
removed_from: contextvars.ContextVar[set[Path] | None] = contextvars.ContextVar(
    "removed_from", default=None
)


def check_version() -> None:
    """Refuse any MiniStack but the one whose private functions are known."""
    from importlib.metadata import version

    if version("ministack") != VERSION:
        raise LogboxError(
            f"the embedded S3 needs ministack {VERSION}, found {version('ministack')}",
            hint="pip install 'logbox-pipeline[pipeline]'",
        )


def recover(objects: Path) -> int:
    """Finish or undo half-written objects below a folder; returns how many there were."""
    found = 0
    for temporary in sorted(objects.rglob("*.tmp")) if objects.exists() else []:
        if temporary.name.endswith(".meta.json.tmp") and temporary.exists():
            meta = temporary.with_suffix("")
            data_temporary = meta.with_name(meta.name.removesuffix(".meta.json") + ".tmp")
            if not data_temporary.exists() and is_json(temporary):
                temporary.replace(meta)
            else:
                temporary.unlink()
                data_temporary.unlink(missing_ok=True)
            found += 1
    for temporary in sorted(objects.rglob("*.tmp")) if objects.exists() else []:
        if temporary.is_file():
            temporary.unlink()
            found += 1
    return found


def is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


def check_state(folder: Path) -> None:
    """Refuse to start on unreadable state: MiniStack would go on with none and then save that."""
    for path in sorted(folder.glob("*.json")):
        if not is_json(path):
            raise LogboxError(
                f"the embedded S3's state file {path} is not JSON",
                hint="restore it from a backup; deleting it forgets users, keys or bucket settings",
            )


def install() -> None:
    """Replace MiniStack's file writing by writing that lasts. Call once, after its import."""
    from ministack.core import persistence
    from ministack.services import s3

    persistence.save_state = lambda service, state: write_state(service, state)
    s3._atomic_write = write_file
    s3._persist_object = persist_object
    s3._persist_delete_marker = persist_delete_marker
    s3._persist_displaced_version = persist_displaced_version
    s3._delete_version_file = delete_version_file
    s3._delete_persisted_object = delete_object
    s3._remove_key_files = remove_key_files


def persist_object(bucket: str, key: str, obj: dict[str, Any]) -> None:
    """Replaces `s3._persist_object`: bytes and metadata together, or neither."""
    from ministack.services import s3

    with noting_failure(bucket, key):
        path = s3._object_disk_path(bucket, key)
        meta = {**s3._object_meta_from_record(obj), **s3._key_history_meta(bucket, key), "key": key}
        data = obj.get("body")
        # No body: the bytes on disk stand and only the metadata are written again.
        parts = {} if data is None else {Path(path): data}
        replace_files({**parts, Path(path + ".meta.json"): json.dumps(meta).encode()})
        obj["body"] = None
        base = f"{s3.DATA_DIR}/{s3.get_account_id()}/{bucket}"
        remove_key_files(s3._other_key_disk_path(base, key, path))


def persist_delete_marker(bucket: str, key: str, marker: dict[str, Any]) -> None:
    """Replaces `s3._persist_delete_marker`."""
    from ministack.services import s3

    with noting_failure(bucket, key):
        path = s3._object_disk_path(bucket, key)
        meta = {
            "is_delete_marker": True,
            "version_id": marker.get("version_id"),
            "last_modified": marker.get("last_modified", ""),
            **s3._key_history_meta(bucket, key),
            "key": key,
        }
        replace_files({Path(path + ".meta.json"): json.dumps(meta).encode()})


def persist_displaced_version(
    bucket: str, key: str, prior: dict[str, Any] | None, versioning: str
) -> None:
    """Replaces `s3._persist_displaced_version`: keeps the bytes that the next write covers."""
    from ministack.services import s3

    if versioning == "Suspended":
        delete_version_file(bucket, key, "null")
    version = (prior or {}).get("version_id") or "null"
    if prior is None or (versioning == "Suspended" and version == "null"):
        return
    with noting_failure(bucket, key):
        body = prior.get("body")
        source = Path(s3._object_disk_path(bucket, key))
        if body is None and not source.exists():
            log.error("the bytes of %s/%s were gone before they were overwritten", bucket, key)
            return
        # Not `s3._read_body`: it answers b"" when the file cannot be read.
        kept = source.read_bytes() if body is None else body
        replace_files({Path(s3._version_disk_path(bucket, key, version)): kept})


def delete_version_file(bucket: str, key: str, version: str) -> None:
    """Replaces `s3._delete_version_file`."""
    from ministack.services import s3

    with noting_failure(bucket, key):
        path = s3._version_disk_path(bucket, key, version)
        if path is not None:
            remove_files([Path(path)])


def delete_object(bucket: str, key: str) -> None:
    """Replaces `s3._delete_persisted_object`."""
    from ministack.services import s3

    with noting_failure(bucket, key):
        path = s3._object_disk_path(bucket, key)
        base = f"{s3.DATA_DIR}/{s3.get_account_id()}/{bucket}"
        remove_key_files(path)
        remove_key_files(s3._other_key_disk_path(base, key, path))


def remove_key_files(path: str | None) -> None:
    """Replaces `s3._remove_key_files`."""
    if path:
        remove_files([Path(path), Path(path + ".meta.json")])


def write_file(path: str, data: bytes | str, *, text: bool = False) -> None:
    """Replaces `s3._atomic_write`, for any caller that is not replaced itself."""
    replace_files({Path(path): data.encode() if isinstance(data, str) else data})


@contextlib.contextmanager
def noting_failure(bucket: str, key: str) -> Iterator[None]:
    """Tell the guard of a failed write; MiniStack's callers expect no exception here."""
    try:
        yield
    except Exception:
        log.exception("a write of %s/%s did not reach the disk", bucket, key)
        failures = failed_writes.get()
        if failures is not None:
            failures.append((bucket, key))


def replace_files(contents: dict[Path, bytes]) -> None:
    """Put files of one folder in place, in order: all written aside and synced, then renamed."""
    folder = next(iter(contents)).parent
    make_folders(folder)
    aside = {path: path.with_name(path.name + ".tmp") for path in contents}
    try:
        with contextlib.ExitStack() as opened:
            files = []
            for path, data in contents.items():
                fd = os.open(aside[path], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                file = opened.enter_context(os.fdopen(fd, "wb", buffering=0))
                written = 0
                while written < len(data):
                    written += file.write(memoryview(data)[written:])
                files.append(file)
            for file in files:
                os.fsync(file.fileno())
    except BaseException:
        for temporary in aside.values():
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise
    for path in contents:
        aside[path].replace(path)
    sync_directory(folder)


def remove_files(paths: list[Path]) -> None:
    changed = set()
    for path in paths:
        if path.is_file():
            path.unlink()
            changed.add(path.parent)
    waiting = removed_from.get()
    if waiting is not None:
        waiting.update(changed)
        return
    for folder in changed:
        sync_directory(folder)


def sync_removals() -> None:
    """Make last what the current request removed: a batch delete syncs each folder once."""
    waiting = removed_from.get() or set()
    while waiting:
        sync_directory(waiting.pop())


def make_folders(folder: Path) -> None:
    """Like mkdir -p, and each new folder is synced into its parent."""
    if not folder.is_dir():
        make_folders(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_directory(folder.parent)


def save_state(service: str) -> None:
    """Write a service's state (`iam`, `s3`, `sqs`) as MiniStack does on a clean stop, durably."""
    from ministack import app

    write_state(service, app._get_module(service).get_state())


def write_state(service: str, state: Any) -> None:
    """Replaces `persistence.save_state`, which swallows errors."""
    from ministack.core import persistence

    version = persistence._state_format_version(service)
    wrapped = {"__ministack_format__": version, "payload": state}
    text = json.dumps(wrapped, default=persistence._json_default)
    replace_files({Path(persistence.STATE_DIR) / f"{service}.json": text.encode()})


def reread_bucket(bucket: str) -> None:
    """Make memory say again what the disk says, after a write that failed."""
    from ministack.services import s3

    folder = Path(s3.DATA_DIR) / ACCOUNT / bucket
    recover(folder)
    entry = s3._buckets._data.get((ACCOUNT, bucket))
    if entry is None:
        return
    entry["objects"].clear()
    for store in (s3._object_versions, s3._object_tags, s3._object_acl, s3._object_annotations):
        for scoped in [k for k in store._data if k[0] == ACCOUNT and k[1][0] == bucket]:
            del store._data[scoped]
    if folder.is_dir():
        s3._load_persisted_bucket(ACCOUNT, bucket, str(folder))


def free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free
