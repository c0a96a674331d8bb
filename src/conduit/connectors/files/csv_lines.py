"""Records and lines of a CSV file through Python's own parser: for headers and for messages, never for rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from conduit.connectors.files.config import CsvSourceConnection
from conduit.connectors.files.reader import codec_of, opened


def first_record(path: Path, dialect: CsvSourceConnection) -> list[str] | None:
    """The fields of the first record; None when the file is empty.

    Raises:
        csv.Error, UnicodeError, OSError: it cannot be read.
    """
    return next((record for _, record in _records(path, dialect)), None)


def line_of(path: Path, dialect: CsvSourceConnection, row: int, *, one_column: bool) -> int | str:
    """The line on which a row (0 is the first after the header) ends; `?` when this parser cannot tell.

    With one column an empty line is a row, else it is none.
    """
    wanted = row + int(dialect.header)
    try:
        lines = (line for line, record in _records(path, dialect) if record or one_column)
        return next((line for place, line in enumerate(lines) if place == wanted), "?")
    except (csv.Error, UnicodeError, OSError):
        return "?"


def _records(path: Path, dialect: CsvSourceConnection) -> Iterator[tuple[int, list[str]]]:
    doubled = dialect.escape == dialect.quote
    with (
        opened(path, codec_of(path, dialect.compression)) as stream,
        io.TextIOWrapper(
            cast("io.BufferedReader", stream),
            encoding="utf-8-sig" if dialect.encoding == "utf-8" else dialect.encoding,
            newline="",
        ) as text,
    ):
        records = csv.reader(
            text,
            delimiter=dialect.delimiter,
            quotechar=dialect.quote,
            escapechar=None if doubled else dialect.escape,
            doublequote=doubled,
            strict=True,
        )
        for record in records:
            yield records.line_num, record
