"""The splits of a read, on threads: several are read at once, and each commit takes what belongs together.

Where the destination stages, each split is read and staged by one thread, as a part of its own. Where it only streams,
the threads feed one queue, and one writer takes from it. Either way the driver commits once for all splits of a group.
This module knows no connector, and nothing of marks.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from functools import partial
from itertools import groupby
from typing import Protocol, Self, runtime_checkable

from conduit import interrupts
from conduit.arrow import pa
from conduit.bounds import NULL_CURSORS, ROWS
from conduit.contract import CURSOR_TEXT, Session, Split, Staged, SupportsCancel, SupportsStaging
from conduit.errors import InternalError
from conduit.positions import Position, highest
from conduit.read_ahead import ReadAhead, end
from conduit.rows import CursorColumn, Stream
from conduit.sizes import cut
from conduit.splits import Range


class Pieces(Protocol):
    """The rows of a read, cut into commits: an ordered stream (`Checkpoints`), or groups of splits (`Splits`)."""

    reached: Position | None

    @property
    def exhausted(self) -> bool:
        """No row is left: the piece that was consumed last was the last one."""
        ...

    def piece(self) -> Iterator[pa.RecordBatch]:
        """The rows of the next commit."""
        ...


class _Work:
    """A part that a thread of its own stages. The process does not wait for the thread when it ends."""

    def __init__(
        self, stage: Callable[[str, Iterator[pa.RecordBatch]], Staged], part: str, rows: Iterator[pa.RecordBatch]
    ) -> None:
        self.done: Future[Staged] = Future()
        self.thread = threading.Thread(target=self._run, args=(stage, part, rows), name="conduit-split", daemon=True)
        self.thread.start()

    def _run(
        self, stage: Callable[[str, Iterator[pa.RecordBatch]], Staged], part: str, rows: Iterator[pa.RecordBatch]
    ) -> None:
        try:
            self.done.set_result(stage(part, rows))
        except BaseException as error:  # noqa: BLE001 - crosses to the other thread and is raised there
            self.done.set_exception(error)


@runtime_checkable
class SupportsAdoption(Protocol):
    """A load that must be told what workers staged, so that `abort` can remove it."""

    def adopt(self, staged: Staged) -> None:
        """Remove this piece when the load is aborted."""
        ...


class Splits:
    """The splits of a session in groups. Each group must be consumed before the next is asked for.

    Attributes:
        reached: the highest cursor of all rows that were handed out.
    """

    def __init__(
        self,
        session: Session,
        new_stream: Callable[[], Stream],
        column: CursorColumn | None,
        batch_size: int | None,
        *,
        grouped: bool,
    ) -> None:
        """Ask the session for its splits.

        Args:
            session: whose `read` can be called from several threads.
            new_stream: makes what checks and counts the rows of one split.
            column: the incremental column, or None.
            batch_size: rows of a batch, at most.
            grouped: each group is a commit; else all are one.
        """
        self._session = session
        self._new_stream = new_stream
        self._column = column
        self._batch_size = batch_size
        splits = session.splits()
        groups = [list(group) for _, group in groupby(splits, key=_group)]
        self._at_once = max(map(len, groups), default=1)
        self._groups = deque(groups if grouped or not groups else [list(splits)])
        self._nulls_follow = any(split.name == NULL_CURSORS for split in splits)
        self._streams: list[Stream] = []
        self._stopped = threading.Event()
        self._guard = threading.Lock()
        self._open: Generator[pa.RecordBatch] | None = None
        self.reached: Position | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._open is not None:
            self._open.close()

    @property
    def exhausted(self) -> bool:
        """No split is left."""
        return not self._groups

    @property
    def read(self) -> int:
        """Rows that the source gave."""
        return sum(stream.read for stream in self._streams)

    @property
    def filtered(self) -> int:
        """Rows left out because their cursor is NULL."""
        return sum(stream.filtered for stream in self._streams)

    # --- one writer ---

    def piece(self) -> Iterator[pa.RecordBatch]:
        """The rows of the next group that has any, as they come from the threads."""
        self._open = self._merged()
        return self._open

    def _merged(self) -> Generator[pa.RecordBatch]:
        rows = 0
        while self._groups and not rows:
            todo = deque(self._groups.popleft())
            readers = [partial(self._all_of, todo)] * min(self._at_once, len(todo))
            with ReadAhead(readers, self._cancel) as batches:
                for batch in batches:
                    rows += batch.num_rows
                    yield batch

    def _all_of(self, todo: deque[Split]) -> Iterator[pa.RecordBatch]:
        """The rows of the splits that this thread gets hold of."""
        while True:
            try:
                split = todo.popleft()
            except IndexError:
                return
            yield from self._rows(split)

    # --- a writer for each split ---

    def stage(self, load: SupportsStaging, tell: Callable[[pa.RecordBatch], None]) -> list[Staged]:
        """Stage the next group that has any rows, each split by a thread of its own; in the order of the splits.

        Args:
            load: what stages; it is told of every part, so that `abort` can remove it.
            tell: called about every batch that was staged, by one thread at a time.
        """
        staged: list[Staged] = []
        while self._groups and not any(part.rows for part in staged):
            staged = self._staged(self._groups.popleft(), load, tell)
        return staged

    def _staged(
        self, group: Sequence[Split], load: SupportsStaging, tell: Callable[[pa.RecordBatch], None]
    ) -> list[Staged]:
        stager = load.stager()
        started = [
            _Work(stager.stage, f"part-{place}", self._told(self._rows(split), tell))
            for place, split in enumerate(group)
        ]
        try:
            return self._wait([work.done for work in started])
        finally:
            if not all(work.done.done() for work in started):
                self._stopped.set()
            end([work.thread for work in started], self._cancel)
            if isinstance(load, SupportsAdoption):
                for work in started:
                    if work.done.done() and work.done.exception() is None:
                        load.adopt(work.done.result())

    def _wait(self, futures: Sequence[Future[Staged]]) -> list[Staged]:
        """What all threads staged; the first error of one is raised, and no other is waited for."""
        pending = set(futures)
        while pending:
            interrupts.check()
            done, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        return [future.result() for future in futures]

    def _told(
        self, batches: Iterator[pa.RecordBatch], tell: Callable[[pa.RecordBatch], None]
    ) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch
            with self._guard:
                tell(batch)

    # --- one split ---

    def _rows(self, split: Split) -> Iterator[pa.RecordBatch]:
        """The rows of a split, checked, cast and counted; their highest cursor is kept."""
        stream = self._new_stream()
        with self._guard:
            self._streams.append(stream)
        for batch in cut(self._session.read(split), self._batch_size):
            if self._stopped.is_set():
                raise InternalError("a thread went on reading after the run had stopped")
            ready = stream.pass_on(batch, nulls_follow=split.name == ROWS and self._nulls_follow)
            if ready.num_rows:
                yield self._followed(ready)

    def _followed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if self._column is None:
            return batch
        top = self._column.highest(batch.column(CURSOR_TEXT))
        with self._guard:
            self.reached = highest(self.reached, top)
        return batch.drop_columns([CURSOR_TEXT])

    @property
    def _cancel(self) -> Callable[[], None] | None:
        return self._session.cancel if isinstance(self._session, SupportsCancel) else None


def _group(split: Split) -> int:
    return split.detail.group if isinstance(split.detail, Range) else 0
