"""Reading a table at one snapshot: batches, a Polars frame, a lazy frame. Knows nothing of what changed since when."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
from pyiceberg.exceptions import ResolveError
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.io import FileIO
from pyiceberg.manifest import ManifestFile
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, ManifestGroupPlanner, Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot

from iceframe.errors import IceFrameError, SchemaError, StorageError, UnsupportedError, ValidationError
from iceframe.filters import Where, condition_of
from iceframe.internals import read_file
from iceframe.late import late
from iceframe.parallel import in_order
from iceframe.schemas import arrow_schema, frame_schema

if TYPE_CHECKING:
    import polars as pl
    from polars.io import plugins
else:
    pl, plugins = late("polars"), late("polars.io.plugins")

_ALL = AlwaysTrue()
_AT_ONCE = 2
_DEPTH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """A pinned read: what it gives does not change, whatever is committed meanwhile.

    Attributes:
        metadata: the table's, as it was when the read was pinned.
        io: opens files.
        snapshot_id: what is read; None: an empty table.
        schema: the columns that are read.
        where: a condition that pyiceberg can prune files by.
        also: a Polars condition, applied to the rows that were read.
        limit: rows at most.
    """

    metadata: TableMetadata
    io: FileIO
    snapshot_id: int | None
    schema: Schema
    where: BooleanExpression = field(default_factory=AlwaysTrue)
    also: pl.Expr | None = None
    limit: int | None = None

    def files(self) -> list[FileScanTask]:
        """The data files to read, with the deletes that belong to each.

        Raises:
            UnsupportedError: the table has equality deletes.
            StorageError: a manifest is missing or corrupt.
        """
        if self.snapshot_id is None:
            return []
        with storage("the manifests"):
            return list(planned(self.metadata, self.io, self.snapshot_id, self.where))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, batch by batch, in bounded memory.

        Raises:
            StorageError: a data file is missing or corrupt.
        """
        rows = read_batches(self.metadata, self.io, self.files(), self._read_schema(), self.where)
        return _limited(self._filtered(rows), self.limit)

    def reader(self) -> pa.RecordBatchReader:
        """The rows as an Arrow stream."""
        return pa.RecordBatchReader.from_batches(arrow_schema(self.schema), self.batches())

    def frame(self) -> pl.DataFrame:
        """The rows as a Polars frame, with the table's columns and types even without rows."""
        return framed(self.batches(), self.schema)

    def lazy(self) -> pl.LazyFrame:
        """The rows as a lazy frame: read when it is collected, only the columns and rows that are asked for."""
        return plugins.register_io_source(self._lazily, schema=frame_schema(self.schema))

    def count(self) -> int:
        """The number of rows; files without deletes and without a filter are counted by their metadata."""
        files = self.files()
        if isinstance(self.where, AlwaysTrue) and self.also is None and not any(one.delete_files for one in files):
            rows = sum(one.file.record_count for one in files)
            return rows if self.limit is None else min(rows, self.limit)
        return sum(batch.num_rows for batch in self.batches())

    def _lazily(
        self, columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, _batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        """What Polars asks a source for."""
        needed = [
            *(columns or self.schema.column_names),
            *(predicate.meta.root_names() if predicate is not None else []),
        ]
        narrow = replace(self, schema=chosen(self.schema, list(dict.fromkeys(needed))))
        left = rows
        for batch in narrow.batches():
            frame = _frame_of(batch)
            frame = frame if predicate is None else frame.filter(predicate)
            frame = frame.select(columns or self.schema.column_names).head(frame.height if left is None else left)
            yield frame
            left = None if left is None else left - frame.height
            if left == 0:
                return

    def _read_schema(self) -> Schema:
        """The columns to read: those of the answer, and those that the Polars condition looks at."""
        if self.also is None:
            return self.schema
        names = [field.name for field in self.schema.fields]
        return chosen(self.metadata.schema(), [*names, *(n for n in self.also.meta.root_names() if n not in names)])

    def _filtered(self, rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        if self.also is None:
            yield from rows
            return
        shape = arrow_schema(self.schema)
        for batch in rows:
            kept = _frame_of(batch).filter(self.also).select(shape.names)
            yield from kept.to_arrow().cast(shape).to_batches()


def pinned(
    table: Table,
    *,
    columns: Sequence[str] | None = None,
    where: Where = None,
    snapshot_id: int | None = None,
    branch: str | None = None,
    limit: int | None = None,
) -> Scan:
    """A read of the table at a snapshot: the one named, or the head of a branch (of main unless said).

    Raises:
        ValidationError: no such snapshot or branch, an unknown column, a filter that makes no sense.
    """
    metadata = table.metadata
    if snapshot_id is None:
        head = metadata.snapshot_by_name(branch or "main")
        if head is None and branch not in {None, "main"}:
            raise ValidationError(f"{'.'.join(table.name())} has no branch or tag {branch!r}")
        snapshot_id = head.snapshot_id if head else None
        schema = metadata.schema()
    else:
        metadata = as_at(metadata, snapshot_id)
        schema = metadata.schema()
    condition = condition_of(where, schema)
    return Scan(
        metadata=metadata,
        io=table.io,
        snapshot_id=snapshot_id,
        schema=chosen(schema, columns),
        where=condition.files,
        also=condition.rows,
        limit=limit,
    )


def read_batches(
    metadata: TableMetadata,
    io: FileIO,
    files: Iterable[FileScanTask],
    schema: Schema,
    where: BooleanExpression = _ALL,
) -> Iterator[pa.RecordBatch]:
    """The rows of data files, file after file, each batch in exactly `arrow_schema(schema)`.

    Two files are read ahead, a few batches of each: memory does not grow with the rows.

    Raises:
        StorageError: a file is missing or corrupt.
    """
    shape = arrow_schema(schema)

    def rows(task: FileScanTask) -> Iterator[pa.RecordBatch]:
        with storage(task.file.file_path):
            for batch in read_file(metadata, io, task, schema, where):
                yield pa.RecordBatch.from_arrays(batch.columns, names=batch.schema.names).cast(shape)

    return in_order((partial(rows, task) for task in files), ahead=_AT_ONCE, depth=_DEPTH)


def planned(
    metadata: TableMetadata, io: FileIO, snapshot_id: int, where: BooleanExpression = _ALL
) -> Iterable[FileScanTask]:
    """The data files of a snapshot that may hold rows for which the condition holds.

    Raises:
        StorageError: a manifest is missing or corrupt.
        UnsupportedError: the table has equality deletes.
    """
    snapshot = metadata.snapshot_by_id(snapshot_id)
    files = manifests(io, snapshot) if snapshot else []
    with storage("the manifests"):
        return ManifestGroupPlanner(metadata, io, where).plan_files(files)


def manifests(io: FileIO, snapshot: Snapshot) -> list[ManifestFile]:
    """The manifests of a snapshot; none of them is opened.

    Raises:
        StorageError: the manifest list is missing or corrupt.
    """
    what = f"the manifest list of snapshot {snapshot.snapshot_id}"
    with storage(what):
        found = snapshot.manifests(io)
    said = snapshot.summary.additional_properties.get("total-data-files", "0") if snapshot.summary else "0"
    if not found and said != "0":
        raise StorageError(f"{what} is torn: it names no manifest, and the snapshot has {said} data files")
    return found


def framed(rows: Iterator[pa.RecordBatch], schema: Schema) -> pl.DataFrame:
    """Batches of one schema as a frame."""
    shape = arrow_schema(schema)
    found = pl.from_arrow(pa.Table.from_batches(list(rows), schema=shape))
    return found if isinstance(found, pl.DataFrame) else found.to_frame()


def chosen(schema: Schema, columns: Sequence[str] | None) -> Schema:
    """The columns asked for, in the order in which they were asked for.

    Raises:
        ValidationError: a column is not there, with the names that are.
    """
    if columns is None:
        return schema
    names = [one.name for one in schema.fields]
    missing = [name for name in columns if name not in names]
    if missing:
        raise ValidationError(f"unknown column {', '.join(missing)}", hint=f"columns: {', '.join(names)}")
    return Schema(*(schema.find_field(name) for name in columns), schema_id=schema.schema_id)


@contextmanager
def storage(what: str) -> Iterator[None]:
    """Errors of files become ours.

    Raises:
        StorageError: a file is missing, corrupt, or cannot be read.
        UnsupportedError: the table has equality deletes.
    """
    try:
        yield
    except IceFrameError:
        raise
    except FileNotFoundError as error:
        raise StorageError(f"{what} is missing", hint="restore it, or roll the table back") from error
    except ResolveError as error:
        raise SchemaError(f"{what} does not fit the table's schema: {error}") from error
    except (
        OSError,
        pa.ArrowException,
        EOFError,
        struct.error,
        zlib.error,
        SystemError,
        LookupError,
        TypeError,
    ) as error:
        # the last three: what pyiceberg's Avro reader makes of a torn manifest
        raise StorageError(f"{what} cannot be read: {' '.join(str(error).split())[:300]}") from error
    except ValueError as error:
        if "equality deletes" in str(error):
            raise UnsupportedError(
                "the table has equality deletes, which cannot be read here",
                hint="rewrite them with the engine that wrote them",
            ) from error
        raise StorageError(f"{what} cannot be read: {error}") from error


def as_at(metadata: TableMetadata, snapshot_id: int) -> TableMetadata:
    """The table's metadata with the columns that it had at a snapshot.

    Raises:
        ValidationError: there is no such snapshot.
    """
    snapshot = metadata.snapshot_by_id(snapshot_id)
    if snapshot is None:
        raise ValidationError(f"there is no snapshot {snapshot_id}", hint="it was expired, or is another table's")
    if all(one.schema_id != snapshot.schema_id for one in metadata.schemas):
        return metadata
    return metadata.model_copy(update={"current_schema_id": snapshot.schema_id})


def _limited(rows: Iterator[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    if limit is None:
        yield from rows
        return
    left = limit
    while left > 0 and (batch := next(rows, None)) is not None:
        yield batch.slice(0, left)
        left -= batch.num_rows


def _frame_of(batch: pa.RecordBatch) -> pl.DataFrame:
    found = pl.from_arrow(batch)
    return found if isinstance(found, pl.DataFrame) else found.to_frame()
