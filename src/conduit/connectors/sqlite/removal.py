"""Rows taken out of a SQLite table in an open transaction, by what identifies them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from conduit.arrow import pa
from conduit.connectors.sqlite.connection import Database
from conduit.connectors.sqlite.types import DIALECT, Column, quote
from conduit.connectors.sqlite.values import stored
from conduit.strategies.removal import identified
from conduit.strategies.statements import Tables

_STAGE = "_conduit_removed"


def remove(database: Database, target: str, columns: Sequence[Column], rows: Iterator[pa.RecordBatch]) -> int:
    """Take out the rows of `target` (a quoted name) whose `columns` have the values of one of `rows`; how many."""
    definitions = ", ".join(f"{quote(column.name)} {column.declared}" for column in columns)
    names = [column.name for column in columns]
    database.rows(f"CREATE TEMP TABLE {quote(_STAGE)} ({definitions})")
    for batch in rows:
        arrays = [stored(batch.column(column.name), column) for column in columns]
        database.insert(_STAGE, pa.RecordBatch.from_arrays(arrays, names), temporary=True)
    stage = f"temp.{quote(_STAGE)}"
    removed = database.change(identified(Tables(dialect=DIALECT, target=target, stage=stage, columns=tuple(names))).sql)
    database.rows(f"DROP TABLE {stage}")
    return removed
