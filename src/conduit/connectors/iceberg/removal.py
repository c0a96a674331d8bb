"""Rows taken out of a table in the snapshot that brings others: those with given values in some columns.

Worked out against a head, again for another one. Commits nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from conduit.arrow import pa
from conduit.connectors.iceberg.types import conformed
from conduit.contract import Write
from conduit.errors import Busy
from conduit.schemas import storage
from iceframe.change import Change
from iceframe.merge import Merge
from iceframe.merge.plan import discard
from iceframe.schemas import arrow_schema

_PLACE = "place"


class Removal:
    """What a repair takes out.

    Attributes:
        rows: how many rows of the table these are.
    """

    def __init__(self, table: Table, write: Write, rows: Iterator[pa.RecordBatch], columns: Sequence[str]) -> None:
        """Find the rows, and write the files that are left of theirs.

        Args:
            table: as it was loaded.
            write: for messages.
            rows: what identifies the rows that go; a NULL is a value like any other.
            columns: by which they are found.
        """
        self._write = write
        own = arrow_schema(table.schema())
        names = [name for name in write.schema.names if name in columns]
        schema = pa.schema([own.field(name) for name in names])
        keys = pa.Table.from_batches([conformed(batch, schema, write.table) for batch in rows], schema)
        self._merge = Merge(table, _distinct(keys), names).when_matched_delete() if keys.num_rows else None
        self._found: tuple[int | None, Change | None] = None, None
        self.rows = _deleted(self._at(table))

    def with_rows(self, table: Table, added: Sequence[DataFile]) -> Change | None:
        """The change that takes the rows out of this head and adds files.

        Raises:
            Busy: other rows have these values now.
        """
        gone = self._at(table)
        if _deleted(gone) != self.rows:
            raise Busy(
                f"{self._write.table} was changed by others while it was repaired; nothing was written",
                hint="try again",
            )
        if gone is None:
            return Change(operation="append", added=tuple(added)) if added else None
        files = (*gone.added, *added)
        return replace(gone, operation="overwrite" if files else "delete", added=files)

    def discard(self, table: Table) -> None:
        """Delete the files that were written and will not be committed."""
        _, change = self._found
        if change is not None:
            discard(table.io, change)

    def _at(self, table: Table) -> Change | None:
        """The rows of a head that go, and what is left of their files; worked out once for each head."""
        head = table.metadata.current_snapshot_id
        if self._merge is not None and (self._found[1] is None or self._found[0] != head):
            self._found = head, self._merge.change(table)
        return self._found[1]


def _deleted(change: Change | None) -> int:
    return change.counts.get("deleted", 0) if change else 0


def _distinct(keys: pa.Table) -> pa.Table:
    """Each key once."""
    plain = {f"c{place}": pl.Series(_plain(column)) for place, column in enumerate(keys.combine_chunks().columns)}
    kept = pl.DataFrame(plain).with_row_index(_PLACE).unique(list(plain), keep="first")
    return keys.take(kept.get_column(_PLACE).sort().to_arrow())


def _plain(column: Any) -> Any:
    """A column for comparisons; of an extension type such as uuid its storage."""
    return column.cast(storage(column.type)) if isinstance(column.type, pa.BaseExtensionType) else column
