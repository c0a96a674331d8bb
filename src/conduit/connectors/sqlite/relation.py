"""The table or query that a resource reads: its columns, its key, its text. Knows no watermark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from conduit import schemas
from conduit.bounds import require_columns
from conduit.connectors.sqlite import catalogue
from conduit.connectors.sqlite.connection import Database
from conduit.connectors.sqlite.types import Column, quote
from conduit.contract import Read
from conduit.errors import ConfigError
from conduit.query import Query, read_query, without_bound

_BELOW_ALL = "-1e999"
"""Stands for `:last_value` where only the kinds of values are asked for."""


class Relation:
    """What is read, as the catalogue knows it.

    Attributes:
        query: the query; None for a table.
        table: the plain name of the table; empty for a query.
    """

    def __init__(self, database: Database, read: Read) -> None:
        self._database = database
        self._read = read
        self.query = _query(read)
        self.table = "" if self.query else catalogue.table_name(read.table or "")

    @property
    def name(self) -> str:
        """The relation in the source's fingerprint; never the query's text."""
        return "(query)" if self.query else self.table

    def whole(self, minimum: str) -> str:
        """The relation without a lower bound, for FROM; `minimum` stands where `:last_value` cannot be left out."""
        return f"(\n{without_bound(self.query, minimum)}\n)" if self.query else f"main.{quote(self.table)}"

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns with the types that they are read as.

        Raises:
            ConfigError: the cursor, or a column that `columns:` names, is not among them.
        """
        of_query = self.query is not None
        whole = self.whole(_BELOW_ALL)
        columns = catalogue.read_as(self._database, whole, self._declared, self._read.columns, of_query=of_query)
        require_columns(self._read, [column.name for column in columns])
        return tuple(_compared(column) if column.name == self._read.cursor else column for column in columns)

    @property
    def cursor(self) -> Column | None:
        """The incremental column."""
        return next((column for column in self.columns if column.name == self._read.cursor), None)

    @cached_property
    def key(self) -> tuple[str, ...]:
        """Unique columns of the one table, when the rows hold them as they are stored."""
        key = catalogue.unique_key(self._database, self._one_table, self._of_table) if self._one_table else ()
        given = self.query.passed_through(key) if self.query else key
        exact = {column.name for column in self.columns if column.exact}
        return key if set(key) <= exact & set(given) else ()

    def notes(self) -> Iterator[str]:
        """What to say about columns whose type says too little."""
        for column in self.columns:
            if column.converted and column.name not in self._read.columns:
                meant = f"type {column.declared}" if column.declared else "values of several kinds"
                yield f"column {column.name}: {meant} is read as text; `columns: {{{column.name}: …}}` sets a type"

    @property
    def _one_table(self) -> str:
        """The table that all rows come from; empty when there is not one."""
        table = self.query.plain_table() if self.query else self.table
        return catalogue.table_name(table) if table else ""

    @cached_property
    def _of_table(self) -> Sequence[catalogue.Declared]:
        return catalogue.table_columns(self._database, self._one_table, generated=True) if self._one_table else ()

    @cached_property
    def _declared(self) -> Sequence[catalogue.Declared]:
        """The columns as they are declared; those of a plain query know from their table what cannot be NULL."""
        if self.query is None:
            if not self._of_table:
                raise ConfigError(f"resource {self._read.resource}: there is no table {self.table}")
            return self._of_table
        columns = catalogue.query_columns(self._database, without_bound(self.query, "NULL"))
        own = {column.name: column.nullable for column in self._of_table}
        passed = self.query.passed_through(tuple(own))
        return [replace(c, nullable=own[c.name]) if c.name in passed else c for c in columns]


def _query(read: Read) -> Query | None:
    if read.query is None:
        return None
    return read_query(read.query, "sqlite", incremental=read.cursor is not None)


def _compared(column: Column) -> Column:
    """A cursor is compared as it is stored, so a text cursor is never a printed number."""
    return replace(column, converted=False) if schemas.is_text(column.type) else column
