"""The rows that a repair exchanges: read once more, spooled, compared with what was found, and written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, runtime_checkable

import msgspec

from conduit.arrow import pa
from conduit.checking import pushdown
from conduit.checking.comparison import SIDES, frame
from conduit.checking.differing import Differing, Heap
from conduit.checking.ranges import Counted
from conduit.checking.scope import Scope, busy, require_same_mark
from conduit.commits import commit, stage
from conduit.contract import Committed, Load, Write
from conduit.errors import ConfigError
from conduit.faults import crash_point
from conduit.history import utc_now
from conduit.marks import Mark
from conduit.rows import Stream


@runtime_checkable
class SupportsRemoval(Protocol):
    """A load that can take rows out of its table, in the commit that brings others."""

    def remove(self, rows: Iterator[pa.RecordBatch], columns: Sequence[str]) -> int:
        """Take out the rows with the values of one of `rows` in these columns; how many. Before any row is staged."""
        ...


@dataclass(frozen=True, slots=True)
class Replacement:
    """Rows on their way, in files that are removed with it.

    Attributes:
        scope: what was compared.
        going: what identifies the rows of the destination that go.
        removed: how many they are.
        coming: the rows of the source.
    """

    scope: Scope
    going: Path
    removed: int
    coming: Path

    def commit(self) -> Committed:
        """Remove, insert, and keep the mark, in one step.

        Raises:
            Busy: the destination is not as it was compared; nothing was written.
            ConfigError: the destination cannot remove rows.
        """
        job, mark = self.scope.job, self.scope.mark
        load = job.destination.begin(self._write())
        try:
            crash_point("load.begun")
            self._remove(load)
            finish = Stream(self.scope.written, cursor_column=None, run_id=job.stamp)
            staged = stage(load, (finish.pass_on(batch) for batch in _batches(self.coming)))
            return commit(job, load, [staged], mark, self._mark(staged.rows))
        finally:
            load.abort()

    def _mark(self, rows: int) -> Mark:
        """The same position, by this run."""
        mark = self.scope.mark
        since = mark.position if mark.complete else mark.since
        return msgspec.structs.replace(
            mark, since=since, run_id=self.scope.job.run_id, rows=rows, committed_at=utc_now()
        )

    def _write(self) -> Write:
        job = self.scope.job
        return Write(
            identity=job.identity,
            table=job.resource.into,
            mode="append",
            schema=self.scope.written,
            run_id=job.run_id,
            cursor=self.scope.cursor,
        )

    def _remove(self, load: Load) -> None:
        if not isinstance(load, SupportsRemoval):
            raise ConfigError(f"{self.scope.job.resource.destination} cannot remove rows", hint="use --full-refresh")
        removed = load.remove(_batches(self.going), self.scope.identity)
        if removed != self.removed:
            raise busy(self.scope, f"{removed:,} rows of the destination have these keys now, {self.removed:,} had")


@contextmanager
def replacement(scope: Scope, counted: Counted, heaps: Differing) -> Iterator[Replacement]:
    """Read both sides once more, for the rows that differ.

    Raises:
        Busy: they are not those that were compared.
    """
    identity = [name for name in scope.schema.names if name in scope.identity]
    with TemporaryDirectory(prefix="conduit-") as folder:
        going, coming = Path(folder) / "going.arrow", Path(folder) / "coming.arrow"
        schemas = [pa.schema([scope.schema.field(name) for name in names]) for names in (scope.schema.names, identity)]
        whole = iter((scope.source_rows(), scope.target_rows()))
        found = pushdown.rows(scope, counted.differing) if counted.pushed_down else whole
        removed = 0
        for heap, batches, schema, path in zip(SIDES, found, schemas, (coming, going), strict=True):
            removed = _spool(scope, heaps, heap, batches, schema, path)
        require_same_mark(scope)
        yield Replacement(scope, going, removed, coming)


def _spool(
    scope: Scope, heaps: Differing, heap: Heap, batches: Iterator[pa.RecordBatch], schema: pa.Schema, path: Path
) -> int:
    """The rows of one side that a repair is about, into a file; how many."""
    wanted = heaps.identities()
    rows, sums = 0, [0, 0]
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for batch in batches:
            all_rows = frame(scope, batch)
            held = all_rows["k"].is_in(wanted.implode())
            seen = all_rows.filter(held)
            rows += seen.height
            sums = [(total + int(seen[name].sum() or 0)) % 2**64 for total, name in zip(sums, ("a", "b"), strict=True)]
            if seen.height:
                writer.write_batch(batch.filter(held.to_arrow().cast(pa.bool_())).select(schema.names))
    if (rows, *sums) != heaps.checksum(heap):
        raise busy(scope, f"the rows of the {heap} with these keys are not those that were compared")
    return rows


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
        yield from reader
