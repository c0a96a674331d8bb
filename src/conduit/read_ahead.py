"""A thread that reads while another writes, with a bounded queue between them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Self

from conduit import interrupts
from conduit.arrow import pa
from conduit.errors import ConduitError

BATCHES_AHEAD = 4
"""Batches that wait between the reading and the writing thread, at most."""

PATIENCE = 1.0
"""Seconds that a read gets to end by itself before it is broken off."""

GIVE_UP = 10.0
"""Seconds after which a read that cannot be broken off is left alone: its server does not answer any more."""


class ReadAhead:
    """Batches that a thread reads while another writes; at most BATCHES_AHEAD wait between them."""

    def __init__(
        self, batches: Callable[[], Iterator[pa.RecordBatch]], cancel: Callable[[], None] | None = None
    ) -> None:
        """Set up the thread.

        Args:
            batches: what it reads.
            cancel: breaks off a read that does not end by itself.
        """
        self._batches = batches
        self._cancel = cancel
        self._queue: queue.Queue[pa.RecordBatch | BaseException | None] = queue.Queue(BATCHES_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="conduit-read", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        self._drain()
        self._thread.join(timeout=0.05)
        if self._thread.is_alive():
            self._end(self._cancel)

    def _end(self, cancel: Callable[[], None] | None) -> None:
        began = time.monotonic()
        asked: threading.Thread | None = None
        while self._thread.is_alive():
            self._drain()
            self._thread.join(timeout=0.05)
            waited = time.monotonic() - began
            if cancel is None or waited < PATIENCE:
                continue
            if waited > GIVE_UP:
                return
            if asked is None or not asked.is_alive():  # it may wait for the silent server too
                asked = threading.Thread(target=_quietly, args=(cancel,), daemon=True)
                asked.start()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The batches, in order; an error of the reading thread is raised here."""
        while True:
            item = self._next()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def _next(self) -> pa.RecordBatch | BaseException | None:
        """Wait in slices, and look between them whether to stop."""
        while True:
            interrupts.check()
            with suppress(queue.Empty):
                return self._queue.get(timeout=0.2)

    def _run(self) -> None:
        try:
            for batch in self._batches():
                if not self._put(batch):
                    return
            self._put(None)
        except BaseException as error:  # noqa: BLE001 - crosses to the other thread and is raised there
            self._put(error)

    def _put(self, item: pa.RecordBatch | BaseException | None) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def _drain(self) -> None:
        try:
            while True:
                self._queue.get_nowait()
        except queue.Empty:
            return


def _quietly(cancel: Callable[[], None]) -> None:
    with suppress(ConduitError):  # the read is over, or its server is gone: what the reading thread says counts
        cancel()
