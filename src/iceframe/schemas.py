"""Schemas and rows between Polars, Arrow and Iceberg: widened exactly, never narrowed. Knows no table."""

from __future__ import annotations

import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema


def arrow_schema(schema: Schema) -> pa.Schema:
    """The Arrow types in which rows of this schema are read."""
    return schema_to_pyarrow(schema, include_field_ids=False)
