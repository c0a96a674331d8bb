"""The log beside a single file: which marks belong to which content of the file. Written whole, by one rename.

The mark of the file is the newest entry whose fingerprint the file has. An entry is written before the content that it
describes takes its place, so a crash between the two leaves the file with its old entry.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from conduit.connectors.files import disk
from conduit.errors import StateConflict
from conduit.marks import Mark

KEPT = 8
"""Entries that stay, so that a file restored from a backup still has its mark."""

FORMAT = 1

CHUNK = 1 << 20


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One content that the file had, or was about to get.

    Attributes:
        size: bytes.
        sha256: of the content; empty: there is no file.
        marks: all marks of the table in it.
        schema: its columns, as a base64 Arrow schema; empty when unknown.
        rows: rows in it; 0 with an empty schema: unknown.
        format: version of this structure.
    """

    size: int = 0
    sha256: str = ""
    marks: tuple[Mark, ...] = ()
    schema: str = ""
    rows: int = 0
    format: int = FORMAT


class MarkLog:
    """The log of one file.

    Attributes:
        path: where the log is: `.<name>.conduit.jsonl` beside the file.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.path = file.with_name(f".{file.name}.conduit.jsonl")
        self._hashed: tuple[tuple[int, int, int], str] | None = None

    def entries(self) -> list[Entry]:
        """All entries, oldest first; none when there is no log.

        Raises:
            StateConflict: the log cannot be read.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except FileNotFoundError:
            return []
        with os.fdopen(descriptor, "rb") as stream:
            lines = stream.read().splitlines()
        try:
            found = [msgspec.json.decode(line, type=Entry) for line in lines if line.strip()]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StateConflict(
                f"{self.path} cannot be read: {error}",
                hint=f"restore it; or remove it and {self._file.name}, and all rows are loaded again",
            ) from error
        if any(entry.format > FORMAT for entry in found):
            raise StateConflict(f"{self.path} was written by a later version of conduit", hint="use that version")
        return found

    def current(self) -> Entry:
        """The entry of the file as it is; one without marks for a file that conduit never wrote.

        Raises:
            StateConflict: the file was changed or removed by somebody else.
        """
        size, sha256 = self.fingerprint()
        entries = self.entries()
        for entry in reversed(entries):
            if (entry.size, entry.sha256) == (size, sha256):
                return entry
        if self.fingerprint() != (size, sha256):
            return self.current()  # a commit took place while the two files were looked at
        if not entries:
            return Entry(size=size, sha256=sha256)
        if not sha256:
            raise StateConflict(
                f"{self._file} is gone, and {self.path.name} says what was loaded into it",
                hint=f"restore it; or remove {self.path.name} too, and all rows are loaded again",
            )
        raise StateConflict(
            f"{self._file} was changed by somebody else: no entry of {self.path.name} has its content",
            hint="restore it; or remove both files, and all rows are loaded again",
        )

    def fingerprint(self) -> tuple[int, str]:
        """Size and sha256 of the file; no sha256 when there is none. Read anew only when the file has changed."""
        try:
            with self._file.open("rb") as stream:
                stat = os.fstat(stream.fileno())
                seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
                if self._hashed is None or self._hashed[0] != seen:
                    self._hashed = seen, hashlib.file_digest(stream, "sha256").hexdigest()
                return stat.st_size, self._hashed[1]
        except FileNotFoundError:
            return 0, ""

    def write(self, entries: Sequence[Entry], folder: Path) -> None:
        """Replace the log, durably; `folder` is a private one on the same file system."""
        draft = folder / f"log-{secrets.token_hex(8)}"
        with disk.new_file(draft, 0o600) as stream:
            stream.writelines(msgspec.json.encode(entry) + b"\n" for entry in entries[-KEPT:])
            disk.sync(stream)
        draft.replace(self.path)
        disk.sync_folder(self.path.parent)


def chunks(path: Path, size: int | None = None) -> Iterator[bytes]:
    """The first `size` bytes of a file, all without it, piece by piece."""
    left = path.stat().st_size if size is None else size
    with path.open("rb") as stream:
        while left and (chunk := stream.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk
