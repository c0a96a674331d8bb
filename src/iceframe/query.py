"""A read that is put together word by word, and the door to a merge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import polars as pl
from pyiceberg.table import Table

from iceframe.filters import Where
from iceframe.merge import Merge
from iceframe.scan import Scan, pinned
from iceframe.schemas import Rows


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of a table. Each word gives a new query; nothing is read before `frame`, `lazy` or `batches`.

    Attributes:
        open: loads the table as it is now.
    """

    open: Callable[[], Table]
    _columns: Sequence[str] | None = None
    _where: Where = None
    _limit: int | None = None
    _snapshot_id: int | None = None
    _branch: str | None = None

    def select(self, *columns: str) -> Query:
        """Only these columns, in this order."""
        return replace(self, _columns=columns)

    def filter(self, where: Where) -> Query:
        """Only rows for which this holds: text, a pyiceberg expression or a Polars expression."""
        return replace(self, _where=where)

    def limit(self, rows: int) -> Query:
        """At most so many rows."""
        return replace(self, _limit=rows)

    def at(self, snapshot_id: int) -> Query:
        """The table as it was at a snapshot."""
        return replace(self, _snapshot_id=snapshot_id)

    def on_branch(self, branch: str) -> Query:
        """The table as a branch or tag has it."""
        return replace(self, _branch=branch)

    def scan(self) -> Scan:
        """The read, pinned to what the table is now.

        Raises:
            ValidationError: an unknown column, snapshot or branch, or a filter that makes no sense.
        """
        return pinned(
            self.open(),
            columns=self._columns,
            where=self._where,
            snapshot_id=self._snapshot_id,
            branch=self._branch,
            limit=self._limit,
        )

    def frame(self) -> pl.DataFrame:
        """The rows."""
        return self.scan().frame()

    def lazy(self) -> pl.LazyFrame:
        """The rows as a lazy frame."""
        return self.scan().lazy()

    def count(self) -> int:
        """How many rows."""
        return self.scan().count()

    def merge(self, rows: Rows, on: str | Sequence[str]) -> Merge:
        """Rows to be merged into the table; nothing happens before `execute()` of what this gives.

        Args:
            rows: the source of the merge.
            on: the key columns, which table and rows have in common.
        """
        return Merge(self.open(), rows, on)
