"""Names of snapshots: branches and tags, moving a branch forward and back. Moves no files and reads no rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRef, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot, ancestors_of
from pyiceberg.table.update import AssertRefSnapshotId, RemoveSnapshotRefUpdate, SetSnapshotRefUpdate

from iceframe.errors import ConflictError, ValidationError
from iceframe.updates import Update, change_metadata

_BRANCH, _TAG = SnapshotRefType.BRANCH, SnapshotRefType.TAG


def create_branch(table: Table, name: str, snapshot_id: int | None = None) -> None:
    """Name a line of snapshots that can go its own way.

    Args:
        table: its metadata changes.
        name: of the branch.
        snapshot_id: where the branch begins; the head of main unless said.

    Raises:
        ValidationError: the name is taken, there is no such snapshot, or the table has none yet.
    """
    _create(table, name, snapshot_id, _BRANCH)


def tag_snapshot(table: Table, name: str, snapshot_id: int | None = None) -> None:
    """Name one snapshot, which then is kept until the tag is dropped.

    Args:
        table: its metadata changes.
        name: of the tag.
        snapshot_id: what is named; the head of main unless said.

    Raises:
        ValidationError: the name is taken, there is no such snapshot, or the table has none yet.
    """
    _create(table, name, snapshot_id, _TAG)


def drop_branch(table: Table, name: str) -> None:
    """Drop a branch; its snapshots stay until they are expired.

    Raises:
        ValidationError: there is no branch of that name, or it is main.
        ConflictError: somebody wrote to the branch meanwhile.
    """
    if name == MAIN_BRANCH:
        raise ValidationError("main cannot be dropped: it is the table", hint="drop the table, or delete its rows")
    _drop(table, name, _BRANCH)


def drop_tag(table: Table, name: str) -> None:
    """Drop a tag; its snapshot stays until it is expired.

    Raises:
        ValidationError: there is no tag of that name.
        ConflictError: somebody moved the tag meanwhile.
    """
    _drop(table, name, _TAG)


def fast_forward(table: Table, branch: str = MAIN_BRANCH, *, to: str) -> None:
    """Move a branch to where another branch or a tag is, if that comes after it.

    Args:
        table: its metadata changes.
        branch: what moves.
        to: a branch or a tag whose history the head of `branch` is part of.

    Raises:
        ValidationError: there is no such branch or tag, or `to` does not come after `branch`; nothing was moved.
    """

    def plan(table: Table) -> Update | None:
        metadata = table.metadata
        moved, target = _ref(table, branch, _BRANCH), _ref(table, to)
        if target.snapshot_id == moved.snapshot_id:
            return None
        if moved.snapshot_id not in _history(metadata, target.snapshot_id):
            raise ValidationError(
                f"{'.'.join(table.name())}: {branch} cannot be moved to {to}: its head {moved.snapshot_id} is not in "
                f"the history of {to}, or that history was expired",
                hint=f"both have gone their own way; write to {branch} what is missing there",
            )
        return _moving(branch, moved, target.snapshot_id)

    def reached(metadata: TableMetadata) -> bool:
        refs = metadata.refs
        return branch in refs and to in refs and refs[branch].snapshot_id == refs[to].snapshot_id

    change_metadata(table, plan, reached=reached)


def rollback_to_snapshot(table: Table, snapshot_id: int) -> None:
    """Make an earlier snapshot the head of main again; what came after it is no part of the table any more.

    Raises:
        ValidationError: the snapshot is not in the history of main; nothing was moved.
        ConflictError: somebody committed meanwhile; nothing was moved.
    """

    def chosen(table: Table) -> int:
        head = _ref(table, MAIN_BRANCH, _BRANCH).snapshot_id
        if snapshot_id not in _history(table.metadata, head):
            _require_snapshot(table, snapshot_id)
            raise ValidationError(
                f"{'.'.join(table.name())} cannot be rolled back to snapshot {snapshot_id}: it is not in the history "
                f"of main, whose head is {head}",
                hint="a branch can be made at any snapshot",
            )
        return snapshot_id

    _roll_back(table, chosen)


def rollback_to_timestamp(table: Table, moment: datetime) -> None:
    """Make the snapshot that was the head of main at a moment its head again.

    Args:
        table: its metadata changes.
        moment: with a time zone.

    Raises:
        ValidationError: the moment has no time zone, or no snapshot is that old; nothing was moved.
        ConflictError: somebody committed meanwhile; nothing was moved.
    """
    if moment.tzinfo is None:
        raise ValidationError(f"{moment} has no time zone", hint="give one, such as datetime.now(UTC)")
    latest = int(moment.timestamp() * 1000)

    def chosen(table: Table) -> int:
        head = _ref(table, MAIN_BRANCH, _BRANCH).snapshot_id
        for snapshot in _ancestors(table.metadata, head):
            if snapshot.timestamp_ms <= latest:
                return snapshot.snapshot_id
        raise ValidationError(f"{'.'.join(table.name())} has no snapshot from {moment} or before")

    _roll_back(table, chosen)


def _create(table: Table, name: str, snapshot_id: int | None, kind: SnapshotRefType) -> None:
    if not name.strip():
        raise ValidationError(f"the name of a {kind} is empty")
    wanted: list[int] = []

    def plan(table: Table) -> Update:
        if name in table.metadata.refs:
            taken = table.metadata.refs[name]
            raise ValidationError(
                f"{'.'.join(table.name())} has a {taken.snapshot_ref_type} {name!r} already, at {taken.snapshot_id}"
            )
        wanted[:] = [_require_snapshot(table, snapshot_id)]
        update = SetSnapshotRefUpdate.model_validate({"ref-name": name, "type": kind, "snapshot-id": wanted[0]})
        return Update(updates=(update,), requirements=(_at(name, None),))

    def reached(metadata: TableMetadata) -> bool:
        made = metadata.refs.get(name)
        return made is not None and made.snapshot_ref_type == kind and [made.snapshot_id] == wanted

    change_metadata(table, plan, reached=reached)


def _drop(table: Table, name: str, kind: SnapshotRefType) -> None:
    seen: list[int] = []

    def plan(table: Table) -> Update:
        ref = _ref(table, name, kind)
        _require_unmoved(table, name, seen, ref.snapshot_id)
        return Update(
            updates=(RemoveSnapshotRefUpdate.model_validate({"ref-name": name}),),
            requirements=(_at(name, ref.snapshot_id),),
        )

    change_metadata(table, plan, reached=lambda metadata: name not in metadata.refs)


def _roll_back(table: Table, chosen: Callable[[Table], int]) -> None:
    seen: list[int] = []
    wanted: list[int] = []

    def plan(table: Table) -> Update | None:
        head = _ref(table, MAIN_BRANCH, _BRANCH)
        _require_unmoved(table, MAIN_BRANCH, seen, head.snapshot_id)
        wanted[:] = [chosen(table)]
        return None if wanted == [head.snapshot_id] else _moving(MAIN_BRANCH, head, wanted[0])

    def reached(metadata: TableMetadata) -> bool:
        return [metadata.refs[MAIN_BRANCH].snapshot_id] == wanted

    change_metadata(table, plan, reached=reached)


def _moving(branch: str, ref: SnapshotRef, snapshot_id: int) -> Update:
    """The branch at another snapshot, with what it retains left as it is."""
    update = SetSnapshotRefUpdate.model_validate(
        {
            **ref.model_dump(by_alias=True),
            "ref-name": branch,
            "snapshot-id": snapshot_id,
        }
    )
    return Update(updates=(update,), requirements=(_at(branch, ref.snapshot_id),))


def _at(name: str, snapshot_id: int | None) -> AssertRefSnapshotId:
    return AssertRefSnapshotId.model_validate({"ref": name, "snapshot-id": snapshot_id})


def _require_unmoved(table: Table, name: str, seen: list[int], now: int) -> None:
    """What the caller has not seen is not taken away: a head that moved since the first look stops the change."""
    if seen and seen != [now]:
        raise ConflictError(
            f"{'.'.join(table.name())}: {name} has moved from snapshot {seen[0]} to {now} meanwhile",
            hint="nothing was changed; look at what came, and run it again",
        )
    seen[:] = [now]


def _ref(table: Table, name: str, kind: SnapshotRefType | None = None) -> SnapshotRef:
    ref = table.metadata.refs.get(name)
    word = str(kind) if kind else "branch or tag"
    if ref is None:
        names = ", ".join(sorted(table.metadata.refs)) or "none yet, it has no snapshot"
        raise ValidationError(f"{'.'.join(table.name())} has no {word} {name!r}", hint=f"there are: {names}")
    if kind and ref.snapshot_ref_type != kind:
        raise ValidationError(f"{'.'.join(table.name())}: {name!r} is a {ref.snapshot_ref_type}, not a {word}")
    return ref


def _require_snapshot(table: Table, snapshot_id: int | None) -> int:
    metadata = table.metadata
    found = metadata.current_snapshot() if snapshot_id is None else metadata.snapshot_by_id(snapshot_id)
    if found is None:
        what = "has no snapshot yet" if snapshot_id is None else f"has no snapshot {snapshot_id}"
        raise ValidationError(f"{'.'.join(table.name())} {what}")
    return found.snapshot_id


def _history(metadata: TableMetadata, head: int) -> set[int]:
    return {snapshot.snapshot_id for snapshot in _ancestors(metadata, head)}


def _ancestors(metadata: TableMetadata, head: int) -> list[Snapshot]:
    return list(ancestors_of(metadata.snapshot_by_id(head), metadata))
