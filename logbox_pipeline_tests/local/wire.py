"""Requests by hand: signed as botocore signs, then bent, and sent over a plain socket."""

import re
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: str
    body: str


def signed(
    stack: Any,
    method: str,
    path: str,
    *,
    body: bytes = b"",
    service: str = "s3",
    key_id: str | None = None,
    secret: str | None = None,
    token: str | None = None,
    headers: dict[str, str] | None = None,
) -> Headers:
    """The headers of a well-signed request, Host and Content-Length included."""
    credentials = Credentials(
        key_id or stack.access_key_id, secret or stack.secret_access_key, token
    )
    request = AWSRequest(method, stack.s3_endpoint + path, dict(headers or {}), body)
    auth = S3SigV4Auth if service == "s3" else SigV4Auth
    auth(credentials, service, "us-east-1").add_auth(request)
    made = [(name, value) for name, value in request.headers.items()]
    return [("Host", host(stack)), *made, ("Content-Length", str(len(body)))]


def host(stack: Any) -> str:
    return urlsplit(stack.s3_endpoint).netloc


def send(stack: Any, method: str, target: str, headers: Headers, body: bytes = b"") -> Answer:
    """Send one request as it stands here and read its answer."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return exchange(stack, "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)[0]


def exchange(stack: Any, data: bytes, *, timeout_s: float = 10) -> list[Answer]:
    """Send bytes and read every answer until the server closes."""
    address, _, port = host(stack).rpartition(":")
    with socket.create_connection((address, int(port)), timeout=timeout_s) as connection:
        connection.sendall(data)
        received = b""
        try:
            while chunk := connection.recv(65_536):
                received += chunk
        except (ConnectionResetError, TimeoutError):
            pass
    answers = []
    for part in re.split(rb"HTTP/1\.1 (?=[1-5][0-9]{2} )", received)[1:]:
        head, _, rest = part.partition(b"\r\n\r\n")
        answers.append(Answer(int(head[:3]), head.decode("latin-1"), rest.decode("latin-1")))
    return answers or [Answer(0, "", "")]
