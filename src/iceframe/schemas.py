"""Schemas and rows between Polars, Arrow and Iceberg: widened exactly, never narrowed. Knows no table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.types import NestedField

from iceframe.errors import SchemaError, ValidationError
from iceframe.late import is_frame, is_lazy, is_schema, late
from iceframe.types import arrow_field, arrow_of_polars, iceberg_type
from iceframe.widening import Children, children

if TYPE_CHECKING:
    import polars as pl
else:
    pl = late("polars")

Rows: TypeAlias = (
    "pl.DataFrame | pl.LazyFrame | pa.Table | pa.RecordBatch | pa.RecordBatchReader | Iterable[pa.RecordBatch]"
)
"""What rows can be given as."""
SchemaLike: TypeAlias = "Mapping[str, object] | pl.Schema | pl.DataFrame | pl.LazyFrame | pa.Schema | pa.Table | Schema"
"""What a schema can be given as."""

BATCH_ROWS = 65_536
"""Rows of a batch at most, so that memory does not grow with the rows."""


def arrow_schema(schema: Schema) -> pa.Schema:
    """The Arrow types in which rows of this schema are read."""
    return schema_to_pyarrow(schema, include_field_ids=False)


def frame_schema(schema: Schema) -> pl.Schema:
    """The Polars types in which rows of this schema are read."""
    found = pl.from_arrow(arrow_schema(schema).empty_table())
    return found.schema if isinstance(found, pl.DataFrame) else pl.Schema()


def to_iceberg(given: SchemaLike) -> Schema:
    """The Iceberg schema that is meant.

    Args:
        given: names and types (a type as text, or a type of pyiceberg, Polars, Arrow or Python), the schema of a frame
            or of an Arrow table, or a frame or table that has it. All columns are optional, except where a pyiceberg
            schema or an Arrow field says otherwise.

    Raises:
        SchemaError: a type is unknown or cannot be held by a table, a name comes twice, there is no column.
    """
    if isinstance(given, Schema):
        return given
    if is_frame(given) or is_lazy(given):
        return to_iceberg(_polars_schema(given))
    if isinstance(given, pa.Table | pa.Schema):
        fields = list(given if isinstance(given, pa.Schema) else given.schema)
        return _numbered([field.name for field in fields], fields)
    if is_schema(given):
        return to_iceberg(arrow_of_polars(given))
    if isinstance(given, Mapping):
        return _numbered([_name(name) for name in given], list(given.values()))
    raise SchemaError(
        f"a schema cannot be made of {type(given).__name__}",
        hint="give names and types, a frame, an Arrow schema, or a pyiceberg schema",
    )


def differences(there: Schema, asked: Schema) -> list[str]:
    """How a schema differs from the one that is asked for, apart from the order of its columns; for messages."""
    found = {one.name: one for one in arrow_schema(there)}
    wanted = {one.name: one for one in arrow_schema(asked)}
    both = [name for name in wanted if name in found]
    return [
        *(f"{name} is missing" for name in wanted if name not in found),
        *(f"{name} is one more" for name in found if name not in wanted),
        *(
            f"{name} is {_shown(found[name])}, not {_shown(wanted[name])}"
            for name in both
            if found[name] != wanted[name]
        ),
    ]


def fitted(rows: Rows, schema: Schema) -> Iterator[pa.RecordBatch]:
    """The rows as batches of exactly `arrow_schema(schema)`, columns by name, in bounded memory.

    Types are widened where every value stays what it is; a column that is missing is NULL.

    Args:
        rows: a frame, a lazy frame (computed batch by batch), an Arrow table, batch or reader, or batches.
        schema: the table's.

    Raises:
        SchemaError: a column is unknown, comes twice, is required and missing, or its type does not fit: at once where
            rows have a schema. A NULL in a required column, or a value that does not fit: when its batch is asked for.
        ValidationError: these are no rows, or a lazy frame cannot be computed.
    """
    target = arrow_schema(schema)
    given = _given_schema(rows)
    known = {} if given is None else {given: _convert(given, schema, target)}
    return _fitted(_batches(rows), known, schema, target)


def _fitted(
    rows: Iterator[pa.RecordBatch], known: dict[pa.Schema, Children], schema: Schema, target: pa.Schema
) -> Iterator[pa.RecordBatch]:
    trusted = all(field.nullable and not pa.types.is_nested(field.type) for field in target)
    for batch in rows:
        if trusted and batch.schema.equals(target):
            yield from _cut(batch)
            continue
        if batch.schema not in known:
            known[batch.schema] = _convert(batch.schema, schema, target)
        convert = known[batch.schema]
        for part in _cut(batch):
            yield pa.RecordBatch.from_arrays(convert(part.columns, part.num_rows, 0), schema=target)


def _cut(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    return (batch.slice(start, BATCH_ROWS) for start in range(0, batch.num_rows, BATCH_ROWS))


def _convert(given: pa.Schema, schema: Schema, target: pa.Schema) -> Children:
    for field in schema.fields:
        if field.write_default is not None and field.name not in given.names:
            raise SchemaError(f"column {field.name} is missing and has a default value", hint="give the column")
    return children(given, target)


def _given_schema(rows: Rows) -> pa.Schema | None:
    """The schema of the rows; None: each batch brings its own."""
    if is_frame(rows) or is_lazy(rows):
        return arrow_of_polars(_polars_schema(rows))
    if isinstance(rows, pa.Table | pa.RecordBatch | pa.RecordBatchReader):
        return rows.schema
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
        raise ValidationError(f"rows cannot be read from {type(rows).__name__}", hint="give a frame or Arrow data")
    return None


def _batches(rows: Rows) -> Iterator[pa.RecordBatch]:
    if is_frame(rows):
        yield from _of_frame(rows)
    elif is_lazy(rows):
        for frame in _computed(rows):
            yield from _of_frame(frame)
    elif isinstance(rows, pa.Table):
        yield from rows.to_batches(max_chunksize=BATCH_ROWS)
    elif isinstance(rows, pa.RecordBatch):
        yield rows
    else:
        for batch in rows:
            if not isinstance(batch, pa.RecordBatch):
                raise ValidationError(f"a batch of rows cannot be {type(batch).__name__}", hint="give Arrow batches")
            yield batch


def _of_frame(frame: pl.DataFrame) -> Iterator[pa.RecordBatch]:
    for part in frame.iter_slices(BATCH_ROWS):
        yield from part.to_arrow().to_batches()


def _computed(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """A lazy frame batch by batch where Polars can do that, else at once."""
    with _computing():
        if hasattr(rows, "collect_batches"):
            yield from rows.collect_batches(chunk_size=BATCH_ROWS)
        else:
            yield rows.collect()


@contextmanager
def _computing() -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValidationError(f"the lazy frame cannot be computed: {error}") from error


def _polars_schema(rows: pl.DataFrame | pl.LazyFrame) -> pl.Schema:
    with _computing():
        return rows.collect_schema()


def _shown(field: pa.Field[Any]) -> str:
    return f"{field.type}" if field.nullable else f"required {field.type}"


def _name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise SchemaError(f"{name!r} is no name of a column")
    return name


def _numbered(names: list[str], types: Sequence[object]) -> Schema:
    """Columns with field ids, the columns first."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SchemaError(f"column {twice[0]} comes twice")
    if not names:
        raise SchemaError("a schema without columns", hint="name at least one")
    ids = count(len(names) + 1)
    fields = []
    for number, (name, given) in enumerate(zip(names, types, strict=True), 1):
        if isinstance(given, pa.Field):
            made = arrow_field(given, ids, name)
            fields.append(NestedField(number, name, made.field_type, required=made.required))
        else:
            fields.append(NestedField(number, name, iceberg_type(given, ids, name), required=False))
    return Schema(*fields)
