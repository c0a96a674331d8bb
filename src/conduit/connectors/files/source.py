"""CSV, JSON and Parquet files as a source: a session is one fixed list of files, with a ledger or with bounds.

Without an incremental column a session reads the files that are not in the ledger, and its end is the ledger with
them. With one it reads the rows of all files that lie within the bounds. Knows no format.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from conduit import schemas
from conduit.arrow import pa, pc
from conduit.bounds import NULL_CURSORS, ROWS, Bounds, bounds
from conduit.connectors.files import duck, ledger, wire
from conduit.connectors.files.config import (
    CsvSourceConnection,
    FileSourceConnection,
    JsonSourceConnection,
)
from conduit.connectors.files.csv_reader import CsvReader
from conduit.connectors.files.failures import reading
from conduit.connectors.files.json_reader import JsonReader
from conduit.connectors.files.listing import Found, find, plural
from conduit.connectors.files.parquet_reader import ParquetReader
from conduit.connectors.files.reader import Reader
from conduit.contract import Described, Estimate, Read, Session, Split, Until
from conduit.errors import ConnectionFailed, DataError
from conduit.positions import CursorType
from conduit.wires import Wire

if TYPE_CHECKING:
    import pyarrow.dataset as ds


class FileSource:
    """The files that a path of ingest.yml means."""

    late_commits = False

    def __init__(self, name: str, connection: FileSourceConnection, folder: Path) -> None:
        self._name = name
        self._connection = connection
        self._folder = folder

    def check(self) -> str:
        """The files are there and can be read; no content is looked at.

        Raises:
            ConnectionFailed: there is none, or one cannot be read.
        """
        files = self._files()
        self._require_some(files)
        for file in files:
            if not os.access(file.path, os.R_OK):
                raise ConnectionFailed(f"{self._name}: no permission to read {file.name}")
        return f"{plural(len(files))} at {self._connection.path}, {sum(file.size for file in files):,} bytes, readable"

    @contextmanager
    def open(self, read: Read) -> Iterator[Session]:
        """The list of files, taken now; each must still be the same when it has been read.

        Raises:
            ConnectionFailed: nothing is there on a first run.
            StateConflict: a file that was loaded has changed.
        """
        files = self._files()
        if read.since is None:
            self._require_some(files)
        with ExitStack() as opened:
            yield FileSession(self._name, self._connection, read, files, opened)

    def _files(self) -> tuple[Found, ...]:
        return find(self._name, self._connection.path, self._folder, self._connection.extensions)

    def _require_some(self, files: Sequence[Found]) -> None:
        if not files:
            raise ConnectionFailed(
                f"{self._name}: no file at {self._connection.path}",
                hint=f"a relative path belongs to {self._folder}; a folder ends in `/`",
            )


class FileSession:
    """One list of files, as they were when the session was opened."""

    def __init__(
        self,
        name: str,
        connection: FileSourceConnection,
        read: Read,
        files: tuple[Found, ...],
        opened: ExitStack,
    ) -> None:
        """Set up a session.

        Args:
            name: of the connection, for messages.
            connection: its keys.
            read: the request.
            files: what was found.
            opened: gets what must be closed with the session.
        """
        self._name = name
        self._connection = connection
        self._read = read
        self._files = files
        self._opened = opened
        self._wanted = files if read.cursor else self._unread()
        self._digests = None if read.cursor or not self._wanted else self._added_up()

    def _unread(self) -> tuple[Found, ...]:
        reload_changed = self._read.reload_changed_files
        return ledger.unread(self._name, self._files, self._read.since, reload_changed=reload_changed)

    def _added_up(self) -> ledger.Digests:
        """What the ledger will say of the files; it takes as long as getting ready to read them, so it begins now."""
        return self._opened.enter_context(closing(ledger.Digests(self._name, self._wanted)))

    def describe(self) -> Described:
        """The columns, and how many rows have no cursor; types are inferred from the first rows."""
        return self._described

    @cached_property
    def _described(self) -> Described:
        found = self._bounds
        lower = found.lower if found else None
        return Described(
            schema=self._reader.schema,
            fingerprint=f"files:{self._connection.file_type}:{self._connection.path}:{self._read.cursor or '-'}",
            cursor_type=found.type if found else self._type_of_mark(),
            cursor_unit=found.unit if found else "",
            null_cursors=self._reader.nulls(found.field.name) if found else 0,
            bound=str(lower.shown()) if lower else None,
            notes=self._reader.notes,
        )

    def until(self) -> Until:
        """A ledger with the new files; with a cursor the end is open: the rows themselves say how far they go."""
        return self._until

    @cached_property
    def _until(self) -> Until:
        if not self._wanted:
            return Until(nothing_new=True)
        if self._digests is None:
            return Until()
        return Until(position=ledger.after(self._read.since, self._wanted, self._digests))

    def estimate(self) -> Estimate | None:
        """The rows that Parquet files say they have, all of them even with a cursor."""
        rows = self._reader.rows() if self._wanted else 0
        return Estimate(rows, exact=self._read.cursor is None) if rows is not None else None

    def splits(self) -> list[Split]:
        """All rows within the bounds; the rows without a cursor are a second split when they are wanted."""
        with_nulls = self._read.cursor is not None and self._read.on_null == "include"
        return [Split(ROWS), Split(NULL_CURSORS)] if with_nulls else [Split(ROWS)]

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """The rows of a split, file after file.

        Raises:
            ConnectionFailed: a file changed or vanished since the session was opened.
            DataError: a file is malformed, or a value does not fit its column.
        """
        for file in self._wanted:
            try:
                yield from self._rows(file, nulls=split.name == NULL_CURSORS)
            except DataError:
                file.require_unchanged(self._name)  # a file that changed meanwhile is no malformed one
                raise
            file.require_unchanged(self._name)

    def wire(self, columns: Sequence[str], key: Sequence[str]) -> Wire | None:
        """Parquet files as they are, where the ledger alone decides which rows are read."""
        position, reader = self._until.position, self._reader
        looked_at = self._read.cursor or self._read.columns or key or list(columns) != reader.schema.names
        if looked_at or position is None or not isinstance(reader, ParquetReader):
            return None
        return wire.offered(self._name, reader, self._wanted, {entry.path: entry.sha256 for entry in position.files})

    # --- rows -------------------------------------------------------------------------------------------

    def _rows(self, file: Found, *, nulls: bool) -> Iterator[pa.RecordBatch]:
        found = self._bounds
        if found is None:
            yield from self._reader.batches(file)
            return
        if nulls:
            for batch in self._reader.batches(file):
                yield batch.filter(pc.is_null(batch.column(found.field.name)))
            return
        for batch in self._reader.batches(file, predicate=self._predicate(found)):
            with reading(self._name, file.name):
                kept = found.keep(batch)
            yield kept

    def _predicate(self, found: Bounds) -> ds.Expression | None:
        """What lets a reader pass over row groups; only an undeclared column is compared in the file's own type."""
        return None if found.field.name in self._read.columns else found.predicate()

    # --- columns ----------------------------------------------------------------------------------------

    @cached_property
    def _bounds(self) -> Bounds | None:
        if not self._files:
            return None
        return bounds(self._name, self._read, self._reader.schema)

    def _type_of_mark(self) -> CursorType | None:
        """Without any file: the type that the mark has."""
        since = self._read.since
        return cast("CursorType", since.type) if since is not None and self._read.cursor else None

    @cached_property
    def _reader(self) -> Reader:
        declared = {name: schemas.declared(type_name) for name, type_name in self._read.columns.items()}
        files = self._wanted or self._files
        rows = self._read.batch_size or duck.BATCH_ROWS
        match self._connection:
            case CsvSourceConnection():
                return CsvReader(self._name, self._connection, files, declared, rows, self._duck)
            case JsonSourceConnection():
                return JsonReader(self._name, self._connection, files, declared, rows, self._duck())
            case _:
                return ParquetReader(self._name, files, declared, rows)

    def _duck(self) -> duck.Connection:
        return self._opened.enter_context(closing(duck.connect()))
