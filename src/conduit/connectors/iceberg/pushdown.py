"""A cursor's bounds for the metadata of files. It only spares reading: rows are compared afterwards, exactly."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import TypeGuard

from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, GreaterThan, LessThanOrEqual, Reference
from pyiceberg.expressions.literals import literal
from pyiceberg.manifest import DataFile
from pyiceberg.types import (
    DateType,
    DecimalType,
    IcebergType,
    IntegerType,
    LongType,
    PrimitiveType,
    StringType,
    TimestampType,
    TimestamptzType,
)

from conduit.bounds import Bounds
from conduit.positions import Position, cursor, from_epoch, highest
from iceframe.scan import Scan

_INT64 = 2**63
_DAY_US = 86_400_000_000
_AS_TEXT: dict[IcebergType, str] = {
    DateType(): "date",
    TimestampType(): "timestamp",
    TimestamptzType(): "timestamptz",
    StringType(): "text",
}
"""Types whose literals pyiceberg reads from the text of a cursor of that type."""


def condition(bounds: Bounds, type_: IcebergType) -> BooleanExpression:
    """What files and row groups can be pruned by; where a bound has no exact form in the type, everything is read."""
    name = bounds.field.name
    found: BooleanExpression = AlwaysTrue()
    lower = _literal(bounds.lower, type_)
    upper = _literal(bounds.upper, type_)
    if lower is not None:
        found = And(found, GreaterThan(term=Reference(name), value=literal(lower)))
    if upper is not None:
        found = And(found, LessThanOrEqual(term=Reference(name), value=literal(upper)))
    return found


def _literal(position: Position | None, type_: IcebergType) -> str | int | Decimal | None:
    if position is None:
        return None
    value = position.value
    if isinstance(type_, IntegerType | LongType) and position.type == "int":
        return int(value) if -_INT64 <= int(value) < _INT64 else None
    if isinstance(type_, DecimalType) and position.type == "decimal":
        exact = Decimal(value)
        digits = len(value.partition(".")[2])
        return exact.quantize(Decimal(1).scaleb(-type_.scale)) if digits <= type_.scale else None
    return value if _AS_TEXT.get(type_) == position.type and position.unit in ("", "us") else None


# --- what the files' own metadata tells -----------------------------------------------------------------


def highest_of_files(scan: Scan, bounds: Bounds) -> Position | None:
    """The highest cursor of a table; None: the metadata does not tell, or there is none.

    Bounds of texts are cut, and rows may have been deleted from a file: then only reading tells.
    """
    field = scan.schema.find_field(bounds.field.name)
    files = _whole(scan)
    if files is None or not isinstance(field.field_type, PrimitiveType):
        return None
    top: Position | None = None
    for file in files:
        if _counts(file.null_value_counts, field.field_id) == file.record_count:
            continue
        upper = dict(file.upper_bounds or {}).get(field.field_id)
        if upper is None:
            return None
        position = _position(from_bytes(field.field_type, upper), field.field_type, bounds)
        if position is None:
            return None
        top = highest(top, position)
    return top


def nulls_of_files(scan: Scan, name: str) -> int | None:
    """How many rows have no value in a column; None: the metadata does not tell."""
    field_id = scan.schema.find_field(name).field_id
    files = _whole(scan)
    if files is None:
        return None
    counts = [_counts(file.null_value_counts, field_id) for file in files]
    return sum(counts) if _all_known(counts) else None


def _whole(scan: Scan) -> list[DataFile] | None:
    """The data files; None when rows were deleted from one of them."""
    tasks = scan.files()
    return None if any(task.delete_files for task in tasks) else [task.file for task in tasks]


def _counts(counts: dict[int, int] | None, field_id: int) -> int | None:
    return dict(counts or {}).get(field_id)


def _all_known(counts: Iterable[int | None]) -> TypeGuard[list[int]]:
    return all(count is not None for count in counts)


def _position(value: object, type_: IcebergType, bounds: Bounds) -> Position | None:
    """An upper bound that is exact for its type, as a position of the cursor's type; None: it is not exact."""
    own = bounds.type
    if isinstance(type_, IntegerType | LongType) and own == "int":
        return cursor(str(value), "int")
    if isinstance(type_, DecimalType) and own == "decimal":
        return cursor(str(value), "decimal")
    if isinstance(type_, DateType) and own == "date" and isinstance(value, int):
        return cursor(from_epoch(value * _DAY_US, "us", aware=False).value[:10], "date")
    if isinstance(type_, TimestampType | TimestamptzType) and isinstance(value, int) and bounds.unit == "us":
        aware = isinstance(type_, TimestamptzType)
        return from_epoch(value, "us", aware=aware) if own == ("timestamptz" if aware else "timestamp") else None
    return None
