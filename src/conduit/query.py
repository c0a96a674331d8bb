"""`:last_value` -> a bound, on the tokens and the tree of a query; never by printing the query again.

The user's text is only ever spliced at token offsets. After each splice both trees are compared: nothing but the
placeholder, or the condition that holds it, may differ. What the parser cannot read is taken as it stands: its
placeholders are replaced, its order counts as unknown.

This module speaks SQL and knows no driver; literals come from the connectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING

from conduit.contract import Read
from conduit.errors import ConfigError
from conduit.late import late

if TYPE_CHECKING:
    import sqlglot
    from sqlglot import Token, exp
else:
    sqlglot, exp = late("sqlglot"), late("sqlglot.expressions")

PLACEHOLDER = "last_value"

_OPENERS = {"L_PAREN", "L_BRACKET", "L_BRACE", "CASE"}
_CLOSERS = {"R_PAREN", "R_BRACKET", "R_BRACE", "END"}
_BRACKETS = {"L_BRACKET": 1, "L_BRACE": 1, "R_BRACKET": -1, "R_BRACE": -1}
_AFTER_WHERE = {
    "GROUP_BY", "HAVING", "WINDOW", "QUALIFY", "ORDER_BY", "LIMIT", "OFFSET", "FETCH", "FOR", "UNION", "EXCEPT",
    "INTERSECT", "SEMICOLON",
}  # fmt: skip
_NOT_PLAIN = ("joins", "group", "having", "distinct", "with", "with_", "windows", "laterals")
_WRITES = ("Insert", "Update", "Delete", "Merge", "Create", "Drop", "Command", "Into")


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` up to, not including, `end` of the query."""

    start: int
    end: int


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
        spans = tuple(_top_level_conditions(_tokens(self.text, self.dialect)))
        return tuple(span for span in spans if any(_within(mark, span) for mark in self.placeholders))

    def bounded(self, literal: str) -> str:
        """The text with every placeholder replaced by `literal`, an expression of the dialect.

        Raises:
            ConfigError: the replacement would change more than the placeholder.
        """
        spliced = _splice(self.text, [(span, f"({literal})") for span in self.placeholders])
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
        elsewhere = [mark for mark in self.placeholders if not any(_within(mark, span) for span in conditions)]
        edits = [(span, "TRUE") for span in conditions] + [(mark, f"({minimum})") for mark in elsewhere]
        spliced = _splice(self.text, edits)
        if conditions and self.tree is not None and not elsewhere:
            expected = self.tree.copy()
            _leave_out(expected)
            if _parse_one(spliced, self.dialect) != expected:
                return self.bounded(minimum), True
        return spliced, bool(elsewhere)

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
        ConfigError: it is not one SELECT; it holds an unknown placeholder; it has a LIMIT that would cut rows.
    """
    tokens = _tokens(text, dialect)
    while tokens and _kind(tokens[-1]) == "SEMICOLON":
        text = text[: tokens.pop().start]
    placeholders = tuple(_placeholders(tokens))
    if placeholders and not incremental:
        raise ConfigError("the query uses :last_value, but the resource has no incremental_column")
    tree = _parse_query(text, dialect)
    if tree is not None and incremental and any(tree.args.get(part) for part in ("limit", "offset", "fetch")):
        raise ConfigError(
            "an incremental query cannot end in LIMIT or OFFSET: the rows that it cuts off would never be loaded",
            hint="use checkpoint_interval to commit in pieces, or `conduit run --limit N` for a preview",
        )
    return Query(text.rstrip(), dialect, placeholders, tree)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The ends of a read, as expressions of the dialect; None: open."""

    lower: str | None = None
    upper: str | None = None
    minimum: str = "NULL"


@dataclass(frozen=True, slots=True)
class Composed:
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


# --- tokens ---------------------------------------------------------------------------------------------


def _tokens(text: str, dialect: str) -> list[Token]:
    try:
        return list(sqlglot.Dialect.get_or_raise(dialect).tokenize(text))
    except sqlglot.errors.SqlglotError as error:
        raise ConfigError(f"the query cannot be read: {error}") from error


def _kind(token: Token) -> str:
    """The name of a token's type."""
    return str(token.token_type.name)


def _placeholders(tokens: Sequence[Token]) -> Iterator[Span]:
    brackets = 0
    for colon, name in zip(tokens, [*tokens[1:], None], strict=True):
        brackets += _BRACKETS.get(_kind(colon), 0)
        if _kind(colon) != "COLON" or name is None or name.start != colon.end + 1:
            continue
        if not name.text.isidentifier() or name.text[0].isdigit():
            continue
        if brackets and name.text == PLACEHOLDER:
            raise ConfigError("`:last_value` stands inside brackets, where it reads as a slice", hint="move it out")
        if brackets:
            continue
        if name.text != PLACEHOLDER:
            close = get_close_matches(name.text, [PLACEHOLDER])
            hint = "did you mean :last_value?" if close else "the only placeholder is :last_value"
            raise ConfigError(f"unknown placeholder :{name.text} in the query", hint=hint)
        yield Span(colon.start, name.end + 1)


def _top_level_conditions(tokens: Sequence[Token]) -> Iterator[Span]:
    """The conditions that AND joins at the top of the outermost WHERE; none when an OR stands there."""
    inside: list[Token] = []
    depth, seen = 0, False
    for token in tokens:
        depth -= _kind(token) in _CLOSERS
        if seen and depth == 0 and _kind(token) in _AFTER_WHERE:
            break
        if seen:
            inside.append(token)
        seen = seen or (depth == 0 and _kind(token) == "WHERE")
        depth += _kind(token) in _OPENERS
    yield from _split_at_and(inside)


def _split_at_and(tokens: Sequence[Token]) -> list[Span]:
    spans: list[Span] = []
    start, depth, between = 0, 0, 0
    for index, token in enumerate(tokens):
        kind = _kind(token)
        depth += (kind in _OPENERS) - (kind in _CLOSERS)
        if depth:
            continue
        if kind in ("OR", "XOR"):
            return []
        if kind == "BETWEEN":
            between += 1
        elif kind == "AND" and between:
            between -= 1
        elif kind == "AND":
            spans.append(Span(tokens[start].start, tokens[index - 1].end + 1))
            start = index + 1
    if start < len(tokens):
        spans.append(Span(tokens[start].start, tokens[-1].end + 1))
    return spans


def _within(inner: Span, outer: Span) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end


def _splice(text: str, edits: Sequence[tuple[Span, str]]) -> str:
    for span, replacement in sorted(edits, key=lambda edit: edit[0].start, reverse=True):
        text = text[: span.start] + replacement + text[span.end :]
    return text


# --- trees ----------------------------------------------------------------------------------------------


def _parse_query(text: str, dialect: str) -> exp.Query | None:
    try:
        trees = [tree for tree in sqlglot.parse(text, dialect=dialect) if tree is not None]
    except sqlglot.errors.SqlglotError:
        return None
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


def _leave_out(tree: exp.Expr) -> None:
    """Replace every top-level condition of WHERE that holds a placeholder by TRUE."""
    where = tree.args.get("where")
    conditions = (
        list(where.this.flatten()) if where and isinstance(where.this, exp.And) else [where.this] if where else []
    )
    for condition in conditions:
        if any(_is_placeholder(node) for node in condition.walk()):
            condition.replace(exp.true())
