"""Cuts a stream into commits, and follows the highest cursor of the rows that were handed out."""

from __future__ import annotations

from collections.abc import Iterator

from conduit.arrow import AnyScalar, pa, pc
from conduit.contract import CURSOR_TEXT
from conduit.positions import Position, highest
from conduit.rows import CursorColumn


class Checkpoints:
    """Cuts an ordered stream into commits of about `every` rows, never between rows of one cursor value (I7).

    Nothing is buffered: a long tie only postpones the cut. Each piece must be consumed before the next is asked for.

    Attributes:
        reached: the highest cursor of all rows that were handed out.
    """

    def __init__(self, batches: Iterator[pa.RecordBatch], every: int | None, column: CursorColumn | None) -> None:
        self._batches = batches
        self._every = every if column is not None else None
        self._column = column
        self.reached: Position | None = None
        self._rest: pa.RecordBatch | None = next(batches, None)
        self._last: AnyScalar | None = None

    @property
    def exhausted(self) -> bool:
        """No row is left: the piece that was consumed last was the last one."""
        return self._rest is None

    def piece(self) -> Iterator[pa.RecordBatch]:
        """The rows of the next commit."""
        rows = 0
        while self._rest is not None:
            batch = self._rest
            cut = self._cut(batch, rows)
            if cut is not None:
                self._rest = batch.slice(cut)
                if cut:
                    yield self._hand_out(batch.slice(0, cut))
                return
            rows += batch.num_rows
            self._remember(batch)
            self._rest = next(self._batches, None)
            yield self._hand_out(batch)

    def _cut(self, batch: pa.RecordBatch, rows: int) -> int | None:
        """Where the batch is cut: the first change of the cursor at or after the wanted number of rows."""
        if self._every is None or self._column is None or not batch.num_rows or rows + batch.num_rows < self._every:
            return None
        values = batch.column(CURSOR_TEXT)
        start = max(self._every - rows, 0)
        if start == 0:
            if self._last is None or not self._last.equals(values[0]):
                return 0 if rows else None
            start = 1
        changes = pc.not_equal(values.slice(start), values.slice(start - 1, len(values) - start))
        place = pc.index(changes, pa.scalar(True)).as_py()
        return start + int(place) if place >= 0 else None

    def _remember(self, batch: pa.RecordBatch) -> None:
        if self._column is not None and batch.num_rows:
            values = batch.column(CURSOR_TEXT)
            self._last = values[len(values) - 1]

    def _hand_out(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if self._column is None:
            return batch
        self.reached = highest(self.reached, self._column.highest(batch.column(CURSOR_TEXT)))
        return batch.drop_columns([CURSOR_TEXT])
