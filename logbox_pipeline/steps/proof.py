"""Proof that an object in a store is these bytes: the store's own digest, or a second look."""

from pathlib import Path

from logbox_pipeline.core.digest import from_base64
from logbox_pipeline.core.errors import TransientError
from logbox_pipeline.core.ports import ObjectStore, StoredObject


def proven(
    store: ObjectStore, key: str, path: Path, sha256: str, put: StoredObject
) -> StoredObject:
    """What was just put, once the store shows it to be the bytes at `path`.

    Raises TransientError when it does not: nothing may be deleted on the strength of it.
    """
    stored: StoredObject | None = put
    if put.checksum_sha256 is None:
        stored = store.head(key, version_id=put.version_id)
    if stored is None or not is_proven(store, key, path, sha256, stored):
        raise TransientError(
            f"s3://{store.bucket}/{key} was put but does not read back as {sha256}",
            hint="the object stays in landing; the batch is tried again by itself",
        )
    return stored


def is_proven(store: ObjectStore, key: str, path: Path, sha256: str, stored: StoredObject) -> bool:
    """Whether what stands at `key` is the bytes at `path`; read again where no checksum says so."""
    if stored.size_bytes != path.stat().st_size:
        return False
    if stored.checksum_sha256 is not None and (found := from_base64(stored.checksum_sha256)):
        return found == sha256
    again = path.with_suffix(".again")
    download = store.download(key, again, version_id=stored.version_id)
    again.unlink(missing_ok=True)
    return download is not None and download.sha256 == sha256
