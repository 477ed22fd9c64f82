"""An S3 endpoint that fails on request: a reverse proxy before the real one. Streams both ways.

Requests pass byte for byte, Host and signature too. Faults are armed with a number of times and
strike the next requests that they fit; `struck` counts them. Logbox reads no messages of S3 (SQS):
what can repeat, reorder and omit is a listing, and so listings do here.
"""

import asyncio
import random
import re
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qs

from logbox_pipeline.local.processes import LOOPBACK
from logbox_pipeline_tests.chaos.served import CHUNK_BYTES, Served, reset

MOST_REMEMBERED = 2_000
MOST_LISTING_BYTES = 4 * 1024**2


class S3Fault(StrEnum):
    """What a request can meet."""

    ERROR_500 = "answers 500"
    SLOW_DOWN = "answers 503 SlowDown"
    STUCK = "answers 500 for one object, for a while"
    HANG = "does not answer"
    CUT_ANSWER = "cuts a body short that it gives"
    CUT_REQUEST = "breaks off while it takes a body"
    LOST_ANSWER = "does it, and its answer is lost"
    FLIPPED_ANSWER = "flips a bit of a body that it gives"
    FLIPPED_REQUEST = "flips a bit of a body that it takes"
    STALE_LISTING = "lists what was there before"
    SHORT_PAGE = "lists in short pages"
    REPEATED_PAGE = "lists a page again"
    REORDERED = "lists out of order"
    OMITTED = "lists only a part"


LISTINGS = {
    S3Fault.STALE_LISTING,
    S3Fault.SHORT_PAGE,
    S3Fault.REPEATED_PAGE,
    S3Fault.REORDERED,
    S3Fault.OMITTED,
}
ERRORS = {S3Fault.ERROR_500, S3Fault.SLOW_DOWN, S3Fault.STUCK}
_CONTENTS = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: tuple[tuple[bytes, bytes], ...]
    first_line: bytes

    def header(self, name: bytes) -> bytes | None:
        return next((value for one, value in self.headers if one.lower() == name), None)

    @property
    def size_bytes(self) -> int:
        return int(self.header(b"content-length") or 0)

    @property
    def is_listing(self) -> bool:
        return self.method == "GET" and "list-type" in self.query

    @property
    def has_key(self) -> bool:
        return self.path.strip("/").count("/") > 0

    def fits(self, fault: S3Fault) -> bool:
        if fault in LISTINGS:
            return self.is_listing
        if fault in (S3Fault.CUT_ANSWER, S3Fault.FLIPPED_ANSWER):
            return self.method == "GET" and self.has_key and not self.is_listing
        if fault is S3Fault.STUCK:
            # A drone that cannot put would have to wait: that is no trouble of Logbox's.
            is_logbox = self.method == "GET" or "/landing/" not in self.path
            return self.has_key and self.method in ("GET", "PUT") and is_logbox
        if fault in (S3Fault.CUT_REQUEST, S3Fault.FLIPPED_REQUEST):
            return self.method == "PUT" and self.has_key and self.size_bytes > 0
        if fault is S3Fault.LOST_ANSWER:
            changes = self.method in ("PUT", "POST", "DELETE")
            return changes and (self.has_key or "delete" in self.query)
        return True


class S3Proxy:
    """Stands on `[::1]:port` before the store on `127.0.0.1:port`."""

    def __init__(self, port: int, *, seed: int = 0) -> None:
        self.served = Served(port, self._connection)
        self.endpoint = f"http://[::1]:{port}"
        self.struck: Counter[S3Fault] = Counter()
        self.hang_s = 65.0
        """Longer than Logbox waits for an answer (adapters/s3.py)."""
        self.stuck_s = 90.0
        """Longer than it takes until requests have split a batch (core/batching.py)."""
        self._port = port
        self._random = random.Random(seed)
        self._armed: Counter[S3Fault] = Counter()
        self._stuck_until: dict[str, float] = {}
        self._listings: dict[str, deque[bytes]] = defaultdict(lambda: deque(maxlen=20))

    def arm(self, fault: S3Fault, times: int = 1) -> None:
        """Let the next requests that it fits meet it."""
        self._armed[fault] += times

    def disarm(self) -> None:
        """What has not struck yet will not."""
        self._armed.clear()
        self._stuck_until.clear()

    def is_armed(self, fault: S3Fault) -> bool:
        return self._armed[fault] > 0

    def _take(self, request: Request) -> S3Fault | None:
        if time.monotonic() < self._stuck_until.get(request.path, 0):
            return S3Fault.STUCK
        for fault in sorted(self._armed):
            if self._armed[fault] > 0 and request.fits(fault):
                if fault in LISTINGS and not self._can_list(fault, request):
                    continue
                self._armed[fault] -= 1
                self.struck[fault] += 1
                if fault is S3Fault.STUCK:
                    self._stuck_until[request.path] = time.monotonic() + self.stuck_s
                return fault
        return None

    def _can_list(self, fault: S3Fault, request: Request) -> bool:
        if fault is S3Fault.STALE_LISTING:
            return bool(self._listings[request.first_line.decode("latin-1")])
        if fault is S3Fault.REPEATED_PAGE:
            return "start-after" in request.query and bool(self._listings[_prefix(request)])
        return True

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await _read_request(reader)) is not None:
            if not await self._one(request, reader, writer):
                return

    async def _one(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the connection can serve another request."""
        fault = self._take(request)
        if request.header(b"expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if fault in ERRORS:
            async for _ in _body(reader, request.size_bytes):
                pass
            await _answer_error(writer, request, fault)
            return True
        if fault is S3Fault.HANG:
            await asyncio.sleep(self.hang_s)
            reset(writer)
            return False
        try:
            from_store, to_store = await asyncio.open_connection(LOOPBACK, self._port)
        except OSError:
            reset(writer)
            return False
        try:
            if not await self._pass_request(request, fault, reader, to_store):
                reset(writer)
                return False
            if fault is S3Fault.LOST_ANSWER:
                await from_store.read(1)
                reset(writer)
                return False
            return await self._pass_answer(request, fault, from_store, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            reset(writer)
            return False
        finally:
            reset(to_store)

    async def _pass_request(
        self,
        request: Request,
        fault: S3Fault | None,
        reader: asyncio.StreamReader,
        to_store: asyncio.StreamWriter,
    ) -> bool:
        """False: it was broken off."""
        lines = [request.first_line]
        lines += [
            name + b": " + value
            for name, value in request.headers
            if name.lower() not in (b"connection", b"expect")
        ]
        to_store.write(b"\r\n".join([*lines, b"Connection: close", b"", b""]))
        at, size = 0, request.size_bytes
        flipped = self._random.randrange(size) if size else 0
        async for chunk in _body(reader, size):
            if fault is S3Fault.FLIPPED_REQUEST:
                chunk = _flipped(chunk, flipped - at)
            if fault is S3Fault.CUT_REQUEST and at + len(chunk) > size // 2:
                to_store.write(chunk[: max(0, size // 2 - at)])
                await to_store.drain()
                return False
            at += len(chunk)
            to_store.write(chunk)
            await to_store.drain()
        if fault is S3Fault.CUT_REQUEST:
            return False
        await to_store.drain()
        return True

    async def _pass_answer(
        self,
        request: Request,
        fault: S3Fault | None,
        from_store: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        head = await from_store.readuntil(b"\r\n\r\n")
        status, fields = _parse_head(head)
        length = fields.get(b"content-length")
        has_body = request.method != "HEAD" and status not in (204, 304) and status >= 200
        is_framed = (
            length is not None or fields.get(b"transfer-encoding", b"").lower() == b"chunked"
        )
        if request.is_listing and status == 200:
            body = _unchunked(await from_store.read(-1), fields)
            body = self._listing(request, fault, body)
            kept = _without(head, b"content-length", b"transfer-encoding", b"connection")
            writer.write(kept + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
            return True
        writer.write(_without(head, b"connection") + b"\r\n")
        if not has_body:
            await writer.drain()
            return True
        at, size = 0, int(length or 0)
        flipped = self._random.randrange(size) if size else 0
        while chunk := await from_store.read(CHUNK_BYTES):
            if fault is S3Fault.FLIPPED_ANSWER and status < 300 and size:
                chunk = _flipped(chunk, flipped - at)
            if fault is S3Fault.CUT_ANSWER and at + len(chunk) > size // 2:
                writer.write(chunk[: max(0, size // 2 - at)])
                await writer.drain()
                # Not aborted: what was sent is to arrive.
                return False
            at += len(chunk)
            writer.write(chunk)
            await writer.drain()
        return is_framed and (length is None or at == size)

    def _listing(self, request: Request, fault: S3Fault | None, body: bytes) -> bytes:
        same, prefix = request.first_line.decode("latin-1"), _prefix(request)
        known = self._listings[same]
        answer = body
        entries = _CONTENTS.findall(body)
        if fault is S3Fault.STALE_LISTING:
            answer = known[0]
        elif fault is S3Fault.REPEATED_PAGE:
            answer = self._random.choice(self._listings[prefix])
        elif fault is S3Fault.REORDERED:
            self._random.shuffle(entries)
            answer = _with_entries(body, entries)
        elif fault is S3Fault.OMITTED:
            answer = _with_entries(body, [one for one in entries if self._random.random() < 0.5])
        elif fault is S3Fault.SHORT_PAGE and len(entries) > 1:
            answer = _with_entries(body, entries[: (len(entries) + 1) // 2])
            answer = answer.replace(
                b"<IsTruncated>false</IsTruncated>", b"<IsTruncated>true</IsTruncated>"
            )
        if len(body) < MOST_LISTING_BYTES and len(self._listings) < MOST_REMEMBERED:
            known.append(body)
            self._listings[prefix].append(answer)
        return answer


def _prefix(request: Request) -> str:
    return f"{request.path} {request.query.get('prefix', [''])[0]}"


def _with_entries(body: bytes, entries: list[bytes]) -> bytes:
    """The listing with these objects in the place of its own; KeyCount is read by nobody."""
    found = list(_CONTENTS.finditer(body))
    if not found:
        return body
    return body[: found[0].start()] + b"".join(entries) + body[found[-1].end() :]


def _flipped(chunk: bytes, at: int) -> bytes:
    if not 0 <= at < len(chunk):
        return chunk
    return chunk[:at] + bytes((chunk[at] ^ 0x10,)) + chunk[at + 1 :]


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first_line, *lines = head[:-4].split(b"\r\n")
    method, target, _ = first_line.decode("latin-1").split(" ", 2)
    path, _, query = target.partition("?")
    headers = tuple(
        (name.strip(), value.strip()) for name, _, value in (one.partition(b":") for one in lines)
    )
    asked = parse_qs(query, keep_blank_values=True)
    return Request(method, path, asked, headers, first_line)


async def _body(reader: asyncio.StreamReader, size: int) -> AsyncIterator[bytes]:
    """Raises IncompleteReadError when the client goes away in its middle."""
    left = size
    while left:
        chunk = await reader.read(min(CHUNK_BYTES, left))
        if not chunk:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(chunk)
        yield chunk


def _parse_head(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    first, *lines = head[:-4].split(b"\r\n")
    fields = {
        name.strip().lower(): value.strip()
        for name, _, value in (one.partition(b":") for one in lines)
    }
    return int(first.split(b" ", 2)[1]), fields


def _without(head: bytes, *names: bytes) -> bytes:
    """The head without these fields and without the empty line at its end."""
    first, *lines = head[:-4].split(b"\r\n")
    kept = [one for one in lines if one.partition(b":")[0].strip().lower() not in names]
    return b"\r\n".join([first, *kept]) + b"\r\n"


def _unchunked(body: bytes, fields: dict[bytes, bytes]) -> bytes:
    if fields.get(b"transfer-encoding", b"").lower() != b"chunked":
        return body
    parts = []
    while body:
        size_text, _, body = body.partition(b"\r\n")
        size = int(size_text.split(b";")[0], 16)
        if size == 0:
            break
        parts.append(body[:size])
        body = body[size + 2 :]
    return b"".join(parts)


async def _answer_error(writer: asyncio.StreamWriter, request: Request, fault: S3Fault) -> None:
    status, code = (
        (b"503 Slow Down", b"SlowDown")
        if fault is S3Fault.SLOW_DOWN
        else (b"500 Internal Server Error", b"InternalError")
    )
    body = b"<Error><Code>" + code + b"</Code><Message>made by the test</Message></Error>"
    head = b"HTTP/1.1 " + status + b"\r\nContent-Type: application/xml\r\n"
    writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body))
    if request.method != "HEAD":
        writer.write(body)
    with suppress(ConnectionError):
        await writer.drain()
