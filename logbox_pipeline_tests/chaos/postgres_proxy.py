"""A Postgres that fails on request: a TCP proxy that understands what a client sends.

From PostgreSQL's documentation, "Message Formats": one byte of kind, four of length. Only enough is
read to know COPY data (`d`) and a simple query (`Q`).
"""

import asyncio
import struct
from collections import Counter
from contextlib import suppress
from enum import StrEnum

from logbox_pipeline.local.processes import LOOPBACK
from logbox_pipeline_tests.chaos.served import CHUNK_BYTES, Served, reset

_STARTUP = 196_608
"""Protocol 3.0; other codes in its place ask for encryption or to cancel."""


class PostgresFault(StrEnum):
    """What a session can meet on its way."""

    DROPPED_IN_COPY = "drops a connection in COPY"
    DROPPED_AT_COMMIT = "commits, and its answer is lost"
    SILENT = "takes a connection and never answers"
    DROPPED_BEFORE_COMMIT = "drops a connection before it commits"


class PostgresProxy:
    """Stands on `[::1]:listen`, by default the same port, before the server on `127.0.0.1:port`."""

    def __init__(self, port: int, *, listen: int | None = None) -> None:
        self.served = Served(listen or port, self._connection)
        self.struck: Counter[PostgresFault] = Counter()
        self._port = port
        self._armed: Counter[PostgresFault] = Counter()
        self._flowing = asyncio.Event()
        self._flowing.set()

    def arm(self, fault: PostgresFault, times: int = 1) -> None:
        """Let the next sessions that it fits meet it."""
        self._armed[fault] += times

    def disarm(self) -> None:
        self._armed.clear()

    def is_armed(self, fault: PostgresFault) -> bool:
        return self._armed[fault] > 0

    def stall(self) -> None:
        """Take what comes, and pass nothing on, until flow()."""
        self.served.loop.call_soon_threadsafe(self._flowing.clear)

    def flow(self) -> None:
        self.served.loop.call_soon_threadsafe(self._flowing.set)

    def _take(self, fault: PostgresFault) -> bool:
        if self._armed[fault] <= 0:
            return False
        self._armed[fault] -= 1
        self.struck[fault] += 1
        return True

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._take(PostgresFault.SILENT):
            # As a network that swallows packets: only the client's own patience ends it.
            while await reader.read(CHUNK_BYTES):
                pass
            return
        try:
            from_server, to_server = await asyncio.open_connection(LOOPBACK, self._port)
        except OSError:
            reset(writer)
            return
        back = asyncio.ensure_future(self._pass_back(from_server, writer))
        try:
            await self._pass_on(reader, to_server, back)
        finally:
            reset(to_server)
            with suppress(ConnectionError, asyncio.CancelledError):
                await back
            reset(writer)

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        to_server: asyncio.StreamWriter,
        back: "asyncio.Future[None]",
    ) -> None:
        messages = Messages()
        while chunk := await reader.read(CHUNK_BYTES):
            await self._flowing.wait()
            seen = messages.read(chunk)
            if Seen.COPY in seen and self._take(PostgresFault.DROPPED_IN_COPY):
                to_server.write(chunk[: len(chunk) // 2])
                await to_server.drain()
                return
            if Seen.COMMIT in seen:
                if self._take(PostgresFault.DROPPED_BEFORE_COMMIT):
                    return
                if self._take(PostgresFault.DROPPED_AT_COMMIT):
                    back.cancel()
                    to_server.write(chunk)
                    await to_server.drain()
                    # Let it be done: only its answer is to be lost.
                    await asyncio.sleep(0.3)
                    return
            to_server.write(chunk)
            await to_server.drain()

    async def _pass_back(
        self, from_server: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(ConnectionError):
            while chunk := await from_server.read(CHUNK_BYTES):
                await self._flowing.wait()
                writer.write(chunk)
                await writer.drain()
        writer.close()


class Seen(StrEnum):
    COPY = "copy"
    COMMIT = "commit"


class Messages:
    """Follows what one client sends, whatever pieces it comes in."""

    def __init__(self) -> None:
        self._kept = b""
        self._skip = 0
        self._is_started = False

    def read(self, chunk: bytes) -> set[Seen]:
        """What of interest begins in these bytes."""
        seen: set[Seen] = set()
        data = self._kept + chunk
        self._kept = b""
        at = 0
        while at < len(data):
            if self._skip:
                taken = min(self._skip, len(data) - at)
                self._skip -= taken
                at += taken
                continue
            # Enough of a message to tell what it is.
            if len(data) - at < (12 if data[at : at + 1] == b"Q" else 8):
                self._kept = data[at:]
                break
            if not self._is_started:
                length, code = struct.unpack_from("!II", data, at)
                self._is_started = code == _STARTUP
                self._skip = length
                continue
            kind, (length,) = data[at : at + 1], struct.unpack_from("!I", data, at + 1)
            if kind == b"d":
                seen.add(Seen.COPY)
            elif kind == b"Q" and data[at + 5 : at + 11].upper() == b"COMMIT":
                seen.add(Seen.COMMIT)
            self._skip = length + 1
        return seen
