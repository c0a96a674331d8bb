"""SQLite keeps what every connector promises."""

from __future__ import annotations

import datetime as dt
import sqlite3
import uuid
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from conduit.connectors.sqlite.config import SqliteConnection
from conduit.connectors.sqlite.destination import SqliteDestination
from conduit.connectors.sqlite.source import SqliteSource
from conduit.testing import DestinationPromises, SourcePromises
from tests.integration.values import VALUES
from tests.support import raw

HERE = SqliteConnection(database="p.db", busy_timeout=0.2)
NOWHERE = SqliteConnection(database="no/such/folder/p.db")


class TestDestination(DestinationPromises):
    values = VALUES | {"real": (pa.float64(), [1.1, 1e308, 5e-324, None])}  # SQLite keeps -0.0 as 0.0

    def make(self, place: Path) -> SqliteDestination:
        return SqliteDestination("conformance", HERE, place)

    def unreachable(self, place: Path) -> SqliteDestination:
        return SqliteDestination("conformance", NOWHERE, place)

    def rows(self, place: Path) -> list[tuple[Any, ...]]:
        if not (place / "p.db").exists():
            return []
        there = raw.query(place / "p.db", "SELECT 1 FROM sqlite_schema WHERE name = 'promised'")
        return raw.query(place / "p.db", "SELECT id, name, amount FROM promised") if there else []

    def read_back(self, place: Path, name: str) -> list[Any]:
        found = raw.query(place / "p.db", f'SELECT "{name}" FROM promised ORDER BY id')
        return [None if value is None else _FORMS.get(name, lambda same: same)(value) for (value,) in found]


_FORMS: dict[str, Any] = {
    "yes": bool,
    "exact": Decimal,
    "day": dt.date.fromisoformat,
    "clock": dt.time.fromisoformat,
    "local": dt.datetime.fromisoformat,
    "moment": dt.datetime.fromisoformat,
    "key": lambda text: uuid.UUID(text).bytes,
}
"""How a person reads SQLite's texts."""


class TestSource(SourcePromises):
    def make(self, place: Path) -> SqliteSource:
        return SqliteSource("conformance", HERE, place)

    def unreachable(self, place: Path) -> SqliteSource:
        return SqliteSource("conformance", NOWHERE, place)

    def insert(self, place: Path, rows: list[tuple[int, int | None, str]]) -> None:
        created = "PRAGMA journal_mode = WAL; CREATE TABLE promised (id INTEGER PRIMARY KEY, seen INTEGER, name TEXT)"
        if not (place / "p.db").exists():
            with closing(sqlite3.connect(place / "p.db")) as opened:
                opened.executescript(created)
        for start in range(0, len(rows), 500):
            values = ", ".join(
                f"({i}, {'NULL' if seen is None else seen}, '{name}')" for i, seen, name in rows[start : start + 500]
            )
            raw.query(place / "p.db", f"INSERT INTO promised VALUES {values}")
