"""An asyncio TCP server in a thread of its own: what both proxies stand on. No protocol here."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

LISTENING_ON = "::1"
"""The other loopback address. The real servers listen on 127.0.0.1 with the same ports, and the S3
guard takes `[::1]:port` for a name of its own, so signatures stay true without a change to it."""

CHUNK_BYTES = 64 * 1024

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Served:
    """Serves one port from start() to stop(); refuse() and accept() close and open it meanwhile."""

    def __init__(self, port: int, handle: Handle) -> None:
        self.port = port
        self._handle = handle
        self.loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()
        self.accept()

    def stop(self) -> None:
        self.refuse()
        self.drop_all()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)

    def accept(self) -> None:
        """Take connections. Again is harmless."""
        self._wait_for(self._open())

    def refuse(self) -> None:
        """Let the kernel refuse connections; those that are there stay."""
        self._wait_for(self._close())

    def drop_all(self) -> None:
        """Reset every connection, as a cable that is cut does to a program in the end."""

        async def drop() -> None:
            for writer in self._writers:
                reset(writer)

        self._wait_for(drop())

    async def _open(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._serve, LISTENING_ON, self.port, limit=1024 * 1024
            )

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
                await self._handle(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    def _wait_for(self, work: Awaitable[None]) -> None:
        async def done() -> None:
            await work

        asyncio.run_coroutine_threadsafe(done(), self.loop).result(30)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection at once, whatever was still to be sent."""
    writer.transport.abort()
