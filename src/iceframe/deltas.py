"""Which data files snapshots added and took away. Knows manifests; reads no row, and knows no window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.io import FileIO
from pyiceberg.manifest import ManifestContent, ManifestEntryStatus, ManifestFile
from pyiceberg.table import FileScanTask, ManifestGroupPlanner
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot

from iceframe.scan import manifests, storage

_ALL = AlwaysTrue()


def added_manifests(io: FileIO, snapshot: Snapshot) -> list[ManifestFile]:
    """The manifests that a snapshot wrote; its manifest list is read, and none of them is opened.

    Raises:
        StorageError: the manifest list is missing or corrupt.
    """
    return [one for one in manifests(io, snapshot) if one.added_snapshot_id == snapshot.snapshot_id]


def only_appends(io: FileIO, snapshot: Snapshot, written: Iterable[ManifestFile]) -> bool:
    """Whether the manifests that a snapshot wrote add data files and take nothing away, whatever its summary says.

    Raises:
        StorageError: a manifest is missing or corrupt.
    """
    for manifest in written:
        if manifest.content == ManifestContent.DELETES:
            return False
        if manifest.deleted_files_count and _removes(io, snapshot, manifest):
            return False
    return True


def appended_files(
    metadata: TableMetadata,
    io: FileIO,
    snapshots: Sequence[Snapshot],
    written: Iterable[ManifestFile],
    where: BooleanExpression = _ALL,
) -> list[FileScanTask]:
    """The data files that snapshots added, each as it was added, without what was deleted from it later.

    Args:
        metadata: the table's.
        io: opens the manifests.
        snapshots: those that count.
        written: the manifests that they wrote.
        where: only files that may hold rows for which this holds.

    Raises:
        StorageError: a manifest is missing or corrupt.
    """
    ids = {one.snapshot_id for one in snapshots}
    with storage("the manifests"):
        return list(
            ManifestGroupPlanner(metadata, io, where).plan_files(
                written,
                lambda entry: entry.snapshot_id in ids and entry.status == ManifestEntryStatus.ADDED,
            )
        )


def exchanged_files(
    metadata: TableMetadata,
    io: FileIO,
    before: Snapshot | None,
    after: Snapshot | None,
    where: BooleanExpression = _ALL,
) -> tuple[list[FileScanTask], list[FileScanTask]]:
    """What has to be read to tell two states of a table apart: files of the first, files of the second.

    A file with the same deletes in both states is in neither list. Manifests that both states share are not opened, as
    long as they have the same delete manifests.

    Raises:
        StorageError: a manifest is missing or corrupt.
        UnsupportedError: the table has equality deletes.
    """
    old, new = _without_shared(*(manifests(io, one) if one else [] for one in (before, after)))
    with storage("the manifests"):
        plans = [list(ManifestGroupPlanner(metadata, io, where).plan_files(one)) for one in (old, new)]
    return _surplus(plans[0], plans[1]), _surplus(plans[1], plans[0])


def _removes(io: FileIO, snapshot: Snapshot, manifest: ManifestFile) -> bool:
    with storage(f"the manifest {manifest.manifest_path}"):
        return any(
            entry.status == ManifestEntryStatus.DELETED and entry.snapshot_id == snapshot.snapshot_id
            for entry in manifest.fetch_manifest_entry(io, discard_deleted=False)
        )


def _without_shared(
    old: Sequence[ManifestFile], new: Sequence[ManifestFile]
) -> tuple[list[ManifestFile], list[ManifestFile]]:
    """A new delete file may concern any data file, so that nothing can be left out then."""
    deletes = [{one.manifest_path for one in side if one.content == ManifestContent.DELETES} for side in (old, new)]
    if deletes[0] != deletes[1]:
        return list(old), list(new)
    shared = {one.manifest_path for one in old} & {one.manifest_path for one in new} - deletes[0]
    return (
        [one for one in old if one.manifest_path not in shared],
        [one for one in new if one.manifest_path not in shared],
    )


def _surplus(files: Sequence[FileScanTask], others: Sequence[FileScanTask]) -> list[FileScanTask]:
    """The files that the others do not have; a file that is there twice counts twice."""
    left = Counter(_identity(one) for one in others)
    found = []
    for one in files:
        if left[_identity(one)]:
            left[_identity(one)] -= 1
        else:
            found.append(one)
    return found


def _identity(task: FileScanTask) -> tuple[str, frozenset[str]]:
    return task.file.file_path, frozenset(one.file_path for one in task.delete_files)
