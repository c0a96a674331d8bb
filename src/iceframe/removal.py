"""Which files lose rows by a filter, and the rows of them that stay. Knows a snapshot, and commits nothing.

A row goes when the filter is true for it; one for which it is NULL stays, as in SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.expressions.visitors import bind, extract_field_ids
from pyiceberg.io.pyarrow import expression_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table
from pyiceberg.types import DoubleType, FloatType

from iceframe.errors import ValidationError
from iceframe.files import discard, written
from iceframe.filters import Where, condition_of
from iceframe.internals import all_rows_match
from iceframe.late import late
from iceframe.parallel import in_order
from iceframe.scan import chosen, planned, read_batches, storage

if TYPE_CHECKING:
    import polars as pl
else:
    pl = late("polars")

_COUNTED_AT_ONCE = 2

_coalesce: Any = pc.coalesce


@dataclass(frozen=True, slots=True)
class Filter:
    """What is to go.

    Attributes:
        expression: true for it; `AlwaysTrue` where only Polars can tell.
        rest: what of a batch stays.
        columns: the columns that it looks at; empty: none.
        every: every row goes, whatever it is.
    """

    expression: BooleanExpression
    rest: Callable[[pa.RecordBatch], pa.RecordBatch]
    columns: tuple[str, ...]
    every: bool = False


def filter_of(where: Where, schema: Schema) -> Filter:
    """A filter on the rows of a table.

    Raises:
        ValidationError: it names an unknown column, compares what cannot be compared, or is no condition.
    """
    condition = condition_of(where, schema)
    if condition.rows is not None:
        columns = tuple(condition.rows.meta.root_names())
        return Filter(AlwaysTrue(), partial(_rest_by_polars, goes=condition.rows), columns)
    bound = bind(schema, condition.files, case_sensitive=True)
    try:
        goes: Any = _coalesce(expression_to_pyarrow(bound, schema), pc.scalar(value=False))
    except (ValueError, TypeError) as error:
        raise ValidationError(f"the filter {where} does not fit the table: {error}") from error
    rest = partial(_rest_by_arrow, stays=~goes)
    return Filter(condition.files, rest, _columns(bound, schema), isinstance(bound, AlwaysTrue))


@dataclass(frozen=True, slots=True)
class Removed:
    """What a removal does to the files of a snapshot.

    Attributes:
        files: data files that go.
        kept: new data files with the rows of them that stay.
        dangling: delete files that no data file needs any more.
        rows: how many rows go.
    """

    files: tuple[DataFile, ...] = ()
    kept: tuple[DataFile, ...] = ()
    dangling: tuple[DataFile, ...] = ()
    rows: int = 0


class Removal:
    """The removal of rows from the head of a branch; worked out again for another head, but no file is read twice."""

    def __init__(self, table: Table, where: Where, branch: str) -> None:
        self._filter = filter_of(where, table.schema())
        self._branch = branch
        self._counts: dict[frozenset[str], tuple[int, int]] = {}
        self._rewritten: frozenset[frozenset[str]] = frozenset()
        self.kept: tuple[DataFile, ...] = ()

    def at(self, table: Table) -> Removed:
        """What is to be done to the head as it is now.

        Raises:
            StorageError: a file is missing, corrupt, or cannot be written.
        """
        metadata = table.metadata
        head = metadata.snapshot_by_name(self._branch)
        if head is None:
            return Removed()
        with storage("the manifests"):
            tasks = list(planned(metadata, table.io, head.snapshot_id, self._filter.expression))
        counts = dict(zip(map(_identity, tasks), self._counted(table, tasks), strict=True))
        hit = [task for task in tasks if counts[_identity(task)][0]]
        partly = [task for task in hit if counts[_identity(task)][0] < counts[_identity(task)][1]]
        self._rewrite(table, partly)
        return Removed(
            files=tuple(task.file for task in hit),
            kept=self.kept,
            dangling=_delete_files(hit) if self._filter.every else (),
            rows=sum(counts[_identity(task)][0] for task in hit),
        )

    def _counted(self, table: Table, tasks: list[FileScanTask]) -> Iterator[tuple[int, int]]:
        """How many rows of each file go, of how many."""
        new = [task for task in tasks if _identity(task) not in self._counts]
        counting = in_order((partial(self._count, table, task) for task in new), ahead=_COUNTED_AT_ONCE)
        self._counts.update(zip(map(_identity, new), counting, strict=True))
        return (self._counts[_identity(task)] for task in tasks)

    def _count(self, table: Table, task: FileScanTask) -> Iterator[tuple[int, int]]:
        if not task.delete_files and self._all_of(task.file, table.schema()):
            yield task.file.record_count, task.file.record_count
            return
        schema = table.schema()
        columns = chosen(schema, self._filter.columns or [schema.fields[0].name])
        rows = goes = 0
        for batch in read_batches(table.metadata, table.io, [task], columns):
            rows += batch.num_rows
            goes += batch.num_rows if self._filter.every else batch.num_rows - self._filter.rest(batch).num_rows
        yield goes, rows

    def _all_of(self, file: DataFile, schema: Schema) -> bool:
        """Whether the statistics prove that all rows go. A NULL or a NaN proves nothing: readers differ over them."""
        if self._filter.every:
            return True
        if isinstance(self._filter.expression, AlwaysTrue):
            return False
        ids = extract_field_ids(bind(schema, self._filter.expression, case_sensitive=True))
        sure = all(
            (file.null_value_counts or {}).get(one) == 0
            and not isinstance(schema.find_type(one), FloatType | DoubleType)
            for one in ids
        )
        return sure and all_rows_match(schema, self._filter.expression, file)

    def _rewrite(self, table: Table, tasks: list[FileScanTask]) -> None:
        """Write the rows that stay, unless that was done for the same files already."""
        wanted = frozenset(map(_identity, tasks))
        if wanted == self._rewritten:
            return
        discard(table.io, self.kept)
        self.kept, self._rewritten = (), frozenset()
        rows = read_batches(table.metadata, table.io, tasks, table.schema())
        self.kept = written(table.metadata, table.io, map(self._filter.rest, rows))
        self._rewritten = wanted


def _rest_by_polars(batch: pa.RecordBatch, goes: pl.Expr) -> pa.RecordBatch:
    frame: Any = pl.from_arrow(batch)
    try:
        mask = frame.select(goes).to_series().fill_null(value=False)
    except pl.exceptions.PolarsError as error:
        raise ValidationError(f"the filter {goes} cannot be computed: {error}") from error
    if len(mask) != batch.num_rows:
        mask = mask.new_from_index(0, batch.num_rows)
    return batch.filter((~mask).to_arrow())


def _rest_by_arrow(batch: pa.RecordBatch, stays: pc.Expression) -> pa.RecordBatch:
    found = pa.Table.from_batches([batch]).filter(stays).combine_chunks().to_batches()
    return found[0] if found else batch.slice(0, 0)


def _columns(bound: BooleanExpression, schema: Schema) -> tuple[str, ...]:
    """The columns that an expression looks at; those of nested fields whole."""
    names = [schema.find_column_name(one) or "" for one in extract_field_ids(bound)]
    return tuple(
        one.name for one in schema.fields if any(name == one.name or name.startswith(f"{one.name}.") for name in names)
    )


def _identity(task: FileScanTask) -> frozenset[str]:
    """The data file and its delete files: the rows are the same as long as these are."""
    return frozenset([task.file.file_path, *(one.file_path for one in task.delete_files)])


def _delete_files(tasks: list[FileScanTask]) -> tuple[DataFile, ...]:
    return tuple({one.file_path: one for task in tasks for one in task.delete_files}.values())
