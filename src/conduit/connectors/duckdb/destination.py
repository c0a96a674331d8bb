"""A DuckDB destination: its tables, and the marks in `_conduit_state` beside them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from conduit.arrow import pa
from conduit.connectors import sql, sql_log
from conduit.connectors.database_file import is_there
from conduit.connectors.duckdb import catalogue
from conduit.connectors.duckdb.config import DuckdbConnection
from conduit.connectors.duckdb.connection import Database, connect
from conduit.connectors.duckdb.load import DuckdbLoad, Marks, move_mark, parameter, read_marks
from conduit.connectors.duckdb.types import Column, declared_type, quote
from conduit.contract import Load, Write
from conduit.errors import ConduitError, ConfigError, ConnectionFailed
from conduit.marks import Identity, Mark
from conduit.rows import RUN_ID
from conduit.state_log import Entry


class DuckdbDestination:
    """A database file that rows go to. It stays open, so that sources of this run share it; loads get connections."""

    by_run_id = True

    def __init__(self, name: str, connection: DuckdbConnection, folder: Path) -> None:
        self._name = name
        self._path = connection.path(folder)
        self._schema = connection.schema
        self._memory_limit = connection.memory_limit
        self._marks = Marks(
            catalogue.qualified(connection.schema, sql.STATE_TABLE),
            catalogue.qualified(connection.schema, sql_log.LOG_TABLE),
        )
        self._opened: Database | None = None
        self._loads: list[DuckdbLoad] = []

    def check(self) -> str:
        """See whether the file can be written, or created; nothing is changed."""
        place = self._path if is_there(self._name, self._path) else self._path.parent
        if not os.access(place, os.W_OK):
            raise ConnectionFailed(f"{self._name}: {place} cannot be written to", hint="check its permissions")
        if place != self._path:
            return f"{self._path}: will be created"
        limit = self._memory_limit
        with closing(connect(self._name, self._path, "check", memory_limit=limit, write=False)) as database:
            row = database.first("SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database()")
        return f"{self._path}: {(row or (0,))[0]} tables"

    def marks(self, table: str, *, settle: bool = False) -> Sequence[Mark]:  # noqa: ARG002 - no commit outlives its process
        """The marks of a table."""
        if not is_there(self._name, self._path):
            return []
        with closing(self._database().beside(f"read the marks of {table}")) as database:
            if not catalogue.exists(database, self._schema, sql.STATE_TABLE):
                return []
            return read_marks(database, self._marks.table, table)

    def describe(self, table: str) -> pa.Schema | None:
        """The table's columns, in the types that a source would give them."""
        if not is_there(self._name, self._path):
            return None
        with closing(self._database().beside(f"describe {table}")) as database:
            if not catalogue.exists(database, self._schema, table):
                return None
            return self._table(database, table)[1]

    def begin(self, write: Write) -> Load:
        """Open the transaction; in it create or extend the table where needed."""
        sql.require_key(write)
        database = self._database().beside(f"load {write.table}")
        try:
            database.rows("BEGIN TRANSACTION")
            self._prepare(database, write)
            target = catalogue.qualified(self._schema, write.table)
            columns, schema = self._table(database, write.table)
            whole_rows = self._takes_whole_rows(database, write, columns)
            load = DuckdbLoad(database, write, target, self._marks, columns, schema, whole_rows=whole_rows)
        except ConduitError:
            database.close()
            raise
        self._loads = [*(load for load in self._loads if load.is_open), load]
        return load

    def set_mark(self, table: str, old: Mark | None, new: Mark) -> None:
        """Move a mark without rows."""
        with closing(self._database().beside(f"set the mark of {table}")) as database:
            database.rows("BEGIN TRANSACTION")
            self._create_schema(database, sql.STATE_TABLE)
            move_mark(database, self._marks, old, new)
            database.rows("COMMIT")

    def log(self, identity: Identity) -> Sequence[Entry]:
        """The rows of the log."""
        if not self._path.exists():
            return []
        with closing(self._database().beside(f"read the log of {identity.table}")) as database:
            if not catalogue.exists(database, self._schema, sql_log.LOG_TABLE):
                return []
            return sql_log.entries(database.rows(*sql_log.read_log(self._marks.log, identity, parameter)))

    def later_rows(self, identity: Identity, to: Entry, later: Sequence[Entry]) -> int:  # noqa: ARG002 - rows name runs
        """The rows that carry the id of one of the later runs."""
        target = catalogue.qualified(self._schema, identity.table)
        with closing(self._database().beside(f"count the rows of {identity.table}")) as database:
            return int(database.rows(*sql_log.rows_of(target, quote(RUN_ID), later, parameter))[0][0])

    def take_back(self, old: Mark, new: Mark, to: Entry, later: Sequence[Entry], rows: int) -> None:  # noqa: ARG002
        """DELETE them, then the mark, in one transaction."""
        target = catalogue.qualified(self._schema, new.identity.table)
        with closing(self._database().beside(f"take rows of {new.identity.table} back")) as database:
            database.rows("BEGIN TRANSACTION")
            found = database.change(*sql_log.removal(target, quote(RUN_ID), later, parameter))
            sql_log.require_rows(new.identity, found, rows)
            move_mark(database, self._marks, old, new)
            database.rows("COMMIT")

    def close(self) -> None:
        """Abort what is not committed, and give back the file."""
        for load in self._loads:
            load.abort()
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    # --- below: the connection and the tables ---

    def _database(self) -> Database:
        if self._opened is None:
            self._opened = connect(self._name, self._path, "open", memory_limit=self._memory_limit, write=True)
        return self._opened

    def _table(self, database: Database, table: str) -> tuple[list[Column], pa.Schema]:
        """The columns of a table, as a source sees them."""
        text = f"SELECT * FROM {catalogue.qualified(self._schema, table)} AS q"
        columns = catalogue.columns(database, text, {})
        select = ", ".join(column.select() for column in columns)
        carried = database.schema(f"SELECT {select} FROM ({text}) AS q")
        fields = [column.field(field.type) for column, field in zip(columns, carried, strict=True)]
        return columns, pa.schema(fields)

    def _prepare(self, database: Database, write: Write) -> None:
        """CREATE TABLE or ADD COLUMN; with a key that loads look rows up by, a primary key."""
        target = catalogue.qualified(self._schema, write.table)
        self._create_schema(database, write.table)
        self._create_schema(database, sql.STATE_TABLE)
        if not catalogue.exists(database, self._schema, write.table):
            definitions = [f"{quote(field.name)} {declared_type(field, write.table)}" for field in write.schema]
            key = ", ".join(quote(name) for name in write.key)
            definitions += [f"PRIMARY KEY ({key})"] if key else []
            database.rows(f"CREATE TABLE {target} ({', '.join(definitions)})")
            return
        if catalogue.is_view(database, self._schema, write.table):
            raise ConfigError(f"{self._name}: {write.table} is a view, rows cannot go into it", hint="name a table")
        for name in write.add_columns:
            type_ = declared_type(write.schema.field(name), write.table)
            database.rows(f"ALTER TABLE {target} ADD COLUMN IF NOT EXISTS {quote(name)} {type_}")

    def _takes_whole_rows(self, database: Database, write: Write, columns: Sequence[Column]) -> bool:
        """Whether a merge can change a row by taking it out and inserting it anew (docs/decisions/0027).

        That leaves the others where they are; an UPDATE makes DuckDB write anew all that stand near, mostly the whole
        table. It needs rows that bring every column, a key that stands once, and no foreign key that holds on to them.
        """
        if write.mode != "merge" or write.update or {column.name for column in columns} != set(write.schema.names):
            return False
        _, key = catalogue.constraints(database, self._schema, write.table)
        return bool(key) and set(key) <= set(write.key) and not catalogue.is_referenced(database, write.table)

    def _create_schema(self, database: Database, table: str) -> None:
        schema, _ = catalogue.parts(self._schema, table)
        if schema != "main":
            database.rows(f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}")
