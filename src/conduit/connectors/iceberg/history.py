"""The history of a mark among the snapshots of its table, and the table moved back along it.

The summaries of the snapshots are the log; what the head of the table was, one after the other, is its order.
"""

from __future__ import annotations

import datetime as dt

from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Operation, Snapshot, ancestors_of
from pyiceberg.table.update import AssertRefSnapshotId, SetPropertiesUpdate, SetSnapshotRefUpdate

from conduit.connectors.iceberg import marks
from conduit.errors import StateConflict
from conduit.marks import Identity, Mark
from conduit.state_log import Entry, position_of, value_of
from iceframe.scan import pinned
from iceframe.updates import Update, change_metadata


def log(metadata: TableMetadata, identity: Identity) -> list[Entry]:
    """The positions that were committed for `identity`, as far back as snapshots are kept."""
    heads = [(metadata.snapshot_by_id(one.snapshot_id), one.timestamp_ms) for one in metadata.snapshot_log]
    found = [_entry(snapshot, moment, identity) for snapshot, moment in heads if snapshot is not None]
    return [one for one in found if one is not None]


def _entry(snapshot: Snapshot, moment: int, identity: Identity) -> Entry | None:
    """A window that was read to its end, or no window, is complete. None: the mark of `identity` did not move."""
    moved = marks.moved(snapshot, identity)
    if moved is None:
        return None
    token, run_id = moved
    position = position_of(token, run_id)
    return Entry(
        position=position,
        value=value_of(position),
        run_id=run_id,
        complete=position is None or position.window is None or not position.window.at,
        rows=_added(snapshot),
        committed_at=dt.datetime.fromtimestamp(moment / 1000, dt.UTC).isoformat(),
        snapshot=snapshot.snapshot_id,
    )


def _added(snapshot: Snapshot) -> int:
    found = snapshot.summary.get("added-records") if snapshot.summary else None
    return int(found or 0)


def later_rows(table: Table, identity: Identity, to: Entry) -> int:
    """How many rows the head has more than the snapshot of an entry.

    Raises:
        StateConflict: the table cannot go back there.
    """
    _require_own(table.metadata, identity, to)
    return pinned(table).count() - pinned(table, snapshot_id=to.snapshot).count()


def take_back(table: Table, old: Mark, new: Mark, to: Entry, rows: int) -> None:
    """Make the snapshot of an entry the head again, with the mark that belongs to it, in one step.

    The step requires the head that was looked at, so nothing is taken back that came meanwhile.

    Raises:
        Fenced: the mark is not `old` any more.
        StateConflict: other rows than `rows` would go.
    """

    def plan(table: Table) -> Update:
        marks.require(table.metadata, old, new.identity)
        found = later_rows(table, new.identity, to)
        if found != rows:
            raise StateConflict(
                f"table {new.identity.table}: {found} rows would go, {rows} were counted before; nothing was changed",
                hint="look at what else writes to the table, and run it again",
            )
        return _moving(table.metadata, new, to)

    change_metadata(table, plan, reached=lambda metadata: marks.holds(metadata, new))


def _moving(metadata: TableMetadata, new: Mark, to: Entry) -> Update:
    ref, snapshot = metadata.refs[MAIN_BRANCH], _snapshot(metadata, to)
    head = SetSnapshotRefUpdate.model_validate(
        {**ref.model_dump(by_alias=True), "ref-name": MAIN_BRANCH, "snapshot-id": snapshot.snapshot_id}
    )
    kept = marks.kept_as(new, snapshot.snapshot_id, snapshot.sequence_number or 0)
    same_head = AssertRefSnapshotId.model_validate({"ref": MAIN_BRANCH, "snapshot-id": ref.snapshot_id})
    return Update(updates=(head, SetPropertiesUpdate(updates=kept)), requirements=(same_head,))


def _require_own(metadata: TableMetadata, identity: Identity, to: Entry) -> None:
    """All that came after an entry is of `identity`, or moved rows without a change.

    Raises:
        StateConflict: somebody else's rows would go too, or the snapshot is no part of the table's history.
    """
    for snapshot in ancestors_of(metadata.snapshot_by_name(MAIN_BRANCH), metadata):
        if snapshot.snapshot_id == to.snapshot:
            return
        compacted = snapshot.summary is not None and snapshot.summary.operation == Operation.REPLACE
        if not compacted and marks.moved(snapshot, identity) is None:
            raise StateConflict(
                f"table {identity.table}: snapshot {snapshot.snapshot_id}, which came later, was not written by "
                f"{identity.resource}, and would be taken back too",
                hint="say --keep-data and remove the rows yourself",
            )
    raise StateConflict(
        f"table {identity.table}: snapshot {to.snapshot} is not in the table's history any more",
        hint="say --keep-data and remove the rows yourself",
    )


def _snapshot(metadata: TableMetadata, to: Entry) -> Snapshot:
    found = metadata.snapshot_by_id(to.snapshot) if to.snapshot is not None else None
    if found is None:
        raise StateConflict(f"snapshot {to.snapshot} was expired, so the table cannot go back to it")
    return found
