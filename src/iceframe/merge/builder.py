"""A merge that is put together clause by clause, and executed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import polars as pl
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH

from iceframe.catalog import mapped
from iceframe.change import Change
from iceframe.commit import Done, Plan, commit
from iceframe.errors import ValidationError
from iceframe.merge.clauses import Action, Clause, Kind, Spec, key_columns
from iceframe.merge.plan import change_for, discard
from iceframe.merge.source import Source
from iceframe.schemas import Rows

Values = Mapping[str, object] | None
"""What columns become: Polars expressions over `target.x` and `source.x`, or constants; None: all columns by name."""
Commit = Callable[[Callable[[Table], Change | None]], Done]
"""Commits a change that is worked out for the table as it is, again after every lost race."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeResult:
    """What a merge did.

    Attributes:
        inserted: rows of the source that are new rows of the table.
        updated: rows of the table that have other values now; those that were set to what they were do not count.
        deleted: rows of the table that are gone.
        snapshot_id: the new snapshot; None: nothing changed.
        files_rewritten: data files that are gone, most of them for another one in their place.
        files_added: new data files.
        delete_files: new position delete files.
    """

    inserted: int
    updated: int
    deleted: int
    snapshot_id: int | None
    files_rewritten: int
    files_added: int
    delete_files: int


class Merge:
    """Rows that are merged into a table by their key. Clauses are added one by one; `execute` does it.

    Clauses of one kind are asked in their order, and the first whose condition holds for a row is applied to it. In
    expressions `pl.col("target.x")` is column x of the table and `pl.col("source.x")` column x of the source; a name
    without either is allowed where only one of them has it. An expression gives one value for each row from the values
    of this row. Keys are equal when their values are; NULL equals NULL, and NaN equals NaN.

    Args:
        table: the table.
        source: the rows. No key may be in them twice.
        on: the key columns, which table and source have in common.
        branch: whose head is merged into.
        commit: commits the change, together with something else perhaps; by default it is a commit of its own.

    Raises:
        ValidationError: no key column, or one twice.
    """

    def __init__(
        self,
        table: Table,
        source: Rows,
        on: Sequence[str] | str,
        *,
        branch: str = MAIN_BRANCH,
        commit: Commit | None = None,
    ) -> None:
        self._table = table
        self._rows = source
        self._on = key_columns(on)
        self._branch = branch
        self._commit = commit or self._commit_alone
        self._clauses: list[Clause] = []
        self._attempts: list[tuple[int | None, Change]] = []
        self._executed = False

    def when_matched_update(self, assignments: Values = None, *, condition: pl.Expr | None = None) -> Self:
        """Rows that the source has too: give columns new values.

        Args:
            assignments: new values by column; None: all columns that the source has, by name.
            condition: which rows; None: all of them.
        """
        return self._with("matched", "update", assignments, condition)

    def when_matched_delete(self, *, condition: pl.Expr | None = None) -> Self:
        """Rows that the source has too: delete them."""
        return self._with("matched", "delete", None, condition)

    def when_not_matched_insert(self, values: Values = None, *, condition: pl.Expr | None = None) -> Self:
        """Rows that only the source has: insert them.

        Args:
            values: the new row by column, columns left out are NULL; None: all columns that the source has, by name.
            condition: which rows; None: all of them. It can read the source only.
        """
        return self._with("not_matched", "insert", values, condition)

    def when_not_matched_by_source_update(self, assignments: Values, *, condition: pl.Expr | None = None) -> Self:
        """Rows that the source has not: give columns new values. Expressions can read the table only.

        Raises:
            ValidationError: no assignments, and there are no columns of a source to take by name.
        """
        if assignments is None:
            raise ValidationError("when_not_matched_by_source_update needs to be told which columns become what")
        return self._with("not_matched_by_source", "update", assignments, condition)

    def when_not_matched_by_source_delete(self, *, condition: pl.Expr | None = None) -> Self:
        """Rows that the source has not: delete them."""
        return self._with("not_matched_by_source", "delete", None, condition)

    def execute(self) -> MergeResult:
        """Merge, in one commit.

        Raises:
            ValidationError: no clause, one that makes no sense, or the merge was executed already.
            DuplicateKeysError: two rows of the source have one key.
            SchemaError: a value does not fit into its column.
            UnsupportedError: the table cannot be merged into in the way that it asks for.
            StorageError: a file is missing, corrupt, or cannot be written.
            CatalogError: the catalog cannot be reached.
            ConflictError: other writers came first too often.
            OutcomeUnknownError: the catalog did not answer.
        """
        if self._executed:
            raise ValidationError("this merge was executed already", hint="make a new one; a sum would be added twice")
        self._spec.require_sense()
        with mapped(f"table {'.'.join(self._table.name())}"):
            self._table.refresh()  # "nothing changes" must not be said of a table as it was long ago
        done = self._commit(self.change)
        self._executed = True
        self._settle(done.change)
        change = done.change or Change(operation="overwrite")
        return MergeResult(
            inserted=change.counts.get("inserted", 0),
            updated=change.counts.get("updated", 0),
            deleted=change.counts.get("deleted", 0),
            snapshot_id=done.snapshot_id,
            files_rewritten=len(change.removed),
            files_added=len(change.added),
            delete_files=len(change.deletes),
        )

    def change(self, table: Table) -> Change | None:
        """The merge as a change of the table's files, for a commit that carries something else too.

        Args:
            table: as it is now. Files of an earlier call that was made for another head are deleted: they cannot be
                committed any more.

        Raises:
            IceFrameError: as `execute`, without those of a commit.
        """
        head = table.metadata.snapshot_by_name(self._branch)
        base = head.snapshot_id if head else None
        for lost in [change for seen, change in self._attempts if seen != base]:
            discard(table.io, lost)
        self._attempts = [attempt for attempt in self._attempts if attempt[0] == base]
        found = change_for(table, self._spec, self._source)
        if found:
            self._attempts.append((base, found))
        return found

    @property
    def _spec(self) -> Spec:
        return Spec(on=self._on, clauses=tuple(self._clauses), branch=self._branch)

    @cached_property
    def _source(self) -> Source:
        return Source(self._rows)

    def _with(self, kind: Kind, action: Action, values: Values, condition: pl.Expr | None) -> Self:
        self._clauses.append(Clause(kind=kind, action=action, values=values, condition=condition))
        return self

    def _commit_alone(self, change: Callable[[Table], Change | None]) -> Done:
        return commit(self._table, lambda table: Plan(change=change(table)), branch=self._branch)

    def _settle(self, committed: Change | None) -> None:
        """Delete the files of attempts whose outcome was not known, once another one has taken place."""
        for _, change in self._attempts:
            if change is not committed:
                discard(self._table.io, change)
        self._attempts.clear()
