"""What the clauses make of some rows: which are deleted, and what others become. Reads and writes no files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from iceframe.merge.arrow import Array
from iceframe.merge.binding import Binding, Bound, Copied
from iceframe.merge.expressions import Column, Expression, evaluate, evaluated
from iceframe.merge.keys import comparable
from iceframe.merge.matching import Matches, Span
from iceframe.merge.source import Source, fitted_column, require_values


@dataclass(frozen=True, slots=True)
class Update:
    """New values of some rows.

    Attributes:
        places: which rows of the span.
        columns: their new values, in the types of the table.
        rows: the rows of the source that they match; None: none.
    """

    places: pl.Series
    columns: dict[str, Array]
    rows: pl.Series | None


@dataclass(slots=True)
class Edits:
    """What happens to the rows of a span.

    Attributes:
        deleted: places of rows that a clause deletes.
        updates: rows that become others; a row is in one of them at most.
    """

    deleted: list[pl.Series] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)

    @property
    def deletes(self) -> int:
        """How many rows are deleted."""
        return sum(places.len() for places in self.deleted)

    @property
    def changes(self) -> int:
        """How many rows become others."""
        return sum(update.places.len() for update in self.updates)

    def __bool__(self) -> bool:
        return bool(self.deletes or self.changes)


@dataclass(frozen=True, slots=True)
class Editor:
    """Applies clauses to rows of the table.

    Attributes:
        binding: the clauses.
        source: the rows that are merged.
    """

    binding: Binding
    source: Source

    def edits(self, span: Span, matches: Matches) -> Edits:
        """What becomes of the rows of a span; rows whose values stay what they are, are left alone.

        Raises:
            ValidationError: an expression cannot be evaluated.
            SchemaError: a value does not fit into its column.
        """
        edits = Edits()
        places, rows = matches.of(span)
        self._apply(self.binding.matched, span, places, rows, edits)
        if self.binding.not_matched_by_source:
            others = free_places(span.count, places, matches.gone(span))
            self._apply(self.binding.not_matched_by_source, span, others, None, edits)
        return edits

    def image(self, span: Span, update: Update, name: str) -> Array:
        """A column of the rows that an update makes; a key is read from the source, which is in memory."""
        if name in update.columns:
            return update.columns[name]
        if name in self.binding.exact_keys and update.rows is not None:
            return self.source.fitted(name, self.binding.fields[name]).take(update.rows.to_arrow())
        return span.column(name).take(update.places.to_arrow())

    def _apply(
        self, clauses: Sequence[Bound], span: Span, places: pl.Series, rows: pl.Series | None, edits: Edits
    ) -> None:
        if not clauses or not places.len():
            return
        for clause, picked in picks(clauses, self._columns(span, places, rows), places.len()):
            chosen = places.gather(picked)
            if clause.action == "delete":
                edits.deleted.append(chosen)
                continue
            update = self._update(clause, span, chosen, None if rows is None else rows.gather(picked))
            if update.places.len():
                edits.updates.append(update)

    def _update(self, clause: Bound, span: Span, places: pl.Series, rows: pl.Series | None) -> Update:
        columns = values_of(clause, self.binding, self.source, self._columns(span, places, rows), rows, places.len())
        undecided = pl.int_range(places.len(), dtype=pl.Int64, eager=True)
        for name in (one for one in span.names if one in columns):
            at = undecided.to_arrow()
            old = span.column(name).take(places.gather(undecided).to_arrow())
            undecided = undecided.filter(~differs(old, columns[name].take(at)))
            if not undecided.len():
                return Update(places, columns, rows)
        changed = free_places(places.len(), undecided)
        at = changed.to_arrow()
        new = {name: values.take(at) for name, values in columns.items()}
        return Update(places.gather(changed), new, None if rows is None else rows.gather(changed))

    def _columns(self, span: Span, places: pl.Series, rows: pl.Series | None) -> Callable[[Column], pl.Series]:
        def column(wanted: Column) -> pl.Series:
            if wanted.side == "target":
                return comparable(span.column(wanted.name).take(places.to_arrow()))
            found = self.source.series(wanted.name)
            return found if rows is None else found.gather(rows)

        return column


def picks(
    clauses: Sequence[Bound], column: Callable[[Column], pl.Series], rows: int
) -> Iterator[tuple[Bound, pl.Series]]:
    """For each clause the rows that it is the first to hold for.

    Raises:
        ValidationError: a condition cannot be evaluated.
    """
    left = pl.int_range(rows, dtype=pl.Int64, eager=True)
    open_ = pl.repeat(True, rows, dtype=pl.Boolean, eager=True)
    for clause in clauses:
        holds = open_
        if clause.condition:
            with evaluated(f"the condition of {clause.word}"):
                [given] = evaluate([clause.condition], column, rows)
                holds = open_ & given.cast(pl.Boolean).fill_null(value=False)
        open_ &= ~holds
        if holds.any():
            yield clause, left.filter(holds)


def values_of(
    clause: Bound,
    binding: Binding,
    source: Source,
    column: Callable[[Column], pl.Series],
    rows: pl.Series | None,
    count: int,
) -> dict[str, Array]:
    """The values that a clause gives to rows, in the types of the table.

    Args:
        clause: an update or an insert.
        binding: knows the columns of the table.
        source: where values are copied from.
        column: the values that an expression reads, one a row.
        rows: the rows of the source; None: the rows have none.
        count: how many rows.

    Raises:
        ValidationError: an expression cannot be evaluated.
        SchemaError: a value does not fit into its column.
    """
    found = {}
    for name, value in clause.values.items():
        with evaluated(f"{clause.word}, {name}"):
            given = _computed(value, column, count) if isinstance(value, Expression) else None
        target = binding.fields[name]
        if isinstance(value, Copied) and rows is not None:
            found[name] = source.fitted(value.name, target).take(rows.to_arrow())
        elif given is not None:
            found[name] = fitted_column(given.to_arrow(), target)
        require_values(found[name], target)
    return found


def differs(old: Array, new: Array) -> pl.Series:
    """Where two columns of one type have different values; NULL is a value, and so is each NaN."""
    if pa.types.is_floating(old.type):
        bits = pa.int32() if old.type.bit_width == 32 else pa.int64()
        old, new = old.view(bits), new.view(bits)
    return comparable(old).ne_missing(comparable(new))


def _computed(value: Expression, column: Callable[[Column], pl.Series], count: int) -> pl.Series:
    return evaluate([value], column, count)[0]


def free_places(rows: int, *taken: pl.Series) -> pl.Series:
    """The places of a span that are in none of the given ones."""
    free = pl.repeat(True, rows, dtype=pl.Boolean, eager=True)
    for places in taken:
        if places.len():
            free.scatter(places, values=False)
    return free.arg_true().cast(pl.Int64)
