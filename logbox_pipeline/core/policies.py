"""What a key may do: IAM user names and policy documents, as pure data. No I/O.

Names that enter a policy are of grammars without `*`, `?` and `$`, which IAM would read as
wildcards and variables; every function here refuses others.
"""

import hashlib
import re
from typing import Any

from logbox_pipeline.core import keys

IAM_PATH = "/logbox/"
MAX_IAM_USER = 64
"""IAM's own limit for user names."""

_VEHICLE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ANALYST = re.compile(r"[a-z][a-z0-9_]{0,30}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def is_vehicle_name(name: str) -> bool:
    return _VEHICLE.fullmatch(name) is not None and name not in (".", "..")


def is_analyst_name(name: str) -> bool:
    return _ANALYST.fullmatch(name) is not None


def client_user(client: str, vehicle: str | None = None) -> str:
    """The IAM user that holds a client's keys, or one vehicle's.

    A client's name has no dot, so `<client>.<vehicle>` is never another's. IAM does not tell upper
    from lower case and allows 64 characters: a vehicle that does not fit is named by its digest,
    after a `+`, which no vehicle's name has.
    """
    _require(client, vehicle)
    user = f"logbox-client-{client}"
    if vehicle is None:
        return user
    plain = f"{user}.{vehicle}"
    if vehicle == vehicle.lower() and len(plain) <= MAX_IAM_USER:
        return plain
    room = MAX_IAM_USER - len(user) - 1
    return f"{user}+{hashlib.sha256(vehicle.encode()).hexdigest()[: min(room, 16)]}"


def analyst_user(analyst: str) -> str:
    return f"logbox-analyst-{analyst}"


def client_policy(landing_bucket: str, client: str, vehicle: str | None = None) -> dict[str, Any]:
    """Add below its own folder, read its own receipts, nothing else.

    Receipts by digest are the whole client's: a vehicle's key reads them where it knows the digest.

    Copying from elsewhere needs s3:GetObject there, which it does not have.
    """
    _require(client, vehicle)
    bucket = _bucket_arn(landing_bucket)
    receipts = keys.receipts_prefix(client, vehicle)
    readable = [f"{bucket}/{receipts}*"]
    if vehicle is not None:
        readable.append(f"{bucket}/{keys.receipts_prefix(client, keys.DIGESTS)}*")
    return _policy(
        {
            "Sid": "AddLogs",
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
            "Resource": f"{bucket}/{keys.landing_prefix(client, vehicle)}*",
        },
        {
            "Sid": "ReadReceipts",
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": readable,
        },
        {
            "Sid": "ListReceipts",
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": bucket,
            "Condition": {"StringLike": {"s3:prefix": f"{receipts}*"}},
        },
    )


def analyst_policy(lake_bucket: str) -> dict[str, Any]:
    """Read and list the lake, nothing else."""
    bucket = _bucket_arn(lake_bucket)
    return _policy(
        {
            "Sid": "ReadLake",
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": f"{bucket}/*",
        },
        {
            "Sid": "ListLake",
            "Effect": "Allow",
            "Action": ["s3:ListBucket", "s3:GetBucketLocation"],
            "Resource": bucket,
        },
    )


def _policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _bucket_arn(bucket: str) -> str:
    if not _BUCKET.fullmatch(bucket):
        raise ValueError(f"{bucket!r} is no bucket's name")
    return f"arn:aws:s3:::{bucket}"


def _require(client: str, vehicle: str | None) -> None:
    if not keys.is_client_name(client):
        raise ValueError(f"{client!r} is no client's name")
    if vehicle is not None and not is_vehicle_name(vehicle):
        raise ValueError(f"{vehicle!r} is no vehicle's name")
