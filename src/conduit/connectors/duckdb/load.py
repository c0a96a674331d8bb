"""One commit into DuckDB: rows into the target or a temporary table, the strategy, the mark, COMMIT."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

import duckdb

from conduit import shrink
from conduit.arrow import pa
from conduit.connectors import sql, sql_log
from conduit.connectors.duckdb.connection import Database
from conduit.connectors.duckdb.removal import remove
from conduit.connectors.duckdb.types import DIALECT, Column, quote
from conduit.contract import Committed, OutcomeUnknown, Staged, Write, changes_nothing
from conduit.errors import Busy, ConduitError, ConnectionFailed, DataError, InternalError
from conduit.faults import crash_point
from conduit.marks import Identity, Mark, fenced
from conduit.strategies.replace import emptied
from conduit.strategies.statements import tally

_STAGE = 'temp."_conduit_stage"'
_REMEMBERED = 8
"""Batches that are kept for the message about a rejected row."""

_FEW = 4
"""A merge of less than this part of the table takes its changed rows out and inserts them anew; one of more costs less
as an UPDATE (docs/decisions/0027)."""

_CHECK = re.compile(r"CHECK constraint failed on table .* with expression CHECK\s?(\(.*\))")
_NOT_NULL = re.compile(r"NOT NULL constraint failed: .*\.(.*)")


def parameter(place: int) -> str:
    """How DuckDB spells the n-th parameter."""
    return f"${place}"


@dataclass(frozen=True, slots=True)
class Marks:
    """The quoted names of the table of marks and of its log."""

    table: str
    log: str


def move_mark(database: Database, state: Marks, old: Mark | None, new: Mark) -> None:
    """Set a mark if it still is `old` (I3), inside the open transaction. The tables are made where they are missing.

    Raises:
        Fenced: it is not.
        StateConflict: it was to be renamed, and the name is taken.
    """
    database.rows(sql.create_marks(state.table))
    database.rows(sql_log.create_log(state.log))
    statement, values = sql.swap(state.table, old, new, parameter)
    try:
        moved = database.change(statement, values)
    except (Busy, DataError) as error:
        raise sql.taken(old, new) from error
    if moved != 1:
        raise fenced(new.identity)
    for statement, values in sql_log.write_log(state.log, new, parameter):
        database.rows(statement, values)


class DuckdbLoad:
    """One transaction. Rows go straight into the target where nothing has to be compared.

    Attributes:
        is_open: it was neither committed nor aborted.
    """

    def __init__(
        self,
        database: Database,
        write: Write,
        target: str,
        state: Marks,
        columns: Sequence[Column],
        schema: pa.Schema,
        *,
        whole_rows: bool = False,
    ) -> None:
        """Set up a load on an open transaction.

        Args:
            database: the connection, used by nobody else.
            write: what is to be done.
            target: quoted name of the table.
            state: where the marks are.
            columns: the table's columns.
            schema: the table's columns in Arrow.
            whole_rows: a merge may change a row by taking it out and inserting it anew.
        """
        self._database = database
        self._write = write
        self._target = target
        self._state = state
        self._whole_rows = whole_rows
        by_name = {column.name: column for column in columns}
        self._columns = [by_name[name] for name in write.schema.names]
        self._schema = pa.schema([schema.field(name) for name in write.schema.names])
        self._inserted = {quote(column.name): column.inserted() for column in self._columns}
        self._staged = sql.needs_stage(write)
        self._sent = 0
        self._deleted = 0
        self.is_open = True
        if self._staged:
            definitions = ", ".join(f"{quote(column.name)} {column.declared}" for column in self._columns)
            database.rows(f"CREATE TEMP TABLE {_STAGE} ({definitions})")
        elif write.mode == "replace":
            self._deleted = database.change(emptied(target).sql)
        self._held = 0 if self._staged else self._count()

    # --- rows ---

    def stream(self, rows: Iterator[pa.RecordBatch]) -> Staged:
        """Insert the rows into the open transaction, but only if there are any.

        An INSERT of no row makes DuckDB (1.4 to 2.0) lose sight of the rows of later INSERTs of the transaction.
        """
        filled = (batch for batch in rows if batch.num_rows)
        first = next(filled, None)
        if first is None:
            return Staged(part="transaction", rows=0)
        fed = _Fed(chain([first], filled), self._columns, self._schema)
        reader = pa.RecordBatchReader.from_batches(self._schema, iter(fed))
        try:
            self._database.insert(_STAGE if self._staged else self._target, self._inserted, reader)
        except ConduitError as error:
            if fed.failure is not None:
                raise fed.failure from None
            if isinstance(error, DataError):
                raise DataError(error.message + self._row(error.message, fed.latest())) from error
            raise
        self._sent += fed.rows
        return Staged(part="transaction", rows=fed.rows)

    def remove(self, rows: Iterator[pa.RecordBatch], columns: Sequence[str]) -> int:
        """Take out, in the open transaction, the rows with the values of one of `rows` in these columns."""
        wanted = [column for column in self._columns if column.name in columns]
        schema = pa.schema([self._schema.field(column.name) for column in wanted])
        self._deleted = remove(self._database, self._target, wanted, schema, rows)
        self._held = self._count()
        return self._deleted

    def _require_all(self) -> None:
        """The transaction sees every row that was sent into it: what follows, and the counts, stand on that."""
        found = self._count() - self._held
        if found != self._sent:
            raise InternalError(
                f"table {self._write.table}: {self._sent} rows were sent, DuckDB {duckdb.__version__} shows {found}"
            )

    def _count(self) -> int:
        """Rows that can be seen: a scan of the stage; for a target, which may be large, its own count."""
        if not self._staged:
            return self._in_target()
        return int((self._database.first(f"SELECT count(*) FROM {_STAGE} WHERE rowid >= 0") or (0,))[0])

    def _in_target(self) -> int:
        return int((self._database.first(f"SELECT count(*) FROM {self._target}") or (0,))[0])

    def _row(self, message: str, rows: pa.Table) -> str:
        """The row that was rejected, where DuckDB tells only the constraint; the transaction is lost already."""
        check, null = _CHECK.search(message), _NOT_NULL.search(message)
        if not check and not null:
            return ""
        condition = f"NOT {check[1]}" if check else f"{quote(null[1])} IS NULL" if null else ""
        cursor = (self._write.cursor,) if self._write.cursor else ()
        names = self._write.key or cursor or self._write.schema.names[:3]
        with closing(self._database.beside(self._database.doing)) as beside:
            found = beside.find(", ".join(f"CAST({quote(name)} AS VARCHAR)" for name in names), condition, rows)
        shown = ", ".join(f"{name} = {str(value)[:80]}" for name, value in zip(names, found or (), strict=False))
        return f"; the row with {shown}" if shown else ""

    # --- commit ---

    def commit(self, staged: Sequence[Staged], old: Mark | None, new: Mark | None) -> Committed:
        """The strategy's statements, then the mark, then COMMIT."""
        crash_point("load.staged")
        self._require_all()
        rows = sum(part.rows for part in staged)
        committed = self._merge(rows) if self._staged else Committed(inserted=rows, deleted=self._deleted)
        shrink.refuse(self._write, before=committed.deleted, after=committed.inserted)
        if changes_nothing(committed, old, new):
            self.abort()
            return committed
        if new is not None:
            move_mark(self._database, self._state, old, new)
        crash_point("load.marked")
        self._commit(committed, old, new)
        crash_point("load.committed")
        return committed

    def abort(self) -> None:
        """Close the connection; DuckDB rolls back what was not committed."""
        if self.is_open:
            self.is_open = False
            self._database.close()

    def _merge(self, rows: int) -> Committed:
        before = self._in_target()
        whole = self._whole_rows and rows * _FEW < before
        both = sql.tables(self._write, dialect=DIALECT, target=self._target, stage=_STAGE, whole_rows=whole)
        steps = sql.statements(self._write, both)
        committed = tally(rows, sql.run(steps, self._write, change=self._database.change, look=self._look))
        if self._in_target() != before + committed.inserted:
            raise InternalError(f"table {self._write.table}: rows that were taken out to be changed did not come back")
        return committed

    def _look(self, query: str) -> tuple[object, ...] | None:
        """The first row as text: DuckDB's own Python values of some types need packages that may not be there."""
        return self._database.first(f"SELECT CAST(COLUMNS(*) AS VARCHAR) FROM (\n{query}\n) AS found")

    def _commit(self, committed: Committed, old: Mark | None, new: Mark | None) -> None:
        try:
            self._database.rows("COMMIT")
        except Busy as error:
            if new is not None and self._was_moved(old, new.identity):
                raise fenced(new.identity) from error
            raise
        except ConnectionFailed as error:
            raise OutcomeUnknown(error.message, committed=committed) from error
        self.abort()

    def _was_moved(self, old: Mark | None, identity: Identity) -> bool:
        """Whether the mark is another one now; asked when COMMIT has met another transaction's rows."""
        with closing(self._database.beside(self._database.doing)) as beside:
            found = read_marks(beside, self._state.table, identity.table)
        mine = next((mark for mark in found if mark.identity == identity), None)
        return (mine.token() if mine else None) != (old.token() if old else None)


def read_marks(database: Database, state: str, target: str) -> list[Mark]:
    """The marks of a target, from the table `state`, which is there."""
    found = database.rows(sql.read_marks(state, parameter), (target,))
    return sql.marks((row[0] for row in found), target)


class _Fed:
    """Batches on their way into DuckDB, which pulls them in its own threads and would hide what fails there.

    Attributes:
        rows: how many rows went in.
        failure: what the batches' own iterator raised.
    """

    def __init__(self, batches: Iterator[pa.RecordBatch], columns: Sequence[Column], schema: pa.Schema) -> None:
        self._batches = batches
        self._columns = columns
        self._schema = schema
        self._latest: deque[pa.RecordBatch] = deque(maxlen=_REMEMBERED)
        self.rows = 0
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches:
                ready = self._ready(batch)
                self.rows += ready.num_rows
                self._latest.append(ready)
                yield ready
        except (Exception, KeyboardInterrupt) as error:
            self.failure = error
            raise

    def latest(self) -> pa.Table:
        """The batches that went in last: a row that DuckDB rejects is among them."""
        return pa.Table.from_batches(self._latest, self._schema)

    def _ready(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = [
            column.value(array, field.type)
            for column, array, field in zip(self._columns, batch.columns, self._schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)
