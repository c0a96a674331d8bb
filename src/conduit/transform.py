"""`transform:` - SQL over the rows of one commit, by a DuckDB of its own that sees nothing but them.

The rows stream through it where the query reads them once; otherwise they become a table of its own first. What does
not fit into memory goes to a temporary folder. The watermark is taken from the rows before the transform, and all of
them are read, whatever the query makes of them. This module knows no source and no destination.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING
from weakref import WeakSet

from conduit import schemas
from conduit.arrow import AnyArray, AnyField, pa
from conduit.config.models import Resource
from conduit.contract import Described
from conduit.errors import ConduitError, ConfigError, ConnectionFailed, DataError
from conduit.interrupts import on_interrupt
from conduit.late import late
from conduit.query import Query, read_query
from conduit.rows import Stream

if TYPE_CHECKING:
    import duckdb
    from sqlglot import exp
else:
    duckdb, exp = late("duckdb"), late("sqlglot.expressions")

ROWS = "batch"
"""What the rows are called in the SQL."""

BATCH_ROWS = 65_536
MEMORY_LIMIT = "1GB"
"""What DuckDB may use; the rest goes to the disk."""

_ONCE_ONLY = ("limit", "offset", "fetch", "with", "with_", "sample")
"""Parts of a query with which not all rows may be read, or some twice."""

_REJECTED = ("Constraint Error", "Conversion Error", "Out of Range Error", "Invalid Input Error")
_EXHAUSTED = ("Out of Memory Error", "IO Error")
_FOREIGN = re.compile(r"\b(?:INTERVAL|BIT|TIME WITH TIME ZONE|ENUM|UNION|VARIANT|GEOMETRY|BIGNUM|VARINT)\b")
_HUGE = re.compile(r"\bU?HUGEINT\b")


class Transform:
    """The transform of one resource, checked against the columns that its source has.

    Attributes:
        described: the source as what comes after the transform sees it: with the columns that the SQL gives.
        source: the columns that it takes.
        taken: rows that it took in so far.
        made: rows that it gave in their place.
    """

    def __init__(self, resource: Resource, described: Described) -> None:
        """Read and check the SQL; no row is read.

        Raises:
            ConfigError: it is not one SELECT, names what there is not, or gives a type that has no place in Arrow.
        """
        self._what = f"resource {resource.name}: `transform:`"
        self._query = self._read(resource.transform or "")
        self.source = described.schema
        self.taken = 0
        self.made = 0
        with self._database() as database:
            self._columns = self._checked(database)
            schema = pa.schema([column.field for column in self._columns])
        kept = self._query.passed_through(described.key)
        self.described = replace(described, schema=schema, key=described.key if kept == described.key else ())

    @cached_property
    def is_row_by_row(self) -> bool:
        """Each row that it gives comes from one row, so that rows can be committed in pieces."""
        tree = self._query.tree
        plain = self._query.plain_table() == ROWS and self._reads_once
        return plain and tree is not None and not any(tree.find_all(exp.UDTF, exp.Anonymous, exp.Pivot))

    def keeps(self, key: tuple[str, ...]) -> bool:
        """Whether a row still has the key that it had in the source."""
        return self.is_row_by_row and self._query.passed_through(key) == key

    def batches(self, rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """What the SQL makes of all rows of one commit; nothing when there is none.

        Raises:
            DataError: a value cannot be computed or has no place in its type.
            ConfigError: DuckDB refuses the SQL for these rows.
            ConnectionFailed: neither memory nor disk suffices.
        """
        first = next(rows, None)
        if first is None:
            return
        fed = _Fed(chain([first], rows), self.source)
        try:
            with self._database() as database:
                for batch in self._answers(database, fed):
                    self.made += batch.num_rows
                    yield batch
                fed.drain()
        except ConduitError:
            if fed.failure is not None:
                raise fed.failure from None
            raise
        finally:
            self.taken += fed.taken

    # --- the SQL ---

    def _read(self, text: str) -> Query:
        try:
            return read_query(text, "duckdb", incremental=False)
        except ConfigError as error:
            raise ConfigError(f"{self._what}: {error.message}", hint=error.hint) from error

    @property
    def _reads_once(self) -> bool:
        """The rows are needed once, and all of them: they can stream."""
        tree = self._query.tree
        if tree is None or any(tree.args.get(part) for part in _ONCE_ONLY):
            return False
        return isinstance(tree, exp.Select) and len(list(tree.find_all(exp.Table, exp.Pivot, exp.Query))) == 2

    def _checked(self, database: duckdb.DuckDBPyConnection) -> list[_Column]:
        """The columns that the SQL gives, from binding it to no rows."""
        with self._mapped():
            database.register(ROWS, self.source.empty_table())
            self._refuse_twins([row[0] for row in database.execute(f"DESCRIBE {self._query.text}").fetchall()])
            rows = database.execute(f"DESCRIBE SELECT * FROM (\n{self._query.text}\n) AS q").fetchall()
            columns = [_Column(self._what, row[0], row[1]) for row in rows]
            carried = database.sql(self._selected(columns)).to_arrow_table().schema
            database.unregister(ROWS)
        return [replace(column, carried=field.type) for column, field in zip(columns, carried, strict=True)]

    def _refuse_twins(self, names: list[str]) -> None:
        """DuckDB would give the second of two equal names another one."""
        folded = [name.lower() for name in names]
        twins = [name for name in names if folded.count(name.lower()) > 1]
        if twins:
            raise ConfigError(f"{self._what}: two columns are named {twins[0]} and {twins[1]}", hint="name one with AS")

    def _selected(self, columns: list[_Column]) -> str:
        return f"SELECT {', '.join(column.select() for column in columns)} FROM (\n{self._query.text}\n) AS q"

    # --- DuckDB ---

    def _answers(self, database: duckdb.DuckDBPyConnection, fed: _Fed) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([column.field for column in self._columns])
        with self._mapped():
            if self._reads_once:
                database.register(ROWS, fed.reader())
            else:
                database.register("given", fed.reader())
                database.execute(f"CREATE TEMP TABLE {ROWS} AS SELECT * FROM given")
                database.unregister("given")
            answer = database.sql(self._selected(self._columns)).to_arrow_reader(BATCH_ROWS)
        with closing(answer):
            while (batch := self._next(answer)) is not None:
                arrays = [column.typed(array) for column, array in zip(self._columns, batch.columns, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _next(self, answer: pa.RecordBatchReader) -> pa.RecordBatch | None:
        with self._mapped():
            return next(iter(answer), None)

    @contextmanager
    def _database(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A database in memory that reaches no file, no network and no object of this process."""
        with tempfile.TemporaryDirectory(prefix="conduit-") as folder:
            settings: dict[str, str | bool | int | float | list[str]] = {
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
                "memory_limit": MEMORY_LIMIT,
                "temp_directory": folder,
            }
            with closing(duckdb.connect(":memory:", config=settings)) as database:
                for statement in ("TimeZone = 'UTC'", "enable_external_access = false", "lock_configuration = true"):
                    database.execute(f"SET {statement}")
                _open.add(database)
                yield database

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            said = " ".join(str(error).partition("\n\nLINE ")[0].split())
            if any(kind in said[:200] for kind in _REJECTED):
                raise DataError(f"{self._what}: {said}", hint="correct the value, or use TRY_CAST") from error
            if any(kind in said[:200] for kind in _EXHAUSTED):
                raise ConnectionFailed(f"{self._what}: {said}", hint="check the space for temporary files") from error
            raise ConfigError(
                f"{self._what}: {said}", hint=f"columns of {ROWS}: {', '.join(self.source.names)}"
            ) from error


def of(resource: Resource, described: Described) -> Transform | None:
    """The transform of a resource; None when it has none.

    Raises:
        ConfigError: its SQL does not fit the source.
    """
    return Transform(resource, described) if resource.transform else None


def applied(transform: Transform | None, rows: Iterator[pa.RecordBatch], finish: Stream) -> Iterator[pa.RecordBatch]:
    """The rows of one commit as they are written: what the transform makes of them, checked and cast by `finish`."""
    return rows if transform is None else (finish.pass_on(batch) for batch in transform.batches(rows))


_open: WeakSet[duckdb.DuckDBPyConnection] = WeakSet()


def _interrupt_statements() -> None:
    """Break off what any transform of this process is doing."""
    for connection in list(_open):
        with suppress(duckdb.Error):  # it was closed
            connection.interrupt()


on_interrupt(_interrupt_statements)


# --- columns --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Column:
    """A column that the SQL gives.

    Attributes:
        what: the transform, for messages.
        name: as it is called.
        declared: its type, as DuckDB prints it.
        carried: the Arrow type in which DuckDB gives it.
    """

    what: str
    name: str
    declared: str
    carried: pa.DataType | None = None

    def select(self) -> str:
        """The expression over `q` that brings the value to Arrow unaltered.

        Raises:
            ConfigError: Arrow has no place for the type.
        """
        column = f'q."{self.name.replace(chr(34), chr(34) * 2)}"'
        if self.declared == "UUID":
            return f"unhex(replace(CAST({column} AS VARCHAR), '-', '')) AS {column[2:]}"
        if self.declared in ("HUGEINT", "UHUGEINT"):
            return f"CAST({column} AS DECIMAL(38,0)) AS {column[2:]}"
        if self.declared.startswith("ENUM("):
            return f"CAST({column} AS VARCHAR) AS {column[2:]}"
        if _FOREIGN.search(self.declared) or _HUGE.search(self.declared):
            raise ConfigError(
                f"{self.what}: column {self.name} is of type {self.declared}, which no destination takes",
                hint=f"cast it: CAST({self.name} AS VARCHAR) AS {self.name}",
            )
        return column

    @property
    def field(self) -> AnyField:
        """The Arrow field."""
        if self.declared == "UUID":
            return pa.field(self.name, pa.uuid())
        return pa.field(self.name, pa.json_() if self.declared == "JSON" else self.carried)

    def typed(self, array: AnyArray) -> AnyArray:
        """The values in the field's type."""
        plain = array.cast(pa.binary(16)) if self.declared == "UUID" else array
        return schemas.cast(plain, self.field.type, self.name)


# --- rows -----------------------------------------------------------------------------------------------


class _Fed:
    """Batches on their way into DuckDB, which pulls them in its own threads and would hide what fails there.

    Attributes:
        taken: rows that were pulled.
        failure: what the batches' own iterator raised.
    """

    def __init__(self, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> None:
        self._batches = batches
        self._schema = schema
        self._lock = threading.Lock()
        self.taken = 0
        self.failure: BaseException | None = None

    def reader(self) -> pa.RecordBatchReader:
        """The batches as an Arrow stream."""
        return pa.RecordBatchReader.from_batches(self._schema, iter(self))

    def drain(self) -> None:
        """Pull what DuckDB did not want: the watermark is that of all rows."""
        for _ in self:
            continue

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while (batch := self._pulled()) is not None:
            yield batch

    def _pulled(self) -> pa.RecordBatch | None:
        with self._lock:
            try:
                batch = next(self._batches, None)
            except (Exception, KeyboardInterrupt) as error:
                self.failure = error
                raise
            if batch is not None:
                self.taken += batch.num_rows
            return batch
