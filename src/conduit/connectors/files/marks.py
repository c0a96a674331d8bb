"""The compare-and-swap on marks, for targets that keep all marks of a table together. Pure values."""

from __future__ import annotations

from collections.abc import Sequence

from conduit.errors import Fenced
from conduit.marks import Mark, mark_of


def swapped(marks: Sequence[Mark], old: Mark | None, new: Mark | None, table: str) -> tuple[Mark, ...]:
    """The marks with `new` in the place of `old`; without `new`, as they are.

    Raises:
        Fenced: the mark of this identity is not `old`.
    """
    if new is None:
        return tuple(marks)
    current = mark_of(marks, new.identity)
    if _token(current) != _token(old):
        raise Fenced(
            f"another run moved the mark of {new.identity.resource} in {table}: it was {_shown(old)}, now it is "
            f"{_shown(current)}",
            hint="nothing was written; the next run goes on from the new mark",
        )
    return (*(mark for mark in marks if mark.identity != new.identity), new)


def moves(old: Mark | None, new: Mark | None) -> bool:
    """Whether a commit of `new` would move the mark."""
    return new is not None and _token(new) != _token(old)


def _token(mark: Mark | None) -> str | None:
    return mark.token() if mark is not None else None


def _shown(mark: Mark | None) -> str:
    return repr(mark.position.shown()) if mark is not None and mark.position else "nothing"
