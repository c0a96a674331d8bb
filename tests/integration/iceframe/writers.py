"""Other people's writers, rows as multisets to compare with, and a look at the files that are opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO, schema_to_pyarrow
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.typedef import Record
from pyiceberg.types import LongType, NestedField, StringType

from iceframe.change import Change
from iceframe.commit import Plan, commit
from iceframe.files import write_data_files
from iceframe.scan import pinned

Rows = Counter[str]
_POSITIONS = Schema(  # the field ids that the format reserves
    NestedField(2147483546, "file_path", StringType(), required=True),
    NestedField(2147483545, "pos", LongType(), required=True),
)


def multiset(rows: pl.DataFrame | Iterable[Sequence[object]]) -> Rows:
    """Rows that can be counted and compared; NaN is equal to itself and 0.0 is not -0.0."""
    return Counter(repr(tuple(row)) for row in (rows.rows() if isinstance(rows, pl.DataFrame) else rows))


def head(table: Table) -> int:
    """The id of the current snapshot."""
    snapshot = table.refresh().current_snapshot()
    assert snapshot is not None
    return snapshot.snapshot_id


def append(table: Table, **columns: list[object]) -> int:
    """Append rows with pyiceberg; the new snapshot."""
    shape = pa.schema([table.schema().as_arrow().field(name) for name in columns])
    table.append(pa.table({name: pa.array(values, shape.field(name).type) for name, values in columns.items()}))
    return head(table)


def delete_at(table: Table, path: str, places: list[int], operation: str = "delete") -> int:
    """Delete rows of a data file by their places; the new snapshot."""
    return change(table, Change(operation=operation, deletes=(position_deletes(table, path, places),)))  # type: ignore[arg-type]


def position_deletes(table: Table, path: str, places: list[int]) -> DataFile:
    """A position delete file for a data file."""
    target = f"{table.location()}/data/deletes-{uuid4()}.parquet"
    local = Path(target.removeprefix("file://"))
    pq.write_table(
        pa.table({"file_path": [path] * len(places), "pos": sorted(places)}, schema=schema_to_pyarrow(_POSITIONS)),
        local,
    )
    made = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=target,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=len(places),
        file_size_in_bytes=local.stat().st_size,
    )
    made.spec_id = table.metadata.default_spec_id
    return made


def compact(table: Table) -> int:
    """Bring all files together in a `replace` snapshot; the new snapshot."""
    table.refresh()
    scan = pinned(table)
    added = tuple(write_data_files(table.metadata, table.io, scan.batches()))
    removed = tuple(task.file for task in scan.files())
    return change(table, Change(operation="replace", added=added, removed=removed))


def change(table: Table, wanted: Change) -> int:
    """Commit a change; the new snapshot."""
    table.refresh()
    commit(table, lambda _: Plan(change=wanted))
    return head(table)


def data_files(table: Table) -> list[str]:
    """The paths of the data files of the head."""
    return [task.file.file_path for task in pinned(table.refresh()).files()]


def expire(table: Table, *snapshots: int) -> None:
    """Forget snapshots, as pyiceberg does it."""
    table.maintenance.expire_snapshots().by_ids(list(snapshots)).commit()
    table.refresh()


def roll_back(table: Table, snapshot: int) -> None:
    """Make an earlier snapshot the head."""
    table.manage_snapshots().rollback_to_snapshot(snapshot).commit()
    table.refresh()


class Watched(PyArrowFileIO):
    """Real files, and which of them were opened."""

    opened: Counter[str]

    def new_input(self, location: str) -> PyArrowFile:
        self.opened[Path(location).name] += 1
        return super().new_input(location)


def watch(table: Table) -> Counter[str]:
    """What is opened from now on."""
    io = Watched(table.io.properties)
    io.opened = Counter()
    table.io = io
    return io.opened
