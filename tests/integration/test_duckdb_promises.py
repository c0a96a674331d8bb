"""DuckDB keeps what every connector promises."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from conduit.connectors.duckdb.config import DuckdbConnection
from conduit.connectors.duckdb.connection import connect
from conduit.connectors.duckdb.destination import DuckdbDestination
from conduit.connectors.duckdb.source import DuckdbSource
from conduit.testing import DestinationPromises, SourcePromises
from tests.integration.values import VALUES

HERE = DuckdbConnection(database="p.duckdb")
NOWHERE = DuckdbConnection(database="no/such/folder/p.duckdb")


def query(place: Path, sql: str) -> list[tuple[Any, ...]]:
    """SQL through a plain connection, or through one like the connector's own while that has the file open."""
    try:
        opened = duckdb.connect(str(place / "p.duckdb"))
    except duckdb.ConnectionException:
        with closing(connect("raw", place / "p.duckdb", "read", memory_limit="1GB", write=True)) as shared:
            return shared.rows(sql)
    with closing(opened):
        return opened.execute(sql).fetchall()


class TestDestination(DestinationPromises):
    values = VALUES

    def make(self, place: Path) -> DuckdbDestination:
        return DuckdbDestination("conformance", HERE, place)

    def unreachable(self, place: Path) -> DuckdbDestination:
        return DuckdbDestination("conformance", NOWHERE, place)

    def rows(self, place: Path) -> list[tuple[Any, ...]]:
        if not (place / "p.duckdb").exists():
            return []
        select = "SELECT id, name, CAST(amount AS VARCHAR) FROM promised"
        there = "SELECT 1 FROM duckdb_tables() WHERE table_name = 'promised'"
        return query(place, select) if query(place, there) else []

    def read_back(self, place: Path, name: str) -> list[Any]:
        column = "CAST(moment AT TIME ZONE 'UTC' AS TIMESTAMP)" if name == "moment" else f'"{name}"'
        found = [row[0] for row in query(place, f"SELECT {column} FROM promised ORDER BY id")]
        if name == "moment":
            return [value and value.replace(tzinfo=dt.UTC) for value in found]
        return [value.bytes if isinstance(value, uuid.UUID) else value for value in found]


class TestSource(SourcePromises):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Iterator[Path]:
        """A folder whose database stays open for writing, so that sources share it."""
        opened = connect("raw", tmp_path / "p.duckdb", "write", memory_limit="1GB", write=True)
        opened.rows("CREATE TABLE promised (id BIGINT PRIMARY KEY, seen BIGINT, name VARCHAR)")
        with closing(opened):
            yield tmp_path

    def make(self, place: Path) -> DuckdbSource:
        return DuckdbSource("conformance", HERE, place)

    def unreachable(self, place: Path) -> DuckdbSource:
        return DuckdbSource("conformance", NOWHERE, place)

    def insert(self, place: Path, rows: list[tuple[int, int | None, str]]) -> None:
        values = ", ".join(f"({i}, {'NULL' if seen is None else seen}, '{name}')" for i, seen, name in rows)
        with closing(connect("raw", place / "p.duckdb", "write", memory_limit="1GB", write=True)) as opened:
            opened.rows(f"INSERT INTO promised VALUES {values}")
