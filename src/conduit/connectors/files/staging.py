"""A place beside the target where one load puts its files before they are committed. No reader looks there.

It belongs to the load as long as its lock is held, which the kernel gives back when the process dies; what dead loads
of the same identity left is removed by the next one. Knows no table layout and no mark.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from conduit.arrow import pa
from conduit.connectors.files import disk
from conduit.connectors.files.failures import writing
from conduit.connectors.files.parts import DRAFT, Layout, Part, write_parts
from conduit.contract import Staged
from conduit.marks import Identity


class Stage:
    """The private folder of one load.

    Attributes:
        folder: it; only its owner can look in.
    """

    def __init__(self, beside: Path, identity: Identity) -> None:
        """Make the folder and lock it; the caller holds the target's short lock, so that nobody removes it meanwhile.

        Raises:
            OSError: it cannot be made.
        """
        prefix = _prefix(identity)
        _remove_dead(beside, prefix)
        self.folder = beside / f"{prefix}-{secrets.token_hex(8)}"
        self.folder.mkdir(mode=0o700)
        self._lock = _lock_of(self.folder)
        self._lock.acquire(timeout=0)

    def new_folder(self, name: str, mode: int = 0o777) -> Path:
        """An empty folder in the stage."""
        path = self.folder / name
        path.mkdir(mode=mode)
        return path

    def close(self) -> None:
        """Remove everything and give the lock back. Safe to call twice."""
        if self._lock.is_locked:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._lock.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStager:
    """Writes rows as part files into the stage, from any worker that sees the same disk.

    Attributes:
        destination: name of the connection, for messages.
        folder: where the parts go.
        layout: what they look like.
    """

    destination: str
    folder: Path
    layout: Layout

    def stage(self, part: str, rows: Iterator[pa.RecordBatch]) -> Staged:
        """Write the rows. Each call writes files of its own: those that a commit is not given never become visible.

        Raises:
            DataError: a value has no form in this format.
            ConnectionFailed: the disk is full, or refuses.
        """
        stem = f"{re.sub(r'[^A-Za-z0-9]+', '-', part)}-{secrets.token_hex(8)}"
        with writing(self.destination, self.folder):
            parts = write_parts(rows, self.layout, self.folder, stem)
        return Staged(part=part, rows=sum(one.rows for one in parts), detail=tuple(parts))


def staged_parts(staged: Sequence[Staged]) -> list[Part]:
    """The files of all staged pieces, in the order of their arrival."""
    return [part for piece in staged for part in piece.detail or ()]


def move_parts(parts: Sequence[Part], folder: Path, suffix: str = DRAFT) -> list[Part]:
    """Give the parts their place, and names that say their order."""
    moved = []
    for place, part in enumerate(parts, start=1):
        path = folder / f"part-{place:05d}.{suffix}"
        part.path.rename(path)
        moved.append(Part(path, part.rows, part.bytes))
    return moved


def own_folder(path: Path) -> Path:
    """The folder beside a target for locks and stages, made if need be.

    Raises:
        OSError: it cannot be made, or a link stands in its place.
    """
    if path.is_symlink():
        raise NotADirectoryError(20, "a symbolic link stands where conduit keeps its locks", str(path))
    disk.make_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def _prefix(identity: Identity) -> str:
    name = f"{identity.pipeline}\0{identity.resource}\0{identity.table}"
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _lock_of(folder: Path) -> FileLock:
    return FileLock(folder / "lock", mode=0o600, is_singleton=False, thread_local=False)


def _remove_dead(beside: Path, prefix: str) -> None:
    """Remove the stages of this identity that no living process holds."""
    for folder in beside.glob(f"{prefix}-*"):
        lock = _lock_of(folder)
        try:
            lock.acquire(timeout=0)
        except (Timeout, FileNotFoundError):  # somebody holds it, or has removed it since the glob
            continue
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
