"""Rows of two tables set against each other, as multisets: exact, in Arrow and Polars. Knows no Iceberg.

Rows are equal if all their values are: NULL equals NULL, NaN equals NaN, and 0.0 is another value than -0.0, so that
who applies a difference gets the very rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

Column = Any
"""A pa.Array; the type stubs know neither its nested kinds nor its storage."""

_BITS = {pa.float16(): pa.int16(), pa.float32(): pa.int32(), pa.float64(): pa.int64()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Rows that went and rows that came, where one of each with the same key is one row that changed.

    Attributes:
        removed: rows that went.
        before: rows as they were.
        after: the same rows as they are, in the same order.
        added: rows that came.
    """

    removed: pa.Table
    before: pa.Table
    after: pa.Table
    added: pa.Table


def surplus(old: pa.Table, new: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows that only the first table has, and those that only the second has; equal rows are counted.

    Args:
        old: rows.
        new: rows with the same columns.
    """
    if not old.num_rows or not new.num_rows:
        return old, new
    groups = _grouped(old, new, old.column_names)
    left = groups.select(
        old=pl.col("old").list.slice(pl.col("new").list.len()),
        new=pl.col("new").list.slice(pl.col("old").list.len()),
    )
    return _picked(old, left["old"]), _picked(new, left["new"])


def paired(removed: pa.Table, added: pa.Table, key: Sequence[str]) -> Paired:
    """Find the rows that changed: those whose key went once and came once. NULL keys match NULL keys.

    A key that went or came more than once is left as rows that went and rows that came: which of them became which
    cannot be told.
    """
    if not key or not removed.num_rows or not added.num_rows:
        return Paired(removed=removed, before=removed.slice(0, 0), after=added.slice(0, 0), added=added)
    groups = _grouped(removed, added, key)
    one_each = (pl.col("old").list.len() == 1) & (pl.col("new").list.len() == 1)
    pairs = groups.filter(one_each).select(pl.all().list.first()).sort("old")
    others = groups.filter(~one_each)
    return Paired(
        removed=_picked(removed, others["old"]),
        before=removed.take(pairs["old"].to_arrow()),
        after=added.take(pairs["new"].to_arrow()),
        added=_picked(added, others["new"]),
    )


def _grouped(old: pa.Table, new: pa.Table, columns: Sequence[str]) -> pl.DataFrame:
    """For each value of the columns, the places in `old` and in `new` of the rows that have it."""
    names = [f"value{place}" for place in range(len(columns))]
    sides = [_comparable(side, columns, names).with_row_index("row") for side in (old, new)]
    rows = pl.concat([side.with_columns(newer=pl.lit(place == 1)) for place, side in enumerate(sides)])
    return (
        rows.group_by(names)
        .agg(
            old=pl.col("row").filter(~pl.col("newer")),
            new=pl.col("row").filter(pl.col("newer")),
        )
        .select("old", "new")
    )


def _comparable(rows: pa.Table, columns: Sequence[str], names: Sequence[str]) -> pl.DataFrame:
    arrays = [
        pa.chunked_array([_bits(chunk) for chunk in rows[name].chunks] or [_bits(_none(rows, name))])
        for name in columns
    ]
    found = pl.from_arrow(pa.table(arrays, names=list(names)))
    return found if isinstance(found, pl.DataFrame) else found.to_frame()


def _none(rows: pa.Table, name: str) -> Column:
    return pa.array([], rows.schema.field(name).type)


def _bits(values: Column) -> Column:
    """Values that are equal by their bits if and only if the given ones are the same."""
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        return _bits(values.storage)
    if kind in _BITS:
        return pc.if_else(pc.is_nan(values), pa.scalar(float("nan"), kind), values).view(_BITS[kind])
    if pa.types.is_map(kind):
        return _bits(values.cast(pa.large_list(pa.struct([("key", kind.key_type), ("value", kind.item_type)]))))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _list_bits(values)
    if pa.types.is_struct(kind):
        fields = [_bits(one) for one in values.flatten()]
        return pa.StructArray.from_arrays(fields, names=[field.name for field in kind], mask=values.is_null())
    return values


def _list_bits(values: Column) -> Column:
    lengths = pc.fill_null(values.value_lengths(), 0)
    ends = pc.cumulative_sum(lengths.cast(pa.int64()))
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), ends])
    return pa.LargeListArray.from_arrays(offsets, _bits(values.flatten()), mask=values.is_null())


def _picked(rows: pa.Table, places: pl.Series) -> pa.Table:
    """The rows at some places, in their order in the table."""
    wanted = pl.Series("row", pc.list_flatten(places.to_arrow())).drop_nulls()
    all_places = pl.Series("row", range(rows.num_rows), dtype=wanted.dtype)
    return rows.filter(all_places.is_in(wanted.implode()).to_arrow())
