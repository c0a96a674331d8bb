"""Files below a table's location that no snapshot knows: what crashes and lost races leave behind.

The classic way to delete live data is to compare two spellings of one path. So paths are compared by a key that takes
away every difference of spelling, and a file that has the name of a live file stays, wherever it seems to lie.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table

from iceframe.asking import refreshed
from iceframe.catalog import mapped
from iceframe.errors import ValidationError
from iceframe.maintenance.reachable import (
    delete_all,
    files_of,
    key,
    key_of_path,
    manifests_of,
    require_own_files,
    statistics_of,
)
from iceframe.scan import storage

LEAST_AGE = timedelta(days=3)
"""Younger files may belong to a commit that is under way."""

_UUID = re.compile(rb'"table-uuid"\s*:\s*"([0-9a-fA-F-]+)"')
_METADATA = (".metadata.json", ".metadata.json.gz")
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphans:
    """Files that no snapshot of a table refers to.

    Attributes:
        files: their paths, sorted.
        bytes: their sizes together.
        removed: whether they were deleted.
        doubtful: files that stay although nothing seems to refer to them: a live file elsewhere has the same name, or
            they are metadata that cannot be read.
    """

    files: tuple[str, ...]
    bytes: int
    removed: bool
    doubtful: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """The location of a table in its file system."""

    fs: FileSystem
    scheme: str
    root: str

    def key(self, info: FileInfo) -> str:
        return key_of_path(self.scheme, info.path)

    def files(self) -> list[FileInfo]:
        """All files below it, without those that tools hide."""
        with storage(f"the location {self.root}"):
            found = self.fs.get_file_info(FileSelector(self.root, recursive=True))
        start = len(key_of_path(self.scheme, self.root))
        return [one for one in found if one.type == FileType.File and not _hidden(self.key(one)[start:])]


@dataclass(frozen=True, slots=True)
class _Live:
    """What the table refers to: the keys of the files, and their names."""

    keys: frozenset[str]
    names: frozenset[str]


def remove_orphan_files(
    table: Table, *, older_than: timedelta = LEAST_AGE, dry_run: bool = True, location: str | None = None
) -> Orphans:
    """Find the files below the table's location that no snapshot refers to, and delete them if told to.

    Files elsewhere (`write.data.path`, files that were added where they lay) are not looked at.

    Args:
        table: whose location is searched.
        older_than: younger files stay: they may belong to a commit that is under way. Less than the longest write
            takes is dangerous.
        dry_run: only say which they are.
        location: search only this folder of the table's location.

    Raises:
        ValidationError: the location is not the table's, or holds another table; nothing was deleted.
        StorageError: the location or a manifest cannot be read, or a file cannot be deleted.
    """
    if older_than < timedelta(0):
        raise ValidationError(f"older_than is {older_than}; an age is not negative")
    require_own_files(table)
    below = _folder(table, location)
    youngest = datetime.now(UTC) - older_than
    place = _place(table)
    # listed before the metadata is loaded: what is committed in between is listed as a file and known as a live one
    listed = place.files()
    with mapped(f"table {'.'.join(table.name())}"):
        refreshed(table)
    live = _live(table)
    unknown = [one for one in listed if place.key(one) not in live.keys]
    doubtful = {one.path for one in unknown if one.base_name in live.names} | _unreadable(table, place, unknown)
    orphans = [
        one
        for one in unknown
        if one.path not in doubtful and _is_below(place.key(one), below) and one.mtime and one.mtime < youngest
    ]
    if not dry_run:
        delete_all(place.fs.delete_file, [one.path for one in orphans])
    return Orphans(
        files=tuple(sorted(one.path for one in orphans)),
        bytes=sum(one.size or 0 for one in orphans),
        removed=not dry_run,
        doubtful=tuple(sorted(doubtful)),
    )


def _folder(table: Table, location: str | None) -> str:
    """The key of the folder that is searched."""
    own = key(table.location())
    asked = own if location is None else key(location)
    if not _is_below(asked, own) and asked != own:
        raise ValidationError(
            f"{location} is not in the location of {'.'.join(table.name())}, which is {table.location()}",
            hint="nothing was deleted; name a folder of the table, or none",
        )
    return asked


def _is_below(place: str, folder: str) -> bool:
    return place.startswith(folder.rstrip("/") + "/")


def _place(table: Table) -> _Place:
    io = table.io if isinstance(table.io, PyArrowFileIO) else PyArrowFileIO(table.io.properties)
    scheme, host, path = io.parse_location(table.location(), io.properties)
    if not key_of_path(scheme, path).partition(":")[2].strip("/"):
        raise ValidationError(f"the location of {'.'.join(table.name())} is a whole file system: {table.location()}")
    with storage(f"the location {table.location()}"):
        return _Place(io.fs_by_scheme(scheme, host), scheme, path.rstrip("/"))


def _hidden(path: str) -> bool:
    """Files of other tools, such as checksums; a folder of a partition may begin with an underscore too."""
    return any(part.startswith((".", "_")) and "=" not in part for part in path.split("/"))


def _live(table: Table) -> _Live:
    locations = list(_locations(table))
    return _Live(
        keys=frozenset(key(one) for one in locations), names=frozenset(one.rpartition("/")[2] for one in locations)
    )


def _locations(table: Table) -> Iterator[str]:
    """Every file that the table as it is now refers to."""
    metadata, io = table.metadata, table.io
    yield table.metadata_location
    yield f"{table.location()}/metadata/version-hint.text"
    yield from (entry.metadata_file for entry in metadata.metadata_log)
    yield from statistics_of(metadata)
    yield from (snapshot.manifest_list for snapshot in metadata.snapshots)
    for manifest in manifests_of(metadata.snapshots, io):
        yield manifest.manifest_path
        yield from (file.file_path for file in files_of(manifest, io))


def _unreadable(table: Table, place: _Place, unknown: list[FileInfo]) -> set[str]:
    """Metadata files that do not say whose they are.

    Raises:
        ValidationError: one is another table's.
    """
    found = set()
    for one in unknown:
        if one.base_name.endswith(_METADATA):
            owner = _owner(place, one.path)
            if owner is None:
                found.add(one.path)
            elif owner != str(table.metadata.table_uuid):
                raise ValidationError(
                    f"{'.'.join(table.name())}: its location holds files of another table: {one.path} is of {owner}",
                    hint="nothing was deleted; if that table was dropped, delete its metadata files, and the others "
                    "are found as orphans",
                )
    return found


def _owner(place: _Place, path: str) -> str | None:
    with storage(path), place.fs.open_input_file(path) as file:
        text = file.read()
    if text.startswith(_GZIP):
        try:
            text = zlib.decompress(text, wbits=31)
        except zlib.error:
            return None
    found = _UUID.search(text)
    return found.group(1).decode().lower() if found else None
