"""One commit: files, summary and properties in one step of the catalog, by compare-and-swap, with a loop of our own.

pyiceberg's own loop repeats a lost race on the new head without asking: the same append lands twice. Here every attempt
asks again: is the mark still where this run began, do the files still fit, did an earlier attempt land after all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pyiceberg.exceptions import ValidationException
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import ancestors_of
from pyiceberg.table.update import (
    AssertCurrentSchemaId,
    AssertDefaultSpecId,
    AssertTableUUID,
    SetPropertiesUpdate,
    TableRequirement,
    TableUpdate,
)

from iceframe.asking import ATTEMPTS, UNANSWERED, Answer, asked, look_again, refreshed, too_often
from iceframe.change import Change
from iceframe.errors import ConflictError, StorageError, UnsupportedError
from iceframe.internals import StagedSnapshot, send, stage_snapshot

_NEWEST_FORMAT = 2

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a commit does once it has seen the head; computed again after every lost race.

    Attributes:
        change: files; None: nothing would change, and no snapshot is made.
        summary: entries for the summary of the snapshot.
        properties: table properties that change in the same step; a function is given the id of the new snapshot.
    """

    change: Change | None
    summary: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] | Callable[[int], Mapping[str, str]] = field(default_factory=dict)

    def properties_at(self, snapshot_id: int) -> dict[str, str]:
        """The properties that are set together with this snapshot."""
        given = self.properties(snapshot_id) if callable(self.properties) else self.properties
        return dict(given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a commit did.

    Attributes:
        snapshot_id: the new snapshot; None: there was nothing to change.
        change: the files that it added and took away.
        attempts: how often it was tried.
    """

    snapshot_id: int | None
    change: Change | None
    attempts: int = 1


def commit(table: Table, plan: Callable[[Table], Plan], *, branch: str = MAIN_BRANCH) -> Done:
    """Make one snapshot with everything that a plan says, or none.

    Args:
        table: as it was loaded; looked at again before each further attempt.
        plan: looks at the table as it is now and says what to do; it may stop the commit by raising. An append returns
            the same files each time, a merge works them out again.
        branch: whose head moves.

    Raises:
        ConflictError: the race was lost too often, or the table's schema changed while the files were written.
        OutcomeUnknownError: the catalog did not answer and could not be asked.
        CatalogError: the catalog refuses.
        StorageError: a manifest cannot be written; the catalog was not asked.
        TableNotFoundError: the table was dropped meanwhile.
    """
    tried: dict[int, Change] = {}
    unanswered = 0
    for attempt in range(1, ATTEMPTS + 1):
        if attempt > 1:
            look_again(table, attempt)
        if landed := _landed(table, branch, tried):
            return Done(snapshot_id=landed, change=tried[landed], attempts=attempt)
        planned = plan(table)
        if planned.change is None:
            return Done(snapshot_id=None, change=None, attempts=attempt)
        staged = _staged(table, planned, planned.change, branch)
        if staged is None:
            continue
        tried[staged.snapshot_id] = planned.change
        answer = _sent(table, staged, planned, planned.change)
        if answer == "done":
            return Done(snapshot_id=staged.snapshot_id, change=planned.change, attempts=attempt)
        unanswered += answer == "unknown"
        if unanswered == UNANSWERED:
            break
    if landed := _landed(refreshed(table), branch, tried):
        return Done(snapshot_id=landed, change=tried[landed], attempts=attempt)
    raise too_often(table, unsure=unanswered > 0)


def _staged(table: Table, planned: Plan, change: Change, branch: str) -> StagedSnapshot | None:
    """None: a file that the plan takes away is gone already, so it has to look again."""
    if table.metadata.format_version > _NEWEST_FORMAT:
        raise UnsupportedError(
            f"{'.'.join(table.name())} has format version {table.metadata.format_version}, which cannot be written",
            hint="pyiceberg writes versions 1 and 2",
        )
    if any(file.spec_id != table.metadata.default_spec_id for file in change.added):
        raise ConflictError(
            f"{'.'.join(table.name())}: the partition spec was changed while the files were written",
            hint="nothing was written; run it again",
        )
    try:
        return stage_snapshot(table, change, branch=branch, summary=dict(planned.summary))
    except ValidationException as error:
        _log.info("the head moved while a commit was planned: %s", error)
        return None
    except OSError as error:
        raise StorageError(f"{'.'.join(table.name())}: a manifest cannot be read or written: {error}") from error


def _sent(table: Table, staged: StagedSnapshot, planned: Plan, change: Change) -> Answer:
    """Ask the catalog once. The metadata of an attempt that certainly did not take place is removed."""
    updates: tuple[TableUpdate, ...] = staged.updates
    if properties := planned.properties_at(staged.snapshot_id):
        updates = (*updates, SetPropertiesUpdate(updates=properties))
    answer = asked(table, lambda: send(table, updates, (*staged.requirements, *_also_required(table, change))))
    if answer == "lost":
        for path in staged.paths:
            table.io.delete(path)
    return answer


def _also_required(table: Table, change: Change) -> tuple[TableRequirement, ...]:
    """What the files were written for must still be so."""
    same = AssertTableUUID(uuid=table.metadata.table_uuid)
    if not change.added:
        return (same,)
    return (
        same,
        AssertCurrentSchemaId.model_validate({"current-schema-id": table.metadata.current_schema_id}),
        AssertDefaultSpecId.model_validate({"default-spec-id": table.metadata.default_spec_id}),
    )


def _landed(table: Table, branch: str, tried: Mapping[int, Change]) -> int | None:
    """The attempt that took place although it was reported as failed."""
    if not tried:
        return None
    head = table.metadata.snapshot_by_name(branch)
    return next((one.snapshot_id for one in ancestors_of(head, table.metadata) if one.snapshot_id in tried), None)
