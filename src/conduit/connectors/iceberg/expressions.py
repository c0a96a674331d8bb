"""`update:` of ingest.yml, which is SQL over `target.` and `source.`, as expressions of Polars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from conduit.errors import ConfigError
from conduit.late import late

if TYPE_CHECKING:
    import sqlglot
    from sqlglot import exp
else:
    sqlglot, exp = late("sqlglot"), late("sqlglot.expressions")


def expressions(table: str, update: Mapping[str, str], columns: Mapping[str, Sequence[str]]) -> dict[str, pl.Expr]:
    """The expression of each column.

    Args:
        table: its name, for messages.
        update: column -> SQL.
        columns: what `target` and `source` have.

    Raises:
        ConfigError: one cannot be read, names a column of neither side, or is more than Polars can compute.
    """
    found = {}
    for column, text in update.items():
        found[column] = _expression(f"table {table}: `update: {{{column}: …}}`", text, columns)
    return found


def _expression(what: str, text: str, columns: Mapping[str, Sequence[str]]) -> pl.Expr:
    tree = _parsed(what, text)
    for column in tree.find_all(exp.Column):
        known = columns.get(column.table.lower())
        if known is None or column.args.get("db"):
            raise ConfigError(
                f"{what}: {column.sql()} is a column of neither side", hint=f"write target.{column.name} or source.…"
            )
        if column.name not in known:
            raise ConfigError(f"{what}: {column.sql()} is not there", hint=f"{column.table} has {', '.join(known)}")
    if any(tree.find_all(exp.Query, exp.AggFunc, exp.Window)):
        raise ConfigError(f"{what}: an expression over one row cannot aggregate or select", hint="use `transform:`")
    quoted = tree.transform(_qualified).sql(dialect="postgres")
    try:
        return pl.sql_expr(quoted)
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise ConfigError(
            f"{what}: Polars cannot compute {text!r}: {error}",
            hint="use operators, CASE, COALESCE, GREATEST, LEAST and casts",
        ) from error


def _parsed(what: str, text: str) -> exp.Expr:
    try:
        tree = sqlglot.parse_one(f"SELECT ({text})", dialect="postgres")
    except sqlglot.errors.SqlglotError as error:
        raise ConfigError(f"{what} cannot be read: {error}") from error
    values = tree.expressions if isinstance(tree, exp.Select) else []
    if len(values) != 1 or not isinstance(values[0], exp.Paren) or tree.args.get("from_") or tree.args.get("from"):
        raise ConfigError(f"{what}: {text!r} is not one expression")
    return values[0].unnest()


def _qualified(node: exp.Expr) -> exp.Expr:
    """`target.amount` as one name, which is how iceframe calls the column."""
    if isinstance(node, exp.Column):
        return exp.column(exp.to_identifier(f"{node.table.lower()}.{node.name}", quoted=True))
    return node
