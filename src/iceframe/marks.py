"""Where a job stopped: kept in the target table, moved by the commit that holds the job's rows.

A mark is one table property and one entry in the summary of its snapshot. Summaries vanish when snapshots are expired,
properties do not; a property alone does not tell that the table was rolled back, so it names its snapshot.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from urllib.parse import quote

from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import ancestors_of

from iceframe.errors import IceFrameError, RolledBackSnapshotError, ValidationError

_PREFIX = "iceframe.mark."


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The window of a source table that a job has brought into its target.

    Attributes:
        source: uuid of the source table.
        since: the window began after this snapshot of the source; None: at its beginning.
        until: the window ended with this snapshot of the source.
        run: who wrote it.
        snapshot_id: the snapshot of the target that holds the rows.
        sequence: its sequence number, which tells its age when it was expired.
    """

    source: str
    since: int | None
    until: int
    run: str
    snapshot_id: int
    sequence: int


def property_of(job: str) -> str:
    """The table property that holds the mark of a job.

    Raises:
        ValidationError: the name of the job is empty.
    """
    if not job.strip():
        raise ValidationError("the name of a job is empty", hint="name it for what it does, and never change the name")
    return _PREFIX + quote(job, safe="")


def mark_of(metadata: TableMetadata, job: str, *, branch: str = MAIN_BRANCH) -> Mark | None:
    """The mark of a job in its target table; None: the job has never committed.

    Raises:
        RolledBackSnapshotError: the table was rolled back to before the rows of this mark.
        IceFrameError: the property holds no mark.
    """
    mark = recorded_mark(metadata, job)
    if mark:
        require_kept(metadata, mark.snapshot_id, mark.sequence, what=f"the mark of job {job!r}", branch=branch)
    return mark


def recorded_mark(metadata: TableMetadata, job: str) -> Mark | None:
    """The mark of a job as it was written, whether or not its rows are still in the table.

    Raises:
        IceFrameError: the property holds no mark.
    """
    text = metadata.properties.get(property_of(job))
    if text is None:
        return None
    try:
        return Mark(**json.loads(text))
    except (TypeError, ValueError) as error:
        raise IceFrameError(
            f"the table property {property_of(job)} holds no mark: {text[:100]!r}",
            hint="somebody else wrote it; remove the property to begin anew, which loads all rows again",
        ) from error


def property_value(mark: Mark) -> str:
    """The mark as it stands in the table property."""
    return json.dumps(asdict(mark), separators=(",", ":"))


def require_kept(
    metadata: TableMetadata, snapshot_id: int, sequence: int, *, what: str, branch: str = MAIN_BRANCH
) -> None:
    """See that the rows of a mark are still in the table: a rollback leaves the property and takes the rows.

    Raises:
        RolledBackSnapshotError: the snapshot is no ancestor of the head, and is not older than all that is kept.
    """
    head = metadata.snapshot_by_name(branch)
    oldest = None
    for oldest in ancestors_of(head, metadata):
        if oldest.snapshot_id == snapshot_id:
            return
    expired = metadata.snapshot_by_id(snapshot_id) is None
    if oldest is not None and expired and (oldest.sequence_number or 0) > sequence:
        return
    raise RolledBackSnapshotError(
        f"{what} names snapshot {snapshot_id}, which is not in the history of {branch}: the table was rolled back",
        hint="roll it forward again, or drop the mark and load again what is missing",
    )
