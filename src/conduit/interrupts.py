"""Ctrl-C and SIGTERM: a run stops at the next batch, and a driver that waits for its server stops waiting.

The command line calls `watch_signals`. The first signal only asks: the run looks (`check`) where it can stop cleanly,
and a thread lets the registered drivers cancel what they wait for. Raising from the handler, as Python does by itself,
would surface inside whatever driver runs just then. A second signal does raise.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

from conduit.errors import Interrupted

_cancellers: list[Callable[[], None]] = []
_requested: list[Interrupted] = []


def on_interrupt(cancel: Callable[[], None]) -> None:
    """Register what breaks off the statements of a driver. It is called from another thread, perhaps for nothing."""
    _cancellers.append(cancel)


def requested() -> Interrupted | None:
    """The interruption that was asked for; a cancelled driver reports an error of its own instead."""
    return _requested[0] if _requested else None


def check() -> None:
    """Stop here if that was asked for.

    Raises:
        Interrupted: it was.
    """
    if _requested:
        raise _requested[0]


def watch_signals() -> None:
    """Take over SIGINT and SIGTERM. Only the main thread of a program may call this."""
    heard, told = socket.socketpair()
    told.setblocking(False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(heard, told), name="conduit-signals", daemon=True).start()


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the form of a handler
    name = "interrupted" if number == signal.SIGINT else "terminated"
    told = f"{name}; what was committed stays, the next run goes on from there"
    _requested.append(Interrupted(told, signal=number))
    if len(_requested) > 1:
        raise _requested[0]


def _listen(heard: socket.socket, told: socket.socket) -> None:
    with heard, told:
        while numbers := heard.recv(16):
            if {signal.SIGINT, signal.SIGTERM} & set(numbers):
                for cancel in _cancellers:
                    cancel()
