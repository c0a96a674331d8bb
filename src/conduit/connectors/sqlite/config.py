"""Keys of a SQLite connection in ingest.yml."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from conduit.connectors.database_file import DatabaseFile


class SqliteConnection(DatabaseFile, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A SQLite database: read in one read-only transaction; written with the marks beside the tables."""

    scheme: ClassVar[str] = "sqlite"

    busy_timeout: Annotated[float, Meta(ge=0, le=3600, description="Seconds to wait for a locked database.")] = 5.0
