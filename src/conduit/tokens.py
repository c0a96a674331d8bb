"""SQL as tokens: where `:last_value` and the conditions of WHERE stand in a text. Builds no tree and sends nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from conduit.errors import ConfigError
from conduit.late import late

if TYPE_CHECKING:
    import sqlglot
    from sqlglot import Token
else:
    sqlglot = late("sqlglot")

PLACEHOLDER = "last_value"

_OPENERS = {"L_PAREN", "L_BRACKET", "L_BRACE", "CASE"}
_CLOSERS = {"R_PAREN", "R_BRACKET", "R_BRACE", "END"}
_BRACKETS = {"L_BRACKET": 1, "L_BRACE": 1, "R_BRACKET": -1, "R_BRACE": -1}
_AFTER_WHERE = {
    "GROUP_BY", "HAVING", "WINDOW", "QUALIFY", "ORDER_BY", "LIMIT", "OFFSET", "FETCH", "FOR", "UNION", "EXCEPT",
    "INTERSECT", "SEMICOLON",
}  # fmt: skip


class Span(msgspec.Struct, frozen=True):
    """Characters `start` up to, not including, `end` of the query."""

    start: int
    end: int


def tokens_of(text: str, dialect: str, what: str = "the query") -> list[Token]:
    """The tokens of a text; `what` it is, for messages.

    Raises:
        ConfigError: it is no SQL of this dialect.
    """
    try:
        return list(sqlglot.Dialect.get_or_raise(dialect).tokenize(text))
    except sqlglot.errors.SqlglotError as error:
        raise ConfigError(f"{what} cannot be read: {error}") from error


def kind_of(token: Token) -> str:
    """The name of a token's type."""
    return str(token.token_type.name)


def placeholders_of(tokens: Sequence[Token]) -> Iterator[Span]:
    """Where `:last_value` stands.

    Raises:
        ConfigError: it stands inside brackets, or there is another placeholder.
    """
    brackets = 0
    for colon, name in zip(tokens, [*tokens[1:], None], strict=True):
        brackets += _BRACKETS.get(kind_of(colon), 0)
        if kind_of(colon) != "COLON" or name is None or name.start != colon.end + 1:
            continue
        if not name.text.isidentifier() or name.text[0].isdigit():
            continue
        if brackets and name.text == PLACEHOLDER:
            raise ConfigError("`:last_value` stands inside brackets, where it reads as a slice", hint="move it out")
        if brackets:
            continue
        if name.text != PLACEHOLDER:
            from difflib import get_close_matches  # noqa: PLC0415 - only a query that is wrong needs it

            close = get_close_matches(name.text, [PLACEHOLDER])
            hint = "did you mean :last_value?" if close else "the only placeholder is :last_value"
            raise ConfigError(f"unknown placeholder :{name.text} in the query", hint=hint)
        yield Span(colon.start, name.end + 1)


def refuse_open_ends(tokens: Sequence[Token], what: str) -> None:
    """What is put between parentheses must not close them, nor begin another statement.

    Raises:
        ConfigError: nothing is there, a parenthesis is closed that was not opened, or a semicolon stands in it.
    """
    if not tokens:
        raise ConfigError(f"{what} is empty")
    depth = 0
    for token in tokens:
        depth += (kind_of(token) == "L_PAREN") - (kind_of(token) == "R_PAREN")
        if depth < 0:
            raise ConfigError(f"{what} closes a parenthesis that it did not open")
        if kind_of(token) == "SEMICOLON":
            raise ConfigError(f"{what} holds several statements; it must be one")


def top_level_conditions(tokens: Sequence[Token]) -> Iterator[Span]:
    """The conditions that AND joins at the top of the outermost WHERE; none when an OR stands there."""
    yield from _split_at_and(_outermost_where(tokens)[0])


def where_of(tokens: Sequence[Token], text: str) -> tuple[Span | None, int]:
    """What stands in the outermost WHERE, None without one; and where a WHERE could be put."""
    inside, after = _outermost_where(tokens)
    place = after.start if after is not None else len(text)
    return (Span(inside[0].start, inside[-1].end + 1) if inside else None), place


def order_of(tokens: Sequence[Token]) -> Span | None:
    """The ORDER BY at the top, up to the end; None: there is none, or something follows that may not belong to it."""
    depth = 0
    for place, token in enumerate(tokens):
        depth += (kind_of(token) in _OPENERS) - (kind_of(token) in _CLOSERS)
        if depth == 0 and kind_of(token) == "ORDER_BY":
            return Span(token.start, tokens[-1].end + 1) if _ends_there(tokens[place + 1 :]) else None
    return None


def _ends_there(tokens: Sequence[Token]) -> bool:
    return not any(kind_of(token) in _AFTER_WHERE for token in tokens)


def _outermost_where(tokens: Sequence[Token]) -> tuple[list[Token], Token | None]:
    """The tokens of WHERE, and the one that begins what follows it."""
    inside: list[Token] = []
    depth, seen = 0, False
    for token in tokens:
        depth -= kind_of(token) in _CLOSERS
        if depth == 0 and kind_of(token) in _AFTER_WHERE:
            return inside, token
        if seen:
            inside.append(token)
        seen = seen or (depth == 0 and kind_of(token) == "WHERE")
        depth += kind_of(token) in _OPENERS
    return inside, None


def _split_at_and(tokens: Sequence[Token]) -> list[Span]:
    spans: list[Span] = []
    start, depth, between = 0, 0, 0
    for index, token in enumerate(tokens):
        kind = kind_of(token)
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


def within(inner: Span, outer: Span) -> bool:
    """Whether a span lies in another."""
    return outer.start <= inner.start and inner.end <= outer.end


def splice(text: str, edits: Sequence[tuple[Span, str]]) -> str:
    """The text with spans replaced; an empty span inserts."""
    for span, replacement in sorted(edits, key=lambda edit: edit[0].start, reverse=True):
        text = text[: span.start] + replacement + text[span.end :]
    return text
