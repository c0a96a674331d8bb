"""What is new in a table since a snapshot. Decides what a window may hold; knows nothing of manifests and files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from typing import Literal, Protocol, get_args

import polars as pl
import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from iceframe.changelog import changelog
from iceframe.deltas import added_manifests, appended_files, only_appends
from iceframe.earlier import history_of
from iceframe.errors import NonAppendSnapshotError, ValidationError
from iceframe.filters import Where
from iceframe.reading import FileScan, Reading, reading
from iceframe.scan import framed
from iceframe.schemas import arrow_schema
from iceframe.snapshots import Window, operation_of

OnChange = Literal["error", "ignore", "changes"]
"""What happens when rows of the window were changed or deleted."""
Kind = Literal["full", "append", "changes"]

_HINT = (
    "on_change='changes' gives inserts, updates and deletes, 'ignore' the appended rows only, since=None all rows as "
    "they are now; a compaction is only known as such if its snapshot is a `replace`"
)


class Stream(Protocol):
    """Rows that can be read more than once."""

    @property
    def schema(self) -> Schema:
        """The columns."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows."""

    def empty(self) -> bool:
        """Whether there are none."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What is new, and where it begins and ends. Both ends are fixed; the rows are read when they are asked for.

    Attributes:
        since: the snapshot after which it begins; None: at the beginning of the table.
        until: the snapshot with which it ends, to be the next `since`; None: the table is empty.
        kind: "full": all rows at `until`; "append": the rows that were appended; "changes": inserts, updates and
            deletes, with the columns `_change_type` and `_commit_snapshot_id`.
        stream: the rows.
    """

    since: int | None
    until: int | None
    kind: Kind
    stream: Stream = field(repr=False)

    @property
    def schema(self) -> pa.Schema:
        """The columns and their Arrow types."""
        return arrow_schema(self.stream.schema)

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The rows as a Polars frame, with columns and types even without rows.

        Raises:
            NonAppendSnapshotError, StorageError, UnsupportedError: see `batches`.
        """
        return framed(self.batches(), self.stream.schema)

    @property
    def empty(self) -> bool:
        """Whether there are no rows; no data file is read to find out, unless there are deletes or a condition."""
        return self.stream.empty()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, batch by batch, in bounded memory.

        Raises:
            NonAppendSnapshotError: an `append` snapshot took rows away, against what it says of itself.
            StorageError: a file is missing or corrupt.
            UnsupportedError: the table has equality deletes.
        """
        return self.stream.batches()

    def reader(self) -> pa.RecordBatchReader:
        """The rows as an Arrow stream."""
        return pa.RecordBatchReader.from_batches(self.schema, self.batches())


def changes(
    table: Table,
    since: int | None = None,
    *,
    since_timestamp: datetime | int | None = None,
    until: int | None = None,
    branch: str | None = None,
    columns: Sequence[str] | None = None,
    where: Where = None,
    on_change: OnChange = "error",
    key: Sequence[str] | None = None,
) -> Changes:
    """What came into a table after a snapshot, in the columns and types that the table has today.

    Args:
        table: what is read is fixed to what it is now.
        since: the last snapshot that is known already. None: all rows at `until`. An expired snapshot serves as long
            as all that came after it is there.
        since_timestamp: instead of `since`, the last snapshot at or before this time (with a time zone, or
            milliseconds since 1970); without one, all rows.
        until: the last snapshot to read; None: the head.
        branch: a branch or tag; None: main.
        columns: only these, in this order.
        where: only rows for which this holds.
        on_change: what to do about snapshots that change or delete rows (`overwrite`, `delete`). "error": refuse.
            "ignore": give the rows of the `append` snapshots as they were appended, also those that were deleted since,
            so that a row comes in exactly one window however windows are cut; rows of an overwrite do not come.
            "changes": give every change. Compactions (`replace`) change no row and are always passed over, as long as
            the files that were appended before them are still there.
        key: for "changes": the columns that tell rows apart, so that updates are seen; None: the identifier fields.

    pyiceberg's own `upsert` is an overwrite or delete and an append: with "ignore" its updated rows come as appended
    ones, with "changes" as deletes and inserts of two snapshots.

    Raises:
        ValidationError: an argument makes no sense; the message says which.
        SnapshotExpiredError, ForeignSnapshotError, RolledBackSnapshotError: the window has no beginning or no end.
        NonAppendSnapshotError: rows were changed or deleted, and `on_change` is "error".
    """
    if on_change not in get_args(OnChange):
        raise ValidationError(f"on_change is one of {', '.join(get_args(OnChange))}; it is {on_change!r}")
    history = history_of(table)
    asked = reading(history.metadata, table.io, columns, where)
    if since_timestamp is not None:
        if since is not None:
            raise ValidationError("since and since_timestamp are two ways to say one thing; give one of them")
        since = history.at(since_timestamp, until, branch)
    window = history.window(since, until, branch)
    kind, stream = _stream(asked, window, on_change, key, history.name)
    return Changes(since=window.since, until=window.until, kind=kind, stream=stream)


@dataclass(frozen=True)
class _Lazy:
    """A scan whose files are found out when rows are asked for, and once."""

    reading: Reading
    make: Callable[[], FileScan]

    @property
    def schema(self) -> Schema:
        return self.reading.schema

    @cached_property
    def scan(self) -> FileScan:
        return self.make()

    def batches(self) -> Iterator[pa.RecordBatch]:
        return self.scan.batches()

    def empty(self) -> bool:
        return self.scan.empty()


def _stream(
    asked: Reading, window: Window, on_change: OnChange, key: Sequence[str] | None, name: str
) -> tuple[Kind, Stream]:
    if on_change == "changes":
        return "changes", changelog(asked, window, key)
    if window.since is None:
        return "full", _Lazy(asked, partial(asked.all, window.until))
    appends = [one for one in window.snapshots if operation_of(one) == "append"]
    for one in window.snapshots:
        passed = {"append", "replace"} | ({"overwrite", "delete"} if on_change == "ignore" else set())
        if operation_of(one) not in passed:
            raise _no_append(name, one, f"has the operation {operation_of(one)!r}")
    return "append", _Lazy(asked, partial(_appended, asked, appends, name, strict=on_change == "error"))


def _appended(asked: Reading, snapshots: Sequence[Snapshot], name: str, *, strict: bool) -> FileScan:
    found = []
    for one in snapshots:
        manifests = added_manifests(asked.io, one)
        if strict and not only_appends(asked.io, one, manifests):
            raise _no_append(name, one, "says it is an append, but it takes rows away")
        found.extend(manifests)
    return asked.of(appended_files(asked.metadata, asked.io, snapshots, found, asked.where))


def _no_append(name: str, snapshot: Snapshot, why: str) -> NonAppendSnapshotError:
    return NonAppendSnapshotError(
        f"{name}: snapshot {snapshot.snapshot_id} {why}: what came after the start is more than appended rows",
        snapshot_id=snapshot.snapshot_id,
        operation=operation_of(snapshot),
        hint=_HINT,
    )
