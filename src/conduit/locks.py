"""One run per resource on this host. The lock is a convenience: the compare-and-swap in the destination is the fence.

Lock files are never removed and may be deleted at any time. The kernel releases a lock when its process dies. It is
the kernel's flock; on Windows, which has none, it is the library filelock's (on Unix that takes the same flock, but
its import would cost a run with nothing new a fifth of its time).
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conduit.errors import Busy, ConnectionFailed

if sys.platform == "win32":
    import filelock
else:
    import fcntl

SHORT = 10.0
"""Seconds to wait for a lock that is held for moments only."""

LOOK_AGAIN = 0.05
"""Seconds between two looks at a lock that somebody holds."""


class _Taken(Exception):
    """Somebody else holds the lock."""


@contextmanager
def resource_lock(folder: Path, resource: str) -> Iterator[None]:
    """Hold the lock of a resource for the whole run.

    Raises:
        Busy: another process runs it; the message names its process.
        ConnectionFailed: the lock cannot be written.
    """
    path = private_folder(folder / "locks") / f"{resource}.lock"
    owner = path.with_suffix(".owner")
    try:
        with _writing(path):
            lock = _acquired(path, 0)
    except _Taken as error:
        raise Busy(f"resource {resource} is already running ({_owner(owner)})", hint="wait for it to end") from error
    try:
        with _writing(owner):
            _sign(owner)
        yield
    finally:
        _release(lock)


@contextmanager
def short_lock(path: Path) -> Iterator[None]:
    """Hold a lock around a few file operations.

    Raises:
        Busy: somebody has held it for SHORT seconds.
        ConnectionFailed: the lock cannot be written.
    """
    try:
        with _writing(path):
            lock = _acquired(path, SHORT)
    except _Taken as error:
        raise Busy(f"{path} has been locked for {SHORT:.0f} s", hint="see which process holds it") from error
    try:
        yield
    finally:
        _release(lock)


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
    except OSError as error:
        raise ConnectionFailed(f"cannot write {path}: {error.strerror or error}") from error


if sys.platform == "win32":

    def _acquired(path: Path, seconds: float) -> filelock.FileLock:
        lock = filelock.FileLock(path, timeout=seconds, mode=0o600, is_singleton=False)
        try:
            lock.acquire()
        except filelock.Timeout as error:  # an OSError too
            raise _Taken from error
        return lock

    def _release(lock: filelock.FileLock) -> None:
        lock.release()

else:

    def _acquired(path: Path, seconds: float) -> int:
        """The open file whose lock is ours, never through a link; one that was removed meanwhile locks nobody out."""
        last = time.monotonic() + seconds
        while True:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_in_place(lock, path):
                    return lock
            except BlockingIOError as error:
                if time.monotonic() >= last:
                    os.close(lock)
                    raise _Taken from error
                time.sleep(LOOK_AGAIN)
            except OSError:
                os.close(lock)
                raise
            os.close(lock)

    def _is_in_place(lock: int, path: Path) -> bool:
        try:
            return os.path.samestat(os.fstat(lock), path.stat(follow_symlinks=False))
        except FileNotFoundError:
            return False

    def _release(lock: int) -> None:
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


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
