"""SQLite's declared types and Arrow's: what a column is read as, how it is selected, what a table gets for it.

SQLite keeps what it is given: a declared type is a wish, every value has a storage class of its own. A column is read
as the type that it declares, and a value of another kind is an error, never a conversion. ADBC converts in silence
where it can, so each column says by which condition such a value is found.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from conduit.arrow import AnyArray, AnyField, pa
from conduit.errors import DataError
from conduit.schemas import cast, is_text, native, with_native
from conduit.strategies.dialects import Dialect

DIALECT = Dialect(name="sqlite", row_id="rowid", differs="IS NOT")
quote = DIALECT.quote

UNTYPED = ("", "ANY", "BLOB")
"""Declared types that say nothing. A view shows an untyped column as BLOB, so the values decide there too."""

FLOAT_DIGITS = 15
"""Digits of a decimal number that every double keeps (C's DBL_DIG)."""

_DECIMAL = re.compile(r"(?:DECIMAL|NUMERIC|DECIMAL_TEXT)\s*\(\s*(\d{1,4})\s*(?:,\s*(\d{1,4})\s*)?\)")
_ZONED = re.compile(r"TIMESTAMPTZ|(?:TIMESTAMP|DATETIME) WITH TIME ZONE")
_PLAIN_TIME = re.compile(r"(?:DATETIME|TIMESTAMP)(?:\s*\(\d+\))?(?: WITHOUT TIME ZONE)?")
_TYPE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_ ]*(?:\(\s*\d+\s*(?:,\s*\d+\s*)?\))?")


# --- declared -> Arrow ----------------------------------------------------------------------------------


def affinity(declared: str) -> str:
    """What SQLite makes of values that are put into such a column (https://sqlite.org/datatype3.html, 3.1)."""
    name = declared.upper()
    if "INT" in name:
        return "INTEGER"
    if any(word in name for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if not name or "BLOB" in name:
        return "BLOB"
    return "REAL" if any(word in name for word in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


def arrow_type(declared: str) -> pa.DataType | None:
    """The Arrow type of a declared type; None when it says nothing that could be relied on."""
    name = " ".join(declared.upper().split())
    exact = _exact(name)
    if exact is not None:
        return exact
    match affinity(name):
        case "INTEGER":
            return pa.int64()
        case "TEXT":
            return pa.string()
        case "REAL":
            return pa.float64()
        case "BLOB":
            return pa.binary()
        case _:
            return None


def _exact(name: str) -> pa.DataType | None:
    decimal = _DECIMAL.fullmatch(name)
    if decimal:
        precision, scale = int(decimal[1]), int(decimal[2] or 0)
        return pa.decimal128(precision, scale) if 1 <= precision <= 38 and scale <= precision else None
    if _PLAIN_TIME.fullmatch(name):
        return pa.timestamp("us")
    if _ZONED.fullmatch(name):
        return pa.timestamp("us", "UTC")
    named: dict[str, pa.DataType] = {
        "BOOL": pa.bool_(), "BOOLEAN": pa.bool_(), "DATE": pa.date32(), "TIME": pa.time64("us"),
        "TIMESTAMP_NS": pa.timestamp("ns"), "TIMESTAMP_NS WITH TIME ZONE": pa.timestamp("ns", "UTC"),
        "UUID": pa.uuid(), "JSON": pa.json_(), "JSON_TEXT": pa.json_(),
    }  # fmt: skip
    return named.get(name)


def sampled_type(classes: Collection[str]) -> pa.DataType:
    """The Arrow type of an untyped column whose first values have these storage classes (NULL left out)."""
    kinds = set(classes)
    if not kinds:
        return pa.null()
    if kinds == {"integer"}:
        return pa.int64()
    if kinds <= {"integer", "real"}:
        return pa.float64()
    return pa.binary() if kinds == {"blob"} else pa.string()


# --- reading a column -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a query or a table, and the type that it is read as.

    Attributes:
        name: as it is called in the output.
        declared: its declared type; empty for expressions.
        type: what it is read as.
        converted: values are printed as text first, because the type says too little, or `columns:` says `text`.
        nullable: it can hold NULL.
    """

    name: str
    declared: str
    type: pa.DataType
    converted: bool = False
    nullable: bool = True

    @property
    def expression(self) -> str:
        """The column over `q`."""
        return f"q.{quote(self.name)}"

    @property
    def exact(self) -> bool:
        """The value is read as it is stored, so that what is unique there is unique here."""
        return not self.converted and (pa.types.is_integer(self.type) or is_text(self.type))

    def field(self) -> AnyField:
        """The Arrow field; a type that only SQLite knows is remembered."""
        field = pa.field(self.name, self.type)
        known = self.converted and self.declared and _TYPE_NAME.fullmatch(self.declared)
        return with_native(field, DIALECT.name, self.declared) if known else field

    def select(self) -> str:
        """The expression that brings the value through ADBC unaltered."""
        if isinstance(self.type, pa.UuidType):
            return f"unhex({self.expression}, '-')"
        if self._printed:
            return f"CAST({self.expression} AS TEXT)"
        return self.expression

    def typed_literal(self) -> str:
        """A value of the storage class that ADBC must expect; it stands in a row before the first."""
        if pa.types.is_integer(self.type) or pa.types.is_boolean(self.type):
            return "0"
        if pa.types.is_floating(self.type):
            return "0.5"
        if isinstance(self.type, pa.UuidType) or pa.types.is_binary(self.type):
            return "x''"
        return "0" if pa.types.is_null(self.type) else "''"

    def carried(self) -> pa.DataType:
        """What ADBC makes of the typed literal."""
        carriers: dict[str, pa.DataType] = {"0": pa.int64(), "0.5": pa.float64(), "x''": pa.binary()}
        return carriers.get(self.typed_literal(), pa.string())

    def misfit(self) -> str:
        """The condition over `q` of a value that is not of this type."""
        value = self.expression
        if isinstance(self.type, pa.UuidType):
            wrong = f"typeof({value}) <> 'text' OR length(unhex({value}, '-')) IS NOT 16"
            return f"{value} IS NOT NULL AND ({wrong})"
        if pa.types.is_boolean(self.type):
            return f"{value} IS NOT NULL AND (typeof({value}) <> 'integer' OR {value} NOT IN (0, 1))"
        if pa.types.is_floating(self.type):
            inexact = f"typeof({value}) = 'integer' AND CAST(CAST({value} AS REAL) AS INTEGER) <> {value}"
            return f"typeof({value}) IN ('text', 'blob') OR ({inexact})"
        if self._printed or (is_text(self.type) and affinity(self.declared) == "TEXT"):
            return f"typeof({value}) = 'blob'"
        return f"typeof({value}) NOT IN ('{self._storage_class}', 'null')"

    def computed(self, expression: str) -> str:
        """An expression of the user, in the form that the column has.

        SQLite reckons decimals as floats, which are exact up to 15 digits once they are rounded to the column's scale.
        A result beyond that becomes a text that is no number, which `miscomputed` finds.
        """
        if not isinstance(self.type, pa.Decimal128Type):
            return expression
        highest = min(self.type.precision, FLOAT_DIGITS) - self.type.scale
        return (
            f"CASE WHEN typeof({expression}) IN ('text', 'null') THEN {expression} "
            f"WHEN abs({expression}) < 1e{highest} THEN printf('%.{self.type.scale}f', {expression}) "
            f"ELSE 'about ' || ({expression}) END"
        )

    def miscomputed(self) -> str:
        """The condition over `q` of a computed value that is not of this type, or has lost digits."""
        if not isinstance(self.type, pa.Decimal128Type):
            return self.misfit()
        no_number = f"typeof({self.expression}) = 'text' AND {self.expression} GLOB '*[^-0-9.]*'"
        return f"{self.misfit()} OR ({no_number})"

    @property
    def needs_guard(self) -> bool:
        """ADBC would not notice a misfit."""
        return not pa.types.is_integer(self.type)

    def value(self, array: AnyArray) -> AnyArray:
        """The values as they came through ADBC, in the column's type.

        Raises:
            DataError: a text is not of the type; the message names the column and the value.
        """
        if pa.types.is_null(self.type):
            return pa.nulls(len(array))
        if isinstance(self.type, pa.UuidType):
            return self.type.wrap_array(array.cast(pa.binary(16)))
        return cast(array, self.type, self.name)

    @property
    def _printed(self) -> bool:
        return self.converted or pa.types.is_decimal(self.type) or isinstance(self.type, pa.JsonType)

    @property
    def _storage_class(self) -> str:
        if pa.types.is_integer(self.type):
            return "integer"
        return "blob" if pa.types.is_binary(self.type) else "null" if pa.types.is_null(self.type) else "text"


# --- Arrow -> declared ----------------------------------------------------------------------------------


def declared_type(field: AnyField, table: str) -> str:
    """The type of a column that conduit creates. SQLite cannot hold decimals exactly, so they become text.

    Raises:
        DataError: SQLite has no place for such values.
    """
    type_ = field.type
    known = native(field, DIALECT.name)
    if known is not None:
        return known
    if pa.types.is_decimal(type_) and type_.precision <= 38 and 0 <= type_.scale <= type_.precision:
        return f"DECIMAL_TEXT({type_.precision},{type_.scale})"
    if isinstance(type_, pa.TimestampType):
        return ("TIMESTAMP_NS" if type_.unit == "ns" else "TIMESTAMP") + (" WITH TIME ZONE" if type_.tz else "")
    name = _declared(type_)
    if name is not None:
        return name
    raise DataError(
        f"table {table}, column {field.name}: SQLite has no place for values of type {type_}",
        hint=f"read the column as text with `columns: {{{field.name}: text}}`, or leave it out of the query",
    )


def _declared(type_: pa.DataType) -> str | None:
    plain = type_.value_type if isinstance(type_, pa.DictionaryType) else type_
    kinds = {
        "UUID": isinstance(plain, pa.UuidType),
        "JSON_TEXT": isinstance(plain, pa.JsonType) or pa.types.is_nested(plain),
        "BOOLEAN": pa.types.is_boolean(plain),
        "INTEGER": pa.types.is_integer(plain),
        "REAL": pa.types.is_floating(plain),
        "DATE": pa.types.is_date(plain),
        "TIME": pa.types.is_time(plain),
        "TEXT": is_text(plain) or pa.types.is_null(plain),
        "BLOB": pa.types.is_binary(plain) or pa.types.is_large_binary(plain) or pa.types.is_fixed_size_binary(plain),
    }
    return next((name for name, fits in kinds.items() if fits), None)
