"""The rows that are merged: held in memory once, so that the merge can be planned again after a lost race."""

from __future__ import annotations

from typing import cast

import polars as pl
import pyarrow as pa
from polars.exceptions import PolarsError
from pyiceberg.schema import Schema
from pyiceberg.types import NestedField

from iceframe.errors import SchemaError, ValidationError
from iceframe.merge.arrow import Array, Column
from iceframe.schemas import Rows, arrow_schema, fitted


class Source:
    """The rows of a source.

    Raises:
        ValidationError: they cannot be read, or are no rows.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = _read(rows)
        self._fitted: dict[tuple[str, str], Array] = {}
        self._series: dict[str, pl.Series] = {}
        self.names: tuple[str, ...] = tuple(
            self._rows.columns if isinstance(self._rows, pl.DataFrame) else self._rows.column_names
        )
        if len(set(self.names)) < len(self.names):
            raise ValidationError(f"the source has a column twice: {', '.join(self.names)}")

    @property
    def height(self) -> int:
        """How many rows."""
        return self._rows.height if isinstance(self._rows, pl.DataFrame) else self._rows.num_rows

    def types(self) -> dict[str, pl.DataType]:
        """The columns and their Polars types.

        Raises:
            ValidationError: Polars has no such type.
        """
        empty = self._rows.head(0) if isinstance(self._rows, pl.DataFrame) else self._rows.slice(0, 0)
        try:
            return {name: _series(empty[name]).dtype for name in self.names}
        except (PolarsError, TypeError) as error:
            raise ValidationError(f"a column of the source cannot be read: {error}") from error

    def series(self, name: str) -> pl.Series:
        """A column as expressions see it."""
        if name not in self._series:
            self._series[name] = _series(self._rows[name])
        return self._series[name]

    def fitted(self, name: str, field: NestedField) -> Array:
        """A column in the type of a column of the table; NULLs are let through.

        Raises:
            SchemaError: a value does not fit.
        """
        key = (name, str(field.field_type))
        if key not in self._fitted:
            column = self._rows[name]
            values = column.to_arrow() if isinstance(column, pl.Series) else column
            self._fitted[key] = fitted_column(values, field)
        return self._fitted[key]


def fitted_column(values: Column, field: NestedField) -> Array:
    """Values in the type of a column of the table, each exactly what it was; NULLs are let through.

    Types of expressions are wider than what goes into them (the sum of two decimals has 38 digits), so that here the
    values decide, not the types.

    Raises:
        SchemaError: a value does not fit.
    """
    optional = Schema(NestedField(field.field_id, field.name, field.field_type, required=False))
    target = arrow_schema(optional).field(0).type
    narrow = _exactly(values, target, field.name)
    batches = [batch.column(0) for batch in fitted(pa.table({field.name: narrow}), optional)]
    return pa.concat_arrays(batches) if batches else pa.array([], target)


def _exactly(values: Column, target: pa.DataType, column: str) -> Column:
    """Numbers in the target's type if both are of one family and no value changes by it."""
    given = values.type
    if given == target or not _of_one_family(given, target):
        return values
    try:
        narrow = values.cast(target)
    except pa.ArrowInvalid as error:
        raise SchemaError(f"column {column}: a value of {given} does not fit into {target}: {error}") from error
    if pa.types.is_floating(given) and not _same(narrow.cast(given), values):
        raise SchemaError(f"column {column}: a value of {given} loses digits in {target}", hint="cast or round it")
    return narrow


def _of_one_family(given: pa.DataType, target: pa.DataType) -> bool:
    families = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(family(given) and family(target) for family in families) or (
        pa.types.is_integer(given) and pa.types.is_floating(target)
    )


def _same(ours: Column, theirs: Column) -> bool:
    frame = pl.DataFrame({"ours": _series(ours), "theirs": _series(theirs)})
    return not bool(frame["ours"].ne_missing(frame["theirs"]).any())


def require_values(values: Array, field: NestedField) -> None:
    """See that a required column has no NULL.

    Raises:
        SchemaError: it has.
    """
    if field.required and values.null_count:
        raise SchemaError(f"column {field.name} is required, and {values.null_count} of its new values are NULL")


def _series(column: pl.Series | Column) -> pl.Series:
    return column if isinstance(column, pl.Series) else cast("pl.Series", pl.from_arrow(column))


def _read(rows: Rows) -> pl.DataFrame | pa.Table:
    try:
        return _whole(rows)
    except PolarsError as error:
        raise ValidationError(f"the source cannot be read: {' '.join(str(error).split())[:300]}") from error
    except (pa.ArrowException, OSError) as error:
        raise ValidationError(f"the source cannot be read: {error}") from error


def _whole(rows: Rows) -> pl.DataFrame | pa.Table:
    if isinstance(rows, pl.DataFrame | pa.Table):
        return rows
    if isinstance(rows, pl.LazyFrame):
        return rows.collect()
    if isinstance(rows, pa.RecordBatch):
        return pa.Table.from_batches([rows])
    if isinstance(rows, pa.RecordBatchReader):
        return rows.read_all()
    if not isinstance(rows, str | bytes | dict) and hasattr(rows, "__iter__"):
        batches = list(rows)
        if batches and all(isinstance(batch, pa.RecordBatch) for batch in batches):
            return pa.Table.from_batches(batches)
    raise ValidationError(
        f"a source is a Polars frame or Arrow rows, not {type(rows).__name__}", hint="wrap it: pl.DataFrame(rows)"
    )
