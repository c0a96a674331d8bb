"""Iceberg's types and Arrow's: how conduit sees the columns of a table, and what a table gets for a column.

Integers below 32 bits, unsigned ones and times of another unit have no type of their own in Iceberg: they go into the
next wider one. Times of nanoseconds go into microseconds value by value; one that would lose digits is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyiceberg.schema import Schema

from conduit import schemas
from conduit.arrow import AnyArray, AnyField, pa
from conduit.errors import DataError
from conduit.schemas import is_text
from iceframe.schemas import arrow_schema

_SMALLEST = {"int8": 32, "int16": 32, "int32": 32, "uint8": 32, "uint16": 32, "int64": 64, "uint32": 64}
"""Width of the Iceberg integer that holds every value of the type."""


# --- a table as conduit sees it -------------------------------------------------------------------------


def seen(schema: Schema) -> pa.Schema:
    """The columns of a table in the types that the rest of conduit uses."""
    return pa.schema([field.with_type(_plain(field.type)).remove_metadata() for field in arrow_schema(schema)])


def _plain(type_: pa.DataType) -> pa.DataType:
    """The type without Arrow's large variants: what a source or a query would give."""
    if pa.types.is_large_string(type_):
        return pa.string()
    if pa.types.is_large_binary(type_):
        return pa.binary()
    if isinstance(type_, pa.ListType | pa.LargeListType):
        element = type_.value_field
        return pa.list_(element.with_type(_plain(element.type)))
    if isinstance(type_, pa.StructType):
        return pa.struct([field.with_type(_plain(field.type)) for field in type_])
    if isinstance(type_, pa.MapType):
        return pa.map_(_plain(type_.key_type), _plain(type_.item_type))
    return type_


# --- what a table gets ----------------------------------------------------------------------------------


def stored(field: AnyField, table: str) -> AnyField:
    """The field of a column that conduit creates.

    Raises:
        DataError: Iceberg has no place for such values.
    """
    type_ = _stored(field.type)
    if type_ is None:
        raise DataError(
            f"table {table}, column {field.name}: Iceberg has no place for values of type {field.type}",
            hint=f"read the column as text with `columns: {{{field.name}: text}}`, or leave it out of the query",
        )
    return pa.field(field.name, type_)


def _stored(type_: pa.DataType) -> pa.DataType | None:
    if isinstance(type_, pa.DictionaryType):
        return _stored(type_.value_type)
    if pa.types.is_nested(type_):
        return _stored_nested(type_)
    width = _SMALLEST.get(str(type_))
    if width is not None:
        return pa.int32() if width == 32 else pa.int64()
    return next((make(type_) for fits, make in _KINDS if fits(type_)), None)


_Test = Callable[[pa.DataType], bool]
_Make = Callable[[pa.DataType], pa.DataType]


def _same(type_: pa.DataType) -> pa.DataType:
    return type_


def _timestamp(type_: pa.DataType) -> pa.DataType:
    return pa.timestamp("us", "UTC" if isinstance(type_, pa.TimestampType) and type_.tz else None)


def _fits_decimal(type_: pa.DataType) -> bool:
    return isinstance(type_, pa.Decimal128Type) and 0 <= type_.scale <= type_.precision


_KINDS: Sequence[tuple[_Test, _Make]] = (
    (lambda t: isinstance(t, pa.UuidType), _same),
    (lambda t: isinstance(t, pa.JsonType) or is_text(t) or pa.types.is_null(t), lambda _: pa.string()),
    (lambda t: pa.types.is_boolean(t) or pa.types.is_float64(t), _same),
    (lambda t: pa.types.is_float32(t) or pa.types.is_float16(t), lambda _: pa.float32()),
    (pa.types.is_uint64, lambda _: pa.decimal128(20, 0)),
    (_fits_decimal, _same),
    (pa.types.is_date, lambda _: pa.date32()),
    (pa.types.is_time, lambda _: pa.time64("us")),
    (pa.types.is_timestamp, _timestamp),
    (lambda t: pa.types.is_binary(t) or pa.types.is_large_binary(t), lambda _: pa.binary()),
    (pa.types.is_fixed_size_binary, _same),
)


def _stored_nested(type_: pa.DataType) -> pa.DataType | None:
    if isinstance(type_, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        element = _stored(type_.value_type)
        return pa.list_(element) if element is not None else None
    if isinstance(type_, pa.StructType):
        members = {field.name: _stored(field.type) for field in type_}
        found = {name: member for name, member in members.items() if member is not None}
        return pa.struct(list(found.items())) if found and len(found) == len(members) else None
    if isinstance(type_, pa.MapType):
        key, item = _stored(type_.key_type), _stored(type_.item_type)
        return pa.map_(key, item) if key is not None and item is not None else None
    return None


# --- rows -----------------------------------------------------------------------------------------------


def conformed(batch: pa.RecordBatch, schema: pa.Schema, table: str) -> pa.RecordBatch:
    """The rows with all columns of a table, in its types; a column that they lack is NULL.

    Args:
        batch: rows as they come.
        schema: the table's own Arrow schema.
        table: its name, for messages.

    Raises:
        DataError: a value does not fit its column, or is NULL where the table wants one.
    """
    columns = [_column(batch, field, table) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _column(batch: pa.RecordBatch, field: AnyField, table: str) -> AnyArray:
    given = batch.column(field.name) if field.name in batch.schema.names else None
    nulls = batch.num_rows if given is None else given.null_count
    if nulls and not field.nullable:
        raise DataError(
            f"table {table}: column {field.name} is required, and {nulls} rows of a batch have no value for it",
            hint="leave such rows out of the query, or make the column optional",
        )
    if given is None:
        missing: AnyArray = pa.nulls(batch.num_rows, field.type)
        return missing
    plain = given.dictionary_decode() if isinstance(given, pa.DictionaryArray) else given
    return schemas.cast(plain, field.type, field.name)
