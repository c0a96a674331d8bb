"""Which files snapshots refer to, and deleting those that none does. Decides neither what goes nor when."""

from __future__ import annotations

import posixpath
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import unquote

from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import DataFile, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot

from iceframe.errors import StorageError, ValidationError
from iceframe.scan import storage

_AT_ONCE = 8
_S3 = {"s3a": "s3", "s3n": "s3"}


def key(location: str) -> str:
    """A location in one spelling, for comparing only.

    Whatever two spellings of one file may differ in is taken away: the scheme of a local path, `s3a` for `s3`, doubled
    slashes, percent signs. Two files may get one key; one file never gets two.
    """
    scheme, host, path = PyArrowFileIO.parse_location(location)
    return key_of_path(scheme, path.removeprefix(host) if host == "localhost" else path)


def key_of_path(scheme: str, path: str) -> str:
    """The key of a path as a file system lists it."""
    plain = posixpath.normpath("/" + unquote(path).lstrip("/"))
    return unicodedata.normalize("NFC", f"{_S3.get(scheme, scheme)}:{plain}")


def require_own_files(table: Table) -> None:
    """See that the files of a table may be deleted.

    Raises:
        ValidationError: the table says that they may be other tables' too.
    """
    if table.metadata.properties.get("gc.enabled", "true").lower() == "false":
        raise ValidationError(
            f"{'.'.join(table.name())}: files must not be deleted, the property gc.enabled is false",
            hint="other tables may share its files; set it to true if they do not",
        )


def manifests_of(snapshots: Iterable[Snapshot], io: FileIO) -> Iterator[ManifestFile]:
    """The manifests of snapshots, each once.

    Raises:
        StorageError: a manifest list is missing or corrupt.
    """
    seen: set[str] = set()
    for snapshot in snapshots:
        with storage(f"the manifest list of snapshot {snapshot.snapshot_id}"):
            manifests = snapshot.manifests(io)
        yield from (one for one in manifests if one.manifest_path not in seen)
        seen.update(one.manifest_path for one in manifests)


def files_of(manifest: ManifestFile, io: FileIO) -> list[DataFile]:
    """The data and delete files that are in the table by a manifest.

    Raises:
        StorageError: the manifest is missing or corrupt.
    """
    with storage(f"the manifest {manifest.manifest_path}"):
        return [entry.data_file for entry in manifest.fetch_manifest_entry(io, discard_deleted=True)]


def statistics_of(metadata: TableMetadata) -> dict[str, int]:
    """The statistics files and their sizes."""
    found = (*metadata.statistics, *metadata.partition_statistics)
    return {one.statistics_path: one.file_size_in_bytes for one in found}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreachable:
    """What only snapshots that are gone refer to; locations with their sizes."""

    manifest_lists: list[str] = field(default_factory=list)
    manifests: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    statistics: dict[str, int] = field(default_factory=dict)

    def locations(self) -> list[str]:
        """All of them."""
        return [*self.files, *self.statistics, *self.manifests, *self.manifest_lists]

    def size(self) -> int:
        """Bytes, without the manifest lists, whose size no metadata says."""
        return sum(sum(sizes.values()) for sizes in (self.files, self.statistics, self.manifests))


def unreachable(
    gone: Iterable[Snapshot], kept: Iterable[Snapshot], io: FileIO, statistics: dict[str, int]
) -> Unreachable:
    """What snapshots that are gone refer to, and no kept one does.

    Args:
        gone: they are in the metadata no more.
        kept: all that are.
        io: reads manifests.
        statistics: statistics files that only the gone ones had.

    Raises:
        StorageError: a manifest is missing or corrupt.
    """
    gone, kept = list(gone), list(kept)
    lists = {key(one.manifest_list): one.manifest_list for one in gone}
    for snapshot in kept:
        lists.pop(key(snapshot.manifest_list), None)
    manifests = {key(one.manifest_path): one for one in manifests_of(gone, io)}
    staying = list(manifests_of(kept, io))
    for manifest in staying:
        manifests.pop(key(manifest.manifest_path), None)
    files = {
        key(file.file_path): (file.file_path, file.file_size_in_bytes)
        for manifest in manifests.values()
        for file in files_of(manifest, io)
    }
    for manifest in staying:
        if not files:
            break
        for file in files_of(manifest, io):
            files.pop(key(file.file_path), None)
    return Unreachable(
        manifest_lists=list(lists.values()),
        manifests={one.manifest_path: one.manifest_length for one in manifests.values()},
        files=dict(files.values()),
        statistics=statistics,
    )


def delete_all(delete: Callable[[str], None], locations: Iterable[str]) -> None:
    """Delete files, several at once; one that is gone already is no error.

    Raises:
        StorageError: some could not be deleted; all others were.
    """
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        results = list(threads.map(lambda location: _deleted(delete, location), locations))
    if failed := [error for error in results if error]:
        raise StorageError(
            f"{len(failed)} of {len(results)} files could not be deleted; the first: {failed[0]}",
            hint="no snapshot refers to them; remove_orphan_files finds them",
        ) from failed[0]


def _deleted(delete: Callable[[str], None], location: str) -> OSError | None:
    try:
        delete(location)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None
