"""How DuckDB reads CSV with everything said: nothing about a file is sniffed, nothing but the dialect is assumed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conduit.connectors.files import duck
from conduit.connectors.files.config import CsvSourceConnection
from conduit.connectors.files.csv_lines import MAX_LINE
from conduit.connectors.files.reader import codec_of


def scan(files: Sequence[Path], header: Sequence[str], dialect: CsvSourceConnection) -> str:
    """The table function for files of one header; all columns are text."""
    options = {
        "columns": duck.struct(dict.fromkeys(header, "VARCHAR")),
        "header": str(dialect.header).lower(),
        "delim": duck.literal(dialect.delimiter),
        "quote": duck.literal(dialect.quote),
        "escape": duck.literal(dialect.escape),
        "nullstr": duck.literal(dialect.null_text or ""),
        "encoding": duck.literal(dialect.encoding),
        "compression": duck.literal(codec_of(files[0], dialect.compression) or "none"),
        "max_line_size": str(MAX_LINE),
        "buffer_size": str(2 * MAX_LINE),
        "auto_detect": "false",
        "allow_quoted_nulls": "false",
        "strict_mode": "true",
        "hive_partitioning": "false",
    }
    return f"read_csv({duck.file_list(files)}, {', '.join(f'{key}={value}' for key, value in options.items())})"
