"""Iceberg tables, in any catalog that pyiceberg speaks to."""
