"""A TCP proxy that hears every statement; loses the answer to a COMMIT, which nobody can know; or is slow, or cuts."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

_ASKS_FOR_ENCRYPTION = (80877103, 80877104)


@dataclass
class Heard:
    """The statements that one connection sent through the simple protocol, which is what psycopg2 speaks."""

    statements: list[str] = field(default_factory=list)
    _started: bool = False
    _pending: bytes = b""

    def feed(self, data: bytes) -> None:
        """Take in what the client sent."""
        self._pending += data
        while (message := self._message()) is not None:
            kind, body = message
            if kind == b"Q":
                self.statements.append(body.rstrip(b"\0").decode())
            elif not kind:
                self._started = struct.unpack("!i", body[:4])[0] not in _ASKS_FOR_ENCRYPTION

    def _message(self) -> tuple[bytes, bytes] | None:
        """The next whole message; before the session has started they have no kind."""
        start = 1 if self._started else 0
        if len(self._pending) < start + 4:
            return None
        length = struct.unpack("!i", self._pending[start : start + 4])[0]
        if length < 4:  # encrypted, or another protocol
            self._pending = b""
            return None
        end = start + length
        if len(self._pending) < end:
            return None
        kind, body = self._pending[:start], self._pending[start + 4 : end]
        self._pending = self._pending[end:]
        return kind, body


@dataclass
class Proxy:
    """Between a client and a server on this machine.

    Attributes:
        port: where clients connect.
        lose_commits: how many answers to COMMIT are still to be lost; the connection is cut instead.
        within: only of a transaction in which these bytes were sent, such as `COPY `; empty: of any.
        before: cut before the server sees the COMMIT rather than after it has answered.
        reset: a cut is a reset, not an orderly end.
        latency: seconds that each piece is held back, in both directions.
        pieces: most bytes that are sent on at once; 0: as they come.
        silent: nothing passes any more, and nothing is closed: half-open, as after a cable was pulled.
        fall_silent_at: it becomes silent with the first bytes like these that a client sends; empty: never.
        is_silent: it came to that.
        lost: how many were lost.
        cut_after: bytes that the server may send on one connection before it is cut; 0: any number.
        heard: what each connection sent, in the order in which they were made.
    """

    target: tuple[str, int]
    port: int = 0
    lose_commits: int = 0
    within: bytes = b""
    before: bool = False
    reset: bool = False
    latency: float = 0.0
    pieces: int = 0
    silent: bool = False
    fall_silent_at: bytes = b""
    is_silent: threading.Event = field(default_factory=threading.Event)
    lost: int = 0
    cut_after: int = 0
    closed: bool = False
    heard: list[Heard] = field(default_factory=list)
    _deaf: dict[socket.socket, threading.Event] = field(default_factory=dict)

    def serve(self, listening: socket.socket) -> None:
        """Accept until the listening socket is closed."""
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with closing(client), closing(socket.create_connection(self.target)) as server:
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
            cut = seen = False
            heard = Heard()
            self.heard.append(heard)
            back.start()
            while data := _received(client):
                heard.feed(data)
                if self.fall_silent_at and self.fall_silent_at in data:
                    self.silent = True
                    self.is_silent.set()
                seen = seen or self.within in data
                if self.lose_commits and seen and b"COMMIT" in data:
                    self.lose_commits -= 1
                    self.lost += 1
                    cut = True
                    if not self.before:
                        if not self.reset:
                            with suppress(OSError):
                                client.shutdown(socket.SHUT_WR)  # the client hears nothing more
                        self._deaf[client] = answered = threading.Event()
                        server.sendall(data)
                        answered.wait(5)
                    break
                seen = seen and b"COMMIT" not in data
                with suppress(OSError):
                    self._send(server, data)
            if cut:
                self._cut(client)
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        passed = 0
        while data := _received(source):
            passed += len(data)
            if self.cut_after and passed > self.cut_after:
                self._cut(sink)
                return
            if sink in self._deaf:
                self._deaf[sink].set()
                continue
            try:
                self._send(sink, data)
            except OSError:
                return
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _send(self, sink: socket.socket, data: bytes) -> None:
        """Pass it on, as slowly as asked; not while the line is silent."""
        while self.silent:
            if self.closed:  # what was held back is lost, as on a line that is down; a COMMIT must not come after all
                raise ConnectionAbortedError
            time.sleep(0.05)
        if self.latency:
            time.sleep(self.latency)
        step = self.pieces or len(data)
        for start in range(0, len(data), step):
            sink.sendall(data[start : start + step])

    def _cut(self, client: socket.socket) -> None:
        with suppress(OSError):
            if self.reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
            else:
                client.shutdown(socket.SHUT_RDWR)


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(65536)
    except OSError:
        return b""


@contextmanager
def proxy(host: str, port: int) -> Iterator[Proxy]:
    """A running proxy to a server."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        running = Proxy((host, port), listening.getsockname()[1])
        threading.Thread(target=running.serve, args=(listening,), daemon=True).start()
        try:
            yield running
        finally:
            running.closed = True
