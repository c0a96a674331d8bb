"""How large batches are: small ones joined, large ones cut, so that what is in memory is bounded by bytes.

Rows have no size of their own: 65,536 of them are 8 MB or 3 GB. Knows no source and no column.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence

from conduit.arrow import pa

BATCH_BYTES = 8 << 20
"""Size that a batch is to have, at most; a single larger row is a batch of its own."""

_VERY_LARGE = 4 * BATCH_BYTES

FETCH_ROWS = 2048
"""Rows that are asked for at a time where a reader counts rows only; they are joined again while they are small."""


def cut(batches: Iterator[pa.RecordBatch], rows: int | None = None) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of at most `rows` rows and about BATCH_BYTES.

    A piece of a very large batch is a copy: as a view it would keep the whole batch in memory for as long as it waits.
    """
    for batch in batches:
        step = max(1, min(rows or batch.num_rows, batch.num_rows * BATCH_BYTES // max(batch.nbytes, 1)))
        if step >= batch.num_rows:
            yield batch
            continue
        keeps_much = batch.nbytes > _VERY_LARGE
        for start in range(0, batch.num_rows, step):
            piece = batch.slice(start, step)
            yield _copied([piece]) if keeps_much else piece


def joined(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of up to `rows` rows, as far as they stay below BATCH_BYTES; larger ones pass."""
    held: list[pa.RecordBatch] = []
    count = size = 0
    for batch in batches:
        if not batch.num_columns:
            yield batch
            continue
        if held and (count + batch.num_rows > rows or size + batch.nbytes > BATCH_BYTES):
            yield _one(held)
            held, count, size = [], 0, 0
        held.append(batch)
        count, size = count + batch.num_rows, size + batch.nbytes
        if count >= rows or size >= BATCH_BYTES:
            yield _one(held)
            held, count, size = [], 0, 0
    if held:
        yield _one(held)


def after(rows: int, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What follows the first `rows` rows."""
    for batch in batches:
        if rows < batch.num_rows:
            yield batch.slice(rows)
        rows = max(0, rows - batch.num_rows)


def _one(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else _copied(batches)


def _copied(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """The rows of all batches in memory of their own."""
    schema = batches[0].schema
    arrays = [pa.concat_arrays([batch.column(place) for batch in batches]) for place in range(len(schema))]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


class BytesQueue(queue.Queue["pa.RecordBatch | BaseException | None"]):
    """A queue between two threads that is full by the bytes of its batches, not by their number.

    One batch always fits, however large it is; what is no batch counts as one byte.
    """

    def _init(self, maxsize: int) -> None:
        super()._init(maxsize)
        self._bytes = 0

    def _qsize(self) -> int:
        return self._bytes

    def _put(self, item: pa.RecordBatch | BaseException | None) -> None:
        super()._put(item)
        self._bytes += _size(item)

    def _get(self) -> pa.RecordBatch | BaseException | None:
        item: pa.RecordBatch | BaseException | None = super()._get()
        self._bytes -= _size(item)
        return item


def _size(item: pa.RecordBatch | BaseException | None) -> int:
    return max(item.nbytes, 1) if isinstance(item, pa.RecordBatch) else 1
