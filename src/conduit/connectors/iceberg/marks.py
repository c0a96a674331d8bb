"""Marks as properties of the table that they belong to, and what tells that the table was rolled back behind one.

Mark and rows are one commit of the catalog. The property survives the expiry of snapshots; the summary of the snapshot
says the same, so that a property that was changed or removed by hand is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote

import msgspec
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot, ancestors_of

from conduit.errors import Fenced, StateConflict
from conduit.marks import Identity, Mark
from iceframe.change import Change
from iceframe.commit import Plan
from iceframe.errors import RolledBackSnapshotError
from iceframe.marks import require_kept

_PREFIX = "conduit.mark."
_PIPELINE, _RESOURCE, _RUN, _TO = "conduit.pipeline", "conduit.resource", "conduit.run", "conduit.to"


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mark as it stands in a table property.

    Attributes:
        mark: the mark.
        snapshot_id: the snapshot that was committed with it.
        sequence_number: of that snapshot; it tells its age once it has been expired.
    """

    mark: Mark
    snapshot_id: int
    sequence_number: int


def property_of(identity: Identity) -> str:
    """The table property that holds the mark of a resource."""
    escaped = (quote(part, safe="").replace(".", "%2E") for part in (identity.pipeline, identity.resource))
    return _PREFIX + ".".join(escaped)


def all_marks(metadata: TableMetadata, table: str) -> list[Mark]:
    """The marks of a table. Whatever name it has had, it is the one that was asked for.

    Raises:
        StateConflict: a property is not a mark that this version of conduit knows.
    """
    kept = [_kept(name, text, table) for name, text in sorted(metadata.properties.items()) if name.startswith(_PREFIX)]
    return [_of_table(one.mark, table) for one in kept]


def _of_table(mark: Mark, table: str) -> Mark:
    identity = Identity(mark.identity.pipeline, mark.identity.resource, table)
    return msgspec.structs.replace(mark, identity=identity)


def _kept(name: str, text: str, table: str) -> Kept:
    try:
        return msgspec.json.decode(text, type=Kept)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise StateConflict(
            f"table {table}: its property {name} cannot be read: {error}",
            hint="was it written by a newer conduit, or changed by hand?",
        ) from error


def _found(metadata: TableMetadata, identity: Identity) -> Kept | None:
    name = property_of(identity)
    text = metadata.properties.get(name)
    return None if text is None else _kept(name, text, identity.table)


# --- the compare-and-swap -------------------------------------------------------------------------------


def require(metadata: TableMetadata, old: Mark | None, identity: Identity) -> None:
    """The mark of `identity` still is `old` (I3). Asked of the very metadata that the commit is conditional on.

    Raises:
        Fenced: it is not.
    """
    found = _found(metadata, identity)
    if (found.mark.token() if found else None) != (old.token() if old else None):
        raise Fenced(
            f"{identity.resource}: another run moved the mark of table {identity.table} in the meantime; "
            "nothing of this commit was written",
            hint="run it again: it goes on from the mark of the other run",
        )


def moving(table: Table, change: Change | None, old: Mark | None, new: Mark | None, run_id: str) -> Plan:
    """The commit of a change together with a mark.

    A commit of properties alone is not conditional on the head, so a mark never moves without a snapshot: where there
    is nothing to change, it is an append of nothing.

    Args:
        table: the head that the change was made for.
        change: files; None: no row changes.
        old: the mark before.
        new: the mark after; None: it stays.
        run_id: who commits.
    """
    if new is None:
        return Plan(change=change, summary={_RUN: run_id})
    summary = {_PIPELINE: new.identity.pipeline, _RESOURCE: new.identity.resource, _RUN: new.run_id, _TO: new.token()}
    summary |= {"conduit.from": old.token()} if old else {}
    return Plan(change=change or Change(operation="append"), summary=summary, properties=_written(table, new))


def _written(table: Table, new: Mark) -> Callable[[int], Mapping[str, str]]:
    sequence_number = getattr(table.metadata, "last_sequence_number", 0) + 1

    def properties(snapshot_id: int) -> Mapping[str, str]:
        return kept_as(new, snapshot_id, sequence_number)

    return properties


def kept_as(mark: Mark, snapshot_id: int, sequence_number: int) -> dict[str, str]:
    """The property that says that a mark belongs to a snapshot."""
    kept = Kept(mark=mark, snapshot_id=snapshot_id, sequence_number=sequence_number)
    return {property_of(mark.identity): msgspec.json.encode(kept).decode()}


def holds(metadata: TableMetadata, mark: Mark) -> bool:
    """Whether this very mark is in force."""
    found = _found(metadata, mark.identity)
    return found is not None and (found.mark.run_id, found.mark.token()) == (mark.run_id, mark.token())


def moved(snapshot: Snapshot, identity: Identity) -> tuple[str, str] | None:
    """The position, as its token, that a snapshot moved the mark of `identity` to, and the run; None: it did not."""
    summary = snapshot.summary
    if summary is None or _owner(snapshot) != (identity.pipeline, identity.resource):
        return None
    return summary.get(_TO, "-"), summary.get(_RUN, "")


# --- rolled back, or changed by hand --------------------------------------------------------------------


def refuse_rolled_back(metadata: TableMetadata, identity: Identity) -> None:
    """The rows that the mark speaks of are still in the table, and the mark is the one that came with them.

    Raises:
        StateConflict: they are not, or it is not.
    """
    found = _found(metadata, identity)
    latest = _latest(metadata, identity)
    if found is not None:
        _require_rows(metadata, found, identity)
    if latest is not None and (found is None or found.snapshot_id != latest.snapshot_id):
        raise StateConflict(
            f"table {identity.table}: its property {property_of(identity)} is "
            f"{'gone' if found is None else 'not the one'} that snapshot {latest.snapshot_id} was committed with",
            hint=f"put it back; or `conduit state set {identity.resource} VALUE` with what the table holds, or "
            "`state reset`, which loads all again",
        )


def _require_rows(metadata: TableMetadata, found: Kept, identity: Identity) -> None:
    what = f"table {identity.table}: the mark of {identity.resource}"
    try:
        require_kept(metadata, found.snapshot_id, found.sequence_number, what=what)
    except RolledBackSnapshotError as error:
        shown = found.mark.position.shown() if found.mark.position else None
        raise StateConflict(
            f"{what}, {shown!r}, came with snapshot {found.snapshot_id}, which is not in the table's history any more: "
            "it was rolled back, and rows up to the mark are gone",
            hint=f"roll it forward; or `conduit state set {identity.resource} VALUE` with what the table holds, or "
            "`state reset`, which loads all again",
        ) from error


def _latest(metadata: TableMetadata, identity: Identity) -> Snapshot | None:
    """The newest snapshot that is kept and that moved the mark of `identity`."""
    head = metadata.snapshot_by_name(MAIN_BRANCH)
    own = (identity.pipeline, identity.resource)
    return next((one for one in ancestors_of(head, metadata) if _owner(one) == own), None)


def _owner(snapshot: Snapshot) -> Sequence[str | None]:
    summary = snapshot.summary
    return (summary.get(_PIPELINE), summary.get(_RESOURCE)) if summary else (None, None)
