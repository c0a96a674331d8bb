"""Merge-on-read: rows that change are deleted by their position, and what they become is written beside them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.conversions import to_bytes
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table.locations import load_location_provider
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.types import LongType

from iceframe.errors import UnsupportedError
from iceframe.merge.edits import Editor, Edits, Update
from iceframe.merge.matching import Matches, Reader, Rows, Span
from iceframe.merge.rewrite import Outcome
from iceframe.scan import storage

_PATH_ID, _POS_ID = 2147483546, 2147483545


def _column(name: str, kind: pa.DataType, field_id: int) -> pa.Field[Any]:
    return pa.field(name, kind, nullable=False, metadata={"PARQUET:field_id": str(field_id)})


_COLUMNS = (_column("file_path", pa.string(), _PATH_ID), _column("pos", pa.int64(), _POS_ID))
_SHAPE = pa.schema(_COLUMNS)


@dataclass(frozen=True, slots=True)
class Marked:
    """What one file contributes.

    Attributes:
        images: what its rows become, batch by batch.
        outcome: its rows and files; set when it is known.
    """

    images: pa.RecordBatch | None = None
    outcome: Outcome | None = None


def require_version(metadata: TableMetadata, name: str, *, on_read: bool) -> None:
    """See that the format of the table allows what is to be written.

    Raises:
        UnsupportedError: position deletes outside of version 2, or a version that keeps the lineage of rows.
    """
    version = metadata.format_version
    if on_read and version != 2:
        raise UnsupportedError(
            f"{name} has format version {version}, and merge-on-read is written for version 2 only",
            hint="set write.merge.mode to copy-on-write",
        )
    if version > 2:
        raise UnsupportedError(f"{name} has format version {version}, which cannot be merged into yet")


def marked(reader: Reader, file: Rows, editor: Editor, matches: Matches) -> Iterator[Marked]:
    """Find the rows of a file that change, and write their positions into a delete file.

    Args:
        reader: knows the table.
        file: its rows; columns are read when a clause needs them.
        editor: applies the clauses.
        matches: the rows of the file that the source has.

    Yields:
        The new images, and at the end what happened to the file.

    Raises:
        StorageError: a file cannot be read or written.
        ValidationError, SchemaError: what the clauses raise.
    """
    outcome, positions = Outcome(), [matches.deleted.clear()]
    for span in file.lazy_spans(editor.binding.columns):
        edits = editor.edits(span, matches)
        outcome.count(edits)
        positions += [places + span.start for places in _places(edits)]
        for update in edits.updates:
            yield Marked(images=_image(span, update, editor))
    _finish(reader, file.file, matches, pl.concat(positions).sort(), outcome)
    yield Marked(outcome=outcome)


def _finish(reader: Reader, file: DataFile, matches: Matches, positions: pl.Series, outcome: Outcome) -> None:
    """A delete file, or no file at all if no row of it is left."""
    if not positions.len():
        return
    if positions.len() + matches.deleted.len() == file.record_count:
        outcome.removed.append(file)
        return
    with storage("a delete file"):
        outcome.deletes.append(write_delete_file(reader.metadata, reader.io, file, positions))


def _places(edits: Edits) -> list[pl.Series]:
    return [*edits.deleted, *(update.places for update in edits.updates)]


def _image(span: Span, update: Update, editor: Editor) -> pa.RecordBatch:
    """The rows that an update makes, with the columns that it leaves as they are."""
    shape = editor.binding.shape
    return pa.RecordBatch.from_arrays([editor.image(span, update, name) for name in shape.names], schema=shape)


def write_delete_file(metadata: TableMetadata, io: FileIO, file: DataFile, positions: pl.Series) -> DataFile:
    """Write a position delete file for one data file; readers find it by its path, which is both of its bounds.

    Args:
        metadata: the table's.
        io: writes the file.
        file: whose rows are deleted.
        positions: which rows, ascending.

    Raises:
        OSError, pa.ArrowException: it cannot be written.
    """
    locations = load_location_provider(metadata.location, metadata.properties)
    path = locations.new_data_location(f"{uuid.uuid4()}-deletes.parquet")
    table = pa.table([pa.repeat(pa.scalar(file.file_path), positions.len()), positions.to_arrow()], schema=_SHAPE)
    with (
        io.new_output(path).create() as stream,
        pq.ParquetWriter(cast("IO[bytes]", stream), _SHAPE, compression="zstd") as writer,
    ):
        writer.write_table(table)
    target = file.file_path.encode()
    return _described(file, path, len(io.new_input(path)), positions, target)


def _described(file: DataFile, path: str, size: int, positions: pl.Series, target: bytes) -> DataFile:
    rows = positions.len()
    found = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=file.partition,
        record_count=rows,
        file_size_in_bytes=size,
        column_sizes=None,
        value_counts={_PATH_ID: rows, _POS_ID: rows},
        null_value_counts={_PATH_ID: 0, _POS_ID: 0},
        nan_value_counts=None,
        lower_bounds={_PATH_ID: target, _POS_ID: to_bytes(LongType(), positions[0])},
        upper_bounds={_PATH_ID: target, _POS_ID: to_bytes(LongType(), positions[-1])},
        key_metadata=None,
        split_offsets=None,
        equality_ids=None,
        sort_order_id=None,
        spec_id=file.spec_id,
    )
    found.spec_id = file.spec_id
    return found
