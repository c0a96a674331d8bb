"""Reading DuckDB: one transaction for what is asked of the catalogue, for the bounds and for the rows.

The query is the user's text; only `:last_value` is replaced in it, by a parameter that is cast to the cursor's type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path

from conduit import schemas
from conduit.arrow import pa, pc
from conduit.bounds import NULL_CURSORS, Ends, ends, splits_of, until_of_table
from conduit.connectors.duckdb import sums
from conduit.connectors.duckdb.config import DuckdbConnection
from conduit.connectors.duckdb.connection import BATCH_ROWS, Database, connect
from conduit.connectors.duckdb.relation import Relation
from conduit.connectors.duckdb.types import Column, quote
from conduit.connectors.sql_sums import SumStatements
from conduit.contract import Described, Estimate, Read, Split, Until
from conduit.errors import ConfigError, DataError, StateConflict
from conduit.positions import CursorType, Position, cursor
from conduit.query import Bounds, Composed, compose
from conduit.sizes import FETCH_ROWS, joined
from conduit.sums import Summing, forms_of

_MINIMUM: dict[str, str] = {
    "int": "CAST('-170141183460469231731687303715884105728' AS HUGEINT)",
    "decimal": "CAST('-infinity' AS DOUBLE)",
    "date": "CAST('-infinity' AS DATE)",
    "timestamp": "CAST('-infinity' AS TIMESTAMP)",
    "timestamptz": "CAST('-infinity' AS TIMESTAMP WITH TIME ZONE)",
    "text": "''",
    "uuid": "CAST('00000000-0000-0000-0000-000000000000' AS UUID)",
}


class DuckdbSource:
    """A database file that rows come from. One process at a time has it open: nothing commits below a watermark."""

    late_commits = False

    def __init__(self, name: str, connection: DuckdbConnection, folder: Path) -> None:
        self._name = name
        self._path = connection.path(folder)
        self._schema = connection.schema
        self._memory_limit = connection.memory_limit

    def check(self) -> str:
        """Open the file for reading and count the tables of the schema."""
        with closing(self._connect("check")) as database:
            row = database.first(
                "SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = $1",
                (self._schema,),
            )
        return f"{self._path}: {(row or (0,))[0]} tables in schema {self._schema}"

    @contextmanager
    def open(self, read: Read) -> Iterator[DuckdbSession]:
        """One transaction."""
        with closing(self._connect(f"resource {read.resource}")) as database:
            if self._schema != "main":
                database.rows(f"SET schema = {quote(self._schema)}")
            database.rows("BEGIN TRANSACTION")
            database.rows(
                "SELECT count(*) FROM duckdb_tables()"
            )  # the first look at the file is what fixes the snapshot
            yield DuckdbSession(database, self._schema, read)

    @contextmanager
    def summing(self, read: Read, schema: pa.Schema, cursor: str | None) -> Iterator[Summing | str]:
        """The rows of a read, to be added up in one snapshot; or why they cannot be."""
        with self.open(read) as session:
            yield session.summing(schema, cursor)

    def _connect(self, doing: str) -> Database:
        return connect(self._name, self._path, doing, memory_limit=self._memory_limit, write=False)


class DuckdbSession:
    """A snapshot of a DuckDB database."""

    def __init__(self, database: Database, schema: str, read: Read) -> None:
        self._database = database
        self._schema = schema
        self._read = read
        self._relation = Relation(database, schema, read)

    # --- what is known before a row ---

    def describe(self) -> Described:
        """Schema, key and statement, from binding the query."""
        type_, unit = self._cursor_type
        composed = self._composed
        bound = self._ends.lower
        return Described(
            schema=self._relation.schema,
            fingerprint=f"duckdb:{self._relation.name}:{self._read.cursor or '-'}",
            cursor_type=type_,
            cursor_unit=unit,
            key=self._relation.key,
            ordered=composed.ordered,
            null_cursors=self._null_cursors,
            sql=composed.sql,
            bound=bound.value if bound else None,
            notes=(*composed.notes, *self._relation.notes()),
        )

    @cached_property
    def _cursor_type(self) -> tuple[CursorType | None, str]:
        column = self._relation.cursor
        if column is None:
            return None, ""
        if column.wanted is not None:
            raise ConfigError(
                f"incremental_column {column.name}: DuckDB compares it as {column.declared}, not as `columns:` says",
                hint="leave it out of `columns:`, or cast it in the query",
            )
        return schemas.cursor_type(self._relation.schema.field(column.name))

    @cached_property
    def _null_cursors(self) -> int:
        column = self._relation.cursor
        if column is None or not column.nullable:
            return 0
        found = self._database.first(
            f"SELECT count(*) FROM {self._relation.whole(self._minimum)} AS q WHERE q.{quote(column.name)} IS NULL"
        )
        return int(found[0]) if found else 0

    # --- bounds and statements ---

    @property
    def _minimum(self) -> str:
        return _MINIMUM.get(self._cursor_type[0] or "", "NULL")

    @cached_property
    def _ends(self) -> Ends:
        return ends(self._read, *self._cursor_type)

    @property
    def _values(self) -> dict[str, object]:
        ends = {"conduit_lower": self._ends.lower, "conduit_upper": self._ends.upper}
        return {name: end.value for name, end in ends.items() if end is not None}

    def _compared(self, name: str) -> str:
        """The column as it is compared and ordered: texts by their bytes."""
        return f"q.{quote(name)}" + (" COLLATE C" if self._cursor_type[0] == "text" else "")

    @cached_property
    def _composed(self) -> Composed:
        return self._bounded([column.select() for column in self._relation.columns])

    def _bounded(self, select: Sequence[str]) -> Composed:
        """The rows within the ends; without `select` their columns as they stand."""
        bounds = Bounds(
            lower=_parameter("conduit_lower", self._ends.lower) if self._ends.lower else None,
            upper=_parameter("conduit_upper", self._ends.upper) if self._ends.upper else None,
            minimum=self._minimum,
        )
        table = self._relation.quoted if self._relation.query is None else ""
        return compose(
            self._read, self._relation.query, table=table, bounds=bounds, column=self._compared, select=select
        )

    # --- rows ---

    def until(self) -> Until:
        """The highest cursor of a table; for a query, whether it gives a row above a known bound."""
        column = self._relation.cursor
        if column is None or self._read.through is not None:
            return Until()
        return self._until_of_table(column) if self._relation.query is None else self._until_of_query()

    def _until_of_query(self) -> Until:
        if self._ends.lower is None or self._read.on_null == "include":
            return Until()
        found = self._database.first(f"SELECT EXISTS (SELECT 1 FROM (\n{self._composed.sql}\n) AS q)", self._values)
        return Until(nothing_new=not (found and found[0]))

    def _until_of_table(self, column: Column) -> Until:
        found = self._database.first(
            f"SELECT CAST(max({self._compared(column.name)}) AS VARCHAR) FROM {self._relation.quoted} AS q"
        )
        highest = self._position(found[0]) if found is not None and found[0] is not None else None
        return until_of_table(self._read, self._ends.lower, highest, self._null_cursors)

    def _position(self, text: str) -> Position:
        type_, unit = self._cursor_type
        try:
            return cursor(text, type_ or "text", unit)
        except StateConflict as error:
            raise DataError(
                f"incremental_column {self._read.cursor}: its highest value, {text}, has no place in the calendar",
                hint="correct it, or leave such rows out with a query",
            ) from error

    def splits(self) -> list[Split]:
        """The rows; and those without a cursor, when they are wanted."""
        return splits_of(self._read, self._null_cursors)

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """The rows of a split as typed batches."""
        nulls = split.name == NULL_CURSORS
        text = self._null_rows() if nulls else self._composed.sql
        without_nulls = not nulls and len(self.splits()) > 1
        for typed in self._batches(text, {} if nulls else self._values):
            yield typed.filter(pc.is_valid(typed.column(self._read.cursor or ""))) if without_nulls else typed

    def _batches(self, text: str, values: Mapping[str, object]) -> Iterator[pa.RecordBatch]:
        schema = self._relation.schema  # asked for before the stream: one statement at a time
        rows = self._read.batch_size or BATCH_ROWS
        with self._database.stream(text, values, min(rows, FETCH_ROWS)) as reader:
            for batch in joined(self._fetched(reader), rows):
                yield self._typed(batch, schema)

    def summing(self, schema: pa.Schema, cursor: str | None) -> Summing | str:
        """The read as something that adds itself up in this snapshot."""
        columns = forms_of(schema, sums.forms(self._relation.columns))
        if isinstance(columns, str):
            return columns
        column = self._relation.cursor
        wants_nulls = self._read.on_null == "include" and column is not None and column.nullable
        name = quote(column.name) if column else ""
        statements = SumStatements(
            dialect=sums.DIALECT,
            columns=columns,
            cursor=next((one for one in columns if one[0] == cursor), None),
            rows=self._bounded(()).sql,
            nulls=f"SELECT * FROM {self._relation.whole(self._minimum)} AS q WHERE q.{name} IS NULL"
            if wants_nulls
            else None,
        )
        select = [column.select() for column in self._relation.columns]
        return sums.DuckdbSums(self._database, statements, select, self._values, self._batches)

    def cancel(self) -> None:
        """Break off the read."""
        self._database.interrupt()

    def _fetched(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        with self._database.mapped():
            yield from reader

    def _typed(self, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        typed = [
            column.value(array, field.type)
            for column, array, field in zip(self._relation.columns, batch.columns, schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(typed, schema=schema)

    def _null_rows(self) -> str:
        name = quote(self._read.cursor or "")
        select = ", ".join(column.select() for column in self._relation.columns)
        return f"SELECT {select} FROM {self._relation.whole(self._minimum)} AS q WHERE q.{name} IS NULL"

    def estimate(self) -> Estimate:
        """The rows above the bound, counted."""
        found = self._database.first(f"SELECT count(*) FROM (\n{self._composed.sql}\n) AS q", self._values)
        return Estimate(int(found[0]) if found else 0, exact=True)


def _parameter(name: str, position: Position) -> str:
    """The parameter, cast to a type that holds the watermark exactly."""
    types = {"date": "DATE", "timestamp": "TIMESTAMP", "timestamptz": "TIMESTAMP WITH TIME ZONE", "uuid": "UUID"}
    if position.type == "int":
        type_ = "BIGINT" if -(2**63) <= int(position.value) < 2**63 else "HUGEINT"
    elif position.type == "decimal":
        type_ = f"DECIMAL(38,{len(position.value.partition('.')[2])})"
    elif position.unit == "ns" and position.type == "timestamp":
        type_ = "TIMESTAMP_NS"
    else:
        type_ = types.get(position.type, "VARCHAR")
    return f"CAST(${name} AS {type_})"
