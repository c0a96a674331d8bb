"""The pair in memory keeps what every connector promises; it is the smallest example of one."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from conduit.connectors.memory.config import MemoryConnection
from conduit.connectors.memory.destination import MemoryDestination
from conduit.connectors.memory.source import MemorySource
from conduit.connectors.memory.store import store
from conduit.testing import DestinationPromises, SourcePromises
from tests.integration.values import VALUES


def connection(place: Path) -> MemoryConnection:
    return MemoryConnection(store=str(place))


class TestDestination(DestinationPromises):
    values = VALUES

    def make(self, place: Path) -> MemoryDestination:
        return MemoryDestination("conformance", connection(place), place)

    def unreachable(self, place: Path) -> MemoryDestination:
        pytest.skip("memory is always reachable")

    def rows(self, place: Path) -> list[tuple[Any, ...]]:
        table = store(str(place)).tables.get("promised")
        records = table.to_pylist() if table is not None else []
        return [(row["id"], row["name"], str(row["amount"])) for row in records]

    def read_back(self, place: Path, name: str) -> list[Any]:
        column = store(str(place)).tables["promised"].column(name).combine_chunks()
        found: list[Any] = (column.storage if isinstance(column, pa.ExtensionArray) else column).to_pylist()
        return [value.astimezone(dt.UTC) if getattr(value, "tzinfo", None) else value for value in found]


class TestSource(SourcePromises):
    def make(self, place: Path) -> MemorySource:
        return MemorySource("conformance", connection(place), place)

    def unreachable(self, place: Path) -> MemorySource:
        pytest.skip("memory is always reachable")

    def insert(self, place: Path, rows: list[tuple[int, int | None, str]]) -> None:
        tables = store(str(place)).tables
        fresh = pa.table(
            {
                "id": pa.array([row[0] for row in rows], pa.int64()),
                "seen": pa.array([row[1] for row in rows], pa.int64()),
                "name": pa.array([row[2] for row in rows], pa.string()),
            }
        )
        tables["promised"] = pa.concat_tables([tables["promised"], fresh]) if "promised" in tables else fresh
