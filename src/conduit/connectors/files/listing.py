"""Which files a path of ingest.yml means, once and for a whole session. Looks at names and sizes, never at content."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from conduit.errors import ConnectionFailed

COMPRESSED = (".gz", ".zst")
_MAGIC = "*?["


@dataclass(frozen=True, slots=True)
class Found:
    """One file as it was when the session was opened.

    Attributes:
        path: where it is.
        name: its path below the root of the pattern, with `/` between the parts.
        size: bytes.
        mtime_ns: time of its last change.
    """

    path: Path
    name: str
    size: int
    mtime_ns: int

    def require_unchanged(self, source: str) -> None:
        """The file still is what it was.

        Raises:
            ConnectionFailed: it changed or vanished; a second try sees it as it is then.
        """
        try:
            stat = self.path.stat()
        except OSError as error:
            raise ConnectionFailed(f"{source}: {self.name} vanished while it was read", retryable=True) from error
        if (stat.st_size, stat.st_mtime_ns) != (self.size, self.mtime_ns):
            raise ConnectionFailed(
                f"{source}: {self.name} changed while it was read",
                hint="write files under another name and rename them when they are whole",
                retryable=True,
            )


def find(source: str, pattern: str, folder: Path, extensions: Sequence[str]) -> tuple[Found, ...]:
    """The files of a path, in the order of their names; each file once, whatever links lead to it.

    A folder (ending in `/`) gives the files below it that have one of the extensions; links to folders are not
    followed there. A file that links lead to as well keeps the name that it has without them. Names that begin with
    `.` or `_` are left alone unless the pattern itself names them: they are marks and drafts of other programs.

    Raises:
        ConnectionFailed: a file cannot be looked at.
    """
    whole = str(folder / pattern) + ("/" if pattern.endswith("/") else "")
    root, paths = _candidates(whole, extensions)
    found: dict[str, Found] = {}
    real_root = os.path.realpath(root)
    for path in sorted(paths, key=lambda path: (_through_link(path, root, real_root), path)):
        real, name = os.path.realpath(path), os.path.relpath(path, root)
        if real in found or Path(real).is_dir() or _hidden(name, whole):
            continue
        found[real] = _look(source, Path(path), root)
    return tuple(sorted(found.values(), key=lambda file: file.name))


def _through_link(path: str, root: str, real_root: str) -> bool:
    return os.path.realpath(path) != os.path.normpath(Path(real_root) / os.path.relpath(path, root))


def _candidates(whole: str, extensions: Sequence[str]) -> tuple[str, Iterable[str]]:
    """The root that names are relative to, and the paths that the pattern meets."""
    if any(character in whole for character in _MAGIC) and not os.path.lexists(whole):
        return _literal_prefix(whole), glob.glob(whole, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute
    if whole.endswith("/") or Path(whole).is_dir():
        return whole, _below(whole, extensions)
    return str(Path(whole).parent), [whole] if os.path.lexists(whole) else []


def _literal_prefix(whole: str) -> str:
    parts = Path(whole).parts
    first = next(index for index, part in enumerate(parts) if any(character in part for character in _MAGIC))
    return str(Path(*parts[:first]))


def _below(root: str, extensions: Sequence[str]) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        for name in names:
            plain = name.lower()
            for compressed in COMPRESSED:
                plain = plain.removesuffix(compressed)
            if plain.endswith(tuple(extensions)):
                yield os.path.join(folder, name)  # noqa: PTH118 - as glob gives them


def _hidden(name: str, pattern: str) -> bool:
    """A part of the name begins with `.` or `_`, and no part of the pattern asks for that."""
    asked = {part[0] for part in Path(pattern).parts if part}
    return any(part[0] in "._" and part[0] not in asked for part in Path(name).parts)


def _look(source: str, path: Path, root: str) -> Found:
    try:
        stat = path.stat()
    except OSError as error:
        raise ConnectionFailed(f"{source}: cannot look at {path}: {error.strerror}") from error
    name = Path(os.path.relpath(path, root)).as_posix()
    if not name.isprintable() or any("\ud800" <= character <= "\udfff" for character in name):
        raise ConnectionFailed(f"{source}: the file name {name!r} is not printable text", hint="rename the file")
    return Found(path, name, stat.st_size, stat.st_mtime_ns)


def plural(count: int) -> str:
    """`1 file`, `2 files`."""
    return f"{count:,} file{'' if count == 1 else 's'}"
