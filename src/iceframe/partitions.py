"""Which partition and which order rows of a table have. Knows no files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.sorting import NullOrder, SortDirection, SortOrder
from pyiceberg.transforms import TruncateTransform
from pyiceberg.typedef import Record
from pyiceberg.types import BinaryType, IcebergType, StructType

from iceframe.errors import SchemaError

_LONGEST_NAME = 200
_INTEGER_INSIDE: dict[pa.DataType, pa.DataType] = {pa.date32(): pa.int32(), pa.time64("us"): pa.int64()}


@dataclass(frozen=True, slots=True)
class Partition:
    """The values that the rows of one partition share.

    Attributes:
        record: one value for each field of the spec, as manifests keep them.
        spec: the table's partition spec.
        schema: the table's.
    """

    record: Record
    spec: PartitionSpec
    schema: Schema

    @property
    def key(self) -> Hashable:
        """Equal for equal partitions; NaN, which is not equal to itself, too."""
        values = [self.record[place] for place in range(len(self.record))]
        return tuple("NaN" if isinstance(one, float) and math.isnan(one) else (one,) for one in values)

    def to_path(self) -> str:
        """The folders of its files. A name that is longer than file systems allow ends in a hash."""
        try:
            folders = self.spec.partition_to_path(self.record, self.schema).split("/")
        except OverflowError as error:
            names = ", ".join(one.name for one in self.spec.fields)
            raise SchemaError(f"the partition {names} is of a date before year 1 or after 9999") from error
        return "/".join(_short(folder) for folder in folders)


def by_partition(metadata: TableMetadata, rows: pa.RecordBatch) -> list[tuple[Partition | None, pa.RecordBatch]]:
    """The rows of each partition of the table's current spec, each in their order and in memory of their own."""
    spec, schema = metadata.spec(), metadata.schema()
    if not spec.fields:
        return [(None, rows)]
    values = [_transformed(rows, schema, one.source_id, one.transform) for one in spec.fields]
    order, starts = _runs(values)
    found: list[tuple[Partition | None, pa.RecordBatch]] = []
    for start, end in zip(starts, [*starts[1:], rows.num_rows], strict=True):
        places = order.slice(start, end - start)
        first = places[0].as_py()
        partition = Partition(Record(*(one[first].as_py() for one in values)), spec, schema)
        found.append((partition, rows if len(starts) == 1 else rows.take(places)))
    return found


def sorted_rows(metadata: TableMetadata, rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows in the sort order of the table; in their own order if it has none."""
    order = sort_order(metadata)
    if order is None:
        return rows
    keys: dict[str, Any] = {}
    directions: list[Any] = []
    for number, one in enumerate(order.fields):
        values = _transformed(rows, metadata.schema(), one.source_id, one.transform)
        up = "ascending" if one.direction == SortDirection.ASC else "descending"
        keys[f"null{number}"] = pc.is_null(values).cast(pa.uint8())
        directions.append((f"null{number}", "descending" if one.null_order == NullOrder.NULLS_FIRST else "ascending"))
        if pa.types.is_floating(values.type):
            keys[f"nan{number}"] = pc.is_nan(values).cast(pa.uint8())
            directions.append((f"nan{number}", up))
        keys[f"value{number}"] = values.cast(pa.uint8()) if pa.types.is_boolean(values.type) else values
        directions.append((f"value{number}", up))
    return rows.take(pc.sort_indices(pa.table(keys), sort_keys=directions))


def sort_order(metadata: TableMetadata) -> SortOrder | None:
    """The order in which rows are written; None: any."""
    order = metadata.sort_order_by_id(metadata.default_sort_order_id)
    return None if order is None or order.is_unsorted else order


def _short(folder: str) -> str:
    if len(folder) <= _LONGEST_NAME:
        return folder
    return f"{folder[: _LONGEST_NAME - 17]}-{hashlib.sha256(folder.encode()).hexdigest()[:16]}"


def _transformed(rows: pa.RecordBatch, schema: Schema, field_id: int, transform: Any) -> Any:
    """A column under a transform, as values that manifests keep: days and microseconds as integers, uuids as bytes."""
    values, type_ = _column(rows, schema, field_id)
    if isinstance(transform, TruncateTransform) and isinstance(type_, BinaryType):
        values = values.cast(pa.binary())
    made = transform.pyarrow_transform(type_)(values)
    if isinstance(made, pa.ExtensionArray):
        made = made.storage
    inside = pa.int64() if pa.types.is_timestamp(made.type) else _INTEGER_INSIDE.get(made.type)
    return made if inside is None else made.view(inside)


def _column(rows: pa.RecordBatch, schema: Schema, field_id: int) -> tuple[Any, IcebergType]:
    """A column, or a field of a struct, and its type."""
    places = _places(schema.as_struct(), field_id)
    values = rows.column(places[0])
    return (pc.struct_field(values, places[1:]) if places[1:] else values), schema.find_type(field_id)


def _places(struct: StructType, field_id: int) -> list[int]:
    """Where a field is: its place in the columns, then in the struct, …; empty: not there."""
    for place, one in enumerate(struct.fields):
        if one.field_id == field_id:
            return [place]
        if isinstance(one.field_type, StructType) and (inner := _places(one.field_type, field_id)):
            return [place, *inner]
    return []


def _runs(values: list[Any]) -> tuple[Any, list[int]]:
    """An order in which equal rows are together (groups as they appear), and where each group begins in it."""
    groups: Any = pa.nulls(len(values[0]), pa.int8()).is_null().cast(pa.int64())
    for one in values:
        codes = one.dictionary_encode(null_encoding="encode")
        both = pc.add(pc.multiply(groups, len(codes.dictionary)), codes.indices.cast(pa.int64()))
        groups = both.dictionary_encode().indices.cast(pa.int64())
    counts: Any = pc.value_counts(groups)
    ends = pc.cumulative_sum(counts.field("counts")).to_pylist()
    return pc.sort_indices(groups), [0, *ends[:-1]]
