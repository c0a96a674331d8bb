"""File operations that must be durable, atomic or exclusive, each in one place. Knows no format and no mark."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import BinaryIO

_EXCHANGE = 2
"""RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS have the same value."""

_HERE = -100
"""AT_FDCWD of Linux."""


def new_file(path: Path, mode: int = 0o666) -> BinaryIO:
    """A file that did not exist; a link that waits at its name is never followed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, mode), "wb")


def sync(stream: BinaryIO) -> None:
    """Have the content on disk."""
    stream.flush()
    os.fsync(stream.fileno())


def sync_folder(path: Path) -> None:
    """Have the names in a folder on disk. Windows keeps them itself."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder and those above it that are missing, and have their names on disk."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=mode, exist_ok=True)
        sync_folder(folder.parent)


def exchange(left: Path, right: Path) -> None:
    """Give each of two folders the other's name, in one step for everybody who looks.

    Raises:
        OSError: this system, or the file system, cannot do it.
    """
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(left), os.fsencode(right)
    if hasattr(library, "renamex_np"):
        failed = library.renamex_np(*names, _EXCHANGE)
    elif hasattr(library, "renameat2"):
        failed = library.renameat2(_HERE, names[0], _HERE, names[1], _EXCHANGE)
    else:
        ctypes.set_errno(failed := errno.ENOSYS)
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, f"two folders cannot be exchanged here: {os.strerror(number)}", str(right))


def writable_parent(path: Path) -> Path | None:
    """The nearest folder above `path` that exists, when it can be written; None when it cannot."""
    parent = next(folder for folder in (path, *path.parents) if folder.exists())
    return parent if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK) else None
