"""Rows into data files of a table, a row group at a time. Knows no snapshot and commits nothing.

pyiceberg's own writer takes all rows of a stream before it writes the first file; this one holds a few row groups.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.io import FileIO
from pyiceberg.io.fileformat import FileFormatFactory, FileFormatWriter
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionKey
from pyiceberg.schema import sanitize_column_names
from pyiceberg.table import TableProperties
from pyiceberg.table.locations import load_location_provider
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.sorting import NullOrder, SortDirection
from pyiceberg.typedef import Record
from pyiceberg.utils.properties import property_as_int

from iceframe.internals import as_in_files, by_partition

Direction = Literal["ascending", "descending"]

GROUP_BYTES = 32 << 20
"""Rows wait in memory until they are this many bytes of Arrow, then they become a row group."""
SORTED_BYTES = 128 << 20
"""In a sorted table: rows wait until they are this many bytes, are sorted, and become a file."""
WAITING_BYTES = 128 << 20
"""All rows that wait, of all partitions together."""


def write_data_files(metadata: TableMetadata, io: FileIO, rows: Iterable[pa.RecordBatch]) -> Iterator[DataFile]:
    """Write rows as data files, partitioned and sorted as the table says.

    Args:
        metadata: the table's; its current schema, spec, sort order and properties are used.
        io: writes the files.
        rows: batches whose columns are those of the table's schema, in its types.

    Yields:
        Each file when it is whole. No snapshot knows it yet.

    Raises:
        OSError, pa.ArrowException: a file cannot be written. What was written stays behind as an orphan.
    """
    fan = _Fan(metadata, io)
    try:
        for batch in rows:
            yield from fan.add(batch)
        yield from fan.finish()
    finally:
        fan.abandon()


@dataclass
class _Fan:
    """One open file for each partition that rows came for."""

    metadata: TableMetadata
    io: FileIO
    lanes: dict[Record | None, _Lane] = field(default_factory=dict)
    shape: _Shape = field(init=False)

    def __post_init__(self) -> None:
        self.shape = _Shape(self.metadata, self.io)

    def add(self, batch: pa.RecordBatch) -> Iterator[DataFile]:
        """Take rows; the files that became whole by them."""
        for key, rows in self._parts(batch):
            name = key.partition if key else None
            lane = self.lanes.get(name) or self.lanes.setdefault(name, _Lane(self.shape, key))
            lane.waiting.append(rows)
            lane.bytes += rows.nbytes
            if lane.bytes >= self.shape.group_bytes:
                yield from lane.flush()
        while sum(lane.bytes for lane in self.lanes.values()) > WAITING_BYTES:
            fullest = max(self.lanes.values(), key=lambda lane: lane.bytes)
            yield from fullest.flush()

    def finish(self) -> Iterator[DataFile]:
        """Write what still waits; the files that were open."""
        while self.lanes:
            _, lane = self.lanes.popitem()
            yield from lane.flush()
            yield from lane.close()

    def abandon(self) -> None:
        """Close what an error left open."""
        for lane in self.lanes.values():
            list(lane.close())
        self.lanes.clear()

    def _parts(self, batch: pa.RecordBatch) -> list[tuple[PartitionKey | None, pa.Table]]:
        if not batch.num_rows:
            return []
        table = pa.Table.from_batches([batch])
        if self.metadata.spec().is_unpartitioned():
            return [(None, table)]
        return [(key, rows) for key, rows in by_partition(self.metadata, table)]


class _Shape:
    """What all files of a write have in common."""

    def __init__(self, metadata: TableMetadata, io: FileIO) -> None:
        properties = metadata.properties
        self.metadata = metadata
        self.io = io
        self.schema = sanitize_column_names(metadata.schema())
        self.locations = load_location_provider(metadata.location, properties)
        self.sorting = sorting(metadata)
        self.group_bytes = SORTED_BYTES if self.sorting else GROUP_BYTES
        self.write_id = uuid.uuid4()
        self.files = 0
        self.target = (
            property_as_int(
                properties,
                TableProperties.WRITE_TARGET_FILE_SIZE_BYTES,
                TableProperties.WRITE_TARGET_FILE_SIZE_BYTES_DEFAULT,
            )
            or TableProperties.WRITE_TARGET_FILE_SIZE_BYTES_DEFAULT
        )

    def sorted(self, rows: pa.Table) -> pa.Table:
        """The rows in the order of the table."""
        if not self.sorting:
            return rows
        places = pc.sort_indices(rows, sort_keys=self.sorting[0], null_placement=self.sorting[1])
        return rows.take(places)

    def next_path(self, key: PartitionKey | None) -> str:
        """Where the next file goes."""
        self.files += 1
        return self.locations.new_data_location(f"{self.files:05d}-{self.write_id}.parquet", key)


@dataclass
class _Lane:
    """The rows of one partition: those that wait, and the file that is open."""

    shape: _Shape
    key: PartitionKey | None
    waiting: list[pa.Table] = field(default_factory=list)
    bytes: int = 0
    writer: FileFormatWriter | None = None
    path: str = ""
    written: int = 0

    def flush(self) -> Iterator[DataFile]:
        """Write the waiting rows as a row group; the file, if it is large enough now."""
        if not self.waiting:
            return
        rows = self.shape.sorted(pa.concat_tables(self.waiting).combine_chunks())
        self.waiting, self.bytes = [], 0
        for batch in rows.to_batches():
            self._open().write(pa.Table.from_batches([as_in_files(batch, self.shape.schema)]))
        self.written += rows.nbytes
        if self.shape.sorting or self.written >= self.shape.target:
            yield from self.close()

    def close(self) -> Iterator[DataFile]:
        """End the open file."""
        if self.writer is None:
            return
        writer, self.writer, self.written = self.writer, None, 0
        statistics = writer.close()
        yield DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=self.path,
            file_format=FileFormat.PARQUET,
            partition=self.key.partition if self.key else Record(),
            file_size_in_bytes=len(self.shape.io.new_input(self.path)),
            sort_order_id=None,
            spec_id=self.shape.metadata.default_spec_id,
            equality_ids=None,
            key_metadata=None,
            **statistics.to_serialized_dict(),
        )

    def _open(self) -> FileFormatWriter:
        if self.writer is None:
            self.path = self.shape.next_path(self.key)
            model = FileFormatFactory.get(FileFormat.PARQUET)
            output = self.shape.io.new_output(self.path)
            self.writer = model.create_writer(output, self.shape.schema, self.shape.metadata.properties)
        return self.writer


def sorting(metadata: TableMetadata) -> tuple[list[tuple[str, Direction]], Literal["at_start", "at_end"]] | None:
    """The table's sort order as Arrow sort keys and the place of NULLs; None for a table without one."""
    schema, order = metadata.schema(), metadata.sort_order_by_id(metadata.default_sort_order_id)
    if order is None or order.is_unsorted:
        return None
    keys = [
        (schema.find_column_name(one.source_id) or "", _DIRECTIONS[one.direction])
        for one in order.fields
        if one.transform.preserves_order
    ]
    nulls_first = order.fields[0].null_order == NullOrder.NULLS_FIRST
    return (keys, "at_start" if nulls_first else "at_end") if keys else None


_DIRECTIONS: dict[SortDirection, Direction] = {SortDirection.ASC: "ascending", SortDirection.DESC: "descending"}
