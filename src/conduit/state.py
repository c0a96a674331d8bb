"""`.conduit_state.json`: a flat JSON object, resource name -> last value, for people and for the documents.

It is a cache. The mark in the destination is the truth; this module says what the file holds and keeps it whole,
`recover` says what follows when the two differ. Written atomically: a reader sees the old file or the new one.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from conduit.errors import ConnectionFailed, StateConflict
from conduit.faults import crash_point
from conduit.locks import private_folder, short_lock
from conduit.marks import Mark

FILE_NAME = ".conduit_state.json"
MAX_BYTES = 1_000_000
MAX_DIGITS = 1_000
Value = int | str


class BrokenStateFile(Exception):
    """The file cannot be taken at its word. The message says why and where."""


class StateFile(msgspec.Struct, frozen=True):
    """The state file of a project.

    Attributes:
        path: the file itself.
        private: `.conduit/`, where its lock lives.
    """

    path: Path
    private: Path

    def read(self) -> dict[str, object]:
        """All entries, other people's too; empty when there is no file.

        Raises:
            BrokenStateFile: it is not a flat JSON object of sane size.
        """
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConnectionFailed(f"cannot read {self.path}: {error.strerror}") from error
        return _parse(content)

    def value(self, resource: str) -> Value | None:
        """The last value of a resource; None when the file has none.

        Raises:
            BrokenStateFile: the file, or this entry, cannot be taken at its word.
        """
        value = self.read().get(resource)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise BrokenStateFile(f"the value of {resource} is neither a whole number nor text")
        return value

    def put(self, resource: str, value: Value | None) -> None:
        """Change one entry (None removes it) and keep all others, under a short lock. A broken file is replaced."""
        with short_lock(private_folder(self.private) / "state.lock"):
            try:
                entries = self.read()
            except BrokenStateFile:
                entries = {}
            if entries.get(resource) == value:
                return
            entries.pop(resource, None)
            self._write(entries if value is None else entries | {resource: value})

    def keep_aside_if_broken(self, resource: str) -> None:
        """Keep a file that cannot be read, or whose entry for `resource` cannot, as `.corrupt-<time>`."""
        with short_lock(private_folder(self.private) / "state.lock"):
            try:
                self.value(resource)
            except BrokenStateFile:
                aside = self._aside()
                write_new_file(aside, self.path.read_bytes(), stat.S_IMODE(self.path.stat().st_mode))

    def _aside(self) -> Path:
        return self.path.with_name(f"{self.path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%S')}-{os.urandom(2).hex()}")

    def _write(self, entries: dict[str, object]) -> None:
        """Tmp (random name, O_EXCL) -> fsync -> rename -> fsync of the folder."""
        try:
            mode = stat.S_IMODE(self.path.stat().st_mode)
        except FileNotFoundError:
            mode = 0o600
        text = json.dumps(entries, indent=2, ensure_ascii=False) + "\n"
        temporary = self.path.with_name(f"{self.path.name}.{os.urandom(8).hex()}.tmp")
        try:
            write_new_file(temporary, text.encode("utf-8", "surrogatepass"), mode)
            crash_point("state.written")
            temporary.replace(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise ConnectionFailed(f"cannot write {self.path}: {error.strerror}") from error
        crash_point("state.renamed")


def write_new_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Create `path` with `content` and bring it to the disk; an existing file or link is an error."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(mode)


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk, where the system can (not on Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parse(content: bytes) -> dict[str, object]:
    if len(content) > MAX_BYTES:
        raise BrokenStateFile(f"it is larger than {MAX_BYTES} bytes")
    try:
        parsed = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_int=_sane_int,
            parse_float=_kept_float,
        )
    except json.JSONDecodeError as error:
        raise BrokenStateFile(f"not JSON at offset {error.pos} (line {error.lineno}): {error.msg}") from error
    except UnicodeDecodeError as error:
        raise BrokenStateFile(f"not UTF-8 at offset {error.start}") from error
    except RecursionError as error:
        raise BrokenStateFile("it is nested too deeply") from error
    if not isinstance(parsed, dict):
        raise BrokenStateFile("it is not a JSON object of resource names and values")
    return parsed


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise BrokenStateFile(f"the key {key!r} stands twice")
        found[key] = value
    return found


def _no_constant(name: str) -> object:
    raise BrokenStateFile(f"{name} is not a value")


def _sane_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise BrokenStateFile(f"a number with {len(digits)} digits")
    return int(digits)


def _kept_float(text: str) -> float:
    """A foreign entry may be a float; ours never is. Infinity would not survive the next write."""
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise BrokenStateFile(f"{text} is out of range")
    return number


# --- what follows when file and mark differ -------------------------------------------------------------


class Recovered(msgspec.Struct, frozen=True):
    """Where a run starts from, and what a person is told about it.

    Attributes:
        mark: what the destination has committed; None on a first run.
        notes: differences that were found, and what was taken.
        broken: the state file is to be moved aside.
    """

    mark: Mark | None
    notes: tuple[str, ...] = ()
    broken: bool = False


def recover(resource: str, mark: Mark | None, read_value: Callable[[], Value | None], file: Path) -> Recovered:
    """Compare the mark with the file: the mark decides, and without one a value in the file stops the run.

    Raises:
        StateConflict: there is no mark, but the file has a value, or is broken.
    """
    try:
        value = read_value()
    except BrokenStateFile as error:
        if mark is None:
            raise StateConflict(
                f"{file}: {error}; and the destination has no mark for {resource}",
                hint=f"correct the file, or start again with `conduit state reset {resource}`",
            ) from error
        return Recovered(
            mark, (f"{file.name}: {error}; took the destination's mark and kept the file aside",), broken=True
        )
    if mark is None:
        return _without_mark(resource, value, file)
    shown = mark.position.shown() if mark.position else None
    finished = shown if mark.complete else (mark.since.shown() if mark.since else None)
    if value in (shown, finished) and type(value) in (type(shown), type(finished)):
        return Recovered(mark)
    if mark.position is None or mark.position.kind == "full":
        return Recovered(mark)
    found = "no value" if value is None else repr(value)
    note = (
        f"{file.name} has {found} for {resource}, the destination's mark has {shown!r}: took the mark "
        f"(`conduit state reset {resource}` or `state set` to go back)"
    )
    return Recovered(mark, (note,))


def _without_mark(resource: str, value: Value | None, file: Path) -> Recovered:
    if value is None:
        return Recovered(None)
    raise StateConflict(
        f"{file.name} has {value!r} for {resource}, but the destination has no mark: it may have been switched, "
        "restored or emptied",
        hint=f"`conduit state adopt {resource}` goes on from the file, `state reset {resource}` loads all again",
    )
