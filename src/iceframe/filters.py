"""Filters as people write them: bound to a table's columns, with SQL's NULLs, before a row is read.

A row is kept by a filter that is true for it; one for which the filter is NULL is not. Knows no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, NotIn, NotNull, Or
from pyiceberg.expressions.parser import parse
from pyiceberg.expressions.visitors import bind, rewrite_not
from pyiceberg.schema import Schema
from pyparsing import ParseException

from iceframe.errors import ValidationError
from iceframe.late import is_expression, late
from iceframe.schemas import frame_schema

if TYPE_CHECKING:
    import polars as pl
    from polars.io import plugins
else:
    pl, plugins = late("polars"), late("polars.io.plugins")

Where: TypeAlias = "str | BooleanExpression | pl.Expr | None"
"""A filter: SQL-like text (`amount > 10 and day = '2024-01-01'`), a pyiceberg expression, or a Polars expression."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A filter that fits a table.

    Attributes:
        files: what files and rows can be pruned by; always true where only Polars can tell.
        rows: asked of the rows that were read; None: nothing more.
    """

    files: BooleanExpression
    rows: pl.Expr | None = None


def condition_of(where: Where, schema: Schema) -> Condition:
    """A filter on rows of this schema.

    Raises:
        ValidationError: it names an unknown column, compares what cannot be compared, or is no condition on one row.
    """
    if where is None:
        return Condition(AlwaysTrue())
    if is_expression(where):
        _require_condition(where, schema)
        return Condition(AlwaysTrue(), where)
    if not isinstance(where, str | BooleanExpression):
        raise ValidationError(f"{where!r} is no filter", hint="give text, a pyiceberg or a Polars expression")
    try:
        found = _as_sql(rewrite_not(parse(where) if isinstance(where, str) else where))
        bind(schema, found, case_sensitive=True)
    except ParseException as error:
        raise ValidationError(f"the filter {where!r} cannot be read: {error}") from error
    except (ValueError, TypeError) as error:
        raise ValidationError(
            f"the filter {where} does not fit the table: {error}", hint=f"columns: {', '.join(schema.column_names)}"
        ) from error
    return Condition(found)


def _as_sql(expression: BooleanExpression) -> BooleanExpression:
    """`not in` is true for a NULL in pyiceberg, and NULL in SQL."""
    if isinstance(expression, And):
        return And(_as_sql(expression.left), _as_sql(expression.right))
    if isinstance(expression, Or):
        return Or(_as_sql(expression.left), _as_sql(expression.right))
    if isinstance(expression, NotIn):
        return And(NotNull(term=expression.term), expression)
    return expression


def _require_condition(condition: pl.Expr, schema: Schema) -> None:
    frame = frame_schema(schema)
    unknown = [name for name in condition.meta.root_names() if name not in frame]
    if unknown:
        raise ValidationError(f"unknown column {', '.join(unknown)}", hint=f"columns: {', '.join(frame)}")
    try:
        made = pl.LazyFrame(schema=frame).select(condition).collect_schema()
    except pl.exceptions.PolarsError as error:
        raise ValidationError(f"the filter {condition} does not fit the table: {error}") from error
    if list(made.dtypes()) != [pl.Boolean()]:
        raise ValidationError(f"the filter {condition} is no condition", hint="it must give true or false for a row")
    if not _row_by_row(condition, frame):
        raise ValidationError(
            f"the filter {condition} looks at more than one row at a time",
            hint="work it out first, and compare the columns with the result",
        )


def _row_by_row(condition: pl.Expr, frame: pl.Schema) -> bool:
    """Whether Polars lets a source apply the condition to each batch: it does so only where that is the same."""
    source = plugins.register_io_source(lambda *_: iter([pl.DataFrame(schema=frame)]), schema=frame)
    return not source.filter(condition).explain().lstrip().startswith("FILTER")
