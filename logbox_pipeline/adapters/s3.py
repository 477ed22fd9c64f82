"""One S3 bucket behind `core.ports.ObjectStore`; boto3's errors become Logbox's here."""

import hashlib
import http.client
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from logbox_pipeline.core.digest import CHUNK_BYTES, sha256_hex, to_base64
from logbox_pipeline.core.errors import (
    LogboxError,
    ObjectSealed,
    PermanentError,
    RequestFailed,
    SettingError,
    StoreRefused,
)
from logbox_pipeline.core.ports import Download, ListedObject, Page, StoredObject

# An object may have some 2,000 metadata entries, of 2 KB in all (Amazon S3 User Guide, "Working
# with object metadata"), each a header. Python's own limit of 100 would make it unreadable for
# ever.
vars(http.client)["_MAXHEADERS"] = 5_000

MAX_CONNECTIONS = 32
_SMALL_BYTES = 16 * 1024 * 1024
_DELETE_MOST = 250
"""Keys of one DeleteObjects. S3 takes 1,000; the embedded store serves nobody else meanwhile."""

_DELETERS = 8

_GONE = {
    "404",
    "NoSuchKey",
    "NoSuchVersion",
    "NotFound",
    "ObjectLockConfigurationNotFoundError",
}
_TAKEN = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
_TRY_AGAIN = {
    "SlowDown",
    "RequestTimeout",
    "RequestTimeTooSkewed",
    # The bytes were damaged on their way; the next attempt reads them anew.
    "BadDigest",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}
_REFUSED = {
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "AuthorizationHeaderMalformed",
    "403",
    "401",
}

_SEALED = {"InvalidObjectState", "InvalidRequest", "400"}
"""What reading an object in cold storage answers, or one encrypted with a key that whoever wrote it
kept (SSE-C); HEAD has no body and only a status. The keys of KMS answer `KMS...Exception`, or
AccessDenied about `kms:Decrypt` (Amazon S3 API Reference, "Error responses")."""


def s3_client(
    *,
    endpoint: str | None,
    region: str,
    access_key_id: str | None,
    secret_access_key: str | None,
    read_timeout_s: float = 60,
    attempts: int = 4,
) -> Any:
    """A boto3 S3 client with our timeouts, which tries `attempts` times in all. It is safe to share
    between threads."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        config=Config(
            connect_timeout=5,
            read_timeout=read_timeout_s,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=MAX_CONNECTIONS,
            # The digests below are ours and stronger than the CRC boto3 would add.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if endpoint else "auto"},
        ),
    )
    client.meta.events.register("request-created.s3.PutObject", _send_at_once)
    return client


def _send_at_once(request: Any, **_: Any) -> None:
    """botocore asks before each body whether it may send it (Expect: 100-continue): a round trip
    that costs as much as a small body."""
    if int(request.headers.get("Content-Length", CHUNK_BYTES)) < CHUNK_BYTES:
        del request.headers["Expect"]


@dataclass(frozen=True)
class SettingNames:
    """The settings that lead to a store: what its errors tell people to look at."""

    endpoint: str
    access_key_id: str
    buckets: str


STORE_NAMES = SettingNames(
    "LOGBOX_S3_ENDPOINT",
    "LOGBOX_S3_ACCESS_KEY_ID",
    "LOGBOX_LANDING_BUCKET, LOGBOX_ARCHIVE_BUCKET and LOGBOX_LAKE_BUCKET",
)
REPLICA_NAMES = SettingNames(
    "LOGBOX_REPLICA_S3_ENDPOINT", "LOGBOX_REPLICA_ACCESS_KEY_ID", "LOGBOX_REPLICA_BUCKET"
)


class S3Bucket:
    """One bucket. Implements `core.ports.ObjectStore`, which documents the methods."""

    def __init__(self, client: Any, bucket: str, names: SettingNames = STORE_NAMES) -> None:
        self.client = client
        self.bucket = bucket
        self.names = names

    def list_page(
        self, prefix: str, *, after: str = "", folders: bool = False, most: int = 1000
    ) -> Page:
        asked = {"Bucket": self.bucket, "Prefix": prefix, "MaxKeys": most}
        if after:
            asked["StartAfter"] = after
        if folders:
            asked["Delimiter"] = "/"
        with self._translated("list", prefix):
            page = self.client.list_objects_v2(**asked)
        objects = tuple(
            ListedObject(
                found["Key"],
                found["ETag"].strip('"'),
                found["Size"],
                found["LastModified"].astimezone(UTC),
            )
            for found in page.get("Contents", ())
        )
        return Page(
            objects,
            tuple(found["Prefix"] for found in page.get("CommonPrefixes", ())),
            page.get("IsTruncated", False),
        )

    def list_all(self, prefix: str) -> Iterator[ListedObject]:
        after = ""
        while True:
            page = self.list_page(prefix, after=after)
            yield from page.objects
            if not page.has_more:
                return
            after = page.objects[-1].key

    def head(self, key: str, *, version_id: str | None = None) -> StoredObject | None:
        asked = {"Bucket": self.bucket, "Key": key, "ChecksumMode": "ENABLED"}
        if version_id:
            asked["VersionId"] = version_id
        try:
            with self._translated("head", key):
                return _stored(self.client.head_object(**asked))
        except _Gone:
            return None

    def part_size(self, key: str, version_id: str | None) -> int | None:
        asked: dict[str, Any] = {"Bucket": self.bucket, "Key": key, "PartNumber": 1}
        if version_id:
            asked["VersionId"] = version_id
        try:
            with self._translated("head", key):
                first = self.client.head_object(**asked)
        except _Gone:
            return None
        return int(first["ContentLength"]) if first.get("PartsCount") else None

    def find_version(self, key: str, etag: str, received_at: datetime) -> str | None:
        marker: dict[str, str] = {}
        while True:
            with self._translated("list versions of", key):
                page = self.client.list_object_versions(Bucket=self.bucket, Prefix=key, **marker)
            for version in page.get("Versions", ()):
                is_it = (
                    version["Key"] == key
                    and version["ETag"].strip('"') == etag
                    and version["LastModified"].astimezone(UTC) == received_at
                )
                if is_it:
                    return str(version["VersionId"])
            if not page.get("IsTruncated"):
                return None
            marker = {
                "KeyMarker": page["NextKeyMarker"],
                "VersionIdMarker": page["NextVersionIdMarker"],
            }

    def versions(self, key: str) -> list[str]:
        """Versions that can be read, the newest first. Not for keys with control characters."""
        found: list[str] = []
        marker: dict[str, str] = {}
        while True:
            with self._translated("list versions of", key):
                page = self.client.list_object_versions(Bucket=self.bucket, Prefix=key, **marker)
            found += [one["VersionId"] for one in page.get("Versions", ()) if one["Key"] == key]
            if not page.get("IsTruncated"):
                return found
            marker = {
                "KeyMarker": page["NextKeyMarker"],
                "VersionIdMarker": page["NextVersionIdMarker"],
            }

    def download(self, key: str, to: Path, *, version_id: str | None = None) -> Download | None:
        asked = {"Bucket": self.bucket, "Key": key, "ChecksumMode": "ENABLED"}
        if version_id:
            asked["VersionId"] = version_id
        digest, size_bytes = hashlib.sha256(), 0
        try:
            with self._translated("get", key), to.open("wb") as file:
                answer = self.client.get_object(**asked)
                for chunk in answer["Body"].iter_chunks(CHUNK_BYTES):
                    digest.update(chunk)
                    size_bytes += file.write(chunk)
        except _Gone:
            to.unlink()
            return None
        stored = _stored(answer)
        if size_bytes != stored.size_bytes:
            raise RequestFailed(
                f"s3://{self.bucket}/{key} broke off: expected {stored.size_bytes} bytes, "
                f"got {size_bytes}"
            )
        return Download(stored, digest.hexdigest(), size_bytes)

    def read(self, key: str) -> tuple[bytes, StoredObject] | None:
        try:
            with self._translated("get", key):
                answer = self.client.get_object(Bucket=self.bucket, Key=key)
                return answer["Body"].read(_SMALL_BYTES), _stored(answer)
        except _Gone:
            return None

    def chunks(self, key: str, *, version_id: str | None = None) -> Iterator[bytes]:
        """An object's bytes as they come; who has seen enough closes the iterator."""
        asked = {"Bucket": self.bucket, "Key": key}
        if version_id:
            asked["VersionId"] = version_id
        try:
            with (
                self._translated("get", key),
                closing(self.client.get_object(**asked)["Body"]) as body,
            ):
                yield from body.iter_chunks(CHUNK_BYTES)
        except _Gone:
            raise PermanentError(
                f"s3://{self.bucket}/{key} is missing", hint="see `logbox status`"
            ) from None

    def read_end(self, key: str, size_bytes: int) -> bytes | None:
        """The last `size_bytes` of an object (a Parquet footer); None when it is gone."""
        try:
            with self._translated("get", key):
                answer = self.client.get_object(
                    Bucket=self.bucket, Key=key, Range=f"bytes=-{size_bytes}"
                )
                return bytes(answer["Body"].read())
        except _Gone:
            return None

    def put_file(
        self,
        key: str,
        path: Path,
        sha256: str,
        *,
        metadata: Mapping[str, str] | None = None,
        only_if_absent: bool = False,
    ) -> StoredObject | None:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            return self._put(key, file, size_bytes, sha256, metadata or {}, only_if_absent)

    def put_new(self, key: str, data: bytes) -> StoredObject | None:
        """As `put_bytes`; None: something stood there already."""
        return self._put(key, data, len(data), sha256_hex(data), {}, True)

    def put_bytes(self, key: str, data: bytes) -> StoredObject:
        stored = self._put(key, data, len(data), sha256_hex(data), {}, False)
        assert stored is not None
        return stored

    def _put(
        self,
        key: str,
        body: Any,
        size_bytes: int,
        sha256: str,
        metadata: Mapping[str, str],
        only_if_absent: bool,
    ) -> StoredObject | None:
        asked: dict[str, Any] = {
            "Bucket": self.bucket,
            "Key": key,
            "Body": body,
            "ContentLength": size_bytes,
            "ChecksumSHA256": to_base64(sha256),
            "Metadata": dict(metadata),
        }
        if only_if_absent:
            asked["IfNoneMatch"] = "*"
        try:
            with self._translated("put", key):
                answer = self.client.put_object(**asked)
        except _Taken:
            return None
        confirmed = answer.get("ChecksumSHA256")
        if confirmed is not None and confirmed != to_base64(sha256):
            raise RequestFailed(
                f"s3://{self.bucket}/{key}: the store confirms checksum {confirmed}, "
                f"expected {to_base64(sha256)}"
            )
        return StoredObject(
            size_bytes,
            answer["ETag"].strip('"'),
            answer.get("VersionId"),
            datetime.now(UTC),
            confirmed,
            metadata,
        )

    def copy_within(self, source: str, version_id: str | None, target: str) -> StoredObject:
        origin = {"Bucket": self.bucket, "Key": source}
        if version_id:
            origin["VersionId"] = version_id
        with self._translated("copy", source):
            # The managed copy goes part by part above 5 GiB, CopyObject's limit.
            self.client.copy(origin, self.bucket, target)
        copied = self.head(target)
        if copied is None:
            raise RequestFailed(f"s3://{self.bucket}/{target} is not there after copying")
        return copied

    def delete(self, key: str, *, version_id: str | None = None) -> None:
        asked = {"Bucket": self.bucket, "Key": key}
        if version_id:
            asked["VersionId"] = version_id
        with suppress(_Gone), self._translated("delete", key):
            self.client.delete_object(**asked)

    def delete_all(
        self, wanted: Sequence[tuple[str, str | None]]
    ) -> dict[tuple[str, str | None], LogboxError]:
        failed: dict[tuple[str, str | None], LogboxError] = {}
        # XML cannot say what the others hold, and some stores fail on it.
        together = [one for one in wanted if one[0].isprintable()]
        alone = [one for one in wanted if not one[0].isprintable()]
        for start in range(0, len(together), _DELETE_MOST):
            lot = together[start : start + _DELETE_MOST]
            try:
                failed |= self._delete_lot(lot)
            except StoreRefused:
                # Not every store knows DeleteObjects.
                alone += lot
            except LogboxError as error:
                return failed | dict.fromkeys((*together[start:], *alone), error)

        def delete(one: tuple[str, str | None]) -> LogboxError | None:
            try:
                self.delete(one[0], version_id=one[1])
            except LogboxError as error:
                return error
            return None

        with ThreadPoolExecutor(_DELETERS) as threads:
            errors = dict(zip(alone, threads.map(delete, alone), strict=True))
        return failed | {one: error for one, error in errors.items() if error is not None}

    def _delete_lot(
        self, lot: Sequence[tuple[str, str | None]]
    ) -> dict[tuple[str, str | None], LogboxError]:
        objects = [
            {"Key": key, "VersionId": version_id} if version_id else {"Key": key}
            for key, version_id in lot
        ]
        with self._translated("delete", lot[0][0]):
            answer = self.client.delete_objects(
                Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True}
            )
        failed: dict[tuple[str, str | None], LogboxError] = {}
        for error in answer.get("Errors", ()):
            place = error["Key"], error.get("VersionId")
            where = f"s3://{self.bucket}/{error['Key']}"
            translated = _translation(
                ClientError({"Error": error}, "DeleteObjects"), "delete", where, self.names
            )
            if not isinstance(translated, _Gone):
                # Some stores do not repeat which version it was, or how the key was written.
                same_key = [one for one in lot if one[0] == place[0]]
                told = [place] if place in lot else same_key or lot
                failed |= dict.fromkeys(told, translated)
        return failed

    def versioning(self) -> str | None:
        """`Enabled`, `Suspended` or `` ``; None when the bucket does not exist."""
        try:
            with self._translated("read the versioning of", ""):
                answer = self.client.get_bucket_versioning(Bucket=self.bucket)
        except SettingError:
            return None
        return str(answer.get("Status", ""))

    def lock_days(self) -> int | None:
        """Days for which the bucket locks what is put into it; None when it has no object lock.

        0: the lock is there, but holds nothing by itself.
        """
        try:
            with self._translated("read the object lock of", ""):
                answer = self.client.get_object_lock_configuration(Bucket=self.bucket)
        except _Gone:
            return None
        kept = answer["ObjectLockConfiguration"].get("Rule", {}).get("DefaultRetention", {})
        return int(kept.get("Days", 365 * kept.get("Years", 0)))

    def create(self, *, versioned: bool, lock_days: int = 0) -> None:
        """Make the bucket, in the client's region.

        `lock_days`: nothing put into it can be deleted for so long, but by whoever may bypass
        governance (Amazon S3 User Guide, "Locking objects with Object Lock").
        """
        region = self.client.meta.region_name
        place = {} if region == "us-east-1" else {"LocationConstraint": region}
        with self._translated("create", ""):
            self.client.create_bucket(
                Bucket=self.bucket,
                **({"CreateBucketConfiguration": place} if place else {}),
                **({"ObjectLockEnabledForBucket": True} if lock_days else {}),
            )
            if versioned:
                self.client.put_bucket_versioning(
                    Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"}
                )
            if lock_days:
                self.client.put_object_lock_configuration(
                    Bucket=self.bucket,
                    ObjectLockConfiguration={
                        "ObjectLockEnabled": "Enabled",
                        "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": lock_days}},
                    },
                )

    @contextmanager
    def _translated(self, operation: str, key: str) -> Iterator[None]:
        """Turn boto3's errors into Logbox's."""
        try:
            yield
        except ClientError as error:
            where = f"s3://{self.bucket}/{key}"
            raise _translation(error, operation, where, self.names) from error
        except (BotoCoreError, HTTPClientError, ConnectionError, TimeoutError) as error:
            raise RequestFailed(
                f"could not {operation} s3://{self.bucket}/{key}: {error}",
                hint=f"see whether the store at {self.names.endpoint} is up",
            ) from error


class _Taken(LogboxError):
    """A conditional request found something in its place."""


class _Gone(LogboxError):
    """Nothing is there."""


def _translation(
    error: ClientError, operation: str, where: str, names: SettingNames
) -> LogboxError:
    said = error.response.get("Error", {})
    code = said.get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    message = f"could not {operation} {where}: {code} {said.get('Message', '')}"
    if code == "NoSuchBucket":
        return SettingError(
            f"bucket of {where} does not exist",
            hint=f"run `logbox setup`, or correct {names.buckets}",
        )
    if code in _TAKEN:
        return _Taken(message)
    is_read = operation in ("get", "head", "copy")
    if is_read and (code in _SEALED or code.startswith("KMS.") or "kms:Decrypt" in message):
        return ObjectSealed(
            message,
            hint="have it uploaded again: in class STANDARD, under no key of the drone's own",
        )
    if code in _REFUSED:
        return StoreRefused(message, hint=f"check {names.access_key_id}, its secret and its policy")
    if code in _GONE:
        return _Gone(message)
    if status >= 500 or code in _TRY_AGAIN:
        return RequestFailed(message)
    return StoreRefused(message)


def _stored(answer: Mapping[str, Any]) -> StoredObject:
    return StoredObject(
        int(answer["ContentLength"]),
        answer["ETag"].strip('"'),
        answer.get("VersionId"),
        answer["LastModified"].astimezone(UTC),
        answer.get("ChecksumSHA256"),
        answer.get("Metadata", {}),
    )
