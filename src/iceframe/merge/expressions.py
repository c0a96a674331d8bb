"""Expressions of clauses: which columns they mean, whether they mean one value a row, and what they give.

`target.x` is column `x` of the table and `source.x` column `x` of the source, whatever other names there are: an
expression sees a frame with exactly the columns that it names. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import polars as pl
from polars.exceptions import PolarsError

from iceframe.errors import ValidationError

Side = Literal["target", "source"]

_ROW = "source."
"""Gives a frame its height; no column has an empty name, so nothing else is called this."""


class Column(NamedTuple):
    """A column of one side."""

    side: Side
    name: str


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression with the columns that it names."""

    expr: pl.Expr
    reads: Mapping[str, Column]

    def columns(self, side: Side) -> set[str]:
        """The columns of one side that it reads."""
        return {column.name for column in self.reads.values() if column.side == side}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What the expressions of a clause may name.

    Attributes:
        target: columns of the table and their types; None: the clause is about rows that the table has not.
        source: columns of the source and their types; None: the clause is about rows that the source has not.
    """

    target: Mapping[str, pl.DataType] | None
    source: Mapping[str, pl.DataType] | None

    def expression(self, expr: pl.Expr, what: str) -> tuple[Expression, pl.DataType]:
        """An expression of which it is known that it can be evaluated row by row, and the type that it gives.

        Args:
            expr: as it was written.
            what: where it stands, for messages.

        Raises:
            ValidationError: it names no column, or more than one value a row, or its types do not fit.
        """
        if expr.meta.has_multiple_outputs():
            raise ValidationError(f"{what}: the expression gives several columns", hint="name one: pl.col('source.x')")
        found = Expression(expr, {name: self._column(name, what) for name in expr.meta.root_names()})
        empty = pl.DataFrame({name: pl.Series([], dtype=self._type(column)) for name, column in found.reads.items()})
        with evaluated(what):
            self._require_row_by_row(found, empty, what)
            return found, evaluate([found], lambda column: empty[_name_of(found, column)], 0)[0].dtype

    def _column(self, name: str, what: str) -> Column:
        side, _, rest = name.partition(".")
        if side == "target" and rest:
            return self._qualified(Column("target", rest), self.target, name, what)
        if side == "source" and rest:
            return self._qualified(Column("source", rest), self.source, name, what)
        return self._plain(name, what)

    def _qualified(self, column: Column, known: Mapping[str, pl.DataType] | None, name: str, what: str) -> Column:
        if known is None:
            raise ValidationError(f"{what}: {name} cannot be read here, the {column.side} has no such row")
        if column.name not in known:
            raise ValidationError(
                f"{what}: unknown column {name}", hint=f"columns of the {column.side}: {', '.join(known)}"
            )
        return column

    def _plain(self, name: str, what: str) -> Column:
        in_target, in_source = name in (self.target or ()), name in (self.source or ())
        if in_target and in_source:
            raise ValidationError(
                f"{what}: {name} is a column of both sides",
                hint=f"say pl.col('target.{name}') or pl.col('source.{name}')",
            )
        if in_target:
            return Column("target", name)
        if in_source:
            return Column("source", name)
        names = [*(f"target.{one}" for one in self.target or ()), *(f"source.{one}" for one in self.source or ())]
        raise ValidationError(f"{what}: unknown column {name}", hint=f"columns: {', '.join(names)}")

    def _type(self, column: Column) -> pl.DataType:
        return ((self.target if column.side == "target" else self.source) or {})[column.name]

    def _require_row_by_row(self, found: Expression, empty: pl.DataFrame, what: str) -> None:
        """Rows come in batches, so a value must not depend on other rows: Polars then moves a slice below it."""
        planned = empty.with_columns(pl.Series(_ROW, [], pl.Int8)).lazy().with_columns(found.expr.alias(f"{_ROW}0"))
        if planned.slice(1, 1).explain().lstrip().startswith("SLICE"):
            raise ValidationError(
                f"{what}: the expression does not give one value for each row by itself",
                hint="sums, windows, shifts and Python functions over columns belong into the source, before the merge",
            )


def evaluate(expressions: Sequence[Expression], column: Callable[[Column], pl.Series], rows: int) -> list[pl.Series]:
    """What expressions give, each one value a row.

    Args:
        expressions: all of them are evaluated over one frame.
        column: the values of a column that is read, one a row.
        rows: how many.
    """
    reads = {name: found for one in expressions for name, found in one.reads.items()}
    frame = pl.DataFrame({_ROW: pl.repeat(0, rows, dtype=pl.Int8, eager=True)}).with_columns(
        column(found).alias(name) for name, found in reads.items()
    )
    given = frame.with_columns(one.expr.alias(f"{_ROW}{place}") for place, one in enumerate(expressions))
    return [given[f"{_ROW}{place}"] for place in range(len(expressions))]


@contextmanager
def evaluated(what: str) -> Iterator[None]:
    """Errors of Polars become ours.

    Raises:
        ValidationError: an expression cannot be evaluated.
    """
    try:
        yield
    except (PolarsError, TypeError, ValueError) as error:
        if isinstance(error, ValidationError):
            raise
        raise ValidationError(f"{what} cannot be evaluated: {' '.join(str(error).split())[:300]}") from error


def _name_of(expression: Expression, column: Column) -> str:
    return next(name for name, found in expression.reads.items() if found == column)
