"""Writing tables in memory. The strategies run as the same SQL as elsewhere, in a throw-away DuckDB."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import duckdb

from conduit import schemas, shrink
from conduit.arrow import pa
from conduit.connectors import sql
from conduit.connectors.memory.config import MemoryConnection
from conduit.connectors.memory.store import Store, store
from conduit.contract import Committed, Load, Staged, Write, changes_nothing
from conduit.errors import ConfigError
from conduit.faults import crash_point
from conduit.marks import Mark
from conduit.strategies.dialects import Dialect
from conduit.strategies.statements import tally

_DUCKDB = Dialect(name="duckdb", row_id="rowid")


class MemoryDestination:
    """Tables that rows go to."""

    def __init__(self, name: str, connection: MemoryConnection, folder: Path) -> None:  # noqa: ARG002
        self._store = store(connection.store)

    def check(self) -> str:
        """It is always there."""
        return f"{len(self._store.tables)} tables in memory"

    def marks(self, table: str, *, settle: bool = False) -> Sequence[Mark]:  # noqa: ARG002 - nothing is under way
        """The marks of a table."""
        return [mark for mark in self._store.marks.values() if mark.identity.table == table]

    def describe(self, table: str) -> pa.Schema | None:
        """The table's schema."""
        found = self._store.tables.get(table)
        return found.schema if found is not None else None

    def begin(self, write: Write) -> Load:
        """Collect rows for one commit."""
        sql.require_key(write)
        return MemoryLoad(self._store, write)

    def set_mark(self, table: str, old: Mark | None, new: Mark) -> None:  # noqa: ARG002 - the mark names it
        """Move a mark without rows."""
        with self._store.lock:
            self._store.move_mark(old, new)

    def close(self) -> None:
        """Nothing is open."""


class MemoryLoad:
    """Rows of one commit, collected."""

    def __init__(self, target: Store, write: Write) -> None:
        self._store = target
        self._write = write
        self._batches: list[pa.RecordBatch] = []

    def stream(self, rows: Iterator[pa.RecordBatch]) -> Staged:
        """Keep the rows."""
        before = len(self._batches)
        self._batches += rows
        return Staged(part="memory", rows=sum(batch.num_rows for batch in self._batches[before:]))

    def commit(self, staged: Sequence[Staged], old: Mark | None, new: Mark | None) -> Committed:  # noqa: ARG002
        """Put a new table in the place of the old one, and move the mark."""
        crash_point("load.staged")
        with self._store.lock:
            result, committed = self._applied()
            shrink.refuse(self._write, before=committed.deleted, after=committed.inserted)
            if changes_nothing(committed, old, new):
                return committed
            if new is not None:
                self._store.move_mark(old, new)
            crash_point("load.marked")
            self._store.tables[self._write.table] = result
        crash_point("load.committed")
        return committed

    def abort(self) -> None:
        """Forget the rows."""
        self._batches = []

    def _applied(self) -> tuple[pa.Table, Committed]:
        rows = pa.Table.from_batches(self._batches, schema=self._write.schema)
        before = self._existing()
        if self._write.mode == "replace":
            return rows, Committed(inserted=rows.num_rows, deleted=before.num_rows)
        if not sql.needs_stage(self._write):
            return _joined(before, rows), Committed(inserted=rows.num_rows)
        return self._compared(before, rows)

    def _existing(self) -> pa.Table:
        """The table as it is, with the columns that this write adds."""
        found = self._store.tables.get(self._write.table, self._write.schema.empty_table())
        if self._write.table not in self._store.tables:
            return found
        for name in self._write.add_columns:
            field = self._write.schema.field(name)
            found = found.append_column(field, pa.nulls(found.num_rows, field.type))
        return found

    def _compared(self, before: pa.Table, rows: pa.Table) -> tuple[pa.Table, Committed]:
        with closing(duckdb.connect()) as opened:
            for name, content in (("target", before), ("stage", rows)):
                opened.register("given", content)
                opened.execute(f"CREATE TABLE {name} AS SELECT * FROM given")
                opened.unregister("given")
            both = sql.tables(self._write, dialect=_DUCKDB, target="main.target", stage="main.stage")
            try:
                counts = sql.run(
                    sql.statements(self._write, both),
                    self._write,
                    change=lambda text: int((opened.execute(text).fetchone() or (0,))[0]),
                    look=lambda text: opened.execute(text).fetchone(),
                )
            except duckdb.Error as error:
                raise ConfigError(f"{self._write.table}: {error}", hint="correct the `update:` expressions") from error
            found: pa.Table = opened.sql("SELECT * FROM main.target").to_arrow_table()
        return _as(found, before.schema), tally(rows.num_rows, counts)


def _joined(before: pa.Table, rows: pa.Table) -> pa.Table:
    """Both, one after the other; a column that the rows lack is NULL."""
    columns = [
        rows.column(field.name) if field.name in rows.schema.names else pa.nulls(rows.num_rows, field.type)
        for field in before.schema
    ]
    return pa.concat_tables([before, pa.Table.from_arrays(columns, schema=before.schema)])


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table in the types that it had before it went through DuckDB."""
    batches = [schemas.conform(batch, schema) for batch in table.combine_chunks().to_batches()]
    return pa.Table.from_batches(batches, schema=schema)
