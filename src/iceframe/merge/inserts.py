"""The rows of a source that the table does not have, as new rows of the table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from iceframe.merge.arrow import Array
from iceframe.merge.edits import Editor, Pairs
from iceframe.merge.keys import ROW

_ROWS = 65_536


@dataclass(slots=True)
class Inserts:
    """Makes new rows of the table.

    Attributes:
        editor: applies the clauses.
        inserted: how many rows were made.
    """

    editor: Editor
    inserted: int = 0

    def batches(self, keys: pl.DataFrame, matched: pl.Series) -> Iterator[pa.RecordBatch]:
        """The new rows, in the order of the source.

        Args:
            keys: all keys of the source.
            matched: rows of the source that the table has; a row may be in it more than once.

        Raises:
            ValidationError, SchemaError: what the clauses raise.
        """
        if not self.editor.binding.not_matched:
            return
        rows = keys.select(ROW).join(matched.alias(ROW).to_frame(), on=ROW, how="anti")[ROW].sort()
        for start in range(0, rows.len(), _ROWS):
            for count, columns in self.editor.new_rows(Pairs(None, rows.slice(start, _ROWS))):
                self.inserted += count
                yield self._batch(count, columns)

    def _batch(self, count: int, given: dict[str, Array]) -> pa.RecordBatch:
        shape = self.editor.binding.shape
        columns = [given[one.name] if one.name in given else pa.nulls(count, one.type) for one in shape]
        return pa.RecordBatch.from_arrays(columns, schema=shape)
