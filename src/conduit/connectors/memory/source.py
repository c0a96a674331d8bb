"""Reading a table in memory: a snapshot is the table itself, which never changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, reduce
from pathlib import Path

from conduit import schemas
from conduit.arrow import pa, pc
from conduit.bounds import NULL_CURSORS, ROWS, Bounds, bounds, splits_of, until_of_table
from conduit.connectors.memory.config import MemoryConnection
from conduit.connectors.memory.store import store
from conduit.contract import Described, Estimate, Read, Session, Split, Until
from conduit.errors import ConfigError, ConnectionFailed
from conduit.positions import highest
from conduit.rows import CursorColumn

BATCH_ROWS = 65_536
"""Rows of a batch unless told otherwise."""


class MemorySource:
    """Tables that rows come from."""

    late_commits = False

    def __init__(self, name: str, connection: MemoryConnection, folder: Path) -> None:  # noqa: ARG002
        self._name = name
        self._store = store(connection.store)

    def check(self) -> str:
        """It is always there."""
        return f"{len(self._store.tables)} tables in memory"

    @contextmanager
    def open(self, read: Read) -> Iterator[Session]:
        """The table as it is now."""
        if read.query is not None:
            raise ConfigError(f"{self._name}: tables in memory take no query", hint="name a table")
        table = self._store.tables.get(read.table or "")
        if table is None:
            raise ConnectionFailed(f"{self._name}: there is no table {read.table} in memory")
        yield MemorySession(self._name, table, read)


class MemorySession:
    """One immutable table."""

    def __init__(self, name: str, table: pa.Table, read: Read) -> None:
        self._name = name
        self._read = read
        self._table = table

    def describe(self) -> Described:
        """The table's schema."""
        found = self._bounds
        return Described(
            schema=self._schema,
            fingerprint=f"memory:{self._read.table}:{self._read.cursor or '-'}",
            cursor_type=found.type if found else None,
            cursor_unit=found.unit if found else "",
            ordered=self._read.ordered,
            null_cursors=self._null_cursors,
        )

    def until(self) -> Until:
        """The highest cursor of the table."""
        found = self._bounds
        if found is None or self._read.through is not None:
            return Until()
        column = CursorColumn(found.field.name, found.type, found.unit)
        tops = [column.highest(column.of(batch)) for batch in self._rows.to_batches()]
        top = reduce(highest, tops, None)
        return until_of_table(self._read, found.lower, top, self._null_cursors)

    def splits(self) -> list[Split]:
        """The rows, and those without a cursor when they are wanted."""
        return splits_of(self._read, self._null_cursors)

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """The rows of a split."""
        for batch in self._rows.to_batches(self._read.batch_size or BATCH_ROWS):
            yield self._selected(batch, split)

    def estimate(self) -> Estimate:
        """A count."""
        return Estimate(sum(batch.num_rows for batch in self.read(Split(ROWS))), exact=True)

    def _selected(self, batch: pa.RecordBatch, split: Split) -> pa.RecordBatch:
        found = self._bounds
        if found is None:
            return batch
        if split.name == NULL_CURSORS:
            return batch.filter(pc.is_null(batch.column(found.field.name)))
        return found.keep(batch)

    @cached_property
    def _bounds(self) -> Bounds | None:
        return bounds(self._name, self._read, self._schema)

    @cached_property
    def _schema(self) -> pa.Schema:
        declared = {name: schemas.declared(type_) for name, type_ in self._read.columns.items()}
        return pa.schema([pa.field(f.name, declared.get(f.name, f.type)) for f in self._table.schema])

    @cached_property
    def _null_cursors(self) -> int:
        return self._rows.column(self._read.cursor).null_count if self._read.cursor else 0

    @cached_property
    def _rows(self) -> pa.Table:
        """The table in the declared types, ordered by the cursor when that is asked for."""
        batches = [schemas.conform(batch, self._schema) for batch in self._table.to_batches()]
        table = pa.Table.from_batches(batches, schema=self._schema)
        ordered = self._read.ordered and self._bounds is not None
        return table.sort_by(self._read.cursor or "") if ordered else table
