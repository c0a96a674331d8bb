"""The line of snapshots of a table: which of them lie between two points, and why a point may not be used.

Pure decisions on table metadata. Knows nothing of rows and files; what earlier metadata still tells of snapshots that
are gone is handed in, and only asked for when the metadata of today does not suffice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot, ancestors_of

from iceframe.errors import (
    ForeignSnapshotError,
    RolledBackSnapshotError,
    SnapshotError,
    SnapshotExpiredError,
    ValidationError,
)

_RELOAD = "load everything again with since=None"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What lies between two snapshots of one line.

    Attributes:
        since: the snapshot before the window; None: the window is all there is.
        until: the last snapshot of the window; None: the table is empty.
        snapshots: those after `since` up to `until`, oldest first, without a gap; empty if `since` is None.
    """

    since: int | None
    until: int | None
    snapshots: tuple[Snapshot, ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """The snapshots of a table.

    Attributes:
        name: the table's, for messages.
        metadata: as it is now.
        earlier: metadata of earlier states, newest first. An expiry by pyiceberg makes the oldest snapshot that is
            kept look like the first of the table; only earlier metadata knows its parent.
    """

    name: str
    metadata: TableMetadata
    earlier: Callable[[], Iterable[TableMetadata]]

    def window(self, since: int | None, until: int | None = None, branch: str | None = None) -> Window:
        """The snapshots after one up to another.

        A start that was expired serves as long as all that came after it is there.

        Args:
            since: a snapshot, or None.
            until: a snapshot of the branch; None: its head.
            branch: a branch or tag; None: main.

        Raises:
            ValidationError: an id that can be none, an unknown branch, or `since` comes after `until`.
            SnapshotExpiredError, ForeignSnapshotError, RolledBackSnapshotError: where the window should begin or end.
        """
        last = self.last(until, branch)
        if since is None:
            return Window(since=None, until=last.snapshot_id if last else None)
        _require_id("since", since)
        after: list[Snapshot] = []
        for one in ancestors_of(last, self.metadata):
            if one.snapshot_id == since:
                break
            after.append(one)
            if one.parent_snapshot_id == since:
                break
        else:
            self._require_before(since, until, branch)
            if error := self._lack(since, after, "since", start=True):
                raise error
        return Window(since=since, until=last.snapshot_id if last else None, snapshots=tuple(reversed(after)))

    def last(self, until: int | None, branch: str | None = None) -> Snapshot | None:
        """The snapshot with which a window ends; None: the table is empty.

        Raises:
            ValidationError: an id that can be none, or an unknown branch.
            SnapshotExpiredError, ForeignSnapshotError, RolledBackSnapshotError: the branch does not hold it.
        """
        head = self.metadata.snapshot_by_name(branch or MAIN_BRANCH)
        if head is None and branch not in {None, MAIN_BRANCH}:
            raise ValidationError(
                f"{self.name} has no branch or tag {branch!r}",
                hint=f"there are: {', '.join(sorted(self.metadata.refs)) or 'none'}",
            )
        if until is None:
            return head
        _require_id("until", until)
        line = list(ancestors_of(head, self.metadata))
        found = next((one for one in line if one.snapshot_id == until), None)
        if found is None and (error := self._lack(until, line, "until")):
            raise error
        return found

    def at(self, time: datetime | int, until: int | None = None, branch: str | None = None) -> int | None:
        """The last snapshot at or before a time; None: the table began later.

        Args:
            time: with a time zone, or milliseconds since 1970 in UTC.
            until: where to look back from; None: the head of the branch.
            branch: a branch or tag; None: main.

        Raises:
            ValidationError: a time without a time zone, or no time.
            SnapshotExpiredError: the snapshots of that time are gone.
        """
        limit = _milliseconds(time)
        line = list(ancestors_of(self.last(until, branch), self.metadata))
        found = next((one for one in line if one.timestamp_ms <= limit), None)
        if found or not line:
            return found.snapshot_id if found else None
        gone, _ = self._gone_before(line[-1], lambda one: one.timestamp_ms <= limit)
        if gone and gone[0].timestamp_ms <= limit:
            return gone[0].snapshot_id
        if _is_first((gone or line)[-1]) and all(one.timestamp_ms > limit for one in gone):
            return None
        raise SnapshotExpiredError(
            f"{self.name}: the snapshots of {_shown(limit)} were expired, so that what came later cannot be told apart",
            hint=f"{_RELOAD}, or take a time after {_shown(line[-1].timestamp_ms)}",
        )

    def snapshot(self, snapshot_id: int, what: str) -> Snapshot:
        """A snapshot, on whatever line it is.

        Raises:
            ValidationError: an id that can be none.
            SnapshotExpiredError, ForeignSnapshotError: it is not there.
        """
        _require_id(what, snapshot_id)
        found = self.metadata.snapshot_by_id(snapshot_id)
        if found is not None:
            return found
        _, known = self._gone_before(None, lambda _: False)
        if snapshot_id in known or self._logged(snapshot_id):
            raise self._expired(snapshot_id, what, alive=False)
        raise self._foreign(snapshot_id, what)

    def _require_before(self, since: int, until: int | None, branch: str | None) -> None:
        if until is not None and any(
            one.snapshot_id == since for one in ancestors_of(self.last(None, branch), self.metadata)
        ):
            raise ValidationError(f"{self.name}: snapshot {since} (since) comes after snapshot {until} (until)")

    def _lack(
        self, snapshot_id: int, line: Sequence[Snapshot], what: str, *, start: bool = False
    ) -> SnapshotError | None:
        """Why a snapshot is not on the line that ends at a head; None: it is an expired one that serves as a start."""
        alive = self.metadata.snapshot_by_id(snapshot_id)
        if alive and _parted(alive, line, self.metadata):
            return self._rolled_back(snapshot_id, what)
        gone, known = self._gone_before(line[-1] if line else None, lambda one: one.snapshot_id == snapshot_id)
        if start and gone and gone[0].snapshot_id == snapshot_id:
            return None
        if snapshot_id not in known and not self._logged(snapshot_id):
            return self._foreign(snapshot_id, what)
        whole = [*line, *gone]
        if not any(one.snapshot_id == snapshot_id for one in gone) and (not whole or _is_first(whole[-1])):
            return self._rolled_back(snapshot_id, what)
        return self._expired(snapshot_id, what, alive=alive is not None)

    def _gone_before(
        self, oldest: Snapshot | None, reached: Callable[[Snapshot], bool]
    ) -> tuple[list[Snapshot], Mapping[int, Snapshot]]:
        """The expired ancestors of a snapshot, newest first, and every snapshot that was seen on the way.

        Args:
            oldest: where the line of today ends.
            reached: whether an ancestor is the one that is looked for, so that no older metadata is read.
        """
        known = {one.snapshot_id: one for one in self.metadata.snapshots}
        gone = list(_before(oldest, known))
        for metadata in self.earlier():
            for one in metadata.snapshots:
                if one.snapshot_id not in known or known[one.snapshot_id].parent_snapshot_id is None:
                    known[one.snapshot_id] = one
            gone = list(_before(oldest, known))
            if any(reached(one) for one in gone):
                break
        return gone, known

    def _logged(self, snapshot_id: int) -> bool:
        return any(one.snapshot_id == snapshot_id for one in self.metadata.snapshot_log) or any(
            one.parent_snapshot_id == snapshot_id for one in self.metadata.snapshots
        )

    def _expired(self, snapshot_id: int, what: str, *, alive: bool) -> SnapshotExpiredError:
        if alive:
            message = f"{self.name}: snapshots after {snapshot_id} ({what}) were expired, and their rows cannot be told"
        else:
            message = f"{self.name}: snapshot {snapshot_id} ({what}) was expired; what came after it cannot be told"
        return SnapshotExpiredError(message, hint=f"{_RELOAD}, and keep snapshots until they are read")

    def _foreign(self, snapshot_id: int, what: str) -> ForeignSnapshotError:
        return ForeignSnapshotError(
            f"{self.name}: snapshot {snapshot_id} ({what}) is not in the table and its metadata has no trace of it",
            hint="it is another table's, or of a table of this name that was dropped: look where the id comes from; "
            f"if it was expired long ago, {_RELOAD}",
        )

    def _rolled_back(self, snapshot_id: int, what: str) -> RolledBackSnapshotError:
        refs = [
            name
            for name, ref in sorted(self.metadata.refs.items())
            if any(
                one.snapshot_id == snapshot_id
                for one in ancestors_of(self.metadata.snapshot_by_id(ref.snapshot_id), self.metadata)
            )
        ]
        where = f"it is part of {', '.join(refs)}: read that with branch=" if refs else "the table was rolled back"
        return RolledBackSnapshotError(
            f"{self.name}: snapshot {snapshot_id} ({what}) is no ancestor of the head that is read; {where}",
            hint=f"rows that were read up to it are no longer in the table: take them back, then {_RELOAD}",
        )


def operation_of(snapshot: Snapshot) -> str:
    """What a snapshot did: `append`, `replace`, `overwrite`, `delete`; `unknown` if it does not say."""
    return snapshot.summary.operation.value if snapshot.summary else "unknown"


def _parted(snapshot: Snapshot, line: Sequence[Snapshot], metadata: TableMetadata) -> bool:
    """Whether a snapshot certainly is no ancestor of a line: it is younger, or its own line runs into that one."""
    if line and (snapshot.sequence_number or 0) > (line[0].sequence_number or 0):
        return True
    ids = {one.snapshot_id for one in line}
    return any(one.snapshot_id in ids for one in ancestors_of(snapshot, metadata))


def _before(oldest: Snapshot | None, known: Mapping[int, Snapshot]) -> Iterator[Snapshot]:
    here = known.get(oldest.snapshot_id) if oldest else None
    while here is not None and here.parent_snapshot_id is not None:
        here = known.get(here.parent_snapshot_id)
        if here is not None:
            yield here


def _is_first(snapshot: Snapshot) -> bool:
    """Whether there was nothing before a snapshot; without a parent it may also be that its parent was expired."""
    if snapshot.parent_snapshot_id is not None or snapshot.summary is None:
        return False
    said = snapshot.summary.additional_properties
    return "total-records" in said and said["total-records"] == said.get("added-records", "0")


def _require_id(what: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ValidationError(f"{what} is the id of a snapshot, a positive whole number; it is {value!r}")


def _milliseconds(time: object) -> int:
    if isinstance(time, datetime):
        if time.tzinfo is None:
            raise ValidationError(f"the time {time} has no time zone", hint="say which: .replace(tzinfo=datetime.UTC)")
        return (time - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)
    if isinstance(time, bool) or not isinstance(time, int) or time < 0:
        raise ValidationError(f"a time is a datetime or milliseconds since 1970; it is {time!r}")
    return time


def _shown(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")
