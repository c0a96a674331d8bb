"""PostgreSQL as a source: a session reads it, in one REPEATABLE READ snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from conduit.connectors.postgresql import catalogue
from conduit.connectors.postgresql.config import PostgresqlConnection
from conduit.connectors.postgresql.connection import READ_ONLY, connect, mapped
from conduit.connectors.postgresql.session import PostgresqlSession
from conduit.contract import Read

if TYPE_CHECKING:
    from conduit.arrow import pa
    from conduit.sums import Summing


class PostgresqlSource:
    """A database that rows come from. Writers commit concurrently, so rows can appear below a watermark."""

    late_commits = True

    def __init__(self, name: str, connection: PostgresqlConnection, folder: Path) -> None:  # noqa: ARG002
        self._name = name
        self._connection = connection

    def check(self) -> str:
        """Connect, and say who we are and to what."""
        with (
            closing(connect(self._name, self._connection, READ_ONLY)) as opened,
            opened.cursor() as cur,
            mapped(self._name, "check"),
        ):
            return catalogue.look(cur, self._name, self._connection.schema)

    @contextmanager
    def open(self, read: Read) -> Iterator[PostgresqlSession]:
        """One read-only snapshot."""
        with (
            closing(connect(self._name, self._connection, READ_ONLY, snapshot=True)) as opened,
            mapped(self._name, f"resource {read.resource}"),
        ):
            yield PostgresqlSession(self._name, self._connection, opened, read)

    @contextmanager
    def summing(self, read: Read, schema: pa.Schema, cursor: str | None) -> Iterator[Summing | str]:
        """The rows of a read, to be added up in one snapshot; or why they cannot be."""
        with self.open(read) as session:
            yield session.summing(schema, cursor)
