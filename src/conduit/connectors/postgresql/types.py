"""PostgreSQL's types and Arrow's: how a column is selected, what it becomes, and what a table gets for it.

A type that Arrow cannot carry exactly travels as text, cast in the SELECT, and its field remembers the type.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from conduit.arrow import AnyField, pa
from conduit.schemas import native, storage, with_native
from conduit.strategies.statements import Dialect

DIALECT = Dialect(name="postgresql", row_id="ctid")
quote = DIALECT.quote

NESTED = "conduit: array with dimensions or bounds of its own in column "
"""Begins the text of the cast that fails for an array that is no plain list (ADBC would flatten it)."""

_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)")
_ARRAYS = {"_int2", "_int4", "_int8", "_float4", "_float8", "_bool", "_text", "_date", "_timestamp"}


@dataclass(frozen=True, slots=True)
class Column:
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
        return with_native(field, DIALECT.name, self.formatted) if self.builtin else field

    def select(self) -> str:
        """The expression over `q` that brings the value to Arrow unaltered."""
        column = f"q.{quote(self.name)}"
        if self.type_name in _ARRAYS:
            told = (NESTED + self.name + ": ").replace("'", "''")
            nested = f"('{told}' || {column}::text)::{self.formatted}"
            odd = f"array_ndims({column}) > 1 OR array_lower({column}, 1) <> 1"
            return f"CASE WHEN {odd} THEN {nested} ELSE {column} END AS {quote(self.name)}"
        if self.type_name in _plain():
            return column
        return f"{column}::text AS {quote(self.name)}"

    @property
    def is_plain(self) -> bool:
        """Whether the column can be read as it stands, without an expression around it."""
        return self.type_name in _plain()

    def _arrow(self) -> pa.DataType:
        known = _plain() | _arrays()
        if self.type_name in known:
            return known[self.type_name]
        match = _NUMERIC.fullmatch(self.formatted)
        if match and int(match[1]) <= 38 and 0 <= int(match[2]) <= int(match[1]):
            return pa.decimal128(int(match[1]), int(match[2]))
        return pa.string()


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
    remembered = native(field, DIALECT.name)
    if remembered:
        return remembered
    type_ = field.type
    if isinstance(type_, pa.UuidType):
        return "uuid"
    if isinstance(type_, pa.JsonType):
        return "jsonb"
    if isinstance(type_, pa.ListType) and _is_simple(type_.value_type):
        return f"{created(pa.field('item', type_.value_type))}[]"
    return _created_plain(storage(type_))


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
