"""The rows of one data file that a source key belongs to: positions in the file, and rows of the source.

Positions count all rows of the file, those too that position deletes have taken away already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl
import pyarrow as pa
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask
from pyiceberg.table.metadata import TableMetadata

from iceframe.internals import OpenFile, deleted_positions
from iceframe.merge.arrow import Array
from iceframe.merge.keys import ROW, key_frame, key_name
from iceframe.scan import storage
from iceframe.schemas import arrow_schema

AT = "at"
"""The column of positions in frames of matches."""
_NOTHING = {AT: pl.Int64, ROW: pl.Int64}


@dataclass(frozen=True, slots=True)
class Span:
    """Rows of a data file that stand together, the deleted ones too.

    Attributes:
        start: the position of the first one.
        count: how many.
        column: the values of a column, one a row.
        names: the columns, those first that are read in the least time.
    """

    start: int
    count: int
    column: Callable[[str], Array]
    names: Sequence[str]

    def within(self, positions: pl.Series) -> tuple[int, int]:
        """The part of ascending positions that lies in this span, as start and length."""
        low = positions.search_sorted(self.start, side="left")
        high = positions.search_sorted(self.start + self.count, side="left")
        return low, high - low


class Rows:
    """The rows of an open data file, whatever was deleted of them."""

    def __init__(self, opened: OpenFile, task: FileScanTask, io: FileIO) -> None:
        self._opened, self._task, self._io = opened, task, io

    @property
    def file(self) -> DataFile:
        """The data file."""
        return self._task.file

    def batches(self, columns: Schema) -> Iterator[pa.RecordBatch]:
        """All rows in their order.

        Raises:
            StorageError: the file is corrupt.
        """
        return self._read(columns, None)

    def lazy_spans(self, columns: Schema) -> Iterator[Span]:
        """All rows in their order, in spans whose columns are not read before they are asked for.

        Raises:
            StorageError: the file is corrupt.
        """
        start = 0
        sizes = self.file.column_sizes or {}
        names = [one.name for one in sorted(columns.fields, key=lambda one: sizes.get(one.field_id, 0))]
        with storage(self.file.file_path):
            groups = self._opened.groups()
        for group, count in enumerate(groups):
            yield Span(start, count, self._columns_of(columns, group), names)
            start += count

    @cached_property
    def deleted(self) -> pl.Series:
        """The positions that are deleted, ascending.

        Raises:
            StorageError: a delete file is missing or corrupt.
        """
        if not self._task.delete_files:
            return pl.Series(AT, [], pl.Int64)
        with storage(f"a delete file of {self.file.file_path}"):
            found = pl.Series(AT, deleted_positions(self._io, self._task), pl.Int64)
        return found.unique().sort()

    def _columns_of(self, columns: Schema, group: int) -> Callable[[str], Array]:
        read: dict[str, Array] = {}

        def column(name: str) -> Array:
            if name not in read:
                batches = self._read(Schema(columns.find_field(name)), group)
                read[name] = pa.concat_arrays([batch.column(0) for batch in batches])
            return read[name]

        return column

    def _read(self, columns: Schema, group: int | None) -> Iterator[pa.RecordBatch]:
        shape = arrow_schema(columns)
        with storage(self.file.file_path):
            for batch in self._opened.read(columns, group):
                yield pa.RecordBatch.from_arrays(batch.columns, names=batch.schema.names).cast(shape)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads data files of a table at one version.

    Attributes:
        metadata: the table's.
        io: opens files.
    """

    metadata: TableMetadata
    io: FileIO

    @contextmanager
    def rows(self, task: FileScanTask) -> Iterator[Rows]:
        """The rows of a data file, which is open for so long.

        Raises:
            StorageError: the file is missing or corrupt.
        """
        with storage(task.file.file_path):
            opened = OpenFile(self.metadata, self.io, task.file)
        try:
            yield Rows(opened, task, self.io)
        finally:
            opened.close()


@dataclass(frozen=True, slots=True)
class Matches:
    """What a source has in common with one file.

    Attributes:
        found: positions, ascending, and the rows of the source that belong to them.
        deleted: positions that were deleted before, ascending.
    """

    found: pl.DataFrame
    deleted: pl.Series = field(default_factory=lambda: pl.Series(AT, [], pl.Int64))

    def of(self, span: Span) -> tuple[pl.Series, pl.Series]:
        """The matches in a span: places in it, and rows of the source."""
        part = self.found.slice(*span.within(self.found[AT]))
        return part[AT] - span.start, part[ROW]

    def gone(self, span: Span) -> pl.Series:
        """The deleted rows of a span, as places in it."""
        return self.deleted.slice(*span.within(self.deleted)) - span.start


def match(rows: Rows, source: pl.DataFrame, keys: Schema) -> Matches:
    """Find the rows of a file whose key is in the source; reads the key columns alone.

    Args:
        rows: of the file.
        source: the source keys that the file can hold.
        keys: the key columns.

    Raises:
        StorageError: the file is corrupt.
    """
    found, start = pl.DataFrame(schema=_NOTHING), 0
    for batch in rows.batches(keys) if source.height else ():
        found.vstack(_joined(batch, start, source), in_place=True)
        start += batch.num_rows
    if rows.deleted.len():
        found = found.join(rows.deleted.to_frame(), on=AT, how="anti")
    return Matches(found.sort(AT), rows.deleted)


def _joined(batch: pa.RecordBatch, start: int, source: pl.DataFrame) -> pl.DataFrame:
    names = [key_name(place) for place in range(batch.num_columns)]
    positions = pl.int_range(start, start + batch.num_rows, dtype=pl.Int64).alias(AT)
    rows = key_frame(batch.columns).with_columns(positions)
    return rows.join(source, on=names, how="inner", nulls_equal=True).select(AT, ROW)
