"""A TCP line to a server that a test can cut in the middle of a sentence. No test here."""

import contextlib
import socket
import threading
from collections.abc import Sequence


class Line:
    """Passes everything on until it has seen `words` from the client, one after the other.

    Then it is cut: every connection is dropped and new ones are refused until `mend`.
    `is_heard`: the server still gets what was being said, only its answer is lost.
    `mends_after_s`: it works again so much later.
    """

    def __init__(
        self,
        host: str,
        port: int,
        words: Sequence[bytes],
        *,
        is_heard: bool = False,
        mends_after_s: float | None = None,
    ) -> None:
        self._server = (host, port)
        self._words = list(words)
        self._is_heard = is_heard
        self._mends_after_s = mends_after_s
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._unanswered: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.port = 0
        self.cuts = 0
        self.mend()

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        with self._lock:
            listener, self._listener = self._listener, None
            if listener is None:
                return
            self.cuts += 1
            self._words = []
            dropped, self._sockets = self._sockets, set()
        for each in (listener, *dropped):
            drop(each)
        if self._mends_after_s is not None:
            threading.Timer(self._mends_after_s, self.mend).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._server)
                with self._lock:
                    if self._listener is not listener:
                        drop(client)
                        drop(server)
                        return
                    self._sockets |= {client, server}
                threading.Thread(target=self._listen, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _listen(self, client: socket.socket, server: socket.socket) -> None:
        tail = b""
        with contextlib.suppress(OSError):
            while said := client.recv(65_536):
                tail = (tail + said)[-131_072:]
                if self._is_said(tail):
                    if not self._is_heard:
                        self.cut()
                        return
                    with self._lock:
                        self._unanswered.add(server)
                server.sendall(said)
        drop(client)
        drop(server)

    def _is_said(self, tail: bytes) -> bool:
        with self._lock:
            rest = tail
            for words in self._words:
                _, found, rest = rest.partition(words)
                if not found:
                    return False
            return bool(self._words)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while answer := server.recv(65_536):
                with self._lock:
                    is_lost = server in self._unanswered
                if is_lost:
                    self.cut()
                    break
                client.sendall(answer)
        drop(client)
        drop(server)


def drop(connection: socket.socket) -> None:
    """Shut down first: closing alone says nothing while another thread waits for bytes."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
