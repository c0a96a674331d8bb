"""PostgreSQL keeps what every connector promises."""

from __future__ import annotations

import datetime as dt
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from conduit.config.models import Secret
from conduit.connectors.postgresql.config import PostgresqlConnection
from conduit.connectors.postgresql.destination import PostgresqlDestination
from conduit.connectors.postgresql.source import PostgresqlSource
from conduit.testing import DestinationPromises, SourcePromises
from tests.integration.values import VALUES
from tests.support.postgres import Database


def connection(place: Path) -> PostgresqlConnection:
    """The connection that the fixture wrote down."""
    return PostgresqlConnection(url=Secret((place / "url").read_text()))


@pytest.fixture
def place(tmp_path: Path, database: Database) -> Path:
    """A folder that says where the database is."""
    server = database.server
    (tmp_path / "url").write_text(f"postgresql://{server.user}@{server.host}:{server.port}/{database.name}")
    return tmp_path


def query(place: Path, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """SQL through a plain driver."""
    with closing(psycopg2.connect((place / "url").read_text())) as opened, opened, opened.cursor() as cur:
        cur.execute(sql, parameters or None)
        return cur.fetchall() if cur.description else []


def exists(place: Path) -> bool:
    """Whether the table is there."""
    return bool(query(place, "SELECT to_regclass('promised') IS NOT NULL")[0][0])


NOWHERE = PostgresqlConnection(host="127.0.0.1", port=1, database="nowhere", user="nobody")


class TestDestination(DestinationPromises):
    values = VALUES

    @pytest.fixture
    def place(self, place: Path) -> Path:
        return place

    def make(self, place: Path) -> PostgresqlDestination:
        return PostgresqlDestination("conformance", connection(place), place)

    def unreachable(self, place: Path) -> PostgresqlDestination:
        return PostgresqlDestination("conformance", NOWHERE, place)

    def rows(self, place: Path) -> list[tuple[Any, ...]]:
        return query(place, "SELECT id, name, amount::text FROM promised") if exists(place) else []

    def read_back(self, place: Path, name: str) -> list[Any]:
        column = "doc::text" if name == "doc" else name
        found = [row[0] for row in query(place, f"SELECT {column} FROM promised ORDER BY id")]
        return [_python(value) for value in found]


def _python(value: Any) -> Any:
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(dt.UTC)
    if isinstance(value, str) and len(value) == 36 and value.count("-") == 4:
        return uuid.UUID(value).bytes
    return value


class TestSource(SourcePromises):
    @pytest.fixture
    def place(self, place: Path) -> Path:
        return place

    def make(self, place: Path) -> PostgresqlSource:
        return PostgresqlSource("conformance", connection(place), place)

    def unreachable(self, place: Path) -> PostgresqlSource:
        return PostgresqlSource("conformance", NOWHERE, place)

    def insert(self, place: Path, rows: list[tuple[int, int | None, str]]) -> None:
        query(place, "CREATE TABLE IF NOT EXISTS promised (id bigint PRIMARY KEY, seen bigint, name text)")
        for row in rows:
            query(place, "INSERT INTO promised VALUES (%s, %s, %s)", *row)
