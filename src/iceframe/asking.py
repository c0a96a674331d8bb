"""Asking the catalog: how often, how long between, and what its answers mean. Knows neither snapshots nor files."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Literal

from pyiceberg.exceptions import (
    BadRequestError,
    CommitFailedException,
    ForbiddenError,
    NoSuchTableError,
    RESTError,
    UnauthorizedError,
    ValidationException,
)
from pyiceberg.table import Table

from iceframe.drivers import Errors, database_errors
from iceframe.errors import CatalogError, ConflictError, OutcomeUnknownError, TableNotFoundError

ATTEMPTS = 20
"""How often a race may be lost before a commit gives up."""
UNANSWERED = 12
"""How often a catalog may leave a commit without an answer (a 5xx, a broken connection): within about 10 seconds."""
LONGEST_WAIT = 2.0
"""Seconds between two attempts, at most."""

Answer = Literal["done", "lost", "unknown"]

_REFUSED = (BadRequestError, UnauthorizedError, ForbiddenError)
# ValueError and KeyError: what the catalog was asked to change is not there any more, or has another number
_LOST = (CommitFailedException, ValidationException, ValueError, KeyError)

_log = logging.getLogger(__name__)


def asked(table: Table, request: Callable[[], None]) -> Answer:
    """Send one request that changes the table, and say what became of it.

    Returns:
        "done"; "lost": somebody else came first, nothing was changed; "unknown": there was no answer.

    Raises:
        CatalogError: the catalog refuses; asking again would not help.
    """
    try:
        request()
    except _REFUSED as error:
        raise CatalogError(f"{name_of(table)}: the catalog refuses: {error}") from error
    except _LOST as error:
        _log.info("another commit came first: %s", error)
        return "lost"
    except unanswered() as error:
        _log.info("the outcome of a commit is not known, the catalog is asked: %s", error)
        return "unknown"
    return "done"


def unanswered(*others: type[Exception]) -> Errors:
    """What a catalog raises that did not answer, or not with a yes or no. And those others."""
    return database_errors(RESTError, OSError, *others)


def look_again(table: Table, attempt: int) -> None:
    """Wait longer after each attempt that failed, then see what the table is now.

    Raises:
        OutcomeUnknownError, TableNotFoundError, ConflictError: see `refreshed`.
    """
    time.sleep(random.uniform(0.2, 1) * min(LONGEST_WAIT, 0.02 * 2**attempt))  # noqa: S311 - no secret
    refreshed(table)


def refreshed(table: Table) -> Table:
    """The table as the catalog has it now.

    Raises:
        OutcomeUnknownError: the catalog does not answer.
        TableNotFoundError: it was dropped.
        ConflictError: another table has its name now.
    """
    try:
        return table.refresh()
    except NoSuchTableError as error:
        raise TableNotFoundError(f"{name_of(table)} is gone: somebody dropped it") from error
    except ValueError as error:
        raise ConflictError(f"{name_of(table)} was dropped and made again: {error}") from error
    except unanswered() as error:
        raise OutcomeUnknownError(
            f"{name_of(table)}: the catalog does not answer: {error}",
            hint="whether the last commit took place is not known; run it again, the mark tells",
        ) from error


def too_often(table: Table, *, unsure: bool) -> ConflictError | OutcomeUnknownError:
    """What to raise after the last attempt.

    Args:
        table: that was to be changed.
        unsure: there was no answer to one of the attempts, and it is not in the table so far.
    """
    if unsure:
        return OutcomeUnknownError(
            f"{name_of(table)}: the catalog did not answer, and none of several attempts succeeded",
            hint="whether a commit takes place after all is not known; run it again, the mark tells",
        )
    return ConflictError(
        f"{name_of(table)}: other writers came first {ATTEMPTS} times in a row",
        hint="nothing was written; run it again when fewer of them write",
    )


def name_of(table: Table) -> str:
    """Namespace and name, for messages."""
    return ".".join(table.name())
