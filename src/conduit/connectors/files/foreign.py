"""CSV and JSON files that somebody else wrote, and that rows are to be appended to: their columns and their style.

A file is read once to its end, so that nothing is appended to what is not CSV or JSON. Knows no mark.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from conduit.arrow import pa
from conduit.connectors.files import csv_lines, duck
from conduit.connectors.files.config import CsvSourceConnection
from conduit.connectors.files.csv_scan import scan
from conduit.connectors.files.encode import LineEnd
from conduit.connectors.files.failures import reading
from conduit.errors import DataError


def columns_of(destination: str, path: Path) -> list[str]:
    """The names of the columns: of the header, or of the first record; empty when there is none.

    Raises:
        DataError: the file is not what its name says.
    """
    with reading(destination, path.name), closing(duck.connect()) as connection:
        if path.suffix.lower() == ".csv":
            return _csv_columns(path, connection)
        return _json_columns(destination, path, connection)


def _csv_columns(path: Path, connection: duck.Connection) -> list[str]:
    dialect = CsvSourceConnection(path=str(path))
    header = csv_lines.first_record(path, dialect)
    if not header:
        return []
    connection.sql(f"SELECT count(*) FROM {scan([path], header, dialect)}").fetchall()
    return header


def _json_columns(destination: str, path: Path, connection: duck.Connection) -> list[str]:
    objects = _objects(path)
    others = connection.sql(f"SELECT count(*) FROM {objects} WHERE json_type(json) <> 'OBJECT'").fetchall()
    if others[0][0]:
        raise DataError(f"{destination}: {path.name} holds {others[0][0]} records that are no objects")
    found = connection.sql(f"SELECT json_keys(json) FROM {objects} LIMIT 1").fetchall()
    return list(found[0][0]) if found else []


def _objects(path: Path) -> str:
    """The table function for the records of a JSON file."""
    layout = "array" if path.suffix.lower() == ".json" else "newline_delimited"
    return f"read_json_objects({duck.file_literal(path)}, format={duck.literal(layout)})"


def rows_of(destination: str, path: Path) -> int:
    """How many rows the file holds.

    Raises:
        DataError: the file is not what its name says.
    """
    with reading(destination, path.name), closing(duck.connect()) as connection:
        if path.suffix.lower() != ".csv":
            found = connection.sql(f"SELECT count(*) FROM {_objects(path)}").fetchall()
        else:
            dialect = CsvSourceConnection(path=str(path))
            header = csv_lines.first_record(path, dialect)
            if not header:
                return 0
            found = connection.sql(f"SELECT count(*) FROM {scan([path], header, dialect)}").fetchall()
    return int(found[0][0])


def line_end(path: Path) -> LineEnd:
    """What ends the first line."""
    with path.open("rb") as stream:
        return "\r\n" if stream.readline().endswith(b"\r\n") else "\n"


def in_order_of(destination: str, path: Path, schema: pa.Schema) -> pa.Schema:
    """The schema with its fields in the order of the file's columns.

    Raises:
        DataError: the columns are others.
    """
    columns = columns_of(destination, path)
    if not columns:
        return schema
    if set(columns) != set(schema.names):
        raise DataError(
            f"{destination}: {path.name} has the columns {', '.join(columns)}, the rows have {', '.join(schema.names)}",
            hint="select these columns in the query, or write to another file",
        )
    return pa.schema([schema.field(name) for name in columns])
