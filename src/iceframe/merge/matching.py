"""The rows of one data file that a source key belongs to: positions in the file, and rows of the source.

Positions count all rows of the file, those too that position deletes have taken away already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask
from pyiceberg.table.metadata import TableMetadata

from iceframe.internals import OpenFile, deleted_positions
from iceframe.merge.arrow import Array
from iceframe.merge.keys import ROW, comparable, key_frame, plain
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
        if not positions.len():
            return 0, 0
        if self.start <= positions[0] and positions[-1] < self.start + self.count:
            return 0, positions.len()
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

    def lazy_spans(self, columns: Mapping[str, Schema]) -> Iterator[Span]:
        """All rows in their order, in spans whose columns are not read before they are asked for.

        Args:
            columns: each column by its name, as a schema of its own.

        Raises:
            StorageError: the file is corrupt.
        """
        start = 0
        sizes = self.file.column_sizes or {}
        names = sorted(columns, key=lambda name: sizes.get(columns[name].fields[0].field_id, 0))
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

    def _columns_of(self, columns: Mapping[str, Schema], group: int) -> Callable[[str], Array]:
        read: dict[str, Array] = {}

        def column(name: str) -> Array:
            if name not in read:
                batches = self._read(columns[name], group)
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
    lookup = Lookup(source)
    for batch in rows.batches(keys) if source.height else ():
        found.vstack(lookup.found(batch.columns, start), in_place=True)
        start += batch.num_rows
    if rows.deleted.len():
        found = found.join(rows.deleted.to_frame(), on=AT, how="anti").sort(AT)
    return Matches(found, rows.deleted)


class Lookup:
    """Finds source keys among keys of the table.

    Args:
        source: source keys with the numbers of their rows.
    """

    def __init__(self, source: pl.DataFrame) -> None:
        self._source = source
        self._names = [name for name in source.columns if name != ROW]
        counts = source.select(pl.col(self._names).n_unique()).row(0) if len(self._names) > 1 else (0,)
        self._place = counts.index(max(counts))
        one = source[self._names[self._place]]
        self._exact = not one.dtype.is_float()
        self._values: Any = one.to_arrow()
        self._rows = source[ROW].to_arrow()

    def found(self, columns: Sequence[Array], start: int) -> pl.DataFrame:
        """Positions and source rows of the keys that are in the source, by position.

        Args:
            columns: the key columns of rows that stand together in a file.
            start: the position of the first of them.
        """
        if not self._exact:
            return self._joined(key_frame(columns), pl.int_range(len(columns[0]), dtype=pl.Int64, eager=True), start)
        # most rows fall out by the column with the most values already; Arrow takes NULL for a value here
        column = plain(columns[self._place]).cast(self._values.type)
        places: Any = pc.index_in(column, value_set=self._values)
        hit: Any = pc.indices_nonzero(pc.is_valid(places))
        at = comparable(hit).cast(pl.Int64)
        if len(self._names) > 1:
            return self._joined(key_frame([column.take(hit) for column in columns]), at, start)
        return pl.DataFrame({AT: at + start, ROW: comparable(self._rows.take(places.take(hit)))})

    def _joined(self, keys: pl.DataFrame, at: pl.Series, start: int) -> pl.DataFrame:
        rows = keys.with_columns((at + start).alias(AT))
        return rows.join(self._source, on=self._names, how="inner", nulls_equal=True).select(AT, ROW).sort(AT)
