"""What a step needs of an object store, as a Protocol; `contracts/` tests every adapter of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from logbox_pipeline.core.errors import LogboxError


@dataclass(frozen=True)
class ListedObject:
    """One line of a listing. `etag` is without quotes, `received_at` is UTC."""

    key: str
    etag: str
    size_bytes: int
    received_at: datetime


@dataclass(frozen=True)
class Page:
    """One page of a listing, in key order; `has_more` says whether keys follow the last."""

    objects: tuple[ListedObject, ...]
    folders: tuple[str, ...]
    has_more: bool


@dataclass(frozen=True)
class StoredObject:
    """What the store says of one version of an object. `checksum_sha256` is S3's base64 form,
    which ends in `-<parts>` when it is a checksum of part checksums."""

    size_bytes: int
    etag: str
    version_id: str | None
    received_at: datetime
    checksum_sha256: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Download:
    """Bytes that now stand in a file, hashed on the way."""

    stored: StoredObject
    sha256: str
    size_bytes: int


class ObjectStore(Protocol):
    """One bucket. Every method may raise TransientError or StoreRefused."""

    bucket: str

    def list_page(
        self, prefix: str, *, after: str = "", folders: bool = False, most: int = 1000
    ) -> Page:
        """Objects below `prefix` with keys greater than `after`."""

    def list_all(self, prefix: str) -> Iterator[ListedObject]:
        """Every object below `prefix`, page by page."""

    def head(self, key: str, *, version_id: str | None = None) -> StoredObject | None:
        """What stands at `key`; None when nothing does."""

    def part_size(self, key: str, version_id: str | None) -> int | None:
        """Size of the first part of a multipart object; None when the store does not say."""

    def find_version(self, key: str, etag: str, received_at: datetime) -> str | None:
        """The version that was once listed so, even when newer ones stand over it."""

    def download(self, key: str, to: Path, *, version_id: str | None = None) -> Download | None:
        """Read an object into a file; None when it is gone."""

    def read(self, key: str) -> tuple[bytes, StoredObject] | None:
        """A small object whole; None when nothing is there. At most 16 MiB."""

    def put_file(
        self,
        key: str,
        path: Path,
        sha256: str,
        *,
        metadata: Mapping[str, str] | None = None,
        only_if_absent: bool = False,
    ) -> StoredObject | None:
        """Write a file; the store checks `sha256`. None: something stood there already."""

    def put_bytes(self, key: str, data: bytes) -> StoredObject:
        """Write a small object; the store checks its SHA-256."""

    def copy_within(self, source: str, version_id: str | None, target: str) -> StoredObject:
        """Copy inside the bucket on the server's side."""

    def delete(self, key: str, *, version_id: str | None = None) -> None:
        """Delete that version, or what stands there now. Deleting nothing is fine."""

    def delete_all(
        self, wanted: Sequence[tuple[str, str | None]]
    ) -> dict[tuple[str, str | None], LogboxError]:
        """Delete (key, version id; None: what stands there now) by as few requests as the store
        and the keys allow. Raises nothing: returns what is not deleted, and why."""
