"""One run per resource on this host. The lock is a convenience: the compare-and-swap in the destination is the fence.

Lock files are never removed and may be deleted at any time. The kernel releases a lock when its process dies.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from conduit.errors import Busy, ConnectionFailed

SHORT = 10.0
"""Seconds to wait for a lock that is held for moments only."""


@contextmanager
def resource_lock(folder: Path, resource: str) -> Iterator[None]:
    """Hold the lock of a resource for the whole run.

    Raises:
        Busy: another process runs it; the message names its process.
        ConnectionFailed: the lock cannot be written.
    """
    path = private_folder(folder / "locks") / f"{resource}.lock"
    owner = path.with_suffix(".owner")
    lock = FileLock(path, timeout=0, mode=0o600, is_singleton=False)
    try:
        with _writing(path):
            lock.acquire()
    except Timeout as error:
        raise Busy(f"resource {resource} is already running ({_owner(owner)})", hint="wait for it to end") from error
    try:
        with _writing(owner):
            _sign(owner)
        yield
    finally:
        lock.release()


@contextmanager
def short_lock(path: Path) -> Iterator[None]:
    """Hold a lock around a few file operations.

    Raises:
        Busy: somebody has held it for SHORT seconds.
        ConnectionFailed: the lock cannot be written.
    """
    lock = FileLock(path, timeout=SHORT, mode=0o600, is_singleton=False)
    try:
        with _writing(path):
            lock.acquire()
    except Timeout as error:
        raise Busy(f"{path} has been locked for {SHORT:.0f} s", hint="see which process holds it") from error
    try:
        yield
    finally:
        lock.release()


def private_folder(path: Path) -> Path:
    """The folder, made if need be, readable by its owner only.

    Raises:
        ConnectionFailed: it cannot be made.
    """
    try:
        for missing in reversed([folder for folder in (path, *path.parents) if not folder.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConnectionFailed(f"cannot make the folder {path}: {error.strerror}") from error
    return path


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except Timeout:  # an OSError too
        raise
    except OSError as error:
        raise ConnectionFailed(f"cannot write {path}: {error.strerror or error}") from error


def _sign(path: Path) -> None:
    """Write who holds the lock, for the message of others; never through a link that somebody planted."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        json.dump({"pid": os.getpid(), "host": socket.gethostname()}, file)


def _owner(path: Path) -> str:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return f"pid {int(found['pid'])} on {found['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "process unknown"
