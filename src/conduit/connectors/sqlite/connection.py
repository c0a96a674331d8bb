"""One connection to a SQLite file, and what its driver raises turned into conduit's errors. Knows no table.

ADBC is the only door to the file. Python's own sqlite3 module is another copy of SQLite: two copies in one process do
not see each other's POSIX locks, and closing a file in one drops the locks of the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import adbc_driver_sqlite
import adbc_driver_sqlite.dbapi as adbc

from conduit.arrow import pa
from conduit.errors import Busy, ConduitError, ConfigError, ConnectionFailed, DataError

Access = Literal["ro", "rw", "rwc"]
"""How the file is opened: to read, to write, to write and create."""

BATCH_ROWS = 8192
"""Rows of a batch unless told otherwise; ADBC reads as fast with 1024 as with 65536."""

_NOISE = re.compile(r"^(?:[A-Z_]+: )?(?:\[SQLite\] )?(?:Failed to \w+ query: |failed to execute: )?")
_LOCKED = ("database is locked", "database table is locked", "database schema is locked")
_REJECTED = ("constraint failed", "datatype mismatch", "cannot store ", "string or blob too big", "out of range")
_BROKEN = (
    "unable to open", "failed to open", "readonly database", "disk I/O error", "disk is full", "not a database",
    "malformed", "out of memory",
)  # fmt: skip


class Database:
    """A connection that commits what it is told to commit: every transaction is begun and ended by name.

    Attributes:
        name: the connection's name in ingest.yml, for messages.
        doing: what it is used for, and on which object, for messages.
    """

    def __init__(self, opened: adbc.Connection, name: str, doing: str) -> None:
        self._opened = opened
        self.name = name
        self.doing = doing

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement and return all its rows."""
        with self.mapped(), self._opened.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall()

    def first(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        """Run a statement and return its first row."""
        return next(iter(self.rows(sql, *values)), None)

    def change(self, sql: str, *values: object) -> int:
        """Run an INSERT, UPDATE or DELETE and return how many rows it changed."""
        self.rows(sql, *values)
        return int(self.rows("SELECT changes()")[0][0])

    @contextmanager
    def stream(self, sql: str, values: Sequence[object], batch_rows: int) -> Iterator[pa.RecordBatchReader]:
        """The rows of a statement as Arrow batches, read as they are asked for. The caller maps errors of reading."""
        options = {adbc_driver_sqlite.StatementOptions.BATCH_ROWS.value: str(batch_rows)}
        with self._opened.cursor(adbc_stmt_kwargs=options) as cursor:
            with self.mapped():
                cursor.execute(sql, values or None)
                reader = cursor.fetch_record_batch()
            with reader:
                yield reader

    def insert(self, table: str, batch: pa.RecordBatch, *, temporary: bool) -> int:
        """Append a batch to a table of the main database, or to a temporary one; returns the number of rows."""
        place = {} if temporary else {"catalog_name": "main"}
        with self.mapped(), self._opened.cursor() as cursor:
            return cursor.adbc_ingest(table, batch, mode="append", temporary=temporary, **place)

    @contextmanager
    def mapped(self) -> Iterator[None]:
        """Raise conduit's error for what the driver raises inside."""
        try:
            yield
        except (adbc.Error, pa.ArrowException, OSError) as error:
            raise self.translated(error) from error

    def translated(self, error: Exception) -> ConduitError:
        """The conduit error for a driver's error."""
        return translated(f"{self.name}: {self.doing}", error)

    def close(self) -> None:
        """Give back the file; an open transaction is rolled back."""
        self._opened.close()


def connect(name: str, path: Path, access: Access, busy_timeout: float, doing: str) -> Database:
    """Open a database file.

    Args:
        name: the connection's name, for messages.
        path: the file.
        access: what is going to be done with it.
        busy_timeout: seconds to wait for locks of others.
        doing: the purpose, and its object, for messages.

    Raises:
        ConnectionFailed: there is no such file, it is no database, or we may not open it.
    """
    if access != "rwc" and not path.is_file():
        raise ConnectionFailed(f"{name}: there is no file {path}", hint="check `database:` of this connection")
    if not path.parent.is_dir():
        raise ConnectionFailed(f"{name}: there is no folder {path.parent}", hint="create it")
    try:
        opened = adbc.connect(f"{path.as_uri()}?mode={access}", autocommit=True)
    except adbc.Error as error:
        raise translated(f"{name}: open {path}", error) from error
    database = Database(opened, name, f"open {path}")
    try:
        database.rows(f"PRAGMA busy_timeout = {int(busy_timeout * 1000)}")
        database.rows("SELECT count(*) FROM sqlite_schema")
    except ConduitError:
        database.close()
        raise
    database.doing = doing
    return database


def translated(what: str, error: Exception) -> ConduitError:
    """The conduit error for a driver's error. SQLite's codes do not come through ADBC, its words do."""
    said = reason(error)
    text = f"{what}: {said}"
    if any(words in said for words in _LOCKED):
        return Busy(text, hint="another process writes to (or, without WAL, reads) this file; try again later")
    if any(words in said for words in _REJECTED):
        return DataError(text)
    if any(words in said for words in _BROKEN):
        return ConnectionFailed(text, hint="check the file, its folder's permissions and the free space")
    if isinstance(error, adbc.ProgrammingError):
        return ConfigError(text, hint="correct the query, the table name or the expression")
    return ConnectionFailed(text)


def reason(error: Exception) -> str:
    """SQLite's own words: the first line, without what the driver puts before it."""
    first = str(error).partition("\n")[0]
    return _NOISE.sub("", first) or type(error).__name__
