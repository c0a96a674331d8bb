"""What is wrong with one ingest.yml: all of it, in file order, with its place and its key.

This module knows places and words, not what the keys mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Protocol

from conduit.errors import ConfigError, Problem

MOST_COMPARED = 300
MOST_LISTED = 30


class Place(Protocol):
    """Something that stands in a file."""

    @property
    def line(self) -> int:
        """Its line, from 1."""
        ...

    @property
    def column(self) -> int:
        """Its column, from 1."""
        ...


class Problems:
    """Collects problems while a file is read, so that one error can name them all."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: dict[tuple[str, int, int, str, str], Problem] = {}

    def add(self, text: str, place: Place, key: str = "", *, file: str = "") -> None:
        """Note a problem. The same words about the same place count once: an alias brings a value twice."""
        problem = Problem(text, file=file or self.file, line=place.line, column=place.column, key=key)
        self._found.setdefault((problem.file, place.line, place.column, key, text), problem)

    def raise_any(self) -> None:
        """Raise what was found.

        Raises:
            ConfigError: something was found; the problems stand in file order.
        """
        if not self._found:
            return
        found = sorted(
            self._found.values(), key=lambda problem: (problem.file != self.file, problem.line, problem.column)
        )
        count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise ConfigError(f"{self.file} has {count}", problems=found)

    def _order(self, problem: Problem) -> tuple[bool, int, int]:
        return problem.file != self.file, problem.line, problem.column


def refusal(text: str, place: Place, file: str) -> ConfigError:
    """The error of a file that cannot be read on from `place`."""
    problem = Problem(text, file=file, line=place.line, column=place.column)
    return ConfigError(f"{file} has 1 problem", problems=[problem])


def shown(text: str, limit: int = 60) -> str:
    """Text of a file as a message may show it: on one line, without control characters, not endless."""
    plain = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:limit])
    return plain if len(text) <= limit else f"{plain}..."


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant; empty when none is close."""
    from difflib import get_close_matches  # noqa: PLC0415 - only a file that is wrong needs it

    folded = {name.casefold(): name for name in islice(known, MOST_COMPARED)}
    close = get_close_matches(word[:100].casefold(), folded, n=1)
    return folded[close[0]] if close else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean x?` when a known word is close, else the list of them."""
    names = list(dict.fromkeys(islice(known, MOST_COMPARED)))
    close = closest(word, names)
    if close:
        return f"; did you mean {close}?"
    more = ", ..." if len(names) > MOST_LISTED else ""
    return f"; use one of: {', '.join(names[:MOST_LISTED])}{more}" if names else ""
