"""A TCP proxy that can lose the answer to a COMMIT, the outcome that a client cannot know, or cut a long answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """Between a client and a server on this machine.

    Attributes:
        port: where clients connect.
        lose_commits: how many answers to COMMIT are still to be lost; the connection is cut instead.
        within: only of a transaction in which these bytes were sent, such as `COPY `; empty: of any.
        before: cut before the server sees the COMMIT rather than after it has answered.
        lost: how many were lost.
        cut_after: bytes that the server may send on one connection before it is cut; 0: any number.
    """

    target: tuple[str, int]
    port: int = 0
    lose_commits: int = 0
    within: bytes = b""
    before: bool = False
    lost: int = 0
    cut_after: int = 0
    _threads: list[threading.Thread] = field(default_factory=list)

    def serve(self, listening: socket.socket) -> None:
        """Accept until the listening socket is closed."""
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._relay, args=(client,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _relay(self, client: socket.socket) -> None:
        with closing(client), closing(socket.create_connection(self.target)) as server:
            back = threading.Thread(target=_pump, args=(server, client, self.cut_after), daemon=True)
            silent = seen = False
            back.start()
            while data := _received(client):
                seen = seen or self.within in data
                if self.lose_commits and seen and b"COMMIT" in data:
                    self.lose_commits -= 1
                    self.lost += 1
                    silent = True
                    if not self.before:
                        with suppress(OSError):
                            client.shutdown(socket.SHUT_WR)  # the client hears nothing more
                        server.sendall(data)
                        _received_quietly(server)
                    break
                seen = seen and b"COMMIT" not in data
                server.sendall(data)
            if silent:
                _cut(client)
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(65536)
    except OSError:
        return b""


def _received_quietly(server: socket.socket) -> None:
    """Give the server the time to commit."""
    server.settimeout(1.0)
    with suppress(OSError):
        threading.Event().wait(0.3)


def _pump(source: socket.socket, sink: socket.socket, cut_after: int) -> None:
    passed = 0
    while data := _received(source):
        passed += len(data)
        if cut_after and passed > cut_after:
            _cut(sink)
            return
        try:
            sink.sendall(data)
        except OSError:
            return
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _cut(client: socket.socket) -> None:
    with suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(host: str, port: int) -> Iterator[Proxy]:
    """A running proxy to a server."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        running = Proxy((host, port), listening.getsockname()[1])
        threading.Thread(target=running.serve, args=(listening,), daemon=True).start()
        yield running
