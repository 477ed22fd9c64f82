"""Users and access keys in IAM; boto3's errors become Logbox's here. No secret is kept."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from logbox_pipeline.core.errors import StoreRefused, TransientError, UsageError
from logbox_pipeline.core.policies import IAM_PATH

POLICY_NAME = "logbox"
MAX_KEYS = 2
"""IAM's own limit of access keys for one user."""

_TRY_AGAIN = {
    "ConcurrentModification",
    "EntityTemporarilyUnmodifiable",
    "RequestTimeTooSkewed",
    "ServiceFailure",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
}


@dataclass(frozen=True)
class AccessKey:
    """A key just made. The store never shows the secret again."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


class Iam:
    """An IAM endpoint. Every method may raise TransientError or StoreRefused."""

    def __init__(
        self,
        *,
        endpoint: str | None,
        region: str,
        access_key_id: str | None,
        secret_access_key: str | None,
    ) -> None:
        self._where = endpoint or "AWS IAM"
        with self._translated("reach IAM"):
            self._iam = boto3.client(
                "iam",
                endpoint_url=endpoint,
                region_name=region,
                aws_access_key_id=access_key_id,
                aws_secret_access_key=secret_access_key,
                config=Config(
                    connect_timeout=5,
                    read_timeout=30,
                    retries={"mode": "standard", "max_attempts": 3},
                ),
            )

    def ensure_user(self, user: str, policy: Mapping[str, Any]) -> None:
        """Make a user, or take it as it is, and give it this one policy."""
        try:
            with self._translated(f"make the IAM user {user}"):
                self._iam.create_user(UserName=user, Path=IAM_PATH)
        except _Exists:
            pass
        with self._translated(f"give the IAM user {user} its policy"):
            for name in self._policy_names(user):
                if name != POLICY_NAME:
                    self._iam.delete_user_policy(UserName=user, PolicyName=name)
            self._iam.put_user_policy(
                UserName=user, PolicyName=POLICY_NAME, PolicyDocument=json.dumps(policy)
            )

    def key_ids(self, user: str) -> list[str]:
        """The ids of its keys; empty also when there is no such user."""
        found: list[str] = []
        with self._translated(f"list the keys of the IAM user {user}"):
            for page in self._iam.get_paginator("list_access_keys").paginate(UserName=user):
                found += [key["AccessKeyId"] for key in page["AccessKeyMetadata"]]
        return found

    def create_key(self, user: str) -> AccessKey:
        """One more key of a user, who may have two.

        Raises UsageError when it has two.
        """
        with self._translated(f"make a key of the IAM user {user}"):
            made = self._iam.create_access_key(UserName=user)["AccessKey"]
            return AccessKey(made["AccessKeyId"], made["SecretAccessKey"])
        raise StoreRefused(
            f"there is no IAM user {user} at {self._where}",
            hint="revoke the key and add it anew",
        )

    def delete_key(self, user: str, access_key_id: str) -> None:
        """Take a key away; it is fine when it is gone."""
        with self._translated(f"delete a key of the IAM user {user}"):
            self._iam.delete_access_key(UserName=user, AccessKeyId=access_key_id)

    def delete_user(self, user: str) -> None:
        """Take a user and all its keys away; it is fine when they are gone."""
        for access_key_id in self.key_ids(user):
            self.delete_key(user, access_key_id)
        with self._translated(f"delete the IAM user {user}"):
            for name in self._policy_names(user):
                self._iam.delete_user_policy(UserName=user, PolicyName=name)
            self._iam.delete_user(UserName=user)

    def _policy_names(self, user: str) -> list[str]:
        return list(self._iam.list_user_policies(UserName=user)["PolicyNames"])

    @contextmanager
    def _translated(self, act: str) -> Iterator[None]:
        """Turn boto3's errors into Logbox's; swallow only that a thing is not there."""
        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            said = f"could not {act}: {code} {error.response['Error'].get('Message', '')}"
            if code == "NoSuchEntity":
                return
            if code == "EntityAlreadyExists":
                raise _Exists(said) from error
            if code == "LimitExceeded":
                raise UsageError(
                    said, hint=f"a user has {MAX_KEYS} keys at most: finish or revoke one"
                ) from error
            if status >= 500 or code in _TRY_AGAIN:
                raise TransientError(said) from error
            raise StoreRefused(
                said,
                hint="check LOGBOX_IAM_ENDPOINT, and that LOGBOX_S3_ACCESS_KEY_ID may manage "
                f"users below {IAM_PATH}",
            ) from error
        except (BotoCoreError, ValueError) as error:
            raise TransientError(
                f"could not {act}: {error}",
                hint=f"see whether IAM at {self._where} is up (LOGBOX_IAM_ENDPOINT)",
            ) from error


def caller_arn(
    *,
    endpoint: str | None,
    region: str,
    access_key_id: str | None,
    secret_access_key: str | None,
) -> str:
    """The ARN by which the store knows these credentials, from STS.

    Raises TransientError or StoreRefused.
    """
    try:
        sts = boto3.client(
            "sts",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            config=Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 2}),
        )
        return str(sts.get_caller_identity()["Arn"])
    except ClientError as error:
        raise StoreRefused(f"STS does not say who we are: {error}") from error
    except (BotoCoreError, ValueError) as error:
        raise TransientError(f"STS does not answer: {error}") from error


class _Exists(StoreRefused):
    """A thing of that name is there."""
