"""A PostgreSQL destination: its tables, and the marks in `_conduit_state` beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from conduit.arrow import LateSchema, SchemaOnce
from conduit.connectors import sql, sql_log
from conduit.connectors.postgresql import catalogue, keys
from conduit.connectors.postgresql.config import PostgresqlConnection
from conduit.connectors.postgresql.connection import alone, connect, mapped
from conduit.connectors.postgresql.marks import Marks, remove_runs, rows_of_runs
from conduit.connectors.postgresql.types import created, quote, schema_of
from conduit.contract import Load, Write
from conduit.errors import ConfigError, ConnectionFailed
from conduit.late import late
from conduit.marks import Identity, Mark

if TYPE_CHECKING:
    from conduit.connectors.postgresql import load
    from conduit.state_log import Entry
else:
    load = late("conduit.connectors.postgresql.load")

LOCK_SECONDS = 10
"""How long a statement waits for somebody else's lock before the run gives up with exit 75."""

_DDL_LOCK = "SELECT pg_advisory_xact_lock(hashtext('conduit'), hashtext(%s))"


class PostgresqlDestination:
    """A database that rows go to. One connection, opened at the first need and again after it broke."""

    by_run_id = True
    takes_wires = True

    def __init__(self, name: str, connection: PostgresqlConnection, folder: Path) -> None:  # noqa: ARG002
        self._name = name
        self._connection = connection
        self._opened: psycopg2.extensions.connection | None = None
        self._marks = Marks(
            connection.schema,
            catalogue.qualified(connection.schema, sql.STATE_TABLE),
            catalogue.qualified(connection.schema, sql_log.LOG_TABLE),
        )

    def check(self) -> str:
        """Connect, and see whether tables can be made in the schema."""
        schema = self._connection.schema
        with mapped(self._name, "check"), alone(self._database()) as cur:
            cur.execute(
                "SELECT format('%%s on %%s, PostgreSQL %%s', current_user, current_database(), "
                "current_setting('server_version')), coalesce(has_schema_privilege(s.oid, 'USAGE') AND "
                "(has_schema_privilege(s.oid, 'CREATE') OR to_regclass(%s) IS NOT NULL), false) "
                "FROM (SELECT to_regnamespace(quote_ident(%s))::oid AS oid) s",
                (self._marks.table, schema),
            )
            found, may_create = cur.fetchone() or ("", False)
        if not may_create:
            raise ConnectionFailed(
                f"connection {self._name}: {found} may not create tables in schema {schema}, or it does not exist",
                hint=f'GRANT USAGE, CREATE ON SCHEMA "{schema}" TO the role',
            )
        return str(found)

    def marks(self, table: str, *, settle: bool = False) -> Sequence[Mark]:
        """The marks of a table. `settle` waits for a commit that is still on its way, up to LOCK_SECONDS."""
        with mapped(self._name, f"read the marks of {table}"), alone(self._database()) as cur:
            try:
                return self._marks.read(cur, table, wait=settle)
            except psycopg2.errors.UndefinedTable:
                return []

    def describe(self, table: str) -> LateSchema | None:
        """The table's columns, in the types that a source would give them."""
        with mapped(self._name, f"describe {table}"), alone(self._database()) as cur:
            columns = self._table(cur, table).columns
        return schema_of(columns) if columns else None

    def begin(self, write: Write) -> Load:
        """Create or extend the table where needed, in a transaction of its own, then open the one for the rows."""
        sql.require_key(write)
        connection = self._database()
        with mapped(self._name, f"prepare {write.table}"):
            table = self._prepared(connection, write)
        target = catalogue.qualified(self._connection.schema, write.table)
        begun = load.PostgresqlLoad(self._name, connection, write, target, table, self._marks)
        with mapped(self._name, f"load {write.table}"), connection.cursor() as cur:
            cur.execute("SET LOCAL synchronous_commit = on")
        return begun

    def set_mark(self, table: str, old: Mark | None, new: Mark) -> None:
        """Move a mark without rows."""
        connection = self._database()
        with mapped(self._name, f"set the mark of {table}"), connection, connection.cursor() as cur:
            self._create_state_table(cur)
            self._marks.move(cur, old, new)

    # --- the log ---

    def log(self, identity: Identity) -> Sequence[Entry]:
        """The rows of the log."""
        connection = self._database()
        with mapped(self._name, f"read the log of {identity.table}"), connection, connection.cursor() as cur:
            return self._marks.entries(cur, identity)

    def later_rows(self, identity: Identity, to: Entry, later: Sequence[Entry]) -> int:  # noqa: ARG002 - rows name runs
        """The rows that carry the id of one of the later runs."""
        connection = self._database()
        with mapped(self._name, f"count the rows of {identity.table}"), connection, connection.cursor() as cur:
            return rows_of_runs(cur, catalogue.qualified(self._connection.schema, identity.table), later)

    def take_back(self, old: Mark, new: Mark, to: Entry, later: Sequence[Entry], rows: int) -> None:  # noqa: ARG002
        """DELETE them, then the mark, in one transaction."""
        connection, table = self._database(), new.identity.table
        with mapped(self._name, f"take rows of {table} back"), connection, connection.cursor() as cur:
            self._create_state_table(cur)
            found = remove_runs(cur, catalogue.qualified(self._connection.schema, table), later)
            sql_log.require_rows(new.identity, found, rows)
            self._marks.move(cur, old, new)

    def close(self) -> None:
        """Close the connection; what is not committed is gone."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    # --- below: the connection and the tables ---

    def _database(self) -> psycopg2.extensions.connection:
        if self._opened is None or self._opened.closed:
            self._opened = connect(self._name, self._connection, f"SET lock_timeout = '{LOCK_SECONDS}s'")
            self._opened.autocommit = False
        return self._opened

    def _table(self, cur: catalogue.Cursor, table: str) -> catalogue.Table:
        name = catalogue.qualified(self._connection.schema, table)
        found = catalogue.table(cur, name)
        if not found.durable:
            raise ConfigError(
                f"{self._name}: table {table} is UNLOGGED: a crash of the server empties it, but keeps the mark",
                hint=f"ALTER TABLE {name} SET LOGGED",
            )
        return found

    def _refuse_generated(self, cur: catalogue.Cursor, write: Write) -> None:
        found = catalogue.table(cur, catalogue.qualified(self._connection.schema, write.table))
        generated = [name for name in SchemaOnce.names(write) if name in found.generated]
        if generated:
            raise ConfigError(
                f"{self._name}: table {write.table} computes {', '.join(generated)} itself, so rows cannot bring it",
                hint="leave it out of the query",
            )

    def _prepared(self, connection: psycopg2.extensions.connection, write: Write) -> catalogue.Table:
        """The target, after it was created or extended if that was needed."""
        with alone(connection) as cur:
            table = self._table(cur, write.table)
            if table.columns and not write.add_columns and not self._marks.missing(cur):
                return table
        with connection, connection.cursor() as cur:
            self._refuse_generated(cur, write)
            self._create_state_table(cur)
            self._create_table(cur, write)
            return self._table(cur, write.table)

    def _create_state_table(self, cur: catalogue.Cursor) -> None:
        """Make the table of marks and its log; those that are there need no right to create."""
        cur.execute(_DDL_LOCK, (self._connection.schema,))
        for ddl in self._marks.missing(cur):
            cur.execute(ddl)

    def _create_table(self, cur: catalogue.Cursor, write: Write) -> None:
        """CREATE TABLE or ADD COLUMN; the key that the loads look rows up by follows with the rows."""
        target = catalogue.qualified(self._connection.schema, write.table)
        known = {column.name for column in self._table(cur, write.table).columns}
        # the key is NOT NULL from the start: the table need not be read for it when the primary key is built
        required = set() if known else set(write.key)
        definitions = [
            f"{quote(field.name)} {created(field)}{' NOT NULL' if field.name in required else ''}"
            for field in write.schema
            if field.name not in known
        ]
        if not known:
            cur.execute(f"CREATE TABLE {target} ({', '.join(definitions)})")
            if write.key:
                cur.execute(keys.postponed(target))
        elif definitions:
            added = ", ".join(f"ADD COLUMN {definition}" for definition in definitions)
            cur.execute(f"ALTER TABLE {target} {added}")
