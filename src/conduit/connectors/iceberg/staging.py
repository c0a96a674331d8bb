"""Rows of one commit, brought where no reader looks: data files without a snapshot, or a spool on this machine.

Appended and replacing rows are data files from the start. Rows that must be compared with the table first are spooled
to an Arrow file, which is then mapped into memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyiceberg.io import FileIO, load_file_io
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadataUtil

from conduit.arrow import pa
from conduit.connectors.iceberg.types import conformed
from conduit.contract import Staged
from conduit.errors import ConnectionFailed
from iceframe.errors import IceFrameError
from iceframe.files import write_data_files
from iceframe.scan import storage
from iceframe.schemas import arrow_schema


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStager:
    """Writes data files of a table, from any worker that reaches its warehouse.

    Attributes:
        destination: name of the connection, for messages.
        table: name of the table, for messages.
        metadata: of the table, as JSON.
        location: of the metadata file; it decides how files are opened.
        properties: by which files are opened.
    """

    destination: str
    table: str
    metadata: str
    location: str
    properties: Mapping[str, str]

    def stage(self, part: str, rows: Iterator[pa.RecordBatch]) -> Staged:
        """Write the rows. Each call writes files of its own: those that a commit is not given never become visible.

        Raises:
            DataError: a value does not fit its column.
            ConnectionFailed: a file cannot be written.
        """
        metadata = TableMetadataUtil.parse_raw(self.metadata)
        schema = arrow_schema(metadata.schema())
        files: list[DataFile] = []
        with _writing(self.destination, self.table):
            io = load_file_io(dict(self.properties), self.location)
            try:
                ready = (conformed(batch, schema, self.table) for batch in rows)
                files += write_data_files(metadata, io, ready)
            except BaseException:
                remove(io, files)
                raise
        return Staged(part=part, rows=sum(file.record_count for file in files), detail=tuple(files))


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolStager:
    """Writes Arrow files into a folder of this machine.

    Attributes:
        destination: name of the connection, for messages.
        table: name of the table, for messages.
        folder: where the files go.
        schema: the rows in the table's types.
    """

    destination: str
    table: str
    folder: Path
    schema: pa.Schema

    def stage(self, part: str, rows: Iterator[pa.RecordBatch]) -> Staged:
        """Write the rows; a second call for the same part writes them anew.

        Raises:
            DataError: a value does not fit its column.
            ConnectionFailed: the disk is full.
        """
        path = self.folder / f"{re.sub(r'[^A-Za-z0-9]+', '-', part)}.arrow"
        written = 0
        with _writing(self.destination, self.table), pa.ipc.new_file(str(path), self.schema) as writer:
            for batch in rows:
                writer.write_batch(conformed(batch, self.schema, self.table))
                written += batch.num_rows
        return Staged(part=part, rows=written, detail=str(path))


def file_stager(destination: str, name: str, table: Table) -> FileStager:
    """The stager for data files of a table as it is now."""
    return FileStager(
        destination=destination,
        table=name,
        metadata=table.metadata.model_dump_json(),
        location=table.metadata_location,
        properties=dict(table.io.properties),
    )


def spooled(staged: Sequence[Staged], schema: pa.Schema) -> pa.Table:
    """The rows of all spooled parts, mapped into memory."""
    tables = [pa.ipc.open_file(pa.memory_map(piece.detail)).read_all() for piece in staged]
    return pa.concat_tables([schema.empty_table(), *tables])


def remove(io: FileIO, files: Sequence[DataFile]) -> None:
    """Delete data files that no snapshot knows; one that cannot be deleted stays behind as an orphan."""
    for file in files:
        try:
            io.delete(file.file_path)
        except OSError:
            continue


@contextmanager
def _writing(destination: str, table: str) -> Iterator[None]:
    try:
        with storage("a file of the commit"):
            yield
    except IceFrameError as error:
        raise ConnectionFailed(
            f"{destination}: load {table}: {error}", hint="check the free space and the permission to write"
        ) from error
