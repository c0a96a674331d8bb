"""The changes of a window of snapshots, row by row: what each of them inserted, updated and deleted.

Exact as a multiset: who takes the deletes from the rows of the first snapshot and adds the inserts has the rows of the
last. Knows nothing of where the window comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.types import LongType, NestedField, StringType

from iceframe.deltas import added_manifests, appended_files, exchanged_files, only_appends
from iceframe.errors import SnapshotExpiredError, ValidationError
from iceframe.multiset import paired, surplus
from iceframe.reading import FileScan, Reading
from iceframe.scan import chosen
from iceframe.schemas import BATCH_ROWS, arrow_schema
from iceframe.snapshots import Window, operation_of

CHANGE_TYPE = "_change_type"
"""insert, update_before, update_after or delete."""
COMMIT_SNAPSHOT = "_commit_snapshot_id"
"""The snapshot that made the change."""

_LABELS = (
    NestedField(2147483543, CHANGE_TYPE, StringType(), required=True),
    NestedField(2147483541, COMMIT_SNAPSHOT, LongType(), required=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changelog:
    """The changes of the snapshots of a window, in their order.

    Attributes:
        reading: what is asked of the rows.
        window: the snapshots; without a start, all rows of the last snapshot are inserts.
        key: columns that tell rows apart. A snapshot that removes one row of a key and adds one updates it; without a
            key that is a delete and an insert.

    Of one snapshot come first the deletes, then the updates, each as it was and as it is, then the inserts. Snapshots
    that only add or only take away files are streamed; one that does both is held in memory with the files that it
    exchanges.
    """

    reading: Reading
    window: Window
    key: Sequence[str] = ()

    @property
    def schema(self) -> Schema:
        """The columns of the rows, and two more: what happened, and in which snapshot."""
        return Schema(*self.reading.schema.fields, *_LABELS)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The changes, batch by batch.

        Raises:
            SnapshotExpiredError: the snapshot before a change is gone, and with it what was changed.
            StorageError: a file is missing or corrupt.
            UnsupportedError: the table has equality deletes.
        """
        if self.window.since is None:
            if self.window.until is not None:
                yield from self._labelled(self.reading.all(self.window.until).batches(), "insert", self.window.until)
            return
        before = self.reading.metadata.snapshot_by_id(self.window.since)
        for snapshot in self.window.snapshots:
            if operation_of(snapshot) != "replace":
                yield from self._of(before, snapshot)
            before = snapshot

    def empty(self) -> bool:
        """Whether nothing was changed; nothing is read if no snapshot could have changed a row."""
        return not any(batch.num_rows for batch in self.batches())

    def _of(self, before: Snapshot | None, snapshot: Snapshot) -> Iterator[pa.RecordBatch]:
        old, new = self._files(before, snapshot)
        if old and new:
            yield from self._exchanged(self._table(old), self._table(new), snapshot.snapshot_id)
            return
        yield from self._labelled(self.reading.of(old).batches(), "delete", snapshot.snapshot_id)
        yield from self._labelled(self.reading.of(new).batches(), "insert", snapshot.snapshot_id)

    def _files(
        self, before: Snapshot | None, snapshot: Snapshot
    ) -> tuple[Sequence[FileScanTask], Sequence[FileScanTask]]:
        """The files to read for a snapshot: with removed rows among theirs, and with added rows."""
        asked = self.reading
        if operation_of(snapshot) == "append":
            manifests = added_manifests(asked.io, snapshot)
            if only_appends(asked.io, snapshot, manifests):
                return (), appended_files(asked.metadata, asked.io, [snapshot], manifests, asked.where)
        if before is None:
            raise SnapshotExpiredError(
                f"snapshot {self.window.since} was expired, and snapshot {snapshot.snapshot_id} "
                f"({operation_of(snapshot)}) changed its rows: which ones cannot be told",
                hint="load everything again with since=None, and keep snapshots until they are read",
            )
        return exchanged_files(asked.metadata, asked.io, before, snapshot, asked.where)

    def _exchanged(self, old: pa.Table, new: pa.Table, snapshot_id: int) -> Iterator[pa.RecordBatch]:
        found = paired(*surplus(old, new), self.key)
        yield from self._labelled(_batches(found.removed), "delete", snapshot_id)
        for batch in _batches(_alternating(found.before, found.after)):
            pair = pa.array(["update_before", "update_after"] * (batch.num_rows // 2), pa.large_string())
            yield self._with(batch, pair, snapshot_id)
        yield from self._labelled(_batches(found.added), "insert", snapshot_id)

    def _table(self, files: Sequence[FileScanTask]) -> pa.Table:
        """All rows of some files, with the key even if it is not asked for."""
        scan = with_columns(self.reading.of(files), self.key)
        return pa.Table.from_batches(scan.batches(), schema=arrow_schema(scan.schema))

    def _labelled(self, rows: Iterable[pa.RecordBatch], change: str, snapshot_id: int) -> Iterator[pa.RecordBatch]:
        for batch in rows:
            yield self._with(batch, pa.repeat(pa.scalar(change, pa.large_string()), batch.num_rows), snapshot_id)

    def _with(self, batch: pa.RecordBatch, change: pa.Array[Any], snapshot_id: int) -> pa.RecordBatch:
        rows = [batch.column(field.name) for field in self.reading.schema.fields]
        made_by = pa.repeat(pa.scalar(snapshot_id, pa.int64()), batch.num_rows)
        return pa.RecordBatch.from_arrays([*rows, change, made_by], schema=arrow_schema(self.schema))


def changelog(reading: Reading, window: Window, key: Sequence[str] | None) -> Changelog:
    """The changes of a window.

    Raises:
        ValidationError: an unknown key column, or a column has the name of one that a changelog adds.
    """
    taken = {CHANGE_TYPE, COMMIT_SNAPSHOT} & {field.name for field in reading.schema.fields}
    if taken:
        raise ValidationError(
            f"the table has a column {', '.join(sorted(taken))}, which is the name of one that a changelog adds",
            hint="leave it out with columns=",
        )
    return Changelog(reading=reading, window=window, key=key_of(reading.metadata.schema(), key))


def key_of(schema: Schema, key: Sequence[str] | None) -> tuple[str, ...]:
    """The columns that tell rows apart: those named, else the identifier fields of the table; often none.

    Identifier fields inside structs are no columns; a table that has such tells its rows apart by a `key` only.

    Raises:
        ValidationError: an unknown column.
    """
    names = [field.name for field in schema.fields]
    if key is None:
        identifiers = schema.identifier_field_names()
        return tuple(name for name in names if name in identifiers) if identifiers <= set(names) else ()
    wanted = (key,) if isinstance(key, str) else tuple(key)
    chosen(schema, wanted)
    return wanted


def with_columns(scan: FileScan, names: Sequence[str]) -> FileScan:
    """The scan with more columns of the table."""
    has = [field.name for field in scan.schema.fields]
    return replace(scan, schema=chosen(scan.metadata.schema(), [*has, *(name for name in names if name not in has)]))


def _alternating(before: pa.Table, after: pa.Table) -> pa.Table:
    rows = pl.int_range(before.num_rows, eager=True)
    order = pl.DataFrame({"before": rows, "after": rows + before.num_rows}).select(pl.concat_list(pl.all())).to_series()
    return pa.concat_tables([before, after]).take(pc.list_flatten(order.to_arrow()).drop_null())


def _batches(rows: pa.Table) -> list[pa.RecordBatch]:
    """Batches of an even number of rows, so that the two images of a row stay together."""
    return rows.combine_chunks().to_batches(max_chunksize=BATCH_ROWS)
