"""What can go wrong, as one tree. Every message says what failed, on which object, why, and what to do.

    ConduitError                     exit
    ├── InternalError                  1    a bug in conduit
    ├── ConfigError                    2    ingest.yml or a query is wrong; carries every problem found
    ├── ConnectionFailed               3    a source or destination cannot be reached or refuses us
    ├── StateConflict                  4    state, mark and data disagree; a person has to decide
    ├── DataError                      5    rows that the destination or a rule rejects
    ├── Busy                          75    somebody else works on it; try again later
    │   └── Fenced                    75    another run moved the mark while this one was working
    └── Interrupted                 130/143 Ctrl-C, SIGTERM

The exit codes are those of docs/cli.md. This module knows no connector.
"""

from __future__ import annotations

from collections.abc import Sequence

EXIT_ORDER = (130, 143, 1, 2, 4, 5, 3, 75)
"""Which exit code wins when several resources fail in different ways."""


class ConduitError(Exception):
    """The base of all errors that conduit raises on purpose.

    Attributes:
        message: what failed, on which object, and why.
        hint: what to do about it; empty when there is nothing useful to say.
        retryable: the same work may succeed on a second try (a lost connection, a deadlock).
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", retryable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class InternalError(ConduitError):
    """Something that must not happen, happened: a bug in conduit."""


class Problem:
    """One thing that is wrong with a configuration, and where it stands."""

    __slots__ = ("column", "file", "key", "line", "text")

    def __init__(self, text: str, *, file: str = "", line: int = 0, column: int = 0, key: str = "") -> None:
        self.text = text
        self.file = file
        self.line = line
        self.column = column
        self.key = key

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line or "") if part != "")
        return ": ".join(part for part in (place, self.key, self.text) if part)


class ConfigError(ConduitError):
    """ingest.yml, an option or a query is wrong. `problems` lists all that were found, in file order."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "", problems: Sequence[Problem] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(f"  {problem}" for problem in self.problems)])


class ConnectionFailed(ConduitError):
    """A source or a destination cannot be reached, or refuses what we ask for."""

    exit_code = 3


class StateConflict(ConduitError):
    """State file, mark and data disagree in a way that only a person can settle, or too many rows would be gone."""

    exit_code = 4


class DataError(ConduitError):
    """Rows that the destination, a type or a rule rejects. Nothing of the commit was kept."""

    exit_code = 5


class Busy(ConduitError):
    """Somebody else holds what we need. Nothing was changed; try again later."""

    exit_code = 75


class Fenced(Busy):
    """Another run moved the mark of this resource while this one was working; its commit was refused."""


class Interrupted(ConduitError):
    """The user or the system asked us to stop. `signal` is the signal's number."""

    def __init__(self, message: str, *, signal: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal


def exit_code(codes: Sequence[int]) -> int:
    """The exit code of a run whose resources ended with `codes` (0 is success)."""
    failed = [code for code in codes if code]
    known = [code for code in EXIT_ORDER if code in failed]
    return known[0] if known else max(failed, default=0)
