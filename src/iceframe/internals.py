"""The one module that touches private names of pyiceberg; contract tests hold pyiceberg to them.

It turns decisions into objects of pyiceberg and reads and writes files; it decides nothing. pyiceberg is pinned to one
minor version for its sake.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import (
    ArrowScan,
    _determine_partitions,
    _read_all_delete_files,
    _to_requested_schema,
    pyarrow_to_schema,
)
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriterV2,
)
from pyiceberg.partitioning import PartitionKey, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update import TableRequirement, TableUpdate
from pyiceberg.table.update.snapshot import _OverwriteFiles

from iceframe.change import Change

_ALL = AlwaysTrue()


# --- reading --------------------------------------------------------------------------------------------


def read_file(
    metadata: TableMetadata, io: FileIO, task: FileScanTask, columns: Schema, where: BooleanExpression = _ALL
) -> Iterator[pa.RecordBatch]:
    """The rows of one data file, position deletes applied, in their order in the file, batch by batch.

    Args:
        metadata: the table's.
        io: opens the file.
        task: the file and the deletes that belong to it.
        columns: the columns of the answer, by field id.
        where: only rows for which this holds.

    Raises:
        OSError, pa.ArrowException: the file is missing or is not what it should be.
    """
    scan = ArrowScan(metadata, io, columns, where)
    deletes = _read_all_delete_files(io, [task])
    yield from scan._record_batches_from_scan_tasks_and_deletes([task], deletes)


# --- writing --------------------------------------------------------------------------------------------


def as_in_files(batch: pa.RecordBatch, schema: Schema) -> pa.RecordBatch:
    """The batch with the field ids of the table's schema, as it stands in a data file."""
    given = pyarrow_to_schema(batch.schema, name_mapping=schema.name_mapping)
    return _to_requested_schema(requested_schema=schema, file_schema=given, batch=batch, include_field_ids=True)


def by_partition(metadata: TableMetadata, rows: pa.Table) -> list[tuple[PartitionKey, pa.Table]]:
    """The rows of each partition of the table's current spec."""
    found = _determine_partitions(metadata.spec(), metadata.schema(), rows)
    return [(one.partition_key, one.arrow_table_partition) for one in found]


# --- committing -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StagedSnapshot:
    """A snapshot whose manifests are written and that no reader can see yet.

    Attributes:
        snapshot_id: the id that it will have.
        updates: what the catalog is asked to change.
        requirements: what must still hold for it, the head of the branch foremost.
        summary: its summary, with the counts of rows and files.
        paths: the metadata files that were written for it.
    """

    snapshot_id: int
    updates: tuple[TableUpdate, ...]
    requirements: tuple[TableRequirement, ...]
    summary: dict[str, str]
    paths: tuple[str, ...] = field(default=())


def stage_snapshot(table: Table, change: Change, *, branch: str, summary: dict[str, str]) -> StagedSnapshot:
    """Write manifests and the manifest list of one snapshot on the head of the branch.

    Raises:
        pyiceberg.exceptions.ValidationException: a file to be removed is not in the table any more.
    """
    producer = _Change(Transaction(table), table.io, change, branch, summary)
    updates, requirements = producer._commit()
    return StagedSnapshot(
        snapshot_id=producer.snapshot_id,
        updates=updates,
        requirements=requirements,
        summary=dict(producer.written_summary),
        paths=(*producer._written_manifests, *producer._written_manifest_lists),
    )


def send(table: Table, updates: tuple[TableUpdate, ...], requirements: tuple[TableRequirement, ...]) -> None:
    """Ask the catalog once, without pyiceberg's own retry; the table then is what the catalog answered."""
    table._do_commit(updates=updates, requirements=requirements)


class _Change(_OverwriteFiles):
    """One snapshot with exactly the files of a change: pyiceberg has no public way to a `replace` or to deletes."""

    def __init__(
        self, transaction: Transaction, io: FileIO, change: Change, branch: str, summary: dict[str, str]
    ) -> None:
        operation = Operation(change.operation)
        super().__init__(
            operation=operation, transaction=transaction, io=io, branch=branch, snapshot_properties=summary
        )
        self._deletes = change.deletes
        self.written_summary: dict[str, str] = {}
        for file in change.added:
            self.append_data_file(file)
        for file in change.removed:
            self.delete_data_file(file)

    def _summary(self, snapshot_properties: dict[str, str] | None = None) -> Summary:
        # pyiceberg computes the totals of a replace only under another name
        named, self._operation = self._operation, Operation.OVERWRITE
        data_files, self._added_data_files = self._added_data_files, [*self._added_data_files, *self._deletes]
        try:
            counted = super()._summary(snapshot_properties or {})
        finally:
            self._operation, self._added_data_files = named, data_files
        self.written_summary = dict(counted.additional_properties)
        return Summary(operation=named, **counted.additional_properties)

    def _existing_manifests(self) -> list[ManifestFile]:
        kept = super()._existing_manifests() if self._deleted_data_files else self._parent_manifests()
        return [manifest for manifest in kept if manifest.has_added_files() or manifest.has_existing_files()]

    def _deleted_entries(self) -> list[ManifestEntry]:
        return super()._deleted_entries() if self._deleted_data_files else []

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        return [*self._delete_manifests(), *manifests]

    def _parent_manifests(self) -> list[ManifestFile]:
        parent = self._transaction.table_metadata.snapshot_by_name(self._target_branch)
        return parent.manifests(self._io) if parent else []

    def _delete_manifests(self) -> list[ManifestFile]:
        by_spec: dict[int, list[DataFile]] = {}
        for file in self._deletes:
            by_spec.setdefault(file.spec_id, []).append(file)
        return [self._delete_manifest(self.spec(spec_id), files) for spec_id, files in by_spec.items()]

    def _delete_manifest(self, spec: PartitionSpec, files: Sequence[DataFile]) -> ManifestFile:
        output = self.new_manifest_output()
        with _DeleteManifestWriter(spec, self.schema(), output, self._snapshot_id, self._compression) as writer:
            for file in files:
                writer.add(
                    ManifestEntry.from_args(
                        status=ManifestEntryStatus.ADDED,
                        snapshot_id=self._snapshot_id,
                        sequence_number=None,
                        file_sequence_number=None,
                        data_file=file,
                    )
                )
        return writer.to_manifest_file()


class _DeleteManifestWriter(ManifestWriterV2):
    """Writes a manifest of delete files; pyiceberg writes those of data files only."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


def is_position_delete(file: DataFile) -> bool:
    """Whether a delete file names rows by their position."""
    return bool(file.content == DataFileContent.POSITION_DELETES)


def properties_of(value: Any) -> dict[str, str]:
    """The summary of a snapshot as plain text; empty without one."""
    return dict(value.additional_properties) if value else {}
