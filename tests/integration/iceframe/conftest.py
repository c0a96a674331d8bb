"""A real catalog for every test: SQLite and a warehouse of real files."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog

from iceframe.catalog import open_catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """An empty catalog with the namespace `default`."""
    warehouse = tmp_path / "warehouse"
    warehouse.mkdir()
    made = open_catalog({"type": "sql", "uri": f"sqlite:///{tmp_path / 'catalog.db'}", "warehouse": warehouse.as_uri()})
    made.create_namespace("default")
    return made
