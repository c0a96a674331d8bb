"""Files as the tests of the file connectors see them: reads and commits by hand, and a run that can be killed.

What was written is read back with the csv module, json and DuckDB or pyarrow alone.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from conduit.connectors.files.config import (
    CsvDestinationConnection,
    FileDestinationConnection,
    FileSourceConnection,
    JsonDestinationConnection,
    ParquetDestinationConnection,
)
from conduit.connectors.files.destination import FileDestination
from conduit.connectors.files.source import FileSource
from conduit.contract import Committed, Described, Read, Until
from conduit.errors import ConnectionFailed
from conduit.faults import crash_point
from conduit.marks import Mark, mark_of
from tests.support.commits import mark, write

FORMS = ("lake/", "tables.csv/", "tables.json/", "t.csv", "t.json", "t.ndjson")
"""Every form of a destination, by its path."""

FOLDERS, FILES = FORMS[:3], FORMS[3:]


def connection(form: str) -> FileDestinationConnection:
    """The connection with this path."""
    if "csv" in form:
        return CsvDestinationConnection(path=form)
    if "json" in form:
        return JsonDestinationConnection(path=form)
    return ParquetDestinationConnection(path=form)


def destination(form: str, folder: Path) -> FileDestination:
    """A destination of this form, in `folder`."""
    return FileDestination("files", connection(form), folder)


def commit(
    to: FileDestination,
    batches: pa.RecordBatch | Sequence[pa.RecordBatch],
    old: Mark | None,
    new: Mark | None,
    **settings: Any,
) -> Committed:
    """One commit, as the engine makes it."""
    parts = [batches] if isinstance(batches, pa.RecordBatch) else list(batches)
    load: Any = to.begin(write(parts[0], **settings))
    try:
        crash_point("load.begun")
        staged = load.stager().stage("part-0", iter(parts))
        committed: Committed = load.commit([staged], old, new)
        return committed
    finally:
        load.abort()


def ids(first: int, last: int) -> pa.RecordBatch:
    """Rows with these ids, both included."""
    numbers = range(first, last + 1)
    return pa.record_batch({"id": pa.array(numbers, pa.int64()), "text": pa.array([f"row {n}" for n in numbers])})


def records(form: str, folder: Path, table: str = "t") -> list[dict[str, Any]]:
    """The rows of a destination, by readers that share no code with conduit. CSV gives texts, '' for NULL."""
    path = folder / form
    if path.suffix == ".json" and path.is_file():
        return list(json.loads(path.read_text()))
    files = sorted(file for file in (path / table).rglob("part-*") if file.is_file()) if path.is_dir() else [path]
    return [record for file in files for record in _records(file)]


def _records(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".parquet":
        table = pq.ParquetFile(file).read()
        return table.cast(pa.schema([_shown(field) for field in table.schema])).to_pylist()
    if file.suffix == ".csv":
        with file.open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def found_ids(form: str, folder: Path) -> list[int]:
    """The ids that a destination holds, sorted."""
    return sorted(int(record["id"]) for record in records(form, folder))


def _shown(field: pa.Field[Any]) -> pa.Field[Any]:
    """Nanoseconds as text: Python has no type for them."""
    fine = isinstance(field.type, pa.TimestampType) and field.type.unit == "ns"
    return field.with_type(pa.string()) if fine else field


# --- sources --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What a session gave."""

    described: Described
    until: Until
    rows: list[dict[str, Any]]

    def column(self, name: str) -> list[Any]:
        """The values of one column."""
        return [row[name] for row in self.rows]

    @property
    def types(self) -> dict[str, str]:
        """Column names and Arrow types."""
        return {field.name: str(field.type) for field in self.described.schema}


def read(of: FileSourceConnection, folder: Path, **request: Any) -> Seen:
    """Read everything that is new."""
    with FileSource("files", of, folder).open(Read(resource="r", **request)) as session:
        described, until = session.describe(), session.until()
        splits = [] if until.nothing_new else session.splits()
        batches = [batch for split in splits for batch in session.read(split)]
        return Seen(described, until, [row for batch in batches for row in batch.to_pylist()])


# --- a run in a process of its own ----------------------------------------------------------------------

STEP = 5


def run_once(form: str, folder: str, mode: str, crash_at: str) -> None:
    """Go on from the mark with the next STEP rows (append), or with all rows so far and the next (replace)."""
    os.environ |= {"CONDUIT_TESTING": "1", "CONDUIT_CRASH_AT": crash_at}
    to = destination(form, Path(folder))
    old = mark_of(to.marks("t"), mark(0).identity)
    last = int(old.position.value) if old and old.position else 0
    first = last + 1 if mode == "append" else 1
    commit(to, ids(first, last + STEP), old, mark(last + STEP), mode=mode)


def run_in_process(form: str, folder: Path, mode: str, crash_at: str = "") -> int:
    """`run_once` in a process that may be killed; its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.files"])
    process = context.Process(target=run_once, args=(form, str(folder), mode, crash_at))
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


def run_out_of_space(form: str, folder: Path) -> str:
    """Append many rows in a process whose files may have 64 kB only; the error that it gets."""
    context = multiprocessing.get_context("forkserver")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_append_much, args=(form, str(folder), send))
    process.start()
    message = str(receive.recv())
    process.join(60)
    return message


def _append_much(form: str, folder: str, answer: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536))
    try:
        commit(destination(form, Path(folder)), ids(STEP + 1, 100_000), mark(STEP), mark(100_000))
    except ConnectionFailed as error:
        answer.send(str(error))
