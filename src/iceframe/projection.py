"""Rows of a data file in the columns of a table, by field id. Knows no file.

pyiceberg's own projection makes a NULL list of structs, and a NULL map to structs, an empty one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.io.pyarrow import ArrowAccessor, ArrowProjectionVisitor
from pyiceberg.schema import Schema, visit_with_partner
from pyiceberg.types import IcebergType, ListType, MapType, StructType

_visit: Any = visit_with_partner


def projected(
    columns: Schema, stored: Schema, batch: pa.RecordBatch, *, from_ns: bool, missing: Mapping[int, Any]
) -> pa.RecordBatch:
    """The batch in the columns asked for.

    Args:
        columns: what is asked for.
        stored: what the batch holds, with the field ids of the table.
        batch: rows as they stand in the file.
        from_ns: nanoseconds are cut to microseconds, as Iceberg asks for in tables before version 3.
        missing: values of columns that are not in the file, by field id.

    Raises:
        pyiceberg.exceptions.ResolveError: a required column is not in the file.
    """
    visitor = _Projection(
        stored,
        downcast_ns_timestamp_to_us=from_ns,
        projected_missing_fields=dict(missing),
        allow_timestamp_tz_mismatch=True,
    )
    found = _visit(columns, batch, visitor, ArrowAccessor(stored))
    return pa.RecordBatch.from_struct_array(found)


def has_nested_structs(type_: IcebergType) -> bool:
    """Whether there is a list of structs, or a map to structs, somewhere."""
    if isinstance(type_, StructType):
        return any(has_nested_structs(one.field_type) for one in type_.fields)
    if isinstance(type_, ListType):
        return isinstance(type_.element_type, StructType) or has_nested_structs(type_.element_type)
    if isinstance(type_, MapType):
        return isinstance(type_.value_type, StructType) or has_nested_structs(type_.value_type)
    return False


class _Projection(ArrowProjectionVisitor):
    """Keeps the NULLs that the original loses."""

    def list(self, list_type: ListType, list_array: Any, value_array: Any) -> Any:
        made: Any = super().list(list_type, list_array, value_array)
        if made is None or made.null_count == list_array.null_count:
            return made
        offsets = pc.add(made.offsets, 0)
        return type(made).from_arrays(offsets, made.values, type=made.type, mask=list_array.is_null())

    def map(self, map_type: MapType, map_array: Any, key_result: Any, value_result: Any) -> Any:
        made: Any = super().map(map_type, map_array, key_result, value_result)
        if made is None or made.null_count == map_array.null_count:
            return made
        offsets = pc.add(made.offsets, 0)
        return pa.MapArray.from_arrays(offsets, made.keys, made.items, type=made.type, mask=map_array.is_null())
