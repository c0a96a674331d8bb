"""What the footer of a Parquet file says about its columns, as a manifest keeps it. Knows no table and no rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    MetricModeTypes,
    MetricsMode,
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.typedef import Record
from pyiceberg.types import DoubleType, FloatType

_COUNTS = MetricsMode(MetricModeTypes.COUNTS)


def statistics(footer: pq.FileMetaData, schema: Schema, properties: dict[str, str]) -> dict[str, Any]:
    """Counts, sizes and bounds of the columns, as arguments of a `DataFile`.

    A column has bounds only if every row group knows its own: bounds of some of the rows would make readers skip files
    that hold rows they look for.

    Args:
        footer: of a file with the columns of the schema.
        schema: the columns as the file calls them.
        properties: the table's; they say which columns get statistics.

    Raises:
        KeyError: the file has a column that the schema does not have.
    """
    ids = parquet_path_to_id_mapping(schema)
    wanted = compute_statistics_plan(schema, properties)
    for path in _without_bounds(footer):
        if path in ids and wanted[ids[path]].mode.type in {MetricModeTypes.TRUNCATE, MetricModeTypes.FULL}:
            wanted[ids[path]] = replace(wanted[ids[path]], mode=_COUNTS)
    return data_file_statistics_from_parquet_metadata(footer, wanted, ids).to_serialized_dict()


def _without_bounds(footer: pq.FileMetaData) -> set[str]:
    """Columns of which a row group holds values without their smallest and largest one."""
    found = set()
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        for place in range(footer.num_columns):
            column = group.column(place)
            if not _bounded(column):
                found.add(column.path_in_schema)
    return found


def _bounded(column: pq.ColumnChunkMetaData) -> bool:
    known: Any = column.statistics
    if known is None or not known.has_null_count:
        return False
    if not known.has_min_max:
        return bool(known.null_count == column.num_values)
    try:
        return known.min is not None and known.max is not None
    except (OverflowError, ValueError):
        # a moment beyond the years that Python knows
        return False


def null_counts(footer: pq.FileMetaData) -> dict[str, int]:
    """The number of NULLs of each column, by its path; a column for which it is not known is not there."""
    found: dict[str, int] = {}
    unknown = set()
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        for place in range(footer.num_columns):
            column = group.column(place)
            known: Any = column.statistics
            if known is None or not known.has_null_count:
                unknown.add(column.path_in_schema)
            else:
                found[column.path_in_schema] = found.get(column.path_in_schema, 0) + known.null_count
    return {path: nulls for path, nulls in found.items() if path not in unknown}


def partition_of(footer: pq.FileMetaData, schema: Schema, spec: PartitionSpec) -> Record:
    """The one partition that all rows of a file belong to.

    Raises:
        ValueError: they belong to several, or the footer does not tell.
    """
    if not spec.fields:
        return Record()
    ids = parquet_path_to_id_mapping(schema)
    nulls, unbounded = null_counts(footer), _without_bounds(footer)
    for path in (path for path, one in ids.items() if any(one == field.source_id for field in spec.fields)):
        if path not in nulls and footer.num_rows and path in _paths(footer):
            raise ValueError(f"the file does not tell whether column {path} has NULLs, so its partition is not known")
        if nulls.get(path, 0) not in {0, footer.num_rows}:
            raise ValueError(f"column {path} has values and NULLs, which are different partitions")
        if path in unbounded or isinstance(schema.find_type(ids[path]), FloatType | DoubleType):
            raise ValueError(f"the file does not tell which values column {path} has, so its partition is not known")
    wanted = compute_statistics_plan(schema, {})
    full = {one: replace(plan, mode=MetricsMode(MetricModeTypes.FULL)) for one, plan in wanted.items()}
    return data_file_statistics_from_parquet_metadata(footer, full, ids).partition(spec, schema)


def _paths(footer: pq.FileMetaData) -> set[str]:
    if not footer.num_row_groups:
        return set()
    group = footer.row_group(0)
    return {group.column(place).path_in_schema for place in range(footer.num_columns)}
