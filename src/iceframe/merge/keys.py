"""The keys of a source: each once, in the types of the table, sorted by the first column. Knows no files.

NULL is a value like any other here, and so is NaN: a NULL key finds the rows whose key is NULL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import polars as pl
import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import NestedField

from iceframe.errors import DuplicateKeysError, ValidationError
from iceframe.merge.arrow import Array
from iceframe.merge.source import Source

ROW = "row"
"""The column of a key frame that holds the number of the source row."""
_SHOWN = 3


def key_name(place: int) -> str:
    """What the key column at a place is called in key frames, whatever the table calls it."""
    return f"k{place}"


def key_schema(schema: Schema, on: Sequence[str]) -> Schema:
    """The key columns of a table.

    Raises:
        ValidationError: a column is not there, or cannot be compared.
    """
    known = {field.name: field for field in schema.fields}
    for name in on:
        if name not in known:
            raise ValidationError(f"the table has no key column {name}", hint=f"its columns: {', '.join(known)}")
        if not known[name].field_type.is_primitive:
            raise ValidationError(f"column {name} is a {known[name].field_type} and cannot be a key")
    return Schema(*(known[name] for name in on), schema_id=schema.schema_id)


def key_frame(columns: Sequence[Array]) -> pl.DataFrame:
    """Key columns as a frame that can be joined with another one."""
    return pl.DataFrame([comparable(column).alias(key_name(place)) for place, column in enumerate(columns)])


def comparable(column: Array) -> pl.Series:
    """A key column as Polars compares it."""
    return cast("pl.Series", pl.from_arrow(plain(column)))


def plain(column: Array) -> Array:
    """A column as it is stored, without the extension type of a uuid."""
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def source_keys(source: Source, keys: Schema) -> pl.DataFrame:
    """The keys of a source with the numbers of their rows, sorted by the first key column, NULLs last.

    Raises:
        ValidationError: the source has no such column.
        SchemaError: a key does not fit into the table's type.
        DuplicateKeysError: two rows have one key.
    """
    missing = [field.name for field in keys.fields if field.name not in source.names]
    if missing:
        raise ValidationError(
            f"the source has no key column {', '.join(missing)}", hint=f"its columns: {', '.join(source.names)}"
        )
    frame = key_frame([source.fitted(field.name, field) for field in keys.fields])
    _require_unique(frame, keys.fields)
    return frame.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(ROW)).sort(key_name(0), nulls_last=True)


def _require_unique(frame: pl.DataFrame, fields: Sequence[NestedField]) -> None:
    twice = frame.group_by(frame.columns).len("rows").filter(pl.col("rows") > 1)
    if not twice.height:
        return
    names = [field.name for field in fields]
    shown = "; ".join(
        ", ".join(f"{name} = {value!r}" for name, value in zip(names, row, strict=False))
        for row in twice.head(_SHOWN).iter_rows()
    )
    more = f" and {twice.height - _SHOWN} more" if twice.height > _SHOWN else ""
    raise DuplicateKeysError(
        f"the source has more than one row for the key {shown}{more}",
        hint="bring the rows of one key together first, with group_by or unique",
    )
