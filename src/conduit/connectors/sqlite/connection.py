"""One connection to a SQLite file, and what its driver raises turned into conduit's errors. Knows no table.

ADBC is the only door to the file. Python's own sqlite3 module is another copy of SQLite: two copies in one process do
not see each other's POSIX locks, and closing a file in one drops the locks of the other. Its plain interface is used:
the DB-API layer above imports every DataFrame library that is installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import adbc_driver_manager as adbc
import adbc_driver_sqlite

from conduit.arrow import pa
from conduit.connectors.database_file import is_there
from conduit.errors import Busy, ConduitError, ConfigError, ConnectionFailed, DataError

Access = Literal["ro", "rw", "rwc"]
"""How the file is opened: to read, to write, to write and create."""

BATCH_ROWS = 2048
"""Rows of a batch unless told otherwise; ADBC reads as fast with 1024 as with 65536, and knows no bound in bytes."""

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

    def __init__(self, driver: adbc.AdbcDatabase, opened: adbc.AdbcConnection, name: str, doing: str) -> None:
        self._driver = driver
        self._opened = opened
        self.name = name
        self.doing = doing

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement and return all its rows."""
        with self._executed(sql, values) as reader, self.mapped():
            columns = [column.to_pylist() for column in reader.read_all().columns]
        return list(zip(*columns, strict=True))

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
        with self._executed(
            sql, values, {adbc_driver_sqlite.StatementOptions.BATCH_ROWS.value: str(batch_rows)}
        ) as reader:
            yield reader

    def insert(self, table: str, batch: pa.RecordBatch, *, temporary: bool) -> int:
        """Append a batch to a table of the main database, or to a temporary one; returns the number of rows."""
        place = {"adbc.ingest.temporary": "true"} if temporary else {"adbc.ingest.target_catalog": "main"}
        target = {adbc.INGEST_OPTION_TARGET_TABLE: table, adbc.INGEST_OPTION_MODE: adbc.INGEST_OPTION_MODE_APPEND}
        with self.mapped(), closing(adbc.AdbcStatement(self._opened)) as statement:
            statement.set_options(**target, **place)
            _bind(statement, batch)
            return int(statement.execute_update())

    @contextmanager
    def _executed(
        self, sql: str, values: Sequence[object], options: Mapping[str, str] | None = None
    ) -> Iterator[pa.RecordBatchReader]:
        """The result of a statement. What is raised while it is used is the caller's, as far as Arrow raises it."""
        with closing(adbc.AdbcStatement(self._opened)) as statement:
            with self.mapped():
                statement.set_options(**(options or {}))
                statement.set_sql_query(sql)
                if values:
                    statement.prepare()
                    _bind(statement, pa.record_batch([pa.array([value]) for value in values], _names(len(values))))
                stream, _ = statement.execute_query()
                reader = pa.RecordBatchReader.from_stream(stream)
            with reader:
                yield reader

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
        self._driver.close()


def _bind(statement: adbc.AdbcStatement, batch: pa.RecordBatch) -> None:
    schema, array = batch.__arrow_c_array__()  # type: ignore[no-untyped-call]  # the stubs lack it
    statement.bind(array, schema)


def _names(count: int) -> list[str]:
    return [str(place) for place in range(count)]


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
    if access != "rwc" and not (is_there(name, path) and path.is_file()):
        raise ConnectionFailed(f"{name}: there is no file {path}", hint="check `database:` of this connection")
    if not (is_there(name, path.parent) and path.parent.is_dir()):
        raise ConnectionFailed(f"{name}: there is no folder {path.parent}", hint="create it")
    try:
        driver = adbc_driver_sqlite.connect(f"{path.as_uri()}?mode={access}")
        opened = adbc.AdbcConnection(driver)
    except adbc.Error as error:
        raise translated(f"{name}: open {path}", error) from error
    database = Database(driver, opened, name, f"open {path}")
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
