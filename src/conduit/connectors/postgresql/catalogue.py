"""What PostgreSQL's catalogue says of the columns of a query or a table: types, NULLs, keys. Reads no user row."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg2.extensions

from conduit.connectors.postgresql.types import Column, quote

Cursor = psycopg2.extensions.cursor

_TYPES = """
SELECT t.oid, t.typname, format_type(t.oid, NULL), t.typnamespace = 'pg_catalog'::regnamespace
FROM pg_type t WHERE t.oid = ANY(%s)
"""
_ATTRIBUTES = """
SELECT a.attrelid, a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull
FROM pg_attribute a WHERE a.attrelid = ANY(%s) AND a.attnum > 0
"""
_TABLE = """
SELECT a.attname, t.typname, format_type(a.atttypid, a.atttypmod), t.typnamespace = 'pg_catalog'::regnamespace,
       NOT a.attnotnull, c.relpersistence
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
WHERE c.oid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum
"""
_KEY = """
SELECT i.indkey::int2[] FROM pg_index i
WHERE i.indrelid = %s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
  AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
                  AND NOT a.attnotnull)
ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1
"""


def qualified(schema: str, table: str) -> str:
    """The quoted name of `table` or `schema.table`."""
    return ".".join(quote(part) for part in table.split(".")) if "." in table else f"{quote(schema)}.{quote(table)}"


def output_columns(
    cursor: Cursor, described: Sequence[psycopg2.extensions.Column], *, trust_not_null: bool
) -> list[Column]:
    """The output columns of a statement, from what its execution described.

    `trust_not_null` is for plain selects of one table: there NOT NULL of the table holds for the output too.
    """
    cursor.execute(_TYPES, ([column.type_code for column in described],))
    types = {row[0]: row[1:] for row in cursor.fetchall()}
    cursor.execute(_ATTRIBUTES, ([column.table_oid for column in described if column.table_oid],))
    attributes = {(row[0], row[1]): row[2:] for row in cursor.fetchall()}
    columns = []
    for column in described:
        type_name, formatted, builtin = types[column.type_code]
        origin = attributes.get((column.table_oid, column.table_column))
        if type_name == "numeric" and column.precision is not None and column.precision < 65535:
            formatted = f"numeric({column.precision},{column.scale})"
        elif origin is not None and builtin:
            formatted = origin[0]
        not_null = trust_not_null and origin is not None and origin[1]
        columns.append(Column(column.name, type_name, formatted, builtin, nullable=not not_null))
    return columns


def unique_key(cursor: Cursor, described: Sequence[psycopg2.extensions.Column]) -> tuple[str, ...]:
    """Output columns that are the primary key, or a unique NOT NULL index, of the one table they come from."""
    tables = {column.table_oid for column in described if column.table_oid}
    if len(tables) != 1:
        return ()
    cursor.execute(_KEY, (tables.pop(),))
    found = cursor.fetchone()
    names = {column.table_column: column.name for column in described if column.table_column}
    numbers: Sequence[int] = found[0] if found else ()
    return tuple(names[number] for number in numbers) if all(number in names for number in numbers) else ()


def table_columns(cursor: Cursor, table: str) -> tuple[list[Column], bool]:
    """The columns of a table (empty: there is none), and whether it survives a crash (it is not UNLOGGED)."""
    cursor.execute(_TABLE, (table,))
    rows = cursor.fetchall()
    columns = [Column(*row[:5]) for row in rows]
    return columns, all(row[5] != "u" for row in rows)
