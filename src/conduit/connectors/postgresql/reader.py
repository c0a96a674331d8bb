"""Rows out of PostgreSQL as Arrow: COPY through ADBC, then made exact, batch by batch."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from conduit import schemas
from conduit.arrow import AnyArray, pa, pc
from conduit.connectors.postgresql.connection import READ_ONLY, by_sqlstate
from conduit.connectors.postgresql.types import NESTED, quote
from conduit.errors import Busy, ConduitError, ConfigError, ConnectionFailed, DataError
from conduit.late import late

if TYPE_CHECKING:
    import adbc_driver_manager
    import adbc_driver_postgresql
    import psycopg2.extensions
else:
    adbc_driver_manager, adbc_driver_postgresql = late("adbc_driver_manager"), late("adbc_driver_postgresql")

BATCH_BYTES = 4 << 20
"""Size that a batch is to have; a single larger row is a batch of its own."""

_FIRST_DAY, _LAST_DAY = -719162, 2932896  # 0001-01-01 and 9999-12-31, in days since 1970
_DAY_US = 86_400_000_000

_NO_SUCH_VALUE = "22023"
"""SQLSTATE of a snapshot that is not there, among others."""

LOCK_SECONDS = 10
"""An ALTER TABLE that arrives between the description and the rows waits for one and stands in the way of the other,
which only we can see: the read gives up, both sessions end, and the run tries again behind it."""


class Reader:
    """Statements in an exported snapshot, each on a connection of its own; threads may read several at once.

    Through ADBC's plain interface: its DB-API layer imports every DataFrame library that is installed.
    """

    def __init__(self, name: str, conninfo: str, *, schema: str) -> None:
        self._name = name
        self._conninfo = conninfo
        self._schema = schema
        self._reading: list[adbc_driver_manager.AdbcStatement] = []
        self._guard = threading.Lock()

    def batches(self, snapshot: str, sql: str, target: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows of a statement, as batches of `target`.

        Raises:
            DataError: a value that cannot be carried exactly (infinity, a year outside 1 to 9999, NaN in a decimal).
            ConnectionFailed: the connection broke.
        """
        with (
            _mapped(self._name),
            closing(_database(self._conninfo)) as database,
            closing(adbc_driver_manager.AdbcConnection(database)) as connection,
        ):
            connection.set_autocommit(False)
            self._enter(connection, snapshot)
            with closing(adbc_driver_manager.AdbcStatement(connection)) as statement, self._known(statement):
                statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
                with closing(_executed(statement, sql)) as rows:
                    for batch in rows:
                        yield exact(batch, target)

    def cancel(self) -> None:
        """Break off all statements, from any thread."""
        with self._guard, _mapped(self._name):
            for statement in self._reading:
                statement.cancel()

    @contextmanager
    def _known(self, statement: adbc_driver_manager.AdbcStatement) -> Iterator[None]:
        """While it is open, the statement can be cancelled; never once it is closed."""
        with self._guard:
            self._reading.append(statement)
        try:
            yield
        finally:
            with self._guard:
                self._reading.remove(statement)

    def _enter(self, connection: adbc_driver_manager.AdbcConnection, snapshot: str) -> None:
        for setting in (
            READ_ONLY,
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
            f"SET TRANSACTION SNAPSHOT '{snapshot}'",
            f"SET LOCAL search_path = {quote(self._schema)}",
            "SET LOCAL TimeZone = 'UTC'",
            "SET LOCAL DateStyle = 'ISO'",
            "SET LOCAL IntervalStyle = 'postgres'",
            f"SET LOCAL lock_timeout = '{LOCK_SECONDS} s'",
        ):
            with closing(adbc_driver_manager.AdbcStatement(connection)) as statement, self._snapshot_there(setting):
                _executed(statement, setting).close()

    @contextmanager
    def _snapshot_there(self, setting: str) -> Iterator[None]:
        """A snapshot lives as long as the session that exported it."""
        try:
            yield
        except adbc_driver_manager.Error as error:
            if error.sqlstate != _NO_SUCH_VALUE or "SNAPSHOT '" not in setting:
                raise
            raise ConnectionFailed(
                f"{self._name}: the connection that holds the snapshot of this read broke", retryable=True
            ) from error


def exported(name: str, resource: str, session: psycopg2.extensions.connection) -> str:
    """The name of a session's snapshot, for the session that reads.

    Raises:
        ConfigError: the query took something there that it would wait for here; "read only" does not forbid that.
    """
    with session.cursor() as cur:
        cur.execute(
            "SELECT pg_export_snapshot(), txid_current_if_assigned() IS NOT NULL OR EXISTS (SELECT FROM pg_locks "
            "WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND mode = 'ExclusiveLock')"
        )
        snapshot, has_effect = cur.fetchone() or ("", False)
    if has_effect:
        raise ConfigError(
            f"resource {resource}: the query has an effect in {name}: a function in it takes a "
            "lock or writes (pg_advisory_lock, lo_create, …); it runs more than once, and would wait for itself",
            hint="leave the function out: a source is only read",
        )
    return str(snapshot)


def _database(conninfo: str) -> adbc_driver_manager.AdbcDatabase:
    """The driver, found where wheels have it: its own search imports half the library of packages for that."""
    library = Path(adbc_driver_postgresql.__file__).with_name("libadbc_driver_postgresql.so")
    if library.is_file():
        return adbc_driver_manager.AdbcDatabase(driver=str(library), uri=conninfo)
    opened: adbc_driver_manager.AdbcDatabase = adbc_driver_postgresql.connect(conninfo)
    return opened


def _executed(statement: adbc_driver_manager.AdbcStatement, sql: str) -> pa.RecordBatchReader:
    statement.set_sql_query(sql)
    stream, _ = statement.execute_query()
    return pa.RecordBatchReader.from_stream(stream)


def exact(batch: pa.RecordBatch, target: pa.Schema) -> pa.RecordBatch:
    """The batch in the types of `target`; times that Arrow shows as a sentinel are refused."""
    arrays = []
    for column, field in zip(batch.columns, target, strict=True):
        _refuse_sentinels(column, field.name)
        arrays.append(schemas.cast(_plain(column), field.type, field.name))
    return pa.RecordBatch.from_arrays(arrays, schema=target)


def _plain(column: AnyArray) -> AnyArray:
    """ADBC marks types that it does not know as opaque; they come as text here, because the SELECT casts them."""
    return (
        column.storage if isinstance(column.type, pa.OpaqueType) and isinstance(column, pa.ExtensionArray) else column
    )


def _refuse_sentinels(column: AnyArray, name: str) -> None:
    limits = _limits(column.type)
    if limits is None:
        return
    ends = pc.min_max(column.view(pa.int32() if column.type.bit_width == 32 else pa.int64()))
    low, high = ends["min"].as_py(), ends["max"].as_py()
    if low is not None and (low < limits[0] or high > limits[1]):
        raise DataError(
            f"column {name} holds infinity, a year outside 1 to 9999 or the time 24:00, which cannot be carried",
            hint=f"select it as text: `{name}::text AS {name}`, or filter those rows",
        )


def _limits(type_: pa.DataType) -> tuple[int, int] | None:
    """The lowest and the highest value that stands for a day or a time; None: any value does."""
    if pa.types.is_date(type_):
        return _FIRST_DAY, _LAST_DAY
    if pa.types.is_timestamp(type_):
        return _FIRST_DAY * _DAY_US, (_LAST_DAY + 1) * _DAY_US - 1
    return (0, _DAY_US - 1) if pa.types.is_time(type_) else None


@contextmanager
def _mapped(name: str) -> Iterator[None]:
    try:
        yield
    except adbc_driver_manager.Error as error:
        told = by_sqlstate(f"{name}: {' '.join(str(error).split())}", error.sqlstate or "08")
        told.retryable = told.retryable or isinstance(told, Busy)  # it may wait for our own other session
        raise told from error
    except pa.ArrowInvalid as error:
        if "[libpq]" in str(error):  # the server stopped before the first batch
            raise _streaming(name, str(error)) from error
        raise DataError(f"{name}: a value cannot be carried by Arrow: {error}") from error
    except OSError as error:  # how ADBC reports what happens while rows stream
        raise _streaming(name, str(error)) from error


def _streaming(name: str, text: str) -> ConduitError:
    told = " ".join(re.sub(r"^\[libpq\][^:]*: ?", "", text).split())
    if NESTED in text:
        return DataError(
            f"{name}: {told[told.index(NESTED) + len('conduit: ') :][:200]}",
            hint="only plain lists can be carried: select it as text, `to_jsonb(column)::text`",
        )
    if "lock timeout" in text:
        return Busy(f"{name}: {told}", hint="somebody holds a lock that the query waits for", retryable=True)
    if "ERROR:" in text:
        return DataError(f"{name}: the query failed while its rows were read: {told}")
    return ConnectionFailed(f"{name}: the connection broke while rows were read: {told}", retryable=True)
