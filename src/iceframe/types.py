"""One type of a column: from its name, from Python, Polars or Arrow to Iceberg. Knows neither rows nor tables."""

from __future__ import annotations

import datetime as dt
import difflib
import re
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeGuard

import pyarrow as pa
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from iceframe.errors import SchemaError
from iceframe.late import is_type, late

if TYPE_CHECKING:
    import polars as pl
else:
    pl = late("polars")

MOST_DIGITS = 38

_BY_NAME: dict[str, IcebergType] = {
    "string": StringType(),
    "text": StringType(),
    "int": IntegerType(),
    "integer": IntegerType(),
    "long": LongType(),
    "bigint": LongType(),
    "float": FloatType(),
    "double": DoubleType(),
    "boolean": BooleanType(),
    "bool": BooleanType(),
    "date": DateType(),
    "time": TimeType(),
    "timestamp": TimestampType(),
    "timestamptz": TimestamptzType(),
    "binary": BinaryType(),
    "uuid": UUIDType(),
}
_WRITTEN = (*_BY_NAME, "decimal(p,s)", "fixed[n]", "list<…>", "map<…, …>", "struct<name: …>")
_BY_PYTHON: dict[type, IcebergType] = {
    str: StringType(),
    int: LongType(),
    float: DoubleType(),
    bool: BooleanType(),
    bytes: BinaryType(),
    dt.date: DateType(),
    dt.time: TimeType(),
    dt.datetime: TimestampType(),
    uuid.UUID: UUIDType(),
}
_BY_ARROW: dict[pa.DataType, IcebergType] = {
    pa.bool_(): BooleanType(),
    **dict.fromkeys([pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16()], IntegerType()),
    **dict.fromkeys([pa.uint32(), pa.int64()], LongType()),
    pa.uint64(): DecimalType(20, 0),
    **dict.fromkeys([pa.float16(), pa.float32()], FloatType()),
    pa.float64(): DoubleType(),
    **dict.fromkeys([pa.string(), pa.large_string(), pa.string_view()], StringType()),
    **dict.fromkeys([pa.binary(), pa.large_binary(), pa.binary_view()], BinaryType()),
    **dict.fromkeys([pa.date32(), pa.date64()], DateType()),
    **dict.fromkeys([pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")], TimeType()),
    pa.uuid(): UUIDType(),
}
_FIELD = re.compile(
    r"(?:\d+:\s+)?(?P<name>[^:]+):\s*(?P<need>(?:required|optional)\s)?(?P<type>.+?)(?:\s\((?P<doc>.*)\))?"
)


def iceberg_type(given: object, ids: Iterator[int], column: str) -> IcebergType:
    """The Iceberg type that is meant.

    Args:
        given: its name, or a type of pyiceberg, Polars, Arrow or Python.
        ids: field ids that are free, for what is nested.
        column: for messages.

    Raises:
        SchemaError: it is no type, or one that Iceberg does not have.
    """
    if isinstance(given, IcebergType):
        return given
    if isinstance(given, str):
        return from_text(given, ids, column)
    if isinstance(given, pa.DataType):
        return from_arrow(given, ids, column)
    if is_type(given):
        made = _instance(pl.DataFrame(schema={column: given}).schema[column]) if isinstance(given, type) else given
        return from_arrow(arrow_of_polars(pl.Schema({column: made})).field(0).type, ids, column)
    if isinstance(given, type) and given in _BY_PYTHON:
        return _BY_PYTHON[given]
    raise SchemaError(f"column {column}: {given!r} is no type of a column", hint=f"types: {', '.join(_WRITTEN)}")


def from_text(text: str, ids: Iterator[int], column: str) -> IcebergType:
    """The type with this name.

    Raises:
        SchemaError: there is none.
    """
    name, _, rest = text.strip().partition("<")
    if rest.endswith(">"):
        return _nested(name.strip().lower(), _parts(rest[:-1]), ids, column, text)
    plain = text.strip().lower()
    if found := _BY_NAME.get(plain):
        return found
    if digits := re.fullmatch(r"(?:decimal|numeric)\(\s*(\d+)\s*,\s*(\d+)\s*\)", plain):
        return _decimal(int(digits[1]), int(digits[2]), column)
    if width := re.fullmatch(r"fixed\[\s*([1-9]\d*)\s*\]", plain):
        return FixedType(int(width[1]))
    raise _unknown(text, column)


def from_arrow(given: pa.DataType, ids: Iterator[int], column: str) -> IcebergType:
    """The type that holds every value of an Arrow type.

    Raises:
        SchemaError: Iceberg has no such type.
    """
    if found := _BY_ARROW.get(given):
        return found
    if isinstance(given, pa.BaseExtensionType):
        return from_arrow(given.storage_type, ids, column)
    if isinstance(given, pa.DictionaryType):
        return from_arrow(given.value_type, ids, column)
    if pa.types.is_decimal(given):
        return _decimal(given.precision, given.scale, column)
    if isinstance(given, pa.TimestampType):
        return TimestamptzType() if given.tz else TimestampType()
    if isinstance(given, pa.FixedSizeBinaryType):
        return FixedType(given.byte_width)
    if pa.types.is_null(given):
        raise SchemaError(f"column {column} has no type: all its values are NULL", hint="cast it, or name its type")
    return _nested_arrow(given, ids, column)


def arrow_of_polars(schema: pl.Schema) -> pa.Schema:
    """The Arrow types of a Polars frame.

    Raises:
        SchemaError: a column has a type that Arrow does not have.
    """
    for column, dtype in schema.items():
        _refuse_foreign(_instance(dtype), column)
    return pl.DataFrame(schema=schema).to_arrow().schema


def _refuse_foreign(dtype: pl.DataType, column: str) -> None:
    """Python objects would become their addresses, and integers of 128 bits have no Arrow type."""
    if dtype.is_(pl.Object) or (dtype.is_integer() and str(dtype).endswith("128")):
        raise SchemaError(f"column {column}: {dtype} cannot be held by a table", hint="cast it")
    if isinstance(dtype, pl.Struct):
        for field in dtype.fields:
            _refuse_foreign(_instance(field.dtype), f"{column}.{field.name}")
    for attribute in ("inner", "key", "value"):
        inner = getattr(dtype, attribute, None)
        if inner is not None:
            _refuse_foreign(_instance(inner), f"{column}.{attribute}")


def _instance(dtype: object) -> pl.DataType:
    made = dtype() if isinstance(dtype, type) else dtype
    if not isinstance(made, pl.DataType):
        raise SchemaError(f"{dtype!r} is no type of a column")
    return made


def _decimal(precision: int, scale: int, column: str) -> DecimalType:
    if not (1 <= precision <= MOST_DIGITS and 0 <= scale <= precision):
        raise SchemaError(
            f"column {column}: decimal({precision},{scale}) cannot be held by a table",
            hint=f"1 to {MOST_DIGITS} digits, and no more of them behind the point",
        )
    return DecimalType(precision, scale)


def _nested(outer: str, parts: list[str], ids: Iterator[int], column: str, text: str) -> IcebergType:
    if outer == "list" and len(parts) == 1:
        return ListType(next(ids), from_text(parts[0], ids, f"{column}.element"), element_required=False)
    if outer == "map" and len(parts) == 2:
        key, value = from_text(parts[0], ids, f"{column}.key"), from_text(parts[1], ids, f"{column}.value")
        return MapType(next(ids), key, next(ids), value, value_required=False)
    if outer == "struct":
        return StructType(*(_field(part, ids, column) for part in parts))
    raise _unknown(text, column)


def _field(text: str, ids: Iterator[int], column: str) -> NestedField:
    found = _FIELD.fullmatch(text.strip())
    if found is None:
        raise SchemaError(f"column {column}: {text.strip()!r} is no field of a struct", hint="struct<name: type, …>")
    name = found["name"].strip()
    inner = from_text(found["type"], ids, f"{column}.{name}")
    required = (found["need"] or "").strip() == "required"
    return NestedField(next(ids), name, inner, required=required, doc=found["doc"])


def _parts(text: str) -> list[str]:
    """The text at its commas, but not inside brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "<([") - (letter in ">)]")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _nested_arrow(given: pa.DataType, ids: Iterator[int], column: str) -> IcebergType:
    if isinstance(given, pa.StructType) and given.num_fields:
        return StructType(*(arrow_field(field, ids, f"{column}.{field.name}") for field in given))
    if isinstance(given, pa.MapType):
        key = from_arrow(given.key_type, ids, f"{column}.key")
        value = from_arrow(given.item_type, ids, f"{column}.value")
        return MapType(next(ids), key, next(ids), value, value_required=not given.item_field.nullable)
    if is_list(given):
        element = given.value_field
        inner = from_arrow(element.type, ids, f"{column}.element")
        return ListType(next(ids), inner, element_required=not element.nullable)
    raise SchemaError(f"column {column}: a table has no type for {given}", hint="cast it")


def arrow_field(field: pa.Field[Any], ids: Iterator[int], column: str) -> NestedField:
    """A field with the name, the type and the nullability of an Arrow field."""
    inner = from_arrow(field.type, ids, column)
    return NestedField(next(ids), field.name, inner, required=not field.nullable)


def is_list(given: pa.DataType) -> TypeGuard[pa.LargeListType[Any]]:
    """Whether it is a list of any layout."""
    return isinstance(
        given, pa.ListType | pa.LargeListType | pa.FixedSizeListType | pa.ListViewType | pa.LargeListViewType
    )


def _unknown(text: str, column: str) -> SchemaError:
    near = difflib.get_close_matches(text.strip().lower(), [*_WRITTEN, "list", "map", "struct", "decimal"], n=1)
    hint = f"did you mean {near[0]}?" if near else f"types: {', '.join(_WRITTEN)}"
    return SchemaError(f"column {column}: unknown type {text!r}", hint=hint)
