"""Rows into data files of a table, a row group at a time. Knows no snapshot and commits nothing.

pyiceberg's own writer takes all rows of a stream before it writes the first file; this one holds a few row groups.
"""

from __future__ import annotations

import uuid
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io import FileIO, OutputStream
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionKey
from pyiceberg.schema import sanitize_column_names
from pyiceberg.table import TableProperties
from pyiceberg.table.locations import load_location_provider
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.typedef import Record
from pyiceberg.utils.properties import property_as_int

from iceframe.errors import StorageError, UnsupportedError
from iceframe.footers import statistics
from iceframe.internals import parquet_options
from iceframe.partitions import Partition, by_partition, sort_order, sorted_rows
from iceframe.schemas import fitted

GROUP_BYTES = 32 << 20
"""Rows wait in memory until they are this many bytes of Arrow, then they become a row group."""
SORTED_BYTES = 48 << 20
"""In a sorted table: rows wait until they are this many bytes, are sorted, and become a file."""
WAITING_BYTES = 64 << 20
"""All rows that wait, of all partitions together."""
OPEN_FILES = 32
"""Files that are open at once; with more partitions, some get several files."""


def write_data_files(metadata: TableMetadata, io: FileIO, rows: Iterable[pa.RecordBatch]) -> Iterator[DataFile]:
    """Write rows as data files, partitioned and sorted as the table says.

    Args:
        metadata: the table's; its current schema, spec, sort order and properties are used.
        io: writes the files.
        rows: batches; their columns go by name, and their types are widened to the table's.

    Yields:
        Each file when it is whole. No snapshot knows it yet. A file that is not whole when an error ends the write is
        deleted, those that were given out are the caller's.

    Raises:
        SchemaError: the rows do not fit the table.
        StorageError: a file cannot be written.
        UnsupportedError: the table wants another format than Parquet.
    """
    fan = _Fan(_Shape(metadata, io))
    try:
        for batch in fitted(rows, metadata.schema()):
            yield from fan.add(batch)
        yield from fan.finish()
    finally:
        fan.abandon()


def written(metadata: TableMetadata, io: FileIO, rows: Iterable[pa.RecordBatch]) -> tuple[DataFile, ...]:
    """All of the rows as data files, or, after an error, none.

    Raises:
        SchemaError: the rows do not fit the table.
        StorageError: a file cannot be written.
        UnsupportedError: the table wants another format than Parquet.
    """
    files: list[DataFile] = []
    whole = False
    try:
        for file in write_data_files(metadata, io, rows):
            files.append(file)  # noqa: PERF402 - those before an error are needed
        whole = True
    finally:
        if not whole:
            discard(io, files)
    return tuple(files)


def discard(io: FileIO, files: Iterable[DataFile]) -> None:
    """Delete files that no snapshot will know; one that cannot be deleted stays behind as an orphan."""
    for file in files:
        with suppress(OSError):
            io.delete(file.file_path)


class _Shape:
    """What all files of a write have in common."""

    def __init__(self, metadata: TableMetadata, io: FileIO) -> None:
        properties = metadata.properties
        _refuse_other_formats(properties)
        self.metadata = metadata
        self.io = io
        self.schema = sanitize_column_names(metadata.schema())
        self.arrow = schema_to_pyarrow(self.schema, include_field_ids=True)
        self.options = parquet_options(properties)
        self.dictionaries = [one.name for one in self.arrow if _is_text(one.type)]
        self.sorted = sort_order(metadata) is not None
        self.target = _number(
            properties,
            TableProperties.WRITE_TARGET_FILE_SIZE_BYTES,
            TableProperties.WRITE_TARGET_FILE_SIZE_BYTES_DEFAULT,
        )
        self.group_bytes = min(SORTED_BYTES if self.sorted else GROUP_BYTES, self.target)
        self.group_rows = _number(
            properties, TableProperties.PARQUET_ROW_GROUP_LIMIT, TableProperties.PARQUET_ROW_GROUP_LIMIT_DEFAULT
        )
        self._locations = load_location_provider(metadata.location, properties)
        self._write_id = uuid.uuid4()
        self._files = 0

    def next_path(self, partition: Partition | None) -> str:
        """Where the next file goes."""
        self._files += 1
        name = f"{self._files:05d}-{self._write_id}.parquet"
        return self._locations.new_data_location(name, cast("PartitionKey | None", partition))

    def as_in_files(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch under the names and field ids that it has in a file; nothing is copied."""
        columns = [values.view(one.type) for values, one in zip(batch.columns, self.arrow, strict=True)]
        return pa.RecordBatch.from_arrays(columns, schema=self.arrow)


class _Fan:
    """One lane for each partition that rows came for."""

    def __init__(self, shape: _Shape) -> None:
        self._shape = shape
        self._lanes: dict[Hashable, _Lane] = {}
        self._open: dict[Hashable, None] = {}

    def add(self, batch: pa.RecordBatch) -> Iterator[DataFile]:
        """Take rows; the files that became whole by them."""
        if not batch.num_rows:
            return
        for partition, rows in by_partition(self._shape.metadata, batch):
            key = partition.key if partition else None
            lane = self._lanes.setdefault(key, _Lane(self._shape, partition))
            lane.waiting.append(rows)
            lane.bytes += rows.nbytes
            if lane.bytes >= self._shape.group_bytes:
                yield from self._flush(key)
        while sum(lane.bytes for lane in self._lanes.values()) > WAITING_BYTES:
            yield from self._flush(max(self._lanes, key=lambda key: self._lanes[key].bytes))

    def finish(self) -> Iterator[DataFile]:
        """Write what still waits; the files that were open."""
        for key in list(self._lanes):
            yield from self._flush(key)
            yield from self._close(key)
            del self._lanes[key]

    def abandon(self) -> None:
        """Delete what an error left open."""
        for lane in self._lanes.values():
            lane.abandon()
        self._lanes.clear()

    def _flush(self, key: Hashable) -> Iterator[DataFile]:
        if key not in self._open and len(self._open) >= OPEN_FILES:
            yield from self._close(next(iter(self._open)))
        lane = self._lanes[key]
        lane.flush()
        self._open.pop(key, None)
        self._open[key] = None
        if self._shape.sorted or lane.written >= self._shape.target:
            yield from self._close(key)

    def _close(self, key: Hashable) -> Iterator[DataFile]:
        self._open.pop(key, None)
        if file := self._lanes[key].close():
            yield file


@dataclass
class _OpenFile:
    """A Parquet file that is being written."""

    path: str
    stream: OutputStream
    parquet: pq.ParquetWriter


@dataclass
class _Lane:
    """The rows of one partition: those that wait, and the file that is open."""

    shape: _Shape
    partition: Partition | None
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    bytes: int = 0
    written: int = 0
    file: _OpenFile | None = None

    def flush(self) -> None:
        """Write the waiting rows as a row group."""
        if not self.waiting:
            return
        waiting, self.waiting, self.bytes = self.waiting, [], 0
        if self.shape.sorted:
            together = pa.Table.from_batches(waiting).combine_chunks()
            waiting.clear()
            waiting.extend(sorted_rows(self.shape.metadata, batch) for batch in together.to_batches())
        rows = pa.Table.from_batches([self.shape.as_in_files(batch) for batch in waiting])
        with _writing(self.shape.metadata.location):
            self._opened().parquet.write_table(rows, row_group_size=self.shape.group_rows)
        self.written += rows.nbytes

    def close(self) -> DataFile | None:
        """End the open file; None: there is none."""
        if self.file is None:
            return None
        with _writing(self.file.path):
            self.file.parquet.close()
            self.file.stream.close()
            size = len(self.shape.io.new_input(self.file.path))
        made = self._described(self.file, size)
        self.file, self.written = None, 0
        return made

    def abandon(self) -> None:
        """Delete the open file."""
        if self.file is None:
            return
        file, self.file = self.file, None
        for end in (file.parquet.close, file.stream.close):
            with suppress(OSError, pa.ArrowException):
                end()
        with suppress(OSError):
            self.shape.io.delete(file.path)

    def _described(self, file: _OpenFile, size: int) -> DataFile:
        metadata = self.shape.metadata
        made = DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=file.path,
            file_format=FileFormat.PARQUET,
            partition=self.partition.record if self.partition else Record(),
            file_size_in_bytes=size,
            sort_order_id=metadata.default_sort_order_id if self.shape.sorted else None,
            equality_ids=None,
            key_metadata=None,
            **statistics(file.parquet.writer.metadata, self.shape.schema, metadata.properties),
        )
        made.spec_id = metadata.default_spec_id
        return made

    def _opened(self) -> _OpenFile:
        if self.file is None:
            path = self.shape.next_path(self.partition)
            stream = self.shape.io.new_output(path).create(overwrite=True)
            parquet = pq.ParquetWriter(
                cast("IO[Any]", stream),
                self.shape.arrow,
                use_dictionary=cast("bool", self.shape.dictionaries or False),
                store_decimal_as_integer=True,
                **self.shape.options,
            )
            self.file = _OpenFile(path, stream, parquet)
        return self.file


def _refuse_other_formats(properties: dict[str, str]) -> None:
    wanted = properties.get(TableProperties.WRITE_FILE_FORMAT, TableProperties.WRITE_FILE_FORMAT_DEFAULT)
    if wanted.lower() != "parquet":
        raise UnsupportedError(
            f"the table's data files are to be {wanted}, and only Parquet can be written",
            hint=f"set the table property {TableProperties.WRITE_FILE_FORMAT} to parquet",
        )


def _is_text(type_: pa.DataType) -> bool:
    """Only texts get dictionaries: numbers and times are hashed for nothing, and compress better without."""
    is_ = pa.types
    return any(fits(type_) for fits in (is_.is_string, is_.is_large_string, is_.is_binary, is_.is_large_binary))


def _number(properties: dict[str, str], name: str, default: int) -> int:
    return property_as_int(properties, name, default) or default


@contextmanager
def _writing(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{what} cannot be written: {' '.join(str(error).split())[:300]}") from error
