"""Several streams read ahead by threads, and given out one after the other. Knows nothing of tables."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_POLL = 0.2


class _Done:
    """The end of a stream, with the error that ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Waiting(queue.Queue["T | _Done"]):
    """What waits for the reader; full by the weight of its items. One always fits, however heavy it is."""

    def __init__(self, most: int, weigh: Callable[[T], int]) -> None:
        self._weigh, self._weight = weigh, 0
        super().__init__(most)

    def _qsize(self) -> int:
        return self._weight

    def _put(self, item: T | _Done) -> None:
        super()._put(item)
        self._weight += self._of(item)

    def _get(self) -> T | _Done:
        item: T | _Done = super()._get()
        self._weight -= self._of(item)
        return item

    def _of(self, item: T | _Done) -> int:
        return 1 if isinstance(item, _Done) else max(1, self._weigh(item))


class _Stream(Generic[T]):
    """One stream that a thread reads ahead, a few items at a time."""

    def __init__(self, make: Callable[[], Iterator[T]], depth: int, weigh: Callable[[T], int]) -> None:
        self._items = _Waiting(depth, weigh)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(make,), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while not isinstance(item := self._items.get(), _Done):
            yield item
        if item.error:
            raise item.error

    def close(self) -> None:
        """Let the thread end, and wait for it."""
        self._stop.set()
        self._thread.join()

    def _fill(self, make: Callable[[], Iterator[T]]) -> None:
        error: BaseException | None = None
        try:
            for item in make():
                if not self._put(item):
                    return
        except BaseException as raised:  # noqa: BLE001 - handed to the thread that asked, which raises it
            error = raised
        self._put(_Done(error))

    def _put(self, item: T | _Done) -> bool:
        while not self._stop.is_set():
            try:
                self._items.put(item, timeout=_POLL)
            except queue.Full:
                continue
            return True
        return False


def in_order(
    makers: Iterable[Callable[[], Iterator[T]]],
    *,
    ahead: int = 2,
    depth: int = 4,
    weigh: Callable[[T], int] = lambda _: 1,
) -> Generator[T, None, None]:
    """The items of all streams, stream after stream.

    Args:
        makers: each opens one stream, in a thread of its own.
        ahead: streams that are open at once.
        depth: items of a stream that wait for the reader, at most. Memory is bounded by `ahead * depth` items.
        weigh: what an item counts, if not one.

    Raises:
        BaseException: what a stream raised, when its turn comes.
    """
    waiting = iter(makers)
    streams: deque[_Stream[T]] = deque()
    try:
        while True:
            while len(streams) < ahead and (make := next(waiting, None)):
                streams.append(_Stream(make, depth, weigh))
            if not streams:
                return
            yield from streams[0]
            streams.popleft().close()
    finally:
        for stream in streams:
            stream.close()
