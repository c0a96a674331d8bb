"""The query that most resources have, read without a parser: `SELECT … FROM t [WHERE c > :last_value] [ORDER BY c]`.

Names of columns and of one table in small letters, none of them a word that PostgreSQL reserves; no alias, no quote, no
comment. Such a text can be read in one way only, so that what `Query` proves on trees holds by its form; the parser,
which costs more time than all else of a run with nothing new, is not imported. Any other text is for `read_query`.
tests/unit/test_simple_query.py compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from conduit.errors import ConfigError
from conduit.query import Query
from conduit.tokens import PLACEHOLDER, Span, splice

_NAME = "[a-z_][a-z0-9_]*"
_SHAPE = re.compile(
    rf"\s*(?i:SELECT)\s+(?P<columns>\*|{_NAME}(?:\s*,\s*{_NAME})*)"
    rf"\s+(?i:FROM)\s+(?P<table>{_NAME}(?:\.{_NAME})?)"
    rf"(?:\s+(?i:WHERE)\s+(?P<condition>(?P<bound>{_NAME})\s*>\s*(?P<placeholder>:{PLACEHOLDER})))?"
    rf"(?:\s+(?P<order>(?i:ORDER\s+BY)\s+(?P<ordered>{_NAME})(?:\s+(?i:ASC))?))?(?P<end>)\s*;?\s*",
    re.ASCII,
)
_WORDS = """
all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation column
concurrently constraint create cross current_catalog current_date current_role current_schema current_time
current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze from
full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit localtime
localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references returning
right select session_user similar some symmetric system_user table tablesample then to trailing true union unique user
using variadic verbose when where window with
"""
_RESERVED = frozenset(_WORDS.split())


@dataclass(frozen=True)
class SimpleQuery(Query):
    """A query of the simple form.

    Attributes:
        columns: of the output, in order; `*` alone: all.
        table: `name` or `schema.name`.
        condition: where `c > :last_value` stands; None: there is no WHERE.
        order: where ORDER BY stands; None: it does not.
        ordered: the column that it names; empty: none.
    """

    columns: tuple[str, ...] = ()
    table: str = ""
    condition: Span | None = None
    order: Span | None = None
    ordered: str = ""

    def bounded(self, literal: str) -> str:
        """The text with `:last_value` replaced."""
        return splice(self.text, [(span, f"({literal})") for span in self.placeholders])

    def first_run(self, minimum: str) -> tuple[str, bool]:  # noqa: ARG002 - no comparison is left
        """The text without its condition."""
        return splice(self.text, [(self.condition, "TRUE")] if self.condition else []), False

    def narrowed(self, condition: str) -> str:
        """The text with another condition."""
        if self.condition is not None:
            return splice(self.text, [(self.condition, f"({condition})")])
        place = self.order.start if self.order is not None else len(self.text)
        return splice(self.text, [(Span(place, place), f"\nWHERE ({condition})\n")])

    def with_text(self, text: str) -> Query:
        """The same query with a text that `narrowed` gave."""
        return replace(self, text=text.rstrip(), placeholders=(), condition=None, order=None)

    def without_order(self) -> Query:
        """The query without its ORDER BY."""
        if self.order is None:
            return self
        return replace(self, text=self.text[: self.order.start].rstrip(), order=None, ordered="")

    def ordered_by(self, column: str, *, collation: str = "") -> bool:
        """Whether the rows come in ascending order of `column`."""
        return not collation and self.ordered == column

    def plain_table(self) -> str:
        """The table."""
        return self.table

    def passed_through(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Of the columns of the table, those that the query gives."""
        return tuple(name for name in columns if self.columns == ("*",) or name in self.columns)


def simple_query(text: str, *, incremental: bool) -> SimpleQuery | None:
    """The query, if it has the simple form in PostgreSQL's dialect.

    Raises:
        ConfigError: it asks for `:last_value`, and the resource has no cursor.
    """
    found = _SHAPE.fullmatch(text)
    if found is None:
        return None
    columns = tuple(re.split(r"\s*,\s*", found["columns"]))
    if _RESERVED & {*columns, *found["table"].split("."), found["bound"], found["ordered"]}:
        return None
    if found["placeholder"] and not incremental:
        raise ConfigError("the query uses :last_value, but the resource has no incremental_column")
    return SimpleQuery(
        text=text[: found.start("end")],
        dialect="postgres",
        placeholders=(Span(*found.span("placeholder")),) if found["placeholder"] else (),
        tree=None,
        columns=columns,
        table=found["table"],
        condition=Span(*found.span("condition")) if found["condition"] else None,
        order=Span(*found.span("order")) if found["order"] else None,
        ordered=found["ordered"] or "",
    )
