"""DuckDB's types and Arrow's: how a column is selected, what a table gets for it.

DuckDB speaks Arrow itself, so most columns are read as they stand. A type that Arrow cannot carry exactly travels as
text, cast in the SELECT, and its field remembers the type.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from conduit import schemas
from conduit.arrow import AnyArray, AnyField, pa, pc
from conduit.errors import DataError
from conduit.schemas import is_text, native, storage, with_native
from conduit.strategies.dialects import Dialect

DIALECT = Dialect(name="duckdb", row_id="rowid")
quote = DIALECT.quote

_PLAIN = (
    "BOOLEAN|U?TINYINT|U?SMALLINT|U?INTEGER|U?BIGINT|FLOAT|DOUBLE|VARCHAR|BLOB|DATE|TIME|TIMESTAMP(?:_S|_MS|_NS)?"
    r"|TIMESTAMP WITH TIME ZONE|UUID|JSON|DECIMAL\(\d+,\d+\)"
)
_IS_PLAIN = re.compile(rf'{_PLAIN}|"?NULL"?')
_HUGE = ("HUGEINT", "UHUGEINT")
_NESTED = re.compile(r".*(?:\[\d*\]|\))")
_FOREIGN = re.compile(
    r"\b(?:HUGEINT|UHUGEINT|INTERVAL|BIT|TIME WITH TIME ZONE|ENUM|UNION|VARIANT|GEOMETRY|BIGNUM|VARINT)\b"
)
_REVIVED = re.compile(r"INTERVAL|BIT|TIME WITH TIME ZONE|ENUM\(.*|(?:STRUCT|MAP)\(.*|.*\[\d*\]", re.DOTALL)
"""Types whose text DuckDB reads back as the same value."""

_SECONDS_FROM, _SECONDS_TO = -62_135_596_800, 253_402_300_800
"""The years 1 to 9999, as seconds since 1970."""

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


# --- reading a column -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a query or a table.

    Attributes:
        name: as it is called in the output.
        declared: its type, as DESCRIBE prints it.
        wanted: the type that `columns:` of the resource gives it; None: its own.
        nullable: it can hold NULL.
    """

    name: str
    declared: str
    wanted: pa.DataType | None = None
    nullable: bool = True

    @property
    def is_plain(self) -> bool:
        """DuckDB gives the column to Arrow exactly as it is."""
        if _IS_PLAIN.fullmatch(self.declared):
            return True
        return bool(_NESTED.fullmatch(self.declared)) and not _FOREIGN.search(_without_names(self.declared))

    def select(self) -> str:
        """The expression over `q` that brings the value to Arrow unaltered."""
        column = f"q.{quote(self.name)}"
        if self.wanted is None and self.is_plain:
            return f"{_bytes(column)} AS {quote(self.name)}" if self.declared == "UUID" else column
        return f"{self._converted(column)} AS {quote(self.name)}"

    def _converted(self, column: str) -> str:
        """Mostly as text, which Arrow parses without rounding; DuckDB's own casts round."""
        if self.declared in _HUGE and self.wanted is None:
            return f"CAST({column} AS DECIMAL(38,0))"
        if isinstance(self.wanted, pa.UuidType):
            return _bytes(f"CAST({column} AS UUID)")
        if isinstance(self.wanted, pa.JsonType):
            return f"CAST({column} AS JSON)"
        if self.wanted is not None and pa.types.is_binary(self.wanted):
            return column if self.declared == "BLOB" else f"encode(CAST({column} AS VARCHAR))"
        return f"CAST({column} AS VARCHAR)"

    def inserted(self) -> str:
        """The expression over a row `source` of Arrow values that makes the column's value again.

        Raises:
            DataError: the text of such a value does not say what it was.
        """
        if self._has_union:
            raise DataError(
                f"column {self.name}: which member of {self.declared} a value belongs to cannot be told from its text",
                hint="leave the column out, or make it a STRUCT",
            )
        value = f"source.{quote(self.name)}"
        return value if self.is_plain else f"CAST({value} AS {self.declared})"

    def field(self, carried: pa.DataType) -> AnyField:
        """The Arrow field of a column that DuckDB gives as `carried`."""
        if self.wanted is not None:
            return pa.field(self.name, self.wanted)
        if self.declared in ("UUID", "JSON"):
            return pa.field(self.name, pa.uuid() if self.declared == "UUID" else pa.json_())
        field = pa.field(self.name, carried)
        remembered = self.declared in _HUGE or (_REVIVED.fullmatch(self.declared) and not self._has_union)
        return field if self.is_plain or not remembered else with_native(field, DIALECT.name, self.declared)

    def value(self, array: AnyArray, type_: pa.DataType) -> AnyArray:
        """The values in the column's Arrow type.

        Raises:
            DataError: a value is not of the type, or a time without a place in the calendar.
        """
        plain = (
            array.cast(pa.binary(16)) if isinstance(type_, pa.UuidType) and pa.types.is_binary(array.type) else array
        )
        typed = schemas.cast(plain, type_, self.name)
        _refuse_infinity(typed, self.name)
        return typed

    @property
    def _has_union(self) -> bool:
        return "UNION(" in _without_names(self.declared)


def _bytes(column: str) -> str:
    """The 16 bytes of a UUID; DuckDB would give its text."""
    return f"unhex(replace(CAST({column} AS VARCHAR), '-', ''))"


def _without_names(declared: str) -> str:
    """The type without the quoted names and labels in it."""
    return re.sub(r"\"(?:[^\"]|\"\")*\"|'(?:[^']|'')*'", "", declared)


def _refuse_infinity(array: AnyArray, name: str) -> None:
    """DuckDB knows infinite times and years before 1; nothing else does."""
    type_ = array.type
    if isinstance(type_, pa.TimestampType):
        scale, plain = _PER_SECOND[type_.unit], array.cast(pa.int64())
    elif pa.types.is_date32(type_):
        scale, plain = 1, pc.multiply(array.cast(pa.int32()).cast(pa.int64()), pa.scalar(86_400))
    else:
        return
    ends: Any = pc.min_max(plain).as_py()
    if ends["min"] is not None and (ends["min"] < _SECONDS_FROM * scale or ends["max"] >= _SECONDS_TO * scale):
        raise DataError(
            f"column {name}: a {type_} is infinite or outside of the years 1 to 9999",
            hint=f"read the column as text with `columns: {{{name}: text}}`, or leave such rows out of the query",
        )


# --- Arrow -> DuckDB ------------------------------------------------------------------------------------


def declared_type(field: AnyField, table: str) -> str:
    """The type of a column that conduit creates.

    Raises:
        DataError: DuckDB has no place for such values.
    """
    name = native(field, DIALECT.name) or _declared(field.type)
    if name is not None:
        return name
    raise DataError(
        f"table {table}, column {field.name}: DuckDB has no place for values of type {field.type}",
        hint=f"read the column as text with `columns: {{{field.name}: text}}`, or leave it out of the query",
    )


def _declared(type_: pa.DataType) -> str | None:
    if pa.types.is_nested(type_):
        return _declared_nested(type_)
    if isinstance(type_, pa.Decimal128Type):
        fits = 0 <= type_.scale <= type_.precision
        return f"DECIMAL({type_.precision},{type_.scale})" if fits else None
    if isinstance(type_, pa.TimestampType):
        suffix = {"s": "_S", "ms": "_MS", "ns": "_NS"}.get(type_.unit, "")
        return "TIMESTAMP WITH TIME ZONE" if type_.tz else f"TIMESTAMP{suffix}"
    if isinstance(type_, pa.DictionaryType):
        return _declared(type_.value_type)
    return _named(type_)


def _named(type_: pa.DataType) -> str | None:
    integers = {"int8": "TINYINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT"}
    integers |= {f"u{name}": f"U{integer}" for name, integer in integers.items()}
    if str(type_) in integers:
        return integers[str(type_)]
    plain = storage(type_)
    kinds = {
        "UUID": isinstance(type_, pa.UuidType),
        "JSON": isinstance(type_, pa.JsonType),
        "BOOLEAN": pa.types.is_boolean(plain),
        "FLOAT": pa.types.is_float32(plain) or pa.types.is_float16(plain),
        "DOUBLE": pa.types.is_float64(plain),
        "DATE": pa.types.is_date(plain),
        "TIME": pa.types.is_time(plain),
        "VARCHAR": is_text(plain) or pa.types.is_null(plain),
        "BLOB": pa.types.is_binary(plain) or pa.types.is_large_binary(plain) or pa.types.is_fixed_size_binary(plain),
    }
    return next((name for name, fits in kinds.items() if fits), None)


def _declared_nested(type_: pa.DataType) -> str | None:
    if isinstance(type_, pa.StructType):
        members = {field.name: _declared(field.type) for field in type_}
        inner = ", ".join(f"{quote(name)} {member}" for name, member in members.items())
        return f"STRUCT({inner})" if members and all(members.values()) else None
    if isinstance(type_, pa.MapType):
        key, item = _declared(type_.key_type), _declared(type_.item_type)
        return f"MAP({key}, {item})" if key and item else None
    if isinstance(type_, pa.FixedSizeListType):
        element = _declared(type_.value_type)
        return f"{element}[{type_.list_size}]" if element else None
    if isinstance(type_, pa.ListType | pa.LargeListType):
        element = _declared(type_.value_type)
        return f"{element}[]" if element else None
    return None
