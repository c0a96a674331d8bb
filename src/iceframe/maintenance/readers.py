"""Who reads a table bit by bit, and which snapshots they still need: properties of the table that is read.

A record says where a reader began. Where it is now says its mark, which is kept in the table that it writes and moves
with its rows; a reader that writes elsewhere writes its record anew when it has gone on. The records are advice to
`expire_snapshots`; no read and no commit depends on them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from urllib.parse import quote, unquote

from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.update import RemovePropertiesUpdate, SetPropertiesUpdate

from iceframe.catalog import load_table
from iceframe.earlier import earlier_metadata
from iceframe.errors import SnapshotError, TableNotFoundError, ValidationError
from iceframe.marks import recorded_mark
from iceframe.snapshots import History
from iceframe.updates import Update, change_metadata

_PREFIX = "iceframe.reader."


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A job that reads a table bit by bit.

    Attributes:
        job: its name.
        since: the last snapshot that it has read; None: it has read nothing yet.
        target: the table of this catalog that it writes, where its mark is kept; None: it writes elsewhere.
        at: when it was registered.
    """

    job: str
    since: int | None
    target: str | None
    at: datetime


def register(table: Table, job: str, snapshot_id: int | None, target: str | None) -> None:
    """Write down that a job reads this table, so that what it has not read yet is not expired.

    Args:
        table: what is read.
        job: the name of the job; an earlier record of that name is replaced.
        snapshot_id: the last snapshot that it has read; None: none yet.
        target: the table of this catalog that it writes, and whose mark tells how far it has come; None: it writes
            elsewhere, and registers again whenever it has gone on.

    Raises:
        ValidationError: the name of the job is empty.
        ConflictError, CatalogError, OutcomeUnknownError: the record could not be written.
    """
    record = {"since": snapshot_id, "target": target, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    wanted = {_property(job): json.dumps(record, separators=(",", ":"))}

    def plan(_table: Table) -> Update:
        return Update(updates=(SetPropertiesUpdate(updates=wanted),))

    change_metadata(table, plan, reached=lambda metadata: wanted.items() <= metadata.properties.items())


def forget(table: Table, job: str) -> None:
    """Strike the record of a job that reads this table no more.

    Raises:
        ValidationError: no job of that name is registered.
        ConflictError, CatalogError, OutcomeUnknownError: the record could not be struck.
    """
    name = _property(job)

    def plan(table: Table) -> Update:
        if name not in table.metadata.properties:
            jobs = ", ".join(sorted(_jobs(table.metadata))) or "none"
            raise ValidationError(f"{'.'.join(table.name())} has no reader {job!r}", hint=f"registered: {jobs}")
        return Update(updates=(RemovePropertiesUpdate(removals=[name]),))

    change_metadata(table, plan, reached=lambda metadata: name not in metadata.properties)


def registered(table: Table) -> list[Reader]:
    """The jobs that read this table, each with how far it has come.

    Raises:
        ValidationError: a property of the table is no record of a reader.
        CatalogError: a table that a reader writes cannot be loaded.
    """
    return [_reader(table, job, text) for job, text in sorted(_jobs(table.metadata).items())]


def needed(table: Table, since: int | None) -> set[int]:
    """The snapshots without which a reader cannot go on: its last one, and all that came after it on any branch."""
    if since is None:
        return set()
    kept = {since} if table.metadata.snapshot_by_id(since) else set()

    @cache
    def earlier() -> list[TableMetadata]:
        return list(earlier_metadata(table.metadata, table.io))

    history = History(".".join(table.name()), table.metadata, earlier)
    for name, ref in table.metadata.refs.items():
        if ref.snapshot_ref_type == SnapshotRefType.BRANCH:
            try:
                kept |= {one.snapshot_id for one in history.window(since, branch=name).snapshots}
            except SnapshotError:
                continue  # from here this branch cannot be read, whatever is kept
    return kept


def _reader(table: Table, job: str, text: str) -> Reader:
    try:
        record = json.loads(text)
        since, target, at = record["since"], record["target"], datetime.fromisoformat(record["at"])
    except (TypeError, ValueError, KeyError) as error:
        raise ValidationError(
            f"{'.'.join(table.name())}: the property {_property(job)} is no record of a reader: {text[:100]!r}",
            hint="register the job again, or forget it",
        ) from error
    return Reader(job=job, since=_position(table, job, target, since), target=target, at=at)


def _position(table: Table, job: str, target: str | None, recorded: int | None) -> int | None:
    """How far the mark in the target says that a job has come; without a mark, what was recorded."""
    if target is None:
        return recorded
    try:
        written = load_table(table.catalog, target)
    except TableNotFoundError:
        return recorded
    mark = recorded_mark(written.metadata, job)
    return mark.until if mark and mark.source == str(table.metadata.table_uuid) else recorded


def _jobs(metadata: TableMetadata) -> dict[str, str]:
    found = metadata.properties.items()
    return {unquote(name.removeprefix(_PREFIX)): text for name, text in found if name.startswith(_PREFIX)}


def _property(job: str) -> str:
    if not job.strip():
        raise ValidationError("the name of a job is empty")
    return _PREFIX + quote(job, safe="")
