"""The one module that touches private names of pyiceberg; contract tests hold pyiceberg to them.

It turns decisions into objects of pyiceberg and reads and writes files; it decides nothing. pyiceberg is pinned to one
minor version for its sake.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import dataset
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.expressions.visitors import _StrictMetricsEvaluator, bind, extract_field_ids
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import (
    ArrowScan,
    _get_column_projection_values,
    _get_file_format,
    _get_parquet_writer_kwargs,
    _read_all_delete_files,
    expression_to_pyarrow,
    pyarrow_to_schema,
)
from pyiceberg.manifest import (
    DataFile,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriterV2,
)
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema, _check_schema_compatible, prune_columns
from pyiceberg.table import FileScanTask, Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.name_mapping import NameMapping
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update import AssertTableUUID, SetSnapshotRefUpdate, TableRequirement, TableUpdate
from pyiceberg.table.update.snapshot import _OverwriteFiles
from pyiceberg.types import ListType, MapType

from iceframe.change import Change
from iceframe.errors import ConflictError
from iceframe.projection import has_nested_structs, projected

_ALL = AlwaysTrue()
_BUFFER = 8 << 20
_ROWS = 1 << 16


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
    if has_nested_structs(columns.as_struct()):
        yield from _read_nested(metadata, io, task, columns, where)
        return
    scan = ArrowScan(metadata, io, columns, where)
    deletes = _read_all_delete_files(io, [task])
    yield from scan._record_batches_from_scan_tasks_and_deletes([task], deletes)


def _read_nested(
    metadata: TableMetadata, io: FileIO, task: FileScanTask, columns: Schema, where: BooleanExpression
) -> Iterator[pa.RecordBatch]:
    """As `read_file`, by a projection that keeps the NULLs of nested columns."""
    bound = bind(metadata.schema(), where, case_sensitive=True)
    wide = _with_columns_of(bound, columns, metadata.schema())
    condition = expression_to_pyarrow(bound, wide)
    gone = deleted_positions(io, task)
    file, start = OpenFile(metadata, io, task.file), 0
    try:
        for batch in file.read(wide):
            places = pa.array(range(start, start + batch.num_rows), pa.int64())
            start += batch.num_rows
            live = batch.filter(pc.invert(pc.is_in(places, gone)))
            for part in pa.Table.from_batches([live]).filter(condition).to_batches():
                yield part.select([one.name for one in columns.fields])
    finally:
        file.close()


def _with_columns_of(bound: BooleanExpression, columns: Schema, schema: Schema) -> Schema:
    """The columns, and those that a condition looks at."""
    asked = extract_field_ids(bound)
    there = {one.field_id for one in columns.fields}
    more = [one for one in schema.fields if one.field_id not in there and asked.intersection(Schema(one).field_ids)]
    return Schema(*columns.fields, *more)


def deleted_positions(io: FileIO, task: FileScanTask) -> pa.ChunkedArray[Any]:
    """The positions that the delete files of a task name for its data file, in no order and perhaps twice.

    Raises:
        OSError, pa.ArrowException: a delete file is missing or is not what it should be.
    """
    found = _read_all_delete_files(io, [task]).get(task.file.file_path, [])
    return pa.chunked_array([chunk.cast(pa.int64()) for column in found for chunk in column.chunks], pa.int64())


class OpenFile:
    """A data file that is opened once and read as often as needed: some columns, some row groups.

    Deletes are not applied, so that a row is where its position says. To be closed.

    Args:
        metadata: the table's.
        io: opens the file.
        file: the data file.

    Raises:
        OSError, pa.ArrowException: the file is missing or is not what it should be.
    """

    def __init__(self, metadata: TableMetadata, io: FileIO, file: DataFile) -> None:
        self._metadata, self._file = metadata, file
        self._stream = io.new_input(file.file_path).open()
        self._parquet: Any = None
        if file.file_format == FileFormat.PARQUET:
            self._parquet = pq.ParquetFile(cast("IO[bytes]", self._stream), pre_buffer=True, buffer_size=_BUFFER)
            self._physical = self._parquet.schema_arrow
        else:
            model: Any = _get_file_format(file.file_format)
            self._fragment = model.make_fragment(self._stream)
            self._physical = self._fragment.physical_schema
        self._from_ns = metadata.format_version <= 2
        self._schema = pyarrow_to_schema(
            self._physical, metadata.name_mapping(), self._from_ns, format_version=metadata.format_version
        )

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def groups(self) -> list[int]:
        """How many rows each part has that can be read by itself."""
        if self._parquet is None:
            return [self._file.record_count]
        return [self._parquet.metadata.row_group(place).num_rows for place in range(self._parquet.num_row_groups)]

    def read(self, columns: Schema, group: int | None = None) -> Iterator[pa.RecordBatch]:
        """All rows in their order, or those of one part, batch by batch.

        Raises:
            OSError, pa.ArrowException: the file is not what it should be.
            pyiceberg.exceptions.ResolveError: a required column is not in the file.
        """
        stored = prune_columns(self._schema, self._ids(columns), select_full_types=False)
        missing = _get_column_projection_values(
            self._file,
            columns,
            self._metadata.schema(),
            self._metadata.specs().get(self._file.spec_id),
            self._schema.field_ids,
        )
        for batch in self._stored([one.name for one in stored.columns], group):
            if batch.num_rows:
                yield projected(columns, stored, batch, from_ns=self._from_ns, missing=missing)

    def _stored(self, names: list[str], group: int | None) -> Iterator[pa.RecordBatch]:
        """Batches as they are in the file, one row group after the other, so that no more than one is in memory."""
        if self._parquet is None:
            yield from dataset.Scanner.from_fragment(self._fragment, schema=self._physical, columns=names).to_batches()
            return
        for part in range(self._parquet.num_row_groups) if group is None else (group,):
            yield from self._parquet.iter_batches(_ROWS, row_groups=[part], columns=names, use_threads=False)

    def _ids(self, columns: Schema) -> set[int]:
        """The field ids that pyiceberg asks for: lists and maps come with their elements."""
        return {one for one in columns.field_ids if not isinstance(columns.find_type(one), MapType | ListType)}


def all_rows_match(schema: Schema, where: BooleanExpression, file: DataFile) -> bool:
    """Whether the statistics of a file prove the condition for all its rows, if no value is NULL or NaN."""
    return bool(_StrictMetricsEvaluator(schema, where).eval(file))


# --- writing --------------------------------------------------------------------------------------------


def parquet_options(properties: dict[str, str]) -> dict[str, Any]:
    """The options of a Parquet writer that the properties of a table ask for."""
    return _get_parquet_writer_kwargs(properties)


def refuse_unreadable(schema: Schema, given: pa.Schema, names: NameMapping) -> None:
    """Refuse the columns of a file that could not be read as those of the table.

    Raises:
        ValueError, TypeError: a column has a type that cannot be promoted, is missing and required, or is unknown.
    """
    _check_schema_compatible(schema, pyarrow_to_schema(given, name_mapping=names))


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
        updates=tuple(_with_retention(update, table.metadata) for update in updates),
        requirements=requirements,
        summary=dict(producer.written_summary),
        paths=(*producer._written_manifests, *producer._written_manifest_lists),
    )


def send(table: Table, updates: tuple[TableUpdate, ...], requirements: tuple[TableRequirement, ...]) -> None:
    """Ask the catalog once, without pyiceberg's own retry; the table then is what the catalog answered."""
    table._do_commit(updates=updates, requirements=requirements)


def _with_retention(update: TableUpdate, metadata: TableMetadata) -> TableUpdate:
    """The move of a branch with what the branch retains, which pyiceberg takes away with every commit."""
    if not isinstance(update, SetSnapshotRefUpdate) or update.ref_name not in metadata.refs:
        return update
    ref = metadata.refs[update.ref_name]
    return update.model_copy(
        update={
            "max_ref_age_ms": ref.max_ref_age_ms,
            "max_snapshot_age_ms": ref.max_snapshot_age_ms,
            "min_snapshots_to_keep": ref.min_snapshots_to_keep,
        }
    )


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
        self._dangling = {file.file_path: file for file in change.dangling}
        self.written_summary: dict[str, str] = {}
        for file in change.added:
            self.append_data_file(file)
        for file in change.removed:
            self.delete_data_file(file)

    def _summary(self, snapshot_properties: dict[str, str] | None = None) -> Summary:
        # pyiceberg computes the totals of a replace only under another name
        named, self._operation = self._operation, Operation.OVERWRITE
        added, self._added_data_files = self._added_data_files, [*self._added_data_files, *self._deletes]
        removed, self._deleted_data_files = (
            self._deleted_data_files,
            {
                *self._deleted_data_files,
                *self._dangling.values(),
            },
        )
        try:
            counted = super()._summary(snapshot_properties or {})
        finally:
            self._operation, self._added_data_files, self._deleted_data_files = named, added, removed
        self.written_summary = dict(counted.additional_properties)
        return Summary(operation=named, **counted.additional_properties)

    def _existing_manifests(self) -> list[ManifestFile]:
        kept = super()._existing_manifests() if self._deleted_data_files else self._parent_manifests()
        alive = [manifest for manifest in kept if manifest.has_added_files() or manifest.has_existing_files()]
        return [self._without_dangling(manifest) for manifest in alive] if self._dangling else alive

    def _deleted_entries(self) -> list[ManifestEntry]:
        return super()._deleted_entries() if self._deleted_data_files else []

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        return [*self._delete_manifests(), *manifests]

    def _parent_manifests(self) -> list[ManifestFile]:
        parent = self._transaction.table_metadata.snapshot_by_name(self._target_branch)
        return parent.manifests(self._io) if parent else []

    def _without_dangling(self, manifest: ManifestFile) -> ManifestFile:
        """The manifest, or a new one in which the delete files that go are marked as deleted."""
        if manifest.content != ManifestContent.DELETES:
            return manifest
        entries = self.fetch_manifest_entry(manifest)
        if not any(entry.data_file.file_path in self._dangling for entry in entries):
            return manifest
        spec, output = self.spec(manifest.partition_spec_id), self.new_manifest_output()
        with _DeleteManifestWriter(spec, self.schema(), output, self._snapshot_id, self._compression) as writer:
            for entry in entries:
                (writer.delete if entry.data_file.file_path in self._dangling else writer.existing)(entry)
        return writer.to_manifest_file()

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


class OneCommit(Transaction):
    """A transaction that asks the catalog once. pyiceberg's own would build a lost race anew and send it again."""

    def commit_transaction(self) -> Table:
        """Commit what was staged.

        Raises:
            ConflictError: another commit came first; nothing was written.
        """
        if self._updates:
            required = (*self._requirements, AssertTableUUID(uuid=self.table_metadata.table_uuid))
            try:
                send(self._table, self._updates, required)
            except (CommitFailedException, ValidationException) as error:
                raise ConflictError(
                    f"{'.'.join(self._table.name())}: another commit came first: {error}",
                    hint="nothing was written; begin the transaction again",
                ) from error
        self._updates, self._requirements, self._snapshot_producers = (), (), []
        return self._table
