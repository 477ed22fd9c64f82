"""Every way past the guard that has been thought of, tried."""

import asyncio
import base64
import hashlib
import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from logbox_pipeline.local.access_log import AccessLog, Request, access_lines, claim
from logbox_pipeline.local.guard import LoggedAnswer
from logbox_pipeline_tests.local.wire import Headers, exchange, host, send, signed


@pytest.fixture
def bucket(stack: Any, buckets: str) -> str:
    """A bucket with one object, `secret`, that no bypass may read, change or remove."""
    name = f"{buckets}guarded"
    s3 = stack.client()
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="secret", Body=b"the bytes")
    return name


@pytest.fixture
def drone(stack: Any, buckets: str, bucket: str) -> dict[str, str]:
    """The key of a client that may only put below landing/drone/."""
    iam = stack.client("iam")
    user = f"{buckets}drone"
    iam.create_user(UserName=user)
    statement = {
        "Effect": "Allow",
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/landing/drone/*",
    }
    iam.put_user_policy(
        UserName=user,
        PolicyName="upload",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    made = iam.create_access_key(UserName=user)["AccessKey"]
    yield {
        "aws_access_key_id": made["AccessKeyId"],
        "aws_secret_access_key": made["SecretAccessKey"],
    }
    iam.delete_access_key(UserName=user, AccessKeyId=made["AccessKeyId"])
    iam.delete_user_policy(UserName=user, PolicyName="upload")
    iam.delete_user(UserName=user)


def still_there(stack: Any, bucket: str) -> bool:
    return stack.client().get_object(Bucket=bucket, Key="secret")["Body"].read() == b"the bytes"


def fake_authorization(key_id: str, service: str = "s3") -> str:
    return (
        f"AWS4-HMAC-SHA256 Credential={key_id}/20260101/us-east-1/{service}/aws4_request, "
        f"SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={'0' * 64}"
    )


def without(headers: Headers, name: str) -> Headers:
    return [pair for pair in headers if pair[0].lower() != name]


# What is allowed.


def test_a_signed_request_passes(stack: Any, bucket: str) -> None:
    answer = send(stack, "GET", f"/{bucket}/secret", signed(stack, "GET", f"/{bucket}/secret"))
    assert (answer.status, answer.body) == (200, "the bytes")


def test_a_presigned_url_passes_and_ends(stack: Any, bucket: str) -> None:
    s3 = stack.client()
    named = {"Bucket": bucket, "Key": "secret"}
    url = s3.generate_presigned_url("get_object", Params=named, ExpiresIn=60)
    with urllib.request.urlopen(url) as response:
        assert response.read() == b"the bytes"
    longer = url.replace("X-Amz-Expires=60", "X-Amz-Expires=604000")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(longer)


def test_keys_of_every_kind_pass(stack: Any, bucket: str) -> None:
    s3 = stack.client()
    for key in ("a b+c%2F&=é.ulg", "_ministack/reset", "x/../y", "a//b", "tail/", "日本/ü.bin"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()


def test_a_key_of_over_1024_bytes_is_refused(stack: Any, bucket: str) -> None:
    s3 = stack.client()
    longest = "ü/" * 341 + "x"
    assert len(longest.encode()) == 1_024
    s3.put_object(Bucket=bucket, Key=longest, Body=b"1")
    assert s3.get_object(Bucket=bucket, Key=longest)["Body"].read() == b"1"
    named = {"Bucket": bucket, "Key": longest + "y"}
    for call, more in (
        (s3.put_object, {"Body": b"1"}),
        (s3.copy_object, {"CopySource": {"Bucket": bucket, "Key": longest}}),
        (s3.create_multipart_upload, {}),
        (s3.get_object, {}),
        (s3.put_object_tagging, {"Tagging": {"TagSet": []}}),
        (s3.delete_object, {}),
    ):
        with pytest.raises(ClientError) as refused:
            call(**named, **more)
        assert refused.value.response["Error"]["Code"] == "KeyTooLongError"
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    with pytest.raises(ClientError, match="400"):
        s3.head_object(**named)
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert {one["Key"] for one in listed} == {"secret", longest}


def test_multipart_and_copy_pass(stack: Any, bucket: str) -> None:
    s3 = stack.client()
    upload = s3.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
    parts = []
    for number, body in ((1, b"a" * (5 * 2**20)), (2, b"b")):
        etag = s3.upload_part(
            Bucket=bucket, Key="big", UploadId=upload, PartNumber=number, Body=body
        )["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    s3.complete_multipart_upload(
        Bucket=bucket, Key="big", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "big"})
    assert s3.head_object(Bucket=bucket, Key="copy")["ContentLength"] == 5 * 2**20 + 1


def test_a_client_may_do_what_its_policy_says_and_no_more(
    stack: Any, bucket: str, drone: dict[str, str]
) -> None:
    s3 = stack.client(**drone)
    s3.put_object(Bucket=bucket, Key="landing/drone/a.ulg", Body=b"1")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.put_object(Bucket=bucket, Key="landing/other/a.ulg", Body=b"1")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.get_object(Bucket=bucket, Key="secret")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.copy_object(Bucket=bucket, Key="landing/drone/b", CopySource=f"{bucket}/secret")
    with pytest.raises(ClientError, match="AccessDenied"):
        stack.client("iam", **drone).create_user(UserName="mallory")


def test_health_needs_no_key_and_tells_nothing(stack: Any) -> None:
    answer = send(stack, "GET", "/_ministack/health", [("Host", host(stack))])
    assert (answer.status, answer.body) == (200, '{"status": "running"}')


# Credentials.


@pytest.mark.parametrize("order", ["true first", "false first"])
def test_two_authorization_headers_are_refused(stack: Any, bucket: str, order: str) -> None:
    headers = signed(stack, "GET", f"/{bucket}/secret")
    second = ("Authorization", fake_authorization("AKIAAAAAAAAAAAAAAAAA"))
    both = [*headers, second] if order == "true first" else [headers[0], second, *headers[1:]]
    assert send(stack, "GET", f"/{bucket}/secret", both).status == 400


def test_two_authorization_headers_do_not_lend_a_client_the_root_key(
    stack: Any, bucket: str, drone: dict[str, str]
) -> None:
    path = f"/{bucket}/secret"
    mine = signed(
        stack, "GET", path,
        key_id=drone["aws_access_key_id"], secret=drone["aws_secret_access_key"],
    )  # fmt: skip
    for key_id in ("test", "000000000000"):
        for extra in (
            [("Authorization", fake_authorization(key_id)), *mine],
            [*mine, ("authorization", fake_authorization(key_id))],
        ):
            assert send(stack, "GET", path, extra).status >= 400


def test_header_and_query_credentials_together_are_refused(stack: Any, bucket: str) -> None:
    named = {"Bucket": bucket, "Key": "secret"}
    url = stack.client().generate_presigned_url("get_object", Params=named)
    target = url.removeprefix(stack.s3_endpoint)
    headers = signed(stack, "GET", f"/{bucket}/secret")
    assert send(stack, "GET", target, headers).status == 400
    only = f"/{bucket}/secret?X-Amz-Credential=test/20260101/us-east-1/s3/aws4_request"
    assert send(stack, "GET", only, headers).status == 400


@pytest.mark.parametrize("repeated", ["X-Amz-Credential", "x-amz-credential", "X%2DAmz-Credential"])
def test_a_repeated_query_credential_is_refused(stack: Any, bucket: str, repeated: str) -> None:
    named = {"Bucket": bucket, "Key": "secret"}
    target = stack.client().generate_presigned_url("get_object", Params=named)
    target = target.removeprefix(stack.s3_endpoint)
    target += f"&{repeated}=test/20260101/us-east-1/s3/aws4_request"
    assert send(stack, "GET", target, [("Host", host(stack))]).status == 400


@pytest.mark.parametrize("key_id", ["test", "000000000000", "123456789012", "", "LOGBOXROOT"])
def test_root_keys_are_refused(stack: Any, bucket: str, key_id: str) -> None:
    for secret in ("test", "wrong"):
        headers = signed(stack, "GET", f"/{bucket}/secret", key_id=key_id or "x", secret=secret)
        assert send(stack, "GET", f"/{bucket}/secret", headers).status == 403
    bare = [("Host", host(stack)), ("Authorization", fake_authorization(key_id))]
    assert send(stack, "GET", f"/{bucket}/secret", bare).status == 403
    named = {"Bucket": bucket, "Key": "secret"}
    s3 = stack.client(aws_access_key_id=key_id or "x", aws_secret_access_key="test")
    url = s3.generate_presigned_url("get_object", Params=named).removeprefix(stack.s3_endpoint)
    assert send(stack, "GET", url, [("Host", host(stack))]).status == 403


def test_the_root_key_of_the_process_is_refused(stack: Any, bucket: str) -> None:
    """Even who reads the process's environment gets no further."""
    import os

    from logbox_pipeline.local.processes import read_json

    pid = read_json(stack.home / "stack.json")["object_store_pid"]
    assert command_is_object_store(pid)
    # MiniStack's key is set inside the process; its first environment knows nothing of it.
    assert b"LOGBOXROOT" not in Path(f"/proc/{pid}/environ").read_bytes()
    headers = signed(stack, "GET", f"/{bucket}/secret", key_id="LOGBOXROOT" + "A" * 32)
    assert send(stack, "GET", f"/{bucket}/secret", headers).status == 403
    assert os.environ.get("AWS_ACCESS_KEY_ID", "") != "test"


def command_is_object_store(pid: int) -> bool:
    from logbox_pipeline.local.processes import command_of

    return "logbox_pipeline.local.object_store" in (command_of(pid) or "")


def test_signature_version_2_is_refused(stack: Any, bucket: str) -> None:
    path = f"/{bucket}/secret"
    for value in (f"AWS {stack.access_key_id}:c2lnbmF0dXJl", "AWS test:c2ln", "Basic dGVzdDp0ZXN0"):
        headers = [("Host", host(stack)), ("Authorization", value)]
        assert send(stack, "GET", path, headers).status == 403
    query = f"?AWSAccessKeyId={stack.access_key_id}&Signature=c2ln&Expires=9999999999"
    assert send(stack, "GET", path + query, [("Host", host(stack))]).status == 403
    mixed = signed(stack, "GET", path)
    assert send(stack, "GET", path + "?AWSAccessKeyId=test", mixed).status == 403


def test_an_elliptic_curve_signature_is_refused(stack: Any, bucket: str) -> None:
    value = fake_authorization(stack.access_key_id).replace("HMAC-SHA256", "ECDSA-P256-SHA256")
    headers = [("Host", host(stack)), ("Authorization", value)]
    assert send(stack, "GET", f"/{bucket}/secret", headers).status == 403


def test_an_unsigned_request_is_refused(stack: Any, bucket: str) -> None:
    bare = [("Host", host(stack))]
    for target in (f"/{bucket}/secret", f"/{bucket}", "/", f"/{bucket}?list-type=2"):
        assert send(stack, "GET", target, bare).status == 403
    assert send(stack, "DELETE", f"/{bucket}/secret", bare).status == 403
    put = [*bare, ("Content-Length", "1")]
    assert send(stack, "PUT", f"/{bucket}/new", put, b"x").status == 403
    assert still_there(stack, bucket)


def test_a_browser_form_upload_is_refused(stack: Any, bucket: str) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\nnew\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n'
    )
    headers = [
        ("Host", host(stack)),
        ("Content-Type", "multipart/form-data; boundary=b"),
        ("Content-Length", str(len(body))),
    ]
    assert send(stack, "POST", f"/{bucket}", headers, body).status == 403


def test_a_presigned_url_of_another_key_is_refused(
    stack: Any, bucket: str, drone: dict[str, str]
) -> None:
    named = {"Bucket": bucket, "Key": "secret"}
    url = stack.client(**drone).generate_presigned_url("get_object", Params=named)
    target = url.removeprefix(stack.s3_endpoint)
    assert send(stack, "GET", target, [("Host", host(stack))]).status == 403
    # The administrator's name over the drone's signature.
    forged = target.replace(drone["aws_access_key_id"], stack.access_key_id)
    assert send(stack, "GET", forged, [("Host", host(stack))]).status == 403
    unknown = stack.client(aws_access_key_id="AKIAUNKNOWNUNKNOWN22")
    url = unknown.generate_presigned_url("get_object", Params=named)
    target = url.removeprefix(stack.s3_endpoint)
    assert send(stack, "GET", target, [("Host", host(stack))]).status == 403


def test_a_session_token_is_refused(stack: Any, bucket: str) -> None:
    path = f"/{bucket}/secret"
    headers = signed(stack, "GET", path, token="anything")
    assert send(stack, "GET", path, headers).status == 403
    unsigned = [*signed(stack, "GET", path), ("X-Amz-Security-Token", "anything")]
    assert send(stack, "GET", path, unsigned).status == 403


def test_temporary_credentials_are_refused(stack: Any, bucket: str) -> None:
    made = stack.client("sts").get_session_token()["Credentials"]
    session = stack.client(
        aws_access_key_id=made["AccessKeyId"],
        aws_secret_access_key=made["SecretAccessKey"],
        aws_session_token=made["SessionToken"],
    )
    with pytest.raises(ClientError, match="InvalidToken"):
        session.get_object(Bucket=bucket, Key="secret")
    bare = stack.client(
        aws_access_key_id=made["AccessKeyId"], aws_secret_access_key=made["SecretAccessKey"]
    )
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        bare.get_object(Bucket=bucket, Key="secret")


def test_a_wrong_secret_is_refused_before_the_body_is_read(stack: Any, bucket: str) -> None:
    headers = signed(stack, "PUT", f"/{bucket}/new", body=b"", secret="wrong")
    headers = [*without(headers, "content-length"), ("Content-Length", str(2**32))]
    answer = send(stack, "PUT", f"/{bucket}/new", headers)
    assert answer.status == 403
    assert "SignatureDoesNotMatch" in answer.body


def test_a_signature_is_for_one_request(stack: Any, bucket: str) -> None:
    headers = signed(stack, "GET", f"/{bucket}/secret")
    assert send(stack, "DELETE", f"/{bucket}/secret", headers).status == 403
    assert send(stack, "GET", f"/{bucket}/other", headers).status == 403
    assert send(stack, "GET", f"/{bucket}/secret?versionId=null", headers).status == 403
    assert send(stack, "GET", f"/{bucket}", headers).status == 403


def test_an_amz_header_that_is_not_signed_is_refused(stack: Any, bucket: str) -> None:
    path = f"/{bucket}/new"
    copied = [*signed(stack, "PUT", path), ("x-amz-copy-source", f"{bucket}/secret")]
    assert send(stack, "PUT", path, copied).status == 403
    target = f"{path}?x-amz-copy-source={bucket}/secret"
    assert send(stack, "PUT", target, signed(stack, "PUT", path)).status == 400


def test_an_old_signature_is_refused(stack: Any, bucket: str, monkeypatch: Any) -> None:
    import datetime

    import botocore.auth

    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=3)
    name = "get_current_datetime" if hasattr(botocore.auth, "get_current_datetime") else None
    if name is None:
        pytest.skip("this botocore has no clock to set")
    monkeypatch.setattr(botocore.auth, name, lambda *_, **__: old.replace(tzinfo=None))
    headers = signed(stack, "GET", f"/{bucket}/secret")
    answer = send(stack, "GET", f"/{bucket}/secret", headers)
    assert (answer.status, "RequestTimeTooSkewed" in answer.body) == (403, True)


def test_a_revoked_key_is_refused_at_once(stack: Any, bucket: str, drone: dict[str, str]) -> None:
    s3 = stack.client(**drone)
    s3.put_object(Bucket=bucket, Key="landing/drone/a", Body=b"1")
    user = stack.client("sts", **drone).get_caller_identity()["Arn"].rpartition("/")[2]
    stack.client("iam").update_access_key(
        UserName=user, AccessKeyId=drone["aws_access_key_id"], Status="Inactive"
    )
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        s3.put_object(Bucket=bucket, Key="landing/drone/a", Body=b"1")


# Paths and other services.

CONTROL_PATHS = [
    "/_ministack/reset", "//_ministack/reset", "/%5fministack/reset", "/%5Fministack%2Freset",
    "/_MINISTACK/reset", "/_Ministack/Reset", "/./_ministack/reset", "/x/../_ministack/reset",
    "/_ministack//reset", "/_ministack/reset/", "/_ministack/reset?init=1", "/%2f_ministack/reset",
    "/_ministack/health/../reset", "/_ministack/config", "/_ministack/handlers",
    "/_ministack/cfn-response/x", "/_ministack/eks-auth/x", "/_ministack/rds/iam-auth",
    "/_ministack/lambda-code/x", "/_localstack/state/reset", "/_aws/sqs/messages", "/_aws/ses",
    "/_moto/reset", "/%255fministack/reset", "\\_ministack\\reset", "/_ministack%00/reset",
    "/;/_ministack/reset", "/_ministack/ready",
]  # fmt: skip


@pytest.mark.parametrize("path", CONTROL_PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_the_control_plane_is_closed(stack: Any, bucket: str, path: str, method: str) -> None:
    bare = [("Host", host(stack)), ("Content-Length", "0")]
    assert send(stack, method, path, bare).status in {400, 403, 404, 405}
    # Not even the administrator's signature opens it.
    try:
        headers = signed(stack, method, path)
    except ValueError:
        headers = bare
    answer = send(stack, method, path, headers)
    assert answer.status in {400, 403, 405}, answer
    assert still_there(stack, bucket)


def test_an_absolute_request_target_is_refused(stack: Any, bucket: str) -> None:
    for target in (f"{stack.s3_endpoint}/_ministack/reset", "http://x/_ministack/reset", "*"):
        for headers in (
            [("Host", host(stack)), ("Content-Length", "0")],
            signed(stack, "POST", "/"),
        ):
            assert send(stack, "POST", target, headers).status >= 400
    assert still_there(stack, bucket)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD"])
def test_health_is_only_read(stack: Any, method: str) -> None:
    bare = [("Host", host(stack)), ("Content-Length", "0")]
    assert send(stack, method, "/_ministack/health", bare).status >= 400


@pytest.mark.parametrize("method", ["OPTIONS", "PATCH", "TRACE", "CONNECT", "REPORT"])
def test_other_methods_are_refused(stack: Any, bucket: str, method: str) -> None:
    answer = send(stack, method, f"/{bucket}/secret", signed(stack, method, f"/{bucket}/secret"))
    assert answer.status >= 400


@pytest.mark.parametrize(
    "name",
    [
        "lambda.us-east-1.amazonaws.com", "x.execute-api.localhost", "secret.s3.localhost",
        "x.lambda-url.us-east-1.localhost", "d1.cloudfront.net", "x.elb.localhost", "evil.example",
        "127.0.0.1.evil.example", "s3-control.localhost", "127.0.0.1", "", "localhost:1",
    ],
)  # fmt: skip
def test_another_host_is_refused(stack: Any, bucket: str, name: str) -> None:
    path = f"/{bucket}/secret"
    headers = [("Host", name), *without(signed(stack, "GET", path), "host")]
    assert send(stack, "GET", path, headers).status == 400
    assert send(stack, "GET", path, [("Host", name)]).status == 400


def test_two_hosts_are_refused(stack: Any, bucket: str) -> None:
    path = f"/{bucket}/secret"
    headers = [*signed(stack, "GET", path), ("Host", "lambda.localhost")]
    assert send(stack, "GET", path, headers).status == 400


@pytest.mark.parametrize(
    "target",
    ["AWSLambda.Invoke", "DynamoDB_20120810.ListTables", "secretsmanager.ListSecrets",
     "AmazonSQS.CreateQueue", "TrentService.ListKeys", "IAMService.CreateUser"],
)  # fmt: skip
def test_another_target_is_refused_with_an_s3_signature(
    stack: Any, bucket: str, target: str
) -> None:
    for path in ("/", f"/{bucket}/secret", f"/{bucket}"):
        for method in ("POST", "GET", "PUT"):
            headers = signed(stack, method, path, headers={"X-Amz-Target": target})
            assert send(stack, method, path, headers).status == 403


@pytest.mark.parametrize(
    "service",
    ["lambda", "dynamodb", "ec2", "secretsmanager", "kms", "cloudformation", "s3tables", "rds",
     "execute-api", "ecr", "states", "s3-object-lambda", "s3express", "organizations", "events"],
)  # fmt: skip
def test_other_services_are_refused(stack: Any, service: str) -> None:
    body = b"Action=ListThings&Version=2012-10-17"
    for path in ("/", "/2015-03-31/functions", "/restapis", "/v2/email"):
        headers = signed(stack, "POST", path, body=body, service=service)
        assert send(stack, "POST", path, headers, body).status == 403


@pytest.mark.parametrize(
    "path",
    ["/2015-03-31/functions", "/iceberg/v1/config", "/v2/_catalog", "/v20180820/accesspoint/x",
     "/environments/x", "/key-value-stores/x", "/graphql", "/oauth2/token", "/ab", "/UPPER/x"],
)  # fmt: skip
def test_an_s3_signature_opens_only_buckets(stack: Any, path: str) -> None:
    for method in ("GET", "POST", "PUT"):
        answer = send(stack, method, path, signed(stack, method, path))
        assert answer.status in {400, 403}


def test_iam_takes_one_action_in_a_form(stack: Any) -> None:
    def ask(body: bytes, path: str = "/", **headers: str) -> int:
        head = {"Content-Type": "application/x-www-form-urlencoded", **headers}
        made = signed(stack, "POST", path, body=body, service="iam", headers=head)
        return send(stack, "POST", path, made, body).status

    assert ask(b"Action=ListUsers&Version=2010-05-08") == 200
    assert ask(b"Action=ListUsers&Action=CreateUser&UserName=m") == 400
    assert ask(b"Action=ListUsers&UserName=a&UserName=b") == 400
    assert ask(b"Version=2010-05-08") == 400
    assert ask(b"Action=ListUsers", "/?Action=CreateUser") == 403
    assert ask(b"Action=ListUsers", "/x") == 403
    assert ask(b"{}", **{"X-Amz-Target": "IAMService.ListUsers"}) == 403
    assert ask(b"Action=ListUsers", **{"Content-Encoding": "gzip"}) == 403
    assert ask(b"Action=ListUsers", **{"Content-Type": "application/x-amz-json-1.0"}) == 400


def test_an_iam_body_that_is_not_the_signed_one_is_refused(stack: Any) -> None:
    signed_body, sent_body = (
        b"Action=ListUsers&Version=2010-05-08",
        b"Action=ListRoles&Version=2010-05-08",
    )
    head = {"Content-Type": "application/x-www-form-urlencoded"}
    made = signed(stack, "POST", "/", body=signed_body, service="iam", headers=head)
    assert send(stack, "POST", "/", made, sent_body).status == 403


@pytest.mark.parametrize("service", ["iam", "sts", "sqs"])
def test_a_wrong_secret_is_refused_by_the_other_services(stack: Any, service: str) -> None:
    client = stack.client(service, aws_secret_access_key="wrong")
    call = {"iam": "list_users", "sts": "get_session_token", "sqs": "list_queues"}[service]
    with pytest.raises(ClientError):
        getattr(client, call)()


# Framing.


def test_a_body_with_two_lengths_is_refused(stack: Any, bucket: str) -> None:
    path = f"/{bucket}/new"
    headers = [*signed(stack, "PUT", path, body=b"x"), ("Transfer-Encoding", "chunked")]
    assert send(stack, "PUT", path, headers, b"1\r\nx\r\n0\r\n\r\n").status == 400
    headers = [*signed(stack, "PUT", path, body=b"x"), ("Content-Length", "0")]
    assert send(stack, "PUT", path, headers, b"x").status == 400


def test_a_pipelined_request_is_judged_by_itself(stack: Any, bucket: str) -> None:
    path = f"/{bucket}/secret"
    lines = [f"{name}: {value}" for name, value in signed(stack, "GET", path)]
    first = "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""])
    lines = ["POST /_ministack/reset HTTP/1.1", f"Host: {host(stack)}", "Connection: close"]
    second = "\r\n".join([*lines, "Content-Length: 0", "", ""])
    answers = exchange(stack, (first + second).encode())
    assert [answer.status for answer in answers] == [200, 403]
    assert still_there(stack, bucket)


def test_a_request_hidden_in_a_body_is_only_bytes(stack: Any, bucket: str) -> None:
    hidden = b"POST /_ministack/reset HTTP/1.1\r\nHost: x\r\n\r\n"
    path = f"/{bucket}/new"
    assert send(stack, "PUT", path, signed(stack, "PUT", path, body=hidden), hidden).status == 200
    refused = signed(stack, "PUT", path, body=hidden, secret="wrong")
    data = "\r\n".join([f"PUT {path} HTTP/1.1", *(f"{n}: {v}" for n, v in refused), "", ""])
    answers = exchange(stack, data.encode() + hidden)
    assert [answer.status for answer in answers] == [403]
    assert still_there(stack, bucket)


def test_no_other_protocol_is_spoken(stack: Any, bucket: str) -> None:
    upgrade = [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABk"),
    ]
    for extra in (
        upgrade,
        [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ("Sec-WebSocket-Version", "13"),
        ],
    ):
        lines = [
            f"GET /{bucket}/secret HTTP/1.1",
            f"Host: {host(stack)}",
            *(f"{n}: {v}" for n, v in extra),
        ]
        answers = exchange(stack, "\r\n".join([*lines, "", ""]).encode(), timeout_s=1)
        assert all(a.status != 200 and "the bytes" not in a.body for a in answers)
    prior = exchange(stack, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), timeout_s=1)
    assert all(answer.status != 200 for answer in prior)


def test_a_chunk_signed_upload_is_checked_chunk_by_chunk(stack: Any, bucket: str) -> None:
    path = f"/{bucket}/chunked"
    extra = {
        "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "x-amz-decoded-content-length": "3",
        "content-encoding": "aws-chunked",
    }
    body = f"3;chunk-signature={'0' * 64}\r\nabc\r\n0;chunk-signature={'0' * 64}\r\n\r\n".encode()
    headers = [
        p for p in signed(stack, "PUT", path, headers=extra) if p[0].lower() != "content-length"
    ]
    answer = send(stack, "PUT", path, [*headers, ("Content-Length", str(len(body)))], body)
    assert answer.status >= 400


# Digests.


def test_a_wrong_sha256_is_refused(stack: Any, bucket: str) -> None:
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    with pytest.raises(ClientError, match="BadDigest"):
        stack.client().put_object(Bucket=bucket, Key="new", Body=b"x", ChecksumSHA256=wrong)
    path = f"/{bucket}/new"
    headers = signed(stack, "PUT", path, body=b"signed")
    assert send(stack, "PUT", path, headers, b"forged").status in {400, 403}
    with pytest.raises(ClientError, match="404"):
        stack.client().head_object(Bucket=bucket, Key="new")


def test_a_proven_sha256_is_told_and_no_other(stack: Any, bucket: str) -> None:
    client = stack.client()
    right = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
    put = client.put_object(Bucket=bucket, Key="new", Body=b"x", ChecksumSHA256=right)
    assert put["ChecksumSHA256"] == right
    assert "ChecksumSHA256" not in client.put_object(Bucket=bucket, Key="new", Body=b"x")
    tagged = client.put_object_tagging(
        Bucket=bucket, Key="new", Tagging={"TagSet": []}, ChecksumAlgorithm="SHA256"
    )
    assert "x-amz-checksum-sha256" not in tagged["ResponseMetadata"]["HTTPHeaders"]


def test_a_wrong_content_md5_is_refused(stack: Any, bucket: str) -> None:
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    with pytest.raises(ClientError, match="BadDigest"):
        stack.client().put_object(Bucket=bucket, Key="new", Body=b"x", ContentMD5=wrong)


# The access log.


def test_every_request_is_logged_with_its_signer_and_no_secret(
    stack: Any, bucket: str, drone: dict[str, str]
) -> None:
    stack.client(**drone).put_object(Bucket=bucket, Key="landing/drone/ä.ulg", Body=b"12345")
    named = {"Bucket": bucket, "Key": "secret"}
    urllib.request.urlopen(stack.client().generate_presigned_url("get_object", Params=named))
    send(stack, "GET", f"/{bucket}/anonymous", [("Host", host(stack))])
    # A line is written once its answer is sent.
    deadline = time.monotonic() + 10
    lines: list[dict[str, Any]] = []
    while not any(line["key"] == "anonymous" for line in lines) and time.monotonic() < deadline:
        text = (stack.home / "log" / "access.jsonl").read_text()
        whole = text[: text.rfind("\n") + 1].splitlines()
        lines = [line for line in map(json.loads, whole) if line["bucket"] == bucket]
    put = next(line for line in lines if line["key"] == "landing/drone/ä.ulg")
    assert put["key_id"] == drone["aws_access_key_id"]
    assert (put["operation"], put["status"], put["bytes_in"]) == ("PutObject", 200, 5)
    assert put["remote"] == "127.0.0.1"
    assert put["request_id"]
    refused = next(line for line in lines if line["key"] == "anonymous")
    assert (refused["status"], refused["refused"], refused["key_id"]) == (403, "AccessDenied", "")
    logs = "".join(p.read_text(errors="replace") for p in (stack.home / "log").iterdir())
    for secret in (stack.secret_access_key, drone["aws_secret_access_key"], "X-Amz-Signature"):
        assert secret not in logs
    assert stack.admin_database_url.split(":")[2].split("@")[0] not in logs


def test_a_request_is_logged_before_its_answer_is_whole(tmp_path: Path) -> None:
    """A kill between the two would leave an upload that nobody logged."""
    path = tmp_path / "access.jsonl"
    log = AccessLog(path)
    seen: list[tuple[str, int]] = []

    async def send(message: Any) -> None:
        seen.append((message["type"], path.read_text().count("\n")))

    async def answer(parts: int) -> None:
        told = LoggedAnswer(log, Request("PUT", "/b/k", {}, "", 0), send)
        await told.send({"type": "http.response.start", "status": 200})
        for part in range(parts):
            more = part < parts - 1
            await told.send({"type": "http.response.body", "body": b"x", "more_body": more})
        told.end()

    asyncio.run(answer(1))
    assert seen == [("http.response.start", 1), ("http.response.body", 1)]
    seen.clear()
    asyncio.run(answer(2))
    # Of a longer answer the client knows the end last.
    assert [lines for _, lines in seen] == [1, 1, 2]
    # One that breaks off, or never begins, is logged once all the same.
    asyncio.run(answer(0))
    assert path.read_text().count("\n") == 3
    log.close()


def test_a_key_cannot_forge_a_log_line() -> None:
    request = Request("GET", "/b/x\n{}\u2028", {}, "127.0.0.1", 0.0, service="s3")
    (line,) = access_lines(request)
    assert len(line.splitlines()) == 1


def test_a_new_file_is_begun_at_each_start_and_when_one_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request("GET", "/b/x", {}, "127.0.0.1", 0.0, service="s3")
    path = tmp_path / "access.jsonl"
    for _ in range(2):
        log = AccessLog(path)
        log.write(request)
        log.close()
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr("logbox_pipeline.local.access_log.ROTATE_BYTES", 1_000)
    log = AccessLog(path)
    for _ in range(8):
        log.write(request)
    log.close()
    files = sorted(tmp_path.iterdir())
    assert files[-1] == path
    assert sum(len(one.read_text().splitlines()) for one in files) == 10
    assert all(one.stat().st_size < 1_500 for one in files)


@pytest.mark.parametrize(
    ("authorization", "query", "claimed"),
    [
        ("AWS4-HMAC-SHA256 Credential=AKIA1/20261129/eu/s3/aws4_request, Signature=0", "",
         ("AKIA1", "s3")),
        ("AWS AKIA1:c2lnbmF0dXJl", "", ("AKIA1", "")),
        ("", "X-Amz-Credential=AKIA1%2F20261129%2Feu%2Fs3%2Faws4_request&x=1", ("AKIA1", "s3")),
        ("Bearer secret", "", ("", "")),
        ("", "", ("", "")),
    ],
)  # fmt: skip
def test_a_claimed_key_is_told_before_it_is_proven(
    authorization: str, query: str, claimed: tuple[str, str]
) -> None:
    assert claim(authorization, query) == claimed


def test_a_hostile_batch_delete_costs_no_time() -> None:
    request = Request("POST", "/b", {"delete": [""]}, "127.0.0.1", 0.0, service="s3", status=403)
    request.keep_sent(b"<Object>" * 400_000)
    started = time.monotonic()
    assert len(access_lines(request)) == 1_001
    assert time.monotonic() - started < 2
