"""What PostgreSQL's catalogue says of the columns of a query or a table: types, NULLs, keys. Reads no user row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg2.extensions

from conduit.connectors.postgresql.types import Column, quote

Cursor = psycopg2.extensions.cursor

_TYPES = """
SELECT t.oid, t.typname, format_type(t.oid, NULL), t.typnamespace = 'pg_catalog'::regnamespace
FROM pg_type t WHERE t.oid = ANY(%s)
"""
_ATTRIBUTES = """
SELECT a.attrelid, a.attnum, a.atttypid, format_type(a.atttypid, a.atttypmod), a.attnotnull
FROM pg_attribute a WHERE a.attrelid = ANY(%s) AND a.attnum > 0
"""
_TABLE = """
WITH RECURSIVE plain AS (  -- a domain is the type that it stands on
  SELECT a.attrelid, a.attnum, a.attname, a.atttypid AS type, a.atttypmod AS modifier, a.attnotnull, a.attgenerated
  FROM pg_attribute a WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT p.attrelid, p.attnum, p.attname, t.typbasetype, t.typtypmod, p.attnotnull OR t.typnotnull, p.attgenerated
  FROM plain p JOIN pg_type t ON t.oid = p.type AND t.typtype = 'd'
)
SELECT p.attname, t.typname, format_type(p.type, p.modifier), t.typnamespace = 'pg_catalog'::regnamespace,
       NOT p.attnotnull, c.relpersistence, p.attgenerated <> '', obj_description(c.oid, 'pg_class')
FROM plain p JOIN pg_type t ON t.oid = p.type AND t.typtype <> 'd' JOIN pg_class c ON c.oid = p.attrelid
ORDER BY p.attnum
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
        if origin is not None and origin[0] == column.type_code:  # of a domain only the type below it is told
            formatted = origin[1]
        elif type_name == "numeric" and column.precision is not None and column.precision < 65535:
            formatted = f"numeric({column.precision},{_signed(column.scale or 0)})"
        not_null = trust_not_null and origin is not None and origin[2]
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


def _signed(scale: int) -> int:
    """The scale of a numeric, which the protocol carries in eleven bits."""
    return scale - 2048 if scale > 1023 else scale


@dataclass(frozen=True, slots=True)
class Table:
    """A table as the catalogue knows it.

    Attributes:
        columns: that rows can be written to; none: there is no such table.
        generated: names of the columns that the server computes.
        durable: it survives a crash of the server (it is not UNLOGGED).
        comment: what was said of it.
    """

    columns: list[Column]
    generated: tuple[str, ...] = ()
    durable: bool = True
    comment: str | None = None


def table(cursor: Cursor, name: str) -> Table:
    """What the catalogue knows of the table with this quoted name."""
    cursor.execute(_TABLE, (name,))
    rows = cursor.fetchall()
    columns = [Column(*row[:5]) for row in rows if not row[6]]
    return Table(
        columns,
        tuple(row[0] for row in rows if row[6]),
        all(row[5] != "u" for row in rows),
        rows[0][7] if rows else None,
    )
