"""One connection to a DuckDB file, and what its driver raises turned into conduit's errors. Knows no table.

DuckDB gives a process one instance of a file, and all its connections must ask for the same settings. So every
connection of conduit asks for the same; a source asks for read-only first, and shares the instance of a destination
that has the file open already.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

import duckdb

from conduit.arrow import pa
from conduit.connectors.database_file import is_there
from conduit.errors import Busy, ConduitError, ConfigError, ConnectionFailed, DataError
from conduit.interrupts import on_interrupt

BATCH_ROWS = 65_536
"""Rows of a batch unless told otherwise."""

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}
_SESSION = "SET TimeZone = 'UTC'; SET enable_progress_bar = false"
"""What every connection sets; a progress bar would be written into the output of the command."""

_ROWS = "_conduit_rows"
_HOLDER = re.compile(r"Conflicting lock is held in (.*) \(PID (\d+)\)")
_KINDS: tuple[tuple[tuple[str, ...], type[ConduitError], str], ...] = (
    (("Constraint Error", "Conversion Error", "Out of Range Error", "Invalid Input Error"), DataError, ""),
    (
        ("Catalog Error", "Binder Error", "Parser Error", "Syntax Error", "Not implemented Error", "Permission Error"),
        ConfigError,
        "correct the query, the table name or the expression",
    ),
    (
        ("TransactionContext Error: Failed to commit: Could not write",),
        ConnectionFailed,
        "check the file, its folder's permissions and the free space",
    ),
    (("TransactionContext Error",), Busy, "another run changed the same table at the same time; try again"),
    (("Out of Memory Error",), ConnectionFailed, "raise `memory_limit` of this connection"),
)
"""How DuckDB begins its messages, what that is to conduit, and what helps. Arrow's readers pass on the text only."""


_HEADERS = 3 * 4096
"""Bytes of a new file, before its first block."""
_TRIES = 10

_open: WeakSet[duckdb.DuckDBPyConnection] = WeakSet()


def _interrupt_statements() -> None:
    """Break off what any connection of this process is doing."""
    for connection in list(_open):
        with suppress(duckdb.Error):  # it was closed
            connection.interrupt()


on_interrupt(_interrupt_statements)


class Database:
    """A connection that commits what it is told to commit: every transaction is begun and ended by name.

    Attributes:
        name: the connection's name in ingest.yml, for messages.
        doing: what it is used for, and on which object, for messages.
    """

    def __init__(self, opened: duckdb.DuckDBPyConnection, name: str, doing: str) -> None:
        self._opened = opened
        _open.add(opened)
        self.name = name
        self.doing = doing

    def beside(self, doing: str) -> Database:
        """Another connection to the same file, with a transaction of its own."""
        other = Database(self._opened.cursor(), self.name, doing)
        other.rows(_SESSION)
        return other

    def rows(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return all its rows."""
        with self.mapped():
            return self._opened.execute(sql, values or None).fetchall()

    def first(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> tuple[Any, ...] | None:
        """Run a statement and return its first row."""
        return next(iter(self.rows(sql, values)), None)

    def change(self, sql: str, values: Sequence[object] = ()) -> int:
        """Run an INSERT, UPDATE or DELETE and return how many rows it changed."""
        return int(self.rows(sql, values)[0][0])

    def schema(self, sql: str) -> pa.Schema:
        """The Arrow schema of a query, whose rows are not read."""
        with self.mapped():
            table: pa.Table = self._opened.sql(f"SELECT * FROM (\n{sql}\n) AS q LIMIT 0").to_arrow_table()
            return table.schema

    @contextmanager
    def stream(self, sql: str, values: Mapping[str, object], batch_rows: int) -> Iterator[pa.RecordBatchReader]:
        """The rows of a statement as Arrow batches, read as they are asked for. The caller maps errors of reading.

        Nothing else can run on this connection meanwhile.
        """
        with self.mapped():
            reader: pa.RecordBatchReader = self._opened.sql(sql, params=values or None).to_arrow_reader(batch_rows)
        with closing(reader):
            yield reader

    def insert(self, target: str, columns: Mapping[str, str], rows: pa.RecordBatchReader) -> int:
        """Insert Arrow rows in one statement, which writes them to disk as they come; returns their number.

        Args:
            target: quoted name of the table.
            columns: quoted name of each column -> its expression over `source`.
            rows: the rows; they are read in DuckDB's threads.
        """
        names, values = ", ".join(columns), ", ".join(columns.values())
        return int(self._over(rows, f"INSERT INTO {target} ({names}) SELECT {values} FROM {_ROWS} AS source")[0][0])

    def find(self, select: str, condition: str, rows: pa.Table) -> tuple[Any, ...] | None:
        """The first of some Arrow rows that fulfils a condition."""
        found = self._over(rows, f"SELECT {select} FROM {_ROWS} AS source WHERE {condition} LIMIT 1")
        return next(iter(found), None)

    def _over(self, rows: pa.Table | pa.RecordBatchReader, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement that reads Arrow rows. After an error the connection is of no more use."""
        self._opened.register(_ROWS, rows)
        found = self.rows(sql)
        self._opened.unregister(_ROWS)
        return found

    @contextmanager
    def mapped(self) -> Iterator[None]:
        """Raise conduit's error for what the driver raises inside."""
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise self.translated(error) from error

    def translated(self, error: Exception) -> ConduitError:
        """The conduit error for a driver's error."""
        return translated(f"{self.name}: {self.doing}", error)

    def interrupt(self) -> None:
        """Break off the statement that runs, from any thread."""
        self._opened.interrupt()

    def close(self) -> None:
        """Give back the connection; an open transaction is rolled back."""
        self._opened.close()


def connect(name: str, path: Path, doing: str, *, memory_limit: str, write: bool) -> Database:
    """Open a database file.

    Args:
        name: the connection's name, for messages.
        path: the file.
        doing: the purpose, and its object, for messages.
        memory_limit: what DuckDB may use.
        write: rows go into it; a missing file is created.

    Raises:
        Busy: another process has it open.
        ConnectionFailed: there is no such file, it is no database, or we may not open it.
    """
    if not write and not (is_there(name, path) and path.is_file()):
        raise ConnectionFailed(f"{name}: there is no file {path}", hint="check `database:` of this connection")
    if not (is_there(name, path.parent) and path.parent.is_dir()):
        raise ConnectionFailed(f"{name}: there is no folder {path.parent}", hint="create it")
    try:
        opened = _once_made(path, _open_to_write if write else _open_to_read)
    except duckdb.ConnectionException as error:
        raise Busy(
            f"{name}: {doing}: {path} is being read by this run already, so it cannot be opened for writing",
            hint="run the resource that writes to it first, or on its own",
        ) from error
    except duckdb.Error as error:
        raise translated(f"{name}: open {path}", error) from error
    database = Database(opened, name, doing)
    database.rows(f"SET memory_limit = '{memory_limit}'")
    database.rows(_SESSION)
    return database


def _once_made(path: Path, open_: Callable[[Path], duckdb.DuckDBPyConnection]) -> duckdb.DuckDBPyConnection:
    """Open it; a file that another process makes just now is no database yet, so it is tried for a moment longer."""
    for _ in range(_TRIES):
        try:
            return open_(path)
        except duckdb.IOException as error:
            if "not a valid DuckDB database" not in str(error) or path.stat().st_size > _HEADERS:
                raise
        time.sleep(0.05)
    return open_(path)


def _open_to_write(path: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(path), config=_SETTINGS)


def _open_to_read(path: Path) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(str(path), read_only=True, config=_SETTINGS)
    except duckdb.ConnectionException:
        return _open_to_write(path)


def translated(what: str, error: Exception) -> ConduitError:
    """The conduit error for a driver's error, by the words that its message begins with."""
    said = str(error).partition("\n\nLINE ")[0].strip()
    said = " ".join(said.split()) or type(error).__name__
    holder = _HOLDER.search(said)
    if holder:
        return Busy(f"{what}: the file is in use by PID {holder[2]} ({holder[1]})", hint="try again when it is done")
    for beginnings, kind, hint in _KINDS:
        if any(beginning in said[:200] for beginning in beginnings):
            return kind(f"{what}: {said}", hint=hint)
    return ConnectionFailed(f"{what}: {said}", hint="check the file, its folder's permissions and the free space")
