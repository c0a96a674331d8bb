"""The table or query that a resource reads: its columns, its key, its text. Knows no watermark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from conduit.arrow import pa
from conduit.bounds import require_columns
from conduit.connectors.duckdb import catalogue
from conduit.connectors.duckdb.connection import Database
from conduit.connectors.duckdb.types import Column
from conduit.contract import Read
from conduit.query import Query, read_query, without_bound


class Relation:
    """What is read, as the catalogue knows it.

    Attributes:
        query: the query; None for a table.
        table: the table as the resource names it; empty for a query.
    """

    def __init__(self, database: Database, schema: str, read: Read) -> None:
        self._database = database
        self._schema = schema
        self._read = read
        self.query = _query(read)
        self.table = "" if self.query else read.table or ""

    @property
    def name(self) -> str:
        """The relation in the source's fingerprint; never the query's text."""
        return "(query)" if self.query else ".".join(catalogue.parts(self._schema, self.table))

    @property
    def quoted(self) -> str:
        """The quoted name of the table."""
        return catalogue.qualified(self._schema, self.table)

    def whole(self, minimum: str) -> str:
        """The relation without a lower bound, for FROM; `minimum` stands where `:last_value` cannot be left out."""
        return f"(\n{without_bound(self.query, minimum)}\n)" if self.query else self.quoted

    @cached_property
    def columns(self) -> Sequence[Column]:
        """The columns, from binding the statement.

        Raises:
            ConfigError: the cursor, or a column that `columns:` names, is not among them.
        """
        never_null, _ = self._constraints
        text = f"SELECT * FROM {self.whole('NULL')} AS q"
        columns = catalogue.columns(self._database, text, self._read.columns, never_null)
        require_columns(self._read, [column.name for column in columns])
        return columns

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns as Arrow fields."""
        select = ", ".join(column.select() for column in self.columns)
        carried = self._database.schema(f"SELECT {select} FROM {self.whole('NULL')} AS q")
        return pa.schema([column.field(field.type) for column, field in zip(self.columns, carried, strict=True)])

    @property
    def cursor(self) -> Column | None:
        """The incremental column."""
        return next((column for column in self.columns if column.name == self._read.cursor), None)

    @cached_property
    def key(self) -> tuple[str, ...]:
        """Unique columns of the one table, when the rows hold them."""
        _, key = self._constraints
        exact = {column.name for column in self.columns if column.wanted is None}
        return key if set(key) <= exact else ()

    def notes(self) -> Iterator[str]:
        """What to say about columns that Arrow cannot carry."""
        for column in self.columns:
            if column.wanted is None and not column.is_plain:
                yield f"column {column.name}: {column.declared} travels as {self.schema.field(column.name).type}"

    @cached_property
    def _constraints(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What is never NULL, and what is unique, of the columns that come from one table as they stand."""
        table = self.query.plain_table() if self.query else self.table
        if not table or table.count(".") > 1:
            return (), ()
        never_null, key = catalogue.constraints(self._database, self._schema, table)
        if self.query is None:
            return never_null, key
        given = self.query.passed_through(never_null)
        return given, key if set(key) <= set(given) else ()


def _query(read: Read) -> Query | None:
    if read.query is None:
        return None
    return read_query(read.query, "duckdb", incremental=read.cursor is not None)
