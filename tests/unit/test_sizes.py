"""Batches are joined and cut by their bytes, and no row is lost or moved on the way."""

from __future__ import annotations

import threading
import time

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from conduit import sizes
from conduit.sizes import BATCH_BYTES, BytesQueue, cut, joined


def batch(rows: list[str]) -> pa.RecordBatch:
    return pa.record_batch([pa.array(rows, pa.string())], names=["v"])


def rows_of(batches: list[pa.RecordBatch]) -> list[object]:
    return [value for one in batches for value in one.column("v").to_pylist()]


@given(st.lists(st.lists(st.text(max_size=5), max_size=9), max_size=9), st.integers(1, 7))
def test_joined_and_cut_batches_hold_the_same_rows_in_the_same_order(given: list[list[str]], rows: int) -> None:
    batches = [batch(one) for one in given]
    together = list(joined(iter(batches), rows))
    assert rows_of(together) == rows_of(batches)
    pieces = list(cut(iter(batches), rows))
    assert rows_of(pieces) == rows_of(batches)
    assert all(piece.num_rows <= rows for piece in pieces)


def test_a_batch_of_wide_rows_is_cut_by_bytes_and_its_pieces_do_not_keep_it_in_memory() -> None:
    wide = batch(["x" * (1 << 20)] * 64)
    pieces = list(cut(iter([wide])))
    assert rows_of(pieces) == rows_of([wide])
    assert all(piece.get_total_buffer_size() <= 2 * BATCH_BYTES for piece in pieces)


def test_a_row_larger_than_a_batch_passes_alone() -> None:
    pieces = list(cut(iter([batch(["a", "b" * 3 * BATCH_BYTES])])))
    assert [piece.num_rows for piece in pieces] == [1, 1]


def test_batches_without_columns_keep_their_rows() -> None:
    empty = pa.record_batch([pa.array([1, 2, 3])], names=["v"]).select([])
    assert [one.num_rows for one in joined(iter([empty, empty]), 10)] == [3, 3]


def test_the_queue_is_full_by_bytes_and_one_batch_always_fits() -> None:
    queue = BytesQueue(1 << 20)
    queue.put(batch(["x" * (2 << 20)]), timeout=1)
    assert queue.full()
    started = threading.Thread(target=lambda: queue.put(batch(["y"]), timeout=10))
    started.start()
    time.sleep(0.05)
    assert started.is_alive()
    queue.get(timeout=1)
    started.join(timeout=10)
    assert not started.is_alive()
    queue.put(None)
    assert isinstance(queue.get(timeout=1), pa.RecordBatch)
    assert queue.get(timeout=1) is None
    assert queue.empty()


def test_small_batches_of_a_reader_become_one() -> None:
    small = [batch(["abc"] * sizes.FETCH_ROWS) for _ in range(8)]
    assert [one.num_rows for one in joined(iter(small), 65_536)] == [8 * sizes.FETCH_ROWS]
