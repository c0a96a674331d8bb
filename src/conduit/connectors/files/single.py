"""One CSV or JSON file as a destination. Each commit writes the whole file anew and renames it into place.

The mark is in a log beside the file, which is written first: the rename that puts the content in place also puts its
mark in force, because the mark is the entry whose fingerprint the file has.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from conduit import shrink, state_log
from conduit.arrow import pa
from conduit.connectors.files import dataset, disk, foreign
from conduit.connectors.files.config import FileDestinationConnection
from conduit.connectors.files.content import Content
from conduit.connectors.files.failures import reading, writing
from conduit.connectors.files.marklog import Entry, MarkLog
from conduit.connectors.files.marks import moves, swapped
from conduit.connectors.files.parts import Layout, Part
from conduit.connectors.files.present import Existing
from conduit.connectors.files.staging import FileStager, Stage, own_folder, staged_parts
from conduit.connectors.files.target import PART_FORMATS, Rows, refuse_columns, require_forms, require_permission
from conduit.contract import Committed, Load, OutcomeUnknown, Staged, Write
from conduit.errors import Busy, ConfigError, ConnectionFailed
from conduit.faults import crash_point
from conduit.locks import short_lock
from conduit.marks import Identity, Mark, mark_of


class SingleFile:
    """The file, its log and its stages, which are hidden beside it."""

    def __init__(self, name: str, connection: FileDestinationConnection, folder: Path) -> None:
        self._name = name
        self._type = connection.file_type
        whole = folder / connection.path
        self._path = Path(os.path.realpath(whole.parent)) / whole.name
        self._beside = self._path.with_name(f".{self._path.name}.conduit")
        self._log = MarkLog(self._path)

    def check(self) -> str:
        """The file can be written, or made.

        Raises:
            ConnectionFailed: it cannot.
        """
        self._require_file()
        require_permission(self._name, self._path.parent)
        return f"{self._path} can be written" + ("" if self._path.exists() else " (it will be made)")

    def marks(self, table: str, *, settle: bool = False) -> Sequence[Mark]:  # noqa: ARG002 - a file is one table
        """Those of the entry that the file's content has.

        Raises:
            StateConflict: the file was changed or removed by somebody else.
        """
        self._require_file()
        if settle and self._beside.is_dir():
            with reading(self._name, self._path.name), short_lock(self.lock):
                return self._log.current().marks
        return self._current().marks

    def describe(self, table: str) -> pa.Schema | None:  # noqa: ARG002 - a file is one table
        """As the log says; None for a file that conduit never wrote: it has names, and no types."""
        self._require_file()
        return dataset.schema_from(self._current().schema)

    def begin(self, write: Write) -> Load:
        """Make a stage; refuse, before a row comes, what the file cannot take.

        Raises:
            ConfigError: the file is another table, or has no such column.
            DataError: a column has no form in the file, or a file of others has other columns.
        """
        self._require_file()
        current = self._current()
        self._require_table(current, write.table)
        known = dataset.schema_from(current.schema)
        schema, refused = dataset.table_schema(known, write.schema, ())
        refuse_columns(self._name, self._path.name, refused)
        appends = write.mode == "append" and current.size > 0
        if known is None and appends:
            schema = foreign.in_order_of(self._name, self._path, schema)
        layout = Layout(
            format=PART_FORMATS[self._type],
            schema=schema,
            header=False,
            line_end=foreign.line_end(self._path) if appends and self._type == "csv" else "\n",
        )
        require_forms(self._name, layout)
        existing = Existing([self._path], self._type)
        stage = self._stage(write)
        content = Content(self._path, layout, is_array=self._path.suffix.lower() == ".json")
        return SingleFileLoad(self, current, write, stage, Rows(self._name, stage, layout, write, existing), content)

    def set_mark(self, table: str, old: Mark | None, new: Mark) -> None:
        """An entry with the same content and another mark.

        Raises:
            Fenced: the mark is not `old`.
        """
        self._require_file()
        with writing(self._name, self._path):
            disk.make_folder(self._path.parent)
            own_folder(self._beside)
            with short_lock(self.lock):
                current = self._log.current()
                self._require_table(current, table)
                self.record(current, _with_marks(current, swapped(current.marks, old, new, table)))

    def log(self, identity: Identity) -> Sequence[state_log.Entry]:
        """The entries up to the one that the file's content has; the log beside a file keeps a few only."""
        self._require_file()
        current, entries = self._current(), self._log.entries()
        place = entries.index(current) + 1 if current in entries else 0
        return state_log.entries_of([mark_of(one.marks, identity) for one in entries[:place]])

    # --- for the load -----------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the connection."""
        return self._name

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def lock(self) -> Path:
        """Held while a commit reads, writes and renames."""
        return self._beside / "lock"

    def current(self) -> Entry:
        """The entry of the file as it is now."""
        return self._log.current()

    def record(self, current: Entry, new: Entry) -> None:
        """Add the entry of the content to come; the present one stays before it."""
        others = (entry for entry in self._log.entries() if entry not in (current, new))
        kept = [entry for entry in others if entry.sha256 or not current.sha256]
        self._log.write([*kept, current, new], self._beside)

    def forget_absence(self) -> None:
        """Once the file is there, no entry says that it is not: without the file its marks are then in dispute."""
        entries = self._log.entries()
        if any(not entry.sha256 for entry in entries):
            self._log.write([entry for entry in entries if entry.sha256], self._beside)

    # --- checks -----------------------------------------------------------------------------------------

    def _current(self) -> Entry:
        with reading(self._name, self._path.name):
            return self._log.current()

    def _stage(self, write: Write) -> Stage:
        with writing(self._name, self._path):
            disk.make_folder(self._path.parent)
            own_folder(self._beside)
            with short_lock(self.lock):
                return Stage(self._beside, write.identity)

    def _require_file(self) -> None:
        """No folder and no link stands at the file's name: a link would be replaced, not followed."""
        if self._path.is_symlink():
            raise ConnectionFailed(f"{self._name}: {self._path} is a symbolic link", hint="name the file itself")
        if self._path.is_dir():
            raise ConnectionFailed(f"{self._name}: {self._path} is a folder", hint="end the path with /")

    def _require_table(self, current: Entry, table: str) -> None:
        others = {mark.identity.table for mark in current.marks} - {table}
        if others:
            raise ConfigError(
                f"{self._name}: {self._path.name} is the table {others.pop()}; a file holds one table, not {table} too",
                hint="set the same `into` for both resources, or give a folder as the path",
            )


class SingleFileLoad:
    """One commit to a file."""

    def __init__(
        self, file: SingleFile, begun: Entry, write: Write, stage: Stage, rows: Rows, content: Content
    ) -> None:
        self._file = file
        self._begun = begun
        self._write = write
        self._stage = stage
        self._rows = rows
        self._content = content
        self._replaces = write.mode == "replace"

    def stager(self) -> FileStager:
        """Writes parts into the stage."""
        return self._rows.stager()

    def commit(self, staged: Sequence[Staged], old: Mark | None, new: Mark | None) -> Committed:
        """Content and mark become visible with one rename.

        Raises:
            Fenced: the mark is not `old` any more.
            OutcomeUnknown: it was done, and the system cannot promise that it lasts.
        """
        crash_point("load.staged")
        with writing(self._file.name, self._file.path), short_lock(self._file.lock):
            committed, parts = self._rows.settle(staged_parts(staged), self._stage.new_folder("load"))
            current = self._file.current()
            marks = swapped(current.marks, old, new, self._write.table)
            self._require_columns(current)
            before = self._rows_of(current)
            shrink.refuse(self._write, before=before, after=committed.inserted)
            if not (committed.inserted or moves(old, new) or (self._replaces and before)):
                return committed
            if committed.inserted or self._replaces:
                self._put(current, before, marks, parts)
            else:
                self._file.record(current, _with_marks(current, marks))
            committed = replace(committed, deleted=before if self._replaces else 0)
            self._make_durable(committed)
        return committed

    def abort(self) -> None:
        """Remove the stage."""
        self._stage.close()

    def _require_columns(self, current: Entry) -> None:
        """The file has the columns that it had when the load began, or those that the load has."""
        if current.schema not in (self._begun.schema, dataset.schema_text(self._rows.schema)):
            raise Busy(
                f"{self._file.name}: another resource gave {self._file.path.name} its columns meanwhile", retryable=True
            )

    def _rows_of(self, current: Entry) -> int:
        """The rows in the file; those of a file that somebody else wrote are counted, unless any number may go."""
        if current.schema or not current.size or (self._replaces and self._write.allow_shrink >= 1):
            return current.rows
        return foreign.rows_of(self._file.name, self._file.path)

    def _put(self, current: Entry, before: int, marks: tuple[Mark, ...], parts: Sequence[Part]) -> None:
        """Write the file anew, then its entry, then rename."""
        fresh = self._replaces or not current.size
        content = self._content.replaced(parts) if fresh else self._content.appended(parts)
        draft = self._stage.folder / "content"
        size, sha256 = self._write_draft(draft, content)
        entry = Entry(
            size=size,
            sha256=sha256,
            marks=marks,
            schema=dataset.schema_text(self._rows.schema),
            rows=(0 if fresh else before) + sum(part.rows for part in parts),
        )
        if self._file.current() != current:
            raise ConnectionFailed(f"{self._file.name}: {self._file.path} changed while it was written", retryable=True)
        self._file.record(current, entry)
        crash_point("load.marked")
        draft.replace(self._file.path)
        crash_point("load.committed")

    def _write_draft(self, draft: Path, content: Iterator[bytes]) -> tuple[int, str]:
        """The new content on disk, with the permissions of the old file, and its fingerprint."""
        digest, size = hashlib.sha256(), 0
        old = self._file.path.stat().st_mode & 0o777 if self._file.path.exists() else None
        with disk.new_file(draft, 0o666 if old is None else 0o600) as stream:
            for chunk in content:
                stream.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            if old is not None:
                draft.chmod(old)
            disk.sync(stream)
        return size, digest.hexdigest()

    def _make_durable(self, committed: Committed) -> None:
        try:
            disk.sync_folder(self._file.path.parent)
            if self._file.path.exists():
                self._file.forget_absence()
        except OSError as error:
            raise OutcomeUnknown(
                f"{self._file.name}: {self._file.path}: {error.strerror}", committed=committed
            ) from error


def _with_marks(entry: Entry, marks: tuple[Mark, ...]) -> Entry:
    return Entry(size=entry.size, sha256=entry.sha256, marks=marks, schema=entry.schema, rows=entry.rows)
