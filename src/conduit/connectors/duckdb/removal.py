"""Rows taken out of a DuckDB table in an open transaction, by what identifies them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from conduit.arrow import pa
from conduit.connectors.duckdb.connection import Database
from conduit.connectors.duckdb.types import DIALECT, Column, quote
from conduit.strategies.removal import identified
from conduit.strategies.statements import Tables

_STAGE = 'temp."_conduit_removed"'


def remove(
    database: Database, target: str, columns: Sequence[Column], schema: pa.Schema, rows: Iterator[pa.RecordBatch]
) -> int:
    """Take out the rows of `target` (a quoted name) whose `columns` have the values of one of `rows`; how many.

    Args:
        database: in a transaction.
        target: the table.
        columns: those that identify a row.
        schema: the same in Arrow.
        rows: with these columns.
    """
    definitions = ", ".join(f"{quote(column.name)} {column.declared}" for column in columns)
    database.rows(f"CREATE TEMP TABLE {_STAGE} ({definitions})")
    ready = [_ready(batch, columns, schema) for batch in rows if batch.num_rows]
    if ready:
        inserted = {quote(column.name): column.inserted() for column in columns}
        database.insert(_STAGE, inserted, pa.RecordBatchReader.from_batches(schema, ready))
    names = tuple(column.name for column in columns)
    removed = database.change(identified(Tables(dialect=DIALECT, target=target, stage=_STAGE, columns=names)).sql)
    database.rows(f"DROP TABLE {_STAGE}")
    return removed


def _ready(batch: pa.RecordBatch, columns: Sequence[Column], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        column.value(batch.column(column.name), field.type) for column, field in zip(columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
