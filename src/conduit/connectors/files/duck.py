"""A fresh DuckDB in memory that reads local files and nothing else: no extension is fetched, no name is looked up.

Knows SQL literals and Arrow; knows no file format.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conduit.arrow import AnyArray, pa
from conduit.late import late
from conduit.sizes import FETCH_ROWS, joined

if TYPE_CHECKING:
    import duckdb

    Connection = duckdb.DuckDBPyConnection
else:  # most files are read without it
    Connection, duckdb = Any, late("duckdb")

BATCH_ROWS = 65_536
"""Rows of a batch unless the resource says otherwise."""


def connect(spill: Path | None = None, memory: str | None = None) -> Connection:
    """A connection in UTC.

    Args:
        spill: folder for what does not fit into memory; None: nothing is spilled.
        memory: the limit, such as `1GB`; None: DuckDB's own.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
        "temp_directory": str(spill) if spill else "",
    }
    if memory is not None:
        config["memory_limit"] = memory
    connection = duckdb.connect(":memory:", config=config)
    connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    return connection


def literal(text: str) -> str:
    """The text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """The name in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def file_literal(path: Path) -> str:
    """The path as an SQL string that means this file only: `a[1].csv` would else be a pattern for `a1.csv`."""
    return literal("".join(f"[{character}]" if character in "*?[" else character for character in str(path)))


def file_list(paths: Sequence[Path]) -> str:
    """The paths as an SQL list."""
    return "[" + ", ".join(file_literal(path) for path in paths) + "]"


def struct(entries: dict[str, str]) -> str:
    """Column names and types as the struct that DuckDB's readers take."""
    return "{" + ", ".join(f"{literal(name)}: {literal(type_)}" for name, type_ in entries.items()) + "}"


def batches(connection: Connection, sql: str, rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of a query as a stream of batches of at most `rows` rows; other queries may run meanwhile."""
    with (
        closing(connection.cursor()) as cursor,
        closing(cursor.sql(sql).to_arrow_reader(min(rows, FETCH_ROWS))) as reader,
    ):
        yield from joined(iter(reader), rows)


def computed(connection: Connection, expression: str, values: AnyArray) -> AnyArray:
    """The expression over `v`, once for each of the values, in their order."""
    relation = connection.from_arrow(pa.table({"v": values})).project(f"{expression} AS v")
    table = pa.RecordBatchReader.from_stream(relation).read_all()
    return table.column(0).combine_chunks()


def asked(connection: Connection, sql: str, **tables: pa.Table) -> list[tuple[Any, ...]]:
    """The rows of a query over these Arrow tables: for answers of a few rows."""
    for name, table in tables.items():
        connection.register(name, table)
    try:
        return connection.sql(sql).fetchall()
    finally:
        for name in tables:
            connection.unregister(name)
