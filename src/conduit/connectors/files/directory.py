"""A folder of data sets as a destination: `<root>/<table>/load-<seq>/`, one folder a commit.

A load is made complete beside the root, where no reader looks; `publication` makes it visible.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from conduit import shrink
from conduit.arrow import pa, pq
from conduit.config.names import table_problem
from conduit.connectors.files import dataset, disk, foreign
from conduit.connectors.files.config import FileDestinationConnection
from conduit.connectors.files.dataset import LoadRecord
from conduit.connectors.files.failures import reading, writing
from conduit.connectors.files.marks import moves
from conduit.connectors.files.parts import Layout
from conduit.connectors.files.present import Existing
from conduit.connectors.files.publication import Place, Publication
from conduit.connectors.files.staging import FileStager, Stage, own_folder, staged_parts
from conduit.connectors.files.target import PART_FORMATS, Rows, refuse_columns, require_forms, require_permission
from conduit.connectors.files.wire import copied, fits
from conduit.contract import Committed, Load, Staged, Write
from conduit.errors import Busy, ConfigError, ConnectionFailed
from conduit.faults import crash_point
from conduit.locks import short_lock
from conduit.marks import Identity, Mark, mark_of
from conduit.state_log import Entry, entries_of
from conduit.wires import Wire


class Directory:
    """The root folder; each table is a folder in it."""

    def __init__(self, name: str, connection: FileDestinationConnection, folder: Path) -> None:
        self._name = name
        self._format = PART_FORMATS[connection.file_type]
        self._root = Path(os.path.realpath(folder / connection.path))

    def check(self) -> str:
        """The root can be written, or made, and files can be staged beside it.

        Raises:
            ConnectionFailed: they cannot.
        """
        if self._root.exists() and not self._root.is_dir():
            raise ConnectionFailed(f"{self._name}: {self._root} is a file, not a folder")
        if self._root.is_mount():
            raise ConnectionFailed(
                f"{self._name}: {self._root} is a mount point, and files are staged beside the folder",
                hint="use a folder below it",
            )
        require_permission(self._name, self._root)
        require_permission(self._name, self._root.parent)
        return f"{self._root} can be written" + ("" if self._root.exists() else " (it will be made)")

    def marks(self, table: str, *, settle: bool = False) -> Sequence[Mark]:
        """Those of the newest load.

        Raises:
            StateConflict: a load is missing, or cannot be read.
        """
        place = self._place(table)
        if settle and place.beside.is_dir():
            with writing(self._name, place.folder), short_lock(place.lock):
                record = place.newest()
        else:
            record = place.newest()
        return record.marks if record else ()

    def describe(self, table: str) -> pa.Schema | None:
        """As the newest load says; of Parquet files that others wrote, the schema of the first."""
        place = self._place(table)
        return self._schema(place, place.newest())

    def begin(self, write: Write) -> Load:
        """Make a stage; refuse, before a row comes, what the table cannot take.

        Raises:
            DataError: a column has no form in these files, or their columns are others.
            StateConflict: a replace would remove files of others.
        """
        place = self._place(write.table)
        begun = place.newest()
        known = self._schema(place, begun)
        schema, refused = dataset.table_schema(known, write.schema, write.add_columns)
        refuse_columns(self._name, write.table, refused)
        files = dataset.data_files(place.folder, self._format)
        if known is None and files:
            schema = foreign.in_order_of(self._name, files[0], schema)
        layout = Layout(format=self._format, schema=schema)
        require_forms(self._name, layout)
        if write.mode == "replace":
            place.refuse_strangers()
        existing = Existing(files, "json" if self._format == "ndjson" else self._format, known.names if known else ())
        stage = self._stage(place, write.identity)
        load = DirectoryLoad(place, begun, write, stage, Rows(self._name, stage, layout, write, existing, self._format))
        load.require_exchange()
        return load

    def set_mark(self, table: str, old: Mark | None, new: Mark) -> None:
        """A load with a mark and without parts.

        Raises:
            Fenced: the mark is not `old`.
        """
        place = self._place(table)
        stage = self._stage(place, new.identity)
        try:
            with writing(self._name, place.folder):
                publication = Publication(place, stage, replaces=False)
                publication.publish([], None, old, new)
            publication.make_durable(Committed())
        finally:
            stage.close()

    def log(self, identity: Identity) -> Sequence[Entry]:
        """The marks that came with the loads; a replace begins anew."""
        place = self._place(identity.table)
        with reading(self._name, str(place.folder)):
            records = dataset.every(place.folder)
        return entries_of([mark_of(record.marks, identity) for record in records])

    # --- places -----------------------------------------------------------------------------------------

    def _place(self, table: str) -> Place:
        problem = table_problem(table)
        if problem:
            raise ConfigError(f"{self._name}: {problem}")
        folder = self._root / table
        if folder.is_symlink():
            raise ConnectionFailed(f"{self._name}: {folder} is a symbolic link", hint="put the folder itself there")
        beside = self._root.with_name(f".{self._root.name}.conduit") / table
        return Place(self._name, table, folder, beside, self._format)

    def _stage(self, place: Place, identity: Identity) -> Stage:
        with writing(self._name, place.folder):
            disk.make_folder(self._root)
            own_folder(own_folder(place.beside.parent) / place.table)
            with short_lock(place.lock):
                return Stage(place.beside, identity)

    def _schema(self, place: Place, record: LoadRecord | None) -> pa.Schema | None:
        if record is not None and record.schema:
            return dataset.schema_from(record.schema)
        files = dataset.data_files(place.folder, "parquet") if self._format == "parquet" else []
        if not files:
            return None
        with reading(self._name, files[0].name):
            return pq.read_schema(str(files[0]))


class DirectoryLoad:
    """One commit to a data set."""

    def __init__(self, place: Place, begun: LoadRecord | None, write: Write, stage: Stage, rows: Rows) -> None:
        self._place = place
        self._begun = begun
        self._write = write
        self._stage = stage
        self._rows = rows
        self._replaces = write.mode == "replace"

    def require_exchange(self) -> None:
        """A replace can be done on this file system; tried on two empty folders in the stage.

        Raises:
            ConnectionFailed: it cannot.
        """
        if not self._replaces:
            return
        try:
            with writing(self._place.destination, self._place.folder):
                disk.exchange(self._stage.new_folder("left"), self._stage.new_folder("right"))
        except ConnectionFailed:
            self.abort()
            raise

    def stager(self) -> FileStager:
        """Writes parts into the stage."""
        return self._rows.stager()

    def takes(self, wire: Wire) -> bool:
        """The files of the wire can be parts of the table, and no row has to be compared with those in it."""
        compared = self._write.mode == "merge" or self._write.leave_out_present
        return self._place.format == "parquet" and not compared and fits(wire, self._rows.schema)

    def receive(self, wire: Wire) -> Staged:
        """Copy the files into the stage."""
        stager = self._rows.stager()
        return copied(wire, stager.destination, stager.folder)

    def commit(self, staged: Sequence[Staged], old: Mark | None, new: Mark | None) -> Committed:
        """Rows and mark become visible with one rename.

        Raises:
            Fenced: the mark is not `old` any more.
            OutcomeUnknown: it was done, and the system cannot promise that it lasts.
        """
        crash_point("load.staged")
        with writing(self._place.destination, self._place.folder):
            publication = Publication(self._place, self._stage, replaces=self._replaces)
            committed, parts = self._rows.settle(staged_parts(staged), publication.load)
            if not (committed.inserted or moves(old, new) or self._removes_rows()):
                return committed

            def expect(before: LoadRecord | None) -> None:
                self._require_table(before)
                shrink.refuse(self._write, before=before.rows if before else 0, after=committed.inserted)

            deleted = publication.publish(parts, self._rows.schema, old, new, expect=expect)
        committed = replace(committed, deleted=deleted)
        publication.make_durable(committed)
        return committed

    def abort(self) -> None:
        """Remove the stage."""
        self._stage.close()

    def _require_table(self, before: LoadRecord | None) -> None:
        """The table is what it was when the load began, as far as the rows were made for it."""
        begun = self._begun
        fitting = (begun.schema if begun else "", dataset.schema_text(self._rows.schema))
        same_rows = (before.seq if before else 0) == (begun.seq if begun else 0)
        if (before.schema if before else "") not in fitting or (self._write.leave_out_present and not same_rows):
            raise Busy(
                f"{self._place.destination}: another resource wrote to {self._place.table} meanwhile", retryable=True
            )

    def _removes_rows(self) -> bool:
        before = self._place.newest() if self._replaces else None
        return before is not None and before.rows > 0
