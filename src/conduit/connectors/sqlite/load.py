"""One commit into SQLite: rows into the target or a temporary table, the strategy, the mark, COMMIT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from conduit import shrink
from conduit.arrow import pa
from conduit.connectors import sql, sql_log
from conduit.connectors.sqlite import catalogue
from conduit.connectors.sqlite.connection import Database
from conduit.connectors.sqlite.removal import remove
from conduit.connectors.sqlite.types import DIALECT, Column, quote
from conduit.connectors.sqlite.values import sortable, stored
from conduit.contract import Committed, OutcomeUnknown, Staged, Write, changes_nothing
from conduit.errors import Busy, ConnectionFailed, DataError, InternalError
from conduit.faults import crash_point
from conduit.marks import Mark, fenced
from conduit.strategies import append
from conduit.strategies.replace import emptied
from conduit.strategies.statements import Statement, Tables, tally

_STAGE = "_conduit_stage"
_ORDER = "_conduit_order"
"""A column of the stage: a decimal cursor in a form that sorts as the numbers do."""

LOG = quote(sql_log.LOG_TABLE)
"""The log of marks."""


def parameter(place: int) -> str:
    """How SQLite spells the n-th parameter."""
    return f"?{place}"


def move_mark(database: Database, old: Mark | None, new: Mark) -> None:
    """Set a mark if it still is `old` (I3), inside the open transaction.

    Raises:
        Fenced: it is not.
        StateConflict: it was to be renamed, and the name is taken.
    """
    table = quote(sql.STATE_TABLE)
    database.rows(sql.create_marks(table))
    database.rows(sql_log.create_log(LOG))
    statement, values = sql.swap(table, old, new, parameter)
    try:
        moved = database.change(statement, *values)
    except DataError as error:
        raise sql.taken(old, new) from error
    if moved != 1:
        raise fenced(new.identity)
    for statement, values in sql_log.write_log(LOG, new, parameter):
        database.rows(statement, *values)


class SqliteLoad:
    """One transaction. Rows go straight into the target where nothing has to be compared.

    Attributes:
        is_open: it was neither committed nor aborted.
    """

    def __init__(self, database: Database, write: Write, table: str, columns: Sequence[Column]) -> None:
        self._database = database
        self._write = write
        self._table = table
        by_name = {column.name: column for column in columns}
        self._columns = [by_name[name] for name in write.schema.names]
        self._staged = sql.needs_stage(write)
        self._deleted = 0
        self.is_open = True
        if self._staged:
            self._create_stage()
        elif write.mode == "replace":
            self._deleted = database.change(emptied(self._target).sql)

    @property
    def _target(self) -> str:
        return f"main.{quote(self._table)}"

    # --- rows ---

    def stream(self, rows: Iterator[pa.RecordBatch]) -> Staged:
        """Insert the rows into the open transaction."""
        count = 0
        for batch in rows:
            self._insert(batch)
            count += batch.num_rows
        return Staged(part="transaction", rows=count)

    def remove(self, rows: Iterator[pa.RecordBatch], columns: Sequence[str]) -> int:
        """Take out, in the open transaction, the rows with the values of one of `rows` in these columns."""
        wanted = [column for column in self._columns if column.name in columns]
        self._deleted = remove(self._database, self._target, wanted, rows)
        return self._deleted

    def _insert(self, batch: pa.RecordBatch) -> None:
        arrays = [stored(array, column) for array, column in zip(batch.columns, self._columns, strict=True)]
        names = batch.schema.names
        order = self._decimal_cursor
        if order is not None:
            scale = getattr(order.type, "scale", 0)
            arrays.append(sortable(batch.column(order.name).cast(order.type), scale))
            names = [*names, _ORDER]
        ready = pa.RecordBatch.from_arrays(arrays, names)
        before = self._total_changes()
        try:
            taken = self._database.insert(_STAGE if self._staged else self._table, ready, temporary=self._staged)
        except DataError as error:
            raise DataError(error.message + self._row(ready, self._total_changes() - before)) from error
        if taken != ready.num_rows:
            raise InternalError(f"table {self._write.table}: {ready.num_rows} rows were sent, SQLite took {taken}")

    def _total_changes(self) -> int:
        return int(self._database.rows("SELECT total_changes()")[0][0])

    def _row(self, batch: pa.RecordBatch, place: int) -> str:
        """The row that was rejected, by its key: the one after those that went in. Triggers hide which it was."""
        triggers = self._database.first(
            "SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE", self._table
        )
        if triggers or not 0 <= place < batch.num_rows:
            return ""
        primary = [c.name for c in catalogue.table_columns(self._database, self._table) if c.key]
        cursor = (self._write.cursor,) if self._write.cursor else ()
        names = self._write.key or primary or cursor or batch.schema.names[:3]
        shown = {name: batch.column(name)[place].as_py() for name in names if name in batch.schema.names}
        return f"; the row with {', '.join(f'{name} = {str(value)[:80]}' for name, value in shown.items())}"

    # --- the stage ---

    def _create_stage(self) -> None:
        definitions = [f"{quote(column.name)} {column.declared}" for column in self._columns]
        definitions += [f"{quote(_ORDER)} TEXT"] if self._decimal_cursor else []
        self._database.rows(f"CREATE TEMP TABLE {quote(_STAGE)} ({', '.join(definitions)})")

    @property
    def _decimal_cursor(self) -> Column | None:
        """The cursor, when newer is decided by decimals, which SQLite keeps as text."""
        if not self._staged or self._write.key_is_unique:
            return None
        found = (column for column in self._columns if column.name == self._write.cursor)
        return next((column for column in found if pa.types.is_decimal(column.type)), None)

    # --- commit ---

    def commit(self, staged: Sequence[Staged], old: Mark | None, new: Mark | None) -> Committed:
        """The strategy's statements, then the mark, then COMMIT."""
        crash_point("load.staged")
        rows = sum(part.rows for part in staged)
        committed = self._merge(rows) if self._staged else Committed(inserted=rows, deleted=self._deleted)
        shrink.refuse(self._write, before=committed.deleted, after=committed.inserted)
        if changes_nothing(committed, old, new):
            self.abort()
            return committed
        if new is not None:
            move_mark(self._database, old, new)
        crash_point("load.marked")
        self._commit(committed)
        crash_point("load.committed")
        return committed

    def abort(self) -> None:
        """Close the connection; SQLite rolls back what was not committed."""
        if self.is_open:
            self.is_open = False
            self._database.close()

    def _merge(self, rows: int) -> Committed:
        both = sql.tables(self._write, dialect=DIALECT, target=self._target, stage=f"temp.{quote(_STAGE)}")
        computed = {
            c.name: c.computed(self._write.update[c.name]) for c in self._columns if c.name in self._write.update
        }
        both = replace(both, update=computed, cursor=_ORDER if self._decimal_cursor else both.cursor)
        steps = sql.statements(self._write, both)
        indexed = catalogue.is_indexed(self._database, self._table, self._write.key)
        counts = self._run(steps if indexed else steps[:-1])
        self._require_computed(both)
        if not indexed:
            self._forget_known(both)
            counts |= self._run(append.everything(both))
        return tally(rows, counts)

    def _run(self, steps: Sequence[Statement]) -> dict[str, int]:
        return sql.run(steps, self._write, change=self._database.change, look=self._database.first)

    def _require_computed(self, both: Tables) -> None:
        """What `update:` made of the matched rows is of its column's type; sums can leave it without an error."""
        matched = f"SELECT target.* FROM {both.target} AS target JOIN {both.stage} AS source ON {both.same_key()}"
        for column in (column for column in self._columns if column.name in both.update):
            found = self._database.first(
                f"SELECT quote({column.expression}) FROM ({matched}) AS q WHERE {column.miscomputed()} LIMIT 1"
            )
            if found is not None:
                raise DataError(
                    f"table {self._write.table}: `update:` makes {found[0]} of {column.name}, which its type "
                    f"{column.declared} cannot hold exactly",
                    hint="give the column a wider type, or sum smaller numbers",
                )

    def _forget_known(self, both: Tables) -> None:
        """Take the rows whose key the target holds out of the stage, in one join.

        The last statement of a strategy looks every staged row up in the target. Without an index SQLite would scan
        the target once for each.
        """
        self._database.rows(
            f"DELETE FROM {both.stage} WHERE rowid IN (SELECT source.rowid FROM {both.target} AS target "
            f"JOIN {both.stage} AS source ON {both.same_key()})"
        )

    def _commit(self, committed: Committed) -> None:
        try:
            self._database.rows("COMMIT")
        except Busy as error:
            raise Busy(
                f"{error.message}: somebody reads this file, perhaps this run itself",
                hint="in WAL mode readers and one writer do not wait for each other: `PRAGMA journal_mode = WAL`",
            ) from error
        except ConnectionFailed as error:
            raise OutcomeUnknown(error.message, committed=committed) from error
        self.abort()
