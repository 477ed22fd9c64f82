"""A bad link: a TCP proxy that cuts connections, loses answers and makes answers up.

urllib3 is led to it instead of to the store, so that requests still name the store's own host.
"""

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from urllib3.util import connection

CHUNK = 65536


@dataclass(frozen=True)
class Cut:
    """Close after so many bytes of the request's body have passed."""

    after_bytes: int


@dataclass(frozen=True)
class Lose:
    """Let the request through, and close instead of passing the answer on."""


@dataclass(frozen=True)
class Answer:
    """Answer without asking the store."""

    status: str
    code: str

    def raw(self) -> bytes:
        body = f"<Error><Code>{self.code}</Code><Message>made up</Message></Error>"
        return (
            f"HTTP/1.1 {self.status}\r\nContent-Type: application/xml\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
        ).encode()


Trouble = Cut | Lose | Answer | None
Rule = Callable[[str], Trouble]
"""From a request line such as `PUT /bucket/key HTTP/1.1` to what becomes of it."""


@dataclass
class Link:
    """The request lines that came by."""

    requests: list[str] = field(default_factory=list)


@contextmanager
def bad_link(to: str, rule: Rule) -> Iterator[Link]:
    """The way of this process to the store at `to`, where `rule` decides about every request."""
    upstream = (urlsplit(to).hostname or "", urlsplit(to).port or 80)
    listener = socket.create_server(("127.0.0.1", 0))
    link = Link()
    connect = connection.create_connection

    def reroute(address: tuple[str, int], *args: Any, **kwargs: Any) -> socket.socket:
        return connect(listener.getsockname() if address == upstream else address, *args, **kwargs)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                drone, _ = listener.accept()
                threading.Thread(
                    target=_carry, args=(drone, upstream, rule, link), daemon=True
                ).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        with patch.object(connection, "create_connection", reroute):
            yield link
    finally:
        listener.close()


def _carry(drone: socket.socket, upstream: tuple[str, int], rule: Rule, link: Link) -> None:
    losing = threading.Event()
    with contextlib.suppress(OSError), drone, socket.create_connection(upstream) as store:
        threading.Thread(target=_answers, args=(store, drone, losing), daemon=True).start()
        buffered = b""
        while True:
            while b"\r\n\r\n" not in buffered:
                chunk = drone.recv(CHUNK)
                if not chunk:
                    return
                buffered += chunk
            head, _, buffered = buffered.partition(b"\r\n\r\n")
            line = head.split(b"\r\n", 1)[0].decode()
            link.requests.append(line)
            trouble = rule(line)
            length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
            left = int(length[1]) if length else 0
            if isinstance(trouble, Answer):
                drone.sendall(trouble.raw())
                return
            if isinstance(trouble, Lose):
                losing.set()
            store.sendall(head + b"\r\n\r\n")
            may_pass = trouble.after_bytes if isinstance(trouble, Cut) else left
            while left > 0:
                chunk = buffered or drone.recv(CHUNK)
                chunk, buffered = chunk[:left], chunk[left:]
                if not chunk:
                    return
                store.sendall(chunk[:may_pass])
                left -= len(chunk)
                may_pass -= len(chunk)
                if may_pass < 0:
                    return
            if isinstance(trouble, Cut):
                return


def _answers(store: socket.socket, drone: socket.socket, losing: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while chunk := store.recv(CHUNK):
            if losing.is_set() and not chunk.startswith(b"HTTP/1.1 100"):
                break
            drone.sendall(chunk)
    for end in (drone, store):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def troubles(*, on: str, first: list[Trouble]) -> Rule:
    """A rule: the requests whose line matches `on` meet these troubles, one after the other."""
    left = list(first)

    def rule(line: str) -> Trouble:
        return left.pop(0) if left and re.search(on, line) else None

    return rule
