"""I/O of this process that fails at its Nth operation, once or from then on; or that is written down in its order.

What Python does on files below a folder is seen: opening, writing, syncing, renaming, linking, making folders, opening
a SQLite database, and the files that pyiceberg opens. What SQLite, DuckDB and Arrow do inside is not.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from pyiceberg.io.pyarrow import PyArrowFile

HIT = ".failed-io"
"""A file in the project's folder that says which operation failed; without it none did."""

_make, _put, _close = os.open, os.write, os.close


class Operations:
    """Counts operations below a folder, and lets the Nth fail.

    Attributes:
        done: what happened, in its order: the operation and the file.
    """

    def __init__(self, nth: int, number: int, *, for_ever: bool) -> None:
        self._folder = str(Path.cwd())
        self._nth = nth
        self._number = number
        self._for_ever = for_ever
        self._lock = threading.Lock()
        self.done: list[tuple[str, str]] = []

    def concerns(self, path: object) -> bool:
        """Whether a file is in the folder, and none of the source's or ours."""
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        whole = os.path.join(self._folder, os.fsdecode(path))  # noqa: PTH118 - not resolved, and any type of path
        name = whole.rpartition("/")[2]
        return whole.startswith(self._folder) and not name.startswith(("ingest.yml", "in.sqlite", ".failed-io", ".env"))

    def happened(self, what: str, path: object) -> None:
        """Count one operation.

        Raises:
            OSError: it is its turn to fail.
        """
        with self._lock:
            self.done.append((what, os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""))
            place = len(self.done)
        if place == self._nth or (self._for_ever and place > self._nth > 0):
            if place == self._nth:
                descriptor = _make(f"{self._folder}/{HIT}", os.O_WRONLY | os.O_CREAT, 0o600)
                _put(descriptor, f"{what} {self.done[-1][1]}".encode())
                _close(descriptor)
            raise OSError(self._number, os.strerror(self._number), self.done[-1][1])


class _Raw(io.FileIO):
    """A file whose writes are counted; buffers are flushed through it."""

    operations: Operations
    path: str

    def write(self, data: Any) -> Any:
        self.operations.happened("write", self.path)
        return super().write(data)


class _Stream:
    """A stream of pyiceberg whose writes are counted."""

    def __init__(self, stream: Any, operations: Operations, path: str) -> None:
        self._stream, self._operations, self._path = stream, operations, path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, data: Any) -> Any:
        self._operations.happened("write", self._path)
        return self._stream.write(data)


def io_fails(nth: str, error: str, how_often: str) -> None:
    """Let the Nth operation fail with `error` (EIO, ENOSPC); `how_often` is `once` or `for ever`."""
    watch(Operations(int(nth), getattr(errno, error), for_ever=how_often == "for ever"))


def io_is_written_down() -> None:
    """Keep the order of all operations in `.failed-io` of the folder, written when the process ends the run."""
    operations = Operations(0, 0, for_ever=False)
    watch(operations)
    leave = os._exit

    def told(code: int) -> None:
        descriptor = _make(f"{operations._folder}/{HIT}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        _put(descriptor, "\n".join(f"{what} {path}" for what, path in operations.done).encode())
        leave(code)

    os._exit = told  # type: ignore[assignment]


def watch(operations: Operations) -> None:
    """Put the counting in the place of the system's calls."""
    for name in ("rename", "replace", "link", "mkdir"):
        setattr(os, name, _counted(name, getattr(os, name), operations))
    os.open = _counted("open", os.open, operations)
    os.fsync = _synced(os.fsync, operations)  # type: ignore[assignment]
    opened = _opened(io.open, operations)
    io.open = opened
    builtins.open = opened
    sqlite3.connect = _connected(sqlite3.connect, operations)
    PyArrowFile.create = _created(PyArrowFile.create, operations)  # type: ignore[method-assign]


def _counted(name: str, call: Callable[..., Any], operations: Operations) -> Callable[..., Any]:
    def counted(path: Any, *given: Any, **options: Any) -> Any:
        if operations.concerns(path):
            moved = name in ("rename", "replace", "link")
            operations.happened(name, f"{os.fsdecode(path)} -> {os.fsdecode(given[0])}" if moved else path)
        return call(path, *given, **options)

    return counted


def _synced(call: Callable[[Any], None], operations: Operations) -> Callable[[Any], None]:
    def synced(file: Any) -> None:
        number = file if isinstance(file, int) else file.fileno()
        operations.happened("fsync", _path_of(number))
        call(file)

    return synced


def _opened(call: Callable[..., Any], operations: Operations) -> Callable[..., Any]:
    def opened(file: Any, mode: str = "r", *given: Any, **options: Any) -> Any:
        named = isinstance(file, str | bytes | os.PathLike)
        if named and not operations.concerns(file):
            return call(file, mode, *given, **options)
        if named:
            operations.happened("open", file)
        if mode != "wb":
            return call(file, mode, *given, **options)
        raw = _Raw(file, "wb", options.get("closefd", True))
        raw.operations, raw.path = operations, os.fsdecode(file) if named else _path_of(file)
        return io.BufferedWriter(raw)

    return opened


def _path_of(number: int) -> str:
    link = Path(f"/proc/self/fd/{number}")
    return str(link.readlink()) if link.is_symlink() else ""


def _connected(call: Callable[..., Any], operations: Operations) -> Callable[..., Any]:
    def connected(database: Any, *given: Any, **options: Any) -> Any:
        if operations.concerns(database) and "in.sqlite" not in str(database):
            try:
                operations.happened("connect", database)
            except OSError as error:
                raise sqlite3.OperationalError(f"unable to open database file: {error.strerror}") from None
        return call(database, *given, **options)

    return connected


def _created(call: Callable[..., Any], operations: Operations) -> Callable[..., Any]:
    def created(self: PyArrowFile, overwrite: bool = False) -> Any:
        operations.happened("open", self.location)
        return _Stream(call(self, overwrite), operations, self.location)

    return created
