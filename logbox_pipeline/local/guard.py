"""Let only well-signed S3, IAM, STS and SQS requests of known IAM users through to MiniStack.

MiniStack serves some hundred AWS services and a control plane of its own, takes some keys for root
without looking at the signature, and has several opinions on which of two credentials counts. So
the guard admits what it knows, and refuses the rest before MiniStack sees it:

    admit(request)  -> Admitted | Refusal     one SigV4 credential, of an active IAM user, whose
                                              signature is right; a service and a path it may name
    Guard           -> the ASGI application   admits, counts, saves state, has each request logged

What a user may do is MiniStack's to decide (IAM policies), as are the digests of bodies. No file
of an object is touched here: see durable.py. What a line of the access log says: access_log.py.
"""

import dataclasses
import datetime
import hashlib
import hmac
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from logbox_pipeline.local import durable
from logbox_pipeline.local.access_log import (
    AccessLog,
    Request,
    claim,
    lenient_query,
    operation,
)

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEALTH_PATH = "/_ministack/health"
METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE"})
SERVICES = frozenset({"s3", "iam", "sts", "sqs"})

# AWS's own limit for one PUT.
LARGEST_BODY = 5 * 2**30
# And its own for a key, in UTF-8: a longer name fits into no other S3 either.
LONGEST_KEY = 1_024
# IAM, STS and SQS requests are held in memory before they are judged.
LARGEST_FORM = 2**20
# Left free on the disk, so that IAM state and Postgres can still be written.
RESERVED_BYTES = 256 * 2**20

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[A-Z0-9]{16,128})/(?P<date>[0-9]{8})"
    r"/(?P<region>[a-z0-9-]{1,40})/(?P<service>[a-z0-9-]{1,40})/aws4_request, ?"
    r"SignedHeaders=(?P<signed>[a-z0-9-]+(?:;[a-z0-9-]+)*), ?Signature=(?P<signature>[0-9a-f]{64})"
)
CREDENTIAL = re.compile(
    r"(?P<key>[A-Z0-9]{16,128})/(?P<date>[0-9]{8})"
    r"/(?P<region>[a-z0-9-]{1,40})/(?P<service>[a-z0-9-]{1,40})/aws4_request"
)
PRESIGN_PARAMETERS = (
    "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders",
    "X-Amz-Signature",
)  # fmt: skip
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# First path segments that MiniStack gives to other services although S3 signed them.
NOT_BUCKETS = re.compile(
    r"iceberg.*|v[0-9]+|[0-9]{4}-[0-9]{2}-[0-9]{2}|v20180820|oauth2|saml2|scim|webtoken|clitoken|"
    r"restapi|environments|metrics|key-value-stores|graphql|event|apis|sockets|health|login|logout|"
    r"execute|begintransaction|committransaction|rollbacktransaction|executesql|batchexecute"
)
# Headers that may stand on several lines; all others would be merged or picked by somebody.
REPEATABLE = frozenset({"accept", "accept-encoding", "content-encoding", "cookie", "connection"})

CHECKSUM = b"x-amz-checksum-sha256"
PUTS = frozenset({"PutObject", "UploadPart"})

READ_ACTIONS = re.compile(r"(Get|List|Simulate|Generate|Decode|Receive).*")
QUEUE_MESSAGES = re.compile(
    r"(Send|Receive|Delete|ChangeMessage)Message.*|PurgeQueue|ChangeMessage.*"
)


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why a request goes no further: an HTTP status and an AWS error code and text."""

    status: int
    code: str
    message: str


WRONG_BODY = Refusal(
    400,
    "XAmzContentSHA256Mismatch",
    "The provided 'x-amz-content-sha256' header does not match what was computed.",
)


@dataclasses.dataclass(frozen=True)
class Admitted:
    """A request whose signer is known."""

    key_id: str
    service: str
    # The query as MiniStack will read it.
    query: dict[str, list[str]]


class Guard:
    """The ASGI application that stands before MiniStack's."""

    def __init__(
        self,
        app: App,
        *,
        port: int,
        access_log: Path,
        data: Path,
        on_started: Callable[[], None],
    ) -> None:
        self._app = app
        self._hosts = frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))
        self._data = data
        self._on_started = on_started
        self._access_log = AccessLog(access_log)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._announcing(send))
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            request = request_of({**scope, "method": "GET"})
            request.status, request.refused = 403, "WebSocket"
            self._access_log.write(request)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    def _announcing(self, send: Send) -> Send:
        async def announce(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._on_started()
            await send(message)

        return announce

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = request_of(scope)
        if request.path == HEALTH_PATH and request.method == "GET":
            await answer_health(request, send)
            return
        answer = LoggedAnswer(self._access_log, request, send)
        send = answer.send
        try:
            admitted = admit(scope, hosts=self._hosts)
            if isinstance(admitted, Refusal):
                await refuse(request, admitted, send)
                return
            request.key_id, request.service = admitted.key_id, admitted.service
            request.query, request.user = admitted.query, user_of(admitted.key_id)
            request.copy_source = decode(header(scope, b"x-amz-copy-source"))
            if admitted.service == "s3":
                refusal = self._room_for(scope)
            else:
                refusal, receive = await admit_form(scope, request, receive)
            if refusal:
                await refuse(request, refusal, send)
                return
            await self._forward(scope, request, receive, send)
        finally:
            answer.end()

    def _room_for(self, scope: Scope) -> Refusal | None:
        length = header(scope, b"content-length")
        if scope["method"] not in {"PUT", "POST"} or not length:
            return None
        # Overwriting writes the covered version again beside the new bytes.
        if durable.free_bytes(self._data) < int(length) + RESERVED_BYTES:
            return Refusal(503, "ServiceUnavailable", "The disk of the embedded S3 is full.")
        return None

    async def _forward(self, scope: Scope, request: Request, receive: Receive, send: Send) -> None:
        failures: list[tuple[str, str]] = []
        token = durable.failed_writes.set(failures)
        removals = durable.removed_from.set(set())
        answered = False
        # MiniStack signs this header but does not compare it with the body.
        declared = decode(header(scope, b"x-amz-content-sha256"))
        digest = hashlib.sha256() if re.fullmatch(r"[0-9a-f]{64}", declared) else None

        async def counted_receive() -> Message:
            nonlocal answered
            message = await receive()
            body = message.get("body", b"")
            request.bytes_in += len(body)
            request.keep_sent(body)
            if digest and not answered and message["type"] == "http.request":
                digest.update(body)
                if not message.get("more_body", False) and digest.hexdigest() != declared:
                    answered = True
                    await refuse(request, WRONG_BODY, send)
                    # For MiniStack the client went away before its request was whole.
                    return {"type": "http.disconnect"}
            return message

        async def checked_send(message: Message) -> None:
            nonlocal answered
            if answered:
                return
            if message["type"] == "http.response.start":
                # The request has done its work now and nobody has been told yet.
                refusal = settle(request, message["status"], failures)
                if refusal:
                    answered = True
                    await refuse(request, refusal, send)
                    return
                message = confirm_checksum(request, scope, message)
                request.status = message["status"]
                request.request_id = answer_header(message, b"x-amz-request-id")
                request.version_id = answer_header(message, b"x-amz-version-id")
            elif message["type"] == "http.response.body":
                request.bytes_out += len(message.get("body", b""))
                request.keep_answer(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, counted_receive, checked_send)
        finally:
            durable.failed_writes.reset(token)
            durable.removed_from.reset(removals)

    def close(self) -> None:
        self._access_log.close()


class LoggedAnswer:
    """Writes a request's line before the last of its answer goes out: what a client knows to be
    done stands in the log, however suddenly the server ends."""

    def __init__(self, log: AccessLog, request: Request, send: Send) -> None:
        self._log = log
        self._request = request
        self._send = send
        self._held: Message | None = None
        self._is_logged = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            # The head of an answer without a body is all of it: it waits for what follows.
            self._held = message
            return
        if not message.get("more_body", False):
            self.end()
        if self._held is not None:
            held, self._held = self._held, None
            await self._send(held)
        await self._send(message)

    def end(self) -> None:
        """Write the line, if it is not yet: nothing more is answered."""
        if not self._is_logged:
            self._is_logged = True
            self._log.write(self._request)


def admit(scope: Scope, *, hosts: frozenset[str]) -> Admitted | Refusal:
    """Decide on the head of a request alone; its body has not been asked for."""
    shape = check_shape(scope, hosts)
    if shape:
        return shape
    try:
        query = parse_qs(scope.get("query_string", b"").decode("utf-8"), keep_blank_values=True)
    except (UnicodeDecodeError, ValueError):
        return Refusal(400, "InvalidURI", "The query string is not UTF-8.")
    headers = {
        name.decode("latin-1").lower(): decode(value) for name, value in scope.get("headers", [])
    }
    credential = one_credential(headers, query)
    if isinstance(credential, Refusal):
        return credential
    key_id, service, presigned = credential
    refusal = check_route(scope, headers, query, service)
    if refusal:
        return refusal
    secret = secret_of(key_id)
    if secret is None:
        return Refusal(
            403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist here."
        )
    # Only S3 says the body's digest in a header; the others are signed over it, and checked by
    # MiniStack once the body has been read.
    if service == "s3":
        refusal = check_signature(scope, headers, query, secret, presigned=presigned)
        if refusal:
            return refusal
        _, _, key = scope["path"][1:].partition("/")
        if len(key.encode("utf-8", "surrogatepass")) > LONGEST_KEY:
            return Refusal(400, "KeyTooLongError", "Your key is too long")
    return Admitted(key_id, service, query)


def check_shape(scope: Scope, hosts: frozenset[str]) -> Refusal | None:
    """Refuse what no S3 client sends, whoever signed it."""
    if scope.get("http_version") not in {"1.0", "1.1"}:
        return Refusal(400, "InvalidRequest", "Only HTTP/1.1 is spoken here.")
    if scope["method"] not in METHODS:
        return Refusal(405, "MethodNotAllowed", "The method is not allowed.")
    seen: set[str] = set()
    for raw, _ in scope.get("headers", []):
        name = raw.decode("latin-1").lower()
        if name in seen and name not in REPEATABLE:
            return Refusal(400, "InvalidRequest", f"The header {name} stands twice.")
        seen.add(name)
    if decode(header(scope, b"host")).lower() not in hosts:
        return Refusal(
            400, "InvalidRequest", "The Host is not this endpoint's. Use path-style addressing."
        )
    if "transfer-encoding" in seen and "content-length" in seen:
        return Refusal(400, "InvalidRequest", "A body has one length.")
    if seen & {"upgrade", "x-forwarded-proto", "x-forwarded-host", "x-http-method-override"}:
        return Refusal(400, "InvalidRequest", "There is no proxy and no upgrade here.")
    length = header(scope, b"content-length")
    if length and (not re.fullmatch(rb"[0-9]{1,12}", length) or int(length) > LARGEST_BODY):
        return Refusal(400, "EntityTooLarge", "The largest object is 5 GiB.")
    return None


def one_credential(
    headers: dict[str, str], query: dict[str, list[str]]
) -> tuple[str, str, bool] | Refusal:
    """(key id, service, is presigned) of the only credential, or why there is none or a second."""
    names = [name.lower() for name in query]
    if len(set(names)) != len(names) or any(len(values) != 1 for values in query.values()):
        return Refusal(400, "InvalidRequest", "A query parameter stands twice.")
    lower = {name.lower(): values for name, values in query.items()}
    if "x-amz-security-token" in headers or "x-amz-security-token" in lower:
        return Refusal(403, "InvalidToken", "Temporary credentials are not served here.")
    if lower.keys() & {"awsaccesskeyid", "signature", "signatureversion", "securitytoken"}:
        return Refusal(403, "InvalidRequest", "Only signature version 4 is accepted.")
    amz = {name for name in lower if name.startswith("x-amz-")}
    if "authorization" in headers:
        if amz:
            return Refusal(400, "InvalidRequest", "Only one auth mechanism is allowed.")
        found = AUTHORIZATION.fullmatch(headers["authorization"])
        if not found:
            return Refusal(403, "InvalidRequest", "Only signature version 4 is accepted.")
        signed = found["signed"].split(";")
        required = {name for name in headers if name.startswith("x-amz-")} | {"host"}
    else:
        if not all(name in query for name in PRESIGN_PARAMETERS):
            return Refusal(403, "AccessDenied", "Requests must be signed.")
        if query["X-Amz-Algorithm"] != ["AWS4-HMAC-SHA256"]:
            return Refusal(403, "InvalidRequest", "Only signature version 4 is accepted.")
        found = CREDENTIAL.fullmatch(query["X-Amz-Credential"][0])
        if not found or found["service"] != "s3":
            return Refusal(403, "InvalidRequest", "The credential is malformed.")
        signed = query["X-Amz-SignedHeaders"][0].split(";")
        required = {name for name in headers if name.startswith("x-amz-")} | {"host"}
        # Botocore does not sign it in a URL, and it cannot change what the URL does.
        required.discard("x-amz-content-sha256")
    missing = required - set(signed)
    if missing or signed != sorted(set(signed)):
        return Refusal(
            403, "AccessDenied", "There were headers present in the request which were not signed."
        )
    return found["key"], found["service"], "authorization" not in headers


def check_route(
    scope: Scope, headers: dict[str, str], query: dict[str, list[str]], service: str
) -> Refusal | None:
    """Refuse a request that MiniStack would not give to the service that was signed for."""
    nowhere = Refusal(403, "AccessDenied", "There is no such service here.")
    if service not in SERVICES:
        return nowhere
    path: str = scope["path"]
    target = headers.get("x-amz-target")
    if service == "s3":
        segments = path.split("/")
        bucket = segments[1] if len(segments) > 1 else ""
        if not path.startswith("/") or target is not None:
            return nowhere
        if path != "/" and (not BUCKET.fullmatch(bucket) or NOT_BUCKETS.fullmatch(bucket)):
            return Refusal(
                400, "InvalidBucketName", "The path does not begin with a bucket's name."
            )
        if path == "/" and scope["method"] not in {"GET", "HEAD"}:
            return nowhere
    else:
        if path != "/" or query or scope["method"] != "POST":
            return nowhere
        if target is not None and not (
            service == "sqs" and re.fullmatch(r"AmazonSQS\.[A-Za-z]{1,40}", target)
        ):
            return nowhere
        if "content-encoding" in headers:
            return nowhere
    from ministack.core.router import detect_service

    return None if detect_service(scope["method"], path, headers, query) == service else nowhere


def secret_of(key_id: str) -> str | None:
    """The secret of an active key of an IAM user; None for root, sessions and anything unknown."""
    from ministack.core.iam_evaluator import is_root_access_key
    from ministack.services import iam

    if is_root_access_key(key_id):
        return None
    record = iam._access_keys.get_scoped(durable.ACCOUNT, None, key_id)
    if not record or record.get("Status") != "Active":
        return None
    if iam._users.get_scoped(durable.ACCOUNT, None, record.get("UserName", "")) is None:
        return None
    return record.get("SecretAccessKey") or None


def user_of(key_id: str) -> str:
    """The IAM user that holds an admitted key."""
    from ministack.services import iam

    record = iam._access_keys.get_scoped(durable.ACCOUNT, None, key_id)
    return str((record or {}).get("UserName", ""))


def check_signature(
    scope: Scope,
    headers: dict[str, str],
    query: dict[str, list[str]],
    secret: str,
    *,
    presigned: bool,
) -> Refusal | None:
    """Compute the signature of an S3 request's head before a byte of its body is read."""
    from ministack.core import sigv4

    parse = sigv4.parse_query_signature if presigned else sigv4.parse_header_signature
    signature = parse(query if presigned else headers)
    if isinstance(signature, tuple):
        return Refusal(403, *signature)
    if not presigned and not headers.get("x-amz-content-sha256"):
        return Refusal(400, "InvalidRequest", "The header x-amz-content-sha256 is missing.")
    if signature.date_stamp != signature.amz_date[:8]:
        return Refusal(403, "SignatureDoesNotMatch", "Two dates are signed.")
    if not re.fullmatch(r"[0-9]{8}T[0-9]{6}Z", signature.amz_date):
        return Refusal(403, "AccessDenied", "The date is malformed.")
    if presigned:
        late = is_expired(signature.amz_date, query["X-Amz-Expires"][0])
        if late:
            return Refusal(403, "AccessDenied", "Request has expired")
    else:
        skewed = sigv4.request_time_failure(signature)
        if skewed:
            return Refusal(403, "RequestTimeTooSkewed", skewed[1])
    raw_path = (scope.get("raw_path") or b"").decode("latin-1")
    if unquote(raw_path) != scope["path"]:
        return Refusal(400, "InvalidURI", "The path has two meanings.")
    _, to_sign = sigv4.header_signing_documents(
        signature, scope["method"], raw_path, query, headers, b"", presigned=presigned
    )
    key = sigv4._cached_signing_key(
        secret, signature.date_stamp, signature.region, signature.service
    )
    computed = hmac.new(key, to_sign.encode("utf-8"), "sha256").hexdigest()
    if not hmac.compare_digest(computed, signature.signature):
        return Refusal(403, "SignatureDoesNotMatch", sigv4.SIGNATURE_MISMATCH)
    return None


def is_expired(amz_date: str, expires: str) -> bool:
    signed_at = datetime.datetime.strptime(amz_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    now = datetime.datetime.now(datetime.UTC)
    if not re.fullmatch(r"[0-9]{1,6}", expires) or int(expires) > 7 * 86_400:
        return True
    early = now < signed_at - datetime.timedelta(minutes=15)
    return early or now > signed_at + datetime.timedelta(seconds=int(expires))


async def admit_form(
    scope: Scope, request: Request, receive: Receive
) -> tuple[Refusal | None, Receive]:
    """Read the small body of an IAM, STS or SQS request, and find its one action."""
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > LARGEST_FORM:
            return Refusal(400, "RequestTooLarge", "The request is larger than 1 MiB."), receive

    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    target = decode(header(scope, b"x-amz-target"))
    try:
        form = {} if target else parse_qs(body.decode("utf-8"), keep_blank_values=True)
    except (UnicodeDecodeError, ValueError):
        return Refusal(400, "MalformedInput", "The form is not UTF-8."), replay
    actions = [target.partition(".")[2]] if target else form.get("Action", [])
    if len(actions) != 1 or any(len(values) > 1 for values in form.values()):
        return Refusal(400, "MalformedInput", "A parameter stands twice, or no action."), replay
    content_type = decode(header(scope, b"content-type"))
    if not target and not content_type.startswith("application/x-www-form-urlencoded"):
        return Refusal(400, "MalformedInput", "The body is not a form."), replay
    request.action = actions[0][:64]
    return None, replay


def settle(request: Request, status: int, failures: list[tuple[str, str]]) -> Refusal | None:
    """Save what a finished request changed; a Refusal when it could not be kept."""
    if failures:
        for bucket in {bucket for bucket, _ in failures}:
            durable.reread_bucket(bucket)
        return Refusal(503, "ServiceUnavailable", "The object could not be written. Try again.")
    if status >= 400:
        return None
    try:
        durable.sync_removals()
        for service in changed_state(request):
            durable.save_state(service)
    except Exception:
        # Whatever MiniStack's private code raises: what is not on disk is not answered 200.
        log.exception("the state of %s could not be saved", request.service)
        return Refusal(503, "ServiceUnavailable", "The change could not be saved. Try again.")
    return None


def confirm_checksum(request: Request, scope: Scope, message: Message) -> Message:
    """The answer to a PUT as AWS gives it: with the SHA-256 that the bytes were compared with and
    are kept with. MiniStack refuses other bytes (BadDigest), and does not say so in its answer."""
    proven = header(scope, CHECKSUM)
    if message["status"] != 200 or not proven or answer_header(message, CHECKSUM):
        return message
    bucket, _, key = request.path.lstrip("/").partition("/")
    if request.service != "s3" or operation(request.method, bucket, key, request.query) not in PUTS:
        return message
    return {**message, "headers": [*message.get("headers", []), (CHECKSUM, proven)]}


def changed_state(request: Request) -> list[str]:
    """Which of MiniStack's state files an admitted request may have changed."""
    if request.service == "s3":
        bucket, _, key = request.path.lstrip("/").partition("/")
        is_bucket = bool(bucket) and not key
        is_change = request.method in {"PUT", "DELETE"} or (
            request.method == "POST" and "delete" not in request.query
        )
        return ["s3"] if is_bucket and is_change else []
    if request.service == "iam":
        return [] if READ_ACTIONS.fullmatch(request.action) else ["iam"]
    if request.service == "sqs":
        is_read = READ_ACTIONS.fullmatch(request.action) or QUEUE_MESSAGES.fullmatch(request.action)
        return [] if is_read else ["sqs"]
    return []


async def refuse(request: Request, refusal: Refusal, send: Send) -> None:
    """Answer with an AWS error and close: the body, if any, is not read."""
    request.status, request.refused = refusal.status, refusal.code
    request.request_id = request.request_id or uuid.uuid4().hex
    error = f"<Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message>"
    if request.service in {"", "s3"}:
        text = f"<Error>{error}<RequestId>{request.request_id}</RequestId></Error>"
    else:
        text = f"<ErrorResponse><Error>{error}</Error></ErrorResponse>"
    body = b"" if request.method == "HEAD" else text.encode()
    request.bytes_out = len(body)
    headers = [
        (b"content-type", b"application/xml"),
        (b"content-length", str(len(body)).encode()),
        (b"x-amz-request-id", request.request_id.encode()),
        # A drone whose clock is off takes its time from here.
        (b"date", formatdate(usegmt=True).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def answer_health(request: Request, send: Send) -> None:
    body = b'{"status": "running"}'
    request.status = 200
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def header(scope: Scope, name: bytes) -> bytes:
    values = [value for found, value in scope.get("headers", []) if found.lower() == name]
    first: bytes = values[0] if values else b""
    return first


def decode(value: bytes) -> str:
    """As MiniStack decodes header values."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def answer_header(message: Message, name: bytes) -> str:
    for found, value in message.get("headers", []):
        if found.lower() == name:
            return decode(value)
    return ""


def request_of(scope: Scope) -> Request:
    """What the access log can say of a request before anything in it is believed."""
    query_string: bytes = scope.get("query_string", b"")
    key_id, service = claim(decode(header(scope, b"authorization")), query_string.decode("latin-1"))
    return Request(
        method=scope["method"],
        path=scope["path"],
        query=lenient_query(query_string),
        remote=(scope.get("client") or ("",))[0],
        started=time.time(),
        claimed_key_id=key_id,
        claimed_service=service,
    )
