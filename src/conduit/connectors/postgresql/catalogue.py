"""What PostgreSQL says of a query or a table: types, NULLs, keys, identity, snapshot. Reads no user row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import psycopg2.errors
import psycopg2.extensions

from conduit.connectors.postgresql.types import Column, quote
from conduit.contract import Estimate
from conduit.errors import ConfigError

Cursor = psycopg2.extensions.cursor

COUNT_UP_TO = 1_000_000
"""Rows up to which `plan` counts instead of guessing."""

_SAVEPOINT = "conduit_describe"
_UNTYPED = (psycopg2.errors.UndefinedFunction, psycopg2.errors.DatatypeMismatch, psycopg2.errors.AmbiguousFunction)

_FACTS = """
SELECT json_build_object(
  'types', (
    SELECT json_agg(json_build_array(t.oid::int8, t.typname, format_type(t.oid, NULL),
                                     t.typnamespace = 'pg_catalog'::regnamespace))
    FROM pg_type t WHERE t.oid = ANY(%(types)s::int8[]::oid[])),
  'attributes', (
    SELECT json_agg(json_build_array(a.attrelid::int8, a.attnum, a.atttypid::int8,
                                     format_type(a.atttypid, a.atttypmod), a.attnotnull))
    FROM pg_attribute a WHERE a.attrelid = ANY(%(tables)s::int8[]::oid[]) AND a.attnum > 0),
  'key', (
    SELECT to_json(i.indkey::int2[]) FROM pg_index i
    WHERE i.indrelid = %(only)s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
      AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
                      AND NOT a.attnotnull)
    ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1),
  'relation', (
    SELECT json_build_array(relkind, has_table_privilege(oid, 'SELECT')) FROM pg_class
    WHERE oid = to_regclass(%(relation)s)),
  'system', (SELECT json_build_array(system_identifier::text, current_database()) FROM pg_control_system()),
  'snapshot', {snapshot})
"""
_SNAPSHOT = """(
    SELECT json_build_array(pg_snapshot_xmin(s)::text, pg_snapshot_xmax(s)::text) FROM pg_current_snapshot() AS s)"""
TELLS_HORIZON = 130000
"""The first version of a server that has pg_current_snapshot()."""
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


def qualified(schema: str, table: str) -> str:
    """The quoted name of `table` or `schema.table`."""
    return ".".join(quote(part) for part in table.split(".")) if "." in table else f"{quote(schema)}.{quote(table)}"


def output_of(cursor: Cursor, looks: Sequence[str]) -> list[psycopg2.extensions.Column]:
    """What the first of several statements that the server can type would give; none of them reads a row."""
    begin = f"SAVEPOINT {_SAVEPOINT}; " if len(looks) > 1 else ""
    for place, look in enumerate(looks, start=1):
        try:
            cursor.execute((begin if place == 1 else "") + look)
        except _UNTYPED:
            if place == len(looks):
                raise
            cursor.execute(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
        else:
            described = list(cursor.description or ())
            if begin:  # a snapshot cannot be exported inside of one
                cursor.execute(f"RELEASE SAVEPOINT {_SAVEPOINT}")
            return described
    return []


class Facts(msgspec.Struct, frozen=True):
    """What one look at the catalogue tells of the output of a statement.

    Attributes:
        columns: of the output.
        key: output columns that are the primary key, or a unique NOT NULL index, of the one table they come from.
        relation: kind of the table, and whether the role may read all of it; None: there is none.
        system: the server's identifier, and the database.
        snapshot: the oldest transaction that is open in this snapshot, and the first that it does not see; None:
            the server does not tell.
    """

    columns: list[Column]
    key: tuple[str, ...]
    relation: tuple[str, bool] | None
    system: tuple[str, str]
    snapshot: tuple[str, str] | None


def facts(
    cursor: Cursor, described: Sequence[psycopg2.extensions.Column], relation: str | None, *, trust_not_null: bool
) -> Facts:
    """All that a read needs to know before its bounds, in one statement.

    Args:
        cursor: in the transaction whose snapshot the rows are read in.
        described: the output of the statement, as its execution described it.
        relation: quoted name of its table, where it is a plain SELECT from one.
        trust_not_null: NOT NULL of the table holds for the output too, as in such a SELECT.
    """
    tables = sorted({column.table_oid for column in described if column.table_oid})
    asked = {
        "types": [column.type_code for column in described],
        "tables": tables,
        "only": tables[0] if len(tables) == 1 else None,
        "relation": relation,
    }
    tells = cursor.connection.server_version >= TELLS_HORIZON
    cursor.execute(_FACTS.format(snapshot=_SNAPSHOT if tells else "NULL"), asked)
    found: dict[str, Any] = (cursor.fetchone() or ({},))[0]
    return Facts(
        columns=_columns(described, found, trust_not_null=trust_not_null),
        key=_key(described, found["key"] or ()),
        relation=tuple(found["relation"]) if found["relation"] else None,
        system=tuple(found["system"]),
        snapshot=tuple(found["snapshot"]) if found["snapshot"] else None,
    )


def _columns(
    described: Sequence[psycopg2.extensions.Column], found: dict[str, Any], *, trust_not_null: bool
) -> list[Column]:
    types = {row[0]: row[1:] for row in found["types"] or ()}
    attributes = {(row[0], row[1]): row[2:] for row in found["attributes"] or ()}
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


def _key(described: Sequence[psycopg2.extensions.Column], numbers: Sequence[int]) -> tuple[str, ...]:
    names = {column.table_column: column.name for column in described if column.table_column}
    return tuple(names[number] for number in numbers) if all(number in names for number in numbers) else ()


def has_pages(cursor: Cursor, relation: str) -> bool:
    """Whether the relation of this quoted name is stored as a table, so that some of its pages can be looked at."""
    cursor.execute("SELECT relkind IN ('r', 'p', 'm') FROM pg_class WHERE oid = to_regclass(%s)", (relation,))
    found = cursor.fetchone()
    return bool(found and found[0])


def _signed(scale: int) -> int:
    """The scale of a numeric, which the protocol carries in eleven bits."""
    return scale - 2048 if scale > 1023 else scale


class Table(msgspec.Struct, frozen=True):
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


def planned_rows(cursor: Cursor, sql: str) -> int:
    """How many rows a statement gives, as the planner guesses."""
    cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}")
    plan = (cursor.fetchone() or ([{}],))[0]
    return int(plan[0]["Plan"]["Plan Rows"])


def estimate(cursor: Cursor, sql: str) -> Estimate | None:
    """The planner's guess; where it is small, a count."""
    guess = planned_rows(cursor, sql)
    if guess > COUNT_UP_TO:
        return Estimate(guess, exact=False)
    cursor.execute(f"SELECT count(*) FROM (\n{sql}\n) AS q")
    found = cursor.fetchone()
    return Estimate(int(found[0]), exact=True) if found else None


def look(cursor: Cursor, name: str, schema: str) -> str:
    """Who we are and to what server.

    Raises:
        ConfigError: there is no such schema.
    """
    cursor.execute(
        "SELECT format('%%s on %%s, PostgreSQL %%s', current_user, current_database(), "
        "current_setting('server_version')), to_regnamespace(quote_ident(%s)) IS NOT NULL",
        (schema,),
    )
    found, has_schema = cursor.fetchone() or ("", False)
    if not has_schema:
        raise ConfigError(f"connection {name}: there is no schema {schema}")
    return str(found)


def quoted(connection: psycopg2.extensions.connection, value: str) -> str:
    """A text as a literal, quoted by the driver."""
    found = psycopg2.extensions.QuotedString(value)
    found.prepare(connection)
    return found.getquoted().decode()
