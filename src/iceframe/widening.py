"""Arrow columns from one type to another without a change of a value, or not at all. Knows no table."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from iceframe.errors import SchemaError
from iceframe.types import MOST_DIGITS, is_list

if TYPE_CHECKING:
    Array = pa.Array[Any]
    Field = pa.Field[Any]
else:
    Array = Field = Any

Convert = Callable[[Array], Array]
"""Makes the values of one type those of another."""
Children = Callable[[Sequence[Array], int, int], list[Array]]
"""Makes the columns of a struct (or batch) those of another: the columns, the number of rows, and how many are NULL."""

_SMALL: set[pa.DataType] = {pa.int8(), pa.int16(), pa.uint8(), pa.uint16()}
_INTEGERS = {*_SMALL, pa.int32(), pa.uint32(), pa.int64(), pa.uint64()}
_BYTES: set[pa.DataType] = {pa.binary(), pa.large_binary(), pa.binary_view()}
_maps: Any = pa.MapArray.from_arrays
_EXACT: dict[pa.DataType, set[pa.DataType]] = {
    pa.int32(): _SMALL,
    pa.int64(): {*_SMALL, pa.int32(), pa.uint32()},
    pa.float32(): {*_SMALL, pa.float16()},
    pa.float64(): {*_SMALL, pa.int32(), pa.uint32(), pa.float16(), pa.float32()},
    pa.date32(): {pa.date64()},
    pa.time64("us"): {pa.time32("s"), pa.time32("ms"), pa.time64("ns")},
    pa.large_string(): {pa.string(), pa.string_view()},
    pa.large_binary(): _BYTES,
}


def widening(source: pa.DataType, target: pa.DataType, column: str) -> Convert:
    """How values of a type become values of another one.

    Raises:
        SchemaError: not all values of the source can be held by the target. The conversion raises it for a value that
            cannot, where that depends on the value (nanoseconds, digits of an integer, the length of bytes).
    """
    if pa.types.is_null(source):
        return partial(_nulls, target=target)
    given = _plain(source, target)
    if isinstance(target, pa.StructType) and isinstance(given, pa.StructType):
        return partial(_struct, target=target, children=children(given, target, f"{column}."))
    if isinstance(target, pa.MapType) and isinstance(given, pa.MapType):
        return _map_of(given, target, column)
    if isinstance(target, pa.LargeListType) and is_list(given):
        return _list_of(given, target, column)
    if given != target and not _holds_all(given, target):
        raise SchemaError(f"column {column}: {source} does not fit into {target}", hint="cast it")
    return partial(_cast, target=target, column=column)


def children(source: Iterable[Field], target: Iterable[Field], prefix: str = "") -> Children:
    """How the fields of a struct or a schema become those of another one, by name.

    Args:
        source: the fields that are given.
        target: the fields that are wanted.
        prefix: before the names in messages.

    Raises:
        SchemaError: a name is unknown or comes twice, a required field is missing, a type does not fit.
    """
    given, wanted = list(source), list(target)
    names = [field.name for field in given]
    _refuse_strange(names, [field.name for field in wanted], prefix)
    steps: list[tuple[int | None, Convert]] = []
    for field in wanted:
        column = f"{prefix}{field.name}"
        if field.name in names:
            place = names.index(field.name)
            steps.append((place, widening(given[place].type, field.type, column)))
        elif field.nullable:
            steps.append((None, partial(_nulls, target=field.type)))
        else:
            raise SchemaError(f"column {column} is required and missing")

    def convert(columns: Sequence[Array], rows: int, null_rows: int) -> list[Array]:
        made = []
        for (place, change), field in zip(steps, wanted, strict=True):
            values = pa.nulls(rows) if place is None else columns[place]
            made.append(_full(change(values), field, null_rows, f"{prefix}{field.name}"))
        return made

    return convert


def _refuse_strange(given: list[str], wanted: list[str], prefix: str) -> None:
    twice = sorted({name for name in given if given.count(name) > 1})
    if twice:
        raise SchemaError(f"column {prefix}{twice[0]} comes twice")
    strange = [name for name in given if name not in wanted]
    if strange:
        near = difflib.get_close_matches(strange[0], wanted, n=1)
        guess = f"did you mean {near[0]}? " if near else ""
        raise SchemaError(
            f"unknown column {', '.join(prefix + name for name in strange)}",
            hint=f"{guess}columns of the table: {', '.join(prefix + name for name in wanted)}",
        )


def _full(values: Array, field: Field, null_rows: int, column: str) -> Array:
    """The values, proved to have no NULL of their own if the field is required."""
    if not field.nullable and values.null_count > null_rows:
        raise SchemaError(f"column {column} is required and has {values.null_count - null_rows} NULLs")
    return values


def _plain(source: pa.DataType, target: pa.DataType) -> pa.DataType:
    if source == target:
        return source
    if isinstance(source, pa.DictionaryType):
        return _plain(source.value_type, target)
    return source.storage_type if isinstance(source, pa.BaseExtensionType) else source


def _holds_all(source: pa.DataType, target: pa.DataType) -> bool:
    """Whether the target can hold the source's values; exactly, or else a value that it cannot hold is noticed."""
    if source in _EXACT.get(target, set()):
        return True
    if isinstance(target, pa.TimestampType):
        return isinstance(source, pa.TimestampType) and bool(source.tz) == bool(target.tz)
    if isinstance(target, pa.Decimal128Type):
        return _decimal_holds(source, target)
    if isinstance(target, pa.UuidType | pa.FixedSizeBinaryType):
        width = target.storage_type if isinstance(target, pa.UuidType) else target
        return source == width or source in _BYTES
    return target == pa.large_binary() and isinstance(source, pa.FixedSizeBinaryType)


def _decimal_holds(source: pa.DataType, target: pa.Decimal128Type) -> bool:
    if source in _INTEGERS:
        return True
    if not pa.types.is_decimal(source):
        return False
    before = source.precision - source.scale
    return bool(source.scale <= target.scale and before <= target.precision - target.scale)


def _cast(values: Array, *, target: pa.DataType, column: str) -> Array:
    try:
        if isinstance(values, pa.DictionaryArray):
            values = values.dictionary_decode()
        if isinstance(values, pa.ExtensionArray) and values.type != target:
            values = values.storage
        if isinstance(target, pa.Decimal128Type) and values.type in _INTEGERS:
            values = values.cast(pa.decimal128(MOST_DIGITS, 0))
        return values if values.type == target else values.cast(target)
    except pa.ArrowInvalid as error:
        raise SchemaError(
            f"column {column}: a value of {values.type} does not fit into {target}: {error}", hint="cast or round it"
        ) from error


def _nulls(values: Array, *, target: Any) -> Any:
    return pa.nulls(len(values), target)


def _struct(values: Array, *, target: pa.StructType, children: Children) -> Array:
    plain = _decoded(values)
    made = children(plain.flatten(), len(plain), plain.null_count)
    return pa.StructArray.from_arrays(made, fields=list(target), mask=plain.is_null())


def _list_of(source: pa.LargeListType[Any], target: pa.LargeListType[Any], column: str) -> Convert:
    change = widening(source.value_type, target.value_type, f"{column}.element")

    def convert(values: Array) -> Array:
        lists: Any = _decoded(values).cast(pa.large_list(source.value_field))
        lengths: Any = pc.fill_null(pc.list_value_length(lists), 0)
        offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
        elements = _full(change(lists.flatten()), target.value_field, 0, f"{column}.element")
        return pa.LargeListArray.from_arrays(offsets, elements, type=target, mask=lists.is_null())

    return convert


def _map_of(source: pa.MapType[Any, Any], target: pa.MapType[Any, Any], column: str) -> Convert:
    of_keys = widening(source.key_type, target.key_type, f"{column}.key")
    of_items = widening(source.item_type, target.item_type, f"{column}.value")

    def convert(values: Array) -> Any:
        maps = _decoded(values)
        first, last = maps.offsets[0].as_py(), maps.offsets[-1].as_py()
        keys = of_keys(maps.keys.slice(first, last - first))
        items = _full(of_items(maps.items.slice(first, last - first)), target.item_field, 0, f"{column}.value")
        offsets = pc.subtract(maps.offsets, maps.offsets[0])
        return _maps(offsets, keys, items, type=target, mask=maps.is_null())

    return convert


def _decoded(values: Array) -> Any:
    plain = values.dictionary_decode() if isinstance(values, pa.DictionaryArray) else values
    return plain.storage if isinstance(plain, pa.ExtensionArray) else plain
