"""PostgreSQL's types and Arrow's: how a column is selected, what it becomes, and what a table gets for it.

A type that Arrow cannot carry exactly travels as text, cast in the SELECT, and its field remembers the type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from conduit.arrow import AnyField, LateSchema, pa
from conduit.late import late
from conduit.positions import CursorType
from conduit.strategies.dialects import Dialect

if TYPE_CHECKING:
    from conduit import schemas
else:
    schemas = late("conduit.schemas")

DIALECT = Dialect(name="postgresql", row_id="ctid")
quote = DIALECT.quote

NESTED = "conduit: array with dimensions or bounds of its own in column "
"""Begins the text of the cast that fails for an array that is no plain list (ADBC would flatten it)."""

_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)")
_ARRAYS = {"_int2", "_int4", "_int8", "_float4", "_float8", "_bool", "_text", "_date", "_timestamp"}
_PLAIN = {
    "bool", "int2", "int4", "int8", "float4", "float8", "text", "varchar", "bpchar", "bytea", "date", "time",
    "timestamp", "timestamptz", "uuid", "json", "jsonb",
}  # fmt: skip
_CURSORS: dict[str, tuple[CursorType, str]] = {
    "int2": ("int", ""), "int4": ("int", ""), "int8": ("int", ""), "numeric": ("decimal", ""), "date": ("date", ""),
    "timestamp": ("timestamp", "us"), "timestamptz": ("timestamptz", "us"), "text": ("text", ""),
    "varchar": ("text", ""), "bpchar": ("text", ""), "uuid": ("uuid", ""),
}  # fmt: skip
"""What a cursor of a type is, as `schemas.cursor_type` would say of its Arrow field, which needs pyarrow."""


class Column(msgspec.Struct, frozen=True):
    """A column of a query or a table.

    Attributes:
        name: as it is called in the output.
        type_name: internal name, such as `int4`, `_text`, `numeric`.
        formatted: as the catalogue prints it, with its modifier: `numeric(12,2)`, `character varying(5)`.
        builtin: the type belongs to PostgreSQL itself, so that every server has it.
        nullable: it can hold NULL.
    """

    name: str
    type_name: str
    formatted: str
    builtin: bool = True
    nullable: bool = True

    def field(self) -> AnyField:
        """The Arrow field, with the native type remembered where every server knows it."""
        field = pa.field(self.name, self._arrow(), nullable=True)
        return schemas.with_native(field, DIALECT.name, self.formatted) if self.builtin else field

    def select(self) -> str:
        """The expression over `q` that brings the value to Arrow unaltered."""
        column = f"q.{quote(self.name)}"
        if self.type_name in _ARRAYS:
            told = (NESTED + self.name + ": ").replace("'", "''")
            nested = f"('{told}' || {column}::text)::{self.formatted}"
            odd = f"array_ndims({column}) > 1 OR array_lower({column}, 1) <> 1"
            return f"CASE WHEN {odd} THEN {nested} ELSE {column} END AS {quote(self.name)}"
        if self.is_plain:
            return column
        return f"{column}::text AS {quote(self.name)}"

    @property
    def is_plain(self) -> bool:
        """Whether the column can be read as it stands, without an expression around it."""
        return self.type_name in _PLAIN

    @property
    def is_carried_as_text(self) -> bool:
        """Whether Arrow has no type for its values."""
        return not self.is_plain and self.type_name not in _ARRAYS and self._decimal() is None

    def cursor_type(self) -> tuple[CursorType, str]:
        """Type and unit of the column as a cursor.

        Raises:
            ConfigError: its values have no exact order.
        """
        return _CURSORS.get(self.type_name) or schemas.cursor_type(self.field())

    def _decimal(self) -> tuple[int, int] | None:
        """Precision and scale of a numeric that a decimal of Arrow holds; None: it is none."""
        match = _NUMERIC.fullmatch(self.formatted)
        fits = match and int(match[1]) <= 38 and 0 <= int(match[2]) <= int(match[1])
        return (int(match[1]), int(match[2])) if match and fits else None

    def _arrow(self) -> pa.DataType:
        known = _plain() | _arrays()
        if self.type_name in known:
            return known[self.type_name]
        decimal = self._decimal()
        return pa.decimal128(*decimal) if decimal else pa.string()


def schema_of(columns: Sequence[Column], declared: Mapping[str, str] | None = None) -> LateSchema:
    """The columns as Arrow fields, made when somebody asks. Whether a column can hold NULL is no part of its field.

    Args:
        columns: as the catalogue knows them.
        declared: the type that ingest.yml gives a column instead.
    """
    other = declared or {}

    def make() -> pa.Schema:
        return pa.schema(
            [
                pa.field(column.name, schemas.declared(other[column.name])) if column.name in other else column.field()
                for column in columns
            ]
        )

    exact = tuple((column.name, column.type_name, column.formatted, column.builtin) for column in columns)
    return LateSchema(tuple(column.name for column in columns), make, () if other else exact)


def _plain() -> dict[str, pa.DataType]:
    """Types that ADBC reads exactly, by internal name."""
    return {
        "bool": pa.bool_(), "int2": pa.int16(), "int4": pa.int32(), "int8": pa.int64(),
        "float4": pa.float32(), "float8": pa.float64(),
        "text": pa.string(), "varchar": pa.string(), "bpchar": pa.string(), "bytea": pa.binary(),
        "date": pa.date32(), "time": pa.time64("us"),
        "timestamp": pa.timestamp("us"), "timestamptz": pa.timestamp("us", "UTC"),
        "uuid": pa.uuid(), "json": pa.json_(), "jsonb": pa.json_(),
    }  # fmt: skip


def _arrays() -> dict[str, pa.DataType]:
    plain = _plain()
    return {name: pa.list_(plain[name[1:]]) for name in _ARRAYS}


def created(field: AnyField) -> str:
    """The type of a column that is created for `field`.

    Unsigned integers get the next wider type, nested values become jsonb.
    """
    remembered = schemas.native(field, DIALECT.name)
    if remembered:
        return remembered
    type_ = field.type
    if isinstance(type_, pa.UuidType):
        return "uuid"
    if isinstance(type_, pa.JsonType):
        return "jsonb"
    if isinstance(type_, pa.ListType) and _is_simple(type_.value_type):
        return f"{created(pa.field('item', type_.value_type))}[]"
    return _created_plain(schemas.storage(type_))


def _created_plain(type_: pa.DataType) -> str:
    if isinstance(type_, pa.Decimal128Type | pa.Decimal256Type):
        return f"numeric({type_.precision},{type_.scale})"
    if isinstance(type_, pa.TimestampType):
        return "timestamp" if type_.tz is None else "timestamptz"
    is_ = pa.types
    table = (
        ("smallint", (is_.is_int8, is_.is_int16, is_.is_uint8)),
        ("integer", (is_.is_int32, is_.is_uint16)),
        ("bigint", (is_.is_int64, is_.is_uint32)),
        ("numeric(20,0)", (is_.is_uint64,)),
        ("real", (is_.is_float16, is_.is_float32)),
        ("double precision", (is_.is_float64,)),
        ("boolean", (is_.is_boolean,)),
        ("date", (is_.is_date,)),
        ("time", (is_.is_time,)),
        ("bytea", (is_.is_binary, is_.is_large_binary, is_.is_fixed_size_binary)),
        ("jsonb", (is_.is_nested,)),
    )
    return next((name for name, tests in table if any(test(type_) for test in tests)), "text")


def _is_simple(type_: pa.DataType) -> bool:
    return any(type_.equals(known.value_type) for known in _arrays().values() if isinstance(known, pa.ListType))
