"""One commit into a table: files or a merge, and the mark, in one step of the catalog."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from conduit import shrink
from conduit.arrow import pa
from conduit.connectors import sql
from conduit.connectors.iceberg.marks import moving, require
from conduit.connectors.iceberg.place import Place
from conduit.connectors.iceberg.staging import SpoolStager, file_stager, remove, spooled
from conduit.contract import Committed, OutcomeUnknown, Staged, Stager, Write, changes_nothing
from conduit.faults import crash_point
from conduit.late import late
from conduit.marks import Mark
from conduit.rows import METADATA_COLUMNS
from conduit.schemas import storage
from iceframe import errors as ice
from iceframe.change import Change
from iceframe.commit import Done, Plan, commit
from iceframe.scan import pinned
from iceframe.schemas import arrow_schema

if TYPE_CHECKING:
    import polars as pl

    from conduit.connectors.iceberg import expressions, removal
    from iceframe import merge
else:
    expressions, removal = late("conduit.connectors.iceberg.expressions"), late("conduit.connectors.iceberg.removal")
    merge, pl = late("iceframe.merge"), late("polars")

_PLACE = "place"


class IcebergLoad:
    """Rows on their way into one snapshot. The table is not touched before the commit."""

    def __init__(self, place: Place, table: Table, write: Write) -> None:
        """Set up a load.

        Args:
            place: the catalog.
            table: the target, with all columns of the write.
            write: what is to be done.
        """
        self._place = place
        self._table = table
        self._write = write
        sides = {"target": table.schema().column_names, "source": write.schema.names}
        self._update = expressions.expressions(write.table, write.update, sides) if write.update else {}
        self._compares = sql.needs_stage(write)
        self._folder = Path(tempfile.mkdtemp(prefix="conduit-")) if self._compares else None
        self._files: list[DataFile] = []
        self._removal: removal.Removal | None = None
        self._asked = False

    # --- rows ---

    def stager(self) -> Stager:
        """Data files; or a spool, for rows that are compared with the table."""
        if self._folder is None:
            return file_stager(self._place.name, self._write.table, self._table)
        return SpoolStager(
            destination=self._place.name, table=self._write.table, folder=self._folder, schema=self._schema
        )

    def stream(self, rows: Iterator[pa.RecordBatch]) -> Staged:
        """The same by this process, which then removes the files if they are not committed."""
        stager = self.stager()
        staged = stager.stage("stream", rows)
        self.adopt(staged)
        return staged

    def adopt(self, staged: Staged) -> None:
        """Remove the data files of this piece when the load is aborted; a spool goes with its folder."""
        if self._folder is None:
            self._files += staged.detail

    def remove(self, rows: Iterator[pa.RecordBatch], columns: Sequence[str]) -> int:
        """Find the rows with the values of one of `rows` in these columns; the commit takes them out."""
        with self._place.errors(f"load {self._write.table}"):
            self._removal = removal.Removal(self._table, self._write, rows, columns)
        return self._removal.rows

    @property
    def _schema(self) -> pa.Schema:
        """The rows of the write in the table's types."""
        own = arrow_schema(self._table.schema())
        return pa.schema([own.field(name) for name in self._write.schema.names])

    # --- commit ---

    def commit(self, staged: Sequence[Staged], old: Mark | None, new: Mark | None) -> Committed:
        """Work out the change on the head, and commit it with the mark if the mark still is `old`."""
        crash_point("load.staged")
        attempt = _Attempt(self._write, old, new)
        with self._place.errors(f"load {self._write.table}"):
            if self._compares:
                return self._merge(attempt, staged)
            self._files = [file for piece in staged for file in piece.detail]
            if self._removal is not None:
                return self._exchange(attempt, self._removal, sum(piece.rows for piece in staged))
            return self._add(attempt, sum(piece.rows for piece in staged))

    def abort(self) -> None:
        """Remove what was staged, if it cannot have become visible. Files of a lost race stay behind as orphans."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if not self._asked:
            remove(self._table.io, self._files)
            self._files = []
            if self._removal is not None:
                self._removal.discard(self._table)
                self._removal = None

    def _add(self, attempt: _Attempt, rows: int) -> Committed:
        """Append the staged files, or put them in the place of all others."""

        def committed(table: Table) -> Committed:
            replaced = pinned(table).count() if self._write.mode == "replace" else 0
            shrink.refuse(self._write, before=replaced, after=rows)
            return Committed(inserted=rows, deleted=replaced)

        def change(table: Table) -> Change | None:
            attempt.committed = committed(table)
            removed = _all_files(table) if self._write.mode == "replace" else ()
            if not self._files and not removed:
                return None
            return Change(operation="overwrite" if removed else "append", added=tuple(self._files), removed=removed)

        foreseen = committed(self._table)
        if changes_nothing(foreseen, attempt.old, attempt.new):
            return foreseen
        self._send(attempt, change)
        return attempt.committed

    def _exchange(self, attempt: _Attempt, gone: removal.Removal, rows: int) -> Committed:
        """Take rows out and add the staged files, in one snapshot."""

        def change(table: Table) -> Change | None:
            attempt.committed = Committed(inserted=rows, deleted=gone.rows)
            return gone.with_rows(table, self._files)

        self._send(attempt, change)
        return attempt.committed

    def _merge(self, attempt: _Attempt, staged: Sequence[Staged]) -> Committed:
        """Compare the spooled rows with the table by key: update, insert, or insert what is missing."""
        rows = spooled(staged, self._schema)
        kept, superseded = self._newest(rows)
        if kept.num_rows == 0:
            return self._unchanged(attempt, Committed())

        def sent(change: Callable[[Table], Change | None]) -> Done:
            def counted(table: Table) -> Change | None:
                found = change(table)
                attempt.committed = _tally(rows.num_rows, superseded, found)
                return found

            return self._send(attempt, counted)

        self._clauses(merge.Merge(self._table, kept, list(self._write.key), commit=sent)).execute()
        return attempt.committed

    def _clauses(self, begun: merge.Merge) -> merge.Merge:
        if self._write.mode == "append":
            return begun.when_not_matched_insert()
        if self._update:
            return begun.when_matched_update(self._update).when_not_matched_insert()
        return begun.when_matched_update(condition=self._differs).when_not_matched_insert()

    @property
    def _differs(self) -> pl.Expr | None:
        """Run id and load time alone do not make a row another one; iceframe leaves equal rows alone by itself."""
        names = [name for name in self._write.schema.names if name not in self._write.key]
        watched = [name for name in names if name not in METADATA_COLUMNS]
        if watched == names:
            return None
        pairs = [pl.col(f"source.{name}").ne_missing(pl.col(f"target.{name}")) for name in watched]
        return pl.any_horizontal(pairs) if pairs else pl.lit(value=False)

    def _newest(self, rows: pa.Table) -> tuple[pa.Table, int]:
        """Of the rows with one key the one with the highest cursor, of equals the last that came; how many went."""
        if self._write.refuse_duplicate_keys or rows.num_rows == 0:
            return rows, 0
        names = [*self._write.key, *([self._write.cursor] if self._write.cursor else [])]
        columns = {f"c{place}": _series(rows, name) for place, name in enumerate(names)}
        keys = [f"c{place}" for place in range(len(self._write.key))]
        frame = pl.DataFrame(columns).with_row_index(_PLACE)
        order = [name for name in columns if name not in keys]
        kept = frame.sort([*order, _PLACE], nulls_last=False).unique(keys, keep="last", maintain_order=True)
        if kept.height == rows.num_rows:
            return rows, 0
        places = kept.get_column(_PLACE).sort().to_arrow()
        return rows.take(places), rows.num_rows - kept.height

    def _unchanged(self, attempt: _Attempt, committed: Committed) -> Committed:
        """Nothing but the mark moves."""
        attempt.committed = committed
        if not changes_nothing(committed, attempt.old, attempt.new):
            self._send(attempt, lambda _: None)
        return committed

    def _send(self, attempt: _Attempt, change: Callable[[Table], Change | None]) -> Done:
        """Commit. Once the catalog was asked, whatever it answered, what was staged stays: a snapshot may know it."""
        try:
            done = commit(self._table, lambda table: attempt.planned(table, change))
        except ice.OutcomeUnknownError as error:
            raise OutcomeUnknown(f"{self._place.name}: {error}", committed=attempt.committed) from error
        finally:
            self._asked = attempt.asked
        if done.snapshot_id is not None:
            crash_point("load.committed")
        return done


class _Attempt:
    """The mark of one commit, and what the commit does according to its newest plan.

    Attributes:
        old: the mark before.
        new: the mark after; None: it stays.
        committed: what the newest plan does.
        asked: the catalog may have been asked to commit.
    """

    def __init__(self, write: Write, old: Mark | None, new: Mark | None) -> None:
        self._write = write
        self.old = old
        self.new = new
        self.committed = Committed()
        self.asked = False

    def planned(self, table: Table, change: Callable[[Table], Change | None]) -> Plan:
        """The commit on this head.

        Raises:
            Fenced: the mark is not `old` any more.
        """
        if self.new is not None:
            require(table.metadata, self.old, self._write.identity)
        found = change(table)
        moved = None if changes_nothing(self.committed, self.old, self.new) else self.new
        plan = moving(table, found, self.old, moved, self._write.run_id)
        crash_point("load.marked")
        self.asked = self.asked or plan.change is not None
        return plan


def _all_files(table: Table) -> tuple[DataFile, ...]:
    return tuple(task.file for task in pinned(table).files())


def _tally(staged: int, superseded: int, change: Change | None) -> Committed:
    counts = change.counts if change else {}
    inserted, updated = counts.get("inserted", 0), counts.get("updated", 0)
    return Committed(
        inserted=inserted,
        updated=updated,
        superseded=superseded,
        already_present=staged - inserted - updated - superseded,
    )


def _series(rows: pa.Table, name: str) -> pl.Series:
    """A column for comparisons; of an extension type such as uuid its storage."""
    column = rows.column(name)
    plain = column.cast(storage(column.type)) if isinstance(column.type, pa.BaseExtensionType) else column
    return pl.Series(plain)
