"""What the two forms of a destination of files share: a folder of data sets, and a single file.

`FileDestination` hands every call to the form that its path has.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from conduit.arrow import pa
from conduit.connectors.files import disk, duck, encode
from conduit.connectors.files.failures import writing
from conduit.connectors.files.parts import DRAFT, Layout, Part, PartFormat, write_parts
from conduit.connectors.files.present import MEMORY, Comparison, Existing
from conduit.connectors.files.staging import FileStager, Stage, move_parts
from conduit.contract import Committed, Load, Write
from conduit.errors import ConfigError, ConnectionFailed, DataError
from conduit.marks import Identity, Mark
from conduit.state_log import Entry


class Target(Protocol):
    """One form of a destination of files; the methods are those of `Destination`."""

    def check(self) -> str:
        """See the permissions; leave no trace."""
        ...

    def marks(self, table: str, *, settle: bool = False) -> Sequence[Mark]:
        """All marks of the table."""
        ...

    def describe(self, table: str) -> pa.Schema | None:
        """Columns of the table; None when they are unknown."""
        ...

    def begin(self, write: Write) -> Load:
        """Start one commit."""
        ...

    def set_mark(self, table: str, old: Mark | None, new: Mark) -> None:
        """Move a mark without rows."""
        ...

    def log(self, identity: Identity) -> Sequence[Entry]:
        """The positions that the files tell of."""
        ...


class Rows:
    """The rows of one load: staged, compared with what is there if need be, and ready to be put in place."""

    def __init__(
        self, destination: str, stage: Stage, layout: Layout, write: Write, existing: Existing, suffix: str = DRAFT
    ) -> None:
        """Set up the rows of a load.

        Args:
            destination: name of the connection.
            stage: the load's private folder.
            layout: what the parts look like in the end.
            write: the request.
            existing: the files that hold the table's rows.
            suffix: what the names of finished parts end in.
        """
        self._destination = destination
        self._stage = stage
        self._layout = layout
        self._write = write
        self._existing = existing
        self._suffix = suffix
        self._parts = stage.new_folder("parts")
        self._compares = write.leave_out_present and write.mode == "append"

    @property
    def schema(self) -> pa.Schema:
        """The columns of the table after the load."""
        return self._layout.schema

    def stager(self) -> FileStager:
        """Stages in the final layout, or in Parquet when rows may have to be left out again."""
        layout = Layout(format="parquet", schema=self._layout.schema) if self._compares else self._layout
        return FileStager(destination=self._destination, folder=self._parts, layout=layout)

    def settle(self, parts: Sequence[Part], folder: Path) -> tuple[Committed, list[Part]]:
        """Bring the rows that are to be inserted into `folder`.

        Raises:
            DataError: a value has no form in the layout.
            duckdb.Error, OSError: existing rows cannot be read, or the disk refuses.
        """
        if not self._compares or not parts:
            return Committed(inserted=sum(part.rows for part in parts)), move_parts(parts, folder, self._suffix)
        ordered = move_parts(parts, self._stage.new_folder("ordered"))
        spill = self._stage.new_folder("spill")
        with duck.connect(spill, MEMORY) as connection:
            comparison = Comparison(ordered, self._existing, self._write, connection)
            committed = comparison.committed
            if committed.inserted == sum(part.rows for part in parts) and self._layout.format == "parquet":
                return committed, move_parts(ordered, folder, self._suffix)
            kept = comparison.kept(self._layout.schema)
            return committed, write_parts(kept, self._layout, folder, "part", self._suffix)


def require_forms(destination: str, layout: Layout) -> None:
    """Every column can be written in the layout's format.

    Raises:
        DataError: one cannot; the message names it.
    """
    if layout.format != "parquet":
        encode.check(layout.schema, destination, layout.format)
        return
    for field in layout.schema:
        if not _in_parquet(field.type):
            raise DataError(f"{destination}: column {field.name} is of type {field.type}, which Parquet has not")


def _in_parquet(type_: pa.DataType) -> bool:
    if pa.types.is_nested(type_):
        return not pa.types.is_union(type_) and all(
            _in_parquet(type_.field(place).type) for place in range(type_.num_fields)
        )
    return not pa.types.is_interval(type_)


def require_permission(destination: str, path: Path) -> None:
    """The nearest folder that exists can be written.

    Raises:
        ConnectionFailed: it cannot.
    """
    with writing(destination, path):
        parent = disk.writable_parent(path)
    if parent is None:
        raise ConnectionFailed(f"{destination}: no permission to write {path}", hint="give this user the right to")


def refuse_columns(destination: str, table: str, refused: Sequence[str]) -> None:
    """No row has a column that the table neither has nor gets.

    Raises:
        ConfigError: one has.
    """
    if refused:
        raise ConfigError(
            f"{destination}: {table} has no column {', '.join(refused)}, and cannot be given one",
            hint="leave it out of the query, set `schema_changes: ignore`, or write to a folder",
        )


PART_FORMATS: dict[str, PartFormat] = {"csv": "csv", "json": "ndjson", "parquet": "parquet"}
"""What the parts of a data set are, by type of the connection."""
