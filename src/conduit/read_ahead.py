"""Threads that read while another writes, with a bounded queue between them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Self

from conduit import interrupts
from conduit.arrow import pa
from conduit.errors import ConduitError
from conduit.sizes import BytesQueue

BYTES_AHEAD = 32 << 20
"""Bytes of batches that wait between the reading and the writing thread; the last batch may go beyond."""

PATIENCE = 1.0
"""Seconds that a read gets to end by itself before it is broken off."""

GIVE_UP = 10.0
"""Seconds after which a read that cannot be broken off is left alone: its server does not answer any more."""


class ReadAhead:
    """Batches that threads read while another writes; about BYTES_AHEAD wait between them."""

    def __init__(
        self, readers: Sequence[Callable[[], Iterator[pa.RecordBatch]]], cancel: Callable[[], None] | None = None
    ) -> None:
        """Set up the threads.

        Args:
            readers: what each of them reads.
            cancel: breaks off the reads that do not end by themselves.
        """
        self._cancel = cancel
        self._queue = BytesQueue(BYTES_AHEAD)
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=[batches], name="conduit-read", daemon=True) for batches in readers
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        end(self._threads, self._cancel, self._drain)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The batches, in the order of their thread; an error of a reading thread is raised here."""
        reading = len(self._threads)
        while reading:
            item = self._next()
            if item is None:
                reading -= 1
                continue
            if isinstance(item, BaseException):
                raise item
            yield item

    def _next(self) -> pa.RecordBatch | BaseException | None:
        """Wait in slices, and look between them whether to stop."""
        while True:
            interrupts.check()
            with suppress(queue.Empty):
                return self._queue.get(timeout=0.2)

    def _run(self, batches: Callable[[], Iterator[pa.RecordBatch]]) -> None:
        try:
            for batch in batches():
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


def end(
    threads: Sequence[threading.Thread], cancel: Callable[[], None] | None, drain: Callable[[], None] = lambda: None
) -> None:
    """Let threads that were told to stop end: by themselves, else by breaking off what they read.

    Args:
        threads: they are left alone when even that does not help, because the server does not answer any more.
        cancel: breaks off the reads.
        drain: makes room for what they still have to put down.
    """
    began = time.monotonic()
    asked: threading.Thread | None = None
    while alive := [thread for thread in threads if thread.is_alive()]:
        drain()
        alive[0].join(timeout=0.05)
        waited = time.monotonic() - began
        if cancel is None or waited < PATIENCE:
            continue
        if waited > GIVE_UP:
            return
        if asked is None or not asked.is_alive():  # it may wait for the silent server too
            asked = threading.Thread(target=_quietly, args=(cancel,), daemon=True)
            asked.start()
