"""What is asked of rows: which columns, which condition; and a read of files that are known. Knows no snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.io import FileIO
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask
from pyiceberg.table.metadata import TableMetadata

from iceframe.errors import ValidationError
from iceframe.filters import Where, condition_of
from iceframe.scan import Scan, chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class FileScan(Scan):
    """A read of some files.

    Attributes:
        tasks: the files, with the deletes that belong to each.
    """

    tasks: tuple[FileScanTask, ...]

    def files(self) -> list[FileScanTask]:
        """The files."""
        return list(self.tasks)

    def empty(self) -> bool:
        """Whether there are no rows; no file is read unless there are deletes or a condition."""
        exact = isinstance(self.where, AlwaysTrue) and self.also is None
        if exact and any(one.file.record_count and not one.delete_files for one in self.tasks):
            return False
        return not any(batch.num_rows for batch in self.batches())


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is asked of the rows of a table, whatever files they are in.

    Attributes:
        metadata: the table's.
        io: opens files.
        schema: the columns of the answer.
        where: a condition that files can be pruned by.
        also: a Polars condition.
    """

    metadata: TableMetadata
    io: FileIO
    schema: Schema
    where: BooleanExpression
    also: pl.Expr | None

    def of(self, files: Iterable[FileScanTask]) -> FileScan:
        """The read of some files."""
        return FileScan(
            metadata=self.metadata,
            io=self.io,
            snapshot_id=None,
            schema=self.schema,
            where=self.where,
            also=self.also,
            tasks=tuple(files),
        )

    def all(self, snapshot_id: int | None) -> FileScan:
        """The read of all files of a snapshot, in the columns of today.

        Raises:
            StorageError: a manifest is missing or corrupt.
            UnsupportedError: the table has equality deletes.
        """
        scan = Scan(metadata=self.metadata, io=self.io, snapshot_id=snapshot_id, schema=self.schema, where=self.where)
        return self.of(scan.files())


def reading(metadata: TableMetadata, io: FileIO, columns: Sequence[str] | None, where: Where) -> Reading:
    """What is asked, once it is clear that the table has it.

    Raises:
        ValidationError: an unknown column, no column at all, or a filter that makes no sense.
    """
    if isinstance(columns, str) or (columns is not None and not columns):
        raise ValidationError(f"columns are a list of names; it is {columns!r}")
    schema = chosen(metadata.schema(), columns)
    condition = condition_of(where, metadata.schema())
    return Reading(metadata=metadata, io=io, schema=schema, where=condition.files, also=condition.rows)
