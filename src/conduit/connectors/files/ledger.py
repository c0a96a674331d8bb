"""What was read, by file: which files are new since a position, and the position after them. Reads bytes, no rows."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence

import msgspec

from conduit.connectors.files.failures import reading
from conduit.connectors.files.listing import Found
from conduit.errors import StateConflict
from conduit.positions import FileEntry, Position

_CHUNK = 1 << 18


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


def digest(source: str, file: Found, stopped: threading.Event | None = None) -> str:
    """The sha256 of the file's content; of a part of it once `stopped` is set, when nobody asks any more."""
    found, chunk = hashlib.sha256(), bytearray(_CHUNK)
    with reading(source, file.name), file.path.open("rb", buffering=0) as stream:
        while (read := stream.readinto(chunk)) and not (stopped and stopped.is_set()):
            found.update(memoryview(chunk)[:read])
    return found.hexdigest()


class Digests:
    """The sha256 of files, worked out by a thread of its own from now on, while the session gets ready to read."""

    def __init__(self, source: str, files: Sequence[Found]) -> None:
        self._source = source
        self._files = files
        self._found: dict[Found, str] = {}
        self._failure: BaseException | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="conduit-digest", daemon=True)
        self._thread.start()

    def of(self, file: Found) -> str:
        """That of one of the files, as soon as all of them are known.

        Raises:
            ConnectionFailed: a file cannot be read.
        """
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._found[file]

    def close(self) -> None:
        """Stop, whatever is known by now."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            for file in self._files:
                self._found[file] = digest(self._source, file, self._stopped)
        except BaseException as error:  # noqa: BLE001 - crosses to the other thread and is raised there
            self._failure = error


def after(since: Position | None, files: Sequence[Found], digests: Digests) -> Position:
    """The ledger with these files in it. Files that have disappeared stay: they were read."""
    entries = {entry.path: entry for entry in since.files} if since else {}
    for file in files:
        entries[file.name] = FileEntry(file.name, file.size, file.mtime_ns, digests.of(file))
    ledger = tuple(entries[path] for path in sorted(entries))
    return Position(kind="files", value=hashlib.sha256(msgspec.json.encode(ledger)).hexdigest(), files=ledger)
