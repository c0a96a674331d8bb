"""One change of a table's metadata that makes no snapshot: names of snapshots, properties, snapshots that go.

Like `commit`, a compare-and-swap with a loop of its own that looks at the table again after every lost race. It knows
nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import AssertTableUUID, TableRequirement, TableUpdate

from iceframe.asking import ATTEMPTS, UNANSWERED, Answer, asked, look_again, refreshed, too_often
from iceframe.internals import send


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What the catalog is asked to change, and what must still hold for it."""

    updates: tuple[TableUpdate, ...]
    requirements: tuple[TableRequirement, ...] = ()


def change_metadata(
    table: Table, plan: Callable[[Table], Update | None], *, reached: Callable[[TableMetadata], bool]
) -> None:
    """Change the metadata of a table in one step.

    Args:
        table: refreshed before each attempt; afterwards it is what the catalog answered.
        plan: looks at the table as it is now; None: there is nothing to do. It may stop the change by raising.
        reached: whether the table is as wanted; asked after an attempt of which the outcome is not known.

    Raises:
        CatalogError: the catalog refuses.
        ConflictError: other writers came first too often.
        OutcomeUnknownError: the catalog did not answer, and could not be asked.
    """
    unanswered = 0
    for attempt in range(1, ATTEMPTS + 1):
        if attempt > 1:
            look_again(table, attempt)
        else:
            refreshed(table)
        planned = None if unanswered and reached(table.metadata) else plan(table)
        if planned is None:
            return
        answer = _sent(table, planned)
        if answer == "done":
            return
        unanswered += answer == "unknown"
        if unanswered == UNANSWERED:
            break
    if not (unanswered and reached(refreshed(table).metadata)):
        raise too_often(table, unsure=unanswered > 0)


def _sent(table: Table, planned: Update) -> Answer:
    same = AssertTableUUID(uuid=table.metadata.table_uuid)
    return asked(table, lambda: send(table, planned.updates, (same, *planned.requirements)))
