"""One commit into PostgreSQL: COPY into the target or a temporary table, the strategy, the mark, COMMIT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING

import psycopg2
import psycopg2.extensions

from conduit import shrink
from conduit.arrow import SchemaOnce, pa
from conduit.connectors import sql
from conduit.connectors.postgresql import keys
from conduit.connectors.postgresql.catalogue import Cursor, Table
from conduit.connectors.postgresql.connection import mapped, translate
from conduit.connectors.postgresql.marks import Marks
from conduit.connectors.postgresql.types import DIALECT, quote
from conduit.connectors.postgresql.wire import CHUNK, Inflow, fits
from conduit.connectors.postgresql.writer import CopyStream, Encoding, Landing
from conduit.contract import Committed, OutcomeUnknown, Staged, Write, changes_nothing
from conduit.errors import DataError
from conduit.faults import crash_point
from conduit.late import late
from conduit.marks import Mark
from conduit.positions import Position
from conduit.strategies import replace
from conduit.strategies.statements import tally
from conduit.wires import Wire

if TYPE_CHECKING:
    from conduit.connectors.postgresql import removal
else:
    removal = late("conduit.connectors.postgresql.removal")

STAGE = "conduit_stage"

_LOOK_UP = "SELECT set_config('random_page_cost', '1.1', true) WHERE current_setting('random_page_cost') = '4'"
"""Lets the planner look a few rows up by an index of the key, instead of reading a large table from end to end: its
default supposes pages from a turning disk. Where somebody has set another value, it stays."""


class PostgresqlLoad:
    """One transaction. Rows go straight into the target where nothing has to be compared or cast."""

    def __init__(
        self,
        name: str,
        connection: psycopg2.extensions.connection,
        write: Write,
        target: str,
        table: Table,
        marks: Marks,
    ) -> None:
        self._name = name
        self._connection = connection
        self._write = write
        self._target = target
        self._marks = marks
        self._key_follows = bool(write.key) and table.comment == keys.FOLLOWS
        by_name = {column.name: column for column in table.columns}
        self._columns = [by_name[name] for name in SchemaOnce.names(write)]
        self._deleted = 0
        self._begun = False

    def stream(self, rows: Iterator[pa.RecordBatch]) -> Staged:
        """COPY the rows into the open transaction."""
        self._landing = encoding = Encoding.of(self._write.schema, self._columns)
        with mapped(self._name, f"load {self._write.table}"), self._connection.cursor() as cur:
            self._begin(cur)
            pump = CopyStream(encoding, rows)
            self._copy(cur, self._copy_into(), pump)
            require_all(self._write.table, pump.rows, cur.rowcount)
        return Staged(part="transaction", rows=pump.rows)

    def takes(self, wire: Wire) -> bool:
        """The table has the columns of the wire, type for type."""
        return fits(wire, self._connection, self._columns)

    def receive(self, wire: Wire) -> Staged:
        """COPY what the other server sends into the open transaction; what it sent must have arrived."""
        self._landing = Landing.as_it_is(self._columns)
        with mapped(self._name, f"load {self._write.table}"), self._connection.cursor() as cur:
            self._begin(cur)
            with closing(Inflow(wire)) as rows:
                self._copy(cur, self._copy_into(), rows)
            require_all(self._write.table, rows.sent, cur.rowcount)
        return Staged(part="transaction", rows=rows.sent)

    @cached_property
    def _landing(self) -> Landing:
        return Encoding.of(self._write.schema, self._columns)

    @property
    def _staged(self) -> bool:
        return sql.needs_stage(self._write) or bool(self._landing.casts)

    def _copy_into(self) -> str:
        into = STAGE if self._staged else self._target
        names = ", ".join(quote(name) for name in SchemaOnce.names(self._write))
        return f"COPY {into} ({names}) FROM STDIN (FORMAT binary)"

    def remove(self, rows: Iterator[pa.RecordBatch], columns: Sequence[str]) -> int:
        """Take out, in the open transaction, the rows with the values of one of `rows` in these columns."""
        wanted = [column for column in self._columns if column.name in columns]
        schema = pa.schema([self._write.schema.field(column.name) for column in wanted])
        encoding = Encoding.of(schema, wanted)
        with mapped(self._name, f"load {self._write.table}"), self._connection.cursor() as cur:
            self._begin(cur)
            pump = CopyStream(encoding, rows)
            self._deleted = removal.remove(
                cur, self._target, encoding, pump, lambda text, sent: self._copy(cur, text, sent)
            )
        return self._deleted

    @staticmethod
    def _copy(cur: Cursor, statement: str, pump: CopyStream | Inflow) -> None:
        try:
            cur.copy_expert(statement, pump, CHUNK)
        except psycopg2.Error:
            if pump.failure is not None:  # the rows failed, not the server
                raise pump.failure from None
            raise

    def commit(self, staged: Sequence[Staged], old: Mark | None, new: Mark | None) -> Committed:
        """The strategy's statements, then the mark, then COMMIT."""
        rows = sum(part.rows for part in staged)
        with mapped(self._name, f"load {self._write.table}"), self._connection.cursor() as cur:
            self._begin(cur)
            crash_point("load.staged")
            committed = self._apply(cur, rows)
            shrink.refuse(self._write, before=committed.deleted, after=committed.inserted)
            if changes_nothing(committed, old, new):
                self.abort()
                return committed
            twins = keys.build(cur, self._target, self._write.key) if self._key_follows and rows else None
            if new is not None:
                self._marks.move(cur, old, new)
            if twins is not None:  # no other run has brought them
                raise twins
        crash_point("load.marked")
        self._commit(committed)
        crash_point("load.committed")
        return committed

    def abort(self) -> None:
        """Roll back."""
        if not self._connection.closed:
            self._connection.rollback()

    def _begin(self, cur: Cursor) -> None:
        if self._begun:
            return
        self._begun = True
        if self._write.mode == "replace" and not self._staged:
            self._deleted = _changed(cur, replace.emptied(self._target).sql)
        if self._staged:
            columns = ", ".join(f"{quote(name)} {type_name}" for name, type_name in self._landing.stage_types.items())
            cur.execute(f"CREATE TEMP TABLE {STAGE} ({columns}) ON COMMIT DROP")

    def _apply(self, cur: Cursor, rows: int) -> Committed:
        if not self._staged:
            return Committed(inserted=rows, deleted=self._deleted)
        if (
            self._write.key
        ):  # the joins are by the key alone: to look at the other columns would take three times as long
            cur.execute(f"ANALYZE {STAGE} ({', '.join(quote(name) for name in self._write.key)})")
        cur.execute(_LOOK_UP)
        both = sql.tables(
            self._write,
            dialect=DIALECT,
            target=self._target,
            stage=STAGE,
            casts=self._landing.casts,
            comparable=self._landing.comparable,
            present_from=self._present_from(self._write.present_from),
        )
        steps = sql.statements(self._write, both)
        counts = sql.run(
            steps, self._write, change=lambda text: _changed(cur, text), look=lambda text: _first(cur, text)
        )
        return tally(rows, {"deleted": self._deleted} | counts)

    def _present_from(self, position: Position | None) -> str:
        if position is None or self._write.cursor is None:
            return ""
        quoted = psycopg2.extensions.QuotedString(position.value)
        quoted.prepare(self._connection)
        collation = ' COLLATE "C"' if position.type == "text" else ""
        return f"target.{quote(self._write.cursor)} >= {quoted.getquoted().decode()}{collation}"

    def _commit(self, committed: Committed) -> None:
        try:
            self._connection.commit()
        except psycopg2.Error as error:
            if error.pgcode and not error.pgcode.startswith(("57", "08")):
                raise translate(self._name, f"commit {self._write.table}", error) from error
            raise OutcomeUnknown(
                f"{self._name}: the connection broke at COMMIT: {' '.join(str(error).split())}", committed=committed
            ) from error


def require_all(table: str, sent: int, taken: int) -> None:
    """What was sent has arrived, before there is a mark that says so.

    Raises:
        DataError: a row is missing.
    """
    if sent != taken:
        raise DataError(f"{table}: {sent} rows were sent, PostgreSQL took {taken}")


def _changed(cur: Cursor, text: str) -> int:
    cur.execute(text)
    return cur.rowcount


def _first(cur: Cursor, text: str) -> tuple[object, ...] | None:
    cur.execute(text)
    return cur.fetchone()
