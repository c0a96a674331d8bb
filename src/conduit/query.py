"""`:last_value` -> a bound, on the tokens and the tree of a query; never by printing the query again.

The user's text is only ever spliced at token offsets. After each splice both trees are compared: nothing but the
placeholder, or the condition that holds it, may differ. What the parser cannot read is taken as it stands: its
placeholders are replaced, its order counts as unknown.

This module speaks SQL and knows no driver; literals come from the connectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from conduit.contract import Read
from conduit.errors import ConfigError
from conduit.late import late
from conduit.tokens import (
    PLACEHOLDER,
    Span,
    kind_of,
    order_of,
    placeholders_of,
    refuse_open_ends,
    splice,
    tokens_of,
    top_level_conditions,
    where_of,
    within,
)

if TYPE_CHECKING:
    import sqlglot
    from sqlglot import exp
else:
    sqlglot, exp = late("sqlglot"), late("sqlglot.expressions")

_MULTIPLIES = ("UDTF", "ExplodingGenerateSeries", "Pivot", "Anonymous")
"""What makes several rows of one, or other columns: `unnest(…)` in a select list, PIVOT."""

_WRITES = ("Insert", "Update", "Delete", "Merge", "Create", "Drop", "Command", "Into")


@dataclass(frozen=True)
class Query:
    """A query of ingest.yml, read but not changed.

    Attributes:
        text: the SQL without a trailing semicolon.
        dialect: sqlglot's name of the dialect.
        placeholders: where `:last_value` stands.
        tree: the parsed query; None when the parser cannot read it.
    """

    text: str
    dialect: str
    placeholders: tuple[Span, ...]
    tree: exp.Query | None

    @cached_property
    def conditions(self) -> tuple[Span, ...]:
        """The top-level AND conditions of WHERE that hold a placeholder: a first run leaves them out."""
        if not isinstance(self.tree, exp.Select) or not self.placeholders:
            return ()
        spans = tuple(top_level_conditions(tokens_of(self.text, self.dialect)))
        return tuple(span for span in spans if any(within(mark, span) for mark in self.placeholders))

    def bounded(self, literal: str) -> str:
        """The text with every placeholder replaced by `literal`, an expression of the dialect.

        Raises:
            ConfigError: the replacement would change more than the placeholder.
        """
        spliced = splice(self.text, [(span, f"({literal})") for span in self.placeholders])
        if self.tree is not None:
            value = exp.paren(sqlglot.parse_one(literal, dialect=self.dialect))
            expected = self.tree.transform(lambda node: value.copy() if _is_placeholder(node) else node)
            self._prove(spliced, expected)
        return spliced

    def first_run(self, minimum: str) -> tuple[str, bool]:
        """The text without a lower bound, and whether `minimum` had to be bound somewhere.

        A top-level AND condition with `:last_value` is left out, so that nothing is compared; a placeholder that
        stands elsewhere gets the type's minimum.
        """
        conditions = self.conditions
        elsewhere = [mark for mark in self.placeholders if not any(within(mark, span) for span in conditions)]
        edits = [(span, "TRUE") for span in conditions] + [(mark, f"({minimum})") for mark in elsewhere]
        spliced = splice(self.text, edits)
        if conditions and self.tree is not None and not elsewhere:
            expected = self.tree.copy()
            _leave_out(expected)
            if _parse_one(spliced, self.dialect) != expected:
                return self.bounded(minimum), True
        return spliced, bool(elsewhere)

    def narrowed(self, condition: str) -> str | None:
        """The text with another condition instead of those that hold `:last_value`, or beside those that it has.

        Args:
            condition: in terms of the columns of the one table that the query reads.

        Returns:
            None: `:last_value` stands where no condition can take its place, or the query would read differently.
        """
        if not isinstance(self.tree, exp.Select):
            return None
        conditions = self.conditions
        if not all(any(within(mark, span) for span in conditions) for mark in self.placeholders):
            return None
        expected = self.tree.copy()
        wanted = exp.paren(sqlglot.parse_one(condition, dialect=self.dialect))
        if conditions:
            replaced = [(span, "TRUE") for span in conditions[1:]]
            spliced = splice(self.text, [(conditions[0], f"({condition})"), *replaced])
            _leave_out(expected, wanted)
        else:
            spliced = self._with_condition(expected, condition, wanted)
        return spliced if _parse_one(spliced, self.dialect) == expected else None

    def _with_condition(self, expected: exp.Select, condition: str, wanted: exp.Expr) -> str:
        """The text with one more condition; `expected` becomes the tree that it must have."""
        inside, place = where_of(tokens_of(self.text, self.dialect), self.text)
        if inside is None:
            expected.set("where", exp.Where(this=wanted))
            return splice(self.text, [(Span(place, place), f"\nWHERE ({condition})\n")])
        where = expected.args["where"]
        where.set("this", exp.And(this=exp.paren(where.this.copy()), expression=wanted))
        opened, closed = Span(inside.start, inside.start), Span(inside.end, inside.end)
        return splice(self.text, [(opened, "("), (closed, f") AND ({condition})")])

    def ordered_by(self, column: str, *, collation: str = "") -> bool:
        """Whether the rows come in ascending order of the output column `column`.

        With `collation` the order counts only if the query names it (`ORDER BY name COLLATE "C"`).
        """
        order = self.tree.args.get("order") if self.tree is not None else None
        if not isinstance(order, exp.Order) or not order.expressions:
            return False
        first = order.expressions[0]
        if not isinstance(first, exp.Ordered) or first.args.get("desc"):
            return False
        term: exp.Expr = first.this
        if isinstance(term, exp.Collate):
            named = term.expression.name
            return named == (collation or named) and self._is_output(term.this, column)
        return not collation and self._is_output(term, column)

    def without_order(self) -> Query:
        """The query without the ORDER BY of the whole, so that an index can serve another one; else itself."""
        clause = order_of(tokens_of(self.text, self.dialect))
        if self.tree is None or clause is None:
            return self
        spliced = splice(self.text, [(clause, " ")])
        expected = self.tree.copy()
        expected.set("order", None)
        if _parse_one(spliced, self.dialect) != expected:
            return self
        return read_query(spliced, self.dialect, incremental=True)

    def plain_table(self) -> str | None:
        """The table, when the query is a plain SELECT from one table; None otherwise."""
        tree = self.tree
        if not isinstance(tree, exp.Select) or any(
            tree.args.get(part)
            for part in ("joins", "group", "having", "distinct", "with", "with_", "windows", "laterals")
        ):
            return None
        source = tree.args.get("from_") or tree.args.get("from")
        table = source.this if isinstance(source, exp.From) else None
        if not isinstance(table, exp.Table) or any(tree.find_all(exp.AggFunc, exp.Window)):
            return None
        return ".".join(part.name for part in table.parts)

    def with_text(self, text: str) -> Query:
        """The same query with a text that `narrowed` gave."""
        return read_query(text, self.dialect, incremental=True)

    def passed_through(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Of the columns of its one table, those that a plain query gives unchanged, once a row, under their names."""
        multiplies = tuple(getattr(exp, name) for name in _MULTIPLIES)
        if self.tree is None or self.plain_table() is None or any(self.tree.find_all(*multiplies)):
            return ()
        given: set[str] = set()
        for output in self.tree.selects:
            star = output.this if isinstance(output, exp.Column) else output
            if isinstance(star, exp.Star):
                given |= set(columns) if not any(star.args.values()) else set()
            elif isinstance(output.unalias(), exp.Column) and output.unalias().name == output.alias_or_name:
                given.add(output.alias_or_name)
        return tuple(name for name in columns if name in given)

    def _is_output(self, term: exp.Expr, column: str) -> bool:
        if self.tree is None:
            return False
        outputs = self.tree.selects
        if isinstance(term, exp.Literal) and not term.is_string:
            place = int(term.this) - 1
            return 0 <= place < len(outputs) and outputs[place].alias_or_name == column
        if not isinstance(term, exp.Column) or term.name != column:
            return False
        own = [output for output in outputs if output.alias_or_name == column]
        if not term.table:
            return True
        return all(isinstance(output.unalias(), exp.Column) and output.unalias().name == column for output in own)

    def _prove(self, spliced: str, expected: exp.Expr) -> None:
        if _parse_one(spliced, self.dialect) != expected:
            raise ConfigError(
                "the query reads differently once `:last_value` is replaced",
                hint="leave `:last_value` out: conduit then filters around the query",
            )


def read_query(text: str, dialect: str, *, incremental: bool) -> Query:
    """Read a query of ingest.yml.

    Args:
        text: the SQL as written.
        dialect: `postgres`, `sqlite` or `duckdb`.
        incremental: the resource has a cursor, so `:last_value` is allowed and LIMIT is not.

    Raises:
        ConfigError: it is empty or not one SELECT; it holds an unknown placeholder; it has a LIMIT that would cut rows.
    """
    tokens = tokens_of(text, dialect)
    while tokens and kind_of(tokens[-1]) == "SEMICOLON":
        text = text[: tokens.pop().start]
    refuse_open_ends(tokens, "the query")
    placeholders = tuple(placeholders_of(tokens))
    if placeholders and not incremental:
        raise ConfigError("the query uses :last_value, but the resource has no incremental_column")
    tree = _parse_query(text, dialect)
    if tree is not None and incremental and any(tree.args.get(part) for part in ("limit", "offset", "fetch")):
        raise ConfigError(
            "an incremental query cannot end in LIMIT or OFFSET: the rows that it cuts off would never be loaded",
            hint="use checkpoint_interval to commit in pieces, or `conduit run --limit N` for a preview",
        )
    return Query(text.rstrip(), dialect, placeholders, tree)


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """The ends of a read, as expressions of the dialect; None: open. `also` is one more condition on its rows."""

    lower: str | None = None
    upper: str | None = None
    minimum: str = "NULL"
    also: str | None = None


class Composed(msgspec.Struct, frozen=True):
    """The statement that is sent, whether its rows come in cursor order, and what a person should know."""

    sql: str
    ordered: bool
    notes: tuple[str, ...] = ()


def compose(
    read: Read,
    query: Query | None,
    *,
    table: str,
    bounds: Bounds,
    column: Callable[[str], str],
    select: Sequence[str] = (),
    collation: str = "",
) -> Composed:
    """The statement of a read: the user's text, with what is needed around it and nothing more.

    Args:
        read: the request.
        query: its query, or None for a table.
        table: the quoted name of the table; unused with a query.
        bounds: lower (exclusive) and upper (inclusive) end.
        column: from a column's name to its expression over `q`, ready to be compared and ordered.
        select: expressions over `q` for the output; empty: all columns as they are.
        collation: order of text cursors that a query must name to count as ordered.
    """
    notes: list[str] = []
    filters: list[str] = []
    inner = f"{table} AS q"
    ordered = False
    if query is not None:
        text = query.text
        if query.placeholders and bounds.lower is not None:
            text = query.bounded(bounds.lower)
        elif query.placeholders:
            text, bound_minimum = query.first_run(bounds.minimum)
            if bound_minimum:
                notes.append(f"first run: :last_value stands for the type's minimum, {bounds.minimum}")
        inner = f"(\n{text}\n) AS q"
        ordered = bool(read.cursor) and query.ordered_by(read.cursor or "", collation=collation)
    if bounds.lower is not None and read.cursor and not (query and query.placeholders):
        filters.append(f"{column(read.cursor)} > {bounds.lower}")
    if bounds.also is not None:
        filters.append(f"({bounds.also})")
    if bounds.upper is not None and read.cursor:
        filters.append(f"{column(read.cursor)} <= {bounds.upper}")
    if query is not None and not filters and not select:
        return Composed(f"{text}\n", ordered, tuple(notes))  # the line may end in a comment
    where = f" WHERE {' AND '.join(filters)}" if filters else ""
    own_order = (
        read.cursor if read.cursor and (ordered or (read.ordered and not (query and query.placeholders))) else ""
    )
    order = f" ORDER BY {column(own_order)}" if own_order else ""
    return Composed(f"SELECT {', '.join(select) or '*'} FROM {inner}{where}{order}", bool(own_order), tuple(notes))


def without_bound(query: Query, minimum: str) -> str:
    """The query with no lower bound: what the NULL cursors are counted in."""
    return query.first_run(minimum)[0] if query.placeholders else query.text


# --- trees ----------------------------------------------------------------------------------------------


def _parse_query(text: str, dialect: str) -> exp.Query | None:
    try:
        trees = [tree for tree in sqlglot.parse(text, dialect=dialect) if tree is not None]
    except sqlglot.errors.SqlglotError:
        return None
    except RecursionError as error:
        raise ConfigError("the query is nested too deeply to be read") from error
    if len(trees) != 1:
        raise ConfigError(f"the query holds {len(trees)} statements; it must be one SELECT")
    tree = trees[0]
    if not isinstance(tree, exp.Query) or any(tree.find_all(*(getattr(exp, name) for name in _WRITES))):
        raise ConfigError("the query must be a SELECT that only reads")
    return tree


def _parse_one(text: str, dialect: str) -> exp.Expr | None:
    try:
        return sqlglot.parse_one(text, dialect=dialect)
    except sqlglot.errors.SqlglotError:
        return None


def _is_placeholder(node: exp.Expr) -> bool:
    return isinstance(node, exp.Placeholder) and node.name == PLACEHOLDER


def _leave_out(tree: exp.Expr, first: exp.Expr | None = None) -> None:
    """Replace every top-level condition of WHERE that holds a placeholder by TRUE, the first of them by `first`."""
    where = tree.args.get("where")
    conditions = (
        list(where.this.flatten(unnest=False))
        if where and isinstance(where.this, exp.And)
        else [where.this]
        if where
        else []
    )
    for condition in conditions:
        if any(_is_placeholder(node) for node in condition.walk()):
            condition.replace(first or exp.true())
            first = None
