"""Reads the tables of `tables.py` with engines that share no code with iceframe, and compares every row.

Run by `make interop` in an environment of its own, because DuckDB's extension needs one exact version of DuckDB:
`python engines.py FOLDER`. Prints one line per engine and table; exits with 1 when a row differs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

Rows = list[list[Any]]


def by_duckdb(metadata: str, columns: list[str]) -> Rows:
    """DuckDB's iceberg extension."""
    import duckdb
    import duckdb_extensions

    connection = duckdb.connect()
    for name in ("avro", "httpfs", "iceberg"):
        duckdb_extensions.import_extension(name, con=connection)
        connection.execute(f"LOAD {name}")
    names = ", ".join(f'"{column}"' for column in columns)
    return [list(row) for row in connection.execute(f"SELECT {names} FROM iceberg_scan('{metadata}')").fetchall()]


def by_polars(metadata: str, columns: list[str]) -> Rows:
    """Polars' own reader."""
    import polars as pl

    frame = pl.scan_iceberg(metadata, reader_override="native").select(columns).collect()
    return [list(row) for row in frame.iter_rows()]


def by_daft(metadata: str, columns: list[str]) -> Rows:
    """Daft."""
    import daft
    from pyiceberg.table import StaticTable

    table = StaticTable.from_metadata(metadata)
    found = daft.read_iceberg(table).select(*columns).to_pydict()
    return [list(row) for row in zip(*(found[column] for column in columns), strict=True)]


def by_chdb(metadata: str, columns: list[str]) -> Rows:
    """ClickHouse in process."""
    import chdb

    folder = metadata.removeprefix("file://").partition("/metadata/")[0]
    names = ", ".join(f"CAST({column} AS Nullable(String))" for column in columns)
    printed = str(chdb.query(f"SELECT {names} FROM icebergLocal('{folder}')", "JSONCompact"))
    return list(json.loads(printed)["data"])


ENGINES: dict[str, Callable[[str, list[str]], Rows]] = {
    "duckdb": by_duckdb,
    "polars": by_polars,
    "daft": by_daft,
    "chdb": by_chdb,
}


CANNOT = {("daft", "evolved"): "a column that was dropped; tables that pyiceberg wrote fail in the same way"}
"""What an engine is known not to read, and why."""


def main(folder: Path) -> int:
    """Every engine reads every table."""
    cases = json.loads((folder / "cases.json").read_text())
    wrong = 0
    for engine, read in ENGINES.items():
        for name, case in cases.items():
            verdict = _verdict(read, case)
            known = CANNOT.get((engine, name))
            wrong += verdict != "the same rows" and known is None
            verdict = f"cannot: {known}" if known and verdict != "the same rows" else verdict
            print(f"{engine} {version(engine)}  {name}: {verdict}", flush=True)
    return 1 if wrong else 0


def _verdict(read: Callable[[str, list[str]], Rows], case: dict[str, Any]) -> str:
    try:
        found = read(case["metadata"], case["columns"])
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    same = sorted(map(_plain, found)) == sorted(map(_plain, case["rows"]))
    return "the same rows" if same else f"{len(found)} rows that differ from the {len(case['rows'])} that it holds"


def _plain(row: list[Any]) -> list[str]:
    return [_number(value) for value in row]


def _number(value: Any) -> str:
    """Numbers are compared as numbers: an engine may print 2.5 for 2.50."""
    if value is None:
        return "NULL"
    try:
        return repr(float(value))
    except (TypeError, ValueError):
        return str(value)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
