"""The rows of a source that the table does not have, as new rows of the table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
from pyiceberg.schema import Schema

from iceframe.merge.binding import Binding, Bound
from iceframe.merge.edits import picks, values_of
from iceframe.merge.expressions import Column
from iceframe.merge.keys import ROW
from iceframe.merge.source import Source
from iceframe.schemas import arrow_schema

_ROWS = 65_536


@dataclass(slots=True)
class Inserts:
    """Makes new rows of the table.

    Attributes:
        binding: the clauses.
        source: the rows that are merged.
        schema: the columns of the table.
        inserted: how many rows were made.
    """

    binding: Binding
    source: Source
    schema: Schema
    inserted: int = 0

    def batches(self, keys: pl.DataFrame, matched: pl.Series) -> Iterator[pa.RecordBatch]:
        """The new rows, in the order of the source.

        Args:
            keys: all keys of the source.
            matched: rows of the source that the table has; a row may be in it more than once.

        Raises:
            ValidationError, SchemaError: what the clauses raise.
        """
        if not self.binding.not_matched:
            return
        rows = keys.select(ROW).join(matched.alias(ROW).to_frame(), on=ROW, how="anti")[ROW].sort()
        for start in range(0, rows.len(), _ROWS):
            yield from self._of(rows.slice(start, _ROWS))

    def _of(self, rows: pl.Series) -> Iterator[pa.RecordBatch]:
        for clause, picked in picks(self.binding.not_matched, self._columns(rows).series, rows.len()):
            chosen = rows.gather(picked)
            self.inserted += chosen.len()
            yield self._batch(clause, chosen)

    def _batch(self, clause: Bound, rows: pl.Series) -> pa.RecordBatch:
        given = values_of(clause, self.binding, self.source, self._columns(rows).series, rows, rows.len())
        shape = arrow_schema(self.schema)
        columns = [given[one.name] if one.name in given else pa.nulls(rows.len(), one.type) for one in shape]
        return pa.RecordBatch.from_arrays(columns, schema=shape)

    def _columns(self, rows: pl.Series) -> _Rows:
        return _Rows(self.source, rows)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Some rows of the source."""

    source: Source
    rows: pl.Series

    def series(self, column: Column) -> pl.Series:
        return self.source.series(column.name).gather(self.rows)
