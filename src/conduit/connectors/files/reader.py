"""What a reader of one file format offers to the session, and what the readers share: compression, samples, unions.

This module knows no format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from conduit.arrow import pa
from conduit.connectors.files.config import Compression
from conduit.connectors.files.failures import reading
from conduit.connectors.files.listing import Found
from conduit.connectors.files.text import type_name
from conduit.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow.dataset as ds

SAMPLE_ROWS = 20_480
"""Rows from which types are inferred, over all files of a read, in the order of their names."""

SAMPLE_BYTES = 32 << 20
"""Size that the sample may have: of wide rows fewer are looked at."""

Codec = Literal["gzip", "zstd"]
_CODECS: Mapping[str, Codec] = {".gz": "gzip", ".zst": "zstd"}
_CHUNK = 1 << 20


class Reader(Protocol):
    """Reads the files of one session, all in one schema."""

    @property
    def schema(self) -> pa.Schema:
        """The columns of all files together, in the order of their first appearance."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should be told: inferred types, files without a column."""
        ...

    def batches(
        self, file: Found, *, only: Sequence[str] = (), predicate: ds.Expression | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows of one file, in their order.

        Args:
            file: one of the session's files.
            only: the columns that are wanted; empty: all of the schema.
            predicate: rows that it excludes need not be read, but may come.

        Raises:
            DataError: the file is malformed, or a value does not fit its column.
        """
        ...

    def nulls(self, column: str) -> int:
        """How many rows of all files have no value in the column."""
        ...

    def rows(self) -> int | None:
        """How many rows all files have, where they say so; None: they must be read to be counted."""
        ...


def codec_of(path: Path, compression: Compression) -> Codec | None:
    """How the file is compressed, as Arrow names it; None: it is not."""
    if compression == "auto":
        return _CODECS.get(path.suffix.lower())
    return None if compression == "none" else compression


def opened(path: Path, codec: Codec | None) -> pa.NativeFile:
    """The content of a file, unpacked."""
    return pa.input_stream(str(path), compression=codec) if codec else pa.OSFile(str(path), "rb")


def require_whole(source: str, file: Found, codec: Codec | None) -> None:
    """Unpack a compressed file once to its end: a cut .zst or a wrong checksum is an error here, not fewer rows.

    Raises:
        DataError: it is damaged.
    """
    if codec is None:
        return
    with reading(source, file.name), opened(file.path, codec) as stream:
        while stream.read(_CHUNK):
            pass


def refuse_unknown(source: str, declared: Mapping[str, object], names: Sequence[str]) -> None:
    """All declared columns exist.

    Raises:
        ConfigError: one does not.
    """
    for name in declared:
        if name not in names:
            close = get_close_matches(name, names, n=1)
            raise ConfigError(
                f"{source}: `columns:` declares {name}, which no file has; there are {', '.join(names)}",
                hint=f"did you mean {close[0]}?" if close else "",
            )


def refuse_names(source: str, place: str, names: Sequence[str]) -> None:
    """Every column has a name that others can write, and no two have the same.

    Raises:
        DataError: one has not.
    """
    wrong = "a column has no name" if "" in names else ""
    if any("\0" in name for name in names):
        wrong = "the name of a column holds a NUL"
    if len(set(names)) < len(names):
        wrong = "two columns have one name"
    if wrong:
        raise DataError(
            f"{source}: {place}: {wrong}: {', '.join(repr(name) for name in names)[:300]}",
            hint="correct the names; a CSV file whose first line is no header needs `header: false`",
        )


def counted_nulls(reader: Reader, files: Sequence[Found], column: str) -> int:
    """The number of NULLs in a column, by reading that column alone."""
    batches = (batch for file in files for batch in reader.batches(file, only=(column,)))
    return sum(batch.column(column).null_count for batch in batches)


def in_schema(arrays: Mapping[str, pa.Array], schema: pa.Schema, rows: int) -> pa.RecordBatch:  # type: ignore[type-arg]
    """The columns of one file as a batch of the common schema; a column that the file lacks is NULL."""
    columns = [arrays[field.name] if field.name in arrays else pa.nulls(rows, field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def chosen(schema: pa.Schema, only: Sequence[str]) -> pa.Schema:
    """The wanted fields of the schema."""
    return pa.schema([schema.field(name) for name in only]) if only else schema


def inferred(schema: pa.Schema, declared: Mapping[str, pa.DataType], files: Sequence[Found], path: str) -> list[str]:
    """What to say about columns whose types nobody declared: one line, or none."""
    found = ", ".join(f"{field.name} {type_name(field.type)}" for field in schema if field.name not in declared)
    label = files[0].name if len(files) == 1 else path
    return [f"{label}: {found} (inferred)"] if found else []
