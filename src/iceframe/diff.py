"""The difference of two snapshots of a table, whatever happened between them. Knows no line of snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
from pyiceberg.table import Table

from iceframe.changelog import key_of
from iceframe.deltas import exchanged_files
from iceframe.earlier import history_of
from iceframe.multiset import paired, surplus
from iceframe.reading import FileScan, reading
from iceframe.scan import framed
from iceframe.schemas import arrow_schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What tells a snapshot from an earlier one, in the columns and types that the table has today.

    Attributes:
        added: rows that only the second has.
        removed: rows that only the first has.
        modified: rows that both have under one key, with other values: as they are in the second.
        before: the same rows, in the same order, as they are in the first.
    """

    added: pl.DataFrame
    removed: pl.DataFrame
    modified: pl.DataFrame
    before: pl.DataFrame


def difference(
    table: Table, from_snapshot: int, to_snapshot: int | None = None, *, key: Sequence[str] | None = None
) -> Difference:
    """The rows that tell two snapshots apart, exact as multisets: equal rows are counted, NULL equals NULL.

    Args:
        table: its snapshots are compared; files that both have are not read, the others are held in memory.
        from_snapshot: the first.
        to_snapshot: the second; None: the head of main.
        key: columns that tell rows apart. A key that one row went with and one came with is a modified row; NULL keys
            match NULL keys. None: the identifier fields of the table; without any, no row is a modified one.

    Raises:
        ValidationError: an id that can be none, or an unknown key column.
        SnapshotExpiredError, ForeignSnapshotError: a snapshot is not there.
        StorageError: a file is missing or corrupt.
        UnsupportedError: the table has equality deletes.
    """
    history = history_of(table)
    asked = reading(history.metadata, table.io, None, None)
    columns = key_of(asked.schema, key)
    first = history.snapshot(from_snapshot, "from_snapshot")
    second = history.last(None) if to_snapshot is None else history.snapshot(to_snapshot, "to_snapshot")
    old, new = exchanged_files(asked.metadata, asked.io, first, second)
    found = paired(*surplus(_rows(asked.of(old)), _rows(asked.of(new))), columns)
    return Difference(
        added=framed(iter(found.added.to_batches()), asked.schema),
        removed=framed(iter(found.removed.to_batches()), asked.schema),
        modified=framed(iter(found.after.to_batches()), asked.schema),
        before=framed(iter(found.before.to_batches()), asked.schema),
    )


def _rows(scan: FileScan) -> pa.Table:
    return pa.Table.from_batches(scan.batches(), schema=arrow_schema(scan.schema))
