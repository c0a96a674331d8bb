"""Which files of a table can hold a key of the source, by what manifests say of them. Opens no data file."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, cast

import polars as pl
import pyarrow as pa
from pyiceberg import expressions
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, Or
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.types import (
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    NestedField,
    PrimitiveType,
    StringType,
    TimestampType,
    TimestamptzType,
)

from iceframe.merge.keys import comparable, key_name
from iceframe.scan import planned, storage
from iceframe.schemas import arrow_schema

_LISTED = 200
"""So many keys are named one by one, which prunes hashed partitions too; more of them are named by their range."""
_NAMED = (
    IntegerType,
    LongType,
    StringType,
    DateType,
    DecimalType,
    FloatType,
    DoubleType,
    TimestampType,
    TimestamptzType,
)
"""Types whose values can be written into an expression as they come from Arrow."""
_predicate: Any = expressions
"""Predicates take a name and a value, and say something else to the type checker."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A data file, and the source keys that it can hold.

    Attributes:
        task: the file with its deletes.
        keys: rows of the frame of source keys; without rows no key can be in the file.
    """

    task: FileScanTask
    keys: pl.DataFrame


def candidates(
    metadata: TableMetadata, io: FileIO, snapshot_id: int, keys: Schema, source: pl.DataFrame, *, every: bool
) -> list[Candidate]:
    """The files that can hold a key of the source.

    Args:
        metadata: the table's.
        io: opens manifests.
        snapshot_id: whose files.
        keys: the key columns.
        source: the keys of the source, sorted by the first column.
        every: give the files too that can hold none.

    Raises:
        StorageError: a manifest is missing or corrupt.
        UnsupportedError: the table has equality deletes.
    """
    where = AlwaysTrue() if every else _expression(keys, source)
    with storage("the manifests"):
        tasks = list(planned(metadata, io, snapshot_id, where))
    found = [Candidate(task, held) for task, held in zip(tasks, _held(tasks, keys, source), strict=True)]
    return found if every else [one for one in found if one.keys.height]


# --- by partitions and statistics, in pyiceberg ------------------------------------------------------------


def _expression(keys: Schema, source: pl.DataFrame) -> BooleanExpression:
    """What each key of the source fulfils, and perhaps other keys too."""
    conditions = [_one_of(field, source[key_name(place)]) for place, field in enumerate(keys.fields)]
    everything: BooleanExpression = AlwaysTrue()
    return reduce(And, conditions, everything)


def _one_of(field: NestedField, values: pl.Series) -> BooleanExpression:
    if not isinstance(field.field_type, _NAMED):
        return AlwaysTrue()
    known = values.drop_nulls().unique()
    conditions: list[BooleanExpression] = [_predicate.IsNull(field.name)] if values.null_count() else []
    if known.dtype.is_float():
        if known.is_nan().any():
            conditions.append(_predicate.IsNaN(field.name))
        known = known.drop_nans()
    if 0 < known.len() <= _LISTED:
        conditions.append(_predicate.In(field.name, set(known.to_list())))
    elif known.len():
        low, high = known.min(), known.max()
        conditions.append(
            And(_predicate.GreaterThanOrEqual(field.name, low), _predicate.LessThanOrEqual(field.name, high))
        )
    return reduce(Or, conditions) if conditions else AlwaysTrue()


# --- by the bounds of each file ----------------------------------------------------------------------------


def _held(tasks: Sequence[FileScanTask], keys: Schema, source: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """For each file the source keys that its bounds allow."""
    bounds = [_Bounds(tasks, field) for field in keys.fields]
    first = _Sorted(source, bounds[0])
    for place in range(len(tasks)):
        found = first.held(place)
        for column, bound in enumerate(bounds[1:], 1):
            if found.height:
                found = found.filter(bound.allows(place, key_name(column)))
        yield found


class _Bounds:
    """What the manifests say of one key column in each file."""

    def __init__(self, tasks: Sequence[FileScanTask], field: NestedField) -> None:
        self.low = _series([_bound(task.file.lower_bounds, field) for task in tasks], field)
        self.high = _series([_bound(task.file.upper_bounds, field) for task in tasks], field)
        self.no_nulls = [(task.file.null_value_counts or {}).get(field.field_id) == 0 for task in tasks]
        self.only_nulls = [_only_nulls(task.file, field.field_id) for task in tasks]
        self.floating = isinstance(field.field_type, FloatType | DoubleType)

    def known(self, place: int) -> bool:
        """Whether the file has both bounds."""
        return self.low[place] is not None and self.high[place] is not None

    def allows(self, place: int, column: str) -> pl.Expr:
        """Which source keys the file can hold. Bounds of long texts are cut, so they are bounds and nothing more."""
        values = pl.col(column)
        null = values.is_null() & (not self.no_nulls[place])
        if self.only_nulls[place]:
            return null
        if not self.known(place):
            return values.is_not_null() | null
        low, high = (pl.lit(bounds.slice(place, 1)).first() for bounds in (self.low, self.high))
        inside = (values >= low) & (values <= high)
        return inside.fill_null(value=False) | null | (values.is_nan() if self.floating else pl.lit(value=False))


class _Sorted:
    """The source keys in the order of their first column, so that a file's part is found by halving."""

    def __init__(self, source: pl.DataFrame, bounds: _Bounds) -> None:
        values = source[key_name(0)]
        self.source = source
        self.bounds = bounds
        self.nulls = source.tail(values.null_count())
        known = source.head(source.height - self.nulls.height)
        nans = int(known[key_name(0)].is_nan().sum()) if bounds.floating else 0
        self.nans = known.tail(nans)
        self.plain = known.head(known.height - nans)
        self.starts = self.plain[key_name(0)].search_sorted(bounds.low, side="left")
        self.ends = self.plain[key_name(0)].search_sorted(bounds.high, side="right")

    def held(self, place: int) -> pl.DataFrame:
        """The keys that a file can hold by its bounds of the first column."""
        parts = [] if self.bounds.no_nulls[place] else [self.nulls]
        if not self.bounds.only_nulls[place]:
            parts.append(self.nans)
            parts.append(self._between(place) if self.bounds.known(place) else self.plain)
        filled = [part for part in parts if part.height]
        if len(filled) == 1:
            return filled[0]
        return pl.concat(filled) if filled else self.source.clear()

    def _between(self, place: int) -> pl.DataFrame:
        start, end = self.starts[place], self.ends[place]
        return self.plain.slice(start, max(0, end - start))


def _bound(bounds: dict[int, bytes] | None, field: NestedField) -> Any:
    """A bound as a value; None: not known, or written for another type that the column had before."""
    found = (bounds or {}).get(field.field_id)
    if found is None:
        return None
    try:
        return from_bytes(cast("PrimitiveType", field.field_type), found)
    except (TypeError, ValueError, struct.error):
        return None


def _only_nulls(file: DataFile, field_id: int) -> bool:
    nulls = (file.null_value_counts or {}).get(field_id)
    return nulls is not None and nulls == (file.value_counts or {}).get(field_id) == file.record_count


def _series(values: list[Any], field: NestedField) -> pl.Series:
    """Bounds in the type of the key column: dates and times are numbers in manifests."""
    target = arrow_schema(Schema(field)).field(0).type
    plain = target.storage_type if isinstance(target, pa.BaseExtensionType) else target
    if pa.types.is_temporal(plain):
        return comparable(pa.array(values, pa.int32() if plain.bit_width == 32 else pa.int64()).cast(plain))
    return comparable(pa.array(values, plain))
