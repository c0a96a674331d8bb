"""The rewriting that a compaction does, again and again until no other writer comes between. Commits nothing.

Files that were rewritten are kept through a lost race as long as they still stand for exactly what is in the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from pyiceberg.expressions import BooleanExpression
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, ManifestContent
from pyiceberg.table import FileScanTask, Table, TableProperties
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER_ID, SortField, SortOrder
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from pyiceberg.utils.bin_packing import PackingIterator

from iceframe.change import Change
from iceframe.commit import Plan
from iceframe.errors import StorageError
from iceframe.files import SORTED_BYTES, discard, written
from iceframe.maintenance.reachable import files_of, manifests_of
from iceframe.partitions import sort_order, sorted_rows
from iceframe.scan import planned, read_batches, storage

_SMALL = 0.75
"""A file is small when it is less than this part of the target size."""
_OPEN_BINS = 64
_NEVER = str(1 << 62)


@dataclass(frozen=True, slots=True)
class _Bin:
    """Files that were rewritten together, as they were when they were read."""

    tasks: tuple[FileScanTask, ...]
    written: tuple[DataFile, ...]
    rows: int

    def fits(self, live: dict[str, FileScanTask]) -> bool:
        """Whether all its files are there, with exactly the deletes that were applied."""
        return all(
            task.file.file_path in live and _deletes(live[task.file.file_path]) == _deletes(task) for task in self.tasks
        )


@dataclass
class Rewriting:
    """What a compaction has rewritten so far; a lost race keeps what still fits."""

    target: int
    min_files: int
    where: BooleanExpression
    sort: tuple[str, ...] | None
    branch: str
    bins: list[_Bin] = field(default_factory=list)
    shape: tuple[int, int] | None = None
    candidates: frozenset[str] | None = None

    def plan(self, table: Table) -> Plan:
        """Rewrite what has to be, seen from the head of the branch as it is now."""
        head = table.metadata.snapshot_by_name(self.branch)
        if head is None:
            return Plan(change=None)
        live = _live(table, head)
        self._keep_fitting(table, live)
        for tasks in self._groups(table, head, live):
            self.bins.append(self._rewritten(table.metadata, table.io, tasks))
        return Plan(change=self._change(table, head, live))

    def _keep_fitting(self, table: Table, live: dict[str, FileScanTask]) -> None:
        shape = (table.metadata.current_schema_id, table.metadata.default_spec_id)
        kept = [one for one in self.bins if shape == self.shape and one.fits(live)]
        for stale in self.bins:
            if stale not in kept:
                discard(table.io, stale.written)
        self.bins, self.shape = kept, shape

    def _groups(self, table: Table, head: Snapshot, live: dict[str, FileScanTask]) -> Iterator[list[FileScanTask]]:
        """Files that become one, each group of one partition and one partition spec."""
        if self.candidates is None:
            with storage("the manifests"):
                found = planned(table.metadata, table.io, head.snapshot_id, self.where)
                self.candidates = frozenset(task.file.file_path for task in found)
        done = {task.file.file_path for one in self.bins for task in one.tasks}
        partitions: dict[tuple[int, Record], list[FileScanTask]] = {}
        for path, task in live.items():
            if path in self.candidates and path not in done and (self._is_small(task) or task.delete_files):
                partitions.setdefault((task.file.spec_id, task.file.partition), []).append(task)
        for tasks in partitions.values():
            for group in PackingIterator(tasks, self.target, _OPEN_BINS, lambda one: one.file.file_size_in_bytes):
                if sum(map(self._is_small, group)) >= self.min_files or any(one.delete_files for one in group):
                    yield group

    def _is_small(self, task: FileScanTask) -> bool:
        return task.file.file_size_in_bytes < _SMALL * self.target

    def _rewritten(self, metadata: TableMetadata, io: FileIO, tasks: Sequence[FileScanTask]) -> _Bin:
        counts: list[int] = []
        rows = _counted(read_batches(metadata, io, tasks, metadata.schema()), counts)
        ordered = _ordered(metadata, self.sort)
        if sort_order(ordered):
            rows = _in_runs(rows, ordered)
        files = written(_one_file(metadata), io, rows)
        try:
            _require_all(tasks, sum(counts), sum(file.record_count for file in files))
        except StorageError:
            discard(io, files)
            raise
        return _Bin(tuple(tasks), files, sum(counts))

    def _change(self, table: Table, head: Snapshot, live: dict[str, FileScanTask]) -> Change | None:
        removed = {task.file.file_path: task.file for one in self.bins for task in one.tasks}
        needed = {path for name, task in live.items() if name not in removed for path in _deletes(task)}
        dangling = tuple(file for file in _delete_files(table, head) if file.file_path not in needed)
        if not removed and not dangling:
            return None
        return Change(
            operation="replace",
            added=tuple(file for one in self.bins for file in one.written),
            removed=tuple(removed.values()),
            dangling=dangling,
            counts={"rows": sum(one.rows for one in self.bins)},
        )


def _live(table: Table, head: Snapshot) -> dict[str, FileScanTask]:
    with storage("the manifests"):
        return {task.file.file_path: task for task in planned(table.metadata, table.io, head.snapshot_id)}


def _deletes(task: FileScanTask) -> frozenset[str]:
    return frozenset(file.file_path for file in task.delete_files)


def _delete_files(table: Table, head: Snapshot) -> Iterator[DataFile]:
    for manifest in manifests_of([head], table.io):
        if manifest.content == ManifestContent.DELETES:
            yield from files_of(manifest, table.io)


def _counted(rows: Iterable[pa.RecordBatch], counts: list[int]) -> Iterator[pa.RecordBatch]:
    for batch in rows:
        counts.append(batch.num_rows)
        yield batch


def _in_runs(rows: Iterable[pa.RecordBatch], ordered: TableMetadata) -> Iterator[pa.RecordBatch]:
    """The rows, sorted as many at a time as memory allows."""
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in rows:
        waiting.append(batch)
        size += batch.nbytes
        if size >= SORTED_BYTES:
            yield from _sorted(waiting, ordered)
            size = 0
    if waiting:
        yield from _sorted(waiting, ordered)


def _sorted(waiting: list[pa.RecordBatch], ordered: TableMetadata) -> Iterator[pa.RecordBatch]:
    """One run; what waited is let go, so that the rows are held twice at most."""
    together = pa.Table.from_batches(waiting).combine_chunks().to_batches()
    waiting.clear()
    while together:
        yield sorted_rows(ordered, together.pop(0))


def _ordered(metadata: TableMetadata, columns: Sequence[str] | None) -> TableMetadata:
    """Metadata with the sort order that is wanted."""
    if columns is None:
        return metadata
    fields = [SortField(metadata.schema().find_field(name).field_id, IdentityTransform()) for name in columns]
    order = SortOrder(*fields, order_id=max(one.order_id for one in metadata.sort_orders) + 1 if fields else 0)
    return metadata.model_copy(
        update={"sort_orders": [*metadata.sort_orders, order], "default_sort_order_id": order.order_id}
    )


def _one_file(metadata: TableMetadata) -> TableMetadata:
    """Metadata that makes one file of the rows of a partition, as the group is as large as a file should be."""
    properties = {**metadata.properties, TableProperties.WRITE_TARGET_FILE_SIZE_BYTES: _NEVER}
    return metadata.model_copy(update={"properties": properties, "default_sort_order_id": UNSORTED_SORT_ORDER_ID})


def _require_all(tasks: Sequence[FileScanTask], read: int, written: int) -> None:
    """See that no row was lost or came twice before anything is committed."""
    said = sum(task.file.record_count for task in tasks)
    whole = not any(task.delete_files for task in tasks)
    if written != read or read > said or (whole and read != said):
        raise StorageError(
            f"{len(tasks)} files from {tasks[0].file.file_path} on should hold {said} rows, {read} were read and "
            f"{written} written",
            hint="nothing was committed",
        )
