"""Reading a table in memory: a snapshot is the table itself, which never changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from conduit import schemas
from conduit.arrow import AnyArray, pa, pc
from conduit.connectors.memory.config import MemoryConnection
from conduit.connectors.memory.store import store
from conduit.contract import Described, Estimate, Read, Session, Split, Until
from conduit.errors import ConfigError, ConnectionFailed
from conduit.positions import CursorType, Position, parse_shown
from conduit.rows import CursorColumn, scalar_of

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
        type_, unit = self._cursor_type
        return Described(
            schema=self._rows.schema,
            fingerprint=f"memory:{self._read.table}:{self._read.cursor or '-'}",
            cursor_type=type_,
            cursor_unit=unit,
            ordered=self._read.ordered,
            null_cursors=self._cursor.null_count if self._read.cursor else 0,
        )

    def until(self) -> Until:
        """The highest cursor of the table."""
        type_, unit = self._cursor_type
        if type_ is None or self._read.through is not None:
            return Until()
        wants_nulls = len(self.splits()) > 1
        highest = CursorColumn(self._read.cursor or "", type_, unit).highest(self._comparable)
        nothing_new = not self._selected("rows").num_rows and not wants_nulls
        return Until(nothing_new=nothing_new, position=highest)

    def splits(self) -> list[Split]:
        """The rows, and those without a cursor when they are wanted."""
        nulls = self._read.cursor is not None and self._read.on_null == "include" and self._cursor.null_count
        return [Split("rows"), Split("null cursors")] if nulls else [Split("rows")]

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """The rows of a split."""
        yield from self._selected(split.name).to_batches(self._read.batch_size or BATCH_ROWS)

    def estimate(self) -> Estimate:
        """A count."""
        return Estimate(self._selected("rows").num_rows, exact=True)

    @cached_property
    def _rows(self) -> pa.Table:
        """The table in the declared types, ordered by the cursor when that is asked for."""
        declared = {name: schemas.declared(type_) for name, type_ in self._read.columns.items()}
        fields = [pa.field(field.name, declared.get(field.name, field.type)) for field in self._table.schema]
        schema = pa.schema(fields)
        batches = [schemas.conform(batch, schema) for batch in self._table.to_batches()]
        table = pa.Table.from_batches(batches, schema=schema)
        name = self._read.cursor
        if name is not None and name not in table.schema.names:
            raise ConfigError(f"{self._name}: incremental_column {name} is not among {', '.join(table.schema.names)}")
        return table.sort_by(name) if self._read.ordered and name is not None else table

    @property
    def _cursor(self) -> AnyArray:
        column = self._rows.column(self._read.cursor or "")
        return column.combine_chunks()

    @property
    def _comparable(self) -> AnyArray:
        column = self._cursor
        return column.storage if isinstance(column, pa.ExtensionArray) else column

    @cached_property
    def _cursor_type(self) -> tuple[CursorType | None, str]:
        name = self._read.cursor
        return schemas.cursor_type(self._rows.schema.field(name)) if name is not None else (None, "")

    def _selected(self, split: str) -> pa.Table:
        rows = self._rows
        if self._read.cursor is None:
            return rows
        if split != "rows":
            return rows.filter(pc.is_null(self._cursor))
        lower = self._read.since or self._parsed(self._read.initial_value)
        return self._within(rows, lower, self._parsed(self._read.through))

    def _within(self, rows: pa.Table, lower: Position | None, upper: Position | None) -> pa.Table:
        values, type_ = self._comparable, rows.schema.field(self._read.cursor or "").type
        if lower is not None:
            kept = pc.greater(values, scalar_of(lower, type_))
            rows, values = rows.filter(kept), values.filter(kept)
        return rows.filter(pc.less_equal(values, scalar_of(upper, type_))) if upper is not None else rows

    def _parsed(self, value: str | None) -> Position | None:
        type_, unit = self._cursor_type
        return parse_shown(value, type_, unit) if type_ and value is not None else None
