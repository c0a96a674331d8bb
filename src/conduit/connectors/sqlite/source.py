"""Reading SQLite: one read transaction for what is asked of the catalogue, for the bounds and for the rows.

The query is the user's text; only `:last_value` is replaced in it, by a bound parameter. Times are kept by SQLite as
text and compared as text, so their watermark is that text: it goes along as CURSOR_TEXT and is never parsed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path

from conduit import schemas
from conduit.arrow import pa
from conduit.bounds import NULL_CURSORS, Ends, ends, splits_of, until_of_table
from conduit.connectors.sqlite.config import SqliteConnection
from conduit.connectors.sqlite.connection import Database, connect
from conduit.connectors.sqlite.reader import Rows, read_batches
from conduit.connectors.sqlite.relation import Relation
from conduit.connectors.sqlite.types import Column, quote
from conduit.contract import Described, Estimate, Read, Session, Split, Until
from conduit.errors import ConfigError, DataError, StateConflict
from conduit.positions import CursorType, Position, cursor
from conduit.query import Bounds, Composed, compose

_MINIMUM = {"int": "-1e999", "text": "''", "timestamp-text": "''"}
"""Below every value of the type: minus infinity, the empty text."""


class SqliteSource:
    """A database file that rows come from. One writer at a time: nothing commits below a watermark."""

    late_commits = False

    def __init__(self, name: str, connection: SqliteConnection, folder: Path) -> None:
        self._name = name
        self._path = connection.path(folder)
        self._busy_timeout = connection.busy_timeout

    def check(self) -> str:
        """Open the file for reading and count its tables."""
        with closing(self._connect("check")) as database:
            row = database.first("SELECT count(*) FROM sqlite_schema WHERE type IN ('table', 'view')") or (0,)
        return f"{self._path}: {row[0]} tables and views"

    @contextmanager
    def open(self, read: Read) -> Iterator[Session]:
        """One read transaction."""
        with closing(self._connect(f"resource {read.resource}")) as database:
            database.rows("BEGIN")
            database.rows("SELECT count(*) FROM sqlite_schema")  # the first read is what fixes the snapshot
            yield SqliteSession(database, read)

    def _connect(self, doing: str) -> Database:
        return connect(self._name, self._path, "ro", self._busy_timeout, doing)


class SqliteSession:
    """A snapshot of a SQLite database."""

    def __init__(self, database: Database, read: Read) -> None:
        self._database = database
        self._read = read
        self._relation = Relation(database, read)

    # --- what is known before a row ---

    def describe(self) -> Described:
        """Schema, key and statement, from the catalogue."""
        type_ = self._cursor_type
        composed = self._composed
        bound = self._ends.lower
        return Described(
            schema=pa.schema([column.field() for column in self._relation.columns]),
            fingerprint=f"sqlite:{self._relation.name}:{self._read.cursor or '-'}",
            cursor_type=type_,
            key=self._relation.key,
            ordered=composed.ordered,
            null_cursors=self._null_cursors,
            sql=composed.sql,
            bound=bound.value if bound else None,
            notes=(*composed.notes, *self._relation.notes()),
        )

    # --- the cursor ---

    @cached_property
    def _cursor_type(self) -> CursorType | None:
        column = self._relation.cursor
        if column is None:
            return None
        if pa.types.is_decimal(column.type):
            raise ConfigError(
                f"incremental_column {column.name}: SQLite keeps {column.declared} as floats or text, which have no "
                "exact order",
                hint=f"use another column, or `columns: {{{column.name}: bigint}}` if it holds whole numbers",
            )
        type_, _ = schemas.cursor_type(column.field())
        if type_ in ("date", "timestamp", "timestamptz"):
            return "timestamp-text"
        return "text" if type_ == "uuid" else type_

    @cached_property
    def _null_cursors(self) -> int:
        column = self._relation.cursor
        if column is None or (self._cursor_type == "int" and not column.nullable):
            return 0
        nulls, lowest = self._nulls_and_lowest(column)
        if self._cursor_type != "int":
            self._require_texts(column, lowest)
        return nulls

    def _nulls_and_lowest(self, column: Column) -> tuple[int, object]:
        """Rows without a cursor, and the lowest cursor: two look-ups in a table, one pass over a query."""
        value, order, whole = column.expression, self._order(column.name), self._whole
        if self._relation.query is not None:
            found = self._database.first(f"SELECT count(*) - count({value}), min({order}) FROM {whole} AS q")
            return found or (0, None)
        nulls = self._database.first(f"SELECT count(*) FROM {whole} AS q WHERE {value} IS NULL")
        lowest = self._database.first(
            f"SELECT {value} FROM {whole} AS q WHERE {value} IS NOT NULL ORDER BY {order} LIMIT 1"
        )
        return (nulls or (0,))[0], (lowest or (None,))[0]

    def _require_texts(self, column: Column, lowest: object) -> None:
        """Numbers sort below every text: once the watermark is a text, no run would see them."""
        if isinstance(lowest, int | float):
            raise DataError(
                f"incremental_column {column.name}: the value {lowest} is a number, among texts it has no place",
                hint=f"if all are numbers say `columns: {{{column.name}: bigint}}`",
            )
        encoding = self._database.first("PRAGMA encoding") or ("",)
        if encoding[0] != "UTF-8" and self._cursor_type == "text":
            raise ConfigError(
                f"incremental_column {column.name}: texts of a database in {encoding[0]} are not ordered by characters",
                hint="use another column",
            )

    # --- bounds and statements ---

    @property
    def _minimum(self) -> str:
        return _MINIMUM.get(self._cursor_type or "", "NULL")

    @property
    def _whole(self) -> str:
        return self._relation.whole(self._minimum)

    @cached_property
    def _ends(self) -> Ends:
        return ends(self._read, self._cursor_type)

    @property
    def _values(self) -> list[object]:
        """The parameters; SQLite numbers named ones in the order in which a statement first names them."""
        return [_bound(self._read.resource, end) for end in (self._ends.lower, self._ends.upper) if end is not None]

    def _order(self, name: str) -> str:
        """The column as it is compared and ordered: texts by their bytes."""
        return f"q.{quote(name)}" + ("" if self._cursor_type == "int" else " COLLATE BINARY")

    def _compose(self, select: Sequence[str]) -> Composed:
        bounds = Bounds(
            lower=":conduit_lower" if self._ends.lower is not None else None,
            upper=":conduit_upper" if self._ends.upper is not None else None,
            minimum=self._minimum,
        )
        table = f"main.{quote(self._relation.table)}"
        return compose(self._read, self._relation.query, table=table, bounds=bounds, column=self._order, select=select)

    @cached_property
    def _composed(self) -> Composed:
        return self._compose([column.select() for column in self._relation.columns])

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
        found = self._database.first(f"SELECT EXISTS (SELECT 1 FROM (\n{self._composed.sql}\n))", *self._values)
        return Until(nothing_new=not (found and found[0]))

    def _until_of_table(self, column: Column) -> Until:
        found = self._database.first(
            f"SELECT {column.expression}, typeof({column.expression}) FROM {self._whole} AS q "
            f"WHERE {column.expression} IS NOT NULL ORDER BY {self._order(column.name)} DESC LIMIT 1"
        )
        highest = self._position(column, *found) if found is not None else None
        return until_of_table(self._read, self._ends.lower, highest, self._null_cursors)

    def _position(self, column: Column, value: object, kind: str) -> Position:
        type_ = self._cursor_type or "text"
        if kind != ("integer" if type_ == "int" else "text"):
            raise DataError(
                f"incremental_column {column.name} ({column.declared}): the highest value, {value!r}, is {kind}",
                hint=f"correct it, or read the column as another type with `columns: {{{column.name}: …}}`",
            )
        return cursor(str(value), type_)

    def splits(self) -> list[Split]:
        """The rows; and those without a cursor, when they are wanted."""
        return splits_of(self._read, self._null_cursors)

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """The rows of a split as typed batches."""
        column = self._relation.cursor
        own_text = column is not None and self._cursor_type != "int" and not schemas.is_text(column.type)
        nulls = split.name == NULL_CURSORS
        rows = Rows(
            columns=self._relation.columns,
            select=self._null_rows if nulls else lambda select: self._compose(select).sql,
            values=() if nulls else self._values,
            cursor_text=self._read.cursor if own_text else None,
            not_null=self._read.cursor if not nulls and len(self.splits()) > 1 else None,
            batch_rows=self._read.batch_size,
        )
        yield from read_batches(self._database, rows)

    def _null_rows(self, select: Sequence[str]) -> str:
        cursor_column = quote(self._read.cursor or "")
        return f"SELECT {', '.join(select)} FROM {self._whole} AS q WHERE q.{cursor_column} IS NULL"

    def estimate(self) -> Estimate:
        """The rows above the bound, counted."""
        found = self._database.first(f"SELECT count(*) FROM (\n{self._composed.sql}\n) AS q", *self._values)
        return Estimate(int(found[0]) if found else 0, exact=True)


def _bound(resource: str, position: Position) -> object:
    """A watermark as the value of a parameter.

    Raises:
        StateConflict: SQLite has no such value.
    """
    if position.type != "int":
        return position.value
    number = int(position.value)
    if not -(2**63) <= number < 2**63:
        raise StateConflict(f"resource {resource}: the watermark {number} is outside of SQLite's integers")
    return number
