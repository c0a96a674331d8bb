"""Arrow values as SQLite keeps them: times, decimals and uuids as text, and nothing that SQLite would alter.

SQLite stores NaN as NULL and turns text that looks like a number into one where the declared type asks for it: both
are refused here, by column and value.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from conduit.arrow import AnyArray, pa, pc
from conduit.connectors.sqlite.types import FLOAT_DIGITS, Column, affinity
from conduit.errors import DataError
from conduit.schemas import cast

_LOOKS_LIKE_NUMBER = r"^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*$"
_WHOLE = r"^(?:0|-?[1-9]\d{0,17})$"
_FRACTION = r"^-?(?:0\.(?:0{0,3}[1-9]\d*)|[1-9]\d*\.\d+)$"


def stored(array: AnyArray, column: Column) -> AnyArray:
    """The values as ADBC binds them, in the one form that the column has.

    Raises:
        DataError: a value does not fit, or SQLite would not keep it as it is.
    """
    typed = cast(array, column.type, column.name)
    if pa.types.is_floating(column.type):
        return _numbers(typed, column)
    if isinstance(typed, pa.ExtensionArray):
        plain = typed.storage
        text = uuid_text(plain) if isinstance(column.type, pa.UuidType) else plain
        return _kept_text(text, column)
    if pa.types.is_temporal(column.type):
        return _moments(typed, column)
    if isinstance(column.type, pa.Decimal128Type):
        return _decimals(typed, column.type, column)
    return _kept_text(typed, column) if pa.types.is_string(column.type) else typed


def uuid_text(array: AnyArray) -> AnyArray:
    """16 bytes each as 36 characters, without a Python object per value."""
    if not len(array):
        return pa.array([], pa.string())
    data = array.buffers()[1]
    raw = memoryview(data)[array.offset * 16 : (array.offset + len(array)) * 16].hex().encode() if data else b""
    digits = pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(array), [None, pa.py_buffer(raw)])
    text = digits.cast(pa.binary()).cast(pa.string())
    places = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
    parts = [pc.utf8_slice_codeunits(text, start, stop) for start, stop in places]
    joined = pc.binary_join_element_wise(*parts, pa.repeat(pa.scalar("-"), len(array)))
    present: AnyArray = pc.if_else(array.is_valid(), joined, pa.nulls(len(array), pa.string()))
    return present


def sortable(array: AnyArray, scale: int) -> AnyArray:
    """Decimals of a scale as text that sorts as the numbers do: shifted above zero, padded to one length."""
    wide = pa.decimal256(60, scale)
    shift = pa.scalar(Decimal(10) ** (39 - scale), wide)
    return pc.utf8_lpad(pc.add(array.cast(wide), shift).cast(pa.string()), 48, "0")


def _numbers(array: AnyArray, column: Column) -> AnyArray:
    wide = array.cast(pa.float64())
    if pc.any(pc.is_nan(wide)).as_py():
        raise DataError(
            f"column {column.name}: NaN cannot be stored, SQLite would make it NULL",
            hint="replace it in the query, or read the column as text",
        )
    return wide


def _moments(array: AnyArray, column: Column) -> AnyArray:
    text: AnyArray = array.cast(pa.string())
    if not pa.types.is_time(column.type):
        _require(text, r"^[0-9]{4}-", column, "lies outside of the years 0 to 9999, where texts sort as times do")
    return text


def _decimals(array: AnyArray, type_: pa.Decimal128Type[Any, Any], column: Column) -> AnyArray:
    text = array.cast(pa.string())
    if affinity(column.declared) not in ("TEXT", "BLOB") and type_.precision > FLOAT_DIGITS:
        wide = pa.decimal256(76, type_.scale)
        same = pc.equal(array.cast(pa.float64()).cast(wide, safe=False), array.cast(wide))
        _refuse(text, same, column, f"would be rounded by {column.declared}, which keeps 15 digits")
    return text


def _kept_text(array: AnyArray, column: Column) -> AnyArray:
    """Text that goes into a column whose declared type makes numbers of it must come back as the same text."""
    if affinity(column.declared) in ("TEXT", "BLOB"):
        return array
    numeric = pc.match_substring_regex(array, _LOOKS_LIKE_NUMBER)
    if not pc.any(numeric).as_py():
        return array
    whole = pc.match_substring_regex(array, _WHOLE)
    same = pc.or_(pc.or_(whole, _same_fraction(array)), pc.invert(numeric))
    _refuse(array, same, column, f"would be changed by the declared type {column.declared}, which makes it a number")
    return array


def _same_fraction(array: AnyArray) -> AnyArray:
    """Which texts are fractions that a double prints as they stand: up to 15 digits, or its own shortest form."""
    fraction = pc.match_substring_regex(array, _FRACTION)
    fraction = pc.and_(fraction, pc.invert(pc.ends_with(array, "0")))
    digits: Any = pc.replace_substring_regex(array, r"^-?(?:0\.0*)?|\.", "")
    short = pc.less_equal(pc.utf8_length(digits), pa.scalar(FLOAT_DIGITS))
    plain = pc.if_else(fraction, array, pa.scalar("0.5"))
    shortest = pc.equal(plain.cast(pa.float64()).cast(pa.string()), plain)
    same: AnyArray = pc.and_(fraction, pc.or_(short, shortest))
    return same


def _require(text: AnyArray, form: str, column: Column, reason: str) -> None:
    _refuse(text, pc.match_substring_regex(text, form), column, reason)


def _refuse(text: AnyArray, fits: AnyArray, column: Column, reason: str) -> None:
    wrong = text.filter(pc.invert(fits))
    if len(wrong):
        raise DataError(
            f"column {column.name}: {wrong[0].as_py()!r} {reason}",
            hint="declare the column TEXT in the table, or leave the value out in the query",
        )
