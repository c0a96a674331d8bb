"""The clauses of a merge as they were written down, before any table is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from iceframe.errors import ValidationError

Kind = Literal["matched", "not_matched", "not_matched_by_source"]
Action = Literal["update", "delete", "insert"]

WORDS: Mapping[tuple[Kind, Action], str] = {
    ("matched", "update"): "when_matched_update",
    ("matched", "delete"): "when_matched_delete",
    ("not_matched", "insert"): "when_not_matched_insert",
    ("not_matched_by_source", "update"): "when_not_matched_by_source_update",
    ("not_matched_by_source", "delete"): "when_not_matched_by_source_delete",
}
"""What a clause is called, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One clause of a merge.

    Attributes:
        kind: which rows it is asked for.
        action: what happens to those for which its condition holds.
        values: what columns become; None: all columns of the source, by name.
        condition: None: it holds for all rows of its kind.
    """

    kind: Kind
    action: Action
    values: Mapping[str, object] | None = None
    condition: object = None

    @property
    def word(self) -> str:
        """What it is called."""
        return WORDS[self.kind, self.action]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A merge without its rows.

    Attributes:
        on: the key columns, which table and source have in common.
        clauses: those of one kind are asked in this order, and the first that holds for a row is applied.
        branch: whose head is merged into.
    """

    on: tuple[str, ...]
    clauses: tuple[Clause, ...]
    branch: str

    def of_kind(self, kind: Kind) -> tuple[Clause, ...]:
        """The clauses of one kind, in order."""
        return tuple(clause for clause in self.clauses if clause.kind == kind)

    def require_sense(self) -> None:
        """See that something can come of it.

        Raises:
            ValidationError: no clause, or one that an earlier one leaves nothing to.
        """
        if not self.clauses:
            raise ValidationError(
                "a merge without a clause does nothing",
                hint="add when_matched_update, when_matched_delete, when_not_matched_insert or another",
            )
        for kind in {clause.kind for clause in self.clauses}:
            *earlier, _ = self.of_kind(kind)
            if blocking := next((clause for clause in earlier if clause.condition is None), None):
                raise ValidationError(
                    f"{blocking.word} without a condition takes all rows, so that the clause after it takes none",
                    hint="give it a condition, or make it the last of its kind",
                )


def key_columns(on: Sequence[str] | str) -> tuple[str, ...]:
    """The names of the key columns.

    Raises:
        ValidationError: none, one twice, or no names.
    """
    names = (on,) if isinstance(on, str) else tuple(on)
    if not names or not all(isinstance(name, str) for name in names) or "" in names:
        raise ValidationError(f"a merge needs names of key columns, not {on!r}", hint='on="id" or on=["day", "id"]')
    if len(set(names)) < len(names):
        raise ValidationError(f"a key column is named twice: {', '.join(names)}")
    return names


def condition_of(given: object, word: str) -> pl.Expr | None:
    """The condition of a clause as an expression.

    Raises:
        ValidationError: it is something else.
    """
    if given is None or isinstance(given, pl.Expr):
        return given
    if isinstance(given, bool):
        return pl.lit(given)
    raise ValidationError(
        f"{word}: a condition is a Polars expression, not {type(given).__name__}",
        hint='condition=pl.col("source.updated_at") > pl.col("target.updated_at")',
    )
