"""Records and lines of a CSV file through Python's own parser: for headers and for messages, never for rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TextIO, cast

from conduit.connectors.files.config import CsvSourceConnection
from conduit.connectors.files.reader import codec_of, opened

_HEADER = 1 << 16

MAX_LINE = 8 << 20
"""Length of the longest line that is taken; longer ones are an error with their line."""


def first_record(path: Path, dialect: CsvSourceConnection) -> list[str] | None:
    """The fields of the first record; None when the file is empty.

    Raises:
        csv.Error, UnicodeError, OSError: it cannot be read, or is longer than MAX_LINE.
    """
    with closing(_text(path, dialect)) as text:
        start = text.read(_HEADER)
        if len(start) == _HEADER and not _is_plain_line(start, dialect):
            start += text.read(MAX_LINE - _HEADER)
    if len(start) == MAX_LINE and "\n" not in start and "\r" not in start:
        raise csv.Error("the first line is too long")
    return next((record for _, record in _records(io.StringIO(start, newline=""), dialect)), None)


def fields(line: str, dialect: CsvSourceConnection) -> list[str] | None:
    """The fields of a line that is one record; None when it is none, or not whole."""
    try:
        return next((record for _, record in _records(io.StringIO(line, newline=""), dialect)), None)
    except csv.Error:
        return None


def _is_plain_line(start: str, dialect: CsvSourceConnection) -> bool:
    """Whether the first line ends in `start`, and nothing in it is quoted or escaped, so that it is a record."""
    line = start.partition("\n")[0]
    return len(line) < len(start) and dialect.quote not in line and dialect.escape not in line


def line_of(path: Path, dialect: CsvSourceConnection, row: int, *, one_column: bool) -> int | str:
    """The line on which a row (0 is the first after the header) ends; `?` when this parser cannot tell.

    With one column an empty line is a row, else it is none.
    """
    wanted = row + int(dialect.header)
    try:
        with closing(_text(path, dialect)) as text:
            lines = (line for line, record in _records(text, dialect) if record or one_column)
            return next((line for place, line in enumerate(lines) if place == wanted), "?")
    except (csv.Error, UnicodeError, OSError):
        return "?"


def _text(path: Path, dialect: CsvSourceConnection) -> io.TextIOWrapper:
    stream = opened(path, codec_of(path, dialect.compression))
    encoding = "utf-8-sig" if dialect.encoding == "utf-8" else dialect.encoding
    return io.TextIOWrapper(cast("io.BufferedReader", stream), encoding=encoding, newline="")


def _records(text: TextIO, dialect: CsvSourceConnection) -> Iterator[tuple[int, list[str]]]:
    """Records, each with the line on which it ends."""
    doubled = dialect.escape == dialect.quote
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
