"""A SQLite destination: its tables, and the marks in `_conduit_state` beside them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from conduit.arrow import pa
from conduit.connectors import sql, sql_log
from conduit.connectors.database_file import is_there
from conduit.connectors.sqlite import catalogue
from conduit.connectors.sqlite.config import SqliteConnection
from conduit.connectors.sqlite.connection import Access, Database, connect
from conduit.connectors.sqlite.load import LOG, SqliteLoad, move_mark, parameter
from conduit.connectors.sqlite.types import Column, declared_type, quote
from conduit.contract import Load, Write
from conduit.errors import ConduitError, ConfigError, ConnectionFailed
from conduit.marks import Identity, Mark
from conduit.rows import RUN_ID
from conduit.state_log import Entry

_STATE = quote(sql.STATE_TABLE)


class SqliteDestination:
    """A database file that rows go to. Each load has a connection of its own; nothing stays open between them.

    Marks are read through a connection that could write, too: in WAL mode a read-only one leaves files behind.
    """

    by_run_id = True

    def __init__(self, name: str, connection: SqliteConnection, folder: Path) -> None:
        self._name = name
        self._path = connection.path(folder)
        self._busy_timeout = connection.busy_timeout
        self._loads: list[SqliteLoad] = []

    def check(self) -> str:
        """See whether the file can be written, or created; nothing is changed."""
        if not is_there(self._name, self._path):
            if not os.access(self._path.parent, os.W_OK | os.X_OK):
                raise ConnectionFailed(f"{self._name}: {self._path} cannot be created", hint="check its folder")
            return f"{self._path}: will be created"
        with closing(self._connect("rw", "check")) as database:
            database.rows("BEGIN IMMEDIATE")
            row = database.first("SELECT count(*) FROM sqlite_schema WHERE type = 'table'") or (0,)
            database.rows("ROLLBACK")
        return f"{self._path}: {row[0]} tables"

    def marks(self, table: str, *, settle: bool = False) -> Sequence[Mark]:
        """The marks of a table. `settle` waits for the writer that holds the file, up to `busy_timeout`."""
        if not is_there(self._name, self._path):
            return []
        with closing(self._connect("rw", f"read the marks of {table}")) as database:
            database.rows("BEGIN IMMEDIATE" if settle else "BEGIN")
            if not catalogue.table_columns(database, sql.STATE_TABLE):
                return []
            found = database.rows(sql.read_marks(_STATE, parameter), table)
        return sql.marks((row[0] for row in found), table)

    def describe(self, table: str) -> pa.Schema | None:
        """The table's columns, in the types that a source would give them."""
        if not is_there(self._name, self._path):
            return None
        with closing(self._connect("rw", f"describe {table}")) as database:
            columns = _columns(database, catalogue.table_name(table))
        return pa.schema([column.field() for column in columns]) if columns else None

    def begin(self, write: Write) -> Load:
        """Open the transaction; in it create or extend the table where needed."""
        sql.require_key(write)
        table = catalogue.table_name(write.table)
        created = not is_there(self._name, self._path)
        database = self._connect("rwc", f"load {write.table}")
        try:
            if created:
                database.rows("PRAGMA journal_mode = WAL")
            database.rows("BEGIN IMMEDIATE")
            _prepare(database, table, write)
            load = SqliteLoad(database, write, table, _columns(database, table))
        except ConduitError:
            database.close()
            raise
        self._loads = [*(load for load in self._loads if load.is_open), load]
        return load

    def set_mark(self, table: str, old: Mark | None, new: Mark) -> None:
        """Move a mark without rows."""
        with closing(self._connect("rwc", f"set the mark of {table}")) as database:
            database.rows("BEGIN IMMEDIATE")
            move_mark(database, old, new)
            database.rows("COMMIT")

    def log(self, identity: Identity) -> Sequence[Entry]:
        """The rows of the log."""
        if not self._path.exists():
            return []
        with closing(self._connect("rw", f"read the log of {identity.table}")) as database:
            database.rows("BEGIN")
            if not catalogue.table_columns(database, sql_log.LOG_TABLE):
                return []
            statement, values = sql_log.read_log(LOG, identity, parameter)
            return sql_log.entries(database.rows(statement, *values))

    def later_rows(self, identity: Identity, to: Entry, later: Sequence[Entry]) -> int:  # noqa: ARG002 - rows name runs
        """The rows that carry the id of one of the later runs."""
        statement, values = sql_log.rows_of(_target(identity), quote(RUN_ID), later, parameter)
        with closing(self._connect("rw", f"count the rows of {identity.table}")) as database:
            return int(database.rows(statement, *values)[0][0])

    def take_back(self, old: Mark, new: Mark, to: Entry, later: Sequence[Entry], rows: int) -> None:  # noqa: ARG002
        """DELETE them, then the mark, in one transaction."""
        statement, values = sql_log.removal(_target(new.identity), quote(RUN_ID), later, parameter)
        with closing(self._connect("rw", f"take rows of {new.identity.table} back")) as database:
            database.rows("BEGIN IMMEDIATE")
            sql_log.require_rows(new.identity, database.change(statement, *values), rows)
            move_mark(database, old, new)
            database.rows("COMMIT")

    def close(self) -> None:
        """Abort what is not committed."""
        for load in self._loads:
            load.abort()

    def _connect(self, access: Access, doing: str) -> Database:
        return connect(self._name, self._path, access, self._busy_timeout, doing)


def _target(identity: Identity) -> str:
    return f"main.{quote(catalogue.table_name(identity.table))}"


def _columns(database: Database, table: str) -> tuple[Column, ...]:
    """The columns that can be written. An untyped column of an empty table takes text."""
    declared = catalogue.table_columns(database, table)
    columns = catalogue.read_as(database, f"main.{quote(table)}", declared, {}, of_query=False)
    return tuple(
        Column(column.name, "", pa.string(), nullable=column.nullable) if pa.types.is_null(column.type) else column
        for column in columns
    )


def _prepare(database: Database, table: str, write: Write) -> None:
    """CREATE TABLE or ADD COLUMN; with a key that loads look rows up by, a primary key."""
    known = {column.name for column in catalogue.table_columns(database, table)}
    definitions = [
        f"{quote(field.name)} {declared_type(field, write.table)}"
        for field in write.schema
        if not known or (field.name in write.add_columns and field.name not in known)
    ]
    if known:
        _require_table(database, table)
        for definition in definitions:
            database.rows(f"ALTER TABLE main.{quote(table)} ADD COLUMN {definition}")
        return
    key = ", ".join(quote(name) for name in write.key)
    definitions += [f"PRIMARY KEY ({key})"] if key else []
    database.rows(f"CREATE TABLE main.{quote(table)} ({', '.join(definitions)})")


def _require_table(database: Database, table: str) -> None:
    found = database.first("SELECT type FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE", table)
    if found is not None and found[0] == "view":
        raise ConfigError(f"{database.name}: {table} is a view, rows cannot go into it", hint="name a table")
