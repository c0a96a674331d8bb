"""Keys of a DuckDB connection in ingest.yml."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from conduit.connectors.database_file import DatabaseFile


class DuckdbConnection(DatabaseFile, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A DuckDB database: read in one transaction; written with the marks beside the tables."""

    scheme: ClassVar[str] = "duckdb"

    schema: Annotated[str, Meta(min_length=1, description="Schema of tables named without one.")] = "main"
    memory_limit: Annotated[
        str,
        Meta(pattern=r"^\d+(\.\d+)? *[KMGT]i?B$", description="What DuckDB may use, then it spills beside the file."),
    ] = "1GB"
