import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from logbox_pipeline.adapters.iam import Iam
from logbox_pipeline.core.keys import digest_receipt_key, receipt_key
from logbox_pipeline.core.policies import client_policy, client_user
from logbox_pipeline.drone.target import Target
from logbox_pipeline.drone.uploader import Uploader
from logbox_pipeline_tests.conftest import Stack
from logbox_pipeline_tests.drone.signer import Signer, receipt_fields

PART = 5 * 1024**2
SIGNER = Signer(b"logbox's secret, 32 bytes long..")


@dataclass(frozen=True)
class Landing:
    """A landing bucket, a client's key to it, and the administrator's eyes."""

    target: Target
    admin: Any
    iam: Iam
    signer: Signer = SIGNER

    @property
    def prefix(self) -> str:
        return f"landing/{self.target.client}/"

    def uploader(self, endpoint: str | None = None, **options: Any) -> Uploader:
        """An uploader in a hurry; files of 6 MB and more go in parts."""
        target = replace(self.target, endpoint=endpoint or self.target.endpoint)
        defaults: dict[str, Any] = {
            "sleep": lambda seconds: None,
            "multipart_bytes": PART + 1,
            "part_bytes": PART,
            "read_timeout_s": 10,
        }
        return Uploader(target, **(defaults | options))

    def stored(self) -> dict[str, bytes]:
        """Everything in the bucket, by what follows the client's folder."""
        listed = self.admin.list_objects_v2(Bucket=self.target.bucket).get("Contents", [])
        return {
            one["Key"].removeprefix(self.prefix): self.admin.get_object(
                Bucket=self.target.bucket, Key=one["Key"]
            )["Body"].read()
            for one in listed
        }

    def head(self, name: str) -> Any:
        return self.admin.head_object(
            Bucket=self.target.bucket, Key=self.prefix + name, ChecksumMode="ENABLED"
        )

    def versions(self) -> int:
        listed = self.admin.list_object_versions(Bucket=self.target.bucket)
        return len(listed.get("Versions", []))

    def open_uploads(self) -> int:
        listed = self.admin.list_multipart_uploads(Bucket=self.target.bucket)
        return len(listed.get("Uploads", []))

    def put_receipt(self, name: str, data: bytes, *, at: str = "digest", **changes: Any) -> bytes:
        """Logbox's word about `data`, uploaded as `name`; `at`: `digest`, `key`, or any key."""
        digest = hashlib.sha256(data).hexdigest()
        landing_key = self.prefix + name
        fields = receipt_fields(self.target.client, landing_key, digest, **changes)
        stored = self.signer.stored(fields)
        self.put_stored(name, data, stored, at=at)
        return stored

    def put_stored(self, name: str, data: bytes, stored: bytes, *, at: str = "digest") -> None:
        digest = hashlib.sha256(data).hexdigest()
        places = {
            "digest": digest_receipt_key(self.target.client, digest),
            "key": receipt_key(self.prefix + name),
        }
        self.admin.put_object(Bucket=self.target.bucket, Key=places.get(at, at), Body=stored)

    def logs(self) -> set[str]:
        """The names in landing."""
        return {name for name in self.stored() if not name.startswith("receipts/")}

    def env_lines(self) -> str:
        target = self.target
        return (
            f"LOGBOX_CLIENT={target.client}\n"
            f"LOGBOX_CLIENT_ACCESS_KEY_ID={target.access_key_id}\n"
            f"LOGBOX_CLIENT_SECRET_ACCESS_KEY={target.secret_access_key}\n"
            f"LOGBOX_LANDING_BUCKET={target.bucket}\n"
            f"LOGBOX_S3_ENDPOINT={target.endpoint}\n"
            f"LOGBOX_S3_REGION={target.region}\n"
            f"LOGBOX_RECEIPT_PUBLIC_KEY={self.signer.public_text}\n"
        )


@pytest.fixture
def landing(stack: Stack, buckets: str) -> Iterator[Landing]:
    admin = stack.client()
    bucket, client = f"{buckets}landing", f"drone-{secrets.token_hex(4)}"
    admin.create_bucket(Bucket=bucket)
    admin.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    iam = Iam(
        endpoint=stack.iam_endpoint,
        region="us-east-1",
        access_key_id=stack.access_key_id,
        secret_access_key=stack.secret_access_key,
    )
    iam.ensure_user(client_user(client), client_policy(bucket, client))
    key = iam.create_key(client_user(client))
    target = Target(
        client,
        bucket,
        key.access_key_id,
        key.secret_access_key,
        endpoint=stack.s3_endpoint,
        receipt_keys=SIGNER.known,
    )
    yield Landing(target, admin, iam)
    iam.delete_user(client_user(client))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A small log."""
    path = tmp_path / "flight.ulg"
    path.write_bytes(b"ULog" + secrets.token_bytes(200_000))
    return path


@pytest.fixture
def big_log(tmp_path: Path) -> Path:
    """A log that goes in three parts."""
    path = tmp_path / "long.ulg"
    path.write_bytes(b"ULog" + secrets.token_bytes(2 * PART + 1000))
    return path
