"""What SQLite's catalogue says of the columns of a table or a query: declared types, NULLs, keys, indexes.

Only columns without a declared type cost a look at the values: at the storage classes of the first rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from conduit import schemas
from conduit.connectors.sqlite.connection import Database
from conduit.connectors.sqlite.types import UNTYPED, Column, affinity, arrow_type, quote, sampled_type
from conduit.errors import ConfigError

SAMPLED_ROWS = 1000
"""Rows whose storage classes decide what an untyped column holds."""

_VIEW = '"_conduit_columns"'


@dataclass(frozen=True, slots=True)
class Declared:
    """A column as its table or query declares it; `key` is its place in the primary key, 0: none."""

    name: str
    type: str
    nullable: bool = True
    key: int = 0


def table_name(table: str) -> str:
    """The plain name of a table; `main.` before it is allowed.

    Raises:
        ConfigError: it names another schema.
    """
    schema, dot, name = table.rpartition(".")
    if dot and schema.lower() != "main":
        raise ConfigError(
            f"table {table}: SQLite has no schemas", hint=f"name it without a dot, for example {schema}_{name}"
        )
    return name


# --- declared -------------------------------------------------------------------------------------------


def table_columns(database: Database, table: str, *, generated: bool = False) -> tuple[Declared, ...]:
    """The columns of a table or view, without generated ones unless asked for; empty: there is none."""
    shown = (0, 2, 3) if generated else (0,)
    rows = [row for row in database.rows(f"PRAGMA main.table_xinfo({quote(table)})") if row[6] in shown]
    flags = database.first(
        "SELECT type, wr, strict FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE", table
    )
    keys = [row for row in rows if row[5]]
    rowid = len(keys) == 1 and keys[0][2].upper() == "INTEGER"
    not_null = rowid or bool(flags and (flags[1] or flags[2]))
    return tuple(
        Declared(name, type_, nullable=not (notnull or (key and not_null)), key=key)
        for _, name, type_, notnull, _, key, _ in rows
    )


def query_columns(database: Database, sql: str) -> tuple[Declared, ...]:
    """The columns of a query, from a temporary view over it: plain columns keep their table's declared type.

    Raises:
        ConfigError: two columns have one name.
    """
    database.rows(f"CREATE TEMP VIEW {_VIEW} AS\n{sql}")
    rows = database.rows(f"PRAGMA temp.table_info({_VIEW})")
    database.rows(f"DROP VIEW temp.{_VIEW}")
    names = [row[1] for row in rows]
    for name in names:
        first, colon, number = name.rpartition(":")
        if colon and number.isdigit() and first in names:
            raise ConfigError(f"two columns of the query are named {first}", hint="rename one with AS")
    return tuple(Declared(row[1], row[2]) for row in rows)


def unique_key(database: Database, table: str, columns: Sequence[Declared]) -> tuple[str, ...]:
    """The primary key of a table, or the columns of a unique index, when none of them can be NULL."""
    primary = sorted((column for column in columns if column.key), key=lambda column: column.key)
    if primary and not any(column.nullable for column in primary):
        return tuple(column.name for column in primary)
    never_null = {column.name for column in columns if not column.nullable}
    for index, unique, partial in _indexes(database, table):
        names = _index_columns(database, index)
        if unique and not partial and names and set(names) <= never_null:
            return names
    return ()


def is_indexed(database: Database, table: str, key: Sequence[str]) -> bool:
    """Whether rows are found by `key` without a scan of the table."""
    primary = [column.name for column in table_columns(database, table) if column.key]
    indexes = [_index_columns(database, name) for name, _, partial in _indexes(database, table) if not partial]
    leading = {names[0] for names in (primary, *indexes) if names}
    return bool(leading & set(key))


def _indexes(database: Database, table: str) -> list[tuple[str, int, int]]:
    rows = database.rows(f"PRAGMA main.index_list({quote(table)})")
    return [(row[1], row[2], row[4]) for row in rows]


def _index_columns(database: Database, index: str) -> tuple[str, ...]:
    """The columns of an index; empty when it holds an expression."""
    names = [row[2] for row in database.rows(f"PRAGMA main.index_info({quote(index)})")]
    return tuple(names) if all(names) else ()


# --- what they are read as ------------------------------------------------------------------------------


def read_as(
    database: Database, relation: str, declared: Iterable[Declared], wanted: Mapping[str, str], *, of_query: bool
) -> tuple[Column, ...]:
    """The columns with the types that they are read as.

    Args:
        database: an open connection.
        relation: what the columns belong to, for FROM.
        declared: the columns.
        wanted: `columns:` of the resource.
        of_query: the declared types come from a view, where BLOB can also mean that there is none.
    """
    columns = list(declared)
    silent = UNTYPED if of_query else UNTYPED[:-1]
    untyped = [c.name for c in columns if c.type.upper() in silent and c.name not in wanted]
    classes = _storage_classes(database, relation, untyped) if untyped else {}
    return tuple(_column(column, wanted.get(column.name), classes.get(column.name)) for column in columns)


def _column(column: Declared, wanted: str | None, classes: frozenset[str] | None) -> Column:
    name, declared, nullable = column.name, column.type, column.nullable
    if wanted is not None:
        type_ = schemas.declared(wanted)
        return Column(name, declared, type_, schemas.is_text(type_) and affinity(declared) != "TEXT", nullable)
    if classes is not None:
        if not classes and declared:
            return Column(name, declared, schemas.declared("blob"), nullable=nullable)
        type_ = sampled_type(classes)
        return Column(name, "", type_, schemas.is_text(type_) and len(classes) > 1, nullable)
    known = arrow_type(declared)
    if known is None:
        return Column(name, declared, schemas.declared("text"), converted=True, nullable=nullable)
    return Column(name, declared, known, nullable=nullable)


def _storage_classes(database: Database, relation: str, names: Sequence[str]) -> dict[str, frozenset[str]]:
    """The storage classes that the first rows have in each column, without NULL."""
    found = ", ".join(f"group_concat(DISTINCT typeof(q.{quote(name)}))" for name in names)
    row = database.first(f"SELECT {found} FROM (SELECT * FROM {relation} LIMIT {SAMPLED_ROWS}) AS q") or ()
    return {name: frozenset((kinds or "").split(",")) - {"", "null"} for name, kinds in zip(names, row, strict=True)}
