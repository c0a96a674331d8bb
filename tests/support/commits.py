"""Commits by hand: marks, writes and loads as the engine makes them, for tests of one destination."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from conduit.contract import Committed, Destination, SupportsStreaming, Write
from conduit.marks import Identity, Mark
from conduit.positions import CursorType, Position, cursor


def mark(
    value: object | None, table: str = "t", *, resource: str = "r", run_id: str = "run", type_: CursorType = "int"
) -> Mark:
    """A mark at a watermark; None: a mark after `state reset`."""
    position: Position | None = cursor(str(value), type_) if value is not None else None
    return Mark(
        identity=Identity("default", resource, table),
        position=position,
        since=None,
        run_id=run_id,
        complete=True,
        rows=0,
        source="test:t:id",
        committed_at="2024-01-01T00:00:00+00:00",
    )


def rows(**columns: Any) -> pa.RecordBatch:
    """A batch from lists or arrays."""
    return pa.record_batch(columns)


def write(batch: pa.RecordBatch | pa.Schema, table: str = "t", **settings: Any) -> Write:
    """An append of rows with this schema, unless `settings` say otherwise."""
    schema = batch if isinstance(batch, pa.Schema) else batch.schema
    identity = Identity("default", settings.pop("resource", "r"), table)
    given: dict[str, Any] = {"identity": identity, "table": table, "mode": "append", "schema": schema, "run_id": "run"}
    return Write(**(given | settings))


def commit(
    destination: Destination,
    batches: pa.RecordBatch | Iterable[pa.RecordBatch],
    old: Mark | None,
    new: Mark | None,
    *,
    midway: Callable[[], None] = lambda: None,
    **settings: Any,
) -> Committed:
    """One commit, as the engine makes it; `midway` is called when the rows are staged."""
    parts = [batches] if isinstance(batches, pa.RecordBatch) else list(batches)
    with begun(destination, write(parts[0], **settings)) as load:
        staged = load.stream(iter(parts))
        midway()
        result: Committed = load.commit([staged], old, new)
        return result


@contextlib.contextmanager
def begun(destination: Destination, what: Write) -> Iterator[Any]:
    """An open load that is aborted in the end."""
    load = destination.begin(what)
    assert isinstance(load, SupportsStreaming)
    try:
        yield load
    finally:
        load.abort()
