"""What DuckDB's catalogue says of tables: columns, keys, estimates. Reads no user row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from conduit import schemas
from conduit.connectors.duckdb.connection import Database
from conduit.connectors.duckdb.types import Column, quote
from conduit.errors import ConfigError

_TABLE = "database_name = current_database() AND schema_name = $1 AND table_name = $2"


def parts(schema: str, table: str) -> tuple[str, str]:
    """Schema and name of `table` or `schema.table`.

    Raises:
        ConfigError: there are more parts.
    """
    named, _, name = table.rpartition(".")
    if "." in named:
        raise ConfigError(f"table {table}: write it as `table` or `schema.table`")
    return named or schema, name


def qualified(schema: str, table: str) -> str:
    """The quoted name of `table` or `schema.table`."""
    return ".".join(quote(part) for part in parts(schema, table))


def exists(database: Database, schema: str, table: str) -> bool:
    """Whether there is such a table or view."""
    return database.first(f"SELECT 1 FROM duckdb_columns() WHERE {_TABLE} LIMIT 1", parts(schema, table)) is not None


def is_view(database: Database, schema: str, table: str) -> bool:
    """Whether the name is a view's."""
    condition = "database_name = current_database() AND schema_name = $1 AND view_name = $2"
    return database.first(f"SELECT 1 FROM duckdb_views() WHERE {condition}", parts(schema, table)) is not None


def columns(database: Database, sql: str, wanted: Mapping[str, str], never_null: Sequence[str] = ()) -> list[Column]:
    """The columns of a query, from binding it."""
    return [
        Column(
            row[0],
            row[1],
            schemas.declared(wanted[row[0]]) if row[0] in wanted else None,
            nullable=row[0] not in never_null,
        )
        for row in database.rows(f"DESCRIBE SELECT * FROM (\n{sql}\n) AS q")
    ]


def constraints(database: Database, schema: str, table: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of a table that are never NULL; and its primary key, or UNIQUE columns among them.

    Both are empty for what is no table: a view, a file, a function.
    """
    rows = database.rows(
        f"SELECT constraint_type, constraint_column_names FROM duckdb_constraints() WHERE {_TABLE} "
        "ORDER BY constraint_type, constraint_index",
        parts(schema, table),
    )
    never_null = tuple(name for kind, names in rows if kind == "NOT NULL" for name in names)
    unique = [tuple(names) for kind, names in rows if kind in ("PRIMARY KEY", "UNIQUE")]
    return never_null, next((names for names in unique if set(names) <= set(never_null)), ())


def is_referenced(database: Database, table: str) -> bool:
    """Whether a foreign key points at a table of this name; DuckDB does not say in which schema."""
    condition = (
        "database_name = current_database() AND constraint_type = 'FOREIGN KEY' AND lower(referenced_table) = $1"
    )
    name = table.rpartition(".")[2].lower()
    return database.first(f"SELECT 1 FROM duckdb_constraints() WHERE {condition} LIMIT 1", (name,)) is not None
