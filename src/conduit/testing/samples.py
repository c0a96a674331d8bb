"""Rows and requests that the conformance suites use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from conduit.arrow import AnyArray, AnyField, pa
from conduit.contract import Mode, Write
from conduit.marks import Identity, Mark
from conduit.positions import Position, cursor

TABLE = "promised"
FIELDS: list[AnyField] = [
    pa.field("id", pa.int64()),
    pa.field("name", pa.string()),
    pa.field("amount", pa.decimal128(12, 2)),
]
ROWS = pa.schema(FIELDS)


def identity(resource: str = "promises") -> Identity:
    """Who the suite writes as."""
    return Identity("conformance", resource, TABLE)


def batches(ids: Sequence[int], *, name: str = "n", schema: pa.Schema = ROWS) -> Iterator[pa.RecordBatch]:
    """Two batches of rows with these ids (the second may be empty)."""
    middle = (len(ids) + 1) // 2
    for part in (ids[:middle], ids[middle:]):
        amounts = pa.array([f"{i}.10" for i in part], pa.string()).cast(pa.decimal128(12, 2))
        names = pa.array([f"{name}{i}" for i in part], pa.string())
        arrays: list[AnyArray] = [pa.array(list(part), pa.int64()), names, amounts]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def write(
    mode: Mode = "append",
    *,
    schema: pa.Schema = ROWS,
    run: str = "run-1",
    resource: str = "promises",
    **more: Any,
) -> Write:
    """A request to write the sample table."""
    return Write(identity=identity(resource), table=TABLE, mode=mode, schema=schema, run_id=run, cursor="id", **more)


def mark(value: int | None, *, since: Position | None = None, run: str = "run-1", resource: str = "promises") -> Mark:
    """A mark at an integer cursor; None is a reset."""
    return Mark(
        identity=identity(resource),
        position=cursor(str(value), "int") if value is not None else None,
        since=since,
        run_id=run,
        complete=True,
        rows=0,
        source="conformance",
        committed_at="2024-01-01T00:00:00+00:00",
    )
