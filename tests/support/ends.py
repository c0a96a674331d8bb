"""The destinations as the fault tests see them: keys for ingest.yml, and a reader that shares no code with conduit.

A row is (id, key, amount, text). Readers return a Counter of rows: what is missing and what stands twice both show.
"""

from __future__ import annotations

import csv
import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog

from tests.support.postgres import Database

Row = tuple[int, int, int, str]
Rows = Counter[Row]


@dataclass(frozen=True)
class End:
    """A destination.

    Attributes:
        name: for test ids.
        keys: its keys in ingest.yml.
        read: the rows of its table `t`, by an independent reader.
        merges: whether it can merge.
        checkpoints: whether one run can make several commits.
    """

    name: str
    keys: dict[str, Any]
    read: Callable[[], Rows]
    merges: bool = True
    checkpoints: bool = True


def end(name: str, folder: Path, database: Database | None) -> End:
    """The destination called `name`, in `folder` (or in `database` for PostgreSQL)."""
    if name == "postgresql":
        assert database is not None
        return End(name, database.keys, lambda: _postgres(database))
    if name == "sqlite":
        return End(name, {"type": "sqlite", "database": "out.sqlite"}, lambda: _sqlite(folder / "out.sqlite"))
    if name == "duckdb":
        return End(name, {"type": "duckdb", "database": "out.duckdb"}, lambda: _duckdb(folder / "out.duckdb"))
    if name == "parquet":
        keys = {"type": "parquet", "path": "out/"}
        return End(name, keys, lambda: _parquet(folder / "out"), merges=False)
    if name == "csv":
        keys = {"type": "csv", "path": "out/"}
        return End(name, keys, lambda: _csv(folder / "out"), merges=False)
    if name == "csv-file":
        keys = {"type": "csv", "path": "out.csv"}
        return End(name, keys, lambda: _csv_file(folder / "out.csv"), merges=False, checkpoints=False)
    if name == "json":
        keys = {"type": "json", "path": "out.ndjson"}
        return End(name, keys, lambda: _ndjson(folder / "out.ndjson"), merges=False, checkpoints=False)
    if name == "iceberg":
        catalog, warehouse = folder / "catalog.db", folder / "warehouse"
        keys = {"type": "iceberg", "uri": f"sqlite:///{catalog}", "warehouse": str(warehouse)}
        return End(name, keys, lambda: _iceberg(catalog))
    raise ValueError(name)


NAMES = ("postgresql", "sqlite", "duckdb", "parquet", "csv", "csv-file", "json", "iceberg")


def _rows(found: Any) -> Rows:
    return Counter((int(i), int(k), int(a), str(t)) for i, k, a, t in found)


def _postgres(database: Database) -> Rows:
    if not database.execute("SELECT to_regclass('t') IS NOT NULL")[0][0]:
        return Counter()
    return _rows(database.execute("SELECT id, key, amount, text FROM t"))


def _sqlite(path: Path) -> Rows:
    if not path.exists():
        return Counter()
    with closing(sqlite3.connect(path)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 't'").fetchall():
            return Counter()
        return _rows(connection.execute("SELECT id, key, amount, text FROM t"))


def _duckdb(path: Path) -> Rows:
    if not path.exists():
        return Counter()
    with closing(duckdb.connect(str(path), read_only=True)) as connection:
        if not connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 't'").fetchall():
            return Counter()
        return _rows(connection.execute("SELECT id, key, amount, text FROM t").fetchall())


def _parquet(folder: Path) -> Rows:
    rows: Rows = Counter()
    for path in folder.glob("**/*.parquet"):
        table = pq.read_table(path, columns=["id", "key", "amount", "text"])
        rows += _rows(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return rows


def _csv(folder: Path) -> Rows:
    rows: Rows = Counter()
    for path in folder.glob("**/*.csv"):
        rows += _csv_file(path)
    return rows


def _csv_file(path: Path) -> Rows:
    if not path.exists():
        return Counter()
    with path.open(newline="") as file:
        return _rows((row["id"], row["key"], row["amount"], row["text"]) for row in csv.DictReader(file))


def _iceberg(catalog: Path) -> Rows:
    """The table's data files, as the manifests of its head name them."""
    if not catalog.exists():
        return Counter()
    with closing(SqlCatalog("iceframe", uri=f"sqlite:///{catalog}")) as found:
        if not found.table_exists("default.t"):
            return Counter()
        table = found.load_table("default.t").scan().to_arrow()
        if not table.num_columns:
            return Counter()
        return _rows(zip(*(table.column(name).to_pylist() for name in ("id", "key", "amount", "text")), strict=True))


def _ndjson(path: Path) -> Rows:
    if not path.exists():
        return Counter()
    parsed = [json.loads(line) for line in path.read_text().splitlines()]
    return _rows((row["id"], row["key"], row["amount"], row["text"]) for row in parsed)
