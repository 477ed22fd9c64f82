"""What a key may do, asked of the real store: the policies, and the adapter that gives them."""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from logbox_pipeline.adapters.iam import AccessKey, Iam
from logbox_pipeline.core.errors import StoreRefused, TransientError
from logbox_pipeline.core.keys import digest_receipt_key
from logbox_pipeline.core.policies import (
    analyst_policy,
    analyst_user,
    client_policy,
    client_user,
)
from logbox_pipeline_tests.conftest import Stack

PART = b"p" * (5 * 1024**2)
BODY = b"a log"
DIGEST = "d" * 64


@dataclass(frozen=True)
class Field:
    """Three buckets with something in each, and two clients `acme` and `acme-2`."""

    stack: Stack
    iam: Iam
    landing: str
    lake: str
    acme: str
    other: str

    def s3(self, key: AccessKey) -> Any:
        return self.stack.client(
            aws_access_key_id=key.access_key_id, aws_secret_access_key=key.secret_access_key
        )

    def client(self, client: str, vehicle: str | None = None) -> Any:
        user = client_user(client, vehicle)
        self.iam.ensure_user(user, client_policy(self.landing, client, vehicle))
        return self.s3(self.iam.create_key(user))


@pytest.fixture
def iam(stack: Stack) -> Iam:
    return Iam(
        endpoint=stack.iam_endpoint,
        region="us-east-1",
        access_key_id=stack.access_key_id,
        secret_access_key=stack.secret_access_key,
    )


@pytest.fixture
def field(stack: Stack, buckets: str, iam: Iam) -> Iterator[Field]:
    admin = stack.client()
    landing, lake = f"{buckets}landing", f"{buckets}lake"
    for bucket in (landing, lake):
        admin.create_bucket(Bucket=bucket)
    admin.put_bucket_versioning(Bucket=landing, VersioningConfiguration={"Status": "Enabled"})
    acme = f"acme-{secrets.token_hex(4)}"
    other = f"{acme}-2"  # Its name begins with the first one's.
    for client in (acme, other):
        admin.put_object(Bucket=landing, Key=f"landing/{client}/old.ulg", Body=b"old")
        admin.put_object(Bucket=landing, Key=f"landing/{client}/v1/old.ulg", Body=b"old")
        admin.put_object(Bucket=landing, Key=f"receipts/{client}/old.ulg.json", Body=b"{}")
        admin.put_object(Bucket=landing, Key=f"receipts/{client}/v1/old.ulg.json", Body=b"{}")
        admin.put_object(Bucket=landing, Key=f"receipts/{client}/v2/old.ulg.json", Body=b"{}")
        admin.put_object(Bucket=landing, Key=digest_receipt_key(client, DIGEST), Body=b"{}")
    admin.put_object(Bucket=lake, Key="lake/log_events/a.parquet", Body=b"PAR1")
    yield Field(stack, iam, landing, lake, acme, other)
    for client in (acme, other):
        for vehicle in (None, "v1", "v2"):
            iam.delete_user(client_user(client, vehicle))


def test_client_adds_below_its_own_folder(field: Field) -> None:
    s3 = field.client(field.acme)
    for key in ("a.ulg", "v1/a.ulg", "v1/deep/er/a.ulg"):
        s3.put_object(Bucket=field.landing, Key=f"landing/{field.acme}/{key}", Body=BODY)


def test_client_uploads_in_parts_below_its_own_folder(field: Field) -> None:
    s3 = field.client(field.acme)
    where = {"Bucket": field.landing, "Key": f"landing/{field.acme}/big.ulg"}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    first = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=PART)["ETag"]
    last = s3.upload_part(**where, UploadId=upload, PartNumber=2, Body=BODY)["ETag"]
    assert len(s3.list_parts(**where, UploadId=upload)["Parts"]) == 2
    parts = [{"PartNumber": 1, "ETag": first}, {"PartNumber": 2, "ETag": last}]
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
    given_up = s3.create_multipart_upload(**where)["UploadId"]
    s3.abort_multipart_upload(**where, UploadId=given_up)


def test_completed_upload_is_forgotten_and_an_open_one_is_known(field: Field) -> None:
    """What the drone rests on when the answer to CompleteMultipartUpload was lost."""
    s3 = field.client(field.acme)
    where = {"Bucket": field.landing, "Key": f"landing/{field.acme}/big.ulg"}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    etag = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=BODY)["ETag"]
    assert s3.list_parts(**where, UploadId=upload)["Parts"]
    parts = [{"PartNumber": 1, "ETag": etag}]
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
    with pytest.raises(ClientError, match="NoSuchUpload"):
        s3.list_parts(**where, UploadId=upload)


def test_client_reads_and_lists_its_own_receipts(field: Field) -> None:
    s3 = field.client(field.acme)
    receipts = f"receipts/{field.acme}/"
    listed = s3.list_objects_v2(Bucket=field.landing, Prefix=receipts)["Contents"]
    assert len(listed) == 4
    assert s3.get_object(Bucket=field.landing, Key=listed[0]["Key"])["Body"].read() == b"{}"


def test_narrow_key_reaches_its_vehicle_only(field: Field) -> None:
    s3 = field.client(field.acme, "v1")
    own, landing = f"landing/{field.acme}/v1/", field.landing
    s3.put_object(Bucket=landing, Key=f"{own}a.ulg", Body=BODY)
    s3.get_object(Bucket=landing, Key=f"receipts/{field.acme}/v1/old.ulg.json")
    s3.list_objects_v2(Bucket=landing, Prefix=f"receipts/{field.acme}/v1/")
    for key in (f"landing/{field.acme}/a.ulg", f"landing/{field.acme}/v2/a.ulg",
                f"landing/{field.acme}/v11/a.ulg", f"landing/{field.other}/v1/a.ulg"):  # fmt: skip
        refuses(lambda key=key: s3.put_object(Bucket=landing, Key=key, Body=BODY))
    for receipts in (f"receipts/{field.acme}/", f"receipts/{field.acme}/v2/", "receipts/"):
        refuses(lambda p=receipts: s3.list_objects_v2(Bucket=landing, Prefix=p))
    refuses(lambda: s3.get_object(Bucket=landing, Key=f"receipts/{field.acme}/v2/old.ulg.json"))


def test_narrow_key_reads_receipts_by_digest_of_its_client_only(field: Field) -> None:
    s3 = field.client(field.acme, "v1")
    s3.get_object(Bucket=field.landing, Key=digest_receipt_key(field.acme, DIGEST))
    refuses(
        lambda: s3.get_object(Bucket=field.landing, Key=digest_receipt_key(field.other, DIGEST))
    )
    where = {"Bucket": field.landing, "Key": digest_receipt_key(field.acme, DIGEST)}
    refuses(lambda: s3.put_object(**where, Body=BODY))
    refuses(lambda: s3.delete_object(**where))
    # Which digests there are is nothing for one stolen drone.
    refuses(
        lambda: s3.list_objects_v2(Bucket=field.landing, Prefix=f"receipts/{field.acme}/sha256/")
    )


def forbidden(field: Field) -> dict[str, Callable[[Any], Any]]:
    landing, acme, other = field.landing, field.acme, field.other
    own = f"landing/{acme}/old.ulg"
    return {
        "put to another client": lambda s3: s3.put_object(
            Bucket=landing, Key=f"landing/{other}/a.ulg", Body=BODY
        ),
        "put to a client whose name begins the same": lambda s3: s3.put_object(
            Bucket=landing, Key=f"landing/{acme}x/a.ulg", Body=BODY
        ),
        "put beside the folders": lambda s3: s3.put_object(
            Bucket=landing, Key=f"landing/{acme}", Body=BODY
        ),
        "put through dots": lambda s3: s3.put_object(
            Bucket=landing, Key=f"landing/{other}/../{other}/a.ulg", Body=BODY
        ),
        "begin parts to another client": lambda s3: s3.create_multipart_upload(
            Bucket=landing, Key=f"landing/{other}/a.ulg"
        ),
        "put to the bucket's root": lambda s3: s3.put_object(
            Bucket=landing, Key="a.ulg", Body=BODY
        ),
        "put to quarantine": lambda s3: s3.put_object(
            Bucket=landing, Key=f"quarantine/{acme}/mismatch/x/a.ulg", Body=BODY
        ),
        "put a receipt": lambda s3: s3.put_object(
            Bucket=landing, Key=f"receipts/{acme}/a.ulg.json", Body=BODY
        ),
        "put to the lake": lambda s3: s3.put_object(
            Bucket=field.lake, Key=f"landing/{acme}/a.ulg", Body=BODY
        ),
        "read its own landing": lambda s3: s3.get_object(Bucket=landing, Key=own),
        "head its own landing": lambda s3: s3.head_object(Bucket=landing, Key=own),
        "read attributes": lambda s3: s3.get_object_attributes(
            Bucket=landing, Key=own, ObjectAttributes=["ETag"]
        ),
        "read another's landing": lambda s3: s3.get_object(
            Bucket=landing, Key=f"landing/{other}/old.ulg"
        ),
        "read another's receipts": lambda s3: s3.get_object(
            Bucket=landing, Key=f"receipts/{other}/old.ulg.json"
        ),
        "read the lake": lambda s3: s3.get_object(
            Bucket=field.lake, Key="lake/log_events/a.parquet"
        ),
        "list the bucket": lambda s3: s3.list_objects_v2(Bucket=landing),
        "list with an empty prefix": lambda s3: s3.list_objects_v2(Bucket=landing, Prefix=""),
        "list the old way": lambda s3: s3.list_objects(Bucket=landing),
        "list its own landing": lambda s3: s3.list_objects_v2(
            Bucket=landing, Prefix=f"landing/{acme}/"
        ),
        "list every receipt": lambda s3: s3.list_objects_v2(Bucket=landing, Prefix="receipts/"),
        "list another's receipts": lambda s3: s3.list_objects_v2(
            Bucket=landing, Prefix=f"receipts/{other}/"
        ),
        "list versions": lambda s3: s3.list_object_versions(
            Bucket=landing, Prefix=f"receipts/{acme}/"
        ),
        "list uploads": lambda s3: s3.list_multipart_uploads(Bucket=landing),
        "list buckets": lambda s3: s3.list_buckets(),
        "delete": lambda s3: s3.delete_object(Bucket=landing, Key=own),
        "delete many": lambda s3: s3.delete_objects(
            Bucket=landing, Delete={"Objects": [{"Key": own}]}
        ),
        "copy from another client": lambda s3: s3.copy_object(
            Bucket=landing, Key=own, CopySource=f"{landing}/landing/{other}/old.ulg"
        ),
        "copy from its own landing": lambda s3: s3.copy_object(
            Bucket=landing, Key=f"landing/{acme}/new.ulg", CopySource=f"{landing}/{own}"
        ),
        "copy from the lake": lambda s3: s3.copy_object(
            Bucket=landing, Key=own, CopySource=f"{field.lake}/lake/log_events/a.parquet"
        ),
        "copy a part from another client": lambda s3: copy_part(field, s3),
        "set an ACL": lambda s3: s3.put_object_acl(Bucket=landing, Key=own, ACL="public-read"),
        "tag": lambda s3: s3.put_object_tagging(
            Bucket=landing, Key=own, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}
        ),
        "set a bucket policy": lambda s3: s3.put_bucket_policy(Bucket=landing, Policy="{}"),
        "stop versioning": lambda s3: s3.put_bucket_versioning(
            Bucket=landing, VersioningConfiguration={"Status": "Suspended"}
        ),
        "set a lifecycle": lambda s3: s3.put_bucket_lifecycle_configuration(
            Bucket=landing,
            LifecycleConfiguration={
                "Rules": [
                    {"ID": "x", "Filter": {"Prefix": ""}, "Status": "Enabled",
                     "Expiration": {"Days": 1}}
                ]
            },
        ),
        "make a bucket": lambda s3: s3.create_bucket(Bucket=f"{landing}-2"),
    }  # fmt: skip


def test_client_may_do_nothing_else(field: Field) -> None:
    s3 = field.client(field.acme)
    allowed = []
    for what, request in forbidden(field).items():
        try:
            request(s3)
        except ClientError as refused:
            if refused.response["Error"]["Code"] not in ("AccessDenied", "403"):
                allowed.append(f"{what}: {refused}")
        else:
            allowed.append(what)
    assert allowed == []


def test_client_may_not_use_iam(field: Field) -> None:
    user = client_user(field.acme)
    field.iam.ensure_user(user, client_policy(field.landing, field.acme))
    key = field.iam.create_key(user)
    theirs = Iam(
        endpoint=field.stack.iam_endpoint,
        region="us-east-1",
        access_key_id=key.access_key_id,
        secret_access_key=key.secret_access_key,
    )
    with pytest.raises(StoreRefused):
        theirs.create_key(user)
    with pytest.raises(StoreRefused):
        theirs.ensure_user(user, analyst_policy(field.lake))


def test_deleted_user_may_do_nothing(field: Field) -> None:
    s3 = field.client(field.acme)
    put = {"Bucket": field.landing, "Key": f"landing/{field.acme}/a.ulg", "Body": BODY}
    s3.put_object(**put)
    field.iam.delete_user(client_user(field.acme))
    refuses(lambda: s3.put_object(**put))
    field.iam.delete_user(client_user(field.acme))


def test_both_keys_work_until_one_is_deleted(field: Field) -> None:
    user = client_user(field.acme)
    field.iam.ensure_user(user, client_policy(field.landing, field.acme))
    old, new = field.iam.create_key(user), field.iam.create_key(user)
    assert set(field.iam.key_ids(user)) == {old.access_key_id, new.access_key_id}
    put = {"Bucket": field.landing, "Key": f"landing/{field.acme}/a.ulg", "Body": BODY}
    field.s3(old).put_object(**put)
    field.s3(new).put_object(**put)
    field.iam.delete_key(user, old.access_key_id)
    refuses(lambda: field.s3(old).put_object(**put))
    field.s3(new).put_object(**put)
    field.iam.delete_key(user, old.access_key_id)


def test_ensured_user_has_the_newest_policy_and_no_other(field: Field) -> None:
    user = client_user(field.acme)
    field.iam.ensure_user(user, client_policy(field.landing, field.acme))
    admin = field.stack.client("iam")
    admin.put_user_policy(
        UserName=user,
        PolicyName="stray",
        PolicyDocument='{"Version":"2012-10-17","Statement":'
        '[{"Effect":"Allow","Action":"*","Resource":"*"}]}',
    )
    field.iam.ensure_user(user, client_policy(field.landing, field.acme, "v1"))
    s3 = field.s3(field.iam.create_key(user))
    refuses(lambda: s3.put_object(
        Bucket=field.landing, Key=f"landing/{field.acme}/a.ulg", Body=BODY))  # fmt: skip


def test_analyst_reads_the_lake_and_nothing_else(field: Field) -> None:
    user = analyst_user(f"ada{secrets.token_hex(3)}")
    field.iam.ensure_user(user, analyst_policy(field.lake))
    s3 = field.s3(field.iam.create_key(user))
    found = s3.list_objects_v2(Bucket=field.lake, Prefix="lake/")["Contents"]
    assert s3.get_object(Bucket=field.lake, Key=found[0]["Key"])["Body"].read() == b"PAR1"
    refuses(lambda: s3.put_object(Bucket=field.lake, Key="lake/x", Body=BODY))
    refuses(lambda: s3.delete_object(Bucket=field.lake, Key=found[0]["Key"]))
    refuses(lambda: s3.list_objects_v2(Bucket=field.landing))
    refuses(lambda: s3.get_object(Bucket=field.landing, Key=f"landing/{field.acme}/old.ulg"))
    field.iam.delete_user(user)


def test_missing_user_has_no_keys_and_gets_none(iam: Iam) -> None:
    assert iam.key_ids("logbox-client-nobody") == []
    with pytest.raises(StoreRefused, match="no IAM user"):
        iam.create_key("logbox-client-nobody")


def test_endpoint_that_is_down_is_transient() -> None:
    down = Iam(
        endpoint="http://127.0.0.1:9",
        region="us-east-1",
        access_key_id="AKIA",
        secret_access_key="secret",
    )
    with pytest.raises(TransientError, match="LOGBOX_IAM_ENDPOINT"):
        down.key_ids("anyone")


def test_wrong_secret_is_refused(stack: Stack) -> None:
    wrong = Iam(
        endpoint=stack.iam_endpoint,
        region="us-east-1",
        access_key_id=stack.access_key_id,
        secret_access_key="wrong",
    )
    with pytest.raises(StoreRefused, match="SignatureDoesNotMatch"):
        wrong.key_ids("anyone")


def test_secret_is_not_in_a_repr() -> None:
    assert "hush" not in repr(AccessKey("AKIA", "hush"))


def copy_part(field: Field, s3: Any) -> None:
    where = {"Bucket": field.landing, "Key": f"landing/{field.acme}/copied.ulg"}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    s3.upload_part_copy(
        **where,
        UploadId=upload,
        PartNumber=1,
        CopySource=f"{field.landing}/landing/{field.other}/old.ulg",
    )


def refuses(request: Callable[[], Any]) -> None:
    with pytest.raises(ClientError) as refused:
        request()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
