"""Exactly once from one table into another: the rows and how far the source was read go into one commit of the target.

A job reads what was appended to its source since its mark, and writes once. The mark moves with the rows or not at all,
so there is no state file, and it does not matter when the process dies.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Self

import polars as pl
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from iceframe.change import Change
from iceframe.changes import Changes, OnChange, changes
from iceframe.commit import Done, Plan, commit
from iceframe.errors import ForeignSnapshotError, MarkMovedError, ValidationError
from iceframe.files import discard, written
from iceframe.maintenance.readers import register
from iceframe.marks import Mark, mark_of, property_of, property_value
from iceframe.merge import Merge
from iceframe.schemas import Rows, fitted


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a job is, apart from any run of it.

    Attributes:
        name: its mark is kept under this name.
        source: the table that it reads.
        target: the table that it writes, and that keeps the mark.
        on_change: what happens when rows of the source were changed or deleted since the mark.
    """

    name: str
    source: Table
    target: Table
    on_change: OnChange = "error"


class Window:
    """What is new in the source of a job, and the one write that consumes it. A context manager.

    The write is committed when the block ends without an error, together with the mark; `execute()` of a merge commits
    it at once. A block that writes nothing leaves the mark where it is; `skip()` moves it without rows.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._write: Callable[[], object] | None = None
        self._done: Done | None = None
        self._run = uuid.uuid4().hex
        self._mark = mark_of(job.target.metadata, job.name)
        self._changes = changes(job.source, self._since(), on_change=job.on_change)

    def __enter__(self) -> Self:
        if self._mark is None:
            register(self._job.source, self._job.name, self.since, ".".join(self._job.target.name()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._write and not self._done:
            self._write()

    # --- what is new ------------------------------------------------------------------------------------

    @property
    def frame(self) -> pl.DataFrame:
        """The new rows."""
        return self._changes.frame

    @property
    def changes(self) -> Changes:
        """The new rows as a stream, with where they begin and end."""
        return self._changes

    @property
    def since(self) -> int | None:
        """The snapshot of the source after which the window begins; None: at its beginning."""
        return self._changes.since

    @property
    def until(self) -> int | None:
        """The snapshot of the source with which the window ends; None: the source is empty."""
        return self._changes.until

    @property
    def snapshot_id(self) -> int | None:
        """The snapshot of the target that the write made; None: not committed, or nothing was new."""
        return self._done.snapshot_id if self._done else None

    # --- the write --------------------------------------------------------------------------------------

    def merge(self, rows: Rows, on: str | Sequence[str]) -> Merge:
        """Merge rows into the target; clauses are added to what this gives, and its commit carries the mark.

        Raises:
            ValidationError: the window has a write already.
        """
        merge = Merge(self._job.target, rows, on, commit=self._commit)
        self._claim(merge.execute)
        return merge

    def append(self, rows: Rows) -> None:
        """Append rows to the target.

        Raises:
            ValidationError: the window has a write already.
            SchemaError: the rows do not fit the target.
        """
        target = self._job.target

        @cache
        def files() -> tuple[DataFile, ...]:
            return written(target.metadata, target.io, fitted(rows, target.schema()))

        self._claim(lambda: self._commit(lambda _: Change(operation="append", added=files()) if files() else None))

    def skip(self) -> None:
        """Consume the window without rows: the mark moves, with an empty snapshot.

        Raises:
            ValidationError: the window has a write already.
        """
        self._claim(lambda: self._commit(lambda _: None))

    def _commit(self, change: Callable[[Table], Change | None]) -> Done:
        """Rows and mark in one commit of the target, if the mark still is where this window began."""
        until = self.until
        if until is None or until == self._since():
            return self._nothing(change)

        def plan(table: Table) -> Plan:
            self._require_mark(table)
            found = change(table) or Change(operation="append")
            return Plan(change=found, summary=self._summary(until), properties=self._properties(table, until))

        self._done = commit(self._job.target, plan)
        return self._done

    def _nothing(self, change: Callable[[Table], Change | None]) -> Done:
        """A window without new rows: there is nothing to consume, so nothing can be written with it.

        Raises:
            ValidationError: the write has rows nevertheless; they would be written again by every such run.
        """
        found = change(self._job.target)
        if found is None:
            return Done(snapshot_id=None, change=None)
        discard(self._job.target.io, (*found.added, *found.deletes))
        raise ValidationError(
            f"job {self._job.name!r}: nothing is new in its source, yet rows are to be written",
            hint="write only what comes from `window.frame`",
        )

    def _claim(self, write: Callable[[], object]) -> None:
        if self._write:
            raise ValidationError(
                f"job {self._job.name!r} writes twice in one window",
                hint="one window is one commit: bring the rows together, or use two jobs",
            )
        self._write = write

    def _require_mark(self, table: Table) -> None:
        found = mark_of(table.metadata, self._job.name)
        if found != self._mark:
            raise MarkMovedError(
                f"job {self._job.name!r}: another run has moved the mark to snapshot {found.until if found else None} "
                f"of {'.'.join(self._job.source.name())}",
                hint="nothing was written; run the job again, it goes on from there",
            )

    def _since(self) -> int | None:
        if self._mark is None:
            return None
        if self._mark.source != str(self._job.source.metadata.table_uuid):
            raise ForeignSnapshotError(
                f"job {self._job.name!r} has read another table of the name {'.'.join(self._job.source.name())}: "
                "it was dropped and made again",
                hint=f"remove the property {property_of(self._job.name)} of the target to load all its rows",
            )
        return self._mark.until

    def _summary(self, until: int) -> dict[str, str]:
        return {
            "iceframe.job": self._job.name,
            "iceframe.run": self._run,
            "iceframe.since": str(self.since or ""),
            "iceframe.until": str(until),
        }

    def _properties(self, table: Table, until: int) -> Callable[[int], Mapping[str, str]]:
        sequence = table.metadata.next_sequence_number()

        def properties(snapshot_id: int) -> Mapping[str, str]:
            mark = Mark(
                source=str(self._job.source.metadata.table_uuid),
                since=self._since(),
                until=until,
                run=self._run,
                snapshot_id=snapshot_id,
                sequence=sequence,
            )
            return {property_of(self._job.name): property_value(mark)}

        return properties
