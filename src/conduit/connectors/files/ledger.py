"""What was read, by file: which files are new since a position, and the position after them. Reads bytes, no rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from conduit.connectors.files.failures import reading
from conduit.connectors.files.listing import Found
from conduit.errors import StateConflict
from conduit.positions import FileEntry, Position


def unread(source: str, files: Sequence[Found], since: Position | None, *, reload_changed: bool) -> tuple[Found, ...]:
    """The files that are not in the ledger, and with `reload_changed` those whose content is another.

    Raises:
        StateConflict: a file of the ledger changed, or `since` is no ledger.
    """
    if since is not None and since.kind != "files":
        raise StateConflict(
            f"{source}: the mark is a {since.kind} position, and without incremental_column files are remembered",
            hint="name the incremental_column again, or start anew with `conduit state reset`",
        )
    known = {entry.path: entry for entry in since.files} if since else {}
    fresh = [file for file in files if file.name not in known]
    changed = [file for file in files if file.name in known and _changed(source, file, known[file.name])]
    if changed and not reload_changed:
        raise StateConflict(
            f"{source}: {changed[0].name} was loaded and has changed since",
            hint="files that grow need an incremental_column; `on_changed_file: reload` (with mode: merge) reads "
            "changed files again",
        )
    return tuple(sorted([*fresh, *changed], key=lambda file: file.name))


def _changed(source: str, file: Found, entry: FileEntry) -> bool:
    if file.size != entry.size:
        return True
    return file.mtime_ns != entry.mtime_ns and digest(source, file) != entry.sha256


def digest(source: str, file: Found) -> str:
    """The sha256 of the file's content."""
    with reading(source, file.name), file.path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def after(source: str, since: Position | None, files: Sequence[Found]) -> Position:
    """The ledger with these files in it. Files that have disappeared stay: they were read."""
    entries = {entry.path: entry for entry in since.files} if since else {}
    for file in files:
        entries[file.name] = FileEntry(file.name, file.size, file.mtime_ns, digest(source, file))
    ledger = tuple(entries[path] for path in sorted(entries))
    return Position(kind="files", value=hashlib.sha256(msgspec.json.encode(ledger)).hexdigest(), files=ledger)
