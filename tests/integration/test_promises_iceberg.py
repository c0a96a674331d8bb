"""Iceberg tables keep what every connector promises. The raw reader and writer is pyiceberg."""

from __future__ import annotations

import datetime as dt
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog, load_catalog

from conduit.connectors.iceberg.config import IcebergDestinationConnection, IcebergSourceConnection
from conduit.connectors.iceberg.destination import IcebergDestination
from conduit.connectors.iceberg.source import IcebergSource
from conduit.testing import DestinationPromises, SourcePromises
from tests.integration.values import VALUES


def catalog(place: Path) -> Catalog:
    """The default catalog of a connection, opened by pyiceberg itself."""
    (place / ".iceframe" / "warehouse").mkdir(parents=True, exist_ok=True)
    return load_catalog(
        "iceframe",
        type="sql",
        uri=f"sqlite:///{place}/.iceframe/catalog.db",
        warehouse=f"file://{place}/.iceframe/warehouse",
    )


def scanned(place: Path) -> pa.Table | None:
    """The table `promised`, read by pyiceberg; None when there is none."""
    if not (place / ".iceframe" / "catalog.db").exists():
        return None
    found = catalog(place)
    try:
        exists = found.table_exists("default.promised")
        return found.load_table("default.promised").scan().to_arrow() if exists else None
    finally:
        found.close()


class TestDestination(DestinationPromises):
    values = VALUES | {
        "words": (pa.list_(pa.string()), [["a", "", None], [], None]),
        "fixed": (pa.binary(4), [b"abcd", b"\x00\x00\x00\x00", None]),
        "single": (pa.float32(), [1.5, -0.0, None]),
    }

    def make(self, place: Path) -> IcebergDestination:
        return IcebergDestination("conformance", IcebergDestinationConnection(), place)

    def unreachable(self, place: Path) -> IcebergDestination:
        return IcebergDestination(
            "conformance", IcebergDestinationConnection(uri=f"sqlite:///{place}/no/such/folder/c.db"), place
        )

    def rows(self, place: Path) -> list[tuple[Any, ...]]:
        table = scanned(place)
        records = table.to_pylist() if table is not None and table.num_columns else []
        return [(row["id"], row["name"], str(row["amount"])) for row in records]

    def read_back(self, place: Path, name: str) -> list[Any]:
        table = scanned(place)
        assert table is not None
        found: list[Any] = table.sort_by("id").column(name).to_pylist()
        plain: list[Any] = [value.bytes if isinstance(value, uuid.UUID) else value for value in found]
        return [value.astimezone(dt.UTC) if getattr(value, "tzinfo", None) else value for value in plain]


class TestSource(SourcePromises):
    def make(self, place: Path) -> IcebergSource:
        return IcebergSource("conformance", IcebergSourceConnection(), place)

    def unreachable(self, place: Path) -> IcebergSource:
        return IcebergSource("conformance", IcebergSourceConnection(uri=f"sqlite:///{place}/no/c.db"), place)

    def insert(self, place: Path, rows: list[tuple[int, int | None, str]]) -> None:
        types = {"id": pa.int64(), "seen": pa.int64(), "name": pa.string()}
        columns = list(zip(*rows, strict=True))
        given = pa.table(
            {name: pa.array(column, type_) for (name, type_), column in zip(types.items(), columns, strict=True)}
        )
        raw = catalog(place)
        raw.create_namespace_if_not_exists("default")
        raw.create_table_if_not_exists("default.promised", given.schema).append(given)
        raw.close()
