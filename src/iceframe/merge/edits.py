"""What the clauses make of some rows: which are deleted, and what others become. Reads and writes no files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.types import NestedField

from iceframe.merge.arrow import Array
from iceframe.merge.binding import Binding, Bound, Copied, Value
from iceframe.merge.expressions import Column, evaluate, evaluated
from iceframe.merge.keys import comparable
from iceframe.merge.matching import Matches, Span
from iceframe.merge.source import Source, fitted_column, require_values


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows of the table, of the source, or both of them side by side.

    Attributes:
        places: rows of a span of a data file; None: rows that the table has not.
        rows: rows of the source; None: rows that the source has not.
    """

    places: pl.Series | None
    rows: pl.Series | None

    def __len__(self) -> int:
        known = self.places if self.places is not None else self.rows
        return 0 if known is None else known.len()

    def filter(self, mask: pl.Series) -> Pairs:
        """Some of them."""
        places, rows = self.places, self.rows
        return Pairs(None if places is None else places.filter(mask), None if rows is None else rows.filter(mask))


_NO_PAIRS = Pairs(None, None)


@dataclass(frozen=True, slots=True)
class Update:
    """New values of some rows.

    Attributes:
        pairs: which rows of the span, and the rows of the source that they match.
        columns: their new values, in the types of the table.
    """

    pairs: Pairs
    columns: dict[str, Array]

    @property
    def places(self) -> pl.Series:
        """Which rows of the span."""
        return self.pairs.places if self.pairs.places is not None else pl.Series([], dtype=pl.Int64)


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
        return sum(len(update.pairs) for update in self.updates)


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
        self._apply(self.binding.matched, span, Pairs(places, rows), edits)
        if self.binding.not_matched_by_source:
            others = free_places(span.count, places, matches.gone(span))
            self._apply(self.binding.not_matched_by_source, span, Pairs(others, None), edits)
        return edits

    def image(self, span: Span, update: Update, name: str) -> Array:
        """A column of the rows that an update makes; a key is read from the source, which is in memory."""
        if name in update.columns:
            return update.columns[name]
        if name in self.binding.exact_keys and update.pairs.rows is not None:
            return self.source.fitted(name, self.binding.fields[name]).take(update.pairs.rows.to_arrow())
        return span.column(name).take(update.places.to_arrow())

    def new_rows(self, pairs: Pairs) -> Iterator[tuple[int, dict[str, Array]]]:
        """What the clauses make of rows that the table has not: how many, and their columns.

        Raises:
            ValidationError: an expression cannot be evaluated.
            SchemaError: a value does not fit into its column.
        """
        for clause, picked in self._picks(self.binding.not_matched, None, pairs):
            yield len(picked), self._values(clause, None, picked)

    def _apply(self, clauses: Sequence[Bound], span: Span, pairs: Pairs, edits: Edits) -> None:
        for clause, picked in self._picks(clauses, span, pairs):
            if clause.action == "delete" and picked.places is not None:
                edits.deleted.append(picked.places)
                continue
            update = self._changed(span, Update(picked, self._values(clause, span, picked)))
            if len(update.pairs):
                edits.updates.append(update)

    def _picks(self, clauses: Sequence[Bound], span: Span | None, pairs: Pairs) -> Iterator[tuple[Bound, Pairs]]:
        """For each clause the rows that it is the first to hold for."""
        for clause in clauses:
            if not len(pairs):
                return
            if clause.condition is None:
                picked, pairs = pairs, _NO_PAIRS
            else:
                with evaluated(f"the condition of {clause.word}"):
                    [given] = evaluate([clause.condition], self._columns(span, pairs), len(pairs))
                    holds = given.cast(pl.Boolean).fill_null(value=False)
                picked, pairs = pairs.filter(holds), pairs.filter(~holds)
            if len(picked):
                yield clause, picked

    def _values(self, clause: Bound, span: Span | None, pairs: Pairs) -> dict[str, Array]:
        """The values that a clause gives to rows, in the types of the table."""
        found = {}
        for name, value in clause.values.items():
            target = self.binding.fields[name]
            found[name] = self._value(value, f"{clause.word}, {name}", target, span, pairs)
            require_values(found[name], target)
        return found

    def _value(self, value: Value, what: str, target: NestedField, span: Span | None, pairs: Pairs) -> Array:
        if isinstance(value, Copied):
            values = self.source.fitted(value.name, target)
            return values if pairs.rows is None else values.take(pairs.rows.to_arrow())
        with evaluated(what):
            [given] = evaluate([value], self._columns(span, pairs), len(pairs))
        return fitted_column(given.to_arrow(), target)

    def _changed(self, span: Span, update: Update) -> Update:
        """The rows whose values become others. One that differs in a column need not be looked at in the next ones."""
        columns, at = update.columns, update.places.to_arrow()
        alike: Array | None = None
        for name in (one for one in span.names if one in columns):
            new = columns[name] if alike is None else columns[name].take(alike)
            found = equal_places(span.column(name).take(at if alike is None else at.take(alike)), new)
            alike = found if alike is None else alike.take(found)
            if not len(alike):
                return update
        changed = pl.repeat(True, len(update.pairs), dtype=pl.Boolean, eager=True)
        if alike is None:
            return Update(update.pairs.filter(~changed), {})
        changed.scatter(comparable(alike), values=False)
        mask = changed.to_arrow()
        return Update(update.pairs.filter(changed), {name: values.filter(mask) for name, values in columns.items()})

    def _columns(self, span: Span | None, pairs: Pairs) -> Callable[[Column], pl.Series]:
        def column(wanted: Column) -> pl.Series:
            if wanted.side == "target" and span is not None and pairs.places is not None:
                return comparable(span.column(wanted.name).take(pairs.places.to_arrow()))
            found = self.source.series(wanted.name)
            return found if pairs.rows is None else found.gather(pairs.rows)

        return column


def equal_places(old: Array, new: Array) -> Array:
    """Where two columns of one type have the same values; NULL is a value, and so is each NaN."""
    if pa.types.is_floating(old.type):
        bits = pa.int32() if old.type.bit_width == 32 else pa.int64()
        old, new = old.view(bits), new.view(bits)
    same: Array = comparable(old).eq_missing(comparable(new)).to_arrow()
    return pc.indices_nonzero(same)


def free_places(rows: int, *taken: pl.Series) -> pl.Series:
    """The places of a span that are in none of the given ones."""
    free = pl.repeat(True, rows, dtype=pl.Boolean, eager=True)
    for places in taken:
        if places.len():
            free.scatter(places, values=False)
    return free.arg_true().cast(pl.Int64)
