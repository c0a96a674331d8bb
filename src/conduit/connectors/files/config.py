"""Keys of the connections to CSV, JSON and Parquet files in ingest.yml. Opens no file and imports no reader."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from conduit.config.models import Connection, ReadBack
from conduit.config.names import path_problem
from conduit.contract import Ability

FileType = Literal["csv", "json", "parquet"]
Compression = Literal["auto", "none", "gzip", "zstd"]
Encoding = Literal["utf-8", "utf-16", "latin-1"]
JsonFormat = Literal["auto", "array", "newline_delimited"]

_SYSTEM: str = sys.platform

_SOURCE_PATH = "A file, a folder (ending in /) or a pattern such as data/*.csv, relative to ingest.yml."
_TARGET_PATH = "A folder (ending in /): each table is a data set in it. Or one file, which is one table."
_COMPRESSION = "gzip, zstd, none, or auto: by the extension (.gz, .zst)."


class FileSourceConnection(Connection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files that are read.

    Attributes:
        file_type: which reader takes them.
        extensions: what files in a folder end in, compression aside; other files there are left alone.
    """

    relation: ClassVar[Literal["sql", "path", "object"]] = "path"
    file_type: ClassVar[FileType]
    extensions: ClassVar[tuple[str, ...]]

    path: Annotated[str, Meta(description=_SOURCE_PATH)]

    def __post_init__(self) -> None:
        """Refuse a path that names nothing."""
        _check_path(self.path)


class CsvSourceConnection(FileSourceConnection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """CSV files: text until the values themselves say more, or `columns:` does."""

    file_type: ClassVar[FileType] = "csv"
    extensions: ClassVar[tuple[str, ...]] = (".csv", ".tsv")

    delimiter: Annotated[str, Meta(description="The character between two fields; default a comma.")] = ","
    quote: Annotated[str, Meta(description='The character around a quoted field; default ".')] = '"'
    escape: Annotated[str, Meta(description='The character before a quote inside a quoted field; default ".')] = '"'
    header: Annotated[bool, Meta(description="The first line names the columns; else they are column0, column1, …")] = (
        True
    )
    encoding: Annotated[Encoding, Meta(description="utf-8, utf-16 or latin-1; a byte order mark is skipped.")] = "utf-8"
    null_text: Annotated[
        str | None, Meta(description="The unquoted text that means NULL; default: the unquoted empty field.")
    ] = None
    compression: Annotated[Compression, Meta(description=_COMPRESSION)] = "auto"

    def __post_init__(self) -> None:
        """Refuse a dialect that cannot be told apart."""
        _check_path(self.path)
        for key, value in (("delimiter", self.delimiter), ("quote", self.quote), ("escape", self.escape)):
            if len(value) != 1 or not value.isascii() or value in "\r\n\0":
                raise ValueError(f"{key} must be one ASCII character, and no end of line")
        if self.delimiter in (self.quote, self.escape):
            raise ValueError("delimiter must differ from quote and escape")


class JsonSourceConnection(FileSourceConnection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """JSON files: one array of objects, or objects one after the other."""

    file_type: ClassVar[FileType] = "json"
    extensions: ClassVar[tuple[str, ...]] = (".json", ".ndjson", ".jsonl")

    format: Annotated[
        JsonFormat, Meta(description="array, newline_delimited, or auto: by the first character of each file.")
    ] = "auto"
    compression: Annotated[Compression, Meta(description=_COMPRESSION)] = "auto"


class ParquetSourceConnection(FileSourceConnection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parquet files; their types are taken as they are."""

    file_type: ClassVar[FileType] = "parquet"
    extensions: ClassVar[tuple[str, ...]] = (".parquet", ".pq")


class FileDestinationConnection(Connection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files that are written: a folder of data sets, or a single file.

    Attributes:
        file_type: what is written.
        single: what the name of a single file ends in; empty: there is no such form.
    """

    relation: ClassVar[Literal["sql", "path", "object"]] = "path"
    file_type: ClassVar[FileType]
    single: ClassVar[tuple[str, ...]] = ()

    path: Annotated[str, Meta(description=_TARGET_PATH)]

    def __post_init__(self) -> None:
        """Refuse a path that is neither a folder nor a file of this type."""
        _check_path(self.path)
        if self.is_folder or self.path.lower().endswith(self.single or "/"):
            return
        wanted = f", or with {' or '.join(self.single)} for a single file" if self.single else ""
        raise ValueError(f"path {self.path!r}: end it with / for a folder of {self.file_type} files{wanted}")

    @property
    def is_folder(self) -> bool:
        """The path is a folder: it ends in `/`, or its last name has no extension."""
        return self.path.endswith("/") or not Path(self.path).suffix

    def cannot(self) -> Mapping[Ability, str]:
        """Merge, and what the form of the path excludes."""
        if not self.is_folder:
            return {
                "merge": "a file is only appended to or replaced; rows in it cannot be updated",
                "checkpoints": "each commit writes the whole file anew",
                "repair": "a file is only appended to or replaced; rows in it cannot be removed",
                "add_columns": "all rows of a single file have the same columns; a folder can take new ones",
            }
        merge: Mapping[Ability, str] = {
            "merge": "files that were written stay as they are; rows cannot be updated",
            "repair": "files that were written stay as they are; rows cannot be removed",
        }
        if _SYSTEM in ("linux", "darwin"):
            return merge
        return {**merge, "replace": "this system cannot exchange two folders in one step"}

    def read_back(self, table: str) -> ReadBack:
        """The data set of the table, or the one file."""
        path = f"{self.path.rstrip('/')}/{table}/" if self.is_folder else self.path
        source = _SOURCES[self.file_type](path=path)
        return ReadBack(source, None, untyped=self.file_type != "parquet")


class CsvDestinationConnection(FileDestinationConnection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """CSV with a header; NULL is the empty field, an empty text is a pair of quotes."""

    file_type: ClassVar[FileType] = "csv"
    single: ClassVar[tuple[str, ...]] = (".csv",)


class JsonDestinationConnection(FileDestinationConnection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Newline-delimited JSON in a folder and in .ndjson and .jsonl files; an array in a .json file."""

    file_type: ClassVar[FileType] = "json"
    single: ClassVar[tuple[str, ...]] = (".json", ".ndjson", ".jsonl")


class ParquetDestinationConnection(FileDestinationConnection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parquet data sets, compressed with zstd, with the Arrow schema."""

    file_type: ClassVar[FileType] = "parquet"


_SOURCES: dict[FileType, type[FileSourceConnection]] = {
    "csv": CsvSourceConnection, "json": JsonSourceConnection, "parquet": ParquetSourceConnection,
}  # fmt: skip


def _check_path(path: str) -> None:
    if problem := path_problem(path):
        raise ValueError(f"path {problem}")
    if "://" in path:
        raise ValueError(f"path {path!r} is a URL; only files of this machine can be named")
