"""A TCP line to a server that a test can cut in the middle of a sentence. No test here."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence


class Line:
    """Passes everything on until it has seen `words` from the client, one after the other.

    Then it is cut: every connection is dropped and new ones are refused until `mend`.
    `is_heard`: the server still gets what was being said, only its answer is lost.
    """

    def __init__(self, host: str, port: int, words: Sequence[bytes], *, is_heard: bool) -> None:
        self._server = (host, port)
        self._words = list(words)
        self._is_heard = is_heard
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
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
            self.cuts += 1
            self._words = []
            dropped, self._sockets = self._sockets, set()
            listener, self._listener = self._listener, None
        for each in [listener, *dropped]:
            if each is not None:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._server)
                with self._lock:
                    self._sockets |= {client, server}
                threading.Thread(target=self._listen, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _listen(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError), client, server:
            tail = b""
            while said := client.recv(65_536):
                tail = (tail + said)[-131_072:]
                if self._is_said(tail):
                    if self._is_heard:
                        server.sendall(said)
                        # The server's answer comes back here, and no further.
                        server.settimeout(5)
                        server.recv(1)
                    self.cut()
                    return
                server.sendall(said)

    def _is_said(self, tail: bytes) -> bool:
        with self._lock:
            if not self._words or self._words[0] not in tail:
                return False
            if len(self._words) > 1 and self._words[1] not in tail.partition(self._words[0])[2]:
                return False
            return True

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            while answer := server.recv(65_536):
                client.sendall(answer)


@contextlib.contextmanager
def line(host: str, port: int, *words: bytes, is_heard: bool = False) -> Iterator[Line]:
    made = Line(host, port, words, is_heard=is_heard)
    try:
        yield made
    finally:
        made.cut()
