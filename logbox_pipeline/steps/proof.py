"""Put bytes into a store and prove that they are there: by the store's own digest, or by a second
look."""

from pathlib import Path

from logbox_pipeline.adapters.catalog_drifts import record_drift
from logbox_pipeline.core.digest import from_base64
from logbox_pipeline.core.errors import RequestFailed
from logbox_pipeline.core.ports import ObjectStore, StoredObject
from logbox_pipeline.steps.site import Site


def put_proven(
    site: Site,
    store: ObjectStore,
    place: str,
    key: str,
    path: Path,
    sha256: str,
    client: str | None,
) -> tuple[StoredObject, bool]:
    """(the version of `key` that is proven to be these bytes, whether it was put now).

    Never trusts a name: other bytes that stand there are a drift in `place`, of
    `client` (None: the journal's), and get a new version.
    """
    put = store.put_file(key, path, sha256, only_if_absent=True)
    if put is not None:
        return proven(store, key, path, sha256, put), True
    there = store.head(key)
    if there is not None and is_proven(store, key, path, sha256, there):
        return there, False
    # Nothing there: the store refused our put for another's that has not come through.
    if there is not None:
        with site.transaction() as cursor:
            record_drift(
                cursor,
                "mismatch",
                place,
                key,
                expected=f"{path.stat().st_size} bytes, {sha256}",
                found=f"{there.size_bytes} bytes, checksum {there.checksum_sha256}",
                now=site.now(),
                client=client,
            )
    replaced = store.put_file(key, path, sha256)
    assert replaced is not None
    return proven(store, key, path, sha256, replaced), True


def proven(
    store: ObjectStore, key: str, path: Path, sha256: str, put: StoredObject
) -> StoredObject:
    """What was just put, once the store shows it to be the bytes at `path`.

    Raises RequestFailed when it does not: nothing may be deleted on the strength of it.
    """
    stored: StoredObject | None = put
    if put.checksum_sha256 is None:
        stored = store.head(key, version_id=put.version_id)
    if stored is None or not is_proven(store, key, path, sha256, stored):
        raise RequestFailed(
            f"s3://{store.bucket}/{key} was put but does not read back as {sha256}",
            hint="what it was made from stays where it is; it is tried again by itself",
        )
    return stored


def is_proven(store: ObjectStore, key: str, path: Path, sha256: str, stored: StoredObject) -> bool:
    """Whether what stands at `key` is the bytes at `path`; read again where no checksum says so."""
    size_bytes = path.stat().st_size
    return holds(store, key, stored, sha256, size_bytes, path.with_suffix(".again"))


def holds(
    store: ObjectStore,
    key: str,
    stored: StoredObject,
    sha256: str,
    size_bytes: int,
    scratch: Path,
) -> bool:
    """Whether this version of `key` has that digest and size. Where no checksum says so, it is
    read again, into `scratch`, which is removed."""
    if stored.size_bytes != size_bytes:
        return False
    if stored.checksum_sha256 is not None and (found := from_base64(stored.checksum_sha256)):
        return found == sha256
    download = store.download(key, scratch, version_id=stored.version_id)
    scratch.unlink(missing_ok=True)
    return download is not None and download.sha256 == sha256
