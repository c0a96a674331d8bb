"""Columns and types between a source and a table: what is added, what is cast, what is refused.

Arrow types are the common language. Where a database has a type that Arrow lacks (an unconstrained numeric, an
interval), the column travels as text and its field remembers the native type, so that the same system at the other
end gets the same type back. No value is ever narrowed, rounded or guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conduit.arrow import AnyArray, AnyField, LateSchema, SchemaOnce, made, pa, pc
from conduit.contract import SchemaChanges
from conduit.errors import ConfigError, DataError
from conduit.nested import json_text
from conduit.positions import CursorType

_NATIVE = b"conduit:native"


# --- native types ---------------------------------------------------------------------------------------


def with_native(field: AnyField, dialect: str, type_name: str) -> AnyField:
    """The field, remembering that its column is a `type_name` of `dialect`."""
    return field.with_metadata({_NATIVE: f"{dialect} {type_name}".encode()})


def native(field: AnyField, dialect: str) -> str | None:
    """The native type of the column when it comes from `dialect`, else None."""
    text = (field.metadata or {}).get(_NATIVE, b"").decode()
    system, _, type_name = text.partition(" ")
    return type_name if system == dialect and type_name else None


# --- `columns:` in ingest.yml ---------------------------------------------------------------------------

_DECIMAL = re.compile(r"(?:decimal|numeric)\s*\(\s*(\d{1,4})\s*(?:,\s*(\d{1,4})\s*)?\)")

DECLARABLE = (
    "boolean, smallint, integer, bigint, real, double, decimal(p,s), text, binary, date, time, timestamp, "
    "timestamptz, uuid, json"
)

_TYPES: Mapping[str, tuple[str, ...]] = {
    "boolean": ("bool_",), "bool": ("bool_",),
    "smallint": ("int16",), "int2": ("int16",),
    "integer": ("int32",), "int": ("int32",), "int4": ("int32",),
    "bigint": ("int64",), "int8": ("int64",),
    "real": ("float32",), "float4": ("float32",),
    "double": ("float64",), "double precision": ("float64",), "float": ("float64",), "float8": ("float64",),
    "text": ("string",), "string": ("string",), "varchar": ("string",),
    "binary": ("binary",), "bytea": ("binary",), "blob": ("binary",),
    "date": ("date32",), "time": ("time64", "us"),
    "timestamp": ("timestamp", "us"), "datetime": ("timestamp", "us"),
    "timestamptz": ("timestamp", "us", "UTC"), "timestamp with time zone": ("timestamp", "us", "UTC"),
    "uuid": ("uuid",), "json": ("json_",), "jsonb": ("json_",),
}  # fmt: skip
"""Name -> the function of pyarrow that makes the type, and its arguments: reading ingest.yml imports no pyarrow."""


_WIDER = {
    "int8": "smallint", "uint8": "smallint", "uint16": "integer", "uint32": "bigint", "uint64": "decimal(20,0)",
    "large_string": "text", "string_view": "text", "large_binary": "binary", "date64[ms]": "date", "time32[s]": "time",
    "time32[ms]": "time",
}  # fmt: skip


def is_declarable(type_name: str) -> bool:
    """Whether `declared` knows the type; imports nothing."""
    name = _plain(type_name)
    return name in _TYPES or _precision(name) is not None


def declared(type_name: str) -> pa.DataType:
    """The Arrow type of a name in `columns:`, such as `text`, `bigint` or `decimal(12,2)`.

    Raises:
        ConfigError: there is no such type.
    """
    name = _plain(type_name)
    precision = _precision(name)
    if precision is not None:
        return pa.decimal128(*precision)
    if name not in _TYPES:
        raise ConfigError(f"unknown type {type_name!r}", hint=f"use one of: {DECLARABLE}")
    make, *arguments = _TYPES[name]
    type_: pa.DataType = getattr(pa, make)(*arguments)
    return type_


def declared_name(type_: pa.DataType) -> str | None:
    """The name in `columns:` of a type, or of the next wider one; None: there is none."""
    plain = str(storage(type_))
    if isinstance(type_, pa.Decimal128Type):
        return f"decimal({type_.precision},{type_.scale})" if 0 <= type_.scale <= type_.precision else None
    if isinstance(type_, pa.TimestampType):
        return None if type_.unit == "ns" else "timestamptz" if type_.tz else "timestamp"
    if plain in _WIDER:
        return _WIDER[plain]
    names = (name for name in DECLARABLE.split(", ") if name in _TYPES)
    return next((name for name in names if declared(name).equals(type_)), None)


def _plain(type_name: str) -> str:
    return " ".join(type_name.lower().split())


def _precision(name: str) -> tuple[int, int] | None:
    """Precision and scale of a decimal that Arrow can hold in 128 bits."""
    match = _DECIMAL.fullmatch(name)
    if match is None:
        return None
    precision, scale = int(match[1]), int(match[2] or 0)
    return (precision, scale) if 1 <= precision <= 38 and scale <= precision else None


def cursor_type(field: AnyField) -> tuple[CursorType, str]:
    """Type and unit of an incremental column.

    Raises:
        ConfigError: values of this type have no exact order (floats, booleans, nested types).
    """
    type_ = field.type
    if isinstance(type_, pa.UuidType):
        return "uuid", ""
    if pa.types.is_integer(type_):
        return "int", ""
    if pa.types.is_decimal(type_):
        return "decimal", ""
    if pa.types.is_date(type_):
        return "date", ""
    if isinstance(type_, pa.TimestampType):
        return ("timestamp" if type_.tz is None else "timestamptz"), type_.unit
    if is_text(type_):
        return "text", ""
    raise ConfigError(
        f"incremental_column {field.name}: values of type {type_} cannot be remembered exactly",
        hint="use an integer, decimal, date, timestamp, text or uuid column",
    )


# --- casts ----------------------------------------------------------------------------------------------


def castable(source: pa.DataType, target: pa.DataType) -> bool:
    """Whether every value of `source` is meant to fit `target`; values that do not fit are errors at the row.

    Integers go to wider *or* narrower integers (checked value by value), to decimals and floats; times to the same
    kind of time; everything that has a plain text form to text, and lists and structs to json. Text is never parsed
    into something else.
    """
    if source.equals(target) or (isinstance(target, pa.JsonType) and pa.types.is_nested(source)):
        return True
    left, right = storage(source), storage(target)
    if is_text(right):
        return is_text(left) or not (pa.types.is_nested(left) or _is_binary(left))
    if pa.types.is_integer(left):
        return pa.types.is_integer(right) or pa.types.is_decimal(right) or pa.types.is_floating(right)
    families = (pa.types.is_floating, pa.types.is_decimal, _is_binary, pa.types.is_boolean, pa.types.is_time)
    if any(family(left) and family(right) for family in families):
        return isinstance(source, pa.UuidType) == isinstance(target, pa.UuidType)
    if pa.types.is_date(left):
        return pa.types.is_date(right) or (pa.types.is_timestamp(right) and right.tz is None)
    if pa.types.is_timestamp(left) and pa.types.is_timestamp(right):
        return (left.tz is None) == (right.tz is None)
    if isinstance(left, pa.ListType) and isinstance(right, pa.ListType):
        return castable(left.value_type, right.value_type)
    return pa.types.is_null(left)


def cast(array: AnyArray, target: pa.DataType, column: str) -> AnyArray:
    """The array as `target`, value for value.

    Raises:
        DataError: a value does not fit; the message names the column and shows the first such value.
    """
    if array.type.equals(target):
        return array
    try:
        return _cast(array, target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        row, value = _first_misfit(array, target)
        raise DataError(
            f"column {column}: the value {value} (row {row} of its batch) does not fit {target}: {error}",
            hint=f"give the column another type with `columns: {{{column}: …}}`, or correct the value",
        ) from error


def _cast(array: AnyArray, target: pa.DataType) -> AnyArray:
    plain = array.storage if isinstance(array, pa.ExtensionArray) else array
    if isinstance(target, pa.JsonType) and pa.types.is_nested(array.type):
        return target.wrap_array(json_text(array))
    if isinstance(array.type, pa.UuidType) and is_text(storage(target)):
        return pa.array([None if v is None else str(v) for v in array.to_pylist()], target)
    if isinstance(target, pa.BaseExtensionType):  # uuid, json: their storage is cast, then wrapped
        return target.wrap_array(plain.cast(target.storage_type, safe=True))
    if pa.types.is_time(target) and is_text(array.type):
        moments = pc.replace_substring_regex(array, "^", "1970-01-01T")
        return moments.cast(pa.timestamp("us")).cast(target, safe=True)
    return plain.cast(target, safe=True)


def _first_misfit(array: AnyArray, target: pa.DataType) -> tuple[int, str]:
    """Row and text of the first value that does not cast; found by halving, so a batch costs few casts."""
    low, high = 0, len(array)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _cast(array.slice(low, middle - low), target)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            high = middle
        else:
            low = middle
    found = array.slice(low, 1)
    if isinstance(array.type, pa.TimestampType | pa.Time64Type):  # Python has neither nanoseconds nor the year 10000
        found = found.cast(pa.string())
    text = repr(found[0].as_py()) if len(found) else "?"
    return low, text if len(text) <= 80 else text[:77] + "..."


def storage(type_: pa.DataType) -> pa.DataType:
    """The type below an extension type (uuid, json); the type itself otherwise."""
    return type_.storage_type if isinstance(type_, pa.BaseExtensionType) else type_


def is_text(type_: pa.DataType) -> bool:
    """Whether the type is one of Arrow's string types."""
    return pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)


def _is_binary(type_: pa.DataType) -> bool:
    return pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_fixed_size_binary(type_)


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with exactly the columns and types of `schema`: cast, reordered, the rest left out.

    Raises:
        DataError: a value does not fit its column's type.
    """
    if batch.schema.equals(schema):
        return batch
    arrays = [cast(batch.column(field.name), field.type, field.name) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


# --- the schema contract --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reconciled:
    """How the source's columns meet the table's.

    Attributes:
        schema: the rows as they are written: the source's columns in their order, in the table's types.
        added: columns that the table lacks and gets.
        ignored: columns of the source that are left out.
        notes: what a person should be told.
    """

    schema: SchemaOnce = SchemaOnce()  # noqa: RUF009 - a descriptor, no default
    added: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def reconcile(
    source: pa.Schema | LateSchema, table: pa.Schema | LateSchema | None, policy: SchemaChanges, table_name: str
) -> Reconciled:
    """Decide, before a row is written, what happens to every column.

    Args:
        source: the rows as they come.
        table: the table as it is; None when it is to be created from `source`.
        policy: what happens to a column that the table does not have.
        table_name: for messages.

    Raises:
        DataError: the policy is `fail` and there is a new column, or a type cannot go into its column.
        ConfigError: two columns have one name, or differ by case only.
    """
    _refuse_twins(source.names)
    if table is None or _are_the_same(source, table):
        return Reconciled(source)
    source, table = made(source), made(table)
    known = {field.name: field for field in table}
    _refuse_case_twins(source.names, table.names, table_name)
    unknown = tuple(name for name in source.names if name not in known)
    if unknown and policy == "fail":
        raise DataError(
            f"table {table_name}: the source has new columns: {', '.join(unknown)}",
            hint="set `schema_changes: add` (or `ignore`), or leave them out of the query",
        )
    kept = [field for field in source if field.name in known or policy == "add"]
    fields = [_into(field, known.get(field.name), table_name) for field in kept]
    missing = [name for name in table.names if name not in source.names]
    notes = [f"table {table_name}: column {name} is not in the source and stays NULL" for name in missing]
    if policy == "ignore":
        notes += [f"table {table_name}: new source column {name} is ignored" for name in unknown]
        return Reconciled(pa.schema(fields), (), unknown, tuple(notes))
    return Reconciled(pa.schema(fields), unknown, (), tuple(notes))


def _are_the_same(source: pa.Schema | LateSchema, table: pa.Schema | LateSchema) -> bool:
    """Whether both ends have the same columns, as far as that is known without Arrow."""
    if not isinstance(source, LateSchema) or not isinstance(table, LateSchema):
        return False
    return bool(source.exact) and source.exact == table.exact


def _into(field: AnyField, column: AnyField | None, table: str) -> AnyField:
    if column is None:
        return field
    if not castable(field.type, column.type):
        raise DataError(
            f"table {table}, column {field.name}: the source has {field.type}, the table has {column.type}",
            hint=f"set the type in the query or with `columns: {{{field.name}: …}}`, or change the table",
        )
    return column


def _refuse_twins(names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            raise ConfigError(
                f"two columns are named {seen[name.lower()]} and {name}",
                hint="databases fold the case of names: give one of them another name with AS",
            )
        seen[name.lower()] = name


def _refuse_case_twins(source: Sequence[str], table: Sequence[str], table_name: str) -> None:
    folded: Mapping[str, str] = {name.lower(): name for name in table}
    for name in source:
        other = folded.get(name.lower(), name)
        if other != name and name not in table:
            raise ConfigError(
                f"table {table_name} has a column {other}, the source has {name}",
                hint=f"name it {other} in the query: `{name} AS {other}`",
            )
