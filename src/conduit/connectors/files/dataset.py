"""A data set in a folder, as its loads describe it: `load-<seq>/` holds parts and `_mark.json`. Reads only.

The newest load knows everything: all marks of the table, its schema, its rows. A gap in the sequence or a mark that
cannot be read means that somebody else was here, and is never passed over.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from conduit.arrow import pa
from conduit.connectors.files.parts import PartFormat
from conduit.errors import StateConflict
from conduit.marks import Mark

MARK_FILE = "_mark.json"
FORMAT = 1

_LOAD = re.compile(r"load-(\d{6,})")


class PartRecord(msgspec.Struct, frozen=True):
    """One file of a load."""

    name: str
    rows: int
    bytes: int


class LoadRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a load says about itself and about the table after it.

    Attributes:
        seq: number of the load, one more than that of the load before.
        first: number of the oldest load; a replace begins anew.
        type: format of the parts.
        marks: all marks of the table.
        schema: columns of the table, as a base64 Arrow schema; empty when nothing was ever written.
        parts: files of this load.
        rows: rows of the table in all loads.
        format: version of this structure.
    """

    seq: int
    first: int = 1
    type: PartFormat
    marks: tuple[Mark, ...] = ()
    schema: str = ""
    parts: tuple[PartRecord, ...] = ()
    rows: int = 0
    format: int = FORMAT


def load_name(seq: int) -> str:
    """The folder of a load."""
    return f"load-{seq:06d}"


def newest(folder: Path) -> LoadRecord | None:
    """The record of the newest load; None when there is no load.

    Raises:
        StateConflict: a load is missing, or the newest cannot be read.
        OSError: the folder cannot be looked at.
    """
    numbers = _numbers(folder)
    if not numbers:
        return None
    try:
        return _newest_of(folder, numbers)
    except StateConflict:
        if _numbers(folder) == numbers:
            raise
    return newest(folder)  # the folder was exchanged, or got a load, while it was looked at


def every(folder: Path) -> list[LoadRecord]:
    """The records of all loads, oldest first.

    Raises:
        StateConflict: a load is missing, or cannot be read.
        OSError: the folder cannot be looked at.
    """
    last = newest(folder)
    if last is None:
        return []
    return [_read(folder / load_name(seq) / MARK_FILE, seq) for seq in range(last.first, last.seq + 1)]


def _newest_of(folder: Path, numbers: Sequence[int]) -> LoadRecord:
    record = _read(folder / load_name(numbers[-1]) / MARK_FILE, numbers[-1])
    _require_whole(folder, [record.first - 1, *numbers])
    return record


def _numbers(folder: Path) -> list[int]:
    return sorted(int(match[1]) for entry in _entries(folder) if (match := _LOAD.fullmatch(entry)))


def _require_whole(folder: Path, numbers: Sequence[int]) -> None:
    for before, after in pairwise(numbers):
        if after != before + 1:
            raise StateConflict(
                f"{folder}: {load_name(before + 1)} is missing, {load_name(after)} is there",
                hint="put it back, or remove the loads after it too: their rows will then be loaded again",
            )


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names only
    except FileNotFoundError:
        return []


def _read(path: Path, seq: int) -> LoadRecord:
    try:
        record = msgspec.json.decode(path.read_bytes(), type=LoadRecord)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise StateConflict(
            f"{path} cannot be read: {why}",
            hint=f"restore it, or remove {path.parent.name}: its rows will then be loaded again",
        ) from error
    if record.format > FORMAT or record.seq != seq or path.is_symlink():
        raise StateConflict(f"{path} is not the mark of {path.parent.name} in a format that is known here")
    return record


def data_files(folder: Path, part_format: PartFormat) -> list[Path]:
    """All parts of a data set, those of others included, by name."""
    return sorted(path for path in folder.rglob(f"*.{part_format}") if path.is_file())


def strangers(folder: Path) -> list[str]:
    """What stands in the folder and is no load."""
    return sorted(entry for entry in _entries(folder) if not _LOAD.fullmatch(entry))


def schema_text(schema: pa.Schema) -> str:
    """A schema, metadata included, as text."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def schema_from(text: str) -> pa.Schema | None:
    """The schema that `schema_text` wrote; None for the empty text.

    Raises:
        StateConflict: it is not one.
    """
    if not text:
        return None
    try:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text, validate=True)))
    except (ValueError, pa.ArrowException, OSError) as error:
        raise StateConflict(f"the schema of a mark cannot be read: {error}") from error


def table_schema(known: pa.Schema | None, wanted: pa.Schema, added: Sequence[str]) -> tuple[pa.Schema, tuple[str, ...]]:
    """The columns of the table after a load, and those of the load that the table neither has nor gets."""
    if known is None:
        return wanted, ()
    extra = [field for field in wanted if field.name not in known.names]
    refused = tuple(field.name for field in extra if field.name not in added)
    kept = [field if field.name in wanted.names else field.with_nullable(True) for field in known]
    fields = [*kept, *(field.with_nullable(True) for field in extra if field.name in added)]
    schema = pa.schema(fields)
    return (schema.with_metadata(known.metadata) if known.metadata else schema), refused
